"""The result of an explanation: a value to read, print and plot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastmlp._core.optional import require
from fastmlp._core.printable import printable
from fastmlp._explain.explained import Array

MOST_SHOWN = 10  # columns in the text


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Contributions of columns to predictions; :func:`fastmlp.explain` makes it.

    In each row the values and the base add up to the prediction.

    Parameters
    ----------
    values : array of float64, shape (rows, columns) or (rows, columns, outputs)
        Shapley values, in the units of the prediction: those of the target, probabilities, or
        log-odds. Without the last axis if there is one output.
    base : array of float64, shape () or (outputs,)
        The mean prediction of the background.
    standard_errors : array of float64, shape of values
        Standard errors of the sampling, for this background; 0 if all coalitions were used.
    data : array, shape (rows, columns)
        The explained rows as they were given.
    names : tuple of str
        Names of the columns.
    outputs : tuple of str
        Names of the outputs: classes, labels or targets.
    left_out : dict
        Why the fit uses some of the columns not at all, such as "constant", or "the same as a"; by
        their names. Their values are 0.
    background : int
        Number of rows of the background.
    unit : str
        "prediction", "probability" or "log-odds".

    Examples
    --------
    >>> import fastmlp, numpy as np
    >>> net = fastmlp.MLP([3, 8, 1], rng=0, dtype="float64")
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> explanation = net.explain(X)
    >>> p = explanation.base + explanation.values.sum(axis=1)
    >>> bool(abs(p - net.predict(X)[:, 0]).max() < 1e-12)
    True
    """

    values: Array
    base: Array
    standard_errors: Array
    data: Array
    names: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    background: int = 0
    unit: str = "prediction"

    def __len__(self) -> int:
        return len(self.values)

    @property
    def predictions(self) -> Array:
        """The predictions: the base and the values of each row, (rows,) or (rows, outputs)."""
        return np.asarray(self.base + self.values.sum(axis=1))

    @property
    def mean_absolute(self) -> Array:
        """Mean absolute value of each column, over rows and outputs, (columns,)."""
        axes = tuple(axis for axis in range(self.values.ndim) if axis != 1)
        return np.asarray(np.abs(self.values).mean(axis=axes) if len(self) else self.values.sum(0))

    def __repr__(self) -> str:
        """Return the base, and the mean absolute contributions of the most important columns."""
        size = self.mean_absolute
        largest = self.standard_errors.max(initial=0.0)
        base = ", ".join(f"{number:.4g}" for number in np.ravel(self.base)[:MOST_SHOWN])
        lines = [
            f"contributions to {len(self):,} predictions ({self.unit}), beside {base}, the mean of "
            f"{self.background:,} background rows; "
            + (f"standard errors up to {largest:.2g}" if largest else "exact")
        ]
        if len(self):
            order = np.argsort(-size, kind="stable")[:MOST_SHOWN]
            names = [printable(self.names[k]) for k in order]
            width = max(map(len, names), default=0)
            more = {
                self.names[k]: f" ({self.left_out[self.names[k]]})"
                for k in order
                if self.names[k] in self.left_out
            }
            lines += [
                f"{name:<{width}}  {size[k]:10.4g}{more.get(self.names[k], '')}"
                for name, k in zip(names, order, strict=True)
            ]
        return "\n".join(lines)

    def to_frame(self) -> Any:
        """Return a pandas.DataFrame with a row for each prediction and a column for each column.

        With several outputs the columns have two levels: the output, and the column.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = require("Explanation.to_frame", "pandas")
        if self.values.ndim == 2:
            return pandas.DataFrame(self.values, columns=list(self.names))
        columns = pandas.MultiIndex.from_product([self.outputs, self.names])
        values = np.moveaxis(self.values, 2, 1).reshape(len(self), len(columns))
        return pandas.DataFrame(values, columns=columns)
