"""The targets: what y is, of a regression, of classes and of labels.

A target reads the user's values, converts them to those that networks are trained on and back, and
defines the networks' loss, the scaling per member, the cost of each row in the metric that selects
epochs, the weights of rows and the calibration. Targets never change: other rows have another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fastmlp._core.intervals import check_levels
from fastmlp._core.user_warnings import warn
from fastmlp._network import losses
from fastmlp._network.losses import Loss
from fastmlp.tabular.outcome import temperature
from fastmlp.tabular.outcome.calibration import LabelCalibration, NumberCalibration, means_of
from fastmlp.tabular.outcome.classes import codes_of
from fastmlp.tabular.outcome.conformal import residuals_of
from fastmlp.tabular.outcome.loss_rows import (
    AVERAGING,
    HOPELESS,
    LABEL_SMOOTHING,
    LOSSES,
    RATE,
    SMALLEST,
    LossRow,
)
from fastmlp.tabular.table.columns import Array, RowIndex

EVERY_MEMBER = np.s_[:, np.newaxis]  # index of a scale for predictions (members, n, columns)

DEVIATION_OF_QUARTILES = 0.7413  # a normal deviation over the interquartile range
FARTHEST = 1e18  # bound of scaled targets; only held-out rows can be as far from the training rows
SMALLEST_SHRINK = 0.8  # of the residuals of all members to those of the members that hold a row out
# Prefixes of scorers of scikit-learn that use labels instead of probabilities.
OF_LABELS = ("accuracy", "balanced_accuracy", "f1", "jaccard", "matthews", "precision", "recall")


class TargetScale(NamedTuple):
    """Centre, factor and limits of the members' targets, each (members, outputs).

    Limits are infinite where predictions may follow a trend beyond the targets of the fit.
    """

    centre: Array
    factor: Array
    low: Array
    high: Array

    def shifted(self, shifts: Array) -> TargetScale:
        """Return a scale with which predictions are larger by these."""
        return TargetScale(self.centre + shifts, self.factor, self.low + shifts, self.high + shifts)

    def freed(self, others: Sequence[TargetScale]) -> TargetScale:
        """Return this scale without the limits of outputs that a member of others lacks."""
        low, high = self.low, self.high
        for other in others:
            low = np.where(np.isinf(other.low).any(axis=0), -np.inf, low)
            high = np.where(np.isinf(other.high).any(axis=0), np.inf, high)
        return self._replace(low=low, high=high)


class ClassRow(NamedTuple):
    """What a `LossRow` says of the training of numbers, for classes and labels."""

    rate: float = RATE["classes"]
    averaging: float = AVERAGING["classes"]
    hopeless: float = HOPELESS


class RowWeights(NamedTuple):
    """The weights of rows in training and in scores; None if they are equal.

    They differ if the weights of classes are divided out of probabilities.
    """

    training: Array | None = None
    scores: Array | None = None
    source: str = ""  # the arguments that those in scores come from
    are_divided: bool = False

    @property
    def words(self) -> str:
        """What a metric says about the weights."""
        return "" if self.scores is None else f" (weighted by {self.source})"


@dataclass(frozen=True, eq=False)
class NumericTarget:
    """One or several real numbers per row, some of which may be NaN, which means missing."""

    kind: ClassVar = "numbers"
    estimator: ClassVar = "TabMLPRegressor"  # messages name it
    strata: ClassVar = None  # folds spread no classes evenly
    sums_to_one: ClassVar = False  # whether the predictions of a row do
    are_hazards: ClassVar = False  # whether they are those of intervals of time
    uninformed: ClassVar = None  # classes alone have predictions that need no rows
    may_be_monotone: ClassVar = True
    outputs_are_columns: ClassVar = True  # whether each output predicts a column of y

    y: Any  # (n, targets); None without rows
    name: str  # a key of `LOSSES`
    loss: Loss
    unit: Array  # the deviation per output, 1 if constant
    weighting: str = ""  # what `metric` says about the weights of rows

    @classmethod
    def of(
        cls, y: Array, name: str, loss: Loss | None = None, weights: Array | None = None
    ) -> Self:
        """Return the target of numbers, (n, targets), with a loss of this name."""
        loss = loss or LOSSES[name].loss()
        return cls(y, name, loss, _unit_of(y, LOSSES[name], loss, weights))

    @classmethod
    def of_fit(cls, parameters: Mapping[str, Any], y: ArrayLike) -> Self:
        """Return the target that the user passes to a fit, checked."""
        from fastmlp.tabular.outcome.checked_targets import numbers_of  # needs scikit-learn

        name = parameters["loss"]
        numbers = numbers_of(name, y)
        if name == "quantiles":
            check_levels("quantile", parameters["quantile"])
        if name == "quantiles" and numbers.shape[1] > 1:
            raise ValueError(
                f"y has {numbers.shape[1]} targets but loss='quantiles' takes one: fit one "
                "estimator for each target"
            )
        check_present(numbers)
        return cls.of(numbers, name, LOSSES[name].made(parameters))

    @staticmethod
    def warn_of(parameters: Mapping[str, Any]) -> None:
        """Warn of unexpected effects of parameters, of which a regression has none."""

    def read(self, y: ArrayLike) -> Self:
        """Return the target of other rows that the user passes, checked."""
        from fastmlp.tabular.outcome.checked_targets import numbers_of  # needs scikit-learn

        numbers, targets = numbers_of(self.name, y), self.outputs // self.levels
        if numbers.shape[1] != targets:
            raise ValueError(
                f"y has {numbers.shape[1]} outputs but {targets} are expected, as in the fit"
            )
        return self.with_rows(numbers)

    def with_rows(self, y: Array | None, weighting: str | None = None) -> Self:
        """Return the same target of other rows, or of none."""
        return replace(self, y=y, weighting=self.weighting if weighting is None else weighting)

    def check_learned(self, learn: Sequence[RowIndex]) -> None:
        """Raise ValueError if a member could learn nothing from its rows."""

    def of_rows(self, rows: RowIndex, weights: RowWeights) -> Self:
        """Return the target of the rows that a fit uses, with its unit measured on these."""
        y = self.y[rows]
        check_present(y, "in rows with a weight above 0")
        unit = _unit_of(y, self.row, self.loss, weights.training)
        return replace(self, y=y, unit=unit, weighting=weights.words)

    @property
    def original_y(self) -> Array:
        """The numbers in the user's form, (n,) of one target."""
        return means_of(self.y, self.y.shape[1])

    def row_weights(self, parameters: Mapping[str, Any], sample_weight: Array | None) -> RowWeights:
        """Return the weights of rows: 0 if all targets are missing."""
        missing, weights = np.isnan(self.y).all(axis=1), sample_weight
        if missing.any():
            weights = np.where(missing, 0.0, 1.0 if weights is None else weights)
        return RowWeights(weights, weights, "sample_weight")

    def cost_weights(self, weights: Array | None) -> Array | None:
        """Return weights of rows in means of `costs`: less if some targets are missing."""
        missing = np.isnan(self.y)
        if not missing.any():
            return weights
        shares = np.asarray(1 - missing.mean(axis=1))
        return shares if weights is None else shares * weights

    @property
    def outputs(self) -> int:
        """The number of predictions, without variances."""
        return len(self.unit)

    @property
    def levels(self) -> int:
        """The number of quantiles; several only of one number per row."""
        return max(1, len(self.loss.levels))

    @property
    def directions(self) -> Array:
        """Directions of the outputs that make predictions rise, see `monotone`."""
        return np.ones(self.outputs)

    @property
    def row(self) -> LossRow:
        """The row of the loss."""
        return LOSSES[self.name]

    @property
    def is_rate(self) -> bool:
        """Whether predictions are positive, and multiples of the mean: that is the log link."""
        return self.loss.link_name == "exp"

    def scale(self, learn: Sequence[RowIndex], weights: Array | None) -> TargetScale:
        """Measure the scale on the rows that each member is trained on."""
        is_rate, levels = self.is_rate, self.levels
        measured = [self._measured(rows, weights, is_rate) for rows in learn]
        of_members = map(np.stack, zip(*measured, strict=True))
        return TargetScale(*(np.tile(array, levels) for array in of_members))

    def _measured(self, rows: RowIndex, weights: Array | None, is_rate: bool) -> tuple[Array, ...]:
        """Return centre, factor and limits of the predictions of one member."""
        y, w, row = self.y[rows], None if weights is None else weights[rows], self.row
        if np.isnan(y).all(axis=0).any():  # none of these rows has one of the targets
            y, w = self.y, weights
        centre = _mean(y, w)
        if is_rate:
            factor, centre = centre, np.zeros_like(centre)
        else:
            factor = _deviation(y, centre, w)
        if row.is_robust:
            centre, factor = _robust(y, centre, factor)
        factor = np.where(
            factor > 0, factor, self.unit[: y.shape[1]]
        )  # constant targets have no deviation
        low = np.fmin.reduce(y, axis=0)
        if is_rate:
            low = np.maximum(low, SMALLEST * factor)
        return centre, factor, low, np.maximum(low, np.fmax.reduce(y, axis=0))

    def widened(self, scale: TargetScale) -> TargetScale:
        """Return a scale whose limits of predictions include these targets."""
        m, low = self.y.shape[1], np.fmin.reduce(self.y, axis=0)
        if self.is_rate:
            low = np.maximum(low, SMALLEST * scale.factor[:, :m])
        high = np.fmax.reduce(self.y, axis=0)
        return scale._replace(low=np.fmin(scale.low, low), high=np.fmax(scale.high, high))

    def encode(self, scale: TargetScale, member: int) -> Array:
        """Return centred and scaled targets, with which a member is trained."""
        m = self.y.shape[1]
        z = (self.y - scale.centre[member, :m]) / scale.factor[member, :m]
        scaled: Array = np.clip(z, -FARTHEST, FARTHEST)
        return scaled.astype(np.float32)

    def decode(self, scale: TargetScale, z: Array, members: Any = EVERY_MEMBER) -> Array:
        """Return predictions, (..., columns), in the user's units: means, then variances if any.

        ``members`` selects the scales of those that predicted ``z``: an index of their first axis.
        """
        m, factor = self.outputs, scale.factor[members]
        prediction = z.astype(np.float64)
        means = prediction[..., :m]
        means *= factor
        means += scale.centre[members]
        np.maximum(means, scale.low[members], out=means)
        np.minimum(means, scale.high[members], out=means)
        if prediction.shape[-1] > m:
            prediction[..., m:] *= factor**2
        return prediction

    def calibrated(self, prediction: Array, weights: Array | None) -> Array:
        """Return out-of-fold predictions as they are: the calibration of numbers adds intervals."""
        return prediction

    def constant(self, weights: Array | None) -> tuple[str, Array]:
        """Return the name and the values of the best prediction that is the same for all rows."""
        if self.row.is_robust:
            levels = self.loss.levels or (getattr(self.loss, "quantile", 0.5),)
            name = f"the {levels[0]:.3g} quantile" if len(levels) == 1 else "the quantiles"
            name = "the median" if levels == (0.5,) else name
            return name, np.concatenate([weighted_quantile(self.y, q, weights) for q in levels])
        mean = _mean(self.y, weights)
        variances = [_deviation(self.y, mean, weights) ** 2]
        heads = [mean] + variances * self.loss.predicts_variance
        return "the mean", np.concatenate(heads)

    def costs(self, prediction: Array, rows: RowIndex | slice = slice(None)) -> Array:
        """Return the costs of rows, (..., n), in units of the deviation of y.

        Those of several targets are means over the targets that are there; `cost_weights` are
        those with which they belong in a mean over rows.
        """
        m, y, costs = self.outputs, self.y[rows], self.costs_of_outputs(prediction, rows)
        if (missing := np.isnan(y)).any():
            missing = np.broadcast_to(missing, costs.shape)
            counts = np.maximum(np.count_nonzero(~missing, axis=-1), 1)
            return np.asarray(np.where(missing, 0.0, costs).sum(axis=-1) / counts)
        return np.asarray(costs[..., 0] if m == 1 else costs.mean(axis=-1))

    def costs_of_outputs(self, prediction: Array, rows: RowIndex | slice = slice(None)) -> Array:
        """Return the costs of each target, (..., n, targets), NaN where it is missing."""
        m, y = self.outputs, self.y[rows]
        return self.row.cost(y, prediction[..., :m], prediction[..., m:], self.unit, self.loss)

    @property
    def least_costs(self) -> Array | None:
        """The costs of rows whose predictions are their targets, (n,); None of a density."""
        return None if self.row.has_density else self.costs(np.tile(self.y, self.levels))

    def facts(self, prediction: Array, weights: Array | None) -> dict[str, str]:
        """Return further lines of a report on predictions of these rows: none."""
        return {}

    def shown(self, cost: float) -> float:
        """Return a mean cost in the usual form of the metric."""
        return self.row.shown(cost, self.unit)

    @property
    def cost_name(self) -> str:
        """The name of the mean of `costs`."""
        is_square = self.row.is_square
        return "mean squared error over the variance of y" if is_square else self.row.metric

    @property
    def metric(self) -> str:
        """The name of the metric that `shown` returns."""
        of_several = self.row.metric_of_several if self.outputs > 1 else None
        return (of_several or self.row.metric) + self.weighting

    @property
    def without_scorer(self) -> str:
        """Why scorers of scikit-learn cannot score predictions of these rows; else empty."""
        if self.levels > 1:
            return "scorers take one prediction for each target, and loss='quantiles' has several"
        if np.isnan(self.y).any():
            return "y has missing targets, which scorers of scikit-learn do not take"
        return ""

    def shifts(self, outputs: Array, weights: Array | None, groups: Array | None) -> Array | None:
        """Return what calibrates out-of-fold quantiles if it is added to them; None for means.

        The shifts are quantiles of the residuals of each level (Romano, Patterson and Candes 2019,
        "Conformalized quantile regression"). They grow with the level, so that quantiles stay in
        order; outwards from the median, intervals only widen.
        """
        if not self.loss.levels:
            return None
        y, levels = self.y[:, 0], np.array(self.loss.levels)
        shifts = np.zeros(len(levels))
        for k, level in enumerate(levels):
            residuals = residuals_of(y, outputs[:, k], weights, np.ones(len(y)), groups=groups)
            shifts[k] = residuals.quantile(float(level))
        middle = int(np.argmin(np.abs(levels - 0.5)))
        shifts[middle:] = np.maximum.accumulate(shifts[middle:])
        shifts[: middle + 1] = np.minimum.accumulate(shifts[middle::-1])[::-1]
        return shifts

    def calibration(
        self,
        outputs: Array,
        weights: Array | None,
        groups: Array | None,
        share: float,
        keeps_order: bool,
        most: int | None = None,
    ) -> NumberCalibration:
        """Return the distribution of the residuals of out-of-fold predictions.

        ``share`` is the cost of all members over that of those that hold a row out. With ``most``,
        residuals have both signs, and so many are kept.
        """
        m = self.outputs
        shrink = max(float(np.sqrt(share)), SMALLEST_SHRINK) if self.row.is_square else 1.0
        sizes = np.sqrt(outputs[:, m:].T) if outputs.shape[1] > m else [None] * m
        missing = np.isnan(self.y)
        y, w = np.where(missing, outputs[:, :m], self.y), [weights] * m
        for k in np.flatnonzero(missing.any(axis=0)):
            w[k] = np.where(missing[:, k], 0.0, 1.0 if weights is None else weights)
        residuals = [
            residuals_of(y[:, k], outputs[:, k], w[k], sizes[k], shrink, groups, keeps_order, most)
            for k in range(m)
        ]
        present = self.y[~missing]
        are_counts = self.row.may_be_counts and np.array_equal(present, np.floor(present))
        return NumberCalibration(tuple(residuals), self.row.lowest, are_counts)


