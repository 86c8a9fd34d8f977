"""The predictor of an ensemble in a file: one network, and the parameters of each member."""

from __future__ import annotations

from typing import Any

from fastmlp._files import storage
from fastmlp._files.record import Record, Tensors
from fastmlp._models.codecs import parts, predictor


def describe(model: Any, tensors: Tensors, training: bool) -> dict[str, Any]:
    """Return the predictor as JSON and tensors; there is nothing to train with."""
    del training
    first, *others = model.members
    for k, member in enumerate(others, start=1):
        parts.put(model.spec, member.parameters(), tensors, f"members.{k}.")
    return {
        "engine": storage.row_of(first)[1],
        "members": len(model.members),
        **predictor.describe(first, tensors.under("members.0."), False),
    }


def rebuild(cls: Any, record: Record) -> Any:
    """Return the predictor that a file describes."""
    network, n_threads = predictor.rebuild_head(record)
    own = storage.class_of("Predictor", record.engine)
    return cls(
        predictor.of(own, network, parts.take(network, record.store, f"members.{k}."), n_threads)
        for k in range(record.count("members", 1))
    )
