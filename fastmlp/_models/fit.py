"""A fit of checked data: begin or resume it, run the loop over epochs, and undo what fails."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastmlp._core.history import History, ResumeState, State
from fastmlp._core.intervals import check_count, check_flag, check_verbose
from fastmlp._models.network import Network, network_of, undo_all
from fastmlp._network.data import Data
from fastmlp._training import loop, planning
from fastmlp._training.callback_list import Callback, CallbackList
from fastmlp._training.loop import Evaluator, LearningRates
from fastmlp._validation import check

if TYPE_CHECKING:
    from fastmlp._engine.plan import Plan
    from fastmlp._engine.protocol import Engine
    from fastmlp._models.ensemble.members import Networks
    from fastmlp._network.averaging import Averaging
    from fastmlp._training.sources import BlockStream


class FitOptions(NamedTuple):
    """The options of a fit, checked."""

    epochs: int
    batch_size: Any  # what the user gave; processes compare it
    shuffle: bool
    verbose: bool
    averaging: Averaging | None
    callbacks: list[Any]
    resume: bool
    path: str | None  # the checkpoint to resume

    @classmethod
    def of(
        cls,
        epochs: Any,
        batch_size: int,
        shuffle: bool,
        verbose: bool | int,
        averaging: Any,
        callbacks: Iterable[Callback],
        resume: Any,
        owner: str = "",
    ) -> FitOptions:
        """Return the checked options of a user's call; ``owner`` is named where it matters."""
        n_epochs = check_count("epochs", epochs, example=20)
        if averaging is not None:
            check.averaging(averaging, n_epochs)
        resumes, path = (False, None) if resume is False else check.resume(resume)
        return cls(
            n_epochs,
            batch_size,
            check_flag("shuffle", shuffle),
            check_verbose(verbose),
            averaging,
            check.callbacks(callbacks, owner),
            resumes,
            path,
        )


