"""The estimators in the place of scikit-learn's: a fit follows the same trajectory.

The installed scikit-learn is the reference: whatever it does is what is expected here.
"""

import inspect

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.datasets import load_digits, make_classification, make_multilabel_classification

import fastmlp as ours

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning"),  # scikit-learn 1.6
]
HAS_SAMPLE_WEIGHT = "sample_weight" in inspect.signature(theirs.MLPClassifier.fit).parameters
HAS_POISSON = "loss" in inspect.signature(theirs.MLPRegressor).parameters


def regression(outputs=1, n=150):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 6))
    y = np.sin(x @ rng.normal(size=(6, outputs))) + 0.1 * rng.normal(size=(n, outputs))
    return x, y[:, 0] if outputs == 1 else y


def digits():
    x, y = load_digits(return_X_y=True)
    return x[:200] / 16, y[:200]


def two_classes():
    x, y = make_classification(150, 8, n_informative=5, random_state=1)
    return x, np.where(y == 1, "yes", "no")


def several_labels():
    x, y = make_multilabel_classification(120, 7, random_state=2)
    return x / 30, y


DATA = {
    "regression": ("MLPRegressor", regression),
    "two outputs": ("MLPRegressor", lambda: regression(2)),
    "digits": ("MLPClassifier", digits),
    "two classes": ("MLPClassifier", two_classes),
    "labels": ("MLPClassifier", several_labels),
}
SOLVERS = {
    "adam": {"solver": "adam"},
    "nesterov": {"solver": "sgd"},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "momentum 1": {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-4},
    "plain": {"solver": "sgd", "momentum": 0.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.02, "n_iter_no_change": 2},
    "in order": {"solver": "adam", "shuffle": False},
    "rules that adam ignores": {"solver": "adam", "learning_rate": "adaptive"},
}


def pair(name, **options):
    options = {"hidden_layer_sizes": (9, 5), "max_iter": 25, "batch_size": 32, **options}
    options = {"learning_rate_init": 0.01, "random_state": 7, **options}
    return getattr(ours, name)(**options), getattr(theirs, name)(**options)


def assert_same(mine, reference, rtol=1e-8, losses=True):
    """The same run, to rounding."""
    assert mine.n_iter_ == reference.n_iter_
    assert mine.t_ == reference.t_
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(mine, name), getattr(reference, name), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(mine, name) == getattr(reference, name)
    names = ("loss_curve_", "loss_", "best_loss_", "validation_scores_", "best_validation_score_")
    for name in names if losses else ():
        a, b = getattr(mine, name, None), getattr(reference, name, None)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-6 if "validation" in name else rtol)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("data", DATA)
def test_same_trajectory(data, activation, solver):
    name, make = DATA[data]
    x, y = make()
    options = {"activation": activation, **SOLVERS[solver]}
    if data == "two outputs":
        # scikit-learn reports half the mean but trains on half the sum: other losses, other end.
        options["n_iter_no_change"] = np.inf
    mine, reference = pair(name, **options)
    mine.fit(x, y), reference.fit(x, y)
    assert_same(mine, reference, losses=data != "two outputs")
    predicted, expected = mine.predict(x), reference.predict(x)
    assert predicted.dtype == expected.dtype
    assert predicted.shape == expected.shape
    if name == "MLPRegressor":
        np.testing.assert_allclose(predicted, expected, rtol=1e-7, atol=1e-9)
        return
    assert np.array_equal(mine.classes_, reference.classes_)
    assert np.array_equal(predicted, expected)
    np.testing.assert_allclose(mine.predict_proba(x), reference.predict_proba(x), atol=1e-9)
    log, expected_log = mine.predict_log_proba(x), reference.predict_log_proba(x)
    np.testing.assert_allclose(log, expected_log, rtol=1e-6, atol=1e-7)
    assert mine.score(x, y) == reference.score(x, y)


@pytest.mark.parametrize("solver", ["adam", "nesterov", "adaptive"])
@pytest.mark.parametrize("data", [key for key in DATA if key != "two outputs"])
def test_same_early_stopping(data, solver):
    name, make = DATA[data]
    x, y = make()
    if not HAS_POISSON and data == "two classes":
        y = (y == "yes").astype(int)  # scikit-learn 1.6 cannot stop early on strings
    options = {**SOLVERS[solver], "early_stopping": True, "n_iter_no_change": 3, "max_iter": 60}
    mine, reference = pair(name, **options, validation_fraction=0.2)
    assert_same(mine.fit(x, y), reference.fit(x, y))


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("tol", [0.0, 1e-9])
@pytest.mark.parametrize("data", ["regression", "digits"])
def test_a_loss_that_stays_the_same_is_worse_only_with_a_tolerance(data, tol, early_stopping):
    """Steps too small to change a weight; one batch in a fixed order has the same loss each epoch.

    A loss equal to the best one minus the tolerance counts as an improvement.
    """
    name, make = DATA[data]
    x, y = (array[:100] for array in make())
    options = {"solver": "sgd", "learning_rate_init": 1e-30, "shuffle": False, "max_iter": 12}
    options |= {"batch_size": 90 if early_stopping else 100, "early_stopping": early_stopping}
    mine, reference = pair(name, tol=tol, n_iter_no_change=3, **options)
    mine.fit(x, y), reference.fit(x, y)
    assert len(set(mine.loss_curve_)) == 1
    assert mine.n_iter_ == (5 if tol else 12)
    assert_same(mine, reference)


