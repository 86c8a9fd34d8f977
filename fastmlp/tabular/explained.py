"""What a fitted estimator of tables says of itself: importance of columns, and plots."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from fastmlp.intervals import check_count
from fastmlp.tabular import shown
from fastmlp.tabular.kept import Kept, of_one_moment
from fastmlp.tabular.shown import Importance

Array = NDArray[Any]

IMPORTANCE_SEED = 0


class Explained(Kept):
    """The part of both estimators that explains a fit, not for users."""

    _row_weights: Array | None
    _out: list[Array]
    _out_of_fold: Array
    _curve: list[tuple[int, float, float, float]]
    best_epoch_: int

    def _target_of(self, y: Any) -> Any:
        """Return the target of the fit with these rows; nothing is set."""
        raise NotImplementedError

    @of_one_moment
    def importance(self, X: Any, y: Any, *, rounds: int = 3) -> Importance:
        """Return how much each column matters, on rows that members have not learned from.

        Parameters
        ----------
        X, y : as for :meth:`fit`
            The rows of the fit, in their order: the estimator does not keep them.
        rounds : int
            Shuffles of each column, at least 1.

        Returns
        -------
        fastmlp.tabular.shown.Importance
            Names, means, deviations; the most important column first.

        Raises
        ------
        ValueError
            If these are not as many rows as the fit had.
        """
        check_is_fitted(self, "_members")
        rounds = check_count("rounds", rounds, example=3)
        table = self._columns.read(self._checked(X, reset=False))
        n = len(self._out_of_fold)
        if len(table) != n:
            raise ValueError(f"X has {len(table)} rows but the {n} rows of the fit are expected")
        target = self._target_of(y)
        check_consistent_length(table.numbers, target.y)
        return shown.importance(
            *(self._members, self._columns, table, target, self._row_weights),
            *(self._out, rounds, IMPORTANCE_SEED),
        )

    def plot_importance(
        self, X: Any, y: Any, *, rounds: int = 3, most: int = 20, ax: Any = None
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
