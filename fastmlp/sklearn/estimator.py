"""The public methods that classifier and regressor share: fit, attributes, save, plot."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp._core.history import History
from fastmlp._engine import linked
from fastmlp._engine.explainable import Explainable
from fastmlp._engine.exportable import Exportable
from fastmlp._models.mlp import MLP, model_of
from fastmlp._models.network import Network
from fastmlp._network.activations import Array
from fastmlp._network.exported import Exported, Labels
from fastmlp._network.sparse import is_sparse, rows_of
from fastmlp.sklearn import parameters, training
from fastmlp.sklearn.bases import CallbackSupportMixin, with_callbacks
from fastmlp.sklearn.fitted import FittedNetwork
from fastmlp.sklearn.scaled_network import ParameterViews
from fastmlp.sklearn.validation import DTYPES, checking, sound

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags

    from fastmlp._engine.any_predictor import Predictor
    from fastmlp._explain.explained import Explained
    from fastmlp._validation.arrays import TableLike


# Rule for labels from probabilities, by scikit-learn's type of target.
LABELS = {"multiclass": "largest", "binary": "pair", "multilabel-indicator": "each"}


def _is_stochastic(estimator: BaseMLP) -> bool:
    """Return True for solvers with ``partial_fit``, else raise scikit-learn's AttributeError."""
    if estimator.solver not in parameters.STOCHASTIC:
        raise AttributeError(
            "partial_fit is only available for stochastic"
            f" optimizers. {estimator.solver} is not stochastic."
        )
    return True


def by_batches(method: parameters.Method) -> parameters.Method:
    """Decorate a training method of the solvers sgd and adam, and keep its type."""
    decorated: Any = available_if(_is_stochastic)(parameters.training_method(method))
    return cast(parameters.Method, decorated)


