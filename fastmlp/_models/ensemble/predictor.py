"""The predictor of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp._engine.explainable import Explainable, of_predictor
from fastmlp._engine.exportable import Exportable
from fastmlp._models.ensemble import mixture
from fastmlp._network.exported import Exported, joined
from fastmlp._network.sparse import SparseRows, is_sparse
from fastmlp._network.spec import Spec
from fastmlp._validation import check

if TYPE_CHECKING:
    from fastmlp._engine.any_predictor import Predictor


class EnsemblePredictor(Exportable, Explainable):
    """Trained networks as one fast function for single rows; ``Ensemble.predictor()`` makes it.

    It is thread-safe. Inputs are not checked for NaN; NaN in a row of x gives NaN in that row of
    the result.

    Parameters
    ----------
    members : iterable of Predictor
        Predictors of networks with equal options.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> ensemble = fastmlp.Ensemble(fastmlp.MLP([3, 8, 2], rng=k) for k in range(3))
    >>> p = ensemble.predictor()
    >>> x = np.ones((5, 3), np.float32)
    >>> bool((p(x) == ensemble.predict(x)).all()), p(x[0]).shape
    (True, (2,))
    """

    _explained = of_predictor

    def __init__(self, members: Iterable[Predictor]) -> None:
        self._members = tuple(members)

    @property
    def members(self) -> tuple[Predictor, ...]:
        """The predictors of the members."""
        return self._members

    @property
    def spec(self) -> Spec:
        """Shape and options of each network."""
        return self._members[0].spec

    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the mean of the members' predictions, or the mean and variance of their mixture.

        Parameters
        ----------
        x : array-like, shape (I,) for one row or (n, I), or sparse rows (n, I)
            Inputs, as for the predictor of an MLP.
        out : array of the model's dtype, C-contiguous, optional
            Array for the result, shape (C,) for one row, else (n, C).

        Returns
        -------
        array of the model's dtype, shape (C,) or (n, C)
            Predictions; with variances, the columns are all means, then all variances.

        Raises
        ------
        TypeError, ValueError
            If x or out is invalid.
        """
        x = check.inputs(x, self.spec, name="x", empty=True) if is_sparse(x) else x
        return self._mix(self._members, (x,), out)

    def predict(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Predict, as a call of the predictor does."""
        return self(x, out)

    def sparse(
        self, indices: ArrayLike, values: ArrayLike, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Predict one row of which the inputs ``indices`` have ``values``, and all others are 0."""
        return self._mix([member.sparse for member in self._members], (indices, values), out)

    def _mix(
        self, functions: Sequence[Callable[..., Any]], x: Sequence[Any], out: NDArray[Any] | None
    ) -> NDArray[Any]:
        """Combine what the members' functions return for x."""
        if out is not None:  # later members read x after ``out`` is written
            x = [_apart(array, out) for array in x]
        first: NDArray[Any] = functions[0](*x, out)  # checks all
        predictions = [first, *(predict(*x) for predict in functions[1:])]
        if (
            first.ndim == 1 and not self.spec.loss.predicts_variance
        ):  # faster, and the bits of `prediction`
            with np.errstate(over="ignore", invalid="ignore"):
                total = sum(predictions, np.zeros(first.shape))
                mixed = (total / len(predictions)).astype(first.dtype)
        else:
            rows = [np.atleast_2d(p) for p in predictions]
            mixed = mixture.prediction(self.spec.loss, rows).reshape(first.shape)
        if out is None:
            return mixed
        out[...] = mixed
        return out

    def _exported(self) -> Exported:
        return joined(member._exported() for member in self._members)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.spec.title}; {len(self._members)} networks>"


def _apart(x: Any, out: Any) -> Any:
    """Return x, copied if it may share memory with ``out``."""
    if isinstance(x, SparseRows):
        return x.copy() if np.may_share_memory(x.values, out) else x
    return np.array(x) if np.may_share_memory(np.asarray(x), out) else x
