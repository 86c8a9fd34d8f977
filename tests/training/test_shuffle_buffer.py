"""Rows of a source mixed by a buffer or a file: each once an epoch, in an order by the seed."""

import collections
import itertools
import tempfile
import warnings

import children
import numpy as np
import pytest
from blocks import SIZES, N, cut
from states import refused

import fastmlp
from fastmlp._models.network import network_of
from fastmlp._network.data import Data
from fastmlp._training import planning, shuffle_file
from fastmlp._training.shuffles import Shuffles

BUFFERS = (1, 7, 64, N, 1000)


def stream_of(net, source, buffer=None, folder=None, dy_weight=1.0):
    """Return the stream that a fit of a network reads."""
    given = planning.GivenRows(source, None, None, dy_weight=dy_weight)
    return planning.data(given, network_of(net).spec, planning.Shuffling(True, buffer, folder))


def epochs(sizes, buffer, n_epochs=2, seed=0, folder=None):
    """Return the rows of each epoch in the order in which a fit sees them."""
    net = fastmlp.MLP([1, 1], rng=seed)
    x = np.arange(sum(sizes), dtype="float32")[:, np.newaxis]
    source = cut(x, 2 * x, np.ravel(x) + 1, sizes=sizes)
    stream = stream_of(net, source, buffer=buffer, folder=folder)
    stream.begin(10, Shuffles([network_of(net).rng]), network_of(net).engine.shuffle, 0)
    found = []
    for _ in range(n_epochs):
        with stream.blocks() as blocks:
            parts = [(b.x.ravel(), b.targets.ravel(), b.weights) for b in blocks]
        rows, targets, weights = map(np.concatenate, zip(*parts, strict=True))
        assert np.array_equal(targets, 2 * rows)
        assert np.array_equal(weights, rows + 1)
        found.append(rows.astype(int).tolist())
    stream.end()
    return found


@pytest.mark.filterwarnings("ignore:the blocks of the source differ")
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("has_folder", [False, True])
def test_each_row_comes_once_an_epoch(sizes, buffer, has_folder, tmp_path):
    folder = tmp_path if has_folder else None
    first, second = epochs(sizes, buffer, folder=folder)
    assert sorted(first) == sorted(second) == list(range(N))
    keeps_order = buffer == 1 and not has_folder
    assert first != second or keeps_order
    assert [first, second] == epochs(sizes, buffer, folder=folder)
    assert keeps_order or first != epochs(sizes, buffer, seed=1, folder=folder)[0]
    assert sorted(epochs(sizes, None, 1, folder=folder)[0]) == list(range(N))


@pytest.mark.filterwarnings("ignore:the blocks of the source differ")
def test_a_larger_buffer_mixes_more():
    def distance(buffer):
        (order,) = epochs([10] * 15 + [7], buffer, 1)
        return np.abs(np.array(order) - np.arange(N)).mean()

    assert distance(1) < distance(40) < distance(N)


SORTED = np.sort(np.random.default_rng(0).random(4000))
RANDOM = np.random.default_rng(0).permutation(SORTED)
STRETCHES = np.sort(RANDOM.reshape(40, 100), axis=1).ravel()  # sorted within 100 rows


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize(
    ("values", "rows", "buffer", "is_mixed"),
    [
        *((SORTED, 400, None, False), (SORTED, 400, 4000, True), (SORTED, 4000, None, True)),
        *((SORTED, 400, 40, False), (SORTED, 40, 400, False), (SORTED, 40, 3200, True)),
        *((RANDOM, 400, None, True), (RANDOM, 400, 40, True), (STRETCHES, 400, None, True)),
        *((STRETCHES, 20, None, False), (STRETCHES, 20, 400, True), (SORTED[::-1], 400, 9, False)),
    ],
)
def test_sorted_rows_give_one_warning_at_first(mlp, values, rows, buffer, is_mixed, loss, epochs):
    has_labels = loss == "cross_entropy"
    y = (values > 0.5).astype(int) if has_labels else values
    blocks = fastmlp.Blocks(values[:, np.newaxis], y, rows=rows)

    def source():  # keeps the order of the blocks
        return iter(blocks)

    net = mlp([1, 4, 1 + has_labels], loss=loss, rng=0)
    options = {"epochs": epochs, "shuffle_buffer": buffer, "batch_size": 500}
    with warnings.catch_warnings(record=True, action="always") as found:
        net.fit(source, **options)
    assert len(found) == (not is_mixed)
    for each in found:
        through = f"through a buffer of {buffer} rows" if buffer else "within blocks"
        assert f"shuffling {through} leaves batches one-sided" in str(each.message)
        assert "at most 4,000" in str(each.message)
        assert each.filename == __file__
    net.fit(source, epochs=1, batch_size=500, shuffle=False)


