"""The course of every fit of checked data: it begins or resumes, and runs the loop over epochs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastmlp._core.history import History, ResumeState, State
from fastmlp._core.intervals import check_count, check_flag, check_verbose
from fastmlp._models.trainer import Trainer, mean
from fastmlp._network.data import Data
from fastmlp._training import loop, planning
from fastmlp._training.loop import Evaluator, LearningRates
from fastmlp._validation import check

if TYPE_CHECKING:
    from fastmlp._engine.plan import Plan


class Runner:
    """One fit of the model ``owner``; undone if an error comes before its first new epoch."""

    others: Any = None  # the other processes of a distributed fit
    batch_size: Any = None  # as the user gave it, to compare between processes

    def __init__(
        self, owner: Any, members: Sequence[Any], resume: Any, trainer: type[Trainer] = Trainer
    ) -> None:
        self.owner, self.members, self.trainer = owner, members, trainer
        self.resumes, self.path = check.resume(resume)
        self.history, self.n_before = History(), 0
        changes = self.resumes and (  # whether the weights change before the first epoch
            self.path is not None
            or any(own._progress and own._progress.averaged for own in members)
        )
        self.undo = owner._undo(changes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and len(self.history.loss) == self.n_before:
            self.undo()

    def options(
        self, epochs: Any, shuffle: Any, verbose: Any, averaging: Any, callbacks: Any, who: str = ""
    ) -> None:
        """Check the options that all fits have; ``who`` has no batches, so no ``on_batch``."""
        self.epochs = check_count("epochs", epochs, example=20)
        self.shuffle, self.verbose = check_flag("shuffle", shuffle), check_verbose(verbose)
        self.averaging = check.averaging(averaging, self.epochs)
        self.hooks = check.callbacks(callbacks, who)

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
        self.datas, self.plans, self.is_validated, self.seen = datas, plans, is_validated, seen
        begun: Sequence[ResumeState] | None = None
        if self.resumes if self.path is None else self._load():
            stopped = owner._history.stop_reason if owner._history else ""
            begun = self._resumed()
        else:
            for member in self.members:
                member._progress = None
                member._history = self.history if member is owner else History()
        owner._history = history = self.history
        if self.verbose and not (others and others.rank):
            from fastmlp._training.callbacks import Progress

            self.hooks.append(Progress())
        if plans[0].is_scheduled:
            planning.set_lengths(plans, datas, self.epochs, begun)
        state = State(owner, self.epochs, history, is_validated, engine=owner._engines())
        trainer = self.trainer(self, state, judge(state))
        if others:
            options = {"epochs": self.epochs, "batch_size": self.batch_size}
            options |= {"shuffle": self.shuffle, "averaging": self.averaging}
            options["validation_data"] = is_validated
            others.agree(self, trainer, begun, **options)
        if begun is not None:
            state.epoch, state.learning_rate_scale = begun[0].epochs - 1, begun[0].scale
        reporter = trainer.reporter
        reporter.keep = trainer.recorded
        for member in self.members:
            member._lock.trainer = trainer
        try:
            with lent as plans[0].team, reporter.watching():
                if begun is None:
                    begun = []
                    for member, plan in zip(self.members, plans, strict=True):
                        begun.append(planning.begun(member._engine, plan, member._rng))
                elif self.hooks and self._had_enough(begun, state):
                    history.stop_reason = stopped
                    return history
                if self.path is not None or reporter.keeps:
                    each = enumerate(begun)
                    begun = [own._replace(data=self._fingerprint(k)) for k, own in each]
                trainer.run(begun, self.averaging)
        finally:
            for member in self.members:
                member._lock.trainer = None
            trainer.store()  # an error may have come just after an epoch
            vars(trainer).clear()  # its own methods in it would keep model and data in a cycle
        return history

    def _load(self) -> bool:
        """Load the checkpoint into the model; return False if there is none."""
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
        """Return a 64-bit hash of a member's data on all processes."""
        from fastmlp._training import callback_state

        found: int = (self.others or callback_state).fingerprint(*self.seen[k])
        return found

    def _had_enough(self, begun: Sequence[ResumeState], state: State) -> bool:
        """Restore the callbacks from a checkpoint; return whether one had ended the fit."""
        from fastmlp._training import callback_state

        kept = begun[0].memories
        if self.owner is not self.members[0]:
            kept = callback_state.together([own.memories for own in begun])
        return callback_state.give_back(kept, self.hooks, state)

    def _resumed(self) -> list[ResumeState]:
        """Return the state of each member to resume; set the histories."""
        pairs = [self._resumed_member(k) for k in range(len(self.members))]
        owner, history = self.owner, pairs[0][1]
        if owner is not self.members[0]:
            n_epochs = {own.epochs for own, _ in pairs} | {len(each.loss) for _, each in pairs}
            losses = owner._history and owner._history.loss
            is_same = losses is not None and n_epochs == {len(losses)}
            if not is_same or losses != mean(np.transpose([each.loss for _, each in pairs])):
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

    def _resumed_member(self, k: int) -> tuple[ResumeState, History]:
        """Return the state of a member to resume, and a copy of its history."""
        member, plan, path = self.members[k], self.plans[k], self.path
        progress: ResumeState | None = member._progress
        history: History | None = member._history
        resume = f"resume is {True if path is None else path!r}"
        if history is None or progress is None or not progress.rows:
            raise ValueError(
                f"{resume} but there is no fit to resume, since the model was not trained, or not "
                "by fit: leave resume out"
            )
        if not member._engine.can_go_on(progress.step):
            raise ValueError(
                f"{resume} but the last fit ended within an epoch, and the state of its optimizer "
                "is lost: leave resume out, to start from the present weights with a new optimizer"
            )
        given = {True: "given", False: None}
        rows = self.datas[k].rows if plan.order is None else len(plan.order)
        facts: list[tuple[str, Any, Any]] = [
            ("optimizer", plan.optimizer.kind, progress.kind),
            # A stream counts its rows while reading.
            ("the number of rows of X", progress.rows if rows is None else rows, progress.rows),
            ("validation_data", given[self.is_validated], given[bool(history.val_loss)]),
        ]
        if path is not None:  # else batch size and data may change
            facts.append(("batch_size", plan.batch_size, progress.batch_size or plan.batch_size))
        is_same_job = path is not None and progress.data
        data = self._fingerprint(k) if is_same_job else 0
        planning.check_same(resume, facts, data, progress.data)
        if self.epochs < progress.epochs:
            raise ValueError(
                f"epochs is {self.epochs} but the fit to resume has had {progress.epochs} epochs, "
                f"which count: pass a larger number"
            )
        copied = history.whole()
        copied.stop_reason = ""
        return progress, copied


