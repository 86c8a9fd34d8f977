"""The targets: conversion between the user's values and those that networks are trained on.

A target defines the networks' loss, the scaling per member, and the cost of each row in the metric
that selects epochs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastmlp._network import losses
from fastmlp._network.losses import Loss
from fastmlp.tabular import temperature
from fastmlp.tabular.columns import Array, RowIndex
from fastmlp.tabular.loss_rows import LOSSES, SMALLEST, LossRow
from fastmlp.tabular.presets import ACTIVATION, AVERAGING, HOPELESS, RATE

EVERY_MEMBER = np.s_[:, np.newaxis]  # index of a scale for predictions (members, n, columns)

DEVIATION_OF_QUARTILES = 0.7413  # of a normal distribution, over its interquartile range
FARTHEST = 1e18  # bound of scaled targets; only held-out rows can be as far from the training rows


class TargetScale(NamedTuple):
    """Centre, factor and limits of the members' targets, each (members, outputs)."""

    centre: Array
    factor: Array
    low: Array
    high: Array


class NumericTarget:
    """One or several real numbers per row; ``unit`` is the deviation per output, 1 if constant.

    Of several numbers some may be NaN, which means missing.
    """

    kind = "numbers"
    activation = ACTIVATION[kind]
    classes = None  # folds are not stratified
    weighting = ""  # what `metric` says about the weights of rows
    sums_to_one = False  # whether the predictions of a row do
    uninformed = None  # classes alone have predictions that need no rows

    def __init__(
        self, y: Array, name: str, loss: Loss | None = None, weights: Array | None = None
    ) -> None:
        self.y, self.name = y, name
        self.loss = loss or self.row.loss()  # by default without parameters of an estimator
        self.levels = max(1, len(self.loss.levels))  # several only of one number per row
        self.outputs = self.levels * y.shape[1]
        self.rate, self.averaging = self.row.rate, self.row.averaging
        self.hopeless = self.row.hopeless
        centre = _mean(y, weights)
        deviation = _deviation(y, centre, weights)
        if self.row.has_robust_unit:
            _, deviation = _robust(y, centre, deviation)
        self.unit = np.tile(np.where(deviation > 0, deviation, 1.0), self.levels)

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
        measured = [self._measured(rows, weights) for rows in learn]
        of_members = map(np.stack, zip(*measured, strict=True))
        return TargetScale(*(np.tile(array, self.levels) for array in of_members))

    def _measured(self, rows: RowIndex, weights: Array | None) -> tuple[Array, ...]:
        """Return centre, factor and limits of the predictions of one member."""
        y, w, row = self.y[rows], None if weights is None else weights[rows], self.row
        if np.isnan(y).all(axis=0).any():  # none of these rows has one of the targets
            y, w = self.y, weights
        centre = _mean(y, w)
        if self.is_rate:
            factor, centre = centre, np.zeros_like(centre)
        else:
            factor = _deviation(y, centre, w)
        if row.is_robust:
            centre, factor = _robust(y, centre, factor)
        factor = np.where(
            factor > 0, factor, self.unit[: y.shape[1]]
        )  # constant targets have no deviation
        low = np.fmin.reduce(y, axis=0)
        if self.is_rate:
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

    def costs(self, prediction: Array, rows: Any = slice(None)) -> Array:
        """Return the costs of rows, (..., n), in units of the deviation of y.

        Those of several targets are means over the targets that are there; `weighed` has the
        weights with which they belong in a mean over rows.
        """
        m, y = self.outputs, self.y[rows]
        costs = self.row.cost(y, prediction[..., :m], prediction[..., m:], self.unit, self.loss)
        if (missing := np.isnan(y)).any():
            missing = np.broadcast_to(missing, costs.shape)
            counts = np.maximum(np.count_nonzero(~missing, axis=-1), 1)
            return np.asarray(np.where(missing, 0.0, costs).sum(axis=-1) / counts)
        return np.asarray(costs[..., 0] if m == 1 else costs.mean(axis=-1))

    @property
    def least_costs(self) -> Array | None:
        """The costs of rows whose predictions are their targets, (n,); None of a density."""
        return None if self.row.has_density else self.costs(np.tile(self.y, self.levels))

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


def shares_of(y: Array) -> Array | None:
    """Return the share of the targets of each row that are there; None if all are."""
    missing = np.isnan(y)
    return 1 - missing.mean(axis=1) if missing.any() else None


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


def weighed(target: Any, weights: Array | None) -> Array | None:
    """Return the weights of rows in means of costs: less if some of their targets are missing."""
    shares = shares_of(target.y) if target.kind == "numbers" else None
    if shares is None:
        return weights
    return shares if weights is None else shares * weights


def unweighed(target: Any, weights: Array | None) -> Array | None:
    """Return the weights that `weighed` was called with."""
    shares = weighed(target, None)
    if weights is None or shares is None:
        return weights
    return np.divide(weights, shares, out=np.zeros(len(shares)), where=shares > 0)


