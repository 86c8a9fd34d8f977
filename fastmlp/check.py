"""Every complaint about what the user hands over: arrays, labels, weights, options.

The functions return what the engine may use without a second look: finite arrays of the model's
dtype, native byte order, aligned. An array that is so already is never copied, whatever its
strides, and nothing that was handed over is ever written to. Types that cannot be meant raise
TypeError, values that cannot be used raise ValueError; each message says the value, what was
expected, and a remedy.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.groups import PLAIN, Groups
from fastmlp.intervals import POSITIVE
from fastmlp.optimizers import OPTIMIZERS, Adam, Optimizer
from fastmlp.spec import Data, Spec

# Elements looked at in one go by the search for NaN and infinity: its temporary stays in cache.
FINITE_BLOCK = 1 << 16

# Rows of soft targets may miss the sum 1 by this much: what a float16 softmax leaves behind.
SOFT_TARGET_TOLERANCE = 1e-3

# NumPy's dtype kinds that are refused: what they hold, and what to do about it.
REFUSED_KINDS = {
    "U": (
        "strings",
        "convert them to numbers first, labels with np.unique(y, return_inverse=True)",
    ),
    "S": ("bytes", "convert them to numbers first, labels with np.unique(y, return_inverse=True)"),
    "T": (
        "strings",
        "convert them to numbers first, labels with np.unique(y, return_inverse=True)",
    ),
    "c": ("complex numbers", "pass the real and the imaginary parts as two columns"),
    "M": ("dates", "convert them to numbers, for example to days since a fixed date"),
    "m": ("time differences", "divide by a unit, for example by np.timedelta64(1, 's')"),
    "V": ("records", "pass a plain 2-D array, one column a field"),
}

# Target kinds of a loss: smallest and largest value, and the remedy when one lies outside.
TARGET_RANGES = {
    "real": (-math.inf, math.inf, ""),
    "count": (0.0, math.inf, "pass counts, or another loss such as squared_error"),
    "unit_interval": (0.0, 1.0, "rescale y, or use another loss such as squared_error"),
    "class": (0.0, 1.0, "pass integer labels of shape (n,), or probabilities"),
}


def data(x: Any, y: Any, sample_weight: Any, spec: Spec, names: Sequence[str] = ("X", "y")) -> Data:
    """Return samples, targets and weights of one call, checked against each other and the model."""
    # Views: a caller who gives his array another shape during a fit must not reach the engine's.
    checked = inputs(x, spec, name=names[0]).view()
    n = checked.shape[0]
    return Data(
        x=checked,
        targets=targets(y, spec, n, name=names[1]).view(),
        weights=sample_weights(sample_weight, n, spec.dtype),
    )


def inputs(value: Any, spec: Spec, *, name: str = "X", empty: bool = False) -> NDArray[Any]:
    """Return an (n, fan-in) array of the model's dtype; ``empty`` allows n = 0."""
    array = value if type(value) is np.ndarray else numeric(value, name)
    expected = spec.layer_sizes[0]
    if array.dtype.kind not in "biuf":
        array = numeric(array, name)
    if array.ndim == 1:
        raise ValueError(
            f"{name} has shape {array.shape} but a 2-D array of shape (n, {expected}) is expected: "
            f"use {name}.reshape(1, -1) for one sample or {name}.reshape(-1, 1) for one feature"
        )
    if array.ndim != 2:
        raise ValueError(
            f"{name} has {array.ndim} dimensions but 2 are expected: "
            f"use {name}.reshape(len({name}), -1), one row a sample"
        )
    if array.shape[1] != expected:
        raise ValueError(
            f"{name} has {array.shape[1]} features but this MLP expects {expected}: "
            f"rebuild it with layer_sizes=[{array.shape[1]}, ...] or pass the columns it knows"
        )
    if array.shape[0] == 0 and not empty:
        raise ValueError(f"{name} has 0 rows but at least one sample is expected")
    return _finite(array, spec.dtype, name)


