"""What own functions may do wrong: said with the numbers, raised as it is, and nothing is lost."""

import copy
import ctypes
import gc
import signal

import numpy as np
import own
import pytest
from at_once import at_once
from models import X, Y, digest
from states import refused

import fastmlp
from fastmlp import CFunction, CustomActivation, CustomLoss
from fastmlp._network.functions import finite_differences


def network(mlp, activation=own.softsign, loss=own.square, **options):
    """Return a network of these functions, which are not looked at."""
    activation = CustomActivation(activation, check=False)
    options = {"dtype": "float64", "rng": 0} | options
    return mlp([3, 8, 2], activation=activation, loss=CustomLoss(loss, check=False), **options)


# ---- functions that are refused when a model is made ---------------------------------------------

ACTIVATIONS = {
    "slope": (lambda z: (z**2, 3 * z), ValueError, r"slope is -?\d.*central difference is -?\d"),
    "shifted slope": (lambda z: (z**2, 2 * z + 0.01), ValueError, "central difference"),
    "one": (lambda z: z**2, TypeError, "two arrays are expected: return value, slope"),
    "three": (lambda z: (z, z, z), TypeError, "returned 3 things but two"),
    "nothing": (lambda z: None, TypeError, "NoneType.*two arrays are expected"),
    "shape": (lambda z: (z[0], z), ValueError, r"value of shape \(7,\) but \(13, 7\)"),
    "slope's shape": (lambda z: (z, 1.0), ValueError, r"slope of shape \(\) but \(13, 7\)"),
    "complex": (lambda z: (z * 1j, z), TypeError, "value of complex.* but float"),
    "strings": (lambda z: (z.astype(str), z), TypeError, "value of <U"),
    "objects": (lambda z: (z.astype(object), z), TypeError, "value of object"),
    "ragged": (lambda z: ([[1.0], [1.0, 2.0]], z), ValueError, "that is no array .* of shape"),
    "masked": (lambda z: (np.ma.masked_array(z, z > 0), z), TypeError, "that is a masked array"),
    "nan": (lambda z: (np.log(z), 1 / z), ValueError, "returns nan as value at z=-"),
    "nan slope": (lambda z: (z, z * np.nan), ValueError, "returns nan as slope at z="),
    "mean": (lambda z: (z - z.mean(axis=0), z * 0 + 1), ValueError, "central difference"),
    "count": (lambda z: (z + len(z), z * 0 + 1), ValueError, "among others but .* row alone"),
}
LOSSES = {
    "gradient": (lambda z, t: (np.sum((z - t) ** 2, 1), z - t), ValueError, "its gradient is"),
    "last": (lambda z, t: (own.square(z, t)[0], (z - t) * [1, 2]), ValueError, "its gradient is"),
    "mean": (
        lambda z, t: (own.square(z, t)[0] / len(z), (z - t) / len(z)),
        ValueError,
        "among others but .* row alone",
    ),
    "all": (lambda z, t: ((z - t) ** 2, 2 * (z - t)), ValueError, "sum it over the last axis"),
    "sum": (lambda z, t: (np.sum(z - t), z * 0 + 1), ValueError, r"value of shape \(\) but \(7,\)"),
    "elements": (lambda z, t: ((z - t) ** 2, z - t), ValueError, r"shape \(7, 2\) but \(7,\)"),
    "infinite": (lambda z, t: (np.sum(z, 1) / 0, z - t), ValueError, "as value at z="),
}


WRONG = [(CustomActivation, *row) for row in ACTIVATIONS.values()]
WRONG += [(CustomLoss, *row) for row in LOSSES.values()]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kind", "function", "error", "message"), WRONG)
def test_functions_that_are_none(mlp, kind, function, error, message, dtype):
    option = "loss" if kind is CustomLoss else "activation"
    with pytest.raises(error, match=f"{kind.__name__} 'mine' .*{message}"):
        mlp([3, 8, 2], **{option: kind(function, name="mine")}, dtype=dtype)


