"""What the user says of layers, once for all of them or for each: checked, one for each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.intervals import FRACTION, check_count, check_flag
from fastmlp._core.keywords import choices
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.layer_norm import POSITIONS
from fastmlp._network.names import ActivationName, NormPosition
from fastmlp._network.scheduled import Scheduled, check_scheduled

if TYPE_CHECKING:
    from fastmlp._network.functions.activation import CustomActivation

MAX_SIZES = 1024  # entries of layer_sizes
MAX_SIZE = 2**31 - 1  # each of them: row indices are 32 bits in the kernels


def is_sequence(value: object) -> bool:
    """Whether there may be one for each."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _each(name: str, value: Any, n_hidden: int) -> list[Any]:
    """Return one entry per hidden layer, from one for all or from a sequence."""
    if not is_sequence(value):
        return [value] * n_hidden
    if len(value) != n_hidden:
        raise ValueError(
            f"{name} has {len(value)} entries but this MLP has {n_hidden} hidden layers: "
            "pass one for all of them, or one per hidden layer"
        )
    return list(value)


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
    found = tuple(
        check_count(f"layer_sizes[{at}]", size, example=64) for at, size in enumerate(layer_sizes)
    )
    for at, size in enumerate(found):
        if size > MAX_SIZE:
            raise ValueError(
                f"layer_sizes[{at}] is {size} but must be below 2**31: make the layer smaller"
            )
    return found


def activations(activation: Any, n_hidden: int) -> tuple[ActivationName | CustomActivation, ...]:
    """Return the name of each one's activation, or one of the user's own."""
    names = _each("activation", activation, n_hidden)
    # With no hidden layer a single name is not used, but a wrong one is still a mistake.
    for name in names or ([] if is_sequence(activation) else [activation]):
        if not isinstance(name, str):
            from fastmlp._network.functions.activation import CustomActivation as Custom

            if isinstance(name, Custom):
                continue
            raise TypeError(
                f"activation is {name!r} but must be a name or a fastmlp.CustomActivation: "
                f"choose from {', '.join(ACTIVATIONS)}"
            )
        if name not in ACTIVATIONS:
            raise ValueError(
                f"activation is {name!r} but no activation has that name: "
                f"{choices(name, ACTIVATIONS)}"
            )
    plain: list[Any] = [str(name) if isinstance(name, str) else name for name in names]
    return tuple(plain)


def dropouts(dropout: Any, n_hidden: int) -> tuple[float, ...]:
    """Return the drop probability of each."""
    if not is_sequence(dropout):
        FRACTION.check("dropout", dropout, example=0.2)
    rates = _each("dropout", dropout, n_hidden)
    return tuple(FRACTION.check("dropout", rate, example=0.2) for rate in rates)


def dropouts_of_fit(dropout: Any, n_hidden: int) -> tuple[Scheduled, ...] | None:
    """Return one number or schedule for each hidden layer; None for None."""
    if dropout is None:
        return None
    given = _each("dropout", dropout, n_hidden)
    for value in given or ([] if is_sequence(dropout) else [dropout]):
        check_scheduled("dropout", value, 0.2, FRACTION)
    return tuple(given)


def flags(name: str, value: Any, n_hidden: int) -> tuple[bool, ...]:
    """Return whether each has it."""
    if not is_sequence(value):
        check_flag(name, value)
    return tuple(check_flag(name, each) for each in _each(name, value, n_hidden))


def positions(layer_norm: Any, n_hidden: int) -> tuple[NormPosition | None, ...]:
    """Return where each is normalised, None for nowhere."""
    chosen = _each("layer_norm", layer_norm, n_hidden)
    for position in chosen or ([] if is_sequence(layer_norm) else [layer_norm]):
        if position is not None and not isinstance(position, str):
            raise TypeError(
                f"layer_norm is {position!r} but must be None or a place: "
                f"choose from {', '.join(POSITIONS)} (the activation)"
            )
        if position is not None and position not in POSITIONS:
            raise ValueError(
                f"layer_norm is {position!r} but there is no such place: "
                f"choose from {', '.join(POSITIONS)} (the activation), or None"
            )
    plain: list[Any] = [position and str(position) for position in chosen]
    return tuple(plain)


def blocks(skip: Any, widths: Sequence[int]) -> tuple[int | None, ...]:
    """Return for each the first one of the block that it ends, None where it ends none.

    The first of equally wide layers in a row is in no block: what enters it has another width.

    Examples
    --------
    >>> blocks(2, [64, 64, 64, 8])
    (None, None, 1, None)
    """
    found: list[int | None] = [None] * len(widths)
    if skip is None:
        return tuple(found)
    length = check_count("skip", skip, example=2)
    first = 0
    for width, run in groupby(widths):
        n = len(list(run))
        if (n - 1) % length:
            raise ValueError(
                f"skip is {length} but layer_sizes has {n} hidden layers of width {width} in a "
                f"row, and after the first, which brings that width about, a multiple of {length} "
                "is expected: change their number, or pass skip=1"
            )
        for last in range(first + length, first + n, length):
            found[last] = last - length + 1
        first += n
    if not any(found):
        raise ValueError(
            f"skip is {length} but no two hidden layers in a row have the same width, and what "
            "enters a block is added to what leaves it: pass for example skip=1 and "
            "layer_sizes=[8, 64, 64, 1]"
        )
    return tuple(found)
