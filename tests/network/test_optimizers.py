"""Optimizers, schedules and initialisers: formulas written again, by hand, in scalars."""

import math
import pickle

import cases
import numpy as np
import pytest
from tolerances import assert_close

from fastmlp._network import initializers, optimizers, scheduled, schedules
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.initializers import INITIALIZERS
from fastmlp._validation import check

EACH_OPTIMIZER = pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)


# --- the published algorithms, one scalar parameter, as torch.optim documents them ---------------


def sgd(o, p, g, state, rate, t, decay):
    return p - rate * g


def momentum(o, p, g, state, rate, t, decay):
    state["b"] = g if t == 1 else o.momentum * state["b"] + g
    return p - rate * state["b"]


def nesterov(o, p, g, state, rate, t, decay):
    state["b"] = g if t == 1 else o.momentum * state["b"] + g
    return p - rate * (g + o.momentum * state["b"])


def rmsprop(o, p, g, state, rate, t, decay):
    state["v"] = o.alpha * state.get("v", 0.0) + (1 - o.alpha) * g**2
    return p - rate * g / (math.sqrt(state["v"]) + o.epsilon)


def adam(o, p, g, state, rate, t, decay):
    state["m"] = o.beta_1 * state.get("m", 0.0) + (1 - o.beta_1) * g
    state["v"] = o.beta_2 * state.get("v", 0.0) + (1 - o.beta_2) * g**2
    m_hat = state["m"] / (1 - o.beta_1**t)
    v_hat = state["v"] / (1 - o.beta_2**t)
    return p - rate * m_hat / (math.sqrt(v_hat) + o.epsilon)


def decayed(step):
    """Return a step before which the parameter decays, as Loshchilov and Hutter 2019 have it."""

    def of_weights(o, p, g, state, rate, t, decay):
        return step(o, p - rate * o.weight_decay * p * decay, g, state, rate, t, decay)

    return of_weights


# --- the other forms, as scikit-learn computes them ----------------------------------------------


def momentum_with_rate(o, p, g, state, rate, t, decay):
    state["v"] = o.momentum * state.get("v", 0.0) - rate * g
    return p + state["v"]


def nesterov_with_rate(o, p, g, state, rate, t, decay):
    state["v"] = o.momentum * state.get("v", 0.0) - rate * g
    return p + o.momentum * state["v"] - rate * g


def adam_hat(o, p, g, state, rate, t, decay):
    state["m"] = o.beta_1 * state.get("m", 0.0) + (1 - o.beta_1) * g
    state["v"] = o.beta_2 * state.get("v", 0.0) + (1 - o.beta_2) * g**2
    rate *= math.sqrt(1 - o.beta_2**t) / (1 - o.beta_1**t)
    return p - rate * state["m"] / (math.sqrt(state["v"]) + o.epsilon)


# --- Chen et al. 2023, algorithm 2 ---------------------------------------------------------------


def lion(o, p, g, state, rate, t, decay):
    m = state.get("m", 0.0)
    state["m"] = o.beta_2 * m + (1 - o.beta_2) * g
    direction = math.copysign(1, o.beta_1 * m + (1 - o.beta_1) * g)
    return p - rate * (direction + (o.weight_decay * p if decay else 0))


FORMULAS = {
    "lion": lion,
    "momentum_with_rate": momentum_with_rate,
    "nesterov_with_rate": nesterov_with_rate,
    "adam_hat": adam_hat,
    "adamw_hat": decayed(adam_hat),
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": decayed(adam),
}


@EACH_OPTIMIZER
@pytest.mark.parametrize("decay", [True, False])
def test_steps_are_the_published_algorithm(optimizer, decay):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(12, 5)) * 10.0 ** rng.integers(-6, 3, (12, 5))
    rates = rng.uniform(0.001, 0.1, 12)
    parameter = rng.normal(size=5)
    expected = parameter.copy()
    slots = [np.zeros(5) for _ in range(optimizer.n_slots)]
    states = [{} for _ in range(5)]
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        optimizer.step(parameter, gradient, slots, rate, t, decay)
        for k, state in enumerate(states):
            expected[k] = FORMULAS[optimizer.native_row](
                optimizer, expected[k], gradient[k], state, rate, t, decay
            )
        assert_close(parameter, expected, "loss", "float64")


