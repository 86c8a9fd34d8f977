"""The estimators' surface against the installed scikit-learn's: arguments, words, attributes."""

import datetime
import functools
import inspect
import pickle
import re
import warnings

import children
import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.exceptions import NotFittedError
from test_sklearn import HAS_POISSON, assert_same, digits, pair, regression

import fastmlp as ours
from fastmlp.sklearn.estimator import BaseMLP
from fastmlp.sklearn.parameters import documented

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning"),  # scikit-learn 1.6
]
BOTH = pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])


def test_shared_parameters_are_documented_by_any_compiler():
    """Python 3.13 and later leave the indentation of docstrings out."""
    docs = {
        documented(BaseMLP, standardized="yes", specific="depth : int")(
            type("Model", (), {"__doc__": doc})
        ).__doc__
        for doc in (
            "A model.\n\n    {parameters}\n\n    {attributes}\n    ",
            "A model.\n\n{parameters}\n\n{attributes}\n",
        )
    }
    (text,) = docs
    assert "\nhidden_layer_sizes : " in text
    assert "\ndepth : int\nsolver : {" in text
    assert "\ncoefs_, intercepts_ : " in text


def test_constructor_is_scikit_learns():
    for name in ("MLPClassifier", "MLPRegressor"):
        mine = inspect.signature(getattr(ours, name)).parameters
        reference = inspect.signature(getattr(theirs, name)).parameters
        assert [mine[key].default for key in reference] == [p.default for p in reference.values()]
        if HAS_POISSON:
            assert list(mine)[: len(reference)] == list(reference)
            assert [mine[key].kind for key in reference] == [p.kind for p in reference.values()]
        for method in ("fit", "partial_fit", "predict", "score"):
            given = [inspect.signature(getattr(getattr(p, name), method)) for p in (ours, theirs)]
            assert given[0].parameters.keys() >= given[1].parameters.keys()
        extra = [p for key, p in mine.items() if key not in reference and key != "loss"]
        assert all(p.kind == inspect.Parameter.KEYWORD_ONLY for p in extra)
        for parameter in mine:
            explained = rf"(^ *|, ){parameter}(, \w+)* : "
            assert re.search(explained, getattr(ours, name).__doc__, re.MULTILINE), parameter


BAD = [
    {"hidden_layer_sizes": (3, 0)},
    {"hidden_layer_sizes": 0},
    {"activation": "ghost"},
    {"solver": "ghost"},
    {"alpha": -1},
    {"batch_size": 0},
    {"learning_rate": "ghost"},
    {"learning_rate_init": 0},
    {"max_iter": 0},
    {"momentum": 2},
    {"validation_fraction": 1},
    {"beta_1": 1},
    {"epsilon": 0},
    {"n_iter_no_change": 0},
    {"random_state": np.random.default_rng(0)},
    *([{"early_stopping": True, "validation_fraction": 0.001}] if HAS_POISSON else []),
]


@pytest.mark.parametrize(
    "options", BAD, ids=lambda options: re.sub(" at 0x.*?}", "}", str(options))
)
@BOTH
def test_same_complaints(name, options):
    x, y = regression(n=40)
    y = y if name == "MLPRegressor" else y > 0
    messages = []
    for package in (ours, theirs):
        with pytest.raises(ValueError, match=f"{min(options)}|validation set|test_size") as caught:
            getattr(package, name)(**options).fit(x, y)
        messages.append((type(caught.value), str(caught.value)))
    mine, reference = messages
    assert mine[0] is reference[0]
    # Where ours offers more choices, the list is longer; the sentence is the same.
    assert mine[1].partition(" must be")[0] == reference[1].partition(" must be")[0]


@BOTH
def test_same_warnings_and_verbose_lines(name, capsys):
    x, y = regression(n=40)
    y = y if name == "MLPRegressor" else y > 0
    for options in (
        {"early_stopping": True},
        {"tol": 1e9, "n_iter_no_change": 1},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e9, "n_iter_no_change": 1},
    ):
        texts, lines = [], []
        for package in (ours, theirs):
            common = {"hidden_layer_sizes": (4,), "batch_size": 100, "random_state": 0}
            net = getattr(package, name)(**common, verbose=True, max_iter=15, **options)
            with warnings.catch_warnings(record=True, action="always") as caught:
                net.fit(x, y)
            texts.append([(w.category, str(w.message)) for w in caught])
            lines.append(capsys.readouterr().out)
        assert texts[0] == texts[1]
        assert lines[0] == lines[1]


