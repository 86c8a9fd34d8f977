"""The initializers draw the first weights of a layer in float64, given its fan-in and fan-out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fastmlp._core.keywords import check_choice
from fastmlp._network.activations import row_of
from fastmlp._network.tensors import TENSORS

if TYPE_CHECKING:  # spec imports this module, and numpy.random takes time to load
    import numpy.typing as npt

    from fastmlp._network.activations import Array
    from fastmlp._network.spec import Spec

Draw: TypeAlias = "Callable[[np.random.Generator, int, int], npt.NDArray[np.float64]]"
Variance: TypeAlias = Callable[[int, int], float]  # (fan_in, fan_out): the variance of the weights
Initializer: TypeAlias = str | Sequence[str | None] | None


def _drawing(family: str, variance: Variance) -> Draw:
    """Return a function that draws from one of two families of distributions."""

    def draw(rng: np.random.Generator, fan_in: int, fan_out: int) -> npt.NDArray[np.float64]:
        deviation = math.sqrt(variance(fan_in, fan_out))
        if family == "normal":
            return rng.normal(0.0, deviation, (fan_in, fan_out))
        limit = math.sqrt(3.0) * deviation
        return rng.uniform(-limit, limit, (fan_in, fan_out))

    return draw


VARIANCES: dict[str, Variance] = {
    "glorot": lambda fan_in, fan_out: 2.0 / (fan_in + fan_out),  # Glorot and Bengio 2010, eq. 12
    "he": lambda fan_in, fan_out: 2.0 / fan_in,  # He et al. 2015, equation 10
    "lecun": lambda fan_in, fan_out: 1.0 / fan_in,  # LeCun et al. 1998, section 4.6
}
NAMES = ("glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal")
INITIALIZERS: dict[str, Draw] = {
    name: _drawing(name.partition("_")[2], VARIANCES[name.partition("_")[0]]) for name in NAMES
} | {"zeros": lambda rng, fan_in, fan_out: np.zeros((fan_in, fan_out))}


def names(spec: Spec, initializer: Initializer) -> list[str]:
    """Return the name of each affine layer's initializer; None selects it by the activation."""
    defaults = [row_of(row).initializer for row in (*spec.activations, "identity")]
    n_layers = len(defaults)
    choices: Sequence[str | None]
    if initializer is None:
        choices = [None] * n_layers
    elif isinstance(initializer, str):  # hidden layers of zeros would never learn
        hidden = None if initializer == "zeros" else initializer
        choices = [hidden] * (n_layers - 1) + [initializer]
    elif isinstance(initializer, Sequence):
        choices = initializer
    else:
        raise TypeError(
            f"initializer is {initializer!r} but must be a name, a list of names or None: "
            f"choose from {', '.join(INITIALIZERS)}"
        )
    if len(choices) != n_layers:
        raise ValueError(
            f"initializer has {len(choices)} entries but this MLP has {n_layers} affine layers: "
            "pass one name for all of them, or one per layer with the output layer last"
        )
    return [
        default if name is None else check_choice("initializer", name, INITIALIZERS, " or None")
        for name, default in zip(choices, defaults, strict=True)
    ]


def draw(spec: Spec, rng: np.random.Generator, names: Sequence[str]) -> tuple[list[Array], ...]:
    """Return the first parameters by kind, from one random number per weight for any dtype.

    The initializer of each affine layer is given by its name, see `names`.
    """
    first = {
        kind: [np.full(shape, TENSORS[kind].first, spec.dtype) for shape in shapes]
        for kind, shapes in spec.tensors.items()
    }
    for w, name in zip(first["weights"], names, strict=True):
        w[...] = INITIALIZERS[name](rng, *w.shape)
    return tuple(first.values())
