"""The solver lbfgs of the estimators: iterations count as epochs, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastmlp._core.user_warnings import warn
from fastmlp._engine import native_engine
from fastmlp._network.data import Data
from fastmlp._network.optimizers import LBFGS
from fastmlp._network.tensors import pack, unpack
from fastmlp._training.lbfgs import Iterations, Objective, minimise
from fastmlp.sklearn.observers import Observers
from fastmlp.sklearn.scaled_network import ScaledNetwork
from fastmlp.sklearn.stochastic import NON_FINITE
from fastmlp.sklearn.stopping import BestWeights
from fastmlp.sklearn.validation import Validation

# Parameters that this solver does not support, with their neutral values.
STOCHASTIC_ONLY = {"dropout": 0.0, "clip_norm": None, "compute": None}
MIN_DECREASE = 1e7 * float(np.finfo(float).eps)  # SciPy's default, which scikit-learn uses


class LbfgsFit:
    """A fit of an estimator by L-BFGS-B, in float64."""

    def __init__(
        self, reporter: Observers, data: Data, validation: Validation | None, constant: float
    ) -> None:
        draft = reporter.draft
        for name, off in STOCHASTIC_ONLY.items():
            value = getattr(draft, name)
            if np.any(value != off):
                raise ValueError(
                    f"{name} is {value!r} but solver 'lbfgs' does not support it: "
                    f"use solver='adam' or 'sgd', or {name}={off!r}"
                )
        self.draft, self.data, self.reporter = draft, data, reporter
        self.loss_constant, self.rows = constant, data.x.shape[0]
        self.evaluator = BestWeights(draft, validation, constant)
        self.network: ScaledNetwork = draft._fitted.network
        self.attributes: dict[str, Any] = draft._fitted.attributes
        total = self.rows if data.weights is None else data.weights.sum(dtype=float)
        self.l2 = float(draft.alpha / total)

    def run(self, team: Any) -> None:
        """Minimise; leave the network at the minimum, or after an interrupt at an iteration."""
        draft, attributes, state = self.draft, self.attributes, self.reporter.state
        self.iterations = Iterations(self.network.engine, state, self.evaluator, team)
        self.reporter.epoch_begins()
        engine = native_engine.engine(self.network.spec)  # the network gets accepted points only
        options = LBFGS(draft.tol, MIN_DECREASE, max_evaluations=draft.max_fun)
        try:
            result = minimise(
                Objective(engine, self.data, self.l2, team),
                pack(*self.network.engine.parameters()),
                options,
                draft.max_iter,
                self._iteration,
            )
            self._arrive(result.x, result.fun)
        except KeyboardInterrupt:
            self.iterations.restore()
            raise
        attributes["n_iter_"] = min(int(result.nit), draft.max_iter)
        attributes["loss_"] = float(result.fun) + self.loss_constant
        if result.status and not attributes["history_"].stop_reason:
            warn(
                f"lbfgs failed to converge after {attributes['n_iter_']} iteration(s) "
                f"(status={result.status}):\n{result.message}\n\nPass a larger max_iter than "
                f"{draft.max_iter}, or scale the data: standardize=True",
                ConvergenceWarning,
            )

    def _arrive(self, packed: NDArray[np.float64], objective: float) -> None:
        engine = self.network.engine
        engine.set_parameters(*unpack(packed, self.network.spec.tensors))
        self.network.trained()
        if not (np.isfinite(objective) and engine.finite() and self.network.foldable()):
            raise ValueError(NON_FINITE)

    def _iteration(self, packed: NDArray[np.float64], objective: float) -> bool:
        """Record an iteration like an epoch; return whether a callback ends the fit."""
        self._arrive(packed, objective)
        self.iterations.add(objective + self.loss_constant)
        if self.reporter.epoch_ended():
            return True
        if self.attributes["n_iter_"] < self.draft.max_iter:
            self.reporter.epoch_begins()
        self.iterations.go_on()
        return False
