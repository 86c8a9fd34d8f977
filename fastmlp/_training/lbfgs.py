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
from fastmlp._core.history import State
from fastmlp._core.optional import require
from fastmlp._network.data import Data
from fastmlp._network.optimizers import LBFGS
from fastmlp._network.tensors import pack, unpack
from fastmlp._training.loop import Evaluator, record

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine


class Objective:
    """The objective of all rows as a function of one vector; ``engine`` computes it."""

    def __init__(self, engine: Engine, data: Data, l2: float, team: Any) -> None:
        self.engine, self.arguments = engine, (data, l2, team)

    def __call__(self, packed: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the objective and its gradient."""
        self.engine.set_parameters(*unpack(packed, self.engine.spec.tensors))
        objective, *gradients = self.engine.gradients(*self.arguments)
        return objective, pack(*gradients)


class Iterations:
    """The record of the points that a fit accepts, each like an epoch."""

    def __init__(self, engine: Engine, state: State, evaluator: Evaluator, team: Any) -> None:
        self.engine, self.state, self.evaluator, self.team = engine, state, evaluator, team
        self.reached, self.began = engine.snapshot(), time.perf_counter()

    def add(self, loss: float) -> None:
        """Evaluate and record the point that the engine has."""
        seconds, state = time.perf_counter() - self.began, self.state
        val_loss = self.evaluator.measure(loss, self.team)
        reached = self.engine.snapshot()
        record(state, self.evaluator, state.epoch + 1, [loss], [val_loss], [math.nan], [seconds])
        self.reached = reached

    def go_on(self) -> None:
        """Begin to measure the time of the next iteration."""
        self.began = time.perf_counter()

    def restore(self) -> None:
        """Give the engine the last point that was recorded, or the first of all."""
        self.engine.restore(self.reached)


def minimise(
    objective: Objective,
    start: NDArray[np.float64],
    options: LBFGS,
    n_iterations: int,
    iteration: Callable[[NDArray[np.float64], float], bool],
) -> Any:
    """Return SciPy's result; ``iteration`` gets each point and its objective, and may stop."""

    def callback(intermediate_result: Any) -> None:  # by this name SciPy passes a result
        if iteration(intermediate_result.x, float(intermediate_result.fun)):
            raise StopIteration

    optimize = require("L-BFGS", "scipy.optimize")
    with one_thread():
        return optimize.minimize(
            objective,
            start,
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
