"""The regressor for tables: means, intervals, quantiles, densities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isclose
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from fastmlp._core.intervals import INNER_FRACTION, check_flag
from fastmlp._core.keywords import with_argument_hints
from fastmlp._core.user_warnings import warn
from fastmlp._network.losses import POWERS
from fastmlp._network.names import PresetName, TableLossName
from fastmlp._network.spec import Predictions
from fastmlp._training.callback_list import Callback
from fastmlp._training.metrics import r2
from fastmlp.sklearn.parameters import Regressor, Scoring, Splitter, documented, store
from fastmlp.tabular.estimator import BaseTabMLP
from fastmlp.tabular.fit.offsets import Known, without_columns
from fastmlp.tabular.fit.reading import with_target
from fastmlp.tabular.fitted.fitted_table import FittedTable
from fastmlp.tabular.outcome.calibration import NumberCalibration, means_of
from fastmlp.tabular.outcome.checked_targets import finite_numbers
from fastmlp.tabular.outcome.conformal import ROUNDING, levels_of, offsets_of
from fastmlp.tabular.outcome.loss_rows import LOSSES
from fastmlp.tabular.outcome.targets import NumericTarget
from fastmlp.tabular.pictures import targets_of_fit
from fastmlp.tabular.table.columns import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from fastmlp._validation.arrays import TableLike

MARK = "        X_val, y_val : like X and y, optional\n"  # `DOCUMENTED` stands before it
DOCUMENTED = """\
        offset : str or array-like, shape (n_samples,), optional
            What is known of the targets, for example the prediction of another model, which is
            then corrected: networks learn the rest, y - offset. With loss="poisson", "gamma" or
            "tweedie" it belongs to the logarithm of the mean. A name is that of a column of X,
            which is then no input. Targets of the fit, also in its report, are those that remain.
        exposure : str or array-like, shape (n_samples,), optional
            For these three losses: the time or amount, above 0, for which a row was observed.
            Networks learn the target per unit of exposure, and rows count by the power of it with
            which the likelihood is that of the targets themselves.
