"""Nodes of an ONNX graph, written as expressions: ``g.Mul(z, g.Sigmoid(z))``.

Numbers become constants of the network's dtype. This module does not need the onnx package;
onnx.py writes the nodes of a network to a model, and tabular/onnx_graph.py those of a table.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastmlp._network.activations import GELU_CUBIC, LEAK, SELU_ALPHA, SELU_SCALE, SQRT_2_OVER_PI
from fastmlp._network.layer_norm import EPSILON

Name: TypeAlias = str
Names: TypeAlias = tuple[Name, ...]


@dataclass(frozen=True)
class Node:
    """One operation: its ONNX name, input and output names, and attributes."""

    op: str
    inputs: Names
    outputs: Names
    attributes: dict[str, Any]


@dataclass
class Graph:
    """Nodes and constants, in the order of their creation."""

    dtype: np.dtype[Any]  # Python's numbers become this
    nodes: list[Node] = field(default_factory=list)
    constants: dict[Name, NDArray[Any]] = field(default_factory=dict)
    prefix: str = ""  # names of constants begin with it
    root: str = ""  # all names begin with it, and so clash with no input's

    def of(self, dtype: DTypeLike, root: str) -> Graph:
        """Return a view of this graph that adds nodes with another dtype and longer names."""
        return replace(self, dtype=np.dtype(dtype), root=self.root + root)

    def __getattr__(self, op: str) -> Callable[..., Name]:
        if not op[0].isupper():
            raise AttributeError(op)
        return functools.partial(self.one, op)

    def one(self, op: str, *inputs: Name | float | NDArray[Any], **attributes: Any) -> Name:
        """Add a node with one output, and return the output's name."""
        return self.many(op, 1, *inputs, **attributes)[0]

    def many(
        self, op: str, n: int, *inputs: Name | float | NDArray[Any], **attributes: Any
    ) -> Names:
        """Add a node with n outputs, and return their names."""
        names = tuple(name if isinstance(name, str) else self.constant(name) for name in inputs)
        first = f"{self.root}{op}_{len(self.nodes)}"
        outputs = tuple(first + f"_{k}" * (k > 0) for k in range(n))
        self.nodes.append(Node(op, names, outputs, attributes))
        return outputs

    def constant(self, value: float | NDArray[Any], name: Name = "") -> Name:
        """Add a constant, an array or a number of the graph's dtype, and return its name."""
        if isinstance(value, np.ndarray):
            name = self.prefix + name if name else f"constant_{len(self.constants)}"
        else:
            name, value = f"{float(value):.17g}", np.array(value, self.dtype)
        name = self.root + name
        self.constants[name] = value
        return name

    def rename(self, old: Name, new: Name) -> None:
        """Rename an output of a node wherever it is used."""

        def renamed(names: Names) -> Names:
            return tuple(new if name == old else name for name in names)

        self.nodes[:] = [
            replace(node, inputs=renamed(node.inputs), outputs=renamed(node.outputs))
            for node in self.nodes
        ]


def mixture(g: Graph, heads: Names) -> Names:
    """Return the mean over members, the first axis; variances become those of the mixture."""
    mean = functools.partial(g.ReduceMean, axes=[0], keepdims=0)
    means, *variances = heads
    middle = mean(means)
    if not variances:
        return (middle,)
    away = g.Sub(means, middle)
    return middle, mean(g.Add(variances[0], g.Mul(away, away)))


Emit: TypeAlias = Callable[[Graph, Name], Name]


def _decay(g: Graph, z: Name) -> Name:
    return g.Exp(g.Neg(g.Abs(z)))


def _negative_part(g: Graph, z: Name) -> Name:
    """Return exp(min(z, 0)) - 1."""
    return g.Sub(g.Exp(g.Min(z, 0.0)), 1.0)


def _softplus(g: Graph, z: Name) -> Name:
    return g.Add(g.Max(z, 0.0), g.Log(g.Add(_decay(g, z), 1.0)))


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
    return g.Mul(z, g.Where(g.Greater(z, 0.0), g.Sub(1.0, tail), tail))


