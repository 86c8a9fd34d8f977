"""Hints of estimators, which a fit logs at its end, and the lines that warnings point to."""

import logging
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._training import scales

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 300
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2))
Y = X[:, 0] > 0


@pytest.fixture
def said(caplog):
    """Return a function of a fit that returns its hints."""

    def of(make, *data, **more):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="fastmlp"):
            make().fit(*data, **more)
        assert {(each.name, each.levelname) for each in caplog.records} <= {("fastmlp", "INFO")}
        return [each.getMessage() for each in caplog.records]

    return of


# Factor on the second column, shift of both; a small one beside others may be a rare category.
CASES = [
    (1, 0, ""),
    (1e3, 0, "X has columns with deviations from"),
    (1e-3, 0, ""),
    (1, 50, "X has columns far from 0"),
]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(("factor", "shift", "words"), CASES)
def test_inputs_that_are_not_scaled(kind, solver, factor, shift, words, said):
    def make(**options):
        return kind(**{"hidden_layer_sizes": (4,), "max_iter": 2, "solver": solver, **options})

    x = X * [1, factor] + shift
    for max_iter in (2, 40):
        found = said(lambda m=max_iter: make(max_iter=m), x, Y)
        assert len(found) == bool(words)
        assert all(words in hint and "standardize=True would scale X" in hint for hint in found)
    assert said(lambda: make(standardize=True), x, Y) == []
    assert said(make, x[:200], Y[:200]) == []


def test_targets_that_are_not_scaled(said):
    y = 100 * X[:, 0]
    (hint,) = said(lambda: MLPRegressor(max_iter=2), X, y)
    assert "y has columns with deviations from 1e+02 to 1e+02: standardize=True" in hint
    (hint,) = said(lambda: MLPRegressor(max_iter=2), X + 1e3, y)
    assert hint.startswith("X has columns far")
    assert ", y has columns with" in hint
    assert said(lambda: MLPRegressor(max_iter=2, loss="poisson"), X, np.abs(y)) == []


@pytest.mark.parametrize("n", [100, 400, 401])
def test_early_stopping_by_the_accuracy_of_few_rows(n, said):
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


def test_hints_are_no_warnings_and_verbose_prints_them(capsys):
    warnings.simplefilter("ignore", ConvergenceWarning)
    for verbose in (False, True):
        MLPClassifier((4,), max_iter=2, verbose=verbose).fit(1000 * X, Y)
        printed = capsys.readouterr()
        assert printed.err.startswith("Hint: X has columns") if verbose else not printed.err
        assert "Hint" not in printed.out


# ------------------------------------------------------------ warnings


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLPClassifier((4,), max_iter=2),
        lambda: MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, solver="lbfgs"),
        lambda: make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=2)),
        lambda: GridSearchCV(MLPClassifier((4,), max_iter=2), {"alpha": [0.1]}, cv=2),
    ],
    ids=["adam", "lbfgs", "pipeline", "search"],
)
def test_warnings_point_to_the_line_of_the_user(make):
    with pytest.warns(ConvergenceWarning) as caught:
        make().fit(X, Y)
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("standardize", [False, True])
def test_lbfgs_names_the_scale_of_data_that_it_does_not_scale(standardize):
    with pytest.warns(ConvergenceWarning, match=f"than 2{'$' if standardize else ', or scale'}"):
        MLPClassifier((4,), max_iter=2, solver="lbfgs", standardize=standardize).fit(X, Y)


@pytest.mark.parametrize("value", [1e-320, 1e300, 1e308])
def test_numbers_of_any_size_are_looked_at(value):
    assert "X has columns" in scales.problems({"X": np.array([[value], [-value]] * 200)})
    assert ("far from 0" in scales.problems({"X": np.full((N, 2), value)})) == (value > 1)
