"""Compare the derivative that a custom function returns with central differences of its value.

At a corner between two points, any slope from the left one to the right one is accepted. Where the
first comparison fails, nearer points are tried, since distant ones are inaccurate where a function
changes quickly or has a corner at one side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp._network.activations import Array

# Tolerance by size of the dtype, relative to the larger of the two one-sided differences, between
# which the slope lies. Their rounding is NOISE eps f / h.
TOLERANCES = {4: 1e-3, 8: 1e-6}
NOISE = 16.0
NEARER = 8  # divides h in the second comparison, and so multiplies the rounding error
REMEDY = "or pass check=False if that is meant"


def compare(
    caller: str, what: str, value: Callable[[Array], Array], z: Array, derivative: Array
) -> None:
    """Raise ValueError if ``derivative``, named ``what``, is no slope of ``value`` at some z."""
    h = float(np.finfo(z.dtype).eps) ** (1 / 3) * np.maximum(1, np.abs(z))
    wrong, central = _differs(caller, what, value, z, derivative, h)
    if wrong.any():
        wrong &= _differs(caller, what, value, z, derivative, h / NEARER)[0]
    if wrong.any():
        at = np.unravel_index(int(wrong.argmax()), z.shape)
        raise ValueError(
            f"{caller} says that its {what} is {derivative[at]:.6g} but the central difference is "
            f"{central[at]:.6g} at z={z[at]:.6g}: correct the {what}, {REMEDY}"
        )


def _differs(
    caller: str, what: str, value: Callable[[Array], Array], z: Array, derivative: Array, h: Array
) -> tuple[Array, Array]:
    """Return a mask of wrong derivatives, from points h away, and the central differences."""
    below, above = (z - h).astype(z.dtype), (z + h).astype(z.dtype)
    with np.errstate(all="ignore"):
        low, middle, high = (value(at).astype(float) for at in (below, z, above))
    finite(caller, "value", middle, z)
    finite(caller, what, derivative, z)
    with np.errstate(all="ignore"):
        left, right = (middle - low) / (z - below), (high - middle) / (above - z)
        central = (high - low) / (above - below)
        size = np.maximum.reduce([np.abs(low), np.abs(middle), np.abs(high)])
        slack = TOLERANCES[z.itemsize] * np.maximum(np.abs(left), np.abs(right))
        slack += NOISE * float(np.finfo(z.dtype).eps) * np.maximum(size, 1) / h
        smallest, largest = np.minimum(left, right) - slack, np.maximum(left, right) + slack
        inside = (smallest <= derivative) & (derivative <= largest)
    return np.isfinite(central) & ~inside, central


def finite(caller: str, what: str, results: Array, z: Array) -> None:
    """Raise ValueError for results that are not finite; z is finite and of ordinary size."""
    wrong = ~np.isfinite(results)
    if wrong.any():
        at = np.unravel_index(int(wrong.argmax()), results.shape)
        raise ValueError(
            f"{caller} returns {results[at]} as {what} at z={np.array2string(z[at], precision=6)}: "
            f"make it finite for every finite z, {REMEDY}"
        )


def alone(caller: str, what: str, together: Array, apart: Array) -> None:
    """Raise ValueError if a row has other results in a batch (``together``) than alone."""
    scale = np.maximum(np.abs(together), np.abs(apart))
    tolerance = TOLERANCES[together.itemsize]
    far = np.abs(together - apart) > tolerance * np.maximum(scale, tolerance)
    if far.any():
        at = np.unravel_index(int(far.argmax()), far.shape)
        raise ValueError(
            f"{caller} returns {together[at]:.6g} as {what} of a row among others but "
            f"{apart[at]:.6g} of the same row alone: take no mean, sum or norm over rows, "
            f"the model does that, {REMEDY}"
        )


def points(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int = 0) -> Array:
    """Return random test points from about -6 to 6, which miss corners such as 0 and 1."""
    z: Array = np.random.default_rng(seed).normal(scale=2.0, size=shape).astype(dtype)
    return z
