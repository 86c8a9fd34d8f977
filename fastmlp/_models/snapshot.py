"""Protection of a model during a fit: undoing failed changes, and snapshots for other threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from fastmlp._core.history import History


class Rollback:
    """Undoes a ``with`` block that an error ends before `_is_done`; others see the model before."""

    # No generator: an interrupt may prevent its end until it is garbage-collected, much later.

    def __init__(self, undo: Callable[[], None], model: Any = None) -> None:
        self._undo, self._model = undo, model

    def __enter__(self) -> Self:
        if self._model is not None:
            self._model._show()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None and not self._is_done():
                self._undo()
        finally:
            if self._model is not None:
                self._model._hide()

    def _is_done(self) -> bool:
        return False


class ModelSnapshot:
    """Parameters and history at the end of an epoch; ``parameters`` is None while no fit runs."""

    __slots__ = ("_epochs", "_history", "flat_y", "members", "parameters")

    def __init__(
        self,
        parameters: Any = None,
        history: History | None = None,
        flat_y: bool = False,
        members: tuple[ModelSnapshot, ...] = (),
    ) -> None:
        self.parameters, self._history, self.flat_y = parameters, history, flat_y
        self.members, self._epochs = members, 0 if history is None else len(history.loss)

    def history(self) -> History | None:
        """Return a copy of the history up to the snapshot's epoch."""
        return self._history and self._history.whole(self._epochs)
