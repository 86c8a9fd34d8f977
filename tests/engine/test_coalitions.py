"""Rows between two rows, by the shares of their columns in the first layer, and mixed plainly."""

import numpy as np
import pytest

from fastmlp import MLP
from fastmlp._engine.coalitions import Coalitions

COLUMNS = np.array([0, 2, 1, 1, 2, 0, 2])  # each input belongs to one
NETWORKS = {
    "relu": ([7, 40, 40, 3], {}),
    "one output": ([7, 20, 1], {}),
    "one unit": ([7, 1, 2], {"activation": "tanh"}),
    "linear": ([7, 1], {"scale": True}),
    "scaled": ([7, 40, 40, 3], {"scale": True, "activation": "tanh", "parametric": True}),
    "normalised": ([7, 40, 3], {"layer_norm": "before", "dropout": 0.5}),
    "classes": ([7, 9, 3], {"loss": "cross_entropy"}),
    "blocks": ([7, 9, 9, 3], {"skip": 1}),
}


def network(sizes, seed=0, **options):
    net = MLP(sizes, rng=seed, **{"dtype": "float64"} | options)
    net.biases = [np.random.default_rng(seed).normal(size=b.shape) for b in net.biases]
    if options.get("scale"):
        net.scales = [np.random.default_rng(seed).normal(size=s.shape) for s in net.scales]
    return net


def inputs(n, seed):
    return np.random.default_rng(seed).normal(size=(n, len(COLUMNS)))


def masks(rows, coalitions, seed=0):
    return np.random.default_rng(seed).random((rows, coalitions, COLUMNS.max() + 1)) < 0.5


def between(net, x, background, mask):
    """Predict mixed rows, (rows, background, coalitions, C)."""
    mask = np.broadcast_to(mask, (len(background), *mask.shape[1:]))[np.newaxis, ..., COLUMNS]
    mixed = np.where(mask, x[:, np.newaxis, np.newaxis], background[:, np.newaxis])
    return net.predict(mixed.reshape(-1, mixed.shape[-1])).reshape(*mixed.shape[:3], -1)


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_between_two_rows_have_the_predictions_of_mixed_rows(name):
    sizes, options = NETWORKS[name]
    net = network(sizes, **options)
    x, background = inputs(3, 1), inputs(4, 2)
    shared = Coalitions(net._network.engine, COLUMNS, 3)
    # Each row of the background has masks, or all share them.
    for mask in (masks(4, 70), masks(1, 5)):
        found = shared.predict(shared.shares(x), shared.shares(background), np.arange(4), mask)
        np.testing.assert_allclose(found, between(net, x, background, mask), rtol=0, atol=1e-12)


def test_equal_shares_and_unused_columns_change_no_bit():
    net = network([7, 40, 2], dtype="float32")
    first = np.array(net.weights[0])
    first[COLUMNS == 1] = 0
    net.weights = [first, *net.weights[1:]]
    shared = Coalitions(net._network.engine, COLUMNS, 3)
    x, background = (shared.shares(inputs(1, seed).astype(np.float32)) for seed in (1, 2))
    background[:, 0] = x[:, 0]
    every = np.indices((2, 2, 2), bool).reshape(3, 8).T
    found = shared.predict(x, background, [0], every[np.newaxis])[0, 0].reshape(2, 2, 2, 2)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert (found[:, :, 0] != found[:, :, 1]).any()


def test_rows_and_threads_do_not_change_bits(monkeypatch):
    net = network([7, 64, 64, 1], dtype="float32")
    shared = Coalitions(net._network.engine, COLUMNS, 3)
    x, background = inputs(9, 1).astype(np.float32), inputs(40, 2).astype(np.float32)
    mask, rows = masks(40, 100), np.arange(40)
    results = []
    for threads in ("1", "3"):
        monkeypatch.setenv("FASTMLP_NUM_THREADS", threads)
        results.append(shared.predict(shared.shares(x), shared.shares(background), rows, mask))
    np.testing.assert_array_equal(*results)
    alone = shared.predict(shared.shares(x[4:5]), shared.shares(background), rows, mask)
    np.testing.assert_array_equal(alone[0], results[0][4])


def test_chosen_rows_of_the_background_have_the_bits_of_copied_ones():
    shared = Coalitions(network([7, 64, 1], dtype="float32")._network.engine, COLUMNS, 3)
    x, background = (shared.shares(inputs(n, n).astype(np.float32)) for n in (2, 5))
    chosen = np.array([4, 0, 4, 2])
    for mask in (masks(4, 9), masks(1, 9)):
        found = shared.predict(x, background, chosen, mask)
        copied = shared.predict(x, background[chosen], np.arange(4), mask)
        np.testing.assert_array_equal(found, copied)


def test_a_long_call_can_be_interrupted(interrupt_after):
    net = network([7, 256, 256, 1], dtype="float32")
    shared = Coalitions(net._network.engine, COLUMNS, 3)
    x, background = (shared.shares(inputs(n, 1).astype(np.float32)) for n in (400, 100))
    mask, rows = masks(100, 64), np.arange(100)
    interrupt_after(0.2)
    with pytest.raises(KeyboardInterrupt):
        shared.predict(x, background, rows, mask)
    found = shared.predict(x[:1], background[:1], [0], mask[:1])
    assert np.isfinite(found).all()


SHAPES = {
    "columns": ((1, 4, 8), (2, 3, 8), (2, 5, 3)),
    "background": ((1, 3, 8), (2, 4, 8), (2, 5, 3)),
    "width": ((1, 3, 9), (2, 3, 8), (2, 5, 3)),
    "inputs": ((1, 3, 8), (2, 3, 8), (2, 5, 4)),
    "masks": ((1, 3, 8), (2, 3, 8), (3, 5, 3)),
    "too few rows": ((1, 3, 8), (1, 3, 8), (2, 5, 3)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_arrays_that_do_not_fit_are_refused(name):
    shared = Coalitions(network([7, 8, 1])._network.engine, COLUMNS, 3)
    x, background, mask = map(np.zeros, SHAPES[name])
    with pytest.raises(ValueError, match="are not those of 3 columns|2 are exp|to be among"):
        shared.predict(x, background, np.arange(2), mask.astype(bool))
