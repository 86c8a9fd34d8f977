"""A temporary file with the rows of a source, from which epochs read them in random order."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastmlp._network.data import OPTIONAL, Data
from fastmlp._training.readers import Order
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal

# Bytes of the rows that are shuffled in memory at a time (which takes twice as much), unless the
# fit sets the number of rows.
RUN_BYTES = 2**25
BLOCK = 1 / 8  # the rows of a block as a share of a run; a cache holds them
PIECE = 2**16  # bytes to write at a time: more may cost a system several times the time
PARTS = 256  # a run has this many
MOST_ROWS = 10**9 - 1  # NumPy's multivariate_hypergeometric takes no more


def check_folder(value: Any) -> None:
    """Raise TypeError or ValueError unless a value is the path of a folder."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(
            f"shuffle_folder is {check.short(value)} but the path of a folder is expected: pass "
            "for example tempfile.gettempdir()"
        )
    if not os.fspath(value) or not Path(value).is_dir():
        raise ValueError(
            f"shuffle_folder is {os.fspath(value)!r}, which is no folder: make it, or pass another"
        )


class Run(NamedTuple):
    """Rows in random order: their number, and offset, dtype and further shape of each array."""

    rows: int
    arrays: dict[str, tuple[int, np.dtype[Any], tuple[int, ...]]]


class ShuffleFile:
    """Rows of a source in runs, which are shuffled in memory; the system deletes the file.

    A block of an epoch has rows of all runs: of each the next ones, as many as there would be if
    all rows were drawn one by one without replacement. So all orders are equally likely. Each epoch
    reads the parts of a run in another order, since the rows of a part stay together.
    """

    like: Data  # an empty block with the dtypes of the source; it is set with the first block

    def __init__(self, folder: Any, rows: int) -> None:
        self.folder, self.rows = folder, rows  # a run has these rows; 0: `RUN_BYTES` decides
        self.file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self.runs: list[Run] = []
        self.size = 0  # bytes

    def write(self, blocks: Iterator[Data], permute: Order) -> Iterator[int]:
        """Write the rows of blocks in shuffled runs; yield the number of rows of each block."""
        room, filled = None, 0
        for block in blocks:
            if room is None:
                self._begin(block)
                room = self.like
            first = 0
            while first < block.rows:
                part = block.part(slice(first, first + self.rows - filled))
                end = filled + part.rows
                if end > room.rows:  # memory grows with the rows that arrive
                    larger = room.room(min(self.rows, max(end, 2 * room.rows)))
                    larger.replace(np.arange(filled), room.part(slice(filled)))
                    room = larger
                room.replace(np.arange(filled, end), part)
                first, filled = first + part.rows, end
                if filled == self.rows:
                    self._append(room.part(permute(filled)))
                    filled = 0
            yield block.rows
        if room is not None and filled:
            self._append(room.part(permute(filled)))

    def blocks(self, generator: np.random.Generator, permute: Order) -> Iterator[Data]:
        """Yield all rows once, in random order."""
        left = np.array([run.rows for run in self.runs])
        parts = [_parts(run.rows, permute) for run in self.runs]
        most = max(int(self.rows * BLOCK), len(self.runs))  # else numbers of rows are mostly 0
        while total := int(left.sum()):
            block, filled = self.like.room(min(most, total)), 0
            order = permute(block.rows)
            counts = generator.multivariate_hypergeometric(left, block.rows, method="marginals")
            for run, unread, count in zip(self.runs, parts, counts.tolist(), strict=True):
                end = filled + count
                while filled < end:
                    first, last = unread.pop()
                    if (cut := first + end - filled) < last:
                        unread.append((cut, last))
                        last = cut
                    places = order[filled : filled + last - first]
                    block.replace(places, self._read(run, first, last - first))
                    filled += len(places)
            yield block
            left -= counts

    def close(self) -> None:
        """Delete the file."""
        with contextlib.suppress(OSError):  # the write that failed is tried again
            self.file.close()

    def _begin(self, block: Data) -> None:
        """Set the number of rows of a run, and a model of blocks."""
        if not isinstance(block.x, np.ndarray):
            raise refusal("shuffle_folder", "sparse rows")
        arrays = (getattr(block, name) for name in ("x", "targets", *OPTIONAL))
        bytes_of_rows = sum(array.nbytes for array in arrays if array is not None)
        self.rows = self.rows or max(1, RUN_BYTES * block.rows // bytes_of_rows)
        self.like = block.room(0)

    def _append(self, shuffled: Data) -> None:
        """Write a run; an error names the folder."""
        arrays = {}
        try:
            for name in ("x", "targets", *OPTIONAL):
                if (array := getattr(shuffled, name)) is not None:
                    arrays[name] = self.size, array.dtype, array.shape[1:]
                    content = memoryview(array).cast("B")
                    for first in range(0, len(content), PIECE):
                        self.size += self.file.write(content[first : first + PIECE])
            self.file.flush()
        except OSError as error:
            error.add_note(
                f"after {self.size:,} bytes of shuffled rows: make room in {self.folder}, or pass "
                "another shuffle_folder"
            )
            raise
        self.runs.append(Run(shuffled.rows, arrays))
        if sum(run.rows for run in self.runs) > MOST_ROWS:
            raise ValueError(
                f"the source has more than {MOST_ROWS:,} rows, the most for a shuffle_folder: use "
                "shuffle_buffer"
            )

    def _read(self, run: Run, first: int, rows: int) -> Data:
        """Return consecutive rows of a run."""
        arrays: dict[str, Any] = {}
        for name, (offset, dtype, shape) in run.arrays.items():
            array = arrays[name] = np.empty((rows, *shape), dtype)
            self.file.seek(offset + first * array.strides[0])
            if self.file.readinto(memoryview(arrays[name]).cast("B")) < array.nbytes:
                raise OSError(f"the file of shuffled rows in {self.folder} has been cut off")
        return Data(**arrays)


def _parts(rows: int, permute: Order) -> list[tuple[int, int]]:
    """Return first row and end of the parts of a run, in random order."""
    ends = np.linspace(0, rows, min(rows, PARTS) + 1).astype(int).tolist()
    return [(ends[k], ends[k + 1]) for k in permute(len(ends) - 1).tolist()]
