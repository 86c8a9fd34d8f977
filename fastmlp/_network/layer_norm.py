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


# With n = (z - mean) / deviation and means <> over a row, the derivative of n is the symmetric map
# a -> (a - <a> - n <a n>) / deviation. It takes tangents forward and gradients back.


def _mean(a: Array, b: Array | None = None) -> Array:
    """Return the means of a, or of a * b, by rows, (N, 1), summed in float64."""
    wide = a.astype(np.float64) if b is None else np.multiply(a, b, dtype=np.float64)
    return np.asarray(np.mean(wide, axis=1, keepdims=True)).astype(a.dtype)


def _rejected(a: Array, n: Array) -> Array:
    """Return a without its mean and its part along n."""
    return np.asarray(a - _mean(a) - n * _mean(a, n))


def layer_norm_tangent(z: Array, gain: Array, s: Array) -> Array:
    """Return the derivative of `layer_norm` at z in the direction s."""
    n, scale = normalized(z)
    return _rejected(s, n) * scale * gain


def layer_norm_gradient(z: Array, gain: Array, dy: Array) -> Array:
    """Return dz, the gradient of a sum over rows whose gradient at y is dy."""
    n, scale = normalized(z)
    return np.asarray(_rejected(dy * gain, n) * scale)


def layer_norm_bend(z: Array, gain: Array, s: Array, dy: Array) -> Array:
    """Return the gradient by z of sum(dy * layer_norm_tangent(z, gain, s))."""
    n, scale = normalized(z)
    g, s = dy * gain - _mean(dy * gain), s - _mean(s)
    along_g, along_s = _mean(g, n), _mean(s, n)
    both = n * (_mean(g, s) - 3 * along_g * along_s) + g * along_s + s * along_g
    return np.asarray(-scale * scale * both)
