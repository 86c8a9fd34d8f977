"""An MLP in a file: constructor arguments, parameters, generator, history, optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.records import Continuation
from fastmlp.spec import Spec
from fastmlp.storage import parts
from fastmlp.storage.record import Record, Tensors, digits
from fastmlp.storage.values import describe as described
from fastmlp.storage.values import value


def describe(model: Any, tensors: Tensors, training: bool) -> dict[str, Any]:
    """Return an MLP as JSON and tensors; as a pickle has it, while a fit runs the last epoch."""
    state = model.__getstate__()
    network: Spec = state["_spec"]
    parts.put(state["parameters"], network, tensors)
    return {
        "network": parts.describe_spec(network, tensors),
        "rng": described(state["_rng"], "rng", tensors),
        "history": parts.describe_history(
            state["_history"] if training else None, "history", tensors
        ),
        "optimizer": _describe_optimizer(
            state["optimizer"] if training else None, network, tensors
        ),
    }


def rebuild(cls: Any, record: Record, saved: str, wanted: str) -> Any:
    """Return the MLP that a file describes; its optimizer only for the engine that had it."""
    network = parts.rebuild_spec(record.part("network"))
    state = {
        "_spec": network,
        "_rng": value(record, "rng", np.random.Generator),
        "_history": parts.rebuild_history(record, "history"),
        "parameters": parts.take(network, record.store),
    }
    optimizer = _rebuild_optimizer(record, network, saved)
    model = cls.__new__(cls)
    model.__setstate__({**state, "optimizer": optimizer if saved == wanted else None})
    return model


def _describe_optimizer(state: Any, network: Spec, tensors: Tensors) -> Any:
    """Return with what ``partial_fit`` goes on."""
    if state is None:
        return None
    progress, steps = state
    row, hyper = progress.kind
    return {
        "row": row,
        "hyper": list(hyper),
        "step": progress.step,
        "seed": digits(progress.seed),
        "state": parts.describe_steps(steps, network, tensors),
    }


def _rebuild_optimizer(record: Record, network: Spec, saved: str) -> Any:
    if not record.has("optimizer"):
        return None
    part = record.part("optimizer")
    kind = part.choice("row", parts.SLOTS), part.numbers("hyper", parts.N_HYPER)
    progress = Continuation(kind, part.count("step"), part.count("seed", most=2**64 - 1))
    steps = parts.rebuild_steps(part.part("state"), network, *kind, saved)
    part.finish()
    return progress, steps
