"""Data: the checked samples, targets and weights of one network."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fastmlp._network.activations import Array


class RowSource(Protocol):
    """Inputs that are computed row by row when a batch needs them, in the place of an array.

    The native engine calls the C function in `row_source`, from any thread; NumPy's engine asks
    for ``numpy.asarray(source[rows])``. All numbers are finite, and the same whenever they are
    asked for. An example is ``EncodedRows``: rows of a table, as the inputs of a network.

    Attributes
    ----------
    shape : tuple (n, I)
    dtype : numpy.dtype
    row_source : PyCapsule "fastmlp.row_source"
        A C struct of a function and its first argument, see ``src_cython/c/network.h``. It must not
        outlive the source.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    row_source: Any

    def __getitem__(self, rows: Any) -> RowSource:
        """Return a source of some rows, by a slice, a mask or their numbers."""
        ...

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        """Return all rows as an array."""
        ...


@dataclass
class Data:
    """Checked data: aligned, native byte order, of the network's dtype."""

    x: Any  # (n, inputs): an array of any strides, or a RowSource
    targets: Array  # C-contiguous, (n, m), or int32 labels (n,)
    weights: Array | None = field(default=None)  # (n,) of the samples, at least 0; None: all 1
    flat_y: bool = False  # whether the user gave the numbers of one output as (n,), not (n, 1)

    @property
    def rows(self) -> int:
        """Samples."""
        return int(self.x.shape[0])

    def part(self, rows: Any) -> Data:
        """Return some rows, by a slice or their numbers."""
        weights = None if self.weights is None else self.weights[rows]
        return Data(self.x[rows], self.targets[rows], weights)

    def blocks(self) -> AbstractContextManager[Iterable[Data]]:
        """Give an epoch its blocks: an array is a source of one."""
        return nullcontext((self,))
