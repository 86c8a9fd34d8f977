"""Activations and their slopes by the published formulas, of one number, in any precision.

`ULPS` says how far the compiled ones may be from them.

The first argument of each has the functions to compute with: `FLOAT` or `DIGITS`.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mpmath

_NAMES = ("exp", "expm1", "log1p", "log", "erfc", "sqrt")
FLOAT = SimpleNamespace(**{name: getattr(math, name) for name in _NAMES}, number=float, pi=math.pi)
DIGITS = SimpleNamespace(  # mpmath computes as many digits as it is told
    **{name: getattr(mpmath, name) for name in _NAMES}, number=mpmath.mpf, pi=mpmath.pi
)

LEAK = 0.01
SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
GELU_CUBIC = 0.044715


def sigmoid(m: Any, z: Any) -> Any:
    """Return 1 / (1 + exp(-z)), without overflow."""
    return 1 / (1 + m.exp(-z)) if z >= 0 else m.exp(z) / (1 + m.exp(z))


def softplus(m: Any, z: Any) -> Any:
    """Return log(1 + exp(z)), without overflow."""
    return max(z, 0) + m.log1p(m.exp(-abs(z)))


def gate(z: Any, s: Any, ds: Any) -> tuple[Any, Any]:
    """Return z s and its derivative, of a gate s with derivative ds."""
    return z * s, s + z * ds


def elu(m: Any, z: Any) -> tuple[Any, Any]:
    """Return value and slope."""
    return (z, m.number(1)) if z > 0 else (m.expm1(z), m.exp(z))


def tanh(m: Any, z: Any) -> tuple[Any, Any]:
    """Return value and slope."""
    e = m.expm1(-2 * abs(z))
    value = -e / (e + 2)
    return value if z >= 0 else -value, 4 * sigmoid(m, 2 * z) * sigmoid(m, -2 * z)


def gelu(m: Any, z: Any) -> tuple[Any, Any]:
    """Return value and slope."""
    density = m.exp(-z * z / 2) / m.sqrt(2 * m.pi)
    return gate(z, m.erfc(-z / m.sqrt(2)) / 2, density)


def gelu_tanh(m: Any, z: Any) -> tuple[Any, Any]:
    """Return value and slope."""
    root, cubic = m.sqrt(8 / m.pi), m.number(GELU_CUBIC)
    u = root * (z + cubic * z**3)
    s, rest = sigmoid(m, u), sigmoid(m, -u)
    return gate(z, s, s * rest * root * (1 + 3 * cubic * z * z))


def mish(m: Any, z: Any) -> tuple[Any, Any]:
    """Return value and slope."""
    t, sech_squared = tanh(m, softplus(m, z))
    return gate(z, t, sech_squared * sigmoid(m, z))


ACTIVATIONS: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "identity": lambda m, z: (z, m.number(1)),
    "relu": lambda m, z: (max(z, m.number(0)), m.number(z > 0)),
    "leaky_relu": lambda m, z: (z, m.number(1)) if z > 0 else (LEAK * z, m.number(LEAK)),
    "elu": elu,
    "selu": lambda m, z: tuple(
        SELU_SCALE * (1 if z > 0 else m.number(SELU_ALPHA)) * part for part in elu(m, z)
    ),
    "softplus": lambda m, z: (softplus(m, z), sigmoid(m, z)),
    "sigmoid": lambda m, z: (sigmoid(m, z), sigmoid(m, z) * sigmoid(m, -z)),
    "tanh": tanh,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda m, z: gate(z, sigmoid(m, z), sigmoid(m, z) * sigmoid(m, -z)),
    "mish": mish,
}
# Largest error of one function in units in the last place, as measured on every 1031st float32 and
# rounded up. Those below exp, elu and log are quotients and products of these and of log1p.
# `gelu_tanh` has in addition the rounding of its argument, see test_functions.py.
ULPS = {
    "exp": 1.1,
    "log": 1.5,
    "identity": 0.0,
    "relu": 0.0,
    "leaky_relu": 1.0,
    "sigmoid": 2.2,
    "tanh": 2.6,
    "softplus": 2.5,
    "elu": 1.2,
    "selu": 3.0,
    "silu": 3.2,
    "mish": 4.4,
    "gelu": 12.0,
    "gelu_tanh": 8.0,
}


def value(name: str, z: Any) -> Any:
    """Return an activation of one number in mpmath's digits."""
    return ACTIVATIONS[name](DIGITS, mpmath.mpf(z))[0]
