"""Training of an ensemble: one native call per epoch trains all members."""

from __future__ import annotations

import math
from typing import Any

from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Epochs
from fastmlp._models.ensemble.members import EnsembleEvaluator
from fastmlp._models.trainer import Trainer, mean
from fastmlp._network.data import Data
from fastmlp._training import loop
from fastmlp._training.loop import LearningRates


class EnsembleTrainer(Trainer):
    """Trains all members of an ensemble at once."""

    judge: EnsembleEvaluator

    def _begin(self) -> None:
        super()._begin()
        self.train, self.reorder = self._train, None  # the native call shuffles
        self.steps = [plan.n_steps(self._rows(k)) for k, plan in enumerate(self.plans)]
        # Members with equal steps so far and per epoch share the rates of the first, the leader.
        places = [(n, own.step) for n, own in zip(self.steps, self.begun, strict=True)]
        self.leaders = [places.index(place) for place in places]
        for k in {*self.leaders} - {0}:
            rate = self.plans[k].optimizer.learning_rate
            self.rates_of[k] = LearningRates(rate, self.begun[k].step)

    def _may_leap(self) -> bool:
        return not (self.reporter.callbacks or self.judge.measures or self.averages)

    def _train(self, data: Data, plan: Plan) -> float:
        """Train every member for one epoch; the loop has prepared only the first one's plan."""
        del data, plan
        steps = self._prepare(1, self.rates_of.keys() - {0})
        found = self._epochs(1)
        for k, loss in enumerate(found.losses[0]):
            if not math.isfinite(loss):
                epoch, who = self.state.epoch + 1, f"training of member {k}"
                raise loop.diverged(loss, self.plans[k], epoch, self.state.history, who)
        for k, n in steps.items():
            self.rates_of[k].step += n
        self._see(found)
        return mean(found.losses)[0]

    def _prepare(self, n: int, leaders: Any) -> dict[int, int]:
        """Set the rates of n epochs; return the new steps of leaders (members with own rates)."""
        steps = super()._prepare(n, leaders)
        for plan, k in zip(self.plans, self.leaders, strict=True):
            led = self.plans[k]
            plan.step, plan.learning_rates = led.step, led.learning_rates
            plan.weight_decays, plan.dropouts = led.weight_decays, led.dropouts
        return steps

    def _see(self, found: Epochs) -> list[float]:
        """Keep the members' results; return the first one's learning rate of each epoch."""
        plans = self.plans
        last = {
            k: plans[k].learning_rates.reshape(-1, self.steps[k])[:, -1].tolist()
            for k in self.rates_of
        }
        rates: list[list[float]] = [last[k] for k in self.leaders]
        self.judge.see(found, rates)
        return rates[0]

    def _rows(self, k: int) -> int:
        order = self.plans[k].order
        return self.datas[k].rows if order is None else len(order)

    def keep(self) -> None:
        """Write the members' histories, and store the state for resuming."""
        written = self.judge.written
        if written is None or written.first + len(written.losses) > len(self.state.history.loss):
            return  # no epoch was recorded completely
        first, losses, held_losses, rates = written
        seconds = self.state.history.seconds[first:]
        for k, member in enumerate(self.members):
            own = member._history
            assert own is not None
            if self.state.has_validation:
                own.val_loss[first:] = held_losses[:, k].tolist()
            own.seconds[first:] = seconds
            own.learning_rate[first:] = rates[k]
            own.loss[first:] = losses[:, k].tolist()  # last, see History.whole
        super().keep()
