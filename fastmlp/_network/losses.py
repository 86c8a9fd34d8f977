"""The losses: value of each sample, gradient with respect to the last affine output z, and link.

The loss of a sample is the SUM over its outputs; the loss of a batch is the weighted MEAN over its
samples, which the engine computes. The link turns z into what `predict` returns. It belongs to the
loss so that the gradient is taken through the link in closed form and never overflows on the way.
Targets arrive checked, of shape (n, m) in the dtype of z, or as int32 labels (n,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from fastmlp._core.intervals import (
    FRACTION,
    INNER_FRACTION,
    POSITIVE,
    Interval,
    Options,
    check_flag,
    check_levels,
)
from fastmlp._core.keywords import check_choice
from fastmlp._network import links
from fastmlp._network.activations import Array, sigmoid, softplus

__all__ = ["Loss", "SquaredError", "AbsoluteError", "Huber", "Quantile", "Quantiles"]
__all__ += ["PoissonNLL", "GaussianNLL", "CrossEntropy", "BinaryCrossEntropy", "GammaNLL"]
__all__ += ["Tweedie"]

# At its ends the loss is that of Poisson or of gamma, plus a constant that hides it.
POWERS = Interval(1.01, 1.99, high_open=False)
HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Loss(Options):
    """Base class of all losses: a loss is the number that says how bad predictions are.

    Pass one of its subclasses, or its name, to ``MLP(loss=...)``.

    `name` is that name; `target_kind` is the kind of targets: "real" numbers, a "count"
    (>= 0), "positive" numbers (> 0), the "unit_interval" [0, 1], or a "class". A loss with
    parameters is a dataclass of its own; the others inherit the methods of this one.

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP([3, 8, 1], loss="huber", rng=0)
    >>> isinstance(net.loss, fastmlp.Loss), net.loss
    (True, Huber(delta=1.0))
    """

    name: ClassVar[str]
    target_kind: ClassVar[str] = "real"
    is_custom: ClassVar[bool] = False  # whether the user wrote the loss
    is_separable: ClassVar[bool] = True  # whether it is a sum of losses of single outputs
    levels: ClassVar[tuple[float, ...]] = ()  # of the quantiles that are predicted, if several
    _number: ClassVar[str] = ""  # the field that is the parameter of the C function, if any

    @property
    def link_row(self) -> links.Link:
        """The link, with its derivatives."""
        return links.IDENTITY

    @property
    def heads(self) -> int:
        """Columns of the last affine layer per output."""
        return 1

    @property
    def predicts_variance(self) -> bool:
        """Whether predictions are means, followed by variances."""
        return self.link_row is links.MEAN_AND_VARIANCE

    def shaped(self, p: Array, flat: bool) -> Any:
        """Return predictions (..., heads * m) in the shape of the user's targets.

        They are (..., m), or a tuple of two such arrays; ``flat``: without the last axis.
        """
        if not self.predicts_variance:
            return p[..., 0] if flat else p
        m = p.shape[-1] // 2  # slices: np.split takes longer than a row of a small network
        return (p[..., 0], p[..., m]) if flat else (p[..., :m], p[..., m:])

    @property
    def parameter(self) -> float:
        """The one number of the loss, or 0."""
        return float(getattr(self, self._number)) if self._number else 0.0

    def native_row(self, labels: bool) -> str:
        """Return its name in the compiled code; ``labels``: whether targets are class numbers."""
        return self.name

    @property
    def link_name(self) -> str:
        """The name of the link, see `fastmlp._network.links`."""
        return self.link_row.name

    @property
    def is_linked(self) -> bool:
        """Whether the link is another function than the identity."""
        return self.link_row is not links.IDENTITY

    def link(self, z: Array) -> Array:
        """Return the prediction that belongs to z, (n, heads * m), same dtype."""
        return self.link_row.value(z)

    def value_and_gradient(
        self, z: Array, t: Array, output_weights: Array | None = None
    ) -> tuple[Array, Array]:
        """Return the losses of the samples and their gradients, not yet weighted or averaged.

        Parameters
        ----------
        z : array of float32 or float64, shape (n, heads * m)
            Outputs of the last affine layer.
        t : array of the dtype of z, shape (n, m), or of int32, shape (n,)
            Targets.
        output_weights : array like t, optional
            Factors on the losses of the outputs; where they are 0, t may be NaN.

        Returns
        -------
        values : array, shape (n,)
            Summed over the outputs of a sample.
        dz : array, shape (n, heads * m)
            Row i is d values[i] / d z[i].
        """
        with np.errstate(over="ignore", invalid="ignore"):  # overflow becomes infinite
            terms, dz = self._terms(z, t)
            if output_weights is not None:
                terms = np.where(output_weights != 0, output_weights * terms, 0)
                of_heads = np.tile(output_weights, self.heads)
                dz = np.where(of_heads != 0, of_heads * dz, 0)
            return np.sum(terms, axis=1), dz

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        """Return terms whose sum over a row is the loss of the sample, and the gradient."""
        raise NotImplementedError


class SquaredError(Loss):
    """A loss: the square of the error; predictions become means. The usual one for numbers.

    Take it for numbers, unless a few targets are far off: then see `Huber`.

    0.5 (z - t)**2, summed over outputs: the mean is fitted.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.SquaredError().value_and_gradient(np.array([[3.0]]), np.array([[1.0]]))
    (array([2.]), array([[2.]]))
    """

    name = "squared_error"

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        e = z - t
        return 0.5 * e * e, e


class AbsoluteError(Loss):
    """A loss: the size of the error; predictions become medians, which few far values do not move.

    Take it for targets with outliers, where one value that is far off should not count more than
    others.

    abs(z - t), summed over outputs: the median is fitted. The slope at equality is 0.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.AbsoluteError().value_and_gradient(np.array([[3.0]]), np.array([[1.0]]))
    (array([2.]), array([[1.]]))
    """

    name = "absolute_error"

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        e = z - t
        return np.abs(e), np.sign(e)


@dataclass(frozen=True)
class Huber(Loss):
    """A loss between squared and absolute error: small errors are squared, large ones not.

    Take it for targets of which a few are far off, if you still want a mean and no median.

    0.5 e**2 up to abs(e) = delta, a straight line beyond, with e = z - t; summed over outputs.

    Parameters
    ----------
    delta : float, > 0
        Where the parabola becomes a line of slope delta.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.Huber(delta=1.0).value_and_gradient(np.array([[3.0]]), np.array([[1.0]]))
    (array([1.5]), array([[1.]]))
    """

    name = "huber"
    _number = "delta"
    _checks: ClassVar = {"delta": (POSITIVE.check, 1.0)}
    delta: float = 1.0

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        e = z - t
        # The slope is e cut to [-delta, delta]; slope * (e - slope / 2) is both branches at once.
        slope = np.clip(e, -self.parameter, self.parameter)
        return slope * (e - 0.5 * slope), slope


@dataclass(frozen=True)
class Quantile(Loss):
    """A loss for a quantile: predictions become values below which, say, 90 % of the targets are.

    Take it if too little costs more than too much, such as for a stock of goods.

    The pinball loss max(q (t - z), (q - 1)(t - z)), summed over outputs: a quantile is fitted.

    The slope at equality is 0.

    Parameters
    ----------
    quantile : float, in (0, 1)
        Fraction of the targets below the prediction.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.Quantile(quantile=0.9).value_and_gradient(np.array([[1.0]]), np.array([[3.0]]))
    (array([1.8]), array([[-0.9]]))
    """

    name = "quantile"
    _number = "quantile"
    _checks: ClassVar = {"quantile": (INNER_FRACTION.check, 0.5)}
    quantile: float = 0.5

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        e, q = t - z, self.parameter
        slope = np.where(e > 0, -q, np.where(e < 0, 1 - q, 0)).astype(z.dtype)
        return np.maximum(q * e, (q - 1) * e), slope


class PoissonNLL(Loss):
    """A loss for counts, 0, 1, 2 ...; predictions become their mean, which is above 0.

    Take it for how often something happens: calls in an hour, accidents in a year.

    exp(z) - t z, summed over outputs: the negative log-likelihood of Poisson counts of the rate
    exp(z), without log(t!), which no prediction changes.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.PoissonNLL().value_and_gradient(np.array([[0.0]]), np.array([[3.0]]))
    (array([1.]), array([[-2.]]))
    """

    name = "poisson_nll"
    target_kind = "count"
    link_row = links.EXP

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        rate = self.link(z)
        return np.where(np.isinf(rate), rate, rate - t * z), rate - t


@dataclass(frozen=True)
class GaussianNLL(Loss):
    """A loss for numbers with noise: the network predicts the mean, and how far targets scatter.

    Take it to learn how sure each prediction is, if errors are normal: many small ones, few large.

    Negative log-likelihood of a Gaussian, constant included, summed over outputs.

    With `predict_variance` the network has two heads: columns [0, m) of z are the means, [m, 2 m)
    the log-variances s: 0.5 (s + (t - mean)**2 exp(-s) + log(2 pi)), Nix and Weigend 1994.
    Without, the variance is 1 and this is squared_error plus a constant.

    Parameters
    ----------
    predict_variance : bool
        Whether the variance is an output too.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> loss = fastmlp.GaussianNLL(predict_variance=False)
    >>> loss.value_and_gradient(np.array([[3.0]]), np.array([[1.0]]))[1]
    array([[2.]])
    """

    name = "gaussian_nll"
    _checks: ClassVar = {"predict_variance": (check_flag,)}
    predict_variance: bool = True

    @property
    def heads(self) -> int:
        """2 if the variance is predicted, else 1."""
        return 2 if self.predict_variance else 1

    def native_row(self, labels: bool) -> str:
        """Return its name in the compiled code: another one if the variance is predicted."""
        return "gaussian_nll" if self.predict_variance else "gaussian_nll_unit"

    @property
    def link_row(self) -> links.Link:
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


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """A loss for classes: predictions become a probability for each class, with the sum 1.

    Take it if each row belongs to exactly one of several classes.

    -sum_c t_c log softmax(z)_c, with t integer labels or rows of probabilities that sum to 1.

    Parameters
    ----------
    label_smoothing : float, in [0, 1)
        Targets become (1 - label_smoothing) t + label_smoothing / C (Szegedy et al. 2016).

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.CrossEntropy().value_and_gradient(np.zeros((1, 2)), np.array([1]))
    (array([0.69314718]), array([[ 0.5, -0.5]]))
    """

    name = "cross_entropy"
    target_kind = "class"
    is_separable = False
    link_row = links.SOFTMAX
    _number = "label_smoothing"
    _checks: ClassVar = {"label_smoothing": (FRACTION.check, 0.1)}
    label_smoothing: float = 0.0

    def native_row(self, labels: bool) -> str:
        """Return its name in the compiled code, by the kind of target."""
        return "cross_entropy_labels" if labels else "cross_entropy_soft"

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        n_classes = z.shape[1]
        if t.ndim == 1:
            t = np.eye(n_classes, dtype=z.dtype)[t]
        t = (1 - self.parameter) * t + self.parameter / n_classes
        largest = np.asarray(np.max(z, axis=1, keepdims=True))
        log_sum = np.log(np.sum(np.exp(z - largest), axis=1, keepdims=True))
        # In quarters, since infinity times a target of 0 would be NaN.
        below = 4 * np.sum(t * (largest / 4 - z / 4), axis=1, keepdims=True)
        return below + log_sum, self.link(z) - t


class BinaryCrossEntropy(Loss):
    """A loss for yes or no: predictions become the probability of yes.

    Take it for two classes, or for several labels that may be true together, an output each.

    -t log(p) - (1 - t) log(1 - p) with p = sigmoid(z), summed over outputs (multi-label).

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.BinaryCrossEntropy().value_and_gradient(np.array([[0.0]]), np.array([[1.0]]))
    (array([0.69314718]), array([[-0.5]]))
    """

    name = "binary_cross_entropy"
    target_kind = "unit_interval"
    link_row = links.SIGMOID

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        return softplus(z) - z * t, sigmoid(z) - t


class Linear(Loss):
    """t z, summed over outputs: the loss whose gradient is t, for gradients from outside.

    Examples
    --------
    >>> Linear().value_and_gradient(np.array([[3.0]]), np.array([[2.0]]))
    (array([6.]), array([[2.]]))
    """

    name = "linear"

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        return z * t, t.copy()


@dataclass(frozen=True)
class Quantiles(Loss):
    """A loss for several quantiles at once, which never cross: an interval, and its middle.

    Take it if a prediction should say between which values the target will lie.

    Pinball losses of several levels, summed over levels and outputs: quantiles are fitted.

    The quantiles of a row never cross: the first output of the last layer is the lowest one, and
    softplus of each further output is the distance from the quantile of the level before.

    Parameters
    ----------
    levels : sequence of at least two floats in (0, 1), ascending
        For each quantile the fraction of the targets below it.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> loss = fastmlp.Quantiles(levels=[0.25, 0.75])
    >>> loss.link(np.zeros((1, 2))).round(3)
    array([[0.   , 0.693]])
    >>> loss.value_and_gradient(np.zeros((1, 2)), np.array([[1.0]]))[1]
    array([[-1.   , -0.375]])
    """

    name = "quantiles"
    levels: Any = (0.1, 0.5, 0.9)  # type: ignore[misc]  # a tuple, made from any sequence

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", check_levels("levels", self.levels))

    @property
    def heads(self) -> int:
        """The number of predictions for each target: one for each level."""
        return len(self.levels)

    @property
    def link_row(self) -> links.Link:
        return links.ascending(self.heads)

    def shaped(self, p: Array, flat: bool) -> Array:
        """Return predictions (..., heads * m) as (..., m, levels); ``flat``: (..., levels)."""
        by_level = p.reshape(*p.shape[:-1], self.heads, p.shape[-1] // self.heads)
        return p if flat else np.swapaxes(by_level, -1, -2)

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        levels = np.array(self.levels, z.dtype)[:, np.newaxis]
        shape = len(z), self.heads, t.shape[1]
        e = t[:, np.newaxis] - self.link(z).reshape(shape)
        dz = links.of_higher(np.where(e > 0, -levels, np.where(e < 0, 1 - levels, 0)))
        dz[:, 1:] *= sigmoid(z.reshape(shape)[:, 1:])
        terms = np.sum(np.maximum(levels * e, (levels - 1) * e), axis=1)
        return terms, dz.reshape(z.shape).astype(z.dtype)


def _times_exp(t: Array, s: Array) -> Array:
    """Return t exp(s), in four parts, or exp(s) would overflow before a small t is multiplied."""
    root = np.where(t == 0, 1, np.exp(s / 4)).astype(s.dtype)
    return np.asarray(t * root * root * root * root)


class GammaNLL(Loss):
    """A loss for amounts above 0, such as prices and durations; predictions become their mean.

    Take it if errors count in per cent rather than in euros.

    z + t exp(-z), summed over outputs, for amounts above 0 of the mean exp(z).

    It is the negative log-likelihood of an exponential distribution, and half the gamma deviance
    plus terms of t alone: errors count in proportion to the mean, whatever the shape of the gamma
    distribution is.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.GammaNLL().value_and_gradient(np.array([[0.0]]), np.array([[3.0]]))
    (array([3.]), array([[-2.]]))
    """

    name = "gamma_nll"
    target_kind = "positive"
    link_row = links.EXP

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        ratio = _times_exp(t, -z)
        return z + ratio, 1 - ratio


@dataclass(frozen=True)
class Tweedie(Loss):
    """A loss for amounts of which many are 0, such as what a customer claims; it gives their mean.

    Take it for costs and amounts of rain: `GammaNLL` allows no 0, and squared errors follow the few
    large ones.

    t m**(1 - p) / (p - 1) + m**(2 - p) / (2 - p) with the mean m = exp(z), summed over outputs.

    Half the Tweedie deviance plus terms of t alone: for amounts of at least 0, of which many may
    be 0, such as what a customer costs in a year.

    Parameters
    ----------
    power : float, in [1.01, 1.99]
        The variance grows like m**power. Nearer to 1 (poisson_nll) amounts are made of more and
        smaller parts, nearer to 2 (gamma_nll) of fewer and larger ones.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.Tweedie(power=1.5).value_and_gradient(np.array([[0.0]]), np.array([[3.0]]))
    (array([8.]), array([[-2.]]))
    """

    name = "tweedie"
    target_kind = "count"
    link_row = links.EXP
    _number = "power"
    _checks: ClassVar = {"power": (POWERS.check, 1.5)}
    power: float = 1.5

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        rise, fall = 2 - self.parameter, self.parameter - 1
        grown, ratio = np.exp(rise * z), _times_exp(t, -fall * z)
        return grown / rise + ratio / fall, grown - ratio


# Row order of the C table. One class may have several rows (labels or soft targets, for example).
NATIVE_LOSSES = (
    "squared_error",
    "absolute_error",
    "huber",
    "quantile",
    "poisson_nll",
    "gaussian_nll_unit",
    "gaussian_nll",
    "cross_entropy_labels",
    "cross_entropy_soft",
    "binary_cross_entropy",
    "linear",
    "quantiles",
    "gamma_nll",
    "tweedie",
)

# The names, for editors and type checkers; a test compares them with the table.
LossName: TypeAlias = Literal[
    "squared_error",
    "absolute_error",
    "huber",
    "quantile",
    "poisson_nll",
    "gaussian_nll",
    "cross_entropy",
    "binary_cross_entropy",
    "quantiles",
    "gamma_nll",
    "tweedie",
]

LOSSES: dict[str, type[Loss]] = {
    row.name: row
    for row in (
        *(SquaredError, AbsoluteError, Huber, Quantile, PoissonNLL, GaussianNLL),
        *(CrossEntropy, BinaryCrossEntropy, Quantiles, GammaNLL, Tweedie),
    )
}


def resolve(loss: str | Loss) -> Loss:
    """Return an instance for a key of `LOSSES` or an instance; raise TypeError or ValueError."""
    if isinstance(loss, Loss) and (type(loss) in LOSSES.values() or loss.is_custom):
        return loss
    if not isinstance(loss, str):
        if callable(loss) and not isinstance(loss, type | Loss):
            raise TypeError(
                f"loss is {loss!r} but a function has no gradient: pass fastmlp.CustomLoss(f), "
                "whose f(z, t) returns the loss of each row and its gradient by z"
            )
        raise TypeError(
            f"loss is {loss!r} ({type(loss).__name__}) but a name or an instance such as "
            "losses.Huber() is expected, no subclass, whose formula would never be called: "
            f"choose from {', '.join(LOSSES)}, or pass a fastmlp.CustomLoss"
        )
    return LOSSES[check_choice("loss", loss, LOSSES)]()
