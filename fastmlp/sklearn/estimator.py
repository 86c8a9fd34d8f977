"""What classifier and regressor share: fit, prediction, attributes, plot.

A fit is: check with scikit-learn's own functions, encode the target, draw first weights from
``random_state`` in scikit-learn's order, hold validation data out, and let a solver work.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastmlp import threads
from fastmlp.check import first_non_finite
from fastmlp.losses import Loss
from fastmlp.sklearn import parameters
from fastmlp.sklearn.callbacks import CallbackSupportMixin, Observers, with_callbacks
from fastmlp.sklearn.initialization import first_parameters, spec_of
from fastmlp.sklearn.lbfgs import LbfgsFit
from fastmlp.sklearn.network import Network, Shown
from fastmlp.sklearn.scaling import Scaling
from fastmlp.sklearn.stochastic import StochasticFit
from fastmlp.sklearn.validation import Samples, Validation, split
from fastmlp.training import History

Array = NDArray[Any]

# Elements of a sparse matrix that prediction makes dense at a time.
DENSE_ELEMENTS = 1 << 22
# Elements of an array that is looked at for NaN in one go.
SMALL = 1 << 12


def is_stochastic(estimator: Any) -> bool:
    """Return True, or raise what scikit-learn raises: lbfgs has no ``partial_fit``."""
    if estimator.solver not in parameters.STOCHASTIC:
        raise AttributeError(
            "partial_fit is only available for stochastic"
            f" optimizers. {estimator.solver} is not stochastic."
        )
    return True


class BaseMLP(CallbackSupportMixin, BaseEstimator):
    """Base of both estimators, not for users: the subclasses know about targets."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = parameters.CONSTRAINTS
    _target_checks: ClassVar[dict[str, Any]] = {}  # more arguments of validate_data

    _network: Network
    history_: History
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    validation_scores_: list[float] | None
    best_loss_: float | None
    best_validation_score_: float | None
    n_iter_: int
    t_: int
    n_outputs_: int

    def _encode(self, y: Array, known: bool) -> Array:
        """Return the engine's targets, (n, outputs) floats or int32 labels; set ``n_outputs_``.

        ``known`` forbids classes that an earlier call has not seen.
        """
        raise NotImplementedError

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _output_activation(self) -> str:
        """Return scikit-learn's name of the loss's link."""
        raise NotImplementedError

    def _outputs_score(self, outputs: Array, targets: Array, weights: Array | None) -> float:
        """Return accuracy or R2 of the engine's outputs."""
        raise NotImplementedError

    def _scales_target(self) -> bool:
        """Whether ``standardize`` means the target too."""
        return False

    def _loss_constant(self, targets: Array, weights: Array | None) -> float:
        """Return what the reported loss has more than the engine's."""
        del targets, weights
        return 0.0

    def _class_weights(self, y: Array) -> Array | None:
        """Return what ``class_weight`` makes of the labels."""
        del y
        return None

    # ------------------------------------------------------------ fit

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Train on samples and targets.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Samples. A sparse matrix is made dense, whole, for the time of the fit.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
            Labels, or real numbers.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the samples.
        X_val, y_val, sample_weight_val : like X, y and sample_weight, optional
            Validation data for ``early_stopping`` and ``validation_loss_curve_``; raw, as X is.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        ValueError
            If an argument is not as described, or if a loss or a weight is no longer finite; the
            weights are then those of the last good epoch.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        held_out: tuple[Any, Any, Any] = (None, None, None),
        one_epoch: bool = False,
    ) -> Any:
        given = {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
        parameters.hidden_sizes(self.hidden_layer_sizes)
        fresh = not hasattr(self, "_network") or not (self.warm_start or one_epoch)
        samples = self._samples(X, y, sample_weight, reset=fresh, known=one_epoch)
        rng = check_random_state(self.random_state)
        stochastic = self.solver in parameters.STOCHASTIC
        if one_epoch and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if fresh:
            network = spec_of(self, samples.X.shape[1], samples.X.dtype)
            first = first_parameters(network, self.activation, rng)
        held = self._given_validation(*held_out)
        if held is None and stochastic and self.early_stopping:
            stratify = self._stratification(samples.targets)
            rows, held_rows = split(len(samples.X), self.validation_fraction, stratify, rng)
            held, samples = samples.take(held_rows), samples.take(rows)
        weights = self._training_weights(samples)
        if fresh:
            self._network = Network(network, scaling=self._scaling(samples, weights, network))
            self._network.engine.set_parameters(*first)
            self._reset_statistics()
        else:
            self._go_on(samples.X)
        self.history_.stop_reason = ""
        data = self._network.data(samples.X, samples.targets, weights)
        validation = None
        if held is not None:
            own = self._network.data(held.X, held.targets, held.weights)
            validation = Validation(held, own)
            if getattr(self, "validation_loss_curve_", None) is None:
                self.validation_loss_curve_ = []
        observers = Observers(self, given, validation is not None, partial=one_epoch)
        constant = self._loss_constant(samples.targets, weights)
        if stochastic:
            StochasticFit(
                self,
                data,
                validation,
                loss_constant=constant,
                random_state=rng,
                one_epoch=one_epoch,
            ).run(observers, self._threads())
        else:
            LbfgsFit(self, data, validation, constant).run(observers)
        return self

    def _samples(self, X: Any, y: Any, sample_weight: Any, *, reset: bool, known: bool) -> Samples:
        """Return dense, checked samples; the complaints are scikit-learn's."""
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=(np.float64, np.float32),
            reset=reset,
            **self._target_checks,
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        return Samples(_dense(X), y, self._encode(y, known), sample_weight)

    def _given_validation(self, X: Any, y: Any, sample_weight: Any) -> Samples | None:
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val belong together: pass both to fit, or neither")
        return self._samples(X, y, sample_weight, reset=False, known=True)

    def _stratification(self, targets: Array) -> Array | None:
        """Return what the split is stratified by: None for all but two classes."""
        del targets
        return None

    def _training_weights(self, samples: Samples) -> Array | None:
        by_class = self._class_weights(samples.y)
        if by_class is None or samples.weights is None:
            return samples.weights if by_class is None else by_class
        return samples.weights * by_class

    def _scaling(self, samples: Samples, weights: Array | None, network: Any) -> Scaling | None:
        if not self.standardize:
            return None
        targets = samples.targets if self._scales_target() else None
        heads = network.loss.heads
        return Scaling.measure(samples.X, targets, network.n_outputs, weights, heads)

    def _reset_statistics(self) -> None:
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(self._network.spec.layer_sizes)
        self.out_activation_ = self._output_activation()
        self.history_ = History()
        self.validation_loss_curve_ = None
        if self.solver in parameters.STOCHASTIC:
            self.loss_curve_ = []
            self._forget_best()

    def _forget_best(self) -> None:
        stops = self.early_stopping
        self._no_improvement_count = 0
        self.validation_scores_ = [] if stops else None
        self.best_validation_score_ = -math.inf if stops else None
        self.best_loss_ = None if stops else math.inf

    def _go_on(self, X: Array) -> None:
        """Keep the weights; take over parameters that were set since, if the weights allow it."""
        known = self._network.spec
        wanted = spec_of(self, X.shape[1], known.dtype)
        if wanted.shapes != known.shapes:
            raise ValueError(
                f"the network was fitted with layers of {list(known.layer_sizes)} and cannot go on "
                f"with {list(wanted.layer_sizes)}: use fit with warm_start=False"
            )
        if wanted != known:
            weights, biases = self._network.predictor.parameters()
            self._network = Network(wanted, weights, biases, self._network.scaling)
        self._network.sync()
        if self.solver in parameters.STOCHASTIC:
            self.loss_curve_ = getattr(self, "loss_curve_", [])
            best = "best_validation_score_" if self.early_stopping else "best_loss_"
            if getattr(self, best, None) is None:
                self._forget_best()

    def _threads(self) -> int | None:
        """Return the threads asked for; None leaves it to what pays off."""
        wanted: int | None = self.n_jobs
        if wanted is None or wanted > 0:
            return wanted
        return max(1, threads.default_threads() + 1 + wanted)

    # ------------------------------------------------------------ prediction

    def _outputs(self, X: Any) -> Array:
        """Return the engine's predictions, (n, columns), in the dtype that X and weights make."""
        network: Network | None = vars(self).get("_network")
        if network is None:
            check_is_fitted(self, "_network")
            raise AssertionError
        known = network.spec
        # validate_data takes tens of microseconds. What needs none of it goes straight through;
        # all that is unusual, and every complaint, is left to it.
        if (
            type(X) is np.ndarray
            and X.dtype == known.dtype
            and X.ndim == 2
            and X.shape[1] == known.layer_sizes[0]
            and X.shape[0] > 0
            and X.flags.aligned
            and "feature_names_in_" not in vars(self)
            and _finite(X)
        ):
            return network.predict(X, self._threads())
        X = validate_data(
            self,
            X,
            accept_sparse=["csr", "csc"],
            dtype=(np.float64, np.float32),
            reset=False,
        )
        if not hasattr(X, "toarray"):
            x = np.require(network.cast(X), requirements="A")
            outputs = network.predict(x, self._threads())
        else:
            X, rows = X.tocsr(), max(1, DENSE_ELEMENTS // X.shape[1])
            blocks = [
                network.predict(network.cast(X[at : at + rows].toarray()), self._threads())
                for at in range(0, X.shape[0], rows)
            ]
            outputs = np.concatenate(blocks)
        return outputs.astype(np.result_type(X.dtype, outputs.dtype), copy=False)

    # ------------------------------------------------------------ attributes

    @property
    def coefs_(self) -> list[Array]:
        """Weights of each layer, (fan_in, fan_out); may be replaced and written into."""
        return self._shown("coefs_").coefs

    @coefs_.setter
    def coefs_(self, values: Any) -> None:
        self._shown("coefs_")
        self._network.assign(coefs=values)

    @property
    def intercepts_(self) -> list[Array]:
        """Biases of each layer, (fan_out,); may be replaced and written into."""
        return self._shown("intercepts_").intercepts

    @intercepts_.setter
    def intercepts_(self, values: Any) -> None:
        self._shown("intercepts_")
        self._network.assign(intercepts=values)

    def _shown(self, name: str) -> Shown:
        if "_network" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: call fit first"
            )
        return self._network.shown()

    def plot_history(self, ax: Any = None) -> Any:
        """Plot the training loss of each epoch, and the validation loss if there is one.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            With legend and labels.
        """
        check_is_fitted(self, "history_")
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        for label, losses in (
            ("training", self.history_.loss),
            ("validation", self.history_.val_loss),
        ):
            if losses:
                ax.plot(np.arange(1, len(losses) + 1), losses, label=label)
        ax.set(xlabel="epoch", ylabel="loss")
        ax.legend()
        return ax

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _finite(X: Array) -> bool:
    """Whether nothing is NaN or infinite; for a few rows at a quarter of the general price."""
    if X.size <= SMALL:
        return 0 not in np.isfinite(X).tobytes()
    return first_non_finite(X) is None


def _dense(X: Any) -> Array:
    return X.toarray() if hasattr(X, "toarray") else X  # type: ignore[no-any-return]
