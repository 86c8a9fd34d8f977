"""Prediction intervals, quantiles and densities from out-of-fold residuals.

Residuals come from rows that the predicting members were not trained on (CV+: Barber, Candes,
Ramdas and Tibshirani 2021, "Predictive inference with the jackknife+"). They are divided by their
local size (normalised conformal prediction: Papadopoulos, Gammerman and Vovk 2008) and weighted
(Tibshirani, Barber, Candes and Ramdas 2019, "Conformal prediction under covariate shift").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastmlp._core.intervals import INNER_FRACTION
from fastmlp.tabular.table.columns import Array

ROWS_OF_A_PLACE = 60  # fewest rows per place at which the size of residuals is measured
MOST_PLACES = 12
ORDERED_TAIL = 0.005  # quantiles of monotone predictions rise with them between these tails
PRIOR_ROWS = 30.0  # weight, in rows, of the overall size against local and predicted sizes
FREEDOMS = (2.2, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0, 200.0)
MAX_TAIL_ROWS = 20_000  # evenly spaced sorted residuals for fitting the tails
ROUNDS = 30  # iterations of expectation maximisation
ROUNDING = 4 * np.finfo(float).eps  # rounding error of a level, such as (1 - 0.9) / 2 < 0.05


@dataclass(frozen=True, eq=False)
class Residuals:
    """The distribution of one output's residuals around its predictions."""

    z: Array  # residuals divided by their local sizes, in order
    w: Array  # their weights, 0 if missing, which sum to the effective number of rows
    places: Array  # predictions, in order, at which the local sizes were measured
    sizes: Array  # the local sizes there
    trust: float  # exponent of predicted sizes: few rows do not show where residuals are large
    freedom: float  # degrees of freedom and scale of Student's t, which continues the tails
    spread: float
    rms: float  # root mean square of z

    def deviation(self, prediction: Array, predicted: Array | None = None) -> Array:
        """Return the local size of residuals at predictions, measured or from predicted sizes."""
        return _local(prediction, predicted, self.places, self.sizes, self.trust)

    def quantile(self, level: float) -> float:
        """Return a quantile of the scaled residuals, rounded away from the centre.

        It is the residual nearest to the centre such that all residuals beyond it, plus a new row
        of weight 1, have at most the weight of the tail. If the new row alone exceeds it, the
        quantile is extrapolated with Student's t distribution.
        """
        low = self._end(self.z, self.w, level)
        high = -self._end(-self.z[::-1], self.w[::-1], 1 - level)
        return low if level < 0.5 else high if level > 0.5 else low + (high - low) / 2

    def _end(self, z: Array, w: Array, tail: float) -> float:
        """Return the lower quantile of a tail, from residuals in ascending order."""
        n = float(w.sum())
        room = tail * (n + 1) - 1 + ROUNDING * (n + 1)  # weight left for the rows below
        if room < 0:
            from scipy.stats import t

            further = t.ppf(tail, self.freedom) - t.ppf(1 / (n + 1), self.freedom)
            return float(z[0] + self.spread * further)
        below = np.append(0.0, np.cumsum(w[:-1]))
        return float(z[np.searchsorted(below, room, side="right") - 1])

    def log_density(self, y: Array, prediction: Array, deviation: Array) -> Array:
        """Return the log-density of targets; its width is at least the rounding error."""
        f, smallest = self.freedom, np.finfo(float).tiny
        size = np.maximum(
            deviation * self.spread, np.maximum(np.spacing(np.abs(prediction)), smallest)
        )
        log_size, log_away = np.log(size), np.log(np.maximum(np.abs(y - prediction), smallest))
        tail = np.logaddexp(0.0, 2 * (log_away - log_size) - math.log(f))  # log(1 + z**2 / f)
        return np.asarray(_log_constant(f) - (f + 1) / 2 * tail - log_size)


