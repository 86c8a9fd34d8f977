"""Targets that are NaN, and weights of single targets: losses, gradients, training, every door."""

import math

import cases
import numpy as np
import pytest
import ranks
from tolerances import assert_close

import fastmlp
from fastmlp._network.data import Data
from fastmlp._training.callback_state import fingerprint
from fastmlp._validation import check as checks

SEPARABLE = [case for case in cases.LOSSES if case.loss.is_separable]
CASES = pytest.mark.parametrize("case", SEPARABLE, ids=str)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
WIDTHS = (2, 3, 9, 33)  # columns of a block, and rows of one or several panels
N = 70
NAN = np.nan


def samples(case, m, dtype="float64"):
    """Return X, targets with gaps, weights of all targets, and those weights with 0 at the gaps."""
    rng = np.random.default_rng(m)
    x = rng.normal(size=(N, 4)).astype(dtype)
    y = cases.targets(case.loss, N, m, rng, dtype)
    weights = rng.uniform(0.2, 2.0, (N, m)).astype(dtype)
    weights[3], weights[::4, 1] = 0, 0
    gaps = rng.uniform(size=(N, m)) < 0.3
    gaps[5], gaps[6] = True, False
    y[gaps] = NAN
    return x, y, weights, np.where(gaps, 0, weights).astype(dtype)


def defined(engine, x, y, weights):
    """Return the loss that the documentation defines, from losses of single outputs."""
    z, loss, m = engine.predict(x, None, False), engine.spec.loss, y.shape[1]
    total = 0.0
    for k in range(m):
        used = weights[:, k] > 0
        values, _ = loss.value_and_gradient(z[used, k::m].astype(float), y[used, k : k + 1])
        total += np.sum(weights[used, k] * values)
    return total / weights.mean(axis=1, dtype=float).sum()


@DTYPES
@CASES
def test_loss_and_gradient_of_weighted_targets(case, dtype):
    for m in WIDTHS:
        spec = cases.build([4, 9, m], loss=case.loss, dtype=dtype)
        x, y, weights, used = samples(case, m, dtype)
        for level in cases.KINDS:
            engine, textbook = cases.engines(spec, level, np.random.default_rng(1))
            data = checks.data(x, y, weights, spec)
            value = defined(engine, x, y, used)
            assert_close(engine.evaluate(data), value, "loss", dtype, scale=m)
            found, expected = engine.gradients(data), textbook.gradients(data)
            assert_close(found[0], value, "loss", dtype, scale=m)
            for ours, theirs in zip(found[1:], expected[1:], strict=True):
                for a, b in zip(ours, theirs, strict=True):
                    assert_close(a, b, "gradient", dtype)
            filled = np.where(np.isnan(y), np.nanmin(y), y)
            same = engine.gradients(checks.data(x, filled, used, spec))
            np.testing.assert_array_equal(same[1][0], found[1][0])


@DTYPES
@CASES
def test_training_on_any_number_of_threads(case, dtype):
    spec = cases.build([4, 40, 9], loss=case.loss, dtype=dtype)
    x, y, weights, _ = samples(case, 9, dtype)
    expected = None
    for level in cases.KINDS:
        engine, textbook = cases.engines(spec, level, np.random.default_rng(1))
        data = checks.data(x, y, weights, spec)
        expected = expected or cases.train(textbook, data, 32, fastmlp.SGD(0.01))
        found = [cases.train(engine, data, 32, fastmlp.SGD(0.01))]
        for threads in (2, 3):
            engine, _ = cases.engines(spec, level, np.random.default_rng(1))
            found.append(cases.train(engine, data, 32, fastmlp.SGD(0.01), threads))
        cases.agree(dtype, expected, *found)


def learn(mlp, X, y, sample_weight=None, **options):
    net = mlp([3, 8, 2], rng=0, dtype="float64")
    history = net.fit(X, y, sample_weight=sample_weight, epochs=3, batch_size=16, **options)
    return net, history


