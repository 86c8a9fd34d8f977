"""Whole numbers that name things, such as shops or districts: they are read as categories.

A network takes a number for a quantity: predictions change little from one number to the next. The
numbers of shops are names, and each shop has a level of its own. Rows that were not learned from
show which columns are of this kind. A ridge regression learns from all columns, and what it leaves
of the target has a mean for each value of a column. If these means predict held-out rows better
than those of each value with its neighbours, the values are names: of a quantity, the mean of
neighbours is the better one, since it has more rows.

As by an empirical Bayes estimate (Efron and Morris 1975, "Data analysis using Stein's estimator"),
the mean of a value of few rows is drawn to that of its neighbours. Then quick fits judge, on other
rows, whether networks gain by the names, too: levels of few values, such as years, say less than
the course from one to the next, which a network reads from numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from fastmlp.tabular.plan.folds import FitRows, Splits, at_most, sums_by
from fastmlp.tabular.plan.presets import Preset
from fastmlp.tabular.recipe import linear
from fastmlp.tabular.recipe.epoch_selection import is_gain
from fastmlp.tabular.recipe.members import TrainingOptions
from fastmlp.tabular.selection.selection import (
    MOST_CHOOSING,
    Chooser,
    mean_of_targets,
    ranked_responses,
)
from fastmlp.tabular.table.columns import Array, Columns, RowIndex
from fastmlp.tabular.table.encoding import Encoding, width_of, with_missing

FEWEST_VALUES = 8  # the bins of numbers tell fewer values apart
LEAST_ROWS = 3  # mean number of rows of a value
LARGEST = 2.0**53 - 1  # larger whole numbers may have been rounded
FOLDS = Preset(folds=3, repeats=1, epochs=1, recipes=())
FIRST_ROWS = 1_000
MOST_ROWS = 20_000  # more rows hardly say more
MOST_OUTPUTS = 8  # so many targets, or classes, are looked at
MOST_INPUTS = 300  # of the ridge regression; it takes time that grows with their square
BINS, INPUTS = 8, 100  # numbers have so many bins, or fewer for so many inputs in all
DECAY = 1e-2  # its penalty, see `linear.DECAYS`
NEIGHBOURS = 2  # values on each side
PRIOR_ROWS = 4.0  # the mean of neighbours counts as so many rows of a value
SMALLEST = 1e-12  # weight of rows
ROWS = 8  # of each value, on which quick fits learn
NOISE = 1.0  # standard errors of the gain of quick fits
TIME_SHARE = 1 / 10  # largest share of a time limit that the search takes, before quick fits
LATE = "no whole numbers were tried as names, because of time_limit"
LEAST_GAIN = 0.01  # least share of the variance of the target that names explain


def with_names(
    data: FitRows, options: TrainingOptions, rng: np.random.Generator
) -> tuple[Columns, str]:
    """Return columns in which names are categories, and a note; else the same columns.

    Quick fits judge whether networks gain by them, too. If there is no time, the columns are the
    same, and the note says so.
    """
    columns, names = data.columns, found(data, rng, options.deadline)
    if names is None:
        return columns, LATE
    if not names:
        return columns, ""
    named = columns.with_names(names, data.table)
    values = max(len(column.values or ()) for place, column in named.categories if place in names)
    chooser = Chooser.of(data, options, rng, max(MOST_CHOOSING, min(ROWS * values, MOST_ROWS)))
    if chooser is None:
        return columns, ""
    if chooser.takes_long(options.deadline):
        return columns, LATE
    of_each = (chooser.costs(chooser.trained(each)[0]) for each in (columns, named))
    before, after = map(mean_of_targets, of_each)
    if not is_gain(before, after, chooser.weights, noise=NOISE, least=0.0):
        return columns, ""
    shown = ", ".join(columns.names[place] for place in names)
    return named, (
        f"the whole numbers of {shown} are read as names: held-out rows are predicted "
        "better so; select=False reads them as numbers"
    )


def found(
    data: FitRows, rng: np.random.Generator, deadline: float | None = None
) -> list[int] | None:
    """Return the places in the table of columns of numbers whose values seem to be names.

    Return None if that takes too much of the time until a deadline.
    """
    began = time.monotonic()
    end = np.inf if deadline is None else began + TIME_SHARE * (deadline - began)
    target = data.target
    width = width_of(data.columns, len(with_missing(data.columns, data.table)), 0)
    if width > MOST_INPUTS or target.are_hazards or np.isnan(target.y).any():
        return []
    whole = _whole(data)
    if not whole:
        return []
    try:
        splits = Splits.of(data, FOLDS, rng)
    except ValueError:  # a fold has too few groups, or too few rows of a class
        return []
    folds = zip(splits.learn[: FOLDS.folds], splits.out[: FOLDS.folds], strict=True)
    drawn = [tuple(at_most(MOST_ROWS, part, rng) for part in pair) for pair in folds]
    rows = np.unique(np.concatenate([part for pair in drawn for part in pair]))
    data = data.take(rows)  # to look at each value of all rows may take seconds
    pairs = [(np.searchsorted(rows, learn), np.searchsorted(rows, out)) for learn, out in drawn]
    table = data.table
    candidates = [at for at in whole if _are_repeated(table.numbers[:, at])]
    if not candidates:
        return []
    weights = np.ones(len(table)) if data.weights.scores is None else data.weights.scores
    bins = min(BINS, max(0, INPUTS - width) // data.columns.n_numbers)
    left = []
    try:
        for errors in _left_by_ridge(data, pairs, weights, bins):
            left.append(errors)
            if time.monotonic() > end:
                return None
    except tuple(linear.FAILURES):
        return []
    held_out = np.concatenate([weights[out] for _, out in pairs])
    names = []
    for at in candidates:
        if time.monotonic() > end:
            return None
        _, value = np.unique(table.numbers[:, at], return_inverse=True)
        costs = [
            _costs(value, weights, *pair, *of_pair)
            for pair, of_pair in zip(pairs, left, strict=True)
        ]
        before, after = map(np.concatenate, zip(*costs, strict=True))
        gain = np.average(before - after, weights=held_out)
        if gain > LEAST_GAIN and is_gain(before, after, held_out, least=0.0):
            names.append(data.columns.numbers[at][0])
    return names


def _whole(data: FitRows) -> list[int]:
    """Return the indices of plain columns of whole numbers that may have any order."""
    whole = []
    for at, (_, column) in enumerate(data.columns.numbers):
        if column.form is None and (data.signs is None or not data.signs[at]):
            numbers = data.table.numbers[:, at]
            parts = numbers[:FIRST_ROWS], numbers  # most columns of fractions show it at once
            if all(map(_are_whole, parts)):
                whole.append(at)
    return whole


def _are_whole(numbers: Array) -> bool:
    are_whole = (numbers == np.round(numbers)) & (np.abs(numbers) <= LARGEST)
    return bool((are_whole | np.isnan(numbers)).all())


def _are_repeated(numbers: Array) -> bool:
    """Whether there are several values, each of which several rows have in the mean."""
    numbers = numbers[~np.isnan(numbers)]
    return FEWEST_VALUES <= len(np.unique(numbers)) <= len(numbers) / LEAST_ROWS


def _left_by_ridge(
    data: FitRows, pairs: Sequence[tuple[RowIndex, RowIndex]], weights: Array, bins: int
) -> Iterator[tuple[Array, Array]]:
    """Yield what ridge regressions leave of the targets of learned and of held-out rows.

    The variance of the targets is 1.
    """
    y = ranked_responses(data.target)
    y = y[:, np.argsort(-y.sum(axis=0), kind="stable")[:MOST_OUTPUTS]]
    variance = max(y.var(axis=0).sum(), np.finfo(float).tiny)  # of equal targets, it is 0
    y = (y - y.mean(axis=0)) / np.sqrt(variance)
    encoding = Encoding.of(data.table, data.columns, [learn for learn, _ in pairs], bins)
    for member, (learn, out) in enumerate(pairs):
        x = encoding.rows(data.table, member)
        ((slopes, biases),) = linear.ridge(x[learn], y[learn], weights[learn], [DECAY], y.shape[1])
        errors = [y[rows] - (np.asarray(x[rows]) @ slopes + biases) for rows in (learn, out)]
        yield errors[0], errors[1]


def _costs(
    value: RowIndex,
    weights: Array,
    learn: RowIndex,
    out: RowIndex,
    of_learned: Array,
    of_held_out: Array,
) -> tuple[Array, Array]:
    """Return squared errors of held-out rows by means of neighbours, and by those of each value.

    Rows have the number of their value, and learned and held-out ones what is left of the target.
    """
    count, weights = value.max() + 1, weights[learn]
    rows = np.bincount(value[learn], weights, count)[:, np.newaxis]
    totals = sums_by(value[learn], weights[:, np.newaxis] * of_learned, count)
    near = _with_neighbours(totals) / np.maximum(_with_neighbours(rows), SMALLEST)
    own = (totals + PRIOR_ROWS * near) / (rows + PRIOR_ROWS)
    before, after = (np.sum((of_held_out - by[value[out]]) ** 2, axis=1) for by in (near, own))
    return before, after


def _with_neighbours(values: Array) -> Array:
    """Return the sum of each row and of those near it."""
    padded = np.pad(values, [(NEIGHBOURS, NEIGHBOURS), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEIGHBOURS + 1, axis=0)
    return np.asarray(windows.sum(axis=-1))
