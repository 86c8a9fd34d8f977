"""Snapshots of an ensemble in training, for other threads: all members after the same epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from fastmlp._core.history import History
from fastmlp._models import snapshot
from fastmlp._models.mlp import MLP


class EnsembleSnapshot(NamedTuple):
    """All members and the ensemble's history at one moment."""

    members: tuple[snapshot.ModelSnapshot, ...]
    own: snapshot.ModelSnapshot

    @classmethod
    def of(cls, members: Sequence[MLP], history: History | None) -> Self:
        """Return a snapshot of the current state, which other threads see in each member, too."""
        return cls(
            tuple(member._show() for member in members), snapshot.ModelSnapshot(history=history)
        )

    def whole(self, members: Sequence[MLP]) -> tuple[tuple[MLP, ...], History | None]:
        """Return copies of the members and the history at the time of the snapshot."""
        each = zip(members, self.members, strict=True)
        return tuple(member._as_it_was(then) for member, then in each), self.own.history()
