"""Validation of samples, targets and weights, each alone and together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp._core.intervals import NON_NEGATIVE, first_non_finite
from fastmlp._network.data import Data
from fastmlp._network.sparse import SparseRows, is_sparse, rows_of
from fastmlp._network.spec import Spec
from fastmlp._network.target_kinds import KINDS
from fastmlp._validation.arrays import finite, finite_or_nan, numeric, short
from fastmlp._validation.compatibility import refusal

# Allowed deviation of a soft target's sum from 1: the rounding of a softmax in float16.
SOFT_TARGET_TOLERANCE = 1e-3


def data(
    x: Any,
    y: Any,
    sample_weight: ArrayLike | None,
    spec: Spec,
    dy: Any = None,
    dy_weight: Any = 1.0,
    names: Sequence[str] = ("X", "y", "dy"),
    is_part: bool = False,
) -> Data:
    """Return checked samples, targets, weights and derivatives by the inputs of one call.

    All rows of a part of the data may have weight 0 or no targets.
    """
    # Views, so that reshaping the user's array during a fit does not change the engine's.
    x_checked = inputs(x, spec, name=names[0])
    if isinstance(x_checked, np.ndarray):
        x_checked = x_checked.view()
    n = x_checked.shape[0]
    y_checked = targets(y, spec, n, name=names[1], may_miss=dy is not None).view()
    n_axes = y.ndim if isinstance(y, np.ndarray) else np.ndim(y)
    slopes = None if dy is None else jacobians(dy, x_checked, spec, name=names[2])
    weights = row_weights(y_checked, slopes, sample_weight, spec, name=names[1], is_part=is_part)
    return Data(
        x_checked,
        y_checked,
        *weights,
        slopes,
        NON_NEGATIVE.check("dy_weight", dy_weight, example=1.0),
        flat_y=y_checked.ndim == 2 and n_axes == 1,
    )


def jacobians(value: Any, x: Any, spec: Spec, *, name: str) -> NDArray[Any]:
    """Return C-ordered derivatives (n, outputs, inputs), NaN where unknown."""
    if spec.functions:
        raise refusal("dy", "custom functions", name=name, function=spec.functions[0])
    if spec.loss.is_linked:
        raise refusal("dy", "loss with a link", name=name, loss=spec.loss)
    if spec.compute is not None:
        raise refusal("dy", "compute", name=name, compute=spec.compute)
    if isinstance(x, SparseRows):
        raise refusal("dy", "sparse rows", name=name)
    array = numeric(value, name)
    shape = x.shape[0], spec.layer_sizes[-1], x.shape[1]
    flat = (shape[0], shape[2])
    if array.shape != shape and (shape[1] > 1 or array.shape != flat):
        raise ValueError(
            f"{name} has shape {array.shape} but {flat if shape[1] == 1 else shape} is expected: "
            "pass the derivative of each output by each input, and NaN where it is unknown"
        )
    return np.ascontiguousarray(finite_or_nan(array, spec.dtype, name)).reshape(shape)


def row_weights(
    y: NDArray[Any],
    slopes: NDArray[Any] | None,
    sample_weight: ArrayLike | None,
    spec: Spec,
    *,
    name: str = "y",
    is_part: bool = False,
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Return the checked weights of rows, (n,), and the factors of their outputs, see `Data`.

    Missing targets have the factor 0. The weight of a row is the mean over its outputs, of a row
    with derivatives (``slopes``) as if no target were missing.
    """
    if sample_weight is None and y.shape[1:] == (1,) and slopes is None:
        return None, None  # the usual case: `targets` has found all to be there
    dtype, outputs = spec.dtype, spec.n_outputs if spec.loss.is_separable else 1
    weights = sample_weights(sample_weight, len(y), dtype, outputs, is_part)
    observed = np.isfinite(y) if y.ndim == 2 and first_non_finite(y) is not None else None
    if observed is None and (weights is None or weights.ndim == 1):
        return weights, None
    per_output = np.ones((len(y), 1)) if weights is None else weights.reshape(len(y), -1)
    counted = np.full_like(y, True, bool) if observed is None else observed
    per_target = np.where(counted, per_output, 0.0)
    if slopes is not None:
        counted = counted | ~np.isnan(slopes).all(axis=(1, 2)).reshape(-1, 1)
    per_row = np.where(counted, per_output, 0.0).mean(axis=1, dtype=np.float64, keepdims=True)
    if not (is_part or counted.any()):
        kinds = "targets" if slopes is None else "targets or derivatives"
        raise ValueError(f"{name} is NaN alone but some {kinds} are expected: pass other rows")
    means = "the mean over targets of sample_weight"
    checked = _normal_weights(per_row[:, 0], dtype, means, is_part)
    factors = per_target / np.where(checked > 0, per_row[:, 0], 1)[:, np.newaxis]
    return checked, factors.astype(dtype)