@pytest.mark.parametrize(("name", "y"), [("MLPRegressor", [1.0]), ("MLPClassifier", [0, 1, 1])])
def test_too_few_rows_to_hold_out_are_answered_by_the_estimators_parameters(name, y):
    with pytest.raises(ValueError, match="test_size|least populated") as caught:
        getattr(ours, name)(early_stopping=True).fit(np.ones((len(y), 1)), y)
    assert f"validation_fraction=0.1 of {len(y)} rows: pass more" in caught.value.__notes__[0]


def test_other_complaints():
    x, y = digits()
    make = functools.partial(ours.MLPClassifier, (3,), max_iter=2, random_state=0)
    days = [datetime.date(2026, 1, 1 + each) for each in y]
    gaps, mixed = (np.array(["a", *[k] * (len(x) - 1)], object) for k in (None, 1))
    new, stopping, net = make(), make(early_stopping=True), make().fit(x, y)
    several = np.stack([y > 2, y > 5, y > 7], axis=1).astype(int)
    labelled, more = make().fit(x, several), np.c_[several, several]
    number = ours.MLPRegressor(max_iter=1).partial_fit(x, y).set_params(loss="gaussian")
    methods = (new.predict, new.predict_proba, new.predict_log_proba, new.jacobian)
    for error, words, call in [
        *((NotFittedError, "is not fitted", lambda method=method: method(x)) for method in methods),
        *((NotFittedError, "is not fitted", method) for method in (new.to_mlp, new.predictor)),
        (AttributeError, "coefs_", lambda: new.coefs_),
        (ValueError, "classes must be passed on the first call", lambda: new.partial_fit(x, y)),
        (ValueError, "y holds 0.5 but labels are .* use MLPRegressor", lambda: new.fit(x, y + 0.5)),
        (ValueError, r": y holds datetime.date.* astype\('datetime64", lambda: new.fit(x, days)),
        (ValueError, "y contains NaN, None or NA", lambda: new.fit(x, gaps)),
        (ValueError, "y contains NaN, None or NA", lambda: new.partial_fit(x, gaps, classes=["a"])),
        (ValueError, "y holds text and 1 but", lambda: new.fit(x, mixed)),
        (ValueError, "y holds text and 1 but", lambda: new.partial_fit(x, mixed, classes=["a"])),
        (ValueError, "has 3 features, but MLPClassifier is exp", lambda: net.predict(x[:, :3])),
        (ValueError, "1D array", lambda: net.predict(x[0])),
        (ValueError, "0 sample", lambda: net.predict(x[:0])),
        (ValueError, "classes not in", lambda: net.partial_fit(x, y + 1)),
        (ValueError, r", 6\) but .*, 3\) is expected", lambda: labelled.partial_fit(x, more)),
        (
            *(ValueError, r", 2\) but .*, 3\) is expected: pass 0 or 1"),
            lambda: make().fit(x, several, X_val=x, y_val=several[:, :2]),
        ),
        (ValueError, "not support early_", lambda: stopping.partial_fit(x, y, classes=range(10))),
        (ValueError, "same classes", lambda: make(warm_start=True).fit(x, y).fit(x, y % 3)),
        (
            *(ValueError, "warm_start=False"),
            lambda: net.set_params(warm_start=True, hidden_layer_sizes=(4,)).fit(x, y),
        ),
        (ValueError, "squared_error and cannot .* gaussian", lambda: number.partial_fit(x, y)),
        (ValueError, "too large", lambda: make().fit(x.astype("f"), y).predict(x * 1e300)),
    ]:
        with pytest.raises(error, match=words):
            call()
    for bad in (np.full((1, 64), np.nan), np.where(np.arange(64) == 7, -np.inf, x)):
        with pytest.raises(ValueError, match="contains (NaN|infinity)") as caught:
            net.predict(bad)
        assert sum("row 0, column" in note for note in caught.value.__notes__) == 1
    for estimator in (ours.MLPClassifier, ours.MLPRegressor):
        assert not hasattr(estimator(solver="lbfgs"), "partial_fit")