def targets(value: Any, spec: Spec, n: int, *, name: str = "y") -> NDArray[Any]:
    """Return (n, outputs) targets, C order, or a private int32 copy of integer labels."""
    array = numeric(value, name)
    outputs, kind = spec.layer_sizes[-1], spec.loss.target_kind
    if array.ndim >= 1 and array.shape[0] != n:
        raise ValueError(
            f"{name} has {array.shape[0]} rows but X has {n}: pass one for each sample"
        )
    if kind == "class" and array.ndim == 1:
        return _labels(array, outputs, name)
    if array.ndim == 1 and outputs == 1:
        array = array[:, np.newaxis]
    if array.shape != (n, outputs):
        remedy = (
            f"for integer labels use {name}.ravel()"
            if kind == "class"
            else f"rebuild it with layer_sizes=[..., {array.shape[-1] if array.ndim == 2 else 1}]"
        )
        raise ValueError(
            f"{name} has shape {array.shape} but this MLP with {outputs} outputs expects "
            f"({n}, {outputs}): {remedy}"
        )
    checked = np.ascontiguousarray(_finite(array, spec.dtype, name))
    smallest, largest, remedy = TARGET_RANGES[kind]
    for extreme in (checked.min(), checked.max()):
        if not smallest <= extreme <= largest:
            raise ValueError(
                f"{name} holds {extreme} but this loss expects targets from {smallest:g} "
                f"to {largest:g}: {remedy}"
            )
    if kind == "class":
        _rows_sum_to_one(checked, name)
    return checked


def _labels(array: NDArray[Any], n_classes: int, name: str) -> NDArray[np.int32]:
    """Return a private int32 copy, checked after copying: native code uses labels as indices."""
    own = array.copy()
    good = (own >= 0) & (own < n_classes)
    if own.dtype.kind == "f":
        good &= own == np.floor(own)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"{name}[{row}] is {own[row]} but a loss over {n_classes} classes expects integer "
            f"labels from 0 to {n_classes - 1}: number them with np.unique({name}, "
            "return_inverse=True), or rebuild the MLP with more outputs"
        )
    return own.astype(np.int32)


def _rows_sum_to_one(soft: NDArray[Any], name: str) -> None:
    sums = soft.sum(axis=1, dtype=np.float64)
    wrong = np.abs(sums - 1.0) > SOFT_TARGET_TOLERANCE
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name}[{row}] sums to {sums[row]:.6g} but soft targets are expected to sum to 1: "
            f"divide by {name}.sum(axis=1, keepdims=True), or use binary_cross_entropy for "
            "several labels at once"
        )