def inputs(value: Any, spec: Spec, *, name: str = "X", empty: bool = False) -> Any:
    """Return (n, inputs) rows of the model's dtype, see `Data.x`; ``empty``: n may be 0."""
    if is_plain(value, spec):
        return value
    array: Any
    if type(value) is not np.ndarray and is_sparse(value):
        if spec.compute is not None:
            raise refusal("compute", "sparse rows", name=name, compute=spec.compute)
        array, is_checked = rows_of(value, name).astype(spec.dtype, name), True
    else:
        is_checked = hasattr(value, "row_source") and value.dtype == spec.dtype
        array = value if is_checked else numeric(value, name)
    expected = spec.layer_sizes[0]
    if array.ndim == 1:
        raise ValueError(
            f"{name} has shape {array.shape} but a 2-D array of shape (n, {expected}) is expected: "
            f"use {name}.reshape(1, -1) for one sample or {name}.reshape(-1, 1) for one feature"
        )
    if array.ndim != 2:
        raise ValueError(
            f"{name} has {array.ndim} dimensions but 2 are expected, one row a sample: "
            + (f"use {name}.reshape(len({name}), -1)" if array.ndim else f"pass [[{array}, ...]]")
        )
    if array.shape[1] != expected:
        remedy = "pass the columns it knows"
        if array.shape[1]:
            remedy = f"rebuild it with layer_sizes=[{array.shape[1]}, ...] or {remedy}"
        if array.shape[0] == expected:
            remedy = f"pass {name}.T, one row a sample, or {remedy}"
        raise ValueError(
            f"{name} has {array.shape[1]} features but this MLP expects {expected}: {remedy}"
        )
    if array.shape[0] == 0 and not empty:
        raise ValueError(f"{name} has 0 rows but at least one sample is expected")
    return array if is_checked else finite(array, spec.dtype, name)


def is_plain(value: Any, spec: Spec) -> TypeGuard[NDArray[Any]]:
    """Whether this is a non-empty (n, inputs) array that an engine can use without conversion."""
    return (
        type(value) is np.ndarray
        and value.dtype == spec.dtype
        and value.ndim == 2
        and value.shape[1] == spec.layer_sizes[0]
        and value.shape[0] > 0
        and value.flags.aligned
        and first_non_finite(value) is None
    )


def targets(
    value: Any, spec: Spec, n: int, *, name: str = "y", may_miss: bool = False
) -> NDArray[Any]:
    """Return C-ordered (n, outputs) targets, or an int32 copy of integer class labels.

    Of several outputs some may be NaN, which means missing, if the loss is a sum over outputs; and
    one may be, beside derivatives.
    """
    array = numeric(value, name)
    outputs, kind = spec.layer_sizes[-1], spec.loss.target_kind
    if array.ndim >= 1 and array.shape[0] != n:
        raise ValueError(f"{name} has {array.shape[0]} rows but X has {n}: pass one a sample")
    if kind == "class" and array.ndim == 1:
        return _labels(array, outputs, name)
    is_flat = array.ndim == 1 and outputs == 1  # it stays so, that errors have the user's index
    if array.shape != ((n,) if is_flat else (n, outputs)):
        if kind == "class":
            remedy = f"for integer labels use {name}.ravel()"
        elif _may_be_labels(array, outputs):
            remedy = "pass loss='cross_entropy' to MLP or from_torch if these are labels of classes"
        else:
            width = array.shape[-1] if array.ndim == 2 else 1
            remedy = f"rebuild it with layer_sizes=[..., {width}]"
            if spec.loss.is_custom and width < outputs:
                remedy = f"add columns, which the loss may ignore, or {remedy}"
        raise ValueError(
            f"{name} has shape {array.shape} but this MLP with "
            f"{outputs} output{'s' * (outputs > 1)} expects ({n}, {outputs}): {remedy}"
        )
    if (outputs > 1 or may_miss) and spec.loss.is_separable:
        array = finite_or_nan(array, spec.dtype, name)
    elif outputs > 1:
        remedy = f"drop or fill such rows, since {spec.loss.name} needs all targets of a row"
        array = finite(array, spec.dtype, name, remedy)
    else:
        array = finite(array, spec.dtype, name)
    checked = np.ascontiguousarray(array)
    if is_flat:
        checked = checked[:, np.newaxis]
    if kind == "real":
        return checked
    KINDS[kind].check(checked, name)
    if kind == "class":
        _rows_sum_to_one(checked, name)
    return checked


def _may_be_labels(array: NDArray[Any], n_classes: int) -> bool:
    """Return whether numbers, one for each row, count the outputs from 0."""
    values = array.ravel()
    if array.shape[:1] != values.shape or not array.size:
        return False
    return bool(np.isin(values, np.arange(n_classes)).all())


