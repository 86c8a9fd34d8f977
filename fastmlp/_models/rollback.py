"""Undo a change of a model if an error interrupts it."""

from __future__ import annotations

from collections.abc import Callable


class Rollback:
    """Undoes what was begun in a ``with`` block if an error ends it.

    This is no generator: one that an interrupt has kept from being ended would undo it when it is
    collected, and that may be much later.

    Parameters
    ----------
    undo : callable
        Puts all back.
    is_done : callable, optional
        Whether that is no more to be undone.
    """

    def __init__(self, undo: Callable[[], None], is_done: Callable[[], bool] | None) -> None:
        self._undo, self._is_done = undo, is_done

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and (self._is_done is None or not self._is_done()):
            self._undo()
