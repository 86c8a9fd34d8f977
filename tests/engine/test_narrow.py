"""Predictors with weights of 16 or 8 bits: bits, rounding, calibration, files, errors."""

import pickle

import cases
import numpy as np
import pytest
from test_predictor import LEVELS, WIDE, N, assert_same_bits, check_rows, rows_of
from tolerances import assert_close

import fastmlp
from fastmlp import reference
from fastmlp._core.weight_types import from_bfloat16, in_units, to_bfloat16
from fastmlp._engine import narrow, thread_count
from fastmlp._engine.native import Predictor

every_type = pytest.mark.parametrize("weights", narrow.TYPES)
every_level = pytest.mark.parametrize("level", LEVELS)
FUSED = [level for level in LEVELS if level != "baseline"]
OPTIONS = {"plain": {}, "all": {"layer_norm": "before", "scale": True, "linear_path": True}}


def rounded(spec, weights):
    parameters = cases.parameters(spec, np.random.default_rng(sum(spec.layer_sizes)))
    return narrow.parameters(spec, parameters, weights)


@every_type
@every_level
@pytest.mark.parametrize("sizes", [*cases.NETWORKS, *WIDE], ids=lambda s: "-".join(map(str, s)))
def test_bits_are_those_of_the_rounded_network(sizes, level, weights):
    spec = cases.build(sizes, cases.mixed_activations(len(sizes) - 2), dtype="float32")
    parameters = rounded(spec, weights)
    p = Predictor(spec, level, *parameters, weight_type=weights)
    check_rows(p)
    x = rows_of(N, p)
    alone = np.array([p(row) for row in x])
    assert_same_bits(alone, Predictor(spec, level, *parameters)(x))
    for other in FUSED if level in FUSED else []:
        same = Predictor(spec, other, *parameters, weight_type=weights)
        assert_same_bits(np.array([same(row) for row in x]), alone)


@every_type
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_any_network_threads_and_derivatives(options, weights, monkeypatch):
    monkeypatch.setattr(thread_count, "CALL_SECONDS", 0.0)
    made = {"activation": "tanh", "rng": 0, **options}
    nets = [kind([9, 70, 1, 33, 3], **made) for kind in (fastmlp.MLP, reference.MLP)]
    alone, reference_p = (net.predictor(1, weights=weights) for net in nets)
    x = rows_of(200, alone)
    assert_same_bits(np.array([alone(row) for row in x]), alone(x))
    assert_same_bits(nets[0].predictor(2, weights=weights)(x), alone(x))
    assert_close(alone(x), reference_p(x), "gradient", "float32")
    assert_close(alone.jacobian(x[:5]), reference_p.jacobian(x[:5]), "gradient", "float32")
    assert_same_bits(nets[0].predictor(weights="float32")(x), nets[0].predictor()(x))
    for own, other in zip(alone.parameters(), reference_p.parameters(), strict=True):
        for array, twin in zip(own, other, strict=True):
            assert_same_bits(array, twin)


def test_bfloat16_is_the_nearest_and_even_between():
    tiny, most = 2.0**-8, np.float32(3.3895314e38)
    for value, wanted in (
        (1 + tiny, 1),
        (1 + 3 * tiny, 1 + 4 * tiny),
        (1 + 1.01 * tiny, 1 + 2 * tiny),
        (-1 - 0.99 * tiny, -1),
        (np.finfo(np.float32).max, most),  # not infinite
        (-np.finfo(np.float32).max, -most),
        (0.0, 0.0),
        (1e-45, 0.0),
    ):
        assert from_bfloat16(to_bfloat16(np.array([value]))) == np.float32(wanted)
    x = np.random.default_rng(0).normal(size=10000).astype(np.float32)
    near = from_bfloat16(to_bfloat16(x))
    np.testing.assert_array_equal(from_bfloat16(to_bfloat16(near)), near)
    assert np.abs(near / x - 1).max() <= 2.0**-8


