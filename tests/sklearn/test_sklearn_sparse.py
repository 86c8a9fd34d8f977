"""Estimators with sparse matrices: the bits of dense ones, and never their memory."""

import importlib.util

import children
import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_multilabel_classification
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp._network.sparse import rows_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(5)
DENSE = np.where(RNG.random((240, 30)) < 0.2, RNG.normal(size=(240, 30)), 0)
DENSE[:, 7], DENSE[:, 8] = 3.0, 0.0  # constant columns
MATRIX = sparse.csr_array(DENSE)
NUMBERS = DENSE[:, :2].sum(axis=1) + DENSE[:, 9]
CLASSES = np.digitize(NUMBERS, [-0.3, 0.3])
MANY = make_multilabel_classification(240, random_state=0)[1]
WEIGHTS = RNG.integers(0, 3, 240).astype(float)
FORMS = {
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_array,
    "int64": lambda a: sparse.csr_array((a.data, a.indices.astype("i8"), a.indptr), a.shape),
    "rows": rows_of,
}


def classifier(**options):
    return fastmlp.MLPClassifier(**{"hidden_layer_sizes": 9, "max_iter": 5, **options}, **SMALL)


def regressor(**options):
    return fastmlp.MLPRegressor(**{"hidden_layer_sizes": 9, "max_iter": 5, **options}, **SMALL)


SMALL = {"random_state": 0, "batch_size": 32, "tol": 0.0}
# name: a function of samples that returns a fitted estimator
FITS = {
    "adam": lambda x: classifier().fit(x, CLASSES),
    "sgd": lambda x: classifier(solver="sgd", learning_rate="invscaling").fit(x, CLASSES, WEIGHTS),
    "lbfgs": lambda x: classifier(solver="lbfgs").fit(x, CLASSES > 1),
    "early stopping": lambda x: classifier(early_stopping=True).fit(x, CLASSES),
    "scores": lambda x: classifier(early_stopping=True, scoring=score).fit(x, CLASSES > 1),
    "validation data": lambda x: classifier(restore_best=True).fit(
        x[:100], CLASSES[:100], X_val=x[100:], y_val=CLASSES[100:]
    ),
    "class weights": lambda x: classifier(class_weight="balanced", dropout=0.1).fit(x, CLASSES),
    "labels": lambda x: classifier(hidden_layer_sizes=(5, 5)).fit(x, MANY),
    "linear": lambda x: classifier(hidden_layer_sizes=()).fit(x, CLASSES),
    "passes": lambda x: classifier().partial_fit(x, CLASSES, classes=range(3)).partial_fit(
        x[:40], CLASSES[:40]
    ),
    "warm start": lambda x: classifier(warm_start=True).fit(x, CLASSES).fit(x, CLASSES),
    "regression": lambda x: regressor(early_stopping=True).fit(x, NUMBERS, WEIGHTS + 1),
    "gaussian": lambda x: regressor(loss="gaussian").fit(x, np.c_[NUMBERS, DENSE[:, 3]]),
}  # fmt: skip


def score(estimator, X, y):
    """Return the accuracy; scorers get what SciPy's functions take."""
    assert sparse.issparse(X) or isinstance(X, np.ndarray)
    return estimator.score(X, y)


def results(net, x):
    """Return all that a fit has left, and predictions."""
    names = ("loss_curve_", "validation_loss_curve_", "validation_scores_")
    curves = [getattr(net, name, None) or [] for name in names]
    proba = getattr(net, "predict_proba", net.predict)
    return [*curves, *net.coefs_, *net.intercepts_, proba(x), net.predict(x), proba(x[3:4])]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FITS)
