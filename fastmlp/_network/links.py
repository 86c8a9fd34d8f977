"""The links: what turns the network's last affine output z into a prediction, and its slope.

A link belongs to a loss, which names it. All act on whole batches, (N, C) with C = heads * m.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastmlp._network.activations import Array, sigmoid


@dataclass(frozen=True)
class Link:
    """One row: the link and its derivative.

    Attributes
    ----------
    name : str
    value : function of z
        The prediction p, a new array.
    slope : function of (p, c)
        The derivative of column c of p with respect to every column of z, (N, C).
    """

    name: str
    value: Callable[[Array], Array]
    slope: Callable[[Array, int], Array]


def _exp(z: Array) -> Array:
    with np.errstate(over="ignore"):  # a rate beyond the dtype is infinity, rightly
        return np.exp(z)


def _exp_of_second_half(z: Array) -> Array:
    mean, s = np.split(z, 2, axis=1)
    return np.concatenate([mean, _exp(s)], axis=1)


def _softmax(z: Array) -> Array:
    with np.errstate(over="ignore"):  # so far below the largest that exp is 0
        e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return np.asarray(e / np.sum(e, axis=1, keepdims=True))


def _softmax_slope(p: Array, c: int) -> Array:
    d = -p[:, [c]] * p
    d[:, c] += p[:, c]
    return d


def _elementwise(slope: Callable[[Array], Array]) -> Callable[[Array, int], Array]:
    """Return the slope of a link that acts on each column alone, from that of one column."""

    def diagonal(p: Array, c: int) -> Array:
        d = np.zeros_like(p)
        d[:, c] = slope(p[:, c])
        return d

    return diagonal


_one = _elementwise(np.ones_like)
_itself = _elementwise(np.positive)

IDENTITY = Link("identity", np.copy, _one)
EXP = Link("exp", _exp, _itself)
# Means, followed by variances whose logarithms the network gives.
MEAN_AND_VARIANCE = Link(
    "mean_and_variance",
    _exp_of_second_half,
    lambda p, c: (_one if c < p.shape[1] // 2 else _itself)(p, c),
)
SIGMOID = Link("sigmoid", sigmoid, _elementwise(lambda p: p * (1 - p)))
SOFTMAX = Link("softmax", _softmax, _softmax_slope)

BY_NAME = {link.name: link for link in (IDENTITY, EXP, MEAN_AND_VARIANCE, SIGMOID, SOFTMAX)}
