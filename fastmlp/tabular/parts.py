"""Tables trained in random parts of their rows, on any machines, and joined to one estimator.

All parts have the columns of the whole table. Their networks make one blend, which is calibrated on
a sample of rows: the networks of the other parts, and those that hold a row out, predict it.
"""

from __future__ import annotations

import copy
import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastmlp.sklearn.parameters import copy_with_state
from fastmlp.tabular import data_warnings, folds
from fastmlp.tabular.blend import Blend, BlendResult, blended
from fastmlp.tabular.columns import Array, Columns, Table

MOST_ROWS = 50_000  # rows of all parts together that show the columns, and that calibrate
BULKY = ("_rows", "_out", "_out_of_fold", "_row_weights", "_captured", "_given")


class Rows(NamedTuple):
    """Some rows: a frame or array, its targets, and its weights and groups if there are any."""

    X: Any
    y: Any
    sample_weight: Any = None
    groups: Any = None

    def take(self, places: Array) -> Rows:
        """Return the rows at some places."""
        return Rows(
            *(each if each is None else getattr(each, "iloc", each)[places] for each in self)
        )

    def used(self) -> Array:
        """Return the places of the rows whose weight is not 0."""
        given = self.sample_weight
        return np.flatnonzero(np.full(len(self.X), True) if given is None else given != 0)


class Summary(NamedTuple):
    """Facts about a block of rows."""

    n: int
    used: int  # rows whose weight is not 0
    sample: Any  # rows that show the columns
    having: dict[Any, tuple[int, Rows]]  # a place and its row, by a property that each part needs
    groups: dict[Any, int]  # numbers of used rows
    classes: Counter[Any]  # the same


def summary(estimator: Any, block: Rows, seed: int, most: int) -> Summary:
    """Summarize a block, with a sample of at most so many rows and those of unusual values."""
    n = len(block.X)
    if n == 0:
        return Summary(0, 0, block.X, {}, {}, Counter())
    X = copy_with_state(estimator, vars(estimator))._checked(block.X, reset=True)
    columns = Columns.of(X, estimator.categorical_features)
    table, y = columns.read(X), np.asarray(block.y)
    places = [0, *np.random.default_rng(seed).permutation(n)[:most]]
    for codes in table.codes.T:
        places.extend(np.unique(codes, return_index=True)[1])
    for numbers in table.numbers.T:
        places.extend([np.nanargmin(numbers), np.nanargmax(numbers)])
    used = block.used()
    having: dict[Any, Array] = {
        place: np.isnan(table.numbers[:, k]) for k, (place, _) in enumerate(columns.numbers)
    }
    classes = Counter[Any]()
    if hasattr(estimator, "predict_proba") and y.ndim == 1:
        classes.update(y[used].tolist())
        having |= {("class", label): y == label for label in dict.fromkeys(y)}
    found = {key: used[rows[used]][:1] for key, rows in having.items()}
    rare = {key: (int(at[0]), block.take(at)) for key, at in found.items() if len(at)}
    groups = {}
    if block.groups is not None:
        folds.numbered(block.groups)  # refuses missing ones
        values, sizes = np.unique(np.asarray(block.groups)[used], return_counts=True)
        groups = dict(zip(values.tolist(), sizes.tolist(), strict=True))
    return Summary(n, len(used), block.take(np.unique(places)).X, rare, groups, classes)


def balanced(estimator: Any, summaries: Sequence[Summary]) -> Any:
    """Return an estimator whose balanced weights of classes are those of all parts together."""
    count = sum((each.classes for each in summaries), Counter[Any]())
    is_date = any(isinstance(label, datetime.date) for label in count)  # no keys of class_weight
    if is_date or not count or estimator.class_weight != "balanced":
        return estimator
    weights = {label: count.total() / (len(count) * n) for label, n in count.items()}
    return copy_with_state(estimator, {**vars(estimator), "class_weight": weights})


def shared(summaries: Sequence[Summary]) -> dict[tuple[int, int], Rows]:
    """Return a row for each property that some block has, by the block and its place there."""
    seen: dict[Any, tuple[tuple[int, int], Rows]] = {}
    for k, each in enumerate(summaries):
        for key, (place, row) in each.having.items():
            seen.setdefault(key, ((k, place), row))
    return dict(seen.values())


def part_of_group(
    sizes: Mapping[Any, int], common: set[Any], parts: int, seed: int
) -> dict[Any, int]:
    """Divide groups of these sizes at random into parts of about equal numbers of rows.

    Each part also has rows of the ``common`` groups; ValueError if one has a single group.
    """
    order = np.random.default_rng(seed).permutation(len(sizes)).tolist()
    each = folds.balanced(np.array([*sizes.values()]), parts, order)
    found = dict(zip(sizes, each.tolist(), strict=True))
    for k in set(found.values()):
        own = [group for group, part in found.items() if part == k]
        if len(common.union(own)) < 2:
            raise ValueError(
                f"group {own[0]!r} has {sizes[own[0]]:,} of {sum(sizes.values()):,} rows and would "
                f"be alone in one of {parts} parts but at least two groups are expected in each: "
                "pass fewer parts=, or divide the group"
            )
    return found


