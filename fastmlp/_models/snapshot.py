"""The state that other threads copy while a fit changes a model: the end of its last epoch."""

from __future__ import annotations

from typing import Any

from fastmlp._core.history import History


class ModelSnapshot:
    """Parameters and history at the end of one epoch; they are copied only when a reader asks.

    Parameters
    ----------
    parameters : any
        A snapshot. None says that no fit is running: the model itself can be copied.
    history : History, optional
        To which a fit appends later epochs.
    flat_y : bool
        Whether predictions have the shape (n,).
    """

    __slots__ = ("_epochs", "_history", "flat_y", "parameters")

    def __init__(
        self, parameters: Any = None, history: History | None = None, flat_y: bool = False
    ) -> None:
        self.parameters, self._history, self.flat_y = parameters, history, flat_y
        self._epochs = 0 if history is None else len(history.loss)

    def history(self) -> History | None:
        """Return a copy of the history as it was."""
        return self._history and self._history.whole(self._epochs)


class PublishedSnapshot:
    """Lets other threads copy a model as it was before a ``with`` block, or at a later `_show`.

    Parameters
    ----------
    model : Model or Ensemble
        Which the block changes.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._model._show()

    def __exit__(self, *_: object) -> None:
        self._model._hide()
