"""The links turn the last affine output z, (N, heads * m), into predictions p.

The matrix of the derivatives d p / d z of a row is symmetric, but for `ascending`: products with it
take tangents forward and gradients back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastmlp._network.activations import Array, sigmoid, softplus


@dataclass(frozen=True)
class Link:
    """One row: the link and its derivatives, as functions of the prediction p."""

    name: str
    value: Callable[[Array], Array]  # z: the prediction, a new array
    product: Callable[[Array, Array], Array]  # (p, a): the gradient by z of sum(a * value(z))
    bend: Callable[[Array, Array, Array], Array]  # (p, a, s): that of sum(a * tangent(p, s))
    # (p, s): the function of `tangent`; None if `product` is it, too.
    forward: Callable[[Array, Array], Array] | None = None

    def tangent(self, p: Array, s: Array) -> Array:
        """Return the derivative of p along s."""
        return (self.forward or self.product)(p, s)


def _exp(z: Array) -> Array:
    with np.errstate(over="ignore"):  # overflow becomes infinite
        return np.exp(z)


def _exp_of_second_half(z: Array) -> Array:
    mean, s = np.split(z, 2, axis=1)
    return np.concatenate([mean, _exp(s)], axis=1)


def _softmax(z: Array) -> Array:
    with np.errstate(over="ignore"):  # the difference may overflow; exp is 0 then
        e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return np.asarray(e / np.sum(e, axis=1, keepdims=True))


def _along(p: Array, a: Array) -> Array:
    """Return the derivatives of a softmax times a."""
    return np.asarray(p * (a - np.sum(p * a, axis=1, keepdims=True)))


def _softmax_bend(p: Array, a: Array, s: Array) -> Array:
    mean_a, mean_s = (np.sum(p * b, axis=1, keepdims=True) for b in (a, s))
    return _along(p, a * s - a * mean_s - s * mean_a)


def _elementwise(
    name: str,
    value: Callable[[Array], Array],
    slope: Callable[[Array], Array],
    curvature: Callable[[Array], Array],
) -> Link:
    """Return an elementwise link, given its derivatives as functions of p.

    They may be infinite, which does not concern other outputs: an output with a = 0 adds 0.
    """

    def times(derivative: Array, a: Array) -> Array:
        return np.where(a == 0, a, derivative * a)

    return Link(
        name,
        value,
        lambda p, a: times(slope(p), a),
        lambda p, a, s: times(curvature(p), a) * s,
    )


def _of_variances(first: float) -> Callable[[Array], Array]:
    """Return the function of means and variances whose results are `first` and the variances."""

    def derivative(p: Array) -> Array:
        d = p.copy()
        d[:, : p.shape[1] // 2] = first
        return d

    return derivative


def of_higher(a: Array) -> Array:
    """Return sums over the level and higher ones, (N, heads, m)."""
    return np.cumsum(a[:, ::-1], axis=1)[:, ::-1]


def ascending(heads: int) -> Link:
    """Return the link of quantiles: each adds a softplus to that of the level before.

    Columns [k m, (k + 1) m) belong to level k. Derivatives of softplus are functions of what it
    adds.
    """

    def by_level(a: Array) -> Array:
        return a.reshape(len(a), heads, a.shape[1] // heads)

    def sums(a: Array) -> Array:
        return np.cumsum(by_level(a), axis=1).reshape(a.shape)

    def value(z: Array) -> Array:
        rises = by_level(z).copy()
        rises[:, 1:] = softplus(rises[:, 1:])
        return sums(rises.reshape(z.shape))

    def slope(p: Array) -> Array:
        slopes = np.ones_like(by_level(p))
        slopes[:, 1:] = -np.expm1(-np.diff(by_level(p), axis=1))
        return slopes.reshape(p.shape)

    return Link(
        "ascending",
        value,
        lambda p, a: slope(p) * of_higher(by_level(a)).reshape(a.shape),
        lambda p, a, s: slope(p) * (1 - slope(p)) * of_higher(by_level(a)).reshape(a.shape) * s,
        lambda p, s: sums(slope(p) * s),
    )


IDENTITY = Link("identity", np.copy, lambda p, a: a, lambda p, a, s: np.zeros_like(p))
EXP = _elementwise("exp", _exp, np.positive, np.positive)
# Means, followed by variances; the network computes the logarithms of the variances.
MEAN_AND_VARIANCE = _elementwise(
    "mean_and_variance", _exp_of_second_half, _of_variances(1), _of_variances(0)
)
SIGMOID = _elementwise(
    "sigmoid", sigmoid, lambda p: p * (1 - p), lambda p: p * (1 - p) * (1 - 2 * p)
)
SOFTMAX = Link("softmax", _softmax, _along, _softmax_bend)

BY_NAME = {link.name: link for link in (IDENTITY, EXP, MEAN_AND_VARIANCE, SIGMOID, SOFTMAX)}