def one_pass(
    members: Sequence[Any],
    datas: Sequence[Data],
    plans: Sequence[Plan],
    lent: AbstractContextManager[Any],
) -> float:
    """Run the pass of a ``partial_fit``, undone by the caller after an error; return its loss."""
    begun, engines = [], []
    for member, data, plan in zip(members, datas, plans, strict=True):
        own, engine = member._progress, member._engine
        if not planning.goes_on(own, engine, plan):
            own = planning.begun(engine, plan, member._rng)
        plan.seed = own.seed
        rates = LearningRates(plan.optimizer.learning_rate)
        n = loop.look_up(plan, data, rates, own.step)
        begun.append((member, own, own.step + n, data.flat_y))
        engines.append(engine)
    with lent as plan.team:
        if len(members) > 1:
            found = type(engines[0]).train_many(engines, datas, plans, plan.team)
            losses, total = found.losses[0].tolist(), mean(found.losses)[0]
        else:
            losses = [total := engines[0].epoch(data, plan)]
    for k, loss in enumerate(losses):
        if not math.isfinite(loss):
            who = f"training of member {k}" if len(members) > 1 else "training"
            raise loop.diverged(loss, plans[k], 0, History(), who)
    for member, own, step, flat_y in begun:
        member._progress = ResumeState(own.kind, step, own.seed)
        member._flat_y = flat_y
    return total