@dataclass(eq=False, slots=True)  # frozen, each of the many fields would take twice as long
class Fit:
    """One fit: a model, its checked data and plans, and the user's options."""

    model: Any  # the MLP or the ensemble whose method was called, for callbacks
    network: Network | Networks  # its state: one network, or several that are trained together
    members: Sequence[Network]  # that one, or these
    data: Sequence[Any]  # one a network
    plans: Sequence[Plan]  # one a network
    fingerprint_data: Sequence[Sequence[Any]]  # a resumed fit recognises each network's data by it
    make_evaluator: Callable[[State], Evaluator]  # of the losses after each epoch
    has_validation: bool
    team: AbstractContextManager[Any]  # borrows threads; None if one thread is to train
    options: FitOptions
    is_joint: bool = False  # whether the members are those of an ensemble
    ranks: Any = None  # the processes of a distributed fit

    def run(self, make_trainer: Callable[..., Any]) -> History:
        """Run the fit with a new trainer; undo it after an error before its first new epoch.

        ``make_trainer`` takes this fit, its evaluator, its reporter, and the state of each network.
        """
        network, path = self.network, self.options.path
        changes_weights = self.options.resume and (  # resuming may do so
            path is not None
            or any(m.resume_state and m.resume_state.averaged for m in self.members)
        )
        undo, n_before = network.undo(changes_weights), -1
        try:
            resumed, stopped = self._begin()
            assert network.history is not None
            n_before = len(network.history.loss)
            return self._run(make_trainer, resumed, stopped)
        except BaseException:
            if n_before < 0 or len(network.history.loss) == n_before:  # type: ignore[union-attr]
                undo()
            raise

    def _begin(self) -> tuple[list[ResumeState] | None, str]:
        """Begin a history, or return the states to resume, and why their fit had ended."""
        network, options = self.network, self.options
        if not (options.resume if options.path is None else self._load(options.path)):
            network.begin()
            return None, ""
        stopped = network.history.stop_reason if network.history else ""
        return self._resumed(), stopped

    def _run(
        self, make_trainer: Callable[..., Any], resumed: list[ResumeState] | None, stopped: str
    ) -> History:
        """Run the epochs from the initial states, or from those to resume."""
        network, options, ranks = self.network, self.options, self.ranks
        members, history = self.members, network.history
        assert history is not None
        if self.plans[0].is_scheduled:
            planning.set_lengths(self.plans, self.data, options.epochs, resumed)
        state = State(
            self.model, options.epochs, history, self.has_validation, engine=network.engine
        )
        evaluator = self.make_evaluator(state)
        reporter = self._reporter(state, evaluator)
        if ranks:
            reporter, evaluator = ranks.agree(self, reporter, evaluator, resumed)
        if resumed is not None:
            state.epoch, state.learning_rate_scale = resumed[0].epochs - 1, resumed[0].scale
        trainer = None
        try:
            with self.team as self.plans[0].team, reporter.watching():
                if resumed and reporter.callbacks and self._had_enough(resumed, state):
                    history.stop_reason = stopped
                    return history
                states = self._states(resumed, options.path is not None or reporter.has_checkpoint)
                trainer = make_trainer(self, evaluator, reporter, states)
                for member in members:
                    member.lock.trainer = trainer
                trainer.run()
        finally:
            for member in members:
                member.lock.trainer = None
            if trainer is not None:
                trainer.store()  # an error may have come just after an epoch
        return history

    def _reporter(self, state: State, evaluator: Evaluator) -> CallbackList:
        """Return what calls the callbacks, and before them updates what they read of members."""
        callbacks = self.options.callbacks
        if self.options.verbose and not (self.ranks and self.ranks.rank):
            from fastmlp._training.callbacks import Progress

            callbacks = [*callbacks, Progress()]

        def recorded() -> None:
            for member, data in zip(self.members, self.data, strict=True):
                member.learn_shape(data.flat_y)
            evaluator.write(self.members)

        return CallbackList(state, callbacks, recorded)

    def _states(self, resumed: list[ResumeState] | None, are_stored: bool) -> list[ResumeState]:
        """Return the state of each member before the first epoch, with hashes for checkpoints."""
        states = resumed or [
            _initial_state(member.engine, plan, member.rng)
            for member, plan in zip(self.members, self.plans, strict=True)
        ]
        if not are_stored:
            return states
        return [s._replace(data=self._fingerprint(k)) for k, s in enumerate(states)]

    def _load(self, path: str) -> bool:
        """Load the checkpoint into the model; return False if there is none."""
        if not os.path.exists(path):  # noqa: PTH110 costs an import less
            return False
        from fastmlp._files import storage

        network = self.network
        functions = {function.name: function for function in network.spec.functions}
        stored = storage.load(os.path.realpath(path), functions=functions)  # follows links
        theirs = network_of(stored) if type(stored) is type(self.model) else None
        members = self.members
        if theirs is None or [m.spec for m in theirs.members] != [m.spec for m in members]:
            raise ValueError(
                f"resume is {path!r}, which has {stored!r}, but this is {self.model!r}: "
                "make the model as it was made, or use fastmlp.load"
            )
        for member, other in zip(members, theirs.members, strict=True):
            if type(member.rng.bit_generator) is not type(other.rng.bit_generator):
                raise ValueError(
                    f"resume is {path!r}, whose model draws from {other.rng}, but this one "
                    f"from {member.rng}: pass the same kind of generator as rng"
                )
        network.take_over(theirs)
        return True

    def _fingerprint(self, k: int) -> int:
        """Return a 64-bit hash of a member's data on all processes."""
        from fastmlp._training import callback_state

        ranks: Any = self.ranks or callback_state
        fingerprint: int = ranks.fingerprint(*self.fingerprint_data[k])
        return fingerprint

    def _had_enough(self, states: Sequence[ResumeState], state: State) -> bool:
        """Restore the callbacks from a checkpoint; return whether one had ended the fit."""
        from fastmlp._training import callback_state

        saved = states[0].callbacks
        if self.is_joint:
            saved = callback_state.together([member.callbacks for member in states])
        return callback_state.give_back(saved, state.callbacks, state)

    def _resumed(self) -> list[ResumeState]:
        """Return the state of each member to resume; set the histories."""
        members = self.members
        states = [self._state_of(k) for k in range(len(members))]
        if self.is_joint:
            of_members = [member.history.loss for member in members if member.history]
            n_epochs = {state.epochs for state in states} | {len(losses) for losses in of_members}
            whole = self.network.history
            is_same = whole is not None and n_epochs == {len(whole.loss)}
            if (
                whole is None
                or not is_same
                or whole.loss != loop.mean_of_members(np.transpose(of_members))
            ):
                raise ValueError(
                    "resume is True but members have been trained by themselves since the last fit "
                    "of the ensemble: leave resume out, to begin with the weights of now"
                )
        self.network.go_on()
        return states

    def _state_of(self, k: int) -> ResumeState:
        """Return the state of a member to resume."""
        member, plan, path = self.members[k], self.plans[k], self.options.path
        state, history = member.resume_state, member.history
        resume = f"resume is {True if path is None else path!r}"
        if history is None or state is None or not state.rows:
            raise ValueError(
                f"{resume} but there is no fit to resume, since the model was not trained, or not "
                "by steps of fit (L-BFGS leaves no state): leave resume out"
            )
        if not member.engine.can_go_on(state.step):
            raise ValueError(
                f"{resume} but the last fit ended within an epoch, and the state of its optimizer "
                "is lost: leave resume out, to start from the present weights with a new optimizer"
            )
        text = {True: "given", False: None}
        rows = self.data[k].rows if plan.order is None else len(plan.order)
        facts: list[tuple[str, Any, Any]] = [
            ("optimizer", plan.optimizer.kind, state.kind),
            # A stream counts its rows while reading.
            ("the number of rows of X", state.rows if rows is None else rows, state.rows),
            ("validation_data", text[self.has_validation], text[bool(history.val_loss)]),
        ]
        if path is not None:  # else batch size and data may change
            facts.append(("batch_size", plan.batch_size, state.batch_size or plan.batch_size))
        data = self._fingerprint(k) if path is not None and state.data else 0
        _check_same(resume, facts, data, state.data)
        if self.options.epochs < state.epochs:
            raise ValueError(
                f"epochs is {self.options.epochs} but the fit to resume has had {state.epochs} "
                f"epochs, which count: pass a larger number"
            )
        return state


