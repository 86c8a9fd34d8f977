"""A fit goes on where it ended: the bits of one that was not cut, in both engines."""

import pytest
import states
from models import X, Y, network
from states import same

import fastmlp
from fastmlp._models.network import network_of
from fastmlp._training.loop import Evaluator


def test_a_schedule_that_fails_between_epochs_is_a_cut(mlp):
    """The order of the epoch that did not begin was drawn already: it is that of the next one."""

    def rate(step):
        if step >= 6 and fails:
            raise ZeroDivisionError
        return 0.1

    options = {"epochs": 5, "batch_size": 30, "optimizer": fastmlp.SGD(rate)}
    whole, cut = (network(mlp) for _ in range(2))
    fails = True
    for resume in (False, True):
        with pytest.raises(ZeroDivisionError):
            cut.fit(X, Y, resume=resume, **options)
    fails = False
    cut.fit(X, Y, resume=True, **options)
    whole.fit(X, Y, **options)
    same(cut, whole)


def test_what_a_divergence_or_a_cut_validation_leaves_is_not_gone_on_with(mlp, monkeypatch):
    net = network(mlp)
    rate = fastmlp.SGD(lambda step: 0.1 if step < 4 else 1e30)
    with pytest.raises(fastmlp.DivergenceError):
        net.fit(X, Y, optimizer=rate, batch_size=45)
    refused(net, "ended within an epoch", optimizer=fastmlp.SGD(0.1))

    net, real = network(mlp), Evaluator.measure

    def ended(*arguments):
        real(*arguments)
        raise KeyboardInterrupt  # the optimizer has gone ahead, the weights are put back

    net.fit(X, Y, epochs=1)
    monkeypatch.setattr(Evaluator, "measure", ended)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=3, resume=True)
    refused(net, "ended within an epoch")


def refused(net, words, data=(X, Y), **options):
    progress = network_of(net).resume_state
    with states.refused(ValueError, words, net):
        net.fit(*data, resume=True, **{"epochs": 9} | options)
    assert network_of(net).resume_state == progress


def test_there_must_be_a_fit_to_go_on_with(mlp):
    net = network(mlp)
    refused(net, "no fit to resume")
    net.fit(X, Y, epochs=2)
    refused(net, "another optimizer, .*adam", optimizer=fastmlp.SGD())
    refused(net, "optimizer", optimizer=fastmlp.Adam(beta_1=0.8))
    refused(net, "rows of X is 89 but was 90", data=(X[1:], Y[1:]))
    refused(net, "validation_data", validation_data=(X, Y))
    refused(net, "epochs is 1 .* 2 epochs", epochs=1)
    net.fit(X, Y, epochs=3, optimizer=fastmlp.Adam(0.5), batch_size=10, resume=True)
    net.partial_fit(X, Y)
    refused(net, "no fit to resume")


@pytest.mark.parametrize("resume", [None, 1, [], b"path"])
def test_resume_is_a_truth_value_or_a_path(mlp, resume):
    net = network(mlp)
    with states.refused(TypeError, "resume is .* but True, False or the path", net):
        net.fit(X, Y, epochs=1, resume=resume)


def test_a_history_that_its_user_has_changed_does_not_hide_a_failure(mlp):
    def rate(step):
        if fails:
            raise KeyboardInterrupt
        return 0.1

    fails = False
    whole, cut = (network(mlp) for _ in range(2))
    for net in (whole, cut):
        net.fit(X, Y, epochs=2, optimizer=fastmlp.SGD(rate))
    cut.history.loss.append(0.0)
    history, fails = cut.history, True
    with pytest.raises(KeyboardInterrupt):
        cut.fit(X, Y, epochs=3, optimizer=fastmlp.SGD(rate), resume=True)
    assert cut.history is history
    assert network_of(cut).rng.bit_generator.state == network_of(whole).rng.bit_generator.state
