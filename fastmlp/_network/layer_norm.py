"""Layer normalisation in NumPy: the formula and its gradient, which the native operator follows.

Source: Ba, Kiros and Hinton 2016, "Layer normalization" (arXiv:1607.06450). Each row of a hidden
layer is scaled by its own mean and variance, so training and prediction are the same.
"""

from __future__ import annotations

import numpy as np

from fastmlp._network.activations import Array

POSITIONS = ("before", "after")  # relative to the activation of the same layer

# Added to the variance of a row, so that a constant one stays finite; PyTorch's default too.
EPSILON = 1e-5


def normalized(z: Array) -> tuple[Array, Array]:
    """Return (z - mean) / sqrt(variance + EPSILON) by rows, and one over that root, (N, 1)."""
    # The rounded mean is subtracted first, so that a large common offset costs no accuracy.
    wide = np.float64
    centered = z - np.mean(z, axis=1, dtype=wide, keepdims=True).astype(z.dtype)
    variance = np.mean(np.square(centered, dtype=wide), axis=1, keepdims=True)
    scale = (1 / np.sqrt(variance + EPSILON)).astype(z.dtype)
    return centered * scale, scale


def layer_norm(z: Array, gain: Array, shift: Array) -> Array:
    """Return each row with mean 0 and variance 1, times gain, plus shift."""
    return normalized(z)[0] * gain + shift


def layer_norm_gradient(z: Array, gain: Array, dy: Array) -> tuple[Array, Array, Array]:
    """Return (dz, dgain, dshift), the gradient of a sum over rows whose gradient at y is dy."""
    # With n = (z - mean) / deviation, g = dy * gain, means over each row and sums over the rows:
    # dz = (g - mean(g) - n * mean(g * n)) / deviation, dgain = sum(dy * n), dshift = sum(dy).
    wide = np.float64
    n, scale = normalized(z)
    g = dy * gain
    mean = np.mean(g, axis=1, dtype=wide, keepdims=True).astype(z.dtype)
    along = np.mean(np.multiply(g, n, dtype=wide), axis=1, keepdims=True).astype(z.dtype)
    dgain, dshift = (np.sum(a, axis=0, dtype=wide).astype(z.dtype) for a in (dy * n, dy))
    return (g - mean - n * along) * scale, dgain, dshift
