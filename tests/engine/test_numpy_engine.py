"""The reference engine against central differences and hand-worked steps.

The oracle of every other test is tested here, in float64, without the native side.
"""

import itertools
import math

import cases
import numpy as np
import pytest
from tolerances import assert_close, central_difference_step

import fastmlp
from fastmlp import reference
from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.numpy.numpy_engine import Engine
from fastmlp._engine.numpy.random import dropout_masks
from fastmlp._engine.plan import Plan
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.data import Data

# Enough for three hidden layers; the outputs differ in number from every other width.
WIDTHS = {0: (3, 2), 1: (3, 4, 2), 2: (3, 4, 3, 2), 3: (3, 4, 3, 4, 2)}


def engine_of(network, rng):
    engine = Engine(network)
    engine.set_parameters(*cases.parameters(network, rng))
    return engine


def numeric_gradients(engine, objective):
    """Central differences of objective() with respect to every parameter."""
    h = central_difference_step()
    everything = numpy_engine.flat(engine._parameters)
    numeric = [np.empty_like(p) for p in everything]
    for p, d in zip(everything, numeric, strict=True):
        for at in np.ndindex(p.shape):
            kept = p[at]
            p[at] = kept + h
            up = objective()
            p[at] = kept - h
            down = objective()
            p[at] = kept
            d[at] = (up - down) / (2 * h)
    return numeric


