"""Fast prediction of single rows: everything possible is prepared in advance."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from fastmlp._engine.explainable import Explainable, Explained
from fastmlp._validation.arrays import short
from fastmlp.tabular.recipe.blend import Blend, blended
from fastmlp.tabular.table.columns import PLAIN_NUMBERS, Array, Column, Columns, Table, columns_of
from fastmlp.tabular.table.forms import DATES, YEAR_FIRST
from fastmlp.tabular.table.frames import check_frame, gathered, is_frame
from fastmlp.tabular.table.rows import read_row

STEP = 1e-6  # the unit of networks' outputs is the deviation of the target
# Types of cells that need no check: of numbers, and of categories.
_PLAIN = frozenset(PLAIN_NUMBERS)
_LISTS = frozenset({list, tuple, np.ndarray})  # rows that are read as they are
_PLAIN_VALUES = _PLAIN | {str, bytes, bool, np.str_, np.bool_}


class RowPredictor(Explainable):
    """A fitted model of a table as a fast function of one row; its ``predictor()`` makes it.

    Later fits of the estimator do not change it, and it is thread-safe.

    Parameters
    ----------
    columns : Columns
        The columns of the fit.
    blend : Blend
        The trained members.
    finish : callable
        Function from the prediction of all members, (1, columns), to the result.
    classes : array, shape (n_classes,), optional
        The classes of a classifier.

    Attributes
    ----------
    classes : array, shape (n_classes,), or None
        The classes whose probabilities a classifier predicts, in their order.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import TabMLPRegressor
    >>> X = np.random.default_rng(0).uniform(-3, 3, (99, 2))
    >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0] * X[:, 1])
    >>> p = model.predictor()
    >>> bool(p([0.5, 2.0]) == model.predict([[0.5, 2.0]])[0])
    True
    """

    def __init__(
        self,
        columns: Columns,
        blend: Blend,
        finish: Callable[[Array], Array],
        classes: Array | None = None,
    ) -> None:
        self._n, self._names = len(columns.names), columns.names if columns.named else None
        self._places = np.array([k for k, _ in columns.numbers], np.int64)
        self._columns = columns
        # Of one name it would give no tuple.
        self._by_name = itemgetter(*columns.names) if self._names and self._n > 1 else None
        self._of_numbers = tuple(
            (k, frozenset() if of.form else _PLAIN, functools.partial(_cell, of), _dates_of(of))
            for k, of in columns.numbers
        )
        self._of_categories = tuple(
            (k, _PLAIN_VALUES, functools.partial(_cell, column), column.codes)
            for k, column in columns.categories
        )
        self._n_numbers = columns.n_numbers
        self._groups, self._weights = blend.groups, blend.weights.tolist()
        self._finish, self.classes = finish, classes

    def __repr__(self) -> str:
        """Return the number of values and of networks."""
        networks = sum(len(group) for group in self._groups)
        return f"<RowPredictor: call it with a row of {self._n} values; {networks} networks>"

    def __call__(self, row: Sequence[Any] | Mapping[str, Any]) -> Array:
        """Predict one row.

        Parameters
        ----------
        row : sequence, length n_features, or mapping from the names of columns
            Values in the order of the fit's columns, or by name, as in a row of a frame or a frame
            of one row: numbers, text or booleans; None or NaN where missing. Other names are
            ignored.

        Returns
        -------
        array of float64, shape (n_outputs,), or () for one number
            The same bits as ``predict``, or ``predict_quantiles`` with levels, of a regressor, or
            ``predict_proba`` of a classifier.

        Raises
        ------
        TypeError, ValueError
            If the row has a wrong length or wrong names, or a non-number in a numeric column.
        """
        numbers, codes = self._table(row)
        parts = [predict(numbers, codes) for predict in self._of_row]
        return self._finish(blended(self._weights, parts))[0]  # type: ignore[no-any-return]

    def _explained(self) -> Explained:
        from fastmlp.tabular.fitted.explained import of_table

        blend = Blend(self._groups, np.array(self._weights))
        return of_table(self._columns, blend, self._finish, self._ordered, self.classes)

    def _ordered(self, X: Any) -> Any:
        """Return a table with the columns of the fit in their order."""
        X = gathered(X)
        if self._names is None or not is_frame(X):
            return X
        places = {str(name): name for name in X.columns}
        if tuple(places) == self._names or not places.keys() >= {*self._names}:
            return X  # in their order; or `Columns.read` says what is wrong
        return X[[places[name] for name in self._names]]

    def predict(self, row: Sequence[Any] | Mapping[str, Any]) -> Array:
        """Predict one row, as a call of the predictor does."""
        return self(row)

    def jacobian(self, row: Sequence[Any] | Mapping[str, Any]) -> Array:
        """Return the derivatives of the prediction of one row by its numbers, in their units.

        Numbers are clipped smoothly, so that derivatives far outside of the training rows are near
        0; inputs that are linear in bins add slopes that are constant in a bin and jump at its
        ends. A prediction jumps at a value that occurs often. At both, the derivative is that at
        slightly larger numbers. Derivatives by dates and durations are per second.

        Parameters
        ----------
        row : sequence or mapping
            As for a call.

        Returns
        -------
        array of float64, shape (n_outputs, n_features), or (n_features,) for one number
            The derivative of each prediction by each column: NaN by categories and missing numbers,
            0 by columns that the fit left out.

        Raises
        ------
        TypeError, ValueError
            As for a call.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPRegressor
        >>> X = np.random.default_rng(0).uniform(-3, 3, (300, 2))
        >>> p = TabMLPRegressor(preset="fast", random_state=0).fit(X, X @ [1.0, 2.0]).predictor()
        >>> p.jacobian([0.5, 1.0]).round()
        array([1., 2.])
        """
        numbers, codes = self._table(row)
        derivatives = self._derivatives(numbers, codes)
        beyond = np.max([group.encoding.beyond_steps(numbers) for group in self._groups], axis=0)
        n = len(self._places)  # the numbers after these are derived
        for j in np.flatnonzero(beyond[:n] > numbers[:n]):
            moved, k = numbers.copy(), self._places[j]
            moved[j] = beyond[j]
            derivatives[k] = self._derivatives(moved, codes)[k]
        derivatives[self._places[np.isnan(numbers[:n])]] = np.nan
        derivatives[[k for k, _ in self._columns.categories]] = np.nan
        return np.moveaxis(derivatives, 0, -1)

    def _derivatives(self, numbers: Array, codes: Array) -> Array:
        """Return the derivatives of the prediction of one row, (n_features, ...)."""
        engines = zip(self._groups, self._frozen, strict=True)
        parts = [group.tangents(frozen, numbers, codes) for group, frozen in engines]
        chain = self._columns.slopes(Table(numbers[np.newaxis], codes[np.newaxis]))

        def result(step: Array) -> Array:
            z = [z + np.tensordot(step, tangents, axes=1) for z, tangents in parts]
            moved = [
                group.joint(of_group[:, np.newaxis])
                for group, of_group in zip(self._groups, z, strict=True)
            ]
            return self._finish(blended(self._weights, moved))[0]  # type: ignore[no-any-return]

        # The last steps, of outputs to predictions, are in float64: differences suffice. They are
        # small beside a probability and its distance from 1.
        floor = 1.0 if self.classes is None else 1e-7
        derivatives = np.zeros((self._n, *np.shape(result(0 * numbers))))
        for (k, _), step in zip(self._columns.numbers, chain.T, strict=True):
            size = max(
                _size(z, np.tensordot(step, tangents, axes=1), floor) for z, tangents in parts
            )
            h = STEP / size if size > 0 else 1.0
            derivatives[k] = (result(h * step) - result(-h * step)) / (2 * h)
        return derivatives

    def __getstate__(self) -> dict[str, Any]:
        prepared = "_frozen", "_of_row"
        return {name: value for name, value in vars(self).items() if name not in prepared}

    @functools.cached_property
    def _of_row(self) -> list[Callable[[Array, Array], Array]]:
        return [group.of_row() for group in self._groups]

    @functools.cached_property
    def _frozen(self) -> list[list[Any]]:
        return [[engine.frozen() for engine in group.engines()] for group in self._groups]

    def _table(self, row: Any) -> tuple[Array, Array]:
        """Return the numbers, with derived ones, and codes of a row."""
        if type(row) not in _LISTS:
            row = self._listed(row)
        if len(row) != self._n:
            raise ValueError(
                f"the row has {len(row)} values but {self._n} are expected: pass one row, X[0] for "
                "example; predict takes tables"
            )
        numbers, codes = read_row(row, self._of_numbers, self._of_categories, self._n_numbers)
        if self._columns.derived:
            self._columns.derivation(numbers, codes)
        return numbers, codes

    def _listed(self, row: Any) -> Any:
        """Return the values of a row, in the order of the fit's columns if it has names."""
        if type(row) is dict and self._by_name:
            with contextlib.suppress(KeyError):  # a name may be no text, or not there
                return self._by_name(row)
        if isinstance(row, np.ma.MaskedArray):
            return gathered(row)
        if isinstance(row, list | tuple | np.ndarray):
            return row
        if isinstance(row, str | bytes | np.number) or not hasattr(row, "__getitem__"):
            raise TypeError(
                f"the row is {short(row)} but {self._n} values are expected: pass a list of "
                "them, or a dict by the names of the columns"
            )
        if not isinstance(row, dict) and is_frame(gathered(row)):
            if len(row) != 1:
                raise ValueError(
                    f"the row is a frame of {len(row)} rows but one row is expected: pass for "
                    "example frame.iloc[0]; predict takes tables"
                )
            check_frame(row)
            names, series = columns_of(row)
            values = [series(k)[0] for k in range(len(names))]
            if self._names is None:
                return values
            row = dict(zip(names, values, strict=True))
        if not hasattr(row, "items"):
            return list(row)
        if hasattr(row, "iloc") and self._names is None:
            return list(row.to_numpy())
        by_name = {str(name): value for name, value in row.items()}
        expected = self._names or ()
        if not expected or not by_name.keys() >= set(expected):
            raise ValueError(
                f"the row has values of {', '.join(by_name)} but of "
                f"{', '.join(expected) or 'columns without names'} are expected: pass those of a "
                "row of the fit, or a list in its order"
            )
        return [by_name[name] for name in expected]


def _size(z: Array, tangents: Array, floor: float) -> float:
    """Return the largest change of outputs, relative to their distances from 0 and 1."""
    distance = np.minimum(np.abs(z), np.abs(1 - z))
    return float(np.max(np.abs(tangents) / np.maximum(distance, floor)))


def _dates_of(column: Column) -> tuple[bool, frozenset[str]] | None:
    """Return how dates of a column are read cell by cell; None if they are not."""
    form = column.form
    if form is None or form.kind not in DATES or form.layout not in ("", YEAR_FIRST):
        return None
    return form.kind == "instant", frozenset(form.missing)


def _cell(column: Column, value: Any) -> Any:
    """Return the number or code of one value of a column; other types are rejected."""
    return column.read(_series(value))[0]


def _series(value: Any) -> Array:
    """Return an object array with one element, the value."""
    series = np.empty(1, object)
    series[0] = value
    return series
