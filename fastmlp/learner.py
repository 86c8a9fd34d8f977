"""A model that learns: ``fit`` and ``partial_fit``, and what they bring to the loop over epochs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastmlp import check
from fastmlp.callbacks import Progress
from fastmlp.groups import Groups
from fastmlp.intervals import NON_NEGATIVE, check_count
from fastmlp.model import Model
from fastmlp.optimizers import Optimizer
from fastmlp.spec import Data, Plan
from fastmlp.teams import Team
from fastmlp.threads import fit_team
from fastmlp.training import loop
from fastmlp.training.judge import Judge
from fastmlp.training.loop import Course, Order
from fastmlp.training.rates import Rates
from fastmlp.training.records import Continuation, History, State
from fastmlp.training.reporter import Callback, Reporter


class Learner(Model):
    """The part of ``MLP`` that trains, not for users."""

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 20,
        batch_size: int = 64,
        optimizer: Optimizer | None = None,
        l2: float = 0.0,
        clip_norm: float | None = None,
        groups: Groups | None = None,
        validation_data: Sequence[ArrayLike] | None = None,
        sample_weight: ArrayLike | None = None,
        shuffle: bool = True,
        callbacks: Iterable[Callback] = (),
        n_threads: int | None = None,
        verbose: bool = False,
    ) -> History:
        """Train, beginning with the weights of now and a fresh optimizer.

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
            Samples, finite. Never changed, and not copied if of the model's dtype (any strides).
        y : array-like
            Targets, shape (n, outputs), or (n,) with one output. For cross_entropy integer labels
            (n,) from 0, or probabilities (n, classes) whose rows sum to 1.
        epochs : int
            Passes over the data, at least 1.
        batch_size : int
            Samples a step, at least 1; larger than n means n.
        optimizer : SGD, RMSprop, Adam or AdamW, optional
            ``Adam()`` by default.
        l2 : float
            The objective has 0.5 * l2 * sum(W**2) added, over weights alone; at least 0.
        clip_norm : float, optional
            Gradients with a larger norm (over all parameters together) are scaled down to it.
        groups : Groups, optional
            Rates and decay by layer and by kind of parameter; frozen layers.
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Evaluated after each epoch.
        sample_weight : array-like, shape (n,), optional
            At least 0, not all 0.
        shuffle : bool
            Visit the samples in a new random order each epoch.
        callbacks : iterable of callables
            Called with a ``fastmlp.State`` after each epoch; True ends the fit.
        n_threads : int, optional
            Threads to use; by default what the machine allows, and one where more cannot pay.
        verbose : bool
            Show progress: a tqdm bar if tqdm is installed, else a line an epoch.

        Returns
        -------
        History
            Lists ``loss``, ``val_loss``, ``seconds``, ``learning_rate``, one entry an epoch.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; the model is unchanged.
        DivergenceError
            In the epoch in which the loss or a weight is no longer finite; the model keeps the
            weights from before that epoch.
        RuntimeError
            If another fit is running on this model.
        KeyboardInterrupt
            When interrupted; the model is at its last whole epoch, and usable, and ``history``
            has the epochs until then.
        """
        history = History()
        with self._turn.taken(), self._kept(lambda: bool(history.loss)):
            data = check.data(X, y, sample_weight, self._spec)
            plan = self._plan(data, batch_size, optimizer, l2, clip_norm, groups)
            epochs = check_count("epochs", epochs, example=20)
            hooks = check.callbacks(callbacks)
            lent = self._team(n_threads, plan)
            validation = check.validation(validation_data, self._spec)
            self._progress, self._history = None, history
            if verbose:
                hooks.append(Progress())
            course = self._course(history, plan, hooks, epochs, validation)
            course.reorder = self._shuffled if shuffle else None
            with lent as plan.team, course.reporter.watching():
                self._engine.start(plan.optimizer)
                plan.seed = loop.next_seed(self._rng)
                loop.run(data, plan, course)
            return history

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        batch_size: int | None = None,
        optimizer: Optimizer | None = None,
        l2: float = 0.0,
        clip_norm: float | None = None,
        groups: Groups | None = None,
        n_threads: int | None = None,
    ) -> float:
        """Take one pass over the samples, in their order, and keep the optimizer's state.

        The state (moments, step count) lives on from call to call, in copies and in pickles, while
        ``optimizer`` is that of the last call; its learning rate may change. Another optimizer, or
        a fit, begins anew.

        Parameters
        ----------
        X, y, sample_weight, optimizer, l2, clip_norm, groups, n_threads
            As for :meth:`fit`.
        batch_size : int, optional
            Samples a step; by default all: one step.

        Returns
        -------
        float
            The objective of the pass, as in ``History.loss``.

        Raises
        ------
        TypeError, ValueError, DivergenceError, RuntimeError, KeyboardInterrupt
            As for :meth:`fit`; the model then has the weights from before the call.
        """
        with self._turn.taken(), self._kept():
            data = check.data(X, y, sample_weight, self._spec)
            rows = data.x.shape[0] if batch_size is None else batch_size
            plan = self._plan(data, rows, optimizer, l2, clip_norm, groups)
            lent = self._team(n_threads, plan)
            kind = plan.optimizer.native_row, plan.optimizer.hyper
            if (
                self._progress is None
                or self._progress.kind != kind
                or not self._engine.can_go_on(self._progress.step)
            ):
                self._engine.start(plan.optimizer)
                self._progress = Continuation(kind, 0, loop.next_seed(self._rng))
            plan.seed = self._progress.seed
            course = self._course(History(), plan)
            course.rates.step = self._progress.step
            with lent as plan.team:
                loop.run(data, plan, course)
            self._progress = Continuation(kind, course.rates.step, plan.seed)
            return course.reporter.state.loss

    def _course(
        self,
        history: History,
        plan: Plan,
        callbacks: Sequence[Callback] = (),
        epochs: int = 1,
        validation: Data | None = None,
    ) -> Course:
        engine = self._engine
        state = State(self, epochs, history, validation is not None, engine=engine)
        return Course(
            engine.epoch,
            Rates(plan.optimizer.learning_rate),
            Judge(engine, validation),
            Reporter(state, callbacks),
        )

    def _shuffled(self, order: Order) -> Order:
        self._engine.shuffle(order, loop.next_seed(self._rng))
        return order

    def _team(self, n_threads: Any, plan: Plan) -> AbstractContextManager[Team | None]:
        wanted = None if n_threads is None else check_count("n_threads", n_threads, example=2)
        return fit_team(wanted, self._n_weights, plan.batch_size)

    def _plan(
        self, data: Data, batch_size: Any, optimizer: Any, l2: Any, clip_norm: Any, groups: Any
    ) -> Plan:
        return Plan(
            optimizer=check.optimizer(optimizer),
            batch_size=min(check_count("batch_size", batch_size, example=64), data.x.shape[0]),
            learning_rates=np.empty(0),
            l2=NON_NEGATIVE.check("l2", l2, example=1e-4),
            clip_norm=check.clip_norm(clip_norm),
            groups=check.groups(groups, self._spec),
        )
