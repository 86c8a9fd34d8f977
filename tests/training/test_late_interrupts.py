"""An interrupt that is noticed only after the native call: the pass is taken back all the same."""

import copy
import signal

import numpy as np
import pytest
from states import state

import fastmlp
from fastmlp import reference
from fastmlp._models import runner
from fastmlp._training import loop

X = np.linspace(-1, 1, 40, dtype=np.float32).reshape(20, 2)
Y = X.sum(axis=1)
OPTIMIZERS = [
    *(fastmlp.SGD(momentum=0.9), fastmlp.RMSprop(), fastmlp.Adam(), fastmlp.AdamW()),
    fastmlp.Lion(),
]


@pytest.fixture(params=[fastmlp.MLP, reference.MLP], ids=["native", "reference"])
def net(request):
    return request.param([2, 5, 1], rng=0, dropout=0.2)


@pytest.fixture
def interrupted_late(monkeypatch):
    """Let the next epoch end well, and an interrupt be noticed right after it."""

    def record(*_, **__):
        monkeypatch.undo()
        raise KeyboardInterrupt

    def late():
        monkeypatch.setattr(loop, "record", record)  # of a fit
        monkeypatch.setattr(runner, "ResumeState", record)  # of partial_fit

    return late


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("passes", [0, 2])
def test_partial_fit_is_taken_back(net, interrupted_late, optimizer, passes):
    for _ in range(passes):
        net.partial_fit(X, Y, batch_size=7, optimizer=optimizer)
    before = state(net)
    interrupted_late()
    with pytest.raises(KeyboardInterrupt):
        net.partial_fit(X, Y, batch_size=7, optimizer=optimizer)
    assert state(net) == before
    # The moments have moved on and belong to no weights: the optimizer begins anew.
    anew = copy.deepcopy(net)
    anew._progress = None
    assert net.partial_fit(X, Y, optimizer=optimizer) == anew.partial_fit(X, Y, optimizer=optimizer)
    assert state(net) == state(anew)


def test_a_first_epoch_is_taken_back(net, interrupted_late):
    before = state(net)
    interrupted_late()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y)
    assert state(net) == before
    assert net.history is None


def test_an_epoch_is_recorded_as_a_whole(net, no_collections):
    def interrupt(*_):
        raise KeyboardInterrupt

    def start(state):
        if state.epoch == 0:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 5e-3))

    rng = np.random.default_rng(0)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(100):
            with pytest.raises(KeyboardInterrupt):
                net.fit(X, Y, epochs=10**6, validation_data=(X, Y), callbacks=[start])
            h = net.history
            lengths = {len(h.loss), len(h.val_loss), len(h.seconds), len(h.learning_rate)}
            assert len(lengths) == 1, h
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
