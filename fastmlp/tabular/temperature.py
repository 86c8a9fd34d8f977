"""Calibration of probabilities by one temperature, fitted to out-of-fold predictions.

Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.tabular.columns import Array

SMALLEST = 1e-9
LARGEST_LOG = 2.0  # bound of the temperature's logarithm: 0.14 to 7.4
STEPS = 40
MOST_ROWS = 20_000  # evenly spaced rows used; more change only the third digit
FEW = 10.0  # prior for a temperature of 1: this many rows times the squared log temperature


def applied(probabilities: Array, temperature: float, labels: bool = False) -> Array:
    """Return probabilities after division of their logits; with ``labels`` of each column alone."""
    return _divided(*_logits(probabilities, labels), temperature)


def _logits(probabilities: Array, labels: bool) -> tuple[Array, Array | None]:
    """Return log-probabilities and the row maxima, or for labels the odds against them."""
    p = np.clip(probabilities, SMALLEST, 1.0)
    if labels:
        p = np.clip(p, SMALLEST, 1 - SMALLEST)
        return (1 - p) / p, None
    logits = np.log(p)
    return logits, logits.max(axis=1, keepdims=True)


def _divided(logits: Array, highest: Array | None, temperature: float) -> Array:
    """Divide the result of `_logits` by a temperature, and return probabilities."""
    if highest is None:
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + logits ** (1 / temperature)))
    powers = np.exp(logits / temperature - highest / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fitted(probabilities: Array, target: Any, weights: Array | None, labels: bool = False) -> float:
    """Return the temperature with the lowest log loss on out-of-fold probabilities."""
    n = len(probabilities)
    some = slice(None, None, max(1, n // MOST_ROWS))
    w = None if weights is None else weights[some]
    logits = _logits(probabilities[some], labels)

    def cost(log_temperature: float) -> float:
        p = _divided(*logits, float(np.exp(log_temperature)))
        mean = float(np.average(target.costs(p, some), weights=w))
        return mean + FEW / n * log_temperature**2

    low, high = -LARGEST_LOG, LARGEST_LOG
    ratio = (np.sqrt(5) - 1) / 2  # golden section search: the loss is convex in 1 / T
    for _ in range(STEPS):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if cost(a) < cost(b):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))
