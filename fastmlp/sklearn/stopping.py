"""scikit-learn's rules for learning rates and for stopping, and the best weights."""

from __future__ import annotations

import math
from typing import Any

from fastmlp._network import schedules
from fastmlp._network.scheduled import of_length
from fastmlp._training.loop import Evaluator, LearningRates
from fastmlp.sklearn.validation import Validation

# Attributes of an estimator with one entry per epoch, and all that an epoch changes.
CURVES = ("loss_curve_", "validation_loss_curve_", "validation_scores_")
STATISTICS = (
    *("n_iter_", "t_", "loss_", "best_loss_", "best_validation_score_", "_no_improvement_count"),
    *CURVES,
)
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
            super().__init__(of_length(rule, n_steps))
        elif rule in SCHEDULES:
            super().__init__(SCHEDULES[rule](self.initial, n_steps))
        else:
            super().__init__(self._by_samples if rule == "invscaling" else self.initial)

    def _by_samples(self, step: int) -> float:
        return float(self.initial / (self.samples_seen + 1) ** self.power_t)

    def plateau(self, message: str, verbose: Any) -> bool:
        """Return whether to stop on a plateau; "adaptive" lowers the rate first."""
        rate: Any = self.learning_rate
        stop = bool(self.rule != "adaptive" or rate <= SMALLEST)
        outcome = "Learning rate too small. Stopping." if self.rule == "adaptive" else "Stopping."
        if not stop:
            self.learning_rate = rate / DIVISOR
            outcome = f"Setting learning rate to {self.learning_rate:f}"
        if verbose:
            print(f"{message} {outcome}")
        return stop


class BestWeights(Evaluator):
    """Keeps the weights of the lowest loss if ``restore_best`` is set; for all solvers."""

    def __init__(self, estimator: Any, held: Validation | None, constant: float) -> None:
        super().__init__(estimator._fitted.engine, None if held is None else held.data, constant)
        self.estimator, self.held = estimator, held
        self.restores: bool = estimator.restore_best
        self.lowest = math.inf
        self.best: Any = None  # a snapshot

    def measure(self, loss: float, team: Any) -> float:
        """Return the validation loss, and keep the results for `record`."""
        val_loss = super().measure(loss, team)
        now = {"n_iter_": self.estimator.n_iter_ + 1, "loss_": loss}
        return self._put_aside(val_loss, loss if self.validation is None else val_loss, now)

    def _put_aside(self, val_loss: float, watched: float, now: dict[str, Any]) -> float:
        """Keep the attributes of ``now`` and the best weights for `record`."""
        best = self.lowest, self.best
        if self.restores and watched < self.lowest:
            best = watched, self.engine.snapshot()
        self.after: Any = now, val_loss, best
        return val_loss

    def record(self) -> None:
        """Store all results of the epoch in the estimator; see `loop.record`."""
        now, val_loss, (self.lowest, self.best) = self.after
        self.estimator.__dict__ |= now
        if self.validation is not None:
            self.estimator.validation_loss_curve_ += [val_loss]

    def restore_best(self) -> None:
        """Restore the best weights, if they were kept."""
        if self.best is not None:
            self.engine.restore(self.best)


class StopRule(BestWeights):
    """Counts epochs without improvement of the training loss or of a validation score."""

    def __init__(
        self, estimator: Any, held: Validation | None, constant: float, rates: LearningRate, n: int
    ) -> None:
        super().__init__(estimator, held, constant)
        self.rates, self.n = rates, n
        if estimator.early_stopping:
            self.restores, self.lowest = True, -estimator.best_validation_score_
        if self.restores:
            self.best = self.engine.snapshot()

    def measure(self, loss: float, team: Any) -> float:
        """Return the validation loss, and compare the loss or score with the best one."""
        estimator, held, known = self.estimator, self.held, "best_loss_"
        val_loss = math.nan if self.validation is None else self.loss(self.validation, team)
        now = {"n_iter_": estimator.n_iter_ + 1, "t_": estimator.t_ + self.n, "loss_": loss}
        if estimator.early_stopping and held is not None:
            known = "best_validation_score_"
            self.score = held.score(estimator, now, self.engine, team, val_loss)
            best, watched = getattr(estimator, known), -self.score
            worse = not self.score >= best + estimator.tol  # also true for NaN
            best = max(best, self.score)
        else:
            best, watched = estimator.best_loss_, loss if self.validation is None else val_loss
            worse = loss > best - estimator.tol
            best = min(best, loss)
        count = estimator._no_improvement_count + 1 if worse else 0
        now |= {known: best, "_no_improvement_count": count}
        return self._put_aside(val_loss, watched, now)

    def record(self) -> None:
        """Store the epoch's results in the estimator."""
        BestWeights.record(self)
        estimator = self.estimator
        self.rates.samples_seen = estimator.t_
        estimator.loss_curve_ += [estimator.loss_]
        if estimator.early_stopping:
            estimator.validation_scores_ += [self.score]

    def is_enough(self) -> bool:
        """Return whether there were too many epochs without improvement."""
        estimator = self.estimator
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        what = "Validation score" if estimator.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={estimator.tol:f} "
            f"for {estimator.n_iter_no_change:.0f} consecutive epochs."
        )
        stop = self.rates.plateau(message, estimator.verbose)
        if stop:
            estimator.history_.stop_reason = estimator.history_.stop_reason or message
        else:
            estimator._no_improvement_count = 0
        return stop
