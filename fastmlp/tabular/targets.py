"""What is to be predicted, as a network learns it and as the user has it.

A target knows the loss of the network, how the rows of a member are scaled, and what a prediction
costs: in the metric that chooses epochs, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp._network import losses
from fastmlp._network.losses import Loss
from fastmlp.tabular.presets import ACTIVATION, AVERAGING, HOPELESS, RATE

Array = NDArray[Any]
Rows = NDArray[np.int64]

SMALLEST = 1e-7  # probability or rate, in a logarithm
FARTHEST = 1e18  # of targets: only rows that a member does not learn from are so far from its own


class TargetScale(NamedTuple):
    """Of the target of one member, measured on its rows; each an array, shape (outputs,).

    Or of many rows, each of some member: shape (n, outputs).
    """

    centre: Array
    factor: Array
    low: Array
    high: Array


class NumericTarget:
    """Real numbers, one or several for each row.

    Parameters
    ----------
    y : array of float64, shape (n, outputs)
        The targets.
    loss : Loss
        Of the network.
    name : str
        Of the loss, as the estimator has it.
    weights : array, shape (n,), or None
        Of the rows.

    Attributes
    ----------
    unit : array of float64, shape (outputs,)
        Deviation of each output, 1 where it is constant.
    """

    kind = "numbers"
    activation = ACTIVATION[kind]
    classes = None  # by which rows are divided

    def __init__(self, y: Array, loss: Loss, name: str, weights: Array | None = None) -> None:
        self.y, self.loss, self.name = y, loss, name
        self.outputs = y.shape[1]
        self.rate = RATE.get(name, RATE[self.kind])
        self.averaging = AVERAGING.get(name, AVERAGING[self.kind])
        self.hopeless = HOPELESS if name in FROM_ZERO else np.inf
        deviation = _deviation(y, np.average(y, axis=0, weights=weights), weights)
        self.unit = np.where(deviation > 0, deviation, 1.0)

    def scale(self, rows: Rows, weights: Array | None) -> TargetScale:
        """Measure the rows of a member."""
        y, w = self.y[rows], None if weights is None else weights[rows]
        centre = np.average(y, axis=0, weights=w)
        if self.name == "poisson":
            factor, centre = centre, np.zeros_like(centre)
        else:
            factor = _deviation(y, centre, w)
        factor = np.where(factor > 0, factor, self.unit)  # rows that are all alike have no scale
        return TargetScale(centre, factor, y.min(axis=0), y.max(axis=0))

    def scale_of(self, scales: Sequence[TargetScale], sizes: Sequence[int]) -> TargetScale:
        """Return the scales of members as one of the rows of each, so many, one after the other."""
        return TargetScale(*(np.repeat(each, sizes, axis=0) for each in zip(*scales, strict=True)))

    def encode(self, scale: TargetScale) -> Array:
        """Return the targets as a member learns them."""
        z = (self.y - scale.centre) / scale.factor
        return np.clip(z, -FARTHEST, FARTHEST).astype(np.float32)

    def decode(self, scale: TargetScale, z: Array) -> Array:
        """Return a member's predictions in the user's units: means, then variances if any."""
        m = self.outputs
        prediction = z.astype(np.float64)
        prediction[:, :m] = prediction[:, :m] * scale.factor + scale.centre
        if prediction.shape[1] > m:
            prediction[:, m:] *= scale.factor**2
        limited = self.limited(scale)
        prediction[:, :m] = np.clip(prediction[:, :m], limited.low, limited.high)
        return prediction

    def limited(self, scale: TargetScale) -> TargetScale:
        """Return a scale whose limits are those of its member's predictions; rates are above 0."""
        low = scale.low
        if self.name == "poisson":
            low = np.maximum(low, SMALLEST * scale.factor)
        return scale._replace(low=low, high=np.maximum(low, scale.high))

    def mixed(self, mean: Array, spread: Array) -> Array:
        """Return the prediction of several: for two heads the variance of the mixture.

        Parameters
        ----------
        mean : array, shape (n, heads * outputs)
            Of the predictions of the members.
        spread : array, shape (n, outputs)
            Variance of the predicted means among the members.
        """
        m = self.outputs
        if mean.shape[1] > m:
            mean = mean.copy()
            mean[:, m:] += spread
        return mean

    def costs(self, prediction: Array, rows: Any = slice(None)) -> Array:
        """Return the loss of some rows in the metric of the fit, in units of the deviation of y."""
        m = self.outputs
        y, p = self.y[rows] / self.unit, prediction[:, :m] / self.unit
        r = y - p
        if self.name == "squared_error":
            cost = r * r
        elif self.name == "poisson":
            p = np.maximum(prediction[:, :m], SMALLEST * np.minimum(self.unit, 1.0))
            cost = p - self.y[rows] * np.log(p)
        elif self.name == "gaussian":
            v = np.maximum(prediction[:, m:] / self.unit**2, SMALLEST**2)
            cost = 0.5 * (np.log(v) + r * r / v)
        else:
            level = getattr(self.loss, "quantile", 0.5)
            cost = np.maximum(level * r, (level - 1) * r)
        return np.asarray(cost.mean(axis=1))

    def shown(self, cost: float) -> float:
        """Return a mean cost as people know it."""
        if self.name == "squared_error":
            return float(np.sqrt(max(cost, 0.0)) * (self.unit[0] if self.outputs == 1 else 1.0))
        if self.name == "gaussian":
            return float(cost + 0.5 * np.log(2 * np.pi) + np.log(self.unit).mean())
        return float(cost)

    @property
    def metric(self) -> str:
        """The name of what `shown` returns."""
        return (METRICS if self.outputs == 1 else METRICS | OF_SEVERAL)[self.name]