def residuals_of(
    y: Array,
    prediction: Array,  # out of fold
    weights: Array | None = None,
    deviation: Array | None = None,  # predicted sizes; else they are measured
    shrink: float = 1.0,  # ratio of residuals of all members to those that hold a row out
    groups: Array | None = None,  # (n,) or (n, ways); then new rows belong to a new one
    keeps_order: bool = False,  # whether quantiles from 0.5 to 99.5 % rise with the prediction
    most: int | None = None,  # then residuals have both signs, and so many are kept
) -> Residuals:
    """Return the distribution of the residuals of out-of-fold predictions of one output."""
    w = np.ones(len(y)) if weights is None else weights
    residual = (y - prediction) * shrink
    n = effective_rows(residual, w, groups)
    if most is not None:
        n = min(2 * n, most)  # a row with either sign
        residual = np.concatenate([residual, -residual])
        prediction, w = np.tile(prediction, 2), np.tile(w, 2)
        deviation = None if deviation is None else np.tile(deviation, 2)
    w = w * (n / w.sum())
    trust, smallest = n / (n + PRIOR_ROWS), np.finfo(float).tiny

    def scaled(places: Array, sizes: Array) -> Residuals:
        """Return the distribution of residuals of local sizes, predicted or measured at places."""
        z = residual / np.maximum(_local(prediction, deviation, places, sizes, trust), smallest)
        order = np.argsort(z)
        z, in_order = z[order], w[order]
        if most is not None:
            z, in_order = _fewer(z, in_order, most)
        thinned = slice(None, None, max(1, len(z) // MAX_TAIL_ROWS))
        freedom, spread = student(z[thinned], in_order[thinned])
        rms = float(np.sqrt(np.average(z**2, weights=in_order)))
        return Residuals(z, in_order, places, sizes, trust, freedom, spread, rms)

    places, sizes = np.zeros(1), np.ones(1)
    if deviation is None:
        places, sizes = _sizes(residual, prediction, w)
    result = scaled(places, sizes)
    if keeps_order:  # a quantile rises if the size changes by less than 1 / its residual
        steepest = max(-result.quantile(ORDERED_TAIL), result.quantile(1 - ORDERED_TAIL), smallest)
        away = np.abs(places[:, np.newaxis] - places)
        result = scaled(places, np.max(sizes - away / steepest, axis=1))
    return result


def with_measured_sizes(
    residuals: Residuals, prediction: Array, predicted: Array, weights: Array | None
) -> Residuals:
    """Return residuals whose sizes, predicted for rows, are measured along the prediction."""
    w = np.ones(len(prediction)) if weights is None else weights
    places, sizes = _sizes(predicted**residuals.trust, prediction, w)
    return replace(residuals, places=places, sizes=sizes)


def _fewer(z: Array, w: Array, most: int) -> tuple[Array, Array]:
    """Return means of neighbours in order, at most so many, and the sums of their weights."""
    count = min(most, len(z))
    begins = np.arange(count) * len(z) // count
    ends = np.append(begins[1:], len(z))
    weights = np.add.reduceat(w, begins)
    plain = np.add.reduceat(z, begins) / (ends - begins)  # where all weights are 0
    sums = np.add.reduceat(w * z, begins)
    means = np.divide(sums, weights, out=plain, where=weights > 0)
    return np.clip(means, z[begins], z[ends - 1]), weights  # means of equal numbers are rounded


def _local(
    prediction: Array, predicted: Array | None, places: Array, sizes: Array, trust: float
) -> Array:
    """Return local sizes of residuals: predicted ones to the power of trust, or measured ones."""
    if predicted is not None:
        return np.asarray(predicted**trust)
    return np.asarray(np.interp(prediction, places, sizes))


def levels_of(values: ArrayLike) -> list[float]:
    """Return a list of quantile levels; raise an error if one is not between 0 and 1."""
    if not np.iterable(values):
        raise ValueError(
            f"levels is {values!r} but a sequence is expected: pass for example [0.1, 0.9]"
        )
    return [INNER_FRACTION.check("levels", value, 0.9) for value in values]


def levels_for(target: Any, values: ArrayLike) -> list[float]:
    """Return checked levels of quantiles beside the means that a fit of numbers predicts."""
    checked = levels_of(values)
    if checked and target.kind == "classes":
        raise ValueError(
            f"levels is {values!r} but a {target.estimator} predicts no quantiles of levels: leave "
            "levels out"
        )
    if checked and target.loss.levels:
        raise ValueError(
            f"levels is {values!r} but predictions are quantiles, those of the fit: leave levels "
            "out"
        )
    return checked


def offsets_of(residuals: Sequence[Residuals], levels: Sequence[float] | Array) -> Array:
    """Return the quantiles of the scaled residuals of each output, (outputs, levels)."""
    return np.array([[r.quantile(level) for level in levels] for r in residuals])


def effective_rows(residual: Array, w: Array, groups: Array | None) -> float:
    """Return the number of independent rows of equal weight (Kish 1965); groups correlate.

    Each column of groups is a way to divide the rows; the one with the fewest such rows decides.

    A quantile leaves room for one row beyond it. Of a new group, whose rows spread around it as far
    as they are not alike, only a part lies there, so that as many more rows count.
    """
    alone = np.sum(w**2)
    of_rows = float(w.sum() ** 2 / alone)
    if groups is None:
        return of_rows
    square, numbers = np.average(residual**2, weights=w), [of_rows]
    for way in groups.reshape(len(w), -1).T:
        pairs = np.sum(np.bincount(way, w) ** 2) - alone
        products = np.sum(np.bincount(way, w * residual) ** 2) - np.sum((w * residual) ** 2)
        alike = np.clip(products / (pairs * square) if pairs * square > 0 else 0.0, 0.0, 1.0)
        numbers.append(float((2 - alike) * w.sum() ** 2 / (alone + alike * pairs)))
    return min(numbers)


def _sizes(residual: Array, prediction: Array, w: Array) -> tuple[Array, Array]:
    """Return places along the prediction, and the root mean square of the residuals there."""
    smallest = np.finfo(float).tiny
    size = np.sqrt(np.average(residual**2, weights=w))
    parts = int(np.clip(w.sum() // ROWS_OF_A_PLACE, 1, MOST_PLACES))
    groups = np.array_split(np.argsort(prediction, kind="stable"), parts)
    places = np.array([np.median(prediction[rows]) for rows in groups])
    squares = [np.sum(w[rows] * residual[rows] ** 2) + PRIOR_ROWS * size**2 for rows in groups]
    counts = [np.sum(w[rows]) + PRIOR_ROWS for rows in groups]
    sizes = np.sqrt(np.array(squares) / np.array(counts))
    places, first = np.unique(places, return_index=True)
    return places, np.maximum(sizes[first], smallest)


def student(z: Array, w: Array) -> tuple[float, float]:
    """Return the degrees of freedom and scale of Student's t around 0 by maximum likelihood."""
    best, fitted = -np.inf, (FREEDOMS[-1], 1.0)
    squares, total = z**2, w.sum()
    start = float(np.average(squares, weights=w)) or 1.0
    weight = np.empty_like(squares)
    for freedom in FREEDOMS:
        square, before = start, 0.0
        for _ in range(ROUNDS):
            if square == before:  # further rounds would change nothing
                break
            before = square
            np.divide(squares, square, out=weight)
            weight += freedom
            np.divide(freedom + 1, weight, out=weight)
            weight *= squares
            weight *= w
            square = max(float(weight.sum() / total), 1e-300)
        np.divide(squares, square * freedom, out=weight)
        tails = float(np.average(np.log1p(weight, out=weight), weights=w))
        likely = _log_constant(freedom) - (freedom + 1) / 2 * tails - 0.5 * math.log(square)
        if likely > best:
            best, fitted = likely, (freedom, math.sqrt(square))
    return fitted


def _log_constant(freedom: float) -> float:
    """Return the logarithm of the density of Student's t at 0."""
    sizes = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    return sizes - math.log(math.pi * freedom) / 2