X = np.random.default_rng(0).normal(size=(60, 3))
Y = np.column_stack([X[:, 0], X[:, 1] ** 2])
GAPS = Y.copy()
GAPS[::3, 0] = GAPS[1::5, 1] = NAN
W = np.random.default_rng(1).uniform(0.5, 2, 60)


def test_a_row_weight_is_that_of_each_of_its_targets(mlp):
    net, _ = learn(mlp, X, Y)
    for y in (Y, GAPS):
        assert net.evaluate(X, y, np.column_stack([W, W])) == pytest.approx(net.evaluate(X, y, W))
    alone = np.column_stack([np.ones(60), np.zeros(60)])
    of_first = np.mean((net.predict(X)[:, 0] - Y[:, 0]) ** 2) / 2
    assert net.evaluate(X, Y, alone) == pytest.approx(2 * of_first)


def test_gaps_teach_nothing(mlp):
    """An output without targets keeps its weights; the others learn as from their targets alone."""
    no_second = np.column_stack([Y[:, 0], np.full(60, NAN)])
    net, _ = learn(mlp, X, no_second)
    first, _ = learn(mlp, X, Y, np.column_stack([np.ones(60), np.zeros(60)]))
    before = mlp([3, 8, 2], rng=0, dtype="float64")
    np.testing.assert_array_equal(net.weights[1][:, 1], before.weights[1][:, 1])
    np.testing.assert_array_equal(net.weights[1], first.weights[1])
    assert not np.array_equal(net.weights[1][:, 0], before.weights[1][:, 0])


def test_sources_have_gaps_in_some_blocks(mlp):
    first, rest = slice(0, 16), slice(16, 60)
    y = np.concatenate([Y[first], GAPS[rest]])
    source = [(X[first], y[first]), (X[rest], y[rest])]
    blocks = np.split((~np.isnan(y)).mean(axis=1), [16, 48])  # all batches but the last are whole
    weights = np.concatenate([np.full(len(b), 1 / b[b > 0].mean()) for b in blocks])
    from_arrays, _ = learn(mlp, X, y, sample_weight=weights, shuffle=False)
    from_source, _ = learn(mlp, lambda: source, None, shuffle=False)
    np.testing.assert_allclose(from_source.weights[0], from_arrays.weights[0], rtol=1e-9)
    assert from_source.evaluate(lambda: source) == pytest.approx(from_arrays.evaluate(X, y))
    mixed, history = learn(mlp, lambda: source, None, shuffle_buffer=20)
    assert math.isfinite(history.loss[-1])
    assert np.isfinite(mixed.predict(X)).all()


def test_partial_fit(mlp):
    net, again = (mlp([3, 8, 2], rng=0, dtype="float64") for _ in range(2))
    net.partial_fit(X, GAPS, sample_weight=np.column_stack([W, W]))
    again.partial_fit(X, np.nan_to_num(GAPS), sample_weight=W[:, None] * ~np.isnan(GAPS))
    np.testing.assert_array_equal(net.weights[0], again.weights[0])


def test_metrics_leave_gaps_out(mlp):
    names = ["mean_squared_error", "mean_absolute_error", "r2"]
    net, history = learn(mlp, X, Y, validation_data=(X, GAPS), metrics=names)
    there = ~np.isnan(GAPS)
    errors = (net.predict(X) - Y)[there]
    last = history.metrics
    assert last["val_mean_squared_error"][-1] == pytest.approx(np.mean(errors**2))
    assert last["val_mean_absolute_error"][-1] == pytest.approx(np.mean(np.abs(errors)))
    r2 = [
        1 - np.sum((net.predict(X) - Y)[t, k] ** 2) / np.sum((Y[t, k] - Y[t, k].mean()) ** 2)
        for k, t in enumerate(there.T)
    ]
    assert last["val_r2"][-1] == pytest.approx(np.mean(r2))


