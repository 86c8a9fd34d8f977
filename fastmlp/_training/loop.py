"""The loop over epochs of every fit: order, learning rates, engine call, evaluation, callbacks.

The engine does all work per batch; this module works once per epoch. An error leaves the model at
its last completed epoch: trained, evaluated and recorded. Fits differ in their `Training`.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from fastmlp._core.history import Batch, DivergenceError, History, State
from fastmlp._core.intervals import NON_NEGATIVE
from fastmlp._engine.plan import Plan
from fastmlp._network import scheduled
from fastmlp._network.data import Data
from fastmlp._network.scheduled import LearningRate
from fastmlp._training.callback_list import CallbackList

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine, Epochs, Held
    from fastmlp._engine.thread_pool import Team
    from fastmlp._training.sources import BlockStream

Measured: TypeAlias = "Data | BlockStream"
Order: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


class LearningRates:
    """Computes learning rates from a rate or schedule; ``step`` counts the steps taken before."""

    def __init__(self, learning_rate: LearningRate, step: int = 0) -> None:
        self.learning_rate = learning_rate if callable(learning_rate) else float(learning_rate)
        self.step, self.scale = step, 1.0

    def rescale(self, scale: float) -> None:
        """Set the factor on all following rates."""
        self.scale = NON_NEGATIVE.check("learning_rate_scale", scale, example=0.5)

    def advance(self, n: int) -> None:
        """Count steps that were taken."""
        self.step += n

    def of_steps(self, step: int, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the rates of n steps, beginning with ``step``."""
        rate = self.learning_rate
        if not isinstance(rate, float):
            return scheduled.learning_rates(rate, step, n) * self.scale
        return _equal_rates(rate * self.scale, n)


