"""Rows in order of time: folds that go forward, and the periods and weights of later rows.

Intervals for later rows are those of conformal prediction without exchangeability: recent residuals
weigh more, so that coverage is lost only as far as the distribution has changed between them and
new rows (Barber, Candes, Ramdas and Tibshirani 2023, "Conformal prediction beyond
exchangeability"). Rows of one period err alike, and count as a group. Errors grow with the time
since the last row that was learned, so each fold predicts all rows after its own, and all distances
count alike; which way a level will drift is not known, so residuals have both signs.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastmlp._validation.arrays import is_missing
from fastmlp.tabular.table.columns import Array, Columns, RowIndex, Table
from fastmlp.tabular.table.forms import DATES
from fastmlp.tabular.table.frames import is_frame

# Periods of the later rows in the calibration, fewer of which make intervals wider, and the weight
# of the first row, where that of the last is 1: see decision 45.
PERIODS, OLDEST = 8, 0.1
SHOWN_PERIODS = 8  # reports show at most these
MISSING_TIME = "time is missing in row {}: drop such rows, or fill it in"


def times_of(time: Any, n: int) -> Array:
    """Return the times of n rows as numbers or datetimes; raise ValueError for others."""
    try:
        X = time.to_frame() if hasattr(time, "to_frame") else np.asarray(time)
        if X.shape not in ((n,), (n, 1)):
            raise ValueError(f"it has shape {X.shape}, not one for each of the {n} rows")
        X = X if is_frame(X) else X.reshape(n, 1)
        columns = Columns.of(X)
        if columns.categories:
            raise ValueError("it holds categories")
    except (TypeError, ValueError) as error:
        general = (
            f"time cannot be read ({error}): pass a number, a datetime or a date such as "
            "2026-12-31 18:30 for each row"
        )
        raise ValueError(_fault_of(time) or general) from None
    if columns.numbers:
        return of_numbers(columns, 0, columns.read(X))
    if fault := _fault_of(time):  # a column of missing values alone is left out, as a constant is
        raise ValueError(fault)
    return np.zeros(n)


def _fault_of(time: Any) -> str:
    """Return which of the times is missing, infinite, or a period of pandas; else empty."""
    for row, item in enumerate(np.asarray(time, object).flat):
        if hasattr(item, "to_timestamp"):
            return (
                "time holds periods but a moment is expected for each row: pass the begin of each, "
                "time.dt.to_timestamp(), or of an index time.to_timestamp()"
            )
        if is_missing(item):
            return MISSING_TIME.format(row)
        if isinstance(item, float) and math.isinf(item):
            return f"time is infinite in row {row}: drop such rows, or fill in when they were"
    return ""


def of_numbers(columns: Columns, k: int, table: Table) -> Array:
    """Return the numbers or datetimes that the k-th numeric column of a table has."""
    numbers, form = table.numbers[:, k], columns.numbers[k][1].form
    missing = np.flatnonzero(np.isnan(numbers))
    if len(missing):
        raise ValueError(MISSING_TIME.format(missing[0]))
    is_date = form is not None and form.kind in DATES
    return (1e6 * numbers).astype("M8[us]") if is_date else numbers


def forward(times: Array, folds: int, begin: Any = None) -> list[ForwardFold]:
    """Return folds of the later half: each holds out a part of it, and learns all rows before.

    The first one learns rows until the time ``begin`` at least, by default until the first time.
    """
    ordered = np.sort(times)
    n, middle = len(ordered), len(ordered) // 2
    later = ordered[ordered > (ordered[0] if begin is None else begin)]
    if not len(later):
        known = "the same in all rows but at least two times are"
        if begin is not None and ordered[0] < ordered[-1]:
            known = "the last one when a second group begins but later rows are"
        raise ValueError(
            f"time is {known} expected: networks learn from rows that are earlier than those that "
            "they predict: pass rows of later times, too"
        )
    first = max(later[0], ordered[middle])
    cuts = ordered[middle + (n - middle) * np.arange(folds) // folds]
    starts = np.unique(np.append(first, cuts[cuts > first]))
    part = np.searchsorted(starts, times, side="right")
    return [
        ForwardFold(np.flatnonzero(part <= k), np.flatnonzero(part == k + 1), k)
        for k in range(part.max())
    ]


def periods_of(times: Array, count: int = PERIODS) -> RowIndex:
    """Return the number of each row's period, of at most so many; rows of one time share it."""
    ordered = np.sort(times)
    starts = np.unique(ordered[len(ordered) * np.arange(count) // count])
    return np.searchsorted(starts, times, side="right") - 1


def with_periods(times: Array, groups: Array | None) -> RowIndex:
    """Return the periods of rows, beside their groups if there are any, (n,) or (n, 2)."""
    periods = periods_of(times)
    return periods if groups is None else np.column_stack([periods, groups])


def recency(times: Array, weights: Array | None) -> Array:
    """Return the weights of later rows in the calibration, which grow with time."""
    places = np.searchsorted(np.sort(times), times, side="right") / len(times)
    return OLDEST ** (1 - places) * (1.0 if weights is None else weights)


class ForwardFold(NamedTuple):
    """A fold that goes forward: its rows, its number in order of time, and its part of groups."""

    learn: RowIndex
    out: RowIndex
    number: int
    part: int = 0


class Ahead(NamedTuple):
    """Predictions of all rows after those that a fold has learned; rows stand in several folds."""

    places: RowIndex  # of the rows, among those that are scored
    distances: RowIndex  # number of folds from the last row that was learned, from 0
    predictions: Array
    most: int  # number of residuals that are kept: that of the rows of the fit

    def even(self, weights: Array) -> Array:
        """Return weights of these rows from those of scored ones, of all distances the same sum."""
        taken = weights[self.places]
        return np.asarray(taken / np.bincount(self.distances, taken)[self.distances])


def earlier_constants(
    target: Any, weights: Array | None, times: Array, rows: RowIndex, parts: RowIndex | None
) -> Array:
    """Return the best constant prediction for each of some rows, (n, columns).

    It is that of the rows before its period, and in other parts of groups, since nobody knows the
    mean of rows to come. Classes count one row of equal probabilities, too, because rows to come
    may have new ones.
    """
    periods = periods_of(times[rows], SHOWN_PERIODS)
    of_groups = np.zeros(len(times), np.int64) if parts is None else parts
    kinds, kind = np.unique(
        np.column_stack([periods, of_groups[rows]]), axis=0, return_inverse=True
    )
    values = []
    for period, part in kinds:
        before = np.flatnonzero(times < times[rows[periods == period]].min())
        before = before if parts is None else before[parts[before] != part]
        if np.any(np.all(target.y[before] != target.y[before], axis=0)):  # a target without values
            before = np.arange(len(times))
        of_rows = None if weights is None else weights[before]
        _, value = target.with_rows(target.y[before]).constant(of_rows)
        if target.uninformed is not None:
            value = (len(before) * value + target.uninformed) / (len(before) + 1)
        values.append(value)
    return np.stack(values)[kind.reshape(-1)]


def scores_of(scored: Any, predictions: Array) -> str:
    """Return a text with the score of each period of `ScoredRows`, beside that of its baseline."""
    target, weights, times = scored.target, scored.cost_weights, scored.times
    costs = target.costs(np.stack([predictions, scored.earlier]))
    periods, texts = periods_of(times, SHOWN_PERIODS), []
    for k in range(periods.max() + 1):
        rows = np.flatnonzero(periods == k)
        of_rows = None if weights is None else weights[rows]
        score, baseline = (
            target.shown(float(np.average(each[rows], weights=of_rows))) for each in costs
        )
        first = times[rows].min()
        begin = np.datetime_as_string(first, "auto") if times.dtype.kind == "M" else f"{first:g}"
        texts.append(f"from {begin} {score:.4g} (baseline {baseline:.4g})")
    return f"{target.metric} {', '.join(texts)}"
