"""The parameter ``learning_rate``: what rate each step has, and what happens on a plateau.

The three rules of scikit-learn change the rate between epochs; schedules change it every step.
"""

from __future__ import annotations

from typing import Any

from fastmlp._network import schedules
from fastmlp._training.learning_rates import LearningRates

# adaptive: what the rate is divided by, and where it gives up.
DIVISOR = 5.0
SMALLEST = 1e-6

# Of a rate and the steps of the whole fit.
SCHEDULES = {"cosine": schedules.Cosine, "one_cycle": schedules.OneCycle}


class LearningRate(LearningRates):
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
        self.samples_seen = 0  # counted by the judge
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
        """Return whether to stop now that nothing improves; "adaptive" lowers the rate first."""
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
