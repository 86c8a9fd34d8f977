"""Many networks of one shape, trained together: one native call an epoch, one thread a network."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from numpy.typing import ArrayLike, NDArray

from fastmlp import check, plans, portions
from fastmlp.callbacks import Best, Progress
from fastmlp.groups import Groups
from fastmlp.intervals import check_count
from fastmlp.joint import Joint
from fastmlp.members import Members, Score
from fastmlp.mlp import MLP
from fastmlp.optimizers import Optimizer
from fastmlp.portions import Held
from fastmlp.schedules import Scheduled
from fastmlp.spec import Data
from fastmlp.teams import borrowed_team
from fastmlp.threads import call_team, default_threads
from fastmlp.training import loop
from fastmlp.training.records import History, State
from fastmlp.training.reporter import Callback, Reporter


class Ensemble:
    """Networks of the same shape that learn at the same time and predict together.

    Parameters
    ----------
    members : iterable of MLP
        At least one; alike but for their weights and generators. They stay what they are: each may
        be used, and trained, by itself.

    Raises
    ------
    TypeError, ValueError
        If these are no networks, or not alike, or one is there twice.

    Notes
    -----
    Each member ends with the bits that it would have alone: that depends neither on the threads
    nor on the other members. Members with one common generator draw from it in turn.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> x = np.linspace(-1, 1, 200)[:, np.newaxis]
    >>> members = [fastmlp.MLP([1, 16, 1], activation="tanh", rng=seed) for seed in range(4)]
    >>> ensemble = fastmlp.Ensemble(members)
    >>> history = ensemble.fit(x, x**2, epochs=100, optimizer=fastmlp.Adam(learning_rate=1e-2))
    >>> ensemble.predict(x).shape, ensemble.member_predictions(x).shape
    ((200, 1), (4, 200, 1))
    """

    def __init__(self, members: Iterable[MLP]) -> None:
        self._members = tuple(members)
        if not self._members:
            raise ValueError("members is empty but at least one MLP is expected")
        for k, member in enumerate(self._members):
            if not isinstance(member, MLP):
                raise TypeError(
                    f"members[{k}] has type {type(member).__name__} but an MLP is expected"
                )
            if (type(member), member._spec) != (type(self._members[0]), self._members[0]._spec):
                raise ValueError(
                    f"members[{k}] is {member!r} but {self._members[0]!r} is expected: all need "
                    "the same layers, activations, loss, dtype, dropout and layer_norm"
                )
        if len(set(map(id, self._members))) < len(self._members):
            raise ValueError("one MLP is in members twice: use copy.deepcopy, or another seed")
        self._history: History | None = None

    @property
    def members(self) -> tuple[MLP, ...]:
        """The networks; the ``history`` of each is its own."""
        return self._members

    @property
    def history(self) -> History | None:
        """Of the last fit: the members' mean loss, and the ensemble's validation loss."""
        return self._history

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> MLP:
        return self._members[index]

    def __iter__(self) -> Iterator[MLP]:
        return iter(self._members)

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
        optimizer: Optimizer | None = None,
        l2: float = 0.0,
        clip_norm: float | None = None,
        groups: Groups | None = None,
        dropout: Scheduled | Sequence[Scheduled] | None = None,
        validation_data: Sequence[ArrayLike] | None = None,
        sample_weight: ArrayLike | Sequence[ArrayLike] | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        callbacks: Iterable[Callback] = (),
        n_threads: int | None = None,
        verbose: bool = False,
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
            there is one prediction for each member, as ``MLP.predict`` returns it of its rows.
        sample_weight : array-like, shape (n,), or sequence of these, optional
            For all members, or one for each.
        drop_last : bool
            Leave out, in each epoch, the rows behind the last whole batch.
        callbacks : iterable of callables
            ``EarlyStopping`` chooses one epoch for all members, by the ensemble's loss; beside a
            ``judge`` it ends the fit, and that chooses.
        n_threads : int, optional
            Threads to use, one a member; by default what the machine allows.
        epochs, batch_size, optimizer, l2, clip_norm, groups, dropout, shuffle, verbose
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
        history = History()
        with contextlib.ExitStack() as stack:
            for member in self._members:
                stack.enter_context(member._turn.taken())
            datas = portions.datas(X, y, sample_weight, self._members[0]._spec, len(self))
            chosen = [] if rows is None else portions.row_numbers(rows, "rows", datas)
            given = batch_size, optimizer, l2, clip_norm, groups, dropout
            mine = [plans.plan(member._spec, data, *given) for member, data in self._with(datas)]
            for k, plan in enumerate(mine):
                plan.drops_last = drop_last
                if rows is not None:
                    plan.order = chosen[k]
                    plan.batch_size = min(plan.batch_size, len(plan.order))
            epochs = check_count("epochs", epochs, example=20)
            hooks = check.callbacks(callbacks)
            wanted = default_threads() if n_threads is None else n_threads
            n_threads = min(check_count("n_threads", wanted, example=2), len(self))
            held = self._held(validation_data, validation_rows, judge, datas)
            if verbose:
                hooks.append(Progress())
            if judge is not None:
                hooks.insert(0, Best())  # who comes first has the last word at the end
            stack.enter_context(self._kept(history))
            for member in self._members:
                stack.enter_context(member._kept(lambda: len(history.loss) > 0))
                member._progress, member._history = None, History()
            self._history = history
            state = State(self, epochs, history, held is not None, engine=self._engines())
            reporter = Reporter(state, hooks)
            joint = Joint(self._members, datas, mine, reporter, held, judge, shuffle)
            stack.callback(joint.keep)  # also of an epoch after which an interrupt came
            with borrowed_team(n_threads) as mine[0].team, reporter.watching():
                for member, plan in self._with(mine):
                    member._engine.start(plan.optimizer)
                    plan.seed = loop.next_seed(member._rng)
                loop.run(datas[0], mine[0], joint.course)
        return history

    def predict(self, X: ArrayLike) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Predict: the mean of the members' predictions.

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
            As for ``MLP.predict``.

        Returns
        -------
        array of shape (n, outputs), or tuple (means, variances) of such arrays
            As ``MLP.predict``; for gaussian_nll mean and variance of the mixture of the members.
        """
        engines = self._engines()
        return engines.heads(engines.mix(self._predictions(X)))  # type: ignore[no-any-return]

    def member_predictions(self, X: ArrayLike) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Return the predictions of each member, (members, n, outputs), or a tuple of two such.

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
            As for ``MLP.predict``.
        """
        return self._engines().heads(self._predictions(X))  # type: ignore[no-any-return]

    def evaluate(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the loss of what :meth:`predict` gives: weighted mean over samples.

        Parameters
        ----------
        X, y, sample_weight
            As for ``MLP.evaluate``.
        """
        first = self._members[0]
        data = check.data(X, y, sample_weight, first._spec)
        with call_team(first._n_weights, data.x.shape[0]) as team:
            return self._engines().evaluate(data, team)

    # ---- of a fit --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _kept(self, history: History) -> Iterator[None]:
        before = self._history
        try:
            yield
        except BaseException:
            if not history.loss:
                self._history = before
            raise

    def _with(self, others: Sequence[Any]) -> Iterator[tuple[MLP, Any]]:
        return zip(self._members, others, strict=True)

    def _held(self, data: Any, rows: Any, judge: Any, datas: list[Data]) -> Held | None:
        """Return what is measured after each epoch."""
        if judge is not None and not callable(judge):
            raise TypeError(
                f"judge is {judge!r} but a callable (epoch, predictions) -> float is expected"
            )
        if rows is not None and data is not None:
            raise ValueError("validation_data and validation_rows are given: pass one of them")
        if rows is not None:
            return portions.held_out(rows, datas)
        checked = check.validation(data, self._members[0]._spec)
        if checked is None and judge is not None:
            raise ValueError(
                "judge is given but there is nothing to judge: pass validation_rows, or "
                "validation_data=(X, y)"
            )
        return None if checked is None else Held.shared(checked, len(self))

    # ---- of a prediction -------------------------------------------------------------------------

    def _engines(self) -> Members:
        return Members([member._engine for member in self._members])

    def _predictions(self, X: ArrayLike) -> NDArray[Any]:
        first = self._members[0]
        x = check.inputs(X, first._spec, empty=True)
        with call_team(first._n_weights, x.shape[0]) as team:
            return self._engines().predict(x, team)

    def __getstate__(self) -> dict[str, Any]:
        return {"_members": self._members, "_history": self._history and self._history.whole()}

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # see MLP

    def __repr__(self) -> str:
        return f"fastmlp.Ensemble({len(self)} x {self._members[0]!r})"
