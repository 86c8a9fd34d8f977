"""The losses of tables of numbers: one row each, with everything in which they differ.

Costs are those of single rows, in the metric that selects epochs, and of one value or of several in
units of the targets' deviations. To add a loss, add a row and its name in `_network/names.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._network import losses
from fastmlp._network.losses import Loss
from fastmlp._network.target_kinds import KINDS

Array = NDArray[Any]

MEANS = "squared_error"  # the loss of networks that predict means
SMALLEST = 1e-7  # smallest probability or rate in a logarithm

RATE = {"classes": 0.04, "numbers": 0.07, "gaussian": 0.02}
# A long fit that only learns noise ends early: if the cost at the end of a cycle of the rate, where
# costs are comparable, exceeds this multiple of the lowest cost, which came in the first half.
HOPELESS = 1.15
# For scorers of labels only; for probabilities it costs more than calibration recovers.
LABEL_SMOOTHING = 0.1
# The estimated gain of averaging all members, as a multiple of the measured gain of two. With
# exchangeable errors it would be 2 (1 - 1 / members), 1.875 for 16 members; it is lower because the
# gain is measured on few rows. A likelihood is unbounded, so that one overconfident member tells
# nothing about all; there, the cost of two counts.
AVERAGING = {"classes": 1.5, "numbers": 1.5, "gaussian": 1.0}


def _same(cost: float, unit: Array) -> float:
    """Return the cost itself."""
    return float(cost)


@dataclass(frozen=True)
class LossRow:
    """A loss of numbers; the cost takes y, means, variances (if predicted), unit, and the loss."""

    loss: type[Loss]  # the networks' loss; its kind of targets and its link are the row's
    cost: Callable[[Array, Array, Array, Array, Loss], Array]
    metric: str
    parameter: str = ""  # the loss takes this parameter of the estimator, if any
    # Takes a mean cost and the units; returns the metric.
    shown: Callable[[float, Array], float] = _same
    metric_of_several: str | None = None  # outputs have own units; None: the same
    rate: float = RATE["numbers"]
    averaging: float = AVERAGING["numbers"]
    hopeless: float = HOPELESS  # infinite if costs may be negative
    is_robust: bool = False  # whether outliers must not move the scale of the targets
    is_square: bool = False  # whether a cost is the square of a deviation
    distills_to_means: bool = False  # whether one network in place of all has the squared error
    has_robust_unit: bool = False  # whether costs have the robust scale of the targets as unit
    may_be_counts: bool = False  # whether quantiles are whole numbers if all targets are
    # With a log link: the cost of c y by c mean is c**degree times that of y by mean, but for terms
    # without the mean.
    degree: Callable[[Any], float] | None = None
    has_density: bool = False  # whether costs have no least value, which D squared compares with

    def made(self, parameters: Mapping[str, Any]) -> Loss:
        """Return the networks' loss with the parameters of an estimator."""
        loss: Callable[..., Loss] = self.loss
        return loss(parameters[self.parameter]) if self.parameter else loss()

    @property
    def lowest(self) -> float:
        """The bound of targets and predictions from below, which may be excluded itself."""
        return KINDS[self.loss.target_kind].allowed.low


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


def _gamma(y: Array, mean: Array, variance: Array, unit: Array, loss: Loss) -> Array:
    """Return gamma deviances, as those of scikit-learn."""
    ratio = y / mean
    return np.asarray(2 * (ratio - 1 - np.log(ratio)))


def _tweedie(y: Array, mean: Array, variance: Array, unit: Array, loss: Loss) -> Array:
    """Return Tweedie deviances, as those of scikit-learn."""
    rise, fall = 2 - loss.parameter, loss.parameter - 1
    mean = np.maximum(mean, np.finfo(float).tiny)
    whole = y**rise / (rise * fall)
    return np.asarray(2 * (mean**rise / rise + y / mean**fall / fall - whole))


def _huber(y: Array, mean: Array, variance: Array, unit: Array, loss: Loss) -> Array:
    """Return Huber losses."""
    error = np.abs(y / unit - mean / unit)
    slope = np.minimum(error, loss.parameter)
    return np.asarray(slope * (error - slope / 2))


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
        losses.SquaredError,
        _squared,
        metric="root mean squared error",
        shown=_root,
        metric_of_several="root mean squared error, in deviations of y",
        is_square=True,
    ),
    "absolute_error": LossRow(
        losses.AbsoluteError,
        _pinball,
        metric="half the mean absolute error, in deviations of y",
        is_robust=True,
    ),
    "quantile": LossRow(
        losses.Quantile,
        _pinball,
        metric="pinball loss, in deviations of y",
        parameter="quantile",
        is_robust=True,
    ),
    "quantiles": LossRow(
        losses.Quantiles,
        _pinball,
        metric="pinball loss, in deviations of y, mean over levels",
        parameter="quantile",
        is_robust=True,
    ),
    "poisson": LossRow(
        losses.PoissonNLL,
        _poisson,
        metric="poisson loss",
        hopeless=np.inf,
        distills_to_means=True,  # its outputs are not logarithms
        may_be_counts=True,
        degree=lambda loss: 1.0,
    ),
    "gaussian": LossRow(
        losses.GaussianNLL,
        _gaussian,
        metric="negative log-likelihood",
        shown=_unscaled,
        metric_of_several="negative log-likelihood, mean over outputs",
        rate=RATE["gaussian"],
        averaging=AVERAGING["gaussian"],
        hopeless=np.inf,
        distills_to_means=True,  # a student has no variances
        has_density=True,
    ),
    "gamma": LossRow(
        losses.GammaNLL,
        _gamma,
        metric="gamma deviance",
        distills_to_means=True,
        degree=lambda loss: 0.0,
    ),
    "tweedie": LossRow(
        losses.Tweedie,
        _tweedie,
        metric="Tweedie deviance",
        parameter="power",
        distills_to_means=True,
        degree=lambda loss: 2 - float(loss.power),
    ),
    "huber": LossRow(
        losses.Huber,
        _huber,
        metric="Huber loss, in robust deviations of y",
        is_robust=True,
        has_robust_unit=True,
    ),
}
