"""What models are made of, as parts of a file: networks, parameters, histories, optimizers.

Parameters are plain (fan_in, fan_out) weights and (fan_out,) biases, under the names of the layers;
so are the arrays of an optimizer, which belong to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.history import AveragingState, History
from fastmlp._engine import optimizer_state
from fastmlp._files.record import Record, Store, Tensors, built
from fastmlp._files.strict_json import ModelFormatError
from fastmlp._models.codecs.values import describe, value
from fastmlp._network import spec
from fastmlp._network.functions.activation import CustomActivation
from fastmlp._network.losses import Loss
from fastmlp._network.losses.custom import CustomLoss
from fastmlp._network.optimizers import N_HYPER, SLOTS
from fastmlp._network.spec import OPTIONS, Spec
from fastmlp._network.tensors import name_of
from fastmlp._training.callback_state import KEPT, CallbackState

CURVES = ("loss", "val_loss", "seconds", "learning_rate")  # of a history

Arrays = list[NDArray[Any]]
States = dict[str, NDArray[Any]]


# ---------------------------------------------------------------------------------- the network


def describe_spec(network: Spec, tensors: Tensors) -> dict[str, Any]:
    """Return the constructor's arguments of a network."""
    names = [own.name for own in network.functions]
    if len(set(names)) < len(names):
        raise ValueError(
            f"the model has several functions of the same name, {', '.join(names)}, which a file "
            "cannot tell apart: give each a name=, or pickle the model"
        )
    found = {
        "layer_sizes": list(network.layer_sizes),
        "activations": [
            each if isinstance(each, str) else each.facts for each in network.activations
        ],
        "dropout": list(network.dropout),
        "layer_norm": list(network.layer_norm),
        "loss": network.loss.facts
        if isinstance(network.loss, CustomLoss)
        else describe(network.loss, "loss", tensors),
        "dtype": network.dtype.name,
    }
    options = {key: getattr(network, key) for key in OPTIONS}
    found |= {key: option for key, option in options.items() if option}
    if any(network.parametric):
        found["parametric"] = list(network.parametric)
    return found


def rebuild_spec(record: Record) -> Spec:
    """Return the network that a file describes; nothing is allocated."""
    arguments = {
        "layer_sizes": record.items("layer_sizes"),
        "activation": [
            record.store.function(each, CustomActivation) if isinstance(each, dict) else each
            for each in record.items("activations")
        ],
        "dropout": record.items("dropout"),
        "layer_norm": record.items("layer_norm"),
        "loss": _loss(record),
        "dtype": record.choice("dtype", spec.DTYPES),
        "parametric": record.there("parametric") and record.items("parametric"),
    } | {key: record.plain(key) for key in OPTIONS if record.there(key)}
    record.finish()
    return built(record.where, spec.build, **arguments)  # type: ignore[no-any-return]


def _loss(record: Record) -> Any:
    tree = record.look("loss")
    if isinstance(tree, dict) and "function" in tree:
        return record.store.function(record.plain("loss"), CustomLoss)
    return value(record, "loss", Loss)


def put(network: Spec, parameters: Sequence[Arrays], tensors: Tensors, prefix: str = "") -> None:
    """Put the parameters of a network among the tensors."""
    for key, array in optimizer_state.to_arrays(network, tuple(parameters), None).items():
        tensors[prefix + _name(key)] = array


def take(
    network: Spec, store: Store, prefix: str = "", dtype: np.dtype[Any] | None = None
) -> tuple[Arrays, ...]:
    """Return the parameters of a network: finite, of the right shapes; views of the file."""
    return tuple(list(kind.values()) for kind in _taken("", network, store, prefix, dtype))


def _taken(
    slot: str,
    network: Spec,
    store: Store,
    prefix: str = "",
    dtype: np.dtype[Any] | None = None,
) -> list[dict[str, NDArray[Any]]]:
    """Return what there is of each parameter, by its name in a state; one dictionary a kind."""
    found, dtype = [], dtype or network.dtype
    for kind, shapes in network.tensors.items():
        keys = [f"{slot}{kind}.{layer}" for layer in range(len(shapes))]
        pairs = zip(keys, shapes, strict=True)
        found.append({k: store.parameter(prefix + _name(k), shape, dtype) for k, shape in pairs})
    return found


def _name(key: str) -> str:
    """Return the name in a file of an array of a state (fastmlp/_engine/optimizer_state.py).

    Examples
    --------
    >>> _name("weights.0"), _name("m.biases.1")
    ('layers.0.weight', 'optimizer.m.layers.1.bias')
    """
    *slot, kind, number = key.split(".")
    return ".".join([*(["optimizer", *slot] if slot else []), name_of(kind, int(number))])


# ---------------------------------------------------------------------------------- the history


def describe_history(history: History | None, name: str, tensors: Tensors) -> Any:
    """Return a history; its lists become tensors."""
    if history is None:
        return None
    for curve in CURVES:
        tensors.put_list(f"{name}.{curve}", getattr(history, curve))
    facts = {"stop_reason": describe(history.stop_reason, f"{name}.stop_reason", tensors)}
    if history.measured:
        facts["metrics"] = [describe(key, f"{name}.metrics", tensors) for key in history.metrics]
        for at, values in enumerate(history.metrics.values()):
            tensors.put_list(f"{name}.metrics.{at}", values)
    return facts


