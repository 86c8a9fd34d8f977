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
from fastmlp._network.data import Data
from fastmlp._training.loop import record
from fastmlp.sklearn.observers import Observers
from fastmlp.sklearn.scaled_network import ScaledNetwork, pack, unpack
from fastmlp.sklearn.stochastic import NON_FINITE
from fastmlp.sklearn.stopping import BestWeights
from fastmlp.sklearn.validation import Validation

# Parameters that this solver does not support, with their neutral values.
STOCHASTIC_ONLY = {"dropout": 0.0, "clip_norm": None, "compute": None}


class LbfgsFit:
    """A fit of an estimator by L-BFGS-B, in float64."""

    def __init__(
        self,
        draft: Any,
        data: Data,
        validation: Validation | None,
        reporter: Observers,
        constant: float,
    ) -> None:
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
        # Trial points use another engine; the network gets only the accepted iterations.
        self.engine = native_engine.engine(self.network.spec)
        total = self.rows if data.weights is None else data.weights.sum(dtype=float)
        self.l2 = float(draft.alpha / total)
        self.shapes = tuple(self.network.spec.tensors.values())

    def run(self, team: Any) -> None:
        """Minimise; leave the network at the minimum, or after an interrupt at an iteration."""
        self.team, draft, attributes = team, self.draft, self.attributes
        self.reached = self.network.engine.snapshot()
        self.began = time.perf_counter()
        self.reporter.epoch_begins()
        try:
            with one_thread():
                result: Any = scipy.optimize.minimize(
                    self._objective,
                    pack(*self.network.engine.parameters()),
                    method="L-BFGS-B",
                    jac=True,
                    callback=self._iteration,
                    options={
                        "maxfun": draft.max_fun,
                        "maxiter": draft.max_iter,
                        "gtol": draft.tol,
                    },
                )
            self._arrive(result.x, result.fun)
        except KeyboardInterrupt:
            self.network.engine.restore(self.reached)
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
        engine.set_parameters(*unpack(packed, self.shapes))
        self.network.trained()
        if not (np.isfinite(objective) and engine.finite() and self.network.foldable()):
            raise ValueError(NON_FINITE)

    def _objective(self, packed: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        self.engine.set_parameters(*unpack(packed, self.shapes))
        objective, weights, biases = self.engine.gradients(self.data, self.l2, self.team)
        return objective, pack(weights, biases)

    def _iteration(self, intermediate_result: Any) -> None:
        """Record an iteration like an epoch; the argument's name makes SciPy pass a result."""
        self._arrive(intermediate_result.x, intermediate_result.fun)
        loss = float(intermediate_result.fun) + self.loss_constant
        seconds = time.perf_counter() - self.began
        val_loss = self.evaluator.measure(loss, self.team)
        reached, state = self.network.engine.snapshot(), self.reporter.state
        record(state, self.evaluator, state.epoch + 1, [loss], [val_loss], [math.nan], [seconds])
        self.reached = reached
        if self.reporter.epoch_ended():
            raise StopIteration
        if self.attributes["n_iter_"] < self.draft.max_iter:
            self.reporter.epoch_begins()
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
