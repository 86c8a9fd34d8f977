"""The solvers sgd and adam, by scikit-learn's rules.

With the same ``random_state``, batches equal scikit-learn's, and weights are equal up to rounding.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp._core.user_warnings import warn
from fastmlp._engine.plan import Plan
from fastmlp._network.data import Data
from fastmlp._network.optimizers import SGD, Adam, Optimizer
from fastmlp._training import loop, planning
from fastmlp.sklearn.observers import Observers
from fastmlp.sklearn.parameters import Validated
from fastmlp.sklearn.scaled_network import ScaledNetwork
from fastmlp.sklearn.stopping import LearningRate, StopRule
from fastmlp.sklearn.validation import Validation

if TYPE_CHECKING:
    from fastmlp._engine.thread_pool import Team

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may"
    " contain large values and need to be preprocessed."
)

_adam = functools.lru_cache(functools.partial(Adam, epsilon_hat=True))


def optimizer_of(estimator: Validated) -> Optimizer:
    """Return the optimizer with the estimator's parameters, in scikit-learn's variant."""
    if estimator.solver == "adam":
        return _adam(beta_1=estimator.beta_1, beta_2=estimator.beta_2, epsilon=estimator.epsilon)
    # scikit-learn allows a momentum of 1; the next smaller float differs only by rounding.
    momentum = min(float(estimator.momentum), math.nextafter(1.0, 0.0))
    nesterov = bool(estimator.nesterovs_momentum) and momentum > 0
    return SGD(momentum=momentum, nesterov=nesterov, rate_in_velocity=True)


class BatchFit(loop.Training):
    """A fit of an estimator by sgd or adam, or the single epoch of a ``partial_fit``."""

    evaluator: StopRule
    rates: LearningRate
    reporter: Observers

    def __init__(
        self,
        reporter: Observers,
        data: Data,
        valid: Validation | None,
        constant: float,
        rng: np.random.RandomState,
    ) -> None:
        draft = reporter.draft
        self.data, self.reporter = data, reporter
        self.network: ScaledNetwork = draft._fitted.network
        self.loss_constant, n_rows = constant, data.x.shape[0]
        self.rows = _batch_size(draft.batch_size, n_rows)
        self.rates, optimizer = self._start(-(-n_rows // self.rows))
        self.plan = Plan(
            optimizer=optimizer,
            batch_size=self.rows,
            learning_rates=np.empty(0),
            l2=float(draft.alpha),
            per_batch=True,
            clip_norm=float(draft.clip_norm or 0.0),
        )
        if any(self.network.spec.dropout):  # only if needed: scikit-learn draws no such seed
            self.plan.seed = int(rng.randint(2**63 - 1, dtype=np.int64))
        self.evaluator = StopRule(draft, valid, constant, self.rates, n_rows)
        self.reorders, self.rng = bool(draft.shuffle), rng
        self.positions = np.arange(n_rows, dtype=np.int64)
        self.draw = np.empty_like(self.positions)
        reporter.state.learning_rate_scale = self.rates.scale

    def _start(self, n_steps: int) -> tuple[LearningRate, Optimizer]:
        """Return rates and optimizer of the last ``partial_fit``, or new ones."""
        draft, network = self.reporter.draft, self.network
        run: tuple[LearningRate, Optimizer] | None = network.run
        if self.reporter.partial and run and network.engine.can_go_on(run[0].step):
            return run
        # adam ignores scikit-learn's rules and uses only schedules.
        is_ignored = draft.solver == "adam" and draft.learning_rate in ("invscaling", "adaptive")
        rule = "constant" if is_ignored else draft.learning_rate
        n_steps *= draft.max_iter
        rates = LearningRate(rule, draft.learning_rate_init, draft.power_t, n_steps)
        if callable(rule) and not self.reporter.partial:
            planning.warn_of_short_schedule(rates.learning_rate, n_steps)
        optimizer = optimizer_of(draft)
        network.run = None  # stays None if starting the engine fails
        network.engine.start(optimizer)
        network.run = run = rates, optimizer
        return run

    def run(self, team: Team | None) -> None:
        """Train until a rule, a callback or the last epoch ends the fit."""
        self.plan.team = team
        ended = loop.run(self.data, self.plan, self)
        if not (ended or self.reporter.partial):
            warn(
                f"Stochastic Optimizer: Maximum iterations ({self.reporter.draft.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        self.rates.rescale(self.reporter.state.learning_rate_scale)

    def train(self, data: Data, plan: Plan) -> float:
        """Train for an epoch; return its loss."""
        loss: float = self.network.engine.epoch(data, plan) + self.loss_constant
        self.network.trained()
        return loss if self.network.foldable() else math.nan

    def reorder(self, order: loop.Order) -> loop.Order:
        """Permute the last order as scikit-learn does."""
        self.draw[:] = self.positions
        self.rng.shuffle(self.draw)
        return order[self.draw]


def _batch_size(batch_size: int | Literal["auto"], n_rows: int) -> int:
    if batch_size == "auto":
        return min(200, n_rows)
    if batch_size > n_rows:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return min(int(batch_size), n_rows)
