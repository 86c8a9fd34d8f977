"""Parts of an ONNX graph: normalisation, products, links, and the mean over members.

This module does not need the onnx package; onnx.py writes the nodes of a network to a model, and
tabular/export/onnx_graph.py those of a table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from fastmlp._export.activations import ACTIVATIONS, decay
from fastmlp._export.graph import Graph, Name, Names
from fastmlp._network.layer_norm import EPSILON


def mixture(g: Graph, heads: Names) -> Names:
    """Return the mean over members, the first axis; variances become those of the mixture."""
    mean = functools.partial(g.ReduceMean, axes=[0], keepdims=0)
    means, *variances = heads
    middle = mean(means)
    if not variances:
        return (middle,)
    away = g.Sub(means, middle)
    return middle, mean(g.Add(variances[0], g.Mul(away, away)))


def layer_norm(g: Graph, z: Name, gains: Name, shifts: Name) -> Name:
    """Return normalised rows; the operator LayerNormalization of runtimes may lose precision."""
    centered = g.Sub(z, g.ReduceMean(z, axes=[-1]))
    variance = g.ReduceMean(g.Mul(centered, centered), axes=[-1])
    normal = g.Div(centered, g.Sqrt(g.Add(variance, EPSILON)))
    return g.Add(g.Mul(normal, gains), shifts)


def parametric(g: Graph, z: Name, name: str, alphas: Name) -> Name:
    """Return (1 - alphas) z + alphas f(z)."""
    active = g.Mul(ACTIVATIONS[name].nodes(g, z), alphas)
    return g.Add(g.Mul(z, g.Sub(1.0, alphas)), active)


def product(g: Graph, x: Name, weights: Name, z: Name) -> Name:
    """Return x @ weights + z; Gemm does not multiply a stack of networks."""
    if g.constants[weights].ndim == 2:
        return g.Gemm(x, weights, z)
    return g.Add(g.MatMul(x, weights), z)


def _sigmoid(g: Graph, z: Name) -> Name:
    """Return the sigmoid with an accurate lower tail, which the operator Sigmoid does not have."""
    e = decay(g, z)
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
        quantiles.append(g.Add(quantiles[-1], ACTIVATIONS["softplus"].nodes(g, rise)))
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
