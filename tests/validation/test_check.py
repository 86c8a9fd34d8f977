"""Bad input: a clear error of the right type, and nothing changed."""

import datetime
import functools
import inspect
import itertools
import math

import numpy as np
import pytest
import scipy.sparse
from states import refused
from trials import peak_of

import fastmlp
from fastmlp._models.network import network_of
from fastmlp._validation import check

N, FEATURES = 12, 4
X = np.random.default_rng(1).normal(size=(N, FEATURES)).astype(np.float32)
NAN, INF, DATE = math.nan, math.inf, datetime.date(2020, 1, 1)


def changed(array, index, value, dtype=None):
    result = array.astype(dtype or array.dtype)
    result[index] = value
    return result


class Sign(fastmlp.SGD):
    """With a step of its own, which no kernel would have called."""

    def step(self, *args):
        raise AssertionError


class Sparse:
    """What scipy's matrices have in common."""

    shape = (N, FEATURES)

    def toarray(self):
        return X


def thin(attribute="data", at=0, value=0.5, columns=FEATURES):
    """Return a sparse matrix with one changed number, as only a hand can make it."""
    matrix = scipy.sparse.csr_matrix(np.eye(N, columns))
    array = getattr(matrix, attribute).astype("f8" if attribute == "data" else "i8")
    array[at] = value
    setattr(matrix, attribute, array)
    return matrix


# name: (value, exception, words of the message)
BAD_X = {
    "None": (None, TypeError, ["X is None"]),
    "scalar": (1.5, ValueError, ["0 dimensions", "2 are expected", "pass [[1.5, ...]]"]),
    "1-D": (X[0], ValueError, ["shape (4,)", "reshape(1, -1)"]),
    "3-D": (X[np.newaxis], ValueError, ["3 dimensions", "reshape"]),
    "columns": (X[:, :3], ValueError, ["3 features", "expects 4", "layer_sizes=[3, ...]"]),
    "samples in columns": (
        X.T,
        ValueError,
        [f"{len(X)} features", "expects 4", "X.T, one row a sample"],
    ),
    "no columns": (X[:, :0], ValueError, ["0 features", "expects 4: pass the columns it knows"]),
    "nan": (changed(X, (3, 2), NAN), ValueError, ["X[3, 2] is nan"]),
    "inf": (changed(X, (11, 0), INF), ValueError, ["X[11, 0] is inf"]),
    "nan in F order": (np.asfortranarray(changed(X, (5, 1), NAN)), ValueError, ["X[5, 1] is nan"]),
    "nan in float16": (changed(X, (3, 2), NAN, np.float16), ValueError, ["X[3, 2] is nan"]),
    "too large": (changed(X, (3, 2), 1e300, np.float64), ValueError, ["1e+300", "float32"]),
    "object nan": (changed(X, (3, 2), NAN, object), ValueError, ["X[3, 2] is nan"]),
    "object None": (changed(X, (3, 2), None, object), ValueError, ["X[3, 2] is nan"]),
    "object str": (changed(X, (3, 2), "1.5", object), TypeError, ["'1.5'", ".astype(float)"]),
    "object date": (changed(X, (3, 2), DATE, object), TypeError, ["not real numbers"]),
    "object huge": (changed(X, (3, 2), 10**400, object), ValueError, ["too large"]),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, ["rectangular", "same length"]),
    "generator": ((row for row in X), TypeError, ["X ", " generator"]),
    "dict": ({"a": 1}, TypeError, ["dict", "array of numbers"]),
    "strings": (X.astype(str), TypeError, ["X holds strings", "real numbers", ".astype(float)"]),
    "bytes": (X.astype("S8"), TypeError, ["bytes", "real numbers"]),
    "complex": (X.astype(complex), TypeError, ["complex", "two columns"]),
    "datetime": (X.astype("i8").astype("M8[s]"), TypeError, ["dates", "datetime64"]),
    "timedelta": (X.astype("i8").astype("m8[s]"), TypeError, ["time differences", "divide"]),
    "records": (np.zeros(N, "f4,f4,f4,f4"), TypeError, ["records", "2-D"]),
    "masked": (np.ma.masked_less(X, 0), TypeError, ["masked array", "filled"]),
    "sparse": (Sparse(), TypeError, ["sparse Sparse", "toarray"]),
    "sparse 1-D": (scipy.sparse.coo_array(X[0]), TypeError, ["sparse coo_array", "toarray"]),
    "sparse columns": (thin(columns=3), ValueError, ["3 features", "expects 4"]),
    "sparse nan": (thin("data", 2, NAN), ValueError, ["X[2, 2] is nan", "drop or fill"]),
    "sparse too large": (thin("data", 3, 1e300), ValueError, ["X[3, 3] is 1e+300", "float32"]),
    "sparse index": (thin("indices", 1, 4), ValueError, ["X.indices[1] is 4", "0 to 3"]),
    "sparse indptr falls": (thin("indptr", 3, 1), ValueError, ["X.indptr", "after indptr[2]"]),
    "sparse indptr overflows": (thin("indptr", 3, 2**62), ValueError, ["X.indptr[3] is"]),
}
NO_ROWS = (X[:0], ValueError, ["X has 0 rows", "at least one"])

