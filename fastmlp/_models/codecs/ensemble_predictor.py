"""The schema of an ensemble's predictor: one network, and the parameters of each member."""

from __future__ import annotations

from typing import Any

from fastmlp._files import storage
from fastmlp._files.kinds import Count
from fastmlp._files.schema import At, Each, Object
from fastmlp._models.codecs import parts, predictor

SCHEMA = Object(
    {
        "members": Count(1),
        **{key: predictor.SCHEMA.fields[key] for key in ("network", "n_threads", "weight_type")},
        # In version 1 of the format, the parameters of the first member follow the others.
        "others": At("members", Each(parts.Parameters(), lambda known: known["members"], 1)),
        "first": At("members.0", parts.Parameters()),
    }
)


def values(model: Any, training: bool) -> dict[str, Any]:
    """Return the fields of the predictor."""
    each = [predictor.values(member, training) for member in model.members]
    first, *others = [fields["parameters"] for fields in each]
    tensors = {"first": first, "others": others}
    return {
        **each[0],
        **tensors,
        "members": len(each),
        "engine": storage.row_of(model.members[0])[1],
    }


def build(cls: Any, fields: dict[str, Any]) -> Any:
    """Return the predictor with these fields."""
    own = storage.class_of("Predictor", fields["engine"])
    each = [fields["first"], *fields["others"]]
    return cls(predictor.build(own, {**fields, "parameters": one}) for one in each)