def sample_weights(value: Any, n: int, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Return (n,) weights, C order, not negative and not all zero; None stays None."""
    if value is None:
        return None
    array = numeric(value, "sample_weight")
    if array.shape != (n,):
        raise ValueError(
            f"sample_weight has shape {array.shape} but ({n},) is expected: one for each row of X"
        )
    checked = np.ascontiguousarray(_finite(array, dtype, "sample_weight"))
    if checked.min() < 0:
        row = int(np.argmin(checked))
        raise ValueError(
            f"sample_weight[{row}] is {checked[row]} but weights of at least 0 are expected: "
            "drop the rows that are not wanted"
        )
    with np.errstate(over="ignore"):
        total = checked.sum(dtype=np.float64)
    smallest = float(np.finfo(dtype).tiny)  # kernels flush what is smaller, and divide by the sum
    if not smallest <= total <= 1 / smallest:
        raise ValueError(
            f"sample_weight sums to {total} in {dtype} but a positive finite sum from "
            f"{smallest:.3g} to {1 / smallest:.3g} is expected: rescale the weights, at least one "
            "must be above 0"
        )
    return checked


def parameters(
    values: Any, shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any], name: str
) -> list[NDArray[Any]]:
    """Return weights or biases, one finite array for each layer, of exactly the layers' shapes."""
    if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
        raise TypeError(
            f"{name} is {_short(values)} but a list of {len(shapes)} arrays is expected"
        )
    values = list(values)
    if len(values) != len(shapes):
        raise ValueError(
            f"{name} has {len(values)} arrays but {len(shapes)} are expected, one for each layer"
        )
    checked = []
    for layer, (value, shape) in enumerate(zip(values, shapes, strict=True)):
        array = numeric(value, f"{name}[{layer}]")
        if array.shape != shape:
            raise ValueError(
                f"{name}[{layer}] has shape {array.shape} but {shape} is expected: "
                "the shapes follow from layer_sizes, weights are (fan_in, fan_out)"
            )
        checked.append(np.ascontiguousarray(_finite(array, dtype, f"{name}[{layer}]")))
    return checked


def numeric(value: Any, name: str) -> NDArray[Any]:
    """Return a plain array of real numbers (kinds b, i, u, f), without a copy where possible."""
    masked = sys.modules.get("numpy.ma")  # np.ma imports it: an interrupt then can hang the lock
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(
            f"{name} is a masked array but its mask would be ignored: fill it with "
            f"{name}.filled(value), or drop the masked rows"
        )
    if hasattr(value, "toarray"):
        raise TypeError(
            f"{name} is a sparse {type(value).__name__} but a dense array is expected: "
            f"pass {name}.toarray()"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{name} is not a rectangular array of numbers ({error}): "
            "give every row the same length"
        ) from error
    if array.dtype.kind == "O":
        array = _numbers(array, value, name)
    if array.dtype.kind not in "biuf":
        what, remedy = REFUSED_KINDS.get(array.dtype.kind, ("no numbers", "convert it first"))
        raise TypeError(
            f"{name} holds {what} (dtype {array.dtype}) but real numbers are expected: {remedy}"
        )
    return array


def _numbers(array: NDArray[Any], value: Any, name: str) -> NDArray[Any]:
    """Return objects as float64. Strings that look like numbers are not numbers."""
    if array.ndim == 0:
        raise TypeError(f"{name} is {_short(value)} but an array of numbers is expected")
    for item in array.flat:
        if isinstance(item, (str, bytes)):
            raise TypeError(
                f"{name} holds {_short(item)} but real numbers are expected: convert it first"
            )
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"{name} holds a number too large for float64: rescale it") from error
    except Exception as error:  # whatever the objects' own conversion raises
        raise TypeError(
            f"{name} holds objects that are not real numbers ({error}): convert it first"
        ) from error


