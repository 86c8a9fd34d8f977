"""What a network is (Spec), what an epoch is to do (Plan) and to what (Data): plain values.

`build` is the only way from the user's arguments to a Spec, and refuses nonsense before anything
is allocated. Nothing here computes; both engines, native and reference, read these three.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastmlp._core.intervals import check_count, check_flag
from fastmlp._network import layer_options, losses
from fastmlp._network.losses import Loss
from fastmlp._network.names import ActivationName, LossName, NormPosition

if TYPE_CHECKING:
    from fastmlp._network.functions.activation import CustomActivation
    from fastmlp._network.losses.custom import CustomLoss

MAX_PARAMETERS = 2**40 - 1
DTYPES = ("float32", "float64")

Activations: TypeAlias = (
    "ActivationName | CustomActivation | Sequence[ActivationName | CustomActivation]"
)


# Rows that go through the network together. A larger batch is a sum over such blocks, in double
# and in their order: float32 sums of a million rows in one chain would be wrong by a percent.
BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Spec:
    """The shape of a network; made by `build`.

    Attributes
    ----------
    layer_sizes : tuple of int
        Inputs, hidden layers, outputs.
    activations : tuple of str or CustomActivation
        One per hidden layer; the output layer is affine.
    dropout : tuple of float
        Drop probability per hidden layer, in [0, 1).
    layer_norm : tuple of str or None
        Where a hidden layer is normalised, one of `POSITIONS`: before or after its activation.
    parametric : tuple of bool
        Whether the activation of a hidden layer is a parametric one.
    loss : Loss
        Brings the link and the number of heads.
    dtype : numpy.dtype
        float32 or float64.
    scale : bool
        Whether each input is multiplied by a parameter first.
    skip : int or None
        Layers of a residual block; None is no blocks.
    linear_path : bool
        Whether the inputs, times weights of their own, are added to the last layer's outputs.
    """

    layer_sizes: tuple[int, ...]
    activations: tuple[ActivationName | CustomActivation, ...]
    dropout: tuple[float, ...]
    layer_norm: tuple[NormPosition | None, ...]
    parametric: tuple[bool, ...]
    loss: Loss
    dtype: np.dtype[Any]
    scale: bool = False
    skip: int | None = None
    linear_path: bool = False

    @property
    def blocks(self) -> tuple[int | None, ...]:
        """Of each hidden layer that ends a residual block the first one in it, else None."""
        return layer_options.blocks(self.skip, self.layer_sizes[1:-1])

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(fan_in, fan_out) of each affine layer, the heads included."""
        widths = [*self.layer_sizes[:-1], self.loss.heads * self.layer_sizes[-1]]
        return list(pairwise(widths))

    @property
    def tensors(self) -> dict[str, list[tuple[int, ...]]]:
        """Shapes of the parameters by kind, one a layer, in the order of everything of this kind.

        Gains and shifts, one a hidden layer, are there if any layer is normalised; those of a layer
        that is not are empty. Scales are there if there is a scale layer, and linear weights, the
        last layer's, if there is a linear path: one array each. Alphas, one a hidden layer, are
        there if any activation is parametric.
        """

        def of_hidden(chosen: Iterable[Any]) -> list[tuple[int, ...]]:
            widths = zip(self.layer_sizes[1:-1], chosen, strict=True)
            return [(width if has_it else 0,) for width, has_it in widths]

        kinds: dict[str, list[tuple[int, ...]]] = {
            "weights": [*self.shapes],
            "biases": [(fan_out,) for _, fan_out in self.shapes],
        }
        if any(self.layer_norm):
            kinds["gains"] = kinds["shifts"] = of_hidden(self.layer_norm)
        if self.scale:
            kinds["scales"] = [self.layer_sizes[:1]]
        if any(self.parametric):
            kinds["alphas"] = of_hidden(self.parametric)
        if self.linear_path:
            kinds["linear_weights"] = [(self.layer_sizes[0], self.shapes[-1][1])]
        return kinds

    @property
    def functions(self) -> list[CustomActivation | CustomLoss]:
        """The user's own functions, each once, the loss last."""
        own: list[Any] = [each for each in self.activations if not isinstance(each, str)]
        own += [self.loss] * self.loss.is_custom
        return list(dict.fromkeys(own))

    @property
    def n_weights(self) -> int:
        """Of all layers and the linear path, without biases: multiply-adds of a row."""
        linear = self.tensors.get("linear_weights", [])
        return sum(fan_in * fan_out for fan_in, fan_out in (*self.shapes, *linear))

    @property
    def n_parameters(self) -> int:
        """Elements of all tensors together."""
        return sum(math.prod(shape) for shapes in self.tensors.values() for shape in shapes)

    @property
    def n_outputs(self) -> int:
        """Columns of the targets, m: the heads not included."""
        return self.layer_sizes[-1]


