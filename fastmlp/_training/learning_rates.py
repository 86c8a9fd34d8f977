"""The learning rate of each step: a number or a schedule, times a factor set by callbacks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.intervals import NON_NEGATIVE
from fastmlp._network import scheduled
from fastmlp._network.scheduled import LearningRate


class LearningRates:
    """Computes learning rates from a rate or schedule; ``step`` counts the steps taken before."""

    def __init__(self, learning_rate: LearningRate, step: int = 0) -> None:
        self.learning_rate = learning_rate if callable(learning_rate) else float(learning_rate)
        self.step, self.scale = step, 1.0
        self._n, self._rate, self._rates = 0, 0.0, np.empty(0)  # cache of n equal rates

    def rescale(self, scale: float) -> None:
        """Set the factor on all following rates."""
        self.scale = NON_NEGATIVE.check("learning_rate_scale", scale, example=0.5)

    def of_steps(self, step: int, n: int) -> NDArray[np.float64]:
        """Return the rates of n steps, beginning with ``step``."""
        rate = self.learning_rate
        if not isinstance(rate, float):
            return scheduled.learning_rates(rate, step, n) * self.scale
        rate *= self.scale
        if n != self._n or rate != self._rate:
            self._n, self._rate, self._rates = n, rate, np.empty(n)
            self._rates.fill(rate)
        return self._rates
