"""The activations: one row each, with value, slope and curvature as NumPy functions of z.

The order of the rows is that of the C table. Every function keeps the dtype of z (float32 or
float64), raises no floating-point warning for finite z, and is accurate in both tails: exp only
gets non-positive arguments. Where slope or curvature jump (relu, leaky_relu, elu, selu at 0), they
are the left ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

LEAK = 0.01
# Klambauer et al. 2017, "Self-normalizing neural networks", section 2.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
# Hendrycks and Gimpel 2016, "Gaussian error linear units", section 2.
GELU_CUBIC = 0.044715
SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
# Beyond this exp(-z**2/2) is 0 in float64, and z**3 may overflow float32.
GAUSSIAN_TAIL = 40.0
# Beyond this exp(-2 z) is 0 in float64.
TANH_TAIL = 400.0


@dataclass(frozen=True)
class Activation:
    """One row: elementwise functions of z, whose results have its shape and dtype."""

    name: str
    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]  # the derivative
    curvature: Callable[[Array], Array]  # the second derivative
    initializer: str  # the name of the initializer that suits layers with this activation
    torch: str  # the class of PyTorch that computes it
    torch_options: Mapping[str, Any] = field(default_factory=dict)  # with which it does


def decay(z: Array) -> Array:
    """Return exp(-abs(z)), in (0, 1], the common part of sigmoid, softplus and mish."""
    return np.exp(-np.abs(z))


def relu(z: Array) -> Array:
    """Return z where z > 0, else 0."""
    return np.maximum(z, 0)


def relu_slope(z: Array) -> Array:
    """Return 1 where z > 0, else 0."""
    return (z > 0).astype(z.dtype)


def leaky_relu(z: Array) -> Array:
    """Return z where z > 0, else 0.01 z."""
    return np.where(z > 0, z, LEAK * z)


def leaky_relu_slope(z: Array) -> Array:
    """Return 1 where z > 0, else 0.01."""
    return np.where(z > 0, 1, LEAK).astype(z.dtype)


def elu(z: Array) -> Array:
    """Return z where z > 0, else exp(z) - 1."""
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def elu_slope(z: Array) -> Array:
    """Return 1 where z > 0, else exp(z)."""
    return np.exp(np.minimum(z, 0))


def elu_curvature(z: Array) -> Array:
    """Return 0 where z > 0, else exp(z)."""
    return np.where(z > 0, 0, elu_slope(z)).astype(z.dtype)


def selu(z: Array) -> Array:
    """Return the scaled elu whose fixed point has mean 0 and variance 1."""
    return SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0)))


def selu_slope(z: Array) -> Array:
    """Return scale where z > 0, else scale alpha exp(z)."""
    return np.where(z > 0, SELU_SCALE, SELU_SCALE * SELU_ALPHA * elu_slope(z)).astype(z.dtype)


def selu_curvature(z: Array) -> Array:
    """Return 0 where z > 0, else scale alpha exp(z)."""
    return np.asarray(SELU_SCALE * SELU_ALPHA * elu_curvature(z))


def softplus(z: Array) -> Array:
    """Return log(1 + exp(z))."""
    return np.maximum(z, 0) + np.log1p(decay(z))


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), with full relative accuracy in the lower tail."""
    e = decay(z)
    return np.asarray(np.where(z > 0, 1, e) / (1 + e))


def sigmoid_slope(z: Array) -> Array:
    """Return s (1 - s) with s = sigmoid(z), accurate in both tails."""
    e = decay(z)
    return np.asarray(e / (1 + e) ** 2)


def sigmoid_curvature(z: Array) -> Array:
    """Return s (1 - s) (1 - 2 s) with s = sigmoid(z)."""
    return np.asarray(sigmoid_slope(z) * (sigmoid(-z) - sigmoid(z)))


def tanh_slope(z: Array) -> Array:
    """Return 1 - tanh(z)**2, accurate in both tails."""
    # The slope of tanh is 4 times that of the sigmoid at 2 z; z is clipped so that 2 z is finite.
    return 4 * sigmoid_slope(2 * np.clip(z, -TANH_TAIL, TANH_TAIL))


