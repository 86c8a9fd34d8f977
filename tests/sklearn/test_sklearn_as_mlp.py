"""Fitted estimators as networks: the same predictions, for raw data, and independent of them."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 67
X = np.random.default_rng(0).normal(size=(N, 3)) * [1, 100, 0.01] + [0, 5, 0]
Y = X[:, 0] + X[:, 1] / 100
KINDS = {
    "regressor": (MLPRegressor, Y),
    "two outputs": (MLPRegressor, np.c_[Y, -Y]),
    "two classes": (MLPClassifier, Y > 0),
    "three classes": (MLPClassifier, np.digitize(Y, [-1, 1])),
    "labels": (MLPClassifier, np.c_[Y > 0, Y > 1].astype(int)),
}


def right(model, x):
    """Return what the estimator itself says, as columns."""
    if isinstance(model, MLPRegressor):
        return model.predict(x).reshape(len(x), -1)
    p = model.predict_proba(x)
    return p[:, 1:] if len(model.classes_) == 2 and model.n_outputs_ == 1 else p


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_network_predicts_what_the_estimator_does(kind, standardize, dtype):
    make, y = KINDS[kind]
    x = X.astype(dtype)
    options = {"activation": ["tanh", "gelu"], "dropout": 0.1, "standardize": standardize}
    model = make(hidden_layer_sizes=(5, 7), max_iter=20, random_state=0, **options).fit(x, y)
    net, expected = model.to_mlp(), right(model, x)
    assert net.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(net.predict(x), expected)
    np.testing.assert_array_equal(model.predictor()(x[0]), expected[0])
    found = model.jacobian(x)
    np.testing.assert_array_equal(model.jacobian(x[0]), found[0])
    if dtype == "float64":
        step = 1e-6 * x.std(axis=0)
        for k in range(3):
            shift = step * np.eye(3)[k]
            slope = (right(model, x + shift) - right(model, x - shift)) / (2 * step[k])
            np.testing.assert_allclose(found[:, :, k], slope, rtol=1e-5, atol=1e-6)
    net.weights = [np.zeros_like(each) for each in net.weights]
    np.testing.assert_array_equal(right(model, x), expected)


def test_assigned_weights_are_those_of_the_network():
    model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0).fit(X, Y)
    model.coefs_[0][0, 0] = 7.0
    assert model.to_mlp().weights[0][0, 0] == 7.0
    before = model.predictor()
    model.fit(X, -Y)
    assert before.parameters()[0][0][0, 0] == 7.0


def test_gaussian_heads_are_means_and_variances():
    model = MLPRegressor(loss="gaussian", max_iter=5, standardize=True, random_state=0).fit(X, Y)
    mean, deviation = model.predict(X, return_std=True)
    means, variances = model.to_mlp().predict(X)
    np.testing.assert_array_equal(means[:, 0], mean)
    np.testing.assert_allclose(np.sqrt(variances[:, 0]), deviation, rtol=1e-12)
