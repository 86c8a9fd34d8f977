"""Errors and intervals of later rows: the last 30 % of series, predicted by one fit of the others.

Trees end early by the last fifth of the rows that are learned; `naive` predicts the last target
that is known. See the protocol in docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from harness import Names, Rows
from rows_to_come import PRESETS, SERIES, Array, Held, Known, compared

SHARE, STOPPING = 0.7, 0.2
CASES = Names.of(name for part in SERIES.values() for name in part)


def splits(rows: Known) -> list[Held]:
    """Return the first rows, of these the last that stop trees, and the last rows."""
    learn, new = np.split(np.arange(len(rows.y)), [int(SHARE * len(rows.y))])
    return [Held(learn, learn[int((1 - STOPPING) * len(learn)) :], new)]


def last(held: Held, rows: Known) -> Array:
    """Return the last target that is known, for all rows."""
    return np.full(len(held.new), rows.y[held.learn[-1]])


def measure(cases: Names = CASES, presets: Names = PRESETS) -> Iterator[tuple[str, Rows]]:
    """Fit and predict, series by series."""
    return compared(SERIES, splits, last, "time", cases, presets)
