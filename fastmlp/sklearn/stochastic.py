"""The solvers sgd and adam, by scikit-learn's rules, and the fits that go on from a checkpoint.

With the same ``random_state``, batches equal scikit-learn's, and weights are equal up to rounding.
A resumed fit repeats the steps before the epochs and the shuffles of completed epochs; the
checkpoint contains everything else.
"""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp._core.user_warnings import warn
from fastmlp._engine.plan import Plan
from fastmlp._files import storage
from fastmlp._network.data import Data
from fastmlp._network.optimizers import SGD, Adam, Optimizer
from fastmlp._training import callback_state, loop, planning
from fastmlp._validation.arrays import short
from fastmlp.sklearn import parameters
from fastmlp.sklearn.observers import Observers
from fastmlp.sklearn.scaled_network import EstimatorProgress
from fastmlp.sklearn.stopping import STATISTICS, LearningRate, StopRule
from fastmlp.sklearn.validation import Validation

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may"
    " contain large values and need to be preprocessed."
)
# Parameters that may change when a fit is resumed.
FREE = ("callbacks", "max_iter", "n_jobs", "random_state", "verbose")

_adam = functools.lru_cache(functools.partial(Adam, epsilon_hat=True))


def optimizer_of(estimator: Any) -> Optimizer:
    """Return the optimizer with the estimator's parameters, in scikit-learn's variant."""
    if estimator.solver == "adam":
        return _adam(beta_1=estimator.beta_1, beta_2=estimator.beta_2, epsilon=estimator.epsilon)
    # scikit-learn allows a momentum of 1; the next smaller float differs only by rounding.
    momentum = min(float(estimator.momentum), math.nextafter(1.0, 0.0))
    nesterov = bool(estimator.nesterovs_momentum) and momentum > 0
    return SGD(momentum=momentum, nesterov=nesterov, rate_in_velocity=True)


