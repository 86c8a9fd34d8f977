"""Activations of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp._network.activations import Array
from fastmlp._network.functions import finite_differences, results
from fastmlp._network.functions.c_functions import CFunction
from fastmlp._network.functions.custom_function import CustomFunction

CHECKED = (13, 7)  # the shape of the z that a function is looked at with


@dataclass(frozen=True, repr=False, init=False)
class CustomActivation(CustomFunction):
    """An activation of your own, elementwise: ``MLP(..., activation=CustomActivation(f))``.

    Where a model is made with it, value and slope are compared by central differences.

    Parameters
    ----------
    function : callable, or CFunction
        ``function(z) -> value, slope`` on an array (rows, width) of the model's dtype, once a batch
        and layer, of at most 1,024 rows; z is a copy, which it may write to and return. With such a
        function a model uses one thread, and predictions take blocks of 64 rows. Or C, see
        :class:`CFunction`.
    name : str, optional
        For messages and files; by default that of the function.
    initializer : str
        How the weights of such a layer are drawn by default, see ``fastmlp.initializers``.
    check : bool
        False leaves the comparison out, for slopes that are meant to be others.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    What the function raises is raised by ``fit`` or ``predict`` unchanged. It is pickled as Python
    pickles functions, by name. Exports to ONNX and C refuse it.

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
    check: bool

    __hash__ = CustomFunction.__hash__

    def __init__(
        self,
        function: Callable[[Array], Any] | CFunction,
        *,
        name: str | None = None,
        initializer: str = "glorot_uniform",
        check: bool = True,
    ) -> None:
        self._set(function, name, initializer=initializer, check=check)

    def value_and_slope(self, z: Array) -> tuple[Array, Array]:
        """Return value and slope, as they were found to be; z is not changed.

        Parameters
        ----------
        z : array of float32 or float64
            Any shape; a C function needs no other.

        Raises
        ------
        TypeError, ValueError
            If the function returns something else.
        """
        own = np.array(z, order="C")
        names, shapes = ("value", "slope"), (z.shape, z.shape)
        if isinstance(self.function, CFunction):
            value, slope = (np.full_like(own, np.nan) for _ in names)
            self.function(z.dtype, z.size, own, value, slope)
            return value, slope
        return results.pair(self.who, names, shapes, self.function(own), z)

    def value(self, z: Array) -> Array:
        """Return the value at z, a new array.

        Parameters
        ----------
        z : array of float32 or float64
            As above.
        """
        return self.value_and_slope(z)[0]

    def slope(self, z: Array) -> Array:
        """Return the slope at z, a new array.

        Parameters
        ----------
        z : array of float32 or float64
            As above.
        """
        return self.value_and_slope(z)[1]

    def verify(self, dtype: np.dtype[Any]) -> None:
        """Look at the function: at what it returns, and by central differences.

        Parameters
        ----------
        dtype : numpy.dtype
            Of the model.

        Raises
        ------
        TypeError, ValueError
            If it is no value and slope of each element, or has none for this dtype.
        """
        z = finite_differences.points(CHECKED, dtype)
        with np.errstate(all="ignore"):
            value, slope = self.value_and_slope(z)
            first = self.value(z[:1])
        if not self.check:
            return
        finite_differences.compare(self.who, "slope", self.value, z, slope)
        finite_differences.alone(self.who, "value", value[:1], first)

    def __repr__(self) -> str:
        return f"CustomActivation({self.name!r})"
