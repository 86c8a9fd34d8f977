"""L-BFGS: SciPy's L-BFGS-B on the engine's objective and gradient over all rows, in float64."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.fit_lock import FitLock
from fastmlp._core.optional import require
from fastmlp._network.data import Data
from fastmlp._network.optimizers import LBFGS
from fastmlp._network.tensors import pack, unpack
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.loop import Evaluator, record

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine


class Minimiser:
    """Minimises the objective of all rows, for `MLP.fit` and the solver lbfgs of estimators.

    Each point that it accepts is recorded like an epoch: ``engine`` gets it, in its dtype;
    ``wide``, an engine in float64, computes. After an error ``engine`` has the last recorded point.
    ``check`` gets the objective of a point that ``engine`` has, and raises an error for a bad one.
    """

    def __init__(
        self,
        engine: Engine,
        wide: Engine,
        arguments: tuple[Data, float, Any],  # `Engine.gradients` takes them: data, l2, team
        reporter: CallbackList,
        evaluator: Evaluator,
        check: Callable[[float], None],
        loss_constant: float = 0.0,
    ) -> None:
        self.engine, self.wide, self.arguments, self.check = engine, wide, arguments, check
        self.reporter, self.evaluator, self.loss_constant = reporter, evaluator, loss_constant
        self.reached = engine.snapshot()  # the last recorded point, or the first of all
        self.began = 0.0  # when the iteration began

    def run(self, options: LBFGS, n_iterations: int) -> Any:
        """Return SciPy's result; the engine has the last recorded point."""
        try:
            result = self._minimised(options, n_iterations)
            self.check(float(result.fun))  # if there was no iteration, this is the first point's
        except BaseException:
            self.engine.restore(self.reached)
            raise
        return result

    def _minimised(self, options: LBFGS, n_iterations: int) -> Any:
        """Return SciPy's result."""

        def callback(intermediate_result: Any) -> None:  # SciPy asks for this name
            self._accept(intermediate_result.x, float(intermediate_result.fun))
            try:
                self._record(float(intermediate_result.fun) + self.loss_constant)
            except StopIteration as error:  # which would only end SciPy's loop
                raise RuntimeError("a metric raised StopIteration but must return") from error
            if self.reporter.epoch_ended():
                raise StopIteration
            if self.reporter.state.epoch + 1 < n_iterations:
                self.reporter.epoch_begins()
            self.began = time.perf_counter()

        optimize = require("L-BFGS", "scipy.optimize")
        self.reporter.epoch_begins()
        self.began = time.perf_counter()
        with one_thread():
            return optimize.minimize(
                self._objective,
                pack(*self.engine.parameters()).astype(np.float64),
                method="L-BFGS-B",
                jac=True,
                callback=callback,
                options={
                    "gtol": options.tolerance,
                    "ftol": options.min_decrease,
                    "maxcor": options.n_corrections,
                    "maxfun": options.max_evaluations,
                    "maxiter": n_iterations,
                },
            )

    def _objective(self, packed: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the objective and its gradient."""
        self.wide.set_parameters(*unpack(packed, self.wide.spec.tensors))
        objective, *gradients = self.wide.gradients(*self.arguments)
        return objective, pack(*gradients)

    def _accept(self, packed: NDArray[np.float64], objective: float) -> None:
        """Give the engine a point, and check it."""
        spec = self.engine.spec
        with np.errstate(over="ignore", under="ignore"):
            self.engine.set_parameters(*unpack(packed.astype(spec.dtype), spec.tensors))
        self.check(objective)

    def _record(self, loss: float) -> None:
        """Evaluate and record the point that the engine has."""
        seconds, state = time.perf_counter() - self.began, self.reporter.state
        val_loss = self.evaluator.measure(loss, self.arguments[-1])
        reached = self.engine.snapshot()
        record(state, self.evaluator, state.epoch + 1, [loss], [val_loss], [math.nan], [seconds])
        self.reached = reached


_blas = FitLock()  # the limit holds for the whole process; the first of several fits sets it


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS to one thread: vectors are short, and idle threads would spin beside ours."""
    with contextlib.ExitStack() as stack:
        # Another fit may have set the limit; without threadpoolctl there is none.
        with contextlib.suppress(RuntimeError, ImportError):
            stack.enter_context(_blas.taken())
            stack.enter_context(_libraries().limit(limits=1, user_api="blas"))
        yield


@functools.cache  # searching the libraries takes milliseconds
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
