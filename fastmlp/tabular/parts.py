"""Tables trained in random parts of their rows, on any machines, and joined to one estimator.

All parts have the columns of the whole table. Their networks make one blend, which is calibrated on
a sample of rows: the networks of the other parts, and those that hold a row out, predict it.

Summaries of all blocks of rows make a plan, each part is trained by it, and the results are merged;
docs/guides/spark.md is a program that does so.
"""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastmlp._core.intervals import check_count
from fastmlp.tabular.fit import reading
from fastmlp.tabular.fit.reading import TableChunk
from fastmlp.tabular.fit.training import assembled, calibrated, reported, train
from fastmlp.tabular.fitted.fitted_table import HeldOut
from fastmlp.tabular.plan import folds
from fastmlp.tabular.plan.folds import ScoredRows
from fastmlp.tabular.recipe import monotone
from fastmlp.tabular.recipe.blend import Blend, BlendResult, blended
from fastmlp.tabular.recipe.epoch_selection import mean_cost
from fastmlp.tabular.table import data_warnings
from fastmlp.tabular.table.columns import Array, Columns, Table
from fastmlp.tabular.table.frames import is_frame

MAX_SAMPLED_ROWS = 50_000  # rows of all parts together that show the columns, and that calibrate
LEAST_ROWS = 1_000  # a part has these, unless the user sets the number of parts
MOST_BYTES = 2.0**28  # a part may have these
MEMORY_SHARE = 1 / 8  # a fit copies the rows of a part, which get this share of a worker's


class Summary(NamedTuple):
    """Facts about a block of rows."""

    n: int
    used: int  # rows whose weight is not 0
    size: int  # bytes
    sample: Any  # rows that show the columns
    # For each property, such as a class, the first row that has it and where it is in the block.
    having: dict[Any, tuple[int, TableChunk]]
    groups: dict[Any, int]  # numbers of used rows
    classes: Counter[Any]  # numbers of used rows


def summary(model: Any, block: TableChunk, seed: int, max_rows: int) -> Summary:
    """Say what one part of a table contains: the first step of a training in parts.

    It has a sample of some rows, and those of unusual values.

    Parameters
    ----------
    model : TabMLPClassifier or TabMLPRegressor
        An estimator with the parameters of the fit, which is not changed.
    block : TableChunk
        Rows, of which there may be none.
    seed : int
        Decides on the sample; another one for each block.
    max_rows : int
        Most rows of the sample, without those of unusual values.

    Returns
    -------
    Summary
        Facts for `Plan.of`; it can be pickled.

    Raises
    ------
    TypeError, ValueError
        If the rows are invalid.
    """
    n = len(block.X)
    if n == 0:
        return Summary(0, 0, 0, block.X, {}, {}, Counter())
    X = reading.checked(block.X, model.target_class.estimator)
    columns = Columns.of(X, model.categorical_features)
    table, y = columns.read(X), np.asarray(block.y)
    places = [0, *np.random.default_rng(seed).permutation(n)[:max_rows]]
    for codes in table.codes.T:
        places.extend(np.unique(codes, return_index=True)[1])
    for numbers in table.numbers.T[: len(columns.numbers)]:
        places.extend([np.nanargmin(numbers), np.nanargmax(numbers)])
    used = block.used()
    having: dict[Any, Array] = {
        place: np.isnan(table.numbers[:, k]) for k, (place, _) in enumerate(columns.numbers)
    }
    classes = Counter[Any]()
    if model.target_class.kind == "classes" and y.ndim == 1:
        classes.update(y[used].tolist())
        having |= {("class", label): y == label for label in dict.fromkeys(y)}
    first = {key: used[rows[used]][:1] for key, rows in having.items()}
    rare = {key: (int(at[0]), block.take(at)) for key, at in first.items() if len(at)}
    groups = {}
    if block.groups is not None:
        folds.numbered(block.groups)  # refuses missing ones
        values, sizes = np.unique(np.asarray(block.groups)[used], return_counts=True)
        groups = dict(zip(values.tolist(), sizes.tolist(), strict=True))
    size = int(X.memory_usage(deep=True).sum()) if is_frame(X) else X.nbytes
    sample = block.take(np.unique(places)).X
    return Summary(n, len(used), size, sample, rare, groups, classes)


