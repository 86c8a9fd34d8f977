"""A trained network as a list of layers: what every way of writing it down begins with.

The writers are tables over these kinds of layer; a new kind is one class here and a row in each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._network.operators import OPERATORS, operators
from fastmlp._network.spec import Spec

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Affine:
    """x @ weights + biases.

    Attributes
    ----------
    weights : array, shape (fan_in, fan_out)
    biases : array, shape (fan_out,)
    """

    weights: Array
    biases: Array


@dataclass(frozen=True, eq=False)
class Normalization:
    """Layer normalisation, see `fastmlp._network.layer_norm`.

    Attributes
    ----------
    gains, shifts : arrays, shape (width,)
    """

    gains: Array
    shifts: Array


@dataclass(frozen=True)
class Keep:
    """What there is, under a name for later: "inputs" of the first layer, or of a "block"."""

    name: str


@dataclass(frozen=True)
class Add:
    """What there is and what is kept under a name."""

    name: str


@dataclass(frozen=True, eq=False)
class Linear:
    """What there is and the kept inputs times weights.

    Attributes
    ----------
    weights : array, shape (inputs, width)
    """

    weights: Array


@dataclass(frozen=True)
class Activation:
    """A row of `fastmlp._network.activations.ACTIVATIONS`, elementwise.

    Attributes
    ----------
    name : str
    """

    name: str


@dataclass(frozen=True, eq=False)
class Parametric:
    """(1 - alphas) x + alphas f(x), with f as in `Activation`.

    Attributes
    ----------
    alphas : array, shape (width,)
    name : str
    """

    alphas: Array
    name: str


@dataclass(frozen=True)
class Link:
    """A row of `fastmlp._network.links.LINKS`, over the columns of the last layer.

    Attributes
    ----------
    name : str
    """

    name: str


Layer: TypeAlias = Affine | Normalization | Keep | Add | Linear | Activation | Parametric | Link


# Of `fastmlp._network.operators.OPERATORS`.
KINDS: dict[str, Any] = {
    "affine": Affine,
    "layer_norm": Normalization,
    "parametric": Parametric,
    "skip": lambda: Add("block"),
    "linear": Linear,
}

# For the kinds of NumPy.
LABEL_TYPES = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
SURROGATES = re.compile("[\ud800-\udfff]")  # which UTF-8 has no bytes for


@dataclass(frozen=True, eq=False)
class Labels:
    """How labels come from probabilities.

    Attributes
    ----------
    kind : {"largest", "pair", "each"}
        The class of the largest probability; of two classes by one probability, that of the
        second; 0 or 1 for each column.
    classes : array, shape (n_classes,)
        What the classes are called.
    """

    kind: str
    classes: Array

    @property
    def are_numbered(self) -> bool:
        """Whether the classes are 0, 1, 2, ... in this order."""
        numbers = np.arange(len(self.classes))
        return self.classes.dtype.kind in "iu" and np.array_equal(self.classes, numbers)

    @property
    def values(self) -> Array:
        """The classes in a dtype that other languages have, too: see `LABEL_TYPES`."""
        classes = np.resize(self.classes, max(2, len(self.classes)))  # a single one is both
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
                "strings, integers of 64 bits, floats or booleans: fit with such"
            )
        return classes.astype(LABEL_TYPES[kind])


@dataclass(frozen=True, eq=False)
class Exported:
    """All that a prediction needs.

    Attributes
    ----------
    spec : Spec
        Shape and dtype.
    layers : list of Layer
        From the inputs to the prediction, in order; the link is the last.
    labels : Labels or None
        Of a classifier.
    members : tuple of Exported
        Of an ensemble, which has no layers: their predictions are mixed.
    """

    spec: Spec
    layers: list[Layer]
    labels: Labels | None = None
    members: tuple[Exported, ...] = ()

    @property
    def each(self) -> tuple[Exported, ...]:
        """The networks: the members, or this one."""
        return self.members or (self,)

    @property
    def n_parameters(self) -> int:
        """Of all networks."""
        return len(self.each) * self.spec.n_parameters

    @property
    def n_columns(self) -> int:
        """Columns of the prediction."""
        return 2 if self.is_pair else self.spec.shapes[-1][1]

    @property
    def is_pair(self) -> bool:
        """Whether one probability is given as two, that of the first class before it."""
        return self.labels is not None and self.labels.kind == "pair"


def exported(spec: Spec, *parameters: list[Array], labels: Labels | None = None) -> Exported:
    """Return a network of these parameters; its classes are numbers unless there are others."""
    tensors = dict(zip(spec.tensors, parameters, strict=True))
    steps = operators(spec)
    entering = {step.source for step in steps if step.kind == "skip"}
    layers: list[Layer] = [Keep("inputs")] if spec.linear_path else []
    for at, step in enumerate(steps):
        found = [tensors[kind][step.number] for kind in OPERATORS[step.kind]]
        if step.kind == "scale":  # the weights after it can carry it
            scale = found[0][:, np.newaxis]
            for kind in {"weights", "linear_weights"} & tensors.keys():
                tensors[kind] = [scale * tensors[kind][0], *tensors[kind][1:]]
            continue
        if not isinstance(step.activation, str):
            raise TypeError(
                f"the model has {step.activation!r}, which other programs do not know: for an "
                "export use an activation of fastmlp's own, or save(path)"
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
