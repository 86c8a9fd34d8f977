"""The initialisers: the first weights of a layer, drawn in float64 from its fan-in and fan-out.

They keep the variance of the signal (and, for Glorot, of the gradient) about the same from layer
to layer, so the right one depends on the activation: each activation's row names its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fastmlp._network.activations import row_of
from fastmlp._network.tensors import TENSORS

if TYPE_CHECKING:  # spec imports this module, and numpy.random takes time to load
    import numpy.typing as npt

    from fastmlp._network.activations import Array
    from fastmlp._network.spec import Spec

Draw: TypeAlias = "Callable[[np.random.Generator, int, int], npt.NDArray[np.float64]]"
Initializer: TypeAlias = str | Sequence[str | None] | None


def _uniform(standard_deviation: Callable[[int, int], float]) -> Draw:
    def draw(rng: np.random.Generator, fan_in: int, fan_out: int) -> npt.NDArray[np.float64]:
        limit = math.sqrt(3.0) * standard_deviation(fan_in, fan_out)
        return rng.uniform(-limit, limit, (fan_in, fan_out))

    return draw


def _normal(standard_deviation: Callable[[int, int], float]) -> Draw:
    def draw(rng: np.random.Generator, fan_in: int, fan_out: int) -> npt.NDArray[np.float64]:
        return rng.normal(0.0, standard_deviation(fan_in, fan_out), (fan_in, fan_out))

    return draw


def _zeros(rng: np.random.Generator, fan_in: int, fan_out: int) -> npt.NDArray[np.float64]:
    del rng
    return np.zeros((fan_in, fan_out))


def glorot(fan_in: int, fan_out: int) -> float:
    """Return the standard deviation of Glorot and Bengio 2010, equation 12."""
    return math.sqrt(2.0 / (fan_in + fan_out))


def he(fan_in: int, fan_out: int) -> float:
    """Return the standard deviation of He et al. 2015, equation 10."""
    del fan_out
    return math.sqrt(2.0 / fan_in)


def lecun(fan_in: int, fan_out: int) -> float:
    """Return the standard deviation of LeCun et al. 1998, "Efficient BackProp", section 4.6."""
    del fan_out
    return math.sqrt(1.0 / fan_in)


INITIALIZERS: dict[str, Draw] = {
    "glorot_uniform": _uniform(glorot),
    "glorot_normal": _normal(glorot),
    "he_uniform": _uniform(he),
    "he_normal": _normal(he),
    "lecun_normal": _normal(lecun),
    "zeros": _zeros,
}


def names(spec: Spec, initializer: Initializer) -> list[str]:
    """Return the name of each affine layer's initializer, of what the user asks for.

    None takes every layer's by its activation; one name is for every layer, but "zeros" for the
    output layer alone, because hidden layers of zeros would never learn.

    Examples
    --------
    >>> from fastmlp._network import spec
    >>> names(spec.build([3, 8, 2], "tanh"), "zeros")
    ['glorot_uniform', 'zeros']
    """
    defaults = [row_of(each).initializer for each in (*spec.activations, "identity")]
    n_layers = len(defaults)
    wanted: Sequence[str | None]
    if initializer is None:
        wanted = [None] * n_layers
    elif isinstance(initializer, str):
        hidden = None if initializer == "zeros" else initializer
        wanted = [hidden] * (n_layers - 1) + [initializer]
    elif isinstance(initializer, Sequence):
        wanted = initializer
    else:
        raise TypeError(
            f"initializer is {initializer!r} but must be a name, a list of names or None: "
            f"choose from {', '.join(INITIALIZERS)}"
        )
    if len(wanted) != n_layers:
        raise ValueError(
            f"initializer has {len(wanted)} entries but this MLP has {n_layers} affine layers: "
            "pass one name for all of them, or one per layer with the output layer last"
        )
    chosen = [
        default if name is None else name for name, default in zip(wanted, defaults, strict=True)
    ]
    for name in chosen:
        if not isinstance(name, str):
            raise TypeError(
                f"initializer has the entry {name!r} but each must be a name or None: "
                f"choose from {', '.join(INITIALIZERS)}"
            )
        if name not in INITIALIZERS:
            raise ValueError(
                f"initializer is {name!r} but no initialiser has that name: "
                f"choose from {', '.join(INITIALIZERS)}"
            )
    return chosen


def draw(
    spec: Spec, rng: np.random.Generator, initializer: Initializer = None
) -> tuple[list[Array], ...]:
    """Return the first parameters of a network, one list for each kind in `Spec.tensors`.

    The generator gives one number per weight, first layer first, the same for both dtypes.

    Examples
    --------
    >>> from fastmlp._network import spec
    >>> weights, biases = draw(spec.build([3, 8, 2]), np.random.default_rng(0))
    >>> [w.shape for w in weights]
    [(3, 8), (8, 2)]
    """
    first = {
        kind: [np.full(shape, TENSORS[kind].first, spec.dtype) for shape in shapes]
        for kind, shapes in spec.tensors.items()
    }
    for w, name in zip(first["weights"], names(spec, initializer), strict=True):
        w[...] = INITIALIZERS[name](rng, *w.shape)
    return tuple(first.values())
