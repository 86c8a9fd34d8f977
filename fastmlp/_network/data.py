"""Data: the checked samples, targets and weights of one network."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from fastmlp._network.activations import Array


@dataclass
class Data:
    """Checked data: aligned, native byte order, of the network's dtype."""

    x: Array  # (n, inputs), any strides
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
