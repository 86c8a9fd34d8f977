"""Training of ensembles: ``fit`` and ``partial_fit``."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from numpy.typing import ArrayLike

from fastmlp._core.fit_lock import taken
from fastmlp._core.history import History
from fastmlp._core.intervals import check_count, check_flag
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_count import default_threads
from fastmlp._engine.thread_pool import Team, borrowed_team
from fastmlp._models.ensemble import member_data, members
from fastmlp._models.ensemble.member_data import ValidationData
from fastmlp._models.ensemble.members import EnsembleTrainer, MemberEngines, Score
from fastmlp._models.mlp import MLP
from fastmlp._models.runner import Runner, one_pass
from fastmlp._network.averaging import Averaging
from fastmlp._network.data import Data
from fastmlp._network.groups import Groups
from fastmlp._network.names import OptimizerName
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.scheduled import Scheduled
from fastmlp._network.spec import Spec
from fastmlp._training import planning
from fastmlp._training.callback_list import Callback
from fastmlp._training.callbacks import Best
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal


class EnsembleLearner:
    """The training part of ``Ensemble``."""

    _members: tuple[MLP, ...]
    _history: History | None

    @property
    def _spec(self) -> Spec:
        return self._members[0]._spec

    def _engines(self) -> MemberEngines:
        return MemberEngines([member._engine for member in self._members])

    def fit(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike] | None = None,
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
        verbose: bool | int = False,
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
            Whether to skip, in each epoch, the rows after the last full batch. Fewer rows than
            ``batch_size`` are one batch.
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
            and validation, many short epochs run in one call; an interrupt then undoes about
            0.05 s of training.

        Examples
        --------
        Train on four folds, and select the epoch with the best out-of-fold predictions:

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
        with (
            self._locked(),
            Runner(self, self._members, resume, EnsembleTrainer) as run,
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
            run.options(epochs, shuffle, verbose, averaging, callbacks, "Ensemble")
            lent, run.batch_size = self._team(n_threads), batch_size
            held = self._held(validation_data, validation_rows, judge, datas)
            if judge is not None:
                run.hooks.insert(0, Best())  # first, because hooks finish in reverse order
            seen = [member_data.seen(k, datas, mine, held) for k in range(len(mine))]
            evaluator = functools.partial(members.EnsembleEvaluator, held=held, score=judge)
            return run.run(datas, mine, lent, evaluator, held is not None, seen)

    def partial_fit(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike] | None = None,
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
        with self._locked():
            datas = member_data.datas(X, y, sample_weight, self._spec, len(self._members))
            options = optimizer, l1, l2, clip_norm, groups, dropout
            rows = [data.rows if batch_size is None else batch_size for data in datas]
            plans, team = self._plans(datas, rows, *options), self._team(n_threads)
            undo = self._undo()
            try:
                return one_pass(self._members, datas, plans, team)
            except BaseException:
                undo()
                raise

    def _plans(self, datas: list[Data], batch_sizes: list[Any], *given: Any) -> list[Plan]:
        """Return the plan of each member."""
        each = zip(datas, batch_sizes, strict=True)
        return [planning.plan(self._spec, data, rows, *given) for data, rows in each]

    def _locked(self) -> AbstractContextManager[None]:
        return taken(member._lock for member in self._members)

    def _undo(self, parameters: bool = True) -> Callable[[], None]:
        """Return a function that undoes the changes of all members, see `Model._undo`."""
        before, undos = self._history, [member._undo(parameters) for member in self._members]

        def undo() -> None:
            self._history = before
            with contextlib.ExitStack() as stack:  # undo all, even if one fails
                for each in undos:
                    stack.callback(each)

        return undo

    def _team(self, n_threads: Any) -> AbstractContextManager[Team | None]:
        limit = default_threads() if n_threads is None else None
        wanted = limit or check_count("n_threads", n_threads, example=2)
        return borrowed_team(min(wanted, len(self._members)), limit)

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
