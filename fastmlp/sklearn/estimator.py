"""The public methods that classifier and regressor share: fit, attributes, save, plot."""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp._core.history import History
from fastmlp._engine.exportable import Exportable
from fastmlp._engine.protocol import Predictor
from fastmlp._export.layers import Exported, Labels, exported
from fastmlp._models.mlp import MLP
from fastmlp._network.spec import Compute
from fastmlp._validation.check import is_plain
from fastmlp.sklearn import parameters
from fastmlp.sklearn.bases import CallbackSupportMixin
from fastmlp.sklearn.fitting import Fitting
from fastmlp.sklearn.observers import with_callbacks
from fastmlp.sklearn.scaled_network import ParameterViews, ScaledNetwork
from fastmlp.sklearn.validation import checking, sound

Array = NDArray[Any]

# Elements of a sparse matrix that prediction converts to dense at a time.
DENSE_ELEMENTS = 1 << 22
# Rule for labels from probabilities, by scikit-learn's type of target.
LABELS = {"multiclass": "largest", "binary": "pair", "multilabel-indicator": "each"}


def _is_stochastic(estimator: Any) -> bool:
    """Return True for solvers with ``partial_fit``, else raise scikit-learn's AttributeError."""
    if estimator.solver not in parameters.STOCHASTIC:
        raise AttributeError(
            "partial_fit is only available for stochastic"
            f" optimizers. {estimator.solver} is not stochastic."
        )
    return True


def by_batches(method: parameters.Method) -> parameters.Method:
    """Decorate a training method of the solvers sgd and adam, and keep its type."""
    decorated: Any = available_if(_is_stochastic)(parameters.training(method))
    return cast(parameters.Method, decorated)


class BaseMLP(Exportable, CallbackSupportMixin, Fitting):
    """Base class of both estimators; subclasses handle the targets."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = parameters.CONSTRAINTS
    compute: Compute = None  # of estimators that an earlier version has pickled

    @parameters.training
    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train on samples and targets.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Samples. A sparse matrix is converted to a dense one for the fit.
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

        The estimator changes only at the end of a successful fit. Ctrl-C ends a fit with a warning
        and keeps the completed epochs. During a fit, copies, pickles and files have the old state;
        predictions, too, or those of the last completed epoch if the fit continues with the old
        weights.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def _outputs(self, X: Any) -> tuple[Array, ScaledNetwork]:
        """Return outputs (n, columns) and their network, which a concurrent fit may replace."""
        network: ScaledNetwork | None = vars(self).get("_fitted")
        if network is None:
            check_is_fitted(self, "_fitted")
            raise AssertionError
        known = network.spec
        # validate_data takes tens of microseconds. Plain inputs skip it; it handles unusual inputs
        # and raises all errors.
        if "feature_names_in_" not in vars(self) and is_plain(X, known):
            return network.predict(X, self.n_jobs), network
        with checking(X):
            checked = validate_data(
                self,
                sound(X, "X"),
                accept_sparse=["csr", "csc"],
                dtype=(np.float64, np.float32),
                reset=False,
            )
        if checked.shape[1] != known.layer_sizes[0]:  # another fit has ended meanwhile
            return self._outputs(X)
        if not hasattr(checked, "toarray"):
            outputs = network.predict(network.cast(checked), self.n_jobs)
        else:
            rows_of, rows = sound(checked, "X").tocsr(), max(1, DENSE_ELEMENTS // checked.shape[1])
            blocks = [
                network.predict(network.cast(rows_of[at : at + rows].toarray()), self.n_jobs)
                for at in range(0, checked.shape[0], rows)
            ]
            outputs = np.concatenate(blocks)
        dtype = np.result_type(checked.dtype, outputs.dtype)
        return outputs.astype(dtype, copy=False), network

    def _exported(self) -> Exported:
        check_is_fitted(self, "_fitted")
        network, decoder = self._fitted, self._fitted.decoder
        labels = decoder and Labels(LABELS[decoder.y_type_], np.asarray(decoder.classes_))
        return exported(network.spec, *network.predictor.parameters(), labels=labels)

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
        check_is_fitted(self, "_fitted")
        network = self._fitted
        spec = network.spec
        net = MLP(
            spec.layer_sizes,
            activation=spec.activations,
            loss=spec.loss,
            dtype=spec.dtype,
            dropout=spec.dropout,
            compute=spec.compute,
            rng=0,
        )
        net.weights, net.biases = network.predictor.parameters()
        return net

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
    def coefs_(self, values: Any) -> None:
        self._assign("coefs_", values)

    @property
    def intercepts_(self) -> list[Array]:
        """Biases of each layer, (fan_out,); the list and its arrays may be modified."""
        return self._shown("intercepts_").intercepts

    @intercepts_.setter
    def intercepts_(self, values: Any) -> None:
        self._assign("intercepts_", values)

    def _shown(self, name: str) -> ParameterViews:
        if "_fitted" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: call fit first"
            )
        return self._fitted.shown()

    def _assign(self, name: str, values: Any) -> None:
        with self._turn().held():
            self._shown(name)
            self._fitted.assign(name, values)

    def plot_history(self, ax: Any = None) -> Any:  # noqa: D102 see below
        check_is_fitted(self, "history_")
        return self.history_.plot(ax)

    plot_history.__doc__ = History.plot.__doc__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
