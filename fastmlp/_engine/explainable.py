"""The method `explain`, shared by models, predictors and estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from fastmlp._explain import explained
    from fastmlp._explain.explanation import Explanation
    from fastmlp._validation.arrays import TableLike

Explained: TypeAlias = "explained.Explained"


def of_predictor(predictor: Any) -> Explained:
    """Return a network, by its predictor, as a function of matrices of rows."""
    from fastmlp._explain.explained import of_network

    return of_network(predictor)


class Explainable:
    """Base class of everything whose predictions can be explained."""

    def _explained(self) -> Explained:
        """Return the current model as a function of matrices of rows."""
        return of_predictor(self.predictor())  # type: ignore[attr-defined]

    def explain(
        self,
        X: TableLike,
        background: TableLike | None = None,
        *,
        output: str | None = None,
        tolerance: float = 0.02,
        time_limit: float | None = None,
        random_state: int = 0,
    ) -> Explanation:
        """Explain predictions: how much each column adds to them, beside a background.

        Values are interventional Shapley values; see :func:`fastmlp.explain`.

        Parameters
        ----------
        X : like that of predict, shape (rows, columns)
            Rows to explain.
        background : like X, or "typical", optional
            Rows that stand for the population; by default up to 100 rows drawn from X, which must
            have at least 30 then. With "typical", of tables: one row of the medians and most
            frequent values of the fit.
        output : None or "score", optional
            With "score", log-odds of probabilities are explained instead of the predictions.
        tolerance : float in (0, 1], default=0.02
            Largest standard error, as a share of the standard deviation of the predictions, with
            more than 10 columns; up to 10 are exact.
        time_limit : float, optional
            Approximate limit in seconds.
        random_state : int, default=0
            Seed of the background and of the sampling.

        Returns
        -------
        fastmlp.Explanation
            Values, base and standard errors.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, or there is no background and X has less than 30 rows.

        Examples
        --------
        >>> import fastmlp, numpy as np
        >>> net = fastmlp.MLP([3, 8, 1], rng=0)
        >>> net.explain(np.random.default_rng(0).normal(size=(40, 3))).values.shape
        (40, 3)
        """
        from fastmlp._explain.explain import explanation

        return explanation(
            self._explained(),
            X,
            background,
            output=output,
            tolerance=tolerance,
            time_limit=time_limit,
            random_state=random_state,
        )
