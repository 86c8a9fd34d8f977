"""One row of a table -> its prediction, in microseconds: all that can be prepared is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Column, Columns, Table
from fastmlp.tabular.encoding import Encoding, Numbers
from fastmlp.tabular.members import Members
from fastmlp.tabular.targets import Scale

Array = NDArray[Any]


class RowPredictor:
    """A fitted estimator of tables as a function of one row, made by its ``predictor()``.

    It holds copies of the weights: another fit does not change it. It is safe to call from many
    threads at once.

    Parameters
    ----------
    columns : Columns
        Of the fit.
    blend : Blend
        What predicts.
    finish : callable
        From the prediction of all members, (1, columns), to what is returned.

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

    def __init__(self, columns: Columns, blend: Blend, finish: Callable[[Array], Array]) -> None:
        self._n = len(columns.names)
        self._numbers = columns.numbers
        self._categories = [
            (k, column, {value: code for code, value in enumerate(column.values or ())})
            for k, column in columns.categories
        ]
        self._groups = [_Group(group) for group in blend.groups]
        self._weights, self._finish = blend.weights, finish

    def __call__(self, row: Sequence[Any]) -> Array:
        """Predict one row.

        Parameters
        ----------
        row : sequence, length n_features
            Values in the order of the columns of the fit: numbers, text, truth values; None or NaN
            where missing.

        Returns
        -------
        array of float64, shape (n_outputs,), or () for one number
            The bits of ``predict`` of a regressor, or ``predict_proba``, of a table of this row.

        Raises
        ------
        ValueError
            If the row has another length, or no number where numbers were.
        """
        if len(row) != self._n:
            raise ValueError(f"the row has {len(row)} values but {self._n} are expected")
        numbers = np.array([_number(row[k], column) for k, column in self._numbers])
        codes = [_code(row[k], column, codes) for k, column, codes in self._categories]
        each = [group.predict(numbers, np.array(codes, np.int32)) for group in self._groups]
        found = np.tensordot(self._weights, np.stack(each), axes=1)
        return self._finish(np.asarray(found))[0]  # type: ignore[no-any-return]


def _number(value: Any, column: Column) -> float:
    if isinstance(value, float) and abs(value) < np.inf:
        return value
    return float(column.read(_series(value))[0])  # which refuses what is none


def _code(value: Any, column: Column, codes: dict[Any, int]) -> int:
    if isinstance(value, str) and value in codes:
        return codes[value]
    return int(column.read(_series(value))[0])


def _series(value: Any) -> Array:
    """Return a column of one row."""
    series = np.empty(1, object)
    series[0] = value
    return series


class _Group:
    """Members of a recipe, whose measures are stacked: a row for each member."""

    def __init__(self, group: Members) -> None:
        encodings, self._target = group.encodings, group.target
        numbers = zip(*(encoding.numbers for encoding in encodings), strict=True)
        known = zip(*(encoding.known for encoding in encodings), strict=True)
        first = encodings[0]
        self._encoding = Encoding(
            Numbers(*map(np.stack, numbers)),
            tuple(map(np.stack, known)),
            first.with_missing,
            first.bins,
        )
        scaled = group.scales[0] is not None
        self._scale = Scale(*map(np.stack, zip(*group.scales, strict=True))) if scaled else None
        self._predictors = [member.predictor() for member in group.ensemble]

    def predict(self, numbers: Array, codes: Array) -> Array:
        """Return the prediction of all, (1, columns)."""
        n = len(self._predictors)
        table = Table(
            np.broadcast_to(numbers, (n, len(numbers))), np.broadcast_to(codes, (n, len(codes)))
        )
        inputs = self._encoding.inputs(table)
        z = np.stack([p(x) for p, x in zip(self._predictors, inputs, strict=True)])
        each = self._target.decode(self._scale, z)[:, np.newaxis]
        spread = np.var(each[:, :, : self._target.outputs], axis=0)
        return np.asarray(self._target.mixed(each.mean(axis=0), spread))
