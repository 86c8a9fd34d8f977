"""The activations as exported files have them: in C, and as nodes of ONNX.

One row each, in the order of `fastmlp._network.activations`, which has them in NumPy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._export.graph import Graph, Name
from fastmlp._network.activations import GELU_CUBIC, LEAK, SELU_ALPHA, SELU_SCALE, SQRT_2_OVER_PI

Emit: TypeAlias = Callable[[Graph, Name], Name]


class Formula(NamedTuple):
    """A function of z in C, and its derivatives, which may use z, the value f and the slope.

    Comparisons are written as z < 0, so that NaN propagates. Where slope or curvature jump, they
    are the left ones. Functions that C lacks are in data/c_templates.txt.
    """

    value: str
    slope: str
    curvature: str  # the second derivative
    locals: str = ""  # declarations that both derivatives need


class Translation(NamedTuple):
    """An activation in other languages."""

    c: Formula
    onnx: Emit
    # In float64, if the nodes have attributes, which are float32, or an operator of which ONNX
    # Runtime, the usual yardstick of other runtimes, lacks a float64 kernel.
    wide_onnx: Emit | None = None

    def nodes(self, g: Graph, z: Name) -> Name:
        """Add the nodes for the dtype of a graph, and return the name of the output."""
        wide = self.wide_onnx or self.onnx
        return (self.onnx if g.dtype == np.float32 else wide)(g, z)


# ---- nodes of ONNX -------------------------------------------------------------------------------


def decay(g: Graph, z: Name) -> Name:
    """Return exp(-abs(z))."""
    return g.Exp(g.Neg(g.Abs(z)))


def _negative_part(g: Graph, z: Name) -> Name:
    """Return exp(min(z, 0)) - 1."""
    return g.Sub(g.Exp(g.Min(z, 0.0)), 1.0)


def _softplus(g: Graph, z: Name) -> Name:
    return g.Add(g.Max(z, 0.0), g.Log(g.Add(decay(g, z), 1.0)))


# The pattern that PyTorch also exports; runtimes recognise it and fuse it into one kernel.
def _gelu_tanh(g: Graph, z: Name) -> Name:
    cubic = g.Mul(g.Mul(z, g.Mul(z, z)), GELU_CUBIC)
    u = g.Mul(g.Add(z, cubic), SQRT_2_OVER_PI)
    return g.Mul(g.Mul(z, g.Add(g.Tanh(u), 1.0)), 0.5)


def _gelu(g: Graph, z: Name) -> Name:
    erf = g.Erf(g.Div(z, math.sqrt(2.0)))
    return g.Mul(g.Mul(z, g.Add(erf, 1.0)), 0.5)


# Beyond this the normal tail probability is negligible in float64.
TAIL = 9.0
# Degree of the polynomial, and the point that maps to the middle of its interval; the error is
# 1e-15 everywhere.
DEGREE, MIDDLE = 24, 2.0


@functools.cache
def tail_coefficients() -> tuple[float, ...]:
    """Return the powers' coefficients in u = (a - MIDDLE) / (a + MIDDLE), see `_wide_gelu`."""

    def scaled_tail(u: NDArray[Any]) -> NDArray[Any]:
        a = MIDDLE * (1 + u) / (1 - u)
        values = [0.5 * math.exp(0.5 * point**2) * math.erfc(point * math.sqrt(0.5)) for point in a]
        return np.array(values)

    ends = [-1.0, (TAIL - MIDDLE) / (TAIL + MIDDLE)]
    fit = np.polynomial.Chebyshev.interpolate(scaled_tail, DEGREE, domain=ends)
    series = fit.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1])
    return tuple(map(float, series.coef))


def _wide_gelu(g: Graph, z: Name) -> Name:
    """Return z P(Z <= z) in float64; runtimes have no float64 Erf."""
    # By exp(a**2 / 2) P(Z > a), for a up to TAIL.
    a = g.Min(g.Abs(z), TAIL)
    u = g.Div(g.Sub(a, MIDDLE), g.Add(a, MIDDLE))
    *rest, highest = tail_coefficients()
    sum_ = g.Add(g.Mul(u, highest), rest.pop())
    for coefficient in reversed(rest):
        sum_ = g.Add(g.Mul(u, sum_), coefficient)
    tail = g.Mul(g.Exp(g.Mul(g.Mul(a, a), -0.5)), sum_)
    least = g.Where(g.Less(z, -TAIL), -TAIL, z)  # the tail is that of TAIL from there on
    return g.Mul(least, g.Where(g.Greater(z, 0.0), g.Sub(1.0, tail), tail))


# ---- C -------------------------------------------------------------------------------------------

