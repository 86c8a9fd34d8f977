"""Explanations of fitted estimators: importance of columns, plots and reports."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastmlp._core.intervals import check_count
from fastmlp._core.optional import axes
from fastmlp.sklearn.parameters import copy_with_state
from fastmlp.tabular import inspection
from fastmlp.tabular.columns import Array, Table
from fastmlp.tabular.fitted import Fitted, from_snapshot
from fastmlp.tabular.inspection import Importance
from fastmlp.tabular.report import Report

MOST_BARS = 20
SAME = 1e-4  # largest relative difference of equal predictions, by rounding in float32
MOST_CELLS = 20_000  # largest table whose importance a report computes
NO_ROWS = (
    "{} needs the rows of the fit, which copies, pickles and files of an estimator do not have: "
    "read feature_importances_ before making them, or call importance(X, y)"
)


class Explained(Fitted):
    """Explanation methods of both estimators."""

    classes_: Array  # of a classifier
    plot_calibration: Callable[..., Any]  # each estimator has its own plot

    @from_snapshot
    def report(self) -> Report:
        """Return a report of the fit: columns, networks, out-of-fold scores, seconds per phase.

        Returns
        -------
        fastmlp.tabular.report.Report
            Report to print, or to read by attributes. Notebooks add pictures: the score by epoch,
            calibration, and the importance of columns if it is known or the table is small. Copies
            of an estimator lack the rows that the last two pictures need.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPRegressor
        >>> X = np.random.default_rng(0).normal(size=(99, 2))
        >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> model.report().kinds
        {'numbers': 2, 'categories': 0}
        """
        return replace(self._report, pictures=tuple(self._pictures()))

    def _pictures(self) -> Iterator[Callable[..., Any]]:
        """Yield functions that draw a picture of the fit on axes."""
        if self._curve:
            yield self.plot_history
        cells = MOST_CELLS + 1
        if "_rows" in vars(self):
            yield partial(self.plot_calibration, self._given(self._rows[1]))
            cells = len(self._rows[0]) * len(self._columns.used)
        if self._importance is not None or cells <= MOST_CELLS:
            yield lambda ax: inspection.bars(self._own_importance(), MOST_BARS, ax)

    def _given(self, target: Any) -> Array:
        """Return a target's labels or numbers in the user's form."""
        y: Array = target.y
        return self.classes_[y] if y.ndim == 1 else y

    @from_snapshot
    def importance(self, X: Any = None, y: Any = None, *, rounds: int = 3) -> Importance:
        """Return the permutation importance of each column, on held-out rows.

        Parameters
        ----------
        X, y : as for :meth:`fit`, optional
            New rows, predicted by all members; or the rows of the fit in their order, predicted out
            of fold. By default the rows of the fit, which copies, pickles and files of an estimator
            lack.
        rounds : int
            Number of shuffles of each column, at least 1.

        Returns
        -------
        fastmlp.tabular.inspection.Importance
            Names, means and deviations; the most important column comes first.

        Raises
        ------
        ValueError
            If X and y are missing, and this estimator is a copy without the rows of the fit.
        """
        rounds = check_count("rounds", rounds, example=3)
        members, weights = self._members, self._row_weights
        given = self._read_both(members.groups[0].target, X, y, "X and y")
        if given is None and "_rows" not in vars(self):
            raise ValueError(NO_ROWS.format("importance without X and y"))
        table, target = given or self._rows
        parts: list[tuple[Any, Array]] = [
            (partial(members.of_division, k), rows) for k, rows in enumerate(self._out)
        ]
        if given and not self._is_of_fit(table, parts):
            parts, weights = [(members.predict, np.arange(len(table)))], None
        return inspection.importance(parts, self._columns, table, target, weights, rounds)

    def _is_of_fit(self, table: Table, parts: list[tuple[Any, Array]]) -> bool:
        """Whether these are the rows of the fit: their out-of-fold predictions are the same."""
        n, m = self._out_of_fold.shape[0], self.n_outputs_
        if len(table) != n:
            return False
        mean, count = np.zeros((n, m)), np.zeros((n, 1))
        for predict, rows in parts:
            mean[rows] += predict(table.take(rows))[:, :m]
            count[rows] += 1
        used = count[:, 0] > 0
        known = self._out_of_fold[used, :m]
        far = np.abs(mean[used] / count[used] - known).max()
        return bool(far <= SAME * max(np.abs(known).max(), np.finfo(float).tiny))

    @property
    def feature_importances_(self) -> Array:
        """Share of each column in :meth:`importance`, on the rows of the fit.

        Array of float64, shape (n_features_in_,), sum 1, computed on first access. Unused columns,
        and columns without which predictions do not get worse, have 0.
        """
        found = self._own_importance()
        means = dict(zip(found.names, found.means, strict=True))
        gains = np.array([max(means.get(name, 0.0), 0.0) for name in self._columns.names])
        return gains / gains.sum() if gains.any() else gains

    def _own_importance(self) -> Importance:
        """Return the importance on the rows of the fit, computed once."""
        check_is_fitted(self, "_members")
        model = copy_with_state(self, vars(self))
        if getattr(model, "_importance", None) is None:
            if "_rows" not in vars(model):
                raise AttributeError(NO_ROWS.format("feature_importances_"))
            model._importance = model.importance()
            if vars(self).get("_members") is model._members:  # no other fit has ended meanwhile
                self._importance = model._importance
        found: Importance = model._importance
        return found

    def plot_importance(
        self,
        X: Any = None,
        y: Any = None,
        *,
        rounds: int = 3,
        most: int = MOST_BARS,
        ax: Any = None,
    ) -> Any:
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
        most = check_count("most", most, example=20)
        return inspection.bars(self.importance(X, y, rounds=rounds), most, ax)

    @from_snapshot
    def plot_history(self, ax: Any = None) -> Any:
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
        ax, target = axes(ax, "plot_history"), self._members.groups[0].target
        epochs, alone, together, compared = np.reshape(self._curve, (-1, 4)).T
        lines = {"single members": alone, "members together": together}
        if target.kind == "classes":
            lines["members together, calibrated"] = compared
        metric, shown = target.metric, target.shown
        if scoring := self._trained_with["scoring"]:
            metric, shown = str(getattr(scoring, "__name__", scoring)), operator.neg
            lines = {"members together": compared}
        for label, costs in lines.items():
            ax.plot(epochs, list(map(shown, costs)), label=label)
        ax.axvline(self.best_epoch_, color="gray", linestyle=":", label="kept")
        ax.set(xlabel="epoch", ylabel=f"{metric}, out of fold")
        ax.legend()
        return ax
