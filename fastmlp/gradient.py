"""What becomes of a gradient before the step, in NumPy: summed over processes, clipped."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastmlp.activations import Array
from fastmlp.share import Share


def flat(parameters: Sequence[Sequence[Array]]) -> list[Array]:
    """Return all tensors as one list, kind by kind."""
    return [p for kind in parameters for p in kind]


def clip(gradients: list[Array], norm: float, factors: Sequence[float]) -> list[Array]:
    """Return the gradients, scaled down together if their global 2-norm exceeds `norm`.

    The squares of each gradient count by its factor.
    """
    squares = [float(np.sum(np.square(g, dtype=np.float64))) for g in gradients]
    found = math.sqrt(sum(factor * s for factor, s in zip(factors, squares, strict=True)))
    scale = norm / found if found > norm else 1.0
    return [scale * g for g in gradients]


def add_up(share: Share, gradients: list[Array], failed: bool) -> None:
    """Make of the gradients of this process those of all, in place."""
    summed = np.concatenate([*map(np.ravel, gradients), np.zeros(Share.NOTES, gradients[0].dtype)])
    share.add_up(summed, failed)
    at = 0
    for g in gradients:
        g[...] = summed[at : at + g.size].reshape(g.shape)
        at += g.size