class BatchFit(loop.FitStrategy):
    """A fit of an estimator by sgd or adam, or the single epoch of a ``partial_fit``."""

    judge: StopRule
    rates: LearningRate
    reporter: Observers

    def __init__(
        self,
        estimator: Any,
        data: Data,
        held: Validation | None,
        hooks: Observers,
        constant: float,
        random_state: np.random.RandomState,
    ) -> None:
        self.estimator, self.data, self.reporter = estimator, data, hooks
        self.network, self.loss_constant, n = estimator._fitted, constant, data.x.shape[0]
        self.rows = _batch_size(estimator.batch_size, n)
        self.rates, optimizer = self._begin(-(-n // self.rows))
        self.plan = Plan(
            optimizer=optimizer,
            batch_size=self.rows,
            learning_rates=np.empty(0),
            l2=float(estimator.alpha),
            l2_per_batch=True,
            clip_norm=float(estimator.clip_norm or 0.0),
        )
        if any(self.network.spec.dropout):  # only if needed: scikit-learn draws no such seed
            self.plan.seed = int(random_state.randint(2**63 - 1, dtype=np.int64))
        self.judge = StopRule(estimator, held, constant, self.rates, n)
        if estimator.shuffle:
            self.reorder = _shuffle(n, random_state)
        hooks.state.learning_rate_scale = self.rates.scale

    def _begin(self, n_steps: int) -> tuple[LearningRate, Optimizer]:
        """Return rates and optimizer of the last ``partial_fit``, or new ones."""
        e, network = self.estimator, self.network
        run: tuple[LearningRate, Optimizer] | None = network.run
        if self.reporter.partial and run and network.engine.can_go_on(run[0].step):
            return run
        # adam ignores scikit-learn's rules and uses only schedules.
        rules = e.solver == "adam" and e.learning_rate in ("invscaling", "adaptive")
        rule = "constant" if rules else e.learning_rate
        rates = LearningRate(rule, e.learning_rate_init, e.power_t, e.max_iter * n_steps)
        optimizer = optimizer_of(e)
        network.run = None  # stays None if starting the engine fails
        network.engine.start(optimizer)
        network.run = run = rates, optimizer
        return run

    def run(self, team: Any, earlier: Any, fingerprint: int) -> None:
        """Train until a rule, a callback or the last epoch ends the fit; ``earlier`` is resumed."""
        self.plan.team, estimator = team, self.estimator
        if self.reporter.keeps:
            self.reporter.keep = functools.partial(self._keep, fingerprint)
        ended = earlier is not None and self._resume(earlier, fingerprint)
        ended = ended or loop.run(self.data, self.plan, self)
        if not (ended or self.reporter.partial):
            warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        self.rates.rescale(self.reporter.state.learning_rate_scale)

    def train(self, data: Data, plan: Plan) -> float:
        """Train for an epoch; return its loss."""
        loss: float = self.network.engine.epoch(data, plan) + self.loss_constant
        self.network.trained()
        return loss if self.network.foldable() else math.nan

    def _keep(self, fingerprint: int) -> None:
        """Store the state of the fit in the network, before each checkpoint."""
        state, best = self.reporter.state, self.judge.best
        if best is not None:
            best = callback_state.plain(best, state.engine)
        memories = callback_state.memories(self.reporter.callbacks, state.engine)
        self.network.course = EstimatorProgress(
            self.judge.lowest, best, state.learning_rate_scale, memories, fingerprint
        )

    def _resume(self, earlier: Any, fingerprint: int) -> bool:
        """Restore the state of a checkpoint; return whether the fit had already ended there."""
        estimator, network, before, n = self.estimator, self.network, earlier._fitted, self.judge.n
        old, new = (np.asarray(getattr(each, "classes_", ())) for each in (earlier, estimator))
        facts = [
            (name, getattr(network.spec, name), getattr(before.spec, name))
            for name in ("layer_sizes", "dtype")
        ]
        facts.append(("the number of samples", n, earlier.t_ // max(1, earlier.n_iter_)))
        # The fingerprint covers indices of classes, not names.
        facts.append(("the list of classes of y", short(new.tolist()), short(old.tolist())))
        planning.check_same("resume is given", facts, fingerprint, before.course.data)
        rates, judge, state = self.rates, self.judge, self.reporter.state
        network.engine.set_state(before.engine.state())
        network.trained()
        vars(rates).update(
            {name: getattr(before.run[0], name) for name in ("step", "samples_seen")}
        )
        if isinstance(rates.learning_rate, float):
            rates.learning_rate = before.run[0].learning_rate
        vars(estimator).update({name: vars(earlier)[name] for name in STATISTICS})
        vars(estimator.history_).update(vars(earlier.history_), stop_reason="")
        state.epoch, state.learning_rate_scale = earlier.n_iter_ - 1, before.course.scale
        judge.lowest = before.course.lowest
        if before.course.best is not None:
            judge.best = callback_state.snapshot_of(before.course.best, network.engine)
        if self.reorder is not None:
            self.plan.order = np.arange(n, dtype=np.int64)
            for _ in range(earlier.n_iter_):
                self.plan.order = self.reorder(self.plan.order)
        reason, hooks = earlier.history_.stop_reason, self.reporter.callbacks
        if callback_state.give_back(before.course.memories, hooks, state) or judge.is_enough():
            estimator.history_.stop_reason = reason or estimator.history_.stop_reason
            return True
        return False


def checkpoint_of(estimator: Any, path: str | os.PathLike[str]) -> Any:
    """Return the estimator stored in a checkpoint of this fit, or None without such a file."""
    if estimator.solver not in parameters.STOCHASTIC or estimator.random_state is None:
        raise ValueError(
            f"resume needs the solver sgd or adam, and a random_state, but they are "
            f"{estimator.solver!r} and {estimator.random_state!r}: pass for example random_state=0"
        )
    if not Path(path).exists():
        return None
    found = storage.load(os.path.realpath(path))  # follows links, as saving does
    if type(found) is not type(estimator) or "_fitted" not in vars(found):
        raise ValueError(f"resume is {os.fspath(path)!r}, which has {found!r}: pass a checkpoint")
    if found._fitted.course is None or found._fitted.run is None:
        raise ValueError(
            f"resume is {os.fspath(path)!r}, which was not saved within a fit: pass a "
            "file of fastmlp.Checkpoint"
        )
    params = estimator.get_params(deep=False).items()
    facts = [(key, repr(own), repr(getattr(found, key))) for key, own in params if key not in FREE]
    planning.check_same(f"resume is {os.fspath(path)!r}", facts, 0, 0)
    return found


def _batch_size(wanted: Any, n: int) -> int:
    if wanted == "auto":
        return min(200, n)
    if wanted > n:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return min(int(wanted), n)


def _shuffle(n: int, random_state: np.random.RandomState) -> Any:
    """Return a function that permutes the last order as scikit-learn does."""
    positions = np.arange(n, dtype=np.int64)
    draw = np.empty_like(positions)

    def reorder(order: loop.Order) -> loop.Order:
        draw[:] = positions
        random_state.shuffle(draw)
        return order[draw]

    return reorder
