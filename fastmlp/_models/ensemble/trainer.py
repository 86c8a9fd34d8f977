"""Training of an ensemble in the common loop over epochs; the first member's plan leads.

Without callbacks and validation, many epochs run in one native call, a leap. An error in a leap
restores the state before it; after a divergence, the loop continues epoch by epoch to find it.
"""

from __future__ import annotations

import copy
import math
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.history import ResumeState, State
from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Epochs
from fastmlp._models.ensemble.member_data import ValidationData
from fastmlp._models.ensemble.members import EnsembleEvaluator, MemberEngines, Score
from fastmlp._models.mlp import MLP
from fastmlp._network.averaging import Averaging
from fastmlp._network.data import Data
from fastmlp._training import loop
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.learning_rates import LearningRates
from fastmlp._training.loop import FitStrategy
from fastmlp._training.weight_average import WeightAverage

LEAP_SECONDS = 0.05  # approximate length of a leap, which an interrupt may undo
LEAST_EPOCHS = 8  # shorter leaps are not worth the snapshot before them


class EnsembleTrainer:
    """One fit of all members, each with its own data and plan."""

    def __init__(
        self,
        members: Sequence[MLP],
        datas: list[Data],
        plans: list[Plan],
        reporter: CallbackList,
        held: ValidationData | None,
        score: Score | None,
        shuffle: bool,
    ) -> None:
        self.members, self.datas, self.plans, self.held = members, datas, plans, held
        self.engines = MemberEngines([member._engine for member in members])
        self.state: State = reporter.state
        self.reporter, self.jury = (
            reporter,
            EnsembleEvaluator(self.engines, self.state, held, score),
        )
        self.seeds = MemberSeeds([member._rng for member in members]) if shuffle else None
        for data, plan in zip(datas, plans, strict=True):
            if shuffle and plan.order is None:
                plan.order = np.arange(data.rows, dtype=np.int64)
        self.steps = [
            plan.n_steps(data.rows if plan.order is None else len(plan.order))
            for data, plan in zip(datas, plans, strict=True)
        ]
        self.begun: Sequence[ResumeState] = []
        self.leaders: list[int] = []
        self.rates: dict[int, LearningRates] = {}
        self.averages: list[WeightAverage] = []
        self.leaps = held is None and not reporter.callbacks
        reporter.keep = self.keep

    def average(self, averaging: Averaging | None, begun: Sequence[ResumeState]) -> None:
        """Create the weight averages, or without averaging continue from the raw weights."""
        each = list(zip(self.engines.engines, begun, strict=True))
        if averaging is not None:
            self.averages = [WeightAverage(averaging, engine, own.averaged) for engine, own in each]
            self.leaps = False
            return
        for engine, own in each:
            if own.averaged is not None:
                engine.set_parameters(*own.averaged.raw)

    def run(self, begun: Sequence[ResumeState]) -> None:
        """Run all epochs from the members' initial or resumed states."""
        self.begun = begun
        # Members at the same step and with equal steps per epoch share the first one's rates.
        places = [(n, own.step) for n, own in zip(self.steps, begun, strict=True)]
        self.leaders = [places.index(place) for place in places]
        for k in set(self.leaders):
            self.rates[k] = LearningRates(self.plans[k].optimizer.learning_rate, begun[k].step)
        for plan, own in zip(self.plans, begun, strict=True):
            plan.seed = own.seed
        if self.seeds is not None:
            self.seeds.resume([own.shuffles for own in begun], begun[0].shuffled)
            for engine, plan, own in zip(self.engines.engines, self.plans, begun, strict=True):
                for seed in own.shuffles[: own.shuffled]:
                    engine.shuffle(plan.order, seed)
        leap = self.leap if self.leaps else None
        course = FitStrategy(self.train, self.rates[0], self.jury, self.reporter, leap=leap)
        course.averages = self.averages
        loop.run(self.datas[0], self.plans[0], course)

    def taken(self) -> list[int]:
        """Return the number of steps that each member has taken."""
        return [self.rates[k].step for k in self.leaders]

    def train(self, data: Data, plan: Plan) -> float:
        """Train every member for one epoch; the loop has prepared only the first one's plan."""
        del data
        steps = self._prepare(1, self.rates.keys() - {0})
        found = self._epochs(1)
        for k, loss in enumerate(found.losses[0]):
            if not math.isfinite(loss):
                epoch, who = self.state.epoch + 1, f"training of member {k}"
                raise loop.diverged(loss, self.plans[k], epoch, self.state, who)
        for k, n in steps.items():
            self.rates[k].step += n
        self.jury.see(found, self._last_rates())
        return float(_mean(found.losses)[0])

    def leap(self, left: int) -> int:
        """Train several epochs in one call of about `LEAP_SECONDS`; return how many, maybe 0."""
        seconds = self.state.history.seconds[-1:] or [math.inf]
        n = min(left, int(LEAP_SECONDS / max(seconds[0], 1e-6)))
        if not self.leaps or n < LEAST_EPOCHS:
            return 0
        state, before, n_epochs = self.state, self._kept(), len(self.state.history.loss)
        epoch, began = state.epoch + n, time.perf_counter()
        try:
            self._leap(n, epoch, began)
        finally:
            if state.epoch < epoch:
                self._go_back(before)
                loop.shorten(state.history, n_epochs)
                self.leaps, n = False, 0
        self.reporter.epoch_ended()
        return n

    def _leap(self, n: int, epoch: int, began: float) -> None:
        for k, n_steps in self._prepare(n, self.rates.keys()).items():
            self.rates[k].step += n_steps
        found = self._epochs(n)
        if not np.isfinite(found.losses).all():
            return
        rates, losses, val_losses = self._last_rates(), _mean(found.losses).tolist(), [math.nan] * n
        self.jury.see(found, rates)
        seconds = [(time.perf_counter() - began) / n] * n
        loop.record(self.state, self.jury, epoch, losses, val_losses, rates[0], seconds)

    def keep(self) -> None:
        """Update the members' histories and snapshots; repeated calls are harmless."""
        written = self.jury.written
        if written is None or written.first + len(written.losses) > len(self.state.history.loss):
            return  # nothing recorded, or not completely
        self._note()
        first, losses, held_losses, rates = written
        seconds = self.state.history.seconds[first:]
        for k, member in enumerate(self.members):
            own = member._history
            assert own is not None
            if self.held is not None:
                own.val_loss[first:] = held_losses[:, k].tolist()
            own.seconds[first:] = seconds
            own.learning_rate[first:] = rates[k]
            own.loss[first:] = losses[:, k].tolist()  # last, see History.whole
        self.state.model._show()

    def _note(self) -> None:
        """Store each member's state for resuming after the recorded epochs."""
        written, scale = self.jury.written, self.state.learning_rate_scale
        assert written is not None
        epochs = written.first + len(written.losses)
        each = zip(self.members, self.begun, self.datas, strict=True)
        for k, (member, own, data) in enumerate(each):
            order, n = self.plans[k].order, epochs - own.epochs
            rows = data.rows if order is None else len(order)
            step, drawn, used = own.step + n * self.steps[k], own.shuffles, own.shuffled
            if self.seeds is not None:
                drawn, used = self.seeds.drawn(k), used + n
            facts = own.kind, step, own.seed, rows, epochs, drawn, used, scale
            plan = self.plans[k]
            averaged = self.averages[k].averaged if self.averages else None
            member._progress = ResumeState(*facts, (), plan.batch_size, own.data, averaged)
            member._flat_y = data.flat_y

    def _prepare(self, n: int, leaders: Any) -> dict[int, int]:
        """Set the rates of n epochs; return the number of new steps of each leader."""
        steps = {}
        for k in leaders:
            rates = self.rates[k]
            loop.begin(self.plans[k], rates, None, self.state.learning_rate_scale)
            steps[k] = loop.look_up(self.plans[k], self.datas[k], rates, rates.step, n)
        for plan, k in zip(self.plans, self.leaders, strict=True):
            led = self.plans[k]
            plan.step, plan.learning_rates = led.step, led.learning_rates
            plan.weight_decays, plan.dropouts = led.weight_decays, led.dropouts
        return steps

    def _epochs(self, n: int) -> Epochs:
        seeds = None if self.seeds is None else self.seeds.take(n)
        engines, apart = self.engines.engines, self.held and self.held.apart
        if self.averages:  # the loop publishes the averages, then evaluates them
            engines, apart = [average.twin for average in self.averages], None
        return type(engines[0]).train_many(  # type: ignore[no-any-return]
            *(engines, self.datas, self.plans, self.plans[0].team, n, seeds, apart),
            self.jury.linked,
        )

    def _last_rates(self) -> list[list[float]]:
        """Return each member's learning rate at the last step of each epoch."""
        plans = enumerate(self.plans)
        rates = {k: plan.learning_rates for k, plan in plans if k in self.rates}
        last = {k: own.reshape(-1, self.steps[k])[:, -1].tolist() for k, own in rates.items()}
        return [last[k] for k in self.leaders]

    def _kept(self) -> tuple[Any, ...]:
        """Return all state that a leap changes."""
        return (
            self.engines.snapshot(),
            [copy.deepcopy(engine.optimizer_state()) for engine in self.engines.engines],
            [None if plan.order is None else plan.order.copy() for plan in self.plans],
            {k: rates.step for k, rates in self.rates.items()},
            self.seeds and self.seeds.kept(),
        )

    def _go_back(self, kept: tuple[Any, ...]) -> None:
        parameters, states, orders, steps, seeds = kept
        self.engines.restore(parameters)
        for engine, state in zip(self.engines.engines, states, strict=True):
            engine.set_optimizer_state(state)
        for plan, order in zip(self.plans, orders, strict=True):
            plan.order = order
        for k, step in steps.items():
            self.rates[k].step = step
        if self.seeds is not None:
            self.seeds.go_back(seeds)


