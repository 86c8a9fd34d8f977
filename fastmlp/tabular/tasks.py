"""What regression and classification of tables do differently: reading and scoring of targets.

A task is made from the targets of a fit, or from a fitted table for new targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from fastmlp._core.intervals import check_levels
from fastmlp._core.user_warnings import warn
from fastmlp._network.target_kinds import KINDS
from fastmlp._validation.arrays import REFUSED_KINDS
from fastmlp.sklearn.validation import (
    plain_labels,
    refuse_labels,
    refuse_text,
    weights_of_classes,
)
from fastmlp.tabular import temperature
from fastmlp.tabular.blend import BlendResult
from fastmlp.tabular.calibration import LabelCalibration, NumberCalibration, means_of
from fastmlp.tabular.columns import Array
from fastmlp.tabular.conformal import residuals_of
from fastmlp.tabular.epoch_selection import mean_cost
from fastmlp.tabular.fitted_table import FittedTable
from fastmlp.tabular.folds import ScoredRows
from fastmlp.tabular.loss_rows import LOSSES
from fastmlp.tabular.presets import LABEL_SMOOTHING
from fastmlp.tabular.scores import codes_of
from fastmlp.tabular.scoring import FixedClasses, FixedNumbers, scorer_of, scores_labels
from fastmlp.tabular.targets import (
    ClassTarget,
    MultiLabelTarget,
    NumericTarget,
    check_present,
    unweighed,
)

SMALLEST_SHRINK = 0.8  # of the residuals of all members to those of the members that hold a row out
LARGEST = 1e100  # largest magnitude of targets, so that sums of squares are finite

Scorer: TypeAlias = Callable[[Array], float] | None  # of out-of-fold predictions
Weights: TypeAlias = tuple[Array | None, Array | None]  # in training, and in scores


class Calibrated(NamedTuple):
    """What scored rows say of a blend."""

    calibration: Any
    lines: dict[str, str]  # for the report
    result: BlendResult  # whose quantiles may have been shifted


@dataclass(frozen=True, eq=False)
class NumberTask:
    """Regression."""

    estimator: ClassVar = "TabMLPRegressor"  # in messages
    has_classes: ClassVar = False

    parameters: Mapping[str, Any]  # of the estimator
    outputs: int

    @classmethod
    def of_targets(cls, parameters: Mapping[str, Any], y: Any) -> tuple[Self, Array]:
        """Return the task of the targets of a fit, and the targets, (n, outputs)."""
        numbers = _numbers_within_limits(parameters["loss"], y)
        if parameters["loss"] == "quantiles":
            check_levels("quantile", parameters["quantile"])
        if parameters["loss"] == "quantiles" and numbers.shape[1] > 1:
            raise ValueError(
                f"y has {numbers.shape[1]} targets but loss='quantiles' takes one: fit one "
                "estimator for each target"
            )
        check_present(numbers)
        return cls(parameters, numbers.shape[1]), numbers

    @classmethod
    def of_fitted(cls, fitted: FittedTable) -> Self:
        """Return the task of a fitted table."""
        outputs = fitted.calibration.outputs // fitted.target.levels
        return cls({**fitted.parameters, "loss": fitted.target.name}, outputs)

    def read(self, y: Any) -> Array:
        """Return targets of other rows, as the target of the networks holds them."""
        numbers = _numbers_within_limits(self.parameters["loss"], y)
        if numbers.shape[1] != self.outputs:
            raise ValueError(
                f"y has {numbers.shape[1]} outputs but {self.outputs} are expected, as in the fit"
            )
        return numbers

    def target(
        self, y: Array, weights: Array | None = None, in_scores: Array | None = None
    ) -> NumericTarget:
        """Return the target of the networks."""
        check_present(y, "in rows with a weight above 0")
        name = self.parameters["loss"]
        return NumericTarget(y, name, LOSSES[name].made(self.parameters), weights)

    def weights(self, y: Array, sample_weight: Array | None) -> Weights:
        """Return the weights of rows in training and in scores: 0 if all targets are missing."""
        missing, weights = np.isnan(y).all(axis=1), sample_weight
        if missing.any():
            weights = np.where(missing, 0.0, 1.0 if weights is None else weights)
        return weights, weights

    def weighting(self, in_scores: Array | None, sample_weight: Any) -> str:
        """Return words for a report about the weights of rows in scores."""
        return "" if in_scores is None else " (weighted by sample_weight)"

    @staticmethod
    def warn_of(parameters: Mapping[str, Any]) -> None:
        """Warn of unexpected effects of parameters, of which a regression has none."""

    def scorer(self, y: Array, weights: Array | None) -> Scorer:
        """Return a function from predictions to their score by ``scoring``."""
        if self.parameters["scoring"] is None:
            return None
        if self.parameters["loss"] == "quantiles":
            raise ValueError(
                f"scoring is {self.parameters['scoring']!r} but scorers take one prediction for "
                "each target, and loss='quantiles' has several: leave scoring out"
            )
        if np.isnan(y).any():
            raise ValueError(
                f"scoring is {self.parameters['scoring']!r} but y has missing targets, which "
                "scorers of scikit-learn do not take: leave scoring out"
            )
        right = means_of(y, self.outputs)
        score = scorer_of(self.parameters["scoring"], FixedNumbers, None, right, weights)
        return lambda predictions: score(means_of(predictions, self.outputs))

    def calibrated(self, scored: ScoredRows, result: BlendResult) -> Calibrated:
        """Return the distribution of the residuals of the out-of-fold predictions."""
        target = scored.target
        if target.loss.levels:
            result = _with_levels_calibrated(scored, result)
        predictions, m, shrink = result.out_of_fold, target.outputs, 1.0
        if target.row.is_square and result.together > 0:
            share = max(result.all, 0.0) / result.together
            shrink = max(float(np.sqrt(share)), SMALLEST_SHRINK)
        is_monotone = any((self.parameters["monotone"] or {}).values())
        has_variances = predictions.shape[1] > m
        sizes = np.sqrt(predictions[:, m:].T) if has_variances else [None] * m
        missing, weights = np.isnan(target.y), unweighed(target, scored.weights)
        y, w = np.where(missing, predictions[:, :m], target.y), [weights] * m
        for k in np.flatnonzero(missing.any(axis=0)):
            w[k] = np.where(missing[:, k], 0.0, 1.0 if weights is None else weights)
        residuals = [
            residuals_of(
                y[:, k],
                predictions[:, k],
                w[k],
                sizes[k],
                shrink,
                scored.groups,
                keeps_order=is_monotone,
            )
            for k in range(m)
        ]
        present = target.y[~missing]
        are_counts = target.row.may_be_counts and np.array_equal(present, np.floor(present))
        calibration = NumberCalibration(tuple(residuals), target.row.lowest, are_counts)
        return Calibrated(calibration, {}, result)

    def users(self, y: Array) -> Array:
        """Return the numbers of a target in the user's form."""
        return y


