"""Steps along the gradient, or along a sum of the gradients so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from fastmlp._core.intervals import FRACTION, check_flag
from fastmlp._network.activations import Array
from fastmlp._network.optimizers.base import Optimizer, Slots


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: p -= rate g; with momentum b = mu b + g and p -= rate b.

    Nesterov's variant takes p -= rate (g + mu b).

    With `rate_in_velocity` the velocity has the learning rate in it: b = mu b - rate g and p += b,
    Nesterov's p += mu b - rate g. The same while the rate stays; after a change, the old steps live
    on at the old rate. It is what scikit-learn and Sutskever et al. 2013 do.

    Parameters
    ----------
    learning_rate : float > 0 or callable
        The rate, or a schedule.
    momentum : float, in [0, 1)
        mu.
    nesterov : bool
        Look ahead; needs momentum.
    rate_in_velocity : bool
        Which of the two forms; without momentum they are one.

    Examples
    --------
    >>> import numpy as np
    >>> p = np.array([1.0])
    >>> SGD(0.1).step(p, np.array([2.0]), [], 0.1, 1, decay=True)
    >>> p
    array([0.8])
    """

    name = "sgd"
    degree = 1
    _slots_by_row: ClassVar[dict[str, Slots]] = {
        **{"sgd": {}, "momentum": {"b": None}, "nesterov": {"b": None}},
        **{"momentum_with_rate": {"b": None}, "nesterov_with_rate": {"b": None}},
    }
    _numbers = ("momentum",)
    momentum: float = 0.0
    nesterov: bool = False
    rate_in_velocity: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        FRACTION.check("momentum", self.momentum, example=0.9)
        check_flag("nesterov", self.nesterov)
        check_flag("rate_in_velocity", self.rate_in_velocity)
        if self.nesterov and self.momentum == 0:
            raise ValueError(
                "nesterov is True but momentum is 0, which leaves nothing to look ahead with: "
                "pass for example momentum=0.9"
            )

    @property
    def native_row(self) -> str:
        """The row of `NATIVE_OPTIMIZERS`, by momentum, nesterov and form."""
        if self.momentum == 0:
            return "sgd"
        row = "nesterov" if self.nesterov else "momentum"
        return f"{row}_with_rate" if self.rate_in_velocity else row

    def _step(
        self, p: Array, g: Array, slots: Sequence[Array], rate: float, t: int, factor: float
    ) -> None:
        del t, factor  # there is no epsilon
        if not self.momentum:
            p -= rate * g
            return
        mu = float(self.momentum)
        (b,) = slots
        if self.rate_in_velocity:
            b[...] = mu * b - rate * g
            p += mu * b - rate * g if self.nesterov else b
        else:
            b[...] = mu * b + g
            p -= rate * (g + mu * b if self.nesterov else b)
