"""Parameters as one vector, weights before biases, in scikit-learn's order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.sklearn.scaling import Arrays

Shapes = Sequence[Sequence[tuple[int, ...]]]


def pack(weights: Arrays, biases: Arrays) -> NDArray[Any]:
    """Return a new vector of all parameters."""
    return np.concatenate([array.ravel() for array in (*weights, *biases)])


def unpack(vector: NDArray[Any], shapes: Shapes) -> tuple[Arrays, Arrays]:
    """Return views of the vector as weights and biases, with the shapes of `Spec.tensors`."""
    found: tuple[Arrays, Arrays] = [], []
    at = 0
    for arrays, of_kind in zip(found, shapes, strict=True):
        for shape in of_kind:
            size = math.prod(shape)
            arrays.append(vector[at : at + size].reshape(shape))
            at += size
    return found
