"""Many networks of one shape, trained together: one native call an epoch, one thread a network."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp import check, plans
from fastmlp.averaging import Averaging
from fastmlp.callbacks import Progress
from fastmlp.functions.optimizer import CustomOptimizer
from fastmlp.groups import Groups
from fastmlp.intervals import check_count
from fastmlp.members import Jury, Members, mixture
from fastmlp.mlp import MLP
from fastmlp.optimizers import Optimizer
from fastmlp.schedules import Scheduled
from fastmlp.spec import Data, Plan
from fastmlp.teams import borrowed_team
from fastmlp.threads import call_team, default_threads
from fastmlp.training import loop
from fastmlp.training.averages import Average
from fastmlp.training.loop import Course, Shuffles
from fastmlp.training.rates import Rates
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
                    "the same layers, activations, loss, dtype and other options"
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
        epochs: int = 20,
        batch_size: int = 64,
        optimizer: Optimizer | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        groups: Groups | None = None,
        dropout: Scheduled | Sequence[Scheduled] | None = None,
        averaging: Averaging | None = None,
        validation_data: Sequence[ArrayLike] | None = None,
        sample_weight: ArrayLike | Sequence[ArrayLike] | None = None,
        shuffle: bool = True,
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
        sample_weight : array-like, shape (n,), or sequence of these, optional
            For all members, or one for each.
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Evaluated after each epoch: the ensemble's loss, as :meth:`evaluate`, which callbacks
            see, and that of each member.
        averaging : EMA or SWA, optional
            Of the weights of each member, as for ``MLP.fit``.
        callbacks : iterable of callables
            ``EarlyStopping`` chooses one epoch for all members, by the ensemble's loss.
        n_threads : int, optional
            Threads to use, one a member; by default what the machine allows.
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
            As for ``MLP.fit``; all members are at the last whole epoch.
        """
        history = History()
        with contextlib.ExitStack() as stack:
            for member in self._members:
                stack.enter_context(member._turn.taken())
            datas = self._datas(X, y, sample_weight)
            given = batch_size, optimizer, l1, l2, clip_norm, groups, dropout
            mine = [plans.plan(member._spec, data, *given) for member, data in self._with(datas)]
            if isinstance(mine[0].optimizer, CustomOptimizer):
                raise TypeError(
                    f"optimizer is {mine[0].optimizer!r} but an ensemble is trained in one native "
                    "call: fit the members one by one, each with MLP.fit"
                )
            self._choose(rows, datas, mine)
            epochs = check_count("epochs", epochs, example=20)
            averaging = check.averaging(averaging)
            hooks = check.callbacks(callbacks, "an ensemble trains whole epochs in one call")
            wanted = default_threads() if n_threads is None else n_threads
            n_threads = min(check_count("n_threads", wanted, example=2), len(self))
            validation = check.validation(validation_data, self._members[0]._spec)
            if verbose:
                hooks.append(Progress())
            stack.enter_context(self._kept(history))
            for member in self._members:
                stack.enter_context(member._kept(lambda: len(history.loss) > 0))
                member._progress, member._history = None, History()
            self._history = history
            course = self._course(history, datas, mine, epochs, validation, hooks, shuffle)
            with borrowed_team(n_threads) as mine[0].team, course.reporter.watching():
                for member, plan in self._with(mine):
                    member._engine.start(plan.optimizer)
                    plan.seed = loop.next_seed(member._rng)
                if averaging is not None:
                    course.averages = [Average(averaging, each._engine) for each in self._members]
                loop.run(datas[0], mine[0], course)
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
        predictions = self._predictions(X)
        return self._heads(mixture(self._members[0].loss, predictions))

    def member_predictions(self, X: ArrayLike) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Return the predictions of each member, (members, n, outputs), or a tuple of two such.

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
            As for ``MLP.predict``.
        """
        return self._heads(self._predictions(X))

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

    def _course(
        self,
        history: History,
        datas: list[Data],
        mine: list[Plan],
        epochs: int,
        validation: Data | None,
        callbacks: Sequence[Callback],
        shuffle: bool,
    ) -> Course:
        """Return what goes through the loop: the first member leads, the others do as it does."""
        engines = self._engines()
        jury = Jury(engines, validation)
        state = State(self, epochs, history, validation is not None, engine=engines)
        rates = [Rates(plan.optimizer.learning_rate) for plan in mine]
        orders = [Shuffles(m._engine.shuffle, m._rng) if shuffle else None for m in self._members]
        for data, plan in zip(datas, mine, strict=True):
            if shuffle and plan.order is None:
                plan.order = np.arange(data.x.shape[0], dtype=np.int64)

        def train(lead: Data, plan: Plan) -> float:
            del lead
            epoch = state.epoch + 1
            for k in range(1, len(mine)):
                loop.begin(mine[k], rates[k], orders[k], state.learning_rate_scale)
                rates[k].step += loop.look_up(mine[k], datas[k], rates[k], rates[k].step)
            learners = course.learners(engines.engines)
            losses = type(learners[0]).train_many(learners, datas, mine, plan.team)
            for k, loss in enumerate(losses):
                if not math.isfinite(loss):
                    raise loop.diverged(loss, mine[k], epoch, state, f"training of member {k}")
            jury.losses = losses
            return float(np.mean(losses))

        def keep() -> None:
            """Bring the members' histories up to date; once more does no harm."""
            for k, member in enumerate(self._members):
                own = member._history
                assert own is not None
                seen = len(own.loss)
                new = jury.epochs[seen : len(history.loss)]
                own.val_loss[seen:] = [apart[k] for _, apart in new if apart]
                own.seconds[seen:] = history.seconds[seen:]
                own.learning_rate[seen:] = [float(mine[k].learning_rates[-1])] * len(new)
                own.loss[seen:] = [losses[k] for losses, _ in new]  # last, see History.whole

        reporter = Reporter(state, callbacks)
        reporter.keep = keep
        course = Course(train, rates[0], jury, reporter, orders[0])
        return course

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

    def _datas(self, X: Any, y: Any, sample_weight: Any) -> list[Data]:
        """Return the data of each member; what is one for all is checked, and kept, once."""
        apart = isinstance(X, list | tuple | np.ndarray) and len(X) > 0 and np.ndim(X[0]) >= 2
        weighted = (
            isinstance(sample_weight, list | tuple | np.ndarray)
            and len(sample_weight) > 0
            and np.ndim(sample_weight[0]) >= 1
        )
        for name, value, is_apart in (
            ("X", X, apart),
            ("y", y, apart),
            ("sample_weight", sample_weight, weighted),
        ):
            if is_apart and (not hasattr(value, "__len__") or len(value) != len(self)):
                raise ValueError(
                    f"{name} has {len(value) if hasattr(value, '__len__') else 'no'} entries but "
                    f"one for each of the {len(self)} members is expected, or an array for all"
                )
        spec = self._members[0]._spec
        weights = sample_weight if weighted else [sample_weight] * len(self)
        if apart:
            return [check.data(*each, spec) for each in zip(X, y, weights, strict=True)]
        shared = check.data(X, y, None, spec)
        n = shared.x.shape[0]
        checked = [check.sample_weights(each, n, spec.dtype) for each in weights]
        return [Data(shared.x, shared.targets, each) for each in checked]

    def _choose(self, rows: Any, datas: list[Data], mine: list[Plan]) -> None:
        """Put the rows that each member learns from into its plan."""
        if rows is None:
            return
        if not hasattr(rows, "__len__") or len(rows) != len(self):
            raise ValueError(
                f"rows has type {type(rows).__name__} but an array of row numbers for "
                f"each of the {len(self)} members is expected"
            )
        for k, (own, data, plan) in enumerate(zip(rows, datas, mine, strict=True)):
            plan.order = check.row_numbers(own, data.x.shape[0], f"rows[{k}]")
            plan.batch_size = min(plan.batch_size, len(plan.order))

    # ---- of a prediction -------------------------------------------------------------------------

    def _engines(self) -> Members:
        return Members([member._engine for member in self._members])

    def _predictions(self, X: ArrayLike) -> NDArray[Any]:
        first = self._members[0]
        x = check.inputs(X, first._spec, empty=True)
        with call_team(first._n_weights, x.shape[0]) as team:
            return self._engines().predict(x, team)

    def _heads(self, p: NDArray[Any]) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        if not self._members[0]._two_headed:
            return p
        m = self._members[0]._spec.n_outputs
        return p[..., :m], p[..., m:]

    def __getstate__(self) -> dict[str, Any]:
        return {"_members": self._members, "_history": self._history and self._history.whole()}

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # see MLP

    def __repr__(self) -> str:
        return f"fastmlp.Ensemble({len(self)} x {self._members[0]!r})"