LABELS = np.arange(N) % 3
SOFT = np.full((N, 3), 1 / 3)
REAL = np.linspace(-1, 1, N)
COUNTS = np.arange(N, dtype=float)
SHARES = np.linspace(0, 1, N)

# (loss, outputs): (good targets, {name: (targets, exception, words)})
BAD_Y = {
    ("squared_error", 1): (
        REAL,
        {
            "rows": (REAL[:-1], ValueError, ["y has 11 rows", "X has 12"]),
            "scalar": (1.0, ValueError, ["shape ()"]),
            "None": (None, TypeError, ["y is None", "expected"]),
            "columns": (np.ones((N, 2)), ValueError, ["(12, 2)", "(12, 1)"]),
            "nan": (changed(REAL, 4, NAN), ValueError, ["y[4] is nan"]),
            "inf": (changed(REAL, 4, INF), ValueError, ["y[4] is inf"]),
            "too large": (changed(REAL, 4, 1e300), ValueError, ["1e+300", "float32"]),
            "strings": (REAL.astype(str), TypeError, ["strings"]),
        },
    ),
    ("squared_error", 2): (
        np.ones((N, 2)),
        {
            "1-D": (REAL, ValueError, ["(12,)", "(12, 2)", "layer_sizes=[..., 1]"]),
            "labels": (LABELS % 2, ValueError, ["(12,)", "loss='cross_entropy' to MLP or from_t"]),
            "column of labels": (LABELS[:, None] % 2.0, ValueError, ["loss='cross_entropy'"]),
            "too many labels": (LABELS, ValueError, ["layer_sizes=[..., 1]"]),
            "wide": (np.ones((N, 3)), ValueError, ["(12, 3)", "layer_sizes=[..., 3]"]),
            "3-D": (np.ones((N, 2, 1)), ValueError, ["(12, 2, 1)", "(12, 2)"]),
        },
    ),
    (fastmlp.CustomLoss(lambda z, t: (np.sum((z - t) ** 2, axis=1), 2 * (z - t))), 2): (
        np.ones((N, 2)),
        {
            "1-D": (REAL, ValueError, ["(12, 2): add columns, which the loss may ignore, or"]),
            "wide": (np.ones((N, 3)), ValueError, ["(12, 2): rebuild it with layer_sizes="]),
        },
    ),
    ("cross_entropy", 3): (
        LABELS,
        {
            "too large": (changed(LABELS, 5, 3), ValueError, ["y[5] is 3", "0 to 2"]),
            "negative": (changed(LABELS, 5, -1), ValueError, ["y[5] is -1", "0 to 2"]),
            "2**32": (changed(LABELS, 5, 2**32), ValueError, [str(2**32), "0 to 2"]),
            "uint64": (changed(LABELS, 5, 2**64 - 1, np.uint64), ValueError, [str(2**64 - 1)]),
            "fraction": (changed(LABELS, 5, 0.5, float), ValueError, ["y[5] is 0.5", "integer"]),
            "nan": (changed(LABELS, 5, NAN, float), ValueError, ["y[5] is nan", "integer"]),
            "inf": (changed(LABELS, 5, INF, float), ValueError, ["y[5] is inf", "integer"]),
            "names": (np.array(["a", "b", "c"])[LABELS], TypeError, ["strings", "np.unique"]),
            "column": (LABELS[:, np.newaxis], ValueError, ["(12, 1)", "(12, 3)", "ravel"]),
            "soft sum": (changed(SOFT, 7, 0.5), ValueError, ["y[7] sums to 1.5", "sum to 1"]),
            "soft negative": (changed(SOFT, (7, 0), -0.1), ValueError, ["-0.1", "in [0, 1]"]),
            "soft nan": (changed(SOFT, (7, 0), NAN), ValueError, ["y[7, 0] is nan"]),
        },
    ),
    ("poisson_nll", 1): (
        COUNTS,
        {"negative": (changed(COUNTS, 3, -2), ValueError, ["-2", "in [0, inf)"])},
    ),
    ("gamma_nll", 1): (
        COUNTS + 1.0,
        {
            "zero": (changed(COUNTS + 1.0, 3, 0), ValueError, ["0.0", "in (0, inf): leave out"]),
            "below the dtype": (changed(COUNTS + 1.0, 3, 5e-324), ValueError, ["0.0", "(0, inf)"]),
        },
    ),
    ("tweedie", 1): (
        COUNTS,
        {"negative": (changed(COUNTS, 3, -2), ValueError, ["-2", "in [0, inf)"])},
    ),
    ("binary_cross_entropy", 1): (
        SHARES,
        {
            "above": (changed(SHARES, 3, 1.5), ValueError, ["1.5", "in [0, 1]"]),
            "below": (changed(SHARES, 3, -0.5), ValueError, ["-0.5", "in [0, 1]"]),
        },
    ),
}

