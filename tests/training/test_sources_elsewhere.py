"""Sources as validation data, in `evaluate` and `predict`, and where only arrays are taken."""

import itertools
import re

import numpy as np
import odd
import pytest
import ranks
from blocks import SIZES, N, cut
from states import refused

import fastmlp

pytestmark = pytest.mark.usefixtures("no_thread_stays")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 3)).astype("float32")
Y = np.sin(X[:, :2])
W = RNG.uniform(0.1, 9, N).astype("float32")
LOSSES = {  # the network's layers and options, and targets
    "squared_error": ([3, 7, 2], {}, Y),
    "flat": ([3, 7, 1], {}, Y[:, 0]),
    "labels": ([3, 7, 2], {"loss": "cross_entropy"}, (Y[:, 0] > 0).astype(int)),
    "variances": ([3, 7, 2], {"loss": "gaussian_nll"}, Y),
    "flat variances": ([3, 7, 1], {"loss": "gaussian_nll"}, Y[:, 0]),
}


def trained(loss="squared_error", mlp=fastmlp.MLP):
    """Return a network after an epoch, and its targets."""
    sizes, options, y = LOSSES[loss]
    net = mlp(sizes, rng=0, **options)
    net.fit(X, y, epochs=1, shuffle=False)
    return net, y