class Baseline(NamedTuple):
    """The predictions that a model is compared with."""

    name: str  # such as "the mean"
    predictions: Array  # (n, columns)
    rows: str = ""  # such as " of earlier rows", which give it; empty for all rows

    @property
    def title(self) -> str:
        """The name with the rows that give it."""
        return self.name + self.rows

    def score(self, target: Any, weights: Array | None) -> float:
        """Return the score of these predictions."""
        costs = target.costs(self.predictions)
        return float(target.shown(float(np.average(costs, weights=weights))))

    def d2_score(self, target: Any, prediction: Array, weights: Array | None) -> float | None:
        """Return the share of these costs that predictions save; None if there is none.

        It is that of the loss, such as R squared and scikit-learn's ``d2_tweedie_score``.
        """
        if (least := target.least_costs) is None:
            return None
        cost, own, best = (
            float(np.average(costs, weights=weights))
            for costs in (target.costs(self.predictions), target.costs(prediction), least)
        )
        return 1 - (own - best) / (cost - best) if cost > best else None

    def is_beaten(self, target: Any, prediction: Array, weights: Array | None) -> bool:
        """Whether predictions are better than these; True if there is nothing to predict."""
        gain = np.average(target.costs(self.predictions), weights=weights)
        gain -= np.average(target.costs(prediction), weights=weights)
        varies = np.any(np.fmin.reduce(target.y, axis=0) < np.fmax.reduce(target.y, axis=0))
        return bool(gain > 0 or not varies)


def baseline(target: Any, weights: Array | None) -> Baseline:
    """Return the best prediction that is the same for all rows."""
    name, prediction = target.constant(unweighed(target, weights))
    return Baseline(name, np.broadcast_to(prediction, (len(target.y), len(prediction))))


def _mean(y: Array, weights: Array | None) -> Array:
    """Return the mean of each column, without values that are NaN."""
    missing = np.isnan(y)
    if not missing.any():
        return np.asarray(np.average(y, axis=0, weights=weights))
    w = np.where(missing, 0.0, 1.0 if weights is None else weights[:, np.newaxis])
    return np.asarray(np.average(np.where(missing, 0.0, y), axis=0, weights=w))


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


class ClassTarget:
    """One of n classes per row, as integers from 0."""

    kind = "classes"
    directions = np.array(
        [-1.0, 1.0]
    )  # of two outputs, so that the second class gets more probable
    activation, rate, averaging = ACTIVATION[kind], RATE[kind], AVERAGING[kind]
    name, cost_name = "classes", "log loss"
    weighting = ""
    hopeless = HOPELESS
    sums_to_one = True

    def __init__(
        self, y: Array, n: int, smoothing: float = 0.0, class_weights: Array | None = None
    ) -> None:
        self.y, self.outputs, self.classes = y, n, y
        self.class_weights = class_weights  # that are divided out of probabilities
        self.loss: Loss = losses.CrossEntropy(label_smoothing=smoothing)

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
        return self.y.astype(np.int32)

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
        return temperature.applied(prediction, fitted, labels=self.y.ndim > 1)

    @property
    def uninformed(self) -> Array:
        """The probabilities before any row is known, equal ones."""
        return np.full(self.outputs, 1 / self.outputs)

    def constant(self, weights: Array | None) -> tuple[str, Array]:
        """Return the name and the values of the best prediction that is the same for all rows."""
        counts = np.bincount(self.y, weights, self.outputs)
        return "the class shares", counts / counts.sum()

    def costs(self, prediction: Array, rows: Any = slice(None)) -> Array:
        """Return the log loss of rows, (..., n)."""
        labels = np.broadcast_to(self.y[rows], prediction.shape[:-1])
        right = np.take_along_axis(prediction, labels[..., np.newaxis], axis=-1)[..., 0]
        return np.asarray(-np.log(np.maximum(right, SMALLEST)))

    @property
    def least_costs(self) -> Array:
        """The costs of rows whose predictions are their targets, (n,)."""
        return np.zeros(len(self.y))

    def shown(self, cost: float) -> float:
        """Return the mean log loss."""
        return float(cost)

    @property
    def metric(self) -> str:
        """The name of the metric that `shown` returns."""
        return self.cost_name + self.weighting


class MultiLabelTarget(ClassTarget):
    """Several labels per row, each 0 or 1."""

    name, cost_name = "labels", "log loss, mean over labels"
    sums_to_one = False

    def __init__(self, y: Array, smoothing: float = 0.0) -> None:
        self.y, self.outputs, self.classes = y, y.shape[1], None  # type: ignore[assignment]
        self.smoothing, self.class_weights = smoothing, None
        self.loss = losses.BinaryCrossEntropy()

    def encode(self, scale: TargetScale | None, member: int) -> Array:
        """Return the smoothed labels, the same for all members."""
        return (self.y * (1 - self.smoothing) + self.smoothing / 2).astype(np.float32)

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

    def costs(self, prediction: Array, rows: Any = slice(None)) -> Array:
        """Return the log loss of rows, (..., n), averaged over labels."""
        right = np.where(self.y[rows] > 0, prediction, 1 - prediction)
        return np.asarray(-np.log(np.maximum(right, SMALLEST)).mean(axis=-1))


def with_rows(target: Any, y: Array | None) -> Any:
    """Return a copy of a target with the labels or numbers of other rows, or of none."""
    other = copy.copy(target)
    other.y = y
    if y is None:
        other.classes = None
    return other