ONES = np.ones(N)
BAD_WEIGHTS = {
    "short": (ONES[:-1], ValueError, ["(11,)", "(12,)"]),
    "column": (ONES[:, np.newaxis], ValueError, ["(12, 1)", "(12,)", "(X, y, None, dy)"]),
    "scalar": (1.0, ValueError, ["()", "(12,)"]),
    "negative": (changed(ONES, 3, -1), ValueError, ["sample_weight[3] is -1"]),
    "nan": (changed(ONES, 3, NAN), ValueError, ["sample_weight[3] is nan"]),
    "inf": (changed(ONES, 3, INF), ValueError, ["sample_weight[3] is inf"]),
    "zeros": (0 * ONES, ValueError, ["sums to 0", "above 0"]),
    "subnormal": (changed(ONES, 3, 1.1e-38), ValueError, ["weight[3] is 1.1e-38", "float32"]),
    "underflow": (1e-300 * ONES, ValueError, ["sample_weight[0] is 1e-300", "multiply all"]),
    "overflow": (1e38 * ONES, ValueError, ["positive finite sum"]),
    "indivisible": (1.7e37 * ONES, ValueError, ["sample_weight sums to"]),
    "strings": (ONES.astype(str), TypeError, ["strings"]),
}

# option of fit: bad values, exception, words
BAD_OPTIONS = [
    ("epochs", [0, -1], ValueError, ["epochs", "at least 1"]),
    ("epochs", [1.0, "3", True], TypeError, ["epochs", "integer"]),
    ("batch_size", [0, -(2**63)], ValueError, ["batch_size", "at least 1", "or len(X) for"]),
    ("batch_size", [2.5, "all", True], TypeError, ["batch_size", "or len(X) for"]),
    *(
        row
        for name in ("l1", "l2")
        for row in (
            (name, [-1e-3, NAN, INF, 10**400], ValueError, [name, "finite"]),
            (name, ["0", None, True], TypeError, [name, "number"]),
        )
    ),
    ("clip_norm", [0, -1.0, NAN, INF], ValueError, ["clip_norm", "finite"]),
    ("clip_norm", ["1", True], TypeError, ["clip_norm", "number"]),
    ("groups", [0.5, [1, 1], {"bias_rate": 2.0}], TypeError, ["groups", "fastmlp.Groups"]),
    ("groups", [fastmlp.Groups([1] * 3)], ValueError, ["layer_rates", "3 factors", "2 layers"]),
    ("groups", [fastmlp.Groups(layer_decays=[1])], ValueError, ["layer_decays", "1 factor"]),
    ("averaging", [0.9, "EMA", fastmlp.EMA, True, {"decay": 0.9}], TypeError,
     ["averaging is", "averaging=fastmlp.EMA()"]),
    ("n_threads", [0, -1], ValueError, ["n_threads", "at least 1", "or None for"]),
    ("n_threads", [1.5, "2", True], TypeError, ["n_threads", "integer"]),
    ("optimizer", [fastmlp.Adam, 0.1], TypeError, ["optimizer", "fastmlp.Adam("]),
    ("optimizer", [Sign(0.1), fastmlp.Optimizer()], TypeError, ["optimizer", "not a subclass"]),
    ("optimizer", ["Adam", "adamm", ""], ValueError, ["optimizer is '", "choose from sgd, rmsp"]),
    ("optimizer", ["Adam"], ValueError, ["no optimizer has that name: use 'adam', or choose"]),
    ("optimizer", ["LBFGS", "BFGS"], ValueError, ["use 'lbfgs', or choose from sgd", ", lbfgs"]),
    ("callbacks", [1, fastmlp.EarlyStopping(), [1], [fastmlp.EarlyStopping]], TypeError,
     ["callbacks", "callable"]),
    ("validation_data", [X, (X,), (X, REAL, ONES, None, X), 3], TypeError, ["validation_data"]),
    ("validation_data", [(X, REAL[1:]), (X[:0], REAL[:0])], ValueError, ["validation", "rows"]),
    ("validation_data", [(X[:, 1:], REAL)], ValueError, ["validation X", "features"]),
    ("optimizer", [fastmlp.SGD(learning_rate=lambda step: NAN)], ValueError, ["learning rate"]),
]  # fmt: skip


