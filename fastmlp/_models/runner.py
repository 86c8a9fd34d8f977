"""The course of every fit, of one network or of the members of an ensemble.

The models check their data and options; here a fit begins or resumes, runs the loop over epochs,
and keeps what it could be resumed with. Fits differ in their `Trainer`, evaluator and callbacks.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.history import History, ResumeState, State
from fastmlp._core.intervals import check_count, check_flag
from fastmlp._models.snapshot import Rollback
from fastmlp._network.data import Data
from fastmlp._training import loop, planning
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.evaluator import Evaluator
from fastmlp._training.learning_rates import LearningRates
from fastmlp._training.loop import FitStrategy
from fastmlp._training.shuffles import Shuffles
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal

if TYPE_CHECKING:
    from fastmlp._engine.plan import Plan
    from fastmlp._engine.protocol import Engine, Epochs
    from fastmlp._network.averaging import Averaging
    from fastmlp._training.custom_steps import CustomSteps

LEAP_SECONDS = 0.05  # approximate length of a leap, which an interrupt may undo
LEAST_EPOCHS = 8  # shorter leaps are not worth the snapshot before them


class Trainer(FitStrategy):
    """Trains one or more networks, each with its own data and plan; the first one's plan leads.

    Without callbacks and evaluation, many epochs run in one native call, a leap. An error in a leap
    restores the state before it; after a divergence, or the error of a schedule, the loop continues
    epoch by epoch to find it.
    """

    def __init__(
        self,
        state: State,
        judge: Evaluator,
        members: Sequence[Any],
        datas: Sequence[Any],
        plans: Sequence[Plan],
        hooks: Sequence[Any] = (),
        shuffle: bool = False,
    ) -> None:
        self.state, self.members, self.datas, self.plans = state, members, datas, plans
        self.engines = [member._engine for member in members]
        self.train, self.judge = self.engines[0].epoch, judge
        self.rates = rates = LearningRates(plans[0].optimizer.learning_rate)
        self.reporter = CallbackList(state, hooks)
        self.permute: Callable[[Any, int], None] = self.engines[0].shuffle
        self.shuffles = Shuffles([member._rng for member in members]) if shuffle else None
        self.begun: Sequence[ResumeState] = []
        self.own: CustomSteps | None = None
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
        plan = self.plans[0]
        if plan.optimizer.is_custom:
            if self.reporter.keeps:  # an error now, not after an epoch
                raise refusal("CustomOptimizer", "Checkpoint", optimizer=plan.optimizer)
            self.own = custom_steps(self.learners(self.engines)[0], plan, begun[0])
            self.train = self.own.epoch
        if self.shuffles is not None and begun[0].shuffles:
            self.shuffles.resume([own.shuffles for own in begun], begun[0].shuffled)
        self._begin()
        loop.run(self.datas[0], plan, self)

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

    def keep(self) -> None:
        """Store what the fit could be resumed with; repeated calls are harmless."""
        epochs = self.judge.epochs
        if not epochs:
            return
        memory = self.own.memory if self.own else None
        for k, (member, own) in enumerate(zip(self.members, self.begun, strict=True)):
            plan, rows, n = self.plans[k], self._rows(k), epochs - own.epochs
            drawn, used = own.shuffles, own.shuffled
            if self.shuffles is not None:
                drawn, used = self.shuffles.drawn(k), used + n
            facts = own.kind, own.step + n * plan.n_steps(rows), own.seed, rows, epochs
            last = self.state.learning_rate_scale, (), plan.batch_size, own.data
            averaged = self.averages[k].averaged if self.averages else None
            member._progress = ResumeState(*facts, drawn, used, *last, averaged, memory)
            member._flat_y = self.datas[k].flat_y
        self.state.model._show()

    def _rows(self, k: int) -> int:
        """Return the number of rows that a member is trained on."""
        return self.datas[k].rows  # type: ignore[no-any-return]

    # ---- leaps -----------------------------------------------------------------------------------

    def _leap(self, left: int) -> int:
        """Train several epochs in one call of about `LEAP_SECONDS`; return how many, maybe 0."""
        state = self.state
        seconds = state.history.seconds[-1:] or [math.inf]
        n = min(left, int(LEAP_SECONDS / max(seconds[0], 1e-6)))
        if self.leap is None or n < LEAST_EPOCHS:
            return 0
        self.plans[0].sums = None  # of the epoch before
        before, n_epochs = self._kept(), len(state.history.loss)
        epoch, began = state.epoch + n, time.perf_counter()
        try:
            try:
                steps = self._prepare(n, self.rates_of.keys())
            except Exception:  # of a schedule; the loop comes to it in its epoch
                return 0
            for k, n_steps in steps.items():
                self.rates_of[k].step += n_steps
            found = self._epochs(n)
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
        """Set the rates of n epochs; return the number of new steps of each leader."""
        steps = {}
        for k in leaders:
            rates, plan = self.rates_of[k], self.plans[k]
            loop.begin(plan, rates, None, self.state.learning_rate_scale)
            steps[k] = loop.look_up(plan, self.datas[k], rates, rates.step, n)
        return steps

    def _epochs(self, n: int) -> Epochs:
        """Train all members for n epochs in one native call."""
        engines, judge = self.learners(self.engines), self.judge
        seeds = None if self.shuffles is None else self.shuffles.take(n)
        apart = None if self.averages else judge.apart  # the loop evaluates averages
        team = self.plans[0].team
        given = engines, self.datas, self.plans, team, n, seeds, apart, judge.linked
        return type(engines[0]).train_many(*given)

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


class Runner(Rollback):
    """One fit of the model ``owner``, whose networks are ``members``.

    As a context it undoes all changes if an error ends the fit before its first new epoch.
    """

    others: Any = None  # the other processes of a distributed fit
    batch_size: Any = None  # for them, as the user gave it

    def __init__(
        self,
        owner: Any,
        members: Sequence[Any],
        resume: Any,
        trainer: Callable[..., Trainer] = Trainer,
    ) -> None:
        self.owner, self.members, self.trainer = owner, members, trainer
        self.resumes, self.path = check.resume(resume)
        self.history, self.n_before = History(), 0
        changes = self.resumes and (  # of the weights
            self.path is not None
            or any(own._progress and own._progress.averaged for own in members)
        )
        super().__init__(owner._undo(changes), lambda: len(self.history.loss) > self.n_before)

    def options(
        self,
        epochs: Any,
        shuffle: Any,
        verbose: Any,
        averaging: Any,
        callbacks: Any,
        joint: str = "",
    ) -> None:
        """Check the options that all fits have; ``joint`` forbids callbacks with ``on_batch``."""
        self.epochs = check_count("epochs", epochs, example=20)
        self.shuffle, self.verbose = check_flag("shuffle", shuffle), check_flag("verbose", verbose)
        self.averaging = check.averaging(averaging)
        self.hooks = check.callbacks(callbacks, joint)

    def run(
        self,
        datas: Sequence[Any],
        plans: Sequence[Plan],
        lent: AbstractContextManager[Any],
        judge: Callable[[State], Evaluator],
        is_validated: bool,
        seen: Sequence[Sequence[Any]],
    ) -> History:
        """Run the fit; ``seen`` is the data of each member for the fingerprint of a checkpoint."""
        owner, others, stopped = self.owner, self.others, ""
        self.seen = seen
        begun: Sequence[ResumeState] | None = None
        if self.resumes if self.path is None else self._load():
            stopped = owner._history.stop_reason if owner._history else ""
            begun = self._resumed(datas, plans, is_validated)
        else:
            for member in self.members:
                member._progress, member._history = None, History()
        owner._history = history = self.history
        if self.verbose and not (others and others.rank):
            from fastmlp._training.callbacks import Progress

            self.hooks.append(Progress())
        state = State(owner, self.epochs, history, is_validated, engine=owner._engines())
        given = state, judge(state), self.members, datas, plans, self.hooks, self.shuffle
        trainer = self.trainer(*given)
        if others:
            options = {"epochs": self.epochs, "batch_size": self.batch_size}
            options |= {"shuffle": self.shuffle, "averaging": self.averaging}
            options["validation_data"] = is_validated
            others.agree(owner, plans[0], trainer, begun and begun[0], **options)
            trainer.permute = others.shuffle
        if begun is not None:
            state.epoch, state.learning_rate_scale = begun[0].epochs - 1, begun[0].scale
        reporter = trainer.reporter
        reporter.keep = trainer.keep
        try:
            with lent as plans[0].team, reporter.watching():
                if begun is None:
                    begun = []
                    for member, plan in zip(self.members, plans, strict=True):
                        begun.append(planning.begun(member._engine, plan, member._rng))
                elif self.hooks and planning.restored(begun, self.hooks, state, owner):
                    history.stop_reason = stopped
                    return history
                if self.path is not None or reporter.keeps:
                    each = enumerate(begun)
                    begun = [own._replace(data=self._fingerprint(k)) for k, own in each]
                trainer.run(begun, self.averaging)
        except BaseException:
            trainer.keep()  # it may have come just after an epoch
            raise
        return history

    def _load(self) -> bool:
        """Become the model of the checkpoint; return False if there is none."""
        path, owner = self.path, self.owner
        if path is None or not os.path.exists(path):  # noqa: PTH110 costs an import less
            return False
        from fastmlp._files import storage

        functions = {own.name: own for own in owner._spec.functions}
        other = storage.load(os.path.realpath(path), functions=functions)  # follows links
        theirs = getattr(other, "members", (other,))
        if (type(other), len(theirs)) != (type(owner), len(self.members)) or any(
            own._spec != member._spec for own, member in zip(theirs, self.members, strict=True)
        ):
            raise ValueError(
                f"resume is {path!r}, which has {other!r}, but this is {owner!r}: "
                "make the model as it was made, or use fastmlp.load"
            )
        for member, own in zip(self.members, theirs, strict=True):
            if type(member._rng.bit_generator) is not type(own._rng.bit_generator):
                raise ValueError(
                    f"resume is {path!r}, whose model draws from {own._rng}, but this one "
                    f"from {member._rng}: pass the same kind of generator as rng"
                )
        for member, own in zip(self.members, theirs, strict=True):
            member._become(own)
        owner._history = other._history
        return True

    def _fingerprint(self, k: int) -> int:
        return planning.fingerprint(self.others, *self.seen[k])

    def _resumed(
        self, datas: Sequence[Any], plans: Sequence[Plan], is_validated: bool
    ) -> list[ResumeState]:
        """Return the state of each member to resume; set the histories."""
        facts, pairs = (is_validated, self.epochs, self.path), []
        for k, (member, plan) in enumerate(zip(self.members, plans, strict=True)):
            n = datas[k].rows if plan.order is None else len(plan.order)
            fingerprint = functools.partial(self._fingerprint, k)
            pairs.append(planning.resumed(member, plan, n, *facts, fingerprint))
        owner, history = self.owner, pairs[0][1]
        if owner is not self.members[0]:
            n_epochs = {own.epochs for own, _ in pairs} | {len(each.loss) for _, each in pairs}
            if owner._history is None or n_epochs != {len(owner._history.loss)}:
                raise ValueError(
                    "resume is True but members have been trained by themselves since the last fit "
                    "of the ensemble: leave resume out, to begin with the weights of now"
                )
            history = owner._history.whole()
            history.stop_reason = ""
        for member, (own, each) in zip(self.members, pairs, strict=True):
            member._progress, member._history = own, each
        self.history, self.n_before = history, len(history.loss)
        return [own for own, _ in pairs]


def one_pass(
    members: Sequence[Any],
    datas: Sequence[Data],
    plans: Sequence[Plan],
    lent: AbstractContextManager[Any],
) -> float:
    """Run the pass of a ``partial_fit``, undone by the caller after an error; return its loss."""
    begun, engines, steps = [], [], None
    for member, data, plan in zip(members, datas, plans, strict=True):
        own = planning.of_pass(member._progress, member._engine, plan, member._rng)
        plan.seed = own.seed
        rates = LearningRates(plan.optimizer.learning_rate)
        n = loop.look_up(plan, data, rates, own.step)
        begun.append((member, own, own.step + n, data.flat_y))
        engines.append(member._engine)
    with lent as plan.team:
        if len(members) > 1:
            found = type(engines[0]).train_many(engines, datas, plans, plan.team)
            losses, total = found.losses[0].tolist(), mean(found.losses)[0]
        else:
            steps = custom_steps(engines[0], plan, own) if plan.optimizer.is_custom else None
            losses = [total := (steps or engines[0]).epoch(data, plan)]
    for k, loss in enumerate(losses):
        if not math.isfinite(loss):
            who = f"training of member {k}" if len(members) > 1 else "training"
            raise loop.diverged(loss, plans[k], 0, History(), who)
    memory = steps.memory if steps else None
    for member, own, step, flat_y in begun:
        member._progress = ResumeState(own.kind, step, own.seed, memory=memory)
        member._flat_y = flat_y
    return total


def custom_steps(engine: Engine, plan: Plan, begun: ResumeState) -> CustomSteps:
    """Return the training by an optimizer of the user's own."""
    from fastmlp._training.custom_steps import CustomSteps

    optimizer: Any = plan.optimizer
    return CustomSteps(engine, optimizer, begun.memory or {})


def mean(losses: Any) -> list[float]:
    """Return the mean over members per epoch; its bits do not depend on the number of epochs."""
    if losses.shape[1] == 1:
        return losses[:, 0].tolist()  # type: ignore[no-any-return]
    with np.errstate(over="ignore"):
        return np.asarray(sum(losses.T) / losses.shape[1]).tolist()  # type: ignore[no-any-return]
