"""The loop over epochs: shuffle, learning rates, one engine call, validation, callbacks.

Everything a batch needs happens inside the engine; everything here happens once an epoch. What
may go wrong in between leaves the model at its last whole epoch.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp import schedules, threads
from fastmlp.contract import Engine
from fastmlp.intervals import NON_NEGATIVE
from fastmlp.spec import Data, Plan

_SEED_MASK = 2**64 - 1


@dataclass
class History:
    """What a fit has gone through, one entry an epoch.

    Attributes
    ----------
    loss : list of float
        The objective that was trained: mean loss over the epoch's batches, as they were when
        their turn came, with the L2 penalty.
    val_loss : list of float
        Loss on the validation data after the epoch, without penalty; empty without such data.
    seconds : list of float
        Time of the training itself, without validation and callbacks.
    learning_rate : list of float
        Learning rate of the epoch's last step.
    stop_reason : str
        Why a callback ended the fit early; empty if all epochs were run.
    """

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    stop_reason: str = ""


class DivergenceError(FloatingPointError):
    """The loss, a gradient or a weight was no longer finite; the model keeps finite weights.

    Attributes
    ----------
    epoch : int
        Epoch in which it happened, counted from 0.
    learning_rate : float
        Largest learning rate of that epoch.
    history : History
        The epochs before.
    """

    epoch = 0
    learning_rate = math.nan
    history = History()


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The parameters of a model at some time; only :meth:`State.restore` looks inside."""

    kind: tuple[Any, ...]  # of models that they fit
    parameters: Any = field(repr=False)


@dataclass
class State:
    """What a callback sees, the same object throughout one fit.

    Attributes
    ----------
    epoch : int
        Epoch that has just ended, counted from 0; -1 before the first.
    epochs : int
        Number of epochs the fit was asked for.
    loss, val_loss : float
        Last entries of the history; ``val_loss`` is NaN without validation data.
    learning_rate : float
        Learning rate of the last step, the scale included.
    learning_rate_scale : float
        Factor on the optimizer's learning rate from the next epoch on; may be set, at least 0.
    has_validation : bool
        Whether there is validation data.
    completed : bool
        For ``finish``: the fit has ended as it should, neither interrupted nor diverged.
    stop_reason : str
        May be set by a callback that returns True.
    model : MLP
        The model in training. It may be evaluated, and its weights may be read and assigned.
    history : History
        The epochs so far.
    """

    model: Any
    epochs: int
    history: History
    has_validation: bool
    epoch: int = -1
    loss: float = math.nan
    val_loss: float = math.nan
    learning_rate: float = math.nan
    learning_rate_scale: float = 1.0
    completed: bool = False
    stop_reason: str = ""
    engine: Any = field(default=None, repr=False)

    def snapshot(self) -> Snapshot:
        """Return the model's parameters of now, for :meth:`restore`."""
        return Snapshot(self._kind(), self.engine.snapshot())

    def restore(self, snapshot: Snapshot) -> None:
        """Give the model the parameters of a snapshot.

        Raises
        ------
        ValueError
            If it is not a snapshot of a model with these layers and this dtype.
        """
        if not isinstance(snapshot, Snapshot) or snapshot.kind != self._kind():
            given = snapshot if isinstance(snapshot, Snapshot) else type(snapshot).__name__
            raise ValueError(
                f"restore was given {given} but expects what snapshot() returned for {self.model!r}"
            )
        self.engine.restore(snapshot.parameters)

    def _kind(self) -> tuple[Any, ...]:
        spec = self.engine.spec
        return type(self.engine), spec.layer_sizes, spec.dtype.name


Callback = Callable[[State], Any]