def check_present(y: Array, where: str = "") -> None:
    """Raise ValueError if some target is missing in nearly all rows; labels are never missing."""
    if y.dtype.kind != "f":
        return
    counts = np.count_nonzero(~np.isnan(y), axis=0)
    if counts.min() < min(2, len(y)):
        is_one = len(counts) == 1
        name = "y" if is_one else f"y[:, {counts.argmin()}]"
        remedy = "pass more rows with a target" if is_one else "leave this target out"
        raise ValueError(
            f"{name} has {counts.min()} values that are not NaN{where and ' '}{where} but at least "
            f"2 are expected: {remedy}"
        )


class Baseline(NamedTuple):
    """The predictions that a model is compared with."""

    name: str  # such as "the mean"
    predictions: Array  # (n, columns)
    rows: str = ""  # such as " of earlier rows", which give it; empty for all rows

    @property
    def title(self) -> str:
        """The name with the rows that give it."""
        return self.name + self.rows

    def score(self, target: Target, weights: Array | None) -> float:
        """Return the score of these predictions."""
        costs = target.costs(self.predictions)
        return float(target.shown(float(np.average(costs, weights=weights))))

    def explained(self, target: Target, costs: Array, weights: Array | None) -> float | None:
        """Return the share of the costs of these predictions that others save; None if unknown.

        It is that of the loss, such as R squared and scikit-learn's ``d2_tweedie_score``.
        """
        if (least := target.least_costs) is None:
            return None
        cost, own, best = (
            float(np.average(each, weights=weights))
            for each in (target.costs(self.predictions), costs, least)
        )
        return 1 - (own - best) / (cost - best) if cost > best else None

    def is_beaten(self, target: Target, prediction: Array, weights: Array | None) -> bool:
        """Whether predictions are better than these; True if there is nothing to predict."""
        gain = np.average(target.costs(self.predictions), weights=weights)
        gain -= np.average(target.costs(prediction), weights=weights)
        varies = np.any(np.fmin.reduce(target.y, axis=0) < np.fmax.reduce(target.y, axis=0))
        return bool(gain > 0 or not varies)


