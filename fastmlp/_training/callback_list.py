"""Calls the callbacks of a fit and collects their requests to stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from fastmlp._core.history import Batch, State
from fastmlp._core.intervals import BOOLEANS

Callback = Callable[[State], Any]
NOTHING = contextlib.nullcontext()  # around a fit without callbacks or other processes


class CallbackList:
    """Calls callbacks, and their optional hooks ``start``, ``finish`` and ``on_batch``."""

    def __init__(
        self,
        state: State,
        callbacks: Sequence[Callback] = (),
        recorded: Callable[[], None] | None = None,
    ) -> None:
        self.state = state
        self.recorded = recorded or _nothing  # called first of all after an epoch
        self.callbacks = sorted(callbacks, key=_runs_last)
        state.callbacks = self.callbacks
        self.sees_batches = self.has_checkpoint = self.acts = False
        for callback in self.callbacks:
            # A passive one reads the state, or ends the fit; it may be called after later epochs.
            self.acts |= not getattr(callback, "is_passive", False)
            self.sees_batches |= hasattr(callback, "on_batch")
            self.has_checkpoint |= _runs_last(callback)

    def watching(self) -> AbstractContextManager[None]:
        """Call ``start`` before and ``finish`` after all epochs; ``finish`` also after an error."""
        return self._watching() if self.callbacks else NOTHING

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for callback in self.callbacks:
                if getattr(callback, "finish", None) is not None:
                    stack.callback(self._call, callback, "finish")
                if getattr(callback, "start", None) is not None:
                    self._call(callback, "start")
            yield
            self.state.completed = True

    def _call(self, callback: Callback, hook: str) -> None:
        try:
            getattr(callback, hook)(self.state)
        except StopIteration as error:  # StopIteration would end the generator `watching`
            raise RuntimeError(
                f"{hook} of {_name(callback)} raised StopIteration but must return: it is no "
                "iterator; a callback ends a fit by returning True"
            ) from error

    def epoch_begins(self) -> None:
        """Do nothing here; `fastmlp.sklearn.observers` tells scikit-learn's callbacks."""

    def epoch_ended(self) -> bool:
        """Call every callback once; return True if one of them wants to stop."""
        stop, state = False, self.state
        self.recorded()
        for callback in self.callbacks:
            answer = callback(state)
            stop |= answer is not None and self._wants_to_stop(callback, answer)
        return stop

    def batch_ended(self, batch: Batch) -> bool:
        """Call ``on_batch`` of all callbacks that have it; return True if one wants to stop."""
        stop = False
        for callback in self.callbacks:
            on_batch = getattr(callback, "on_batch", None)
            if on_batch is not None:
                stop |= self._wants_to_stop(callback, on_batch(self.state, batch))
        return stop

    def _wants_to_stop(self, callback: Callback, answer: Any) -> bool:
        """Whether the answer is True itself, not just any true object."""
        if not (isinstance(answer, BOOLEANS) and answer):
            return False
        reason = self.state.stop_reason or f"{_name(callback)} returned True"
        self.state.history.stop_reason = reason
        return True


def _nothing() -> None:
    """Do nothing."""


def _runs_last(callback: Callback) -> bool:
    return bool(getattr(callback, "runs_last", False))


def _name(callback: Callback) -> str:
    return str(getattr(callback, "__name__", type(callback).__name__))