def _labels(array: NDArray[Any], n_classes: int, name: str) -> NDArray[np.int32]:
    """Return an int32 copy, checked after copying because native code uses labels as indices."""
    labels = array.copy()
    good = (labels >= 0) & (labels < n_classes)
    if labels.dtype.kind == "f":
        good &= labels == np.floor(labels)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"{name}[{row}] is {labels[row]} but a loss over {n_classes} classes expects integer "
            f"labels from 0 to {n_classes - 1}: number them with np.unique({name}, "
            "return_inverse=True), or rebuild the MLP with more outputs"
        )
    return labels.astype(np.int32)


def _rows_sum_to_one(soft: NDArray[Any], name: str) -> None:
    sums = soft.sum(axis=1, dtype=np.float64)
    row = int(np.argmax(np.abs(sums - 1.0) > SOFT_TARGET_TOLERANCE))
    if abs(sums[row] - 1.0) > SOFT_TARGET_TOLERANCE:
        raise ValueError(
            f"{name}[{row}] sums to {sums[row]:.6g} but soft targets are expected to sum to 1: "
            f"divide by {name}.sum(axis=1, keepdims=True), or use binary_cross_entropy"
        )


def sample_weights(
    value: Any, n: int, dtype: np.dtype[Any], outputs: int = 1, is_part: bool = False
) -> NDArray[Any] | None:
    """Return C-ordered weights, each 0 or a normal float; None stays None.

    All may be 0 only of a part of the data. The shape is (n,), or (n, outputs) of several outputs.
    """
    if value is None:
        return None
    array = numeric(value, "sample_weight")
    if array.shape != (n,) and (outputs == 1 or array.shape != (n, outputs)):
        expected, remedy = f"({n},)", "one for each row of X"
        if outputs > 1:
            expected, remedy = f"{expected} or ({n}, {outputs})", f"{remedy}, or for each target"
        if array.ndim > 1:
            remedy += "; if these are derivatives, pass dy, in a tuple (X, y, None, dy)"
        raise ValueError(
            f"sample_weight has shape {array.shape} but {expected} is expected: {remedy}"
        )
    return _normal_weights(array, dtype, "sample_weight", is_part)


def _normal_weights(
    array: NDArray[Any], dtype: np.dtype[Any], name: str, is_part: bool
) -> NDArray[Any]:
    """Return weights in a dtype, each 0 or a normal float, all 0 only of a part of the data."""
    checked = np.ascontiguousarray(finite(array, dtype, name))
    smallest = float(np.finfo(dtype).tiny)  # the kernels treat smaller values as 0
    if checked.min() < smallest:
        _not_between_zero_and(smallest, array, checked, name)
    with np.errstate(over="ignore"):
        total = checked.sum(dtype=np.float64)
    if not (0 if is_part else smallest) <= total <= 1 / smallest:
        raise ValueError(
            f"{name} sums to {total} in {dtype} but a positive finite sum from "
            f"{smallest:.3g} to {1 / smallest:.3g} is expected: rescale the weights, at least one "
            "must be above 0"
        )
    return checked


def _not_between_zero_and(
    smallest: float, weights: NDArray[Any], checked: NDArray[Any], name: str
) -> None:
    """Raise an error for weights that are negative or too small for the kernels."""
    wrong = (weights != 0) & (checked < smallest)
    if not wrong.any():
        return
    at = tuple(map(int, np.unravel_index(np.argmax(wrong), wrong.shape)))
    if weights[at] < 0:
        expected, remedy = "weights of at least 0 are", "drop the rows that are not wanted"
    else:
        expected = f"0 or at least {smallest:.3g}, the smallest normal {checked.dtype}, is"
        remedy = "multiply all weights by one large number, or set this one to 0"
    place = f"{name}[{', '.join(map(str, at))}]"
    raise ValueError(f"{place} is {weights[at]} but {expected} expected: {remedy}")


def validation(value: Any, spec: Spec, dy_weight: Any = None) -> Data | None:
    """Return ``(X, y)`` or ``(X, y, sample_weight)``, checked like the training data.

    With the weight of derivatives there may be such, too, ``(X, y, sample_weight, dy)``.
    """
    if value is None:
        return None
    most = 3 if dy_weight is None else 4
    if not isinstance(value, (tuple, list)) or not 2 <= len(value) <= most:
        raise TypeError(
            f"validation_data is {short(value)} but a tuple (X, y) or (X, y, sample_weight) "
            "is expected; MLP.fit takes (X, y, sample_weight, dy) and a source, too"
        )
    x, y, weights, dy = (*value, None, None)[:4]
    names = "validation X", "validation y", "validation dy"
    return data(x, y, weights, spec, dy, 1.0 if dy_weight is None else dy_weight, names)
