"""The links turn the last affine output z, (N, heads * m), into predictions; each has its slope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastmlp._network.activations import Array, sigmoid


@dataclass(frozen=True)
class Link:
    """One row: the link and its derivative."""

    name: str
    value: Callable[[Array], Array]  # of z: the prediction p, a new array
    slope: Callable[[Array, int], Array]  # of (p, c): d p[:, c] / d z, (N, C)


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


def _softmax_slope(p: Array, c: int) -> Array:
    d = -p[:, [c]] * p
    d[:, c] += p[:, c]
    return d


def _elementwise(slope: Callable[[Array], Array]) -> Callable[[Array, int], Array]:
    """Return the slope of an elementwise link, given the slope of one column."""

    def diagonal(p: Array, c: int) -> Array:
        d = np.zeros_like(p)
        d[:, c] = slope(p[:, c])
        return d

    return diagonal


_one = _elementwise(np.ones_like)
_itself = _elementwise(np.positive)

IDENTITY = Link("identity", np.copy, _one)
EXP = Link("exp", _exp, _itself)
# Means, followed by variances; the network computes the logarithms of the variances.
MEAN_AND_VARIANCE = Link(
    "mean_and_variance",
    _exp_of_second_half,
    lambda p, c: (_one if c < p.shape[1] // 2 else _itself)(p, c),
)
SIGMOID = Link("sigmoid", sigmoid, _elementwise(lambda p: p * (1 - p)))
SOFTMAX = Link("softmax", _softmax, _softmax_slope)

BY_NAME = {link.name: link for link in (IDENTITY, EXP, MEAN_AND_VARIANCE, SIGMOID, SOFTMAX)}
