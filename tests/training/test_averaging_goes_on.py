"""A fit that averages weights goes on where it was cut; what fails leaves a whole model."""

import copy

import numpy as np
import pytest
from models import X, Y, digest, network
from states import same
from test_averaging import EPOCHS, HELD, arrays, mean, path_of

import fastmlp
from fastmlp import reference
from fastmlp._training.loop import Evaluator


def test_the_other_engine_goes_on_with_it(tmp_path):
    path, nets = tmp_path / "net", []
    options = {"batch_size": 32, "averaging": fastmlp.EMA(0.7)}
    for mlp, other in ((fastmlp.MLP, "reference"), (reference.MLP, "native")):
        net, callbacks = network(mlp, dtype="float64"), [fastmlp.Checkpoint(path)]
        net.fit(X, Y, epochs=3, callbacks=callbacks, **options)
        nets.append(fastmlp.load(path, engine=other))
        nets[-1].fit(X, Y, epochs=EPOCHS, resume=True, **options)
    for a, b in zip(*map(arrays, nets), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_without_it_a_fit_goes_on_with_the_weights_in_training(mlp):
    plain, net = network(mlp), network(mlp)
    plain.fit(X, Y, epochs=EPOCHS)
    net.fit(X, Y, epochs=3, averaging=fastmlp.SWA())
    net.fit(X, Y, epochs=EPOCHS, resume=True)
    same(net, plain)
    assert net._progress.averaged is None


def test_it_may_begin_with_a_fit_that_goes_on(mlp):
    """The epochs before had no mean; start counts the epochs of all."""
    raw, _ = path_of(network(mlp), epochs=EPOCHS)
    for averaging, first in ((fastmlp.SWA(), 3), (fastmlp.SWA(start=5), 5), (fastmlp.EMA(0.5), 3)):
        net = network(mlp)
        net.fit(X, Y, epochs=3)
        net.fit(X, Y, epochs=EPOCHS, resume=True, averaging=averaging)
        same_kind = copy.copy(averaging)
        object.__setattr__(same_kind, "start", first)
        for got, wanted in zip(arrays(net), mean(same_kind, raw), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("how", ["item", "state_dict"])
def test_assigned_weights_are_gone_on_with(mlp, how):
    """They take the place of those in training, and the mean begins anew."""
    nets = [network(mlp) for _ in range(2)]
    for net, averaging in zip(nets, (fastmlp.EMA(), None), strict=True):
        net.fit(X, Y, epochs=2, averaging=averaging)
        if how == "item":
            net.weights, net.biases = network(mlp, rng=5).weights, network(mlp, rng=5).biases
        else:
            net.load_state_dict(network(mlp, rng=5).state_dict())
    net, plain = nets
    net.fit(X, Y, epochs=3, resume=True, averaging=fastmlp.SWA())
    plain.fit(X, Y, epochs=3, resume=True)
    same(net, plain)


def test_partial_fit_begins_with_the_mean(mlp):
    nets = [network(mlp) for _ in range(2)]
    nets[0].fit(X, Y, epochs=2, averaging=fastmlp.EMA())
    nets[1].weights, nets[1].biases = nets[0].weights, nets[0].biases
    for net in nets:
        net.partial_fit(X, Y)
    assert digest(nets[0]) == digest(nets[1])


# ---- what goes wrong -----------------------------------------------------------------------------


def test_a_divergence_leaves_the_mean_of_the_epochs_before(mlp):
    rate = fastmlp.SGD(lambda step: 0.1 if step < 9 else 1e30)
    net, seen = network(mlp), []
    options = {"batch_size": 30, "optimizer": rate, "averaging": fastmlp.EMA()}
    with pytest.raises(fastmlp.DivergenceError) as caught:
        net.fit(X, Y, callbacks=[lambda state: seen.append(digest(net))], **options)
    assert caught.value.epoch == len(net.history.loss) == len(seen) == 3
    assert digest(net) == seen[-1]


@pytest.mark.parametrize("resume", [False, True])
def test_an_interrupt_leaves_the_mean_of_the_epochs_before(mlp, resume, monkeypatch):
    net, seen, real = network(mlp), [], Evaluator.measure
    options = {"averaging": fastmlp.EMA(), "validation_data": HELD}
    if resume:
        net.fit(X, Y, epochs=1, **options)
        seen.append(digest(net))

    def interrupted(self, *arguments):
        if len(seen) == 3:
            raise KeyboardInterrupt  # the mean of this epoch was published already
        return real(self, *arguments)

    monkeypatch.setattr(Evaluator, "measure", interrupted)
    callbacks = [lambda state: seen.append(digest(net))]
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, callbacks=callbacks, resume=resume, **options)
    assert digest(net) == seen[-1]
    assert len(net.history.loss) == len(seen) == 3


@pytest.mark.parametrize("before", [None, fastmlp.EMA()])
@pytest.mark.parametrize("averaging", [None, fastmlp.SWA()])
@pytest.mark.parametrize("resume", [False, True])
def test_an_epoch_that_fails_at_once_has_changed_nothing(mlp, before, averaging, resume):
    def rate(step):
        if fails:
            raise ZeroDivisionError
        return 0.1

    fails, options = False, {"optimizer": fastmlp.SGD(rate, momentum=0.5), "batch_size": 45}
    whole, net = network(mlp), network(mlp)
    for each in (whole, net):
        each.fit(X, Y, epochs=2, averaging=before, **options)
    bits, history = digest(net), net.history
    fails = True
    with pytest.raises(ZeroDivisionError):
        net.fit(X, Y, epochs=4, averaging=averaging, resume=resume, **options)
    assert (digest(net), net.history) == (bits, history)
    fails = False
    for each in (whole, net):
        each.fit(X, Y, epochs=4, averaging=averaging, resume=True, **options)
    same(net, whole)


def test_what_callbacks_assign_stays_until_the_next_epoch(mlp):
    def zero(state):
        state.model.weights = [np.zeros((3, 8)), np.zeros((8, 2))]

    nets = [network(mlp) for _ in range(2)]
    options = {"averaging": fastmlp.EMA(), "batch_size": 32}
    nets[0].fit(X, Y, epochs=3, callbacks=[zero], **options)
    assert not any(np.any(w) for w in nets[0].weights)
    nets[1].fit(X, Y, epochs=3, **options)
    for net in nets:
        net.fit(X, Y, epochs=5, resume=True, **options)
    same(*nets)
