"""The encoding of tables: statistics of training rows, and the network inputs made with them.

Numbers are scaled robustly and clipped smoothly (RealMLP, Holzmueller, Grinsztajn and Steinwart
2024, arXiv 2407.04491), or not clipped where a trend goes on, and may also be encoded piecewise
linearly (Gorishniy, Rubachev and Babenko 2022, "On embeddings for numerical features"); categories
are one-hot.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.table.columns import SMALLEST_RANGE, Columns, Table
from fastmlp.tabular.table.rows import EncodedRows, Encoder

# Limits of scaled numbers: of the smooth clip, and of a hard one before it against overflows.
CLIPPED = 3.0, 1e6
UNCLIPPED = np.inf, 1e18
QUARTILES = np.array([0.25, 0.5, 0.75])
NARROWEST = 1e-8  # least half width of a bin, above the rounding errors of scaled numbers
SHARED = 16  # inputs that the values of a category column share that are not frequent
FEW_VALUES = 8  # most values of a category whose one-hot inputs are multiplied, zeros included
SEED = 0  # determines the signs of the shared inputs
Inputs: TypeAlias = NDArray[np.float32]
Bins: TypeAlias = int | NDArray[np.int64]  # one for all that `Columns.binned`, or one for each
Places: TypeAlias = Sequence[int] | NDArray[np.int64]  # places of numeric columns


@dataclass(frozen=True)
class CategoryInputs:
    """The inputs of the values of a category column.

    Two values are -1 and 1. Of more, each frequent one has an input of its own, which is 1; the
    others share `SHARED` inputs, each value with random signs.
    """

    values: int  # number of values
    frequent: int  # the first of them, which are frequent

    @property
    def width(self) -> int:
        """Number of inputs."""
        if self.values <= 2:
            return 1
        return self.frequent + (SHARED if self.values > self.frequent else 0)

    @property
    def signs(self) -> NDArray[np.float64]:
        """The signs of values that are not frequent, (values, `SHARED`)."""
        rare = self.values - self.frequent
        return np.random.default_rng(SEED).choice([-1.0, 1.0], (rare, SHARED))

    @property
    def stored(self) -> tuple[NDArray[np.int32], NDArray[np.int32], Inputs]:
        """The inputs that are not 0: the first one of each value, their number, and all numbers."""
        if self.values <= 2:
            first, count = np.zeros((2, self.values), np.int32)
            return first, count + np.int32(1), np.array([-1, 1], np.float32)[: self.values]
        at = np.arange(self.values, dtype=np.int32)
        count = np.where(at < self.frequent, 1, SHARED).astype(np.int32)
        shared = self.signs.ravel() / np.sqrt(SHARED)
        inputs = np.concatenate([np.ones(self.frequent), shared]).astype(np.float32)
        return np.minimum(at, self.frequent).astype(np.int32), count, inputs


class Layout(NamedTuple):
    """Places of the inputs of a row: numbers, flags of missing ones, and then these.

    Categories of at most `FEW_VALUES` values come before the bins. All others come last: they are
    entries of sparse rows, so that the zeros of their one-hot inputs cost nothing.
    """

    categories: tuple[int, ...]  # the first input of each category column
    bins: int
    n_dense: int  # number of inputs before the entries
    width: int  # number of all inputs

    @classmethod
    def of(
        cls, missing: int, categories: Sequence[CategoryInputs], bins: NDArray[np.int64]
    ) -> Layout:
        """Return the places where inputs of each category column, and bins of numbers, begin."""
        at = len(bins) + missing
        of_bins = at + sum(column.width for column in categories if column.values <= FEW_VALUES)
        n_dense = later = of_bins + int(bins.sum())
        places = []
        for column in categories:
            if column.values <= FEW_VALUES:
                places.append(at)
                at += column.width
            else:
                places.append(later)
                later += column.width
        return cls(tuple(places), of_bins, n_dense, max(later, 1))


class NumericStatistics(NamedTuple):
    """Statistics of the numeric columns, of each member's training rows."""

    centre: NDArray[np.float64]  # (members, numbers), the median
    factor: NDArray[np.float64]  # (members, numbers), 1 / interquartile range, or 1 / half range
    # (members, edges), of scaled numbers, column by column. A column has one edge more than bins; a
    # bin between two equal edges is a step.
    edges: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Encoding:
    """Conversion of rows to the inputs of each member, all of the same width."""

    numbers: NumericStatistics
    bins: NDArray[np.int64]  # how many piecewise linear inputs each number has
    # (members, values), which values of all category columns, one after the other, members know
    seen: NDArray[np.bool_]
    categories: tuple[CategoryInputs, ...]  # one a category column
    with_missing: NDArray[np.int64]  # numeric columns with an input for missing numbers
    unclipped: NDArray[np.int64]  # numbers whose scaled input grows without a bound

    @classmethod
    def of(
        cls,
        table: Table,
        columns: Columns,
        learn: Sequence[NDArray[np.int64]],
        bins: Bins,
        unclipped: Places = (),
        raw: Places = (),
    ) -> Encoding:
        """Measure the rows of a table that each member is trained on; see the class.

        The inputs of ``unclipped`` numbers follow a trend beyond the training rows. Those of
        ``raw`` ones are the numbers themselves, neither centred nor scaled.
        """
        categories = inputs_of(columns)
        seen = np.zeros((len(learn), sum(column.values for column in categories)), bool)
        bins = _of_each(columns, bins)
        without_clip = np.unique(np.asarray(unclipped, np.int64))
        limits = limits_of(len(bins), without_clip)
        numbers = _measured(table.numbers, learn, bins, limits, frozenset(raw))
        missing = with_missing(columns, table)
        encoding = cls(numbers, bins, seen, categories, missing, without_clip)
        for codes, of_column in zip(table.codes.T, encoding.seen_by_column, strict=True):
            for values, rows in zip(of_column, learn, strict=True):  # a view of ``seen``
                values[:] = np.bincount(codes[rows] + 1, minlength=len(values) + 1)[1:] > 0
        return encoding

    @property
    def limits(self) -> NDArray[np.float64]:
        """The limits of the smooth clip and of the hard one before it, (2, numbers)."""
        return limits_of(len(self.bins), self.unclipped)

    @property
    def of_bins(self) -> NDArray[np.int64]:
        """The index of the number to which each bin belongs."""
        return np.repeat(np.arange(len(self.bins)), self.bins)

    @property
    def middles(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The middles and half widths of the bins, (members, bins)."""
        low, high = self._ends
        return (low + high) / 2, np.maximum((high - low) / 2, NARROWEST)

    @property
    def _ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The lower and upper edges of the bins, (members, bins)."""
        at = np.arange(self.bins.sum()) + self.of_bins
        return self.numbers.edges[:, at], self.numbers.edges[:, at + 1]

    @property
    def seen_by_column(self) -> list[NDArray[np.bool_]]:
        """Which values of each category column the members know, (members, values)."""
        ends = np.cumsum([column.values for column in self.categories], dtype=int)
        return np.split(self.seen, ends, axis=1)[: len(ends)]

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The compiled form."""
        numbers = *self.numbers[:2], *self.middles
        return Encoder(
            numbers,
            self.bins,
            self.seen,
            self.categories,
            self.with_missing,
            self.limits,
            self.layout,
        )

    @property
    def layout(self) -> Layout:
        """The places of the inputs."""
        return Layout.of(len(self.with_missing), self.categories, self.bins)

    @property
    def columns(self) -> NDArray[np.int64]:
        """The column of each input: numbers, then categories."""
        layout, n = self.layout, len(self.bins)
        columns = np.zeros(layout.width, np.int64)
        columns[: n + len(self.with_missing)] = [*range(n), *self.with_missing]
        columns[layout.bins : layout.bins + self.bins.sum()] = self.of_bins
        for k, (at, column) in enumerate(zip(layout.categories, self.categories, strict=True)):
            columns[at : at + column.width] = n + k
        return columns

    def directions(self, signs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sign of each input from those of the numeric columns."""
        directions = np.zeros(self.layout.width)
        directions[: len(signs)] = signs
        first = self.layout.bins
        directions[first : first + self.bins.sum()] = signs[self.of_bins]
        return directions

    def rows(self, table: Table, member: int = 0) -> EncodedRows:
        """Return a member's inputs, (n, width >= 1), which are computed when they are read."""
        return self.encoder.rows(table.numbers, table.codes, member)

    def slopes(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivatives of the inputs of a row by its numbers, (members, width, numbers).

        They are 0 by missing numbers, at an edge those of the bin that begins there, and at a step
        those without it.
        """
        (low, high), of_bins = self._ends, self.of_bins
        scaled, slopes = self._scaled(numbers), self._slopes_of_scaled(numbers)
        half = self.middles[1]
        is_inside = (low <= scaled) & (scaled < high) & (half > NARROWEST)
        members, n = slopes.shape
        at = np.arange(n)
        result = np.zeros((members, self.layout.width, n))
        result[:, at, at] = slopes
        bins = self.layout.bins + np.arange(len(of_bins))
        result[:, bins, of_bins] = np.where(is_inside, slopes[:, of_bins] / half, 0)
        return result

    def beyond_steps(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the numbers of a row, those in a step moved out of it to slightly larger ones."""
        (middle, half), slopes = self.middles, self._slopes_of_scaled(numbers)
        is_step = (half <= NARROWEST) & (np.abs(self._scaled(numbers) - middle) <= half)
        members, bins = np.nonzero(is_step)
        is_inside = np.zeros(slopes.shape, bool)
        is_inside[members, self.of_bins[bins]] = True
        is_inside &= slopes > 0
        ways = np.divide(4 * NARROWEST, slopes, out=np.zeros_like(slopes), where=is_inside)
        beyond = np.maximum(numbers + ways.max(axis=0), np.nextafter(numbers, np.inf))
        return np.where(is_inside.any(axis=0), beyond, numbers)

    def _scaled(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scaled numbers of a row, by the bins, (members, bins)."""
        return smooth_clip(numbers, *self.numbers[:2], *self.limits)[:, self.of_bins]

    def _slopes_of_scaled(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivatives of scaled numbers by those of a row, (members, numbers)."""
        (centre, factor, _), (clip, far) = self.numbers, self.limits
        with np.errstate(over="ignore"):
            distance = np.clip((numbers - centre) * factor, -far, far)
        slopes = factor * (1 + (distance / clip) ** 2) ** -1.5  # the slope of `smooth_clip`
        is_constant = np.isinf(clip) & (np.abs(distance) >= far)
        return np.nan_to_num(np.where(is_constant, 0.0, slopes))

    def of_first(self, members: int) -> Encoding:
        """Return the encoding of the first members."""
        numbers = NumericStatistics(*(array[:members] for array in self.numbers))
        return replace(self, numbers=numbers, seen=self.seen[:members])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "encoder"}


def limits_of(numbers: int, unclipped: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the limits of each number, (2, numbers); see `Encoding.limits`."""
    limits = np.repeat(np.array(CLIPPED)[:, np.newaxis], numbers, axis=1)
    limits[:, unclipped] = np.array(UNCLIPPED)[:, np.newaxis]
    return limits


def _measured(
    numbers: NDArray[np.float64],
    learn: Sequence[NDArray[np.int64]],
    bins: NDArray[np.int64],
    limits: NDArray[np.float64],
    raw: Collection[int],
) -> NumericStatistics:
    """Return the statistics of all columns, computed one column after the other to save memory."""
    members, n = len(learn), numbers.shape[1]
    centre, factor = np.zeros((members, n)), np.zeros((members, n))
    edges = np.zeros((members, bins.sum() + n))
    of_columns = np.split(edges, np.cumsum(bins[:-1] + 1), axis=1)  # views
    values = np.full((members, max(map(len, learn))), np.nan)  # a column as each member has it
    for k in range(n):
        column = np.ascontiguousarray(numbers[:, k])
        for of_member, rows in zip(values, learn, strict=True):
            of_member[: len(rows)] = column[rows]
        values.sort(axis=1)  # NaN, missing or padding, is sorted to the end
        low, middle, high = quantiles(values, QUARTILES).T + 0.0  # turns -0.0 into 0.0
        largest = np.fmax.reduce(values, axis=1)
        with np.errstate(over="ignore", divide="ignore"):
            spread = np.minimum(high - low, np.finfo(float).max)
            whole = np.minimum(0.5 * (largest - values[:, 0]), np.finfo(float).max)
            spread = np.where(spread < SMALLEST_RANGE, whole, spread)
            factor[:, k] = np.where(spread >= SMALLEST_RANGE, 1 / spread, 0.0)
        centre[:, k] = np.where(np.isnan(middle), 0.0, middle)  # 0: there is no number
        if k in raw:
            centre[:, k], factor[:, k] = 0.0, 1.0
        if bins[k]:
            middles, factors = centre[:, k, np.newaxis], factor[:, k, np.newaxis]
            scaled = smooth_clip(values, middles, factors, *limits[:, k])
            of_columns[k][:] = edges_of(scaled, int(bins[k]))
    return NumericStatistics(centre, factor, edges)


def smooth_clip(
    values: NDArray[np.float64],
    centre: NDArray[np.float64] | float,
    factor: NDArray[np.float64] | float,
    clip: NDArray[np.float64] | float,
    far: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """Return scaled numbers, smoothly bounded by ``clip``: x / sqrt(1 + (x / clip)**2).

    This is x for an infinite ``clip``. Before it, numbers are limited to -``far`` to ``far``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.asarray(values - centre)
        scaled *= factor
        np.clip(scaled, -far, far, out=scaled)
    divisor = scaled / clip
    divisor *= divisor
    divisor += 1
    scaled /= np.sqrt(divisor, out=divisor)
    return scaled


def edges_of(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return the bin edges of a column for members, (members, bins + 1), from (members, rows).

    They are quantiles, except for frequent values: each of few distinct values is an edge. A value
    that occurs in as many rows as a bin holds gets a bin of width 0: a step, which separates it
    from slightly larger and smaller values. NaN is ignored; without any number, edges are 0.
    """
    values = values + 0.0  # turns -0.0 into 0.0
    counts = np.count_nonzero(~np.isnan(values), axis=1)
    for of_member, count in zip(values, counts, strict=True):
        numbers = of_member[:count]
        if not (numbers[1:] >= numbers[:-1]).all():  # scaled numbers are, but for rounding errors
            of_member.sort()
    edges = np.sort(quantiles(values, np.linspace(0, 1, bins + 1)), axis=1)
    for member, count in enumerate(counts):
        of_member, often = values[member, :count], -(-count // bins)
        changes = np.count_nonzero(of_member[1:] != of_member[:-1])
        if changes <= bins or np.any(of_member[often - 1 :] == of_member[: count - often + 1]):
            edges[member] = _edges_of_frequent(of_member, bins) if count else 0.0
    return edges


def _edges_of_frequent(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return the edges of bins, (bins + 1,), of sorted numbers, few of which differ."""
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    distinct, count = values[first], np.diff(first, append=len(values))
    if len(distinct) <= bins + 1:
        return np.concatenate([distinct, np.full(bins + 1 - len(distinct), distinct[-1])])
    often = np.flatnonzero(count * bins >= len(values))
    often = often[np.argsort(-count[often], kind="stable")][: bins // 3]
    values = values[np.repeat(~np.isin(np.arange(len(count)), often), count)]
    steps = distinct[often]
    others = quantiles(values, np.linspace(0, 1, bins + 1 - 2 * len(steps)))
    return np.sort(np.concatenate([steps, steps, others]))


def quantiles(values: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return quantiles, (..., shares), of numbers in ascending order, (..., n), then NaN.

    They are those of ``numpy.nanquantile``, which would sort again.
    """
    last = np.count_nonzero(~np.isnan(values), axis=-1, keepdims=True) - 1
    at = shares * last
    before = np.floor(at).astype(np.intp)
    low = np.take_along_axis(values, before, axis=-1)
    high = np.take_along_axis(values, np.minimum(before + 1, last), axis=-1)
    with np.errstate(over="ignore", invalid="ignore"):
        step, share = high - low, at - before
        return np.where(share < 0.5, low + step * share, high - step * (1 - share))


def with_missing(columns: Columns, table: Table) -> NDArray[np.int64]:
    """Return the indices of the numeric columns with missing numbers."""
    numbers = enumerate(table.numbers.T[: len(columns.numbers)])
    return np.array([k for k, column in numbers if np.isnan(column).any()], np.int64)


def width_of(columns: Columns, missing: int, bins: Bins) -> int:
    """Return the number of inputs of a row; ``missing`` of them are flags of missing numbers."""
    return Layout.of(missing, inputs_of(columns), _of_each(columns, bins)).width


def _of_each(columns: Columns, bins: Bins) -> NDArray[np.int64]:
    """Return the number of bins of each number."""
    return columns.binned(int(bins)) if np.ndim(bins) == 0 else np.asarray(bins, np.int64)


def inputs_of(columns: Columns) -> tuple[CategoryInputs, ...]:
    """Return the inputs of each category column."""
    categories = (column for _, column in columns.categories)
    return tuple(CategoryInputs(len(c.values or ()), c.frequent) for c in categories)
