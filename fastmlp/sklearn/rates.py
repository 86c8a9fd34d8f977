"""The parameter ``learning_rate``: what rate each step has, and what happens on a plateau.

The three rules of scikit-learn change the rate between epochs; schedules change it every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp import schedules

# adaptive: what the rate is divided by, and where it gives up.
DIVISOR = 5.0
SMALLEST = 1e-6


class LearningRate:
    """The rate of one training run, from ``fit`` through any number of ``partial_fit``.

    Parameters
    ----------
    rule : str or callable
        The estimator's ``learning_rate``.
    initial : float
        Its ``learning_rate_init``.
    power_t : float
        Exponent of "invscaling".
    n_steps : int
        Steps of a fit that runs through all its epochs.
    """

    def __init__(self, rule: Any, initial: float, power_t: float, n_steps: int) -> None:
        self.rule, self.initial, self.power_t = rule, float(initial), power_t
        self.current, self.step, self.scale = self.initial, 0, 1.0
        self.schedule: Any = None
        self._same = np.empty(0)  # the rates of the last epoch, while they are all one
        if rule == "cosine":
            self.schedule = schedules.Cosine(self.initial, n_steps)
        elif rule == "one_cycle":
            self.schedule = schedules.OneCycle(self.initial, n_steps)
        elif callable(rule):
            self.schedule = rule

    def of_steps(self, n: int) -> NDArray[np.float64]:
        """Return the rates of the next n steps, scaled."""
        if self.schedule is not None:
            return schedules.learning_rates(self.schedule, self.step, n) * self.scale
        rate = self.current * self.scale
        if self._same.size != n or self._same[0] != rate:
            self._same = np.full(n, rate)
        return self._same

    def epoch_ended(self, n_steps: int, samples_seen: int) -> None:
        """Count the steps of an epoch; "invscaling" goes by samples."""
        self.step += n_steps
        if self.rule == "invscaling":
            self.current = self.initial / (samples_seen + 1) ** self.power_t

    def plateau(self, message: str, verbose: Any) -> bool:
        """Return whether to stop now that nothing improves; "adaptive" lowers the rate first."""
        stop = self.rule != "adaptive" or self.current <= SMALLEST
        if stop:
            outcome = "Learning rate too small. " if self.rule == "adaptive" else ""
            outcome += "Stopping."
        else:
            self.current /= DIVISOR
            outcome = f"Setting learning rate to {self.current:f}"
        if verbose:
            print(f"{message} {outcome}")
        return stop