def _with_levels_calibrated(scored: ScoredRows, result: BlendResult) -> BlendResult:
    """Return a result whose quantiles are shifted by those of the residuals of each level.

    Romano, Patterson and Candes 2019, "Conformalized quantile regression". The shifts grow with
    the level, so that quantiles stay in order; outwards from the median, intervals only widen.
    """
    predictions, target = result.out_of_fold, scored.target
    y, levels = target.y[:, 0], np.array(target.loss.levels)
    shifts = np.zeros(len(levels))
    for k, level in enumerate(levels):
        ones = np.ones(len(y))
        residuals = residuals_of(y, predictions[:, k], scored.weights, ones, groups=scored.groups)
        shifts[k] = residuals.quantile(float(level))
    middle = int(np.argmin(np.abs(levels - 0.5)))
    shifts[middle:] = np.maximum.accumulate(shifts[middle:])
    shifts[: middle + 1] = np.minimum.accumulate(shifts[middle::-1])[::-1]
    groups = []
    for group in result.blend.groups:
        assert group.scale is not None
        moved = {name: getattr(group.scale, name) + shifts for name in ("centre", "low", "high")}
        groups.append(replace(group, scale=group.scale._replace(**moved)))
    blend = replace(result.blend, groups=groups)
    return replace(result, blend=blend, out_of_fold=predictions + shifts)


