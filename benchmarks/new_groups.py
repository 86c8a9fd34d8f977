"""Errors and intervals of new groups: panels of which 30 % of the groups are predicted, 3 times.

Trees end early by a fifth of the groups that are learned; `naive` predicts the mean. See the
protocol in docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from harness import Names, Rows
from rows_to_come import PANELS, PRESETS, Array, Held, Known, compared

SHARE, STOPPING, REPEATS, MOST_ROWS = 0.3, 0.2, 3, 3000
CASES = Names.of(name for part in PANELS.values() for name in part)


def splits(rows: Known) -> list[Held]:
    """Return random groups to predict, and random ones of the others that stop trees."""
    found = []
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        groups = rng.permutation(np.unique(rows.of_rows))
        count = min(len(groups), int(len(groups) * MOST_ROWS / len(rows.y)))
        groups = groups[:count]
        new, learn = np.split(groups, [max(1, round(SHARE * count))])
        stop = learn[: max(1, round(STOPPING * len(learn)))]
        found.append(Held(*(_rows_of(rows, part) for part in (learn, stop, new))))
    return found


def _rows_of(rows: Known, groups: Array) -> Array:
    """Return the rows of some groups."""
    return np.flatnonzero(np.isin(rows.of_rows, groups))


def mean(held: Held, rows: Known) -> Array:
    """Return the mean of all rows that are known."""
    return np.full(len(held.new), rows.y[held.learn].mean())


def measure(cases: Names = CASES, presets: Names = PRESETS) -> Iterator[tuple[str, Rows]]:
    """Fit and predict, panel by panel."""
    return compared(PANELS, splits, mean, "groups", cases, presets)
