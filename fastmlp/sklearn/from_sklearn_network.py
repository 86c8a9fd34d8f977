"""Conversion of scikit-learn's fitted networks to estimators of this package."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from fastmlp._core.history import History
from fastmlp._network.spec import Spec
from fastmlp.sklearn.classifier import MLPClassifier
from fastmlp.sklearn.fitted import STATISTICS, FittedNetwork, Targets
from fastmlp.sklearn.regressor import MLPRegressor
from fastmlp.sklearn.scaled_network import ScaledNetwork, spec_of
from fastmlp.sklearn.scaling import Scaling

KINDS: dict[type, type[MLPClassifier | MLPRegressor]] = {
    neural_network.MLPClassifier: MLPClassifier,
    neural_network.MLPRegressor: MLPRegressor,
}
# Fitted attributes to copy, besides the network.
COPIED = (
    *("classes_", "n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_"),
    *("out_activation_", *STATISTICS),
)

# What to do with another estimator that has an attribute; the last one suits all.
REMEDIES = {
    "steps": (
        "from_sklearn(pipeline[-1]) converts the network alone, which takes the rows that "
        "pipeline[:-1].transform(X) returns, not X"
    ),
    "best_estimator_": "pass best_estimator_",
    "regressor_": (
        "from_sklearn(model.regressor_) converts the network alone, which predicts transformed "
        "targets"
    ),
    "__class__": "fit such a network",
}


def from_sklearn(estimator: Any) -> MLPClassifier | MLPRegressor:
    """Convert a fitted network of scikit-learn to an estimator of fastmlp.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor, or Pipeline
        Fitted estimator, which is not changed; or a pipeline of a StandardScaler and one of these.

    Returns
    -------
    MLPClassifier or MLPRegressor
        Estimator with the same parameters, weights, classes and curves, and the same predictions up
        to rounding. ``partial_fit`` and ``warm_start`` continue with the weights and a new
        optimizer state. That of a pipeline has ``standardize=True``, and takes the rows that the
        pipeline takes; a new fit of a regressor scales the targets, too.

    Raises
    ------
    TypeError
        If it is another estimator or a subclass, which may compute other predictions.
    NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> from sklearn.neural_network import MLPRegressor
    >>> X = np.linspace(-1, 1, 50)[:, np.newaxis]
    >>> theirs = MLPRegressor(solver="lbfgs", random_state=0).fit(X, X[:, 0] ** 2)
    >>> ours = fastmlp.from_sklearn(theirs)
    >>> bool(np.allclose(ours.predict(X), theirs.predict(X)))
    True
    """
    scaler = None
    if type(estimator) is Pipeline and [type(step) for _, step in estimator.steps[:-1]] == [
        StandardScaler
    ]:
        (_, scaler), (_, estimator) = estimator.steps
        check_is_fitted(scaler)
    kind = KINDS.get(type(estimator))
    if kind is None:
        remedy = next(text for name, text in REMEDIES.items() if hasattr(estimator, name))
        raise TypeError(
            f"from_sklearn was given {type(estimator).__name__} but MLPClassifier or MLPRegressor "
            "of sklearn.neural_network, alone or in a Pipeline behind a StandardScaler, is "
            f"expected: {remedy}"
        )
    check_is_fitted(estimator)
    ours: MLPClassifier | MLPRegressor = kind(**copy.deepcopy(estimator.get_params(deep=False)))
    ours.set_params(standardize=scaler is not None)
    theirs = copy.deepcopy({**(vars(scaler) if scaler else {}), **vars(estimator)})
    attributes = {name: theirs[name] for name in COPIED if name in theirs}
    attributes |= {"history_": History(), "validation_loss_curve_": None}
    labels = theirs.get("_label_binarizer")
    targets = Targets(theirs["n_outputs_"], labels, theirs.get("classes_"))
    spec = spec_of(ours, estimator.n_features_in_, targets, estimator.coefs_[0].dtype)
    network = ScaledNetwork(spec, None if scaler is None else _scaling(scaler, spec))
    network.engine.set_parameters(*network.checked(estimator.coefs_, estimator.intercepts_))
    ours._fitted = FittedNetwork(network, targets, attributes)
    return ours


def _scaling(scaler: StandardScaler, spec: Spec) -> Scaling:
    """Return the scaling of inputs that a StandardScaler does, without one of targets."""
    n = spec.layer_sizes[0]
    mean = np.zeros(n) if scaler.mean_ is None or not scaler.with_mean else scaler.mean_
    scale = np.ones(n) if scaler.scale_ is None else scaler.scale_
    of_inputs = mean.astype(np.float64), scale.astype(np.float64)
    return Scaling(of_inputs[0], of_inputs[1], np.zeros(spec.n_outputs), np.ones(spec.n_outputs))