@dataclass(frozen=True, eq=False)
class LabelTask:
    """Classification, of one class or several independent labels per row."""

    estimator: ClassVar = "TabMLPClassifier"
    has_classes: ClassVar = True

    parameters: Mapping[str, Any]  # of the estimator
    classes: Array  # in order; of labels their numbers
    has_labels: bool

    @classmethod
    def of_targets(cls, parameters: Mapping[str, Any], y: Any) -> tuple[Self, Array]:
        """Return the task of the labels of a fit, and the checked labels."""
        labels = _checked_labels(y)
        if labels.ndim > 1:
            return cls(parameters, np.arange(labels.shape[1]), True), labels
        classes = np.unique(labels)
        if len(classes) < 2:
            raise ValueError(f"y has one class, {classes[0]}, but at least two are expected")
        return cls(parameters, classes, False), labels

    @classmethod
    def of_fitted(cls, fitted: FittedTable) -> Self:
        """Return the task of a fitted table."""
        calibration = fitted.calibration
        assert isinstance(calibration, LabelCalibration)
        return cls(fitted.parameters, calibration.classes, calibration.has_labels)

    def read(self, y: Any) -> Array:
        """Return labels of other rows, as the target of the networks holds them."""
        labels, classes = self.checked(y), self.classes
        if self.has_labels:
            return labels
        if labels.dtype.kind in "mM" and classes.dtype.kind == labels.dtype.kind:
            unit = np.result_type(classes, labels)  # days and seconds may be equal
            classes, labels = classes.astype(unit), labels.astype(unit)
        return codes_of(labels, classes)

    def checked(self, y: Any) -> Array:
        """Return labels of other rows, which need not be classes of the fit."""
        labels = _checked_labels(y)
        expected = (len(labels), len(self.classes))[: 1 + self.has_labels]
        if labels.shape != expected:
            raise ValueError(
                f"y has shape {labels.shape} but {expected} is expected: pass "
                + ("0 or 1 for each label of the fit" if self.has_labels else "one class per row")
            )
        return labels

    @property
    def is_divided(self) -> bool:
        """Whether the weights of classes are divided out of probabilities."""
        return self.parameters["class_weight"] is not None and self.parameters["prior"] == "true"

    def target(
        self, y: Array, weights: Array | None = None, in_scores: Array | None = None
    ) -> ClassTarget:
        """Return the target of the networks."""
        smoothing = LABEL_SMOOTHING if scores_labels(self.parameters["scoring"]) else 0.0
        if self.has_labels:
            return MultiLabelTarget(y, smoothing)
        codes, divided = np.searchsorted(self.classes, y), None
        if self.is_divided:
            divided = np.ones(len(self.classes))
            divided[codes] = 1.0 if weights is None else weights
            divided[codes] /= 1.0 if in_scores is None else in_scores
        return ClassTarget(codes, len(self.classes), smoothing, divided)

    def weights(self, y: Array, sample_weight: Array | None) -> Weights:
        """Return the weights of rows in training and in scores."""
        if self.parameters["class_weight"] is None:
            return sample_weight, sample_weight
        of_classes = weights_of_classes(self.parameters["class_weight"], y, self.classes)
        if self.is_divided and (self.has_labels or not of_classes.all()):
            why, remedy = "rows have several labels", "leave out class_weight"
            if not self.has_labels:
                label = y[[np.argmin(of_classes)]].tolist()[0]
                why, remedy = f"class_weight of {label!r} is 0", "leave out the rows of this class"
            raise ValueError(
                f"prior is 'true' but {why}, and weights are divided out of probabilities: pass "
                f"prior='weighted', or {remedy}"
            )
        weights = of_classes if sample_weight is None else sample_weight * of_classes
        return weights, sample_weight if self.parameters["prior"] == "true" else weights

    def weighting(self, in_scores: Array | None, sample_weight: Any) -> str:
        """Return words for a report about the weights of rows in scores."""
        of_classes = self.parameters["class_weight"] is not None and not self.is_divided
        names = ["sample_weight"] * (sample_weight is not None) + ["class_weight"] * of_classes
        return "" if in_scores is None else f" (weighted by {' and '.join(names)})"

    @staticmethod
    def warn_of(parameters: Mapping[str, Any]) -> None:
        """Warn that weights of classes change probabilities, if the user has not chosen."""
        if parameters["class_weight"] is not None and parameters["prior"] is None:
            warn(
                "with class_weight, probabilities and scores are those of weighted rows (for "
                "'balanced', of equally frequent classes): pass prior='true' for those of the "
                "rows as they are, or prior='weighted' if these are meant"
            )

    def scorer(self, y: Array, weights: Array | None) -> Scorer:
        """Return a function from probabilities to their score by ``scoring``."""
        if self.parameters["scoring"] is None:
            return None
        classes = None if self.has_labels else self.classes
        return scorer_of(self.parameters["scoring"], FixedClasses, classes, y, weights)

    def calibrated(self, scored: ScoredRows, result: BlendResult) -> Calibrated:
        """Return the temperature of the out-of-fold predictions, and a line for the report."""
        outputs, target, weights = result.out_of_fold, scored.target, scored.weights
        fitted = temperature.fitted(outputs, target.y, weights)
        calibration = LabelCalibration(fitted, self.classes, self.has_labels)
        loss = mean_cost(target, calibration.result(outputs), weights)
        line = f"{fitted:.3g}, with it {target.metric} {loss:.4g}"
        return Calibrated(calibration, {"temperature": line}, result)

    def users(self, y: Array) -> Array:
        """Return the labels of a target in the user's form."""
        return self.classes[y] if y.ndim == 1 else y