def network(mlp, loss="squared_error", outputs=1, **options):
    return mlp([FEATURES, 5, outputs], loss=loss, rng=0, **options)


# Every call that takes data: (net, X, y, sample_weight)
CALLS = {
    "fit": lambda net, x, y, w=None: net.fit(x, y, sample_weight=w, epochs=1),
    "validation": lambda net, x, y, w=None: net.fit(
        X, np.zeros(N), validation_data=(x, y, w), epochs=1
    ),
    "partial_fit": lambda net, x, y, w=None: net.partial_fit(x, y, sample_weight=w),
    "evaluate": lambda net, x, y, w=None: net.evaluate(x, y, sample_weight=w),
    "gradients": lambda net, x, y, w=None: net.gradients(x, y, sample_weight=w),
}


def refuses(net, call, exception, words):
    with refused((TypeError, ValueError), ".", net) as caught:
        call()
    assert caught.type is exception, caught.value
    for word in words:
        assert word in str(caught.value)
    with network_of(net).lock.taken():  # it is free: the next fit may begin
        pass


@pytest.mark.parametrize("name", BAD_X)
@pytest.mark.parametrize("call", [*CALLS, "predict"])
def test_bad_x(mlp, call, name):
    value, exception, words = BAD_X[name]
    if call == "validation":
        words = [word.replace("X", "validation X", 1) if word[0] == "X" else word for word in words]
    net = network(mlp)
    if call == "predict":
        refuses(net, lambda: net.predict(value), exception, words)
    else:
        refuses(net, lambda: CALLS[call](net, value, REAL), exception, words)


@pytest.mark.parametrize("call", CALLS)
def test_no_rows(mlp, call):
    value, exception, words = NO_ROWS
    net = network(mlp)
    refuses(net, lambda: CALLS[call](net, value, REAL[:0]), exception, words[1:])


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task, (_, bad) in BAD_Y.items() for name in bad]
)
@pytest.mark.parametrize("call", [name for name in CALLS if name != "validation"])
def test_bad_y(mlp, call, task, name):
    good, bad = BAD_Y[task]
    value, exception, words = bad[name]
    net = network(mlp, *task)
    refuses(net, lambda: CALLS[call](net, X, value), exception, words)
    CALLS[call](net, X, good)


def test_a_fit_without_targets_says_what_to_pass(mlp):
    refuses(net := network(mlp), lambda: net.fit(X), TypeError, ["targets are", "pass X and y"])


