"""The estimators at the limits of numbers, and what is refused: weights, matrices, parameters."""

import contextlib
import itertools
import warnings

import numpy as np
import pytest
import sklearn
from at_once import held
from scipy import sparse
from sklearn.base import clone
from small_estimators import classifier, regressor
from threadpoolctl import threadpool_info, threadpool_limits

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._training import lbfgs
from fastmlp._training.lbfgs import one_thread
from fastmlp.sklearn.fitted import fitted_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 3))
Y = X[:, 0] + np.abs(X[:, 1])
LABELS = (Y > 0.5).astype(int) + (Y > 1.5)
SOLVERS = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


# ---- sample weights ------------------------------------------------------------------------------

WEIGHTS = {
    "zeros": np.zeros(100),
    "one negative": np.where(np.arange(100) == 3, -1e-3, 1.0),
    "all negative": -np.ones(100),
    "sum of zero": np.tile([1.0, -1.0], 50),
    "too large a sum": np.full(100, 1e308),
    "NaN": np.full(100, np.nan),
    "infinity": np.full(100, np.inf),
    "strings": np.full(100, "a"),
}


@DTYPES
@SOLVERS
@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_that_mean_nothing_are_refused(weights, solver, dtype):
    x, weights = X.astype(dtype), WEIGHTS[weights]
    for net, y in ((classifier(solver=solver), LABELS), (regressor(solver=solver), Y)):
        for standardize in (False, True):
            net.set_params(standardize=standardize)
            with pytest.raises(ValueError, match=r"weight|numeric|convert"):
                net.fit(x, y, weights)
            with pytest.raises(ValueError, match=r"weight|numeric|convert"):
                net.fit(x, y, X_val=x, y_val=y, sample_weight_val=weights)
            assert not hasattr(net, "coefs_")
        if solver != "lbfgs":
            first = {"classes": [0, 1, 2]} if net.__class__ is MLPClassifier else {}
            with pytest.raises(ValueError, match=r"weight|numeric|convert"):
                net.partial_fit(x, y, weights, **first)


def test_weights_of_single_rows_may_be_zero():
    weights = np.r_[np.ones(60), np.zeros(40)]
    net = regressor(shuffle=False, batch_size=60, tol=0).fit(X, Y, weights)
    part = regressor(shuffle=False, batch_size=60, tol=0).fit(X[:60], Y[:60])
    # Batches of weight 0 have a say in the momentum of adam only.
    assert net.coefs_[0].shape == part.coefs_[0].shape
    assert np.isfinite(net.loss_curve_).all()
    # float32 has no such small weights; float64 has.
    small = np.full(100, 1e-43)
    with pytest.raises(ValueError, match=r"sample_weight\[0\] is 1e-43 but 0 or at least"):
        regressor().fit(X.astype("f"), Y, small)
    a, b = regressor(alpha=0).fit(X, Y, small), regressor(alpha=0).fit(X, Y)
    np.testing.assert_allclose(a.predict(X), b.predict(X))


@SOLVERS
def test_the_penalty_is_divided_by_the_sum_of_the_weights(solver):
    options = {"solver": solver, "max_iter": 20, "batch_size": 100, "tol": 1e-9}
    twice = regressor(alpha=2.0, **options).fit(X, Y, np.full(100, 2.0))
    once = regressor(alpha=1.0, **options).fit(X, Y)
    np.testing.assert_allclose(twice.predict(X), once.predict(X), rtol=1e-6)
    other = regressor(alpha=2.0, **options).fit(X, Y)
    assert not np.allclose(other.predict(X), once.predict(X), rtol=1e-6)


def test_class_weights_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="class_weight has -1.0 for the class 0"):
        classifier(class_weight={0: -1.0}).fit(X, LABELS)
    with pytest.raises(ValueError, match="sample_weight sums to 0"):
        classifier(class_weight={0: 0.0, 1: 0.0, 2: 0.0}).fit(X, LABELS)
    classifier(class_weight={0: 0.0}).fit(X, LABELS)