@pytest.mark.parametrize("solver", ["adam", "nesterov", "invscaling"])
@pytest.mark.parametrize("data", ["regression", "digits", "two classes"])
def test_same_warm_starts_and_partial_fits(data, solver):
    name, make = DATA[data]
    x, y = make()
    options = {**SOLVERS[solver], "max_iter": 4}
    mine, reference = pair(name, warm_start=True, **options)
    for epochs in (4, 3):
        for net in (mine, reference):
            net.set_params(max_iter=epochs).fit(x, y)
    assert_same(mine, reference)
    assert (mine.n_iter_, len(mine.loss_curve_)) == (3, 7)
    mine, reference = pair(name, **options)
    first = {} if name == "MLPRegressor" else {"classes": np.unique(y)}
    for net in (mine, reference):
        for start in (0, 50, 100):
            net.partial_fit(x[start : start + 50], y[start : start + 50], **first)
        net.fit(x, y).partial_fit(x, y)
    assert_same(mine, reference)
    assert mine.n_iter_ == 1


@pytest.mark.skipif(not HAS_SAMPLE_WEIGHT, reason="scikit-learn before 1.7 has no sample_weight")
@pytest.mark.parametrize("solver", ["adam", "nesterov"])
@pytest.mark.parametrize("data", ["regression", "digits", "two classes", "labels"])
def test_same_weights_with_sample_weight(data, solver):
    name, make = DATA[data]
    x, y = make()
    weights = np.random.default_rng(0).uniform(0.1, 3, len(x))
    # The reported loss is ours: weighted over the epoch, not the plain mean of weighted batches.
    options = {**SOLVERS[solver], "tol": 0.0, "n_iter_no_change": np.inf}
    mine, reference = pair(name, **options)
    mine.fit(x, y, weights), reference.fit(x, y, weights)
    assert_same(mine, reference, losses=False)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("data", [key for key in DATA if key != "two outputs"])
def test_lbfgs_finds_the_same_minimum(data, activation):
    name, make = DATA[data]
    x, y = make()
    mine, reference = pair(name, solver="lbfgs", activation=activation, max_iter=8)
    mine.fit(x, y), reference.fit(x, y)
    assert_same(mine, reference, rtol=1e-5)
    assert not hasattr(mine, "loss_curve_")
    for net in (mine, reference):  # and is fitted in float64 on float32 data too
        net.fit(x.astype(np.float32), y)
    assert mine.coefs_[0].dtype == reference.coefs_[0].dtype


def test_lbfgs_has_one_objective_for_several_outputs():
    """Where scikit-learn minimises a value that is a third of what its gradient belongs to."""
    x, y = regression(3)
    options = {"solver": "lbfgs", "activation": "tanh", "alpha": 0.1, "max_fun": 200_000}
    net, _ = pair("MLPRegressor", **options, max_iter=20_000)
    net.set_params(tol=1e-6).fit(x, y)
    errors = ((net.predict(x) - y) ** 2).sum() + 0.1 * sum((w**2).sum() for w in net.coefs_)
    np.testing.assert_allclose(net.loss_, errors / len(x) / 2, rtol=1e-10)
    assert net.n_iter_ < 20_000  # the gradient is that of this value, or it would not get so flat


@pytest.mark.skipif(not HAS_POISSON, reason="scikit-learn before 1.7 has no loss")
@pytest.mark.parametrize("solver", ["adam", "nesterov", "lbfgs"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_same_poisson(solver, outputs):
    x, y = regression(outputs)
    y = np.random.default_rng(0).poisson(np.exp(y))
    options = {**SOLVERS.get(solver, {"solver": solver}), "loss": "poisson", "max_iter": 12}
    mine, reference = pair("MLPRegressor", **options)
    assert_same(mine.fit(x, y), reference.fit(x, y), rtol=1e-6)
    assert mine.out_activation_ == "exp"
    np.testing.assert_allclose(mine.predict(x), reference.predict(x), rtol=1e-5)
    with pytest.raises(ValueError, match=r"loss='poisson' expects targets in \[0"):
        mine.fit(x, y - 10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data", ["regression", "digits", "two classes"])
def test_dtypes(data, dtype):
    name, make = DATA[data]
    x, y = make()
    mine, reference = pair(name, max_iter=3)
    mine.fit(x.astype(dtype), y), reference.fit(x.astype(dtype), y)
    assert mine.coefs_[0].dtype == dtype
    for other in ("float32", "float64", "int64"):
        method = "predict" if name == "MLPRegressor" else "predict_proba"
        a = getattr(mine, method)((4 * x).astype(other))
        b = getattr(reference, method)((4 * x).astype(other))
        assert a.dtype == b.dtype, other
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)
