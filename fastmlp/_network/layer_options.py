"""Options of the hidden layers: one value for all or one per layer, checked and broadcast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from fastmlp._core.intervals import FRACTION, check_counts, check_flag
from fastmlp._core.keywords import check_choice
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.layer_norm import POSITIONS
from fastmlp._network.scheduled import Scheduled, check_scheduled

Checked = TypeVar("Checked")

MAX_SIZES = 1024  # entries of layer_sizes
MAX_SIZE = 2**31 - 1  # each of them: row indices are 32 bits in the kernels


def is_sequence(value: object) -> bool:
    """Whether the value may hold one entry for each layer."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def per_layer(
    name: str, value: Any, n_hidden: int, check: Callable[[str, Any], Checked]
) -> tuple[Checked, ...]:
    """Return one checked entry per hidden layer, from one for all or from a sequence."""
    if not is_sequence(value):
        return (check(name, value),) * n_hidden  # a wrong value is refused even if no layer has it
    if len(value) != n_hidden:
        raise ValueError(
            f"{name} has {len(value)} entries but this MLP has {n_hidden} hidden layer"
            f"{'s' * (n_hidden != 1)}: pass one for all of them, or one per hidden layer"
        )
    return tuple(check(name, entry) for entry in value)


def sizes(layer_sizes: Any) -> tuple[int, ...]:
    """Return the width of each layer, inputs and outputs included."""
    if not is_sequence(layer_sizes):
        raise TypeError(
            f"layer_sizes has type {type(layer_sizes).__name__} but must be a flat list of "
            "integers: pass for example [64, 128, 10]"
        )
    if not 2 <= len(layer_sizes) <= MAX_SIZES:
        raise ValueError(
            f"layer_sizes has {len(layer_sizes)} entries but must have 2 to {MAX_SIZES}, "
            "inputs first and outputs last: pass for example [64, 128, 10]"
        )
    sizes = check_counts("layer_sizes", layer_sizes, example=64)
    for at, size in enumerate(sizes):
        if size > MAX_SIZE:
            raise ValueError(
                f"layer_sizes[{at}] is {size} but must be below 2**31: make the layer smaller"
            )
    return sizes


def activation(name: str, value: Any) -> Any:
    """Return the name of an activation, or a custom activation."""
    if not isinstance(value, str):
        from fastmlp._network.functions.activation import CustomActivation

        if isinstance(value, CustomActivation):
            return value
    return check_choice(name, value, ACTIVATIONS, " or a fastmlp.CustomActivation")


def dropout(name: str, value: Any) -> float:
    """Return a drop probability."""
    return FRACTION.check(name, value, example=0.2)


def dropouts_of_fit(value: Any, n_hidden: int) -> tuple[Scheduled, ...]:
    """Return one number or schedule for each hidden layer."""
    return per_layer(
        "dropout", value, n_hidden, lambda name, rate: check_scheduled(name, rate, 0.2, FRACTION)
    )


def position(name: str, value: Any) -> Any:
    """Return the position of layer normalisation relative to the activation, None for none."""
    return value if value is None else check_choice(name, value, POSITIONS, " or None")


# The options with an entry for each hidden layer, and the check of an entry.
CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "activation": activation,
    "dropout": dropout,
    "layer_norm": position,
    "parametric": check_flag,
}


def of_layers(n_hidden: int, **options: Any) -> list[tuple[Any, ...]]:
    """Return the checked entries of options by layer, given by their names in `CHECKS`."""
    return [per_layer(name, value, n_hidden, CHECKS[name]) for name, value in options.items()]


def blocks(skip: int | None, widths: Sequence[int]) -> tuple[int | None, ...]:
    """Return for each hidden layer the first layer of the block that it ends, or None."""
    # The first of several equally wide layers is in no block: its inputs have another width.
    firsts: list[int | None] = [None] * len(widths)
    if skip is None:
        return tuple(firsts)
    first = 0
    for width, run in groupby(widths):
        n = len(list(run))
        if (n - 1) % skip:
            raise ValueError(
                f"skip is {skip} but layer_sizes has {n} hidden layers of width {width} in a "
                f"row, and after the first one, which changes the width, a multiple of {skip} "
                "is expected: change their number, or pass skip=1"
            )
        for last in range(first + skip, first + n, skip):
            firsts[last] = last - skip + 1
        first += n
    if not any(firsts):
        raise ValueError(
            f"skip is {skip} but no two hidden layers in a row have the same width, and the "
            "input of a block is added to its output: pass for example skip=1 and "
            "layer_sizes=[8, 64, 64, 1]"
        )
    return tuple(firsts)
