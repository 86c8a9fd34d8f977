"""An MLP in a file: constructor arguments, parameters, generator, history, optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp._core.history import History, ResumeState
from fastmlp._engine import optimizer_state
from fastmlp._files.record import Record, Tensors, digits
from fastmlp._files.strict_json import ModelFormatError
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import describe as described, value
from fastmlp._network.spec import Spec

LATER = ("batch_size", "data")  # of a progress: files of before have none


def describe(model: Any, tensors: Tensors, training: bool) -> dict[str, Any]:
    """Return an MLP as JSON and tensors; as a pickle has it, while a fit runs the last epoch."""
    state = model.__getstate__()
    network, engine = state["_spec"], state["engine"]
    parts.put(network, optimizer_state.from_arrays(engine, network)[0], tensors)
    return {
        "network": parts.describe_spec(network, tensors),
        "rng": described(state["_rng"], "rng", tensors),
        "history": parts.describe_history(
            state["_history"] if training else None, "history", tensors
        ),
        "progress": _describe_progress(network, state, tensors) if training else None,
        "optimizer": parts.describe_memory(engine, tensors) if training else None,
        **({"flat_y": True} if state.get("_flat_y") else {}),
    }


def rebuild(cls: Any, record: Record) -> Any:
    """Return the MLP that a file describes."""
    network = parts.rebuild_spec(record.part("network"))
    state: dict[str, Any] = {
        "_spec": network,
        "_rng": value(record, "rng", np.random.Generator),
        "_history": parts.rebuild_history(record, "history"),
        "engine": optimizer_state.to_arrays(network, parts.take(network, record.store), None),
        "progress": None,
    }
    if record.has("optimizer"):
        part = record.part("optimizer")
        state["engine"] |= parts.rebuild_memory(part, network)
    state["progress"] = _rebuild_progress(record, network, state["engine"], state["_history"])
    if record.there("flat_y"):  # files of before have none
        state["_flat_y"] = record.flag("flat_y")
        if state["_flat_y"] and network.n_outputs > 1:
            raise ModelFormatError(f"{record.where}.flat_y is true but of several outputs")
    model = cls.__new__(cls)
    model.__setstate__(state)
    return model


def _describe_progress(network: Spec, state: dict[str, Any], tensors: Tensors) -> Any:
    """Return with what a fit that resumes goes on, besides the engine."""
    progress: ResumeState | None = state["progress"]
    if progress is None:
        return None
    epochs = len(state["_history"].loss) if state["_history"] else 0
    if progress.rows and progress.epochs != epochs:
        raise ValueError(
            f"history has {epochs} epochs but the fit {progress.epochs}, and a file must have all: "
            "change copies of its lists, or leave it out by save(path, training=False)"
        )
    if progress.memory is not None:
        raise TypeError(
            "a file cannot hold what a CustomOptimizer remembers: save(path, training=False) "
            "leaves it out, a pickle has it; for a Checkpoint use an optimizer of fastmlp's own"
        )
    tensors.put_list("progress.shuffles", progress.shuffles, np.uint64)
    callbacks = progress.memories, "progress.callbacks", tensors
    averaged = parts.describe_averaged(network, progress.averaged, "progress.averaged", tensors)
    return {
        **averaged,
        "seed": digits(progress.seed),
        **{key: getattr(progress, key) for key in ("step", "rows", "epochs")},
        "scale": float(progress.scale),
        "shuffled": progress.shuffled,
        "callbacks": parts.describe_callbacks(network, *callbacks),
        **{key: digits(getattr(progress, key)) for key in LATER if getattr(progress, key)},
    }


def _rebuild_progress(record: Record, network: Spec, engine: Any, history: History | None) -> Any:
    if not record.has("progress"):
        return None
    part = record.part("progress")
    if "optimizer" not in engine:
        raise ModelFormatError(f"{part.where} goes on without an optimizer")
    progress = ResumeState(
        kind=(str(engine["optimizer"]), tuple(engine["hyper"].tolist())[:-1]),
        seed=part.count("seed", most=2**64 - 1),
        step=part.count("step"),
        rows=part.count("rows"),
        epochs=part.count("epochs"),
        scale=part.number("scale"),
        shuffles=record.store.numbers("progress.shuffles", np.uint64),
        shuffled=part.count("shuffled"),
        memories=parts.rebuild_callbacks(part, network),
        averaged=parts.rebuild_averaged(part, network),
    )
    later: dict[str, Any] = {key: part.count(key, 1, 2**64 - 1) for key in LATER if part.there(key)}
    progress = progress._replace(**later)
    part.finish()
    epochs = len(history.loss) if history else 0
    if progress.shuffled > len(progress.shuffles):
        raise ModelFormatError(f"{part.where}.shuffled is {progress.shuffled}, more than there are")
    if progress.rows and progress.epochs != epochs:
        raise ModelFormatError(
            f"{part.where} has {progress.epochs} epochs but the history {epochs}"
        )
    return progress