def baseline(target: Target, weights: Array | None) -> Baseline:
    """Return the best prediction that is the same for all rows."""
    name, prediction = target.constant(weights)
    return Baseline(name, np.broadcast_to(prediction, (len(target.y), prediction.shape[-1])))


def _mean(y: Array, weights: Array | None) -> Array:
    """Return the mean of each column, without values that are NaN."""
    missing = np.isnan(y)
    if not missing.any():
        return np.asarray(np.average(y, axis=0, weights=weights))
    w = np.where(missing, 0.0, 1.0 if weights is None else weights[:, np.newaxis])
    return np.asarray(np.average(np.where(missing, 0.0, y), axis=0, weights=w))


def _unit_of(y: Array, row: LossRow, loss: Loss, weights: Array | None) -> Array:
    """Return the deviation per output, 1 if constant."""
    centre = _mean(y, weights)
    deviation = _deviation(y, centre, weights)
    if row.has_robust_unit:
        _, deviation = _robust(y, centre, deviation)
    return np.tile(np.where(deviation > 0, deviation, 1.0), max(1, len(loss.levels)))


def weighted_quantile(y: Array, level: float, weights: Array | None) -> Array:
    """Return a quantile of each column, without values that are NaN."""
    order = np.argsort(y, axis=0)
    w = np.where(np.isnan(y), 0.0, 1.0 if weights is None else weights[:, np.newaxis])
    below = np.cumsum(np.take_along_axis(w, order, axis=0), axis=0)
    at = np.count_nonzero(below < level * below[-1], axis=0)
    return np.asarray(y[order[at, np.arange(len(at))], np.arange(len(at))])


