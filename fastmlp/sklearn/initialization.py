"""What a fit begins with: the spec of the estimator, and scikit-learn's first weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastmlp._network import spec
from fastmlp.sklearn import parameters
from fastmlp.sklearn.scaling import Arrays


def spec_of(estimator: Any, n_features: int, dtype: Any) -> spec.Spec:
    """Return the network that the estimator's parameters describe; complain about them."""
    hidden = parameters.hidden_sizes(estimator.hidden_layer_sizes)
    return spec.build(
        [n_features, *hidden, estimator.n_outputs_],
        parameters.activation_names(estimator.activation),
        estimator._loss(),
        # SciPy minimises in float64: lbfgs has no use for anything less.
        np.float64 if estimator.solver == "lbfgs" else dtype,
        estimator.dropout,
    )


def first_parameters(
    network: spec.Spec, activation: Any, random_state: np.random.RandomState
) -> tuple[Arrays, Arrays]:
    """Draw uniform weights and biases after Glorot and Bengio 2010; logistic has a third of it.

    As in scikit-learn, the output layer goes by the last hidden activation, and each layer's
    weights are drawn before its biases.
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
