"""Columns that say nothing about the target: found by quick fits, left out if that pays.

Two thirds of the rows choose. Networks that are trained quickly on folds of them say which columns
they need: a column whose values are of no use to held-out rows may as well be permuted (Breiman
2001, "Random forests", section 10). Networks without these columns say more clearly which of the
others they need, and so on. Of these sets, the one with the lowest cost of held-out rows is chosen.

Whoever tries many sets finds one that is better by chance. So the last third of the rows, which had
no part in the choice, judges: the columns are left out if these rows are predicted better without
them by more than twice the standard error of the difference.

Of several targets, one may need a column that the others do not, and hardly counts in their mean.
So each has a say: a column that one of them needs stays, and a set that one is predicted worse by
is refused.

To permute each of many columns takes time that grows with their square. Of more than
`MOST_PERMUTED` columns a quarter remains, and again: those with the largest weights, and those that
say most alone, since few rows teach many weights little (Fan and Lv 2008, "Sure independence
screening").
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.outcome.targets import MultiLabelTarget, NumericTarget, Target, baseline
from fastmlp.tabular.plan.folds import FitRows, Splits, at_most, parts_for, sums_by
from fastmlp.tabular.plan.presets import NEARLY_EXACT, Preset, Recipe, epochs_of
from fastmlp.tabular.recipe.epoch_selection import (
    gain_and_error,
    is_gain,
    ranked,
)
from fastmlp.tabular.recipe.members import Members, TrainingOptions, seconds_of_epoch, train
from fastmlp.tabular.table.columns import Array, Columns, RowIndex, Table
from fastmlp.tabular.table.encoding import width_of, with_missing

QUICK = Preset(folds=3, repeats=1, epochs=24, recipes=(Recipe(bins=8, width=64),))
# Where a relation is nearly exact, quick fits are too coarse for a column of a small effect, which
# the networks of the fit learn: there longer fits judge.
LONGER = replace(QUICK, epochs=4 * QUICK.epochs)
PARTS = Preset(folds=3, repeats=1, epochs=1, recipes=())  # of the rows; the last one judges
FEWEST_CHOOSING, FEWEST_JUDGING = 64, 32  # with fewer rows no column is left out
MOST_CHOOSING, MOST_JUDGING = 3_500, 1_750  # more rows take more time, and hardly say more
MOST_PERMUTED = 64  # so many columns are permuted one by one, at most
KEPT_SHARE = 1 / 4  # of more columns
MOST_SETS = 3  # sets of so few columns that are tried
# A column is needed if permuting it costs more than this multiple of the standard error.
NEEDED = 1.0
TIME_SHARE = 1 / 4  # largest share of a time limit
NOTHING = "held-out rows are predicted better without it"


class Selection(NamedTuple):
    """The columns to leave out, each by its place in the table and with the reason."""

    left_out: dict[int, str]
    notes: list[str]


class Candidate(NamedTuple):
    """A set of columns, by their places in the table."""

    places: list[int]
    cost: float  # of held-out rows among those that choose
    judged: Array  # predictions of the rows that judge
    targets: int


@dataclass(frozen=True)
class Chooser:
    """Quick fits with some of the columns, on the rows that choose."""

    data: FitRows
    division: Splits
    judging: FitRows
    options: TrainingOptions
    seed: int

    @classmethod
    def of(
        cls,
        data: FitRows,
        options: TrainingOptions,
        rng: np.random.Generator,
        most: int = MOST_CHOOSING,
    ) -> Chooser | None:
        """Part the rows of a fit in those that choose, at most so many, and those that judge.

        Return None if there are too few.
        """
        data = replace(data, group_parts=parts_for(QUICK.networks_of(len(data.table))))
        try:
            parts = Splits.of(data, PARTS, rng)
            choose, judge = (
                at_most(count, rows, rng)
                for count, rows in ((most, parts.learn[-1]), (MOST_JUDGING, parts.out[-1]))
            )
            if len(choose) < FEWEST_CHOOSING or len(judge) < FEWEST_JUDGING:
                return None
            choosing = data.take(choose)
            division = Splits.of(choosing, QUICK, rng)
        except ValueError:  # a part has too few groups or events, which those of the fit may have
            return None
        quick = replace(
            options, preset=QUICK, deadline=None, scorer=None, callbacks=(), verbose=False
        )
        return cls(choosing, division, data.take(judge), quick, int(rng.integers(2**63)))

    def takes_long(self, deadline: float | None) -> bool:
        """Whether quick fits would take too much of the time until a deadline."""
        if deadline is None:
            return False
        data, learn = self.data, self.division.learn
        (recipe,) = QUICK.recipes_for(data.target.kind, data.columns)
        width = width_of(data.columns, len(with_missing(data.columns, data.table)), recipe.bins)
        rows, n_threads = max(map(len, learn)), self.options.n_threads
        epoch = seconds_of_epoch(recipe, width, data.target, rows, len(learn), n_threads)
        seconds = MOST_SETS * epochs_of(QUICK, recipe, len(data.table)) * epoch
        return seconds > TIME_SHARE * (deadline - time.monotonic())

    def candidates(self) -> list[Candidate]:
        """Return the set of all columns, then smaller and smaller ones."""
        rng, found = np.random.default_rng(self.seed), list[Candidate]()
        places = self.data.columns.places
        while True:
            candidate, data, group = self.trained(self.data.columns.only(places))
            found.append(candidate)
            if len(places) > MOST_PERMUTED:
                size = max(MOST_PERMUTED, int(KEPT_SHARE * len(places)))
                y, are_several = ranked_responses(data.target), candidate.targets > 1
                measures = (
                    weights_by_column(data.columns, group),
                    explained_alone(data.columns, data.table, y, are_several),
                )
                orders = (np.argsort(-values, kind="stable") for values in measures)
                best = [*dict.fromkeys(np.column_stack([*orders]).reshape(-1).tolist())]
                needed = np.isin(np.arange(len(places)), best[:size])
            else:
                needed = are_needed(data, self.division.out, group, rng)
            few = sum(len(one.places) <= MOST_PERMUTED for one in found)
            if few == MOST_SETS or needed.all() or not needed.any():
                return found
            places = [place for place, is_needed in zip(places, needed, strict=True) if is_needed]

    def trained(self, columns: Columns) -> tuple[Candidate, FitRows, Members]:
        """Train networks quickly with columns that are made of those of the rows."""
        data = self.data.with_columns(columns)
        (recipe,) = QUICK.recipes_for(data.target.kind, data.columns)
        options = replace(self.options, rng=np.random.default_rng(self.seed))
        result = train(recipe, data, self.division, options)
        if result.stopped:
            raise KeyboardInterrupt
        scored = data.scored
        joint = result.held_out.joint(scored.target)
        weights = scored.cost_weights
        costs = costs_of_targets(scored.target, scored.target.calibrated(joint, weights))
        cost = float(np.average(mean_of_targets(costs), weights=weights))
        judged = result.members.predict(columns.part(self.judging.table, self.data.columns))
        candidate = Candidate(columns.places, cost, judged, costs.shape[1])
        return candidate, data, result.members

    def costs(self, candidate: Candidate) -> Array:
        """Return the costs of the rows that judge, (n, targets)."""
        target = self.judging.target
        return costs_of_targets(target, target.calibrated(candidate.judged, self.weights))

    def is_better(self, before: Array, after: Array) -> bool:
        """Whether the rows that judge have lower costs, in the mean, and no target has higher ones.

        See `costs`.
        """
        gain, error = gain_and_error(after, before, self.weights)
        is_worse = after.shape[1] > 1 and np.any(gain > needed_errors(after.shape[1]) * error)
        return not is_worse and is_gain(
            mean_of_targets(before), mean_of_targets(after), self.weights
        )

    @property
    def weights(self) -> Array | None:
        """The weights of the costs of the rows that judge; None if equal."""
        target: Target = self.judging.target
        return target.cost_weights(self.judging.weights.scores)


def select(data: FitRows, options: TrainingOptions, rng: np.random.Generator) -> Selection:
    """Return the columns without which rows that did not choose them are predicted better."""
    nothing = Selection({}, [])
    if len(data.columns.used) < 2 or np.isnan(data.target.y).any():
        return nothing
    chooser = Chooser.of(data, options, rng)
    if chooser is None:
        return nothing
    if chooser.takes_long(options.deadline):
        return Selection({}, ["no column was tried for leaving it out, because of time_limit"])
    whole, *others = chooser.candidates()
    best = min([whole, *others], key=lambda one: ranked(one.cost))
    if best is whole:
        return nothing
    judging, weights = chooser.judging, chooser.weights
    constant = baseline(judging.target, judging.weights.scores)
    before, after = (chooser.costs(one) for one in (whole, best))
    explained = constant.explained(judging.target, mean_of_targets(after), weights)
    if chooser.is_better(before, after) and explained is not None and explained > NEARLY_EXACT:
        longer = replace(chooser, options=replace(chooser.options, preset=LONGER))
        sets = (chooser.data.columns.only(one.places) for one in (whole, best))
        before, after = (longer.costs(longer.trained(columns)[0]) for columns in sets)
    if not chooser.is_better(before, after):
        return nothing
    shown, means = judging.target.shown, map(mean_of_targets, (before, after))
    scores = [shown(float(np.average(costs, weights=weights))) for costs in means]
    note = (
        f"{len(best.places)} of {len(whole.places)} columns are used: without the others, rows "
        f"that did not choose them had {judging.target.metric} {scores[1]:.3g} in place of "
        f"{scores[0]:.3g} in quick fits; select=False uses all"
    )
    left_out = set(whole.places).difference(best.places)
    return Selection(dict.fromkeys(sorted(left_out), NOTHING), [note])


def costs_of_targets(
    target: Target, prediction: Array, rows: RowIndex | slice = slice(None)
) -> Array:
    """Return the costs of rows for each target, (n, targets); classes and quantiles are one."""
    if target.outputs_are_columns and np.ndim(target.y) > 1 and target.y.shape[1] > 1:
        assert isinstance(target, NumericTarget | MultiLabelTarget)
        return target.costs_of_outputs(prediction, rows)
    return target.costs(prediction, rows)[:, np.newaxis]


def mean_of_targets(costs: Array) -> Array:
    """Return the mean over targets of costs, (n, targets)."""
    return np.asarray(costs[:, 0] if costs.shape[1] == 1 else costs.mean(axis=1))


def needed_errors(targets: int) -> float:
    """Return the standard errors by which one of so many targets has to need a column.

    One of many does so by chance as seldom as a single one by `NEEDED`.
    """
    normal = NormalDist()
    return normal.inv_cdf(1 - (1 - normal.cdf(NEEDED)) / targets)


def weights_by_column(columns: Columns, group: Members) -> Array:
    """Return the sum of the squared weights of each column's own inputs, numbers first."""
    sums, of_input = np.zeros(columns.n_numbers + len(columns.categories)), group.encoding.columns
    for network in group.networks:
        kinds = network.parameters()
        weights = kinds["weights"][0] * np.reshape(kinds["scales"][0], (-1, 1))
        np.add.at(sums, of_input, np.sum(weights**2, axis=1))
    return np.delete(sums, np.arange(len(columns.numbers), columns.n_numbers))  # derived numbers