@pytest.mark.parametrize(
    ("rows", "buffer", "is_mixed"), [(40, 400, True), (400, 4000, True), (400, None, False)]
)
def test_blocks_in_random_order_need_a_smaller_buffer(rows, buffer, is_mixed):
    source = fastmlp.Blocks(SORTED[:, np.newaxis], SORTED, rows=rows)
    with warnings.catch_warnings(record=True, action="always") as found:
        fastmlp.MLP([1, 4, 1], rng=0).fit(source, epochs=1, batch_size=500, shuffle_buffer=buffer)
    assert len(found) == (not is_mixed)


def test_a_warning_that_is_an_error_undoes_the_fit(mlp):
    net = mlp([1, 4, 1], rng=0)
    with refused(UserWarning, "one-sided", net):  # pytest makes an error of a warning
        net.fit(fastmlp.Blocks(SORTED[:, np.newaxis], SORTED, rows=400), epochs=1)


@pytest.mark.parametrize("bad", [0, -1, 2.5, "many"])
def test_a_bad_buffer_is_refused(bad):
    with pytest.raises((TypeError, ValueError), match="shuffle_buffer"):
        fastmlp.MLP([1, 1]).fit(after(1), shuffle_buffer=bad)


# ---- a temporary file ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "buffer"),
    [
        ([1, 2, 1], 2),
        pytest.param([4], 3, marks=pytest.mark.slow),
        pytest.param([2, 2], 8, marks=pytest.mark.slow),
    ],
)
def test_a_file_gives_all_orders_alike(sizes, buffer, tmp_path):
    counts = collections.Counter()
    for seed in range(240):
        first, second = (tuple(order) for order in epochs(sizes, buffer, 2, seed, tmp_path))
        counts.update([first, (*second, "second"), (*np.argsort(first)[list(second)], "both")])
    assert len(counts) == 3 * 24  # all orders of four rows
    assert sum((n - 10) ** 2 / 10 for n in counts.values()) < 110  # 69 +- 12 are expected


SORTED_BY = {"y": lambda x, t: t, "a feature": lambda x, t: x[:, 0]}


@pytest.mark.parametrize("by", SORTED_BY)
def test_sorted_rows_are_learned_from_a_file_as_from_memory(by, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (8000, 2)).astype("float32")
    t = np.sin(3 * x[:, 0]) * x[:, 1]
    order = np.argsort(SORTED_BY[by](x, t))
    source = fastmlp.Blocks(x[order], t[order], rows=500)

    def error(*data, **options):
        net = fastmlp.MLP([2, 32, 1], activation="tanh", rng=0)
        net.fit(*data, epochs=4, batch_size=50, optimizer=fastmlp.Adam(0.01), **options)
        return np.mean((net.predict(x) - t) ** 2)

    from_file = error(source, shuffle_folder=tmp_path, shuffle_buffer=1000)
    assert from_file < 1.1 * error(x, t)


def test_a_file_has_all_that_rows_have(tmp_path):
    """Gaps, weights and derivatives of some blocks come with their rows, and are 0 in others."""
    x = np.arange(1.0, 41).reshape(20, 2)
    y = 3 * x
    y[12, 1] = np.nan
    dy = x[10:, :, np.newaxis] + [0, 1]
    blocks = [(x[:10], y[:10], x[:10, 0], None), (x[10:], y[10:], x[10:, 0], dy)]
    net = fastmlp.MLP([2, 2], rng=0, dtype="float64")
    options = {"buffer": 7, "folder": tmp_path, "dy_weight": 2}
    stream = stream_of(net, lambda: blocks, **options)
    stream.begin(20, Shuffles([network_of(net).rng]), network_of(net).engine.shuffle, 0)
    with stream.blocks() as read:
        (data,) = read
    stream.end()
    plain = stream_of(net, lambda: blocks, dy_weight=2)
    whole = Data.joined(list(plain._whole_batches(None)))
    order = np.argsort(data.x[:, 0])
    assert not np.array_equal(order, np.arange(20))
    same_rows = data.part(order)
    for name in ("x", "targets", "weights", "output_weights", "jacobians", "jacobian_weight"):
        np.testing.assert_array_equal(getattr(same_rows, name), getattr(whole, name))


