"""A trained network as a list of layers, the common input of all exporters.

Exporters are tables over the kinds of layers; a new kind is one row in each table.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fastmlp._network.activations import Array
from fastmlp._network.operators import OPERATORS
from fastmlp._network.spec import Spec
from fastmlp._network.tensors import each_tensor

# Operators that exporters know; a scale is folded into the weights that multiply the inputs.
EXPORTED = ("affine", "layer_norm", "parametric", "skip", "linear")


class Layer(NamedTuple):
    """One step of a network."""

    # An operator of `EXPORTED`, "activation", "link", or "keep", which stores the current values:
    # of the block that a skip adds, or the inputs that a linear path multiplies.
    kind: str
    name: str = ""  # of the activation, the link or the stored values
    arrays: Mapping[str, Array] = MappingProxyType({})  # tensors by kind; exporters add others
    number: int = 0  # of the tensors among those of their kind
    heads: int = 1  # of a link: columns per output

    def mapped(self, change: Callable[[Array], Array]) -> Layer:
        """Return the layer with changed arrays."""
        return self._replace(arrays={name: change(array) for name, array in self.arrays.items()})


# Exported dtype of labels by NumPy dtype kind.
LABEL_TYPES = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
SURROGATES = re.compile("[\ud800-\udfff]")  # not encodable as UTF-8


@dataclass(frozen=True, eq=False)
class Labels:
    """The rule that turns probabilities into labels, with the classes."""

    # "largest" probability, "pair": the probability of the second class, "each": columns of 0, 1,
    # "hazards": no labels, but survival at the ends of intervals, which are the classes
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
        if kind in "UO" and all(isinstance(label, str) for label in classes):
            for label in classes.tolist():
                if SURROGATES.search(label):
                    raise ValueError(
                        f"the classes have {label!r}, half a character (a lone surrogate), but "
                        "text that UTF-8 can hold is expected: rename it, and fit again"
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
    """A model to export: one network, or several of the same spec whose predictions are mixed."""

    spec: Spec
    nets: tuple[list[Layer], ...]  # each from the inputs to the prediction; the link is the last
    labels: Labels | None = None  # of a classifier
    # Of each network: its jacobians at rows, and up to order 2 its hessians.
    derivatives: tuple[Callable[[Array, int], Sequence[Array]], ...] = ()

    def differentiated(self, rows: Array, order: int) -> list[Array]:
        """Return jacobians, and up to order 2 hessians, of the mean, each (rows, entries)."""
        of_networks = [derivatives(rows, order) for derivatives in self.derivatives]
        means = [np.mean(arrays, axis=0) for arrays in zip(*of_networks, strict=True)]
        if self.is_pair:
            means = [np.concatenate([-mean, mean], axis=1) for mean in means]
        return [mean.reshape(len(rows), math.prod(mean.shape[1:])) for mean in means]

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all networks."""
        return len(self.nets) * self.spec.n_parameters

    @property
    def is_pair(self) -> bool:
        """Whether one probability is exported as two, with that of the first class in front."""
        return self.labels is not None and self.labels.kind == "pair"


def exported(spec: Spec, *parameters: list[Array], labels: Labels | None = None) -> Exported:
    """Return a network with these parameters; without labels, classes are numbered from 0."""
    places = [(tensor.kind, tensor.layer) for tensor in each_tensor(spec.tensors)]
    tensors = dict(zip(places, itertools.chain(*parameters), strict=True))
    steps, last = spec.operators, len(spec.shapes) - 1
    entering = {step.source for step in steps if step.kind == "skip"}
    layers = [Layer("keep", "inputs")] if spec.linear_path else []
    for at, step in enumerate(steps):
        arrays = {kind: tensors[kind, step.layer] for kind in OPERATORS[step.kind]}
        if step.kind == "scale":
            for place in {("weights", 0), ("linear_weights", last)} & tensors.keys():
                (scale,) = arrays.values()
                tensors[place] = scale[:, np.newaxis] * tensors[place]
            continue
        named = step.inner if step.kind == "parametric" else step.activation
        if step.kind not in EXPORTED or not isinstance(named, str):
            unknown = named if step.kind in EXPORTED else step.kind
            raise TypeError(
                f"the model has {unknown!r}, which other programs do not know: for an export use "
                "an activation of fastmlp's own, and layers that it can export, or save(path)"
            )
        number = 0 if step.kind == "linear" else step.layer
        layers.append(Layer(step.kind, named, arrays, number))
        if step.kind != "parametric" and named != "identity":
            layers.append(Layer("activation", named))
        if at in entering:
            layers.append(Layer("keep", "block"))
    link = Layer("link", spec.loss.link_name, heads=spec.loss.heads)
    if labels is None and spec.loss.target_kind == "class":
        labels = Labels("largest", np.arange(spec.n_outputs))
    return Exported(spec, ([*layers, link],), labels)


def joined(members: Iterable[Exported]) -> Exported:
    """Return the networks of an ensemble, each a member, as one model."""
    exports = list(members)
    nets, derivatives = (
        sum((getattr(member, name) for member in exports), ()) for name in ("nets", "derivatives")
    )
    return Exported(exports[0].spec, nets, exports[0].labels, derivatives)


def stacked(nets: Sequence[list[Layer]]) -> list[Layer]:
    """Return the layers of equal networks as one: their arrays are stacked, see `by_member`."""
    return [
        first._replace(
            arrays={
                name: by_member(np.stack([layer.arrays[name] for layer in (first, *others)]))
                for name in first.arrays
            }
        )
        for first, *others in zip(*nets, strict=True)
    ]


def by_member(stack: Array) -> Array:
    """Reshape vectors, one for each member, to (members, 1, width), to broadcast over rows."""
    return stack.reshape(len(stack), 1, -1) if stack.ndim == 2 else stack
