"""Training of one network: ``fit`` and ``partial_fit``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from fastmlp._core.history import History, State
from fastmlp._core.intervals import check_count
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_count import fit_team
from fastmlp._engine.thread_pool import Team
from fastmlp._models.base import Model
from fastmlp._models.runner import Runner, one_pass
from fastmlp._models.snapshot import PublishedSnapshot, Rollback
from fastmlp._network.data import Data
from fastmlp._training import planning
from fastmlp._training.loop import Evaluator
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal

if TYPE_CHECKING:  # imported where few fits need it
    from numpy.typing import ArrayLike

    from fastmlp._core.communicators import Communicator
    from fastmlp._engine.protocol import Engine
    from fastmlp._network.averaging import Averaging
    from fastmlp._network.groups import Groups
    from fastmlp._network.names import OptimizerName
    from fastmlp._network.optimizers import Optimizer
    from fastmlp._network.scheduled import Scheduled
    from fastmlp._training.callback_list import Callback
    from fastmlp._training.metrics import Metrics
    from fastmlp._training.sources import Source


class Learner(Model):
    """The part of ``MLP`` that trains, not for users."""

    def fit(
        self,
        X: ArrayLike | Source,
        y: ArrayLike | None = None,
        *,
        epochs: int = 20,
        batch_size: int = 64,
        optimizer: Optimizer | OptimizerName | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        groups: Groups | None = None,
        dropout: Scheduled | Sequence[Scheduled] | None = None,
        averaging: Averaging | None = None,
        validation_data: Sequence[ArrayLike] | None = None,
        sample_weight: ArrayLike | None = None,
        shuffle: bool = True,
        shuffle_buffer: int | None = None,
        metrics: Metrics = (),
        callbacks: Iterable[Callback] = (),
        n_threads: int | None = None,
        verbose: bool = False,
        resume: bool | str | os.PathLike[str] = False,
        communicator: Communicator | Any = None,
    ) -> History:
        """Train, beginning with the weights of now and a fresh optimizer, or going on.

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
            Samples, finite. Never changed, and not copied if of the model's dtype (any strides).
            Or, without y, a source of blocks: a callable that is called once an epoch and returns
            an iterable, or an object that is iterated once an epoch, of tuples ``(X, y)`` or
            ``(X, y, sample_weight)``; see ``fastmlp.Blocks`` for arrays larger than memory. A
            thread reads, checks and copies one block ahead. Batches run on from block to block;
            every epoch must have the same number of rows. Errors of the source are raised here.
        y : array-like, optional
            Targets, shape (n, outputs), or (n,) with one output: then predictions are (n,) too,
            and ``predict(X) - y`` is what it says. For cross_entropy integer labels (n,) from 0,
            or probabilities (n, classes) whose rows sum to 1.
        epochs : int
            Passes over the data, at least 1; with ``resume`` those before included.
        batch_size : int
            Samples a step, at least 1; larger than n means n.
        optimizer : SGD, RMSprop, Adam, AdamW, Lion, CustomOptimizer or str, optional
            ``Adam()`` by default. The names sgd, rmsprop, adam, adamw and lion stand for the
            optimizers with their default options.
        l1, l2 : float
            The objective has l1 * sum(abs(W)) and 0.5 * l2 * sum(W**2) added, over weights alone;
            at least 0. The derivative of abs(W) at 0 is taken as 0: steps along it bring a weight
            near 0, and seldom to it.
        clip_norm : float, optional
            Gradients with a larger norm (over all parameters together) are scaled down to it.
        groups : Groups, optional
            Rates and decay by layer and by kind of parameter; frozen layers.
        dropout : float, callable ``step -> float``, or sequence of them, optional
            Of this fit, in place of the model's, which is a number: dropout is part of training,
            predictions know none. For all hidden layers or for each; values from 0 to below 1.
        averaging : EMA or SWA, optional
            Give the model after each epoch a mean of the weights that training has gone through, in
            place of the last ones: validation, metrics and callbacks see it (``on_batch`` that of
            the epoch before), ``EarlyStopping`` chooses among such means, and the fit ends with
            one. Training, and its loss, know nothing of it; ``resume`` goes on with the weights in
            training, unless others were assigned since. What callbacks assign stays until the next
            epoch. ``partial_fit`` has no averaging.
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Evaluated after each epoch.
        sample_weight : array-like, shape (n,), optional
            At least 0, not all 0; none above 0 but below the smallest normal number of the dtype.
        shuffle : bool
            Visit the samples in a new random order each epoch; those of a source within blocks.
        shuffle_buffer : int, optional
            Of a source: shuffle through a buffer of so many rows, at least 1, which lies in memory
            beside the blocks. Needed where the source's rows are sorted.
        metrics : sequence of str or callables, or dict, optional
            Measured after each epoch, for ``History.metrics``: accuracy, mean_squared_error,
            mean_absolute_error, r2, or callables ``(y, prediction) -> float`` that get checked
            targets, (n, outputs) or labels (n,), and predictions (n, outputs). On the validation
            data, as ``val_NAME``; without such, on all of X, which takes the time of a prediction
            and must be arrays.
        callbacks : iterable of callables
            Called with a ``fastmlp.State`` after each epoch; True ends the fit. A method
            ``on_batch(state, batch)`` is called with a ``fastmlp.Batch`` after each batch, and True
            undoes the epoch so far and ends the fit.
        n_threads : int, optional
            Threads to use; by default what the machine allows, and one where more cannot pay.
        verbose : bool
            Show progress: a tqdm bar if tqdm is installed, else a line an epoch.
        resume : bool, str or path
            Go on where the last fit ended, also in a copy or a pickle: with its optimizer's state,
            steps of schedules, order of samples, history. The same call again ends as one that was
            not cut. All may change but the optimizer's kind, the number of samples, and whether
            there is validation data. Callbacks begin anew, but for those that a
            ``fastmlp.Checkpoint`` has saved. A path is that of a checkpoint, which is loaded into
            this model first, and must be of the same data and ``batch_size``; if there is no such
            file, the fit begins at the beginning.
        communicator : mpi4py communicator or fastmlp.Communicator, optional
            Train with other processes, which call ``fit`` alike, each with its own rows of every
            batch of ``size * batch_size``; docs/processes.md. One thread each by default.

        Returns
        -------
        History
            Lists ``loss``, ``val_loss``, ``seconds``, ``learning_rate``, one entry an epoch, and
            such lists of the ``metrics``.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; the model is unchanged.
        DivergenceError
            In the epoch in which the loss or a weight is no longer finite; the model keeps the
            weights from before that epoch.
        RuntimeError
            If another fit is running on this model; a RankError if another process has failed.
        KeyboardInterrupt
            When interrupted; the model is at its last whole epoch, and usable, and ``history``
            has the epochs until then. Without callbacks, validation, metrics and averaging, many
            short epochs run in one call; an interrupt then undoes about 0.05 s of training.
        """
        with (
            planning.joined(communicator, self._engine) as others,
            self._turn.taken(),
            PublishedSnapshot(self),
            Runner(self, (self,), resume) as run,
        ):
            data = planning.data(X, y, sample_weight, self._spec, shuffle, shuffle_buffer)
            given = batch_size, optimizer, l1, l2, clip_norm, groups, dropout
            plan = planning.plan(self._spec, data, *given)
            run.options(epochs, shuffle, verbose, averaging, callbacks)
            functions = planning.metrics(metrics)
            lent = self._team(1 if others and n_threads is None else n_threads, plan)
            validation = check.validation(validation_data, self._spec)
            measured = data if validation is None else validation
            if functions and not isinstance(measured, Data):
                raise refusal("metrics", "source without validation_data")
            if functions and others:
                raise refusal("metrics", "communicator")
            if others and plan.optimizer.is_custom:
                raise refusal("CustomOptimizer", "communicator", optimizer=plan.optimizer)
            run.others, run.batch_size = others, batch_size

            def judge(state: State) -> Evaluator:
                if not (functions and isinstance(measured, Data)):
                    return Evaluator(self._engine, validation)
                from fastmlp._training.metrics import MetricEvaluator

                given = functions, state.history
                return MetricEvaluator(self._engine, validation, measured, *given)

            seen = [(data, validation)]
            return run.run([data], [plan], lent, judge, validation is not None, seen)

    def _become(self, other: Any) -> None:
        """Take over the state of another model of the same shape."""
        state = other.__getstate__()
        self._rng.bit_generator.state = other._rng.bit_generator.state
        self._engine.set_state(state["engine"])
        self._progress, self._history = state["progress"], other._history
        self._flat_y = other._flat_y

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        batch_size: int | None = None,
        optimizer: Optimizer | OptimizerName | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        groups: Groups | None = None,
        dropout: Scheduled | Sequence[Scheduled] | None = None,
        n_threads: int | None = None,
    ) -> float:
        """Take one pass over the samples, in their order, and keep the optimizer's state.

        The state (moments, step count) lives on from call to call, in copies and in pickles, while
        ``optimizer`` is that of the last call; its learning rate and weight decay may change.
        Another optimizer, or a fit, begins anew.

        Parameters
        ----------
        X, y, sample_weight, optimizer, l1, l2, clip_norm, groups, dropout, n_threads
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
        with self._turn.taken(), Rollback(self._undo()):
            data = check.data(X, y, sample_weight, self._spec)
            rows = data.x.shape[0] if batch_size is None else batch_size
            given = rows, optimizer, l1, l2, clip_norm, groups, dropout
            plan = planning.plan(self._spec, data, *given)
            return one_pass((self,), (data,), (plan,), self._team(n_threads, plan))

    def _engines(self) -> Engine:
        """Return what a fit trains: the engine, of an ensemble all of them."""
        return self._engine

    def _team(self, n_threads: Any, plan: Plan) -> AbstractContextManager[Team | None]:
        wanted = None if n_threads is None else check_count("n_threads", n_threads, example=2)
        return fit_team(wanted, self._n_weights, plan.batch_size)
