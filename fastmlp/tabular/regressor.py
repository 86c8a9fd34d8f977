"""The regressor for tables: means, intervals, quantiles, densities."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar, get_args

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from fastmlp._core.intervals import INNER_FRACTION, check_flag
from fastmlp._core.keywords import explained
from fastmlp._network.names import PresetName, TableLossName
from fastmlp.sklearn.parameters import Regressor, documented, store
from fastmlp.tabular import inspection
from fastmlp.tabular.blend import BlendResult
from fastmlp.tabular.columns import Array
from fastmlp.tabular.conformal import Residuals, levels_of
from fastmlp.tabular.estimator import BaseTabMLP
from fastmlp.tabular.export.exported import ExportedTable, exported
from fastmlp.tabular.fitted import from_snapshot
from fastmlp.tabular.loss_rows import LOSSES
from fastmlp.tabular.parameters import ATTRIBUTES, TEXT
from fastmlp.tabular.reading import finite_numbers
from fastmlp.tabular.scoring import FixedNumbers, scorer_of
from fastmlp.tabular.targets import NumericTarget

NAMES = get_args(TableLossName)
SMALLEST_SHRINK = 0.8
LARGEST = 1e100  # largest magnitude of targets, so that sums of squares are finite


@explained
@documented(TEXT, ATTRIBUTES)
class TabMLPRegressor(Regressor, BaseTabMLP):
    """Multi-layer perceptrons for regression on raw tables.

    Columns may be numbers, booleans, text or categories, of any scale, with missing values. Members
    are trained together on folds; the epoch with the best out-of-fold score of their mean is kept.
    Out-of-fold predictions are used to compute prediction intervals.

    Parameters
    ----------
    loss : str, default="squared_error"
        One of squared_error (fits the mean), absolute_error (the median), quantile, poisson (rates,
        y >= 0), and gaussian (mean and variance by maximum likelihood).
    quantile : float in (0, 1), default=0.5
        For loss="quantile": the share of targets that should lie below the prediction.
    {parameters}

    Attributes
    ----------
    oof_prediction_ : array, shape (n_samples,) or (n_samples, n_outputs)
        Out-of-fold predictions: each row is predicted by members not trained on it.
    {attributes}

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
        "loss": [StrOptions(set(NAMES))],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
    }

    _residuals: list[Residuals]

    def __init__(
        self,
        *,
        preset: PresetName = "default",
        recipes: Any = None,
        folds: int | None = None,
        members: int | None = None,
        epochs: int | None = None,
        width: int | None = None,
        loss: TableLossName = "squared_error",
        quantile: float = 0.5,
        categorical_features: Any = "from_dtype",
        scoring: Any = None,
        time_limit: float | None = None,
        max_memory: float | str | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
        callbacks: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        store(self, locals())

    @from_snapshot
    def predict(self, X: Any, return_std: bool = False, *, out: Any = None) -> Any:
        """Predict targets.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features), or ArrowBlocks
            Rows, with the columns of the fit. A `fastmlp.ArrowBlocks` is read by their names, one
            block in memory at a time; it needs no target.
        return_std : bool
            Whether to also return the standard deviation of the target around the prediction.
        out : array of floats, shape of the result, or tuple of two, optional
            Where to write the result, block by block of a source: an array, a memory map, or
            another object with a shape and assignment to slices of rows. It is returned. If an
            error comes in the middle, its first rows are written.

        Returns
        -------
        array of float64, shape (n_samples,) or (n_samples, n_outputs), or tuple of two arrays
            Means (or medians, quantiles or rates, depending on the loss), and with ``return_std``
            the standard deviations.
        """
        check_flag("return_std", return_std)

        def finish(outputs: Array) -> Any:
            mean = self._shaped(outputs)
            return (mean, self._shaped(self._deviations(outputs))) if return_std else mean

        return self._predicted(X, finish, out)

    def predict_interval(self, X: Any, coverage: float = 0.9, *, out: Any = None) -> Array:
        """Predict intervals that contain the target with a given probability.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features), or ArrowBlocks
            Rows, as for :meth:`predict`.
        coverage : float in (0, 1)
            Least probability of containing the target, on average over rows like those of the fit.
            With ``sample_weight`` or ``groups``, the smaller effective number of rows makes
            intervals wider.
        out : array of floats, shape of the result, optional
            As for :meth:`predict`.

        Returns
        -------
        array of float64, shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper ends.
        """
        tail = (1 - INNER_FRACTION.check("coverage", coverage, 0.9)) / 2
        if 1 - tail == 1:
            raise ValueError(
                f"coverage is {coverage!r} but its upper end is at 1 - {tail:.2g}, which is 1 in "
                "float64: pass at most 0.999999999999999"
            )
        return self.predict_quantiles(X, [tail, 1 - tail], out=out)

    @from_snapshot
    def predict_quantiles(
        self, X: Any, levels: float | Sequence[float], *, out: Any = None
    ) -> Array:
        """Predict quantiles of the target; they never cross.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features), or ArrowBlocks
            Rows, as for :meth:`predict`.
        levels : float in (0, 1), or sequence of floats
            Levels of the quantiles.
        out : array of floats, shape of the result, optional
            As for :meth:`predict`.

        Returns
        -------
        array of float64, shape (n_samples, levels) or (n_samples, n_outputs, levels)
            Quantiles in the order of the levels; for a single number, without the last axis.
        """
        wanted = levels_of(levels if np.iterable(levels) else [levels])

        def finish(outputs: Array) -> Array:
            found = self._quantiles(outputs, wanted)
            found = found[:, 0] if self.n_outputs_ == 1 else found
            return found if np.iterable(levels) else found[..., 0]

        return self._predicted(X, finish, out)

    @from_snapshot
    def log_density(self, X: Any, y: Any) -> Array:
        """Return the logarithm of the predicted density at targets.

        The density is Student's t distribution around the prediction, fitted to out-of-fold
        residuals.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features), or ArrowBlocks
            Rows, as for :meth:`predict`.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
            Targets of the rows.

        Returns
        -------
        array of float64, shape (n_samples,)
            Log-densities, summed over outputs.
        """
        outputs = self._predicted(X, np.asarray)
        mean, size = self._heads(outputs)
        y = finite_numbers(y)
        if y.shape != mean.shape:
            raise ValueError(f"y has shape {y.shape} but {mean.shape} is expected")
        columns = [
            r.log_density(y[:, k], mean[:, k], size[:, k]) for k, r in enumerate(self._residuals)
        ]
        return np.asarray(np.sum(columns, axis=0))

    @from_snapshot
    def plot_calibration(self, y: Any, ax: Any = None) -> Any:
        """Plot the share of the fit's targets below each out-of-fold quantile.

        Parameters
        ----------
        y : array-like
            Targets of the rows of the fit, in their order: ``y[model.rows_]`` if it used a sample.
            The first output is shown.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes, with legend and labels.
        """
        first = finite_numbers(y)[:, 0]
        mean, size = self._heads(self._out_of_fold)
        self._check_rows_of_fit(len(first), len(mean))
        away = np.array([self._residuals[0].quantile(float(level)) for level in inspection.LEVELS])
        below = first[:, np.newaxis] <= mean[:, :1] + size[:, :1] * away
        shares = np.average(below, axis=0, weights=self._row_weights)
        labels = "quantile", "share of targets below"
        return inspection.calibration(inspection.LEVELS, shares, *labels, ax)

    # ------------------------------------------------------------ used by fit

    def _read_target(self, y: Any) -> Array:
        numbers = finite_numbers(y)
        if np.any(numbers < LOSSES[self.loss].lowest):
            raise ValueError(f"loss={self.loss!r} requires non-negative y: use another loss")
        with np.errstate(over="ignore"):
            largest, range_ = np.abs(numbers).max(), np.ptp(numbers, axis=0)
        if largest > LARGEST or np.any((range_ > 0) & (range_ < 1 / LARGEST)):
            raise ValueError(
                f"y has numbers up to {largest:.3g} over ranges from {range_.min():.3g} but up to "
                f"{LARGEST:g} and ranges from {1 / LARGEST:g} are expected: rescale y"
            )
        return numbers

    def _encoded(self, y: Any) -> Array:
        numbers = self._read_target(y)
        if numbers.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {numbers.shape[1]} outputs but {self.n_outputs_} are expected, as in "
                "the fit"
            )
        return numbers

    def _target(self, y: Array, weights: Array | None = None, *_: Any) -> NumericTarget:
        self.n_outputs_ = y.shape[1]
        return NumericTarget(y, self.loss, float(self.quantile), weights)

    def _scorer(self, y: Array, weights: Array | None) -> Any:
        if self.scoring is None:
            return None
        right = self._shaped(y)
        judge = scorer_of(self.scoring, FixedNumbers, None, right, weights)
        return lambda prediction: judge(self._shaped(prediction[:, : y.shape[1]]))

    def _finish(
        self, target: Any, fitted: BlendResult, weights: Array | None, groups: Array | None
    ) -> dict[str, str]:
        found, m, shrink = fitted.out_of_fold, self.n_outputs_, 1.0
        if target.row.is_square and fitted.together > 0:
            share = max(fitted.all, 0.0) / fitted.together
            shrink = max(float(np.sqrt(share)), SMALLEST_SHRINK)
        sizes = np.sqrt(found[:, m:].T) if found.shape[1] > m else [None] * m
        self._residuals = [
            Residuals(target.y[:, k], found[:, k], weights, sizes[k], shrink, groups)
            for k in range(m)
        ]
        return {}

    def _heads(self, outputs: Array) -> tuple[Array, Array]:
        """Return means, and the local sizes of the residuals, both (n, outputs)."""
        m = self.n_outputs_
        mean = outputs[:, :m]
        predicted = np.sqrt(outputs[:, m:].T) if outputs.shape[1] > m else [None] * m
        sizes = [r.deviation(mean[:, k], predicted[k]) for k, r in enumerate(self._residuals)]
        return mean, np.column_stack(sizes)

    def _deviations(self, outputs: Array) -> Array:
        """Return standard deviations, (n, outputs)."""
        _, size = self._heads(outputs)
        return np.asarray(size * [residuals.rms for residuals in self._residuals])

    def _quantiles(self, outputs: Array, levels: Sequence[float]) -> Array:
        """Return quantiles, (n, outputs, levels)."""
        mean, size = self._heads(outputs)
        away = np.array([[r.quantile(level) for level in levels] for r in self._residuals])
        found = mean[:, :, np.newaxis] + size[:, :, np.newaxis] * away
        return np.asarray(np.maximum(found, self._lowest))

    def _all_outputs(self, outputs: Array, levels: Sequence[float]) -> Array:
        quantiles = self._quantiles(outputs, levels).reshape(len(outputs), -1)
        mean = outputs[:, : self.n_outputs_]
        return np.concatenate([mean, self._deviations(outputs), quantiles], axis=1)

    def _finisher(self) -> Callable[[Array], Array]:
        return functools.partial(means_of, outputs=self.n_outputs_)

    def _exported(self) -> ExportedTable:
        residuals = tuple(self._residuals)
        return exported(self._columns, self._members, residuals=residuals, lowest=self._lowest)

    @property
    def _lowest(self) -> float:
        """The lower bound of quantiles: rates are not negative."""
        return LOSSES[self._trained_with["loss"]].lowest

    def _shaped(self, numbers: Array) -> Array:
        return means_of(numbers, self.n_outputs_)


def means_of(prediction: Array, outputs: int) -> Array:
    """Return means in the shape of the user's targets: (n,) for one output."""
    return prediction[:, 0] if outputs == 1 else prediction[:, :outputs]
