"""What a hidden layer of the reference makes of z = x @ W + b, and how a gradient comes back.

Before the first, the scale layer (`scaled`). Activation, plain or parametric, with the
normalisation before or after it, then dropout: each its textbook formula.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastmlp.activations import Array
from fastmlp.functions.activation import row_of
from fastmlp.normalization import layer_norm, layer_norm_gradient
from fastmlp.parametric import blended, blended_gradient
from fastmlp.spec import BLOCK_ROWS, Spec

# One list of arrays for each kind of tensor in Spec.tensors: weights, biases, ...
Parameters = tuple[list[Array], ...]


def named(spec: Spec, parameters: Parameters) -> dict[str, list[Array]]:
    """Return the parameters by kind."""
    return dict(zip(spec.tensors, parameters, strict=True))


def scaled(spec: Spec, parameters: Parameters, x: Array) -> Array:
    """Return x, or where there is a scale layer each column times its parameter.

    The same function brings a gradient back. Source: Holzmueller, Grinsztajn and Steinwart 2024,
    "Better by default" (arXiv:2407.04491), section 3.
    """
    return np.multiply(x, named(spec, parameters)["scales"][0]) if spec.scale else x


def forward(spec: Spec, parameters: Parameters, k: int, z: Array) -> Array:
    """Return the activations of hidden layer k, normalised where it says so, before dropout."""
    own, position = named(spec, parameters), spec.layer_norm[k]
    if position == "before":
        z = layer_norm(z, own["gains"][k], own["shifts"][k])
    y = _active(spec, own, k, z)
    if position == "after":
        y = layer_norm(y, own["gains"][k], own["shifts"][k])
    return y


def backward(
    spec: Spec, parameters: Parameters, k: int, z: Array, dy: Array
) -> tuple[Array, dict[str, Array]]:
    """Return dz from the gradient dy of `forward`, and those of the layer's tensors by kind."""
    own, position = named(spec, parameters), spec.layer_norm[k]
    found: dict[str, Array] = {}
    active = z  # what enters the activation
    if position == "before":
        active = layer_norm(z, own["gains"][k], own["shifts"][k])
    if position == "after":
        y = _active(spec, own, k, active)
        dy, found["gains"], found["shifts"] = layer_norm_gradient(y, own["gains"][k], dy)
    if spec.parametric[k]:
        name, alpha = spec.activations[k], own["alphas"][k]
        dz, found["alphas"] = blended_gradient(name, alpha, active, dy)
    else:
        dz = dy * row_of(spec.activations[k]).slope(active)
    if position == "before":
        dz, found["gains"], found["shifts"] = layer_norm_gradient(z, own["gains"][k], dz)
    return dz, found


def _active(spec: Spec, own: dict[str, list[Array]], k: int, z: Array) -> Array:
    if spec.parametric[k]:
        return blended(spec.activations[k], own["alphas"][k], z)
    return row_of(spec.activations[k]).value(z)


def over_rows(y: Array, dz: Array) -> Array:
    """Return y.T @ dz, blocks of rows added in float64: a million float32 terms lose two digits."""
    total = np.zeros((y.shape[1], dz.shape[1]))
    for first in range(0, len(y), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        total += y[block].T @ dz[block]
    return total.astype(dz.dtype)


def drop(y: Array, kept: npt.NDArray[np.bool_] | None, p: float) -> Array:
    """Return y (or, backward, dy) with dropped entries 0 and kept ones divided by 1 - p."""
    if kept is None:
        return y
    scale = np.divide(1, np.subtract(1, p, dtype=y.dtype), dtype=y.dtype)
    return np.where(kept, y * scale, np.zeros_like(y))
