"""What is read of a fit is of one fit, whoever fits meanwhile: by methods, files, predictors."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fastmlp import storage
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Columns
from fastmlp.tabular.exported import ExportedTable
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


class Kept:
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
            than 65,536 categories.
        """
        storage.save(self, path, training)
