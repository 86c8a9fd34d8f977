"""Which rows count in a fit, and for how much."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Rows of a smaller part of the heaviest one's weight count as 0: they change no mean by more than
# rounding does, and are 0 in float32.
LIGHTEST = np.finfo(float).eps


def used(n: int, weights: Array | None) -> tuple[Array, Array | None]:
    """Return the rows that count, and the weights of these, 1 on average, or complain.

    Parameters
    ----------
    n : int
        Rows.
    weights : array, shape (n,), or None
        As they were given, times those of classes.

    Returns
    -------
    tuple
        Array of int, and array of float64 or None where all weights are equal.
    """
    if weights is None:
        return np.arange(n), None
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total) or np.any(weights < 0):
        raise ValueError(
            f"the weights of the rows are from {weights.min()} to {weights.max()}, in sum "
            f"{total}, but numbers of at least 0 with a finite sum are expected: mend "
            "sample_weight or class_weight"
        )
    heaviest = weights.max()
    rows = np.flatnonzero(weights > LIGHTEST * heaviest)
    if len(rows) < 2:
        raise ValueError(
            f"{len(rows)} rows have a weight above 0, and above {LIGHTEST:.1g} times that of the "
            f"heaviest, {heaviest:g}, but at least 2 are expected: mend sample_weight or "
            "class_weight"
        )
    kept = weights[rows]
    return rows, None if np.all(kept == kept[0]) else kept / kept.mean()


def of_all(n: int, rows: Array, kept: Array | None) -> Array | None:
    """Return the weights of all rows, 0 of those that are not used; None where all are equal.

    Parameters
    ----------
    n : int
        Rows.
    rows, kept : arrays
        What `used` has returned.
    """
    if kept is None and len(rows) == n:
        return None
    whole = np.zeros(n)
    whole[rows] = 1.0 if kept is None else kept
    return whole