def fit(
    model: Any,
    engine: Engine,
    data: Data,
    validation: Data | None,
    plan: Plan,
    *,
    epochs: int,
    shuffle: bool,
    callbacks: Sequence[Callback],
    n_threads: int,
    rng: np.random.Generator,
) -> History:
    """Train for ``epochs`` epochs; all arguments are checked already.

    ``plan`` comes with the options of the whole fit; order, learning rates and step counter are
    filled in here, epoch by epoch. Callbacks with ``start`` or ``finish`` hooks have them called
    around the epochs, ``finish`` also after an error.
    """
    state = State(model, epochs, History(), validation is not None, engine=engine)
    with contextlib.ExitStack() as stack:
        plan.team = stack.enter_context(threads.team_of(n_threads))
        for callback in callbacks:
            finish, start = getattr(callback, "finish", None), getattr(callback, "start", None)
            if finish is not None:
                stack.callback(finish, state)
            if start is not None:
                start(state)
        engine.start(plan.optimizer)
        plan.seed = next_seed(rng)
        _epochs(state, engine, data, validation, plan, shuffle, callbacks, rng)
        state.completed = True
    return state.history


def _epochs(
    state: State,
    engine: Engine,
    data: Data,
    validation: Data | None,
    plan: Plan,
    shuffle: bool,
    callbacks: Sequence[Callback],
    rng: np.random.Generator,
) -> None:
    history = state.history
    n = data.x.shape[0]
    n_batches = -(-n // plan.batch_size)
    plan.order = np.arange(n, dtype=np.int64) if shuffle else None
    base, scale = step_rates(plan.optimizer, 0, n_batches), 1.0
    plan.learning_rates = base
    for epoch in range(state.epochs):
        began = time.perf_counter()
        if plan.order is not None:
            engine.shuffle(plan.order, next_seed(rng))
        plan.step = epoch * n_batches
        if epoch and callable(plan.optimizer.learning_rate):
            base, scale = step_rates(plan.optimizer, plan.step, n_batches), math.nan
        if scale != state.learning_rate_scale:
            wanted = state.learning_rate_scale
            scale = NON_NEGATIVE.check("learning_rate_scale", wanted, example=0.5)
            plan.learning_rates = base * scale
        loss = guarded_epoch(engine, data, plan, epoch, history)
        history.seconds.append(time.perf_counter() - began)
        history.loss.append(loss)
        history.learning_rate.append(float(plan.learning_rates[-1]))
        if validation is not None:
            state.val_loss = engine.evaluate(validation, plan.team)
            history.val_loss.append(state.val_loss)
        if callbacks:
            state.epoch, state.loss, state.learning_rate = epoch, loss, history.learning_rate[-1]
            if _call(callbacks, state):
                return


def _call(callbacks: Sequence[Callback], state: State) -> bool:
    """Call every callback once; return True if one of them wants to stop."""
    stop = False
    for callback in callbacks:
        answer = callback(state)
        if isinstance(answer, bool | np.bool_) and answer:  # not any object that happens to be true
            stop = True
            name = getattr(callback, "__name__", type(callback).__name__)
            state.history.stop_reason = state.stop_reason or f"{name} returned True"
    return stop


def guarded_epoch(engine: Engine, data: Data, plan: Plan, epoch: int, history: History) -> float:
    """One epoch that either ends with finite weights or leaves the model as it was before.

    Raises
    ------
    DivergenceError
        If the objective or a weight became NaN or infinite.
    """
    before = engine.snapshot()
    try:
        loss = float(engine.epoch(data, plan))
    except BaseException:
        engine.restore(before)
        raise
    if not math.isfinite(loss):
        engine.restore(before)
        rate = float(np.max(plan.learning_rates))
        error = DivergenceError(
            f"training diverged in epoch {epoch} (counted from 0): the loss, a gradient or a "
            f"weight became {loss} at learning rate {rate:g}. Use a smaller learning rate, "
            "clip_norm=1.0, or scale X and y to mean 0 and variance 1. "
            "The model keeps the weights it had before this epoch"
        )
        error.epoch, error.learning_rate, error.history = epoch, rate, history
        raise error
    return loss


def step_rates(optimizer: Any, first_step: int, n_steps: int) -> NDArray[np.float64]:
    """Return the learning rates of some steps of an optimizer."""
    return schedules.learning_rates(optimizer.learning_rate, first_step, n_steps)


def next_seed(rng: np.random.Generator) -> int:
    """Return the next 64 bits of the generator's raw stream, the same in every NumPy."""
    return int(rng.bit_generator.random_raw()) & _SEED_MASK
