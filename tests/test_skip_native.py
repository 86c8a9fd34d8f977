"""Residual blocks and the linear path: the native engine against the reference, on all levels."""

import itertools

import cases
import numpy as np
import pytest
from models import X, Y
from test_blocks import train
from test_skip import NETWORKS, everything, flat, make
from tolerances import assert_close

import fastmlp
from fastmlp import reference
from fastmlp.activations import ACTIVATIONS
from fastmlp.engine import backend, native
from fastmlp.groups import Groups
from fastmlp.predictor import Predictor
from fastmlp.spec import BLOCK_ROWS

# Widths: one; prime; less, equal and more than a panel of any level; several panels; one output.
NATIVE = [
    ((3, 5, 5, 2), {"skip": 1}),
    ((1, 1, 1, 1, 1), {"skip": 2, "linear_path": True}),
    (
        (5, 33, 33, 33, 9, 9, 9, 3),
        {"skip": 2, "layer_norm": [None, "before", "after"] + [None] * 3},
    ),
    ((97, 32, 32, 40), {"skip": 1, "linear_path": True}),
    ((131, 97, 1), {"linear_path": True, "scale": True}),
    ((2, 64, 64, 64, 64, 70), {"skip": 1, "linear_path": True, "scale": True}),
]
# Rows of the data and of a batch, and the options of a fit.
WAYS = [
    (37, 16, {}),
    (37, 16, {"l2": 0.1, "clip_norm": 0.05}),
    (BLOCK_ROWS + 7, BLOCK_ROWS + 7, {"l2": 0.1}),
    (BLOCK_ROWS + 300, BLOCK_ROWS, {"clip_norm": 0.05, "groups": Groups(weight_rate=3.0)}),
    (60, 20, {"groups": Groups(parametrization="ntk"), "l2": 0.1}),
]
LEVELS = pytest.mark.parametrize("level", backend.available_levels())
NATIVELY = pytest.mark.parametrize(("sizes", "options"), NATIVE, ids=str)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@LEVELS
@NATIVELY
def test_training_is_that_of_the_reference_on_any_threads(sizes, options, level, dtype):
    ways = itertools.cycle(WAYS)
    for at, name in enumerate(ACTIVATIONS):
        n, batch_size, fit = next(ways)
        network = cases.build(sizes, name, "huber", dtype, 0.2 * (at % 2), **options)
        parameters = cases.parameters(network, np.random.default_rng(at))
        data = cases.data(network, n, np.random.default_rng(at), weighted=at % 3 == 1)
        results = []
        for n_threads in (0, 1, 2):
            engine = native.Engine(network, level) if n_threads else reference.Engine(network)
            engine.set_parameters(*parameters)
            optimizer = cases.OPTIMIZERS[4 * (at % 2)]  # no root that turns roundings into steps
            results.append(train(engine, data, batch_size, optimizer, max(n_threads, 1), **fit))
        cases.agree(dtype, *results)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@LEVELS
@NATIVELY
def test_gradients_and_predictions_of_the_native_engine(sizes, options, level, dtype):
    for at, name in enumerate(ACTIVATIONS):
        rng = np.random.default_rng(at)
        network = cases.build(sizes, name, "huber", dtype, **options)
        pair = native.Engine(network, level), reference.Engine(network)
        parameters = cases.parameters(network, rng)
        for engine in pair:
            engine.set_parameters(*parameters)
        for n in (1, 7, BLOCK_ROWS + 1):
            data = cases.data(network, n, rng, weighted=n > 1)
            (found, *gradients), (wanted, *expected) = (e.gradients(data, 0.1) for e in pair)
            assert_close(found, wanted, "loss", dtype)
            for a, b in zip(flat(gradients), flat(expected), strict=True):
                largest = float(np.abs(b).max(initial=0))
                assert_close(a, b, "gradient", dtype, scale=max(1.0, largest))
        predict = Predictor(network, level, *parameters)
        whole = pair[0].predict(data.x)
        assert_close(whole, pair[1].predict(data.x), "gradient", dtype, float(np.abs(whole).max()))
        np.testing.assert_array_equal(np.stack([predict(row) for row in data.x[:70]]), whole[:70])
        np.testing.assert_array_equal(predict(data.x), whole)
        derivatives = pair[1].jacobian(data.x[:70])
        largest = float(np.abs(derivatives).max())
        assert_close(predict.jacobian(data.x[:70]), derivatives, "gradient", dtype, largest)


def test_frozen_lower_layers_leave_the_steps_of_the_upper_ones():
    """Where the gradient goes no further back, nothing around a block is missed or mixed in."""
    for first in range(5):
        sizes, options = (3, 8, 8, 8, 2), {"skip": 2, "linear_path": True, "scale": True}
        nets = [make(kind, sizes, options) for kind in (fastmlp.MLP, reference.MLP)]
        for net in nets:
            groups = Groups(layer_rates=[0] * min(first, 3) + [1] * (4 - min(first, 3)))
            if first == 4:
                groups = Groups(weight_rate=0, bias_rate=0)
            net.fit(X, Y, epochs=2, groups=groups, optimizer=fastmlp.SGD(0.05))
        for p, q in zip(*map(everything, nets), strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-12)


def test_it_learns(mlp):
    for sizes, options in NETWORKS.values():
        net = make(mlp, sizes, options, dropout=0.0)
        history = net.fit(X, Y, epochs=60, optimizer=fastmlp.Adam(learning_rate=1e-2))
        assert history.loss[-1] < 0.5 * history.loss[0]
