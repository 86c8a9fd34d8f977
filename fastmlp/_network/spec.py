"""The description of a network, `Spec`, which both engines, native and reference, read.

`build` is the only way from the user's arguments to a Spec, and refuses wrong ones before anything
is allocated. Nothing here computes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastmlp._core.intervals import check_count, check_flags
from fastmlp._core.keywords import check_choice
from fastmlp._network import layer_options, losses
from fastmlp._network.activations import ActivationName
from fastmlp._network.losses import Loss, LossName
from fastmlp._network.names import NormPosition
from fastmlp._network.tensors import TENSORS, Shape

if TYPE_CHECKING:
    from fastmlp._network.functions.activation import CustomActivation
    from fastmlp._network.functions.loss import CustomLoss
    from fastmlp._network.operators import Operator

MAX_PARAMETERS = 2**40 - 1
DTYPES = ("float32", "float64")

Activations: TypeAlias = (
    "ActivationName | CustomActivation | Sequence[ActivationName | CustomActivation]"
)
# An array, or a tuple of two: of losses with two outputs, or with ``return_std``. Only the
# arguments decide, so type checkers let a program use either without a check of its own.
Predictions: TypeAlias = npt.NDArray[Any] | Any
# How training multiplies matrices: in bfloat16 where the CPU is faster so, or in the dtype.
Compute: TypeAlias = Literal["bfloat16"] | None

# Rows that pass through the network together. A larger batch is a float64 sum over such blocks, in
# their order: a float32 sum over a million rows would be wrong by a percent.
BLOCK_ROWS = 1024

ROUNDED_WEIGHTS = 1024  # rounding takes longer than the products of a smaller layer


@dataclass(frozen=True)
class Spec:
    """The shape of a network; made by `build`."""

    layer_sizes: tuple[int, ...]  # inputs, hidden layers, outputs
    activations: tuple[ActivationName | CustomActivation, ...]  # one a hidden layer
    dropout: tuple[float, ...]  # drop probability of each hidden layer, in [0, 1)
    layer_norm: tuple[NormPosition | None, ...]  # one of POSITIONS a hidden layer
    parametric: tuple[bool, ...]  # whether the activation of each hidden layer is parametric
    loss: Loss  # which also determines the link and the number of heads
    dtype: np.dtype[Any]
    scale: bool = False  # whether parameters multiply the inputs
    skip: int | None = None  # hidden layers per residual block; None: no blocks
    linear_path: bool = False  # whether further weights connect the inputs with the outputs
    compute: Compute = None  # None: products in training are computed in the dtype

    @cached_property
    def blocks(self) -> tuple[int | None, ...]:
        """For each hidden layer, the first layer of the residual block that it ends, or None."""
        return layer_options.blocks(self.skip, self.layer_sizes[1:-1])

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """The steps of the native engine from inputs to outputs."""
        from fastmlp._network.operators import operators  # which the NumPy engine does not need

        return tuple(operators(self))

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(fan_in, fan_out) of each affine layer, the heads included."""
        widths = [*self.layer_sizes[:-1], self.loss.heads * self.layer_sizes[-1]]
        return list(itertools.pairwise(widths))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the cached properties out of copies and pickles."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property  # uncached, it takes a third of the time to construct a small MLP
    def tensors(self) -> dict[str, list[Shape]]:
        """Shapes of the parameters by kind, one per layer, without kinds that are not used."""
        shapes = {}
        for kind, row in TENSORS.items():
            option = not row.option or getattr(self, row.option)
            if any(option) if isinstance(option, tuple) else option:
                shapes[kind] = row.shapes(self.shapes, option)
        return shapes

    @property
    def functions(self) -> list[CustomActivation | CustomLoss]:
        """The custom functions, each once, the loss last."""
        functions: list[Any] = [a for a in self.activations if not isinstance(a, str)]
        functions += [self.loss] * self.loss.is_custom
        return list(dict.fromkeys(functions))

    @cached_property
    def n_weights(self) -> int:
        """Elements of all matrices, which is also the number of multiply-adds per row."""
        shapes = itertools.chain(*self.tensors.values())
        return sum(math.prod(shape) for shape in shapes if len(shape) == 2)

    @property
    def n_parameters(self) -> int:
        """Elements of all tensors together."""
        return sum([sum(map(math.prod, shapes)) for shapes in self.tensors.values()])

    @property
    def rounded(self) -> list[bool]:
        """For each affine layer, whether training may round the factors of its products."""
        return [
            self.compute == "bfloat16" and fan_out > 1 and fan_in * fan_out >= ROUNDED_WEIGHTS
            for fan_in, fan_out in self.shapes
        ]

    @cached_property
    def n_outputs(self) -> int:
        """Columns of the targets, m: the heads not included."""
        return self.layer_sizes[-1]

    @cached_property
    def has_heads(self) -> bool:
        """Whether there are several predictions for each column of the targets."""
        return self.loss.heads > 1

    @property
    def title(self) -> str:
        """Words about a predictor: from what it predicts what."""
        sizes, outputs = self.layer_sizes, self.shapes[-1][1]
        return (
            f"call it with rows of {sizes[0]:,} values; {outputs:,} "
            f"prediction{'s' * (outputs != 1)} of {'-'.join(map(str, sizes))}, {self.loss!r}"
        )


# Options with a default; files and the repr of a model mention them only where they are used.
OPTIONS = tuple(field.name for field in fields(Spec) if field.default is not MISSING)


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
    compute: Compute = None,
) -> Spec:
    """Return the Spec for the arguments of `MLP`; raise TypeError or ValueError for wrong ones."""
    sizes = layer_options.sizes(layer_sizes)
    n_hidden = len(sizes) - 2
    activations, dropouts, norms, parametrics = layer_options.of_layers(
        n_hidden,
        activation=activation,
        dropout=dropout,
        layer_norm=layer_norm,
        parametric=parametric,
    )
    spec = Spec(
        layer_sizes=sizes,
        activations=activations,
        dropout=dropouts,
        layer_norm=norms,
        parametric=parametrics,
        loss=losses.resolve(loss),
        dtype=_dtype(dtype),
        skip=None if skip is None else check_count("skip", skip, example=2),
        compute=compute,
        **check_flags(scale=scale, linear_path=linear_path),
    )
    _check(spec)
    return spec


def _check(spec: Spec) -> None:
    """Raise TypeError or ValueError for options that do not fit together."""
    if spec.compute is not None:
        check_choice("compute", spec.compute, ["bfloat16"], " or None")
        if spec.dtype != np.float32:
            raise ValueError(
                f"compute is {spec.compute!r} but dtype is {spec.dtype.name}: pass "
                "dtype='float32', or leave compute out"
            )
    _ = spec.blocks  # raises ValueError if the widths do not fit
    if spec.linear_path and not spec.activations:
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
    for of_layer, is_parametric in zip(spec.activations, spec.parametric, strict=True):
        if is_parametric and not isinstance(of_layer, str):
            raise ValueError(
                f"parametric is True for {of_layer!r}, which is not blended: pass False there, "
                "or use an activation by its name"
            )
    for function in spec.functions:
        function.verify(spec.dtype, spec.n_outputs)


def _dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    try:
        # np.dtype(None) is float64, but None is more likely a mistake.
        checked: np.dtype[Any] | None = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        checked = None
    if checked is None or checked not in [np.dtype(name) for name in DTYPES]:
        raise ValueError(
            f"dtype is {dtype!r} but must be one of {', '.join(DTYPES)}: "
            "pass for example dtype='float32'"
        )
    return checked
