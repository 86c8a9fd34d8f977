"""The fitted state of an estimator of tables: read as one snapshot, saved, or made a predictor."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from fastmlp._core.intervals import check_count
from fastmlp._files import storage
from fastmlp._models import blockwise
from fastmlp._training.arrow import ArrowBlocks
from fastmlp.sklearn.parameters import Validated
from fastmlp.tabular import sources
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Array, Columns, Table
from fastmlp.tabular.distilled import distilled
from fastmlp.tabular.frames import check_frame, gathered, is_frame
from fastmlp.tabular.inspection import Importance
from fastmlp.tabular.predictor import RowPredictor
from fastmlp.tabular.report import Report

Method = TypeVar("Method", bound=Callable[..., Any])


def from_snapshot(method: Method) -> Method:
    """Decorate a method to read a snapshot of the fitted state, also during a concurrent fit."""

    @functools.wraps(method)
    def reading(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_is_fitted(self, "_members")
        return method(like(self, vars(self)), *args, **kwargs)

    return reading  # type: ignore[return-value]


def like(estimator: Any, values: Mapping[str, Any]) -> Any:
    """Return an estimator of the same class with these attributes."""
    draft = object.__new__(type(estimator))
    draft.__dict__.update(values)
    return draft


class Fitted(Validated):
    """The state of a fitted estimator, and the methods that copy or save it."""

    _trained_with: dict[str, Any]  # parameters at the time of the fit
    _columns: Columns
    _members: Blend
    _row_weights: Array | None = None  # None if all are equal
    _out: list[Array]  # rows that the k-th member of every group holds out
    _out_of_fold: Array
    _curve: list[tuple[int, float, float, float]]
    _rows: tuple[Table, Any]  # rows and target of the fit; not in copies and files
    _importance: Importance | None
    _report: Report
    best_epoch_: int
    n_outputs_: int
    rows_: Array | None = None  # None if all rows were used

    # Each estimator has its own: labels or numbers of any rows, encoded like the fitted target; and
    # a function from predictions of all members to the user's result.
    _encoded: Callable[[Any], Array]
    _finisher: Callable[[], Callable[[Array], Array]]

    # ------------------------------------------------------------ reading of rows

    def _checked(self, X: Any, reset: bool) -> Any:
        """Return a table with checked column names; ``reset`` stores them, else they must match."""
        X = gathered(X)
        if is_frame(X):
            check_frame(X)
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        with np.errstate(invalid="ignore"):  # scikit-learn sums infinities
            return validate_data(
                self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan", ensure_2d=True
            )

    def _check_rows_of_fit(self, n: int, expected: int) -> None:
        """Raise ValueError if a target for a picture of the fit has another number of rows."""
        if n != expected:
            own = "y of the fit" if self.rows_ is None else "y[model.rows_], the rows used"
            raise ValueError(
                f"y has {n} rows but the {expected} of the fit are expected: pass {own}"
            )

    def _read(self, X: Any) -> Table:
        return self._columns.read(self._checked(X, reset=False))

    def _with_rows(self, target: Any, y: Any) -> Any:
        """Return a copy of a target with the labels or numbers of other rows."""
        other = copy.copy(target)
        other.y = like(self, vars(self) | self._trained_with)._encoded(y)
        return other

    def _read_both(self, target: Any, X: Any, y: Any, names: str) -> tuple[Table, Any] | None:
        """Return rows as a table and a copy of the target; None if there are no rows."""
        if (X is None) != (y is None):
            raise ValueError(f"{names} belong together: pass both, or neither")
        if X is None:
            return None
        table, other = self._read(X), self._with_rows(target, y)
        check_consistent_length(table.numbers, other.y)
        return table, other

    def _predicted(self, X: Any, finish: Callable[[Array], Any], out: Any = None) -> Array:
        """Return the finished predictions of all members for a table, or a source by blocks."""
        tables: Iterable[Table]
        if isinstance(X, ArrowBlocks):
            n, tables = None if out is None else X.n, sources.blocks(X, self._columns)
        else:
            tables = [table := self._read(X)]
            n = len(table)
        each = (finish(self._members.predict(table)) for table in tables)
        return blockwise.joined(each, out, n)  # type: ignore[no-any-return]

    @property
    @from_snapshot
    def oof_prediction_(self) -> Array:
        """Out-of-fold predictions: members not trained on a row of the fit predict that row."""
        return self._finisher()(self._out_of_fold).copy()

    # ------------------------------------------------------------ copies and files

    @from_snapshot
    def predictor(self) -> RowPredictor:
        """Return the fitted estimator as a function that is fast for single rows.

        Returns
        -------
        fastmlp.tabular.predictor.RowPredictor
            Computes ``predict``, for classifiers ``predict_proba``, of one row, with float32
            weights; ``to_c(weights=...)`` writes narrower ones.
        """
        return RowPredictor(self._columns, self._members, self._finisher())

    @from_snapshot
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
        seed = check_count("random_state", random_state, example=1, least=0)
        one = distilled(self._columns, self._members, self._read(X), seed)
        return RowPredictor(self._columns, one, self._finisher())

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
        storage.save(like(self, vars(self)), path, training)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_rows", None)  # pickles contain no rows
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return "_members" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = False
        return tags