def tanh_curvature(z: Array) -> Array:
    """Return -2 y (1 - y**2) with y = tanh(z)."""
    return -2 * np.tanh(z) * tanh_slope(z)


def normal_cdf(z: Array) -> Array:
    """Return P(Z <= z) of a standard normal Z, by the C library's erfc in float64."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return np.asarray(0.5 * erfc(z.astype(np.float64) * -math.sqrt(0.5))).astype(z.dtype)


def gelu(z: Array) -> Array:
    """Return z P(Z <= z)."""
    return z * normal_cdf(z)


def gelu_slope(z: Array) -> Array:
    """Return P(Z <= z) + z times the normal density at z, the slope of z P(Z <= z)."""
    z = np.clip(z, -GAUSSIAN_TAIL, GAUSSIAN_TAIL)
    return normal_cdf(z) + z * np.exp(-0.5 * z * z) * math.sqrt(0.5 / math.pi)


def gelu_curvature(z: Array) -> Array:
    """Return (2 - z**2) times the normal density at z."""
    z = np.clip(z, -GAUSSIAN_TAIL, GAUSSIAN_TAIL)
    return (2 - z * z) * np.exp(-0.5 * z * z) * math.sqrt(0.5 / math.pi)


# (1 + tanh(u)) / 2 is sigmoid(2 u), which keeps its relative accuracy as u goes to -infinity.
def gelu_tanh(z: Array) -> Array:
    """Return z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z**3))) / 2."""
    c = np.clip(z, -GAUSSIAN_TAIL, GAUSSIAN_TAIL)
    return z * sigmoid(2 * SQRT_2_OVER_PI * c * (1 + GELU_CUBIC * c * c))


def gelu_tanh_slope(z: Array) -> Array:
    """Return the derivative of gelu_tanh."""
    z = np.clip(z, -GAUSSIAN_TAIL, GAUSSIAN_TAIL)
    u2 = 2 * SQRT_2_OVER_PI * z * (1 + GELU_CUBIC * z * z)
    du2 = 2 * SQRT_2_OVER_PI * (1 + 3 * GELU_CUBIC * z * z)
    return sigmoid(u2) + z * sigmoid_slope(u2) * du2


def gelu_tanh_curvature(z: Array) -> Array:
    """Return the second derivative of gelu_tanh."""
    z = np.clip(z, -GAUSSIAN_TAIL, GAUSSIAN_TAIL)
    u2 = 2 * SQRT_2_OVER_PI * z * (1 + GELU_CUBIC * z * z)
    du2 = 2 * SQRT_2_OVER_PI * (1 + 3 * GELU_CUBIC * z * z)
    ddu2 = 12 * SQRT_2_OVER_PI * GELU_CUBIC * z
    bend = z * sigmoid_curvature(u2) * du2 * du2 + z * sigmoid_slope(u2) * ddu2
    return 2 * sigmoid_slope(u2) * du2 + bend


def silu(z: Array) -> Array:
    """Return z sigmoid(z)."""
    return z * sigmoid(z)


def silu_slope(z: Array) -> Array:
    """Return s (1 + z (1 - s)) with s = sigmoid(z)."""
    return np.asarray(sigmoid(z) * (1 + z * sigmoid(-z)))


def silu_curvature(z: Array) -> Array:
    """Return s (1 - s) (2 + z (1 - 2 s)) with s = sigmoid(z)."""
    slope = sigmoid_slope(z)
    return np.asarray(2 * slope + z * slope * (sigmoid(-z) - sigmoid(z)))


# With w = exp(z), tanh(log(1 + w)) = (w**2 + 2 w) / (w**2 + 2 w + 2), which needs no logarithm;
# for z > 0 numerator and denominator are multiplied by exp(-2 z), so that nothing overflows.
def tanh_softplus(z: Array) -> Array:
    """Return tanh(softplus(z)), the gate of mish."""
    e = decay(z)
    return np.asarray(np.where(z > 0, 1 + 2 * e, e * (e + 2)) / _mish_denominator(z, e))


def _mish_denominator(z: Array, e: Array) -> Array:
    return np.asarray(np.where(z > 0, 1 + 2 * e + 2 * e * e, e * e + 2 * e + 2))


def _gate_slope(z: Array) -> Array:
    """Return the derivative of tanh_softplus."""
    e = decay(z)
    ratio = 2 * (1 + e) * np.where(z > 0, e, 1) / _mish_denominator(z, e)
    return np.asarray(ratio**2 * sigmoid(z))


def mish(z: Array) -> Array:
    """Return z tanh(softplus(z))."""
    return z * tanh_softplus(z)


def mish_slope(z: Array) -> Array:
    """Return the derivative of mish."""
    return np.asarray(tanh_softplus(z) + z * _gate_slope(z))


def mish_curvature(z: Array) -> Array:
    """Return the second derivative of mish."""
    slope, bend = _gate_slope(z), sigmoid(-z) - 2 * tanh_softplus(z) * sigmoid(z)
    return np.asarray(2 * slope + z * slope * bend)


ACTIVATIONS: dict[str, Activation] = {
    row.name: row
    for row in (
        Activation("identity", np.copy, np.ones_like, np.zeros_like, "glorot_uniform", "Identity"),
        Activation("relu", relu, relu_slope, np.zeros_like, "he_normal", "ReLU"),
        Activation(
            *("leaky_relu", leaky_relu, leaky_relu_slope, np.zeros_like, "he_normal"),
            *("LeakyReLU", {"negative_slope": LEAK}),
        ),
        Activation("elu", elu, elu_slope, elu_curvature, "he_normal", "ELU", {"alpha": 1.0}),
        Activation("selu", selu, selu_slope, selu_curvature, "lecun_normal", "SELU"),
        Activation(
            *("softplus", softplus, sigmoid, sigmoid_slope, "he_normal"),
            *("Softplus", {"beta": 1.0, "threshold": 20.0}),
        ),
        Activation(
            "sigmoid", sigmoid, sigmoid_slope, sigmoid_curvature, "glorot_uniform", "Sigmoid"
        ),
        Activation("tanh", np.tanh, tanh_slope, tanh_curvature, "glorot_uniform", "Tanh"),
        Activation(
            *("gelu", gelu, gelu_slope, gelu_curvature, "he_normal"),
            *("GELU", {"approximate": "none"}),
        ),
        Activation(
            *("gelu_tanh", gelu_tanh, gelu_tanh_slope, gelu_tanh_curvature, "he_normal"),
            *("GELU", {"approximate": "tanh"}),
        ),
        Activation("silu", silu, silu_slope, silu_curvature, "he_normal", "SiLU"),
        Activation("mish", mish, mish_slope, mish_curvature, "he_normal", "Mish"),
    )
}
# Their names, for editors and type checkers; a test compares them with the table.
ActivationName: TypeAlias = Literal[
    "identity",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "softplus",
    "sigmoid",
    "tanh",
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
]


Own = TypeVar("Own")


def row_of(activation: str | Own) -> Activation | Own:
    """Return the row of an activation's name; a custom activation is its own row."""
    return ACTIVATIONS[activation] if isinstance(activation, str) else activation


# ---- parametric activations: (1 - alpha) z + alpha f(z), with a parameter alpha for each unit ----
# Holzmueller, Grinsztajn and Steinwart 2024, "Better by default" (arXiv:2407.04491), section 3.
# With relu this is PReLU (He et al. 2015, arXiv:1502.01852), with the negative slope 1 - alpha.


def blended(name: Any, alpha: Array, z: Array) -> Array:
    """Return (1 - alpha) z + alpha f(z): at alpha = 1 exactly f(z)."""
    return np.asarray((1 - alpha) * z + alpha * row_of(name).value(z))


def blended_slope(name: Any, alpha: Array, z: Array) -> Array:
    """Return the derivative of `blended` by z."""
    return np.asarray(1 - alpha + alpha * row_of(name).slope(z))