def test_sparse_fits_have_the_bits_of_dense_ones(name, dtype, form):
    dense = DENSE.astype(dtype)
    thin = FORMS[form](MATRIX.astype(dtype))
    rows = thin if hasattr(thin, "__getitem__") else thin.tocsr()
    pairs = zip(results(FITS[name](rows), rows), results(FITS[name](dense), dense), strict=True)
    for a, b in pairs:
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)  # 0 and -0 are equal here
    whole = classifier(max_iter=1).fit(thin, CLASSES)
    assert np.array_equal(whole.predict_proba(thin), whole.predict_proba(dense))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_standardize_divides_by_deviations_without_centring(dtype, weights):
    x = MATRIX.astype(dtype)
    scale = np.sqrt(StandardScaler(with_mean=False).fit(DENSE, sample_weight=weights).var_)
    constant = scale < 1e-12
    assert np.flatnonzero(constant).tolist() == [7, 8]
    scale[7:9] = 4, 1  # powers of 2 beyond the values
    net = classifier(standardize=True).fit(x, CLASSES, weights)
    other = classifier().fit(sparse.csr_array(DENSE / scale).astype(dtype), CLASSES, weights)
    tolerance = 1e-3 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(net.loss_curve_, other.loss_curve_, rtol=tolerance)
    folded = other.coefs_[0] / scale[:, np.newaxis]
    np.testing.assert_allclose(net.coefs_[0], folded, rtol=tolerance, atol=tolerance)
    assert np.array_equal(net.predict_proba(x), net.predict_proba(DENSE.astype(dtype)))
    net.partial_fit(x, CLASSES).partial_fit(DENSE.astype(dtype), CLASSES)  # nothing is centred
    dense = classifier(standardize=True).fit(DENSE.astype(dtype), CLASSES, weights)
    before = dense.predict_proba(x)
    with pytest.raises(ValueError, match=r"X is sparse but standardize=True has subtracted"):
        dense.partial_fit(x, CLASSES)
    assert np.array_equal(dense.predict_proba(x), before)


@pytest.mark.parametrize("form", ["csr_array", "csc_matrix", "coo_array"])
def test_a_missing_value_is_refused_by_its_place(form):
    spoiled = DENSE.copy()
    row, column = map(int, np.argwhere(DENSE)[100])
    spoiled[row, column] = spoiled[-1, -1] = np.nan
    bad, net = getattr(sparse, form)(spoiled), classifier().fit(MATRIX, CLASSES)
    for call in (lambda: net.fit(bad, CLASSES), lambda: net.predict(bad)):
        with pytest.raises(ValueError, match="Input X contains NaN") as caught:
            call()
        note = caught.value.__notes__[0]
        assert f"the first is in row {row}, column {column}" in note
        assert "TabMLPClassifier take NaN" in note


def test_what_is_not_there_for_sparse_rows_is_refused():
    net = classifier(compute="bfloat16")
    for x in (MATRIX, rows_of(MATRIX)):
        with pytest.raises(ValueError, match="X is sparse but compute is bfloat16"):
            net.fit(x, CLASSES)
    net.fit(DENSE, CLASSES)
    with pytest.raises(ValueError, match="X is sparse but compute is bfloat16"):
        net.predict(MATRIX)
    with pytest.raises(TypeError, match="sparse"):
        classifier().fit(MATRIX, CLASSES).jacobian(MATRIX)
    small = classifier().fit(MATRIX.astype("f4"), CLASSES)
    with pytest.raises(ValueError, match=r"X\[0, \d+\] is .*, too large for float32"):
        small.predict(MATRIX * 1e300)


FIT = """
import resource, warnings
import numpy as np, fastmlp
from scipy import sparse

resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
indices = (100_000 ** rng.random(500_000)).astype(np.int32) - 1
indptr = np.arange(0, 500_001, 25)
x = sparse.csr_matrix((rng.random(500_000), indices, indptr), (20_000, 100_000))
y = rng.random(20_000) < x[:, :3].sum(axis=1).A1 / 30
options = {"batch_size": 2000, "max_iter": 1, "early_stopping": True, "standardize": True}
net = fastmlp.MLPClassifier(8, **options)
print(len(net.fit(x, y).predict_proba(x)))
net = fastmlp.MLP([100_000, 8, 1], loss="binary_cross_entropy", rng=0)
net.fit(x, y, epochs=1, batch_size=2000, validation_data=(x, y), metrics=["accuracy"])
net.partial_fit(x, y)
net.fit(fastmlp.Blocks(x, y.astype(float)), shuffle_buffer=5000, epochs=1, batch_size=2000)
print(len(net.predict(x)), np.isfinite(net.evaluate(x, y)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("resource"), reason="needs limits of memory")
def test_a_large_matrix_is_never_dense():
    printed = children.printed(
        children.python("-c", FIT, FASTMLP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    )
    assert printed.split() == ["20000", "20000", "True"]
