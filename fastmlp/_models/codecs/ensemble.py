"""The schema of ensembles: the members, each an MLP, and the generators that they share."""

from __future__ import annotations

from typing import Any

from fastmlp._files import storage
from fastmlp._files.kinds import Count, Place, built
from fastmlp._files.schema import List, Maybe, Object
from fastmlp._models.codecs import mlp, parts


class _Member(Object):
    """An MLP; its tensors have the names in an MLP's own file, after a prefix for the member."""

    def write(self, value: Any, place: Place) -> dict[str, Any]:
        return super().write(value, place._replace(prefix=f"{place.tensor}.", name=""))

    def read(self, tree: Any, place: Place) -> Any:
        fields = super().read(tree, place._replace(prefix=f"{place.tensor}.", name=""))
        cls = storage.class_of("MLP", place.known["engine"])
        return built(place, mlp.build, cls, fields)


SCHEMA = Object(
    {
        "members": List(_Member(mlp.SCHEMA.fields)),
        "generators": List(
            Count(0, lambda known: len(known["members"]) - 1), lambda known: len(known["members"])
        ),
        "history": Maybe(parts.HISTORY),
    }
)


def values(model: Any, training: bool) -> dict[str, Any]:
    """Return the fields of an ensemble."""
    members, history = model._whole()
    generators = [id(member._rng.bit_generator) for member in members]
    return {
        "members": [mlp.values(member, training) for member in members],
        "generators": [generators.index(each) for each in generators],
        "history": history if training else None,
        "engine": storage.row_of(members[0])[1],
    }


def build(cls: Any, fields: dict[str, Any]) -> Any:
    """Return the ensemble with these fields."""
    members = fields["members"]
    for member, first in zip(members, fields["generators"], strict=True):
        member._rng = members[first]._rng
    model = cls(members)
    model._history = fields["history"]
    return model