@pytest.mark.parametrize("make", [regressor, classifier])
def test_masks_are_refused(make):
    """As tables and MLP do; a masked array that masks nothing is plain."""
    y = LABELS if make is classifier else Y
    given = {"X": X, "y": y, "sample_weight": np.ones(len(X))}
    for name, values in given.items():
        mask = np.zeros(values.shape, bool)
        make().fit(**given | {name: np.ma.masked_array(values, mask)})
        mask[0] = True
        bad = np.ma.masked_array(values, mask)
        for call in (make().fit, make().fit(X, y).partial_fit):
            with pytest.raises(ValueError, match=f"{name} has masked entries but a value"):
                call(**given | {name: bad})
    with pytest.raises(ValueError, match="X has masked entries"):
        make().fit(X, y).predict(np.ma.masked_array(X, X > 1))


# ---- parameters ----------------------------------------------------------------------------------

REFUSED = {
    "complex": (TypeError, lambda w: w + 0j),
    "objects": (TypeError, lambda w: np.array([["a"] * w.shape[1]] * w.shape[0], object)),
    "masked": (TypeError, lambda w: np.ma.masked_array(w, w > 0)),
    "sparse": (TypeError, sparse.csr_array),
    "NaN": (ValueError, lambda w: np.full_like(w, np.nan)),
    "too large": (ValueError, lambda w: np.full(w.shape, 1e300)),
    "transposed": (ValueError, lambda w: w.T),
    "ragged": (ValueError, lambda w: [[1.0], [1.0, 2.0]]),
}


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_parameters_that_mean_nothing_are_refused(name, standardize):
    error, spoil = REFUSED[name]
    net = regressor(standardize=standardize).fit(X.astype("f"), Y)
    before = net.predict(X)
    bad = spoil(net.coefs_[0].copy())
    with pytest.raises(error, match=r"coefs_\[0\]"):
        net.coefs_ = [bad, net.coefs_[1]]
    assert np.array_equal(net.predict(X), before)
    with pytest.raises(error, match=r"intercepts_\[1\]"):
        net.intercepts_ = [net.intercepts_[0], spoil(np.ones((2, 3)))]
    for value, list_ in itertools.product((3, "abc", None, []), ("coefs_", "intercepts_")):
        with pytest.raises((TypeError, ValueError), match=f"{list_} (is|has)"):
            setattr(net, list_, value)
    assert np.array_equal(net.predict(X), before)
    # An item is looked at when it is used; what was there can be put back.
    good, net.coefs_[0] = net.coefs_[0], bad
    for use in (net.predict, lambda x: net.partial_fit(x, Y)):
        with pytest.raises(error, match=r"coefs_\[0\]"):
            use(X)
    net.coefs_[0] = good
    assert np.array_equal(net.predict(X), before)
    kept = good.copy()
    good[:] = 0  # and so can values
    assert not np.array_equal(net.predict(X), before)
    good[:] = kept
    assert np.array_equal(net.predict(X), before)


# ---- sparse matrices -----------------------------------------------------------------------------


