"""Parametric activations: formula, what a user sees, groups; more is in test_operators.py."""

import cases
import numpy as np
import pytest
from models import X, Y
from test_operators import every_norm, make

import fastmlp
from fastmlp._engine import native, native_engine
from fastmlp._engine.predictor import Predictor
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.groups import Groups
from fastmlp._network.parametric_activation import blended
from fastmlp._network.spec import BLOCK_ROWS


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_formula(name):
    z = np.linspace(-3, 3, 33)[:, np.newaxis] * np.ones(5)
    alpha, f = np.array([1.0, 0.0, 0.25, -0.5, 2.0]), ACTIVATIONS[name].value(z)
    found = blended(name, alpha, z)
    np.testing.assert_array_equal(found[:, 0], f[:, 0])
    np.testing.assert_array_equal(found[:, 1], z[:, 1])
    np.testing.assert_allclose(found, z + alpha * (f - z), rtol=1e-12, atol=1e-15)


def test_that_of_relu_is_prelu():
    z, alpha = np.linspace(-2, 2, 9)[:, np.newaxis], np.array([0.75])
    np.testing.assert_allclose(blended("relu", alpha, z), np.where(z > 0, z, 0.25 * z))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_at_first_it_is_the_activation_to_the_bit(name, level, dtype):
    plain = cases.build((5, 33, 3), name, dtype=dtype)
    weights, biases = cases.parameters(plain, np.random.default_rng(0))
    blends = cases.build((5, 33, 3), name, dtype=dtype, parametric=True)
    engines = [native.Engine(network, level) for network in (plain, blends)]
    ones = np.ones(33, dtype)
    engines[0].set_parameters(weights, biases)
    engines[1].set_parameters(weights, biases, [ones])
    data = cases.data(plain, BLOCK_ROWS + 1, np.random.default_rng(1))
    assert np.array_equal(*(engine.predict(data.x) for engine in engines))
    frozen = Predictor(blends, level, weights, biases, [ones])
    assert np.array_equal(frozen(data.x[0]), engines[0].predict(data.x[:1])[0])
    (loss, *kinds), (same, *others) = (engine.gradients(data) for engine in engines)
    assert loss == same
    for kind, other in zip(kinds, others, strict=False):
        assert all(map(np.array_equal, kind, other))


@every_norm
def test_with_alphas_of_zero_a_network_is_linear(mlp, norm):
    net = make(mlp, parametric=True, activation=["mish", "relu"], layer_norm=norm)
    line = make(mlp, activation="identity", layer_norm=norm)
    line.weights, line.biases = list(net.weights), list(net.biases)
    net.alphas = [0 * a for a in net.alphas]
    np.testing.assert_array_equal(net.predict(X), line.predict(X))


def test_decay_is_that_of_its_group(mlp):
    found = []
    for decay in (0.0, 0.5):
        net = make(mlp, parametric=True)
        chosen = Groups(activation_rate=0.1, activation_decay=decay)
        optimizer = fastmlp.AdamW(0.1, weight_decay=0.2)
        net.partial_fit(X, Y, batch_size=len(X), optimizer=optimizer, groups=chosen)
        found.append(list(net.alphas))
    for without, with_it in zip(*found, strict=True):  # the first alphas are 1
        np.testing.assert_allclose(without - with_it, 0.1 * 0.1 * 0.2 * 0.5, rtol=1e-9)
