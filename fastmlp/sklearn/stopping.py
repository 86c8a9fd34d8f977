"""scikit-learn's rules for learning rates and for stopping, and the best weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastmlp._network import schedules
from fastmlp._network.scheduled import of_length
from fastmlp._training.loop import Evaluator, LearningRates, Measured
from fastmlp.sklearn.parameters import LEARNING_RATES, Validated
from fastmlp.sklearn.validation import Validation

if TYPE_CHECKING:
    from fastmlp._engine.thread_pool import Team

# adaptive: the divisor of the rate, and the rate at which to stop.
DIVISOR = 5.0
SMALLEST = 1e-6

# Functions of the rate and the number of steps of the whole fit.
SCHEDULES = {"cosine": schedules.Cosine, "one_cycle": schedules.OneCycle}


class LearningRate(LearningRates):
    """The rate of one training run: a ``fit``, or all calls of ``partial_fit`` in a row."""

    def __init__(
        self,
        rule: str | Callable[[int], float],
        initial: float,
        power_t: float,
        n_steps: int,
        current: float | None = None,  # "adaptive" has lowered it
        step: int = 0,
        scale: float = 1.0,
        samples_seen: int = 0,
    ) -> None:
        if not (callable(rule) or rule in LEARNING_RATES):
            raise ValueError(f"the learning rate has the rule {rule!r}")
        self.rule, self.initial, self.power_t = rule, float(initial), power_t
        self.n_steps, self.samples_seen = n_steps, samples_seen  # counted by StopRule
        rate: Any = self.initial if current is None else current
        if callable(rule):
            rate = of_length(rule, n_steps)
        elif rule in SCHEDULES:
            rate = SCHEDULES[rule](self.initial, n_steps)
        elif rule == "invscaling":
            rate = self._by_samples
        super().__init__(rate, step)
        self.scale = scale

    @property
    def current(self) -> float:
        """The rate now, without a schedule."""
        return self.learning_rate if isinstance(self.learning_rate, float) else self.initial

    def _by_samples(self, step: int) -> float:
        return float(self.initial / (self.samples_seen + 1) ** self.power_t)

    def plateau(self, message: str, verbose: bool | int) -> bool:
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

    def __init__(self, draft: Validated, validation: Validation | None, constant: float) -> None:
        fitted = draft._fitted
        data = None if validation is None else validation.data
        super().__init__(fitted.network.engine, data, constant)
        self.draft, self.held_out = draft, validation
        self.attributes: dict[str, Any] = fitted.attributes
        self.restores: bool = draft.restore_best
        self.lowest = math.inf
        self.best: Any = None  # a snapshot
        self.results: Any = None  # the last epoch's; `record` stores them

    def measure(self, loss: float, team: Team | None) -> float:
        """Return the validation loss; keep attributes and best weights for `record`."""
        val_loss, best = super().measure(loss, team), (self.lowest, self.best)
        changes, monitored = self._compared(loss, val_loss, team)
        if self.restores and monitored < self.lowest:
            best = monitored, self.engine.snapshot()
        self.results = changes, val_loss, best
        return val_loss

    def loss(self, data: Measured, team: Team | None) -> float:
        """Return the loss on the held-out data, with the constant of their targets."""
        return data.measure(self.engine, team) + (self.held_out.constant if self.held_out else 0.0)

    def _compared(
        self, loss: float, val_loss: float, team: Team | None
    ) -> tuple[dict[str, Any], float]:
        """Return the attributes after this epoch, and the value whose lowest one is the best."""
        changes = {"n_iter_": self.attributes["n_iter_"] + 1, "loss_": loss}
        return changes, loss if self.validation is None else val_loss

    def record(self) -> None:
        """Store all results of the epoch; see `loop.record`."""
        changes, val_loss, (self.lowest, self.best) = self.results
        self.attributes |= changes
        if self.validation is not None:
            self.attributes["validation_loss_curve_"] += [val_loss]

    def restore_best(self) -> None:
        """Restore the best weights, if they were kept."""
        if self.best is not None:
            self.engine.restore(self.best)


class StopRule(BestWeights):
    """Counts epochs without improvement of the training loss or of a validation score."""

    def __init__(
        self,
        draft: Validated,
        valid: Validation | None,
        constant: float,
        rates: LearningRate,
        rows: int,
    ) -> None:
        super().__init__(draft, valid, constant)
        self.rates, self.n_rows, self.stops = rates, rows, draft.early_stopping
        self.score = 0.0  # the last epoch's
        if self.stops:
            self.restores, self.lowest = True, -self.attributes["best_validation_score_"]
        if self.restores:
            self.best = self.engine.snapshot()

    def _compared(
        self, loss: float, val_loss: float, team: Team | None
    ) -> tuple[dict[str, Any], float]:
        """Return these after a comparison of the loss or score with the best one so far."""
        attributes, tol = self.attributes, self.draft.tol
        changes, monitored = super()._compared(loss, val_loss, team)
        changes["t_"] = attributes["t_"] + self.n_rows
        if self.stops and self.held_out is not None:
            score = self.held_out.score(self.draft, changes, self.engine, team, val_loss)
            best, monitored = attributes["best_validation_score_"], -score
            worse = not score >= best + tol  # also true for NaN
            self.score = score
            changes["best_validation_score_"] = max(best, score)
        else:
            best = attributes["best_loss_"]
            worse = loss > best - tol
            changes["best_loss_"] = min(best, loss)
        count = attributes["_no_improvement_count"] + 1 if worse else 0
        changes["_no_improvement_count"] = count
        return changes, monitored

    def record(self) -> None:
        """Store the results of the epoch."""
        BestWeights.record(self)
        attributes = self.attributes
        self.rates.samples_seen = attributes["t_"]
        attributes["loss_curve_"] += [attributes["loss_"]]
        if self.stops:
            attributes["validation_scores_"] += [self.score]

    def is_enough(self) -> bool:
        """Return whether there were too many epochs without improvement."""
        attributes, draft = self.attributes, self.draft
        if attributes["_no_improvement_count"] <= draft.n_iter_no_change:
            return False
        criterion = "Validation score" if self.stops else "Training loss"
        message = (
            f"{criterion} did not improve more than tol={draft.tol:f} "
            f"for {draft.n_iter_no_change:.0f} consecutive epochs."
        )
        stop = self.rates.plateau(message, draft.verbose)
        if stop:
            history = attributes["history_"]
            history.stop_reason = history.stop_reason or message
        else:
            attributes["_no_improvement_count"] = 0
        return stop
