"""The blocks of an epoch: a source yields them, and a thread reads one block ahead.

The engine gets blocks of whole batches, with the remaining rows carried into the next. So weights
have the bits of a fit of one array with all rows, unless rows are shuffled within the blocks.
"""

from __future__ import annotations

import functools
import itertools
import queue
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.user_warnings import warn
from fastmlp._core.worker import PATIENCE, Worker
from fastmlp._network.data import Data
from fastmlp._network.sparse import is_sparse
from fastmlp._network.spec import Spec
from fastmlp._training.readers import Blocks, Order, TableSource
from fastmlp._training.shuffles import Shuffles
from fastmlp._validation import check

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine
    from fastmlp._engine.thread_pool import Team
    from fastmlp._training.arrow import ArrowBlocks
    from fastmlp._training.shuffle_file import ShuffleFile

Block = Any  # (X, y), (X, y, sample_weight) or (X, y, sample_weight, dy), each array-like
Source = Callable[[], Iterable[Block]] | Iterable[Block]
Permutation = Callable[[NDArray[np.int64], int], None]  # (order, seed): shuffles in place
Answers = queue.SimpleQueue[tuple[Any, BaseException | None]]

_SEED_MASK = 2**64 - 1
LEAST_DRAW = 1 / 8  # rows to draw at once, as a share of a shuffle buffer


def is_table_source(X: Any) -> TypeGuard[ArrowBlocks]:
    """Whether data are an `ArrowBlocks`: rows of named columns, read in any order."""
    return isinstance(X, TableSource)


