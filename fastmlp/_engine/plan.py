"""Plan: the options of one epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fastmlp._core.intervals import FRACTION
from fastmlp._engine.thread_pool import Team
from fastmlp._network.data import Data, Shard, WeightSum
from fastmlp._network.groups import PLAIN, Groups
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.scheduled import Scheduled, learning_rates
from fastmlp._network.spec import Spec

NO_RATES = np.empty(0)  # the first epoch sets them
UNWEIGHTED = WeightSum(1.0, 1)  # of rows that all have the weight 1


@dataclass
class Plan:
    """Everything that one epoch needs besides the data.

    The options stay as the user's call made them. What differs from epoch to epoch is set by those
    who run the fit: ``order``, ``seed`` and ``team`` at its beginning, and the loop permutes the
    order; ``step``, ``learning_rates``, ``weight_decays``, ``dropouts`` and ``sums`` before each
    call of the engine.
    """

    optimizer: Optimizer  # its state is in the engine since `start`
    batch_size: int  # rows of a batch; the last batch may be shorter
    learning_rates: npt.NDArray[np.float64]  # (batches,)
    order: npt.NDArray[np.int64] | None = None  # row numbers of the data; None: 0, 1, 2, ...
    l1: float = 0.0  # the objective includes l1 sum(abs(W))
    l2: float = 0.0  # and 0.5 l2 sum(W**2)
    # Whether the sum of a batch's sample weights divides its loss and l2, as with scikit-learn.
    per_batch: bool = False
    weight_sum: WeightSum | None = None  # None: the rows of this call are all
    clip_norm: float = 0.0  # largest global norm of a gradient; 0: no limit
    groups: Groups = PLAIN  # factors on rate, decay and penalties of each tensor
    dropout: tuple[Scheduled, ...] | None = None  # one a hidden layer; None: the network's
    seed: int = 0  # 64 bits, they seed the masks of dropout
    step: int = 0  # global index of the first batch
    team: Team | None = None  # None: the calling thread alone
    # The next two are None where those of the optimizer and the network are constants.
    weight_decays: npt.NDArray[np.float64] | None = None  # (batches,)
    dropouts: npt.NDArray[np.float64] | None = None  # (batches, hidden layers), C-contiguous
    # Sums of the weighted objectives and of the weights over the earlier batches of this epoch, for
    # data that come in blocks: `epoch` continues them. None: they start at 0.
    sums: list[float] | None = None
    is_scheduled: bool = False  # whether options may change from step to step
    drops_last: bool = False  # leave out the rows after the last whole batch
    share: Shard | None = None  # this process's part of an epoch that many processes share

    def again(self) -> Plan:
        """Return a plan with the same options for another fit."""
        fresh = Plan.__new__(Plan)
        fresh.__dict__ = vars(self).copy()
        return fresh

    def follow(self, leader: Plan) -> None:
        """Take the values of the steps of an epoch from another plan."""
        self.step, self.learning_rates = leader.step, leader.learning_rates
        self.weight_decays, self.dropouts = leader.weight_decays, leader.dropouts

    def forget_sums(self) -> None:
        """Drop the sums of an earlier epoch, so that the next one starts at 0."""
        self.sums = None

    def set_steps(self, step: int, rates: npt.NDArray[np.float64]) -> None:
        """Set learning rates, weight decays and dropouts of the steps that begin with ``step``."""
        self.step, self.learning_rates, n_steps = step, rates, len(rates)
        decay = getattr(self.optimizer, "weight_decay", None)
        if callable(decay):
            self.weight_decays = learning_rates(decay, step, n_steps, "weight decay")
        if self.dropout is not None:
            layers = [learning_rates(p, step, n_steps, "dropout", FRACTION) for p in self.dropout]
            self.dropouts = np.ascontiguousarray(np.reshape(layers, (len(layers), n_steps)).T)

    def optimizer_of(self, batch: int) -> Optimizer:
        """Return the optimizer with the weight decay of a batch."""
        if self.weight_decays is None:
            return self.optimizer
        decay = {"weight_decay": float(self.weight_decays[batch])}
        return replace(self.optimizer, **decay)

    def network_of(self, batch: int, spec: Spec) -> Spec:
        """Return the network with the dropout of a batch."""
        if self.dropouts is None:
            return spec
        return replace(spec, dropout=tuple(self.dropouts[batch].tolist()))

    def weights_of(self, data: Data) -> WeightSum:
        """Return the sum of the sample weights of all rows of an epoch."""
        is_unused = self.per_batch or data.weights is None
        return UNWEIGHTED if is_unused else self.weight_sum or data.weight_sum(self.order)

    def rows(self, n: int) -> int:
        """Return the number of rows, out of n, that an epoch trains on."""
        return n - n % self.batch_size if self.drops_last else n

    def n_steps(self, n: int) -> int:
        """Return the number of batches that n rows make."""
        return n // self.batch_size if self.drops_last else -(-n // self.batch_size)

    def steps_of(self, data: Data) -> int:
        """Return the number of batches of one epoch: of the rows in `order`, or all."""
        return self.n_steps(data.rows if self.order is None else len(self.order))
