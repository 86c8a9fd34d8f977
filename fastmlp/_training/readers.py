"""Sources for data that is not in memory; ``MLP.fit`` takes them, or any object that yields blocks.

They yield ``(X, y)``, ``(X, y, sample_weight)`` or ``(X, y, sample_weight, dy)`` from the first row
to the last, and may reuse their memory: a fit copies each block before it asks for the next.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp._core.intervals import check_count
from fastmlp._network.sparse import SparseRows, is_sparse, rows_of

# Size of a block: small enough for the cache during checks and copies, large enough to train.
BLOCK_BYTES = 1 << 22

Order = Callable[[int], NDArray[np.int64]]  # returns a random order of n things


class TableSource:
    """Base of `ArrowBlocks`, by which fits know one without loading what reads it."""


class Blocks:
    """Arrays as data of a fit, read in blocks of rows, for more than memory holds.

    Take it for arrays in files (``np.load(path, mmap_mode="r")``); a fit holds two blocks in memory
    at a time.

    Parameters
    ----------
    X : array, shape (n, fan-in)
        NumPy array, possibly memory-mapped (``np.load(path, mmap_mode="r")``), a sparse matrix, or
        any object with a shape, a dtype and row slices (h5py, zarr).
    y : array, shape (n,) or (n, outputs), optional
        Targets, of the same types as X; without them, the blocks serve ``MLP.predict`` alone.
    sample_weight : array, shape (n,), optional
        Weights of at least 0; no block may have only zeros.
    dy : array, shape (n, fan-in) or (n, outputs, fan-in), optional
        Derivatives by the inputs, as for ``MLP.fit``.
    rows : int, optional
        Rows per block, at least 1; by default 4 MiB of X. With ``shuffle`` the order of samples
        depends on it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an array, or the numbers of rows differ.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> x = np.random.default_rng(0).uniform(-1, 1, (1000, 1)).astype(np.float32)
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit(fastmlp.Blocks(x, x**2, rows=300), epochs=2)
    >>> len(history.loss)
    2
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        dy: Any = None,
        rows: int | None = None,
    ):
        X = rows_of(X) if is_sparse(X) else X
        self.arrays = {"X": X, "y": y, "sample_weight": sample_weight, "dy": dy}
        while len(self.arrays) > 1 and next(reversed(self.arrays.values())) is None:
            self.arrays.popitem()
        if y is None and len(self.arrays) > 1:
            raise TypeError(
                f"{next(reversed(self.arrays))} is passed without y but belongs to targets: pass "
                "y, with NaN where only dy is known"
            )
        if dy is not None and np.ndim(dy) not in (2, 3):
            raise ValueError(
                f"dy has shape {np.shape(dy)} but (n, fan-in) or (n, outputs, fan-in) is expected: "
                "of one input pass dy[:, np.newaxis]"
            )
        for name, array in self.arrays.items():
            if array is None and name == "sample_weight":
                continue
            shape = getattr(array, "shape", ())
            if not shape or not hasattr(array, "dtype"):
                raise TypeError(
                    f"{name} has type {type(array).__name__} but an array with rows is expected: "
                    f"pass np.asarray({name})"
                )
            if shape[0] != X.shape[0]:
                raise ValueError(
                    f"{name} has {shape[0]} rows but X has {X.shape[0]}: pass one for each sample"
                )
        self.n = int(X.shape[0])
        row_bytes = int(np.prod(X.shape[1:])) * np.dtype(X.dtype).itemsize
        if isinstance(X, SparseRows):
            row_bytes = X.nbytes // max(1, self.n)
        default = max(1, BLOCK_BYTES // max(1, row_bytes))
        self.rows = default if rows is None else check_count("rows", rows, example=10_000)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield the blocks, from the first row to the last."""
        return self.ordered(range(self.n_blocks))

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.n // self.rows)

    def ordered(self, numbers: Iterable[int]) -> Iterator[tuple[Any, ...]]:
        """Yield the blocks with these numbers."""
        for number in numbers:
            first = int(number) * self.rows
            rows = slice(first, first + self.rows)
            yield tuple(None if a is None else a[rows] for a in self.arrays.values())
            for array in self.arrays.values():
                _forget(array)


def _forget(array: Any) -> None:
    """Release pages of a mapped file, except of a private copy, whose changes would be lost."""
    if isinstance(array, np.memmap) and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped = getattr(array, "_mmap", None)
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED)
