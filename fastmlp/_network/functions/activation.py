"""Custom activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastmlp._core.keywords import with_argument_hints
from fastmlp._network.activations import Array
from fastmlp._network.functions import finite_differences
from fastmlp._network.functions.c_functions import CFunction
from fastmlp._network.functions.custom_function import PAIR, CustomFunction

CHECKED = (13, 7)  # the shape of the z with which a function is checked


@partial(with_argument_hints, synonyms=PAIR, attributes=())
@dataclass(frozen=True, repr=False, init=False)
class CustomActivation(CustomFunction):
    """An activation of your own: a Python function that bends the outputs of each layer.

    Take it if the built-in activations lack yours: ``MLP(..., activation=CustomActivation(f))``.

    When a model is made with it, the slope is compared with central differences of the value.

    Parameters
    ----------
    function : callable, or CFunction
        ``function(z) -> value, slope`` on an array (rows, width) of the model's dtype, called once
        per batch and layer, with at most 1,024 rows; z is a copy that the function may change and
        return. A model with such a function uses one thread and predicts blocks of 64 rows. A
        C function has neither limit, see :class:`CFunction`.
    name : str, optional
        Name in messages and files; by default that of the function.
    initializer : str
        Default initializer of layers with this activation, see ``fastmlp.initializers``.
    curvature : callable, optional
        ``curvature(z)``, the second derivative on an array of the model's dtype, for ``hvp`` and
        ``hessian``. It is compared with central differences of the slope.
    check : bool
        False omits the comparisons, for slopes that differ from the derivative on purpose.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    Notes
    -----
    An exception of the function passes through ``fit`` or ``predict`` unchanged. The function is
    pickled by name, as Python pickles functions. Exports to ONNX and C refuse it.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> def softsign(z):
    ...     d = 1 + np.abs(z)
    ...     return z / d, 1 / d**2
    >>> x = np.linspace(-1, 1, 200)[:, np.newaxis]
    >>> net = fastmlp.MLP([1, 16, 1], activation=fastmlp.CustomActivation(softsign), rng=0)
    >>> net.fit(x, x**2, epochs=100, optimizer=fastmlp.Adam(1e-2)).loss[-1] < 1e-3
    True
    """

    function: Callable[[Array], Any] | CFunction
    name: str
    initializer: str
    curvature_function: Callable[[Array], Any] | None
    check: bool

    __hash__ = CustomFunction.__hash__

    def __init__(
        self,
        function: Callable[[Array], Any] | CFunction,
        *,
        name: str | None = None,
        initializer: str = "glorot_uniform",
        curvature: Callable[[Array], Any] | None = None,
        check: bool = True,
    ) -> None:
        if curvature is not None and not callable(curvature):
            raise TypeError(
                f"curvature is {curvature!r} but a callable on NumPy arrays is expected"
            )
        others = {"curvature_function": curvature, "check": check}
        self._set(function, name, initializer=initializer, **others)

    def value_and_slope(self, z: Array) -> tuple[Array, Array]:
        """Return value and slope at z, of any shape, as two new arrays; z is not changed.

        Raises TypeError or ValueError if the function returns something else.
        """
        copied = np.array(z, order="C")
        if isinstance(self.function, CFunction):
            value, slope = np.full_like(copied, np.nan), np.full_like(copied, np.nan)
            self.function(z.dtype, z.size, copied, value, slope)
            return value, slope
        return self._pair(("value", "slope"), (z.shape, z.shape), self.function(copied), z.dtype)

    def value(self, z: Array) -> Array:
        """Return the value at z, a new array."""
        return self.value_and_slope(z)[0]

    def slope(self, z: Array) -> Array:
        """Return the slope at z, a new array."""
        return self.value_and_slope(z)[1]

    def curvature(self, z: Array) -> Array:
        """Return the second derivative at z, a new array; raise TypeError if it is not known."""
        if self.curvature_function is None:
            raise TypeError(
                f"{self.caller} has no second derivative, which hvp and hessian need: pass "
                "CustomActivation(function, curvature=...)"
            )
        return self._real("curvature", z.shape, self.curvature_function(z.copy()), z.dtype)

    def verify(self, dtype: np.dtype[Any], outputs: int) -> None:
        """Raise TypeError or ValueError unless the function works for networks of this dtype."""
        z = finite_differences.points(CHECKED, dtype)
        with np.errstate(all="ignore"):
            value, slope = self.value_and_slope(z)
            first = self.value(z[:1])
        if self.check:
            finite_differences.compare(self.caller, "slope", self.value, z, slope)
            if self.curvature_function is not None:
                curvature = self.curvature(z)
                finite_differences.compare(self.caller, "curvature", self.slope, z, curvature)
            finite_differences.alone(self.caller, "value", value[:1], first)

    def __repr__(self) -> str:
        return f"CustomActivation({self.name!r})"
