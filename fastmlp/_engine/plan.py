"""Plan: everything that one epoch needs besides the data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fastmlp._core.intervals import FRACTION
from fastmlp._engine.thread_pool import Team
from fastmlp._network.groups import PLAIN, Groups
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.scheduled import Scheduled, learning_rates
from fastmlp._network.shard import Shard
from fastmlp._network.spec import Spec


@dataclass
class Plan:
    """What one epoch needs besides data.

    Attributes
    ----------
    optimizer : Optimizer
        Whose state the engine holds since `start`.
    batch_size : int
        Rows of a batch; the last one may be shorter.
    learning_rates : array of float64, shape (number of batches,)
        One a batch.
    order : array of int64, or None
        Row of the data at each position, any number of them; None is 0, 1, 2, ... to the last.
    l1, l2 : float
        The objective has l1 sum(abs(W)) and 0.5 l2 sum(W**2).
    l2_per_batch : bool
        Divide l2 by the batch's sum of weights.
    clip_norm : float
        Gradients with a larger global norm are scaled down to it; 0 is off.
    groups : Groups
        Factors on rates, decay and penalties of each tensor.
    dropout : tuple of float or callable, or None
        Drop probabilities of the hidden layers, or schedules; None is those of the network.
    seed : int
        Of the dropout masks, 64 bits.
    step : int
        Global index of the first batch, from 0.
    team : teams.Team or None
        Who computes; None is the caller alone.
    weight_decays : array of float64, shape (number of batches,), or None
        The optimizer's, one a batch; None is its constant one.
    dropouts : array of float64, shape (number of batches, hidden layers), or None
        Drop probabilities, C-contiguous; None is those of the network.
    sums : list of two float, or None
        Of weighted objectives and of weights, over the batches of this epoch so far: `epoch`
        goes on with them, for data that come in blocks. None begins anew.
    drops_last : bool
        Leave out the rows behind the last whole batch.
    share : Share or None
        This process's part, if many take the epoch together.
    """

    optimizer: Optimizer
    batch_size: int
    learning_rates: npt.NDArray[np.float64]
    order: npt.NDArray[np.int64] | None = None
    l1: float = 0.0
    l2: float = 0.0
    l2_per_batch: bool = False
    clip_norm: float = 0.0
    groups: Groups = PLAIN
    dropout: tuple[Scheduled, ...] | None = None
    seed: int = 0
    step: int = 0
    team: Team | None = None
    weight_decays: npt.NDArray[np.float64] | None = None
    dropouts: npt.NDArray[np.float64] | None = None
    sums: list[float] | None = None
    drops_last: bool = False
    share: Shard | None = None

    def look_up(self, n_steps: int) -> None:
        """Set `weight_decays` and `dropouts` to what their schedules say from `step` on.

        Raises
        ------
        TypeError, ValueError
            If a schedule returns what it should not.
        """
        decay = getattr(self.optimizer, "weight_decay", None)
        if callable(decay):
            self.weight_decays = learning_rates(decay, self.step, n_steps, "weight decay")
        if self.dropout is not None:
            wanted = self.step, n_steps, "dropout", FRACTION
            layers = [learning_rates(p, *wanted) for p in self.dropout]
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

    def rows(self, n: int) -> int:
        """Rows of n that an epoch trains on."""
        return n - n % self.batch_size if self.drops_last else n

    def n_steps(self, n: int) -> int:
        """Batches of n rows."""
        return n // self.batch_size if self.drops_last else -(-n // self.batch_size)
