"""Optimizers of one's own: twins of the tables', their state, and what goes wrong."""

import copy
import functools
import pickle
import signal

import numpy as np
import own
import pytest
from models import Watch, X, Y, digest, network
from states import refused
from test_own_failures import PlantedError

import fastmlp
from fastmlp import CustomOptimizer

RATE = 0.05


def adam(parameters, gradients, state, learning_rate):
    """Return new parameters; the other way."""
    t = state["t"] = state.get("t", 0) + 1
    moved = {}
    for name, g in gradients.items():
        m, v = state.get(name, (0, 0))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        state[name] = m, v
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        moved[name] = parameters[name] - learning_rate * step
    return moved


TWINS = {
    "momentum": (own.momentum, fastmlp.SGD(RATE, momentum=0.9)),
    "adam": (adam, fastmlp.Adam(RATE)),
}
NETWORKS = (
    {},
    {"dropout": 0.3},
    {"layer_norm": "before", "scale": True, "loss": "huber"},
    {"activation": fastmlp.CustomActivation(own.softsign), "loss": "gaussian_nll"},
    {
        "layer_sizes": [3, 8, 5, 2],
        "activation": ["tanh", fastmlp.CustomActivation(own.softsign)],
        "parametric": [True, False],
    },
)
WAYS = (
    {"batch_size": 20},
    {"batch_size": 200, "l2": 0.1, "clip_norm": 0.1},
    {"batch_size": 16, "dropout": lambda step: 0.1 + 0.01 * step, "shuffle": False},
    {"batch_size": 7, "sample_weight": np.arange(90) % 3 * 1.0, "n_threads": 2},
    {"batch_size": 40, "averaging": fastmlp.EMA(decay=0.5), "l1": 0.01, "l2": 0.02},
    {"batch_size": 20, "validation_data": (X, Y), "shuffle": False},
)


def close(net, twin):
    scale = {"rtol": 1e-3, "atol": 1e-4} if net.dtype == np.float32 else {"rtol": 1e-8}
    for name, array in net.state_dict().items():
        np.testing.assert_allclose(array, twin.state_dict()[name], err_msg=name, **scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("name", TWINS)
def test_a_twin_trains_alike(mlp, name, options, dtype):
    function, optimizer = TWINS[name]
    for at, way in enumerate(WAYS):
        found = []
        for each in (CustomOptimizer(function, RATE), optimizer):
            stop, look = fastmlp.EarlyStopping("loss", patience=1), Watch()
            callbacks = [[], [look], [look, stop]][at % 3]
            data = (fastmlp.Blocks(X, Y, rows=30),) if "validation_data" in way else (X, Y)
            net = network(mlp, dtype=dtype, **options)
            history = net.fit(*data, epochs=3, optimizer=each, callbacks=callbacks, **way)
            found.append((net, history, look))
        (net, history, look), (twin, expected, other) = found
        np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-4)
        np.testing.assert_allclose(history.val_loss, expected.val_loss, rtol=1e-4)
        seen = [[batch.loss for batch in each.batches] for each in (look, other)]
        np.testing.assert_allclose(*seen, rtol=1e-4)
        close(net, twin)


def test_both_engines_give_names_and_arrays_that_are_nobody_elses():
    kept = []

    def keep(parameters, gradients, state, learning_rate):
        kept.append((parameters, gradients, learning_rate))
        state["steps"] = state.get("steps", 0) + 1

    for mlp in (fastmlp.MLP, fastmlp.reference.MLP):
        net = mlp([3, 8, 5, 2], layer_norm=["after", None], scale=True, dtype="float64", rng=0)
        before = net.state_dict()
        schedule = fastmlp.Step(0.1, every=2, factor=0.5)
        net.fit(X, Y, epochs=1, batch_size=30, optimizer=CustomOptimizer(keep, schedule))
        assert [rate for *_, rate in kept] == [schedule(step) for step in range(3)]
        for parameters, gradients, _ in kept:
            assert list(parameters) == list(gradients)
            assert sorted(parameters) == sorted(before)
            for name, array in before.items():
                np.testing.assert_array_equal(parameters[name], array)
                assert gradients[name].shape == array.shape
                assert np.any(gradients[name])
                parameters[name][...] = gradients[name][...] = np.nan  # too late
        np.testing.assert_equal(dict(net.state_dict()), dict(before))
        assert net._progress.memory == {"steps": 3}
        kept.clear()


class Momentum:
    """Knows nothing of equality."""

    def __init__(self, beta=0.9, **others):
        self.beta, self.others = beta, others

    def __call__(self, parameters, gradients, state, learning_rate):
        for name, p in parameters.items():
            state[name] = self.beta * state.get(name, 0) + gradients[name]
            p -= learning_rate * state[name]


def with_momentum(beta, *given):
    Momentum(beta)(*given)


# Made with another factor, each of them is another.
MADE = {
    "function": lambda beta=0.9: own.momentum if beta == 0.9 else adam,
    "object": Momentum,
    "method": lambda beta=0.9: Momentum(beta).__call__,
    "partial": lambda beta=0.9: functools.partial(with_momentum, beta),
}


