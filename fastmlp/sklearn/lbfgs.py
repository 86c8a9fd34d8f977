"""The solver lbfgs: SciPy's L-BFGS-B on the engine's objective and gradient over all rows."""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from sklearn.utils.optimize import _check_optimize_result

from fastmlp import threads
from fastmlp.engine import backend
from fastmlp.sklearn.blas import one_thread
from fastmlp.sklearn.callbacks import Observers
from fastmlp.sklearn.scaling import Arrays
from fastmlp.sklearn.stochastic import INTERRUPTED, NON_FINITE
from fastmlp.sklearn.validation import Validation
from fastmlp.spec import Data

# Parameters of the estimators that mean nothing to this solver and would change the result.
STOCHASTIC_ONLY = {"dropout": 0.0, "clip_norm": None}


class LbfgsFit:
    """One fit of an estimator by L-BFGS-B, in float64.

    Parameters
    ----------
    estimator : estimator
        Has its parameters and ``_network``; its run statistics are set.
    data : Data
        Training data for the engine.
    validation : Validation or None
        Held-out data: its loss is recorded.
    loss_constant : float
        Added to every reported loss.
    """

    def __init__(
        self, estimator: Any, data: Data, validation: Validation | None, loss_constant: float
    ) -> None:
        for name, off in STOCHASTIC_ONLY.items():
            value = getattr(estimator, name)
            if np.any(value != off):
                raise ValueError(
                    f"{name} is {value!r} but solver 'lbfgs' has no such thing: "
                    f"use solver='adam' or 'sgd', or {name}={off!r}"
                )
        self.estimator, self.data, self.validation = estimator, data, validation
        self.loss_constant = loss_constant
        self.network = estimator._network
        # Trial points are nobody's business: only where an iteration arrives is the network's.
        self.engine = backend.engine(self.network.spec)
        total = data.x.shape[0] if data.weights is None else data.weights.sum(dtype=float)
        self.l2 = float(estimator.alpha / total)
        self.shapes = self.network.spec.shapes
        self.reached = self.best = self.network.engine.snapshot()
        self.lowest = np.inf
        self.iterations = 0

    def run(self, observers: Observers, n_jobs: int | None) -> None:
        """Minimise, and leave the network at the minimum, or at the best iteration."""
        estimator = self.estimator
        size = threads.for_fit(n_jobs, self.network.n_weights, self.data.x.shape[0])
        self.observers, self.began = observers, time.perf_counter()
        estimator.n_iter_ = 0
        try:
            with threads.borrowed_team(size) as self.team, observers.watching():
                result = self._minimise()
                self._finish()
        except KeyboardInterrupt:
            warnings.warn(INTERRUPTED, stacklevel=2)
            self.network.engine.restore(self.reached)
            self._finish()
        else:
            n_iter = int(result.nit)
            if not estimator.history_.stop_reason:
                n_iter = _check_optimize_result("lbfgs", result, estimator.max_iter)
            estimator.n_iter_ = n_iter
            estimator.loss_ = float(result.fun) + self.loss_constant
        finally:
            self.network.trained()

    def _minimise(self) -> Any:
        """Return SciPy's result; the network is there."""
        estimator = self.estimator
        self.observers.epoch_begins()
        with one_thread():
            result = scipy.optimize.minimize(
                self._objective,
                _pack(*self.network.engine.parameters()),
                method="L-BFGS-B",
                jac=True,
                callback=self._iteration,
                options={
                    "maxfun": estimator.max_fun,
                    "maxiter": estimator.max_iter,
                    "gtol": estimator.tol,
                },
            )
        self._arrive(result.x, result.fun)
        return result

    def _arrive(self, packed: NDArray[np.float64], objective: float) -> None:
        engine = self.network.engine
        engine.set_parameters(*self._unpack(packed))
        self.network.trained()
        if not (np.isfinite(objective) and engine.finite() and self.network.foldable()):
            raise ValueError(NON_FINITE)

    def _finish(self) -> None:
        if self.estimator.restore_best and np.isfinite(self.lowest):
            self.network.engine.restore(self.best)

    def _objective(self, packed: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        self.engine.set_parameters(*self._unpack(packed))
        objective, weights, biases = self.engine.gradients(self.data, self.l2, self.team)
        return objective, _pack(weights, biases)

    def _iteration(self, intermediate_result: Any) -> None:
        """Record an iteration.

        The argument's name is how SciPy knows that it may hand over a result object.
        """
        estimator, engine = self.estimator, self.network.engine
        history = estimator.history_
        self._arrive(intermediate_result.x, intermediate_result.fun)
        loss = val_loss = float(intermediate_result.fun) + self.loss_constant
        reached, seconds = engine.snapshot(), time.perf_counter() - self.began
        # No call from here on, and so no interrupt: an iteration is recorded as a whole.
        history.loss += [loss]
        history.seconds += [seconds]
        history.learning_rate += [math.nan]
        self.iterations += 1
        estimator.n_iter_, estimator.loss_ = self.iterations, loss
        self.reached = reached
        if self.validation is not None:
            val_loss = self.validation.loss(engine, self.team) + self.loss_constant
            history.val_loss += [val_loss]
            estimator.validation_loss_curve_ += [val_loss]
        if estimator.restore_best and val_loss < self.lowest:
            self.lowest, self.best = val_loss, reached
        if estimator.verbose:
            print(f"Iteration {self.iterations}, loss = {loss:.8f}")
        if self.observers.epoch_ended(self.iterations - 1):
            raise StopIteration
        if self.iterations < estimator.max_iter:
            self.observers.epoch_begins()
        self.began = time.perf_counter()

    def _unpack(self, packed: NDArray[np.float64]) -> tuple[Arrays, Arrays]:
        weights, biases, at = [], [], 0
        for shape in self.shapes:
            size = shape[0] * shape[1]
            weights.append(packed[at : at + size].reshape(shape))
            at += size
        for _, fan_out in self.shapes:
            biases.append(packed[at : at + fan_out])
            at += fan_out
        return weights, biases


def _pack(weights: Arrays, biases: Arrays) -> NDArray[Any]:
    """Return all parameters as one vector, in scikit-learn's order."""
    return np.concatenate([array.ravel() for array in (*weights, *biases)])
