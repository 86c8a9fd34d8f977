"""Training of one network: ``fit`` and ``partial_fit``."""

from __future__ import annotations

import operator
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
from fastmlp._network.data import Data
from fastmlp._network.layer_options import is_sequence
from fastmlp._training import planning
from fastmlp._training.loop import Evaluator
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal

if TYPE_CHECKING:  # imported on use: few fits need the rest
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
    from fastmlp._training.sources import BlockStream, Source


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
        validation_data: Sequence[ArrayLike] | Source | None = None,
        sample_weight: ArrayLike | None = None,
        shuffle: bool = True,
        shuffle_buffer: int | None = None,
        metrics: Metrics = (),
        callbacks: Iterable[Callback] = (),
        n_threads: int | None = None,
        verbose: bool | int = False,
        resume: bool | str | os.PathLike[str] = False,
        communicator: Communicator | Any = None,
    ) -> History:
        """Train from the current weights with a new optimizer state, or resume the last fit.

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
            Finite inputs. They are never changed, and not copied if they have the model's dtype.
            Without y, a source of blocks: a callable that returns an iterable, or an object that is
            iterated, once per epoch, of tuples ``(X, y)`` or ``(X, y, sample_weight)``; see
            ``fastmlp.Blocks`` for arrays larger than memory. A thread reads, checks and copies one
            block ahead. Batches continue from block to block; every epoch must have the same number
            of rows. Errors of the source are raised here.
        y : array-like, optional
            Targets, shape (n, outputs), or (n,) for one output: then predictions are (n,), too. For
            cross_entropy integer labels (n,) from 0, or probabilities (n, classes) whose rows sum
            to 1.
        epochs : int
            Passes over the data, at least 1; with ``resume`` including those of the resumed fit.
        batch_size : int
            Samples per step, at least 1; larger than n means n.
        optimizer : SGD, RMSprop, Adam, AdamW, Lion or str, optional
            ``Adam()`` by default. The names sgd, rmsprop, adam, adamw and lion stand for the
            optimizers with their default options.
        l1, l2 : float
            Penalties l1 * sum(abs(W)) and 0.5 * l2 * sum(W**2) in the objective, over weights only;
            at least 0. The derivative of abs(W) at 0 is taken as 0, so weights come near 0 but
            rarely reach it.
        clip_norm : float, optional
            Largest norm of the gradient over all parameters; larger gradients are scaled down.
        groups : Groups, optional
            Learning rates and decay by layer and by kind of parameter; frozen layers.
        dropout : float, callable ``step -> float``, or sequence of them, optional
            Dropout of this fit, in place of the model's, for all hidden layers or per layer; values
            from 0 to below 1.
        averaging : EMA or SWA, optional
            After each epoch, give the model a mean of its weights over the training so far:
            validation, metrics and callbacks see the mean (``on_batch`` that of the epoch before),
            ``EarlyStopping`` selects among means, and the fit ends with one. Training and its loss
            use the weights without averaging; ``resume`` continues with these, unless others were
            assigned since. Weights that callbacks assign stay until the next epoch.
        validation_data : tuple (X, y) or (X, y, sample_weight), or source of such, optional
            Data on which the loss is evaluated after each epoch; a source is read anew each time.
        sample_weight : array-like, shape (n,), optional
            Weights of at least 0, not all 0; positive ones must be normal numbers of the dtype.
        shuffle : bool
            Whether to visit the samples in a new random order in each epoch; the rows of a source
            are shuffled within blocks.
        shuffle_buffer : int, optional
            Number of rows, at least 1, in a buffer through which a source is shuffled, beside the
            blocks in memory. Needed where the rows of the source are sorted; it mixes only the rows
            that it holds, and a fit warns if that is not enough.
        metrics : sequence of str or callables, or dict, optional
            Metrics for ``History.metrics``, computed after each epoch: accuracy,
            mean_squared_error, mean_absolute_error, r2, or callables ``(y, prediction) -> float``
            that get checked targets, (n, outputs) or labels (n,), and predictions (n, outputs).
            They use the validation data, with names ``val_NAME``, or else all of X; these must
            be arrays. Sample weights are not used. This takes the time of a prediction.
        callbacks : iterable of callables
            Called with a ``fastmlp.State`` after each epoch; returning True ends the fit. A method
            ``on_batch(state, batch)`` is called with a ``fastmlp.Batch`` after each batch; True
            undoes the current epoch and ends the fit.
        n_threads : int, optional
            Number of threads; by default as many as the machine allows and the network can use.
        verbose : bool or int
            Whether to show progress: a tqdm bar if tqdm is installed, else a line per epoch. An
            integer counts as True unless it is 0.
        resume : bool, str or path
            True continues the last fit, also in a copy or pickle, with its optimizer state,
            schedules, order of samples and history, and gives the result of an uninterrupted fit.
            All options may change but the optimizer's kind, the number of samples, and whether
            there is validation data. Callbacks start anew, except for those saved by a
            ``fastmlp.Checkpoint``. A path loads that checkpoint into this model first, and requires
            the same data and ``batch_size``; without such a file the fit starts anew.
        communicator : mpi4py communicator or fastmlp.Communicator, optional
            Train with other processes, which call ``fit`` alike, each with its own rows of every
            batch of ``size * batch_size``; docs/processes.md. One thread each by default.

        Returns
        -------
        History
            Losses, seconds, learning rates and metrics, one entry per epoch.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid; the model is unchanged.
        DivergenceError
            If the loss or a weight becomes non-finite; the model keeps the weights from before that
            epoch.
        RuntimeError
            If another fit is running on this model; a RankError if another process has failed.
        KeyboardInterrupt
            If interrupted; model and ``history`` are then at the last completed epoch. Without
            callbacks, validation, metrics and averaging, many short epochs run in one call; an
            interrupt then undoes about 0.05 s of training.
        """
        with (
            planning.joined(communicator, self._engine) as others,
            self._lock.taken(),
            Runner(self, (self,), resume) as run,
        ):
            data = planning.data(X, y, sample_weight, self._spec, shuffle, shuffle_buffer)
            plan = self._plan(data, batch_size, optimizer, l1, l2, clip_norm, groups, dropout)
            run.options(epochs, shuffle, verbose, averaging, callbacks)
            functions = planning.metrics(metrics)
            lent = self._team(1 if others and n_threads is None else n_threads, plan)
            validation = planning.validation(validation_data, self._spec)
            measured = data if validation is None else validation
            if functions and not isinstance(measured, Data):
                name = "X" if validation is None else "validation_data"
                raise refusal("metrics", "source", name=name)
            if functions and others:
                raise refusal("metrics", "communicator")
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
        y: ArrayLike | None = None,
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
        """Train for one pass over the samples, in their order, and keep the optimizer's state.

        The state (moments, step count) lasts from call to call, also in copies and pickles. The
        learning rate and the weight decay of ``optimizer`` may change between calls; another kind
        of optimizer, or a fit, starts anew.

        Parameters
        ----------
        X, y, sample_weight, optimizer, l1, l2, clip_norm, groups, dropout, n_threads
            As for :meth:`fit`.
        batch_size : int, optional
            Samples per step; by default all, in one step.

        Returns
        -------
        float
            The objective of the pass, as in ``History.loss``.

        Raises
        ------
        TypeError, ValueError, DivergenceError, RuntimeError, KeyboardInterrupt
            As for :meth:`fit`; the model then has the weights from before the call.
        """
        with self._lock.taken():
            data = check.data(X, y, sample_weight, self._spec)
            rows = data.rows if batch_size is None else batch_size
            plan = self._plan(data, rows, optimizer, l1, l2, clip_norm, groups, dropout)
            lent = self._team(n_threads, plan)
            draws = not planning.goes_on(self._progress, self._engine, plan)
            undo = self._undo(draws=draws)
            try:
                return one_pass((self,), (data,), (plan,), lent)
            except BaseException:
                undo()
                raise

    def _plan(self, data: Data | BlockStream, batch_size: int, *given: Any) -> Plan:
        """Return the plan of a call; the checks of the last one hold for the same objects."""
        # Only integers are compared: == of other objects may be anything, or raise an error.
        size = batch_size if type(batch_size) is int else check_count("batch_size", batch_size, 64)
        rows, last = (data.rows, size), self._last_plan
        if not (rows == last[0] and all(map(operator.is_, given, last[1]))):
            last = rows, given, planning.plan(self._spec, data, size, *given)
            if not is_sequence(given[-1]):  # a list of dropouts may change
                self._last_plan = last
        plan: Plan = last[2]
        return plan.again()

    def _engines(self) -> Engine:
        """Return the engine; an ensemble returns those of all members as one."""
        return self._engine

    def _team(self, n_threads: Any, plan: Plan) -> AbstractContextManager[Team | None]:
        wanted = None if n_threads is None else check_count("n_threads", n_threads, example=2)
        return fit_team(wanted, self._n_weights, plan.batch_size)
