"""Changes to a gradient before the step, in NumPy: penalties, sums over processes, clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastmlp._network.activations import Array
from fastmlp._network.data import Shard
from fastmlp._network.groups import Factors


def flat(parameters: Sequence[Sequence[Array]]) -> list[Array]:
    """Return all tensors as one list, kind by kind."""
    return [p for kind in parameters for p in kind]


def penalized(
    value: float,
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    factors: Sequence[Factors],
    l1: float,
    l2: float,
) -> float:
    """Return the objective plus penalties, and add the gradients of these in place.

    The penalties are l1 sum(factor abs(p)) + 0.5 l2 sum(factor p**2), with the factors of each
    tensor; the derivative of abs(p) at 0 is taken as 0, one of its subgradients.
    """
    for p, g, factor in zip(parameters, gradients, factors, strict=True):
        if l2 * factor.l2:  # 0 times an infinite weight would be NaN
            value += 0.5 * l2 * factor.l2 * float(np.sum(np.square(p, dtype=np.float64)))
            g += l2 * factor.l2 * p
        if l1 * factor.l1:
            value += l1 * factor.l1 * float(np.sum(np.abs(p), dtype=np.float64))
            g += l1 * factor.l1 * np.sign(p)
    return value


def clip(gradients: list[Array], norm: float, factors: Sequence[float]) -> list[Array]:
    """Return the gradients, scaled down together if their global 2-norm exceeds `norm`.

    In the norm, the squares of each gradient count ``factor`` times.
    """
    squares = [float(np.sum(np.square(g, dtype=np.float64))) for g in gradients]
    length = math.sqrt(sum(factor * s for factor, s in zip(factors, squares, strict=True)))
    scale = norm / length if length > norm else 1.0
    return [scale * g for g in gradients]


def add_up(share: Shard, gradients: list[Array], failed: bool) -> None:
    """Replace the gradients of this process, in place, by the sums over all processes."""
    summed = np.concatenate([*map(np.ravel, gradients), np.zeros(Shard.NOTES, gradients[0].dtype)])
    share.add_up(summed, failed)
    at = 0
    for g in gradients:
        g[...] = summed[at : at + g.size].reshape(g.shape)
        at += g.size
