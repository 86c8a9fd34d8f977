"""A trained network as a list of layers, the common input of all exporters.

Exporters are tables over these kinds of layers; a new kind is one class here and a row in each
table.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._network.operators import OPERATORS, operators
from fastmlp._network.spec import Spec
from fastmlp._network.tensors import each_tensor

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Affine:
    """Computes x @ weights + biases; weights (fan_in, fan_out), biases (fan_out,)."""

    weights: Array
    biases: Array


@dataclass(frozen=True, eq=False)
class Normalization:
    """Layer normalisation with gains and shifts of shape (width,), see `_network.layer_norm`."""

    gains: Array
    shifts: Array


@dataclass(frozen=True)
class Keep:
    """Stores the current values under a name: "inputs" of the network, or those of a "block"."""

    name: str


@dataclass(frozen=True)
class Add:
    """Adds the values stored under a name to the current ones."""

    name: str


@dataclass(frozen=True, eq=False)
class Linear:
    """Adds the stored inputs times weights, of shape (inputs, width)."""

    weights: Array


@dataclass(frozen=True)
class Activation:
    """An elementwise activation, a row of `fastmlp._network.activations.ACTIVATIONS`."""

    name: str


@dataclass(frozen=True, eq=False)
class Parametric:
    """Computes (1 - alphas) x + alphas f(x), with alphas of shape (width,) and an activation f."""

    alphas: Array
    name: str


@dataclass(frozen=True)
class Link:
    """The link function over the last layer's outputs, a row of `fastmlp._network.links.LINKS`."""

    name: str


Layer: TypeAlias = Affine | Normalization | Keep | Add | Linear | Activation | Parametric | Link


# Layer class for each row of `fastmlp._network.operators.OPERATORS`.
KINDS: dict[str, Any] = {
    "affine": Affine,
    "layer_norm": Normalization,
    "parametric": Parametric,
    "skip": lambda: Add("block"),
    "linear": Linear,
}

# Exported dtype of labels by NumPy dtype kind.
LABEL_TYPES = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
SURROGATES = re.compile("[\ud800-\udfff]")  # not encodable as UTF-8


@dataclass(frozen=True, eq=False)
class Labels:
    """The rule that turns probabilities into labels, with the classes, shape (n_classes,).

    ``kind`` is "largest" (class of the largest probability), "pair" (two classes, one probability,
    that of the second) or "each" (one label, 0 or 1, per column).
    """

    kind: str
    classes: Array  # (n_classes,)

    @property
    def are_numbered(self) -> bool:
        """Whether the classes are 0, 1, 2, ... in this order."""
        numbers = np.arange(len(self.classes))
        return self.classes.dtype.kind in "iu" and np.array_equal(self.classes, numbers)

    @property
    def values(self) -> Array:
        """The classes in a dtype that other languages support, see `LABEL_TYPES`."""
        classes = np.resize(self.classes, max(2, len(self.classes)))  # a single class is doubled
        kind = classes.dtype.kind
        if kind in "UO" and all(isinstance(each, str) for each in classes):
            for each in classes.tolist():
                if SURROGATES.search(each):
                    raise ValueError(
                        f"the classes have {each!r}, half a character (a lone surrogate), but text "
                        "that UTF-8 can hold is expected: rename it, and fit again"
                    )
            return classes.astype(object)
        if kind not in LABEL_TYPES or (kind == "u" and classes.max() > np.iinfo(np.int64).max):
            raise TypeError(
                f"the classes have dtype {classes.dtype} but labels that can be exported are "
                "strings, integers of 64 bits, floats or booleans: fit with labels of these types"
            )
        return classes.astype(LABEL_TYPES[kind])


@dataclass(frozen=True, eq=False)
class Exported:
    """A model to export: its spec and layers, the link last, or the members of an ensemble."""

    spec: Spec
    layers: list[Layer]  # from the inputs to the prediction; the link is the last
    labels: Labels | None = None  # of a classifier
    members: tuple[Exported, ...] = ()  # of an ensemble, whose own `layers` are empty

    @property
    def each(self) -> tuple[Exported, ...]:
        """The networks: the members of an ensemble, or this network itself."""
        return self.members or (self,)

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all networks."""
        return len(self.each) * self.spec.n_parameters

    @property
    def n_columns(self) -> int:
        """Number of columns of the prediction."""
        return 2 if self.is_pair else self.spec.shapes[-1][1]

    @property
    def is_pair(self) -> bool:
        """Whether one probability is exported as two, with that of the first class in front."""
        return self.labels is not None and self.labels.kind == "pair"


def exported(spec: Spec, *parameters: list[Array], labels: Labels | None = None) -> Exported:
    """Return a network with these parameters; without labels, classes are numbered from 0."""
    places = [(tensor.kind, tensor.layer) for tensor in each_tensor(spec.tensors)]
    tensors = dict(zip(places, itertools.chain(*parameters), strict=True))
    steps, last = operators(spec), len(spec.shapes) - 1
    entering = {step.source for step in steps if step.kind == "skip"}
    layers: list[Layer] = [Keep("inputs")] if spec.linear_path else []
    for at, step in enumerate(steps):
        found = [tensors[kind, step.layer] for kind in OPERATORS[step.kind]]
        if step.kind == "scale":  # folded into the weights that multiply the inputs
            for place in {("weights", 0), ("linear_weights", last)} & tensors.keys():
                tensors[place] = found[0][:, np.newaxis] * tensors[place]
            continue
        if step.kind not in KINDS or not isinstance(step.activation, str):
            unknown = step.activation if step.kind in KINDS else step.kind
            raise TypeError(
                f"the model has {unknown!r}, which other programs do not know: for an export use "
                "an activation of fastmlp's own, and layers that it can export, or save(path)"
            )
        inner = [step.inner] if step.kind == "parametric" else []
        layers.append(KINDS[step.kind](*found, *inner))
        if step.activation != "identity":
            layers.append(Activation(step.activation))
        if at in entering:
            layers.append(Keep("block"))
    if labels is None and spec.loss.target_kind == "class":
        labels = Labels("largest", np.arange(spec.n_outputs))
    return Exported(spec, [*layers, Link(spec.loss.link_name)], labels)
