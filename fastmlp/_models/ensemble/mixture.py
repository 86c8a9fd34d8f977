"""The ensemble's prediction: the mixture of its members, as a prediction and as a loss.

A loss needs logarithms of probabilities, which are lost once probabilities are rounded to 0 or 1.
So for the loss, members are mixed before the link, in logarithms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastmlp._network.activations import Array, softplus
from fastmlp._network.data import Data
from fastmlp._network.functions.custom_function import CustomFunction
from fastmlp._network.losses import Loss


class RowMeans:
    """Means over members per row; ``places`` are each member's rows among all ``n`` rows."""

    def __init__(self, places: Sequence[Any], n: int) -> None:
        self.places, self.counts = places, np.zeros((n, 1))
        for at in places:
            self.counts[at] += 1

    def mean(self, outputs: Sequence[Array]) -> Array:
        """Return the mean over members of each row, in float64."""
        total = np.zeros((len(self.counts), outputs[0].shape[1]))
        for output, at in zip(outputs, self.places, strict=True):
            total[at] += output
        return total / self.counts

    def variance(self, outputs: Sequence[Array], mean: Array) -> Array:
        """Return the mean squared distance from the mean."""
        pairs = zip(outputs, self.places, strict=True)
        return self.mean([np.square(output - mean[at]) for output, at in pairs])

    def log_mean(self, outputs: Sequence[Array]) -> Array:
        """Return the logarithm of the mean of exp, without overflow."""
        total = np.full((len(self.counts), outputs[0].shape[1]), -np.inf)
        for output, at in zip(outputs, self.places, strict=True):
            total[at] = np.logaddexp(total[at], output)
        return total - np.log(self.counts)


def _probabilities(outputs: Sequence[Array], rows: RowMeans) -> Array:
    log_yes = rows.log_mean([-softplus(-z) for z in outputs])
    log_no = rows.log_mean([-softplus(z) for z in outputs])
    return log_yes - log_no


def _means_and_variances(outputs: Sequence[Array], rows: RowMeans) -> Array:
    means, logs = zip(*(np.split(z, 2, axis=1) for z in outputs), strict=True)
    mean = rows.mean(means)
    between = np.log(rows.variance(means, mean))
    return np.concatenate([mean, np.logaddexp(rows.log_mean(logs), between)], axis=1)


def _quantiles(loss: Loss, outputs: Sequence[Array], rows: RowMeans) -> Array:
    """Return outputs whose quantiles are the means of the members' quantiles."""
    p = rows.mean([loss.link(z) for z in outputs])
    rises = np.diff(p.reshape(len(p), loss.heads, -1), axis=1).reshape(len(p), -1)
    first = p[:, : p.shape[1] // loss.heads]
    return np.concatenate([first, rises + np.log(-np.expm1(-rises))], axis=1)


def _log_softmax(z: Array) -> Array:
    below = np.maximum(z - np.max(z, axis=1, keepdims=True), -np.finfo(z.dtype).max)
    return np.asarray(below - np.log(np.sum(np.exp(below), axis=1, keepdims=True)))


# By link: the ensemble's outputs before the link from those of the members, in float64.
MIXED: dict[str, Callable[[Loss, Sequence[Array], RowMeans], Array]] = {
    "identity": lambda loss, outputs, rows: rows.mean(outputs),
    "exp": lambda loss, outputs, rows: rows.log_mean(outputs),
    "mean_and_variance": lambda loss, outputs, rows: _means_and_variances(outputs, rows),
    "sigmoid": lambda loss, outputs, rows: _probabilities(outputs, rows),
    "softmax": lambda loss, outputs, rows: rows.log_mean([_log_softmax(z) for z in outputs]),
    "ascending": _quantiles,
}


def prediction(loss: Loss, predictions: Sequence[Array]) -> Array:
    """Return the ensemble's prediction from those of the members, each (n, heads * m)."""
    n, m = len(predictions[0]), predictions[0].shape[1] // 2
    rows = RowMeans([slice(None)] * len(predictions), n)
    with np.errstate(over="ignore", invalid="ignore"):
        mixed = rows.mean(predictions)
        if loss.predicts_variance:
            mixed[:, m:] += rows.variance([p[:, :m] for p in predictions], mixed[:, :m])
        return np.asarray(mixed.astype(predictions[0].dtype))


def mean_loss(loss: Loss, outputs: Sequence[Array], places: Sequence[Any], data: Data) -> float:
    """Return the ensemble's weighted mean loss from outputs before the link, (rows, heads * m)."""
    targets, weights = data.targets, data.weights
    arguments = [targets] if data.output_weights is None else [targets, data.output_weights]
    with np.errstate(all="ignore"):  # non-finite values are returned as they are
        exact, rows = [z.astype(np.float64) for z in outputs], RowMeans(places, data.rows)
        z = MIXED[loss.link_name](loss, exact, rows)
        if isinstance(loss, CustomFunction):  # it expects the dtype of the model
            z = z.astype(data.x.dtype)
    if targets.ndim == 2:
        arguments = [array.astype(z.dtype) for array in arguments]
    if weights is not None:  # rows of weight 0 must not add NaN
        used = weights > 0
        z, weights = z[used], weights[used].astype(np.float64)
        arguments = [array[used] for array in arguments]
    values, _ = loss.value_and_gradient(z, *arguments)
    return float(np.average(values.astype(np.float64), weights=weights))