def build(
    layer_sizes: Sequence[int] | npt.NDArray[Any],
    activation: Activations = "relu",
    loss: LossName | Loss = "squared_error",
    dtype: npt.DTypeLike = "float32",
    dropout: float | Sequence[float] = 0.0,
    layer_norm: NormPosition | Sequence[NormPosition | None] | None = None,
    scale: bool = False,
    parametric: bool | Sequence[bool] = False,
    skip: int | None = None,
    linear_path: bool = False,
) -> Spec:
    """Return the Spec of the user's arguments, or complain about them.

    Parameters
    ----------
    layer_sizes : sequence of int, at least 2, each in [1, 2**31)
        Inputs, hidden layers, outputs.
    activation : str or CustomActivation, or sequence of them
        One for all hidden layers, or one per hidden layer.
    loss : str or Loss
        See `losses.resolve`.
    dtype : "float32" or "float64"
        Of parameters and arithmetic.
    dropout : float or sequence of float, in [0, 1)
        One drop probability for all hidden layers, or one per hidden layer.
    layer_norm : None, "before", "after" or sequence of these
        Where hidden layers are normalised, see `fastmlp._network.layer_norm`.
    scale : bool
        Whether the inputs are scaled by parameters.
    parametric : bool or sequence of bool
        Whether the activations are ``(1 - a) z + a f(z)`` with a parameter a for each unit.
    skip : int, at least 1, or None
        Layers of a residual block, see `each_layer.blocks`.
    linear_path : bool
        Whether weights of their own lead from the inputs to the outputs.

    Returns
    -------
    Spec
        Checked.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If it has the right type but an impossible value.

    Examples
    --------
    >>> build([4, 8, 3], "tanh", "cross_entropy").shapes
    [(4, 8), (8, 3)]
    """
    sizes = layer_options.sizes(layer_sizes)
    n_hidden = len(sizes) - 2
    spec = Spec(
        layer_sizes=sizes,
        activations=layer_options.activations(activation, n_hidden),
        dropout=layer_options.dropouts(dropout, n_hidden),
        layer_norm=layer_options.positions(layer_norm, n_hidden),
        parametric=layer_options.flags("parametric", parametric, n_hidden),
        loss=losses.resolve(loss),
        dtype=_dtype(dtype),
        scale=check_flag("scale", scale),
        skip=None if skip is None else check_count("skip", skip, example=2),
        linear_path=check_flag("linear_path", linear_path),
    )
    layer_options.blocks(skip, sizes[1:-1])  # complains
    if spec.linear_path and not n_hidden:
        raise ValueError(
            "linear_path is True but without a hidden layer the network is linear: leave it out"
        )
    if spec.n_parameters > MAX_PARAMETERS:
        raise ValueError(
            f"layer_sizes asks for {spec.n_parameters:,} parameters but at most "
            f"{MAX_PARAMETERS:,} are possible: make the layers smaller"
        )
    if spec.loss.target_kind == "class" and spec.n_outputs == 1:
        raise ValueError(
            f"layer_sizes ends in 1 but {spec.loss.name} needs one output per class: "
            "end it in the number of classes, or use loss='binary_cross_entropy'"
        )
    if spec.functions:
        from fastmlp._network.functions.verification import verify

        verify(spec.activations, spec.parametric, spec.loss, spec.dtype, spec.n_outputs)
    return spec


def _dtype(dtype: Any) -> np.dtype[Any]:
    try:
        # np.dtype(None) is float64, which nobody means by None.
        found: np.dtype[Any] | None = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or found not in [np.dtype(name) for name in DTYPES]:
        raise ValueError(
            f"dtype is {dtype!r} but must be one of {', '.join(DTYPES)}: "
            "pass for example dtype='float32'"
        )
    return found
