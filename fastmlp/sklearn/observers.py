"""Calls the callbacks of a fit: fastmlp's, and those of scikit-learn from 1.9 on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from fastmlp._core.history import Batch, State
from fastmlp._training.callback_list import CallbackList
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal
from fastmlp.sklearn.parameters import STOCHASTIC, Validated
from fastmlp.sklearn.scaled_network import ScaledNetwork


class Observers(CallbackList):
    """All callbacks of one fit: scikit-learn's get the user's object, fastmlp's the draft."""

    def __init__(
        self,
        estimator: Validated,
        draft: Validated,
        arguments: Mapping[str, Any],
        has_validation: bool,
        partial: bool,
    ) -> None:
        self.estimator, self.draft, self.arguments = estimator, draft, arguments
        self.partial, is_stochastic = partial, draft.solver in STOCHASTIC
        without_batches = "" if is_stochastic else "L-BFGS"
        callbacks = check.callbacks(draft.callbacks or (), without_batches)
        for position, callback in enumerate(callbacks):
            if getattr(callback, "runs_last", False):  # a `Checkpoint`
                raise refusal("Checkpoint", "estimator", position=position, callback=callback)
        fitted, n_epochs = draft._fitted, 1 if partial else draft.max_iter
        self.attributes: dict[str, Any] = fitted.attributes
        self.network: ScaledNetwork = fitted.network
        engine = self.network.engine
        history = self.attributes["history_"]
        state = State(draft, n_epochs, history, has_validation, engine=engine)
        super().__init__(state, callbacks)
        self.shows_scores = is_stochastic and draft.early_stopping
        self._root: Any = None
        self._task: Any = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Call the hooks around all epochs; ``finish`` also after an error."""
        with super().watching():
            if vars(self.estimator).get("_skl_callbacks") and not self.partial:
                self._root = self.estimator._init_callback_context(max_subtasks=self.draft.max_iter)
                self._root.call_on_fit_task_begin(estimator=self.estimator, **self.arguments)
            yield
            if self._root is not None:
                self._end(self._root)

    def epoch_begins(self) -> None:
        """Notify scikit-learn's callbacks of the start of an epoch."""
        if self._root is not None:
            self._task = self._root.subcontext(task_name="epoch")
            self._task.call_on_fit_task_begin(estimator=self.estimator, **self.arguments)

    def epoch_ended(self) -> bool:
        """Call all callbacks after an epoch was recorded; return True if one wants to stop."""
        history, attributes = self.state.history, self.attributes
        if self.draft.verbose:
            print(f"Iteration {attributes['n_iter_']}, loss = {attributes['loss_']:.8f}")
            if self.shows_scores:
                print(f"Validation score: {attributes['validation_scores_'][-1]:f}")
        stop = bool(self.callbacks) and super().epoch_ended()
        if self._task is not None and self._end(self._task):
            stop = True
            history.stop_reason = history.stop_reason or "a callback asked for it"
        self.network.take_over()  # a callback may have changed weights
        return stop

    def batch_ended(self, batch: Batch) -> bool:
        """Call ``on_batch`` of all callbacks that have it; return True if one wants to stop."""
        stop = super().batch_ended(batch)
        self.network.take_over()
        return stop

    def _end(self, task: Any) -> bool:
        """End a task; scikit-learn rebuilds the current estimator only if a callback needs it."""
        facts = {"reconstruction_attributes": self.draft.__getstate__, **self.arguments}
        return bool(task.call_on_fit_task_end(estimator=self.estimator, **facts))
