"""What a fitted estimator of tables says of itself: importance of columns, and plots."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from fastmlp.intervals import check_count
from fastmlp.tabular import shown
from fastmlp.tabular.columns import Table
from fastmlp.tabular.kept import Kept, like, of_one_moment
from fastmlp.tabular.shown import Importance

Array = NDArray[Any]

IMPORTANCE_SEED = 0
NO_ROWS = (
    "{} needs the rows of the fit, which an estimator has until it is copied, pickled or saved: "
    "read feature_importances_ before that, or call importance(X, y)"
)


class Explained(Kept):
    """The part of both estimators that explains a fit, not for users."""

    _row_weights: Array | None
    _out: list[Array]
    _out_of_fold: Array
    _curve: list[tuple[int, float, float, float]]
    best_epoch_: int
    _rows: tuple[Table, Any]  # of the fit, with their target; not in copies and files
    _importance: Importance | None

    def _target_of(self, y: Any) -> Any:
        """Return the target of the fit with these rows; nothing is set."""
        raise NotImplementedError

    @of_one_moment
    def importance(self, X: Any = None, y: Any = None, *, rounds: int = 3) -> Importance:
        """Return how much each column matters, on rows that members have not learned from.

        Parameters
        ----------
        X, y : as for :meth:`fit`, optional
            As many rows as the fit had are taken for those of the fit, in their order, and are
            predicted by the members that have not learned from them; others are new rows, which
            all members predict. By default those of the fit: the estimator has them until it is
            copied, pickled or saved.
        rounds : int
            Shuffles of each column, at least 1.

        Returns
        -------
        fastmlp.tabular.shown.Importance
            Names, means, deviations; the most important column first.

        Raises
        ------
        ValueError
            If the estimator does not have the rows of the fit any more.
        """
        check_is_fitted(self, "_members")
        rounds = check_count("rounds", rounds, example=3)
        if (X is None) != (y is None):
            raise ValueError("X and y belong together: pass both, or neither for the rows of fit")
        table, target = self._rows_of_fit() if X is None else self._read(X, y)
        check_consistent_length(table.numbers, target.y)
        members, weights = self._members, self._row_weights
        parts: list[tuple[Any, Array]] = [
            (partial(members.of_division, k), rows) for k, rows in enumerate(self._out)
        ]
        if len(table) != len(self._out_of_fold):
            parts, weights = [(members.predict, np.arange(len(table)))], None
        return shown.importance(
            *(parts, self._columns, table, target, weights), *(rounds, IMPORTANCE_SEED)
        )

    @property
    def feature_importances_(self) -> Array:
        """Share of each column in :meth:`importance`, of the rows of the fit.

        Array of float64, shape (n_features_in_,), sum 1. It is computed when it is first read.
        Columns that are left out, or without which predictions are no worse, have 0.
        """
        known = vars(self)
        found: Importance | None = known.get("_importance")
        if found is None:
            if "_rows" not in known:
                raise AttributeError(NO_ROWS.format("feature_importances_"))
            model = like(self, known)
            found = model.importance()
            if vars(self).get("_members") is not model._members:  # there was another fit
                return self.feature_importances_
            self._importance = found
        means = dict(zip(found.names, found.means, strict=True))
        gains = np.array([max(means.get(name, 0.0), 0.0) for name in self._columns.names])
        return gains / gains.sum() if gains.any() else gains

    def _rows_of_fit(self) -> tuple[Table, Any]:
        """Return the rows of the fit and their target."""
        if "_rows" not in vars(self):
            raise ValueError(NO_ROWS.format("importance without X and y"))
        return self._rows

    def _read(self, X: Any, y: Any) -> tuple[Table, Any]:
        """Return any rows and their target."""
        return self._columns.read(self._checked(X, reset=False)), self._target_of(y)

    def plot_importance(
        self, X: Any = None, y: Any = None, *, rounds: int = 3, most: int = 20, ax: Any = None
    ) -> Any:
        """Plot :meth:`importance`.

        Parameters
        ----------
        X, y, rounds
            As for :meth:`importance`.
        most : int
            Columns to show, at least 1.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            With labels.
        """
        check_is_fitted(self, "_members")
        most = check_count("most", most, example=20)
        return shown.bars(self.importance(X, y, rounds=rounds), most, ax)

    @of_one_moment
    def plot_history(self, ax: Any = None) -> Any:
        """Plot the score of held-out rows by epoch: of single members, and of all of a row.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            With legend and labels.
        """
        check_is_fitted(self, "_members")
        return shown.history(self._curve, self.best_epoch_, self._members.groups[0].target, ax)