@functools.lru_cache(maxsize=4)
def _equal_rates(rate: float, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a read-only array of n equal rates, which the next epochs mostly find in the cache."""
    rates = np.full(n, rate)
    rates.flags.writeable = False
    return rates


class Evaluator:
    """Computes the loss on validation data, plus a constant; never stops the fit."""

    apart: Held | None = None  # an ensemble's: the data that each member predicts

    def __init__(
        self, engine: Engine, validation: Measured | None = None, loss_constant: float = 0.0
    ) -> None:
        self.engine, self.validation, self.loss_constant = engine, validation, loss_constant
        self.epochs = 0  # recorded epochs, including those before a resumed fit
        self.measures = validation is not None

    def measure(self, loss: float, team: Team | None) -> float:
        """Return the validation loss, or NaN; do here all work that may fail, for `record`."""
        return math.nan if self.validation is None else self.loss(self.validation, team)

    def loss(self, data: Measured, team: Team | None) -> float:
        """Return the loss on some data."""
        return data.measure(self.engine, team) + self.loss_constant

    def record(self) -> None:
        """Store further measurements; must not make calls, so no interrupt can come between."""

    def collect(self, epochs: Epochs, rates: list[list[float]]) -> None:
        """Keep the results of epochs that the members of an ensemble were trained for at once."""

    def write(self, members: Sequence[Any]) -> None:
        """Write the results of the last recorded epochs to the members of an ensemble."""

    def is_enough(self) -> bool:
        """Return whether to stop; called after the callbacks."""
        return False


def number(caller: str, value: Any) -> float:
    """Return a user's number as a float; raise TypeError if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{caller} returned {value!r} but a number is expected") from error


class Strategy(Protocol):
    """The part of a fit that trains networks for an epoch, or for a block of one."""

    @property
    def engines(self) -> Sequence[Engine]:
        """The engines that are trained."""
        ...

    def epoch(self, data: Data, plan: Plan) -> float:
        """Train on all batches of a block; return the objective so far, not finite if diverged."""
        ...

    def shuffle(self, order: Order, seed: int) -> None:
        """Permute an index array in place."""
        ...

    def publish(self, epoch: int) -> None:
        """Give the models what an epoch, counted from 0, has learned, before it is evaluated."""
        ...


class Training:
    """The parts in which fits differ, which the loop calls."""

    rates: LearningRates
    evaluator: Evaluator  # evaluates after each epoch, and may end the fit
    reporter: CallbackList  # calls the callbacks, and holds the state
    reorders = False  # whether `reorder` gives each epoch another order of the rows

    def train(self, data: Data, plan: Plan) -> float:
        """Train on a block; return the objective so far, not finite if it has diverged."""
        raise NotImplementedError

    def reorder(self, order: Order) -> Order:
        """Return the order of an epoch from that of the epoch before."""
        raise NotImplementedError

    def publish(self, epoch: int) -> None:
        """Give the model what an epoch has learned, before it is evaluated."""

    def fused_epochs(self, left: int) -> tuple[int, bool]:
        """Train and record up to so many epochs in one native call, where that is possible.

        Returns their number, 0 for the loop, and whether a callback ends the fit.
        """
        return 0, False


def run(data: Data | BlockStream, plan: Plan, training: Training) -> bool:
    """Train all epochs (False), or until a callback or the evaluator ends the fit (True)."""
    rates, evaluator, reporter = training.rates, training.evaluator, training.reporter
    state, engine = reporter.state, reporter.state.engine
    if plan.order is None and training.reorders:
        plan.order = np.arange(data.rows or 0, dtype=np.int64)
    whole = nullcontext((data,) if isinstance(data, Data) else ())  # an array is one block
    epoch, end = state.epoch + 1, state.epochs
    while epoch < end:
        n, stops = training.fused_epochs(end - epoch)
        if stops:
            return True
        if n:
            epoch += n
            continue
        reporter.epoch_begins()
        began = time.perf_counter()
        if training.reorders and plan.order is not None:
            plan.order = training.reorder(plan.order)
        if state.learning_rate_scale != rates.scale:
            rates.rescale(state.learning_rate_scale)
        before = engine.snapshot()
        state.epoch = epoch - 1  # the last recorded one, which a callback may have overwritten
        step, plan.sums, n_epochs = rates.step, [0.0, 0.0], len(state.history.loss)
        try:
            with whole if isinstance(data, Data) else data.blocks() as blocks:
                for block in batches(blocks, plan) if reporter.sees_batches else blocks:
                    n_steps, sums = plan_steps(plan, block, rates, step), plan.sums
                    loss = training.train(block, plan)
                    if not math.isfinite(loss):
                        raise diverged(loss, plan, epoch, state.history)
                    step += n_steps
                    if reporter.sees_batches and reporter.batch_ended(
                        ended(plan, epoch, step - rates.step - 1, sums, evaluator.loss_constant)
                    ):
                        engine.restore(before)
                        return True
            seconds = time.perf_counter() - began
            training.publish(epoch)
            rate = float(plan.learning_rates[-1])
            val_loss = evaluator.measure(loss, plan.team)
            record(state, evaluator, epoch, [loss], [val_loss], [rate], [seconds])
            rates.step = step
        except BaseException:
            if state.epoch < epoch:  # undo an epoch that was not recorded
                engine.restore(before)
                shorten(state.history, n_epochs)
            raise
        if reporter.epoch_ended() or evaluator.is_enough():
            return True
        epoch += 1
    return False


def mean_of_members(losses: Any) -> list[float]:
    """Return the mean over members per epoch; its bits do not depend on the number of epochs."""
    if losses.shape[1] == 1:
        return losses[:, 0].tolist()  # type: ignore[no-any-return]
    with np.errstate(over="ignore"):
        return np.asarray(sum(losses.T) / losses.shape[1]).tolist()  # type: ignore[no-any-return]


def plan_steps(plan: Plan, block: Data, rates: LearningRates, step: int, epochs: int = 1) -> int:
    """Give a plan the values of the steps of a block, from ``step`` on; return their number."""
    n_steps = epochs * plan.steps_of(block)
    plan.set_steps(step, rates.of_steps(step, n_steps))
    return n_steps


def batches(blocks: Iterable[Data], plan: Plan) -> Iterator[Data]:
    """Yield each batch as its own block, with the bits of an epoch in one call."""
    order, size = plan.order, plan.batch_size
    for block in blocks:
        plan.weight_sum = block.weight_sum(order)
        for first in range(0, block.rows if order is None else len(order), size):
            rows = slice(first, first + size)
            if order is not None:
                plan.order = order[rows]
            yield block if order is not None else block.part(rows)
    plan.order, plan.weight_sum = order, None


def ended(plan: Plan, epoch: int, index: int, before: list[float], constant: float) -> Batch:
    """Return the `Batch` just trained, computed from the sums before and after it."""
    assert plan.sums is not None
    objective, weight = (now - then for now, then in zip(plan.sums, before, strict=True))
    loss = objective / weight if weight else 0.0
    return Batch(epoch, index, plan.step, loss + constant, float(plan.learning_rates[-1]))


def diverged(
    loss: float, plan: Plan, epoch: int, history: History, caller: str = "training"
) -> DivergenceError:
    """Return the error for an epoch with a non-finite loss."""
    rate = float(np.max(plan.learning_rates))
    error = DivergenceError(
        f"{caller} diverged in epoch {epoch} (counted from 0): the loss, a gradient or a "
        f"weight became {loss} at learning rate {rate:g}. Use a smaller learning rate, "
        "clip_norm=1.0, or scale X and y to mean 0 and variance 1. "
        "The model keeps the weights it had before this epoch"
    )
    error.epoch, error.learning_rate, error.history = epoch, rate, history
    return error


def record(
    state: State,
    evaluator: Evaluator,
    epoch: int,
    losses: list[float],
    val_losses: list[float],
    rates: list[float],
    seconds: list[float],
) -> None:
    """Record one epoch, or several of which ``epoch`` is the last, completely or not at all."""
    # Python handles signals and switches threads at function calls and loop ends. After the first
    # call, this function has neither; tests interrupt it at each call.
    history = state.history
    evaluator.record()
    if state.has_validation:
        history.val_loss += val_losses
    history.seconds += seconds
    history.learning_rate += rates
    history.loss += losses  # last, see History.whole
    evaluator.epochs = epoch + 1
    state.loss, state.val_loss = losses[-1], val_losses[-1]
    state.epoch = epoch


def shorten(history: History, n: int) -> None:
    """Keep the first n epochs, also if memory ran out while the lists grew."""
    for values in vars(history).values():
        if isinstance(values, list):
            del values[n:]
