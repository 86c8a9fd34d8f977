"""What a hidden layer of the reference makes of z = x @ W + b, and how a gradient comes back.

Before the first, the scale layer (`scaled`). Activation, with the normalisation before or after it,
then dropout: each its textbook formula.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastmlp.activations import Array
from fastmlp.each_layer import row_of
from fastmlp.normalization import layer_norm, layer_norm_gradient
from fastmlp.spec import BLOCK_ROWS, Spec

# One list of arrays for each kind of tensor in Spec.tensors: weights, biases, ...
Parameters = tuple[list[Array], ...]


def scaled(spec: Spec, parameters: Parameters, x: Array) -> Array:
    """Return x, or where there is a scale layer each column times its parameter.

    The same function brings a gradient back. Source: Holzmueller, Grinsztajn and Steinwart 2024,
    "Better by default" (arXiv:2407.04491), section 3.
    """
    return np.multiply(x, parameters[-1][0]) if spec.scale else x


def forward(spec: Spec, parameters: Parameters, k: int, z: Array) -> Array:
    """Return the activations of hidden layer k, normalised where it says so, before dropout."""
    activation, position = row_of(spec.activations[k]), spec.layer_norm[k]
    if position is None:
        return activation.value(z)
    gain, shift = (kind[k] for kind in parameters[2:4])
    if position == "before":
        return activation.value(layer_norm(z, gain, shift))
    return layer_norm(activation.value(z), gain, shift)


def backward(
    spec: Spec, parameters: Parameters, k: int, z: Array, dy: Array
) -> tuple[Array, Array, Array]:
    """Return (dz, dgain, dshift) from the gradient dy of `forward`; the last two may be empty."""
    activation, position = row_of(spec.activations[k]), spec.layer_norm[k]
    if position is None:
        nothing = np.zeros(0, z.dtype)
        return dy * activation.slope(z), nothing, nothing
    gain, shift = (kind[k] for kind in parameters[2:4])
    if position == "before":
        slope = activation.slope(layer_norm(z, gain, shift))
        return layer_norm_gradient(z, gain, dy * slope)
    dy, dgain, dshift = layer_norm_gradient(activation.value(z), gain, dy)
    return dy * activation.slope(z), dgain, dshift


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