def divided(
    block: Rows, without: list[int], seed: int, parts: int, of_group: Mapping[Any, int]
) -> list[Rows]:
    """Divide the used rows of a block, but for some, at random into parts of about equal sizes."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.setdiff1d(block.used(), without))
    part = (np.arange(len(order)) - rng.integers(parts)) % parts
    if of_group:
        groups = np.asarray(block.groups).reshape(-1)[order].tolist()
        part = np.array([of_group[group] for group in groups], np.int64)
    return [block.take(order[part == k]) for k in range(parts)]


class Part(NamedTuple):
    """The result of one part: its estimator's state, and a sample of its rows for calibration."""

    rows: int
    state: dict[str, Any]
    fitted: BlendResult
    table: Table
    y: Array
    weights: Array
    groups: Array | None
    out_of_fold: Array
    out: list[Array]  # places in the sample that the k-th member of each recipe holds out


class _Alone:
    """Mixin of an estimator of one part: it gets its columns, and is calibrated with the others."""

    _given: Columns
    _captured: Any

    def _columns_of(self, X: Any) -> Columns:
        return self._given

    def _data_notes(self, columns: Columns, table: Table) -> list[str]:
        return data_warnings.texts(columns, table)  # the warning is one of the whole table

    def _finish(self, *captured: Any) -> dict[str, str]:
        self._captured = captured
        return {}


def trained(estimator: Any, columns: Columns, rows: Rows, n: int, seed: int, most: int) -> Part:
    """Train a part; of its first n rows, those of no other part's groups, ``most`` calibrate."""
    rng = np.random.default_rng(seed)
    alone: Any = object.__new__(type("Alone", (_Alone, type(estimator)), {}))
    options = {**estimator.get_params(deep=False), "random_state": seed, "_given": columns}
    alone.__dict__.update(options)
    alone._train(*rows, None, None)
    target, fitted, weights, _ = alone._captured
    used = np.arange(len(alone._rows[0]))
    if alone._row_weights is not None:
        used = np.flatnonzero(alone._row_weights)
    given = used if alone.rows_ is None else alone.rows_[used]
    own, groups = given < n, None
    if rows.groups is not None:
        numbers = folds.numbered(rows.groups)
        groups = numbers[given]
        own &= ~np.isin(groups, numbers[n:])
    some = np.sort(rng.permutation(np.flatnonzero(own))[:most])
    place = np.full(len(used), -1)
    place[some] = np.arange(len(some))
    for each in fitted.trained:
        each.held_out = None
    return Part(
        n,
        {name: value for name, value in vars(alone).items() if name not in BULKY},
        replace(fitted, out_of_fold=None, division=replace(fitted.division, learn=[], out=[])),
        alone._rows[0].take(used[some]),
        target.y[some],
        np.ones(len(some)) if weights is None else weights[some],
        None if groups is None else groups[some],
        fitted.out_of_fold[some],
        [place[rows][place[rows] >= 0] for rows in fitted.division.out],
    )


def judged(parts: Sequence[Part], k: int) -> Array:
    """Return predictions for the sample of part k: by the other parts, and by its own members."""
    shares = [part.rows / sum(each.rows for each in parts) for part in parts]
    table, own = parts[k].table, parts[k].out_of_fold
    each = [own if at == k else part.fitted.blend.predict(table) for at, part in enumerate(parts)]
    return blended(shares, each)


def merged(
    estimator: Any, parts: Sequence[Part], found: Sequence[Array], n: int, seconds: float
) -> Any:
    """Return an estimator of all parts of n rows; ``found`` are the results of `judged`."""
    rows, first = [part.rows for part in parts], parts[0]
    results = [part.fitted for part in parts]
    groups = [group for result in results for group in result.blend.groups]
    least = min(len(group.ensemble) for group in groups)  # files have as many in each group
    table = Table(
        np.concatenate([part.table.numbers for part in parts]),
        np.concatenate([part.table.codes for part in parts]),
    )
    begin = np.cumsum([0, *(len(part.table) for part in parts)])
    out = [
        np.concatenate([at + part.out[k] for at, part in zip(begin, parts, strict=False)])
        for k in range(least)
    ]
    target = copy.copy(groups[0].target)
    target.y = np.concatenate([part.y for part in parts])
    weights, prediction = np.concatenate([part.weights for part in parts]), np.concatenate(found)
    given = None if np.all(weights == weights[0]) else weights
    # Groups are numbers below n in each part, and those of different parts are different ones.
    each = [part.groups + n * k for k, part in enumerate(parts) if part.groups is not None]
    of_rows = folds.numbered(np.concatenate(each)) if each else None
    cost = float(np.average(target.costs(prediction), weights=given))
    model = copy_with_state(estimator, {**first.state, **estimator.get_params(deep=False)})
    model._trained_with = estimator.get_params(deep=False)
    result = BlendResult(
        Blend(
            [group.of_first(least) for group in groups],
            np.concatenate(
                [k / sum(rows) * each.blend.weights for k, each in zip(rows, results, strict=True)]
            ),
        ),
        prediction,
        float(np.average([each.alone for each in results], weights=rows)),
        cost,
        cost,
        [group for result in results for group in result.trained],
        replace(first.fitted.division, out=out),
        [
            *(note for each in results for note in each.notes),
            f"trained in {len(parts)} random parts",
        ],
    )
    model._members = result.blend
    more = model._finish(target, result, given, of_rows)
    model._set_fitted(result, target, table, np.arange(len(table)))
    model._rows, model._row_weights, model._importance = (table, target), given, None
    model._report = model._reported(result, target, n, {"training": seconds}, more)
    return model