def test_int8_has_a_unit_for_each_output():
    w = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    w *= 10.0 ** np.linspace(-20, 20, 40, dtype=np.float32)
    w[:, 3], w[:, 4] = 0, 1e-38
    numbers, unit = in_units(w)
    assert (np.abs(numbers).max(axis=0) == np.where(np.isin(np.arange(40), (3, 4)), 0, 127)).all()
    assert (np.abs(w - numbers * unit) <= 0.501 * unit).all()
    again, same = in_units(numbers * unit)
    assert_same_bits(again * same, numbers * unit)
    assert_same_bits(again, numbers)


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("magnitude", [1e-20, 1e30, 1.2e36, 1.4e36, 1e37, 3.4e38])
@pytest.mark.parametrize("tensor", ["weights", "linear_weights"])
@pytest.mark.parametrize("kind", [fastmlp.MLP, reference.MLP])
def test_large_weights_are_right_or_refused(kind, tensor, magnitude, calibrated):
    net = kind([8, 4, 3], linear_path=True, rng=0)
    net.weights, net.linear_weights = [np.ones((8, 4)), np.ones((4, 3))], [np.ones((8, 3))]
    getattr(net, tensor)[-1] = np.full(getattr(net, tensor)[-1].shape, magnitude)
    rows = np.random.default_rng(0).uniform(0.5e-3, 1e-3, (20, 8)).astype(np.float32)
    X, exact = rows if calibrated else None, net.predictor()(rows[0])
    relative = 1 / 127  # the rounding of int8; that of bfloat16 is smaller
    small = net.predictor(weights="bfloat16", X=X)
    np.testing.assert_allclose(small(rows[0]), exact, rtol=relative)
    if magnitude > 1.3e36:
        with pytest.raises(ValueError, match=r"weight of the model is .*below 1.31e\+36.*bfloat16"):
            net.predictor(weights="int8", X=X)
    else:
        small = net.predictor(weights="int8", X=X)
        np.testing.assert_allclose(small(rows[0]), exact, rtol=relative)


@every_type
def test_rows_calibrate_the_rounding(weights):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 12)) + 3).astype(np.float32)
    net = fastmlp.MLP([12, 40, 5], linear_path=True, rng=0)
    first = np.array(net.weights[0])
    first[0] *= 5  # so large that the other weights of its column lose bits
    net.weights[0] = first
    exact, plain, calibrated = (
        net.predict(x),
        *(net.predictor(weights=weights, X=given)(x) for given in (None, x)),
    )
    errors = [np.square(each - exact).mean() for each in (plain, calibrated)]
    assert 0 < errors[1] < 0.5 * errors[0]
    assert np.abs((calibrated - exact).mean(axis=0)).max() < 0.2 * np.sqrt(errors[0])


def estimator():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    return fastmlp.MLPRegressor(tol=1e9, n_iter_no_change=1, random_state=0).fit(x, x[:, 0])


MODELS = {
    "MLP": lambda: fastmlp.MLP([4, 9, 3], rng=0),
    "reference": lambda: reference.MLP([4, 9, 3], rng=0),
    "ensemble": lambda: fastmlp.Ensemble(fastmlp.MLP([4, 9, 3], rng=k) for k in range(2)),
    "estimator": estimator,
}


@every_type
@pytest.mark.parametrize("name", MODELS)
def test_pickles_keep_the_type(name, weights):
    x = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    model = MODELS[name]()
    p = model.predictor(weights=weights, X=x)
    again = pickle.loads(pickle.dumps(p))
    assert {one.weight_type for one in getattr(again, "members", [again])} == {weights}
    assert_same_bits(*(np.array([one(row) for row in x]) for one in (again, p)))
    assert np.abs(p(x) - model.predictor()(x)).max() > 0


@pytest.mark.parametrize(
    ("options", "given", "error", "words"),
    [
        ({}, {"weights": "int4"}, ValueError, "int4.*bfloat16, int8 or float32"),
        ({}, {"weights": 8}, TypeError, "must be a name"),
        *(
            ({"dtype": "float64"}, {"weights": name}, ValueError, "need a model of dtype='float32'")
            for name in ("int8", "int4")
        ),
        ({}, {"X": np.ones((3, 4))}, ValueError, "X is given without narrower.*leave X out"),
        (*({}, {"X": np.ones((3, 4)), "weights": "float32"}), *(ValueError, "X is given without")),
        ({}, {"weights": "int8", "X": np.ones((3, 5))}, ValueError, "5 features"),
        ({}, {"weights": "int8", "X": np.ones((0, 4))}, ValueError, "0 rows"),
        ({}, {"weights": "int8", "X": np.full((3, 4), np.nan)}, ValueError, "nan"),
        ({}, {"weights": "int8", "X": np.full((3, 4), 3e38)}, ValueError, "typical rows"),
    ],
)
def test_bad_arguments(options, given, error, words):
    for kind in (fastmlp.MLP, reference.MLP):
        with pytest.raises(error, match=words):
            kind([4, 9, 3], rng=0, **options).predictor(**given)
