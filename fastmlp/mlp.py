"""The MLP: what a user holds. Arguments are checked (check), one engine does the arithmetic.

Nothing numerical happens here, and nothing here knows which engine it drives: the native one, or
the NumPy one of ``fastmlp.reference``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastmlp import check, initializers, plans, training
from fastmlp.callbacks import Progress
from fastmlp.engine.contract import Predictor
from fastmlp.groups import Groups
from fastmlp.initializers import Initializer
from fastmlp.intervals import NON_NEGATIVE, check_count
from fastmlp.losses import Loss
from fastmlp.network import Network
from fastmlp.optimizers import Optimizer
from fastmlp.records import History
from fastmlp.schedules import Scheduled
from fastmlp.spec import Plan, build
from fastmlp.threads import borrowed_team, for_call, for_fit
from fastmlp.training import Callback


class MLP(Network):
    """A multi-layer perceptron: affine layers with an activation between each two.

    Layer k computes ``y = activation(x @ W + b)``; the last one has no activation: its output
    goes to the loss, whose link makes the prediction.

    Parameters
    ----------
    layer_sizes : sequence of int
        Inputs, hidden layers, outputs: at least two sizes, each from 1 to 2**31 - 1.
    activation : str or sequence of str
        One for all hidden layers, or one for each: identity, relu, leaky_relu, elu, selu,
        softplus, sigmoid, tanh, gelu, gelu_tanh, silu or mish.
    loss : str or Loss
        squared_error, absolute_error, huber, quantile, poisson_nll, gaussian_nll, cross_entropy,
        binary_cross_entropy, or an object of ``fastmlp.losses`` with its parameters. Every loss
        is a sum over outputs and a (weighted) mean over samples.
    dtype : {"float32", "float64"}
        Of weights, arithmetic and predictions.
    dropout : float or sequence of float
        Probability, from 0 to below 1, that a hidden value is dropped in training; for all hidden
        layers or for each.
    initializer : str or sequence, optional
        How first weights are drawn, see ``fastmlp.initializers``; by default it fits the
        activation. Biases start at 0.
    rng : int, numpy.random.Generator or None
        Source of first weights, shuffling and dropout. A generator is used, not copied; None
        takes a seed from the system.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; before anything is allocated.
    MemoryError
        If the weights do not fit into memory.

    Notes
    -----
    The same program gives the same bits, whatever the number of threads. Predictions may run
    concurrently. A fit is exclusive: a second one, or an assignment of weights from another
    thread while one runs, raises RuntimeError; predictions, copies and pickles meanwhile see the
    last whole epoch. Models can be copied and pickled (parameters, generator, history, and what
    ``partial_fit`` and ``resume`` go on with); unpickle only what you trust.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> x = np.linspace(-1, 1, 200)[:, np.newaxis]
    >>> net = fastmlp.MLP([1, 16, 1], activation="tanh", rng=0)
    >>> history = net.fit(x, x**2, epochs=200, optimizer=fastmlp.Adam(learning_rate=1e-2))
    >>> history.loss[-1] < 1e-3
    True
    """

    def __init__(
        self,
        layer_sizes: Sequence[int] | NDArray[Any],
        *,
        activation: str | Sequence[str] = "relu",
        loss: str | Loss = "squared_error",
        dtype: DTypeLike = "float32",
        dropout: float | Sequence[float] = 0.0,
        initializer: Initializer = None,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        spec = build(layer_sizes, activation, loss, dtype, dropout)
        names = initializers.names(spec, initializer)  # complains before memory is taken
        super().__init__(spec, check.generator(rng))
        self._engine.set_parameters(*initializers.draw(spec, self._rng, names))

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
        dropout: Scheduled | Sequence[Scheduled] | None = None,
        validation_data: Sequence[ArrayLike] | None = None,
        sample_weight: ArrayLike | None = None,
        shuffle: bool = True,
        callbacks: Iterable[Callback] = (),
        n_threads: int | None = None,
        verbose: bool = False,
        resume: bool = False,
    ) -> History:
        """Train, beginning with the weights of now and a fresh optimizer, or going on.

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
            Samples, finite. Never changed, and not copied if of the model's dtype (any strides).
        y : array-like
            Targets, shape (n, outputs), or (n,) with one output. For cross_entropy integer labels
            (n,) from 0, or probabilities (n, classes) whose rows sum to 1.
        epochs : int
            Passes over the data, at least 1; with ``resume`` those before included.
        batch_size : int
            Samples a step, at least 1; larger than n means n.
        optimizer : SGD, RMSprop, Adam or AdamW, optional
            ``Adam()`` by default.
        l2 : float
            The objective has 0.5 * l2 * sum(W**2) added, over weights and not biases; at least 0.
        clip_norm : float, optional
            Gradients with a larger norm (over all parameters together) are scaled down to it.
        groups : Groups, optional
            Rates and decay by layer, for weights and biases; frozen layers.
        dropout : float, callable ``step -> float``, or sequence of them, optional
            Of this fit, in place of the model's, which is a number: dropout is part of training,
            predictions know none. For all hidden layers or for each; values from 0 to below 1.
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
        resume : bool
            Go on where the last fit ended, also in a copy or a pickle: with its optimizer's state,
            steps of schedules, order of samples, history. The same call again ends as one that was
            not cut. Callbacks begin anew. All may change but the optimizer's kind, the number of
            samples, and whether there is validation data.

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
        history, resumed, n_before = History(), None, 0
        with self._turn.taken(), self._kept(lambda: len(history.loss) > n_before):
            data = check.data(X, y, sample_weight, self._spec)
            given = batch_size, optimizer, l2, clip_norm, groups, dropout
            plan = plans.plan(self._spec, data, *given)
            epochs = check_count("epochs", epochs, example=20)
            hooks = check.callbacks(callbacks)
            team_size = self._team_size(n_threads, plan)
            validation = check.validation(validation_data, self._spec)
            if resume:
                resumed, history = plans.resumed(
                    self._progress, self._history, self._engine, plan, data, validation, epochs
                )
                n_before = resumed.epochs
            self._progress, self._history = resumed, history
            training.fit(
                self,
                self._engine,
                data,
                validation,
                plan,
                epochs=epochs,
                shuffle=bool(shuffle),
                callbacks=[*hooks, Progress()] if verbose else hooks,
                n_threads=team_size,
                rng=self._rng,
                history=history,
                resumed=resumed,
            )
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
        dropout: Scheduled | Sequence[Scheduled] | None = None,
        n_threads: int | None = None,
    ) -> float:
        """Take one pass over the samples, in their order, and keep the optimizer's state.

        The state (moments, step count) lives on from call to call, in copies and in pickles, while
        ``optimizer`` is that of the last call; its learning rate and weight decay may change.
        Another optimizer, or a fit, begins anew.

        Parameters
        ----------
        X, y, sample_weight, optimizer, l2, clip_norm, groups, dropout, n_threads
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
            plan = plans.plan(self._spec, data, rows, optimizer, l2, clip_norm, groups, dropout)
            team_size = self._team_size(n_threads, plan)
            n_steps = -(-data.x.shape[0] // plan.batch_size)
            begun = plans.of_pass(self._progress, self._engine, plan, self._rng)
            plan.step, plan.seed = begun.step, begun.seed
            plan.learning_rates = training.step_rates(plan.optimizer, plan.step, n_steps)
            plan.look_up(n_steps)
            with borrowed_team(team_size) as plan.team:
                loss = training.guarded_epoch(self._engine, data, plan, 0, History())
            self._progress = begun._replace(step=plan.step + n_steps)
            return loss

    def predict(self, X: ArrayLike) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Predict: the loss's link applied to the network's output.

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
            Samples; 0 rows give an empty result.

        Returns
        -------
        array of the model's dtype, shape (n, outputs)
            Always 2-D. Class probabilities for cross_entropy, probabilities for
            binary_cross_entropy, rates for poisson_nll, else the fitted mean, median or quantile.
        tuple (means, variances) of such arrays
            For gaussian_nll with predicted variance.

        Raises
        ------
        TypeError, ValueError
            If X is not as described.
        """
        z: Any = self._engine.predict_row(X)  # None: not that plain
        if z is None:
            x = check.inputs(X, self._spec, empty=True)
            with borrowed_team(for_call(self._n_weights, x.shape[0])) as team:
                z = self._engine.predict(x, team)
        if not self._two_headed:
            one_head: NDArray[Any] = z
            return one_head
        m = self._spec.n_outputs
        return z[:, :m], z[:, m:]

    def predictor(self, n_threads: int | None = None) -> Predictor:
        """Return a function of the weights of now: the fast way to many single predictions.

        Parameters
        ----------
        n_threads : int, optional
            The most threads for large batches; by default as many as the machine has.

        Returns
        -------
        fastmlp.predictor.Predictor
            Called with one row (fan-in,) or a batch (n, fan-in), and ``out=`` if wanted; safe to
            call from many threads. Later fits do not change it.

        Examples
        --------
        >>> import fastmlp, numpy as np
        >>> p = fastmlp.MLP([2, 8, 1], rng=0).predictor()
        >>> p(np.zeros(2, np.float32)).shape
        (1,)
        """
        if n_threads is not None:
            n_threads = check_count("n_threads", n_threads, example=2)
        return self._engine.predictor(n_threads)

    def jacobian(self, X: ArrayLike) -> NDArray[Any]:
        """Return the derivatives of the predictions with respect to the inputs.

        Parameters
        ----------
        X : array-like, shape (fan-in,) for one sample or (n, fan-in)
            Where to differentiate.

        Returns
        -------
        array of the model's dtype, shape (outputs, fan-in) or (n, outputs, fan-in)
            The link is included. With predicted variances the outputs are all means, then all
            variances. Repacks the weights in every call: for many calls use
            ``net.predictor().jacobian``.

        Raises
        ------
        TypeError, ValueError
            If X is not as described.
        """
        x = check.numeric(X, "X")
        rows = check.inputs(x[np.newaxis] if x.ndim == 1 else x, self._spec, empty=True)
        derivatives = self._engine.jacobian(rows)
        return derivatives[0] if x.ndim == 1 else derivatives

    def evaluate(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the loss on data: weighted mean over samples, no penalty, no dropout.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.
        """
        data = check.data(X, y, sample_weight, self._spec)
        with borrowed_team(for_call(self._n_weights, data.x.shape[0])) as team:
            return float(self._engine.evaluate(data, team))

    def gradients(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        l2: float = 0.0,
    ) -> tuple[float, list[NDArray[Any]], list[NDArray[Any]]]:
        """Return objective and gradient of one batch, without dropout; the model is not changed.

        Parameters
        ----------
        X, y, sample_weight, l2
            As for :meth:`fit`; all rows are one batch.

        Returns
        -------
        objective : float
            Loss and penalty.
        weight_gradients : list of arrays, shapes (fan_in, fan_out)
            Derivatives of the objective, one array a layer.
        bias_gradients : list of arrays, shapes (fan_out,)
            The same for the biases.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.
        """
        data = check.data(X, y, sample_weight, self._spec)
        l2 = NON_NEGATIVE.check("l2", l2, example=1e-4)
        with borrowed_team(for_fit(None, self._n_weights, data.x.shape[0])) as team:
            objective, weights, biases = self._engine.gradients(data, l2, team)
        return float(objective), weights, biases

    def _team_size(self, n_threads: Any, plan: Plan) -> int:
        wanted = None if n_threads is None else check_count("n_threads", n_threads, example=2)
        return for_fit(wanted, self._n_weights, plan.batch_size)
