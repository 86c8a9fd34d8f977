"""What a network may have besides affine layers: gradients, training, copies and files."""

import itertools
import re
import zlib
from pathlib import Path

import cases
import numpy as np
import pytest
from models import X, Y
from test_blocks import compare_training
from test_numpy_engine import engine_of, numeric_gradients
from tolerances import TOLERANCES, assert_all_close, assert_close

import fastmlp
from fastmlp import Groups
from fastmlp._engine import native, native_engine
from fastmlp._engine.native import Predictor
from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.numpy.numpy_engine import flat
from fastmlp._engine.numpy.random import dropout_masks
from fastmlp._models.network import network_of
from fastmlp._network.activations import ACTIVATIONS, blended
from fastmlp._network.layer_norm import EPSILON, POSITIONS, layer_norm
from fastmlp._network.spec import BLOCK_ROWS

ROOT = Path(__file__).resolve().parents[2]

# What a network of two hidden layers may have besides a normalisation; a kind of operator is a row.
OPTIONS = {
    "plain": {},
    "scale": {"scale": True},
    "parametric": {"parametric": True},
    "one parametric, scale": {"parametric": [False, True], "scale": True},
    "block": {"skip": 1},
    "linear path": {"linear_path": True},
    "everything": {"parametric": True, "scale": True, "skip": 1, "linear_path": True},
}
NORMS = (None, *POSITIONS, ["before", None], [None, "after"], ["after", "before"])
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
every_norm = pytest.mark.parametrize("norm", NORMS, ids=str)


def widths(options, first, second):
    """Return two, equal where blocks are wanted."""
    return (second if "skip" in options else first, second)


def in_pairs():
    """Yield activations, options and norms, so that each meets each of another kind once."""
    for i, activation in enumerate(ACTIVATIONS):
        for j, name in enumerate(OPTIONS):
            k = (i * len(OPTIONS) + j) % len(NORMS)
            marks = [pytest.mark.slow] * (j != i % len(OPTIONS))
            ids = f"{activation}-{name}-{NORMS[k]}"
            yield pytest.param(activation, OPTIONS[name], NORMS[k], marks=marks, id=ids)


def test_all_pairs_of_kinds_meet():
    rows, sizes = [case.values for case in in_pairs()], (len(ACTIVATIONS), len(OPTIONS), len(NORMS))
    for one, other in itertools.combinations(range(3), 2):
        met = {(str(row[one]), str(row[other])) for row in rows}
        assert len(met) == sizes[one] * sizes[other]


@pytest.mark.parametrize(("activation", "options", "norm"), [*in_pairs()])
def test_gradients_by_central_differences(activation, options, norm):
    sizes = (3, *widths(options, 5, 4), 2)
    check_gradients(cases.build(sizes, activation, layer_norm=norm, dropout=[0.4, 0.3], **options))


def check_gradients(network, jacobians=False):
    """Compare those of the reference with central differences, with dropout and without."""
    rng = np.random.default_rng(3)
    engine = engine_of(network, rng)
    data = cases.data(network, 6, rng, weighted=True, jacobians=jacobians)
    masks = dropout_masks(network, seed=1, step=0, n_rows=6)
    for mask in (None, masks):

        def objective(mask=mask):
            return numpy_engine.objective(network, engine.parameters(), data, 0.3, mask)

        _, *gradients = objective()
        numeric = numeric_gradients(engine, lambda of=objective: of()[0])
        for got, d in zip(flat(gradients), numeric, strict=True):
            # Normalised rows of four units have third derivatives of some ten thousands; those of
            # a loss of derivatives are one degree higher.
            scale = 2**17 if jacobians else 2048
            assert_close(got, d, "central_difference", "float64", scale=scale)
    _, *gradients = engine.gradients(data, 0.3)
    assert [[g.shape for g in kind] for kind in gradients] == list(network.tensors.values())


def make(mlp, **options):
    options = {"activation": "tanh", "dtype": "float64", "rng": 0} | options
    return mlp([3, *widths(options, 8, 5), 2], **options)


def everything(net):
    return flat(network_of(net).engine.parameters())


def moved(net, before):
    return [not np.array_equal(p, q) for p, q in zip(everything(net), before, strict=True)]


# Kinds of tensors: the option, the attribute that shows it, the first value of all elements.
KINDS = {
    "gains": ({"layer_norm": "before"}, "layer_norm", 1),
    "shifts": ({"layer_norm": [None, "after"]}, "layer_norm", 0),
    "scales": ({"scale": True}, "scale", 1),
    "alphas": ({"parametric": [False, True]}, "parametric", 1),
    "linear_weights": ({"linear_path": True}, "linear_path", 0),
}


