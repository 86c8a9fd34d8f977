"""The blocks of an epoch: a source yields them, and a thread reads one block ahead.

The engine gets blocks of whole batches, with the remaining rows carried into the next. So weights
have the bits of a fit of one array with all rows, unless rows are shuffled within the blocks.
"""

from __future__ import annotations

import functools
import queue
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeGuard

import numpy as np

from fastmlp._core.worker import PATIENCE, Worker
from fastmlp._network.data import Data
from fastmlp._network.sparse import is_sparse
from fastmlp._network.spec import Spec
from fastmlp._training.block_shuffle import BlockShuffle, Permutation
from fastmlp._training.readers import Blocks, TableSource
from fastmlp._training.shuffles import Shuffles
from fastmlp._validation import check

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine
    from fastmlp._engine.thread_pool import Team
    from fastmlp._training.arrow import ArrowBlocks

Block = Any  # (X, y), (X, y, sample_weight) or (X, y, sample_weight, dy), each array-like
Source = Callable[[], Iterable[Block]] | Iterable[Block]
Answers = queue.SimpleQueue[tuple[Any, BaseException | None]]


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
        self.source, self.spec, self.dy_weight = source, spec, dy_weight
        self.shuffle = BlockShuffle(buffer, folder)
        self.name = f"the source of {name}"
        self.rows: int | None = None
        self.flat_y, self.total_weight = False, 0.0  # the weight of the last `measure`
        self.batch_size: int | None = None  # None: each block is a batch
        self._form: tuple[Any, ...] | None = None

    def begin(
        self, batch_size: int, shuffles: Shuffles | None, permute: Permutation, rows: int
    ) -> None:
        """Set batch size, shuffles and the required number of rows (0: unknown)."""
        self.batch_size, self.rows = batch_size, rows or None
        self.shuffle.begin(shuffles, permute)

    def end(self) -> None:
        """Delete the file of shuffled rows, if there is one."""
        self.shuffle.end()

    def length(self) -> int | None:
        """Return the number of rows; before the first epoch, None if the source has no length."""
        if self.rows is None and (isinstance(self.source, Blocks) or is_table_source(self.source)):
            return self.source.n
        return self.rows

    def blocks(self) -> PrefetchedBlocks:
        """Start an epoch; yields blocks of whole batches, except for the last."""
        seed = self.shuffle.next_seed()
        if (written := self.shuffle.written(self._checked)) is not None:
            with PrefetchedBlocks(written, self.shuffle.warn) as numbers:
                for _ in numbers:
                    continue
        return PrefetchedBlocks(self._whole_batches(seed), self.shuffle.warn)

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
        for block in self.shuffle.blocks(self._checked, seed, is_first=self.rows is None):
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
                numbers = self.shuffle.order(source.n_blocks, seeds)
                iterable = source.ordered(numbers)
            elif seeds is not None and is_table_source(source):
                iterable = source.ordered(functools.partial(self.shuffle.order, seeds=seeds))
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
