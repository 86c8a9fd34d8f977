"""Who is told about the epochs of a fit, and may end it: the callbacks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastmlp.training.records import State

Callback = Callable[[State], Any]


class Reporter:
    """Tells callbacks, those with hooks ``start`` and ``finish`` around the epochs too.

    Parameters
    ----------
    state : State
        What they see.
    callbacks : sequence of callables
        Checked.
    """

    def __init__(self, state: State, callbacks: Sequence[Callback] = ()) -> None:
        self.state = state
        self.callbacks = sorted(callbacks, key=lambda each: getattr(each, "runs_last", False))
        state.callbacks = self.callbacks
        self.keep: Callable[[], None] | None = None  # called before each callback, and after all

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Call the hooks around all epochs; ``finish`` also after an error."""
        with contextlib.ExitStack() as stack:
            for callback in self.callbacks:
                finish, start = getattr(callback, "finish", None), getattr(callback, "start", None)
                if finish is not None:
                    stack.callback(finish, self.state)
                if start is not None:
                    start(self.state)
            yield
            self.state.completed = True

    def epoch_begins(self) -> None:
        """Nobody wants to know."""

    def epoch_ended(self) -> bool:
        """Call every callback once; return True if one of them wants to stop."""
        stop, state = False, self.state
        try:
            for callback in self.callbacks:
                if self.keep is not None:
                    self.keep()  # the callback may save or copy the model
                answer = callback(state)
                # True itself, not any object that happens to be true.
                if isinstance(answer, bool | np.bool_) and answer:
                    stop = True
                    name = getattr(callback, "__name__", type(callback).__name__)
                    state.history.stop_reason = state.stop_reason or f"{name} returned True"
        finally:
            if self.keep is not None:
                self.keep()
        return stop