def test_what_is_no_function():
    real = ctypes.CFUNCTYPE(None)(lambda: None)
    for kind in (CustomActivation, CustomLoss):
        with pytest.raises(TypeError, match="got 3 but a function is expected"):
            kind(3)
        with pytest.raises(TypeError, match=r"pass fastmlp\.CFunction\(float32=\.\.\.\)"):
            kind(real)
        with pytest.raises(TypeError, match="name is 7 but must be a string"):
            kind(own.softsign, name=7)
    with pytest.raises(
        ValueError, match="link is 'probit' but no link has .* choose from identity"
    ):
        CustomLoss(own.square, link="probit")
    with pytest.raises(TypeError, match=r"link is \['exp'\] but must be a name: choose from ident"):
        CustomLoss(own.square, link=["exp"])
    with pytest.raises(ValueError, match=r"parametric is True for CustomActivation\('softsign'\)"):
        fastmlp.MLP([3, 8, 2], activation=CustomActivation(own.softsign), parametric=True)
    with pytest.raises(ValueError, match="targets is 'label' but .* choose from real, count"):
        CustomLoss(own.square, targets="label")
    with pytest.raises(TypeError, match="no subclass, whose formula would never be called"):
        fastmlp.MLP([3, 2], loss=type("Mine", (CustomLoss,), {})(own.square))


def test_what_is_no_c_function(mlp):
    for wrong, error, message in (
        ({}, TypeError, "has no function: pass float32= or float64="),
        ({"float32": "f"}, TypeError, "float32 is 'f' but an address is expected"),
        ({"float32": True}, TypeError, "float32 is True but an address"),
        ({"float64": 0}, ValueError, "float64 is the address 0 but"),
        ({"float64": -1}, ValueError, "the address -1 but no memory"),
        ({"float64": 2**80}, ValueError, "no memory is there"),
        ({"float64": 8, "context": 1.5}, TypeError, "context is 1.5 but an address"),
    ):
        with pytest.raises(error, match=message):
            CFunction(**wrong)
    only = CustomActivation(CFunction(float64=ctypes.CFUNCTYPE(None)(lambda: None)))
    with pytest.raises(ValueError, match="dtype float32 but its CFunction is for float64"):
        mlp([3, 8, 2], activation=only)


@own.needs_cc
def test_a_c_function_that_writes_nothing_or_something_wrong(mlp):
    nothing = own.c_function("nothing")
    for options in ({"activation": CustomActivation(nothing)}, {"loss": CustomLoss(nothing)}):
        with pytest.raises(ValueError, match="returns nan as value at z="):
            mlp([3, 8, 2], **options)
    assert mlp([3, 8, 2], activation=CustomActivation(nothing, check=False))


