"""The result of an explanation: a value to read, print and plot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.intervals import check_count
from fastmlp._core.optional import require
from fastmlp._core.printable import printable
from fastmlp._explain import pictures
from fastmlp._explain.explained import Array
from fastmlp._validation.arrays import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SHOWN = 10  # columns in the text


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """How much each column added to each prediction; :func:`fastmlp.explain` returns it.

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

    def to_shap(self) -> Any:
        """Return a ``shap.Explanation`` with the same values, for the plots of shap.

        Raises
        ------
        ImportError
            If shap is not installed.
        """
        shap = require("Explanation.to_shap", "shap")
        base = np.broadcast_to(self.base, (len(self), *np.shape(self.base)))
        outputs = list(self.outputs) if self.values.ndim == 3 else None
        return shap.Explanation(
            self.values,
            base_values=np.array(base),
            data=self.data,
            feature_names=list(self.names),
            output_names=outputs,
        )

    def in_words(self, row: int = 0, *, output: str | None = None, most: int = 4) -> str:
        """Return a sentence about one row: its prediction, and the columns that move it most.

        Parameters
        ----------
        row : int
            Place of the row, from 0.
        output : str, optional
            One of ``outputs``, or the class or target of this name; by default the last.
        most : int
            Largest number of columns to name, at least 1; all others together count as one.

        Returns
        -------
        str
            The sentence.

        Raises
        ------
        TypeError, ValueError
            If there is no such row or output.

        Examples
        --------
        >>> import fastmlp, numpy as np
        >>> net = fastmlp.MLP([2, 1], rng=0, dtype="float64")
        >>> net.weights, net.biases = [np.array([[3.0], [-1.0]])], [np.zeros(1)]
        >>> net.explain([[1.0, 2.0]], background=np.zeros((1, 2))).in_words()
        'prediction 1, mean 0: +3 by column 0 = 1, -2 by column 1 = 2'
        """
        row, (values, base, name) = self._checked_row(row), self._of_output(output)
        most = check_count("most", most, example=4)
        labels, heights = pictures.bars(self.names, self.data[row], values[row], most)
        moves = [f"{height:+.4g} by {label}" for label, height in zip(labels, heights, strict=True)]
        about = f" of {printable(name)}" if self.values.ndim == 3 else ""
        prediction = base + values[row].sum()
        return f"{self.unit}{about} {prediction:.4g}, mean {base:.4g}: {', '.join(moves)}"

    def plot(
        self,
        row: int | None = None,
        *,
        output: str | None = None,
        most: int = MOST_SHOWN,
        ax: Axes | None = None,
    ) -> Axes:
        """Plot how columns lead from the base to the prediction of a row; or all rows.

        Without a row there is a point for each row and column, coloured by the value of the column,
        from low to high; grey-white ones have no order.

        Parameters
        ----------
        row : int, optional
            Place of the row, from 0.
        output : str, optional
            One of ``outputs``; by default the last.
        most : int
            Largest number of columns to show, at least 1; in the plot of a row, all others together
            are one.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes, with labels.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            If there is no such row or output.
        """
        values, base, name = self._of_output(output)
        most, unit = check_count("most", most, example=MOST_SHOWN), self._unit(name)
        if row is None:
            return pictures.all_rows(self.names, self.data, values, most, unit, ax)
        row = self._checked_row(row)
        labels, heights = pictures.bars(self.names, self.data[row], values[row], most)
        return pictures.waterfall(labels, heights, base, unit, ax)

    def plot_scatter(
        self, column: str | int, *, output: str | None = None, ax: Axes | None = None
    ) -> Axes:
        """Plot the contributions of one column by its values.

        Parameters
        ----------
        column : str or int
            Name of the column, or its place from 0.
        output : str, optional
            One of ``outputs``; by default the last.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes, with labels.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no such column or output.
        """
        values, _, name = self._of_output(output)
        places = range(len(self.names))
        if column not in (*self.names, *places):
            raise ValueError(
                f"column is {short(column)} but a name of a column, or its place from 0 to "
                f"{len(places) - 1}, is expected: the columns are {', '.join(self.names)}"
            )
        k = self.names.index(column) if isinstance(column, str) else column
        cells, unit = self.data[:, k], self._unit(name)
        return pictures.scatter(self.names[k], cells, values[:, k], unit, ax)

    def _repr_html_(self) -> str:
        """Return a sentence and bars of one row, or the mean absolute contributions of several."""
        if len(self) == 1:
            values, _, name = self._of_output(None)
            labels, heights = pictures.bars(self.names, self.data[0], values[0], MOST_SHOWN)
            return pictures.as_html(self.in_words(), labels, heights, self._unit(name))
        size = self.mean_absolute
        kept = np.argsort(-size, kind="stable")[:MOST_SHOWN]
        names = [printable(self.names[k]) for k in kept]
        sentence = repr(self).partition("\n")[0]
        return pictures.as_html(sentence, names, size[kept].tolist(), "mean absolute contribution")

    def _unit(self, name: str) -> str:
        """Return the unit of contributions to an output, for labels."""
        return f"{self.unit} of {printable(name)}" if self.values.ndim == 3 else self.unit

    def _checked_row(self, row: int) -> int:
        """Return the place of a row; raise an error if there is none."""
        place = check_count("row", row, example=0, least=0)
        if place >= len(self):
            raise ValueError(
                f"row is {place} but there are {len(self)}: pass a place from 0 to {len(self) - 1}"
            )
        return place

    def _of_output(self, output: str | None) -> tuple[Array, float, str]:
        """Return the values of one output, (rows, columns), its base and its name."""
        wanted = self.outputs[-1] if output is None else str(output)
        if wanted not in self.outputs:
            raise ValueError(
                f"output is {short(output)} but one of {', '.join(self.outputs)} is expected"
            )
        k = self.outputs.index(wanted)
        values = self.values[..., k] if self.values.ndim == 3 else self.values
        return values, float(np.ravel(self.base)[k]), wanted