def _robust(y: Array, centre: Array, deviation: Array) -> tuple[Array, Array]:
    """Return the medians and the deviations by quartiles, where the quartiles differ."""
    low, middle, high = np.nanquantile(y, [0.25, 0.5, 0.75], axis=0)
    narrow = (high - low) * DEVIATION_OF_QUARTILES
    is_wide = narrow > 0
    narrowed = np.where(is_wide, np.minimum(narrow, deviation), deviation)
    return np.where(is_wide, middle, centre), narrowed


def _deviation(y: Array, centre: Array, weights: Array | None) -> Array:
    """Return the standard deviation of each column."""
    return np.asarray(np.sqrt(_mean((y - centre) ** 2, weights)))


@dataclass(frozen=True, eq=False)
class ClassTarget:
    """One of several classes per row, by its place among them."""

    kind: ClassVar = "classes"
    estimator: ClassVar = "TabMLPClassifier"  # messages name it
    row: ClassVar = ClassRow()
    name: ClassVar = "classes"
    cost_name: ClassVar = "log loss"
    has_labels: ClassVar = False  # whether each output is an independent label
    are_hazards: ClassVar = False  # whether the outputs are those of intervals of time
    outputs_are_columns: ClassVar = True  # whether each output of several predicts a column of y

    y: Any  # places, (n,); None without rows
    classes: Array  # the user's, in order
    loss: Loss
    class_weights: Array | None = None  # that are divided out of probabilities
    weighting: str = ""  # what `metric` says about the weights of rows

    @classmethod
    def of(
        cls,
        y: Array,
        classes: Array,
        smoothing: float = 0.0,
        class_weights: Array | None = None,
    ) -> Self:
        """Return the target of places of classes, (n,)."""
        return cls(y, classes, losses.CrossEntropy(label_smoothing=smoothing), class_weights)

    @staticmethod
    def of_fit(parameters: Mapping[str, Any], y: ArrayLike) -> ClassTarget:
        """Return the target that the user passes to a fit, checked: classes, or several labels."""
        from fastmlp.tabular.outcome.checked_targets import labels_of  # needs scikit-learn

        labels, scoring = labels_of(y), parameters["scoring"]
        is_of_labels = isinstance(scoring, str) and scoring.startswith(OF_LABELS)
        smoothing = LABEL_SMOOTHING if is_of_labels else 0.0
        if labels.ndim > 1:
            return MultiLabelTarget.of_labels(labels, smoothing)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"y has one class, {classes[0]}, but at least two are expected: look how rows and "
                "labels were selected, and add rows of another class"
            )
        return ClassTarget.of(codes, classes, smoothing)

    @staticmethod
    def warn_of(parameters: Mapping[str, Any]) -> None:
        """Warn that weights of classes change probabilities, if the user has not chosen."""
        if parameters["class_weight"] is not None and parameters["prior"] is None:
            warn(
                "with class_weight, probabilities and scores are those of weighted rows (for "
                "'balanced', of equally frequent classes): pass prior='true' for those of the "
                "rows as they are, or prior='weighted' if these are meant"
            )

    def labels_of(self, y: ArrayLike) -> Array:
        """Return checked labels of other rows, which need not be classes of the fit."""
        from fastmlp.tabular.outcome.checked_targets import labels_of  # needs scikit-learn

        labels = labels_of(y)
        expected = (len(labels), self.outputs)[: 1 + self.has_labels]
        if labels.shape != expected:
            raise ValueError(
                f"y has shape {labels.shape} but {expected} is expected: pass "
                + ("0 or 1 for each label of the fit" if self.has_labels else "one class per row")
            )
        return labels

    def read(self, y: ArrayLike) -> Self:
        """Return the target of other rows that the user passes, checked."""
        labels, classes = self.labels_of(y), self.classes
        if labels.dtype.kind in "mM" and classes.dtype.kind == labels.dtype.kind:
            unit = np.result_type(classes, labels)  # days and seconds may be equal
            classes, labels = classes.astype(unit), labels.astype(unit)
        return self.with_rows(codes_of(labels, classes))

    def with_rows(self, y: Array | None, weighting: str | None = None) -> Self:
        """Return the same target of other rows, or of none."""
        return replace(self, y=y, weighting=self.weighting if weighting is None else weighting)

    def check_learned(self, learn: Sequence[RowIndex]) -> None:
        """Raise ValueError if a member could learn nothing from its rows."""

    def of_rows(self, rows: RowIndex, weights: RowWeights) -> Self:
        """Return the target of the rows that a fit uses, with the weights of classes in these."""
        y, divided = self.y[rows], None
        if weights.are_divided:
            divided = np.ones(self.outputs)
            divided[y] = 1.0 if weights.training is None else weights.training
            divided[y] /= 1.0 if weights.scores is None else weights.scores
        return replace(self, y=y, class_weights=divided, weighting=weights.words)

    @property
    def original_y(self) -> Array:
        """The labels in the user's form."""
        return np.asarray(self.classes[self.y])

    def row_weights(self, parameters: Mapping[str, Any], sample_weight: Array | None) -> RowWeights:
        """Return the weights of rows times those of classes, which may be divided out in scores."""
        class_weight, is_divided = parameters["class_weight"], parameters["prior"] == "true"
        if class_weight is None:
            return RowWeights(sample_weight, sample_weight, "sample_weight")
        from fastmlp.sklearn.validation import weights_of_classes  # needs scikit-learn

        y = self.original_y
        of_classes = weights_of_classes(class_weight, y, self.classes)
        if is_divided and (self.has_labels or not of_classes.all()):
            why, remedy = "rows have several labels", "leave out class_weight"
            if not self.has_labels:
                label = y[[np.argmin(of_classes)]].tolist()[0]
                why, remedy = f"class_weight of {label!r} is 0", "leave out the rows of this class"
            raise ValueError(
                f"prior is 'true' but {why}, and weights are divided out of probabilities: pass "
                f"prior='weighted', or {remedy}"
            )
        weights = of_classes if sample_weight is None else sample_weight * of_classes
        if is_divided:
            return RowWeights(weights, sample_weight, "sample_weight", are_divided=True)
        sources = ["sample_weight"] * (sample_weight is not None) + ["class_weight"]
        return RowWeights(weights, weights, " and ".join(sources))

    def cost_weights(self, weights: Array | None) -> Array | None:
        """Return weights of rows for means of `costs`, as they are: labels are never missing."""
        return weights

    @property
    def outputs(self) -> int:
        """The number of probabilities."""
        return len(self.classes)

    @property
    def sums_to_one(self) -> bool:
        """Whether the predictions of a row do."""
        return not self.has_labels

    @property
    def without_scorer(self) -> str:
        """Nothing, since scorers of scikit-learn can score all predictions of classes."""
        return ""

    @property
    def may_be_monotone(self) -> bool:
        """Whether the order of predictions is that of one of them."""
        return self.outputs == 2

    @property
    def directions(self) -> Array:
        """Directions of the outputs that make predictions rise, see `monotone`."""
        return np.array([-1.0, 1.0])  # the second class is more likely

    @property
    def strata(self) -> Array | None:
        """The classes, which folds spread evenly."""
        return self.y  # type: ignore[no-any-return]

    def scale(self, learn: Sequence[RowIndex], weights: Array | None) -> TargetScale | None:
        """Return the factors that divide weights of classes out of probabilities; None if none."""
        if self.class_weights is None:
            return None
        factor = np.tile(self.class_weights.min() / self.class_weights, (len(learn), 1))
        return TargetScale(np.zeros_like(factor), factor, np.zeros_like(factor), factor)

    def widened(self, scale: TargetScale | None) -> TargetScale | None:
        """Return the scale as it is, since probabilities have no limits."""
        return scale

    def encode(self, scale: TargetScale | None, member: int) -> Array:
        """Return the classes as int32, the same for all members."""
        return np.asarray(self.y, np.int32)

    def decode(self, scale: TargetScale | None, z: Array, members: Any = EVERY_MEMBER) -> Array:
        """Return probabilities, (..., classes), normalised in float64.

        Weights of classes are divided out by Bayes' rule: the prior of a class is in proportion to
        its weight (Saerens, Latinne and Decaestecker 2002).
        """
        p = z.astype(np.float64)
        if scale is not None:
            p *= scale.factor[members]
        return np.asarray(p / p.sum(axis=-1, keepdims=True))

    def calibrated(self, prediction: Array, weights: Array | None) -> Array:
        """Return out-of-fold probabilities at the temperature with the lowest log loss on them."""
        fitted = temperature.fitted(prediction, self.y, weights)
        return temperature.applied(prediction, fitted, self.has_labels)

    def shifts(self, outputs: Array, weights: Array | None, groups: Array | None) -> None:
        """Return None: quantiles alone are shifted."""

    def calibration(
        self,
        outputs: Array,
        weights: Array | None,
        groups: Array | None,
        share: float,
        keeps_order: bool,
        most: int | None = None,
    ) -> LabelCalibration:
        """Return the temperature of out-of-fold probabilities."""
        fitted = temperature.fitted(outputs, self.y, weights)
        return LabelCalibration(fitted, self.classes, self.has_labels)

    @property
    def uninformed(self) -> Array:
        """The probabilities before any row is known, equal ones."""
        return np.full(self.outputs, 1 / self.outputs)

    def constant(self, weights: Array | None) -> tuple[str, Array]:
        """Return the name and the values of the best prediction that is the same for all rows."""
        counts = np.bincount(self.y, weights, self.outputs)
        return "the class shares", counts / counts.sum()

    def costs(self, prediction: Array, rows: RowIndex | slice = slice(None)) -> Array:
        """Return the log loss of rows, (..., n)."""
        labels = np.broadcast_to(self.y[rows], prediction.shape[:-1])
        right = np.take_along_axis(prediction, labels[..., np.newaxis], axis=-1)[..., 0]
        return np.asarray(-np.log(np.maximum(right, SMALLEST)))

    @property
    def least_costs(self) -> Array:
        """The costs of rows whose predictions are their targets, (n,)."""
        return np.zeros(len(self.y))

    def facts(self, prediction: Array, weights: Array | None) -> dict[str, str]:
        """Return further lines of a report on predictions of these rows: none."""
        return {}

    def shown(self, cost: float) -> float:
        """Return the mean log loss."""
        return float(cost)

    @property
    def metric(self) -> str:
        """The name of the metric that `shown` returns."""
        return self.cost_name + self.weighting