@EACH_OPTIMIZER
def test_step_is_in_place_and_keeps_float32(optimizer):
    parameter, gradient = np.ones((2, 3, 4), np.float32)
    slots = [np.zeros_like(parameter) for _ in range(optimizer.n_slots)]
    optimizer.step(parameter, gradient, slots, np.float64(0.01), 1, True)  # must not promote it
    assert {each.dtype for each in (parameter, *slots)} == {np.dtype("float32")}
    assert not np.any(parameter == 1)
    assert np.all(gradient == 1)


@EACH_OPTIMIZER
def test_rows_and_values(optimizer):
    assert optimizer.native_row in optimizers.NATIVE_OPTIMIZERS
    assert len(optimizer.hyper) == optimizers.N_HYPER
    assert all(type(number) is float for number in optimizer.hyper)
    assert pickle.loads(pickle.dumps(optimizer)) == optimizer
    assert check.optimizer(optimizer) is optimizer


def test_every_native_row_has_a_case():
    assert {o.native_row for o in cases.OPTIMIZERS} == set(optimizers.NATIVE_OPTIMIZERS)
    assert check.optimizer(None) == optimizers.Adam()


def test_hyper_order():
    assert optimizers.SGD(momentum=0.5).hyper == (0.5, 0, 0, 0)
    assert optimizers.SGD().hyper == (0, 0, 0, 0)
    assert optimizers.SGD(rate_in_velocity=True).native_row == "sgd"
    assert optimizers.RMSprop(alpha=0.5, epsilon=0.1).hyper == (0.5, 0.1, 0, 0)
    assert optimizers.AdamW(1, 0.1, 0.2, 0.3, 0.4).hyper == (0.1, 0.2, 0.3, 0.4)


# --- schedules -----------------------------------------------------------------------------------

SCHEDULES = (
    schedules.Constant(0.3),
    schedules.Step(0.3, every=4, factor=0.5),
    schedules.Cosine(0.3, n_steps=10, final=0.01),
    schedules.OneCycle(0.3, n_steps=12),
    schedules.InverseScaling(0.3, power=0.7),
    schedules.WarmUp(schedules.Cosine(0.3, n_steps=10), n_steps=5),
    schedules.WarmUp(lambda step: 0.3 / (step + 1), n_steps=5),
)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_schedule_of_an_array_is_that_of_its_steps(schedule):
    rates = scheduled.learning_rates(schedule, first_step=3, n=15)
    assert rates.dtype == np.float64
    assert rates.shape == (15,)
    assert_close(rates, [float(schedule(step)) for step in range(3, 18)], "elementwise", "float64")
    assert np.all(rates >= 0)
    assert scheduled.learning_rates(schedule, 0, 0).shape == (0,)


def test_every_built_in_schedule_has_a_case():
    built_in = {getattr(schedules, name) for name in schedules.__all__} - {schedules.Schedule}
    assert built_in == {type(s) for s in SCHEDULES}


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (0.2, [0.2, 0.2, 0.2]),
        (schedules.Constant(0.2), [0.2, 0.2, 0.2]),
        (schedules.Step(1.0, every=1, factor=0.5), [1, 0.5, 0.25]),
        (schedules.Cosine(2.0, n_steps=2), [2, 1, 0]),
        (schedules.Cosine(2.0, n_steps=1, final=1.0), [2, 1, 1]),
        (schedules.OneCycle(1.0, 4, 0.5, 2.0, 10.0), [0.5, 0.75, 1, 0.55, 0.1, 0.1]),
        (schedules.InverseScaling(1.0, power=1.0), [1, 1 / 2, 1 / 3]),
        (schedules.WarmUp(1.0, n_steps=2), [0.5, 1, 1]),
        (lambda step: 10.0 - step, [10, 9, 8]),
    ],
)
def test_schedules_by_hand(schedule, rates):
    got = scheduled.learning_rates(schedule, 0, len(rates))
    assert_close(got, rates, "elementwise", "float64")


