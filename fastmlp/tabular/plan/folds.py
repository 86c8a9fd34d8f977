"""The rows of a fit, and their assignment to folds, by classes, groups and copies of rows."""

from __future__ import annotations

import functools
import itertools
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp._validation.arrays import is_missing
from fastmlp.tabular.outcome import periods
from fastmlp.tabular.outcome.periods import ForwardFold
from fastmlp.tabular.outcome.targets import Baseline, RowWeights, baseline, check_present
from fastmlp.tabular.plan.presets import Preset
from fastmlp.tabular.table.columns import Columns, RowIndex, Table

Folds: TypeAlias = Sequence[tuple[RowIndex, RowIndex]]  # rows to learn from, and to hold out

FEW_ALIKE = 0.05  # smallest share of equal rows that is worth a note
MOST_ALIKE = 10  # largest mean number of equal rows that counts as copies
CONTINUOUS = 0.5  # share of distinct values among distinct rows; columns of a grid have fewer
# Equal rows whose targets are not all equal share their folds if they are at least this share of
# the rows, are this many times the equal rows that independent columns would have, and their
# targets agree at least so much, of 0 by chance and 1, and by as many standard errors.
MANY_ALIKE, UNLIKELY, AGREEMENT, CERTAIN = 0.2, 5.0, 0.1, 4.0
# Folds that go forward and hold out new groups: the groups have so many parts if there are this
# many networks, else fewer.
MANY_PARTS, MANY_NETWORKS, FEW_PARTS = 4, 8, 2


class ScoredRows(NamedTuple):
    """The rows that some member holds out: they score, blend and calibrate a fit."""

    rows: RowIndex  # their places among the rows of the fit, in order
    target: Any
    weights: NDArray[Any] | None  # None if equal
    groups: NDArray[Any] | None  # or copies
    times: NDArray[Any] | None
    earlier: NDArray[Any] | None = None  # times have them, see `periods.earlier_constants`

    @property
    def cost_weights(self) -> NDArray[Any] | None:
        """The weights of rows in means of costs; None if equal."""
        return self.target.cost_weights(self.weights)  # type: ignore[no-any-return]

    @property
    def baseline(self) -> Baseline:
        """The best constant prediction: of earlier rows alone, if rows have times."""
        of_all = baseline(self.target, self.weights)
        if self.earlier is None:
            return of_all
        return Baseline(of_all.name, self.earlier, " of earlier rows")

    def places(self, rows: RowIndex) -> RowIndex:
        """Return the places of rows of the fit among these."""
        return rows if self.rows[-1] == len(self.rows) - 1 else np.searchsorted(self.rows, rows)

    def take(self, places: RowIndex) -> ScoredRows:
        """Return some of these rows."""
        rows, target, *parts = self
        target = target.with_rows(target.y[places])
        return ScoredRows(
            rows[places], target, *(part if part is None else part[places] for part in parts)
        )