def test_members_have_weights_of_targets():
    together = np.column_stack([W, 2 * W])
    options = {"epochs": 3, "batch_size": 16, "n_threads": 2}
    held = [np.arange(0, 30), np.arange(30, 60)]
    for weights in (None, together, [together, W]):
        nets = [fastmlp.MLP([3, 8, 2], rng=k, dtype="float64") for k in range(2)]
        ensemble = fastmlp.Ensemble(nets)
        ensemble.fit(X, GAPS, sample_weight=weights, validation_rows=held, **options)
        assert np.isfinite(ensemble.history.val_loss).all()
        for k, net in enumerate(nets):
            alone = fastmlp.MLP([3, 8, 2], rng=k, dtype="float64")
            own = weights[k] if isinstance(weights, list) else weights
            alone.fit(X, GAPS, sample_weight=own, **options)
            np.testing.assert_array_equal(net.weights[0], alone.weights[0])
    loss = ensemble.evaluate(X, GAPS, together)
    squares = (ensemble.predict(X) - Y) ** 2 / 2
    used = together * ~np.isnan(GAPS)
    assert loss == pytest.approx(np.sum(used * squares) / used.mean(axis=1).sum())


def test_processes_share_gaps(mlp):
    alone = mlp([3, 8, 2], rng=0, dtype="float64")
    options = {"epochs": 2, "shuffle": False}
    alone.fit(X[:48], GAPS[:48], batch_size=16, **options)

    def work(communicator):
        part = ranks.share_of(communicator.rank, 2, 16, X[:48], GAPS[:48])
        net = mlp([3, 8, 2], rng=0, dtype="float64")
        net.fit(*part, batch_size=8, communicator=communicator, **options)
        return net.weights[0]

    for weights in ranks.good(ranks.run(2, work)):
        np.testing.assert_allclose(weights, alone.weights[0], rtol=1e-10)


LABELS = np.eye(2)[(X[:, 0] > 0).astype(int)]
REFUSED = {
    "one output": ([3, 1], "squared_error", GAPS[:, :1], None, r"y\[0, 0\] is nan"),
    "infinite": ([3, 2], "squared_error", GAPS * -np.inf, None, r"y\[0, 1\] is -?inf"),
    "nothing": ([3, 2], "poisson_nll", Y * NAN, None, "y is NaN alone"),
    "coupled": ([3, 2], "cross_entropy", LABELS * NAN, None, "cross_entropy needs all targets"),
    "coupled weights": ([3, 2], "cross_entropy", LABELS, LABELS, r"\(60, 2\) but \(60,\)"),
    "shape": ([3, 2], "squared_error", Y, np.ones((2, 60)), r"\(60,\) or \(60, 2\) is expected"),
    "nan": ([3, 2], "squared_error", Y, GAPS**2, r"sample_weight\[0, 0\] is nan"),
    "negative": ([3, 2], "squared_error", Y, np.where(Y < 0, -1, 1), r"sample_weight\[\d+, 0\] is"),
    "no weight": ([3, 2], "squared_error", GAPS, 1.0 * np.isnan(GAPS), "over targets.* sums to 0"),
    "range": ([3, 2], "poisson_nll", GAPS - 5, None, "y holds -"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(mlp, name):
    sizes, loss, y, weights, message = REFUSED[name]
    net = mlp(sizes, loss=loss, rng=0)
    before = net.state_dict()
    for call in (net.fit, net.partial_fit, net.evaluate, net.gradients):
        with pytest.raises(ValueError, match=message):
            call(X, y, sample_weight=weights)
    assert all(np.array_equal(before[key], value) for key, value in net.state_dict().items())


def test_a_custom_loss_needs_all_targets():
    loss = fastmlp.CustomLoss(lambda z, t: (np.sum((z - t) ** 2, axis=1), 2 * (z - t)), name="mine")
    with pytest.raises(ValueError, match="mine needs all targets"):
        fastmlp.MLP([3, 2], loss=loss, rng=0).fit(X, GAPS)


def test_parts_of_data():
    data = Data(X, GAPS, W, np.column_stack([W, W]))
    joined = Data.joined([Data(X, Y), data])
    assert joined.part(slice(60)).weights.tolist() == [1.0] * 60
    np.testing.assert_array_equal(joined.part(slice(60, 120)).output_weights, data.output_weights)
    assert fingerprint(data) != fingerprint(Data(X, GAPS, W))