ALLOWED = {
    "a corner": lambda z: (np.maximum(z, 0), z > 0),
    "a corner at each point": lambda z: (
        np.abs(z - finite_differences.points((13, 7), z.dtype)[: len(z)]),
        np.zeros_like(z),
    ),
    "two corners": lambda z: (np.clip(z, -1, 1), np.abs(z) < 1),
    "a steep slope": lambda z: (
        1 / (1 + np.exp(-50 * z)),
        50 / (np.exp(25 * z) + np.exp(-25 * z)) ** 2,
    ),
    "siren": lambda z: (np.sin(30 * z), 30 * np.cos(30 * z)),
    "a corner at one side": lambda z: (
        z * np.clip(z + 3, 0, 6) / 6,
        np.where(z < -3, 0, np.where(z > 3, 1, (2 * z + 3) / 6)),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ALLOWED)
def test_corners_and_steep_slopes_are_allowed(mlp, name, dtype):
    function = ALLOWED[name]
    assert mlp([3, 8, 2], activation=CustomActivation(function), dtype=dtype)
    if name == "a corner at each point":  # has any slope
        return
    slight = 1.001 if name == "a steep slope" else 1.00001
    factor = {"float32": 1.1, "float64": slight}[dtype]  # docs/functions.md
    wrong = CustomActivation(lambda z: (function(z)[0], factor * function(z)[1]))
    with pytest.raises(ValueError, match="says that its slope is"):
        mlp([3, 8, 2], activation=wrong, dtype=dtype)


def test_a_slope_that_is_meant_to_be_another_takes_a_word(mlp):
    def straight_through(z):
        return np.sign(z), np.ones_like(z)

    with pytest.raises(ValueError, match="check=False"):
        mlp([3, 8, 2], activation=CustomActivation(straight_through))
    net = mlp([3, 8, 2], activation=CustomActivation(straight_through, check=False), rng=0)
    losses = net.fit(X, Y, epochs=20).loss
    assert losses[-1] < losses[0]


def test_what_underflows_on_its_way_to_the_model_is_zero(mlp):
    """Whatever the caller's settings: the function's float64 is rounded to a model of float32."""

    def tiny(z):
        z = z.astype(np.float64)
        return np.full_like(z, 1e-60), np.zeros_like(z)

    with np.errstate(all="raise"):
        net = mlp([3, 8, 2], activation=CustomActivation(tiny), rng=0)
        net.fit(X, Y, epochs=1)
        assert np.ptp(net.predict(X), axis=0).max() == 0


# ---- functions that fail later -------------------------------------------------------------------


class PlantedError(Exception):
    """Nobody else's."""


class Failing:
    """A function that misbehaves from a call on."""

    def __init__(self, function, act, calls=10**9):
        self.function, self.act, self.left = function, act, calls

    def __call__(self, *arguments):
        self.left -= 1
        found = self.function(*arguments)
        return self.act(found) if self.left < 0 else found


def raises(found):
    raise PlantedError("from inside")


def stops(found):
    raise StopIteration("from inside")


def interrupts(found):
    signal.raise_signal(signal.SIGINT)
    return found


PLAIN = {"activation": own.softsign, "loss": own.square}
FAILURES = {
    "raises": (raises, PlantedError, "^from inside$"),
    "stops": (stops, StopIteration, "^from inside$"),
    "interrupts": (interrupts, KeyboardInterrupt, "^$"),
    "one": (lambda found: found[0], TypeError, "two arrays are expected"),
    "shape": (lambda found: (found[0][:-1], found[1]), ValueError, "of shape"),
    "dtype": (lambda found: (found[0] * 1j, found[1]), TypeError, "complex"),
    "nan value": (lambda found: (found[0] * np.nan, found[1]), fastmlp.DivergenceError, "became"),
    "nan": (lambda found: (found[0], found[1] * np.nan), fastmlp.DivergenceError, "became nan"),
}


@pytest.mark.usefixtures("default_sigint", "no_collections")
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("kind", ["activation", "loss"])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_raised_unchanged_at_the_last_epoch(mlp, name, kind, n_threads):
    act, error, message = FAILURES[name]
    failing = Failing(PLAIN[kind], act)
    net, twin = network(mlp, **{kind: failing}), network(mlp)
    given = {"batch_size": 30, "n_threads": n_threads, "shuffle": False}
    wanted = twin.fit(X, Y, epochs=2, **given)

    def start_counting(state):
        failing.left = 1 if state.epoch == 1 else failing.left

    with pytest.raises(error, match=message):
        net.fit(X, Y, epochs=5, callbacks=[start_counting], **given)
    failing.left = 10**9
    assert net.history.loss == wanted.loss
    assert digest(net) == digest(twin)
    for each in (net, twin):
        each.fit(X, Y, epochs=1, **given)
    assert digest(net) == digest(twin)


@pytest.mark.usefixtures("default_sigint", "no_collections")
@pytest.mark.parametrize("kind", ["activation", "loss"])
@pytest.mark.parametrize("name", [name for name in FAILURES if "nan" not in name])
def test_a_failure_in_other_calls(mlp, name, kind):
    act, error, message = FAILURES[name]
    failing = Failing(PLAIN[kind], act)
    net = network(mlp, **{kind: failing})
    frozen, x = net.predictor(), np.tile(X, (30, 1))
    y = np.tile(Y, (30, 1))
    wanted = net.predict(x), net.evaluate(x, y), net.jacobian(X)
    calls = [lambda: net.evaluate(x, y), lambda: net.gradients(x, y), lambda: net.partial_fit(x, y)]
    if kind == "activation":
        calls += [lambda: net.predict(x), lambda: net.predict(x[:1]), lambda: frozen(x)]
        calls += [lambda: frozen(x[0]), lambda: net.jacobian(X), lambda: frozen.jacobian(X[0])]
    for call in calls:
        failing.left = 0
        with refused(error, message, net):
            call()
        failing.left = 10**9
    np.testing.assert_array_equal(net.predict(x), wanted[0])
    assert net.evaluate(x, y) == wanted[1]
    np.testing.assert_array_equal(net.jacobian(X), wanted[2])


@pytest.mark.parametrize("where", ["main", "other"])
def test_a_failure_in_an_ensemble_and_in_any_thread(mlp, where):
    failing, caught = Failing(own.softsign, raises), []
    ensembles = [
        fastmlp.Ensemble([network(mlp, activation=failing, rng=k) for k in range(2)])
        for _ in range(2)
    ]
    ensemble, twin = ensembles

    def run():
        failing.left = 25
        for call in (
            lambda: ensemble.fit(X, Y, epochs=9, n_threads=2, shuffle=False),
            lambda: ensemble.predict(X),
        ):
            try:
                call()
            except PlantedError as error:
                caught.append(str(error))

    run() if where == "main" else at_once(run)
    assert caught == ["from inside"] * 2
    failing.left = 10**9
    n_epochs = len(ensemble.history.loss)
    assert 1 <= n_epochs < 9
    assert twin.fit(X, Y, epochs=n_epochs, shuffle=False).loss == ensemble.history.loss
    np.testing.assert_array_equal(ensemble.predict(X), twin.predict(X))


def test_arrays_are_the_functions_own(mlp):
    """It may write into them, return them and keep them; later calls do not change them."""
    kept = []

    def activation(z):
        slope = 1 - np.tanh(z) ** 2
        kept.append((z, z.copy()))
        np.tanh(z, out=z)
        kept[-1] = z, z.copy()
        return z, slope

    def loss(z, t):
        z -= t
        t[...] = 0
        kept.append((z, z.copy()))
        return 0.5 * np.sum(z * z, axis=1), z

    net, plain = network(mlp, activation, loss), mlp([3, 8, 2], activation="tanh", dtype="float64")
    plain.load_state_dict(net.state_dict())
    targets = Y.copy()
    for each in (net, plain):
        each.partial_fit(X, targets, batch_size=16)
    np.testing.assert_allclose(net.predict(X), plain.predict(X), rtol=1e-9)
    np.testing.assert_array_equal(targets, Y)
    assert len(kept) >= 12
    for array, then in kept:
        np.testing.assert_array_equal(array, then)
        assert array.flags.owndata
        array[...] = np.nan  # writing to it has no consequence
    np.testing.assert_allclose(net.predict(X), plain.predict(X), rtol=1e-9)


def test_functions_are_let_go(mlp):
    """A model and its engine keep a function alive, and nothing else does."""
    import weakref

    failing = Failing(own.softsign, raises)
    net = network(mlp, activation=failing)
    net.fit(X, Y, epochs=1)
    failing.left = 0
    with pytest.raises(PlantedError):
        net.predict(X)
    there = weakref.ref(failing)
    predictor = net.predictor()
    del failing, net
    gc.collect()
    assert there() is not None
    del predictor
    gc.collect()
    assert there() is None


def test_a_function_that_uses_the_model(mlp):
    """Predictions from inside are those of the last whole epoch; another fit is refused."""
    seen, tries = [], []

    def loss(z, t):
        if tries:
            seen.append(net.predict(X))
            tries.pop()()
        return own.square(z, t)

    net = network(mlp, loss=loss)
    before = net.predict(X)
    tries.append(lambda: None)
    net.fit(X, Y, epochs=1, batch_size=20)
    np.testing.assert_array_equal(seen[0], before)
    weights, other = copy.deepcopy(net), []
    tries.append(lambda: other.append(weights.predict(X)))
    net.fit(X, Y, epochs=1)
    assert len(other) == 1
