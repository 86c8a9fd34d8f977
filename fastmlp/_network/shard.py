"""One process's part of a data-parallel epoch; see fastmlp/_training/distributed/processes.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fastmlp._network.activations import Array


@dataclass
class Shard:
    """One rank's shard of a data-parallel epoch: batch weight totals, row offset, all-reduce hook.

    The gradient and the objective of a batch are sums over the rows of all processes, each row
    weighted by its part of the batch's total weight. Every process then takes the same step.
    """

    NOTES: ClassVar[int] = 2

    totals: npt.NDArray[np.float64]  # sample weights of each batch, summed over all processes
    row: int  # rows of a batch on lower ranks, for the random numbers of dropout
    is_first: bool  # whether this process adds the penalty and its gradient
    # Called once per step with this process's flat gradients and `NOTES` more elements for its own
    # use; replaces them by sums over all processes. True reports that this process has failed; the
    # call raises if another one has.
    add_up: Callable[[Array, bool], None]
