"""Ensembles of networks, trained together in one native call, each on one thread at a time."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from numpy.typing import ArrayLike, NDArray

from fastmlp._core.fit_lock import taken
from fastmlp._core.history import History
from fastmlp._core.keywords import explained
from fastmlp._engine.exportable import Exportable
from fastmlp._engine.thread_count import call_team
from fastmlp._export.layers import Exported, joined
from fastmlp._files import storage
from fastmlp._models.ensemble.fit import EnsembleLearner
from fastmlp._models.ensemble.predictor import EnsemblePredictor
from fastmlp._models.mlp import MLP
from fastmlp._models.summary import summary
from fastmlp._validation import check


@explained
class Ensemble(EnsembleLearner, Exportable):
    """Networks of equal shape that are trained together; their mean is the prediction.

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
                "for example [MLP([8, 32, 1], rng=seed) for seed in range(5)]"
            )
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
        """The networks; each has its own ``history``."""
        return self._members

    @property
    def history(self) -> History | None:
        """History of the last fit: the members' mean loss, and the ensemble's validation loss."""
        return self._history

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all members together."""
        return len(self) * self._spec.n_parameters

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
        head = f"{len(self)} members, {self.n_parameters:,} parameters; each member:"
        return f"{head}\n{summary(self._spec)}"

    def _repr_html_(self) -> str:
        """Return the summary for notebooks."""
        return f"<p>{self.summary().splitlines()[0]}</p>{self[0]._repr_html_()}"

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> MLP:
        return self._members[index]

    def __iter__(self) -> Iterator[MLP]:
        return iter(self._members)

    def predict(self, X: ArrayLike) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
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
        return self._heads(self._engines().mix(self._predictions(X)))

    def member_predictions(self, X: ArrayLike) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
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
        """Return the loss of the ensemble's prediction, a weighted mean over samples.

        Parameters
        ----------
        X, y, sample_weight
            As for ``MLP.evaluate``.
        """
        first = self._members[0]
        data = check.data(X, y, sample_weight, first._spec)
        with call_team(first._n_weights, data.x.shape[0]) as team:
            return self._engines().evaluate(data, team)

    def _heads(self, p: NDArray[Any]) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Return predictions (..., heads * outputs) in the shape of the user's targets."""
        if not all(member._flat_y for member in self._members):
            return self._engines().heads(p)  # type: ignore[no-any-return]
        return p[..., 0] if p.shape[-1] == 1 else (p[..., 0], p[..., 1])

    def _predictions(self, X: ArrayLike) -> NDArray[Any]:
        first = self._members[0]
        x = check.inputs(X, first._spec, empty=True)
        with call_team(first._n_weights, x.shape[0]) as team:
            return self._engines().predict(x, team)

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
        each = enumerate(member.state_dict() for member in self._members)
        return {f"members.{k}.{name}": a for k, state in each for name, a in state.items()}

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
        locks = [member._lock for member in self._members if not member._lock.is_mine()]
        with taken(locks):
            engines = self._engines()
            before = engines.snapshot()
            try:
                for k, member in enumerate(self._members):
                    names = {name: f"members.{k}.{name}" for name in member.state_dict()}
                    member.load_state_dict({name: state[whole] for name, whole in names.items()})
            except BaseException:
                engines.restore(before)
                raise

    def _exported(self) -> Exported:
        return joined(member._exported() for member in self._members)

    def __getstate__(self) -> dict[str, Any]:
        return {"_members": self._members, "_history": self._history and self._history.whole()}

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # see MLP

    def __repr__(self) -> str:
        return f"fastmlp.Ensemble({len(self)} x {self._members[0]!r})"
