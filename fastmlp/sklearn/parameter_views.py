"""``coefs_`` and ``intercepts_`` of an estimator, which programs replace and write into.

They are lists, replaced whole or item by item, of arrays that are written into. So they are views
of one flat vector that is made when somebody asks for them, and looked at for changes from then on;
before that nothing is spent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp.sklearn.packing import Shapes, pack, unpack
from fastmlp.sklearn.scaling import Arrays


class ParameterViews:
    """Parameters as lists of views of one flat vector, with a memory of what was in it."""

    def __init__(self, weights: Arrays, biases: Arrays, shapes: Shapes) -> None:
        self._shapes, self._flat = shapes, pack(weights, biases)
        coefs, intercepts = unpack(self._flat, shapes)
        self._views, self._n = [*coefs, *intercepts], len(coefs)
        self.coefs, self.intercepts = coefs, intercepts
        # Compared as integers: NaN is equal to itself then.
        self._bits = self._flat.view(f"i{self._flat.itemsize}")
        self._before = self._bits.copy()

    def changed(self) -> bool:
        """Whether a list has another array in it, or an array other contents."""
        now = [*self.coefs, *self.intercepts]
        if len(now) != len(self._views):
            return True
        if any(a is not b for a, b in zip(now, self._views, strict=True)):
            return True
        return not np.array_equal(self._bits, self._before)

    def read(
        self, checked: Callable[[Any, Any], tuple[Arrays, Arrays]]
    ) -> tuple[Arrays, Arrays, Callable[[], None]]:
        """Return copies of what is in the lists, and a function that makes it the known state.

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
