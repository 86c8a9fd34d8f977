"""Data: the checked samples, targets and weights of one network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fastmlp._network.activations import Array
from fastmlp._network.sparse import SparseRows, concatenated

# Optional arrays with one entry for each row, and the value that stands for no entry.
OPTIONAL = {"weights": 1, "output_weights": 1, "jacobians": np.nan}


class RowSource(Protocol):
    """Inputs that are computed row by row when a batch needs them, in place of an array.

    The native engine calls the C function in `row_source`, from any thread; the NumPy engine calls
    ``numpy.asarray(source[rows])``. All numbers are finite and always the same. An example is
    ``EncodedRows``, the rows of a table as inputs of a network.
    """

    shape: tuple[int, int]  # (n, I)
    dtype: np.dtype[Any]
    # A PyCapsule "fastmlp.row_source" with a function and its first argument, see
    # src_cython/c/network.h; it must not outlive the source.
    row_source: Any

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> RowSource:
        """Return a source of the rows in a slice, mask or array of row numbers."""
        ...

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: Any = None) -> Array:
        """Return all rows as an array."""
        ...


class WeightSum(NamedTuple):
    """The sum of the sample weights of all rows of an epoch, and the rows whose weight is not 0.

    The divisor of a batch's loss is its number of such rows times their mean weight in the epoch:
    then steps follow the weighted mean over all rows. Divided by the sum of the batch's weights, a
    row of weight 49 beside 63 of weight 1 would count 49 / 112, and rows of other batches 1 / 64:
    it would weigh 28 times as much as they do, not 49 times.
    """

    total: float
    rows: int

    @property
    def mean(self) -> float:
        """Mean weight of these rows; 0 without rows."""
        return self.total / self.rows if self.rows else 0.0


@dataclass
class Data:
    """Checked data: aligned, native byte order, of the network's dtype."""

    x: Any  # (n, inputs): an array of any strides, SparseRows, or a RowSource
    targets: Array  # C-contiguous, (n, m), or int32 labels (n,)
    weights: Array | None = field(default=None)  # (n,) sample weights, at least 0; None: all 1
    # (n, m) factors on the losses of single outputs, 0 where a target is missing; None: all 1. The
    # mean of a row is 1, or with derivatives less where targets are missing.
    output_weights: Array | None = field(default=None)
    # C-contiguous, (n, m, inputs): derivatives of the outputs by the inputs to learn, NaN where
    # unknown. The loss of a row has 0.5 jacobian_weight (dz / dx - jacobian)^2 of them in addition.
    jacobians: Array | None = field(default=None)
    jacobian_weight: float = 1.0
    # whether the targets are a gradient by the last layer's outputs, used as it is, of any loss
    is_gradient: bool = False
    flat_y: bool = False  # whether the user gave targets of one output as (n,), not (n, 1)

    @property
    def rows(self) -> int:
        """Number of samples."""
        n: int = self.x.shape[0]
        return n

    @property
    def total_weight(self) -> float:
        """Sum of the sample weights; the number of samples without weights."""
        return self.rows if self.weights is None else float(self.weights.sum(dtype=float))

    def weight_sum(self, order: npt.NDArray[np.int64] | None = None) -> WeightSum:
        """Return the sum of the sample weights of some rows, the same to the bit in any order."""
        if self.weights is None:
            n = self.rows if order is None else len(order)
            return WeightSum(float(n), n)
        weights = self.weights if order is None else self.weights[order]
        # Integers: sums of floating-point numbers depend on their order and the rounding mode.
        largest = float(weights.max(initial=0))
        shift = 62 - len(weights).bit_length() - math.frexp(largest)[1]
        total = int(np.ldexp(weights.astype(float), shift).astype(np.int64).sum())
        return WeightSum(math.ldexp(total, -shift), int(np.count_nonzero(weights)))

    def measure(self, engine: Any, team: Any) -> float:
        """Return the weighted mean loss of an engine on this data."""
        return float(engine.evaluate(self, team))

    def of_values(self) -> Data:
        """Return the data without derivatives; a row counts as much as values of it are there."""
        if self.jacobians is None or self.output_weights is None:
            return replace(self, jacobians=None)
        share = self.output_weights.mean(axis=1, keepdims=True)
        return replace(
            self,
            weights=share[:, 0] * (1.0 if self.weights is None else self.weights),
            output_weights=self.output_weights / np.where(share > 0, share, 1),
            jacobians=None,
        )

    def part(self, rows: slice | npt.NDArray[Any]) -> Data:
        """Return the rows in a slice or array of row numbers."""
        try:
            optional: dict[str, Any] = {
                name: values[rows]
                for name in OPTIONAL
                if (values := getattr(self, name)) is not None
            }
            return Data(
                self.x[rows],
                self.targets[rows],
                jacobian_weight=self.jacobian_weight,
                is_gradient=self.is_gradient,
                **optional,
            )
        except SystemError as error:  # NumPy's, where it has no memory for an index
            raise MemoryError("out of memory for a copy of some rows") from error

    @staticmethod
    def joined(parts: Sequence[Data]) -> Data:
        """Return the rows of all parts, in new memory."""
        x, targets = ([getattr(part, name) for part in parts] for name in ("x", "targets"))
        join = concatenated if isinstance(x[0], SparseRows) else np.concatenate
        optional: dict[str, Any] = {
            name: np.concatenate([part.filled(name) for part in parts])
            for name in OPTIONAL
            if any(getattr(part, name) is not None for part in parts)
        }
        weight = parts[0].jacobian_weight
        return Data(join(x), np.concatenate(targets), jacobian_weight=weight, **optional)

    def replace(self, rows: npt.NDArray[np.int64], part: Data) -> None:
        """Replace rows by those of another part."""
        if isinstance(self.x, SparseRows):
            order = np.arange(self.rows)
            order[rows] = self.rows + np.arange(part.rows)
            self.x = concatenated([self.x, part.x])[order]
        else:
            self.x[rows] = part.x
        self.targets[rows] = part.targets
        for name in OPTIONAL:
            if getattr(self, name) is not None or getattr(part, name) is not None:
                setattr(self, name, self.filled(name))
                getattr(self, name)[rows] = part.filled(name)

    def room(self, rows: int) -> Data:
        """Return memory for so many rows of the shapes and dtypes of these; values are not set."""
        x, targets = (np.empty((rows, *a.shape[1:]), a.dtype) for a in (self.x, self.targets))
        return Data(x, targets, jacobian_weight=self.jacobian_weight)

    def filled(self, name: str) -> Array:
        """Return an optional array, filled with the value that stands for None."""
        values: Array | None = getattr(self, name)
        shape = (*self.targets.shape[:2], self.x.shape[1])[: list(OPTIONAL).index(name) + 1]
        return np.full(shape, OPTIONAL[name], self.x.dtype) if values is None else values


@dataclass
class Shard:
    """One rank's shard of a data-parallel epoch, whose gradients are summed over all ranks."""

    NOTES: ClassVar[int] = 2

    totals: npt.NDArray[np.float64]  # divisor of the loss of each batch of all processes
    row: int  # rows of a batch on lower ranks, for the random numbers of dropout
    is_first: bool  # whether this process adds the penalty and its gradient
    # Called once per step with this process's flat gradients and `NOTES` more elements for its own
    # use; replaces them by sums over all processes. True reports that this process has failed; the
    # call raises if another one has.
    add_up: Callable[[Array, bool], None]