@dataclass(frozen=True)
class FitRows:
    """The rows of a fit, all with a weight above 0, and what belongs to them."""

    columns: Columns
    table: Table
    target: Any
    weights: RowWeights = field(default_factory=RowWeights)
    groups: NDArray[Any] | None = None  # numbers; rows with equal ones share their folds
    copies: NDArray[Any] | None = None  # the same for equal rows, if there are no groups
    total_rows: int = 0  # number of rows of which these are a sample
    memory: float = 0.0  # estimated bytes of the fit
    folds: Folds | None = None  # the user's; None for random ones
    times: NDArray[Any] | None = None  # numbers or datetimes, for folds that go forward
    signs: NDArray[Any] | None = None  # `monotone.signs_of` makes them
    group_parts: int = MANY_PARTS  # parts of groups in time, see `parts_for`

    @functools.cached_property
    def scored(self) -> ScoredRows:
        """The rows that some member holds out: all of them, unless folds leave some."""
        pairs, rows = self.folds_in(2, 1), np.arange(len(self.table))
        groups = self.copies if self.groups is None else self.groups
        scored = ScoredRows(rows, self.target, self.weights.scores, groups, self.times)
        if pairs is not None:
            rows = np.unique(np.concatenate([out for _, out, *_ in pairs]))
        if len(rows) < len(self.table):
            scored = scored.take(rows)
            check_present(scored.target.y, "in the rows that are held out")
        if self.times is not None:
            parts = None if self.groups is None else self._parts_of_groups[0]
            earlier = periods.earlier_constants(
                self.target, self.weights.scores, self.times, rows, parts
            )
            scored = scored._replace(earlier=earlier)
        return scored

    @functools.cached_property
    def _parts_of_groups(self) -> tuple[RowIndex, Any]:
        """The part of the groups that each row is in, see `parts_of_groups`; rows have times."""
        return parts_of_groups(self.times, self.groups, self.group_parts)

    def take(self, rows: RowIndex) -> FitRows:
        """Return some of these rows, with folds of their own."""
        weights, copies = self.weights, self.copies
        training, scores, groups, times = (
            None if part is None else part[rows]
            for part in (weights.training, weights.scores, self.groups, self.times)
        )
        return replace(
            self,
            table=self.table.take(rows),
            target=self.target.with_rows(self.target.y[rows]),
            weights=weights._replace(training=training, scores=scores),
            groups=groups,
            copies=None if copies is None else np.unique(copies[rows], return_inverse=True)[1],
            times=times,
            folds=None,
            total_rows=len(rows),
        )

    def with_columns(self, columns: Columns) -> FitRows:
        """Return the same rows with columns that are made of these, see `Columns.part`."""
        signs = self.signs
        if signs is not None:
            of_place = dict(zip([place for place, _ in self.columns.numbers], signs, strict=False))
            signs = np.zeros(columns.n_numbers)
            for at, (place, _) in enumerate(columns.numbers):
                signs[at] = of_place[place]
        table = columns.part(self.table, self.columns)
        return replace(self, columns=columns, table=table, signs=signs)

    def folds_in(self, count: int, repeats: int) -> Folds | Sequence[ForwardFold] | None:
        """Return the user's folds, or ``count`` that go forward in time; None for random ones.

        Those of groups in time are about as many as all repeats of the others.
        """
        if self.times is None:
            return self.folds
        if self.groups is None:
            return periods.forward(self.times, count)
        in_time = max(2, min(count * repeats // self.group_parts, count))
        return forward_by_groups(self.times, *self._parts_of_groups, in_time)


@dataclass(frozen=True)
class Splits:
    """The rows that each member is trained on, and those held out; notes on unusual folds."""

    learn: list[RowIndex] = field(default_factory=list)
    out: list[RowIndex] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # Of folds that go forward: the number in order of time and the part of groups of each.
    places: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, data: FitRows, preset: Preset, rng: np.random.Generator) -> Splits:
        """Split rows, evenly by class; the total number of rows determines that of the folds."""
        division = cls._drawn(data, preset, rng)
        data.target.check_learned(division.learn)
        return division

    @classmethod
    def _drawn(cls, data: FitRows, preset: Preset, rng: np.random.Generator) -> Splits:
        """Return the splits, of which the target may refuse some."""
        total = max(len(data.table), data.total_rows)
        planned_folds = preset.folds_of(total)
        planned_repeats = preset.repeats_of(planned_folds)
        if (pairs := data.folds_in(planned_folds, planned_repeats)) is not None:
            repeats = preset.repeats_of(len(pairs))
            if data.times is not None and data.groups is not None:
                repeats = max(1, round(planned_folds * planned_repeats / len(pairs)))
            learn, out, *places = zip(*[*pairs] * repeats, strict=True)
            return cls([*learn], [*out], places=[*zip(*places, strict=True)])
        n, groups, copies = len(data.table), data.groups, data.copies
        together = copies if groups is None else groups
        parts = n if together is None else len(np.unique(together))
        division = cls()
        k = min(planned_folds, parts)
        few = f"{parts} {'different rows' if groups is None else 'groups'}"
        for n_folds, planned, why in (
            (planned_folds, preset.folds, f"{total:,} rows"),
            (k, planned_folds, few),
        ):
            if n_folds < planned:
                text = f"{n_folds} folds instead of {planned}, for there are {why}"
                division.notes.append(text)
        check_groups(k)
        for _ in range(preset.repeats_of(k)):
            fold = assign(n, k, rng, data.target.strata, groups, copies)
            division.learn.extend([np.flatnonzero(fold != f) for f in range(k)])
            division.out.extend([np.flatnonzero(fold == f) for f in range(k)])
        return division


def check_groups(count: int) -> None:
    """Refuse rows of a single group, none of which could be held out."""
    if count < 2:
        raise ValueError(
            "groups has one group but at least two groups are expected: members are judged on "
            "groups that they have not learned from: pass rows of more groups"
        )


def forward_by_groups(
    times: NDArray[Any], parts: RowIndex, begin: Any, count: int
) -> list[ForwardFold]:
    """Return folds that go forward, and learn no part of the groups of which they hold out rows.

    Each part has ``count`` folds of its own; `parts_of_groups` gives the parts and the begin.
    """
    in_time = periods.forward(times, count, begin)
    crossed = (
        ForwardFold(learn[parts[learn] != part], out[parts[out] == part], number, part)
        for part in range(parts.max() + 1)
        for learn, out, number, _ in in_time
    )
    return [fold for fold in crossed if len(fold.out)]


def parts_for(networks: int) -> int:
    """Return the number of parts of groups in time of a fit with so many networks."""
    return MANY_PARTS if networks >= MANY_NETWORKS else FEW_PARTS


def parts_of_groups(times: Any, groups: Any, count: int) -> tuple[RowIndex, Any]:
    """Return the part of the groups that each row is in, and the time when a second group begins.

    Groups that begin in the earlier half are spread evenly, then those that begin later, so that
    there are earlier rows of other parts for each.
    """
    _, number = np.unique(groups, return_inverse=True)
    in_time = np.argsort(times, kind="stable")
    begins = times[in_time[np.unique(number[in_time], return_index=True)[1]]]
    check_groups(len(begins))
    second = np.sort(begins)[1]
    is_late = (begins > second) & (begins >= times[in_time[len(times) // 2]])
    order = np.random.default_rng(0).permutation(len(begins))
    sizes, part = np.bincount(number), np.empty(len(begins), np.int64)
    for chosen in (order[~is_late[order]], order[is_late[order]]):
        part[chosen] = balanced(sizes[chosen], min(count, len(begins)), range(len(chosen)))
    return part[number], second


def parts_of(rows: RowIndex, count: int) -> list[RowIndex]:
    """Divide rows into ``count`` parts, each of at least one row."""
    last = max(len(rows), count)
    return [rows[np.arange(k, last, count) % len(rows)] for k in range(count)]


def assign(
    n: int,
    folds: int,
    rng: np.random.Generator,
    classes: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    copies: RowIndex | None = None,  # equal numbers for copies of a row, which count as one
) -> RowIndex:
    """Return the fold of each row: classes are spread evenly, groups and copies share a fold."""
    if copies is not None:
        first = np.unique(copies, return_index=True)[1]
        return assign(len(first), folds, rng, None if classes is None else classes[first])[copies]
    order = rng.permutation(n)
    if groups is not None:
        _, number = np.unique(groups, return_inverse=True)
        drawn = dict.fromkeys(number[order].tolist())
        return balanced(np.bincount(number), folds, drawn)[number]
    if classes is not None:  # sort by class; each class keeps its random order
        order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(n, np.int64)
    fold[order] = np.arange(n) % folds
    return fold


def pairs_of(folds: Any, X: Any, y: NDArray[Any], groups: Any) -> Folds:
    """Return the rows of each fold from a splitter, pairs of rows, or the fold of each row."""
    n = len(y)
    if hasattr(folds, "split") and not isinstance(folds, str):
        pairs = [*folds.split(X, y, groups)]
    elif np.iterable(first := next(iter(items := [*folds]), 0)) and not isinstance(first, str):
        pairs = items
    else:
        number = np.asarray(folds)
        if number.shape != (n,) or number.dtype.kind not in "iu" or number.max() < 0:
            raise ValueError(
                f"folds has shape {number.shape} and dtype {number.dtype} but the number of the "
                f"fold that holds each of the {n} rows out is expected, an integer from 0, or -1 "
                "for none; or pairs of rows to learn from and rows to hold out"
            )
        held = [number == fold for fold in np.unique(number[number >= 0])]
        pairs = [(np.flatnonzero(~out), np.flatnonzero(out)) for out in held]
    checked = [_pair(k, pair, n) for k, pair in enumerate(pairs)]
    if not checked:
        raise ValueError("folds is empty but at least one pair of rows is expected: add a fold")
    return checked


def _pair(k: int, pair: tuple[ArrayLike, ArrayLike], n: int) -> tuple[RowIndex, RowIndex]:
    """Return the rows that a fold learns from and those that it holds out, checked."""
    if len(pair) != 2:
        raise ValueError(
            f"folds[{k}] has {len(pair)} parts but two are expected: rows to learn from, and rows "
            "to hold out"
        )
    learn, out = map(np.asarray, pair)
    if learn.dtype == out.dtype == bool and learn.shape == out.shape == (n,):
        learn, out = map(np.flatnonzero, (learn, out))
    for rows, task in ((learn, "learns from"), (out, "holds out")):
        if not rows.size:
            raise ValueError(
                f"folds[{k}] {task} no rows but at least one is expected: leave it out"
            )
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n:
            shown = reprlib.repr(rows.tolist())
            raise ValueError(
                f"folds[{k}] {task} {shown} but places of rows, integers from 0 to {n - 1}, or a "
                "boolean for each row are expected"
            )
    both = np.intersect1d(learn, out)
    if len(both):
        raise ValueError(
            f"folds[{k}] learns from row {both[0]} and holds it out, but scores are those of rows "
            "that were not learned: take it out of one of them"
        )
    return learn.astype(np.int64), np.unique(out).astype(np.int64)


def of_rows(folds: Folds, rows: RowIndex, n: int) -> Folds:
    """Return folds of some of n rows, by their places among these."""
    place = np.full(n, -1)
    place[rows] = np.arange(len(rows))
    pairs = [[part[part >= 0] for part in (place[learn], place[out])] for learn, out in folds]
    left = [(learn, out) for learn, out in pairs if len(learn) and len(out)]
    if not left:
        raise ValueError(
            "folds holds out no row of the fit with a weight above 0 that others can predict: "
            "correct folds or sample_weight"
        )
    return left


def check_values(name: str, values: Any) -> None:
    """Raise TypeError if the values of rows are the name of a column."""
    if isinstance(values, str):
        raise TypeError(
            f"{name} is {values!r} but an array with a value for each row is expected: pass the "
            "column of that name"
        )


def numbered(groups: Any) -> RowIndex:
    """Return the number of each row's group; raise ValueError for missing or unsortable ones."""
    check_values("groups", groups)
    values = np.asarray(groups)
    if values.ndim != 1 and values.shape[1:] != (1,):
        raise ValueError(
            f"groups has shape {values.shape} but one group for each row is expected: pass a "
            "single column, which may join several as text"
        )
    values = values.reshape(-1)
    if values.dtype.kind == "O":
        some_miss = any(map(is_missing, values.tolist()))
    else:
        some_miss = bool(np.any(values != values))  # NaN and NaT are
    if some_miss:
        raise ValueError(
            "groups has missing ones but a group is expected for each row: drop such rows, or give "
            "each a group of its own, or all of them one if they may belong together"
        )
    try:
        return np.unique(values, return_inverse=True)[1]
    except TypeError as error:
        raise ValueError(
            f"groups are of types that do not compare ({error}): convert them"
        ) from None


def copied(table: Table, y: NDArray[Any]) -> tuple[RowIndex | None, list[str]]:
    """Return numbers of distinct rows if other rows are copies of them, and notes.

    Rows that are equal by chance, as with few categories, also predict equal new rows, so folds may
    separate them. Copies (a bootstrap sample, an upsampled class, files joined twice) would leak
    training rows into held-out folds. Equal rows count as copies if a column is continuous and
    equal rows have equal targets. The visits of one person leak, too: equal columns, which are
    rarely those of others, with targets that agree more than by chance.
    """
    n = len(table)
    alike = _different(_columns(table), n)
    different = alike.max() + 1
    if different == n:
        return None, []
    targets = np.ascontiguousarray(y.reshape(n, -1).T, np.float64).view(np.uint64)
    both = _different(itertools.chain(_columns(table), targets), n)
    equal = n - (both.max() + 1)
    is_pure, are_few = equal == n - different, different * MOST_ALIKE >= n and different > 1
    is_continuous = any(len(np.unique(x)) > CONTINUOUS * different for x in _columns(table))
    if is_pure and are_few and is_continuous:
        return alike, [f"{equal:,} rows are copies of other rows, and share their folds"]
    if (
        are_few
        and n - different >= MANY_ALIKE * n
        and (is_continuous or _pairs(alike) >= UNLIKELY * _pairs_by_chance(table))
        and _agree(alike, y)
    ):
        return alike, [
            f"{n:,} rows have {different:,} different ones of columns, and equal ones have similar "
            "targets, like visits of one person: they share their folds, so that scores are those "
            "of new persons; folds= may divide them"
        ]
    if equal < FEW_ALIKE * n:
        return None, []
    return None, [
        f"{equal:,} rows are equal to other rows, target included: if they are copies, scores and "
        "intervals are too good; groups=, a number for each distinct row, keeps them together"
    ]


def _pairs(numbers: RowIndex) -> float:
    """Return how many pairs of rows have the same number, of a group or a class."""
    counts = np.bincount(numbers).astype(float)
    return float(np.sum(counts * (counts - 1)) / 2)


def _pairs_by_chance(table: Table) -> float:
    """Return the number of pairs of equal rows that is expected of independent columns."""
    n = len(table)
    pairs = n * (n - 1) / 2
    shares = (np.unique(column, return_counts=True)[1] / n for column in _columns(table))
    return float(pairs * np.prod([np.sum(share**2) for share in shares]))


def _agree(alike: RowIndex, y: NDArray[Any]) -> bool:
    """Whether targets of equal rows agree more than those of others: classes, or their numbers.

    The agreement of classes is Cohen's kappa, that of numbers their intraclass correlation.
    """
    pairs = _pairs(alike)
    if y.ndim == 1:  # classes
        n, of_both = len(y), alike * (y.max() + 1) + y
        chance = _pairs(y) / (n * (n - 1) / 2)
        agreement = (_pairs(np.unique(of_both, return_inverse=True)[1]) / pairs - chance) / (
            1 - chance
        )
    else:
        away = np.nan_to_num(y - np.nanmean(y, axis=0))
        away = away / np.maximum(np.sqrt(np.mean(away**2, axis=0)), np.finfo(float).tiny)
        agreement = (np.sum(sums_by(alike, away) ** 2) - np.sum(away**2)) / (2 * pairs * y.shape[1])
    return bool(agreement >= max(AGREEMENT, CERTAIN / np.sqrt(pairs)))


def sums_by(parts: RowIndex, values: NDArray[Any], count: int = 0) -> NDArray[np.float64]:
    """Return the sums of the values, (n, columns), of each part, (at least ``count``, columns)."""
    return np.column_stack([np.bincount(parts, column, count) for column in values.T])


def at_most(count: int, rows: RowIndex, rng: np.random.Generator) -> RowIndex:
    """Return rows, or so many random ones in their order if there are more."""
    return rows if len(rows) <= count else np.sort(rng.choice(rows, count, replace=False))


def _columns(table: Table) -> Iterator[NDArray[np.uint64]]:
    """Yield each column as integers that are equal for equal values."""
    for numbers in table.numbers.T:
        yield (numbers + 0.0).view(np.uint64)  # turns -0.0 into 0.0
    for codes in table.codes.T:
        yield codes.astype(np.uint64)


def _different(columns: Iterable[NDArray[np.uint64]], n: int) -> RowIndex:
    """Return the number of each distinct row, by a 64-bit hash of its columns."""
    mixed = np.zeros(n, np.uint64)
    for column in columns:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return np.unique(mixed, return_inverse=True)[1].reshape(n)


def balanced(sizes: NDArray[np.int64], folds: int, order: Iterable[int]) -> RowIndex:
    """Return the fold of each group: the largest, in the given order, to that of fewest rows."""
    of_group, filled = np.empty(len(sizes), np.int64), np.zeros(folds, np.int64)
    for group in sorted(order, key=lambda g: -sizes[g]):
        of_group[group] = np.argmin(filled)
        filled[of_group[group]] += sizes[group]
    return of_group
