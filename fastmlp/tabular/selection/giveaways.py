"""Columns that give the target away, such as a fee that is known only once a customer has left.

A model that has such a column looks perfect, and fails where the column is not known yet. So where
a fit is nearly exact, its report names the columns that tell the target alone, and their copies,
which the fit does not use: whoever leaves out one of them would only find the next one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastmlp.tabular.plan.folds import FitRows, sums_by
from fastmlp.tabular.plan.presets import NEARLY_EXACT
from fastmlp.tabular.recipe.epoch_selection import is_nearly_exact
from fastmlp.tabular.selection.selection import ranked_responses
from fastmlp.tabular.table.columns import SAME, Array, RowIndex

FEWEST_ROWS = 100  # fewer rows have such columns by chance
MOST_ROWS = 4_000  # more rows hardly say more
COUNTS = (64, 16, 4, 2)  # of parts of a column of numbers, by its quantiles; few rows need fewer
MOST_NAMED = 20


def note_of(data: FitRows, costs: Array) -> list[str]:
    """Return a note that names such columns, or none; ``costs`` are those of the scored rows.

    Rows that have times are not looked at: many series follow their time closely.
    """
    names, n = data.columns.names, len(data.table)
    is_clear = n >= FEWEST_ROWS and len(data.columns.used) > 1 and data.times is None
    has_gaps = data.target.are_hazards or np.isnan(data.target.y).any()
    if not is_clear or has_gaps or not is_nearly_exact(data.scored, costs):
        return []
    rows = np.random.default_rng(0).permutation(n)[:MOST_ROWS]
    y = ranked_responses(data.target)[rows]
    found = (place for place, parts in _parts(data, rows) if _told(y, parts) > NEARLY_EXACT)
    first = {names[place] for place in found}
    if not first:
        return []
    reasons, copies = data.columns.left_out, {SAME + name for name in first}
    told = [name for name in names if name in first or reasons.get(name) in copies]
    others = len(told) - MOST_NAMED
    shown = " or ".join([*told[:MOST_NAMED], *[f"{others:,} others"] * (others > 0)])
    return [
        f"{shown} alone tells the target nearly exactly: leave it out if it is not known before "
        "the target is"
    ]


def _parts(data: FitRows, rows: RowIndex) -> Iterator[tuple[int, Array]]:
    """Yield each column's place in the table, and the part of its values that each row is in.

    Numbers are parted several times, more and more coarsely.
    """
    for at, (place, _) in enumerate(data.columns.numbers):
        values = data.table.numbers[rows, at]
        present = values[~np.isnan(values)]
        for count in COUNTS if len(present) else ():
            ends = np.unique(np.quantile(present, np.linspace(0, 1, count + 1)[1:-1]))
            # A value that is an end, such as the 0 of most rows, is a part of its own.
            parts = np.searchsorted(ends, values, "left") + np.searchsorted(ends, values, "right")
            yield place, np.where(np.isnan(values), 2 * len(ends) + 1, parts)
    for at, (place, _) in enumerate(data.columns.categories):
        yield place, np.unique(data.table.codes[rows, at], return_inverse=True)[1]


def _told(y: Array, parts: Array) -> float:
    """Return the share of the variance of the second half of y that the parts tell.

    y, (n, outputs), is predicted by the mean of the rows of the first half in the same part.
    """
    half, count = len(y) // 2, parts.max() + 1
    mean = y[:half].mean(axis=0)
    rows = np.bincount(parts[:half], minlength=count)[:, np.newaxis]
    means = sums_by(parts[:half], y[:half] - mean, count) / np.maximum(rows, 1)
    rest = y[half:] - mean
    varies = np.sum(rest**2)
    return float(1 - np.sum((rest - means[parts[half:]]) ** 2) / varies) if varies > 0 else 0.0
