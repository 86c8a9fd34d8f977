"""Rows of a source mixed by a buffer: each row once an epoch, in an order that the seed decides."""

import warnings

import numpy as np
import pytest
from blocks import SIZES, N, cut
from states import refused

import fastmlp
from fastmlp._training import planning
from fastmlp._training.shuffles import Shuffles

BUFFERS = (1, 7, 64, N, 1000)


def epochs(sizes, buffer, n_epochs=2, seed=0):
    """Return the rows of each epoch in the order in which a fit sees them."""
    net = fastmlp.MLP([1, 1], rng=seed)
    x = np.arange(N, dtype="float32")[:, np.newaxis]
    source = cut(x, 2 * x, np.ravel(x) + 1, sizes=sizes)
    stream = planning.data(source, None, None, net._spec, buffer=buffer)
    stream.begin(10, Shuffles([net._rng]), net._engine.shuffle, 0)
    found = []
    for _ in range(n_epochs):
        with stream.blocks() as blocks:
            parts = [(b.x.ravel(), b.targets.ravel(), b.weights) for b in blocks]
        rows, targets, weights = map(np.concatenate, zip(*parts, strict=True))
        assert np.array_equal(targets, 2 * rows)
        assert np.array_equal(weights, rows + 1)
        found.append(rows.astype(int).tolist())
    return found


@pytest.mark.filterwarnings("ignore:the blocks of the source differ")
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("buffer", BUFFERS)
def test_each_row_comes_once_an_epoch(sizes, buffer):
    first, second = epochs(sizes, buffer)
    assert sorted(first) == sorted(second) == list(range(N))
    assert first != second or buffer == 1
    assert [first, second] == epochs(sizes, buffer)
    assert buffer == 1 or first != epochs(sizes, buffer, seed=1)[0]
    assert sorted(epochs(sizes, None, 1)[0]) == list(range(N))  # shuffled within blocks


@pytest.mark.filterwarnings("ignore:the blocks of the source differ")
def test_a_larger_buffer_mixes_more():
    def distance(buffer):
        (order,) = epochs([10] * 15 + [7], buffer, 1)
        return np.abs(np.array(order) - np.arange(N)).mean()

    assert distance(1) < distance(40) < distance(N)


def sorted_data():
    x = np.linspace(-1, 1, 2000, dtype="float32")[:, np.newaxis]
    return x, np.sin(3 * x[:, 0])


def test_sorted_rows_are_learned_through_a_buffer():
    x, t = sorted_data()
    adam = fastmlp.Adam(0.01)

    def error(**options):
        net = fastmlp.MLP([1, 32, 1], activation="tanh", rng=0)
        net.fit(fastmlp.Blocks(x, t, rows=100), epochs=20, batch_size=50, optimizer=adam, **options)
        return np.mean((net.predict(x) - t) ** 2)

    with pytest.warns(UserWarning, match="blocks of the source differ") as found:
        without = error()
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert error(shuffle_buffer=2000) < 0.5 * without


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
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        net.fit(source, **options)
    assert len(found) == (not is_mixed)
    for each in found:
        through = f"through a buffer of {buffer} rows" if buffer else "within blocks"
        assert f"shuffling {through} leaves batches one-sided" in str(each.message)
        assert "at most 4,000" in str(each.message)
        assert each.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit(source, epochs=1, batch_size=500, shuffle=False)


@pytest.mark.parametrize(
    ("rows", "buffer", "is_mixed"), [(40, 400, True), (400, 4000, True), (400, None, False)]
)
def test_blocks_in_random_order_need_a_smaller_buffer(rows, buffer, is_mixed):
    source = fastmlp.Blocks(SORTED[:, np.newaxis], SORTED, rows=rows)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fastmlp.MLP([1, 4, 1], rng=0).fit(source, epochs=1, batch_size=500, shuffle_buffer=buffer)
    assert len(found) == (not is_mixed)


def test_a_warning_that_is_an_error_undoes_the_fit(mlp):
    net = mlp([1, 4, 1], rng=0)
    with warnings.catch_warnings(), refused(UserWarning, "one-sided", net):
        warnings.simplefilter("error")
        net.fit(fastmlp.Blocks(SORTED[:, np.newaxis], SORTED, rows=400), epochs=1)


@pytest.mark.parametrize("bad", [0, -1, 2.5, "many"])
def test_a_bad_buffer_is_refused(bad):
    x, t = sorted_data()
    with pytest.raises((TypeError, ValueError), match="shuffle_buffer"):
        fastmlp.MLP([1, 1]).fit(fastmlp.Blocks(x, t), shuffle_buffer=bad)
