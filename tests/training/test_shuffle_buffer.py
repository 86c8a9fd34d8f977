"""Rows of a source mixed by a buffer: each row once an epoch, in an order that the seed decides."""

import warnings

import numpy as np
import pytest
from blocks import SIZES, N, cut

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


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("buffer", BUFFERS)
def test_each_row_comes_once_an_epoch(sizes, buffer):
    first, second = epochs(sizes, buffer)
    assert sorted(first) == sorted(second) == list(range(N))
    assert first != second or buffer == 1
    assert [first, second] == epochs(sizes, buffer)
    assert buffer == 1 or first != epochs(sizes, buffer, seed=1)[0]
    assert sorted(epochs(sizes, None, 1)[0]) == list(range(N))  # shuffled within blocks


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


@pytest.mark.parametrize("labels", [False, True])
def test_blocks_that_are_alike_give_no_warning(labels):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2)).astype("float32")
    t = (x[:, 0] > 0).astype(int) if labels else x[:, 0]
    net = fastmlp.MLP([2, 4, 2 if labels else 1], loss="cross_entropy" if labels else "huber")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit(fastmlp.Blocks(x, t, rows=10), epochs=1)


@pytest.mark.parametrize("bad", [0, -1, 2.5, "many"])
def test_a_bad_buffer_is_refused(bad):
    x, t = sorted_data()
    with pytest.raises((TypeError, ValueError), match="shuffle_buffer"):
        fastmlp.MLP([1, 1]).fit(fastmlp.Blocks(x, t), shuffle_buffer=bad)
