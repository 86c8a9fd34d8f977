"""The classifier for two classes, several classes, or several labels per sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import multiclass
from sklearn.utils._param_validation import Interval, StrOptions

from fastmlp._core.keywords import with_argument_hints
from fastmlp._network import losses
from fastmlp._network.activations import Array
from fastmlp._network.names import SolverName
from fastmlp._network.scheduled import LearningRate
from fastmlp._network.spec import Activations, Compute
from fastmlp._training.callback_list import Callback
from fastmlp.sklearn.estimator import BaseMLP, by_batches
from fastmlp.sklearn.fitted import Targets
from fastmlp.sklearn.parameters import (
    Classifier,
    ClassWeight,
    Scoring,
    copy_with_state,
    documented,
    store,
)
from fastmlp.sklearn.training import train
from fastmlp.sklearn.validation import refuse_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastmlp._validation.arrays import TableLike


@with_argument_hints
@documented(
    BaseMLP,
    standardized="targets are classes",
    specific="""
    class_weight : dict, "balanced" or None, default=None
        Factor on the weights of the samples of each class in training; "balanced" weights are
        inversely proportional to the class frequencies.
    label_smoothing : float in [0, 1), default=0.0
        Replace targets t, 0 or 1, by (1 - s) t + s / n_classes.
    """,
)
class MLPClassifier(Classifier, BaseMLP):
    """A network that predicts classes, with the methods of scikit-learn's class of this name.

    Take it to make a program faster that has scikit-learn's ``MLPClassifier``: change the import.

    The loss is the cross-entropy of a softmax; for two classes, or a 0/1 matrix with one column per
    label, that of logistic outputs.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : array
        Labels, in the order of the columns of ``predict_proba``.
    {attributes}
    out_activation_ : str
        Output activation, logistic or softmax.

    Notes
    -----
    With the same ``random_state``, weights, batches and losses equal those of
    ``sklearn.neural_network.MLPClassifier`` up to rounding; lbfgs works in float64 in both.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPClassifier
    >>> X = np.random.default_rng(0).normal(size=(400, 2))
    >>> y = np.where(X[:, 0] * X[:, 1] > 0, "same", "different")
    >>> net = MLPClassifier((32,), random_state=0, learning_rate_init=0.01, tol=1e-3)
    >>> net.fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }
    loss = "log_loss"  # scikit-learn's attribute, not a parameter

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] | Array = (100,),
        activation: Activations = "relu",
        *,
        solver: SolverName = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: str | LearningRate = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: ClassWeight = None,
        label_smoothing: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        compute: Compute = None,
        scoring: Scoring = None,
        restore_best: bool = False,
        standardize: bool = False,
        callbacks: Iterable[Callback] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        store(self, locals())

    @by_batches
    def partial_fit(
        self,
        X: TableLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch, continuing with the weights and optimizer of the last call.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``; y need not contain all classes. With ``standardize`` the first call
            measures means and deviations, for all later ones.
        classes : array, shape (n_classes,)
            All classes that will ever occur; required in the first call.

        Returns
        -------
        estimator
            The estimator itself.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit: pass a dict, for "
                "example from sklearn.utils.compute_class_weight"
            )
        # It sets an attribute.
        multiclass._check_partial_fit_first_call(copy_with_state(self, vars(self)), classes)
        train(self, (X, y, sample_weight), classes=classes, one_epoch=True)
        return self

    def predict(self, X: TableLike) -> Array:
        """Predict labels.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array, shape (n_samples,) or (n_samples, n_labels)
            Labels from ``classes_``, or 0 or 1 per label.
        """
        outputs, fitted = self._outputs(X)
        labels = fitted.targets.labels
        kind, classes = labels.y_type_, labels.classes_
        if kind == "multiclass":
            return classes[outputs.argmax(axis=1)]  # type: ignore[no-any-return]
        if kind == "binary" and len(classes) == 2:
            return classes.take(outputs[:, 0] > 0.5)  # type: ignore[no-any-return]
        if fitted.targets.n_outputs == 1:
            outputs = outputs.ravel()
        return labels.inverse_transform(outputs)  # type: ignore[no-any-return]

    def predict_proba(self, X: TableLike) -> Array:
        """Predict probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array, shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``; for several labels per sample, one
            independent probability per label.
        """
        outputs, fitted = self._outputs(X)
        if fitted.targets.n_outputs > 1:
            return outputs
        return np.concatenate([1 - outputs, outputs], axis=1)

    def _targets(
        self,
        y: Array,
        earlier: Targets | None,
        partial: bool = False,
        classes: ArrayLike | None = None,
    ) -> Targets:
        refuse_labels(y, "MLPRegressor")
        if earlier is None and classes is None:
            labels = LabelBinarizer().fit(y)
            return Targets(_n_outputs(labels), labels, labels.classes_)
        if earlier is None:  # this is the first partial_fit
            is_matrix = y.ndim == 2 and multiclass.type_of_target(y).startswith("multilabel")
            labels = LabelBinarizer().fit(y if is_matrix else classes)
            earlier = Targets(_n_outputs(labels), labels, multiclass.unique_labels(classes))
        if partial:
            _check_width(y, earlier.labels)
        present = multiclass.unique_labels(y)
        if partial and len(np.setdiff1d(present, earlier.classes, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {earlier.classes}. 'y' has {present}."
            )
        if not partial and set(present) != set(earlier.classes):
            raise ValueError(
                "warm_start can only be used where `y` has the same "
                "classes as in the previous call to fit. Previously "
                f"got {earlier.classes}, `y` has {present}"
            )
        return earlier

    def _encode(self, y: Array, targets: Targets) -> Array:
        labels = targets.labels
        if labels.y_type_ == "multiclass":
            return np.searchsorted(labels.classes_, y).astype(np.int32)
        _check_width(y, labels)
        encoded: Array = labels.transform(y).astype(np.float64)
        smoothing = float(self.label_smoothing)
        return encoded * (1 - smoothing) + smoothing / 2 if smoothing else encoded

    def _loss(self, targets: Targets) -> losses.Loss:
        if targets.labels.y_type_ == "multiclass":
            return losses.CrossEntropy(label_smoothing=float(self.label_smoothing))
        return losses.BinaryCrossEntropy()


def _check_width(y: Array, labels: LabelBinarizer) -> None:
    """Raise ValueError for a matrix of labels that has not the columns of the fit."""
    expected = len(y), len(labels.classes_)
    if labels.y_type_.startswith("multilabel") and y.shape != expected:
        raise ValueError(
            f"y has shape {y.shape} but {expected} is expected: pass 0 or 1 for each label of the "
            "fit"
        )


def _n_outputs(labels: LabelBinarizer) -> int:
    """Return the number of outputs of the network: two classes have one."""
    return 1 if labels.y_type_ == "binary" else len(labels.classes_)
