"""The rows that a fit uses, and their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Rows with a smaller fraction of the largest weight count as 0: their influence is below rounding,
# and they are 0 in float32.
LIGHTEST = np.finfo(float).eps


def used(n: int, weights: Array | None) -> tuple[Array, Array | None]:
    """Return the used rows, and their weights with mean 1 (None if equal); raise if invalid."""
    if weights is None:
        return np.arange(n), None
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total) or np.any(weights < 0):
        raise ValueError(
            f"the weights of the rows are from {weights.min()} to {weights.max()}, in sum "
            f"{total}, but numbers of at least 0 with a finite sum are expected: correct "
            "sample_weight or class_weight"
        )
    heaviest = weights.max()
    rows = np.flatnonzero(weights > LIGHTEST * heaviest)
    if len(rows) < 2:
        raise ValueError(
            f"{len(rows)} rows have a weight above 0, and above {LIGHTEST:.1g} times that of the "
            f"heaviest, {heaviest:g}, but at least 2 are expected: correct sample_weight or "
            "class_weight"
        )
    kept = weights[rows]
    return rows, None if np.all(kept == kept[0]) else kept / kept.mean()


def of_all(n: int, rows: Array, kept: Array | None) -> Array | None:
    """Return the weights of all rows, 0 for unused ones; None if all are equal."""
    if kept is None and len(rows) == n:
        return None
    whole = np.zeros(n)
    whole[rows] = 1.0 if kept is None else kept
    return whole
