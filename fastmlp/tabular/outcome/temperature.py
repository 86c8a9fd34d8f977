"""Calibration of probabilities by one temperature, fitted to out-of-fold predictions.

Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks".
"""

from __future__ import annotations

import numpy as np

from fastmlp.tabular.table.columns import Array
from fastmlp.tabular.table.rows import tempered

SMALLEST = 1e-9
LARGEST_LOG = 2.0  # bound of the temperature's logarithm: 0.14 to 7.4
PRECISION = 1e-4  # the loss is flat at its minimum; the unit is the logarithm's
STEPS = 40
MAX_CALIBRATION_ROWS = 20_000  # evenly spaced rows used; more change only the third digit
FEW = 10.0  # prior for a temperature of 1: this many rows times the squared log temperature


def applied(probabilities: Array, temperature: float, labels: bool = False) -> Array:
    """Return probabilities after division of their logits; with ``labels`` of each column alone."""
    if not labels:
        return tempered(probabilities, 1 / temperature, SMALLEST)
    p = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + ((1 - p) / p) ** (1 / temperature)))


def fitted(probabilities: Array, y: Array, weights: Array | None) -> float:
    """Return the temperature with the lowest log loss on out-of-fold probabilities.

    ``y`` has classes, (n,), or labels, (n, labels). Newton's method finds the root of the slope of
    the loss over the logarithm of the temperature, and bisection where Newton's step leaves the
    bracket.
    """
    n = len(probabilities)
    thinned = slice(None, None, max(1, n // MAX_CALIBRATION_ROWS))
    margins = _margins(probabilities[thinned], y[thinned])
    w, known_share, moments = None if weights is None else weights[thinned], 1.0, _of_classes
    if y.ndim == 2:  # labels, of which some are missing
        known, moments = np.isfinite(y[thinned]), _of_labels
        each = np.broadcast_to(
            np.ones((len(known), 1)) if w is None else w[:, np.newaxis], known.shape
        )
        known_share = float(each[known].sum() / each.sum())
        margins, w = margins[known], each[known]

    def slopes(log_temperature: float) -> tuple[float, float]:
        inverse = float(np.exp(-log_temperature))
        first, second = (
            known_share * float(np.average(each, weights=w)) for each in moments(margins, inverse)
        )
        prior = 2 * FEW / n
        slope = prior * log_temperature - inverse * first
        return slope, prior + inverse * first + inverse**2 * second

    low, high, at = -LARGEST_LOG, LARGEST_LOG, 0.0
    for _ in range(STEPS):
        slope, bend = slopes(at)
        low, high = (at, high) if slope < 0 else (low, at)
        newton = at - slope / bend if bend > 0 else low
        before, at = at, newton if low < newton < high else (low + high) / 2
        if abs(at - before) < PRECISION:
            break
    return float(np.exp(at))


def _of_classes(margins: Array, inverse: float) -> tuple[Array, Array]:
    """Return the means and variances of margins, (n, classes), by the tempered probabilities."""
    p = np.exp(margins * inverse)
    p /= p.sum(axis=1, keepdims=True)
    away = (p * margins).sum(axis=1)
    return away, (p * margins**2).sum(axis=1) - away**2


def _of_labels(margins: Array, inverse: float) -> tuple[Array, Array]:
    """Return the same of labels, whose margins are those of the wrong answers, (n,)."""
    p = 1 / (1 + np.exp(-margins * inverse))
    away = p * margins
    return away, away * (margins - away)


def _margins(probabilities: Array, y: Array) -> Array:
    """Return the logits of all classes, or of wrong labels, minus that of the right one."""
    p = np.clip(probabilities, SMALLEST, 1.0)
    if y.ndim == 1:
        logits = np.log(p)
        return np.asarray(logits - np.take_along_axis(logits, y[:, np.newaxis], axis=1))
    p = np.clip(p, SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log((1 - p) / p) * np.where(y > 0, 1, -1))
