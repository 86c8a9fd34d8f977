"""Layer normalisation: formula, gradients, options, groups and what a user sees, both engines."""

import copy
import itertools
import pickle
import re

import cases
import numpy as np
import pytest
import test_house as house
from models import X, Y
from test_blocks import train
from test_numpy_engine import engine_of, numeric_gradients
from tolerances import assert_close

import fastmlp
from fastmlp._engine import native, native_engine
from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.numpy.random import dropout_masks
from fastmlp._engine.predictor import Predictor
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.groups import Groups
from fastmlp._network.layer_norm import EPSILON, POSITIONS, layer_norm
from fastmlp._network.spec import BLOCK_ROWS

CHOICES = (*POSITIONS, ["before", None], [None, "after"], ["after", "before"])
TWO_HIDDEN = (3, 5, 4, 2)


def flat(kinds):
    return [array for kind in kinds for array in kind]


def test_the_formula():
    z = np.random.default_rng(0).normal(3.0, 2.0, (7, 11))
    gain, shift = np.linspace(0.5, 2, 11), np.linspace(-1, 1, 11)
    for row, found in zip(z, layer_norm(z, gain, shift), strict=True):
        deviation = np.sqrt(np.mean((row - row.mean()) ** 2) + EPSILON)
        np.testing.assert_allclose(found, (row - row.mean()) / deviation * gain + shift, rtol=1e-13)


def test_a_constant_row_is_the_shift_and_a_common_part_costs_no_digits():
    shift = np.float32([1, 2, 3])
    constant = np.full((1, 3), 1e6, np.float32)
    np.testing.assert_array_equal(layer_norm(constant, np.ones(3, "f"), shift), [[1, 2, 3]])
    wide = np.float32(4096) + np.random.default_rng(0).integers(-9, 9, (1, 1000)).astype("f")
    exact = layer_norm(wide.astype(float), np.ones(1000), np.zeros(1000))
    found = layer_norm(wide, np.ones(1000, "f"), np.zeros(1000, "f"))
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6 * np.abs(exact).max() + 3e-5)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_by_central_differences(activation, choice):
    rng = np.random.default_rng(3)
    network = cases.build(TWO_HIDDEN, activation, layer_norm=choice, dropout=[0.0, 0.3])
    engine, data = engine_of(network, rng), cases.data(network, 6, rng, weighted=True)
    masks = dropout_masks(network, seed=1, step=0, n_rows=6)
    for mask in (None, masks):

        def objective(mask=mask):
            return numpy_engine.objective(network, engine.parameters(), data, 0.3, mask)

        _, *gradients = objective()
        numeric = numeric_gradients(engine, lambda of=objective: of()[0])
        for got, d in zip(flat(gradients), numeric, strict=True):
            assert_close(got, d, "central_difference", "float64", scale=16)
    _, *gradients = engine.gradients(data, 0.3)
    assert [[g.shape for g in kind] for kind in gradients] == list(network.tensors.values())


def test_a_network_without_it_has_weights_and_biases_only(mlp):
    net = mlp([3, 8, 2], rng=0)
    assert net.layer_norm == (None,)
    assert len(net.gains) == len(net.shifts) == 0
    assert net.gains[:] == list(net.shifts) == []
    assert len(net.gradients(X, Y)) == 3
    assert len(net.predictor().parameters()) == 2
    assert "layer_norm" not in repr(net)
    with pytest.raises(ValueError, match="gains has 1 arrays but 0"):
        net.gains = [np.ones(8)]


BAD = [
    ("both", ValueError, "layer_norm is 'both'"),
    (True, TypeError, "layer_norm is True"),
    (["before"], ValueError, "layer_norm has 1 entries but this MLP has 2 hidden layers"),
    ([["before"], None], TypeError, "layer_norm is"),
    (np.ones(2), TypeError, "layer_norm is .*1.0"),
]


@pytest.mark.parametrize(("choice", "error", "words"), BAD, ids=str)
def test_bad_choices(mlp, choice, error, words):
    with pytest.raises(error, match=words):
        mlp([3, 8, 8, 2], layer_norm=choice)
    with pytest.raises(ValueError, match="layer_norm is 'both'"):
        mlp([3, 2], layer_norm="both")


def make(mlp, choice="before", **options):
    options = {"activation": "tanh", "dtype": "float64", "rng": 0} | options
    return mlp([3, 8, 5, 2], layer_norm=choice, **options)


