"""The class MLP: checked arguments go to an engine, native or NumPy's, which computes."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Never, Self

import numpy as np

from fastmlp._core.history import History
from fastmlp._core.intervals import check_count, check_flag
from fastmlp._core.keywords import unexpected, with_argument_hints
from fastmlp._engine import compiled, linked
from fastmlp._engine.explainable import Explainable
from fastmlp._engine.exportable import Exportable
from fastmlp._engine.thread_count import call_team, fit_team
from fastmlp._models import derivatives
from fastmlp._models.fit import Fit, FitOptions, one_pass
from fastmlp._models.network import Network, NetworkState
from fastmlp._models.parameter_list import ParameterProperty, spec_property, vector_property
from fastmlp._models.trainer import Trainer
from fastmlp._network import initializers
from fastmlp._network.data import Data
from fastmlp._network.optimizers import LBFGS, SGD
from fastmlp._network.spec import Compute, Spec, build
from fastmlp._network.tensors import TENSORS
from fastmlp._training import planning
from fastmlp._training.planning import GivenRows, Shuffling, StepOptions
from fastmlp._validation import check

if TYPE_CHECKING:  # of these, the calls that need one import it
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from fastmlp._core.communicators import Communicator
    from fastmlp._engine.any_predictor import Predictor
    from fastmlp._engine.protocol import Engine
    from fastmlp._network.activations import ActivationName
    from fastmlp._network.averaging import Averaging
    from fastmlp._network.exported import Exported
    from fastmlp._network.functions.activation import CustomActivation
    from fastmlp._network.groups import Groups
    from fastmlp._network.initializers import Initializer
    from fastmlp._network.losses import Loss, LossName
    from fastmlp._network.names import NormPosition, OptimizerName
    from fastmlp._network.optimizers import Optimizer
    from fastmlp._network.scheduled import Scheduled
    from fastmlp._network.spec import Activations, Predictions
    from fastmlp._training.callback_list import Callback
    from fastmlp._training.metrics import Metrics
    from fastmlp._training.sources import Source


@partial(with_argument_hints, plain=("predict",))
class MLP(Exportable, Explainable):
    """A neural network of layers, a multi-layer perceptron: numbers go in, numbers come out.

    Take it for arrays of numbers of one scale, when you want to choose layers, loss and optimizer
    yourself. For a data frame with words and gaps take `TabMLPRegressor` or `TabMLPClassifier`.
    Between its layers, which are affine, is an activation.

    Layer k computes ``y = activation(x @ W + b)``; the last one has no activation: its output
    goes to the loss, whose link makes the prediction.

    Parameters
    ----------
    layer_sizes : sequence of int
        Inputs, hidden layers, outputs: at least two sizes, each from 1 to 2**31 - 1.
    activation : str, CustomActivation, or sequence of them
        One for all hidden layers, or one for each: identity, relu, leaky_relu (0.01 z below 0), elu
        (alpha 1), selu, softplus, sigmoid, tanh, gelu, gelu_tanh, silu, mish, or one of your own.
    loss : str or Loss
        A key of ``fastmlp.losses.LOSSES``, such as squared_error, absolute_error, poisson_nll,
        cross_entropy or binary_cross_entropy, an object of ``fastmlp.losses``, or a
        ``fastmlp.CustomLoss``. Every loss is a sum over outputs and a (weighted) mean over samples.
    dtype : {"float32", "float64"}
        Of weights, arithmetic and predictions.
    dropout : float or sequence of float, for all hidden layers or for each
        Probability of dropping a hidden output in training, from 0 to below 1.
    layer_norm : None, "before", "after" or sequence of these
        Scale each row of a hidden layer to mean 0 and variance 1 (epsilon 1e-5), times ``gains``
        plus ``shifts`` (Ba, Kiros and Hinton 2016), before or after the activation, in all or each.
    scale : bool
        Multiply each input by a parameter, initially 1, before the first layer: ``scales[0]``. It
        learns which inputs matter (Holzmueller, Grinsztajn and Steinwart 2024, RealMLP); its rate
        is ``Groups(scale_rate=...)``.
    parametric : bool or sequence of bool, for all hidden layers or for each
        Replace the activation f of a hidden layer by ``(1 - a) z + a f(z)``, with one parameter a
        per unit, initially 1: ``alphas``. A unit with a = 0 is linear (RealMLP, as above); the rate
        is ``Groups(activation_rate=...)``.
    skip : int, optional
        Number of hidden layers in a residual block: the input of a block is added to the output of
        its last layer, ``y = dropout(activation(x @ W + b)) + y_in`` (He, Zhang, Ren and Sun 2016,
        identity mappings). Of successive hidden layers of equal width the first is in no block:
        ``MLP([8, 64, 64, 64, 64, 64, 1], skip=2)`` has two blocks.
    linear_path : bool
        Add a linear function of the inputs to the outputs of the last layer, before the link:
        ``z = y @ W + b + x @ linear_weights[0]`` (Cheng et al. 2016, wide and deep). These weights
        are initially 0; with ``scale``, x is the scaled input.
    compute : None or "bfloat16"
        Round the factors of matrix products to bfloat16 (8 bits of precision) in training and
        ``gradients``, where the CPU has AMX or AVX512-BF16 and multiplies them faster; sums,
        weights, the optimizer and predictions stay float32 (Kalamkar et al. 2019,
        arXiv:1905.12322). Batches of fewer than 32 rows are slower so. Layers with one output or
        fewer than 1,024 weights are not rounded. Other CPUs train in float32 (see
        ``show_config``), so the bits depend on the CPU. Needs ``dtype="float32"``.
    initializer : str or sequence, optional
        Distribution of the initial weights, see ``fastmlp.initializers``; the default depends on
        the activation. Biases start at 0.
    rng : int, numpy.random.Generator or None
        Source of initial weights, shuffling and dropout. A generator is used, not copied; None
        takes a seed from the system.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; before anything is allocated.
    MemoryError
        If the weights do not fit into memory.

    Notes
    -----
    The same program gives the same bits, whatever the number of threads. Predictions may run
    concurrently. A fit is exclusive: meanwhile another thread that calls a second fit, assigns
    weights, or copies, pickles or saves the model gets a RuntimeError; its predictions and
    predictors use the weights of the last completed epoch (of a source: block). Callbacks may do
    all but a second fit. Copies, pickles and files contain parameters, generator, history, and the
    state from which ``partial_fit`` and ``resume`` continue. Unpickle only trusted data;
    ``fastmlp.load`` is safe.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> x = np.linspace(-1, 1, 200)[:, np.newaxis]
    >>> net = fastmlp.MLP([1, 16, 1], activation="tanh", rng=0)
    >>> history = net.fit(x, x**2)
    >>> history.loss[-1] < 1e-4
    True
    >>> deep = fastmlp.MLP([1, 16, 16, 16, 1], skip=2, linear_path=True, rng=0)
    >>> deep.linear_weights[0].tolist()
    [[0.0]]
    """

    _make_engine: Callable[[Spec], Engine] = staticmethod(compiled)

    # One for each row of TENSORS, made below; declared here for type checkers.
    weights: ParameterProperty
    biases: ParameterProperty
    gains: ParameterProperty
    shifts: ParameterProperty
    scales: ParameterProperty
    alphas: ParameterProperty
    linear_weights: ParameterProperty

    def __init__(
        self,
        layer_sizes: Sequence[int] | NDArray[Any],
        *,
        activation: Activations = "relu",
        loss: LossName | Loss = "squared_error",
        dtype: DTypeLike = "float32",
        dropout: float | Sequence[float] = 0.0,
        layer_norm: NormPosition | Sequence[NormPosition | None] | None = None,
        scale: bool = False,
        parametric: bool | Sequence[bool] = False,
        skip: int | None = None,
        linear_path: bool = False,
        compute: Compute = None,
        initializer: Initializer = None,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        spec = build(
            layer_sizes,
            activation,
            loss,
            dtype,
            dropout,
            layer_norm,
            scale,
            parametric,
            skip,
            linear_path,
            compute,
        )
        names = initializers.names(spec, initializer)  # raises errors before memory is allocated
        self._network = Network(spec, check.generator(rng), self._make_engine)
        self._network.engine.set_parameters(*initializers.draw(spec, self._network.rng, names))

    n_parameters: int = spec_property(
        "n_parameters", "Number of elements of all weights, biases and other parameters."
    )
    parameters_vector: NDArray[Any] = vector_property()
    layer_sizes: tuple[int, ...] = spec_property("layer_sizes", "Inputs, hidden layers, outputs.")
    activations: tuple[ActivationName | CustomActivation, ...] = spec_property(
        "activations", "Activation of each hidden layer: its name, or one of the user's own."
    )
    dropout: tuple[float, ...] = spec_property("dropout", "Drop probability of each hidden layer.")
    layer_norm: tuple[NormPosition | None, ...] = spec_property(
        "layer_norm",
        "Where each hidden layer is normalised: before or after its activation, or not.",
    )
    parametric: tuple[bool, ...] = spec_property(
        "parametric", "Whether the activation of each hidden layer is parametric."
    )
    scale: bool = spec_property("scale", "Whether the inputs are scaled by parameters.")
    skip: int | None = spec_property(
        "skip", "Hidden layers of a residual block; None without blocks."
    )
    linear_path: bool = spec_property(
        "linear_path", "Whether a linear path leads from the inputs to the outputs."
    )
    compute: Compute = spec_property(
        "compute", 'How training multiplies matrices: "bfloat16", or None for the dtype.'
    )
    loss: Loss = spec_property("loss", "The loss, as an object of ``fastmlp.losses``.")
    dtype: np.dtype[Any] = spec_property(
        "dtype", "The dtype of weights, arithmetic and predictions."
    )

    def summary(self) -> str:
        """Return a table of the layers: sizes, activations, options, parameters.

        Examples
        --------
        >>> import fastmlp
        >>> print(fastmlp.MLP([4, 16, 3], loss="cross_entropy", rng=0).summary())
        layer  inputs  outputs  activation  options  parameters
            0       4       16  relu                         80
            1      16        3  softmax                      51
        total                                               131
        """
        from fastmlp._models.summary import summary

        return summary(self._network.spec)

    def _repr_html_(self) -> str:
        """Return the table of the layers for notebooks."""
        from fastmlp._models.summary import as_html

        return as_html(self._network.spec)

    @property
    def history(self) -> History | None:
        """History of the last fit, even if interrupted or diverged; None before the first."""
        return self._network.history

    def fit(
        self,
        X: ArrayLike | Source,
        y: ArrayLike | None = None,
        *,
        epochs: int | None = None,
        batch_size: int = 64,
        optimizer: Optimizer | LBFGS | OptimizerName | Literal["lbfgs"] | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        groups: Groups | None = None,
        dropout: Scheduled | Sequence[Scheduled] | None = None,
        averaging: Averaging | None = None,
        validation_data: Sequence[ArrayLike | None] | Source | None = None,
        sample_weight: ArrayLike | None = None,
        dy: ArrayLike | None = None,
        dy_weight: float = 1.0,
        shuffle: bool = True,
        shuffle_buffer: int | None = None,
        shuffle_folder: str | os.PathLike[str] | None = None,
        metrics: Metrics = (),
        callbacks: Iterable[Callback] = (),
        n_threads: int | None = None,
        verbose: bool | int = False,
        resume: bool | str | os.PathLike[str] = False,
        communicator: Communicator | Any = None,
    ) -> History:
        """Train on samples and targets, from the current weights, or resume the last fit.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, fan-in)
            Finite inputs. They are never changed, and not copied if they have the model's dtype.
            A matrix of ``scipy.sparse``, or ``fastmlp.SparseRows``, is never made dense.
            Without y, a source of blocks: a callable that returns an iterable, or an object that is
            iterated, once per epoch, of tuples ``(X, y)``, ``(X, y, sample_weight)`` or ``(X, y,
            sample_weight, dy)``, the third or fourth possibly None. Every epoch must have the same
            number of rows. See docs/sources.md.
        y : array-like, optional
            Targets, shape (n, outputs), or (n,) for one output: then predictions are (n,), too. For
            cross_entropy integer labels (n,) from 0, or probabilities (n, classes) whose rows sum
            to 1. Of several outputs some may be NaN, which means missing, unless the loss is
            cross_entropy or one's own: they teach nothing, and have no share in the loss. With dy
            the target of one output may be missing, too.
        epochs : int, optional
            Passes over the data, at least 1; with ``resume`` including those of the resumed fit. By
            default 20. Without ``epochs`` and ``optimizer``, both are chosen for the rows and the
            network: at most 8,000 steps of AdamW, or 10 epochs if these are more, in one cycle of
            the rate (docs/reference/networks.md), except for a source and with a ``communicator``.
        batch_size : int
            Samples per step, at least 1; larger than n means n.
        optimizer : SGD, RMSprop, Adam, AdamW, Lion, LBFGS or str, optional
            ``Adam()`` by default, if there are ``epochs``. The names sgd, rmsprop, adam, adamw,
            lion and lbfgs stand for the optimizers with their default options. Iterations of
            ``LBFGS()`` count as epochs.
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
            ``EarlyStopping`` selects among means, and the fit ends with one. Training, its loss and
            ``resume`` use the weights without averaging, unless others were assigned since.
        validation_data : tuple (X, y[, sample_weight[, dy]]), or source of such, optional
            Data on which the loss is evaluated after each epoch, with the derivatives ``dy`` if
            there are any, at the same ``dy_weight``; a source is read anew each time.
        sample_weight : array-like, shape (n,) or (n, outputs), optional
            Weights of at least 0, not all 0; positive ones must be normal numbers of the dtype.
            With a weight for each target, the loss is the sum of weight times loss over all
            targets, divided by the sum over rows of the mean weight of a row's targets; the weight
            of a missing target is 0. Steps follow this loss for any batch size (docs/targets.md).
        dy : array-like, shape (n, fan-in) for one output, or (n, outputs, fan-in), optional
            Derivatives of the outputs by the inputs that the network shall have as well, NaN where
            unknown. The loss of a row increases by ``0.5 * dy_weight * (dz/dx - dy)**2``, summed
            over outputs and inputs. For losses whose predictions are the outputs; not for one's own
            functions. See docs/derivatives.md.
        dy_weight : float
            Weight of the derivatives beside the values, at least 0.
        shuffle : bool
            Whether to visit the samples in a new random order in each epoch; the rows of a source
            are shuffled within blocks, and blocks of arrays and files come in a random order.
        shuffle_buffer : int, optional
            Number of rows, at least 1, in a buffer through which a source is shuffled: needed where
            its rows are sorted. A fit warns if a buffer is not enough.
        shuffle_folder : str or path, optional
            Folder for a temporary file of all rows of a source, from which each epoch reads them in
            random order, ``shuffle_buffer`` rows (or 32 MB) in memory at a time. No sparse rows.
        metrics : sequence of str or callables, or dict, optional
            Metrics for ``History.metrics``, computed after each epoch: accuracy,
            mean_squared_error, mean_absolute_error, r2, or callables ``(y, prediction) -> float``
            that get checked targets, (n, outputs) or labels (n,), and predictions (n, outputs):
            of the validation data, with names ``val_NAME``, or else of X, without sample weights.
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
            False starts the optimizer anew. True continues the last fit, also in a copy or pickle,
            with its optimizer state, schedules, order of samples and history, and gives the result
            of an uninterrupted fit.
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
            If the loss or a weight becomes non-finite; weights are then those before that epoch.
        RuntimeError
            If another fit is running on this model; a RankError if another process has failed.
        KeyboardInterrupt
            If interrupted; model and ``history`` are then at the last completed epoch. Where many
            short epochs run in one call, this undoes about 0.05 s of training.
        """
        network = self._network
        with planning.joined(communicator, network.engine) as ranks, network.lock.taken():
            data = planning.data(
                GivenRows(X, y, sample_weight, dy, dy_weight),
                network.spec,
                Shuffling(shuffle, shuffle_buffer, shuffle_folder),
                is_first=network.history is None,
            )
            epochs, optimizer = planning.epochs_and_optimizer(
                epochs, optimizer, data, batch_size, network.spec, ranks
            )
            lbfgs = optimizer if type(optimizer) is LBFGS else None
            if lbfgs is not None:  # takes no steps: the plan has penalties and threads alone
                optimizer, batch_size = SGD(), data.rows or 1
            options = StepOptions(optimizer, l1, l2, clip_norm, groups, dropout)
            plan = network.plan_cache.plan(data, batch_size, options)
            validation = None
            if validation_data is not None:
                validation = planning.validation(validation_data, network.spec, dy_weight)
            if ranks:
                data, n_threads = ranks.padded(data, plan), n_threads or 1
            fit = Fit(
                model=self,
                network=network,
                members=[network],
                data=[data],
                plans=[plan],
                fingerprint_data=[(data, validation)],
                make_evaluator=planning.evaluator_maker(
                    network.engine, data, validation, metrics, ranks
                ),
                has_validation=validation is not None,
                team=fit_team(n_threads, network.n_weights, plan.batch_size),
                options=FitOptions.of(
                    epochs, batch_size, shuffle, verbose, averaging, callbacks, resume
                ),
                ranks=ranks,
            )
            if lbfgs is None:
                return fit.run(Trainer)
            from fastmlp._models.lbfgs_trainer import trainer_of

            return fit.run(trainer_of(lbfgs, fit))

    def partial_fit(
        self,
        X: ArrayLike | Source,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        dy: ArrayLike | None = None,
        dy_weight: float = 1.0,
        output_gradient: ArrayLike | None = None,
        through_link: bool = False,
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
        X, y, sample_weight, dy, dy_weight, optimizer, l1, l2, clip_norm, groups, dropout, n_threads
            As for :meth:`fit`. A source may also be an iterator, such as a generator that reads
            messages: its blocks are trained in their order, one of them read ahead.
        output_gradient : array-like, shape (n, outputs) or (n,) for one output, optional
            In place of y, the gradient of a loss of your own by the outputs before the link. It is
            used as it is, without division by the number of rows, and steps follow as from any
            other loss. With predicted variances (n, 2 outputs): means, then log-variances.
        through_link : bool
            Whether ``output_gradient`` is the gradient by ``predict(X)``, through the link.
        batch_size : int, optional
            Samples per step; by default all, in one step, or one block of a source.

        Returns
        -------
        float
            The objective of the pass, as in ``History.loss``. With ``output_gradient``, whose loss
            is not known, the sum of the gradient times the outputs (before the link, also with
            ``through_link``), and the penalties.

        Raises
        ------
        TypeError, ValueError, DivergenceError, RuntimeError, KeyboardInterrupt
            As for :meth:`fit`; the model then has the weights from before the call. After a
            step was taken, the optimizer's state is lost, and the next pass starts a new one.

        Examples
        --------
        >>> import numpy as np, fastmlp
        >>> rng = np.random.default_rng(0)
        >>> blocks = (rng.normal(size=(32, 2)) for _ in range(100))
        >>> net = fastmlp.MLP([2, 8, 1], rng=0)
        >>> loss = net.partial_fit((x, x[:, 0]) for x in blocks)
        """
        network = self._network
        with network.lock.taken():
            if output_gradient is None and through_link is False:
                given = GivenRows(X, y, sample_weight, dy, dy_weight)
                data = planning.data(given, network.spec, is_once=True)
            else:
                data = derivatives.gradient_data(
                    network, X, y, sample_weight, dy, output_gradient, through_link
                )
            rows = data.rows or 1 if batch_size is None else batch_size
            options = StepOptions(optimizer, l1, l2, clip_norm, groups, dropout)
            plan = network.plan_cache.plan(data, rows, options)
            if not isinstance(data, Data):
                data.batch_size = batch_size and plan.batch_size
            team = fit_team(n_threads, network.n_weights, plan.batch_size)
            return one_pass([network], [data], [plan], team)

    def predict(
        self, X: ArrayLike | Source, *, out: Any = None, link: bool = True, **unknown: Never
    ) -> Predictions:
        """Predict means, probabilities, rates or quantiles, depending on the loss.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, fan-in)
            Samples; 0 rows give an empty result. Or a source, a callable or an iterable of blocks:
            arrays of this kind, or tuples that begin with one, as for :meth:`fit`.
        out : array of floats, shape of the result, or tuple of two, optional
            Where to write the predictions, block by block, with the memory of a block: a NumPy
            array, a memory map, or another object with a shape and assignment to slices of rows.
            It is returned. If an error comes in the middle, its first rows are written.
        link : bool
            Whether to apply the link; without it, the outputs of the last layer are returned: for
            cross_entropy the logits, for poisson_nll and variances logarithms.

        Returns
        -------
        array of the model's dtype, shape (n, outputs)
            Class probabilities for cross_entropy, probabilities for binary_cross_entropy, rates
            for poisson_nll, else the fitted mean, median or quantile. With one output, and y of
            shape (n,) in the last ``fit`` or ``partial_fit``, the shape is (n,).
        tuple (means, variances) of such arrays
            For gaussian_nll with predicted variance.
        array, shape (n, outputs, levels), or (n, levels) if y was (n,)
            For quantiles, in the order of the levels.

        Raises
        ------
        TypeError, ValueError
            If X is invalid, or ``out`` has another shape or no floats. Errors of a source are
            raised here.

        Examples
        --------
        >>> import numpy as np, fastmlp
        >>> net = fastmlp.MLP([3, 8, 1], rng=0)
        >>> net.predict(np.zeros((2, 3))).shape
        (2, 1)
        >>> out = np.empty((30, 1), np.float32)  # or np.lib.format.open_memmap(path, "w+", ...)
        >>> net.predict(lambda: [np.ones((10, 3))] * 3, out=out) is out
        True
        """
        if unknown:
            raise unexpected(MLP, MLP.predict, unknown)
        network = self._network
        z: Any = network.engine.predict_row(X, network.flat_y)  # None: not that plain
        if z is not None and out is None and link is True:
            return network.shaped(z) if network.has_heads else z
        linked = check_flag("link", link)
        if out is not None or check.is_source(X):
            from fastmlp._models import blockwise

            return blockwise.predict(network, X, out, linked)
        return network.predict(check.inputs(X, network.spec, empty=True), linked)

    __call__ = predict  # PyTorch and Keras have it, too

    def predictor(
        self,
        n_threads: int | None = None,
        *,
        weights: str | None = None,
        X: ArrayLike | None = None,
    ) -> Predictor:
        """Return a function with a copy of the weights, fast for many single predictions.

        Parameters
        ----------
        n_threads : int, optional
            Largest number of threads for large batches; by default all of the machine.
        weights : {"bfloat16", "int8"} or the dtype of the model, optional
            Type to which the weights are rounded, for float32 models whose weights exceed the
            second-level cache: single rows then read a half or a quarter of the memory. The
            arithmetic stays float32. ``"int8"`` has one unit for each output, and suits inputs of
            similar sizes. By default the weights are those of the model.
        X : array-like, shape (n, fan-in), optional
            Typical rows, on which rounding changes the layers' outputs least; only with
            ``weights``. Without it each weight is rounded to the nearest.

        Returns
        -------
        fastmlp.predictor.Predictor
            Called with one row (fan-in,) or a batch (n, fan-in), and ``out=`` if wanted; safe to
            call from many threads. Later fits do not change it. It returns (outputs,) or
            (n, outputs), whatever y of the last fit was.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, or ``weights`` is given for a float64 model.

        Examples
        --------
        >>> import fastmlp, numpy as np
        >>> p = fastmlp.MLP([2, 8, 1], rng=0).predictor(weights="bfloat16")
        >>> p(np.zeros(2, np.float32)).shape
        (1,)
        """
        network = self._network
        if n_threads is not None:
            n_threads = check_count("n_threads", n_threads, example=2)
        if isinstance(weights, str) and weights == network.spec.dtype.name:
            weights = None
        parameters = None
        if weights is not None or X is not None:
            from fastmlp._engine import narrow

            x = None if X is None else check.inputs(X, network.spec)
            parameters = narrow.parameters(network.spec, network.engine.parameters(), weights, x)
        made: Predictor = network.engine.predictor(n_threads, weights, parameters)
        return made

    def evaluate(
        self,
        X: ArrayLike | Source,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        dy: ArrayLike | None = None,
        dy_weight: float = 1.0,
    ) -> float:
        """Return how bad predictions are: the loss, a weighted mean over samples, no penalties.

        Parameters
        ----------
        X, y, sample_weight, dy, dy_weight
            As for :meth:`fit`. The mean over the blocks of a source is that of an array with all
            its rows, but for rounding.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid. Errors of a source are raised here.

        Examples
        --------
        >>> import numpy as np, fastmlp
        >>> net = fastmlp.MLP([3, 8, 1], rng=0)
        >>> x = np.random.default_rng(0).uniform(-1, 1, (100, 3))
        >>> source = fastmlp.Blocks(x, x[:, 0], rows=30)
        >>> abs(net.evaluate(source) - net.evaluate(x, x[:, 0])) < 1e-6
        True
        """
        network = self._network
        data = planning.data(GivenRows(X, y, sample_weight, dy, dy_weight), network.spec)
        if not isinstance(data, Data):
            network = network.frozen()
        with call_team(network.n_weights, data.rows or 1 << 30) as team:  # None: many
            return data.measure(network.engine, team)

    jacobian = derivatives.jacobian
    jvp = derivatives.jvp
    vjp = derivatives.vjp
    hvp = derivatives.hvp
    hessian = derivatives.hessian
    gradients = derivatives.gradients

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters by plain names.

        Returns
        -------
        dict of str to array
            ``layers.0.weight`` (fan_in, fan_out), ``layers.0.bias`` (fan_out,), and of normalised
            layers ``layers.0.gain`` and ``layers.0.shift``, of parametric activations
            ``layers.0.alpha``; ``layers.0.scale`` of the inputs, and ``layers.0.linear_weight``
            (inputs, outputs) of a linear path. PyTorch's weights are transposed.

        Examples
        --------
        >>> import fastmlp
        >>> {name: a.shape for name, a in fastmlp.MLP([3, 2], rng=0).state_dict().items()}
        {'layers.0.weight': (3, 2), 'layers.0.bias': (2,)}
        """
        return self._network.named_parameters()

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Set all parameters, or none if there is an error.

        Parameters
        ----------
        state : mapping of str to array
            Arrays with exactly the names and shapes of :meth:`state_dict`.

        Raises
        ------
        TypeError, ValueError
            If names, shapes or values do not fit; the model is unchanged.
        RuntimeError
            If a fit is running in another thread.
        """
        check.names(state, list(self.state_dict()), "state")
        self._network.set_named_parameters(state)

    def _exported(self) -> Exported:
        return linked.exported(self._network.engine)

    def save(self, path: str | os.PathLike[str], *, training: bool = True) -> None:
        """Write the model to a file, for :func:`fastmlp.load`.

        The format is safetensors, which many programs read. The file replaces an older one
        atomically; after a failure the older one is still there.

        Parameters
        ----------
        path : str or path
            Path of the file.
        training : bool
            Whether to write the history and the state from which ``partial_fit`` and ``resume``
            continue; without them, the file is a third of the size after Adam.

        Raises
        ------
        OSError
            If the file cannot be written.
        TypeError
            If the class is not fastmlp's, or the generator is not NumPy's.
        RuntimeError
            If another thread trains the model; callbacks of the fit may save it.

        Examples
        --------
        >>> import fastmlp, os, tempfile
        >>> net = fastmlp.MLP([2, 8, 1], rng=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(os.path.join(folder, "net.safetensors"))
        """
        from fastmlp._files import storage

        storage.save(self, path, training)

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_network" not in state:
            raise ValueError(
                "this pickle of an MLP is of a development version of fastmlp and cannot be read: "
                "load it there, and write a file by save(path), which later versions read"
            )
        vars(self).update(state)

    def __copy__(self) -> Self:
        # A copy that shared the generator would change with the fits of the original.
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        from fastmlp._models.summary import one_line

        return one_line(self)


for kind in TENSORS:
    setattr(MLP, kind, ParameterProperty(kind))


def model_of(network: Network, cls: type[MLP] = MLP) -> MLP:
    """Return a model that is a face over a network: an MLP, or one of another engine."""
    model = cls.__new__(cls)
    model.__setstate__({"_network": network})
    return model


def restored(state: NetworkState, cls: type[MLP]) -> MLP:
    """Return a model of a class with the state of another one."""
    return model_of(Network.restored(state, cls._make_engine), cls)
