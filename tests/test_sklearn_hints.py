"""Hints of estimators: what a fit suffered from, said once, after it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn.neural_network
from sklearn.exceptions import ConvergenceWarning

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.sklearn import hints

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::fastmlp.HintWarning"),
]

N = 300
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2))
Y = X[:, 0] > 0


def said(make, *data, **more):
    """Return the hints of a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", fastmlp.HintWarning)
        make().fit(*data, **more)
    return [str(each.message) for each in caught]


# Factor on the second column, shift of both; a small one beside others may be a rare category.
CASES = [
    (1, 0, ""),
    (1e3, 0, "X has columns of deviations from"),
    (1e-3, 0, ""),
    (1, 50, "X has columns far from 0"),
]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(("factor", "shift", "words"), CASES)
def test_inputs_that_are_not_scaled(kind, solver, factor, shift, words):
    def make(**options):
        return kind(**{"hidden_layer_sizes": (4,), "max_iter": 2, "solver": solver, **options})

    x = X * [1, factor] + shift
    for max_iter in (2, 40):
        found = said(lambda m=max_iter: make(max_iter=m), x, Y)
        assert len(found) == bool(words)
        assert all(words in hint and "standardize=True would scale X" in hint for hint in found)
    assert said(lambda: make(standardize=True), x, Y) == []
    assert said(make, x[:200], Y[:200]) == []


def test_targets_that_are_not_scaled():
    y = 100 * X[:, 0]
    (hint,) = said(lambda: MLPRegressor(max_iter=2), X, y)
    assert "y has columns of deviations from 1e+02 to 1e+02: standardize=True" in hint
    (hint,) = said(lambda: MLPRegressor(max_iter=2), X + 1e3, y)
    assert hint.startswith("X has columns far")
    assert ", y has columns of" in hint
    assert said(lambda: MLPRegressor(max_iter=2, loss="poisson"), X, np.abs(y)) == []


@pytest.mark.parametrize("n", [100, 400, 401])
def test_early_stopping_by_the_accuracy_of_few_rows(n):
    x, y = np.tile(X, (2, 1))[:n], np.tile(Y, 2)[:n]
    held = {"X_val": x, "y_val": y}
    stopping = {"early_stopping": True, "max_iter": 3}
    found = said(lambda: MLPClassifier(**stopping), x, y, **held)
    assert len(found) == (n <= 400)
    assert all(f"the accuracy of {n} rows" in hint for hint in found)
    assert len(said(lambda: MLPClassifier(**stopping), x, y)) == 1  # a tenth is held out
    for options in ({"scoring": "loss"}, {"scoring": "accuracy"}, {"early_stopping": False}):
        assert said(lambda o=options: MLPClassifier(**{**stopping, **o}), x, y, **held) == []
    assert said(lambda: MLPRegressor(**stopping), x, y, **held) == []


def test_the_words_of_a_fit_that_has_not_converged_are_those_of_scikit_learn():
    texts = []
    for kind in (MLPClassifier, sklearn.neural_network.MLPClassifier):
        with pytest.warns(ConvergenceWarning) as caught:
            kind(max_iter=2).fit(1000 * X, Y)
        texts.append([str(w.message) for w in caught if w.category is ConvergenceWarning])
    assert texts[0] == texts[1]


def test_a_filter_that_makes_errors_of_hints_leaves_a_fitted_estimator():
    model = MLPClassifier((4,), max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", fastmlp.HintWarning)
        with pytest.raises(fastmlp.HintWarning):
            model.fit(1000 * X, Y)
    assert model.predict(X).shape == (N,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(1000 * X, Y)  # a batch may be anything


@pytest.mark.parametrize("value", [1e-320, 1e300, 1e308])
def test_numbers_of_any_size_are_looked_at(value):
    assert "X has columns" in hints.of_columns(np.array([[value], [-value]] * 200), "X")
    assert hints.of_columns(np.full((N, 2), value), "X") == ""