class BlockStream:
    """A source for the loop: checked blocks in own memory; ``rows`` is None before a full epoch."""

    def __init__(
        self,
        source: Source,
        spec: Spec,
        buffer: int = 0,
        folder: Any = None,
        name: str = "X",
        is_once: bool = False,
        dy_weight: Any = 1.0,
    ) -> None:
        if hasattr(source, "__next__") and not is_once:
            raise TypeError(
                f"{name} has the type {type(source).__name__}, which can be read only once, but a "
                "source that can be read again is expected: pass the function that makes "
                "it, for example fit(lambda: read(path))"
            )
        self.source, self.spec, self.buffer, self.dy_weight = source, spec, buffer, dy_weight
        self.folder = folder
        if folder is not None:
            from fastmlp._training.shuffle_file import check_folder

            check_folder(folder)
        self.name = f"the source of {name}"
        self.rows: int | None = None
        self.flat_y, self.total_weight = False, 0.0  # the weight of the last `measure`
        self.batch_size: int | None = None  # None: each block is a batch
        self._shuffles: Shuffles | None = None
        self._permute: Permutation | None = None
        self._file: ShuffleFile | None = None
        self._summary: BlockSummary | None = None
        self._form: tuple[Any, ...] | None = None

    def begin(
        self, batch_size: int, shuffles: Shuffles | None, permute: Permutation, rows: int
    ) -> None:
        """Set batch size, shuffles and the required number of rows (0: unknown)."""
        self.batch_size, self.rows = batch_size, rows or None
        self._shuffles, self._permute = shuffles, permute
        if self.folder is not None:
            from fastmlp._training.shuffle_file import ShuffleFile

            self._file = ShuffleFile(self.folder, self.buffer)

    def end(self) -> None:
        """Delete the file of shuffled rows, if there is one."""
        if self._file is not None:
            self._file.close()

    def length(self) -> int | None:
        """Return the number of rows; before the first epoch, None if the source has no length."""
        if self.rows is None and (isinstance(self.source, Blocks) or is_table_source(self.source)):
            return self.source.n
        return self.rows

    def blocks(self) -> PrefetchedBlocks:
        """Start an epoch; yields blocks of whole batches, except for the last."""
        seed = None if self._shuffles is None else self._shuffles.next_seed()
        if self._file is not None and self._shuffles is not None and not self._file.runs:
            # The first seed of the fit determines the file, so a resumed fit writes the same file.
            _, order = self._random(self._shuffles.drawn(0)[0], 0)
            written = self._file.write(self._checked(), order)
            with PrefetchedBlocks(written, self._ended) as numbers:
                for _ in numbers:
                    continue
        return PrefetchedBlocks(self._whole_batches(seed), self._ended)

    def _ended(self) -> None:
        """Warn after the first epoch, in the thread in which the warning finds the user's line."""
        summary, self._summary = self._summary, None
        if summary is not None:
            summary.warn(self.buffer)

    def measure(self, engine: Engine, team: Team | None) -> float:
        """Return the weighted mean loss of an engine over all blocks."""
        total = self.total_weight = 0.0
        with self.blocks() as blocks:
            for block in blocks:
                if weight := block.total_weight:
                    total += block.measure(engine, team) * weight
                    self.total_weight += weight
        return total / self.total_weight

    def _whole_batches(self, seed: int | None) -> Iterator[Data]:
        waiting: list[Data] = []  # rows that do not fill a batch yet
        seen = n = 0
        for block in self._shuffled(seed):
            seen += block.rows
            if self.rows is not None and seen > self.rows:
                raise self._bad_rows(f"yields {seen} rows or more")
            n += block.rows  # including the waiting rows
            whole = n - n % (self.batch_size or 1)
            if not whole:
                waiting.append(Data.joined([block]))
                continue
            is_own = seed is not None and not waiting  # shuffled rows are copies already
            joined = block if is_own else Data.joined([*waiting, block])
            waiting = [Data.joined([joined.part(slice(whole, n))])] if whole < n else []
            n -= whole
            del block
            yield joined.part(slice(whole))
            del joined
        if self.rows is not None and seen < self.rows:
            raise self._bad_rows(f"ended after {seen} rows")
        if not seen:
            raise ValueError(f"{self.name} yields no block but at least one is expected, with rows")
        self.rows = seen
        if waiting:
            yield Data.joined(waiting)

    def _shuffled(self, seed: int | None) -> Iterator[Data]:
        """Yield the rows in an order by the seed, within blocks or mixed; None keeps the order."""
        if seed is None:
            yield from self._checked()
            return
        if self._file is not None:
            yield from self._file.blocks(*self._random(seed, 1))
            return
        seeds = itertools.count(seed)
        summary = BlockSummary() if self.rows is None else None  # the first epoch counts
        for block in self._mixed(seeds) if self.buffer else self._permuted(seeds):
            if summary is not None:
                summary.add(block.targets)
            yield block
        self._summary = summary

    def _permuted(self, seeds: Iterator[int]) -> Iterator[Data]:
        """Yield the blocks, each with its own rows shuffled."""
        for block in self._checked(seeds):
            yield block.part(self._order(block.rows, seeds))

    def _mixed(self, seeds: Iterator[int]) -> Iterator[Data]:
        """Yield rows drawn at random from a buffer, where the source's rows replace them."""
        # Small blocks are collected first: each draw shuffles the numbers of all buffered rows.
        waiting: list[Data] = []
        pool, n, size = None, 0, 1  # n rows wait
        for block in self._checked(seeds):
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
                chosen = self._order(pool.rows, seeds)[: part.rows]
                drawn = pool.part(chosen)
                pool.replace(chosen, part)
                yield drawn
        left = waiting if pool is None else [pool, *waiting]
        if left:
            pool = Data.joined(left)
            order = self._order(pool.rows, seeds)
            for first in range(0, pool.rows, size):
                yield pool.part(order[first : first + size])

    def _order(self, n: int, seeds: Iterator[int]) -> NDArray[np.int64]:
        """Return a random order of n rows."""
        order = np.arange(n, dtype=np.int64)
        assert self._permute is not None  # `begin` has set it
        self._permute(order, next(seeds) & _SEED_MASK)
        return order

    def _random(self, seed: int, use: int) -> tuple[np.random.Generator, Order]:
        """Return a generator by a seed and its use, and a function that returns random orders."""
        generator = np.random.default_rng([seed, use])
        seeds = iter(generator.bit_generator.random_raw, None)
        return generator, functools.partial(self._order, seeds=seeds)

    def _bad_rows(self, what: str) -> ValueError:
        return ValueError(
            f"{self.name} {what} but had {self.rows} in the epochs before: it must yield the same "
            "number each epoch; a callable must return a new iterable whenever it is called"
        )

    def _checked(self, seeds: Iterator[int] | None = None) -> Iterator[Data]:
        """Yield the source's checked blocks; errors get a note with the block's number.

        With seeds, files and arrays are read in a random order.
        """
        at, blocks, numbers, has_weight = 0, None, np.empty(0, np.int64), False
        try:
            source = self.source() if callable(self.source) else self.source
            iterable: Any = source
            if seeds is not None and isinstance(source, Blocks):
                numbers = self._order(source.n_blocks, seeds)
                iterable = source.ordered(numbers)
            elif seeds is not None and is_table_source(source):
                iterable = source.ordered(functools.partial(self._order, seeds=seeds))
            if not hasattr(iterable, "__iter__"):
                raise TypeError(
                    f"the source returned {check.short(iterable)} but an iterable of blocks is "
                    "expected: let it yield (X, y), or return a list of such tuples"
                )
            blocks = iter(iterable)
            for block in blocks:
                data = self._check(block)
                has_weight = has_weight or data.weights is None or bool(data.weights.any())
                yield data
                at += 1
        except GeneratorExit:
            raise
        except BaseException as error:
            # Python turns the StopIteration of a generator into a RuntimeError.
            if isinstance(error, StopIteration) or isinstance(error.__cause__, StopIteration):
                raise RuntimeError(
                    f"{self.name} raised StopIteration for block {at} (counted from 0), but only "
                    "__next__ may: end a generator by return, and call next(iterator, None)"
                ) from error
            number = numbers[at] if len(numbers) else at
            error.add_note(f"in {self.name}, block {number} (counted from 0)")
            raise
        finally:
            if isinstance(blocks, Generator):
                blocks.close()
        if at and not has_weight:
            raise ValueError(
                f"no row of {self.name} has a target and a weight above 0 but some are expected: "
                "let it yield other rows"
            )

    def _check(self, block: Block) -> Data:
        if not isinstance(block, (tuple, list)) or not 2 <= len(block) <= 4:
            is_tuple = isinstance(block, (tuple, list))
            what = f"of length {len(block)}" if is_tuple else "and no tuple"
            raise TypeError(
                f"a block is a {type(block).__name__} {what} but (X, y), (X, y, sample_weight) or "
                "(X, y, sample_weight, dy) is expected: yield such tuples"
            )
        x, y, weights, dy = (*block, None, None)[:4]
        if y is None:
            raise TypeError(
                "y of a block is None but targets are expected: let the source yield (X, y), (X, "
                "y, sample_weight) or (X, y, sample_weight, dy), y with NaN where only dy is known"
            )
        data = check.data(x, y, weights, self.spec, dy, self.dy_weight, is_part=True)
        names = "the dtype of X", "the dtype of y", "y.ndim", "sample_weight"
        form = _dtype(x), _dtype(y), data.targets.ndim, "None" if weights is None else "an array"
        for name, now, before in zip(names, form, self._form or form, strict=True):
            if now != before:
                raise ValueError(
                    f"{name} is {now} in a block but was {before} in the first one: let the source "
                    "yield blocks of one kind, for example with astype"
                )
        self._form, self.flat_y = form, data.flat_y
        return data


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


