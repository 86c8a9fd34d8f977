"""The kinds of parameters that a network may have: one row of `TENSORS` each.

Shapes, factors in a fit, first values, names in files and properties of models follow from the
row. A new kind of parameter is a row here and an operator that uses it: see docs/adding.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastmlp._network.activations import Array

Shape: TypeAlias = tuple[int, ...]
Tensors: TypeAlias = Mapping[str, Sequence[Shape]]  # the shapes of each kind: see Spec.tensors

# The affine layers that can have a tensor of a kind, one each.
EVERY, HIDDEN = slice(None), slice(0, -1)
FIRST, LAST = slice(0, 1), slice(-1, None)


class TensorKind(NamedTuple):
    """One kind of parameter; its key in `TENSORS` is also the name of a model's property."""

    label: str  # its name in files and state_dict: layers.0.weight
    operator: str  # the kind of operator that uses it, a key of operators.OPERATORS
    layers: slice  # EVERY, HIDDEN, FIRST or LAST
    shape: Shape  # places of its sizes in (network inputs, fan_in, fan_out)
    option: str  # attribute of Spec that selects the layers with such a tensor; "": all layers
    gradient: str  # how the native engine computes its gradient: GRADIENTS in parameters.pxi
    group: str  # prefix of its factors, ..._rate and ..._decay, in Groups; weights always decay
    first: float  # value before training; initializers then draw the weights
    meaning: str  # docstring of the property

    def shapes(self, fans: list[tuple[int, int]], option: Any) -> list[Shape]:
        """Return the shapes of this kind by layer; ``fans`` are all (fan_in, fan_out)."""
        inputs = fans[0][0]
        shapes = [tuple([(inputs, *fan)[at] for at in self.shape]) for fan in fans[self.layers]]
        if not isinstance(option, tuple):
            return shapes
        return [shape if has else (0,) for shape, has in zip(shapes, option, strict=True)]


IN_OUT, IN, OUT, ACROSS = (1, 2), (1,), (2,), (0, 2)
# All lists by kind have this order. An operator multiplies by its first tensor and adds the second,
# if there is one.
TENSORS = {
    "weights": TensorKind(
        *("weight", "affine", EVERY, IN_OUT, "", "tiles", "weight", 0.0),
        "Weights, a list of (fan_in, fan_out) arrays; see :class:`ParameterList`.",
    ),
    "biases": TensorKind(
        *("bias", "affine", EVERY, OUT, "", "sums", "bias", 0.0),
        "Biases, a list of (fan_out,) arrays; see :class:`ParameterList`.",
    ),
    "gains": TensorKind(
        *("gain", "layer_norm", HIDDEN, OUT, "layer_norm", "normal_products", "norm", 1.0),
        "Gains of layer normalisation, one array (width,) a hidden layer.\n\nThose of a layer "
        "that is not normalised are empty; without ``layer_norm`` there are none.\nSee "
        ":class:`ParameterList`.",
    ),
    "shifts": TensorKind(
        *("shift", "layer_norm", HIDDEN, OUT, "layer_norm", "sums", "norm", 0.0),
        "Shifts of layer normalisation, as :attr:`gains`.",
    ),
    "scales": TensorKind(
        *("scale", "scale", FIRST, IN, "scale", "products", "scale", 1.0),
        "Factors of the inputs, one array (fan_in,); without ``scale`` there are none.",
    ),
    "alphas": TensorKind(
        *("alpha", "parametric", HIDDEN, OUT, "parametric", "products", "activation", 1.0),
        "Parameters of parametric activations, one array (width,) a hidden layer.\n\nThose of a "
        "layer that has none are empty; without ``parametric`` there are no arrays.",
    ),
    "linear_weights": TensorKind(
        *("linear_weight", "linear", LAST, ACROSS, "linear_path", "tiles", "weight", 0.0),
        "Weights of the linear path, one array (inputs, outputs); none without ``linear_path``.",
    ),
}


class Tensor(NamedTuple):
    """One tensor of a network."""

    kind: str
    number: int  # index among the tensors of its kind
    layer: int
    shape: Shape


def each_tensor(tensors: Tensors) -> list[Tensor]:
    """Return every tensor of a network, kind by kind."""
    layers = range(len(tensors["weights"]))
    return [
        Tensor(kind, number, layers[TENSORS[kind].layers][number], shape)
        for kind, shapes in tensors.items()
        for number, shape in enumerate(shapes)
    ]


def pack(*kinds: Sequence[Array]) -> Array:
    """Return a new vector of all parameters, kind by kind."""
    return np.concatenate([array.ravel() for arrays in kinds for array in arrays])


def unpack(vector: Array, tensors: Tensors) -> list[list[Array]]:
    """Return views of a vector of all parameters with the shapes of the tensors, kind by kind."""
    kinds, at = [], 0
    for shapes in tensors.values():
        arrays = []
        for shape in shapes:
            size = math.prod(shape)
            arrays.append(vector[at : at + size].reshape(shape))
            at += size
        kinds.append(arrays)
    return kinds


def name_of(kind: str, number: int) -> str:
    """Return the name of a tensor in files, ``state_dict`` and exports: layers.0.weight."""
    return f"layers.{number}.{TENSORS[kind].label}"