"""


@with_argument_hints
@documented(BaseTabMLP)
class TabMLPRegressor(Regressor, BaseTabMLP):
    """Predict a number, such as a price, from a table as it is: words, dates, gaps, any scale.

    Take it for a data frame whose target is a number: nothing must be scaled, encoded or tuned, and
    each prediction has an interval. It is a blend of multi-layer perceptrons.

    Columns may be numbers, booleans, text or categories, of any scale, with missing values. Members
    are trained together on folds; the epoch with the best out-of-fold score of their mean is kept.
    Out-of-fold predictions are used to compute prediction intervals.

    Parameters
    ----------
    loss : str, default="squared_error"
        One of squared_error (fits the mean), absolute_error (the median), quantile, quantiles (of
        several levels, which never cross), poisson (rates, y >= 0), gaussian (mean and variance
        by maximum likelihood), gamma (the mean of amounts, y > 0, whose errors count in proportion
        to the mean), tweedie (that of amounts many of which are 0, y >= 0), and huber (close to the
        mean, but outliers count less).
    quantile : float in (0, 1), or sequence of these, default=0.5
        For loss="quantile": the share of targets that should lie below the prediction. For
        loss="quantiles": at least two such levels, ascending.
    power : float from 1.01 to 1.99, default=1.5
        For loss="tweedie": the variance of the target grows like this power of its mean.
    {parameters}

    Attributes
    ----------
    oof_prediction_ : array, shape (n_samples,) or (n_samples, n_outputs)
        Out-of-fold predictions: each row is predicted by members not trained on it,
        and is NaN if no fold holds it out.
    {attributes}

    Notes
    -----
    {notes}

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import TabMLPRegressor
    >>> X = np.random.default_rng(0).uniform(-3, 3, (200, 1))
    >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, np.sin(X[:, 0]))
    >>> model.score(X, np.sin(X[:, 0])) > 0.95
    True
    >>> low, high = model.predict_interval(X, coverage=0.9).T
    >>> bool(np.all(low <= high))
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseTabMLP._parameter_constraints,
        "loss": [StrOptions(set(LOSSES))],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
        "power": [Interval(Real, POWERS.low, POWERS.high, closed="both")],
    }

    target_class = NumericTarget

    def __init__(
        self,
        *,
        preset: PresetName = "default",
        recipes: Sequence[Mapping[str, Any]] | None = None,
        folds: int | Splitter | None = None,
        members: int | None = None,
        epochs: int | None = None,
        width: int | None = None,
        loss: TableLossName = "squared_error",
        quantile: float | Sequence[float] = 0.5,
        power: float = 1.5,
        validation: Literal["choose"] | None = None,
        categorical_features: ArrayLike | None = "from_dtype",
        monotone: Mapping[str | int, int] | None = None,
        select: bool = True,
        scoring: Scoring = None,
        time_limit: float | None = None,
        max_memory: float | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
        callbacks: Iterable[Callback] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        store(self, locals())

    def fit(
        self,
        X: TableLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        folds: Splitter | ArrayLike | Iterable[tuple[ArrayLike, ArrayLike]] | None = None,
        time: ArrayLike | None = None,
        X_val: TableLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Train on a raw table, see `BaseTabMLP.fit`."""
        others: dict[str, Any] = {"groups": groups, "folds": folds, "time": time}
        others |= {"X_val": X_val, "y_val": y_val}
        if offset is None and exposure is None:
            return super().fit(X, y, sample_weight, **others)
        if X_val is not None:
            raise ValueError(
                "X_val is given beside offset or exposure, which are those of X alone: leave it "
                "out, or pass y - offset, or y / exposure, with weights"
            )
        self._validate_params()
        known = Known.of(X, self.loss, offset, exposure)
        X, y = with_target(X, y, sample_weight=sample_weight)
        y, sample_weight = known.learned(y, sample_weight, self.get_params(deep=False))
        return super().fit(without_columns(X, offset, exposure), y, sample_weight, **others)

    fit.__doc__ = (BaseTabMLP.fit.__doc__ or "").replace(MARK, DOCUMENTED + MARK)

    def predict(
        self,
        X: TableLike,
        return_std: bool = False,
        *,
        offset: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
        out: Array | None = None,
    ) -> Predictions:
        """Predict targets.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features), or ArrowBlocks
            Rows, with the columns of the fit. A `fastmlp.ArrowBlocks` is read by their names, one
            block in memory at a time; it needs no target.
        return_std : bool
            Whether to also return the standard deviation of the target around the prediction. It
            depends on the prediction alone; with ``loss="gaussian"`` also on the noise of a row.
        offset, exposure : array-like, shape (n_samples,), or str, optional
            Those of the rows, as for :meth:`fit`. Without them the prediction is what was learned:
            the correction of an offset, or the target per unit of exposure.
        out : array of floats, shape of the result, or tuple of two, optional
            Where to write the result, block by block of a source: an array, a memory map, or
            another object with a shape and assignment to slices of rows. It is returned. If an
            error comes in the middle, its first rows are written.

        Returns
        -------
        array of float64, shape (n_samples,) or (n_samples, n_outputs), or tuple of two arrays
            Means (or medians, quantiles or rates, depending on the loss), and with ``return_std``
            the standard deviations. With loss="quantiles" the shape is (n_samples, levels).
        """
        fitted, calibration = self._calibrated()
        if check_flag("return_std", return_std) and fitted.target.loss.levels:
            raise ValueError(
                "return_std is True but loss='quantiles' predicts no standard deviations: use the "
                "quantiles themselves, or fit with loss='gaussian'"
            )

        known = Known.of(X, fitted.target.name, offset, exposure)

        def finish(outputs: Array) -> Any:
            mean = known.moved(calibration.result(outputs))
            if not return_std:
                return mean
            sizes = means_of(calibration.deviations(outputs), calibration.outputs)
            return mean, known.moved(sizes, is_size=True)

        return self._predicted(fitted, X, finish, out)

    __call__ = predict  # networks have it, too; shap.Explainer(model, X) needs it

    def predict_interval(
        self,
        X: TableLike,
        coverage: float = 0.9,
        *,
        offset: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
        out: Array | None = None,
    ) -> Array:
        """Predict intervals that contain the target with a given probability.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features), or ArrowBlocks
            Rows, as for :meth:`predict`.
        coverage : float in (0, 1)
            Least probability of containing the target, on average over rows like those of the fit;
            rows with more noise have less, and with ``loss="gaussian"`` nearly as much as others.
            With ``sample_weight`` or ``groups``, the smaller effective number of rows makes
            intervals wider. With ``time`` the rows are later ones: docs/guides/rows-in-time.md
            shows measured coverages. An interval ends at the prediction where both quantiles lie on
            one side of it, as after a jump in ``partial_fit``: the networks may have learned it
            since. The n effective rows support a coverage of at most 1 - 2 / (n + 1): beyond it,
            ends are extrapolated by Student's t, which contains somewhat fewer targets than asked
            for.
        offset, exposure : array-like, shape (n_samples,), or str, optional
            As for :meth:`predict`.
        out : array of floats, shape of the result, optional
            As for :meth:`predict`.

        Returns
        -------
        array of float64, shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper ends, which belong to the interval. With loss="poisson", if all targets
            of the fit are whole numbers, both are rounded down: [0, 0] contains the count 0 alone.

        Warns
        -----
        UserWarning
            If the effective rows of the fit are too few for the coverage.
        """
        tail = (1 - INNER_FRACTION.check("coverage", coverage, 0.9)) / 2
        if 1 - tail == 1:
            raise ValueError(
                f"coverage is {coverage!r} but its upper end is at 1 - {tail:.2g}, which is 1 in "
                "float64: pass at most 0.999999999999999"
            )
        fitted, quantiles = self._quantiles([tail, 1 - tail])
        known = Known.of(X, fitted.target.name, offset, exposure)
        calibration, has_levels = fitted.calibration, fitted.target.loss.levels
        assert isinstance(calibration, NumberCalibration)
        n = calibration.effective_rows
        largest = 1 - 2 / (n + 1)  # whose ends are among the residuals
        if not has_levels and coverage > largest + ROUNDING:
            warn(
                f"coverage is {coverage!r} but {n:.4g} effective rows support at most "
                f"{largest:.5g}: the ends are extrapolated and may contain fewer targets; fit more "
                "rows, or pass a smaller coverage"
            )

        def finish(outputs: Array) -> Array:
            ends = quantiles(outputs)
            if not has_levels:
                mean = calibration.rounded(calibration.result(outputs))
                ends[..., 0] = np.minimum(ends[..., 0], mean)
                ends[..., 1] = np.maximum(ends[..., 1], mean)
            return known.moved(ends)

        return self._predicted(fitted, X, finish, out)

    def predict_quantiles(
        self,
        X: TableLike,
        levels: float | Sequence[float],
        *,
        offset: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
        out: Array | None = None,
    ) -> Array:
        """Predict quantiles of the target; they never cross.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features), or ArrowBlocks
            Rows, as for :meth:`predict`.
        levels : float in (0, 1), or sequence of floats
            Levels of the quantiles; of a fit with loss="quantiles", some of its own.
        offset, exposure : array-like, shape (n_samples,), or str, optional
            As for :meth:`predict`.
        out : array of floats, shape of the result, optional
            As for :meth:`predict`.

        Returns
        -------
        array of float64, shape (n_samples, levels) or (n_samples, n_outputs, levels)
            Quantiles in the order of the levels; for a single number, without the last axis. Those
            of counts are whole numbers, see :meth:`predict_interval`.
        """
        fitted, quantiles = self._quantiles(levels if np.iterable(levels) else [levels])
        known = Known.of(X, fitted.target.name, offset, exposure)

        def finish(outputs: Array) -> Any:
            found = known.moved(quantiles(outputs))
            return found if np.iterable(levels) else found[..., 0]

        return self._predicted(fitted, X, finish, out)

    def _quantiles(self, levels: ArrayLike) -> tuple[FittedTable, Callable[[Array], Array]]:
        """Return the value of the last fit, and a function from its outputs to quantiles."""
        fitted, calibration = self._calibrated()
        checked, of_fit = levels_of(levels), fitted.target.loss.levels
        if not checked:
            raise ValueError(
                f"levels is {levels!r} but at least one is expected: pass for example [0.1, 0.9]"
            )
        places = [k for level in checked for k, other in enumerate(of_fit) if isclose(level, other)]
        if of_fit and len(places) < len(checked):
            raise ValueError(
                f"quantiles of the levels {checked} are asked for but this fit has {list(of_fit)}: "
                "fit with quantile=[...], or with loss='squared_error', which takes any level"
            )

        if of_fit:
            return fitted, lambda outputs: outputs[:, places]
        return fitted, calibration.finish_for(checked)

    def log_density(self, X: TableLike, y: ArrayLike) -> Array:
        """Return the logarithm of the predicted density at targets.

        The density is Student's t distribution around the prediction, fitted to out-of-fold
        residuals. It is also above 0 for numbers that the target cannot have, such as negative
        rates.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features), or ArrowBlocks
            Rows, as for :meth:`predict`.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
            Targets of the rows.

        Returns
        -------
        array of float64, shape (n_samples,)
            Log-densities, summed over outputs that are not NaN.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, or the fit has quantiles or counts, which have no density.
        """
        fitted, calibration = self._calibrated()
        if calibration.are_counts:
            raise ValueError(
                "the targets of the fit are counts, which have probabilities and no density: use "
                "scipy.stats.poisson.logpmf(y, model.predict(X)), or fit with another loss"
            )
        if fitted.target.loss.levels:
            raise ValueError("a fit with loss='quantiles' has no density: use another loss")
        outputs, y = self._predicted(fitted, X, np.asarray), finite_numbers(y)
        shape = len(outputs), calibration.outputs
        if y.shape != shape:
            raise ValueError(
                f"y has {y.shape[1]} targets of {y.shape[0]} rows but {shape[1]} of {shape[0]} are "
                "expected: pass the targets of all rows of X, as in fit"
            )
        return calibration.log_density(outputs, y)

    def score(
        self,
        X: TableLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> float:
        """Return R squared of :meth:`predict`, the mean over outputs.

        With loss="quantiles", it is that of the level nearest to 0.5.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Rows, as for :meth:`predict`.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs), or str
            Targets of the rows, or the name of the column of X that holds them. Some may be
            NaN: each output is scored on its rows.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the rows.
        offset, exposure : array-like, shape (n_samples,), or str, optional
            As for :meth:`predict`.

        Returns
        -------
        float
            At most 1, which is perfect.
        """
        X, y = with_target(X, y, sample_weight=sample_weight)
        several, levels = finite_numbers(y), self._state().target.loss.levels
        is_known = offset is not None or exposure is not None
        if not (levels or is_known or np.isnan(several).any()):
            return float(super().score(X, y, sample_weight))
        prediction = self.predict(X, offset=offset, exposure=exposure).reshape(len(several), -1)
        if levels:
            prediction = prediction[:, [np.abs(np.array(levels) - 0.5).argmin()]]
        weights = None if sample_weight is None else np.asarray(sample_weight)
        return r2(several, prediction, weights)

    def plot_calibration(self, y: ArrayLike | None = None, ax: Axes | None = None) -> Axes:
        """Plot the share of the fit's targets below each out-of-fold quantile.

        Parameters
        ----------
        y : array-like, optional
            Targets of the rows of the fit, in their order: ``y[model.rows_]`` if it used a sample.
            By default those that the fit got, which copies, pickles and files of an estimator lack.
            The first output is shown.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes, with legend and labels.
        """
        from fastmlp.tabular.fitted import inspection

        fitted, calibration = self._calibrated()
        first = finite_numbers(targets_of_fit(fitted, y))[:, 0]
        weights = fitted.out_of_fold.weights
        weights = np.where(np.isnan(first), 0.0, 1.0 if weights is None else weights)
        quantiles, levels = fitted.out_of_fold.predictions, fitted.target.loss.levels
        if not levels:
            mean, size = calibration.means_and_sizes(quantiles)
            levels = inspection.LEVELS
            quantiles = mean[:, :1] + size[:, :1] * offsets_of(calibration.residuals[:1], levels)
        below = first[:, np.newaxis] <= quantiles
        shares = np.average(below, axis=0, weights=weights)
        return inspection.calibration(levels, shares, "quantile", "share of targets below", ax)

    def _calibrated(self) -> tuple[FittedTable, NumberCalibration]:
        """Return the value of the last fit, and its calibration."""
        fitted = self._state()
        assert isinstance(fitted.calibration, NumberCalibration)
        return fitted, fitted.calibration
