"""The class MLP: checked arguments go to an engine, native or NumPy's, which computes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.intervals import NON_NEGATIVE, check_count, check_flag
from fastmlp._core.keywords import explained
from fastmlp._engine.thread_count import call_team, fit_team
from fastmlp._models.fit import Learner
from fastmlp._network import initializers
from fastmlp._network.data import Data
from fastmlp._network.spec import build
from fastmlp._training import planning
from fastmlp._validation import check

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from fastmlp._engine.protocol import Predictor
    from fastmlp._network.initializers import Initializer
    from fastmlp._network.losses import Loss
    from fastmlp._network.names import LossName, NormPosition
    from fastmlp._network.spec import Activations, Compute
    from fastmlp._training.sources import Source


@partial(explained, plain=("predict",))  # whose calls may take less time than a check
class MLP(Learner):
    """A multi-layer perceptron: affine layers with an activation between each two.

    Layer k computes ``y = activation(x @ W + b)``; the last one has no activation: its output
    goes to the loss, whose link makes the prediction.

    Parameters
    ----------
    layer_sizes : sequence of int
        Inputs, hidden layers, outputs: at least two sizes, each from 1 to 2**31 - 1.
    activation : str, CustomActivation, or sequence of them
        One for all hidden layers, or one for each: identity, relu, leaky_relu, elu, selu,
        softplus, sigmoid, tanh, gelu, gelu_tanh, silu or mish, or one of your own.
    loss : str or Loss
        squared_error, absolute_error, huber, quantile, poisson_nll, gaussian_nll, cross_entropy,
        binary_cross_entropy, an object of ``fastmlp.losses`` with its parameters, or a
        ``fastmlp.CustomLoss``. Every loss is a sum over outputs and a (weighted) mean over samples.
    dtype : {"float32", "float64"}
        Of weights, arithmetic and predictions.
    dropout : float or sequence of float, for all hidden layers or for each
        Probability of dropping a hidden output in training, from 0 to below 1.
    layer_norm : None, "before", "after" or sequence of these
        Scale each row of a hidden layer to mean 0 and variance 1, times ``gains`` plus ``shifts``
        (Ba, Kiros and Hinton 2016), before or after the activation, in all of them or each.
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
    >>> history = net.fit(x, x**2, epochs=200, optimizer=fastmlp.Adam(learning_rate=1e-2))
    >>> history.loss[-1] < 1e-3
    True
    >>> deep = fastmlp.MLP([1, 16, 16, 16, 1], skip=2, linear_path=True, rng=0)
    >>> deep.linear_weights[0].tolist()
    [[0.0]]
    """

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
        options = dropout, layer_norm, scale, parametric, skip, linear_path, compute
        spec = build(layer_sizes, activation, loss, dtype, *options)
        names = initializers.names(spec, initializer)  # raises errors before memory is allocated
        super().__init__(spec, check.generator(rng))
        self._engine.set_parameters(*initializers.draw(spec, self._rng, names))

    def predict(
        self, X: ArrayLike | Source, out: Any = None, link: bool = True
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Predict: the loss's link applied to the network's output.

        Parameters
        ----------
        X : array-like, shape (n, fan-in)
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
        z: Any = self._engine.predict_row(X)  # None: not that plain
        if z is None or out is not None or link is not True:
            linked = check_flag("link", link)
            if out is not None or check.is_source(X):
                from fastmlp._models import blockwise

                return blockwise.predict(self, X, out, linked)  # type: ignore[no-any-return]
            x = check.inputs(X, self._spec, empty=True)
            with call_team(self._n_weights, x.shape[0]) as team:
                z = self._engine.predict(x, team, linked)
        if not self._two_headed:
            one_head: NDArray[Any] = z[:, 0] if self._flat_y else z
            return one_head
        m = 0 if self._flat_y else self._spec.n_outputs
        return (z[:, :m], z[:, m:]) if m else (z[:, 0], z[:, 1])

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
        if n_threads is not None:
            n_threads = check_count("n_threads", n_threads, example=2)
        if isinstance(weights, str) and weights == self._spec.dtype.name:
            weights = None
        if weights is None and X is None:
            return self._engine.predictor(n_threads)
        from fastmlp._engine import narrow

        x = None if X is None else check.inputs(X, self._spec)
        parameters = narrow.parameters(self._spec, self._engine.parameters(), weights, x)
        return self._engine.predictor(n_threads, weights, parameters)

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
            If X is invalid.
        """
        x = check.numeric(X, "X")
        rows = check.inputs(x[np.newaxis] if x.ndim == 1 else x, self._spec, empty=True)
        derivatives = self._engine.jacobian(rows)
        return derivatives[0] if x.ndim == 1 else derivatives

    def evaluate(
        self,
        X: ArrayLike | Source,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the loss on data: weighted mean over samples, no penalty, no dropout.

        Parameters
        ----------
        X, y, sample_weight
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
        data = planning.data(X, y, sample_weight, self._spec)
        model = self if isinstance(data, Data) else self._frozen()
        with call_team(self._n_weights, data.rows or 1 << 30) as team:  # None: many
            return data.measure(model._engine, team)

    def gradients(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
    ) -> tuple[Any, ...]:
        """Return objective and gradient of one batch, without dropout; the model is not changed.

        Parameters
        ----------
        X, y, sample_weight, l2, l1
            As for :meth:`fit`; all rows are one batch.

        Returns
        -------
        objective : float
            Loss and penalties.
        weight_gradients, bias_gradients, gain_gradients, shift_gradients : lists of arrays
            Derivatives of the objective, one array a layer, of the shapes of ``weights``,
            ``biases`` and so on; those of gains and shifts only with ``layer_norm``, then a list
            of scale gradients with ``scale``, one of alpha gradients with ``parametric``, and one
            of linear weights with ``linear_path``.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid.
        """
        data = check.data(X, y, sample_weight, self._spec)
        l2 = NON_NEGATIVE.check("l2", l2, example=1e-4)
        l1 = NON_NEGATIVE.check("l1", l1, example=1e-5)
        with fit_team(None, self._n_weights, data.x.shape[0]) as team:
            objective, *gradients = self._engine.gradients(data, l2, team, l1)
        return float(objective), *gradients
