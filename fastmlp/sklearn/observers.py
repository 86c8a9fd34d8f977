"""Who is told about the epochs of a fit: fastmlp's callbacks and scikit-learn's.

scikit-learn's (``set_callbacks``) exist from 1.9 on; before, the classes here do nothing.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from fastmlp._core.history import Batch, State
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.callbacks import Progress
from fastmlp._validation import check
from fastmlp.sklearn import parameters

__all__ = ["CallbackSupportMixin", "Observers", "with_callbacks"]

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks as _with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands where newer versions have theirs."""

    def _with_callbacks(method: Any) -> Any:
        """Return the method itself."""
        return method


def with_callbacks(method: Method) -> Method:
    """Decorate a fit as scikit-learn does, and keep its type."""
    decorated: Method = _with_callbacks(method)
    return decorated


class Observers(CallbackList):
    """All callbacks of one fit, and the lines of ``verbose``.

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
        has_batches = draft.solver in parameters.STOCHASTIC
        without_batches = "" if has_batches else "solver='lbfgs'"
        callbacks = check.callbacks(draft.callbacks or (), without_batches)
        if draft.progress_bar:
            callbacks.append(Progress())
        epochs = 1 if partial else draft.max_iter
        engine = draft._fitted.engine
        super().__init__(
            State(draft, epochs, draft.history_, has_validation, engine=engine), callbacks
        )
        self._root: Any = None
        self._task: Any = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Call the hooks around all epochs; ``finish`` also after an error."""
        with super().watching():
            if getattr(self.estimator, "_skl_callbacks", None) and not self.partial:
                self._root = self.estimator._init_callback_context(max_subtasks=self.draft.max_iter)
                self._root.call_on_fit_task_begin(estimator=self.estimator, **self.arguments)
            yield
            if self._root is not None:
                self._end(self._root)

    def epoch_begins(self) -> None:
        """Tell scikit-learn's callbacks."""
        if self._root is not None:
            self._task = self._root.subcontext(task_name="epoch")
            self._task.call_on_fit_task_begin(estimator=self.estimator, **self.arguments)

    def epoch_ended(self) -> bool:
        """Tell everybody; the history has the epoch already. Return True if one wants to stop."""
        draft, history = self.draft, self.state.history
        if draft.verbose:
            print(f"Iteration {draft.n_iter_}, loss = {draft.loss_:.8f}")
            if draft.early_stopping and draft.solver in parameters.STOCHASTIC:
                print(f"Validation score: {draft.validation_scores_[-1]:f}")
        stop = bool(self.callbacks) and super().epoch_ended()
        if self._task is not None and self._end(self._task):
            stop = True
            history.stop_reason = history.stop_reason or "a callback asked for it"
        draft._fitted.take_over()  # a callback may have written weights
        return stop

    def batch_ended(self, batch: Batch) -> bool:
        """Tell those who look at batches."""
        stop = super().batch_ended(batch)
        self.draft._fitted.take_over()
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
        return {**self.draft.__getstate__(), "_fitted": copy.copy(self.draft._fitted)}
