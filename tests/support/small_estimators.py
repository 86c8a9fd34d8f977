"""Estimators and data for the tests of fitted state, and that state as something to compare."""

from __future__ import annotations

import copy
import pickle

import numpy as np

from fastmlp import MLPClassifier, MLPRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 5))
Y = np.where(X[:, 0] > 0.5, 2, (X[:, 1] > 0).astype(int))  # three classes
WIDE = np.c_[X, X[:, :2]]
OTHER = np.where(X[:, 0] > 0, "high", "low")


SMALL = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0, "learning_rate_init": 0.01}


def classifier(**options):
    return MLPClassifier(**SMALL | options)


def regressor(**options):
    return MLPRegressor(**SMALL | options)


def state(net):
    """Everything that a fit may change, as bytes; copied, so that nothing is shared."""
    value = vars(net)["_fitted"]
    fitted = dict(value.attributes)
    fitted["history_"] = {**vars(net.history_), "seconds": len(net.history_.seconds)}
    fitted["coefs"] = [array.tobytes() for array in (*net.coefs_, *net.intercepts_)]
    fitted["predictions"] = net.predict(np.zeros((3, net.n_features_in_))).tolist()
    fitted["labels"], network = value.targets.labels, value.network
    fitted["network"] = network.spec, [a.tobytes() for a in network.engine.parameters()[0]]
    return {name: pickle.dumps(value) for name, value in fitted.items()}


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}