def _finite(array: NDArray[Any], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Return the array in the model's dtype (itself if it has it), without NaN or infinity."""
    if array.dtype == dtype and array.flags.aligned:
        cast = array
    else:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            cast = array.astype(dtype)
    if array.dtype.kind == "f":
        index = first_non_finite(cast)
        if index is not None:
            where = f"{name}[{', '.join(map(str, index))}] is {array[index]}"
            if np.isfinite(array[index]):
                raise ValueError(f"{where}, too large for {dtype}: rescale, or use dtype='float64'")
            raise ValueError(f"{where} but finite numbers are expected: drop or fill such entries")
    return cast


def first_non_finite(array: NDArray[Any]) -> tuple[int, ...] | None:
    """Return the index of an element that is NaN or infinite, or None; looks block by block."""
    if array.ndim == 2 and abs(array.strides[0]) < abs(array.strides[1]):
        index = first_non_finite(array.T)  # along the memory, not across it
        return index and index[::-1]
    rows = max(1, FINITE_BLOCK // max(1, math.prod(array.shape[1:])))
    for start in range(0, array.shape[0], rows):
        finite = np.isfinite(array[start : start + rows])
        if 0 in finite.tobytes():  # half the time of finite.all() for one row, the same for many
            row, *rest = np.unravel_index(int(np.argmin(finite)), finite.shape)
            return (start + int(row), *map(int, rest))
    return None


def clip_norm(value: Any) -> float:
    """Return the largest allowed norm of the gradient; 0.0, which engines read as off, for None."""
    return 0.0 if value is None else POSITIVE.check("clip_norm", value, example=1.0)


def optimizer(value: Any) -> Optimizer:
    """Return one of this package's optimizers; Adam() for None; not a name, not a class."""
    if value is None:
        return Adam()
    if type(value) not in OPTIMIZERS.values():
        raise TypeError(
            f"optimizer is {_short(value)} but an object of one of the package's own optimizers is "
            "expected, no subclass, whose step would never be called: for example "
            "fastmlp.Adam(learning_rate=1e-3)"
        )
    chosen: Optimizer = value
    return chosen


def groups(value: Any, spec: Spec) -> Groups:
    """Return Groups with a factor for every layer; PLAIN for None."""
    if value is None:
        return PLAIN
    if type(value) is not Groups:
        raise TypeError(
            f"groups is {_short(value)} but an object of fastmlp.Groups is expected: for example "
            "fastmlp.Groups(bias_rate=2.0)"
        )
    chosen: Groups = value
    for name in ("layer_rates", "layer_decays"):
        factors, n_layers = getattr(chosen, name), len(spec.shapes)
        if factors is not None and len(factors) != n_layers:
            raise ValueError(
                f"{name} of groups has {len(factors)} factors but this MLP has {n_layers} layers: "
                "pass one for each, the output layer included"
            )
    return chosen


def validation(value: Any, spec: Spec) -> Data | None:
    """Return ``(X, y)`` or ``(X, y, sample_weight)``, checked like the training data."""
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        raise TypeError(
            f"validation_data is {_short(value)} but a tuple (X, y) or (X, y, sample_weight) "
            "is expected"
        )
    x, y, weights = (*value, None)[:3]
    return data(x, y, weights, spec, names=("validation X", "validation y"))


def callbacks(value: Any) -> list[Any]:
    """Return a list of callables."""
    if callable(value) or not isinstance(value, Iterable):
        raise TypeError(f"callbacks is {_short(value)} but a list of callables is expected")
    checked = list(value)
    for position, callback in enumerate(checked):
        if isinstance(callback, type) or not callable(callback):
            raise TypeError(
                f"callbacks[{position}] is {_short(callback)} but a callable that takes the "
                "training state is expected: for example fastmlp.EarlyStopping()"
            )
    return checked


def generator(value: Any) -> np.random.Generator:
    """Return the generator itself, or a new one from a seed, or from the system for None."""
    if isinstance(value, np.random.Generator):
        return value
    if value is None:
        return np.random.default_rng()
    if isinstance(value, bool | np.bool_ | np.ndarray | type) or not hasattr(value, "__index__"):
        raise TypeError(
            f"rng is {_short(value)} but None, an integer of at least 0, or a "
            "numpy.random.Generator is expected: for example rng=0"
        )
    seed = operator.index(value)
    if seed < 0:
        raise ValueError(f"rng is {seed} but a seed of at least 0 is expected: for example rng=0")
    return np.random.default_rng(seed)


def _short(value: Any) -> str:
    """Return how a value is named in a message: its beginning, and its type."""
    text = repr(value)
    return f"{text[:60]}{'...' if len(text) > 60 else ''} ({type(value).__name__})"


def bad_rows(shape: tuple[int, ...], n_in: int) -> ValueError:
    """Return the complaint of a predictor about an x of that shape."""
    return ValueError(
        f"x has shape {shape} but ({n_in},) or (n, {n_in}) is expected: "
        "pass one row, or one row a sample"
    )


def bad_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ValueError:
    """Return the complaint of a predictor about an out that cannot take the result."""
    array = isinstance(out, np.ndarray)
    found = f"shape {out.shape}, dtype {out.dtype}" if array else repr(type(out))
    return ValueError(
        f"out is {found} but a writable C-contiguous array of shape {shape} and dtype {dtype} "
        "is expected: make it with np.empty, or leave it out"
    )
