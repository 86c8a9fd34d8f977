"""Metrics by name or callable, computed after each epoch in addition to the losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from fastmlp._core.history import History
from fastmlp._engine.protocol import Engine
from fastmlp._engine.thread_pool import Team
from fastmlp._network.activations import Array
from fastmlp._network.data import Data
from fastmlp._network.losses import Loss
from fastmlp._network.spec import Predictions
from fastmlp._training.loop import Evaluator, Measured, number

Metric = Callable[[Any, Any], Any]
Metrics: TypeAlias = Sequence[str | Metric] | Mapping[str, str | Metric]


def accuracy(y: Array, p: Array) -> float:
    """Return the share of rows whose class is right, or for multi-label targets all labels.

    A label that is NaN, which means missing, counts as right.
    """
    if y.ndim == 1:
        return float(np.mean(p.argmax(axis=1) == y))
    if p.shape[1] > 1 and np.allclose(p.sum(axis=1), 1):
        return float(np.mean(p.argmax(axis=1) == y.argmax(axis=1)))
    return float(np.mean((((p > 0.5) == (y > 0.5)) | np.isnan(y)).all(axis=1)))


def _mean(p: Predictions) -> Array:
    """Return a prediction without its variances, in float64."""
    return np.asarray(p[0] if isinstance(p, tuple) else p, np.float64)


def _present_mean(errors: Array, y: Array) -> float:
    """Return the mean of the errors whose target is not missing; NaN without any."""
    present = errors[~np.isnan(y)]
    return float(present.mean()) if len(present) else math.nan


def mean_squared_error(y: Array, p: Predictions) -> float:
    """Return the mean squared error over rows and outputs, without missing ones (NaN)."""
    return _present_mean((_mean(p) - y) ** 2, y)


def mean_absolute_error(y: Array, p: Predictions) -> float:
    """Return the mean absolute error over rows and outputs, without missing ones (NaN)."""
    return _present_mean(np.abs(_mean(p) - y), y)


def r2(y: Array, p: Predictions, weights: Array | None = None) -> float:
    """Return R squared averaged over outputs; 1 or 0 if a target is constant, as scikit-learn.

    Targets that are NaN are left out, and outputs without any other.
    """
    mean, targets = _mean(p), y.astype(np.float64, copy=False)
    if not np.isfinite(mean).all():
        return math.nan
    observed = ~np.isnan(targets)
    share = observed * (1.0 if weights is None else weights[:, np.newaxis])
    targets = np.where(observed, targets, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        residual = np.sum(share * (targets - mean) ** 2, axis=0)
        center = np.sum(share * targets, axis=0) / np.sum(share, axis=0)
        total = np.sum(share * (targets - center) ** 2, axis=0)
        values = np.where(total > 0, 1 - residual / total, np.where(residual > 0, 0.0, 1.0))
    counts = share.any(axis=0)
    return float(values[counts].mean()) if counts.any() else math.nan


METRICS: dict[str, Metric] = {
    row.__name__: row for row in (accuracy, mean_squared_error, mean_absolute_error, r2)
}

# Names that History uses; a metric with such a name would overwrite a column.
TAKEN = ("epoch", "loss", "val_loss", "seconds", "learning_rate", "stop_reason")


def resolve(value: Any) -> dict[str, Metric]:
    """Return metrics by name from names and callables; raise TypeError or ValueError if invalid."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(
            f"metrics is {value!r} but a list of names and callables, or a dict of them, is "
            "expected: for example metrics=['accuracy']"
        )
    items: list[tuple[str, Any]] = (
        [*value.items()] if isinstance(value, Mapping) else [("", metric) for metric in value]
    )
    functions: dict[str, Metric] = {}
    for name, metric in items:
        if not isinstance(name, str):
            raise TypeError(f"metrics has the name {name!r} but a string is expected")
        if isinstance(metric, str) and metric in METRICS:
            functions[name or metric] = METRICS[metric]
        elif callable(metric):
            functions[name or getattr(metric, "__name__", type(metric).__name__)] = metric
        else:
            raise ValueError(
                f"metrics has {metric!r} but a callable (y, prediction) -> float or one of "
                f"{', '.join(METRICS)} is expected"
            )
    if len(functions) < len(items):
        raise ValueError("metrics has two of the same name: pass a dict with different names")
    if taken := sorted(functions.keys() & set(TAKEN)):
        raise ValueError(
            f"a metric is called {taken[0]!r}, but that is a column of History: pass a dict with "
            "another name"
        )
    return functions


class MetricEvaluator(Evaluator):
    """Evaluates metrics, too: on the validation data if there are any, else on training data."""

    def __init__(
        self,
        engine: Engine,
        validation: Measured | None,
        measured: Data,
        metrics: dict[str, Metric],
        history: History,
    ) -> None:
        super().__init__(engine, validation)
        self.measures = True
        _check_kinds(metrics, measured, engine.spec.loss)
        self.measured = measured
        self.targets = measured.targets.view()
        self.targets.flags.writeable = False  # may be the user's own array
        prefix = "" if validation is None else "val_"
        self.metrics = {prefix + name: metric for name, metric in metrics.items()}
        self.history = history
        self.row: list[dict[str, float]] = []

    def measure(self, loss: float, team: Team | None) -> float:
        """Return the validation loss, and keep the metrics for `record`."""
        p: Predictions = self.engine.predict(self.measured.x, team)
        p = self.engine.spec.loss.shaped(p, False)
        y, items = self.targets, self.metrics.items()
        self.row = [{name: number(f"the metric {name}", f(y, p)) for name, f in items}]
        return super().measure(loss, team)

    def record(self) -> None:
        """Append the metrics to the history."""
        self.history.measured += self.row


def _check_kinds(metrics: dict[str, Metric], data: Data, loss: Loss) -> None:
    """Raise an error for a built-in metric that does not suit the targets or predictions."""
    y, remedy = data.targets, "mean_squared_error, mean_absolute_error or r2"
    least, largest = (extreme.reduce(y, axis=None) for extreme in (np.fmin, np.fmax))
    for name, metric in metrics.items():
        wrong = ""
        if loss.levels and metric in METRICS.values():
            wrong = "one number for each target but this loss predicts quantiles"
            remedy = "a callable (y, prediction) -> float"
        elif metric is accuracy and loss.predicts_variance:
            wrong = "classes but this loss predicts means and variances"
        elif metric is accuracy and y.ndim == 2 and not 0 <= least <= largest <= 1:
            wrong = f"classes but y holds numbers from {least:g} to {largest:g}"
        elif y.ndim == 1 and metric is not accuracy and metric in METRICS.values():
            wrong = "numbers but y has labels of classes"
            remedy = "accuracy, or a callable (y, prediction) -> float"
        if wrong:
            raise ValueError(f"the metric {name} is of {wrong}: use {remedy}")
