"""The solver lbfgs of the estimators: iterations count as epochs, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp._core.user_warnings import warn
from fastmlp._engine import compiled
from fastmlp._network.data import Data
from fastmlp._network.optimizers import LBFGS
from fastmlp._training.lbfgs import Minimiser
from fastmlp.sklearn.fitted import FittedNetwork, fitted_of
from fastmlp.sklearn.observers import Observers
from fastmlp.sklearn.stochastic import NON_FINITE
from fastmlp.sklearn.stopping import BestWeights
from fastmlp.sklearn.validation import Validation

if TYPE_CHECKING:
    from fastmlp._engine.thread_pool import Team

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
        fitted: FittedNetwork = fitted_of(draft)
        self.network, self.attributes = fitted.network, fitted.attributes
        total = self.rows if data.weights is None else data.weights.sum(dtype=float)
        self.l2 = float(draft.alpha / total)

    def run(self, team: Team | None) -> None:
        """Minimise; leave the network at the minimum, or after an interrupt at an iteration."""
        draft, attributes, network = self.draft, self.attributes, self.network
        # The network gets accepted points only.
        minimiser = Minimiser(
            network.engine,
            compiled(network.spec),
            (self.data, self.l2, team),
            self.reporter,
            self.evaluator,
            self._check,
            self.loss_constant,
        )
        options = LBFGS(draft.tol, MIN_DECREASE, max_evaluations=draft.max_fun)
        result = minimiser.run(options, draft.max_iter)
        attributes["n_iter_"] = min(int(result.nit), draft.max_iter)
        attributes["loss_"] = float(result.fun) + self.loss_constant
        if result.status and not attributes["history_"].stop_reason:
            scale = "" if draft.standardize else ", or scale the data: standardize=True"
            warn(
                f"lbfgs failed to converge after {attributes['n_iter_']} iteration(s) "
                f"(status={result.status}: {result.message}): pass a larger max_iter than "
                f"{draft.max_iter}{scale}",
                ConvergenceWarning,
            )

    def _check(self, objective: float) -> None:
        """Raise scikit-learn's error for a point that is not finite."""
        network = self.network
        network.trained()
        if not (np.isfinite(objective) and network.engine.finite() and network.foldable()):
            raise ValueError(NON_FINITE)
