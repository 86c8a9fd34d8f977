"""Resuming a fit of an estimator from a checkpoint.

The steps before the epochs (initial weights, split, scaling) and the shuffles of completed epochs
are repeated from the same ``random_state``. The file contains everything else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import numpy as np

from fastmlp._files import storage
from fastmlp._training import callback_state
from fastmlp._training.loop import FitStrategy, Order
from fastmlp._validation.arrays import short
from fastmlp.sklearn import parameters, scaled_network
from fastmlp.sklearn.stopping import StopRule

# Attributes that an epoch changes.
STATISTICS = (
    *("n_iter_", "t_", "loss_", "best_loss_", "best_validation_score_", "_no_improvement_count"),
    *("loss_curve_", "validation_loss_curve_", "validation_scores_"),
)
# Parameters that may change when a fit is resumed.
FREE = ("callbacks", "max_iter", "n_jobs", "progress_bar", "random_state", "verbose")


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
    if found._fitted.course is None:
        raise ValueError(
            f"resume is {os.fspath(path)!r}, which was not saved within a fit: pass a "
            "file of fastmlp.Checkpoint"
        )
    for name, value in estimator.get_params(deep=False).items():
        other = getattr(found, name)
        if name not in FREE and repr(other) != repr(value):
            raise ValueError(
                f"{name} is {value!r} but was {other!r} in the fit to resume: pass the old value"
            )
    return found


def note(course: FitStrategy, network: Any, data: int) -> None:
    """Store the fit's own state in the network before each checkpoint; ``data`` is its hash."""
    reporter, judge = course.reporter, cast(StopRule, course.judge)

    def keep() -> None:
        state = reporter.state
        best = None if judge.best is None else callback_state.plain(judge.best, state.engine)
        kept = callback_state.memories(reporter.callbacks, state.engine)
        network.course = scaled_network.EstimatorProgress(
            judge.lowest, best, state.learning_rate_scale, kept, data
        )

    reporter.keep = keep


def go_on(course: FitStrategy, earlier: Any, estimator: Any, n: int, data: int) -> bool:
    """Restore the state of a checkpoint; return whether the fit had already ended there."""
    network, before = estimator._fitted, earlier._fitted
    if before.spec != network.spec or earlier.t_ != n * earlier.n_iter_ or before.run is None:
        raise ValueError(
            f"the fit to resume had layers {before.spec.layer_sizes}, {before.spec.dtype} and "
            f"{earlier.t_ // max(1, earlier.n_iter_)} samples, but this one has "
            f"{network.spec.layer_sizes}, {network.spec.dtype} and {n}: pass the same data"
        )
    old, new = (np.asarray(getattr(each, "classes_", ())) for each in (earlier, estimator))
    if not np.array_equal(old, new):  # the fingerprint covers indices of classes, not names
        raise ValueError(
            f"y has the classes {short(new.tolist())} but {short(old.tolist())} were those of the "
            "fit to resume: pass the same classes"
        )
    if before.course.data not in (0, data):
        raise ValueError(
            "X, y, sample_weight or the validation data differ from those of the fit to resume: "
            "pass the same, or continue with fastmlp.load(path).partial_fit(X, y), for any data"
        )
    rates, judge, state = course.rates, cast(StopRule, course.judge), course.reporter.state
    network.engine.set_state(before.engine.state())
    network.trained()
    for name in ("step", "samples_seen"):
        setattr(rates, name, getattr(before.run[0], name))
    if isinstance(rates.learning_rate, float):
        rates.learning_rate = before.run[0].learning_rate
    vars(estimator).update({name: vars(earlier)[name] for name in STATISTICS})
    vars(estimator.history_).update(vars(earlier.history_), stop_reason="")
    state.epoch, state.learning_rate_scale = earlier.n_iter_ - 1, before.course.scale
    judge.lowest = before.course.lowest
    if before.course.best is not None:
        judge.best = callback_state.snapshot_of(before.course.best, network.engine)
    if course.reorder is not None:
        course.reorder = _after(course.reorder, earlier.n_iter_)
    reason = earlier.history_.stop_reason
    had_enough = callback_state.give_back(before.course.memories, course.reporter.callbacks, state)
    if had_enough or judge.is_enough():
        estimator.history_.stop_reason = reason or estimator.history_.stop_reason
        return True
    return False


def _after(reorder: Any, n_epochs: int) -> Any:
    """Return a reorder function that first repeats the shuffles of n epochs."""
    left = n_epochs

    def later(order: Order) -> Order:
        nonlocal left
        while left:
            order, left = reorder(order), left - 1
        return reorder(order)  # type: ignore[no-any-return]

    return later