def _deviation(y: Array, centre: Array, weights: Array | None) -> Array:
    """Return the deviation of each column."""
    return np.asarray(np.sqrt(np.average((y - centre) ** 2, axis=0, weights=weights)))


FROM_ZERO = ("squared_error", "absolute_error", "quantile")  # costs that are never below 0
METRICS = {
    "squared_error": "root mean squared error",
    "absolute_error": "half the mean absolute error, in deviations of y",
    "quantile": "pinball loss, in deviations of y",
    "poisson": "poisson loss",
    "gaussian": "negative log-likelihood",
}
OF_SEVERAL = {  # outputs, each in a unit of its own
    "squared_error": "root mean squared error, in deviations of y",
    "gaussian": "negative log-likelihood, mean over outputs",
}


class ClassTarget:
    """One class of several for each row.

    Parameters
    ----------
    y : array of int, shape (n,)
        From 0.
    n : int
        How many classes there are.
    smoothing : float, 0 to 1
        Of the labels that members learn.
    """

    kind = "classes"
    activation, rate, averaging = ACTIVATION[kind], RATE[kind], AVERAGING[kind]
    metric = "log loss"
    hopeless = HOPELESS

    def __init__(self, y: Array, n: int, smoothing: float = 0.0) -> None:
        self.y, self.outputs, self.classes = y, n, y
        self.loss: Loss = losses.CrossEntropy(label_smoothing=smoothing)

    def scale(self, rows: Rows, weights: Array | None) -> None:
        """Classes have no scale."""

    def scale_of(self, scales: Sequence[None], sizes: Sequence[int]) -> None:
        """Classes have no scale."""

    def encode(self, scale: None) -> Array:
        """Return the classes."""
        return self.y.astype(np.int32)

    def decode(self, scale: None, z: Array) -> Array:
        """Return a member's probabilities, which sum to 1 in float64 too."""
        p = z.astype(np.float64)
        return np.asarray(p / p.sum(axis=1, keepdims=True))

    def mixed(self, mean: Array, spread: Array) -> Array:
        """Return the probabilities of several: their mean."""
        del spread
        return mean

    def costs(self, prediction: Array, rows: Any = slice(None)) -> Array:
        """Return the log loss of some rows."""
        right = np.take_along_axis(prediction, self.y[rows, np.newaxis], axis=1)[:, 0]
        return np.asarray(-np.log(np.maximum(right, SMALLEST)))

    def shown(self, cost: float) -> float:
        """Return the mean log loss."""
        return float(cost)


class MultiLabelTarget(ClassTarget):
    """Several labels, each there or not, for each row.

    Parameters
    ----------
    y : array of 0 and 1, shape (n, labels)
        Whether each is there.
    smoothing : float, 0 to 1
        Of the labels that members learn.
    """

    metric = "log loss, mean over labels"

    def __init__(self, y: Array, smoothing: float = 0.0) -> None:
        self.y, self.outputs, self.classes = y, y.shape[1], None  # type: ignore[assignment]
        self.smoothing = smoothing
        self.loss = losses.BinaryCrossEntropy()

    def encode(self, scale: None) -> Array:
        """Return the labels, smoothed."""
        return (self.y * (1 - self.smoothing) + self.smoothing / 2).astype(np.float32)

    def decode(self, scale: None, z: Array) -> Array:
        """Return a member's probabilities."""
        return z.astype(np.float64)

    def costs(self, prediction: Array, rows: Any = slice(None)) -> Array:
        """Return the log loss of some rows, mean over labels."""
        right = np.where(self.y[rows] > 0, prediction, 1 - prediction)
        return np.asarray(-np.log(np.maximum(right, SMALLEST)).mean(axis=1))


# Pickles of version 0.1.0 have these names.
Numbers = NumericTarget
Classes = ClassTarget
Labels = MultiLabelTarget
Scale = TargetScale