class MemberSeeds:
    """Seeds of the members' shuffles, drawn as by `loop.Shuffles`; ``used`` counts per member."""

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self.used = 0
        sources = [rng.bit_generator for rng in generators]
        self._streams = {id(source): SharedGenerator(source) for source in sources}
        self._places: list[tuple[SharedGenerator, int]] = []  # per member
        for source in sources:
            stream = self._streams[id(source)]
            self._places.append((stream, stream.members))
            stream.members += 1

    def resume(self, drawn: Sequence[Sequence[int]], used: int) -> None:
        """Continue with the seeds drawn before."""
        self.used = used
        for stream in self._streams.values():
            places = zip(drawn, self._places, strict=True)
            turns = zip_longest(*(own for own, (its, _) in places if its is stream))
            stream.drawn = array("Q", (seed for turn in turns for seed in turn if seed is not None))

    def drawn(self, k: int) -> Sequence[int]:
        """Return a member's seeds: the used ones, and perhaps more."""
        stream, place = self._places[k]
        return stream.drawn if stream.members == 1 else stream.drawn[place :: stream.members]

    def take(self, n: int) -> list[NDArray[np.uint64]]:
        """Return the seeds of the next n epochs, drawing them if necessary."""
        first, end = self.used, self.used + n
        for stream in self._streams.values():
            stream.draw(end * stream.members)
        self.used = end
        return [
            np.array(own.drawn[first * own.members + place : end * own.members : own.members])
            for own, place in self._places
        ]

    def kept(self) -> tuple[Any, ...]:
        """Return the state of the generators and the numbers of seeds, for `go_back`."""
        streams = self._streams.values()
        return [(each.source.state, len(each.drawn)) for each in streams], self.used

    def go_back(self, kept: tuple[Any, ...]) -> None:
        """Restore the state that `kept` has returned."""
        places, self.used = kept
        for stream, (state, n) in zip(self._streams.values(), places, strict=True):
            stream.source.state = state
            del stream.drawn[n:]


@dataclass
class SharedGenerator:
    """The numbers drawn from a generator, dealt in turn to the members that share it."""

    source: np.random.BitGenerator
    members: int = 0
    drawn: array[int] = field(default_factory=lambda: array("Q"))

    def draw(self, n: int) -> None:
        """Draw until there are n seeds; no interrupt can come between drawing and storing."""
        if n > len(self.drawn):
            raw = map(self.source.random_raw, (n - len(self.drawn),))
            list(map(self.drawn.frombytes, map(np.ndarray.tobytes, raw)))  # one call, in C


def _mean(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over members per epoch; its bits do not depend on the number of epochs."""
    with np.errstate(over="ignore"):
        return np.asarray(sum(losses.T) / losses.shape[1])