Task: TypeAlias = NumberTask | LabelTask


def finite_numbers(y: Any) -> Array:
    """Return numbers as float64, (n, outputs); raise ValueError for anything else.

    Some may be NaN, which means missing, but not all.
    """
    refuse_text(y, "TabMLPClassifier")
    array = np.asarray(y)
    kind = array.dtype.kind
    if kind in "mM":
        raise ValueError(
            f"y holds {REFUSED_KINDS[kind][0]} but numbers are expected: pass days, such as "
            "(y - y.min()) / numpy.timedelta64(1, 'D')"
        )
    try:
        options = {"ensure_2d": False, "dtype": np.float64, "ensure_all_finite": "allow-nan"}
        options["copy"] = True  # a fit refers to its targets, which users may change
        checked = check_array(y, **options, input_name="y")
    except OverflowError:
        raise ValueError("y holds integers that are too large for float64: rescale y") from None
    if np.isnan(checked).all():
        raise ValueError(
            "Input y contains NaN alone but some targets are expected: pass other rows"
        )
    return np.asarray(checked.reshape(len(checked), -1))


def _numbers_within_limits(loss: str, y: Any) -> Array:
    """Return targets of a loss, (n, outputs), whose squares have finite sums."""
    numbers = finite_numbers(y)
    KINDS[LOSSES[loss].loss.target_kind].check(numbers, "y", f"loss={loss!r}")
    with np.errstate(over="ignore"):
        largest = np.fmax.reduce(np.abs(numbers), axis=None)
        range_ = np.fmax.reduce(numbers, axis=0) - np.fmin.reduce(numbers, axis=0)
    if largest > LARGEST or np.any((range_ > 0) & (range_ < 1 / LARGEST)):
        raise ValueError(
            f"y has numbers up to {largest:.3g} over ranges from {range_.min():.3g} but up to "
            f"{LARGEST:g} and ranges from {1 / LARGEST:g} are expected: rescale y"
        )
    return numbers


def _checked_labels(y: Any) -> Array:
    """Return labels, (n,), or a matrix of 0 and 1, (n, labels)."""
    y = plain_labels(y)
    labels = np.asarray(y)
    refuse_labels(labels)
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    if (kind := type_of_target(y)).startswith("continuous"):
        raise ValueError(
            f"Unknown label type: {kind}, numbers with fractions, but labels are expected: use "
            "TabMLPRegressor for numbers"
        )
    check_classification_targets(y)
    if kind.startswith("multilabel"):
        checked = np.asarray(check_array(y, accept_sparse=False, input_name="y"))
        if not np.isin(checked, (0, 1)).all():
            raise ValueError(
                f"y is a matrix of labels with {np.unique(checked)} but 0 and 1 are expected: "
                "use 1 for a label that applies"
            )
        return checked
    return np.asarray(column_or_1d(y, warn=True))
