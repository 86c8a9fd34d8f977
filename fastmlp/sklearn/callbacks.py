"""Who is told about the epochs of a fit: fastmlp's callbacks and scikit-learn's.

scikit-learn's (``set_callbacks``) exist from 1.9 on; before, the classes here do nothing.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from fastmlp import check
from fastmlp.callbacks import Progress
from fastmlp.records import State

__all__ = ["CallbackSupportMixin", "Observers", "with_callbacks"]

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9
    Method = TypeVar("Method", bound=Callable[..., Any])

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands where newer versions have theirs."""

    def with_callbacks(method: Method) -> Method:
        """Return the method itself."""
        return method


class Observers:
    """All callbacks of one fit.

    Parameters
    ----------
    estimator : estimator
        The user's, of which scikit-learn's callbacks are told.
    draft : estimator
        What it will be after the fit, in training; its ``callbacks`` and ``progress_bar`` are used.
    arguments : dict
        ``X``, ``y`` and ``metadata`` as fit was given them, for scikit-learn's callbacks.
    has_validation : bool
        Whether there is a validation loss.
    partial : bool
        This is ``partial_fit``, of which scikit-learn's callbacks are not told.
    """

    def __init__(
        self,
        estimator: Any,
        draft: Any,
        arguments: dict[str, Any],
        has_validation: bool,
        partial: bool,
    ) -> None:
        self.estimator, self.draft, self.arguments = estimator, draft, arguments
        self.partial = partial
        self.callbacks = check.callbacks(draft.callbacks or ())
        if draft.progress_bar:
            self.callbacks.append(Progress())
        self.state = State(
            draft, draft.max_iter, draft.history_, has_validation, engine=draft._network.engine
        )
        self._root: Any = None
        self._task: Any = None

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
            if getattr(self.estimator, "_skl_callbacks", None) and not self.partial:
                self._root = self.estimator._init_callback_context(max_subtasks=self.draft.max_iter)
                self._root.call_on_fit_task_begin(estimator=self.estimator, **self.arguments)
            yield
            if self._root is not None:
                self._end(self._root)
            self.state.completed = True

    def epoch_begins(self) -> None:
        """Tell scikit-learn's callbacks."""
        if self._root is not None:
            self._task = self._root.subcontext(task_name="epoch")
            self._task.call_on_fit_task_begin(estimator=self.estimator, **self.arguments)

    def epoch_ended(self, epoch: int) -> bool:
        """Tell everybody; the history has the epoch already. Return True if one wants to stop."""
        state, history = self.state, self.draft.history_
        state.epoch, state.loss = epoch, history.loss[-1]
        state.learning_rate = history.learning_rate[-1]
        if state.has_validation:
            state.val_loss = history.val_loss[-1]
        stop = False
        for callback in self.callbacks:
            answer = callback(state)
            if isinstance(answer, bool | np.bool_) and answer:
                stop = True
                name = getattr(callback, "__name__", type(callback).__name__)
                history.stop_reason = state.stop_reason or f"{name} returned True"
        if self._task is not None and self._end(self._task):
            stop = True
            history.stop_reason = history.stop_reason or "a callback asked for it"
        return stop

    def _end(self, task: Any) -> bool:
        """End a task; an estimator as of now is made only for callbacks that want one."""
        return bool(
            task.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=self._as_of_now,
                **self.arguments,
            )
        )

    def _as_of_now(self) -> dict[str, Any]:
        return {**self.draft.__getstate__(), "_network": copy.copy(self.draft._network)}
