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
from fastmlp._models.fit import Fit, mean
from fastmlp._network.data import Data
from fastmlp._training import loop
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.loop import Evaluator, FitStrategy, LearningRates
from fastmlp._training.shuffles import Shuffles

if TYPE_CHECKING:
    from fastmlp._engine.plan import Plan
    from fastmlp._engine.protocol import Epochs
    from fastmlp._network.averaging import Averaging

FUSED_SECONDS = 0.05  # approximate length of a call of several epochs, which an interrupt may undo
MIN_FUSED_EPOCHS = 8  # fewer are not worth the snapshot before them
STORED_SECONDS = 0.5  # the same where passive callbacks get the parameters after each epoch
MIN_STORED_EPOCHS = 2
STORED_BYTES = 2**24  # most memory for these parameters


class Trainer(FitStrategy):
    """Trains one network, or the members of an ensemble at once, each with its own data and plan.

    The loop prepares the plan of the first member alone.
    """

    # Without evaluation, and if all callbacks are passive, several epochs are fused into one native
    # call. An error restores the state before it; the loop repeats epochs that diverged or whose
    # schedule failed.

    states: Sequence[ResumeState] = ()  # of the members, before the first epoch
    stored: Any = None  # epochs, factor and number of seeds of the last `store`
    is_ahead = False  # whether later epochs were trained than are recorded: they cannot be resumed

    def __init__(self, fit: Fit, state: State, evaluator: Evaluator) -> None:
        self.fit, self.state, self.evaluator = fit, state, evaluator
        self.members, self.data, self.plans = fit.members, fit.data, fit.plans
        self.engines: list[Any] = list(map(attrgetter("engine"), self.members))
        self.train = self.engines[0].epoch
        self.rates = rates = LearningRates(self.plans[0].optimizer.learning_rate)
        self.reporter = CallbackList(state, fit.callbacks)
        self.permute: Callable[[Any, int], None] = self.engines[0].shuffle
        generators = map(attrgetter("rng"), self.members)
        self.shuffles = Shuffles(generators) if fit.shuffle else None
        self.rates_of = {0: rates}  # of the members with learning rates of their own

    def run(self, states: Sequence[ResumeState]) -> None:
        """Run all epochs from the members' initial or resumed states."""
        self.states, self.rates.step = states, states[0].step
        averaging: Averaging | None = self.fit.averaging
        for engine, plan, state in zip(self.engines, self.plans, states, strict=True):
            plan.seed = state.seed
            if averaging is None and state.averaged is not None:
                engine.set_parameters(*state.averaged.raw)
        if averaging is not None:
            from fastmlp._training.weight_average import WeightAverage

            pairs = zip(self.engines, states, strict=True)
            self.averages = [WeightAverage(averaging, e, state.averaged) for e, state in pairs]
            if self.train == self.engines[0].epoch:
                self.train = self.averages[0].shadow.epoch
        if self.shuffles is not None and states[0].shuffles:
            self.shuffles.resume([state.shuffles for state in states], states[0].shuffled)
        stream = self.data[0]
        try:
            self._begin()
            loop.run(stream, self.plans[0], self)
        finally:
            if not isinstance(stream, Data):
                stream.end()
        epochs = self.evaluator.epochs
        if averaging is not None and 0 < epochs <= averaging.start < self.state.epochs:
            from fastmlp._core.user_warnings import warn

            warn(
                f"averaging is {averaging!r} but the fit was ended after {epochs} of "
                f"{self.state.epochs} epochs, so that no weights are averaged: use a smaller start"
            )

    def _begin(self) -> None:
        """Prepare the orders of the samples, and decide whether epochs may be fused."""
        shuffles, stream = self.shuffles, self.data[0]
        if not isinstance(stream, Data):
            stream.begin(self.plans[0].batch_size, shuffles, self.permute, self.states[0].rows)
            return
        if shuffles is not None:
            for plan, data, state in zip(self.plans, self.data, self.states, strict=True):
                if plan.order is None:
                    plan.order = np.arange(data.rows, dtype=np.int64)
                for seed in state.shuffles[: state.shuffled]:
                    self.permute(plan.order, seed)
            self.reorder = self._reorder
        self.steps = [plan.n_steps(self._rows(k)) for k, plan in enumerate(self.plans)]
        # Members with equal steps so far and per epoch share the rates of the first, the leader.
        places = [(n, state.step) for n, state in zip(self.steps, self.states, strict=True)]
        self.leaders = [places.index(place) for place in places]
        for k in {*self.leaders} - {0}:
            rate = self.plans[k].optimizer.learning_rate
            self.rates_of[k] = LearningRates(rate, self.states[k].step)
        is_alone = self.plans[0].team is None and self.train == self.engines[0].epoch
        if self.fit.is_joint:
            self.train, self.reorder = self._train_members, None  # the native call shuffles
        # Nothing is to be done between epochs, and no team of threads would be idle.
        busy = self.reporter.acts or self.evaluator.measures or self.averages
        may_fuse = not busy and (is_alone or self.fit.is_joint)
        if may_fuse and self.state.epochs > MIN_FUSED_EPOCHS:
            self.fused_epochs = self._fused_epochs

    def _train_members(self, data: Data, plan: Plan) -> float:
        """Train every member for one epoch."""
        steps = self._prepare(1, self.rates_of.keys() - {0})
        results = self.epochs(1)
        for k, loss in enumerate(results.losses[0]):
            if not math.isfinite(loss):
                epoch, caller = self.state.epoch + 1, f"training of member {k}"
                raise loop.diverged(loss, self.plans[k], epoch, self.state.history, caller)
        for k, n in steps.items():
            self.rates_of[k].step += n
        self._collect(results)
        return mean(results.losses)[0]

    def _reorder(self, order: loop.Order) -> loop.Order:
        assert self.shuffles is not None
        self.permute(order, self.shuffles.next_seed())
        return order

    def recorded(self) -> None:
        """Write what callbacks read of the members, after an epoch was recorded."""
        for member, data in zip(self.members, self.data, strict=True):
            member.learn_shape(data.flat_y)
        self.evaluator.write(self.members)
        if not self.fit.is_joint:  # nothing changes in later epochs
            self.reporter.recorded = None

    def store(self) -> None:
        """Store the state for resuming, unless nothing has changed since the last call."""
        epochs, scale = self.evaluator.epochs, self.state.learning_rate_scale
        shuffles = self.shuffles
        now = epochs, scale, shuffles and shuffles.n_drawn()
        if not epochs or now == self.stored or self.is_ahead:
            return
        self.recorded()
        for k, (member, before) in enumerate(zip(self.members, self.states, strict=True)):
            plan, rows, n = self.plans[k], self._rows(k), epochs - before.epochs
            progress = ResumeState(
                before.kind,
                before.step + n * plan.n_steps(rows),
                before.seed,
                rows,
                epochs,
                before.shuffles if shuffles is None else shuffles.drawn(k),
                before.shuffled if shuffles is None else before.shuffled + n,
                scale,
                batch_size=plan.batch_size,
                data=before.data,
                averaged=self.averages[k].averaged if self.averages else None,
            )
            member.keep(progress)
        self.stored = now

    def _rows(self, k: int) -> int:
        """Return the number of rows that a member is trained on."""
        order = self.plans[k].order
        return self.data[k].rows if order is None else len(order)

    def _fused_epochs(self, left: int) -> tuple[int, bool]:
        """Train for about `FUSED_SECONDS` in one call; see `FitStrategy`."""
        state, stores = self.state, bool(self.reporter.callbacks)
        seconds = max((state.history.seconds or [math.inf])[-1], 1e-6)
        n = min(left, int((STORED_SECONDS if stores else FUSED_SECONDS) / seconds))
        if stores:
            spec = self.engines[0].spec
            size = len(self.engines) * spec.n_parameters * spec.dtype.itemsize
            n = min(n, STORED_BYTES // size)
        if n < (MIN_STORED_EPOCHS if stores else MIN_FUSED_EPOCHS):
            return 0, False
        self.plans[0].sums = None  # drop those of the epoch before
        undo, n_epochs = self._undo(), len(state.history.loss)
        before = tuple(engine.snapshot() for engine in self.engines)
        began, is_trained = time.perf_counter(), False
        try:
            try:
                steps = self._prepare(n, self.rates_of.keys())
            except Exception:  # a schedule failed; the loop raises the error in its epoch
                return 0, False
            for k, n_steps in steps.items():
                self.rates_of[k].step += n_steps
            results = self.epochs(n, stores)
            if is_finite := bool(np.isfinite(results.losses).all()):
                spent = (time.perf_counter() - began) / n
                if not stores:
                    self._record(results, spent)
                is_trained = is_finite
        finally:
            if not is_trained:
                undo()
                loop.shorten(state.history, n_epochs)
                self.fused_epochs, n = None, 0
        if not is_trained:
            return 0, False
        return (
            self._replayed(results, spent, before) if stores else (n, self.reporter.epoch_ended())
        )

    def _record(self, results: Epochs, seconds: float) -> None:
        """Record epochs whose rates the plans have."""
        rates, losses = self._collect(results), mean(results.losses)
        n, epoch = len(losses), self.state.epoch + len(losses)
        lists = losses, [math.nan] * n, rates, [seconds] * n
        loop.record(self.state, self.evaluator, epoch, *lists)

    def _replayed(self, results: Epochs, seconds: float, before: Any) -> tuple[int, bool]:
        """Record epochs that were trained, and call the callbacks with the parameters of each."""
        state, n = self.state, len(results.losses)
        rates = {k: self.plans[k].learning_rates.reshape(n, -1) for k in self.rates_of}
        for k, snapshot in enumerate(results.snapshots):
            epoch, n_epochs, self.is_ahead = state.epoch + 1, len(state.history.loss), k + 1 < n
            for leader, of_epochs in rates.items():
                self.plans[leader].learning_rates = of_epochs[k]
            one = results._replace(losses=results.losses[k : k + 1], predictions=[])
            try:
                self._restore(snapshot)
                self._record(one, seconds)
            except BaseException:
                if state.epoch < epoch:
                    self._restore(before)
                    loop.shorten(state.history, n_epochs)
                raise
            before = snapshot
            if self.reporter.epoch_ended():
                return k + 1, True
        return n, False

    def _restore(self, snapshots: Sequence[Any]) -> None:
        for engine, snapshot in zip(self.engines, snapshots, strict=True):
            engine.restore(snapshot)

    def _prepare(self, n: int, leaders: Any) -> dict[int, int]:
        """Set the rates of n epochs; return the new steps of some leaders."""
        steps = {}
        for k in leaders:
            rates, plan = self.rates_of[k], self.plans[k]
            rates.rescale(self.state.learning_rate_scale)
            steps[k] = loop.look_up(plan, self.data[k], rates, rates.step, n)
        for plan, k in zip(self.plans, self.leaders, strict=True):
            led = self.plans[k]
            plan.step, plan.learning_rates = led.step, led.learning_rates
            plan.weight_decays, plan.dropouts = led.weight_decays, led.dropouts
        return steps

    def epochs(self, n: int, stores: bool = False) -> Epochs:
        """Train all members for n epochs in one native call, which may keep their parameters."""
        engines, evaluator = self.learners(self.engines), self.evaluator
        seeds = None if self.shuffles is None else self.shuffles.take(n)
        held_out = None if self.averages else evaluator.apart  # the loop evaluates averages
        team = self.plans[0].team
        results: Epochs = self.engines[0].train_many(
            engines, self.data, self.plans, team, n, seeds, held_out, evaluator.linked, stores
        )
        return results

    def _collect(self, results: Epochs) -> list[float]:
        """Keep the results; return the first member's rate of the last step of each epoch."""
        last = {
            k: self.plans[k].learning_rates.reshape(-1, self.steps[k])[:, -1].tolist()
            for k in self.rates_of
        }
        rates: list[list[float]] = [last[k] for k in self.leaders]
        self.evaluator.collect(results, rates)
        return rates[0]

    def _undo(self) -> Callable[[], None]:
        """Return a function that restores all state that fused epochs change."""
        parameters = self.state.engine.snapshot()
        states = [copy.deepcopy(engine.optimizer_state()) for engine in self.engines]
        orders = [None if plan.order is None else plan.order.copy() for plan in self.plans]
        steps = {k: rates.step for k, rates in self.rates_of.items()}
        undo_draws = None if self.shuffles is None else self.shuffles.undo()

        def undo() -> None:
            self.state.engine.restore(parameters)
            for engine, state in zip(self.engines, states, strict=True):
                engine.set_optimizer_state(state)
            for plan, order in zip(self.plans, orders, strict=True):
                plan.order = order
            for k, step in steps.items():
                self.rates_of[k].step = step
            if undo_draws is not None:
                undo_draws()

        return undo
