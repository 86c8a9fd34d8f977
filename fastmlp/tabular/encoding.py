"""From a table to the inputs of a network: what a fit measures on its training rows, and applies.

Numbers are scaled robustly and clipped smoothly (RealMLP, Holzmueller, Grinsztajn and Steinwart
2024, arXiv 2407.04491); beside that each may be encoded piecewise linearly (Gorishniy, Rubachev
and Babenko 2022, "On embeddings for numerical features"); categories are one-hot.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.columns import MISSING, MOST_CATEGORIES, SMALLEST_RANGE, Columns, Table

CLIP = 3.0  # no scaled number is larger
FAR = 1e6  # before the clip, so that nothing overflows
NARROWEST = 1e-8  # half of a bin: rounding errors of what is scaled elsewhere do not show
SHARED = 16  # inputs of all categories of a column behind the first MOST_CATEGORIES
SEED = 0  # of the codes of rare categories

Inputs = NDArray[np.float32]


class Numbers(NamedTuple):
    """What is measured of the numeric columns of some rows.

    Attributes
    ----------
    centre, factor : arrays, shape (numbers,)
        Median, and one over the distance of the quartiles (or half the range).
    edges : array, shape (numbers, bins + 1)
        Of the scaled and clipped values; equal ones are a bin of no width, which is a step.
    """

    centre: NDArray[np.float64]
    factor: NDArray[np.float64]
    edges: NDArray[np.float64]


@dataclass(frozen=True)
class Encoding:
    """How rows become inputs; the same width for whatever rows it was measured on.

    Attributes
    ----------
    numbers : Numbers
        Of the training rows.
    known : tuple of boolean arrays
        Of each category column, which values occur in the training rows.
    with_missing : array of int
        Places of the numeric columns that have an input that says that the number is missing.
    bins : int
        Piecewise linear inputs of each number; 0 for none.
    """

    numbers: Numbers
    known: tuple[NDArray[np.bool_], ...]
    with_missing: NDArray[np.int64]
    bins: int

    @classmethod
    def of(
        cls, table: Table, columns: Columns, rows: NDArray[np.int64], with_missing: Any, bins: int
    ) -> Encoding:
        """Measure some rows of a table.

        Parameters
        ----------
        table : Table
            All rows.
        columns : Columns
            Which categories there are.
        rows : array of int
            Those that are measured.
        with_missing : array of int
            See the class.
        bins : int
            See the class.
        """
        known = []
        for k, (_, column) in enumerate(columns.categories):
            assert column.values is not None
            count = np.bincount(table.codes[rows, k] + 1, minlength=len(column.values) + 1)[1:]
            known.append(count > 0)
        return cls(_measured(table.numbers[rows], bins), tuple(known), with_missing, bins)

    def inputs(self, table: Table) -> Inputs:
        """Return the inputs of the rows of a table, float32, shape (n, width), of width 1 or more.

        Scaled numbers, which are missing, categories, and the piecewise linear parts of numbers.
        """
        scaled = smooth_clip(self.numbers, table.numbers)
        missing = np.isnan(scaled)
        parts = [np.where(missing, 0.0, scaled), missing[:, self.with_missing]]
        parts += [one_hot(table.codes[:, k], known) for k, known in enumerate(self.known)]
        parts += [self._binned(scaled)] if self.bins else []
        inputs = np.concatenate(parts, axis=1, dtype=np.float32)
        return inputs if inputs.shape[1] else np.zeros((len(table), 1), np.float32)

    def _binned(self, scaled: NDArray[np.float64]) -> Inputs:
        """Return the piecewise linear encoding from -1 to 1, shape (n, numbers * bins)."""
        middle, half = middles(self.numbers.edges)
        share = np.clip((scaled[:, :, np.newaxis] - middle) / half, -1.0, 1.0)
        share[np.isnan(scaled)] = 0.0
        return share.reshape(len(scaled), -1).astype(np.float32)


def smooth_clip(numbers: Numbers, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scaled values, from -3 to 3: x / sqrt(1 + (x / 3)**2)."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.clip((values - numbers.centre) * numbers.factor, -FAR, FAR)
    return scaled / np.sqrt(1 + (scaled / CLIP) ** 2)


def _measured(values: NDArray[np.float64], bins: int) -> Numbers:
    n = values.shape[1]
    centre, factor = np.zeros(n), np.zeros(n)
    edges = np.zeros((n, bins + 1))
    for k in range(n):
        there = values[~np.isnan(values[:, k]), k]
        if not there.size:
            continue
        low, centre[k], high = np.quantile(there, [0.25, 0.5, 0.75])
        with np.errstate(over="ignore"):
            spread = min(high - low, np.finfo(float).max)
            if spread < SMALLEST_RANGE:
                spread = min(0.5 * (there.max() - there.min()), np.finfo(float).max)
        factor[k] = 1 / spread if spread >= SMALLEST_RANGE else 0.0
        own = Numbers(centre[k], factor[k], edges)
        if bins:
            edges[k] = edges_of(smooth_clip(own, there), bins)
    return Numbers(centre, factor, edges)


def edges_of(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return the edges of the bins of a column: quantiles, but for what occurs often.

    A few values are an edge each. A value of as many rows as a bin holds has a bin of its own, of
    no width: a step, which tells it from all that are a little more or less.

    Parameters
    ----------
    values : array, shape (n,)
        At least one, none of them missing.
    bins : int
        How many there are to be.

    Examples
    --------
    >>> edges_of(np.array([1.0, 5.0, 5.0, 7.0]), bins=2).tolist()
    [1.0, 5.0, 7.0]
    >>> edges_of(np.array([0.0] * 5 + [1.0, 2.0, 3.0, 5.0, 9.0]), bins=3).tolist()
    [0.0, 0.0, 1.0, 9.0]
    """
    distinct, count = np.unique(values, return_counts=True)
    if len(distinct) <= bins + 1:
        return np.concatenate([distinct, np.full(bins + 1 - len(distinct), distinct[-1])])
    often = np.argsort(-count, kind="stable")[: bins // 3]
    steps = distinct[often[count[often] * bins >= len(values)]]
    others = np.quantile(
        values[~np.isin(values, steps)], np.linspace(0, 1, bins + 1 - 2 * len(steps))
    )
    return np.sort(np.concatenate([steps, steps, others]))


def middles(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle of each bin and half of its width, from edges of shape (..., bins + 1)."""
    low, high = edges[..., :-1], edges[..., 1:]
    return (low + high) / 2, np.maximum((high - low) / 2, NARROWEST)


def width_of(n: int) -> int:
    """Return how many inputs a category column of n values has."""
    if n <= 2:
        return 1
    return n if n <= MOST_CATEGORIES else MOST_CATEGORIES + SHARED


def one_hot(codes: NDArray[np.int32], known: NDArray[np.bool_]) -> Inputs:
    """Return the inputs of a category column; 0 where unknown.

    Parameters
    ----------
    codes : array of int32, shape (n,)
        Of the rows.
    known : array of bool, shape (values,) or (n, values)
        Which occur in the training rows; of each row's member.
    """
    there = known[codes] if known.ndim == 1 else known[np.arange(len(codes)), codes]
    used = (codes != MISSING) & there
    return np.where(used[:, np.newaxis], inputs_of_values(known.shape[-1])[codes], np.float32(0))


@functools.lru_cache(maxsize=64)
def inputs_of_values(n: int) -> Inputs:
    """Return the inputs of each of n values, shape (n, `width_of(n)`).

    Two values are -1 and 1; of many values, those after the first `MOST_CATEGORIES` share
    `SHARED` inputs, each with random signs of its own.
    """
    if n <= 2:
        return np.array([[-1], [1]], np.float32)[:n]
    table = np.zeros((n, width_of(n)), np.float32)
    single = min(n, MOST_CATEGORIES)
    table[:single, :single] = np.eye(single, dtype=np.float32)
    if n > single:
        signs = np.random.default_rng(SEED).choice([-1.0, 1.0], (n - single, SHARED))
        table[single:, single:] = signs / np.sqrt(SHARED)
    return table