@pytest.mark.parametrize(
    ("schedule", "error", "words"),
    [
        (lambda step: -1.0 if step == 4 else 1.0, ValueError, "step 4"),
        (lambda step: math.nan, ValueError, "finite"),
        (lambda step: math.inf, ValueError, "finite"),
        (lambda step: "fast", TypeError, "number"),
        (lambda step: None, TypeError, "number"),
    ],
)
def test_bad_schedules_are_reported(schedule, error, words):
    with pytest.raises(error, match=words):
        scheduled.learning_rates(schedule, 2, 5)


def test_a_plain_callable_is_called_once_a_step_with_an_int():
    seen = []

    def schedule(step):
        seen.append(step)
        return 0.1

    scheduled.learning_rates(schedule, 7, 3)
    assert seen == [7, 8, 9]
    assert all(type(step) is int for step in seen)


# --- initialisers --------------------------------------------------------------------------------

FAN_IN, FAN_OUT = 300, 200
VARIANCES = {
    "glorot_uniform": 2 / (FAN_IN + FAN_OUT),
    "glorot_normal": 2 / (FAN_IN + FAN_OUT),
    "he_uniform": 2 / FAN_IN,
    "he_normal": 2 / FAN_IN,
    "lecun_normal": 1 / FAN_IN,
    "zeros": 0.0,
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializer_mean_variance_and_range(name):
    w = INITIALIZERS[name](np.random.default_rng(0), FAN_IN, FAN_OUT)
    assert w.shape == (FAN_IN, FAN_OUT)
    assert w.dtype == np.float64
    # 5 standard errors of mean and variance with 60,000 draws (a normal's kurtosis is the larger).
    sd = math.sqrt(VARIANCES[name])
    assert abs(w.mean()) <= 5 * sd / math.sqrt(w.size)
    assert abs(w.var() - sd**2) <= 5 * sd**2 * math.sqrt(2 / w.size)
    if name.endswith("uniform"):
        assert 0.99 * math.sqrt(3) * sd < np.max(np.abs(w)) <= math.sqrt(3) * sd


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_default_fits_the_activation(activation):
    names = initializers.names(cases.build([4, 5, 3], activation), None)
    assert names == [ACTIVATIONS[activation].initializer, "glorot_uniform"]


def test_names_for_layers():
    network = cases.build([4, 5, 6, 3], ["relu", "tanh"])
    assert initializers.names(network, "he_uniform") == ["he_uniform"] * 3
    assert initializers.names(network, "zeros") == ["he_normal", "glorot_uniform", "zeros"]
    assert initializers.names(network, ["lecun_normal", None, "zeros"]) == [
        "lecun_normal",
        "glorot_uniform",
        "zeros",
    ]


@pytest.mark.parametrize("initializer", [None, *INITIALIZERS])
def test_draw(initializer):
    drawn = {}
    for dtype in cases.DTYPES:
        network = cases.build([4, 5, 3], loss="gaussian_nll", dtype=dtype)
        weights, biases = initializers.draw(
            network, np.random.default_rng(3), initializers.names(network, initializer)
        )
        assert [w.shape for w in weights] == network.shapes == [(4, 5), (5, 6)]
        assert all(p.dtype == np.dtype(dtype) for p in [*weights, *biases])
        assert [b.shape for b in biases] == [(5,), (6,)]
        assert not any(b.any() for b in biases)
        assert weights[0].any()
        drawn[dtype] = weights
    for narrow, wide in zip(drawn["float32"], drawn["float64"], strict=True):
        assert np.array_equal(narrow, wide.astype(np.float32))


@pytest.mark.parametrize(
    ("initializer", "error", "words"),
    [
        ("xavier", ValueError, "glorot_uniform, glorot_normal"),
        (["zeros"], ValueError, "2 affine layers"),
        (["zeros", "xavier"], ValueError, "xavier"),
        (["zeros", 3], TypeError, "3"),
        (7, TypeError, "7"),
    ],
)
def test_bad_initializers_are_refused(initializer, error, words):
    with pytest.raises(error, match=words):
        initializers.names(cases.build([2, 3, 2]), initializer)