def ranked_responses(target: Target) -> Array:
    """Return the ranks of numbers, (n, outputs), or for each class whether a row has it."""
    y = np.reshape(target.y, (len(target.y), -1))
    if target.kind != "classes":
        return np.column_stack([ranks_of(column) for column in y.T])
    return (y if y.shape[1] > 1 else np.equal(y, np.arange(target.outputs))).astype(np.float64)


def explained_alone(columns: Columns, table: Table, y: Array, are_several: bool = False) -> Array:
    """Return the share of y, (n, outputs), that each column explains alone, numbers first.

    Numbers do so by a parabola of their ranks, categories by a mean of each; less what as many
    means explain by chance. If outputs ``are_several`` targets, the share is the largest of these.
    """
    n = len(table)
    y = y - y.mean(axis=0)
    y = y / np.maximum(np.linalg.norm(y, axis=0 if are_several else None), np.finfo(float).tiny)

    def total(squares: Array) -> float:
        return float(squares.sum(axis=0).max() if are_several else squares.sum())

    shares = []
    for column in table.numbers[:, : len(columns.numbers)].T:
        ranks = np.nan_to_num(ranks_of(column))
        basis = np.linalg.qr(np.column_stack([np.ones(n), ranks, ranks**2]))[0][:, 1:]
        shares.append(total((basis.T @ y) ** 2) - 2 / n)
    for codes in table.codes.T:
        _, number, counts = np.unique(codes, return_inverse=True, return_counts=True)
        squares = sums_by(number, y) ** 2 / counts[:, np.newaxis]
        shares.append(total(squares) - (len(counts) - 1) / n)
    return np.array(shares)


