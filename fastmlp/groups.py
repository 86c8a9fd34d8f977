"""Groups of tensors: factors on rates and decay, by layer and by kind of tensor; parametrisations.

A tensor is the weights or the biases of one layer. Both engines read the factors of each tensor;
the native one prepares its optimizer's numbers once for each group of tensors with equal factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp.intervals import NON_NEGATIVE

PARAMETRIZATIONS = ("standard", "ntk")


class Factors(NamedTuple):
    """What one tensor gets of the numbers of a fit; the fields of ``fm_group`` in c/network.h.

    Attributes
    ----------
    rate : float
        On the learning rate; 0 freezes.
    epsilon : float
        On the optimizer's epsilon.
    decay : float
        On decoupled weight decay, which `rate` multiplies too.
    l2 : float
        On the penalty.
    norm : float
        On the squares of the gradient in the norm that clipping looks at.
    """

    rate: float
    epsilon: float
    decay: float
    l2: float
    norm: float


def _factors(rate: float, decay: float, scale: float, degree: int) -> Factors:
    """Return what a tensor gets that is ``scale`` times the one that the optimizer is to see.

    By the chain rule the latter's gradient is ``scale`` times that of the tensor, and the tensor
    moves ``scale`` times as far as the latter. The state of the optimizer stays that of the
    tensor's own gradient, and epsilon is brought into its units.
    """
    turned = scale ** (1 + degree)
    norm = scale**2 if rate else 0.0
    return Factors(rate * turned, 1 / scale, decay / turned, decay / scale**2, norm)


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
    parametrization : {"standard", "ntk"}
        What the optimizer sees of weights W: themselves, or ``W * sqrt(fan_in)``, of which the
        network computes with ``1 / sqrt(fan_in)`` times as much. Gradients, epsilon, ``l2``,
        ``weight_decay`` and ``clip_norm`` are then those of what it sees; ``MLP.weights`` stay W,
        and biases as they are. Source: Jacot, Gabriel and Hongler 2018, "Neural tangent kernel".

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
    parametrization: str = "standard"

    def __post_init__(self) -> None:
        for name in ("weight_rate", "bias_rate", "bias_decay"):
            number = NON_NEGATIVE.check(name, getattr(self, name), example=0.5)
            object.__setattr__(self, name, number)
        for name in ("layer_rates", "layer_decays"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _per_layer(name, getattr(self, name)))
        if self.parametrization not in PARAMETRIZATIONS:
            raise ValueError(
                f"parametrization is {self.parametrization!r} but must be one of "
                f"{', '.join(PARAMETRIZATIONS)}: leave it out for the usual one"
            )

    def tensors(self, fan_ins: Sequence[int], degree: int) -> list[Factors]:
        """Return the factors of the weights of each layer, then those of the biases.

        Parameters
        ----------
        fan_ins : sequence of int
            Of each layer.
        degree : int
            Of the optimizer, see ``Optimizer.degree``.
        """
        ones = (1.0,) * len(fan_ins)
        is_ntk = self.parametrization == "ntk"
        scales = [1 / math.sqrt(fan_in) if is_ntk else 1.0 for fan_in in fan_ins]
        layers = list(zip(self.layer_rates or ones, self.layer_decays or ones, scales, strict=True))
        return [_factors(r * self.weight_rate, d, scale, degree) for r, d, scale in layers] + [
            _factors(r * self.bias_rate, d * self.bias_decay, 1.0, degree) for r, d, _ in layers
        ]


PLAIN = Groups()  # what a fit does that is told nothing: all alike, but biases do not decay


class Table(NamedTuple):
    """The groups of one network, as the native engine reads them.

    Attributes
    ----------
    factors : array of float64, shape (groups, 5)
        Of each group; groups of the same rate and epsilon stand together.
    group_of : array of int32, shape (layers, 2)
        Of the weights and of the biases of each layer.
    first_trained : int
        The first layer that is not frozen, or else the last one.
    """

    factors: NDArray[np.float64]
    group_of: NDArray[np.int32]
    first_trained: int


@lru_cache
def table(groups: Groups, fan_ins: tuple[int, ...], degree: int) -> Table:
    """Return the groups of a network with such layers; nobody may write to them."""
    tensors, n_layers = groups.tensors(fan_ins, degree), len(fan_ins)
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