def _dtype(array: Any) -> str:
    return "sparse " * is_sparse(array) + str(getattr(array, "dtype", type(array).__name__))


class PrefetchedBlocks:
    """Iterates over blocks that a thread reads, one block ahead; re-raises the thread's errors."""

    _worker: Worker  # the thread, in a ``with`` block

    def __init__(self, blocks: Iterator[Any], ended: Callable[[], None]) -> None:
        self._ended = ended
        self._ready: Answers = queue.SimpleQueue()
        # Whether another block is wanted. A queue, because an interrupt may leave a semaphore's
        # lock held, and the next use would wait for ever.
        self._requests: queue.SimpleQueue[bool] = queue.SimpleQueue()
        # Runs if an interrupt comes before __exit__. A C function, since an interrupt in __del__
        # would be lost.
        self._end = weakref.ref(self, functools.partial(self._requests.put, False))
        # Holds no reference to this object, which the thread would keep alive.
        self._work = functools.partial(_read, blocks, self._ready, self._requests)

    def __enter__(self) -> Self:
        self._worker = Worker(self._work)
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(False)
        self._worker.has_ended()  # a thread inside the source ends when the source returns

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                block, error = self._ready.get(timeout=PATIENCE)
            except queue.Empty:
                if not self._worker.has_ended(0) or not self._ready.empty():
                    continue
                raise self._worker.error or RuntimeError("a fork left the reading thread") from None
            self._requests.put(True)
            if error is not None:
                raise error
            if block is None:
                self._ended()
                return
            yield block
            del block  # frees the block before waiting for the next


def _read(blocks: Any, ready: Answers, requests: queue.SimpleQueue[bool]) -> None:
    """Read blocks while they are wanted, and put each, then the end, into the queue."""
    end: tuple[None, BaseException | None] = None, None
    try:
        for block in blocks:
            ready.put((block, None))
            del block
            if not requests.get():
                break
    except BaseException as error:
        end = None, error
    finally:
        blocks.close()
        ready.put(end)
