"""Factors on learning rates and decay by layer and kind of tensor, and parametrisations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.intervals import NON_NEGATIVE
from fastmlp._core.keywords import check_choice, with_argument_hints
from fastmlp._network.layer_options import is_sequence
from fastmlp._network.tensors import TENSORS, Shape, Tensors, each_tensor

TensorItems: TypeAlias = tuple[tuple[str, tuple[Shape, ...]], ...]  # Tensors as a hashable

PARAMETRIZATIONS = ("standard", "ntk")
# Names of other libraries; 0 freezes a layer.
FREEZING = ((("layer_rates=[0, 1, ...]",), "frozen freeze trainable lr rates layers"),)


class Factors(NamedTuple):
    """Factors that multiply a fit's options for one tensor (``fm_group`` in c/network.h)."""

    rate: float  # multiplies the learning rate; 0 freezes
    epsilon: float  # multiplies the optimizer's epsilon
    decay: float  # multiplies decoupled weight decay, besides `rate`
    l1: float  # multiplies the penalties
    l2: float
    norm: float  # multiplies the squared gradient in the norm that is clipped


def _factors(rate: float, decay: float, scale: float, degree: int) -> Factors:
    """Return the factors of a tensor that is ``scale`` times the one that the optimizer sees."""
    # By the chain rule the optimizer's gradient is ``scale`` times the gradient of the tensor, and
    # the tensor moves ``scale`` times as far. State and epsilon are in units of its own gradient.
    turned = scale ** (1 + degree)
    norm = scale**2 if rate else 0.0
    l1, l2 = decay / scale, decay / scale**2
    return Factors(rate * turned, 1 / scale, decay / turned, l1, l2, norm)


@partial(with_argument_hints, synonyms=FREEZING, attributes=())
@dataclass(frozen=True)
class Groups:
    """Other learning rates or decay for some layers, as factors on those of the fit.

    Take it to fine-tune a trained network, whose first layers should move less than its last ones.

    The rate of the weights of layer k is ``learning_rate * layer_rates[k] * weight_rate``, the rate
    of its biases ``learning_rate * layer_rates[k] * bias_rate``, and so on. A factor 0 freezes a
    tensor: it and its optimizer state stay unchanged, and the gradient norm for clipping omits it.

    Parameters
    ----------
    layer_rates : sequence of float >= 0, optional
        One factor for each layer, the first one first; by default 1.
    weight_rate, bias_rate : float, >= 0
        Factors for all weights, including those of a linear path, and for all biases.
    layer_decays : sequence of float >= 0, optional
        One factor for each layer on ``l1``, ``l2`` and the optimizer's ``weight_decay``; by default
        1.
    bias_decay : float, >= 0
        A further factor for biases; 0 switches their decay off, 1 treats them as weights.
    norm_rate, norm_decay : float, >= 0
        The same for the gains and shifts of layer normalisation.
    scale_rate, scale_decay : float, >= 0
        The same for the scales of the inputs; RealMLP (Holzmueller et al. 2024) has a rate of 6.
    activation_rate, activation_decay : float, >= 0
        The same for the alphas of parametric activations; RealMLP has a rate of 0.1.
    parametrization : {"standard", "ntk"}
        The optimizer works with the weights W ("standard"), or with ``V = W * sqrt(fan_in)``
        ("ntk"), where the network computes with ``V / sqrt(fan_in)``. Gradients, epsilon, ``l1``,
        ``l2``, ``weight_decay`` and ``clip_norm`` then refer to V; ``MLP.weights`` remain W, and
        biases are not changed. Source: Jacot, Gabriel and Hongler 2018, "Neural tangent kernel".

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
    scale_rate: float = 1.0
    scale_decay: float = 0.0
    activation_rate: float = 1.0
    activation_decay: float = 0.0
    parametrization: str = "standard"

    def __post_init__(self) -> None:
        for name in [field.name for field in fields(self) if isinstance(field.default, float)]:
            number = NON_NEGATIVE.check(name, getattr(self, name), example=0.5)
            object.__setattr__(self, name, number)
        for name in ("layer_rates", "layer_decays"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _per_layer(name, getattr(self, name)))
        check_choice("parametrization", self.parametrization, PARAMETRIZATIONS)

    def factors(self, tensors: Tensors, degree: int) -> list[Factors]:
        """Return the factors of learning rate and decay for each array of parameters."""
        ones = (1.0,) * len(tensors["weights"])
        layers = list(zip(self.layer_rates or ones, self.layer_decays or ones, strict=True))
        factors = []
        for kind, _, layer, shape in each_tensor(tensors):
            (rate, decay), group = layers[layer], TENSORS[kind].group
            rate = rate * getattr(self, f"{group}_rate")
            decay = decay * getattr(self, f"{group}_decay", 1.0)
            is_scaled = len(shape) == 2 and self.parametrization == "ntk"
            scale = 1 / math.sqrt(shape[0]) if is_scaled else 1.0
            factors.append(_factors(rate, decay, scale, degree))
        return factors


PLAIN = Groups()  # the default: equal factors, but biases do not decay


class GroupTable(NamedTuple):
    """The groups of one network in the form that the native engine reads."""

    factors: NDArray[np.float64]  # (groups, 6), sorted by rate and epsilon
    group_of: NDArray[np.int32]  # the group of each tensor, kind by kind
    first_trained: int  # the first layer that is not frozen; the last one if all are


@lru_cache
def table(groups: Groups, tensors: TensorItems, degree: int) -> GroupTable:
    """Return the groups of a network with these tensors, as read-only arrays."""
    kinds = dict(tensors)
    per_tensor = groups.factors(kinds, degree)
    factors = sorted(set(per_tensor))
    group_of = np.array([factors.index(row) for row in per_tensor], np.int32)
    trained = {
        tensor.layer
        for tensor, row in zip(each_tensor(kinds), per_tensor, strict=True)
        if row.rate and 0 not in tensor.shape
    }
    last = len(kinds["weights"]) - 1
    result = GroupTable(np.array(factors), group_of, min(trained, default=last))
    for array in result[:2]:
        array.flags.writeable = False
    return result


def _per_layer(name: str, values: Any) -> tuple[float, ...]:
    if not is_sequence(values):
        raise TypeError(
            f"{name} is {values!r} but a sequence of one factor for each layer is expected: "
            f"pass for example {name}=[0.0, 1.0]"
        )
    if not len(values):
        raise ValueError(
            f"{name} is empty but one factor for each layer is expected: leave it out for 1"
        )
    return tuple(NON_NEGATIVE.check(f"{name}[{k}]", v, example=0.5) for k, v in enumerate(values))