ROWS = SORTED[:100, np.newaxis], SORTED[:100]


def after(blocks, call=tuple):
    """Return a source of equal blocks, which then calls a function."""

    def source():
        yield from itertools.repeat(ROWS, blocks)
        call()

    return source


def fail(*_):
    raise ZeroDivisionError("text")


def interrupt(*_):
    raise KeyboardInterrupt("text")


class Interrupting:
    on_batch = __call__ = interrupt


FAULTS = {
    "the source raises": (after(9, fail), [], ZeroDivisionError, "text"),
    "an interrupt while it is written": (after(9, interrupt), [], KeyboardInterrupt, "text"),
    "an interrupt of an epoch": (after(9), [Interrupting()], KeyboardInterrupt, "text"),
    "no rows": (after(0), [], ValueError, "yields no block"),
    "disk full": (after(90), [], OSError, "File too large"),
}


@pytest.fixture
def files(monkeypatch):
    """The temporary files that were made."""
    made, make = [], tempfile.TemporaryFile

    def recorded(**options):
        made.append(make(**options))
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", recorded)
    return made


@pytest.mark.parametrize(
    ("folder", "kind", "words"),
    [(5, TypeError, "5 "), ("none/such", ValueError, "'none/such', which"), ("", ValueError, "''")],
)
def test_a_bad_folder_is_refused(folder, kind, words, mlp):
    net = mlp([1, 1], rng=0)
    with refused(kind, f"shuffle_folder is {words}", net):
        net.fit(after(1), shuffle_folder=folder)


def test_a_file_has_a_limit(monkeypatch, mlp, tmp_path):
    monkeypatch.setattr(shuffle_file, "MOST_ROWS", 999)
    net = mlp([1, 1], rng=0)
    with refused(ValueError, "more than 999 rows, the most", net):
        net.fit(after(10), shuffle_folder=tmp_path)
    assert net.fit(after(9), epochs=1, shuffle_folder=tmp_path)


@pytest.mark.usefixtures("no_thread_stays")
@pytest.mark.parametrize("case", FAULTS)
def test_after_a_fault_the_file_is_deleted(case, mlp, files, tmp_path):
    source, callbacks, kind, words = FAULTS[case]
    net = mlp([1, 4, 1], rng=0)
    room = 20_000 if case == "disk full" else -1
    with refused(kind, words, net) as caught, children.room_for(room):
        net.fit(source, callbacks=callbacks, shuffle_folder=tmp_path, shuffle_buffer=200)
    assert [file.closed for file in files] == [True]
    assert not list(tmp_path.iterdir())
    if case == "disk full":
        assert f"make room in {tmp_path}" in caught.value.__notes__[0]


@pytest.mark.parametrize("options", [{}, {"shuffle_buffer": 70}, {"shuffle_folder": "."}])
def test_blocks_without_weights_or_targets_are_passed_over(options, mlp):
    x = np.random.default_rng(0).normal(size=(200, 3))
    y, weights = x[:, :2].copy(), np.ones(200)
    y[50:100], weights[150:] = np.nan, 0.0
    source, net = fastmlp.Blocks(x, y, weights, rows=50), mlp([3, 4, 2], rng=0)
    adam = fastmlp.Adam(0.02)
    history = net.fit(source, epochs=30, validation_data=source, optimizer=adam, **options)
    assert history.loss[-1] < 0.5 * history.loss[0]
    assert net.evaluate(source) == pytest.approx(net.evaluate(x, y, sample_weight=weights))
    with pytest.raises(ValueError, match="no row of the source of X has a target and a weight"):
        net.fit(fastmlp.Blocks(x, y * np.nan, rows=50), **options)