def ranks_of(values: Array) -> Array:
    """Return the ranks of numbers from -1 to 1, equal ones for equal numbers; NaN if missing."""
    is_there = ~np.isnan(values)
    _, number, counts = np.unique(values[is_there], return_inverse=True, return_counts=True)
    ranks = np.full(len(values), np.nan)
    ranks[is_there] = (2 * np.cumsum(counts) - counts)[number] / max(counts.sum(), 1) - 1
    return ranks


def are_needed(
    data: FitRows, out: Sequence[RowIndex], group: Members, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return whether held-out rows need each column, numbers first: permuting it costs them."""
    tables, engines = [data.table.take(rows) for rows in out], group.engines()
    weights = data.weights.scores
    of_rows = None if weights is None else np.concatenate([weights[rows] for rows in out])

    def costs(tables: Sequence[Table]) -> Array:
        parts = []
        for k, (table, rows) in enumerate(zip(tables, out, strict=True)):
            z = engines[k].predict(group.encoding.rows(table, k))
            predictions = data.target.decode(group.scale, z, k)
            parts.append(costs_of_targets(data.target, predictions, rows))
        return np.concatenate(parts)

    plain, needed = costs(tables), []
    mean, targets = mean_of_targets(plain), plain.shape[1]
    for k in range(len(data.columns.used)):
        permuted = costs([data.columns.permuted(table, k, rng) for table in tables])
        by_all = is_gain(mean_of_targets(permuted), mean, of_rows, noise=NEEDED, least=0.0)
        gain, error = gain_and_error(permuted, plain, of_rows)
        needed.append(by_all or (targets > 1 and np.any(gain > needed_errors(targets) * error)))
    return np.array(needed)
