"""What goes wrong during a fit: divergence, interrupts, a second fit. The model stays usable."""

import pickle
import time

import numpy as np
import pytest
from at_once import held
from models import X, Y, digest, network

import fastmlp

LATER = fastmlp.SGD(lambda step: 1e-3 if step < 6 else 1e30)
DIVERGING = {  # options of a fit, and the epoch in which it diverges
    "rate": ({"optimizer": fastmlp.SGD(1e30)}, 0),
    "adam": ({"optimizer": fastmlp.Adam(1e38)}, 0),
    "momentum": ({"optimizer": fastmlp.SGD(1e5, momentum=0.9)}, 0),
    "later": ({"optimizer": LATER}, 2),
    "mean": ({"optimizer": LATER, "averaging": fastmlp.EMA()}, 2),
    "plain mean": ({"optimizer": LATER, "averaging": fastmlp.SWA()}, 2),
    "targets": ({"y": Y * 1e37}, 0),
}


def ensemble(mlp, **options):
    return fastmlp.Ensemble([network(mlp, **options | {"rng": seed}) for seed in range(3)])


def bits(model):
    return [*map(digest, model)] if isinstance(model, fastmlp.Ensemble) else digest(model)


@pytest.mark.filterwarnings("ignore:y has columns with deviations")
@pytest.mark.parametrize("name", DIVERGING)
@pytest.mark.parametrize("make", [network, ensemble])
def test_divergence_is_reported_at_once(mlp, make, name):
    options, epoch = DIVERGING[name]
    options = {"optimizer": fastmlp.SGD(0.01), "y": Y} | options
    net = make(mlp, activation="relu")
    seen = [bits(net)]
    callbacks = [lambda state: seen.append(bits(state.model))]
    with pytest.raises(fastmlp.DivergenceError) as caught:
        net.fit(X, epochs=100, batch_size=30, callbacks=callbacks, **options)
    error = caught.value
    assert isinstance(error, FloatingPointError)
    assert error.epoch == len(seen) - 1 == len(error.history.loss) == epoch
    assert np.isfinite(error.history.loss).all()
    message = str(error)
    assert f"epoch {error.epoch} " in message
    assert f"learning rate {error.learning_rate:g}" in message
    assert "smaller learning rate" in message
    assert bits(net) == seen[-1]
    assert np.isfinite(net.predict(X)).all()
    net.fit(X, Y, epochs=1)
    assert pickle.loads(pickle.dumps(error)).epoch == error.epoch


def test_divergence_of_partial_fit(mlp):
    net = network(mlp, activation="relu")
    before = digest(net)
    with pytest.raises(fastmlp.DivergenceError):
        net.partial_fit(X, Y * 1e30, optimizer=fastmlp.SGD(1e30))
    assert digest(net) == before
    net.partial_fit(X, Y)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_interrupt_in_a_long_epoch(mlp, interrupt_after, n_threads):
    net = mlp([64, 64, 64, 1], rng=0)
    values = np.random.default_rng(0).normal(size=1_500_063).astype(np.float32)
    x = np.lib.stride_tricks.sliding_window_view(values, 64)  # many rows in little memory
    digests = [digest(net)]
    callbacks = [lambda state: digests.append(digest(state.model))]
    sent = interrupt_after(0.3)
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, x[:, 0], n_threads=n_threads, callbacks=callbacks)
    assert time.perf_counter() - sent[0] < 0.7  # 0.2 promised, the rest is for a busy machine
    assert digest(net) == digests[-1]
    assert len(net.fit(x[:100], x[:100, 0], epochs=2).loss) == 2


def test_a_second_fit_is_refused(mlp):
    net = network(mlp)
    with held(lambda hold: net.fit(X, Y, epochs=2, callbacks=[hold])) as results:
        before = digest(net)
        for call in (
            lambda: net.fit(X, Y),
            lambda: net.partial_fit(X, Y),
            lambda: setattr(net, "weights", list(net.weights)),
            lambda: net.load_state_dict(net.state_dict()),
            lambda: net.biases.__setitem__(0, net.biases[0]),
        ):
            with pytest.raises(RuntimeError, match="a fit is running on this model"):
                call()
        assert digest(net) == before
        net.predict(X)
    assert len(results[0].loss) == 2
    net.fit(X, Y, epochs=1)


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")  # NumPy 2.5
def test_a_shape_changed_during_a_fit_does_not_reach_the_engine(mlp):
    x = np.random.default_rng(0).normal(size=(600, 5)).astype("float32")
    y = np.arange(600) % 3
    twin = x.copy()

    def disturb(state):
        if state.epoch == 0:
            x.shape = (5, 600)

    def fit(data, callbacks):
        net = mlp([5, 6, 3], loss="cross_entropy", rng=0)
        return net.fit(data, y, epochs=3, callbacks=callbacks).loss

    assert fit(x, [disturb]) == fit(twin, [])
