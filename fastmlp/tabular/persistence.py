"""What is read of a fit is of one fit, whoever fits meanwhile: by methods, files, predictors."""

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
    """Decorate a method that reads what is fitted: that is of one fit, whoever fits meanwhile."""

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
    """An estimator of tables that outlives its process, and its next fit."""

    _members: Blend
    _columns: Columns

    @of_one_moment
    def predictor(self) -> RowPredictor:
        """Return the fitted estimator as a function of one row, for single rows in a hurry.

        Returns
        -------
        fastmlp.tabular.predictor.RowPredictor
            Returns what ``predict``, or a classifier's ``predict_proba``, says of a row.
        """
        check_is_fitted(self, "_members")
        return RowPredictor(self._columns, self._members, self._finisher())

    @of_one_moment
    def distill(self, X: Any, *, random_state: int = 0) -> RowPredictor:
        """Return one network that has learned what all members say, as a function of one row.

        It is as fast as one member is, however many there are, and says nearly the same: it loses
        less than single members do, see docs/tabular.md. It takes about as long as a short fit.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Rows like those to come, for example those of the fit; the more the better.
        random_state : int
            Seed of what is drawn: the same gives the same bits.

        Returns
        -------
        fastmlp.tabular.predictor.RowPredictor
            Returns nearly what ``predict``, or a classifier's ``predict_proba``, says of a row.

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
        """Return a table; its names and their number are checked, or kept."""
        raise NotImplementedError

    def _finisher(self) -> Callable[[Array], Array]:
        """Return what turns predictions of all members into the user's; it outlives a fit."""
        raise NotImplementedError

    def _exported(self) -> ExportedTable:
        """Return what the fitted estimator predicts with, as plain arrays."""
        raise NotImplementedError

    @of_one_moment
    def save(self, path: str | os.PathLike[str], *, training: bool = True) -> None:
        """Write the estimator to a file, for ``fastmlp.load``.

        Parameters, columns and their categories, encodings, networks, classes, calibration, and
        out-of-fold predictions are in it; what others have set, such as metadata requests, is not.

        Parameters
        ----------
        path : str or path
            The file, which is replaced at one moment; a link leads to it.
        training : bool
            With ``history_`` and the curve of :meth:`plot_history`, which are empty otherwise.

        Raises
        ------
        OSError
            If it cannot be written.
        TypeError, ValueError
            If a parameter is wrong, or a file cannot hold it: a function as ``scoring``, or more
            than 65,536 categories. ``callbacks`` of other libraries are left out.
        """
        storage.save(self, path, training)
