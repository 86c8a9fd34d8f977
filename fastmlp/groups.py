"""Groups of tensors: factors on the learning rate and on the decay, by layer and by kind of tensor.

A tensor is the weights, biases, gains or shifts of one layer. Both engines read the factors of
each; the native one prepares its optimizer's numbers once for each group of equal factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp.intervals import NON_NEGATIVE

# Shapes by kind, one a layer: Spec.tensors.
Tensors: TypeAlias = Mapping[str, Sequence[tuple[int, ...]]]


class Factors(NamedTuple):
    """What one tensor gets of the learning rate, and of weight decay and penalty."""

    rate: float
    decay: float


@dataclass(frozen=True)
class Groups:
    """Learning rates and decay by layer and by kind of tensor, as factors of those of the fit.

    The rate of the weights of layer k is ``learning_rate * layer_rates[k] * weight_rate``, that of
    its biases ``learning_rate * layer_rates[k] * bias_rate``, and so on. A factor 0 freezes: the
    tensor and the optimizer's state for it stay as they are, and clipping leaves its gradient out
    of the norm.

    Parameters
    ----------
    layer_rates : sequence of float >= 0, optional
        One factor for each layer, the first one first; by default 1.
    weight_rate, bias_rate : float, >= 0
        Factors for all weights and for all biases.
    layer_decays : sequence of float >= 0, optional
        One factor for each layer on ``l2`` and on the optimizer's ``weight_decay``; by default 1.
    bias_decay : float, >= 0
        A further one for biases; 0 leaves them alone, 1 treats them as weights.
    norm_rate, norm_decay : float, >= 0
        The same for the gains and shifts of layer normalisation.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> net = fastmlp.MLP([2, 8, 1], rng=0)
    >>> before = net.weights[0]
    >>> frozen = fastmlp.Groups(layer_rates=[0, 1], bias_rate=2.0)
    >>> history = net.fit(np.ones((4, 2)), np.ones(4), groups=frozen)
    >>> np.array_equal(net.weights[0], before)
    True
    """

    layer_rates: Sequence[float] | None = None
    weight_rate: float = 1.0
    bias_rate: float = 1.0
    layer_decays: Sequence[float] | None = None
    bias_decay: float = 0.0
    norm_rate: float = 1.0
    norm_decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("weight_rate", "bias_rate", "bias_decay", "norm_rate", "norm_decay"):
            number = NON_NEGATIVE.check(name, getattr(self, name), example=0.5)
            object.__setattr__(self, name, number)
        for name in ("layer_rates", "layer_decays"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _per_layer(name, getattr(self, name)))

    def factors(self, tensors: Tensors) -> list[Factors]:
        """Return the factors of every tensor of a network, kind by kind."""
        ones = (1.0,) * len(tensors["weights"])
        layers = list(zip(self.layer_rates or ones, self.layer_decays or ones, strict=True))
        norm = Factors(self.norm_rate, self.norm_decay)
        kinds = {
            "weights": Factors(self.weight_rate, 1.0),
            "biases": Factors(self.bias_rate, self.bias_decay),
            "gains": norm,
            "shifts": norm,
        }
        return [
            Factors(rate * kinds[kind].rate, decay * kinds[kind].decay)
            for kind, shapes in tensors.items()
            for (rate, decay), _ in zip(layers, shapes, strict=False)  # gains: hidden layers only
        ]


PLAIN = Groups()  # what a fit does that is told nothing: all alike, but biases do not decay


class Table(NamedTuple):
    """The groups of one network, as the native engine reads them.

    Attributes
    ----------
    factors : array of float64, shape (groups, 2)
        Of each group; groups of the same rate stand together.
    group_of : array of int32, shape (tensors,)
        Of each tensor, kind by kind.
    first_trained : int
        The first layer that is not frozen, or else the last one.
    """

    factors: NDArray[np.float64]
    group_of: NDArray[np.int32]
    first_trained: int


@lru_cache
def table(groups: Groups, tensors: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]) -> Table:
    """Return the groups of a network with these tensors, as items; nobody may write to them."""
    kinds = dict(tensors)
    per_tensor = groups.factors(kinds)
    factors = sorted(set(per_tensor))
    group_of = np.array([factors.index(f) for f in per_tensor], np.int32)
    places = [(layer, shape) for shapes in kinds.values() for layer, shape in enumerate(shapes)]
    trained = {
        layer
        for (layer, shape), (rate, _) in zip(places, per_tensor, strict=True)
        if rate and 0 not in shape
    }
    last = len(kinds["weights"]) - 1
    found = Table(np.array(factors), group_of, min(trained, default=last))
    for array in found[:2]:
        array.flags.writeable = False
    return found


def _per_layer(name: str, values: Any) -> tuple[float, ...]:
    is_array = isinstance(values, np.ndarray) and values.ndim == 1
    if not is_array and (not isinstance(values, Sequence) or isinstance(values, str | bytes)):
        raise TypeError(
            f"{name} is {values!r} but a sequence of one factor for each layer is expected: "
            f"pass for example {name}=[0.0, 1.0]"
        )
    if not len(values):
        raise ValueError(
            f"{name} is empty but one factor for each layer is expected: leave it out for 1"
        )
    return tuple(NON_NEGATIVE.check(f"{name}[{k}]", v, example=0.5) for k, v in enumerate(values))
