"""Parameters whose matrices of weights are exact in a narrow type, for predictors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp._core.keywords import check_choice
from fastmlp._core.weight_types import (
    LARGEST,
    from_bfloat16,
    from_units,
    in_units,
    to_bfloat16,
)
from fastmlp._engine.numpy.forward_pass import ForwardPass
from fastmlp._network.activations import Array
from fastmlp._network.spec import Spec

# The kernels multiply a unit by 2**15 + 128 (src_cython/c/panels/row.h), which must be finite.
MAX_UNIT = float(np.finfo(np.float32).max) / (2**15 + 128)


def _multiples(weights: Array, share: float) -> Array:
    """Return the weights as the int8 multiples of a unit that the kernels compute."""
    numbers, unit = in_units(weights, share)
    if unit.max(initial=0) > MAX_UNIT:
        raise ValueError(
            f"weights is 'int8' but a weight of the model is {np.abs(weights).max():.3g}, and int8 "
            f"needs weights below {LARGEST * MAX_UNIT:.3g}: pass weights='bfloat16'"
        )
    return from_units(numbers, unit)


# For each type: a function that rounds weights, and values of its parameter, of which calibration
# chooses for each output. A smaller unit shortens large weights and rounds the others less.
Rounding = tuple[Callable[[Array, float], Array], tuple[float, ...]]
TYPES: dict[str, Rounding] = {
    "bfloat16": (lambda weights, _: from_bfloat16(to_bfloat16(weights)), (1.0,)),
    "int8": (
        _multiples,
        (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5),
    ),
}


def parameters(
    spec: Spec, exact: tuple[list[Array], ...], weight_type: Any, x: Array | None = None
) -> tuple[list[Array], ...]:
    """Return parameters with rounded weights; those of a result are the same again.

    Given rows x, each output of a layer is rounded so that its values for the rows vary least from
    the exact ones, and its bias absorbs their mean difference (Nagel et al. 2019,
    "Data-free quantization through weight equalization and bias correction", section 4.2).
    """
    if weight_type is None:
        raise ValueError(
            "X is given without narrower weights, whose rounding it would calibrate: leave "
            "X out, or pass weights='bfloat16' or weights='int8'"
        )
    if spec.dtype != np.float32:
        raise ValueError(
            f"weights is {weight_type!r} but the model's dtype is {spec.dtype}: narrower weights "
            "need a model of dtype='float32', or an estimator fitted with float32 rows"
        )
    rounded, shares = TYPES[check_choice("weights", weight_type, TYPES, f" or {spec.dtype.name}")]
    kinds = {kind: list(arrays) for kind, arrays in zip(spec.tensors, exact, strict=True)}
    inputs: list[Array] = []
    if x is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            inputs = ForwardPass(spec, exact, x).inputs
    for kind, bias in (("weights", 0), ("linear_weights", len(kinds["biases"]) - 1)):
        for k, weights in enumerate(kinds.get(kind, [])):
            kinds[kind][k] = rounded(weights, 1.0)
            if inputs:
                candidates = [rounded(weights, share) for share in shares]
                kinds[kind][k], shift = _best(candidates, weights, inputs[k])
                kinds["biases"][k + bias] = (kinds["biases"][k + bias] + shift).astype(np.float32)
    return tuple(kinds.values())


def _best(candidates: list[Array], weights: Array, x: Array) -> tuple[Array, Array]:
    """Return the best rounded weights of each column, and the mean of its error for rows x."""
    with np.errstate(over="ignore", invalid="ignore"):
        errors = [x @ (weights - rounded) for rounded in candidates]
        best = np.argmin([error.var(axis=0) for error in errors], axis=0)
        means = np.array([error.mean(axis=0, dtype=float) for error in errors])
    chosen = best, np.arange(len(best))
    if not np.isfinite(means[chosen]).all():
        raise ValueError(
            f"X leads to inputs of up to {np.abs(x).max():.3g} of a layer with weights of up to "
            f"{np.abs(weights).max(initial=0):.3g} but products below {np.finfo(x.dtype).max:.3g} "
            "are expected: pass typical rows, or leave X out"
        )
    return np.stack(candidates, axis=1)[:, *chosen], means[chosen]