@pytest.mark.parametrize("name", MADE)
def test_it_goes_on_with_what_is_alike(mlp, name):
    make = MADE[name]
    whole, net = network(mlp), network(mlp)
    whole.fit(X, Y, epochs=5, optimizer=CustomOptimizer(make(), RATE))
    net.fit(X, Y, epochs=2, optimizer=CustomOptimizer(make(), RATE))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net):
        with pytest.raises(ValueError, match=r"optimizer is CustomOptimizer\(.*but was CustomOpt"):
            twin.fit(X, Y, epochs=5, optimizer=CustomOptimizer(make(0.8), RATE), resume=True)
        twin.fit(X, Y, epochs=5, optimizer=CustomOptimizer(make(), RATE), resume=True)
        assert digest(twin) == digest(whole)
    one, many, built_in = (network(mlp) for _ in range(3))
    for _ in range(3):
        one.partial_fit(X, Y, batch_size=30, optimizer=CustomOptimizer(own.momentum, RATE))
        many = pickle.loads(pickle.dumps(many))
        many.partial_fit(X, Y, batch_size=30, optimizer=CustomOptimizer(make(), RATE))
        built_in.partial_fit(X, Y, batch_size=30, optimizer=TWINS["momentum"][1])
    assert digest(one) == digest(many)
    close(one, built_in)
    one.partial_fit(X, Y, optimizer=fastmlp.SGD(RATE))  # begins anew, with another
    one.partial_fit(X, Y, optimizer=CustomOptimizer(make(), RATE))
    assert "layers.0.weight" in one._progress.memory


def test_what_cannot_be_pickled_is_another(mlp):
    net, odd = network(mlp), Momentum(f=lambda: 0)
    net.fit(X, Y, epochs=1, optimizer=CustomOptimizer(odd, RATE))
    for other in (Momentum(f=lambda: 0), own.momentum):
        with pytest.raises(ValueError, match="optimizer is"):
            net.fit(X, Y, epochs=2, optimizer=CustomOptimizer(other, RATE), resume=True)
    assert len(net.fit(X, Y, epochs=2, optimizer=CustomOptimizer(odd), resume=True).loss) == 2


def wrong(change):
    """Return a function whose third step goes wrong."""

    def function(parameters, gradients, state, learning_rate):
        state["t"] = state.get("t", 0) + 1
        for name, g in gradients.items():
            parameters[name] -= learning_rate * g
        return (change(parameters) or None) if state["t"] == 8 else None

    return function


def interrupt(parameters):
    signal.raise_signal(signal.SIGINT)


def fail(parameters):
    raise PlantedError("from inside")


FIRST, LAST, DIVERGED = "layers.0.bias", "layers.1.bias", fastmlp.DivergenceError
GONE = "layers.0.weight.* missing or unknown; return all of"
FAILURES = {
    "raises": (fail, PlantedError, "^from inside$"),
    "interrupts": (interrupt, KeyboardInterrupt, "^$"),
    "list": (lambda p: list(p.values()), TypeError, "a dictionary of parameters is expected"),
    "missing": (lambda p: {FIRST: p[FIRST]}, ValueError, GONE),
    "unknown": (lambda p: p | {"more": 1}, ValueError, "more missing or unknown"),
    "deleted": (lambda p: p.pop(FIRST) is None, ValueError, "layers.0.bias missing"),
    "shape": (lambda p: p | {LAST: np.zeros(3)}, ValueError, r"of shape \(3,\) but \(2,\)"),
    "dtype": (lambda p: p | {LAST: [1j, 2]}, TypeError, "complex128"),
    "nan": (lambda p: p | {LAST: [np.nan, 2]}, DIVERGED, "became nan"),
}


@pytest.mark.usefixtures("default_sigint", "no_collections")
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_leaves_the_last_whole_epoch_and_its_state(mlp, name):
    change, error, message = FAILURES[name]
    options = {"batch_size": 30, "n_threads": 2}
    net, twin = network(mlp), network(mlp)
    with pytest.raises(error, match=message):
        net.fit(X, Y, epochs=5, optimizer=CustomOptimizer(wrong(change), RATE), **options)
    good = CustomOptimizer(wrong(lambda p: None), RATE)
    assert net.history.loss == twin.fit(X, Y, epochs=2, optimizer=good, **options).loss
    assert digest(net) == digest(twin)
    assert net._progress.memory == {"t": 6}


def test_what_does_not_go_with_it(mlp, tmp_path):
    chosen = CustomOptimizer(own.momentum, RATE)
    net = network(mlp)
    with pytest.raises(ValueError, match="learning_rate is -1"):
        CustomOptimizer(own.momentum, -1)
    with refused(TypeError, "not a subclass", net):
        net.fit(X, Y, optimizer=type("Mine", (CustomOptimizer,), {})(own.momentum))
    net.fit(X, Y, epochs=1, optimizer=chosen)
    path = tmp_path / "net.safetensors"
    with pytest.raises(TypeError, match=r"save\(path, training=False\)"):
        net.save(path)
    assert not path.exists()
    net.save(path, training=False)
    np.testing.assert_array_equal(fastmlp.load(path).predict(X), net.predict(X))


def test_readers_see_the_last_whole_epoch(mlp):
    seen = []

    def look(parameters, gradients, state, learning_rate):
        seen.append(net.predict(X))
        return adam(parameters, gradients, state, learning_rate)

    net = network(mlp)
    before = net.predict(X)
    net.fit(X, Y, epochs=1, batch_size=30, optimizer=CustomOptimizer(look, RATE))
    assert len(seen) == 3
    for predictions in seen:
        np.testing.assert_array_equal(predictions, before)
    assert not np.array_equal(net.predict(X), before)