@dataclass(frozen=True, eq=False)
class MultiLabelTarget(ClassTarget):
    """Several labels per row, each 0 or 1."""

    name: ClassVar = "labels"
    cost_name: ClassVar = "log loss, mean over labels"
    has_labels: ClassVar = True
    may_be_monotone: ClassVar = False

    smoothing: float = 0.0

    @classmethod
    def of_labels(cls, y: Array, smoothing: float = 0.0) -> Self:
        """Return the target of labels, (n, labels)."""
        classes = np.arange(y.shape[1])
        return cls(y, classes, losses.BinaryCrossEntropy(), smoothing=smoothing)

    def read(self, y: ArrayLike) -> Self:
        """Return the target of other rows that the user passes, checked."""
        return self.with_rows(self.labels_of(y))

    @property
    def strata(self) -> Array | None:
        """None, since no folds spread all labels evenly."""
        return None

    @property
    def original_y(self) -> Array:
        """The labels, which are 0 or 1."""
        return np.asarray(self.y)

    def encode(self, scale: TargetScale | None, member: int) -> Array:
        """Return the smoothed labels, the same for all members."""
        smoothed = self.y * (1 - self.smoothing) + self.smoothing / 2
        return np.asarray(smoothed, np.float32)

    def decode(self, scale: TargetScale | None, z: Array, members: Any = EVERY_MEMBER) -> Array:
        """Return probabilities, (..., labels)."""
        return z.astype(np.float64)

    @property
    def uninformed(self) -> Array:
        """The probabilities before any row is known, equal ones."""
        return np.full(self.outputs, 0.5)

    def constant(self, weights: Array | None) -> tuple[str, Array]:
        """Return the name and the values of the best prediction that is the same for all rows."""
        return "the shares of the labels", np.average(self.y, axis=0, weights=weights)

    def costs(self, prediction: Array, rows: RowIndex | slice = slice(None)) -> Array:
        """Return the log loss of rows, (..., n), averaged over labels."""
        return np.asarray(self.costs_of_outputs(prediction, rows).mean(axis=-1))

    def costs_of_outputs(self, prediction: Array, rows: RowIndex | slice = slice(None)) -> Array:
        """Return the log loss of each label, (..., n, labels)."""
        right = np.where(self.y[rows] > 0, prediction, 1 - prediction)
        return np.asarray(-np.log(np.maximum(right, SMALLEST)))


Target: TypeAlias = NumericTarget | ClassTarget