class BaseMLP(Exportable, Explainable, parameters.Validated, CallbackSupportMixin):
    """Base class of both estimators, whose docstrings have these sections, too.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Widths of the hidden layers; an empty tuple gives a linear model.
    activation : str or list of str, default="relu"
        One for all hidden layers, or one per layer: identity, logistic, tanh, relu as in
        scikit-learn, or another one of `fastmlp.MLP`, such as mish.
    {specific}
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        Adam or gradient descent on mini-batches, or L-BFGS on all rows at once.
    alpha : float, default=0.0001
        L2 penalty: adds 0.5 * alpha * sum(W**2), divided by the samples of the batch, to the loss.
    batch_size : int or "auto", default="auto"
        Samples per step; "auto" is min(200, n_samples). lbfgs ignores this and the next two
        parameters.
    learning_rate : str or callable, default="constant"
        For sgd "constant", "invscaling" or "adaptive" (a fifth whenever the loss stops improving),
        which adam ignores. For both "cosine" or "one_cycle" over max_iter epochs, or any schedule
        ``step -> learning rate`` such as ``fastmlp.WarmUp``, where a step is one batch.
    learning_rate_init : float, default=0.001
        The learning rate; for "cosine" and "one_cycle" the highest one.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Largest number of epochs, or of iterations of lbfgs.
    shuffle : bool, default=True
        Whether to shuffle the samples in each epoch.
    random_state : int, RandomState or None, default=None
        Seed or generator of initial weights, validation split, order of samples and dropout.
    tol : float, default=1e-4
        Smallest change of loss or score that counts as an improvement; gradient tolerance of lbfgs.
    verbose : bool or int, default=False
        Print loss and score of each epoch, and after the fit hints to standard error.
    warm_start : bool, default=False
        Whether fit continues with the weights of the last fit.
    momentum : float in [0, 1], default=0.9
        Momentum of sgd.
    nesterovs_momentum : bool, default=True
        Whether sgd uses Nesterov's momentum.
    early_stopping : bool, default=False
        End the fit when the validation score stops improving, and keep the best weights. Validation
        data are split off from the training data unless they are passed to fit. The score of a
        classifier is the accuracy, which is coarse for few rows: ``scoring="loss"`` is finer.
    validation_fraction : float in [0, 1), default=0.1
        Share of the training data to split off for ``early_stopping``.
    beta_1, beta_2 : float in [0, 1), default=0.9, 0.999
        Decay rates of adam's two moment estimates.
    epsilon : float, default=1e-8
        Adam's epsilon, added before the bias correction of the second moment, as in scikit-learn.
    n_iter_no_change : int, default=10
        The fit ends after more than this number of successive epochs without improvement.
    max_fun : int, default=15000
        Largest number of evaluations by lbfgs.
    dropout : float or list of float, default=0.0
        Probability of dropping a hidden value in training, for all hidden layers or per layer.
    clip_norm : float, optional
        Largest norm of the gradient over all parameters; larger gradients are scaled down.
    compute : None or "bfloat16", default=None
        Train in float32, and multiply matrices in bfloat16 where the CPU is faster so, as with
        ``fastmlp.MLP``; by default the precision is that of X, float64 or float32.
    scoring : str, callable or None, default=None
        Score for early stopping: accuracy or R2 by default, "loss" for the negative validation
        loss, or any scorer of scikit-learn.
    restore_best : bool, default=False
        Keep the weights of the best epoch also without early stopping: that of the lowest
        validation loss, or of the lowest training loss without validation data.
    standardize : bool, default=False
        Scale every input to mean 0 and variance 1 ({standardized}). The scaling is measured on the
        training data and folded into the first and last layer after the fit: ``coefs_`` and
        predictions apply to raw data, and prediction costs no extra time. Losses are those of the
        scaled data. Columns of a sparse matrix are divided by their deviations and not centred.
        ``partial_fit`` measures the scaling in its first call, unless ``fit`` has, and keeps it:
        begin with some hundred typical rows.
    callbacks : list of callables, optional
        Called with a ``fastmlp.State`` after each epoch; returning True ends the fit. For example
        ``fastmlp.ReduceOnPlateau()``, or ``fastmlp.Progress()`` for a progress bar. ``state.model``
        is a draft of the estimator, which itself changes at the end of the fit. scikit-learn's own
        ``set_callbacks`` works in addition.
    n_jobs : int, optional
        Number of threads; -1 uses all. By default as many as pay off, within the limits of the
        machine and of joblib. The result does not depend on it.

    Attributes
    ----------
    coefs_, intercepts_ : lists of arrays
        Weights (fan_in, fan_out) and biases (fan_out,) of each layer.
    loss_, best_loss_ : float
        Objective of the last epoch, and the lowest objective (None with ``early_stopping``).
    loss_curve_, validation_loss_curve_ : lists of float
        Training and validation loss of each epoch; the second is None without validation data.
    validation_scores_, best_validation_score_ : list of float, float
        With ``early_stopping`` the score of each epoch and the best score, else None.
    history_ : fastmlp.History
        Losses, seconds and learning rate of each epoch, and the reason for an early end.
    n_iter_, t_ : int
        Number of epochs of the last fit; number of samples seen since the first epoch.
    n_layers_, n_outputs_, n_features_in_ : int
        Number of layers including input and output, of outputs, and of columns of X.
    feature_names_in_ : array of str
        Names of the columns; only if X has names.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = parameters.CONSTRAINTS
    _target_checks: ClassVar[dict[str, Any]] = {}  # further arguments of validate_data

    _fitted: FittedNetwork
    # Attributes of the fitted value, see `__getattr__`.
    history_: History
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    validation_scores_: list[float] | None
    loss_: float
    best_loss_: float | None
    best_validation_score_: float | None
    n_iter_: int
    t_: int
    n_features_in_: int
    feature_names_in_: Array
    n_outputs_: int
    n_layers_: int
    out_activation_: str
    classes_: Array  # classifiers have them

    # Both classes have `_targets`, what the targets mean (``partial`` is whether y may lack
    # ``earlier`` classes), `_encode`, the targets of the network (floats (n, outputs), or int32
    # labels (n,)), and `_loss`.

    @parameters.training_method
    @with_callbacks
    def fit(
        self,
        X: TableLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: TableLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train on samples and targets.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Samples. A sparse matrix is never made dense.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
            Labels or real numbers.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the samples.
        X_val, y_val, sample_weight_val : like X, y and sample_weight, optional
            Validation data for ``early_stopping`` and ``validation_loss_curve_``, unscaled like X.

        Returns
        -------
        estimator
            The estimator itself.

        Raises
        ------
        ValueError
            If an argument is invalid, or a loss or weight becomes non-finite. In the second case
            the weights are those of the last good epoch, with lbfgs those from before the fit.
        RuntimeError
            If another fit of this estimator is running.

        Notes
        -----
        A fit without ``standardize`` on data far from mean 0 and deviation 1, or with
        ``early_stopping`` by the accuracy of few rows, logs a hint: a message of level INFO of the
        logger ``fastmlp``, which ``verbose`` also prints.

        The estimator changes only at the end of a successful fit; predictions of other threads are
        those of the last one until then. Ctrl-C ends a fit with a warning and keeps the completed
        epochs. A copy, pickle or file by another thread during a fit is a RuntimeError: use
        ``predictor()``, or a callback, which may copy and save ``state.model``.
        """
        training.train(self, (X, y, sample_weight), (X_val, y_val, sample_weight_val))
        return self

    def __getattr__(self, name: str) -> Any:
        """Return an attribute that scikit-learn's estimators have after a fit."""
        fitted = vars(self).get("_fitted")
        if fitted is not None and name in fitted.attributes:
            return fitted.attribute(name) if fitted.lengths else fitted.attributes[name]
        return object.__getattribute__(self, name)  # which raises the right error

    def __dir__(self) -> list[str]:
        fitted = vars(self).get("_fitted")
        return [*super().__dir__(), *(fitted.attributes if fitted is not None else ())]

    def __sklearn_is_fitted__(self) -> bool:
        return vars(self).get("_fitted") is not None

    def __getstate__(self) -> dict[str, Any]:
        return self._lock().read(self._copied_state)

    def with_fitted(self, fitted: FittedNetwork) -> Self:
        """Return a copy of this estimator that has the value of a fit."""
        other = type(self)(**self.get_params(deep=False))
        other._fitted = fitted
        return other

    def _copied_state(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "_fitted" in state:
            state["_fitted"] = copy.deepcopy(state["_fitted"])
        return state

    def _value(self) -> FittedNetwork:
        """Return the result of the last fit; raise NotFittedError if there is none."""
        check_is_fitted(self)
        return self._fitted

    def _outputs(self, X: TableLike) -> tuple[Array, FittedNetwork]:
        """Return outputs (n, columns), and the value of the fit that they come from."""
        while True:
            fitted: FittedNetwork = vars(self).get("_fitted") or self._value()
            outputs = self._outputs_of(fitted, X)
            # If another thread has begun to train this network, predict by what stands in for it.
            if fitted.is_apart or vars(self).get("_fitted") is fitted:
                return outputs, fitted

    def _outputs_of(self, fitted: FittedNetwork, X: TableLike) -> Array:
        """Return outputs of the value of a fit, (n, columns)."""
        network = fitted.network
        # validate_data takes tens of microseconds. Plain inputs skip it; it handles unusual inputs
        # and raises all errors.
        if not fitted.has_names and (row := network.predict_row(X)) is not None:
            return row
        if fitted.takes(X):
            return network.predict(X, self.n_jobs)
        with checking(X):
            checked = validate_data(
                parameters.copy_with_state(self, {"_fitted": fitted}),
                sound(X, "X"),
                accept_sparse=["csr", "csc"],
                dtype=DTYPES,
                reset=False,
            )
        rows = rows_of(checked) if is_sparse(checked) else checked
        outputs = network.predict(network.cast(rows), self.n_jobs)
        dtype = np.result_type(checked.dtype, outputs.dtype)
        return outputs.astype(dtype, copy=False)

    def _exported(self) -> Exported:
        fitted = self._value()
        labels, network = fitted.targets.labels, fitted.network
        names = labels and Labels(LABELS[labels.y_type_], np.asarray(labels.classes_))
        return linked.exported(network.predictor, names)

    def _explained(self) -> Explained:
        from fastmlp._explain.explained import of_network

        def checked(X: TableLike) -> TableLike:
            self.predict(X)
            return X

        fitted = self._value()
        classes = fitted.attributes.get("classes_", ())
        return of_network(self.predictor(), classes, checked)

    def to_mlp(self) -> MLP:
        """Return a ``fastmlp.MLP`` with a copy of the current weights.

        Returns
        -------
        fastmlp.MLP
            Independent of the estimator. It predicts like ``predict`` of a regressor or
            ``predict_proba`` of a classifier; for two classes, only the probability of the second.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPRegressor
        >>> X = np.random.default_rng(0).normal(size=(50, 2))
        >>> model = MLPRegressor(solver="lbfgs", random_state=0).fit(X, X[:, 0])
        >>> net = model.to_mlp()
        >>> net.layer_sizes, bool((net.predict(X)[:, 0] == model.predict(X)).all())
        ((2, 100, 1), True)
        """
        network = self._value().network
        parameters, rng = network.predictor.parameters(), np.random.default_rng(0)
        return model_of(Network.of(network.spec, parameters, rng))

    def predictor(
        self,
        n_threads: int | None = None,
        *,
        weights: str | None = None,
        X: ArrayLike | None = None,
    ) -> Predictor:
        """Return the network as a function that is fast for single rows; see ``MLP.predictor``.

        Parameters
        ----------
        n_threads : int, optional
            Largest number of threads for large batches.
        weights, X : optional
            Narrower type of the weights and rows to calibrate it, as for ``MLP.predictor``.

        Returns
        -------
        fastmlp.predictor.Predictor
            Predicts like :meth:`to_mlp`. Later fits do not change it.
        """
        return self.to_mlp().predictor(n_threads, weights=weights, X=X)

    def jacobian(self, X: ArrayLike) -> NDArray[Any]:
        """Return the derivatives of the predictions with respect to the inputs.

        Parameters
        ----------
        X : array-like, shape (n_features,) for one sample or (n, n_features)
            Points at which to differentiate.

        Returns
        -------
        array of the dtype of the fit, shape (outputs, n_features) or (n, outputs, n_features)
            Derivatives of the predictions of :meth:`to_mlp` by the raw inputs, also with
            ``standardize``. For many calls use ``predictor().jacobian``.
        """
        return np.asarray(self.to_mlp().jacobian(X))

    @property
    def coefs_(self) -> list[Array]:
        """Weights of each layer, (fan_in, fan_out); the list and its arrays may be modified."""
        return self._shown("coefs_").coefs

    @coefs_.setter
    def coefs_(self, values: Sequence[ArrayLike]) -> None:
        self._assign("coefs_", values)

    @property
    def intercepts_(self) -> list[Array]:
        """Biases of each layer, (fan_out,); the list and its arrays may be modified."""
        return self._shown("intercepts_").intercepts

    @intercepts_.setter
    def intercepts_(self, values: Sequence[ArrayLike]) -> None:
        self._assign("intercepts_", values)

    def _shown(self, name: str) -> ParameterViews:
        if "_fitted" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: call fit first"
            )
        return self._fitted.network.shown()

    def _assign(self, name: str, values: Sequence[ArrayLike]) -> None:
        with self._lock().held():
            self._shown(name)
            self._fitted.network.assign(name, values)

    def plot_history(self, ax: Axes | None = None) -> Axes:  # noqa: D102 see below
        self._value()
        return self.history_.plot(ax)

    plot_history.__doc__ = History.plot.__doc__

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
