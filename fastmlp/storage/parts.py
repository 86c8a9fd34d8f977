"""What models are made of, as parts of a file: networks, parameters, histories, optimizers.

Parameters are plain (fan_in, fan_out) weights and (fan_out,) biases, under the names of the layers;
so are the arrays of an optimizer, which belong to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp import spec
from fastmlp.losses import Loss
from fastmlp.optimizers import OPTIMIZERS
from fastmlp.records import History
from fastmlp.spec import Spec
from fastmlp.storage.record import Record, Store, Tensors, built
from fastmlp.storage.strict import ModelFormatError
from fastmlp.storage.values import describe, value

CURVES = ("loss", "val_loss", "seconds", "learning_rate")  # of a history

# Arrays that the rows of the optimizers keep for each parameter.
SLOTS = {row: n for cls in OPTIMIZERS.values() for row, n in cls._slots_by_row.items()}
N_HYPER, N_POWERS = 4, 2

Arrays = list[NDArray[Any]]


# ---------------------------------------------------------------------------------- the network


def describe_spec(network: Spec, tensors: Tensors) -> dict[str, Any]:
    """Return the constructor's arguments of a network."""
    return {
        "layer_sizes": list(network.layer_sizes),
        "activations": list(network.activations),
        "dropout": list(network.dropout),
        "loss": describe(network.loss, "loss", tensors),
        "dtype": network.dtype.name,
    }


def rebuild_spec(record: Record) -> Spec:
    """Return the network that a file describes; nothing is allocated."""
    arguments = {
        "layer_sizes": record.items("layer_sizes"),
        "activation": record.items("activations"),
        "dropout": record.items("dropout"),
        "loss": value(record, "loss", Loss),
        "dtype": record.choice("dtype", spec.DTYPES),
    }
    record.finish()
    return built(record.where, spec.build, **arguments)  # type: ignore[no-any-return]


def kinds(network: Spec) -> dict[str, list[tuple[int, ...]]]:
    """Return the kinds of parameters with their shapes, a layer each."""
    return {
        "weight": [*network.shapes],
        "bias": [(fan_out,) for _, fan_out in network.shapes],
    }


def put(parameters: Sequence[Arrays], network: Spec, tensors: Tensors, prefix: str = "") -> None:
    """Put parameters, or what belongs to each of them, among the tensors."""
    for kind, arrays in zip(kinds(network), parameters, strict=True):
        for layer, array in enumerate(arrays):
            tensors[f"{prefix}layers.{layer}.{kind}"] = array


def take(network: Spec, store: Store, prefix: str = "") -> tuple[Arrays, ...]:
    """Return the same from a file, finite and of the right shapes; views of the file's bytes."""
    return tuple(
        [
            store.parameter(f"{prefix}layers.{layer}.{kind}", shape, network.dtype)
            for layer, shape in enumerate(shapes)
        ]
        for kind, shapes in kinds(network).items()
    )


# ---------------------------------------------------------------------------------- the history


def describe_history(history: History | None, name: str, tensors: Tensors) -> Any:
    """Return a history; its lists become tensors."""
    if history is None:
        return None
    for curve in CURVES:
        tensors[f"{name}.{curve}"] = np.array(getattr(history, curve), np.float64)
    return {"stop_reason": describe(history.stop_reason, f"{name}.stop_reason", tensors)}


def rebuild_history(record: Record, key: str) -> History | None:
    """Return the history that a file describes, or None if it has none."""
    if not record.has(key):
        return None
    part = record.part(key)
    name = part.where.partition(".")[2]
    lists = {curve: record.store.numbers(f"{name}.{curve}") for curve in CURVES}
    history = History(**lists, stop_reason=part.text("stop_reason"))
    part.finish()
    n, n_val = len(history.loss), len(history.val_loss)
    if {len(history.seconds), len(history.learning_rate)} != {n} or n_val not in (0, n):
        raise ModelFormatError(f"the lists of {key} have different lengths")
    return history


# ---------------------------------------------------------------------------------- the optimizer


def describe_steps(state: dict[str, Any], network: Spec, tensors: Tensors) -> dict[str, Any]:
    """Return the state of an optimizer, which the native engine or the reference has."""
    if "row" in state:
        slots, taken, powers = state["slots"], state["taken"], state["powers"]
    else:
        n_layers = len(network.shapes)
        by_slot = zip(*state["slots"], strict=True)
        slots = [(list(slot[:n_layers]), list(slot[n_layers:])) for slot in by_slot]
        taken, powers = state["t"], ()
    for at, slot in enumerate(slots):
        put(slot, network, tensors, f"optimizer.{at}.")
    return {"taken": taken, "powers": list(powers)}


def rebuild_steps(
    record: Record, network: Spec, row: str, hyper: tuple[float, ...], engine: str
) -> dict[str, Any]:
    """Return the state as its engine has it, checked: engines go where it says."""
    native = engine == "native"
    taken, powers = record.count("taken"), record.numbers("powers", N_POWERS if native else 0)
    record.finish()
    slots = [take(network, record.store, f"optimizer.{at}.") for at in range(SLOTS[row])]
    if native:
        pairs = [tuple(slot) for slot in slots]
        return {"row": row, "hyper": hyper, "taken": taken, "powers": powers, "slots": pairs}
    flat = [[array for arrays in slot for array in arrays] for slot in slots]
    n_parameters = sum(map(len, kinds(network).values()))
    by_parameter = [[slot[at] for slot in flat] for at in range(n_parameters)]
    return {"slots": by_parameter, "t": taken, "is_whole": True}
