"""Losses of real and of counted targets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastmlp._core.intervals import INNER_FRACTION, POSITIVE, check_flag
from fastmlp._network import links
from fastmlp._network.activations import Array
from fastmlp._network.losses.base import Loss

HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)


class SquaredError(Loss):
    """0.5 (z - t)**2, summed over outputs: the mean is fitted.

    Examples
    --------
    >>> SquaredError().value_and_gradient(np.array([[3.0]]), np.array([[1.0]]))
    (array([2.]), array([[2.]]))
    """

    name = "squared_error"

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        e = z - t
        return 0.5 * e * e, e


class AbsoluteError(Loss):
    """abs(z - t), summed over outputs: the median is fitted. The slope at equality is 0.

    Examples
    --------
    >>> AbsoluteError().value_and_gradient(np.array([[3.0]]), np.array([[1.0]]))
    (array([2.]), array([[1.]]))
    """

    name = "absolute_error"

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        e = z - t
        return np.abs(e), np.sign(e)


@dataclass(frozen=True)
class Huber(Loss):
    """0.5 e**2 up to abs(e) = delta, a straight line beyond, with e = z - t; summed over outputs.

    Parameters
    ----------
    delta : float, > 0
        Where the parabola becomes a line of slope delta.

    Examples
    --------
    >>> Huber(delta=1.0).value_and_gradient(np.array([[3.0]]), np.array([[1.0]]))
    (array([1.5]), array([[1.]]))
    """

    name = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        POSITIVE.check("delta", self.delta, example=1.0)

    @property
    def parameter(self) -> float:
        """The delta."""
        return float(self.delta)

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        e = z - t
        # The slope is e cut to [-delta, delta]; slope * (e - slope / 2) is both branches at once.
        slope = np.clip(e, -self.parameter, self.parameter)
        return slope * (e - 0.5 * slope), slope


@dataclass(frozen=True)
class Quantile(Loss):
    """The pinball loss max(q (t - z), (q - 1)(t - z)), summed over outputs: a quantile is fitted.

    The slope at equality is 0.

    Parameters
    ----------
    quantile : float, in (0, 1)
        Share of the targets that shall lie below the prediction.

    Examples
    --------
    >>> Quantile(quantile=0.9).value_and_gradient(np.array([[1.0]]), np.array([[3.0]]))
    (array([1.8]), array([[-0.9]]))
    """

    name = "quantile"
    quantile: float = 0.5

    def __post_init__(self) -> None:
        INNER_FRACTION.check("quantile", self.quantile, example=0.5)

    @property
    def parameter(self) -> float:
        """The quantile."""
        return float(self.quantile)

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        e, q = t - z, self.parameter
        slope = np.where(e > 0, -q, np.where(e < 0, 1 - q, 0)).astype(z.dtype)
        return np.maximum(q * e, (q - 1) * e), slope


class PoissonNLL(Loss):
    """exp(z) - t z, summed over outputs: Poisson likelihood of counts without log(t!); rate exp(z).

    Examples
    --------
    >>> PoissonNLL().value_and_gradient(np.array([[0.0]]), np.array([[3.0]]))
    (array([1.]), array([[-2.]]))
    """

    name = "poisson_nll"
    target_kind = "count"
    _link = links.EXP

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        rate = self.link(z)
        return np.where(np.isinf(rate), rate, rate - t * z), rate - t


@dataclass(frozen=True)
class GaussianNLL(Loss):
    """Negative log-likelihood of a Gaussian, constant included, summed over outputs.

    With `predict_variance` the network has two heads: columns [0, m) of z are the means, [m, 2 m)
    the log-variances s: 0.5 (s + (t - mean)**2 exp(-s) + log(2 pi)), Nix and Weigend 1994.
    Without, the variance is 1 and this is squared_error plus a constant.

    Parameters
    ----------
    predict_variance : bool
        Whether the variance is an output too.

    Examples
    --------
    >>> loss = GaussianNLL(predict_variance=False)
    >>> loss.value_and_gradient(np.array([[3.0]]), np.array([[1.0]]))[1]
    array([[2.]])
    """

    name = "gaussian_nll"
    predict_variance: bool = True

    def __post_init__(self) -> None:
        check_flag("predict_variance", self.predict_variance)

    @property
    def heads(self) -> int:
        """2 if the variance is predicted, else 1."""
        return 2 if self.predict_variance else 1

    def native_row(self, labels: bool) -> str:
        """Return the row of `NATIVE_LOSSES`, by whether the variance is predicted."""
        del labels
        return "gaussian_nll" if self.predict_variance else "gaussian_nll_unit"

    @property
    def _link(self) -> links.Link:
        return links.MEAN_AND_VARIANCE if self.predict_variance else links.IDENTITY

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        if not self.predict_variance:
            e = z - t
            return 0.5 * e * e + HALF_LOG_2_PI, e
        mean, s = np.split(z, 2, axis=1)
        e = mean - t
        # In four parts, or exp(-s) would overflow before a small error is multiplied.
        root = np.where(e == 0, 1, np.exp(-s / 4)).astype(z.dtype)
        near = e * root * root
        half_square = 0.5 * near * near
        terms = 0.5 * s + half_square + HALF_LOG_2_PI
        return terms, np.concatenate([near * root * root, 0.5 - half_square], axis=1)
