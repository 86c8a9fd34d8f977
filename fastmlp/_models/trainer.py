"""The training of a fit in the loop over epochs: one network or many, with means, many at once.

`Trainer` chooses the strategy that trains an epoch: each class has the methods of `loop.Strategy`.
`Averaged` wraps another one; so does `fastmlp._training.distributed.processes.Distributed`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.history import ResumeState, State
from fastmlp._network.data import Data
from fastmlp._training import loop
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.loop import Evaluator, LearningRates, Strategy, Training
from fastmlp._training.shuffles import Shuffles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastmlp._engine.plan import Plan
    from fastmlp._engine.protocol import Engine, Epochs, Held
    from fastmlp._models.fit import Fit
    from fastmlp._training.weight_average import WeightAverage


FUSED_SECONDS = 0.05  # approximate length of a call of several epochs, which an interrupt may undo
MIN_FUSED_EPOCHS = 8  # fewer are not worth the snapshot before them
# The same length where callbacks that change nothing get the parameters after each epoch.
STORED_SECONDS = 0.5
MIN_STORED_EPOCHS = 2
STORED_BYTES = 2**24  # most memory for these parameters


class OneNetwork:
    """Trains one network."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.engines = engine, (engine,)

    def epoch(self, data: Data, plan: Plan) -> float:
        """Train on all batches of a block."""
        return self.engine.epoch(data, plan)

    def shuffle(self, order: NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place."""
        self.engine.shuffle(order, seed)

    def publish(self, epoch: int) -> None:
        """Do nothing: the engine has published its parameters."""


class ManyNetworks:
    """Trains the members of an ensemble together, each with its own data, plan and rates.

    The loop prepares the plan of the first member alone.
    """

    def __init__(
        self,
        engines: Sequence[Any],
        data: Sequence[Data],
        plans: Sequence[Plan],
        states: Sequence[ResumeState],
        rates: LearningRates,
        shuffles: Shuffles | None,
        evaluator: Evaluator,
        state: State,
        held: Held | None,
    ) -> None:
        self.engines, self.data, self.plans = engines, data, plans
        self.shuffles, self.evaluator, self.state = shuffles, evaluator, state
        self.held = held
        self.steps = [plan.steps_of(samples) for plan, samples in zip(plans, data, strict=True)]
        # Members with equal steps so far and per epoch share the rates of the first, the leader.
        places = [(n, state.step) for n, state in zip(self.steps, states, strict=True)]
        self.leaders = [places.index(place) for place in places]
        self.rates = {0: rates}
        for k in {*self.leaders} - {0}:
            rate = plans[k].optimizer.learning_rate
            self.rates[k] = LearningRates(rate, states[k].step)

    def epoch(self, data: Data, plan: Plan) -> float:
        """Train every member for one epoch; return the mean of their objectives."""
        steps = self.prepare(1, self.rates.keys() - {0})
        results = self.train(1)
        for k, loss in enumerate(results.losses[0]):
            if not math.isfinite(loss):
                epoch, caller = self.state.epoch + 1, f"training of member {k}"
                raise loop.diverged(loss, self.plans[k], epoch, self.state.history, caller)
        self.advance(steps)
        self.collect(results)
        return loop.mean_of_members(results.losses)[0]

    def shuffle(self, order: NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place."""
        self.engines[0].shuffle(order, seed)

    def publish(self, epoch: int) -> None:
        """Do nothing: the engines have published their parameters."""

    def prepare(self, n: int, leaders: Any) -> dict[int, int]:
        """Set the rates of n epochs; return the numbers of steps of some leaders."""
        steps = {}
        for k in leaders:
            rates, plan = self.rates[k], self.plans[k]
            rates.rescale(self.state.learning_rate_scale)
            steps[k] = loop.plan_steps(plan, self.data[k], rates, rates.step, n)
        for plan, k in zip(self.plans, self.leaders, strict=True):
            plan.follow(self.plans[k])
        return steps

    def advance(self, steps: dict[int, int]) -> None:
        """Count steps that leaders have taken."""
        for k, n in steps.items():
            self.rates[k].advance(n)

    def train(self, n: int, stores: bool = False) -> Epochs:
        """Train all members for n epochs in one native call, which may keep their parameters."""
        seeds = None if self.shuffles is None else self.shuffles.take(n)
        team = self.plans[0].team
        results: Epochs = self.engines[0].train_many(
            self.engines, self.data, self.plans, team, n, seeds, self.held, stores
        )
        return results

    def collect(self, results: Epochs) -> list[float]:
        """Keep the results; return the first member's rate of the last step of each epoch."""
        last = {
            k: self.plans[k].learning_rates.reshape(-1, self.steps[k])[:, -1].tolist()
            for k in self.rates
        }
        rates: list[list[float]] = [last[k] for k in self.leaders]
        self.evaluator.collect(results, rates)
        return rates[0]


class Averaged:
    """Trains shadows of the networks by another strategy, and gives the networks mean weights."""

    def __init__(self, strategy: Strategy, averages: Sequence[WeightAverage]) -> None:
        self.strategy, self.averages = strategy, averages
        self.engines = strategy.engines

    def epoch(self, data: Data, plan: Plan) -> float:
        """Train the shadows on all batches of a block."""
        return self.strategy.epoch(data, plan)

    def shuffle(self, order: NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place."""
        self.strategy.shuffle(order, seed)

    def publish(self, epoch: int) -> None:
        """Set the weights of the networks to their means including this epoch."""
        for average in self.averages:
            average.publish(epoch)


class FusedEpochs:
    """Trains networks for many epochs in one call, and records them as the loop would.

    Where nothing is to be done between epochs, the interpreter would only wake up to count. An
    error restores the state before the call; the loop then repeats epochs that diverged or whose
    schedule failed, one by one, and raises the error in its epoch.
    """

    def __init__(self, networks: ManyNetworks, state: State, reporter: CallbackList) -> None:
        self.networks, self.state, self.reporter = networks, state, reporter
        self.is_given_up = False  # true after a call that had to be undone
        # Whether later epochs were trained than are recorded: they cannot be resumed.
        self.is_ahead = False

    def run(self, left: int) -> tuple[int, bool]:
        """Train at most ``left`` epochs in one call; see `Training.fused_epochs`."""
        state, stores = self.state, bool(self.reporter.callbacks)
        n = 0 if self.is_given_up else self._length(left, stores)
        if not n:
            return 0, False
        networks, n_epochs = self.networks, len(state.history.loss)
        networks.plans[0].forget_sums()
        undo = self._undo()
        before = tuple(engine.snapshot() for engine in networks.engines)
        began, is_trained = time.perf_counter(), False
        try:
            try:
                steps = networks.prepare(n, networks.rates.keys())
            except Exception:  # a schedule failed; the loop raises the error in its epoch
                return 0, False
            networks.advance(steps)
            results = networks.train(n, stores)
            if is_finite := bool(np.isfinite(results.losses).all()):
                spent = (time.perf_counter() - began) / n
                if not stores:
                    self._record(results, spent)
                is_trained = is_finite
        finally:
            if not is_trained:
                undo()
                loop.shorten(state.history, n_epochs)
                self.is_given_up, n = True, 0
        if not is_trained:
            return 0, False
        return (
            self._replayed(results, spent, before) if stores else (n, self.reporter.epoch_ended())
        )

    def _length(self, left: int, stores: bool) -> int:
        """Return the number of epochs of a call of the right length; 0 if it does not pay."""
        seconds = max((self.state.history.seconds or [math.inf])[-1], 1e-6)
        n = min(left, int((STORED_SECONDS if stores else FUSED_SECONDS) / seconds))
        if stores:
            engines = self.networks.engines
            spec = engines[0].spec
            n = min(n, STORED_BYTES // (len(engines) * spec.n_parameters * spec.dtype.itemsize))
        return 0 if n < (MIN_STORED_EPOCHS if stores else MIN_FUSED_EPOCHS) else n

    def _record(self, results: Epochs, seconds: float) -> None:
        """Record epochs whose rates the plans have."""
        rates = self.networks.collect(results)
        losses = loop.mean_of_members(results.losses)
        n, epoch = len(losses), self.state.epoch + len(losses)
        no_losses, each = [math.nan] * n, [seconds] * n
        loop.record(self.state, self.networks.evaluator, epoch, losses, no_losses, rates, each)

    def _replayed(self, results: Epochs, seconds: float, before: Any) -> tuple[int, bool]:
        """Record epochs that were trained, and call the callbacks with the parameters of each."""
        state, networks, n = self.state, self.networks, len(results.losses)
        rates = {k: networks.plans[k].learning_rates.reshape(n, -1) for k in networks.rates}
        for k, snapshot in enumerate(results.snapshots):
            epoch, n_epochs, self.is_ahead = state.epoch + 1, len(state.history.loss), k + 1 < n
            for leader, of_epochs in rates.items():
                networks.plans[leader].learning_rates = of_epochs[k]
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
        for engine, snapshot in zip(self.networks.engines, snapshots, strict=True):
            engine.restore(snapshot)

    def _undo(self) -> Callable[[], None]:
        """Return a function that restores all state that fused epochs change."""
        networks = self.networks
        parameters = self.state.engine.snapshot()
        states = [copy.deepcopy(engine.optimizer_state()) for engine in networks.engines]
        orders = [None if plan.order is None else plan.order.copy() for plan in networks.plans]
        steps = {k: rates.step for k, rates in networks.rates.items()}
        undo_draws = None if networks.shuffles is None else networks.shuffles.undo()

        def undo() -> None:
            self.state.engine.restore(parameters)
            for engine, state in zip(networks.engines, states, strict=True):
                engine.set_optimizer_state(state)
            for plan, order in zip(networks.plans, orders, strict=True):
                plan.order = order
            for k, step in steps.items():
                networks.rates[k].step = step
            if undo_draws is not None:
                undo_draws()

        return undo


class Trainer(Training):
    """Trains the networks of a fit, and stores the state from which the next fit continues."""

    def __init__(
        self,
        fit: Fit,
        evaluator: Evaluator,
        reporter: CallbackList,
        states: Sequence[ResumeState],
    ) -> None:
        self.fit, self.evaluator, self.reporter = fit, evaluator, reporter
        self.states = states  # those before the first epoch
        self.rates = LearningRates(fit.plans[0].optimizer.learning_rate, states[0].step)
        self.shuffles = Shuffles([m.rng for m in self.fit.members]) if fit.options.shuffle else None
        self.averages: Sequence[WeightAverage] = ()
        self.fused: FusedEpochs | None = None  # made after the first epoch, which is measured
        self.reorders = False
        self.stored: Any = None  # epochs, factor and used seeds of the last `store`
        self._set_learned_state()
        self.strategy: Strategy = self._strategy()
        self.fuses = reporter.state.epochs > MIN_FUSED_EPOCHS and self._fuses()
        if self.shuffles is not None:
            self._begin_orders(self.shuffles)

    @property
    def state(self) -> State:
        """What callbacks read."""
        return self.reporter.state

    def _set_learned_state(self) -> None:
        """Set seeds, and weights that learn where a resumed fit stored means beside them."""
        fit, averaging = self.fit, self.fit.options.averaging
        for member, plan, state in zip(fit.members, fit.plans, self.states, strict=True):
            plan.seed = state.seed
            if averaging is None and state.averaged is not None:
                member.engine.set_parameters(*state.averaged.raw)
        if averaging is not None:
            from fastmlp._training.weight_average import WeightAverage

            pairs = zip(fit.members, self.states, strict=True)
            self.averages = [WeightAverage(averaging, m.engine, s.averaged) for m, s in pairs]

    def _strategy(self) -> Strategy:
        """Return how this fit trains."""
        fit = self.fit
        engines: list[Any] = [average.shadow for average in self.averages]
        engines = engines or [member.engine for member in fit.members]
        strategy: Strategy = self._many(engines) if fit.is_joint else OneNetwork(engines[0])
        if self.averages:
            strategy = Averaged(strategy, self.averages)
        return fit.ranks.distributed(strategy, self.state) if fit.ranks else strategy

    def _fuses(self) -> bool:
        """Whether nothing is to be done between epochs, and no team of threads would be idle."""
        fit, options = self.fit, self.fit.options
        if self.reporter.acts or self.evaluator.measures or options.averaging or fit.ranks:
            return False
        return isinstance(fit.data[0], Data) and (fit.is_joint or fit.plans[0].team is None)

    def _begin_orders(self, shuffles: Shuffles) -> None:
        """Set the orders of the rows before the first epoch, those of a resumed fit."""
        fit, states = self.fit, self.states
        if states[0].shuffles:
            shuffles.resume([state.shuffles for state in states], states[0].shuffled)
        if not isinstance(fit.data[0], Data):
            return  # a source shuffles its blocks
        self.reorders = not fit.is_joint  # else the native call shuffles the rows of each member
        for plan, data, state in zip(fit.plans, fit.data, states, strict=True):
            if plan.order is None:
                plan.order = np.arange(data.rows, dtype=np.int64)
            for seed in state.shuffles[: state.shuffled]:
                self.strategy.shuffle(plan.order, seed)

    def _many(self, engines: Sequence[Any]) -> ManyNetworks:
        fit, evaluator = self.fit, self.evaluator
        held = None if self.averages else evaluator.apart  # the loop evaluates averages
        return ManyNetworks(
            engines,
            fit.data,
            fit.plans,
            self.states,
            self.rates,
            self.shuffles,
            evaluator,
            self.state,
            held,
        )

    def run(self) -> None:
        """Run all epochs from the members' initial or resumed states."""
        stream, plan, averaging = self.fit.data[0], self.fit.plans[0], self.fit.options.averaging
        try:
            if not isinstance(stream, Data):
                rows = self.states[0].rows
                stream.begin(plan.batch_size, self.shuffles, self.strategy.shuffle, rows)
            loop.run(stream, plan, self)
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

    def train(self, data: Data, plan: Plan) -> float:
        """Train on a block by the strategy of the fit."""
        return self.strategy.epoch(data, plan)

    def publish(self, epoch: int) -> None:
        """Give the models what an epoch has learned."""
        self.strategy.publish(epoch)

    def reorder(self, order: loop.Order) -> loop.Order:
        """Shuffle the rows for the next epoch."""
        assert self.shuffles is not None
        self.strategy.shuffle(order, self.shuffles.next_seed())
        return order

    def fused_epochs(self, left: int) -> tuple[int, bool]:
        """Train several epochs in one native call if this fit allows it."""
        if not (self.fuses and self.state.history.seconds):
            return 0, False
        if self.fused is None:
            many = self.strategy
            if not isinstance(many, ManyNetworks):
                many = self._many(self.strategy.engines)
            self.fused = FusedEpochs(many, self.state, self.reporter)
        return self.fused.run(left)

    def store(self) -> None:
        """Store the state for resuming, unless nothing has changed since the last call."""
        epochs, scale = self.evaluator.epochs, self.state.learning_rate_scale
        shuffles = self.shuffles
        now = epochs, scale, shuffles and shuffles.used
        if self.fused is not None and self.fused.is_ahead:
            for member in self.fit.members:
                member.keep(None)  # what a resumed fit had is of fewer epochs than the history
            return
        if not epochs or now == self.stored:
            return
        self.reporter.recorded()
        for k, (member, before) in enumerate(zip(self.fit.members, self.states, strict=True)):
            plan, n = self.fit.plans[k], epochs - before.epochs
            rows = self.fit.data[k].rows if plan.order is None else len(plan.order)
            state = ResumeState(
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
            member.keep(state)
        self.stored = now