@pytest.mark.parametrize("depth", WIDTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_by_central_differences(activation, depth):
    for k, case in enumerate(cases.LOSSES):
        rng = np.random.default_rng(100 * k + depth)
        network = cases.build(WIDTHS[depth], activation, case.loss)
        engine = engine_of(network, rng)
        n, l2 = (1, 2, 9)[(k + depth) % 3], (0.0, 0.3)[k % 2]
        data = cases.data(network, n, rng, case.labels, weighted=k % 3 == 1)
        value, dws, dbs = engine.gradients(data, l2)
        weights = engine._parameters[0]
        penalised = engine.evaluate(data) + 0.5 * l2 * sum(np.sum(w**2) for w in weights)
        assert_close(value, penalised, "loss", "float64")

        def objective(engine=engine, data=data, l2=l2):
            return engine.gradients(data, l2)[0]

        for got, numeric in zip([*dws, *dbs], numeric_gradients(engine, objective), strict=True):
            assert_close(got, numeric, "central_difference", "float64", scale=4)


@pytest.mark.parametrize("layer_norm", [None, "before"])
def test_gradients_of_scales_and_linear_path_by_central_differences(layer_norm):
    """The scales are not 1: the linear path multiplies the scaled rows, not the rows."""
    network = cases.build([3, 4, 2], layer_norm=layer_norm, scale=True, linear_path=True)
    rng = np.random.default_rng(5)
    engine, data = engine_of(network, rng), cases.data(network, 9, rng, weighted=True)
    assert abs(engine.parameters()[list(network.tensors).index("scales")][0] - 1).min() > 0.01
    gradients = numpy_engine.flat(engine.gradients(data)[1:])
    numeric = numeric_gradients(engine, lambda: engine.gradients(data)[0])
    for got, expected in zip(gradients, numeric, strict=True):
        assert_close(got, expected, "central_difference", "float64", scale=4)


def plan(optimizer, n_batches, **options):
    options.setdefault("batch_size", 4)
    rates = np.full(n_batches, optimizer.learning_rate)
    return Plan(optimizer=optimizer, learning_rates=rates, **options)


def test_penalty_per_batch():
    network = cases.build([2, 1])
    rng = np.random.default_rng(0)
    data = cases.data(network, 4, rng, weighted=True)
    first, second = (engine_of(network, np.random.default_rng(1)) for _ in range(2))
    optimizer = fastmlp.SGD(0.1)
    first.start(optimizer)
    second.start(optimizer)
    total = float(data.weights.sum())
    one = first.epoch(data, plan(optimizer, 1, l2=2.0, per_batch=True))
    two = second.epoch(data, plan(optimizer, 1, l2=2.0 / total))
    assert one == two


def test_weights_of_zero_are_absent_rows_and_weights_are_repetitions():
    rng = np.random.default_rng(4)
    for case in cases.LOSSES:
        network = cases.build([3, 4, 2], "silu", case.loss)
        engine = engine_of(network, rng)
        data = cases.data(network, 4, rng, case.labels)
        data.weights = np.array([1.0, 0.0, 2.0, 1.0])
        rows = np.array([0, 2, 2, 3])
        repeated = Data(data.x[rows], data.targets[rows])
        got, expected = engine.gradients(data), engine.gradients(repeated)
        assert_close(got[0], expected[0], "loss", "float64")
        for g, e in zip([*got[1], *got[2]], [*expected[1], *expected[2]], strict=True):
            assert_close(g, e, "gradient", "float64")
        data.weights = np.zeros(4)
        objective, dws, dbs = engine.gradients(data)
        assert objective == engine.evaluate(data) == 0.0
        assert not any(g.any() for g in [*dws, *dbs])


# --- dropout -------------------------------------------------------------------------------------


def mix(x):
    """Hash 32 bits, again, in Python integers."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> shift
        x = x * factor & 0xFFFFFFFF
    return x ^ x >> 16


def kept(seed, step, layer, row, column, p):
    key = mix(layer + 0x9E3779B9)
    for word in (step & 0xFFFFFFFF, seed >> 32, seed & 0xFFFFFFFF):
        key = mix(word ^ key)
    row_key = mix(key ^ mix(row + 0x85EBCA6B))
    return mix(row_key ^ (column * 0x9E3779B9 & 0xFFFFFFFF)) >= math.floor(p * 2**32)


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**64 - 1])
@pytest.mark.parametrize("step", [0, 12345, 2**32 + 3])
def test_dropout_masks_bit_for_bit(seed, step):
    network = cases.build([2, 9, 5, 7, 1], dropout=[0.5, 0.0, 0.1])
    masks = dropout_masks(network, np.uint64(seed), step, n_rows=6)
    assert masks[1] is None
    for layer in (0, 2):
        width, p = network.layer_sizes[layer + 1], network.dropout[layer]
        expected = [[kept(seed, step, layer, r, c, p) for c in range(width)] for r in range(6)]
        assert np.array_equal(masks[layer], expected)


def test_a_number_equal_to_the_threshold_is_kept():
    # The threshold at which (row 0, column 0) is just kept is its own random number.
    low, high = 0, 2**32
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if kept(3, 0, 0, 0, 0, middle / 2**32) else (low, middle)
    for number, expected in ((low, True), (low + 1, False)):
        network = cases.build([1, 1, 1], dropout=number / 2**32)
        assert dropout_masks(network, 3, 0, 1)[0].item() is expected


def test_dropout_rate_and_independence():
    network = cases.build([1, 500, 1], dropout=0.3)
    first, second = (dropout_masks(network, 42, step, 400)[0] for step in (0, 1))
    # 5 standard errors of 200,000 draws.
    limit = 5 * math.sqrt(0.3 * 0.7 / first.size)
    assert abs(first.mean() - 0.7) < limit
    assert abs((first & second).mean() - 0.49) < limit
    assert abs((first[1:] & first[:-1]).mean() - 0.49) < limit
    assert abs((first[:, 1:] & first[:, :-1]).mean() - 0.49) < limit


# --- divergence ----------------------------------------------------------------------------------


def test_a_weight_that_overflows_ends_the_epoch():
    network = cases.build([1, 1], dtype="float32")
    engine = Engine(network)
    engine.set_parameters([np.ones((1, 1), np.float32)], [np.zeros(1, np.float32)])
    assert engine.finite()
    data = Data(np.full((1, 1), 1e10, np.float32), np.zeros((1, 1), np.float32))
    optimizer = fastmlp.SGD(1e30)
    engine.start(optimizer)
    assert math.isnan(engine.epoch(data, plan(optimizer, 1)))
    assert engine.parameters()[0][0].item() == 1  # those of before the epoch


def test_parameters_are_copies():
    engine = engine_of(cases.build([2, 3, 1]), np.random.default_rng(0))
    snapshot = engine.snapshot()
    weights, biases = engine.parameters()
    weights[0][:] = 7
    biases[0][:] = 7
    assert not np.any(engine.parameters()[0][0] == 7)
    engine.set_parameters(weights, biases)
    weights[0][:] = 8
    assert np.all(engine.parameters()[0][0] == 7)
    engine.restore(snapshot)
    assert not np.any(engine.parameters()[1][0] == 7)
    assert engine.parameters()[0][0].flags.writeable


def test_float64_options_do_not_promote_float32():
    network = cases.build([3, 4, 2], dtype="float32", dropout=0.5)
    engine = engine_of(network, np.random.default_rng(0))
    data = cases.data(network, 8, np.random.default_rng(1))
    optimizer, options = fastmlp.Adam(0.01), dict.fromkeys(("l2", "clip_norm"), np.float64(0.1))
    engine.start(optimizer)
    assert math.isfinite(engine.epoch(data, plan(optimizer, 2, **options)))
    assert all(p.dtype == np.float32 for group in engine.parameters() for p in group)
    assert all(
        s.dtype == np.float32
        for slots in engine._steps.optimizer_state.slots
        for s in itertools.chain(*slots)
    )


def test_predictions_that_overflow_are_infinite_without_a_warning():
    net = reference.MLP([2, 3, 1], rng=0)
    net.weights = [np.full((2, 3), 3e38), np.full((3, 1), 3e38)]
    assert np.isposinf(net.predict(np.full((2, 2), 10.0))).all()
    assert np.isposinf(net.evaluate(np.ones((2, 2)), np.ones(2)))
