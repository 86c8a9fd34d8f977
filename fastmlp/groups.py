"""Groups of tensors: factors on the learning rate and on the decay, by layer and by kind of tensor.

A tensor is the weights or the biases of one layer. Both engines read the factors of each tensor;
the native one prepares its optimizer's numbers once for each group of tensors with equal factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp.intervals import NON_NEGATIVE


class Factors(NamedTuple):
    """What one tensor gets of the learning rate, and of weight decay and penalty."""

    rate: float
    decay: float


@dataclass(frozen=True)
class Groups:
    """Learning rates and decay by layer and by kind of tensor, as factors of those of the fit.

    The rate of the weights of layer k is ``learning_rate * layer_rates[k] * weight_rate``, that of
    its biases ``learning_rate * layer_rates[k] * bias_rate``. A factor 0 freezes: the tensor and
    the optimizer's state for it stay as they are, and clipping leaves its gradient out of the norm.

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

    def __post_init__(self) -> None:
        for name in ("weight_rate", "bias_rate", "bias_decay"):
            number = NON_NEGATIVE.check(name, getattr(self, name), example=0.5)
            object.__setattr__(self, name, number)
        for name in ("layer_rates", "layer_decays"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _per_layer(name, getattr(self, name)))

    def tensors(self, n_layers: int) -> list[Factors]:
        """Return the factors of the weights of each layer, then those of the biases."""
        ones = (1.0,) * n_layers
        layers = list(zip(self.layer_rates or ones, self.layer_decays or ones, strict=True))
        weights = [Factors(rate * self.weight_rate, decay) for rate, decay in layers]
        biases = [Factors(rate * self.bias_rate, decay * self.bias_decay) for rate, decay in layers]
        return weights + biases


PLAIN = Groups()  # what a fit does that is told nothing: all alike, but biases do not decay


class Table(NamedTuple):
    """The groups of one network, as the native engine reads them.

    Attributes
    ----------
    factors : array of float64, shape (groups, 2)
        Of each group; groups of the same rate stand together.
    group_of : array of int32, shape (layers, 2)
        Of the weights and of the biases of each layer.
    first_trained : int
        The first layer that is not frozen, or else the last one.
    """

    factors: NDArray[np.float64]
    group_of: NDArray[np.int32]
    first_trained: int


@lru_cache
def table(groups: Groups, n_layers: int) -> Table:
    """Return the groups of a network with so many layers; nobody may write to them."""
    tensors = groups.tensors(n_layers)
    layers = list(zip(tensors[:n_layers], tensors[n_layers:], strict=True))
    factors = sorted(set(tensors))
    group_of = [[factors.index(tensor) for tensor in layer] for layer in layers]
    trained = (k for k, (w, b) in enumerate(layers) if w.rate or b.rate)
    found = Table(np.array(factors), np.array(group_of, np.int32), next(trained, n_layers - 1))
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