def spoiled(form, where):
    """A matrix with one index that leads outside, written in behind SciPy's back."""
    matrix = getattr(sparse, form)(np.where(np.abs(X) > 0.5, X, 0))
    pointers = where.startswith("indptr")
    array = getattr(matrix, where.partition(" ")[0])
    value = {"low": -5, "high": 10**6, "falls": 0}[where.partition(" ")[2]]
    array[(len(array) // 2) if pointers else 1] = value
    return matrix


# tests/network/test_sparse.py has all formats.
SPARSE = [
    *(("csr_matrix", "indices high"), ("csc_array", "indptr falls"), ("bsr_matrix", "indices low")),
    *(("csr_array", "indptr low"), ("csc_matrix", "indptr high"), ("coo_matrix", "col low")),
]


@pytest.mark.parametrize(("form", "where"), SPARSE, ids=str)
def test_sparse_matrices_with_wrong_indices_are_refused(form, where):
    net = classifier().fit(X, LABELS)
    before = net.predict_proba(X)
    bad = spoiled(form, where)
    for method in (net.fit, net.partial_fit, net.score):
        with pytest.raises(ValueError, match="indices outside of it"):
            method(bad, LABELS)
    with pytest.raises(ValueError, match="indices outside of it"):
        net.fit(X, LABELS, X_val=bad, y_val=LABELS)
    assert np.array_equal(net.predict_proba(X), before)


def test_sparse_matrices_with_room_to_spare_are_fine():
    matrix = sparse.csr_array(X)
    matrix.data = np.r_[matrix.data, np.zeros(4)]
    matrix.indices = np.r_[matrix.indices, np.full(4, 77)].astype(matrix.indices.dtype)
    net = classifier().fit(X, LABELS)
    assert np.array_equal(net.predict_proba(matrix), net.predict_proba(X))
    assert len(matrix.data) == 304


# ---- large and small numbers ---------------------------------------------------------------------


@SOLVERS
@pytest.mark.parametrize("which", ["X", "y", "both"])
@pytest.mark.parametrize(
    ("dtype", "unit"),
    [
        *(("float32", unit) for unit in (1e-40, 1e-36, 1e-30, 1e-20, 1e20, 1e30, 1e33, 1e37)),
        *(("float64", unit) for unit in (1e-310, 1e-290, 1e-155, 1e155, 1e290, 1e300, 1e307)),
    ],
)
def test_standardize_is_right_or_refuses(dtype, unit, which, solver):
    x = (X * (unit if which != "y" else 1.0)).astype(dtype)
    y = (Y * (unit if which != "X" else 1.0)).astype(dtype)
    rate = 0.02 if solver == "adam" else 0.1
    options = {"max_iter": 150, "learning_rate_init": rate, "tol": 1e-6}
    net = regressor(standardize=True, solver=solver, **options)
    try:
        predicted = net.fit(x, y).predict(x)
    except ValueError as error:
        name = "y" if which == "y" else "X"
        assert str(error).endswith(f"rescale {name}"), error  # noqa: PT017
        limit = np.log10(np.finfo(dtype).eps / np.finfo(dtype).tiny)
        assert abs(np.log10(unit)) > limit - 1
        return
    scale = unit if which != "X" else 1.0
    assert np.corrcoef(predicted / scale, y / scale)[0, 1] > 0.97
    assert all(np.isfinite(array).all() for array in (*net.coefs_, *net.intercepts_))
    assert np.isfinite(net.loss_curve_ if solver != "lbfgs" else net.loss_).all()


@DTYPES
def test_a_constant_column_of_any_size_does_no_harm(dtype):
    plain = regressor(standardize=True, max_iter=50).fit(np.c_[X, np.full(100, 4.0)], Y)
    expected = plain.predict(np.c_[X, np.full(100, 4.0)])
    for value in (0.0, 1e-30, 1 / 3, -3.7, 1e6, -1e20, 1e30):
        x = np.c_[X, np.full(100, value)].astype(dtype)
        net = regressor(standardize=True, max_iter=50).fit(x, Y)
        np.testing.assert_allclose(net.predict(x), expected, rtol=1e-3, atol=1e-3)


def test_scaling_of_ordinary_numbers_is_that_of_numpy():
    x = 7 + 30 * X
    weights = RNG.uniform(0.1, 2, 100)
    for w in (None, weights):
        scaling = fitted_of(regressor(standardize=True).fit(x, Y, w)).network.scaling
        mean = np.average(x, axis=0, weights=w)
        assert np.array_equal(scaling.x_mean, mean)
        deviation = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w))
        assert np.array_equal(scaling.x_scale, deviation)


def test_targets_too_large_for_float32():
    with pytest.raises(ValueError, match="Input y contains 1e\\+100"):
        regressor().fit(X.astype("f"), np.full(100, 1e100))


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("make", [regressor, classifier])
def test_lbfgs_that_overflows_says_so(make, fitted):
    y = Y if make is regressor else LABELS
    net = make(solver="lbfgs")
    if fitted:
        net.fit(X, y)
        before, loss = net.predict(X), net.loss_
    for x, bad in ((X * 1e300, y), (X, Y * 1e200)):
        if make is classifier and bad is not y:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # SciPy warns
            with pytest.raises(ValueError, match="non-finite parameter weights"):
                net.fit(x, bad)
        assert hasattr(net, "coefs_") == fitted
        if fitted:
            assert np.array_equal(net.predict(X), before)
            assert net.loss_ == loss


# ---- SciPy's threads -----------------------------------------------------------------------------


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def two_threads_of_blas():
    """Let BLAS have two threads, and not the one of conftest.py."""
    with threadpool_limits(2, user_api="blas"):
        yield


