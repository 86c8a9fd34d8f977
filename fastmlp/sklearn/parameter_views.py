"""The lists ``coefs_`` and ``intercepts_``, which programs may replace or write into.

The arrays are views of one flat vector, created on first access and compared for changes from then
on; before that they cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp.sklearn.packing import Shapes, pack, unpack
from fastmlp.sklearn.scaling import Arrays


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
        """Return copies of the current parameters, and a function that marks them as known.

        Arrays that the user has put into a list are copied into the vector.
        """
        weights, biases = checked(self.coefs, self.intercepts)
        for view, array in zip(self._views, [*weights, *biases], strict=True):
            if array is not view:
                view[...] = array
        flat = self._flat.copy()

        def remember() -> None:
            self.coefs[:], self.intercepts[:] = self._views[: self._n], self._views[self._n :]
            self._before = flat.view(self._bits.dtype)

        return (*unpack(flat, self._shapes), remember)
