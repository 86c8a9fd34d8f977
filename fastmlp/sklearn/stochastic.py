"""The solvers sgd and adam: the loop over epochs, one engine call each, and the rules to stop.

The rules, and the order in which random numbers are drawn, are scikit-learn's: with the same
``random_state`` the batches are the same, and so are the weights up to rounding.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp import threads
from fastmlp.optimizers import SGD, Adam, Optimizer
from fastmlp.sklearn.callbacks import Observers
from fastmlp.sklearn.rates import LearningRate
from fastmlp.sklearn.validation import Validation
from fastmlp.spec import Data, Plan

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may"
    " contain large values and need to be preprocessed."
)

INTERRUPTED = "Training interrupted by user."


class Diverged(Exception):  # noqa: N818 - never seen by users, who get scikit-learn's ValueError
    """A loss or a weight is no longer finite; the network has those of the last good epoch."""


def optimizer_of(estimator: Any) -> Optimizer:
    """Return the step that the estimator's parameters describe, in scikit-learn's form."""
    if estimator.solver == "adam":
        return Adam(
            beta_1=estimator.beta_1,
            beta_2=estimator.beta_2,
            epsilon=estimator.epsilon,
            epsilon_hat=True,
        )
    # scikit-learn allows a momentum of 1; the largest number below it is no other to rounding.
    momentum = min(float(estimator.momentum), math.nextafter(1.0, 0.0))
    nesterov = bool(estimator.nesterovs_momentum) and momentum > 0
    return SGD(momentum=momentum, nesterov=nesterov, rate_in_velocity=True)


class StochasticFit:
    """One ``fit``, or one ``partial_fit``, of an estimator by mini-batches.

    Parameters
    ----------
    estimator : estimator
        Has its parameters and ``_network``; its run statistics are kept up to date.
    data : Data
        Training data for the engine.
    validation : Validation or None
        Held-out data.
    loss_constant : float
        Added to every reported loss.
    random_state : numpy.random.RandomState
        Shuffles.
    one_epoch : bool
        This is ``partial_fit``.
    """

    def __init__(
        self,
        estimator: Any,
        data: Data,
        validation: Validation | None,
        *,
        loss_constant: float,
        random_state: np.random.RandomState,
        one_epoch: bool,
    ) -> None:
        self.estimator, self.data, self.validation = estimator, data, validation
        self.loss_constant, self.rng, self.one_epoch = loss_constant, random_state, one_epoch
        self.network = estimator._network
        self.engine = self.network.engine
        self.n = data.x.shape[0]
        batch_size = self._batch_size()
        self.n_batches = -(-self.n // batch_size)
        if not one_epoch or self.network.run is None:
            e = estimator
            # adam does not look at scikit-learn's rules, only at schedules.
            rules = e.solver == "adam" and e.learning_rate in ("invscaling", "adaptive")
            rate = LearningRate(
                "constant" if rules else e.learning_rate,
                e.learning_rate_init,
                e.power_t,
                e.max_iter * self.n_batches,
            )
            optimizer = optimizer_of(e)
            self.network.run = None  # until the engine has one again
            self.engine.start(optimizer)
            self.network.run = rate, optimizer
        self.rate: LearningRate = self.network.run[0]
        self.plan = Plan(
            optimizer=self.network.run[1],
            batch_size=batch_size,
            learning_rates=np.empty(0),
            l2=float(estimator.alpha),
            l2_per_batch=True,
            clip_norm=float(estimator.clip_norm or 0.0),
        )
        if any(self.network.spec.dropout):  # drawn only then: scikit-learn's stream has no such
            self.plan.seed = int(random_state.randint(2**63 - 1, dtype=np.int64))
        self.restores = estimator.early_stopping or estimator.restore_best
        self.best: Any = self.engine.snapshot() if self.restores else None
        self.lowest = math.inf  # of restore_best

    def _batch_size(self) -> int:
        n: int = self.n
        wanted: Any = self.estimator.batch_size
        if wanted == "auto":
            return min(200, n)
        if wanted > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than "
                "sample size. It is going to be clipped",
                stacklevel=2,
            )
        return min(int(wanted), n)

    def run(self, observers: Observers, n_jobs: int | None) -> None:
        """Train until a rule, a callback, an interrupt or the last epoch ends it."""
        estimator, plan = self.estimator, self.plan
        if estimator.shuffle:
            self.positions = np.arange(self.n, dtype=np.int64)
            plan.order, self.draw = self.positions.copy(), np.empty_like(self.positions)
        size = threads.for_fit(n_jobs, self.network.n_weights, plan.batch_size)
        estimator.n_iter_ = 0
        try:
            with threads.borrowed_team(size) as plan.team, observers.watching():
                self._epochs(observers)
                if self.restores:
                    self.engine.restore(self.best)
        except KeyboardInterrupt:
            warnings.warn(INTERRUPTED, stacklevel=2)
            if self.restores:
                self.engine.restore(self.best)
        finally:
            self.network.take_over()
            self.network.trained()  # restored, by this or by a callback's last hook

    def _epochs(self, observers: Observers) -> None:
        estimator = self.estimator
        for epoch in range(estimator.max_iter):
            observers.epoch_begins()
            self._train()
            if estimator.verbose:
                print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
            self._judge()
            self.rate.epoch_ended(self.n_batches, estimator.t_)
            asked = observers.epoch_ended(epoch)
            self.network.take_over()  # a callback may have written weights
            self.rate.scale = observers.state.learning_rate_scale
            if asked or self._plateau() or self.one_epoch:
                return
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) "
            "reached and the optimization hasn't converged yet.",
            ConvergenceWarning,
            stacklevel=2,
        )

    def _train(self) -> None:
        """One epoch; if it fails, the weights are those from before it."""
        estimator, plan, engine = self.estimator, self.plan, self.engine
        if plan.order is not None:
            self.draw[:] = self.positions
            self.rng.shuffle(self.draw)
            plan.order = plan.order[self.draw]
        plan.step = self.rate.step
        plan.learning_rates = self.rate.of_steps(self.n_batches)
        before = engine.snapshot()
        began = time.perf_counter()
        try:
            loss = float(engine.epoch(self.data, plan))
            if not (math.isfinite(loss) and self.network.foldable()):
                raise Diverged
            history, rate = estimator.history_, float(plan.learning_rates[-1])
            seconds = time.perf_counter() - began
            # No call from here on, and so no interrupt: an epoch is recorded as a whole.
            estimator.n_iter_ += 1
            estimator.t_ += self.n
            estimator.loss_ = loss + self.loss_constant
            estimator.loss_curve_ += [estimator.loss_]
            history.loss += [estimator.loss_]
            history.seconds += [seconds]
            history.learning_rate += [rate]
        except BaseException:
            engine.restore(before)
            self.network.run = None  # moments and weights no longer belong together
            raise
        self.network.trained()

    def _judge(self) -> None:
        """Count epochs without improvement, and remember the best weights."""
        estimator, validation = self.estimator, self.validation
        loss = val_loss = estimator.loss_
        if validation is not None:
            val_loss = validation.loss(self.engine, self.plan.team) + self.loss_constant
            history = estimator.history_
            estimator.validation_loss_curve_ += [val_loss]
            history.val_loss += [val_loss]
        if estimator.early_stopping and validation is not None:
            score = validation.score(estimator, self.engine, self.plan.team, val_loss)
            best = self.engine.snapshot()
            estimator.validation_scores_ += [score]
            if estimator.verbose:
                print(f"Validation score: {score:f}")
            # Also where it is NaN.
            worse = not score >= estimator.best_validation_score_ + estimator.tol
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_, self.best = score, best
        else:
            worse = loss > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(estimator.best_loss_, loss)
            if self.restores and val_loss < self.lowest:
                self.lowest, self.best = val_loss, self.engine.snapshot()
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0

    def _plateau(self) -> bool:
        """Return whether the epochs without improvement are too many."""
        estimator = self.estimator
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        what = "Validation score" if estimator.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={estimator.tol:f} "
            f"for {estimator.n_iter_no_change:.0f} consecutive epochs."
        )
        stop = self.rate.plateau(message, estimator.verbose)
        if stop:
            estimator.history_.stop_reason = estimator.history_.stop_reason or message
        else:
            estimator._no_improvement_count = 0
        return stop