@pytest.mark.usefixtures("two_threads_of_blas")
def test_blas_has_one_thread_during_lbfgs():
    before, seen = blas_threads(), []
    regressor(solver="lbfgs", callbacks=[lambda state: seen.append(blas_threads())]).fit(X, Y)
    assert seen == [[1] * len(before)] * 4
    assert blas_threads() == before
    with pytest.raises(ZeroDivisionError), one_thread():
        1 / 0
    assert blas_threads() == before


class OlderLibraries:
    """As older versions of threadpoolctl: a limit restores at its end what it has met."""

    threads = 2

    @contextlib.contextmanager
    def limit(self, limits, user_api):
        before, self.threads = self.threads, limits
        yield
        self.threads = before


def test_only_the_first_of_overlapping_fits_limits_blas(monkeypatch):
    libraries = OlderLibraries()
    monkeypatch.setattr(lbfgs, "_libraries", lambda: libraries)

    def overlap(hold):
        with one_thread():
            hold()

    with contextlib.ExitStack() as inner:
        with one_thread():
            inner.enter_context(held(overlap))
        assert libraries.threads == 2
    assert libraries.threads == 2


@pytest.mark.parametrize("method", ["partial_fit", "fit"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("loss", None), ("loss", "strange"), ("loss", ()), ("alpha", -1.0), ("batch_size", 0)),
        *(("power_t", "x"), ("learning_rate_init", 0), ("beta_1", 1.0), ("shuffle", "yes")),
        *(("clip_norm", -1.0), ("callbacks", print), ("n_jobs", 0.5), ("tol", None)),
    ],
)
def test_parameters_set_after_a_fit_are_validated(name, value, method):
    x, y = np.eye(4), np.arange(4.0)
    net = MLPRegressor(max_iter=1, random_state=0).fit(x, y)
    good, weights = getattr(net, name), net.coefs_[0].copy()
    for _ in range(2):  # a refused value is not taken for a validated one
        with pytest.raises(ValueError, match=f"The '{name}' parameter of MLPRegressor must be"):
            getattr(net.set_params(**{name: value}), method)(x, y)
    assert np.array_equal(net.coefs_[0], weights)
    assert net.set_params(**{name: good}).partial_fit(x, y).t_ == 8


def test_parameters_that_were_not_validated_are_validated_later():
    """Values that were validated are not validated again: a row of calls in test_loop.py."""
    x, y = np.eye(4), np.arange(4.0)
    net = MLPRegressor(max_iter=1, random_state=0).partial_fit(x, y)
    with sklearn.config_context(skip_parameter_validation=True):
        net.set_params(validation_fraction=7.0).partial_fit(x, y)
    with pytest.raises(ValueError, match="The 'validation_fraction' parameter of MLPRegressor"):
        net.partial_fit(x, y)
    assert net.set_params(validation_fraction=0.1).partial_fit(x, y).t_ == 12


CHANGES = {
    "random_state": [1, np.random.RandomState(3), 0],
    "hidden_layer_sizes": [(5,), [6], 4],
    "activation": ["tanh", ["logistic"], "relu"],
    "dropout": [0.3, [0.2], 0.0],
    "loss": ["huber", "poisson", "gamma", "squared_error"],
    "solver": ["lbfgs", "sgd", "adam"],
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_kept_for_the_next_fit_is_of_its_parameters(name):
    """The lock of an estimator keeps a generator and a network; a clone has none of them."""
    net = regressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0)
    for value in [getattr(net, name), *CHANGES[name]]:
        net.set_params(**{name: value})
        other = clone(net)
        for each in (net, other):
            each.fit(X, np.abs(Y))
        assert all(map(np.array_equal, net.coefs_, other.coefs_))
        assert net.history_.loss == other.history_.loss


def test_a_list_of_sizes_may_change_and_a_flag_is_no_size():
    sizes = [4]
    net = regressor(hidden_layer_sizes=sizes, max_iter=1).fit(X, Y)
    sizes[0] = 1
    assert net.fit(X, Y).coefs_[0].shape[1] == 1
    sizes[0] = True
    with pytest.raises(TypeError, match="True"):
        net.fit(X, Y)
