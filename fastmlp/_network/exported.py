"""A trained network as a list of layers, the value that models hand to exporters.

Writers of files are in `_export/`; a model that is not exported does not load them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fastmlp._network.activations import Array
from fastmlp._network.spec import Spec


class Layer(NamedTuple):
    """One step of a network."""

    # An operator that exporters know; "entries", an affine layer of inputs that are mostly 0;
    # "activation"; "link"; or "keep", which stores the current values: of the block that a skip
    # adds, or the inputs that a linear path multiplies.
    kind: str
    name: str = ""  # the activation, the link or the stored values have it
    arrays: Mapping[str, Array] = MappingProxyType({})  # tensors by kind; exporters add others
    number: int = 0  # the place of the tensor among those of its kind
    heads: int = 1  # a link has this many columns an output

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
    labels: Labels | None = None  # classifiers have them
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


def joined(members: Iterable[Exported]) -> Exported:
    """Return the networks of an ensemble, each a member, as one model."""
    exports = list(members)
    nets, derivatives = (
        sum((getattr(member, name) for member in exports), ()) for name in ("nets", "derivatives")
    )
    return Exported(exports[0].spec, nets, exports[0].labels, derivatives)