@pytest.mark.parametrize("name", BAD_WEIGHTS)
@pytest.mark.parametrize("call", CALLS)
def test_bad_sample_weight(mlp, call, name):
    value, exception, words = BAD_WEIGHTS[name]
    net = network(mlp)
    refuses(net, lambda: CALLS[call](net, X, REAL, value), exception, words)


@pytest.mark.parametrize(("option", "values", "exception", "words"), BAD_OPTIONS)
def test_bad_options(mlp, option, values, exception, words):
    net = network(mlp)
    ensemble = fastmlp.Ensemble([net])
    calls = [net.fit, net.partial_fit, net.gradients, ensemble.fit, ensemble.partial_fit]
    for value, call in itertools.product(values, calls):
        if option in inspect.signature(call).parameters:
            refuses(net, lambda f=call, v=value: f(X, REAL, **{option: v}), exception, words)


def test_bad_rng(mlp):
    for rng in ("0", 1.0, True, [0], np.array([1])):
        with pytest.raises(TypeError, match="rng is .* at least 0: .*, or a numpy.random.Gen"):
            mlp([1, 1], rng=rng)
    with pytest.raises(ValueError, match="rng is -1 but must be"):
        mlp([1, 1], rng=-1)


@pytest.mark.parametrize("sizes", [[2**31, 1], [1, 2**62], [2**33] * 2, [3, 2**31 - 1, 2**31 - 1]])
def test_absurd_sizes(mlp, sizes):
    def refuse():
        with pytest.raises((ValueError, MemoryError)):
            mlp(sizes)

    assert peak_of(refuse)[0] < 10 * 2**20


W0 = np.ones((FEATURES, 5), np.float32)
W1 = np.ones((5, 1), np.float32)
BAD_ASSIGNMENTS = {
    "shape": ([W0.T, W1], ValueError, ["weights[0] has shape (5, 4)", "(4, 5)"]),
    "1-D": ([W0, W1[:, 0]], ValueError, ["weights[1] has shape (5,)", "(5, 1)"]),
    "scalar": ([W0, 1.0], ValueError, ["weights[1] has shape ()"]),
    "too few": ([W0], ValueError, ["has the length 1", "2 is expected"]),
    "too many": ([W0, W1, W1], ValueError, ["has the length 3", "2 is expected"]),
    "None": (None, TypeError, ["weights is None", "list of arrays"]),
    "item None": ([W0, None], TypeError, ["weights[1] is None"]),
    "string": ("ab", TypeError, ["list of arrays"]),
    "nan": ([changed(W0, (2, 1), NAN), W1], ValueError, ["weights[0][2, 1] is nan"]),
    "inf": ([W0, changed(W1, (2, 0), INF)], ValueError, ["weights[1][2, 0] is inf"]),
    "too large": ([changed(W0, (2, 1), 1e39, float), W1], ValueError, ["1e+39", "float32"]),
    "strings": ([W0.astype(str), W1], TypeError, ["weights[0] holds strings"]),
}


@pytest.mark.parametrize("name", BAD_ASSIGNMENTS)
def test_bad_assignment(mlp, name):
    value, exception, words = BAD_ASSIGNMENTS[name]
    net = network(mlp)
    refuses(net, lambda: setattr(net, "weights", value), exception, words)
    if isinstance(value, list) and len(value) == 2:
        for layer in range(2):
            if own := [word for word in words if f"[{layer}]" in word]:
                assign = functools.partial(net.weights.__setitem__, layer, value[layer])
                refuses(net, assign, exception, own)


def test_bad_bias_assignment(mlp):
    net = network(mlp)
    refuses(net, lambda: net.biases.__setitem__(1, [1, 2]), ValueError, ["biases[1]", "(1,)"])
    refuses(net, lambda: setattr(net, "biases", [[NAN] * 5, [0]]), ValueError, ["biases[0][0]"])
    with pytest.raises(IndexError):
        net.biases[2] = [0.0]


def test_every_dtype_kind_is_decided():
    kinds = {np.dtype(code).kind for code in np.typecodes["All"]}
    assert kinds - set("biufO") <= set(check.REFUSED_KINDS)