def rebuild_history(record: Record, key: str) -> History | None:
    """Return the history that a file describes, or None if it has none."""
    if not record.has(key):
        return None
    part = record.part(key)
    name = part.where.partition(".")[2]
    lists = {curve: record.store.numbers(f"{name}.{curve}") for curve in CURVES}
    history = History(**lists, stop_reason=part.text("stop_reason"))
    n, n_val = len(history.loss), len(history.val_loss)
    if {len(history.seconds), len(history.learning_rate)} != {n} or n_val not in (0, n):
        raise ModelFormatError(f"the lists of {key} have different lengths")
    if part.there("metrics"):
        history.measured = _measured(part, name, n)
    part.finish()
    return history


def _measured(part: Record, name: str, n_epochs: int) -> list[dict[str, float]]:
    """Return the metrics of a history, a dictionary an epoch."""
    names = part.texts("metrics")
    columns = [part.store.numbers(f"{name}.metrics.{at}") for at in range(len(names))]
    if not names or len(set(names)) < len(names) or {len(c) for c in columns} != {n_epochs}:
        raise ModelFormatError(f"{part.where}.metrics has other names than numbers of epochs")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


# ---------------------------------------------------------------------------------- the optimizer


def describe_memory(state: States, tensors: Tensors) -> Any:
    """Return what an optimizer remembers, of an engine's state; its slots become tensors."""
    if "optimizer" not in state:
        return None
    row = str(state["optimizer"])
    for key, array in state.items():
        slot, _, rest = key.partition(".")
        if slot in SLOTS[row] and rest != "unit":
            tensors[_name(key)] = array
    return {
        "row": row,
        "step": int(state["step"]),
        **{key: np.asarray(state[key], float).tolist() for key in ("hyper", "powers")},
        "units": [float(state[f"{slot}.unit"]) for slot in SLOTS[row]],
    }


def rebuild_memory(part: Record, network: Spec) -> States:
    """Return the same, checked: an engine divides by such numbers, and reads so many slots."""
    row = part.choice("row", SLOTS)
    hyper, units = part.numbers("hyper", N_HYPER), part.numbers("units", len(SLOTS[row]))
    powers = part.numbers("powers", 2 if part.length("powers") else 0)
    for at in SLOTS[row].values():
        if at is not None and hyper[at] >= 1:
            raise ModelFormatError(f"{part.where}.hyper has a memory of {hyper[at]}, not below 1")
    if units not in (optimizer_state.textbook(row, hyper), optimizer_state.sums(row, hyper)):
        raise ModelFormatError(f"{part.where}.units are {units}, which are those of no engine")
    numbers = {"optimizer": row, "hyper": hyper, "step": part.count("step"), "powers": powers}
    part.finish()
    state = {key: np.array(number) for key, number in numbers.items()}
    for slot, unit in zip(SLOTS[row], units, strict=True):
        state[f"{slot}.unit"] = np.array(unit)
        for kind in _taken(f"{slot}.", network, part.store):
            state |= kind
    return state


# ---------------------------------------------------------------------------------- callbacks


def describe_callbacks(
    network: Spec, memories: Sequence[CallbackState], name: str, tensors: Tensors
) -> list[Any]:
    """Return what callbacks remember; the parameters of their best epochs become tensors."""
    found: list[Any] = []
    for at, memory in enumerate(memories):
        if memory.parameters is not None:
            put(network, memory.parameters, tensors, f"{name}.{at}.")
        values = {key: describe(each, name, tensors) for key, each in memory.values.items()}
        found.append({"class": memory.name, **values, "parameters": memory.parameters is not None})
    return found


def rebuild_callbacks(record: Record, network: Spec) -> list[CallbackState]:
    """Return what callbacks remembered."""
    found = []
    for at, tree in enumerate(record.items("callbacks")):
        part = Record(tree, f"{record.where}.callbacks.{at}", record.store)
        name = part.choice("class", KEPT)
        values = {key: value(part, key, kind) for key, kind in KEPT[name].items()}
        parameters = copied(part, network) if part.flag("parameters") else None
        part.finish()
        found.append(CallbackState(name, values, parameters))
    return found


def copied(
    record: Record, network: Spec, name: str = "", dtype: np.dtype[Any] | None = None
) -> tuple[Arrays, ...]:
    """Return parameters that belong to a part of a file, as arrays of their own."""
    prefix = record.where.partition(".")[2]
    kinds = take(network, record.store, f"{prefix}.{name}", dtype)
    return tuple([array.copy() for array in arrays] for arrays in kinds)


# ---------------------------------------------------------------------------------- averages


def describe_averaged(
    network: Spec, averaged: AveragingState | None, name: str, tensors: Tensors
) -> dict[str, Any]:
    """Return what a fit that averages goes on with, if it does; its parameters become tensors."""
    if averaged is None:  # as other files have none
        return {}
    put(network, averaged.raw, tensors, f"{name}.raw.")
    put(network, averaged.mean, tensors, f"{name}.mean.")
    return {"averaged": {"epochs": averaged.epochs}}


def rebuild_averaged(record: Record, network: Spec) -> AveragingState | None:
    """Return the same, checked: the mean is to be rounded to the network's dtype."""
    if not record.there("averaged"):
        return None
    part = record.part("averaged")
    raw = copied(part, network, "raw.")
    mean = copied(part, network, "mean.", np.dtype(np.float64))
    most = float(np.finfo(network.dtype).max)
    if any(np.any(np.abs(array) > most) for arrays in mean for array in arrays):
        raise ModelFormatError(f"{part.where} has a mean beyond what {network.dtype} can hold")
    averaged = AveragingState(raw, mean, part.count("epochs", least=1))
    part.finish()
    return averaged
