"""The loop over epochs: shuffle, learning rates, one engine call, validation, callbacks.

Everything a batch needs happens inside the engine; everything here happens once an epoch. What
may go wrong in between leaves the model at its last whole epoch.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp import schedules, threads
from fastmlp.engine.contract import Engine
from fastmlp.intervals import NON_NEGATIVE
from fastmlp.records import Continuation, DivergenceError, History, State
from fastmlp.spec import Data, Plan

_SEED_MASK = 2**64 - 1


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
    history: History,
    resumed: Continuation | None = None,
) -> None:
    """Train until ``epochs`` have ended, written down in ``history``; all arguments are checked.

    ``plan`` comes with the options of the whole fit; order, learning rates and step counter are
    filled in here, epoch by epoch. With ``resumed``, the epochs before are those of an earlier fit,
    whose state the engine still has. Callbacks with ``start`` or ``finish`` hooks have them called
    around the epochs, ``finish`` also after an error.
    """
    state = State(model, epochs, history, validation is not None, engine=engine)
    if resumed is not None:
        state.epoch, state.learning_rate_scale = resumed.epochs - 1, resumed.scale
    with contextlib.ExitStack() as stack:
        plan.team = stack.enter_context(threads.borrowed_team(n_threads))
        for callback in callbacks:
            finish, start = getattr(callback, "finish", None), getattr(callback, "start", None)
            if finish is not None:
                stack.callback(finish, state)
            if start is not None:
                start(state)
        if resumed is None:
            engine.start(plan.optimizer)
            resumed = Continuation(plan.optimizer.kind, 0, next_seed(rng), data.x.shape[0])
        plan.seed = resumed.seed
        _epochs(state, engine, data, validation, plan, shuffle, callbacks, rng, resumed)
        state.completed = True


def _epochs(
    state: State,
    engine: Engine,
    data: Data,
    validation: Data | None,
    plan: Plan,
    shuffle: bool,
    callbacks: Sequence[Callback],
    rng: np.random.Generator,
    begun: Continuation,
) -> None:
    history, shuffles = state.history, [*begun.shuffles]
    n = data.x.shape[0]
    n_batches = -(-n // plan.batch_size)
    plan.order = np.arange(n, dtype=np.int64) if shuffle else None
    if plan.order is not None:
        for seed in shuffles:
            engine.shuffle(plan.order, seed)
    base, scale = step_rates(plan.optimizer, begun.step, n_batches), 1.0
    plan.learning_rates = base
    for epoch in range(begun.epochs, state.epochs):
        began = time.perf_counter()
        if plan.order is not None:
            shuffles.append(next_seed(rng))
            engine.shuffle(plan.order, shuffles[-1])
        plan.step = begun.step + (epoch - begun.epochs) * n_batches
        plan.look_up(n_batches)
        if epoch > begun.epochs and callable(plan.optimizer.learning_rate):
            base, scale = step_rates(plan.optimizer, plan.step, n_batches), math.nan
        if scale != state.learning_rate_scale:
            wanted = state.learning_rate_scale
            scale = NON_NEGATIVE.check("learning_rate_scale", wanted, example=0.5)
            plan.learning_rates = base * scale
        before = engine.snapshot()
        try:
            loss = guarded_epoch(engine, data, plan, epoch, history)
            seconds = time.perf_counter() - began
            rate = float(plan.learning_rates[-1])
            if validation is not None:
                state.val_loss = engine.evaluate(validation, plan.team)
        except BaseException:
            engine.restore(before)  # an epoch that was not evaluated has not ended
            raise
        # No call until the lists are whole, and so no interrupt: they are of one length.
        if validation is not None:
            history.val_loss += [state.val_loss]
        history.seconds += [seconds]
        history.learning_rate += [rate]
        history.loss += [loss]  # last, see History.whole
        state.epoch, state.loss, state.learning_rate = epoch, loss, rate
        try:
            if _call(callbacks, state):
                return
        finally:
            step, scale = plan.step + n_batches, state.learning_rate_scale
            facts = begun.kind, step, begun.seed, begun.rows, epoch + 1, shuffles, scale
            state.model._progress = Continuation(*facts)


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
    """One epoch; if its objective or a weight is not finite, the engine has kept those of before.

    Raises
    ------
    DivergenceError
        If the objective or a weight became NaN or infinite.
    """
    loss = float(engine.epoch(data, plan))
    if not math.isfinite(loss):
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
