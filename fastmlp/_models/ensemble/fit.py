"""How an ensemble learns: ``fit`` and ``partial_fit``, and what they need of its members."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from fastmlp._core.fit_lock import taken
from fastmlp._core.history import History, ResumeState, State
from fastmlp._core.intervals import check_count, check_flag
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_count import default_threads
from fastmlp._engine.thread_pool import Team, borrowed_team
from fastmlp._files import storage
from fastmlp._models.ensemble import member_data
from fastmlp._models.ensemble.member_data import ValidationData
from fastmlp._models.ensemble.members import MemberEngines, Score
from fastmlp._models.ensemble.snapshot import EnsembleSnapshot
from fastmlp._models.ensemble.trainer import EnsembleTrainer
from fastmlp._models.mlp import MLP
from fastmlp._models.rollback import Rollback
from fastmlp._models.snapshot import PublishedSnapshot
from fastmlp._network.averaging import Averaging
from fastmlp._network.data import Data
from fastmlp._network.groups import Groups
from fastmlp._network.names import OptimizerName
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.scheduled import Scheduled
from fastmlp._network.spec import Spec
from fastmlp._training import callback_state, planning
from fastmlp._training.callback_list import Callback, CallbackList
from fastmlp._training.callbacks import Best, Progress
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal


class EnsembleLearner:
    """The part of ``Ensemble`` that trains, not for users."""

    _members: tuple[MLP, ...]
    _history: History | None
    _moment: EnsembleSnapshot | None = None  # what other threads see, while one changes members

    @property
    def _spec(self) -> Spec:
        return self._members[0]._spec

    def _engines(self) -> MemberEngines:
        return MemberEngines([member._engine for member in self._members])

    def fit(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        *,
        rows: Sequence[ArrayLike] | None = None,
        validation_rows: Sequence[ArrayLike] | None = None,
        judge: Score | None = None,
        epochs: int = 20,
        batch_size: int = 64,
        optimizer: Optimizer | OptimizerName | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        groups: Groups | None = None,
        dropout: Scheduled | Sequence[Scheduled] | None = None,
        averaging: Averaging | None = None,
        validation_data: Sequence[ArrayLike] | None = None,
        sample_weight: ArrayLike | Sequence[ArrayLike] | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        callbacks: Iterable[Callback] = (),
        n_threads: int | None = None,
        verbose: bool = False,
        resume: bool | str | os.PathLike[str] = False,
    ) -> History:
        """Train all members, each as ``MLP.fit`` would train it alone.

        Parameters
        ----------
        X, y : array-like, or sequences of these
            One for all members, or a list of one for each, both of them.
        rows : sequence of integer arrays, optional
            For each member the rows of its data that it learns from, in its first order; a row may
            be there more than once (a bootstrap sample). By default all.
        validation_rows : sequence of integer arrays, optional
            For each member the rows of its data that it is measured on after each epoch, each once:
            those that it does not learn from. The ensemble's loss is that of all these rows, each
            as the members predict it that hold it out: with folds, that of the out-of-fold
            predictions. If members have data or weights of their own, it is the mean of theirs.
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Evaluated after each epoch instead: the ensemble's loss, as :meth:`evaluate`, which
            callbacks see, and that of each member.
        judge : callable (epoch, predictions) -> float, optional
            Measures what the members predict on these rows or data instead of the loss, the lower
            the better: ``history.val_loss`` has what it returns. At the end all members have their
            weights of the epoch in which it was lowest, of ties the last. The epoch counts from 0;
            there is one prediction for each member, of its rows: (n, outputs), or a tuple of two.
        sample_weight : array-like, shape (n,), or sequence of these, optional
            For all members, or one for each.
        averaging : EMA or SWA, optional
            Of the weights of each member, as for ``MLP.fit``.
        drop_last : bool
            Leave out, in each epoch, the rows behind the last whole batch.
        callbacks : iterable of callables
            ``EarlyStopping`` chooses one epoch for all members, by the ensemble's loss; beside a
            ``judge`` it ends the fit, and that chooses.
        n_threads : int, optional
            Threads to use, one a member; by default what the machine allows.
        resume : bool, str or path
            Go on where the last fit of all members ended, as ``MLP.fit`` does; a path is that of a
            ``fastmlp.Checkpoint``, without which a ``judge`` looks for the best epoch anew.
        epochs, batch_size, optimizer, l1, l2, clip_norm, groups, dropout, shuffle, verbose
            As for ``MLP.fit``, for every member.

        Returns
        -------
        History
            Of the ensemble; those of the members are ``ensemble[k].history``.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; nothing has changed.
        DivergenceError
            Names the member; all keep the weights from before that epoch.
        RuntimeError, KeyboardInterrupt
            As for ``MLP.fit``; all members are at the end of one epoch. Without callbacks and
            validation short epochs are trained many at once, and an interrupt, or a schedule that
            fails, takes about 0.05 s of them back.

        Examples
        --------
        Four folds, and the epoch that is best for the predictions out of all folds:

        >>> import numpy as np, fastmlp
        >>> x = np.linspace(-1, 1, 200)[:, np.newaxis]
        >>> y = np.abs(x[:, 0])
        >>> folds = np.array_split(np.random.default_rng(0).permutation(200), 4)
        >>> others = [np.setdiff1d(np.arange(200), fold) for fold in folds]
        >>> def mean_error(epoch, predictions):
        ...     z = np.empty(200)
        ...     z[np.concatenate(folds)] = np.concatenate(predictions)[:, 0]
        ...     return np.abs(z - y).mean()
        >>> ensemble = fastmlp.Ensemble(fastmlp.MLP([1, 8, 1], rng=k) for k in range(4))
        >>> history = ensemble.fit(x, y, rows=others, validation_rows=folds, judge=mean_error)
        >>> len(history.val_loss), min(history.val_loss) < history.val_loss[0]
        (20, True)
        """
        history, begun, n_before, stopped = History(), None, 0, ""
        resume, path = check.resume(resume)
        has_others = any(each._progress and each._progress.averaged for each in self._members)
        changes = path is not None or (resume and has_others)  # others that learn, see MLP.fit
        with (
            self._turns(),
            PublishedSnapshot(self),
            self._kept(lambda: len(history.loss) > n_before, changes),
            contextlib.ExitStack() as stack,
        ):
            datas = member_data.datas(X, y, sample_weight, self._spec, len(self._members))
            chosen = [] if rows is None else member_data.learned(rows, datas)
            given = optimizer, l1, l2, clip_norm, groups, dropout
            mine = self._plans(datas, [batch_size] * len(datas), *given)
            for k, plan in enumerate(mine):
                plan.drops_last = check_flag("drop_last", drop_last)
                if rows is not None:
                    plan.order = chosen[k]
                    plan.batch_size = min(plan.batch_size, len(plan.order))
            epochs = check_count("epochs", epochs, example=20)
            shuffle, verbose = check_flag("shuffle", shuffle), check_flag("verbose", verbose)
            averaging = check.averaging(averaging)
            hooks = check.callbacks(callbacks, "Ensemble")
            lent = self._team(n_threads)
            held = self._held(validation_data, validation_rows, judge, datas)
            if verbose:
                hooks.append(Progress())
            if judge is not None:
                hooks.insert(0, Best())  # who comes first has the last word at the end
            seen = [member_data.seen(k, datas, mine, held) for k in range(len(mine))]
            prints = [functools.partial(callback_state.fingerprint, *each) for each in seen]
            if resume if path is None else self._load(path):
                stopped = self._history.stop_reason if self._history else ""
                begun, history = self._resumed(datas, mine, held, prints, epochs, path)
                n_before = len(history.loss)
            else:
                for member in self._members:
                    member._progress, member._history = None, History()
            self._history = history
            state = State(self, epochs, history, held is not None, engine=self._engines())
            if begun is not None:
                state.epoch, state.learning_rate_scale = begun[0].epochs - 1, begun[0].scale
            reporter = CallbackList(state, hooks)
            joint = EnsembleTrainer(self._members, datas, mine, reporter, held, judge, shuffle)
            stack.callback(joint.keep)  # also of an epoch after which an interrupt came
            with lent as mine[0].team, reporter.watching():
                if begun is None:
                    begun = [
                        planning.begun(member._engine, plan, member._rng)
                        for member, plan in zip(self._members, mine, strict=True)
                    ]
                else:
                    kept = callback_state.together([each.memories for each in begun])
                    if callback_state.give_back(kept, hooks, state):
                        history.stop_reason = stopped
                        return history
                if path is not None or reporter.keeps:
                    begun = [
                        own._replace(data=fingerprint())
                        for own, fingerprint in zip(begun, prints, strict=True)
                    ]
                joint.average(averaging, begun)
                joint.run(begun)
        return history

    def partial_fit(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        *,
        sample_weight: ArrayLike | Sequence[ArrayLike] | None = None,
        batch_size: int | None = None,
        optimizer: Optimizer | OptimizerName | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        groups: Groups | None = None,
        dropout: Scheduled | Sequence[Scheduled] | None = None,
        n_threads: int | None = None,
    ) -> float:
        """Take one pass of each member over its samples, as ``MLP.partial_fit`` of each alone.

        Parameters
        ----------
        X, y, sample_weight, n_threads
            As for :meth:`fit`.
        batch_size, optimizer, l1, l2, clip_norm, groups, dropout
            As for ``MLP.partial_fit``, for every member.

        Returns
        -------
        float
            The mean of the members' objectives.

        Raises
        ------
        TypeError, ValueError, DivergenceError, RuntimeError, KeyboardInterrupt
            As for :meth:`fit`; all members then have the weights from before the call.
        """
        with self._turns(), PublishedSnapshot(self), self._kept(None, True):
            datas = member_data.datas(X, y, sample_weight, self._spec, len(self._members))
            given = optimizer, l1, l2, clip_norm, groups, dropout
            rows = [data.rows if batch_size is None else batch_size for data in datas]
            mine = self._plans(datas, rows, *given)
            lent = self._team(n_threads)
            begun = [
                planning.of_pass(member._progress, member._engine, plan, member._rng)
                for member, plan in zip(self._members, mine, strict=True)
            ]
            reporter = CallbackList(State(self, 1, History(), False, engine=self._engines()))
            joint = EnsembleTrainer(self._members, datas, mine, reporter, None, None, False)
            reporter.keep = None  # histories are those of fits
            with lent as mine[0].team:
                joint.run(begun)
            each = zip(self._members, begun, joint.taken(), datas, strict=True)
            for member, own, step, data in each:
                member._progress = ResumeState(own.kind, step, own.seed)
                member._flat_y = data.flat_y
            return reporter.state.loss

    def _plans(self, datas: list[Data], batch_sizes: list[Any], *given: Any) -> list[Plan]:
        """Return what each member is to do."""
        each = zip(datas, batch_sizes, strict=True)
        mine = [planning.plan(self._spec, data, rows, *given) for data, rows in each]
        if mine[0].optimizer.is_custom:
            raise refusal("CustomOptimizer", "Ensemble", optimizer=mine[0].optimizer)
        return mine

    def _turns(self) -> AbstractContextManager[None]:
        return taken(member._turn for member in self._members)

    def _show(self) -> None:
        """Let other threads read all members as they are now, whatever becomes of them."""
        self._moment = EnsembleSnapshot.of(self._members, self._history)

    def _hide(self) -> None:
        """Let other threads read the members themselves again."""
        self._moment = None
        for member in self._members:
            member._hide()

    def _whole(self) -> tuple[tuple[MLP, ...], History | None]:
        """Return members and history of one moment: that of before, or of the last whole epoch.

        If another thread changes members they are copies, without what training goes on with.
        """
        turn, moment = self._members[0]._turn, self._moment
        if moment is None or turn.is_free() or turn.is_mine():
            return self._members, self._history and self._history.whole()
        return moment.whole(self._members)

    def _kept(self, is_done: Callable[[], bool] | None, parameters: bool) -> Rollback:
        """Do as `Model._kept`, for all members together."""
        before, undos = self._history, [member._undo(parameters) for member in self._members]

        def undo() -> None:
            self._history = before
            with contextlib.ExitStack() as stack:  # all of them, if one fails too
                for each in undos:
                    stack.callback(each)

        return Rollback(undo, is_done)

    def _team(self, n_threads: Any) -> AbstractContextManager[Team | None]:
        wanted = default_threads() if n_threads is None else n_threads
        n_members = len(self._members)
        return borrowed_team(min(check_count("n_threads", wanted, example=2), n_members))

    def _held(self, data: Any, rows: Any, judge: Any, datas: list[Data]) -> ValidationData | None:
        """Return what is measured after each epoch."""
        if judge is not None and not callable(judge):
            raise TypeError(
                f"judge is {judge!r} but a callable (epoch, predictions) -> float is expected"
            )
        if rows is not None and data is not None:
            raise refusal("validation_data", "validation_rows")
        if rows is not None:
            return member_data.held_out(rows, datas)
        checked = check.validation(data, self._spec)
        if checked is None and judge is not None:
            raise ValueError(
                "judge is given but there is nothing to judge: pass validation_rows, or "
                "validation_data=(X, y)"
            )
        return None if checked is None else ValidationData.shared(checked, len(self._members))

    def _resumed(
        self,
        datas: list[Data],
        mine: list[Plan],
        held: ValidationData | None,
        prints: Sequence[Callable[[], int]],
        epochs: int,
        path: str | None,
    ) -> tuple[list[ResumeState], History]:
        """Return with what each member goes on, and a copy of the ensemble's history."""
        begun, histories = [], []
        for k, (member, data, plan) in enumerate(zip(self._members, datas, mine, strict=True)):
            n = data.rows if plan.order is None else len(plan.order)
            last = member._progress, member._history, member._engine
            is_validated = held is not None
            own, history = planning.resumed(*last, plan, n, is_validated, epochs, path, prints[k])
            begun.append(own)
            histories.append(history)
        n_epochs = {own.epochs for own in begun} | {len(history.loss) for history in histories}
        if self._history is None or n_epochs != {len(self._history.loss)}:
            raise ValueError(
                "resume is True but members have been trained by themselves since the last fit of "
                "the ensemble: leave resume out, to begin with the weights of now"
            )
        for member, own, history in zip(self._members, begun, histories, strict=True):
            member._progress, member._history = own, history
        copied = self._history.whole()
        copied.stop_reason = ""
        return begun, copied

    def _load(self, path: str) -> bool:
        """Become the ensemble of a checkpoint; return False if there is none."""
        if not Path(path).exists():
            return False
        functions = {own.name: own for own in self._spec.functions}
        other = storage.load(os.path.realpath(path), functions=functions)  # as it was saved
        if type(other) is not type(self) or len(other._members) != len(self._members):
            raise ValueError(
                f"resume is {path!r}, which has {other!r}, but this is {self!r}: "
                "make the ensemble as it was made, or use fastmlp.load"
            )
        pairs = list(zip(self._members, other._members, strict=True))
        for member, own in pairs:
            member._check_twin(own, path)
        for member, own in pairs:
            member._become(own)
        self._history = other._history
        return True