class Plan(NamedTuple):
    """Facts about the whole table, which all machines must know that train a part of it."""

    parameters: Mapping[str, Any]  # weights of classes are those of all rows
    columns: Columns
    example: Any  # a row
    shared: dict[tuple[int, int], TableChunk]  # rows of all parts, by block and place there
    rows: int
    used: int  # rows whose weight is not 0
    size: int  # bytes
    groups: Counter[Any]  # numbers of used rows

    @classmethod
    def of(
        cls, model: Any, summaries: Sequence[Summary], join: Callable[[Sequence[Any]], Any]
    ) -> Plan:
        """Return the plan of a fit.

        Parameters
        ----------
        model : TabMLPClassifier or TabMLPRegressor
            That of the summaries.
        summaries : sequence of Summary
            Of all blocks, in an order that is always the same.
        join : callable
            Returns a list of frames as one, such as ``pandas.concat``.
        """
        parameters, groups = model.get_params(deep=False), Counter[Any]()
        sample = _joined([part.sample for part in summaries], join)
        checked = reading.checked(sample, model.target_class.estimator)
        columns = Columns.of(checked, parameters["categorical_features"])
        model.target_class.warn_of(parameters)
        data_warnings.check_columns(columns, columns.read(checked))
        for part in summaries:
            groups.update(part.groups)
        rows, used, size = (
            sum(getattr(part, name) for part in summaries) for name in ("n", "used", "size")
        )
        weights, common = balanced(parameters, summaries), shared(summaries)
        return cls(weights, columns, sample[:1], common, rows, used, size, groups)

    @property
    def common(self) -> set[Any]:
        """The groups of rows that all parts get."""
        rows = self.shared.values() if self.groups else ()
        return {group for row in rows for group in np.ravel(row.groups).tolist()}

    def n_parts(self, parts: int | None, memory: float) -> int:
        """Return the number of parts.

        Parameters
        ----------
        parts : int, optional
            The number that the user wants; None for as many as memory needs.
        memory : float
            Bytes that a worker has.

        Raises
        ------
        ValueError
            If there are too few rows for so many parts.
        """
        rows = "rows" if self.used == self.rows else "rows with a weight"
        numbers = {rows: (self.used, len(self.shared), LEAST_ROWS)}
        if self.groups:
            numbers["groups"] = len(self.groups), len(self.common), 2
        if parts is None:
            power = 2.0 ** (math.frexp(memory)[1] - 1) if memory < math.inf else math.inf
            count = math.ceil(self.size / min(MOST_BYTES, MEMORY_SHARE * power))
            most = [(n - shared) // least for n, shared, least in numbers.values()]
            parts = max(1, min(count, *most))
        count = check_count("parts", parts, example=2)
        for name, (n, shared, _) in numbers.items():
            if n - shared < 2 * count:
                raise ValueError(
                    f"there are {n} {name} for {count} parts but at least {shared + 2 * count} are "
                    f"expected: pass more {name}, or fewer parts="
                )
        return count


def balanced(parameters: Mapping[str, Any], summaries: Sequence[Summary]) -> Mapping[str, Any]:
    """Return parameters whose balanced weights of classes are those of all parts together."""
    count = sum((part.classes for part in summaries), Counter[Any]())
    is_date = any(isinstance(label, datetime.date) for label in count)  # no keys of class_weight
    if is_date or not count or parameters["class_weight"] != "balanced":
        return parameters
    weights = {label: count.total() / (len(count) * n) for label, n in count.items()}
    return {**parameters, "class_weight": weights}


def shared(summaries: Sequence[Summary]) -> dict[tuple[int, int], TableChunk]:
    """Return a row for each property that some block has, by the block and its place there."""
    seen: dict[Any, tuple[tuple[int, int], TableChunk]] = {}
    for k, summary_of_block in enumerate(summaries):
        for key, (place, row) in summary_of_block.having.items():
            seen.setdefault(key, ((k, place), row))
    return dict(seen.values())


def part_of_group(
    sizes: Mapping[Any, int], common: set[Any], parts: int, seed: int
) -> dict[Any, int]:
    """Divide groups of these sizes at random into parts of about equal numbers of rows.

    Each part also has rows of the ``common`` groups; ValueError if one has a single group.
    """
    order = np.random.default_rng(seed).permutation(len(sizes)).tolist()
    numbers = folds.balanced(np.array([*sizes.values()]), parts, order)
    parts_of_groups = dict(zip(sizes, numbers.tolist(), strict=True))
    for k in set(parts_of_groups.values()):
        members = [group for group, part in parts_of_groups.items() if part == k]
        if len(common.union(members)) < 2:
            n, total = sizes[members[0]], sum(sizes.values())
            raise ValueError(
                f"group {members[0]!r} has {n:,} of {total:,} rows and would be alone in one of "
                f"{parts} parts but at least two groups are expected in each: pass fewer parts=, "
                "or divide the group"
            )
    return parts_of_groups


def divided(
    block: TableChunk, without: list[int], seed: int, parts: int, of_group: Mapping[Any, int]
) -> list[TableChunk]:
    """Divide the used rows of a block at random, without some, into parts of about equal sizes."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.setdiff1d(block.used(), without))
    part = (np.arange(len(order)) - rng.integers(parts)) % parts
    if of_group:
        groups = np.asarray(block.groups).reshape(-1)[order].tolist()
        part = np.array([of_group[group] for group in groups], np.int64)
    return [block.take(order[part == k]) for k in range(parts)]


def _joined(pieces: Sequence[Any], join: Callable[[Sequence[Any]], Any]) -> Any:
    """Return arrays or frames as one."""
    return join(pieces) if hasattr(pieces[0], "iloc") else np.concatenate(pieces)


class Part(NamedTuple):
    """The result of one part, and a sample of its rows for the calibration of all."""

    rows: int
    columns: Columns
    feature_names: Array | None
    result: BlendResult
    table: Table
    y: Array
    weights: Array
    groups: Array | None
    times: Array | None
    earlier: Array | None  # see `folds.ScoredRows`
    out_of_fold: Array
    out: list[Array]  # places in the sample that the k-th member of each recipe holds out


def trained(
    model: Any,
    plan: Plan,
    blocks: Sequence[TableChunk],
    seed: int,
    max_rows: int,
    join: Callable[[Sequence[Any]], Any],
) -> Part:
    """Train networks on one part of a table; the plan is that of the whole table.

    It also samples the rows that calibrate all parts.

    Parameters
    ----------
    model : TabMLPClassifier or TabMLPRegressor
        That of the plan.
    plan : Plan
        The plan of all parts.
    blocks : sequence of TableChunk
        The rows of the part: random ones of all rows, and all rows of a group, if there are groups.
    seed : int
        Decides on all that is random; another one for each part.
    max_rows : int
        Most rows of the sample, such as 50,000 divided by the number of parts.
    join : callable
        Returns a list of frames as one, such as ``pandas.concat``.

    Returns
    -------
    Part
        Networks and sample, for `merged`; it can be pickled.
    """
    fields = zip(*blocks, *plan.shared.values(), strict=True)
    rows = TableChunk(*(None if values[0] is None else _joined(values, join) for values in fields))
    n, rng = sum(len(block.X) for block in blocks), np.random.default_rng(seed)
    parameters = {**plan.parameters, "random_state": seed}
    try:
        made = train(model.target_class, parameters, rows, columns=plan.columns)
    except (TypeError, ValueError) as error:
        error.add_note(f"this is said of one part of the table, {n:,} rows drawn at random")
        raise
    read, result, scored = made.reading, made.result, made.reading.data.scored
    used = read.used[scored.rows]
    places = used if read.rows.sampled is None else read.rows.sampled[used]
    alone, groups = places < n, None
    if rows.groups is not None:
        numbers = folds.numbered(rows.groups)
        groups = numbers[places]
        alone &= ~np.isin(groups, numbers[n:])
    sample = np.sort(rng.permutation(np.flatnonzero(alone))[:max_rows])
    place = np.full(len(read.used), -1)
    place[scored.rows[sample]] = np.arange(len(sample))
    nothing: Any = None  # it stands for arrays of all rows
    result = replace(result, trained=[replace(one, held_out=nothing) for one in result.trained])
    return Part(
        n,
        read.rows.columns,
        read.rows.feature_names,
        replace(
            result,
            out_of_fold=nothing,
            ahead=None,
            division=replace(result.division, learn=[], out=[]),
        ),
        read.data.table.take(scored.rows[sample]),
        scored.target.y[sample],
        np.ones(len(sample)) if scored.weights is None else scored.weights[sample],
        None if groups is None else groups[sample],
        None if scored.times is None else scored.times[sample],
        None if scored.earlier is None else scored.earlier[sample],
        result.out_of_fold[sample],
        [place[rows][place[rows] >= 0] for rows in result.division.out],
    )


def predicted(parts: Sequence[Part], k: int) -> Array:
    """Return predictions for the sample of part k: by the other parts, and by its own members.

    If rows have times, the others may have learned from later rows, and do not count.
    """
    if parts[k].times is not None:
        return parts[k].out_of_fold
    shares = [part.rows / sum(other.rows for other in parts) for part in parts]
    predictions = [
        part.out_of_fold if at == k else part.result.blend.predict(parts[k].table)
        for at, part in enumerate(parts)
    ]
    return blended(shares, predictions)


def merged(
    model: Any,
    plan: Plan,
    parts: Sequence[Part],
    predictions: Sequence[Array] | None = None,
    seconds: float = 0.0,
    why: str = "",
) -> Any:
    """Join the networks that were trained on the parts of a table to one estimator.

    Parameters
    ----------
    model : TabMLPClassifier or TabMLPRegressor
        That of the plan, which is not changed.
    plan : Plan
        The plan of all parts.
    parts : sequence of Part
        The results of `trained`, in an order that is always the same.
    predictions : sequence of arrays, optional
        Those of `predicted` for each part; by default they are computed here.
    seconds : float
        How long the fit took, for the report.
    why : str
        Why there are so many parts, for the report.

    Returns
    -------
    TabMLPClassifier or TabMLPRegressor
        The fitted estimator.
    """
    if predictions is None:
        predictions = [predicted(parts, k) for k in range(len(parts))]
    n = plan.rows
    rows, first = [part.rows for part in parts], parts[0]
    results = [part.result for part in parts]
    groups = [group for result in results for group in result.blend.groups]
    least = min(len(group) for group in groups)  # files have as many in each group
    table = first.table.joined(*(part.table for part in parts[1:]))
    begin = np.cumsum([0, *(len(part.table) for part in parts)])
    out = [
        np.concatenate([at + part.out[k] for at, part in zip(begin, parts, strict=False)])
        for k in range(least)
    ]
    target = groups[0].target.with_rows(np.concatenate([part.y for part in parts]))
    weights = np.concatenate([part.weights for part in parts])
    whole = np.concatenate(predictions)
    unequal = None if np.all(weights == weights[0]) else weights
    # Groups are numbers below n in each part, and those of different parts are different ones.
    numbers = [part.groups + n * k for k, part in enumerate(parts) if part.groups is not None]
    of_rows = folds.numbered(np.concatenate(numbers)) if numbers else None
    cost = mean_cost(target, whole, target.cost_weights(unequal))
    shares = [k / sum(rows) * part.blend.weights for k, part in zip(rows, results, strict=True)]
    size = plan.size / len(parts) / 1e6
    result = BlendResult(
        Blend([group.of_first(least) for group in groups], np.concatenate(shares)),
        whole,
        float(np.average([part.alone for part in results], weights=rows)),
        cost,
        cost,
        [group for part in results for group in part.trained],
        replace(first.result.division, out=out),
        [note for part in results for note in part.notes],
    )
    result.notes.append(f"trained in {len(parts)} random parts of {size:,.0f} MB{why}")
    times = earlier = None
    if first.times is not None:
        times = np.concatenate([part.times for part in parts])
        earlier = np.concatenate([part.earlier for part in parts])
    scored = ScoredRows(np.arange(len(whole)), target, unequal, of_rows, times, earlier)
    calibration, more, result = calibrated(scored, result, monotone.is_set(plan.parameters))
    held_out = HeldOut(result.out_of_fold, out, unequal, earlier=earlier)
    columns, names = first.columns.with_typical(table, np.flatnonzero(weights)), first.feature_names
    report = reported(result, columns, target, n, {"training": seconds}, more)
    parameters, rows_of_fit = model.get_params(deep=False), (table, target)
    return model.with_fitted(
        assembled(parameters, columns, names, result, calibration, held_out, report, rows_of_fit)
    )
