"""The training of a fit in the loop over epochs: one network, or the members of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.history import ResumeState, State
from fastmlp._models import strategies
from fastmlp._models.strategies import Averaged, FusedEpochs, ManyNetworks, OneNetwork
from fastmlp._network.data import Data
from fastmlp._training import loop
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.loop import Evaluator, LearningRates, Strategy, Training
from fastmlp._training.shuffles import Shuffles

if TYPE_CHECKING:
    from fastmlp._engine.plan import Plan
    from fastmlp._models.fit import Fit
    from fastmlp._training.weight_average import WeightAverage


class Trainer(Training):
    """Trains the networks of a fit, and stores the state from which the next fit continues."""

    def __init__(
        self,
        fit: Fit,
        state: State,
        evaluator: Evaluator,
        reporter: CallbackList,
        states: Sequence[ResumeState],
    ) -> None:
        self.fit, self.state, self.evaluator, self.reporter = fit, state, evaluator, reporter
        self.members, self.states = fit.members, states  # before the first epoch
        self.is_joint = fit.network is not fit.members[0]  # an ensemble's fit
        self.rates = LearningRates(fit.plans[0].optimizer.learning_rate, states[0].step)
        self.shuffles = Shuffles([m.rng for m in self.members]) if fit.options.shuffle else None
        self.averages: Sequence[WeightAverage] = ()
        self.fused: FusedEpochs | None = None
        self.reorders = False
        self.stored: Any = None  # epochs, factor and number of seeds of the last `store`
        self.strategy: Strategy = self._strategy()
        if self.shuffles is not None:
            self._begin_orders(self.shuffles)

    def _strategy(self) -> Strategy:
        """Return how this fit trains; set the parameters of the networks that learn."""
        fit, states, averaging = self.fit, self.states, self.fit.options.averaging
        engines: list[Any] = [member.engine for member in self.members]
        for engine, plan, state in zip(engines, fit.plans, states, strict=True):
            plan.seed = state.seed
            if averaging is None and state.averaged is not None:
                engine.set_parameters(*state.averaged.raw)
        if averaging is not None:
            from fastmlp._training.weight_average import WeightAverage

            pairs = zip(engines, states, strict=True)
            self.averages = [WeightAverage(averaging, e, state.averaged) for e, state in pairs]
            engines = [average.shadow for average in self.averages]
        strategy: Strategy = self._many(engines) if self.is_joint else OneNetwork(engines[0])
        # Nothing is to be done between epochs, and no team of threads would be idle.
        busy = self.reporter.acts or self.evaluator.measures or averaging or fit.ranks
        is_long = self.state.epochs > strategies.MIN_FUSED_EPOCHS and isinstance(fit.data[0], Data)
        if is_long and not busy and (self.is_joint or fit.plans[0].team is None):
            many = strategy if isinstance(strategy, ManyNetworks) else self._many(engines)
            self.fused = FusedEpochs(many, self.state, self.reporter)
        if self.averages:
            strategy = Averaged(strategy, self.averages)
        return fit.ranks.distributed(strategy, self.state) if fit.ranks else strategy

    def _begin_orders(self, shuffles: Shuffles) -> None:
        """Set the orders of the rows before the first epoch, those of a resumed fit."""
        fit, states = self.fit, self.states
        if states[0].shuffles:
            shuffles.resume([state.shuffles for state in states], states[0].shuffled)
        if not isinstance(fit.data[0], Data):
            return  # a source shuffles its blocks
        self.reorders = not self.is_joint  # else the native call shuffles the rows of each member
        for plan, data, state in zip(fit.plans, fit.data, states, strict=True):
            if plan.order is None:
                plan.order = np.arange(data.rows, dtype=np.int64)
            for seed in state.shuffles[: state.shuffled]:
                self.strategy.shuffle(plan.order, seed)

    def _many(self, engines: Sequence[Any]) -> ManyNetworks:
        fit, evaluator = self.fit, self.evaluator
        held_out = None if self.averages else evaluator.apart  # the loop evaluates averages
        return ManyNetworks(
            engines,
            fit.data,
            fit.plans,
            self.states,
            self.rates,
            self.shuffles,
            evaluator,
            self.state,
            held_out,
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
        return (0, False) if self.fused is None else self.fused.run(left)

    def store(self) -> None:
        """Store the state for resuming, unless nothing has changed since the last call."""
        epochs, scale = self.evaluator.epochs, self.state.learning_rate_scale
        shuffles = self.shuffles
        now = epochs, scale, shuffles and shuffles.n_drawn()
        if self.fused is not None and self.fused.is_ahead:
            for member in self.members:
                member.keep(None)  # what a resumed fit had is of fewer epochs than the history
            return
        if not epochs or now == self.stored:
            return
        self.reporter.recorded()
        for k, (member, before) in enumerate(zip(self.members, self.states, strict=True)):
            plan, n = self.fit.plans[k], epochs - before.epochs
            rows = self.fit.data[k].rows if plan.order is None else len(plan.order)
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