def _initial_state(engine: Engine, plan: Plan, rng: np.random.Generator) -> ResumeState:
    """Start the optimizer; return the initial state of a fit."""
    engine.start(plan.optimizer)
    return ResumeState(plan.optimizer.kind, 0, next_seed(rng))


def _continues(state: ResumeState | None, engine: Engine, plan: Plan) -> bool:
    """Whether a pass continues the state of earlier passes."""
    if state is None or state.rows or state.kind != plan.optimizer.kind:
        return False
    return engine.can_go_on(state.step)


def next_seed(rng: np.random.Generator) -> int:
    """Return 64 bits of the generator's raw stream, which is the same in every NumPy."""
    return int(rng.bit_generator.random_raw())


def _check_same(
    resume: str, facts: Sequence[tuple[str, Any, Any]], data: int, known_data: int
) -> None:
    """Raise ValueError for a fact (name, now, before) or a fingerprint of data that has changed."""
    for name, now, before in facts:
        if now != before and name == "optimizer":  # if there is none, epochs decide which it is
            raise ValueError(
                f"{resume} but the fit to resume had other epochs or another optimizer, {before}: "
                "pass both as before, or neither if that fit chose both, or leave resume out"
            )
        if now != before:
            raise ValueError(
                f"{resume} and {name} is {now} but was {before} in the fit to resume: pass the "
                "same as before, or leave resume out"
            )
    if data and known_data and data != known_data:
        raise ValueError(
            f"{resume} but X, y, sample_weight or the validation data differ from those of the fit "
            "to resume: pass the same; to go on with other data, use fastmlp.load(path) and then "
            "fit(..., resume=True), or partial_fit of an estimator"
        )


def one_pass(
    members: Sequence[Network],
    data: Sequence[Data | BlockStream],
    plans: Sequence[Plan],
    team: AbstractContextManager[Any],
) -> float:
    """Run the pass of a ``partial_fit``, undone after an error; return its loss."""
    starts: list[tuple[ResumeState, int]] = []  # one a member: state, steps after the pass
    undos = []
    try:
        for k, member in enumerate(members):
            plan, engine, state, samples = plans[k], member.engine, member.resume_state, data[k]
            goes_on = _continues(state, engine, plan)
            undos.append(member.undo(draws=not goes_on))
            if state is None or not goes_on:
                state = _initial_state(engine, plan, member.rng)
            plan.seed, step = state.seed, state.step
            rates = LearningRates(plan.optimizer.learning_rate)
            if isinstance(samples, Data):
                step += loop.plan_steps(plan, samples, rates, step)
            starts.append((state, step))
        with team as plan.team:
            if len(members) > 1:
                engines = [member.engine for member in members]
                results = type(engine).train_many(engines, data, plans, plan.team)
                losses, total = results.losses[0].tolist(), loop.mean_of_members(results.losses)[0]
            elif isinstance(samples, Data):
                losses = [total := engine.epoch(samples, plan)]
            else:
                total, step = _pass_of_blocks(samples, plan, engine, rates, step)
                starts, losses = [(starts[0][0], step)], [total]
        for k, loss in enumerate(losses):
            if not math.isfinite(loss):
                caller = f"training of member {k}" if len(members) > 1 else "training"
                raise loop.diverged(loss, plans[k], 0, History(), caller)
        for member, (state, step), samples in zip(members, starts, data, strict=True):
            member.keep(ResumeState(state.kind, step, state.seed))
            member.learn_shape(samples.flat_y)
        return total
    except BaseException:
        undo_all(undos)
        raise


def _pass_of_blocks(
    stream: BlockStream, plan: Plan, engine: Engine, rates: LearningRates, step: int
) -> tuple[float, int]:
    """Train on the blocks of a source, each a batch if there is no batch size; return the loss.

    Return also the number of steps so far. The pass ends where the loss is not finite.
    """
    loss, plan.sums = math.nan, [0.0, 0.0]
    with stream.blocks() as blocks:
        for block in blocks:
            plan.batch_size = stream.batch_size or block.rows
            step += loop.plan_steps(plan, block, rates, step)
            loss = engine.epoch(block, plan)
            if not math.isfinite(loss):
                break
    return loss, step
