"""An ensemble in a file: its members, each as an MLP, and who of them has whose generator."""

from __future__ import annotations

from typing import Any

from fastmlp._files import storage
from fastmlp._files.record import Record, Tensors, built
from fastmlp._files.strict_json import ModelFormatError
from fastmlp._models.codecs import mlp, parts


def describe(model: Any, tensors: Tensors, training: bool) -> dict[str, Any]:
    """Return an ensemble as JSON and tensors."""
    members, history = model._whole()
    generators = [id(member._rng.bit_generator) for member in members]
    return {
        "engine": storage.row_of(members[0])[1],
        "members": [
            mlp.describe(member, tensors.under(f"members.{k}."), training)
            for k, member in enumerate(members)
        ],
        "generators": [generators.index(each) for each in generators],
        "history": parts.describe_history(history if training else None, "history", tensors),
    }


def rebuild(cls: Any, record: Record) -> Any:
    """Return the ensemble that a file describes."""
    members = []
    for k, tree in enumerate(record.items("members")):
        own = Record(tree, f"members[{k}]", record.store.under(f"members.{k}."))
        members.append(mlp.rebuild(storage.class_of("MLP", record.engine), own))
        own.finish()
    where, firsts = f"{record.where}.generators", record.items("generators")
    part = Record(dict(enumerate(firsts)), where, record.store)
    if len(firsts) != len(members):
        raise ModelFormatError(f"{where} are {len(firsts)} for {len(members)} members")
    for k, member in enumerate(members):
        member._rng = members[part.count(k, most=k)]._rng
    model = built(record.where, cls, members)
    model._history = parts.rebuild_history(record, "history")
    return model
