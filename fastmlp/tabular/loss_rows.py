"""The losses of tables of numbers: one row each, with everything in which they differ.

Costs are those of single rows, in the metric that selects epochs, and of one value or of several in
units of the targets' deviations. To add a loss, add a row and its name in `_network/names.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.intervals import check_levels
from fastmlp._network import losses
from fastmlp._network.losses import Loss
from fastmlp.tabular.presets import AVERAGING, HOPELESS, RATE

Array = NDArray[Any]

MEANS = "squared_error"  # the loss of networks that predict means
SMALLEST = 1e-7  # smallest probability or rate in a logarithm


def _same(cost: float, unit: Array) -> float:
    """Return the cost itself."""
    return float(cost)


@dataclass(frozen=True)
class LossRow:
    """A loss of numbers; the cost takes y, means, variances (if predicted), unit, and the loss."""

    make: Callable[[Any], Loss]  # takes the level of the quantile, or several
    cost: Callable[[Array, Array, Array, Array, Loss], Array]
    metric: str
    # Takes a mean cost and the units; returns the metric.
    shown: Callable[[float, Array], float] = _same
    metric_of_several: str | None = None  # of outputs in their own units; None if it is the same
    rate: float = RATE["numbers"]
    averaging: float = AVERAGING["numbers"]
    hopeless: float = HOPELESS  # infinite if costs may be negative
    is_robust: bool = False  # whether outliers must not move the scale of the targets
    is_square: bool = False  # whether a cost is the square of a deviation
    distills_to_means: bool = False  # whether one network in place of all has the squared error
    lowest: float = -np.inf  # no target and no prediction is below; if 0, targets are not centred


def _squared(y: Array, mean: Array, variance: Array, unit: Array, loss: Loss) -> Array:
    """Return squared errors."""
    residual = np.asarray(mean / unit)
    np.subtract(y / unit, residual, out=residual)
    residual *= residual
    return residual


def _pinball(y: Array, mean: Array, variance: Array, unit: Array, loss: Loss) -> Array:
    """Return pinball losses of each level; the median has the level 0.5."""
    residual = y / unit - mean / unit
    level = np.array(loss.levels or [getattr(loss, "quantile", 0.5)])
    return np.maximum(level * residual, (level - 1) * residual)


def _poisson(y: Array, mean: Array, variance: Array, unit: Array, loss: Loss) -> Array:
    """Return negative log-likelihoods of rates, without the constant."""
    rate = np.maximum(mean, SMALLEST * np.minimum(unit, 1.0))
    return np.asarray(rate - y * np.log(rate))


def _gaussian(y: Array, mean: Array, variance: Array, unit: Array, loss: Loss) -> Array:
    """Return negative log-likelihoods of normal distributions, without the constant."""
    scaled = np.maximum(variance / unit**2, SMALLEST**2)
    return np.asarray(0.5 * (np.log(scaled) + _squared(y, mean, variance, unit, loss) / scaled))


def _root(cost: float, unit: Array) -> float:
    """Return the root of a mean square, in the user's unit if there is one output."""
    return float(np.sqrt(max(cost, 0.0)) * (unit[0] if len(unit) == 1 else 1.0))


def _unscaled(cost: float, unit: Array) -> float:
    """Return a mean negative log-likelihood of targets in the user's units."""
    return float(cost + 0.5 * np.log(2 * np.pi) + np.log(unit).mean())


LOSSES = {
    MEANS: LossRow(
        lambda level: losses.SquaredError(),
        _squared,
        metric="root mean squared error",
        shown=_root,
        metric_of_several="root mean squared error, in deviations of y",
        is_square=True,
    ),
    "absolute_error": LossRow(
        lambda level: losses.AbsoluteError(),
        _pinball,
        metric="half the mean absolute error, in deviations of y",
        is_robust=True,
    ),
    "quantile": LossRow(
        lambda level: losses.Quantile(quantile=level),
        _pinball,
        metric="pinball loss, in deviations of y",
        is_robust=True,
    ),
    "quantiles": LossRow(
        lambda levels: losses.Quantiles(check_levels("quantile", levels)),
        _pinball,
        metric="pinball loss, in deviations of y, mean over levels",
        is_robust=True,
    ),
    "poisson": LossRow(
        lambda level: losses.PoissonNLL(),
        _poisson,
        metric="poisson loss",
        hopeless=np.inf,
        distills_to_means=True,  # its outputs are not logarithms
        lowest=0.0,
    ),
    "gaussian": LossRow(
        lambda level: losses.GaussianNLL(),
        _gaussian,
        metric="negative log-likelihood",
        shown=_unscaled,
        metric_of_several="negative log-likelihood, mean over outputs",
        rate=RATE["gaussian"],
        averaging=AVERAGING["gaussian"],
        hopeless=np.inf,
        distills_to_means=True,  # without variances
    ),
}
