"""Ensembles of networks, trained together in one native call, each on one thread at a time."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Self

from numpy.typing import ArrayLike, NDArray

from fastmlp._core.history import History
from fastmlp._core.intervals import check_count, check_flag
from fastmlp._core.keywords import ATTRIBUTES, SYNONYMS, with_argument_hints
from fastmlp._core.user_warnings import warn
from fastmlp._engine import linked
from fastmlp._engine.explainable import Explainable
from fastmlp._engine.exportable import Exportable
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_count import call_team, default_threads
from fastmlp._engine.thread_pool import Team, borrowed_team
from fastmlp._files import storage
from fastmlp._models.ensemble import member_data
from fastmlp._models.ensemble.member_data import ValidationData
from fastmlp._models.ensemble.members import EnsembleEvaluator, Networks, Scorer
from fastmlp._models.ensemble.predictor import EnsemblePredictor
from fastmlp._models.fit import Fit, FitOptions, one_pass
from fastmlp._models.mlp import MLP
from fastmlp._models.network import Network, network_of
from fastmlp._models.trainer import Trainer
from fastmlp._network.averaging import Averaging
from fastmlp._network.data import Data
from fastmlp._network.exported import Exported, joined
from fastmlp._network.groups import Groups
from fastmlp._network.names import OptimizerName
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.scheduled import Scheduled
from fastmlp._network.spec import Predictions
from fastmlp._training import planning, scales
from fastmlp._training.callback_list import Callback
from fastmlp._training.callbacks import Best
from fastmlp._training.planning import GivenRows, StepOptions
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal

LIST = "[MLP([8, 32, 1], rng=seed) for seed in range(5)]"  # an example, for messages
OTHERS = "n n_members n_estimators layer_sizes rng seed random_state"
DERIVATIVES = "jacobian hessian jvp vjp hvp gradients input_gradient input_gradients"


@functools.partial(
    with_argument_hints,
    synonyms=(((f"members={LIST}",), OTHERS), *SYNONYMS),
    attributes=((("members: the mean of theirs",), DERIVATIVES), *ATTRIBUTES),
)
class Ensemble(Exportable, Explainable):
    """Several networks that are trained and predict together: their mean, and their spread.

    Take it for smaller errors, and to see how sure a prediction is: where members differ, it is
    not.

    Parameters
    ----------
    members : iterable of MLP
        At least one network; all have equal options, but may differ in weights and generators. Each
        can still be used and trained alone.

    Raises
    ------
    TypeError, ValueError
        If an entry is not an MLP, the options differ, or a network occurs twice.

    Notes
    -----
    Each member gets the same bits as if it were trained alone, whatever the number of threads and
    the other members. Members with one common generator draw from it in turn.

    During a fit, other threads cannot copy, pickle or save the ensemble, see ``MLP``; their
    predictions, predictors and exports may mix members of the last epoch with members of the next.
    A copy or pickle that was started before a fit must be complete before the fit starts.

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
        if not isinstance(members, Iterable):
            raise TypeError(
                f"members has type {type(members).__name__} but a list of MLPs is expected: pass "
                f"for example {LIST}"
            )
        self._members = tuple(members)
        if not self._members:
            raise ValueError("members is empty but at least one MLP is expected")
        first, networks = self._members[0], list[Network]()
        for k, member in enumerate(self._members):
            if not isinstance(member, MLP):
                raise TypeError(
                    f"members[{k}] has type {type(member).__name__} but an MLP is expected: pass "
                    f"for example {LIST}"
                )
            networks.append(network_of(member))
            if type(member) is not type(first) or networks[k].spec != networks[0].spec:
                raise ValueError(
                    f"members[{k}] is {member!r} but {first!r} is expected: all need "
                    "the same layers, activations, loss, dtype and other options"
                )
        if len(set(map(id, self._members))) < len(self._members):
            raise ValueError(f"one MLP is in members twice: make each anew, for example {LIST}")
        self._network = Networks(networks)

    @property
    def members(self) -> tuple[MLP, ...]:
        """The networks; each has its own ``history``."""
        return self._members

    @property
    def history(self) -> History | None:
        """History of the last fit: the members' mean loss, and the ensemble's validation loss."""
        return self._network.history

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all members together."""
        return len(self) * self._network.spec.n_parameters

    def summary(self) -> str:
        """Return a table of the layers of one member, and the number of members.

        Examples
        --------
        >>> import fastmlp
        >>> print(fastmlp.Ensemble(fastmlp.MLP([4, 1], rng=k) for k in range(3)).summary())
        3 members, 15 parameters; each member:
        layer  inputs  outputs  activation  options  parameters
            0       4        1  identity                      5
        total                                                 5
        """
        from fastmlp._models.summary import summary

        head = f"{len(self)} members, {self.n_parameters:,} parameters; each member:"
        return f"{head}\n{summary(self._network.spec)}"

    def _repr_html_(self) -> str:
        """Return the first line of the summary, and that of a member, as HTML for notebooks."""
        return f"<p>{self.summary().splitlines()[0]}</p>{self[0]._repr_html_()}"

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> MLP:
        return self._members[index]

    def __iter__(self) -> Iterator[MLP]:
        return iter(self._members)

    def fit(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike] | None = None,
        *,
        rows: Sequence[ArrayLike] | None = None,
        validation_rows: Sequence[ArrayLike] | None = None,
        scorer: Scorer | None = None,
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
        dy: ArrayLike | Sequence[ArrayLike] | None = None,
        dy_weight: float = 1.0,
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
        scorer : callable (epoch, predictions) -> float, optional
            Scorer of the members' predictions for the validation rows or data, lower is better;
            ``history.val_loss`` records it instead of the loss. The fit ends with the weights of
            the epoch with the lowest score, of equal epochs the last. Epochs count from 0; there is
            one prediction per member, (n, outputs) or a tuple of two such arrays.
        sample_weight : array-like, shape (n,), or sequence of these, optional
            Weights for all members, or a list with one array per member. Weights of single targets,
            shape (n, outputs), are an array, or a list of them.
        dy, dy_weight
            Derivatives by the inputs, as for ``MLP.fit``, for all members, or a list where X is
            one. Validation losses of an ensemble are those of the values alone.
        averaging : EMA or SWA, optional
            Averaging of each member's weights, as for ``MLP.fit``.
        drop_last : bool
            Whether to skip, in each epoch, the rows after the last full batch. Fewer rows than
            ``batch_size`` are one batch.
        callbacks : iterable of callables
            As for ``MLP.fit``. ``EarlyStopping`` selects one epoch for all members by the
            ensemble's loss; with a ``scorer`` it only ends the fit; the score selects the epoch.
        n_threads : int, optional
            Number of threads, at most one per member; by default all that are available.
        resume : bool, str or path
            Whether to continue the last fit of all members, as for ``MLP.fit``. Pass the path of a
            ``fastmlp.Checkpoint`` to also restore the best epoch of a ``scorer``.
        epochs, batch_size, optimizer, l1, l2, clip_norm, groups, dropout, shuffle, verbose
            As for ``MLP.fit``, applied to every member; by default always 20 epochs of ``Adam()``.

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
        >>> history = ensemble.fit(x, y, rows=others, validation_rows=folds, scorer=mean_error)
        >>> len(history.val_loss), min(history.val_loss) < history.val_loss[0]
        (20, True)
        """
        network = self._network
        with network.taken():
            given = GivenRows(X, y, sample_weight, dy, dy_weight)
            data = member_data.datas(given, network.spec, len(self._members))
            if network.history is None and data[0].x is data[-1].x:  # rows of all members
                scales.warn_of_arrays(X, y, data[0], network.spec)
            options = StepOptions(optimizer, l1, l2, clip_norm, groups, dropout)
            orders = None if rows is None else member_data.learned(rows, data)
            drops_last = check_flag("drop_last", drop_last)
            plans = self._plans(data, batch_size, options, orders, drops_last)
            held = self._held(validation_data, validation_rows, scorer, data)
            checked = FitOptions.of(
                epochs, batch_size, shuffle, verbose, averaging, callbacks, resume, "Ensemble"
            )
            if scorer is not None:  # first, because they finish in reverse order
                checked = checked._replace(callbacks=[Best(), *checked.callbacks])
            fit = Fit(
                model=self,
                network=network,
                members=network.members,
                data=data,
                plans=plans,
                fingerprint_data=member_data.fingerprint_data(data, plans, held),
                make_evaluator=functools.partial(EnsembleEvaluator, held=held, score=scorer),
                has_validation=held is not None,
                team=self._team(n_threads),
                options=checked,
                is_joint=True,
            )
            history = fit.run(Trainer)
        if len({member.weights[0].tobytes() for member in self._members}) < len(self._members):
            warn(
                "some members have the same weights, so that their spread says nothing: make each "
                f"with its own seed, for example {LIST}"
            )
        return history

    def partial_fit(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike] | None = None,
        *,
        sample_weight: ArrayLike | Sequence[ArrayLike] | None = None,
        dy: ArrayLike | Sequence[ArrayLike] | None = None,
        dy_weight: float = 1.0,
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
        X, y, sample_weight, dy, dy_weight, n_threads
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
            As for :meth:`fit`; all members then have the weights from before the call. As for
            :meth:`MLP.partial_fit`, the optimizers' states may be lost.
        """
        network = self._network
        with network.taken():
            given = GivenRows(X, y, sample_weight, dy, dy_weight)
            data = member_data.datas(given, network.spec, len(self._members))
            options = StepOptions(optimizer, l1, l2, clip_norm, groups, dropout)
            plans = self._plans(data, batch_size, options)
            return one_pass(network.members, data, plans, self._team(n_threads))

    def predict(self, X: ArrayLike) -> Predictions:
        """Return the mean of the members' predictions.

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
            Inputs, as for ``MLP.predict``.

        Returns
        -------
        array of shape (n, outputs), or tuple (means, variances) of such arrays
            Predictions as from ``MLP.predict``, of shape (n,) if all members return that shape. For
            gaussian_nll the mean and variance of the mixture of the members.
        """
        return self._heads(self._network.engine.mix(self._predictions(X)))

    def member_predictions(self, X: ArrayLike) -> Predictions:
        """Return the predictions of each member, shape (members, n, outputs), or a tuple of two.

        The shape is (members, n) where :meth:`predict` returns (n,).

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
            Inputs, as for ``MLP.predict``.
        """
        return self._heads(self._predictions(X))

    def evaluate(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return how bad the mean predictions are: their loss, a weighted mean over samples.

        With gaussian_nll each member predicts a normal distribution: the loss is that of the one
        that has the mean and the variance of all of them together.

        Parameters
        ----------
        X, y, sample_weight
            As for ``MLP.evaluate``.
        """
        network = self._network
        data = check.data(X, y, sample_weight, network.spec)
        with call_team(network.spec.n_weights, data.x.shape[0]) as team:
            return network.engine.evaluate(data, team)

    def save(self, path: str | os.PathLike[str], *, training: bool = True) -> None:
        """Write all members to one file, for :func:`fastmlp.load`.

        Parameters
        ----------
        path, training
            As for ``MLP.save``.

        Raises
        ------
        OSError, TypeError
            As for ``MLP.save``.
        """
        storage.save(self, path, training)

    __call__ = predict  # PyTorch and Keras have it, too

    def predictor(
        self,
        n_threads: int | None = None,
        *,
        weights: str | None = None,
        X: ArrayLike | None = None,
    ) -> EnsemblePredictor:
        """Return a function with a copy of the current weights, fast for single rows.

        Parameters
        ----------
        n_threads : int, optional
            Largest number of threads for large batches, as for ``MLP.predictor``.
        weights, X : optional
            Narrower type of the weights and rows to calibrate it, as for ``MLP.predictor``.

        Examples
        --------
        >>> import fastmlp, numpy as np
        >>> ensemble = fastmlp.Ensemble(fastmlp.MLP([2, 8, 1], rng=k) for k in range(3))
        >>> ensemble.predictor()(np.zeros(2, np.float32)).shape
        (1,)
        """
        return EnsemblePredictor(
            member.predictor(n_threads, weights=weights, X=X) for member in self._members
        )

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters: ``members.0.layers.0.weight`` and so on.

        Examples
        --------
        >>> import fastmlp
        >>> list(fastmlp.Ensemble([fastmlp.MLP([3, 2], rng=0)]).state_dict())
        ['members.0.layers.0.weight', 'members.0.layers.0.bias']
        """
        states = enumerate(member.state_dict() for member in self._members)
        return {f"members.{k}.{name}": a for k, state in states for name, a in state.items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Set the parameters of all members, or of none if there is an error.

        Parameters
        ----------
        state : mapping of str to array
            Arrays with exactly the names and shapes of :meth:`state_dict`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As for ``MLP.load_state_dict``; no member has changed then.
        """
        check.names(state, list(self.state_dict()), "state")
        with self._network.taken(held=True):
            engines = self._network.engine
            before = engines.snapshot()
            try:
                for k, member in enumerate(self._members):
                    names = {name: f"members.{k}.{name}" for name in member.state_dict()}
                    member.load_state_dict({name: state[whole] for name, whole in names.items()})
            except BaseException:
                engines.restore(before)
                raise

    def _plans(
        self,
        data: list[Data],
        batch_size: Any,
        options: StepOptions,
        orders: member_data.RowNumbers | None = None,
        drops_last: bool = False,
    ) -> list[Plan]:
        """Return the plan of each member; without a batch size, all its rows are one batch."""
        numbers = [samples.rows for samples in data]
        most = max(numbers) if batch_size is None else batch_size
        checked = planning.plan(self._network.spec, max(numbers), most, options)
        if orders is not None:
            numbers = [len(order) for order in orders]
        return [
            replace(
                checked,
                batch_size=min(checked.batch_size, rows),
                order=None if orders is None else orders[k],
                drops_last=drops_last,
            )
            for k, rows in enumerate(numbers)
        ]

    def _team(self, n_threads: Any) -> AbstractContextManager[Team | None]:
        limit = default_threads() if n_threads is None else None
        most = limit or check_count("n_threads", n_threads, example=2)
        return borrowed_team(min(most, len(self._members)), limit)

    def _held(self, data: Any, rows: Any, scorer: Any, datas: list[Data]) -> ValidationData | None:
        """Return the checked validation data; None without any."""
        if scorer is not None and not callable(scorer):
            raise TypeError(
                f"scorer is {scorer!r} but a callable (epoch, predictions) -> float is expected"
            )
        if rows is not None and data is not None:
            raise refusal("validation_data", "validation_rows")
        if rows is not None:
            return member_data.held_out(rows, datas)
        checked = check.validation(data, self._network.spec)
        if checked is None and scorer is not None:
            raise ValueError(
                "scorer is given but there is nothing to score: pass validation_rows, or "
                "validation_data=(X, y)"
            )
        return None if checked is None else ValidationData.shared(checked, len(self._members))

    def _heads(self, p: NDArray[Any]) -> Predictions:
        """Return predictions (..., heads * outputs) in the shape of the user's targets."""
        return self._network.spec.loss.shaped(p, self._network.flat_y)

    def _predictions(self, X: ArrayLike) -> NDArray[Any]:
        network = self._network
        x = check.inputs(X, network.spec, empty=True)
        with call_team(network.spec.n_weights, x.shape[0]) as team:
            return network.engine.predict(x, team)

    def _exported(self) -> Exported:
        return joined(linked.exported(network.engine) for network in self._network.members)

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # see MLP

    def __repr__(self) -> str:
        return f"fastmlp.Ensemble({len(self)} x {self._members[0]!r})"
