"""What estimators of tables draw of a fit, with matplotlib or in a report.

The first three functions are methods of the estimators, too. They draw on the axes given, or on
those of a new figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sklearn.utils.validation import check_is_fitted

from fastmlp._core.intervals import check_count
from fastmlp._core.optional import axes
from fastmlp._validation.arrays import short
from fastmlp.sklearn.fitted import FitHolder, fitted_of
from fastmlp.tabular.fitted.fitted_table import FittedTable
from fastmlp.tabular.fitted.results import NO_ROWS, Importance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from fastmlp._validation.arrays import TableLike
    from fastmlp.tabular.report.page import Evidence

MAX_BARS = 20


class Pictured(FitHolder[FittedTable], Protocol):
    """An estimator of tables."""

    def importance(self, X: TableLike | None, y: ArrayLike | None, *, rounds: int) -> Importance:
        """Return how much worse predictions get when columns are shuffled."""


def plot_importance(
    self: Pictured,
    X: TableLike | None = None,
    y: ArrayLike | None = None,
    *,
    rounds: int = 3,
    most: int = MAX_BARS,
    ax: Axes | None = None,
) -> Axes:
    """Plot :meth:`importance`.

    Parameters
    ----------
    X, y, rounds
        As for :meth:`importance`.
    most : int
        Largest number of columns to show, at least 1.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with labels.
    """
    from fastmlp.tabular.fitted import inspection

    most = check_count("most", most, example=20)
    importance = self.importance(X, y, rounds=rounds)
    return inspection.bars(importance, most, axes(ax, "plot_importance"))


def plot_history(self: Pictured, ax: Axes | None = None) -> Axes:
    """Plot the score of held-out rows by epoch, of single members and of their mean.

    The last line is the one whose best epoch is kept: of classes the mean at the temperature
    that suits it best; with ``scoring`` the score alone.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with legend and labels.
    """
    from fastmlp.tabular.fitted import inspection

    check_is_fitted(self)
    return inspection.history(fitted_of(self), ax)


def plot_partial_dependence(self: Pictured, column: str | int, ax: Axes | None = None) -> Axes:
    """Plot the mean prediction if one column had the same value in all rows, value by value.

    A line for a column of numbers or dates, bars for categories. Of two classes it is the
    probability of the second, of more classes there are lines of the first four.

    Parameters
    ----------
    column : str or int
        Name of a column that the fit used, or its place, counted from 0.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with labels.

    Raises
    ------
    ValueError
        If the fit has not used such a column, if it has several targets or curves, or if this
        estimator is a copy without the rows of the fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import TabMLPRegressor
    >>> X = np.random.default_rng(0).normal(size=(99, 2))
    >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0] * X[:, 1])
    >>> ax = model.plot_partial_dependence("column 0")
    >>> ax.get_xlabel()
    'column 0'
    """
    from fastmlp.tabular.report import page

    evidence = evidence_for(self, "plot_partial_dependence")
    names, features = evidence.fitted.columns.names, page.features(evidence.fitted)
    if isinstance(column, int) and 0 <= column < len(names):
        column = names[column]
    if not isinstance(column, str) or column not in features:
        known = ", ".join(map(repr, features))
        given = short(column)
        raise ValueError(f"column is {given} but one that the fit used is expected: {known}")
    ax = axes(ax, "plot_partial_dependence")
    page.dependence(evidence, features[column], ax)
    return ax


def evidence_for(model: Pictured, method: str) -> Evidence:
    """Return the rows of the fit with their predictions out of fold."""
    from fastmlp.tabular.report import page

    check_is_fitted(model)
    fitted = fitted_of(model)
    if fitted.rows is None:
        raise ValueError(NO_ROWS.format(method))
    if (evidence := page.evidence_of(model, fitted, page.name_of(fitted))) is None:
        raise ValueError(
            f"{method} is for one target, of numbers or of classes with one label a row, but "
            "this fit predicts something else: fit one target alone"
        )
    return evidence


def targets_of_fit(fitted: FittedTable, y: Any) -> Any:
    """Return the targets given, or those of the fit; raise ValueError if their number is wrong."""
    if y is None:
        if fitted.rows is None:
            raise ValueError(NO_ROWS.format("plot_calibration without y"))
        return fitted.rows[1].original_y
    expected, sampled = len(fitted.out_of_fold.predictions), fitted.out_of_fold.sampled
    if len(y) != expected:
        rows = "y of the fit" if sampled is None else "y[model.rows_], the rows used"
        raise ValueError(
            f"y has {len(y)} rows but the {expected} of the fit are expected: pass {rows}"
        )
    return y