@every_norm
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_user_sees(mlp, kind, norm):
    options, name, first = KINDS[kind]
    net, plain = make(mlp, **{"layer_norm": norm} | options), make(mlp)
    assert len(getattr(plain, kind)) == 0
    assert len(plain.gradients(X, Y)) == 3
    assert len(plain.predictor().parameters()) == 2
    assert name not in repr(plain)
    shown = getattr(net, name)
    assert f"{name}={list(shown) if isinstance(shown, tuple) else shown}" in repr(net)
    tensors = list(getattr(net, kind))
    assert any(p.size for p in tensors)
    assert all((p == first).all() for p in tensors)
    before = net.predict(X)
    if "layer_norm" not in options and not norm:
        np.testing.assert_array_equal(before, plain.predict(X))
    setattr(net, kind, [p + np.linspace(0.5, 2, p.size).reshape(p.shape) for p in tensors])
    assert not np.allclose(net.predict(X), before)
    _, *gradients = net.gradients(X, Y)
    assert [g.shape for g in flat(gradients)] == [p.shape for p in everything(net)]
    wrong = [np.ones(p.size + 1) for p in tensors], [np.full(p.shape, np.nan) for p in tensors], []
    for bad in wrong:
        with pytest.raises(ValueError, match=kind):
            setattr(net, kind, bad)
    with pytest.raises(ValueError, match=f"{kind} has the length 1 but 0 is expected"):
        setattr(plain, kind, [np.ones(3)])
    frozen = net.predictor()
    np.testing.assert_array_equal(frozen(X), net.predict(X))
    np.testing.assert_array_equal(frozen.jacobian(X), net.jacobian(X))
    np.testing.assert_equal(flat(frozen.parameters()), everything(net))


def test_scales_are_factors_of_the_inputs(mlp):
    net, plain, factors = make(mlp, scale=True), make(mlp), np.array([2.0, -0.5, 0.0])
    net.scales = [factors]
    np.testing.assert_array_equal(net.predict(X), plain.predict(X * factors))
    np.testing.assert_allclose(net.jacobian(X), plain.jacobian(X * factors) * factors)


# Groups, and which of the tensors move, kind by kind: weights, biases, and those of the operator.
MOVED = [
    ("scale", Groups(scale_rate=0), "1111110"),
    ("scale", Groups(weight_rate=0, bias_rate=0), "0000001"),
    ("scale", Groups(layer_rates=[0, 1, 1]), "0110110"),
    ("scale", Groups(scale_rate=6, parametrization="ntk"), "1111111"),
    ("parametric", Groups(activation_rate=0), "11111100"),
    ("parametric", Groups(weight_rate=0, bias_rate=0), "00000011"),
    ("parametric", Groups(layer_rates=[0, 1, 1]), "01101101"),
    ("parametric", Groups(layer_rates=[1, 1, 0]), "11011011"),
    ("parametric", Groups(activation_rate=0.1, parametrization="ntk"), "11111111"),
    ("layer_norm", Groups(norm_rate=0), "1111110000"),
    ("layer_norm", Groups(weight_rate=0, bias_rate=0), "0000001111"),
    ("layer_norm", Groups(layer_rates=[0, 1, 0]), "0100100101"),
    ("linear path", Groups(weight_rate=0), "0001110"),
    ("linear path", Groups(layer_rates=[1, 1, 0]), "1101100"),
    ("linear path", Groups(layer_rates=[0, 0, 1]), "0010011"),
    ("block", Groups(layer_rates=[0, 1, 0]), "010010"),
    ("everything", Groups(parametrization="ntk"), "1111111111"),
]


@pytest.mark.parametrize(("name", "chosen", "expected"), MOVED, ids=str)
def test_groups(mlp, name, chosen, expected):
    for clip_norm in (None, 0.1):
        net = make(mlp, **OPTIONS.get(name, {name: "before"}))
        before = everything(net)
        net.fit(X, Y, epochs=1, groups=chosen, l2=0.1, clip_norm=clip_norm)
        assert "".join(str(int(each)) for each in moved(net, before)) == expected


