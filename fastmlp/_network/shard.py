"""A part of an epoch that many processes take together; see `training.processes`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fastmlp._network.activations import Array


@dataclass
class Shard:
    """What this process has of an epoch that many take together, each with its own rows.

    The gradient of a batch is a sum over all rows of all processes, each row with its part of the
    sum of weights of the whole batch; so is the objective. Every process then takes the same step.

    Attributes
    ----------
    totals : array of float64, shape (number of batches,)
        Sums of the sample weights of each batch, over all processes.
    row : int
        Rows of a batch that other processes have before this one's: dropout draws by them.
    is_first : bool
        Whether the penalty, and its gradient, are of this process.
    add_up : callable (array, bool) -> None
        Called once a step with the gradients of this process, flat, and `NOTES` more elements at
        the end, for itself: sums over all processes in place. True says that this one has failed;
        raises if another has.
    """

    NOTES: ClassVar[int] = 2

    totals: npt.NDArray[np.float64]
    row: int
    is_first: bool
    add_up: Callable[[Array, bool], None]
