"""What estimators measure after an epoch: the best weights, and scikit-learn's rule to stop.

All of it is put into the estimator by ``record``, which an interrupt cannot divide.
"""

from __future__ import annotations

import math
from typing import Any

from fastmlp._training.evaluator import Evaluator
from fastmlp.sklearn.learning_rate import LearningRate
from fastmlp.sklearn.validation import Validation


class BestWeights(Evaluator):
    """Remembers the weights of the lowest loss if ``restore_best`` is wanted; for all solvers.

    Parameters
    ----------
    estimator : estimator
        In training.
    held_out : Validation or None
        Validation data.
    loss_constant : float
        Added to the validation loss.
    """

    def __init__(self, estimator: Any, held_out: Validation | None, loss_constant: float) -> None:
        data = None if held_out is None else held_out.data
        super().__init__(estimator._fitted.engine, data, loss_constant)
        self.estimator, self.held_out = estimator, held_out
        self.restores: bool = estimator.restore_best
        self.lowest = math.inf
        self.best: Any = None  # a snapshot

    def measure(self, loss: float, team: Any) -> float:
        """Return the validation loss; what `record` writes is put aside."""
        val_loss = super().measure(loss, team)
        self._put_aside(loss, val_loss, loss if self.validation is None else val_loss)
        return val_loss

    def _put_aside(self, loss: float, val_loss: float, watched: float) -> None:
        best = self.lowest, self.best
        if self.restores and watched < self.lowest:
            best = watched, self.engine.snapshot()
        self.after: Any = (self.estimator.n_iter_ + 1, loss, val_loss, best)

    def record(self) -> None:
        """Count the epoch."""
        estimator = self.estimator
        estimator.n_iter_, estimator.loss_, val_loss, (self.lowest, self.best) = self.after
        if self.validation is not None:
            estimator.validation_loss_curve_ += [val_loss]

    def restore_best(self) -> None:
        """Give the network the best weights, if they are wanted and there are such."""
        if self.best is not None:
            self.engine.restore(self.best)


class StopRule(BestWeights):
    """Counts epochs without improvement, of the training loss or of a validation score.

    Parameters
    ----------
    estimator, held_out, loss_constant
        As for `BestWeights`.
    rates : LearningRate
        A plateau lowers them, or ends the fit.
    n : int
        Samples of an epoch.
    """

    def __init__(
        self,
        estimator: Any,
        held_out: Validation | None,
        loss_constant: float,
        rates: LearningRate,
        n: int,
    ) -> None:
        super().__init__(estimator, held_out, loss_constant)
        self.rates, self.n = rates, n
        if estimator.early_stopping:
            self.restores, self.lowest = True, -estimator.best_validation_score_
        if self.restores:
            self.best = self.engine.snapshot()

    def measure(self, loss: float, team: Any) -> float:
        """Return the validation loss, and compare loss or score with the best."""
        estimator, held_out = self.estimator, self.held_out
        val_loss = math.nan if self.validation is None else self.loss(self.validation, team)
        score, t = math.nan, estimator.t_ + self.n
        if estimator.early_stopping and held_out is not None:
            now = {"n_iter_": estimator.n_iter_ + 1, "t_": t, "loss_": loss}
            score = held_out.score(estimator, now, self.engine, team, val_loss)
            best, watched = estimator.best_validation_score_, -score
            worse = not score >= best + estimator.tol  # also where it is NaN
            best = max(best, score)
        else:
            best, watched = estimator.best_loss_, loss if self.validation is None else val_loss
            worse = loss > best - estimator.tol
            best = min(best, loss)
        self._put_aside(loss, val_loss, watched)
        self.more = t, estimator._no_improvement_count + 1 if worse else 0, score, best
        return val_loss

    def record(self) -> None:
        """Write down what was measured."""
        BestWeights.record(self)
        estimator = self.estimator
        t, estimator._no_improvement_count, score, best = self.more
        self.rates.samples_seen = estimator.t_ = t
        estimator.loss_curve_ += [estimator.loss_]
        if estimator.early_stopping:
            estimator.validation_scores_ += [score]
            estimator.best_validation_score_ = best
        else:
            estimator.best_loss_ = best

    def is_enough(self) -> bool:
        """Return whether the epochs without improvement are too many."""
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
