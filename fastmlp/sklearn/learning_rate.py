"""The parameter ``learning_rate``: the rate of each step, and the reaction to a plateau.

The three rules of scikit-learn change the rate between epochs; schedules change it every step.
"""

from __future__ import annotations

from typing import Any

from fastmlp._network import schedules
from fastmlp._training.learning_rates import LearningRates

# adaptive: the divisor of the rate, and the rate at which to stop.
DIVISOR = 5.0
SMALLEST = 1e-6

# Functions of the rate and the number of steps of the whole fit.
SCHEDULES = {"cosine": schedules.Cosine, "one_cycle": schedules.OneCycle}


class LearningRate(LearningRates):
    """The rate of one training run: a ``fit``, or all calls of ``partial_fit`` in a row."""

    def __init__(self, rule: Any, initial: float, power_t: float, n_steps: int) -> None:
        self.rule, self.initial, self.power_t = rule, float(initial), power_t
        self.samples_seen = 0  # counted by StopRule
        if callable(rule):
            super().__init__(rule)
        elif rule in SCHEDULES:
            super().__init__(SCHEDULES[rule](self.initial, n_steps))
        else:
            super().__init__(self._by_samples if rule == "invscaling" else self.initial)

    def _by_samples(self, step: int) -> float:
        del step
        return float(self.initial / (self.samples_seen + 1) ** self.power_t)

    def plateau(self, message: str, verbose: Any) -> bool:
        """Return whether to stop on a plateau; "adaptive" lowers the rate first."""
        rate: Any = self.learning_rate
        stop = bool(self.rule != "adaptive" or rate <= SMALLEST)
        if stop:
            outcome = "Learning rate too small. " if self.rule == "adaptive" else ""
            outcome += "Stopping."
        else:
            self.learning_rate = rate / DIVISOR
            outcome = f"Setting learning rate to {self.learning_rate:f}"
        if verbose:
            print(f"{message} {outcome}")
        return stop