# Kinds of tensors, the options of a network that has them, and the decay of their group.
DECAYS = [
    ("biases", {}, "bias_decay"),
    ("gains", {"layer_norm": "before"}, "norm_decay"),
    ("shifts", {"layer_norm": "after"}, "norm_decay"),
    ("alphas", {"parametric": True}, "activation_decay"),
    ("scales", {"scale": True}, "scale_decay"),
]


@pytest.mark.parametrize(("kind", "options", "name"), DECAYS)
def test_decay_is_that_of_the_group(mlp, kind, options, name):
    """A step takes rate times decay times the group's factor, 0 by default, of what was there."""
    found = []
    for chosen in (Groups(), Groups(**{name: 0.0}), Groups(**{name: 0.5})):
        net = make(mlp, **options)
        setattr(net, kind, [p + 1 for p in getattr(net, kind)])
        before, optimizer = list(getattr(net, kind)), fastmlp.AdamW(0.1, weight_decay=0.2)
        net.partial_fit(X, Y, batch_size=len(X), optimizer=optimizer, groups=chosen)
        found.append(list(getattr(net, kind)))
    for old, usual, without, decayed in zip(before, *found, strict=True):
        np.testing.assert_array_equal(usual, without)
        np.testing.assert_allclose(without - decayed, 0.1 * 0.2 * 0.5 * old, rtol=1e-9)


def test_snapshots_hold_all_tensors(mlp):
    net, kept = make(mlp, **OPTIONS["everything"], layer_norm="after"), []

    def callback(state):
        if state.epoch == 0:
            kept.append((state.snapshot(), everything(net)))
        if state.epoch == 2:
            state.restore(kept[0][0])

    net.fit(X, Y, epochs=3, callbacks=[callback])
    assert not any(moved(net, kept[0][1]))


@every_norm
@every_option
def test_the_penalty_is_of_weights_alone(mlp, options, norm):
    net = make(mlp, layer_norm=norm, **options)
    net.linear_weights = [np.ones(w.shape) for w in net.linear_weights]
    weights = len(net.weights), len(network_of(net).spec.tensors.get("linear_weights", []))
    value, *gradients = net.gradients(X, Y, l2=2.0)
    free, *without = net.gradients(X, Y)
    squares = sum(np.sum(w**2) for w in [*net.weights, *net.linear_weights])
    assert value == pytest.approx(free + squares)
    same = [not np.any(g != h) for g, h in zip(flat(gradients), flat(without), strict=True)]
    assert same.count(False) == sum(weights)


# ---- layer normalisation and parametric activations: their formulas -----------------------------


def test_the_formula_of_the_normalisation():
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


def test_rounding_errors_of_nearly_equal_outputs_grow_no_more_than_they_must(mlp):
    """By one over the deviation of a row, at most 1 / sqrt(EPSILON), as `fuzz_calls` allows."""
    options = {"activation": "sigmoid", "layer_norm": "after", "rng": 0}
    net, exact = mlp([1, 32, 32, 2], **options), mlp([1, 32, 32, 2], dtype="float64", **options)
    exact.load_state_dict(net.state_dict())
    x = np.linspace(-0.02, 0.02, 401, dtype=np.float32)[:, np.newaxis]
    errors = np.abs(net.predict(x) - exact.predict(x)).max() / np.finfo("f4").eps
    _, atol = TOLERANCES["gradient"]["float32"]
    assert atol < errors < atol * EPSILON**-0.5


def test_the_number_of_the_header_is_that_of_python():
    header = (ROOT / "src_cython/c/panels/norm.h").read_text()
    assert float(re.search(r"#define NORM_EPSILON (\S+)", header)[1]) == EPSILON


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_formula_of_a_parametric_activation(name):
    z = np.linspace(-3, 3, 33)[:, np.newaxis] * np.ones(5)
    alpha, f = np.array([1.0, 0.0, 0.25, -0.5, 2.0]), ACTIVATIONS[name].value(z)
    found = blended(name, alpha, z)
    np.testing.assert_array_equal(found[:, 0], f[:, 0])
    np.testing.assert_array_equal(found[:, 1], z[:, 1])
    np.testing.assert_allclose(found, z + alpha * (f - z), rtol=1e-12, atol=1e-15)
    if name == "relu":  # PReLU
        np.testing.assert_allclose(found[:, 2], np.where(z > 0, z, 0.75 * z)[:, 2])


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_at_first_a_parametric_activation_is_the_activation_to_the_bit(name, level, dtype):
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


# ---- the native engine against the reference --------------------------------------------------

