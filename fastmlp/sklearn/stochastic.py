"""The solvers sgd and adam, in particular scikit-learn's rule for stopping.

The rules and the order of random draws are scikit-learn's: with the same ``random_state``, batches
are equal, and weights are equal up to rounding.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp._core.user_warnings import warn
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_count import fit_team, of_jobs
from fastmlp._network.data import Data
from fastmlp._network.optimizers import SGD, Adam, Optimizer
from fastmlp._training import loop
from fastmlp._training.loop import FitStrategy, Order
from fastmlp.sklearn import resume_state
from fastmlp.sklearn.observers import Observers
from fastmlp.sklearn.stopping import LearningRate, StopRule
from fastmlp.sklearn.validation import Validation

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may"
    " contain large values and need to be preprocessed."
)

INTERRUPTED = "Training interrupted by user."


_adam = functools.lru_cache(functools.partial(Adam, epsilon_hat=True))


def optimizer_of(estimator: Any) -> Optimizer:
    """Return the optimizer with the estimator's parameters, in scikit-learn's variant."""
    if estimator.solver == "adam":
        return _adam(beta_1=estimator.beta_1, beta_2=estimator.beta_2, epsilon=estimator.epsilon)
    # scikit-learn allows a momentum of 1; the next smaller float differs only by rounding.
    momentum = min(float(estimator.momentum), math.nextafter(1.0, 0.0))
    nesterov = bool(estimator.nesterovs_momentum) and momentum > 0
    return SGD(momentum=momentum, nesterov=nesterov, rate_in_velocity=True)


def fit_by_batches(
    estimator: Any,
    data: Data,
    validation: Validation | None,
    observers: Observers,
    loss_constant: float,
    random_state: np.random.RandomState,
    one_epoch: bool,
    earlier: Any = None,
    fingerprint: int = 0,
) -> None:
    """Train until a stopping rule, a callback, an interrupt or the last epoch ends the fit.

    ``earlier`` is the checkpoint to resume, ``one_epoch`` marks ``partial_fit``, and
    ``fingerprint`` identifies the data of a fit with checkpoints.
    """
    e, network, n = estimator, estimator._fitted, data.x.shape[0]
    batch_size = _batch_size(e.batch_size, n)
    rates, optimizer = _begin(e, -(-n // batch_size), one_epoch)
    plan = Plan(
        optimizer=optimizer,
        batch_size=batch_size,
        learning_rates=np.empty(0),
        l2=float(e.alpha),
        l2_per_batch=True,
        clip_norm=float(e.clip_norm or 0.0),
    )
    if any(network.spec.dropout):  # only if needed: scikit-learn draws no such seed
        plan.seed = int(random_state.randint(2**63 - 1, dtype=np.int64))

    engine, plain = network.engine, network.scaling is None

    def train(data: Data, plan: Plan) -> float:
        loss: float = engine.epoch(data, plan) + loss_constant
        network.trained()
        return loss if plain or network.foldable() else math.nan

    judge = StopRule(e, validation, loss_constant, rates, n)
    reorder = _shuffle(n, random_state) if e.shuffle else None
    observers.state.learning_rate_scale = rates.scale
    e.n_iter_ = 0
    try:
        team = fit_team(of_jobs(e.n_jobs), network.n_weights, plan.batch_size)
        with team as plan.team, observers.watching():
            course = FitStrategy()
            course.train, course.rates, course.judge = train, rates, judge
            course.reporter, course.reorder = observers, reorder
            if observers.keeps:
                resume_state.note(course, network, fingerprint)
            ended = earlier is not None and resume_state.go_on(course, earlier, e, n, fingerprint)
            ended = ended or loop.run(data, plan, course)
            if not (ended or one_epoch):
                warn(
                    f"Stochastic Optimizer: Maximum iterations ({e.max_iter}) "
                    "reached and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                )
            rates.rescale(observers.state.learning_rate_scale)
            judge.restore_best()
    except KeyboardInterrupt:
        warn(INTERRUPTED)
        judge.restore_best()
    finally:
        network.course = None
        network.take_over()
        network.trained()  # weights were restored here or by a callback


def _batch_size(wanted: Any, n: int) -> int:
    if wanted == "auto":
        return min(200, n)
    if wanted > n:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return min(int(wanted), n)


def _begin(estimator: Any, n_steps: int, one_epoch: bool) -> tuple[LearningRate, Optimizer]:
    """Return rates and optimizer of the last ``partial_fit``, or new ones."""
    e, network = estimator, estimator._fitted
    if one_epoch and network.run is not None and network.engine.can_go_on(network.run[0].step):
        return network.run  # type: ignore[no-any-return]
    # adam ignores scikit-learn's rules and uses only schedules.
    rules = e.solver == "adam" and e.learning_rate in ("invscaling", "adaptive")
    rule = "constant" if rules else e.learning_rate
    rates = LearningRate(rule, e.learning_rate_init, e.power_t, e.max_iter * n_steps)
    optimizer = optimizer_of(e)
    network.run = None  # stays None if starting the engine fails
    network.engine.start(optimizer)
    network.run = rates, optimizer
    return network.run  # type: ignore[no-any-return]


def _shuffle(n: int, random_state: np.random.RandomState) -> Any:
    """Return a function that permutes the last order as scikit-learn does."""
    positions = np.arange(n, dtype=np.int64)
    draw = np.empty_like(positions)

    def reorder(order: Order) -> Order:
        draw[:] = positions
        random_state.shuffle(draw)
        return order[draw]

    return reorder
