"""Training of ensembles: ``fit`` and ``partial_fit``."""

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
    """The training part of ``Ensemble``."""

    _members: tuple[MLP, ...]
    _history: History | None
    _moment: EnsembleSnapshot | None = None  # seen by other threads during a change

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
            Data for all members, or two lists with one entry per member.
        rows : sequence of integer arrays, optional
            For each member the training rows of its data, in their initial order; rows may repeat
            (a bootstrap sample). By default all rows.
        validation_rows : sequence of integer arrays, optional
            For each member the rows of its data that it is evaluated on after each epoch, without
            repeats; normally rows that it is not trained on. The ensemble's validation loss covers
            all these rows, each predicted by the members that hold it out; with folds, it is the
            loss of the out-of-fold predictions. If members have their own data or weights, it is
            the mean of their losses.
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Alternative to ``validation_rows``: data on which the ensemble (see :meth:`evaluate`)
            and each member are evaluated after each epoch. Callbacks see the ensemble's loss.
        judge : callable (epoch, predictions) -> float, optional
            Score of the members' predictions for the validation rows or data, lower is better;
            ``history.val_loss`` records it instead of the loss. The fit ends with the weights of
            the epoch with the lowest score, of equal epochs the last. Epochs count from 0; there is
            one prediction per member, (n, outputs) or a tuple of two such arrays.
        sample_weight : array-like, shape (n,), or sequence of these, optional
            Weights for all members, or a list with one array per member.
        averaging : EMA or SWA, optional
            Averaging of each member's weights, as for ``MLP.fit``.
        drop_last : bool
            Whether to skip, in each epoch, the rows after the last full batch.
        callbacks : iterable of callables
            As for ``MLP.fit``. ``EarlyStopping`` selects one epoch for all members by the
            ensemble's loss; with a ``judge`` it only ends the fit, and the judge selects the epoch.
        n_threads : int, optional
            Number of threads, at most one per member; by default all that are available.
        resume : bool, str or path
            Whether to continue the last fit of all members, as for ``MLP.fit``. Pass the path of a
            ``fastmlp.Checkpoint`` to also restore the best epoch of a ``judge``.
        epochs, batch_size, optimizer, l1, l2, clip_norm, groups, dropout, shuffle, verbose
            As for ``MLP.fit``, applied to every member.

        Returns
        -------
        History
            History of the ensemble; ``ensemble[k].history`` is that of a member.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid; nothing has changed then.
        DivergenceError
            If a member diverges; all members keep the weights from before that epoch.
        RuntimeError, KeyboardInterrupt
            As for ``MLP.fit``; all members are then at the end of the same epoch. Without callbacks
            and validation, many short epochs run in one call; an interrupt or a failing schedule
            then undoes about 0.05 s of training.

        Examples -------- Train on four folds, and select the epoch with the best out-of-fold
        predictions:

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
        changes = path is not None or (resume and has_others)  # weights change, see MLP.fit
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
                hooks.insert(0, Best())  # the first to start is the last to finish
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
            stack.callback(joint.keep)  # also if an interrupt comes after an epoch
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
        """Train each member for one pass over its samples, as ``MLP.partial_fit`` alone would.

        Parameters
        ----------
        X, y, sample_weight, n_threads
            As for :meth:`fit`.
        batch_size, optimizer, l1, l2, clip_norm, groups, dropout
            As for ``MLP.partial_fit``, applied to every member.

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
            reporter.keep = None  # only fits have histories
            with lent as mine[0].team:
                joint.run(begun)
            each = zip(self._members, begun, joint.taken(), datas, strict=True)
            for member, own, step, data in each:
                member._progress = ResumeState(own.kind, step, own.seed)
                member._flat_y = data.flat_y
            return reporter.state.loss

    def _plans(self, datas: list[Data], batch_sizes: list[Any], *given: Any) -> list[Plan]:
        """Return the plan of each member."""
        each = zip(datas, batch_sizes, strict=True)
        mine = [planning.plan(self._spec, data, rows, *given) for data, rows in each]
        if mine[0].optimizer.is_custom:
            raise refusal("CustomOptimizer", "Ensemble", optimizer=mine[0].optimizer)
        return mine

    def _turns(self) -> AbstractContextManager[None]:
        return taken(member._turn for member in self._members)

    def _show(self) -> None:
        """Let other threads read all members in their current state during changes."""
        self._moment = EnsembleSnapshot.of(self._members, self._history)

    def _hide(self) -> None:
        """Let other threads read the members themselves again."""
        self._moment = None
        for member in self._members:
            member._hide()

    def _whole(self) -> tuple[tuple[MLP, ...], History | None]:
        """Return members and history after one epoch; copies while another thread changes them."""
        turn, moment = self._members[0]._turn, self._moment
        if moment is None or turn.is_free() or turn.is_mine():
            return self._members, self._history and self._history.whole()
        return moment.whole(self._members)

    def _kept(self, is_done: Callable[[], bool] | None, parameters: bool) -> Rollback:
        """Do the same as `Model._kept` for all members."""
        before, undos = self._history, [member._undo(parameters) for member in self._members]

        def undo() -> None:
            self._history = before
            with contextlib.ExitStack() as stack:  # undo all, even if one fails
                for each in undos:
                    stack.callback(each)

        return Rollback(undo, is_done)

    def _team(self, n_threads: Any) -> AbstractContextManager[Team | None]:
        wanted = default_threads() if n_threads is None else n_threads
        n_members = len(self._members)
        return borrowed_team(min(check_count("n_threads", wanted, example=2), n_members))

    def _held(self, data: Any, rows: Any, judge: Any, datas: list[Data]) -> ValidationData | None:
        """Return the checked validation data; None without any."""
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
        """Return the state of each member to resume, and a copy of the ensemble's history."""
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
        """Load members and history from a checkpoint; return False if it does not exist."""
        if not Path(path).exists():
            return False
        functions = {own.name: own for own in self._spec.functions}
        other = storage.load(os.path.realpath(path), functions=functions)  # follows links
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