# Widths: one; prime; less, equal and more than a panel of any level; no hidden layer.
BOTH = {"parametric": True, "scale": True}
NATIVE = [
    ((3, 5, 4, 2), None, OPTIONS["scale"]),
    ((1, 33, 9, 1), ["before", "after"], BOTH),
    ((32, 8, 3), None, BOTH),
    ((97, 1), None, OPTIONS["scale"]),
    ((1, 1), None, OPTIONS["scale"]),
    ((131, 97, 2), "after", OPTIONS["scale"]),
    ((3, 5, 4, 2), None, OPTIONS["parametric"]),
    ((2, 1, 64, 1), "before", OPTIONS["parametric"]),
    ((7, 97, 130, 3), [None, "after"], OPTIONS["one parametric, scale"]),
    ((3, 5, 5, 2), None, OPTIONS["block"]),
    ((1, 1, 1, 1, 1), None, {"skip": 2, "linear_path": True}),
    ((5, 33, 33, 33, 9, 9, 3), [None, "before", "after", None, None], OPTIONS["block"]),
    ((97, 32, 32, 40), None, {"skip": 1, "linear_path": True}),
    ((131, 97, 1), None, {"linear_path": True, "scale": True}),
    ((3, 5, 4, 2), "before", {}),
    ((3, 5, 4, 2), "after", {}),
    ((5, 33, 1, 9, 3), ["before", "after", "before"], {}),
    ((5, 32, 64, 9, 1), ["after", None, "after"], {}),
    ((2, 131, 97, 2), ["before", "after"], {}),
    ((2, 64, 64, 64, 64, 70), ["after", *[None] * 3], OPTIONS["everything"]),
]
SLOW = Groups(scale_rate=3.0, activation_rate=0.1, norm_rate=3.0)
DECAYED = Groups(weight_rate=0, bias_rate=0, scale_decay=1.0, norm_decay=1.0)
WAYS = [
    (37, 16, {}),
    (37, 16, {"l2": 0.1, "clip_norm": 0.05}),
    (BLOCK_ROWS + 7, BLOCK_ROWS + 7, {"l2": 0.1}),
    (BLOCK_ROWS + 300, BLOCK_ROWS, {"clip_norm": 0.05, "groups": SLOW}),
    (60, 20, {"groups": DECAYED, "l2": 1.0}),
    (40, 20, {"groups": Groups(activation_decay=1.0, parametrization="ntk"), "l2": 0.1}),
]


def half_of_the_activations(*row):
    """Return every second activation; the row decides which half."""
    return list(ACTIVATIONS)[zlib.crc32(repr(row).encode()) % 2 :: 2]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize(("sizes", "norm", "more"), NATIVE, ids=str)
def test_training_is_that_of_the_reference_on_any_threads(sizes, norm, more, level, dtype):
    kind = {"loss": "huber", "sizes": sizes, "layer_norm": norm, **more}
    names = half_of_the_activations(sizes, norm, more)
    for at, (name, way) in enumerate(zip(names, itertools.cycle(WAYS), strict=False)):
        optimizer = cases.OPTIMIZERS[4 * (at % 2)]
        compare_training(level, dtype, at, way, optimizer, activation=name, **kind)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize(("sizes", "norm", "more"), NATIVE, ids=str)
def test_gradients_and_predictions_of_the_native_engine(sizes, norm, more, level, dtype):
    for at, name in enumerate(half_of_the_activations(sizes, norm, more)):
        rng = np.random.default_rng(at)
        network = cases.build(sizes, name, "huber", dtype, layer_norm=norm, **more)
        pair = cases.engines(network, level, rng)
        for n in (1, 7, BLOCK_ROWS + 1):
            data = cases.data(network, n, rng, weighted=n > 1)
            (found, *gradients), (wanted, *expected) = (e.gradients(data, 0.1) for e in pair)
            assert_close(found, wanted, "loss", dtype)
            assert_all_close(flat(gradients), flat(expected), "gradient", dtype)
        predict = Predictor(network, level, *pair[1].parameters())
        whole = pair[0].predict(data.x)
        assert_close(whole, pair[1].predict(data.x), "gradient", dtype, float(np.abs(whole).max()))
        np.testing.assert_array_equal(np.stack([predict(row) for row in data.x[:70]]), whole[:70])
        np.testing.assert_array_equal(predict(data.x), whole)
        derivatives = pair[1].jacobian(data.x[:70])
        largest = float(np.abs(derivatives).max())
        assert_close(predict.jacobian(data.x[:70]), derivatives, "gradient", dtype, largest)
