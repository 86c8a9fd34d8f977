"""The loop over epochs, of every fit: order, learning rates, one engine call, judgement, report.

Everything a batch needs happens inside the engine; everything here happens once an epoch. What
may go wrong in between leaves the model at its last whole epoch: it has been trained, measured and
written down. In what fits differ they bring to it, as a `FitStrategy`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastmlp._core.history import Batch, DivergenceError, History, State
from fastmlp._engine.plan import Plan
from fastmlp._network.data import Data
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.evaluator import Evaluator
from fastmlp._training.learning_rates import LearningRates

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine
    from fastmlp._training.sources import BlockStream
    from fastmlp._training.weight_average import WeightAverage

Order: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

_SEED_MASK = 2**64 - 1


@dataclass
class FitStrategy:
    """What a fit brings to the loop.

    Attributes
    ----------
    train : callable (Data, Plan) -> float
        One epoch; a loss that is not finite means that it has diverged.
    rates : Rates
        Learning rates of the steps.
    judge : Judge
        Measures after each epoch, and says when it is enough.
    reporter : Reporter
        Tells of each epoch, and hears whether somebody wants to stop; has the state.
    reorder : callable Order -> Order, or None
        The order of the samples in the next epoch, from the last one; None leaves them as they are.
    leap : callable int -> int, or None
        Asked before each epoch, with the number of those that are left: trains some of them at
        once, writes them down, and returns how many; 0 leaves the next one to the loop.
    averages : sequence of Average
        One of each engine in training; by default there is no mean of weights.
    """

    train: Callable[[Data, Plan], float]
    rates: LearningRates
    judge: Evaluator
    reporter: CallbackList
    reorder: Callable[[Order], Order] | None = None
    leap: Callable[[int], int] | None = None
    averages: Sequence[WeightAverage] = ()

    def learners(self, engines: Sequence[Engine]) -> Sequence[Engine]:
        """Return those that are to train: the engines themselves, or their twins."""
        return [each.twin for each in self.averages] or engines


def run(data: Data | BlockStream, plan: Plan, course: FitStrategy) -> bool:
    """Train until all epochs have been (False), or somebody or something ends the fit (True).

    ``plan`` comes with the options of the whole fit and, if not all rows take part, those that do
    as its first order; order, learning rates and step counter are filled in here, epoch by epoch
    and block by block (of whole batches, see ``sources``). The engine has an optimizer already; a
    state or rates that have seen epochs or steps before go on from there.
    """
    rates, judge, reporter, reorder = course.rates, course.judge, course.reporter, course.reorder
    state = reporter.state
    engine, train = state.engine, course.train
    if plan.order is None and reorder is not None:
        plan.order = np.arange(data.rows or 0, dtype=np.int64)
    epoch, end = state.epoch + 1, state.epochs
    while epoch < end:
        if course.leap is not None and (n := course.leap(end - epoch)):
            epoch += n
            continue
        reporter.epoch_begins()
        began = time.perf_counter()
        begin(plan, rates, reorder, state.learning_rate_scale)
        before, state.epoch = engine.snapshot(), epoch - 1  # a callback may have set it
        step, plan.sums, n_epochs = rates.step, [0.0, 0.0], len(state.history.loss)
        try:
            with data.blocks() as blocks:
                for block in batches(blocks, plan) if reporter.sees_batches else blocks:
                    n_steps, sums = look_up(plan, block, rates, step), plan.sums
                    loss = train(block, plan)
                    if not math.isfinite(loss):
                        raise diverged(loss, plan, epoch, state)
                    step += n_steps
                    if reporter.sees_batches and reporter.batch_ended(
                        ended(plan, epoch, step - rates.step - 1, sums, judge.loss_constant)
                    ):
                        engine.restore(before)
                        return True
            seconds = time.perf_counter() - began
            for average in course.averages:
                average.publish(epoch)
            rate = float(plan.learning_rates[-1])
            val_loss = judge.measure(loss, plan.team)
            record(state, judge, epoch, [loss], [val_loss], [rate], [seconds])
            rates.step = step
        except BaseException:
            if state.epoch < epoch:  # what was not written down did not happen
                engine.restore(before)
                shorten(state.history, n_epochs)
            raise
        if reporter.epoch_ended() or judge.is_enough():
            return True
        epoch += 1
    return False


def begin(
    plan: Plan, rates: LearningRates, reorder: Callable[[Order], Order] | None, scale: float
) -> None:
    """See to what is new in an epoch: the order, the scale of the rates."""
    if reorder is not None and plan.order is not None:
        plan.order = reorder(plan.order)
    if scale != rates.scale:
        rates.rescale(scale)


def look_up(plan: Plan, block: Data, rates: LearningRates, step: int, epochs: int = 1) -> int:
    """Fill in step counter and all that schedules say for a block; returns its number of steps."""
    n_steps = epochs * plan.n_steps(block.rows if plan.order is None else len(plan.order))
    plan.step, plan.learning_rates = step, rates.of_steps(step, n_steps)
    plan.look_up(n_steps)
    return n_steps


def batches(blocks: Iterable[Data], plan: Plan) -> Iterator[Data]:
    """Yield each batch as a block of its own: its rows, or all with its part of the plan's order.

    One call of the engine for each, of the same steps and sums: the bits are those of one call.
    """
    order, size = plan.order, plan.batch_size
    for block in blocks:
        for first in range(0, block.rows if order is None else len(order), size):
            rows = slice(first, first + size)
            if order is not None:
                plan.order = order[rows]
            yield block if order is not None else block.part(rows)
    plan.order = order


def ended(plan: Plan, epoch: int, index: int, before: list[float], constant: float) -> Batch:
    """Return what there is to say of the batch that the plan was for, by the sums before it."""
    assert plan.sums is not None
    objective, weight = (now - then for now, then in zip(plan.sums, before, strict=True))
    loss = objective / weight if weight else 0.0
    return Batch(epoch, index, plan.step, loss + constant, float(plan.learning_rates[-1]))


def diverged(
    loss: float, plan: Plan, epoch: int, state: State, who: str = "training"
) -> DivergenceError:
    """Return the complaint about an epoch whose loss is not finite."""
    rate = float(np.max(plan.learning_rates))
    error = DivergenceError(
        f"{who} diverged in epoch {epoch} (counted from 0): the loss, a gradient or a "
        f"weight became {loss} at learning rate {rate:g}. Use a smaller learning rate, "
        "clip_norm=1.0, or scale X and y to mean 0 and variance 1. "
        "The model keeps the weights it had before this epoch"
    )
    error.epoch, error.learning_rate, error.history = epoch, rate, state.history
    return error


def record(
    state: State,
    judge: Evaluator,
    epoch: int,
    losses: list[float],
    val_losses: list[float],
    rates: list[float],
    seconds: list[float],
) -> None:
    """Write an epoch down, as a whole; or several, the last of which has this number.

    Python looks for signals, and lets other threads run, where a function begins or a loop goes
    back: after the one call, which comes first, nothing here does. A test looks for more.
    """
    history = state.history
    judge.record()
    if state.has_validation:
        history.val_loss += val_losses
    history.seconds += seconds
    history.learning_rate += rates
    history.loss += losses  # last, see History.whole
    state.loss, state.val_loss, state.learning_rate = losses[-1], val_losses[-1], rates[-1]
    state.epoch = epoch


def shorten(history: History, n: int) -> None:
    """Keep the first n epochs: there may have been memory for some of the longer lists."""
    for values in vars(history).values():
        if isinstance(values, list):
            del values[n:]


class Shuffles:
    """Orders of samples, each from the last one; a fit that resumes begins where it was.

    Parameters
    ----------
    shuffle : callable (Order, int) -> None
        The engine's, in place, by a seed.
    rng : numpy.random.Generator
        Of the seeds.
    seeds : sequence of int
        Those drawn before.
    used : int
        How many of them were used; the first order is that after these.
    """

    def __init__(
        self,
        shuffle: Callable[[Order, int], None],
        rng: np.random.Generator,
        seeds: Sequence[int] = (),
        used: int = 0,
    ) -> None:
        self.shuffle, self.rng, self.seeds, self.used = shuffle, rng, [*seeds], used
        self._is_fresh = True

    def __call__(self, order: Order) -> Order:
        """Return the next order, in the place of the last one; the first time of 0, 1, 2, ..."""
        for seed in self.seeds[: self.used] if self._is_fresh else ():
            self.shuffle(order, seed)
        self._is_fresh = False
        self.shuffle(order, self.next_seed())
        return order

    def next_seed(self) -> int:
        """Return the seed of the next epoch, drawn if it has not been."""
        if self.used == len(self.seeds):
            # One call, in C: no interrupt comes between the draw and its being kept.
            self.seeds.extend(map(self.rng.bit_generator.random_raw, (None,)))
        self.used += 1
        return self.seeds[self.used - 1]


def next_seed(rng: np.random.Generator) -> int:
    """Return the next 64 bits of the generator's raw stream, the same in every NumPy."""
    return int(rng.bit_generator.random_raw()) & _SEED_MASK
