"""The one loop over epochs: what it must be to everybody who brings something to it."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import fastmlp
from fastmlp import DivergenceError
from fastmlp._models import trainer
from fastmlp._training import loop

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
Y = X.sum(axis=1)


NET, PACKAGE = fastmlp.MLP([3, 16, 1], rng=0), str(Path(fastmlp.__file__).parent)


def python_calls(function, own):
    """Return how many Python functions a call enters when it is made for the second time."""
    calls = []

    def note(frame, event, _):
        if event == "call" and (not own or frame.f_code.co_filename.startswith(PACKAGE)):
            calls.append(frame.f_code.co_name)

    function()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return len(calls)


def ignore(state):
    pass


def regressor():
    sizes, solver = (16,), {"solver": "adam", "max_iter": 1, "tol": 0.0}
    return fastmlp.MLPRegressor(hidden_layer_sizes=sizes, random_state=0, **solver)


# Short calls take the time of the Python functions that they call: at most so many times as many
# as an evaluation, which checks the same data and makes one native call. Of estimators
# mostly our own functions are counted, and not those of scikit-learn; of none, a collection of
# garbage, to which hypothesis listens.
@pytest.mark.parametrize(
    ("prepare", "most", "own"),
    [
        (lambda: partial(NET.fit, X, Y, epochs=1), 4.7, False),
        (lambda: partial(NET.partial_fit, X, Y), 1.95, False),
        (lambda: partial(NET.fit, X, Y, epochs=11), 7.3, False),
        (lambda: partial(NET.fit, X, Y, epochs=11, callbacks=[ignore]), 17.0, False),
        (lambda: partial(regressor().fit, X, Y), 5.9, True),
        (lambda: partial(regressor().partial_fit, X, Y), 5.2, True),
        (lambda: partial(regressor().partial_fit, X, Y), 30, False),  # 53: parameters checked anew
    ],
    ids=["fit", "partial_fit", "epochs", "callback", "estimator", "pass", "pass in all"],
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_call_makes_few_calls(prepare, most, own, no_collections):
    evaluation = python_calls(partial(NET.evaluate, X, Y), own)
    assert 0 < python_calls(prepare(), own) <= most * evaluation


def estimator(**options):
    options = {"max_iter": 3, "random_state": 0, "solver": "adam", **options}
    return fastmlp.MLPRegressor(hidden_layer_sizes=(4,), **options)


@pytest.mark.parametrize("kind", ["estimator", "MLP"])
def test_what_diverges_in_a_callback_is_another_fit(kind):
    def other(_):
        fastmlp.MLP([3, 4, 1], rng=0).fit(X, Y, epochs=9, optimizer=fastmlp.SGD(learning_rate=1e30))

    if kind == "estimator":
        net = estimator(callbacks=[other])
        with pytest.raises(DivergenceError):
            net.fit(X, Y)
        assert not hasattr(net, "coefs_")
    else:
        net = fastmlp.MLP([3, 4, 1], rng=0)
        with pytest.raises(DivergenceError) as caught:
            net.fit(X, Y, callbacks=[other])
        assert caught.value.history is not net.history


@pytest.mark.parametrize("rate", ["constant", lambda step: 1e-3], ids=["constant", "schedule"])
def test_the_scale_that_a_callback_sets_stays_from_pass_to_pass(rate):
    def halve(state):
        state.learning_rate_scale *= 0.5

    net = estimator(callbacks=[halve], learning_rate=rate)
    for _ in range(3):
        net.partial_fit(X, Y)
    assert net.history_.learning_rate == [1e-3, 5e-4, 2.5e-4]


def test_a_scorer_sees_the_epoch_that_it_scores():
    seen = []

    def score(net, x, y):
        seen.append((net.n_iter_, net.t_, len(net.loss_curve_), net.loss_))
        return 0.0

    net = estimator(scoring=score, early_stopping=True, tol=0.0, n_iter_no_change=5)
    with pytest.warns(UserWarning, match="hasn't converged"):
        net.fit(X, Y)
    assert seen == [(k, 54 * k, k, net.loss_curve_[k - 1]) for k in (1, 2, 3)]


def test_a_callback_that_sets_the_epoch_does_not_end_it():
    """By the state's epoch the loop knows whether an epoch was written down."""
    net, seen = fastmlp.MLP([3, 4, 1], rng=0), []

    def confuse(state):
        seen.append(net.weights[0])
        state.epoch = 100

    rates = fastmlp.SGD(learning_rate=lambda step: 1e-3 if step == 0 else 1e30)
    with pytest.raises(DivergenceError) as caught:
        net.fit(X, Y, epochs=9, batch_size=60, optimizer=rates, callbacks=[confuse])
    assert caught.value.epoch == len(net.history.loss) >= 1
    assert np.array_equal(net.weights[0], seen[-1])


def test_an_error_before_the_fit_is_nobodys_divergence():
    class Odd:
        def __array__(self, *args, **kwargs):
            raise DivergenceError("of another fit")

    net = estimator()
    with pytest.raises(DivergenceError, match="another fit"):
        net.fit(Odd(), Y)


class Full(list):
    """A list for whose growth there is no memory."""

    def __iadd__(self, values):
        raise MemoryError("injected")


@pytest.mark.parametrize("name", ["loss", "seconds", "learning_rate"])
@pytest.mark.parametrize("kind", ["mlp", "ensemble", "leap"])
def test_an_epoch_that_cannot_be_written_down_did_not_happen(kind, name, monkeypatch):
    """Weights and all lists, those of members too, are of the first epoch."""

    def made():
        nets = [fastmlp.MLP([3, 4, 1], rng=seed) for seed in range(2)]
        return (nets[:1], nets[0]) if kind == "mlp" else (nets, fastmlp.Ensemble(nets))

    def full(state, *given):
        if len(state.history.loss) == 1:
            setattr(state.history, name, Full(getattr(state.history, name)))
        record(state, *given)

    (nets, model), (expected, other), record = made(), made(), loop.record
    options = {} if kind == "leap" else {"validation_data": (X, Y)}
    other.fit(X, Y, epochs=1, **options)
    monkeypatch.setattr(trainer, "MIN_FUSED_EPOCHS", 2)
    monkeypatch.setattr(trainer, "FUSED_SECONDS", 60.0)
    monkeypatch.setattr(loop, "record", full)
    with pytest.raises(MemoryError, match="injected"):
        model.fit(X, Y, epochs=9, **options)
    for one, twin in zip([model, *nets], [other, *expected], strict=True):
        lengths = [{k: len(v) for k, v in vars(each.history).items()} for each in (one, twin)]
        assert lengths[0] == lengths[1]
    for one, twin in zip(nets, expected, strict=True):
        np.testing.assert_array_equal(one.weights[0], twin.weights[0])
