"""The solver lbfgs: SciPy's L-BFGS-B on the engine's objective and gradient over all rows."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from fastmlp._core.fit_lock import FitLock
from fastmlp._core.user_warnings import warn
from fastmlp._engine import native_engine
from fastmlp._engine.thread_count import fit_team, of_jobs
from fastmlp._network.data import Data
from fastmlp._training.loop import record
from fastmlp.sklearn.observers import Observers
from fastmlp.sklearn.parameter_views import pack, unpack
from fastmlp.sklearn.stochastic import INTERRUPTED, NON_FINITE
from fastmlp.sklearn.stopping import BestWeights
from fastmlp.sklearn.validation import Validation

# Parameters that this solver does not support, with their neutral values.
STOCHASTIC_ONLY = {"dropout": 0.0, "clip_norm": None}


class LbfgsFit:
    """One fit of an estimator by L-BFGS-B, in float64."""

    def __init__(
        self,
        estimator: Any,
        data: Data,
        validation: Validation | None,
        observers: Observers,
        loss_constant: float,
    ) -> None:
        for name, off in STOCHASTIC_ONLY.items():
            value = getattr(estimator, name)
            if np.any(value != off):
                raise ValueError(
                    f"{name} is {value!r} but solver 'lbfgs' does not support it: "
                    f"use solver='adam' or 'sgd', or {name}={off!r}"
                )
        self.estimator, self.data, self.observers = estimator, data, observers
        self.loss_constant = loss_constant
        self.judge = BestWeights(estimator, validation, loss_constant)
        self.network = estimator._fitted
        # Trial points use an engine of their own; the network gets only the accepted iterations.
        self.engine = native_engine.engine(self.network.spec)
        total = data.x.shape[0] if data.weights is None else data.weights.sum(dtype=float)
        self.l2 = float(estimator.alpha / total)
        self.shapes = tuple(self.network.spec.tensors.values())
        self.reached = self.network.engine.snapshot()

    def run(self) -> None:
        """Minimise; leave the network at the minimum, or at the best iteration."""
        estimator, judge = self.estimator, self.judge
        jobs, rows = of_jobs(estimator.n_jobs), self.data.x.shape[0]
        self.began = time.perf_counter()
        estimator.n_iter_ = 0
        try:
            team = fit_team(jobs, self.network.n_weights, rows)
            with team as self.team, self.observers.watching():
                result = self._minimise()
                judge.restore_best()
        except KeyboardInterrupt:
            warn(INTERRUPTED)
            self.network.engine.restore(self.reached)
            judge.restore_best()
        else:
            estimator.n_iter_ = min(int(result.nit), estimator.max_iter)
            if result.status and not estimator.history_.stop_reason:
                warn(
                    f"lbfgs failed to converge after {estimator.n_iter_} iteration(s) "
                    f"(status={result.status}):\n{result.message}\n\nPass a larger max_iter than "
                    f"{estimator.max_iter}, or scale the data: standardize=True",
                    ConvergenceWarning,
                )
            estimator.loss_ = float(result.fun) + self.loss_constant
        finally:
            self.network.trained()

    def _minimise(self) -> Any:
        """Return SciPy's result, after setting the network to it."""
        estimator = self.estimator
        self.observers.epoch_begins()
        with one_thread():
            result = scipy.optimize.minimize(
                self._objective,
                pack(*self.network.engine.parameters()),
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
        engine.set_parameters(*unpack(packed, self.shapes))
        self.network.trained()
        if not (np.isfinite(objective) and engine.finite() and self.network.foldable()):
            raise ValueError(NON_FINITE)

    def _objective(self, packed: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        self.engine.set_parameters(*unpack(packed, self.shapes))
        objective, weights, biases = self.engine.gradients(self.data, self.l2, self.team)
        return objective, pack(weights, biases)

    def _iteration(self, intermediate_result: Any) -> None:
        """Record an iteration, as the loop over epochs records an epoch.

        SciPy passes a result object because of the argument's name.
        """
        self._arrive(intermediate_result.x, intermediate_result.fun)
        loss = float(intermediate_result.fun) + self.loss_constant
        seconds = time.perf_counter() - self.began
        val_loss = self.judge.measure(loss, self.team)
        reached, state = self.network.engine.snapshot(), self.observers.state
        record(state, self.judge, state.epoch + 1, [loss], [val_loss], [math.nan], [seconds])
        self.reached = reached
        if self.observers.epoch_ended():
            raise StopIteration
        if self.estimator.n_iter_ < self.estimator.max_iter:
            self.observers.epoch_begins()
        self.began = time.perf_counter()


_blas = FitLock()  # the limit holds for the whole process; the first of several fits sets it


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS to one thread: vectors are short, and idle threads would spin beside ours."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(RuntimeError):  # another fit has already set the limit
            stack.enter_context(_blas.taken())
            stack.enter_context(_libraries().limit(limits=1, user_api="blas"))
        yield


@functools.cache  # searching the libraries takes milliseconds
def _libraries() -> Any:
    return ThreadpoolController()
