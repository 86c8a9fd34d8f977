"""Rows of `ArrowBlocks` that are read once, within limits, into a sample in memory.

The sample is uniform over the rows that were read: each row draws a random key, and those with the
smallest keys are kept ("bottom-k sampling"). Row groups of files are read in a random order, so
that it is nearly uniform over all rows where time is too short for them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.optional import require
from fastmlp._training.arrow import ArrowBlocks, Batch, numbers_of
from fastmlp._training.parquet import groups_at_once
from fastmlp.tabular.recipe.budget import FEWEST_ROWS
from fastmlp.tabular.table.columns import RowIndex

# Arrow cannot take rows of these types, in which polars hands over its texts.
VIEWS = {"string_view": "large_string", "binary_view": "large_binary"}
LEFT = 0.8  # share of the rows that are left whenever they take too much memory
WITHOUT_WEIGHT = 2.0  # key of rows of weight 0; those of the others are below 1


@dataclass(frozen=True)
class Block:
    """Some rows of a batch that was read."""

    part: Batch
    rows: RowIndex  # their numbers in the batch as it was read
    keys: NDArray[np.float64]

    def place(self, k: int) -> str:
        """Return the words for the place of row k."""
        return self.part.place(int(self.rows[k]))

    def below(self, key: float) -> Block:
        """Return the rows with smaller keys."""
        below = np.flatnonzero(self.keys < key)
        if len(below) == len(self.keys):
            return self
        part = self.part._replace(batch=_without_views(self.part.batch).take(below))
        return Block(part, self.rows[below], self.keys[below])


@dataclass(frozen=True)
class SourceSample:
    """A sample of a source's rows, in their order; it is read like the source."""

    source: ArrowBlocks
    blocks: list[Block]
    seen: int  # number of rows that were read
    total: float  # number of rows of the source; infinity if it was not read to its end

    def __len__(self) -> int:
        return sum(len(block.rows) for block in self.blocks)

    def batches(self) -> Iterator[Batch]:
        """Yield record batches, names of columns, and words for a place, as the source does."""
        for block in self.blocks:
            yield block.part._replace(place=block.place)

    @property
    def numbers(self) -> RowIndex:
        """The numbers of the rows in the source."""
        return np.concatenate([block.part.first + block.rows for block in self.blocks])

    @property
    def with_weight(self) -> int:
        """Number of rows whose weight is not 0."""
        return sum(int((block.keys < WITHOUT_WEIGHT).sum()) for block in self.blocks)

    def taken(self, count: int) -> SourceSample:
        """Return a uniform sample of ``count`` of the rows whose weight is not 0."""
        keys = np.sort(np.concatenate([block.keys for block in self.blocks]))
        key = min(keys[count], WITHOUT_WEIGHT) if count < len(keys) else WITHOUT_WEIGHT
        blocks = [block.below(key) for block in self.blocks]
        return replace(self, blocks=[block for block in blocks if len(block.rows)])


def sampled(
    source: ArrowBlocks, until: float, most_bytes: float, rng: np.random.Generator
) -> SourceSample:
    """Read a source until a time of ``time.monotonic``, at least one batch.

    Rows are dropped, at random, whenever they take more memory than ``most_bytes``, as long as
    there are more than `FEWEST_ROWS`.
    """
    groups, order, total = None, None, None
    if source.is_counted:
        groups, order = source.row_groups(), rng.permutation
        total = sum(group.rows for group in groups)
    elif not source.has_row_groups:
        total = source.n
    blocks: list[Block] = []
    size, seen, key = 0.0, 0, np.inf
    at_once = 1
    if groups and until < np.inf:
        at_once = groups_at_once(groups, most_bytes)
    with contextlib.closing(source.batches(order, groups, at_once)) as batches:
        for part in batches:
            n = part.batch.num_rows
            keys = rng.random(n)
            if source.weight is not None:
                weights = numbers_of(part.batch.column(source.weight), source.weight, part.place)
                keys[weights == 0] = WITHOUT_WEIGHT
            block = Block(part, np.arange(n), keys).below(key)
            blocks.append(block)
            size, seen = size + block.part.batch.nbytes, seen + n
            while size > most_bytes and sum(len(block.rows) for block in blocks) > FEWEST_ROWS:
                key = LEFT * min(key, 1.0)
                for k, block in enumerate(blocks):  # one after the other, to free memory
                    blocks[k] = block.below(key)
                size = sum(block.part.batch.nbytes for block in blocks)
            if time.monotonic() > until:
                break
        else:
            total = seen
    blocks.sort(key=lambda block: block.part.first)
    release()
    return SourceSample(source, blocks, seen, np.inf if total is None else total)


def release() -> None:
    """Give back the memory that Arrow keeps for further batches, which may be hundreds of MB."""
    require("ArrowBlocks", "pyarrow").default_memory_pool().release_unused()


def _without_views(batch: Any) -> Any:
    """Return a batch whose columns of Arrow's view types are made plain text or bytes."""
    columns = [
        column.cast(VIEWS[str(column.type)]) if str(column.type) in VIEWS else column
        for column in batch.columns
    ]
    return type(batch).from_arrays(columns, names=batch.schema.names)
