"""The estimator for times until an event: curves of survival on raw tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from fastmlp._core.intervals import INNER_FRACTION
from fastmlp._core.keywords import with_argument_hints
from fastmlp._core.optional import axes
from fastmlp._engine.explainable import Explained
from fastmlp._network.names import PresetName
from fastmlp._training.arrow import ArrowBlocks
from fastmlp._training.callback_list import Callback
from fastmlp.sklearn.parameters import Scoring, Splitter, documented, store
from fastmlp.tabular.estimator import BaseTabMLP
from fastmlp.tabular.fit.reading import with_target
from fastmlp.tabular.fitted.fitted_table import FittedTable
from fastmlp.tabular.outcome import survival_scores as of_curves, survival_target as of_hazards
from fastmlp.tabular.outcome.calibration import LabelCalibration
from fastmlp.tabular.outcome.checked_survival import paired, survival_of
from fastmlp.tabular.outcome.survival_target import SurvivalTarget
from fastmlp.tabular.pictures import targets_of_fit
from fastmlp.tabular.table.columns import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags

    from fastmlp._validation.arrays import TableLike


@with_argument_hints
@documented(BaseTabMLP)
class TabMLPSurvival(BaseTabMLP):
    """Predict the time until something happens, such as a failure, also if it has not happened yet.

    Take it for a table in which some rows had the event and of others you know only that they had
    not yet.

    Some rows had the event, of others only the time of the last look is known. Networks predict the
    probability of the event in each of up to 20 intervals, of rows that had none before; curves
    follow from these hazards. They may cross: nothing is assumed to be proportional. Members are
    trained together on folds; out-of-fold hazards determine the calibration temperature.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    event_times_ : array of float64
        Ends of the intervals, ascending: quantiles of the times of events, then the last time.
    oof_prediction_ : array, shape (n_samples, n_intervals)
        Calibrated out-of-fold hazards: each row is predicted by members not trained on it, and is
        NaN if no fold holds it out.
    temperature_ : float
        Calibration temperature, the divisor of the logits of hazards.
    {attributes}

    Notes
    -----
    {notes}

    Hazards are learned as by Gensheimer and Narasimhan (2019, "A scalable discrete-time survival
    model for neural networks"). Entry times (left truncation) and competing events are not
    modelled.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import TabMLPSurvival
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> times, end = rng.exponential(np.exp(-X[:, 0])), rng.uniform(0, 3, 300)
    >>> model = TabMLPSurvival(preset="fast", random_state=0)
    >>> model = model.fit(X, time=np.minimum(times, end), event=times <= end)
    >>> curves = model.predict_survival([[2.0, 0.0], [-2.0, 0.0]], [0.0, 0.5])
    >>> bool(curves[0, 1] < curves[1, 1]), curves[:, 0].tolist()
    (True, [1.0, 1.0])
    """

    target_class = SurvivalTarget

    def __init__(
        self,
        *,
        preset: PresetName = "default",
        recipes: Sequence[Mapping[str, Any]] | None = None,
        folds: int | Splitter | None = None,
        members: int | None = None,
        epochs: int | None = None,
        width: int | None = None,
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
        time: ArrayLike | None = None,
        event: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        folds: Splitter | ArrayLike | Iterable[tuple[ArrayLike, ArrayLike]] | None = None,
        X_val: TableLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Train on a raw table, of which some rows are censored.

        Parameters
        ----------
        X : pandas or polars frame, or array-like, shape (n_samples, n_features)
            As for ``TabMLPRegressor``.
        y : structured array, shape (n_samples,)
            Records of two fields, whether a row had the event, and the time of the event or of the
            last look, at least 0, as those of scikit-survival. Numbers alone are times of events.
            None with ``time`` and ``event``.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the rows in training and in all scores.
        time, event : array-like, shape (n_samples,), or str, optional
            The same as two arrays, or as the names of two columns of X, which then are no inputs.
        groups, folds
            As for ``TabMLPRegressor``.
        X_val, y_val : like X and y, optional
            Rows that are not used in training: the report shows the fitted model's score on them.

        Returns
        -------
        estimator
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, or there is no event; the estimator is unchanged then.
        """
        if isinstance(X, ArrowBlocks):
            raise TypeError(
                "X is a source but TabMLPSurvival reads tables in memory: pass a frame or an array"
            )
        X, y = _with_outcome(X, y, time, event)
        return super().fit(
            X, y, sample_weight, groups=groups, folds=folds, X_val=X_val, y_val=y_val
        )

    @property
    def partial_fit(self) -> Any:
        """Raise AttributeError: the events of new rows are not known yet."""
        raise AttributeError(
            "TabMLPSurvival has no partial_fit, since the events of new rows are not known yet: "
            "fit again on all rows"
        )

    def predict(self, X: TableLike, *, out: Array | None = None) -> Array:
        """Predict risks: the higher, the earlier the event is expected.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Rows, with the columns of the fit.
        out : array of floats, shape of the result, optional
            Where to write the result; it is returned.

        Returns
        -------
        array of float64, shape (n_samples,)
            The sum of the cumulative hazards at ``event_times_``, at least 0.
        """
        return self._of_hazards(X, of_hazards.risks, out)

    __call__ = predict  # shap.Explainer(model, X) needs it

    def predict_survival(
        self, X: TableLike, times: ArrayLike, *, out: Array | None = None
    ) -> Array:
        """Predict the probabilities of no event until some times.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Rows, as for :meth:`predict`.
        times : array-like, shape (n_times,)
            Times from 0 to the last one of the fit, ``event_times_[-1]``.
        out : array of floats, shape of the result, optional
            As for :meth:`predict`.

        Returns
        -------
        array of float64, shape (n_samples, n_times)
            Each row is a curve that begins with 1 at time 0 and never rises.

        Raises
        ------
        ValueError
            If a time is beyond the last one of the fit, where nothing is known.
        """
        at = self._moments(times)
        curves = partial(of_hazards.survival, edges=self.event_times_, times=at)
        return self._of_hazards(X, curves, out)

    def member_survival(self, X: TableLike, times: ArrayLike) -> Array:
        """Predict the curves of single networks.

        Their spread shows how much the prediction depends on the rows and on chance in training. It
        is no confidence band: all networks have learned from nearly the same rows.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Rows, as for :meth:`predict`.
        times : array-like, shape (n_times,)
            Times, as for :meth:`predict_survival`.

        Returns
        -------
        array of float64, shape (n_members, n_samples, n_times)
            Calibrated curves, those of the first recipe first.
        """
        fitted, calibration = self._calibrated()
        at, table = self._moments(times), self._read(fitted, X)
        members = [
            group.predict_one(member, table)
            for group in fitted.blend.groups
            for member in range(len(group))
        ]
        hazards = map(calibration.result, members)
        return np.stack([of_hazards.survival(h, calibration.classes, at) for h in hazards])

    def predict_quantile(
        self, X: TableLike, share: float = 0.5, *, out: Array | None = None
    ) -> Array:
        """Predict the time until which a share of such rows have had the event.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Rows, as for :meth:`predict`.
        share : float in (0, 1)
            0.5 gives the median time.
        out : array of floats, shape of the result, optional
            As for :meth:`predict`.

        Returns
        -------
        array of float64, shape (n_samples,)
            Times; infinite if the curve does not fall that far within the times of the fit.
        """
        checked = INNER_FRACTION.check("share", share, 0.5)
        of_share = partial(of_hazards.quantiles, edges=self.event_times_, share=checked)
        return self._of_hazards(X, of_share, out)

    def predict_hazards(self, X: TableLike, *, out: Array | None = None) -> Array:
        """Predict the probability of the event in each interval, of rows that had none before.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Rows, as for :meth:`predict`.
        out : array of floats, shape of the result, optional
            As for :meth:`predict`.

        Returns
        -------
        array of float64, shape (n_samples, n_intervals)
            Calibrated hazards of the intervals that end at ``event_times_``, as files in C and ONNX
            compute them: ``numpy.cumprod(1 - hazards, axis=1)`` is the curve at these times.
        """
        return self._of_hazards(X, np.asarray, out)

    def score(
        self,
        X: TableLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        time: ArrayLike | None = None,
        event: ArrayLike | None = None,
    ) -> float:
        """Return Harrell's concordance of :meth:`predict`.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Rows, as for :meth:`predict`.
        y, time, event : array-like, shape (n_samples,), or str, optional
            Events and times, as for :meth:`fit`.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the rows; a pair counts as their product.

        Returns
        -------
        float
            The share of comparable pairs of rows of which the one with the higher risk has the
            event first; 0.5 is chance, NaN if no pair is comparable.
        """
        X, y = _with_outcome(X, y, time, event)
        risks = self.predict(X)
        times, events, weights = _scored_rows(y, risks, sample_weight)
        return of_curves.concordance(times, events, risks, weights)

    def plot_calibration(self, y: ArrayLike | None = None, ax: Axes | None = None) -> Axes:
        """Plot the curves of three groups of risk, out of fold, beside the observed ones.

        Parameters
        ----------
        y : structured array, optional
            Events and times of the rows of the fit, in their order: ``y[model.rows_]`` if it used a
            sample. By default those that the fit got, which copies, pickles and files of an
            estimator lack.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes, with legend and labels: steps are the estimates of Kaplan and Meier.
        """
        fitted, calibration = self._calibrated()
        times, events = survival_of(targets_of_fit(fitted, y)).T
        hazards = calibration.result(fitted.out_of_fold.predictions)
        edges, order = calibration.classes, np.argsort(of_hazards.risks(hazards), kind="stable")
        ax = axes(ax, "plot_calibration")
        parts = np.array_split(order, len(of_hazards.GROUPS))
        for k, (name, rows) in enumerate(zip(of_hazards.GROUPS, parts, strict=True)):
            mean = of_hazards.survival(hazards[rows], edges, edges).mean(axis=0)
            curve = of_curves.kaplan_meier(times[rows], events[rows] > 0)
            ax.plot(edges, mean, color=f"C{k}", label=f"{name} risk")
            ax.plot(edges, of_curves.at_times(curve, edges), color=f"C{k}", linestyle=":")
        ax.set(xlabel="time", ylabel="share without the event")
        ax.legend()
        return ax

    @property
    def event_times_(self) -> Array:
        """Ends of the intervals, ascending."""
        return self._calibrated()[1].classes

    @property
    def temperature_(self) -> float:
        """Divisor of the logits, which calibrates the hazards."""
        return self._calibrated()[1].temperature

    def _moments(self, times: ArrayLike) -> Array:
        """Return checked times of curves."""
        last, at = float(self.event_times_[-1]), np.empty(())
        with suppress(TypeError, ValueError):  # words and parts of unequal lengths
            at = np.asarray(times, float)
        if at.ndim != 1 or not ((at >= 0) & (at <= last)).all():
            raise ValueError(
                f"times is {times!r} but a sequence of numbers from 0 to {last:g}, the last time "
                "of the fit, is expected: nothing is known beyond it"
            )
        return at

    def _explained(self) -> Explained:
        calibration = self._calibrated()[1]
        return self._explained_as(lambda p: of_hazards.risks(calibration.result(p)), None)

    def _of_hazards(
        self, X: TableLike, finish: Callable[[Array], Array], out: Array | None
    ) -> Array:
        """Return a function of the calibrated hazards of rows."""
        fitted, calibration = self._calibrated()
        return self._predicted(fitted, X, lambda p: finish(calibration.result(p)), out)

    def _calibrated(self) -> tuple[FittedTable, LabelCalibration]:
        """Return the value of the last fit, and its calibration."""
        fitted = self._state()
        assert isinstance(fitted.calibration, LabelCalibration)
        return fitted, fitted.calibration

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.positive_only = True
        return tags


def _with_outcome(X: Any, y: Any, time: Any, event: Any) -> tuple[Any, Any]:
    """Return inputs, and records of events and times, of arguments of fit; raise if they clash."""
    if (time is None) != (event is None) or (y is not None and time is not None):
        raise TypeError(
            "y, or both time and event, are expected: pass records of events and times as y, "
            "or leave y out"
        )
    if y is None and time is None:
        raise ValueError(
            "TabMLPSurvival requires y to be passed, but the target y is None: pass records of "
            "events and times, or time and event"
        )
    if y is None:
        given: dict[str, Any] = {"time": time, "event": event}
        for name, values in given.items():
            if not isinstance(values, str) and np.ndim(values) != 1:
                raise ValueError(f"{name} has {np.ndim(values)} dimensions but 1 is expected")
        X, time = with_target(X, time, "time")
        X, event = with_target(X, event, "event")
        y = paired(time, event)
    return X, y


def _scored_rows(
    y: ArrayLike, predictions: Array, sample_weight: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    """Return the checked times, events and weights of rows whose predictions are scored."""
    times, events = survival_of(y).T
    check_consistent_length(predictions, times, sample_weight)
    weights = None
    if sample_weight is not None:
        checks = {"dtype": np.float64, "ensure_non_negative": True}
        weights = _check_sample_weight(sample_weight, times, **checks)
    return times, events > 0, weights