def tuple_of(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_loss_of_a_source_is_that_of_the_rows(mlp, loss, sizes):
    net, y = trained(loss, mlp)
    for given in ((X, y), (X, y, W)):
        wanted = net.evaluate(*given)
        assert net.evaluate(cut(*given, sizes=SIZES[sizes])) == pytest.approx(wanted, rel=1e-6)
    assert net.evaluate(cut(X, y, sizes=[N])) == net.evaluate(X, y)


@pytest.mark.parametrize("loss", LOSSES)
def test_validation_on_a_source_is_that_on_its_rows(mlp, loss):
    sizes, options, y = LOSSES[loss]
    one, two = (mlp(sizes, rng=0, **options) for _ in "ab")
    common = {"epochs": 3, "callbacks": [fastmlp.EarlyStopping("val_loss", patience=9)]}
    one.fit(X, y, validation_data=(X, y, W), **common)
    two.fit(X, y, validation_data=cut(X, y, W), **common)
    assert two.history.val_loss == pytest.approx(one.history.val_loss, rel=1e-6)
    assert np.array_equal(one.weights[0], two.weights[0])
    two.fit(cut(X, y), validation_data=cut(X, y, W), epochs=5, resume=True)
    assert len(two.history.val_loss) == 5


SOURCES = {
    "tuples": cut(X, Y, W),
    "arrays": cut(X),
    "rows": cut(X, sizes=SIZES["rows"]),
    "lists": lambda: [X[:50].tolist(), [X[50:], Y[50:]]],
    "Blocks": fastmlp.Blocks(X, rows=50),
    "array": X,
    "float64": X.astype(float),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", SOURCES)
def test_predictions_of_a_source_are_those_of_its_rows(mlp, loss, kind):
    net, _ = trained(loss, mlp)
    wanted = tuple_of(net.predict(X))
    outs = tuple(np.full_like(p, np.nan) for p in wanted)
    out = outs if len(outs) > 1 else outs[0]
    assert net.predict(SOURCES[kind], out=out) is out
    for found in (outs, tuple_of(net.predict(SOURCES[kind]))):
        for p, q in zip(found, wanted, strict=True):
            assert (p.shape, p.dtype) == (q.shape, q.dtype)
            assert np.allclose(p, q, rtol=1e-5, atol=1e-6)


class Slices:
    """An array with a shape and assignment to slices alone, as a file's."""

    def __init__(self, shape):
        self.shape, self.kept, self.most = shape, np.full(shape, np.nan), 0

    def __setitem__(self, rows, values):
        self.kept[rows] = values
        self.most = max(self.most, len(values))


def test_predictions_go_anywhere_block_by_block(tmp_path):
    net, _ = trained()
    wanted, path = net.predict(X), tmp_path / "p.npy"
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype="float32", shape=(N, 2))
    net.predict(cut(X), out=mapped)
    mapped.flush()
    assert np.allclose(np.load(path), wanted)
    slices = Slices((N, 2))
    net.predict(fastmlp.Blocks(X, rows=30), out=slices)
    assert slices.most == 30
    assert np.allclose(slices.kept, wanted)


def failing():
    yield X[:9], Y[:9]
    raise OSError("disk on fire")


WRONG = {
    "nothing": (lambda: (), ValueError, "the source of X yields no block"),
    "raises": (failing, OSError, "(?s)on fire.*source of X, block 1"),
    "columns": (lambda: [(X, Y), (X[:, :2], Y)], ValueError, "(?s)2 features.*block 1"),
    "NaN": (lambda: [(X * np.nan, Y)], ValueError, "block 0"),
    "generator": (failing(), TypeError, "X has the type generator, which can be read only once"),
    "no iterable": (lambda: 3, TypeError, "an iterable of blocks is expected"),
}


CALLS = {
    "evaluate": lambda net, source, out: net.evaluate(source),
    "predict": lambda net, source, out: net.predict(source),
    "predict into": lambda net, source, out: net.predict(source, out=out),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_source_changes_nothing(call, case):
    source, kind, message = WRONG[case]
    net, _ = trained()
    out = np.full((N, 2), np.nan)
    with refused(kind, message, net):
        CALLS[call](net, source, out)
    assert np.isfinite(net.predict(X)).all()
    if case == "raises":
        assert np.isfinite(out).all(axis=1).sum() == (9 if call == "predict into" else 0)


CHANGING = {
    "nothing": (lambda k: () if k else [(X, Y)], ValueError, "of validation_data ended after 0"),
    "more": (lambda k: [(X, Y)] * (1 + k), ValueError, "of validation_data yields 314 rows or"),
    "raises": (lambda k: failing() if k else [(X, Y)], OSError, "source of validation_data, bl"),
    "dtype": (lambda k: [(X.astype("f8") if k else X, Y)], ValueError, "dtype of X"),
}


@pytest.mark.parametrize("case", CHANGING)
def test_validation_that_changes_leaves_the_last_whole_epoch(mlp, case):
    change, kind, message = CHANGING[case]
    calls, net, kept = itertools.count(), mlp([3, 7, 2], rng=0), []
    callbacks = [lambda state: kept.append(state.model.weights[0].copy())]
    options = {"epochs": 3, "validation_data": lambda: change(next(calls)), "callbacks": callbacks}
    with pytest.raises(kind, match=message):
        net.fit(X, Y, **options)
    assert len(net.history.loss) == len(net.history.val_loss) == len(kept) == 1
    assert np.array_equal(net.weights[0], kept[0])


def test_each_rank_may_validate_on_a_source():
    def work(communicator, is_source):
        own = slice(30 * communicator.rank, None)  # the ranks have 157 and 127 rows
        held = X[own], Y[own], W[own]
        net = fastmlp.MLP([3, 7, 2], rng=0)
        options = {"validation_data": cut(*held) if is_source else held}
        net.fit(X, Y, epochs=2, batch_size=10, communicator=communicator, **options)
        return net.history.val_loss

    one, two = (ranks.good(ranks.run(2, lambda c, s=s: work(c, s))) for s in (False, True))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_validation_data_can_be_read_in_each_epoch():
    net = fastmlp.MLP([3, 7, 2], rng=0)
    with refused(TypeError, "validation_data has the type generator, which can be read only", net):
        net.fit(X, Y, validation_data=failing())


OUTS = {
    "short": (np.empty((99, 2)), ValueError, "99 rows but X has 120 or more: pass an array"),
    "read-only": (odd.read_only(np.empty((N, 2))), ValueError, "read-only .*: pass an array of"),
    "long": (np.empty((200, 2)), ValueError, r"200 rows but X has 157: pass out\[:157\]"),
    "columns": (np.empty((N, 3)), ValueError, r"\(157, 3\) and dtype float64 but .* \(40, 2\)"),
    "flat": (np.empty(N), ValueError, r"\(157,\) and .* of shape \(40, 2\), or more"),
    "integers": (np.empty((N, 2), int), ValueError, "dtype int64 but floats of shape"),
    "complex": (np.empty((N, 2), complex), ValueError, "dtype complex128 but floats of shape"),
    "objects": (np.empty((N, 2), object), ValueError, "dtype object but floats of shape"),
    "list": ([0.0] * N, ValueError, "out is a list of shape"),
    "tuple": ((np.empty((N, 2)),) * 2, TypeError, "length 2 but 1 is expected: pass one"),
}


@pytest.mark.parametrize("case", OUTS)
def test_a_wrong_out_is_refused(case):
    out, kind, message = OUTS[case]
    net, _ = trained()
    with pytest.raises(kind, match=message):
        net.predict(cut(X), out=out)


@pytest.mark.parametrize("rows", [N - 1, N + 1])
@pytest.mark.parametrize("given", [X, fastmlp.Blocks(X, rows=10)], ids=["array", "Blocks"])
def test_known_rows_are_compared_before_anything_is_written(rows, given):
    net, _ = trained()
    out = np.full((rows, 2), 7.0)
    with pytest.raises(ValueError, match=f"out has {rows} rows but X has {N}: pass"):
        net.predict(given, out=out)
    assert (out == 7).all()


def test_out_may_share_memory_with_an_array_but_not_with_a_source():
    net = fastmlp.MLP([2, 7, 2], dtype="float64", rng=0)
    Z = np.random.default_rng(0).normal(size=(N, 3))
    wanted = net.predict(Z[:-1, :2])
    for columns in (slice(0, 2), slice(1, 3)):
        own = Z.copy()
        blocks = fastmlp.Blocks(own[:-1, :2], rows=10)
        all_blocks, end = fastmlp.Blocks(own[:, :2], rows=10), own.reshape(-1)[-2 * N :]
        for source, out in ((blocks, own[1:, columns]), (all_blocks, end.reshape(N, 2))):
            with pytest.raises(ValueError, match="out shares memory with the source of X"):
                net.predict(source, out=out)
            assert np.array_equal(own, Z)
        assert np.array_equal(net.predict(own[:-1, :2], out=own[1:, columns]), wanted)
    own, net = Z.copy(), fastmlp.MLP([2, 1], dtype="float64", rng=0)
    net.predict(fastmlp.Blocks(own[:, :2], rows=10), out=own[:, 2:])  # other columns
    assert np.array_equal(own[:, 2:], net.predict(Z[:, :2]))


def test_variances_need_a_tuple():
    net, _ = trained("flat variances")
    with pytest.raises(TypeError, match="pass a tuple of 2 arrays"):
        net.predict(cut(X), out=np.empty(N))
    with pytest.raises(ValueError, match=re.escape("floats of shape (40,), or more")):
        net.predict(cut(X), out=(np.empty(N), np.empty((N, 1))))
    with pytest.raises(ValueError, match="out has two arrays that share memory"):
        net.predict(cut(X), out=(np.empty(N),) * 2)


def test_a_prediction_is_of_one_state():
    net, _ = trained()
    wanted = net.predict(X)

    def source():
        yield X[:80]
        net.fit(X, Y, epochs=1)
        yield X[80:]

    assert np.allclose(net.predict(source), wanted)
    assert not np.allclose(net.predict(X), wanted)


BLOCKS = fastmlp.Blocks(X, Y)
REFUSED = ("Ensemble.fit", "Ensemble.partial_fit", "Ensemble.predict", "Ensemble.evaluate")


@pytest.mark.parametrize("call", [*REFUSED, "MLP.jacobian"])
def test_arrays_are_asked_for(call):
    kind, name = call.split(".")
    net, _ = trained()
    model = fastmlp.Ensemble([net]) if kind == "Ensemble" else net
    with pytest.raises(TypeError, match="a source of blocks, but arrays .* MLP.fit, MLP.parti"):
        getattr(model, name)(cut(X) if name == "jacobian" else BLOCKS)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor", "TabMLPRegressor"])
def test_estimators_ask_for_arrays(name):
    options = {"preset": "fast", "epochs": 1, "folds": 2} if "Tab" in name else {"max_iter": 1}
    estimator = getattr(fastmlp, name)(**options)
    expected = "X is a Blocks, a source of blocks, but arrays or a table .* take an ArrowBlocks"
    for call in (lambda: estimator.fit(BLOCKS), lambda: estimator.fit(BLOCKS, Y)):
        with pytest.raises(TypeError, match=expected):
            call()
    estimator.fit(X, (Y[:, 0] > 0).astype(int))
    with pytest.raises(TypeError, match=expected):
        estimator.predict(BLOCKS)
