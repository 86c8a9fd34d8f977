"""Parametric activations: formula, what a user sees, groups; more is in test_operators.py."""

import cases
import numpy as np
import pytest
from models import X, Y
from test_operators import every_norm, everything, make

import fastmlp
from fastmlp._engine import native, native_engine
from fastmlp._engine.predictor import Predictor
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.groups import Groups
from fastmlp._network.parametric_activation import blended
from fastmlp._network.spec import BLOCK_ROWS

CHOICES = (True, [True, False], [False, True])
every_choice = pytest.mark.parametrize("choice", CHOICES, ids=str)


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
@every_choice
def test_what_a_user_sees(mlp, choice, norm):
    net = make(mlp, layer_norm=norm, parametric=choice)
    plain = make(mlp, layer_norm=norm)
    assert len(plain.alphas) == 0
    assert plain.parametric == (False, False)
    assert "parametric" not in repr(plain)
    assert f"parametric={list(net.parametric)}" in repr(net)
    widths = [n if has_it else 0 for n, has_it in zip((8, 5), net.parametric, strict=True)]
    assert [a.tolist() for a in net.alphas] == [[1.0] * n for n in widths]
    np.testing.assert_array_equal(net.predict(X), plain.predict(X))
    net.alphas = [np.linspace(-1, 2, n) for n in widths]
    assert not np.allclose(net.predict(X), plain.predict(X))
    _, *gradients = net.gradients(X, Y)
    shapes = [g.shape for kind in gradients for g in kind]
    assert shapes == [p.shape for p in everything(net)]
    for bad in ([[1.0]] * 2, [np.full(n, np.nan) for n in widths], []):
        with pytest.raises(ValueError, match="alphas"):
            net.alphas = bad
    frozen = net.predictor()
    np.testing.assert_array_equal(frozen(X), net.predict(X))
    np.testing.assert_array_equal(frozen.jacobian(X), net.jacobian(X))
    assert len(frozen.parameters()) == (5 if norm else 3)


@every_norm
def test_with_alphas_of_zero_a_network_is_linear(mlp, norm):
    net = make(mlp, parametric=True, activation=["mish", "relu"], layer_norm=norm)
    line = make(mlp, activation="identity", layer_norm=norm)
    line.weights, line.biases = list(net.weights), list(net.biases)
    net.alphas = [0 * a for a in net.alphas]
    np.testing.assert_array_equal(net.predict(X), line.predict(X))


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("yes", TypeError, "parametric is 'yes' but must be True or False"),
        (1, TypeError, "parametric is 1 but"),
        (None, TypeError, "parametric is None but"),
        ([True, "no"], TypeError, "parametric is 'no' but"),
        ([True], ValueError, "parametric has 1 entries but this MLP has 2 hidden layers"),
    ],
)
def test_nonsense_is_refused(mlp, value, error, words):
    with pytest.raises(error, match=words):
        make(mlp, parametric=value)


def test_nonsense_of_groups_is_refused():
    for bad in (-1.0, np.nan):
        for name in ("activation_rate", "activation_decay"):
            with pytest.raises(ValueError, match=name):
                Groups(**{name: bad})


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


def test_it_learns_which_units_are_linear(mlp):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    net = make(mlp, activation="relu", parametric=True)
    net.fit(x, x @ rng.normal(size=(3, 2)), epochs=150, optimizer=fastmlp.Adam(0.02))
    assert net.history.loss[-1] < 1e-3
