"""What other threads read of an ensemble in training: all members at the end of one epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from fastmlp._core.history import History
from fastmlp._models import snapshot
from fastmlp._models.mlp import MLP


class EnsembleSnapshot(NamedTuple):
    """The same moment of all members, and of the ensemble's history."""

    members: tuple[snapshot.ModelSnapshot, ...]
    own: snapshot.ModelSnapshot

    @classmethod
    def of(cls, members: Sequence[MLP], history: History | None) -> Self:
        """Return the moment of now; other threads see it in each member, too."""
        return cls(
            tuple(member._show() for member in members), snapshot.ModelSnapshot(history=history)
        )

    def whole(self, members: Sequence[MLP]) -> tuple[tuple[MLP, ...], History | None]:
        """Return copies of the members, and of the history of the ensemble, as they were."""
        each = zip(members, self.members, strict=True)
        return tuple(member._as_it_was(then) for member, then in each), self.own.history()
