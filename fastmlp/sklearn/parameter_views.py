"""The lists ``coefs_`` and ``intercepts_``, which programs may replace or write into.

The arrays are views of one vector, made at the first access and compared for changes from then on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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


class ParameterViews:
    """Lists of views of one flat vector of parameters, with a copy to detect changes."""

    def __init__(self, weights: Arrays, biases: Arrays, shapes: Shapes) -> None:
        self._shapes, self._flat = shapes, pack(weights, biases)
        coefs, intercepts = unpack(self._flat, shapes)
        self._views, self._n = [*coefs, *intercepts], len(coefs)
        self.coefs, self.intercepts = coefs, intercepts
        # Compared as integers, so that NaN equals itself.
        self._bits = self._flat.view(f"i{self._flat.itemsize}")
        self._before = self._bits.copy()

    def changed(self) -> bool:
        """Whether a list holds other arrays, or an array other values, than before."""
        now = [*self.coefs, *self.intercepts]
        if len(now) != len(self._views):
            return True
        if any(a is not b for a, b in zip(now, self._views, strict=True)):
            return True
        return not np.array_equal(self._bits, self._before)

    def read(
        self, checked: Callable[[Any, Any], tuple[Arrays, Arrays]]
    ) -> tuple[Arrays, Arrays, Callable[[], None]]:
        """Return copies of the current parameters, and a function that marks them as known."""
        weights, biases = checked(self.coefs, self.intercepts)
        for view, array in zip(self._views, [*weights, *biases], strict=True):
            if array is not view:  # the user has put it into the list
                view[...] = array
        flat = self._flat.copy()

        def remember() -> None:
            self.coefs[:], self.intercepts[:] = self._views[: self._n], self._views[self._n :]
            self._before = flat.view(self._bits.dtype)

        return (*unpack(flat, self._shapes), remember)