# The nodes of each activation.
ACTIVATIONS: dict[str, Emit] = {
    "identity": lambda g, z: z,
    "relu": lambda g, z: g.Relu(z),
    "leaky_relu": lambda g, z: g.LeakyRelu(z, alpha=LEAK),
    "elu": lambda g, z: g.Elu(z),
    "selu": lambda g, z: g.Selu(z),
    "softplus": lambda g, z: g.Softplus(z),
    "sigmoid": lambda g, z: g.Sigmoid(z),
    "tanh": lambda g, z: g.Tanh(z),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda g, z: g.Mul(z, g.Sigmoid(z)),
    "mish": lambda g, z: g.Mul(z, g.Tanh(g.Softplus(z))),
}
# Replacements for float64: attributes of nodes are float32, and ONNX Runtime, the usual yardstick
# of other runtimes, lacks float64 kernels for some operators.
WIDE_ACTIVATIONS: dict[str, Emit] = ACTIVATIONS | {
    "leaky_relu": lambda g, z: g.Max(z, g.Mul(z, LEAK)),
    "elu": lambda g, z: g.Where(g.Greater(z, 0.0), z, _negative_part(g, z)),
    "selu": lambda g, z: g.Mul(
        g.Where(g.Greater(z, 0.0), z, g.Mul(_negative_part(g, z), SELU_ALPHA)), SELU_SCALE
    ),
    "softplus": _softplus,
    "gelu": _wide_gelu,
    "mish": lambda g, z: g.Mul(z, g.Tanh(_softplus(g, z))),
}


def activations(dtype: np.dtype[Any]) -> dict[str, Emit]:
    """Return the table of activations for a dtype."""
    return ACTIVATIONS if dtype == np.float32 else WIDE_ACTIVATIONS


def layer_norm(g: Graph, z: Name, gains: Name, shifts: Name) -> Name:
    """Return normalised rows; the operator LayerNormalization of runtimes may lose precision."""
    centered = g.Sub(z, g.ReduceMean(z, axes=[-1]))
    variance = g.ReduceMean(g.Mul(centered, centered), axes=[-1])
    normal = g.Div(centered, g.Sqrt(g.Add(variance, EPSILON)))
    return g.Add(g.Mul(normal, gains), shifts)


def parametric(g: Graph, z: Name, name: str, alphas: Name) -> Name:
    """Return (1 - alphas) z + alphas f(z)."""
    active = g.Mul(activations(g.dtype)[name](g, z), alphas)
    return g.Add(g.Mul(z, g.Sub(1.0, alphas)), active)


def product(g: Graph, x: Name, weights: Name, z: Name) -> Name:
    """Return x @ weights + z; Gemm does not multiply a stack of networks."""
    if g.constants[weights].ndim == 2:
        return g.Gemm(x, weights, z)
    return g.Add(g.MatMul(x, weights), z)


def _sigmoid(g: Graph, z: Name) -> Name:
    """Return the sigmoid with an accurate lower tail, which the operator Sigmoid does not have."""
    e = _decay(g, z)
    return g.Div(g.Where(g.Greater(z, 0.0), 1.0, e), g.Add(e, 1.0))


def pair(g: Graph, p: Name) -> Name:
    """Return both probabilities from that of the second class, (rows, 1)."""
    return g.Concat(g.Sub(1.0, p), p, axis=1)


def _mean_and_variance(g: Graph, z: Name, heads: int) -> Names:
    mean, logarithm = g.many("Split", heads, z, axis=-1)
    return mean, g.Exp(logarithm)


def _ascending(g: Graph, z: Name, heads: int) -> Names:
    first, *rises = g.many("Split", heads, z, axis=-1)
    quantiles = [first]
    for rise in rises:
        quantiles.append(g.Add(quantiles[-1], activations(g.dtype)["softplus"](g, rise)))
    return (g.Concat(*quantiles, axis=-1),)


# For each link: its nodes, over the last axis, and the names of the outputs.
LINKS: dict[str, tuple[Callable[[Graph, Name, int], Names], Names]] = {
    "identity": (lambda g, z, heads: (z,), ("predictions",)),
    "exp": (lambda g, z, heads: (g.Exp(z),), ("predictions",)),
    "mean_and_variance": (_mean_and_variance, ("means", "variances")),
    "sigmoid": (lambda g, z, heads: (_sigmoid(g, z),), ("probabilities",)),
    "softmax": (lambda g, z, heads: (g.Softmax(z, axis=-1),), ("probabilities",)),
    "ascending": (_ascending, ("quantiles",)),
}