def everything(net):
    return [*net.weights, *net.biases, *net.gains, *net.shifts]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_what_a_user_sees(mlp, choice):
    net = make(mlp, choice)
    widths = [n if c else 0 for n, c in zip((8, 5), net.layer_norm, strict=True)]
    assert [len(g) for g in net.gains] == [len(s) for s in net.shifts] == widths
    assert all((g == 1).all() for g in net.gains)
    assert not any(s.any() for s in net.shifts)
    assert f"layer_norm={list(net.layer_norm)}" in repr(net)
    _, *gradients = net.gradients(X, Y)
    assert [g.shape for g in flat(gradients)] == [p.shape for p in everything(net)]
    before = net.predict(X)
    net.gains = [2 * g for g in net.gains]
    net.shifts[widths.index(max(widths))] = np.linspace(-1, 1, max(widths))
    assert not np.allclose(net.predict(X), before)
    for bad in ([1.0, 2.0], np.full(max(widths), np.nan)):
        with pytest.raises(ValueError, match="gains"):
            net.gains[widths.index(max(widths))] = bad
    frozen = net.predictor()
    np.testing.assert_array_equal(frozen(X), net.predict(X))
    np.testing.assert_array_equal(frozen.jacobian(X), net.jacobian(X))
    for p, q in zip(flat(frozen.parameters()), everything(net), strict=True):
        np.testing.assert_array_equal(p, q)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_jacobian_by_central_differences(mlp, choice):
    net = make(mlp, choice)
    net.fit(X, Y, epochs=2)
    h = 1e-5
    for i in range(3):
        step = h * np.eye(3)[i]
        numeric = (net.predict(X + step) - net.predict(X - step)) / (2 * h)
        np.testing.assert_allclose(net.jacobian(X)[:, :, i], numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("choice", POSITIONS)
def test_copies_and_pickles_go_on_bit_for_bit(mlp, choice):
    net = make(mlp, choice, dropout=0.2)
    net.partial_fit(X, Y, batch_size=16)
    twins = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    frozen = pickle.loads(pickle.dumps(net.predictor()))
    np.testing.assert_array_equal(frozen(X), net.predict(X))
    net.partial_fit(X, Y, batch_size=16)
    for twin in twins:
        twin.partial_fit(X, Y, batch_size=16)
        for p, q in zip(everything(twin), everything(net), strict=True):
            np.testing.assert_array_equal(p, q)


@pytest.mark.parametrize("choice", POSITIONS)
def test_snapshots_hold_gains_and_shifts(mlp, choice):
    net = make(mlp, choice)
    kept = []

    def callback(state):
        if state.epoch == 0:
            kept.append((state.snapshot(), everything(net)))
        if state.epoch == 2:
            state.restore(kept[0][0])

    net.fit(X, Y, epochs=3, callbacks=[callback])
    for p, q in zip(everything(net), kept[0][1], strict=True):
        np.testing.assert_array_equal(p, q)


def test_a_fit_that_fails_leaves_everything(mlp):
    net = make(mlp)
    before = everything(net)
    with pytest.raises(fastmlp.DivergenceError), np.errstate(all="ignore"):
        net.fit(X, Y, epochs=5, optimizer=fastmlp.SGD(learning_rate=1e200))
    for p, q in zip(everything(net), before, strict=True):
        np.testing.assert_array_equal(p, q)


def moved(net, before):
    kinds = zip(everything(net), before, strict=True)
    return [not np.array_equal(p, q) for p, q in kinds]


def test_groups_of_gains_and_shifts(mlp):
    for chosen, expected in (
        (Groups(norm_rate=0), [True] * 6 + [False] * 4),
        (Groups(weight_rate=0, bias_rate=0), [False] * 6 + [True] * 4),
        (Groups(layer_rates=[0, 1, 0]), [False, True, False] * 2 + [False, True] * 2),
    ):
        for clip_norm in (None, 0.1):
            net = make(mlp)
            before = everything(net)
            net.fit(X, Y, epochs=1, groups=chosen, l2=0.1, clip_norm=clip_norm)
            assert moved(net, before) == expected


def test_decay_leaves_gains_and_shifts_alone_unless_told(mlp):
    for options in ({"l2": 1.0}, {"optimizer": fastmlp.AdamW(weight_decay=0.5)}):
        fits = []
        for norm_decay in (0.0, 1.0):
            for extra in (options, {**options, "clip_norm": 1e9}):
                net = make(mlp)
                groups = Groups(norm_decay=norm_decay)
                net.fit(X, Y, epochs=1, shuffle=False, groups=groups, **extra)
                fits.append(net)
        plain, stored, decayed, decayed_stored = fits
        np.testing.assert_allclose(plain.gains[0], stored.gains[0], rtol=1e-9)
        np.testing.assert_allclose(decayed.gains[0], decayed_stored.gains[0], rtol=1e-9)
        assert not np.allclose(plain.gains[0], decayed.gains[0], rtol=1e-9)
    net = make(mlp)
    value, *gradients = net.gradients(X, Y, l2=2.0)
    free, *without = net.gradients(X, Y)
    assert value == pytest.approx(free + sum(np.sum(w**2) for w in net.weights))
    for g, h in zip(flat(gradients[1:]), flat(without[1:]), strict=True):
        np.testing.assert_array_equal(g, h)


# ---- the native engine against the reference --------------------------------------------------

# Widths: one; prime; less, equal and more than a panel of any level; several panels.
NATIVE = [
    ((3, 5, 4, 2), "before"),
    ((3, 5, 4, 2), "after"),
    ((5, 33, 1, 9, 3), ["before", "after", "before"]),
    ((5, 32, 64, 9, 1), ["after", None, "after"]),
    ((2, 131, 97, 2), ["before", "after"]),
]
# Rows of the data and of a batch, and the options of a fit.
WAYS = [
    (37, 16, {}),
    (37, 16, {"l2": 0.1, "clip_norm": 0.05}),
    (BLOCK_ROWS + 7, BLOCK_ROWS + 7, {"l2": 0.1}),
    (BLOCK_ROWS + 300, BLOCK_ROWS, {"clip_norm": 0.05, "groups": Groups(norm_rate=3.0)}),
    (60, 20, {"groups": Groups(weight_rate=0, bias_rate=0, norm_decay=1.0), "l2": 1.0}),
]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize(("sizes", "choice"), NATIVE, ids=str)
def test_training_is_that_of_the_reference_on_any_threads(sizes, choice, level, dtype):
    ways = itertools.cycle(WAYS)
    for at, name in enumerate([*ACTIVATIONS, "relu"]):
        n, batch_size, options = next(ways)
        network = cases.build(sizes, name, "huber", dtype, 0.2 * (at % 2), choice)
        parameters = cases.parameters(network, np.random.default_rng(at))
        data = cases.data(network, n, np.random.default_rng(at), weighted=at % 3 == 1)
        results = []
        for n_threads in (0, 1, 3):
            engine = native.Engine(network, level) if n_threads else numpy_engine.Engine(network)
            engine.set_parameters(*parameters)
            optimizer = cases.OPTIMIZERS[4 * (at % 2)]  # no root that turns roundings into steps
            results.append(train(engine, data, batch_size, optimizer, max(n_threads, 1), **options))
        cases.agree(dtype, *results)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize(("sizes", "choice"), NATIVE, ids=str)
def test_gradients_and_predictions_of_the_native_engine(sizes, choice, level, dtype):
    for at, name in enumerate(ACTIVATIONS):
        rng = np.random.default_rng(at)
        network = cases.build(sizes, name, "huber", dtype, layer_norm=choice)
        pair = native.Engine(network, level), numpy_engine.Engine(network)
        parameters = cases.parameters(network, rng)
        for engine in pair:
            engine.set_parameters(*parameters)
        for n in (1, 7, BLOCK_ROWS + 1):
            data = cases.data(network, n, rng, weighted=n > 1)
            (found, *gradients), (wanted, *expected) = (e.gradients(data, 0.1) for e in pair)
            assert_close(found, wanted, "loss", dtype)
            for a, b in zip(flat(gradients), flat(expected), strict=True):
                assert_close(
                    a, b, "gradient", dtype, scale=max(1.0, float(np.abs(b).max(initial=0)))
                )
        predict = Predictor(network, level, *parameters)
        whole = pair[0].predict(data.x)
        scale = float(np.abs(whole).max())
        assert_close(whole, pair[1].predict(data.x), "gradient", dtype, scale)
        np.testing.assert_array_equal(np.stack([predict(row) for row in data.x[:70]]), whole[:70])
        np.testing.assert_array_equal(predict(data.x), whole)
        derivatives = pair[1].jacobian(data.x[:70])
        scale = float(np.abs(derivatives).max())
        assert_close(predict.jacobian(data.x[:70]), derivatives, "gradient", dtype, scale)


def test_the_number_of_the_header_is_that_of_python():
    header = (house.NATIVE / "c/panels/norm.h").read_text()
    assert float(re.search(r"#define NORM_EPSILON (\S+)", header)[1]) == EPSILON


def test_it_learns(mlp):
    for choice in POSITIONS:
        net = mlp([3, 16, 16, 2], layer_norm=choice, rng=0)
        history = net.fit(X, Y, epochs=60, optimizer=fastmlp.Adam(learning_rate=1e-2))
        assert history.loss[-1] < 0.1 * history.loss[0]
