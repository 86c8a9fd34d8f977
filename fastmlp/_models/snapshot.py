"""What other threads copy of a model while a fit changes it: the end of its last epoch."""

from __future__ import annotations

from typing import Any

from fastmlp._core.history import History


class ModelSnapshot:
    """Parameters and history of one moment; nothing is copied before somebody asks.

    Parameters
    ----------
    parameters : any
        A snapshot. None says that no fit is running: the model itself can be copied.
    history : History, optional
        To which a fit appends later epochs.
    """

    __slots__ = ("_epochs", "_history", "parameters")

    def __init__(self, parameters: Any = None, history: History | None = None) -> None:
        self.parameters, self._history = parameters, history
        self._epochs = 0 if history is None else len(history.loss)

    def history(self) -> History | None:
        """Return a copy of the history as it was."""
        return self._history and self._history.whole(self._epochs)


class Shown:
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
