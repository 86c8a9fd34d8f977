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
    p = np.clip(probabilities, SMALLEST, 1.0)
    if labels:
        p = np.clip(p, SMALLEST, 1 - SMALLEST)
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + ((1 - p) / p) ** (1 / temperature)))
    logits = np.log(p)
    powers = np.exp(logits / temperature - logits.max(axis=1, keepdims=True) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fitted(probabilities: Array, target: Any, weights: Array | None, labels: bool = False) -> float:
    """Return the temperature with the lowest log loss on out-of-fold probabilities."""
    n = len(probabilities)
    some = slice(None, None, max(1, n // MOST_ROWS))
    w = None if weights is None else weights[some]

    def cost(log_temperature: float) -> float:
        p = applied(probabilities[some], float(np.exp(log_temperature)), labels)
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
