"""A predictor in a file: its network and parameters."""

from __future__ import annotations

from typing import Any

from fastmlp._engine import cpu_levels
from fastmlp._engine.numpy import numpy_engine, predictor
from fastmlp._files.record import Record, Tensors
from fastmlp._models.codecs import parts
from fastmlp._network.spec import Spec


def describe(model: Any, tensors: Tensors, training: bool) -> dict[str, Any]:
    """Return a predictor as JSON and tensors; there is nothing to train with."""
    del training
    parts.put(model.spec, model.parameters(), tensors)
    network = parts.describe_spec(model.spec, tensors)
    return {"network": network, "n_threads": model.n_threads}


def rebuild(cls: Any, record: Record) -> Any:
    """Return the predictor that a file describes."""
    network, n_threads = rebuild_head(record)
    return of(cls, network, parts.take(network, record.store), n_threads)


def rebuild_head(record: Record) -> tuple[Spec, int | None]:
    """Return the network that a file describes, and the threads."""
    network = parts.rebuild_spec(record.part("network"))
    return network, record.count("n_threads", 1) if record.has("n_threads") else None


def of(cls: Any, network: Spec, parameters: tuple[parts.Arrays, ...], n_threads: int | None) -> Any:
    """Return a predictor of either engine."""
    if cls.__module__ != predictor.__name__:
        return cls(network, cpu_levels.level(), *parameters, n_threads=n_threads)
    engine = numpy_engine.Engine(network)
    engine.set_parameters(*parameters)
    return cls(engine, n_threads)
