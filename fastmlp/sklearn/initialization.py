"""The initial state of a fit: the network's spec, and scikit-learn's initial weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastmlp._network import spec
from fastmlp.sklearn import parameters
from fastmlp.sklearn.scaling import Arrays


def spec_of(estimator: Any, n_features: int, dtype: Any) -> spec.Spec:
    """Return the spec of the network that the estimator's parameters describe."""
    hidden = parameters.hidden_sizes(estimator.hidden_layer_sizes)
    return spec.build(
        [n_features, *hidden, estimator.n_outputs_],
        parameters.activation_names(estimator.activation),
        estimator._loss(),
        # SciPy minimises in float64, so lbfgs uses float64.
        np.float64 if estimator.solver == "lbfgs" else dtype,
        estimator.dropout,
    )


def first_parameters(
    network: spec.Spec, activation: Any, random_state: np.random.RandomState
) -> tuple[Arrays, Arrays]:
    """Draw initial weights after Glorot and Bengio (2010); logistic gets a third of the variance.

    As in scikit-learn, the output layer uses the factor of the last hidden activation, and each
    layer's weights are drawn before its biases.
    """
    names = list(network.activations) or [parameters.activation_names(activation)]
    weights: Arrays = []
    biases: Arrays = []
    for layer, (fan_in, fan_out) in enumerate(network.shapes):
        factor = 2.0 if names[min(layer, len(names) - 1)] == "sigmoid" else 6.0
        bound = math.sqrt(factor / (fan_in + fan_out))
        for arrays, shape in ((weights, (fan_in, fan_out)), (biases, (fan_out,))):
            arrays.append(random_state.uniform(-bound, bound, shape).astype(network.dtype))
    return weights, biases
