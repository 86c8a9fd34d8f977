"""Fitted estimators of scikit-learn as ours."""

import copy

import numpy as np
import pandas
import pytest
from sklearn import neural_network
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from test_networks import SCORE, TARGETS, X

import fastmlp

pytestmark = pytest.mark.filterwarnings("ignore:.*onverge")
OPTIONS = {"hidden_layer_sizes": (8, 5), "max_iter": 12, "random_state": 0}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", TARGETS)
def test_classifiers(target, dtype):
    x, y = X.astype(dtype), TARGETS[target]
    theirs = neural_network.MLPClassifier(activation="logistic", **OPTIONS).fit(x, y)
    ours = fastmlp.from_sklearn(theirs)
    assert type(ours) is fastmlp.MLPClassifier
    rtol = 1e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=rtol)
    assert np.array_equal(ours.predict(x), theirs.predict(x))
    assert ours.loss_curve_ == theirs.loss_curve_
    assert ours.classes_.dtype == theirs.classes_.dtype
    assert {k: v for k, v in ours.get_params().items() if k in theirs.get_params()} == (
        theirs.get_params()
    )


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_regressors(solver, outputs):
    y = SCORE[:, 0] if outputs == 1 else SCORE[:, :2]
    theirs = neural_network.MLPRegressor(solver=solver, **OPTIONS).fit(SCORE, y)
    before = copy.deepcopy(vars(theirs))
    ours = fastmlp.from_sklearn(theirs)
    np.testing.assert_allclose(ours.predict(SCORE), theirs.predict(SCORE), rtol=1e-9, atol=1e-12)
    assert ours.score(SCORE, y) == pytest.approx(theirs.score(SCORE, y))
    if solver != "lbfgs":  # training continues from there
        weights = [w.copy() for w in ours.coefs_]
        ours.partial_fit(SCORE, y)
        assert len(ours.loss_curve_) == len(theirs.loss_curve_) + 1
        assert not np.array_equal(weights[0], ours.coefs_[0])
    assert all(np.array_equal(a, b) for a, b in zip(theirs.coefs_, before["coefs_"], strict=True))


def test_early_stopping_and_names_of_columns():
    frame = pandas.DataFrame(SCORE, columns=list("abcde"))
    theirs = neural_network.MLPRegressor(early_stopping=True, **OPTIONS).fit(frame, SCORE[:, 0])
    ours = fastmlp.from_sklearn(theirs)
    assert list(ours.feature_names_in_) == list("abcde")
    assert ours.best_validation_score_ == theirs.best_validation_score_
    np.testing.assert_allclose(ours.predict(frame), theirs.predict(frame), rtol=1e-9, atol=1e-12)
    assert len(ours.set_params(warm_start=True).fit(frame, SCORE[:, 0]).history_.loss) >= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"with_mean": False}, {"with_std": False}])
@pytest.mark.parametrize("kind", ["MLPRegressor", "MLPClassifier"])
def test_pipelines_with_a_scaler(kind, options, dtype):
    frame = pandas.DataFrame(10 + 3 * SCORE, columns=list("abcde")).astype(dtype)
    y = SCORE[:, 0] if kind == "MLPRegressor" else SCORE[:, 0] > 0
    last = getattr(neural_network, kind)(**OPTIONS)
    theirs = make_pipeline(StandardScaler(**options), last).fit(frame, y)
    ours, inner = fastmlp.from_sklearn(theirs), fastmlp.from_sklearn(theirs[-1])
    assert ours.standardize
    assert list(ours.feature_names_in_) == list("abcde")
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}
    name = "predict" if kind == "MLPRegressor" else "predict_proba"
    predictions = getattr(theirs, name)(frame)
    np.testing.assert_allclose(getattr(ours, name)(frame), predictions, **tolerance)
    ours.partial_fit(frame, y)
    inner.partial_fit(theirs[0].transform(frame), y)
    trained = getattr(inner, name)(theirs[0].transform(frame))
    np.testing.assert_allclose(getattr(ours, name)(frame), trained, **tolerance)
    assert not np.allclose(trained, predictions)


def test_what_is_refused():
    with pytest.raises(NotFittedError):
        fastmlp.from_sklearn(neural_network.MLPRegressor())
    with pytest.raises(NotFittedError):
        fastmlp.from_sklearn(make_pipeline(StandardScaler(), neural_network.MLPRegressor()))
    network = neural_network.MLPRegressor(max_iter=1)
    for steps in ([network], [MinMaxScaler(), network]):
        with pytest.raises(TypeError, match=r"takes the rows that pipeline\[:-1\].transform\(X\)"):
            fastmlp.from_sklearn(make_pipeline(*steps))
    search = GridSearchCV(network, {"alpha": [0.1]}, cv=2).fit(X, X[:, 0])
    scaled = TransformedTargetRegressor(network, transformer=StandardScaler()).fit(X, X[:, 0])
    with pytest.raises(TypeError, match="is expected: pass best_estimator_$"):
        fastmlp.from_sklearn(search)
    with pytest.raises(TypeError, match="alone, which predicts transformed targets$"):
        fastmlp.from_sklearn(scaled)
    with pytest.raises(TypeError, match="MLPRegressor of sklearn"):
        fastmlp.from_sklearn(fastmlp.MLPRegressor())
