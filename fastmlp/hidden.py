"""What a hidden layer of the reference makes of z = x @ W + b, and how a gradient comes back.

Activation, with the normalisation before or after it, then dropout: each its textbook formula.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastmlp.activations import ACTIVATIONS, Array
from fastmlp.normalization import layer_norm, layer_norm_gradient
from fastmlp.spec import Spec

# One list of arrays for each kind of tensor in Spec.tensors: weights, biases, ...
Parameters = tuple[list[Array], ...]


def forward(spec: Spec, parameters: Parameters, k: int, z: Array) -> Array:
    """Return the activations of hidden layer k, normalised where it says so, before dropout."""
    activation, position = ACTIVATIONS[spec.activations[k]], spec.layer_norm[k]
    if position is None:
        return activation.value(z)
    gain, shift = (kind[k] for kind in parameters[2:])
    if position == "before":
        return activation.value(layer_norm(z, gain, shift))
    return layer_norm(activation.value(z), gain, shift)


def backward(
    spec: Spec, parameters: Parameters, k: int, z: Array, dy: Array
) -> tuple[Array, Array, Array]:
    """Return (dz, dgain, dshift) from the gradient dy of `forward`; the last two may be empty."""
    activation, position = ACTIVATIONS[spec.activations[k]], spec.layer_norm[k]
    if position is None:
        nothing = np.zeros(0, z.dtype)
        return dy * activation.slope(z), nothing, nothing
    gain, shift = (kind[k] for kind in parameters[2:])
    if position == "before":
        slope = activation.slope(layer_norm(z, gain, shift))
        return layer_norm_gradient(z, gain, dy * slope)
    dy, dgain, dshift = layer_norm_gradient(activation.value(z), gain, dy)
    return dy * activation.slope(z), dgain, dshift


def drop(y: Array, kept: npt.NDArray[np.bool_] | None, p: float) -> Array:
    """Return y (or, backward, dy) with dropped entries 0 and kept ones divided by 1 - p."""
    if kept is None:
        return y
    scale = np.divide(1, np.subtract(1, p, dtype=y.dtype), dtype=y.dtype)
    return np.where(kept, y * scale, np.zeros_like(y))
