"""The training of a fit in the loop over epochs: one network, or the members of an ensemble."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.history import ResumeState, State
from fastmlp._network.data import Data
from fastmlp._training import loop
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.loop import Evaluator, FitStrategy, LearningRates
from fastmlp._training.shuffles import Shuffles

if TYPE_CHECKING:
    from fastmlp._engine.plan import Plan
    from fastmlp._engine.protocol import Epochs
    from fastmlp._network.averaging import Averaging

LEAP_SECONDS = 0.05  # approximate length of a leap, which an interrupt may undo
ALL = slice(None)
LEAST_EPOCHS = 8  # shorter leaps are not worth the snapshot before them


class Trainer(FitStrategy):
    """Trains one or more networks, each with its own data and plan; the first one's plan leads."""

    # Without callbacks and evaluation, many epochs run in one native call, a leap. An error
    # restores the state before it; the loop repeats epochs that diverged or whose schedule failed.

    begun: Sequence[ResumeState] = ()
    stored: Any = None  # epochs, factor and number of seeds of the last `store`

    def __init__(self, fit: Any, state: State, judge: Evaluator) -> None:
        self.state, self.members, self.datas = state, fit.members, fit.datas
        self.plans: Sequence[Plan] = fit.plans
        self.engines: list[Any] = list(map(attrgetter("_engine"), self.members))
        self.train, self.judge = self.engines[0].epoch, judge
        self.rates = rates = LearningRates(self.plans[0].optimizer.learning_rate)
        self.reporter = CallbackList(state, fit.hooks)
        self.permute: Callable[[Any, int], None] = self.engines[0].shuffle
        generators = map(attrgetter("_rng"), self.members)
        self.shuffles = Shuffles(generators) if fit.shuffle else None
        self.leaders, self.rates_of = [0], {0: rates}

    def run(self, begun: Sequence[ResumeState], averaging: Averaging | None = None) -> None:
        """Run all epochs from the members' initial or resumed states."""
        self.begun, self.rates.step = begun, begun[0].step
        for engine, plan, own in zip(self.engines, self.plans, begun, strict=True):
            plan.seed = own.seed
            if averaging is None and own.averaged is not None:
                engine.set_parameters(*own.averaged.raw)
        if averaging is not None:
            from fastmlp._training.weight_average import WeightAverage

            each = zip(self.engines, begun, strict=True)
            self.averages = [WeightAverage(averaging, engine, own.averaged) for engine, own in each]
            if self.train == self.engines[0].epoch:
                self.train = self.averages[0].twin.epoch
        if self.shuffles is not None and begun[0].shuffles:
            self.shuffles.resume([own.shuffles for own in begun], begun[0].shuffled)
        self._begin()
        loop.run(self.datas[0], self.plans[0], self)
        if averaging is not None and 0 < self.judge.epochs <= averaging.start < self.state.epochs:
            from fastmlp._core.user_warnings import warn

            warn(
                f"averaging is {averaging!r} but the fit was ended after {self.judge.epochs} of "
                f"{self.state.epochs} epochs, so that no weights are averaged: use a smaller start"
            )

    def _begin(self) -> None:
        """Prepare the orders of the samples, and decide whether leaps are possible."""
        shuffles, stream = self.shuffles, self.datas[0]
        if not isinstance(stream, Data):
            stream.begin(self.plans[0].batch_size, shuffles, self.permute, self.begun[0].rows)
            return
        if shuffles is not None:
            for plan, data, own in zip(self.plans, self.datas, self.begun, strict=True):
                if plan.order is None:
                    plan.order = np.arange(data.rows, dtype=np.int64)
                for seed in own.shuffles[: own.shuffled]:
                    self.permute(plan.order, seed)
            self.reorder = self._reorder
        if self.state.epochs > LEAST_EPOCHS and self._may_leap():
            self.leap = self._leap

    def _may_leap(self) -> bool:
        """Whether nothing is to be done between epochs; a team would be idle in a leap."""
        busy = self.reporter.callbacks or self.judge.measures or self.averages
        return not busy and self.plans[0].team is None and self.train == self.engines[0].epoch

    def _reorder(self, order: loop.Order) -> loop.Order:
        assert self.shuffles is not None
        self.permute(order, self.shuffles.next_seed())
        return order

    def recorded(self) -> None:
        """Write what callbacks read of the members, after an epoch was recorded."""
        for member, data in zip(self.members, self.datas, strict=True):
            member._flat_y = data.flat_y

    def store(self) -> None:
        """Store the state for resuming, unless nothing has changed since the last call."""
        epochs, state, shuffles = self.judge.epochs, self.state, self.shuffles
        now = epochs, state.learning_rate_scale, shuffles and shuffles.n_drawn()
        if not epochs or now == self.stored:
            return
        self.recorded()
        for k, (member, own) in enumerate(zip(self.members, self.begun, strict=True)):
            plan, rows, n = self.plans[k], self._rows(k), epochs - own.epochs
            drawn, used = own.shuffles, own.shuffled
            if self.shuffles is not None:
                drawn, used = self.shuffles.drawn(k), used + n
            facts = own.kind, own.step + n * plan.n_steps(rows), own.seed, rows, epochs
            options = state.learning_rate_scale, (), plan.batch_size, own.data
            averaged = self.averages[k].averaged if self.averages else None
            member._progress = ResumeState(*facts, drawn, used, *options, averaged)
        self.stored = now

    def _rows(self, k: int) -> int:
        """Return the number of rows that a member is trained on."""
        order = self.plans[k].order
        return self.datas[k].rows if order is None else len(order)

    def _leap(self, left: int) -> int:
        """Train several epochs in one call of about `LEAP_SECONDS`; return how many, maybe 0."""
        state = self.state
        seconds = state.history.seconds[-1:] or [math.inf]
        n = min(left, int(LEAP_SECONDS / max(seconds[0], 1e-6)))
        if self.leap is None or n < LEAST_EPOCHS:
            return 0
        self.plans[0].sums = None  # drop those of the epoch before
        before, n_epochs = self._kept(), len(state.history.loss)
        epoch, began = state.epoch + n, time.perf_counter()
        try:
            try:
                steps = self._prepare(n, self.rates_of.keys())
            except Exception:  # a schedule failed; the loop raises the error in its epoch
                return 0
            for k, n_steps in steps.items():
                self.rates_of[k].step += n_steps
            found = self.epochs(n)
            if np.isfinite(found.losses).all():
                rates, losses = self._see(found), mean(found.losses)
                each = [(time.perf_counter() - began) / n] * n
                loop.record(state, self.judge, epoch, losses, [math.nan] * n, rates, each)
        finally:
            if state.epoch < epoch:
                self._go_back(before)
                loop.shorten(state.history, n_epochs)
                self.leap, n = None, 0
        self.reporter.epoch_ended()
        return n

    def _prepare(self, n: int, leaders: Any) -> dict[int, int]:
        """Set the rates of n epochs; return the new steps of leaders (members with own rates)."""
        steps = {}
        for k in leaders:
            rates, plan = self.rates_of[k], self.plans[k]
            rates.rescale(self.state.learning_rate_scale)
            steps[k] = loop.look_up(plan, self.datas[k], rates, rates.step, n)
        return steps

    def epochs(self, n: int, some: slice = ALL) -> Epochs:
        """Train all members, or some of them, for n epochs in one native call."""
        engines, judge = self.learners(self.engines)[some], self.judge
        seeds = None if self.shuffles is None else self.shuffles.take(n)[some]
        # The loop evaluates averages.
        apart = None if self.averages or judge.apart is None else judge.apart[some]
        team = self.plans[0].team
        given = engines, self.datas[some], self.plans[some], team, n, seeds, apart, judge.linked
        return self.engines[0].train_many(*given)  # type: ignore[no-any-return]

    def _see(self, found: Epochs) -> list[float]:
        """Return the learning rate of the last step of each epoch."""
        n = self.plans[0].n_steps(self._rows(0))
        return self.plans[0].learning_rates[n - 1 :: n].tolist()  # type: ignore[no-any-return]

    def _kept(self) -> tuple[Any, ...]:
        """Return all state that a leap changes."""
        return (
            self.state.engine.snapshot(),
            [copy.deepcopy(engine.optimizer_state()) for engine in self.engines],
            [None if plan.order is None else plan.order.copy() for plan in self.plans],
            {k: rates.step for k, rates in self.rates_of.items()},
            self.shuffles and self.shuffles.kept(),
        )

    def _go_back(self, kept: tuple[Any, ...]) -> None:
        parameters, states, orders, steps, seeds = kept
        self.state.engine.restore(parameters)
        for engine, state in zip(self.engines, states, strict=True):
            engine.set_optimizer_state(state)
        for plan, order in zip(self.plans, orders, strict=True):
            plan.order = order
        for k, step in steps.items():
            self.rates_of[k].step = step
        if self.shuffles is not None:
            self.shuffles.go_back(seeds)


def mean(losses: Any) -> list[float]:
    """Return the mean over members per epoch; its bits do not depend on the number of epochs."""
    if losses.shape[1] == 1:
        return losses[:, 0].tolist()  # type: ignore[no-any-return]
    with np.errstate(over="ignore"):
        return np.asarray(sum(losses.T) / losses.shape[1]).tolist()  # type: ignore[no-any-return]