DENSITY = f"{math.sqrt(0.5 / math.pi)!r} * exp(-0.5 * z * z)"
GELU_LOCALS = f"""\
const real c = z < -40.0 ? -40.0 : z > 40.0 ? 40.0 : z, c2 = {GELU_CUBIC!r} * c * c;
        const real u = {2 * SQRT_2_OVER_PI!r} * c * (1.0 + c2);
        const real u1 = {2 * SQRT_2_OVER_PI!r} * (1.0 + 3.0 * c2);
        const real s = sigmoid(u), s1 = s * sigmoid(-u);
"""
MISH_LOCALS = "const real g = tanh_of_softplus(z), s = sigmoid(z), g1 = (1.0 - g * g) * s;\n"

ACTIVATIONS = {
    "identity": Translation(Formula("z", "1.0", "0.0"), lambda g, z: z),
    "relu": Translation(
        Formula("z < 0.0 ? 0.0 : z", "z > 0.0 ? 1.0 : 0.0", "0.0"), lambda g, z: g.Relu(z)
    ),
    "leaky_relu": Translation(
        Formula(f"pick(z, {LEAK!r} * z, z)", f"z > 0.0 ? 1.0 : {LEAK!r}", "0.0"),
        lambda g, z: g.LeakyRelu(z, alpha=LEAK),
        wide_onnx=lambda g, z: g.Max(z, g.Mul(z, LEAK)),
    ),
    "elu": Translation(
        Formula("pick(z, expm1_minus(z), z)", "z > 0.0 ? 1.0 : f + 1.0", "z > 0.0 ? 0.0 : slope"),
        lambda g, z: g.Elu(z),
        wide_onnx=lambda g, z: g.Where(g.Greater(z, 0.0), z, _negative_part(g, z)),
    ),
    "selu": Translation(
        Formula(
            f"{SELU_SCALE!r} * pick(z, {SELU_ALPHA!r} * expm1_minus(z), z)",
            f"z > 0.0 ? {SELU_SCALE!r} : f + {SELU_SCALE * SELU_ALPHA!r}",
            "z > 0.0 ? 0.0 : slope",
        ),
        lambda g, z: g.Selu(z),
        wide_onnx=lambda g, z: g.Mul(
            g.Where(g.Greater(z, 0.0), z, g.Mul(_negative_part(g, z), SELU_ALPHA)), SELU_SCALE
        ),
    ),
    "softplus": Translation(
        Formula("softplus(z)", "sigmoid(z)", "slope * sigmoid(-z)"),
        lambda g, z: g.Softplus(z),
        wide_onnx=_softplus,
    ),
    "sigmoid": Translation(
        Formula("sigmoid(z)", "f * sigmoid(-z)", "slope * (1.0 - 2.0 * f)"),
        lambda g, z: g.Sigmoid(z),
    ),
    "tanh": Translation(
        Formula("tanh_of(z)", "1.0 - f * f", "-2.0 * f * slope"), lambda g, z: g.Tanh(z)
    ),
    "gelu": Translation(
        Formula(
            "z * normal(z)",
            f"normal(z) + z * {DENSITY}",
            f"fabs(z) < 40.0 ? (2.0 - z * z) * {DENSITY} : 0.0",
        ),
        _gelu,
        wide_onnx=_wide_gelu,
    ),
    "gelu_tanh": Translation(
        Formula(
            f"z * sigmoid({2 * SQRT_2_OVER_PI!r} * z * (1.0 + {GELU_CUBIC!r} * z * z))",
            "s + c * s1 * u1",
            "2.0 * s1 * u1 + c * s1 * ((1.0 - 2.0 * s) * u1 * u1"
            f" + {12 * SQRT_2_OVER_PI * GELU_CUBIC!r} * c)",
            GELU_LOCALS,
        ),
        _gelu_tanh,
    ),
    "silu": Translation(
        Formula(
            "z * sigmoid(z)",
            "s + z * s1",
            "s1 * (2.0 + z * (1.0 - 2.0 * s))",
            "const real s = sigmoid(z), s1 = s * sigmoid(-z);\n",
        ),
        lambda g, z: g.Mul(z, g.Sigmoid(z)),
    ),
    "mish": Translation(
        Formula(
            "z * tanh_of_softplus(z)",
            "g + z * g1",
            "2.0 * g1 + z * g1 * (1.0 - s - 2.0 * g * s)",
            MISH_LOCALS,
        ),
        lambda g, z: g.Mul(z, g.Tanh(g.Softplus(z))),
        wide_onnx=lambda g, z: g.Mul(z, g.Tanh(_softplus(g, z))),
    ),
}
