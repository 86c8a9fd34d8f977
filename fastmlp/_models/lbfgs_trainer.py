"""The training of a network by L-BFGS, for `MLP.fit`: an iteration is recorded like an epoch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastmlp._core.history import DivergenceError
from fastmlp._core.user_warnings import warn
from fastmlp._models.fit import Fit
from fastmlp._network.data import OPTIONAL, Data
from fastmlp._network.groups import PLAIN
from fastmlp._network.optimizers import LBFGS
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.lbfgs import Minimiser
from fastmlp._training.loop import Evaluator
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal


def trainer_of(optimizer: LBFGS, fit: Fit) -> Callable[..., LbfgsTrainer]:
    """Return the maker of a fit's trainer; raise ValueError for options of steps over batches."""
    plan, spec, given = fit.plans[0], fit.network.spec, fit.options
    dropout = spec.dropout if plan.dropout is None else plan.dropout
    options = {
        "l1": plan.l1,
        "clip_norm": plan.clip_norm,
        "groups": plan.groups is not PLAIN,
        "dropout": any(callable(rate) or rate for rate in dropout),
        "averaging": given.averaging,
        "compute": spec.compute,
        "resume": given.resume,
        "communicator": fit.ranks,
        "a source": not isinstance(fit.data[0], Data),
        "a Checkpoint": any(getattr(c, "runs_last", False) for c in given.callbacks),
    }
    for name, value in options.items():
        if value:
            raise refusal("LBFGS", "options of steps", optimizer=optimizer, name=name)
    check.callbacks(given.callbacks, "L-BFGS")
    return functools.partial(LbfgsTrainer, optimizer)


class LbfgsTrainer:
    """The training of one network by L-BFGS: an iteration is recorded like an epoch."""

    def __init__(
        self,
        optimizer: LBFGS,
        fit: Fit,
        evaluator: Evaluator,
        reporter: CallbackList,
        states: Any,  # L-BFGS uses no steps
    ) -> None:
        self.optimizer, self.fit, self.state = optimizer, fit, reporter.state
        self.evaluator, self.reporter, self.member = evaluator, reporter, fit.members[0]

    def store(self) -> None:
        """Leave no state for resuming: SciPy keeps the curvature to itself."""
        self.member.keep(None)

    def run(self) -> None:
        """Minimise; leave the network at the last iteration, also after an interrupt."""
        member, data, plan = self.member, self.fit.data[0], self.fit.plans[0]
        spec = replace(member.spec, dtype=np.dtype(np.float64))
        arrays = {name: getattr(data, name) for name in ("x", "targets", *OPTIONAL)}
        wide = {k: a.astype(float) for k, a in arrays.items() if a is not None and a.dtype != "i4"}
        arguments = replace(data, **wide), plan.l2, plan.team
        wide_engine = member.make_engine(spec)
        minimiser = Minimiser(
            member.engine, wide_engine, arguments, self.reporter, self.evaluator, self._check
        )
        result = minimiser.run(self.optimizer, self.state.epochs)
        history = self.state.history
        if not history.loss and not result.success:
            warn(
                f"L-BFGS ended without an iteration ({result.message.strip()}): scale X and y to "
                "mean 0 and variance 1"
            )
        if len(history.loss) < self.state.epochs and not history.stop_reason:
            history.stop_reason = f"L-BFGS: {result.message}"

    def _check(self, loss: float) -> None:
        """Raise DivergenceError for a point that is not finite."""
        engine = self.member.engine
        if not (math.isfinite(loss) and engine.finite()):
            raise DivergenceError(
                f"L-BFGS diverged in iteration {self.state.epoch + 1} (counted from 0): the loss "
                f"or a weight is not finite in {engine.spec.dtype}. Scale X and y to mean 0 and "
                "variance 1. The model keeps the weights it had before this iteration"
            )