def test_parameters_may_be_written():
    x, y = regression()
    net = ours.MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0).fit(x, y)
    before = net.predict(x)
    net.coefs_[1][:] = 0  # this changes the array in place
    assert np.array_equal(net.predict(x), np.full(len(x), net.intercepts_[1][0]))
    net.intercepts_[1] = np.array([5.0])  # an item
    assert np.array_equal(net.predict(x), np.full(len(x), 5.0))
    coefs, intercepts = net.coefs_, net.intercepts_
    coefs[0][:] = intercepts[0][:] = 1  # the lists were read before
    coefs[1][:] = 0.5
    expected = 5 + 0.5 * np.maximum(x.sum(axis=1) + 1, 0) * 4
    np.testing.assert_allclose(net.predict(x), expected)
    fresh = ours.MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0).fit(x, y)
    net.coefs_, net.intercepts_ = fresh.coefs_, fresh.intercepts_  # whole lists
    assert np.array_equal(net.predict(x), before)
    other = theirs.MLPRegressor(hidden_layer_sizes=(4,), max_iter=9, random_state=1).fit(x, y)
    net.coefs_, net.intercepts_ = other.coefs_, other.intercepts_  # scikit-learn's
    np.testing.assert_allclose(net.predict(x), other.predict(x))
    with pytest.raises(ValueError, match="coefs_ has the length 1 but 2 is expected"):
        net.coefs_ = other.coefs_[:1]
    assert np.array_equal(pickle.loads(pickle.dumps(net)).predict(x), net.predict(x))


def test_not_one_class_less_and_no_hidden_layer():
    x, y = digits()
    for options in ({"hidden_layer_sizes": ()}, {"hidden_layer_sizes": 7}):
        mine, reference = pair("MLPClassifier", **options, activation="logistic")
        assert_same(mine.fit(x, y), reference.fit(x, y))
    mine, reference = pair("MLPClassifier")
    mine.fit(x, np.ones(len(x))), reference.fit(x, np.ones(len(x)))
    assert np.array_equal(mine.predict(x), reference.predict(x))


ABSENT = """
import sys
sys.modules["sklearn"] = None
import fastmlp
for act in sys.argv[1:]:
    try:
        exec(act)
    except ImportError as error:
        way = "read the file by fastmlp.load_predictor" if "load" in act else "use fastmlp.MLP"
        words = f"need scikit-learn, which is not installed: pip install scikit-learn, or {way}"
        assert words in str(error), act
    else:
        raise AssertionError(act)
"""


def test_without_scikit_learn_it_is_named(tmp_path):
    acts = ["fastmlp.MLPRegressor", "from fastmlp.tabular import TabMLPRegressor"]
    for name in ("MLPRegressor", "TabMLPRegressor"):
        model, options = getattr(ours, name), {"random_state": 0}
        options |= {"preset": "fast"} if name[0] == "T" else {"max_iter": 2}
        path = tmp_path / f"{name}.safetensors"
        model(**options).fit(*regression(n=40)).save(path)
        acts += [f"fastmlp.load({str(path)!r})", f"fastmlp.{name}"]
    children.printed(children.python("-c", ABSENT, *acts))


# Of lbfgs scikit-learn's versions differ in all but these words.


# ---- fitted estimators as networks: the same predictions, for raw data --------------------------

X = np.random.default_rng(0).normal(size=(67, 3)) * [1, 100, 0.01] + [0, 5, 0]
Y = X[:, 0] + X[:, 1] / 100
KINDS = {
    "regressor": (ours.MLPRegressor, Y),
    "two outputs": (ours.MLPRegressor, np.c_[Y, -Y]),
    "two classes": (ours.MLPClassifier, Y > 0),
    "three classes": (ours.MLPClassifier, np.digitize(Y, [-1, 1])),
    "labels": (ours.MLPClassifier, np.c_[Y > 0, Y > 1].astype(int)),
}


def right(model, x):
    """Return what the estimator itself says, as columns."""
    if isinstance(model, ours.MLPRegressor):
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
    model = ours.MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0).fit(X, Y)
    model.coefs_[0][0, 0] = 7.0
    assert model.to_mlp().weights[0][0, 0] == 7.0
    before = model.predictor()
    model.fit(X, -Y)
    assert before.parameters()[0][0][0, 0] == 7.0


def test_gaussian_heads_are_means_and_variances():
    model = ours.MLPRegressor(loss="gaussian", max_iter=5, standardize=True, random_state=0).fit(
        X, Y
    )
    mean, deviation = model.predict(X, return_std=True)
    means, variances = model.to_mlp().predict(X)
    np.testing.assert_array_equal(means[:, 0], mean)
    np.testing.assert_allclose(np.sqrt(variances[:, 0]), deviation, rtol=1e-12)
