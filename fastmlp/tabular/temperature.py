"""Calibration of probabilities: one temperature, from out-of-fold predictions.

Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SMALLEST = 1e-9
LARGEST_LOG = 2.0  # of the temperature, either way: 7.4 and 0.14
STEPS = 40
MOST_ROWS = 20_000  # that are looked at, evenly spread: more change the third digit
FEW = 10.0  # rows of an imaginary sample for a temperature of 1, by the size of log T squared


def applied(probabilities: Array, temperature: float, labels: bool = False) -> Array:
    """Return probabilities of 1 / temperature times their logits.

    Parameters
    ----------
    probabilities : array, shape (n, classes)
        Rows that sum to 1; or with ``labels`` each for itself.
    temperature : float, > 0
        Above 1 they become more alike.
    labels : bool
        Whether columns are independent.
    """
    return _divided(*_logits(probabilities, labels), temperature)


def _logits(probabilities: Array, labels: bool) -> tuple[Array, Array | None]:
    """Return logarithms of probabilities and the highest of each row, or odds against labels."""
    p = np.clip(probabilities, SMALLEST, 1.0)
    if labels:
        p = np.clip(p, SMALLEST, 1 - SMALLEST)
        return (1 - p) / p, None
    logits = np.log(p)
    return logits, logits.max(axis=1, keepdims=True)


def _divided(logits: Array, highest: Array | None, temperature: float) -> Array:
    """Return the probabilities of what `_logits` has found, divided by a temperature."""
    if highest is None:
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + logits ** (1 / temperature)))
    powers = np.exp(logits / temperature - highest / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fitted(probabilities: Array, target: Any, weights: Array | None, labels: bool = False) -> float:
    """Return the temperature of the lowest log loss.

    Parameters
    ----------
    probabilities : array, shape (n, classes)
        Of rows that have not been learned from.
    target : Classes
        What these rows are.
    weights : array, shape (n,), or None
        Of the rows.
    labels : bool
        See `applied`.
    """
    n = len(probabilities)
    some = slice(None, None, max(1, n // MOST_ROWS))
    w = None if weights is None else weights[some]
    logits = _logits(probabilities[some], labels)

    def cost(log_temperature: float) -> float:
        p = _divided(*logits, float(np.exp(log_temperature)))
        mean = float(np.average(target.costs(p, some), weights=w))
        return mean + FEW / n * log_temperature**2

    low, high = -LARGEST_LOG, LARGEST_LOG
    ratio = (np.sqrt(5) - 1) / 2  # golden section: the loss is convex in 1 / T
    for _ in range(STEPS):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if cost(a) < cost(b):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))
