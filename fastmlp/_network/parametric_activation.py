"""Parametric activations in NumPy: the formula and its gradient, which the native operator follows.

Source: Holzmueller, Grinsztajn and Steinwart 2024, "Better by default" (arXiv:2407.04491), section
3. Each unit of a hidden layer has a parameter alpha, the share of the activation: at 1 the unit is
the activation, at 0 it is linear. With relu this is PReLU (He, Zhang, Ren and Sun 2015,
arXiv:1502.01852) with the slope 1 - alpha on the negative side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastmlp._network.activations import Array, row_of

if TYPE_CHECKING:
    from fastmlp._network.functions.activation import CustomActivation


def blended(name: str | CustomActivation, alpha: Array, z: Array) -> Array:
    """Return (1 - alpha) z + alpha f(z): at alpha = 1 exactly f(z).

    Examples
    --------
    >>> blended("relu", np.array([1.0, 0.75]), np.array([[-2.0, -2.0], [2.0, 2.0]]))
    array([[ 0. , -0.5],
           [ 2. ,  2. ]])
    """
    return np.asarray((1 - alpha) * z + alpha * row_of(name).value(z))


def blended_gradient(
    name: str | CustomActivation, alpha: Array, z: Array, dy: Array
) -> tuple[Array, Array]:
    """Return (dz, dalpha), the gradient of a sum over rows whose gradient at y is dy.

    dz = dy (1 - alpha + alpha f'(z)), and dalpha = sum(dy (f(z) - z)) over the rows.
    """
    f = row_of(name)
    dalpha = np.sum(dy * (f.value(z) - z), axis=0, dtype=np.float64).astype(z.dtype)
    return dy * (1 - alpha + alpha * f.slope(z)), dalpha
