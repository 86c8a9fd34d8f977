"""Methods, files and predictors that read one consistent fit, even during a concurrent fit."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fastmlp._core.intervals import check_count
from fastmlp._files import storage
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Columns
from fastmlp.tabular.distilled import distilled
from fastmlp.tabular.export.exported import ExportedTable
from fastmlp.tabular.predictor import RowPredictor

Array = NDArray[Any]

Method = TypeVar("Method", bound=Callable[..., Any])


def of_one_moment(method: Method) -> Method:
    """Decorate a method to read a snapshot of the fitted state, also during a concurrent fit."""

    @functools.wraps(method)
    def reading(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(like(self, vars(self)), *args, **kwargs)

    return reading  # type: ignore[return-value]


def like(estimator: Any, values: dict[str, Any]) -> Any:
    """Return an estimator of the same class with these attributes."""
    draft = object.__new__(type(estimator))
    draft.__dict__.update(values)
    return draft


class Persistent:
    """Methods that save an estimator or copy it to a predictor."""

    _members: Blend
    _columns: Columns

    @of_one_moment
    def predictor(self) -> RowPredictor:
        """Return the fitted estimator as a function that is fast for single rows.

        Returns
        -------
        fastmlp.tabular.predictor.RowPredictor
            Computes ``predict``, for classifiers ``predict_proba``, of one row.
        """
        check_is_fitted(self, "_members")
        return RowPredictor(self._columns, self._members, self._finisher())

    @of_one_moment
    def distill(self, X: Any, *, random_state: int = 0) -> RowPredictor:
        """Distil all members into one network, and return it as a function of one row.

        It is as fast as a single member, and its predictions are close to those of all members,
        closer than those of single members; see docs/tabular.md. Distillation takes about as long
        as a short fit.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Typical rows, for example those of the fit; more rows give better results.
        random_state : int
            Seed; the same seed gives the same bits.

        Returns
        -------
        fastmlp.tabular.predictor.RowPredictor
            Approximates ``predict``, for classifiers ``predict_proba``, of one row.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPRegressor
        >>> X = np.random.default_rng(0).uniform(-1, 1, (99, 2))
        >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0] + X[:, 1])
        >>> p = model.distill(X)
        >>> bool(abs(p(X[0]) - model.predict(X[:1])[0]) < 0.2)
        True
        """
        check_is_fitted(self, "_members")
        seed = check_count("random_state", random_state, example=1, least=0)
        table = self._columns.read(self._checked(X, reset=False))
        one = distilled(self._columns, self._members, table, seed)
        return RowPredictor(self._columns, one, self._finisher())

    def _checked(self, X: Any, reset: bool) -> Any:
        """Return a table with checked column names; ``reset`` stores them, else they must match."""
        raise NotImplementedError

    def _finisher(self) -> Callable[[Array], Array]:
        """Return a function from predictions of all members to the user's result."""
        raise NotImplementedError

    def _exported(self) -> ExportedTable:
        """Return the fitted model as plain arrays."""
        raise NotImplementedError

    @of_one_moment
    def save(self, path: str | os.PathLike[str], *, training: bool = True) -> None:
        """Write the estimator to a file, for ``fastmlp.load``.

        The file contains parameters, columns and their categories, encodings, networks, classes,
        calibration and out-of-fold predictions. It does not contain attributes of other libraries,
        such as metadata requests.

        Parameters
        ----------
        path : str or path
            The file, which is replaced atomically; links are followed.
        training : bool
            Whether to include ``history_`` and the curve of :meth:`plot_history`.

        Raises
        ------
        OSError
            If the file cannot be written.
        TypeError, ValueError
            If a parameter is invalid, or a file cannot store it: a function as ``scoring``, or more
            than 65,536 categories. ``callbacks`` of other libraries are left out.
        """
        storage.save(self, path, training)
