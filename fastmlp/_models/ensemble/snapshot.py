"""What other threads read of an ensemble in training: all members at the end of one epoch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from fastmlp._core.history import History
from fastmlp._models.mlp import MLP


class EnsembleSnapshot(NamedTuple):
    """Parameters and histories of one moment; nothing is copied before somebody asks.

    Attributes
    ----------
    parameters : tuple
        Snapshots, of each member.
    histories : list of callables
        Return copies: of the ensemble's history, and of those of the members.
    """

    parameters: tuple[Any, ...]
    histories: list[Callable[[], History | None]]

    @classmethod
    def of(cls, ensemble: Any) -> Self:
        """Return the moment of now; for whoever has the turns of all members."""
        histories = [each._history for each in (ensemble, *ensemble._members)]
        return cls(ensemble._engines().snapshot(), [_until_now(each) for each in histories])

    def whole(self, members: Sequence[MLP]) -> tuple[tuple[MLP, ...], History | None]:
        """Return the members, and the history of the ensemble, as they were."""
        history, *histories = (each() for each in self.histories)
        each = zip(members, self.parameters, histories, strict=True)
        return tuple(member._as_it_was(*then) for member, *then in each), history


def _until_now(history: History | None) -> Callable[[], History | None]:
    if history is None:
        return lambda: None
    return functools.partial(history.whole, len(history.loss))


class PublishedSnapshot:
    """Lets others read the moment of now in a ``with`` block, until there is a later one.

    Parameters
    ----------
    ensemble : Ensemble
        Whose members change: its ``_moment`` is set.
    after : Moment, optional
        What others read when the block has ended; by default the members themselves.
    """

    def __init__(self, ensemble: Any, after: EnsembleSnapshot | None = None) -> None:
        self._ensemble, self._after = ensemble, after

    def __enter__(self) -> None:
        self._ensemble._moment = EnsembleSnapshot.of(self._ensemble)

    def __exit__(self, *_: object) -> None:
        self._ensemble._moment = self._after
