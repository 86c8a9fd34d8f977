"""How far two computations of the same thing may lie apart: one table, for every test.

A difference is allowed up to ``rtol * abs(desired) + atol * scale``, in units of the dtype's
epsilon. Raising a number here needs a reason beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

# kind -> dtype -> (rtol, atol), both multiples of np.finfo(dtype).eps
TOLERANCES: dict[str, dict[str, tuple[float, float]]] = {
    # Small-integer inputs whose every partial sum is representable: nothing may differ.
    "exact": {"float32": (0, 0), "float64": (0, 0)},
    # One activation, loss term or optimizer step on one element: a few roundings, a function or two
    # of 2 ULP each, and (the absolute part) a cancellation such as 1 - y * y.
    "elementwise": {"float32": (16, 8), "float64": (16, 8)},
    # A loss summed over outputs and averaged over up to some hundred rows.
    "loss": {"float32": (64, 32), "float64": (64, 32)},
    # Gradients of a whole network of a few layers, up to some hundred terms a sum.
    "gradient": {"float32": (256, 128), "float64": (256, 128)},
    # Parameters after one step: Adam's first step is sign(g) where g is rounding noise around 0.
    "step": {"float32": (1024, 512), "float64": (1024, 512)},
    # Parameters and losses after tens of steps, in which roundings are amplified.
    "fit": {"float32": (2**14, 2**13), "float64": (2**20, 2**20)},
    # float64 formula against central differences with the step of `central_difference_step`: the
    # truncation is h**2 f''' / 6 and the rounding eps f / h, both about 1e-10 for f''' near 1.
    "central_difference": {"float64": (2**23, 2**23)},
}


def central_difference_step() -> float:
    """Return the step that balances truncation and rounding in float64, about 6e-6."""
    return float(np.finfo(np.float64).eps ** (1 / 3))


def allowed(desired: npt.ArrayLike, kind: str, dtype: npt.DTypeLike, scale: float = 1.0) -> Any:
    """Return the largest allowed absolute difference from `desired`, elementwise."""
    rtol, atol = TOLERANCES[kind][np.dtype(dtype).name]
    return np.finfo(dtype).eps * (
        rtol * np.abs(np.asarray(desired, dtype=np.float64)) + atol * scale
    )


def sum_bound(k: int, dtype: npt.DTypeLike, absolute: npt.ArrayLike) -> Any:
    """Return the a-priori error bound of a sum of k products, one rounding each.

    `absolute` is the same sum over absolute values: ``abs(A) @ abs(B)``. Source: Higham 2002,
    "Accuracy and stability of numerical algorithms", section 3.1.
    """
    return 1.01 * k * 0.5 * np.finfo(dtype).eps * np.asarray(absolute, dtype=np.float64)


def assert_all_close(
    actual: Iterable[Any],
    desired: Iterable[Any],
    kind: str,
    dtype: npt.DTypeLike,
    most: float = math.inf,
) -> None:
    """Compare arrays with `assert_close`; the scale is the largest element, from 1 to `most`."""
    for a, d in zip(actual, desired, strict=True):
        scale = max(1.0, float(np.abs(d).max(initial=0)))
        assert_close(a, d, kind, dtype, min(scale, most))


def assert_close(
    actual: npt.ArrayLike,
    desired: npt.ArrayLike,
    kind: str,
    dtype: npt.DTypeLike,
    scale: float = 1.0,
) -> None:
    """Fail unless `actual` is as near to `desired` as the table demands; equal NaNs are near."""
    a = np.asarray(actual, dtype=np.float64)
    d = np.asarray(desired, dtype=np.float64)
    assert a.shape == d.shape, f"shape {a.shape} but expected {d.shape}"
    bound = allowed(d, kind, dtype, scale)
    with np.errstate(invalid="ignore"):
        good = (np.abs(a - d) <= bound) | (a == d) | (np.isnan(a) & np.isnan(d))
    if not np.all(good):
        at = tuple(int(i) for i in np.argwhere(~good)[0])
        raise AssertionError(
            f"{np.sum(~good)} of {a.size} elements differ by more than {kind} allows for "
            f"{np.dtype(dtype).name}; first at {at}: {a[at]!r} but expected {d[at]!r}"
        )
