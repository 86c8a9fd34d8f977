"""The order of the rows of a source: shuffled within its blocks, through a buffer, or by a file."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.user_warnings import warn
from fastmlp._network.data import Data
from fastmlp._training.readers import Order
from fastmlp._training.shuffles import Shuffles

if TYPE_CHECKING:
    from fastmlp._training.shuffle_file import ShuffleFile

Permutation = Callable[[NDArray[np.int64], int], None]  # (order, seed): shuffles in place
# Returns the blocks of a source; with seeds, files and arrays are read in a random order.
Checked = Callable[[Iterator[int] | None], Iterator[Data]]

_SEED_MASK = 2**64 - 1
LEAST_DRAW = 1 / 8  # rows to draw at once, as a share of a shuffle buffer


class BlockShuffle:
    """Shuffles the rows of a source: all of them by a file in ``folder``, or those that are near.

    Those are the rows that are in a ``buffer`` of so many rows together, or without one in a block.
    """

    def __init__(self, buffer: int = 0, folder: Any = None) -> None:
        if folder is not None:
            from fastmlp._training.shuffle_file import check_folder

            check_folder(folder)
        self.buffer, self.folder = buffer, folder
        self._seeds: Shuffles | None = None  # None: the order of the source is kept
        self._permute: Permutation | None = None
        self._file: ShuffleFile | None = None
        self._summary: BlockSummary | None = None  # of the first epoch

    def begin(self, seeds: Shuffles | None, permute: Permutation) -> None:
        """Set the seeds of the epochs of a fit, and the function that shuffles by one of them."""
        self._seeds, self._permute = seeds, permute
        if self.folder is not None:
            from fastmlp._training.shuffle_file import ShuffleFile

            self._file = ShuffleFile(self.folder, self.buffer)

    def end(self) -> None:
        """Delete the file of shuffled rows, if there is one."""
        if self._file is not None:
            self._file.close()

    def next_seed(self) -> int | None:
        """Return the seed of the next epoch; None if its rows are not shuffled."""
        return None if self._seeds is None else self._seeds.next_seed()

    def written(self, checked: Checked) -> Iterator[int] | None:
        """Return what writes the file of shuffled rows while it is iterated over, if it is due."""
        if self._file is None or self._seeds is None or self._file.runs:
            return None
        # The first seed of the fit determines the file, so a resumed fit writes the same file.
        _, order = self._random(self._seeds.drawn(0)[0], 0)
        return self._file.write(checked(None), order)

    def blocks(self, checked: Checked, seed: int | None, *, is_first: bool) -> Iterator[Data]:
        """Yield the rows in an order by the seed; None keeps the order of the source."""
        if seed is None:
            yield from checked(None)
            return
        if self._file is not None:
            yield from self._file.blocks(*self._random(seed, 1))
            return
        seeds = itertools.count(seed)
        summary = BlockSummary() if is_first else None
        shuffled = self._through_buffer if self.buffer else self._within_blocks
        for block in shuffled(checked(seeds), seeds):
            if summary is not None:
                summary.add(block.targets)
            yield block
        self._summary = summary

    def _within_blocks(self, blocks: Iterator[Data], seeds: Iterator[int]) -> Iterator[Data]:
        """Yield the blocks, each with its own rows shuffled."""
        for block in blocks:
            yield block.part(self.order(block.rows, seeds))

    def _through_buffer(self, blocks: Iterator[Data], seeds: Iterator[int]) -> Iterator[Data]:
        """Yield rows drawn at random from a buffer, where the source's rows replace them."""
        # Small blocks are collected first: each draw shuffles the numbers of all buffered rows.
        waiting: list[Data] = []
        pool, n, size = None, 0, 1  # n rows wait
        for block in blocks:
            n, size = n + block.rows, max(size, block.rows)
            if n < (self.buffer if pool is None else self.buffer * LEAST_DRAW):
                waiting.append(Data.joined([block]))
                continue
            group = Data.joined([*waiting, block]) if waiting or pool is None else block
            waiting, n = [], 0
            if pool is None:
                pool = group
                continue
            for first in range(0, group.rows, pool.rows):
                part = group.part(slice(first, first + pool.rows))
                chosen = self.order(pool.rows, seeds)[: part.rows]
                drawn = pool.part(chosen)
                pool.replace(chosen, part)
                yield drawn
        left = waiting if pool is None else [pool, *waiting]
        if left:
            pool = Data.joined(left)
            order = self.order(pool.rows, seeds)
            for first in range(0, pool.rows, size):
                yield pool.part(order[first : first + size])

    def order(self, n: int, seeds: Iterator[int]) -> NDArray[np.int64]:
        """Return a random order of n rows."""
        order = np.arange(n, dtype=np.int64)
        assert self._permute is not None  # `begin` has set it
        self._permute(order, next(seeds) & _SEED_MASK)
        return order

    def _random(self, seed: int, use: int) -> tuple[np.random.Generator, Order]:
        """Return a generator by a seed and its use, and a function that returns random orders."""
        generator = np.random.default_rng([seed, use])
        seeds = iter(generator.bit_generator.random_raw, None)
        return generator, functools.partial(self.order, seeds=seeds)

    def warn(self) -> None:
        """Warn after the first epoch, in the thread in which the warning finds the user's line."""
        summary, self._summary = self._summary, None
        if summary is not None:
            summary.warn(self.buffer)


class BlockSummary:
    """Tells whether the targets of shuffled blocks differ more than chance lets them."""

    def __init__(self) -> None:
        # Of each block: rows, mean, and sum of squared deviations from it.
        self.blocks: list[tuple[float, ...]] = []

    def add(self, targets: NDArray[Any]) -> None:
        """Add a block."""
        values = targets.reshape(len(targets), -1).mean(axis=1, dtype=np.float64)
        mean = values.mean()
        self.blocks.append((len(values), mean, np.square(values - mean).sum()))

    def warn(self, buffer: int) -> None:
        """Warn if blocks explain a tenth of the variance of targets, and ten times chance."""
        if len(self.blocks) < 2:
            return
        rows, means, spreads = np.array(self.blocks).T
        between = float(rows @ np.square(means - rows @ means / rows.sum()))
        total = between + spreads.sum()
        by_chance = total * (len(rows) - 1) / max(1, rows.sum() - 1)
        if between > 0.1 * total and between > 10 * by_chance:
            warn(
                "the blocks of the source differ in their targets, and shuffling "
                + (f"through a buffer of {buffer:,} rows " if buffer else "within blocks ")
                + "leaves batches one-sided: pass fit(..., shuffle_folder=FOLDER), to mix all rows "
                "by a temporary file there, or shuffle_buffer=n with as many rows as are sorted "
                f"together, at most {int(rows.sum()):,}"
            )
