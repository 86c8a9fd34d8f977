"""Callbacks: when they are called, what they may do, and what they leave behind."""

import copy
import io
import pickle
import sys

import numpy as np
import pytest
from models import digest
from states import refused

import fastmlp

X = np.linspace(-1, 1, 40)[:, np.newaxis]
Y = X[:, 0] ** 2


@pytest.fixture(params=[fastmlp.MLP, fastmlp.reference.MLP], ids=["native", "reference"])
def net(request):
    return request.param([1, 6, 1], activation="tanh", rng=0)


class Script:
    """Plays given validation losses to another callback, in place of the real ones."""

    def __init__(self, callback, values):
        self.callback, self.values, self.ends = callback, list(values), []

    def start(self, state):
        self.callback.start(state)

    def __call__(self, state):
        self.ends.append(digest(state.model))
        state.val_loss = self.values[state.epoch]
        return self.callback(state)

    def finish(self, state):
        getattr(self.callback, "finish", lambda state: None)(state)


def play(net, callback, values, **options):
    script = Script(callback, values)
    options = {"epochs": len(script.values), "validation_data": (X, Y)} | options
    return script, net.fit(X, Y, callbacks=[script], **options)


# patience, min_delta, losses, epochs that run, best epoch
EARLY = [
    (2, 0.0, [5, 4, 3, 3, 3, 1], 5, 2),
    (2, 0.0, [5, 4, 3, 2, 1], 5, 4),
    (1, 0.0, [5, 6, 1], 2, 0),
    (3, 0.0, [5, 6, 6, 4, 6, 6, 6, 1], 7, 3),
    (2, 1.5, [5, 4, 3, 2.5, 1], 5, 4),
    (2, 0.0, [np.nan, np.nan, 1], 2, -1),
    (2, 0.0, [np.inf, 1, np.nan, 0.5, np.inf, 2, 1], 6, 3),
]


@pytest.mark.parametrize(("patience", "min_delta", "losses", "runs", "best"), EARLY)
@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping(net, patience, min_delta, losses, runs, best, restore):
    stop = fastmlp.EarlyStopping("val_loss", patience, min_delta, restore)
    script, history = play(net, stop, losses)
    assert len(history.loss) == runs
    assert stop.best_epoch == best
    reason = f"val_loss has not improved for {patience} epochs"
    stopped = runs < len(losses) or stop.wait == patience
    assert history.stop_reason == (reason if stopped else "")
    assert digest(net) == script.ends[best if restore and best >= 0 else runs - 1]


def test_early_stopping_begins_anew_with_each_fit(net):
    stop = fastmlp.EarlyStopping(patience=2)
    for _ in range(2):
        _, history = play(net, stop, [3, 4, 5, 6])
        assert len(history.loss) == 3
    play(net, stop, [np.nan, np.nan])
    assert stop.best_epoch == -1


@pytest.mark.parametrize("monitor", ["loss", None])
def test_early_stopping_on_the_training_loss(net, monitor):
    stop = fastmlp.EarlyStopping(monitor, patience=2, min_delta=10)
    history = net.fit(X, Y, epochs=9, callbacks=[stop])
    assert len(history.loss) == 3
    assert history.stop_reason == "loss has not improved for 2 epochs"


@pytest.mark.parametrize("callback", [fastmlp.EarlyStopping, fastmlp.ReduceOnPlateau])
def test_monitor_needs_validation_data(net, callback):
    with refused(ValueError, f"{callback.__name__} monitors val_loss .*monitor='loss'", net):
        net.fit(X, Y, callbacks=[callback("val_loss")])
    net.fit(X, Y, epochs=1)


# The callback's arguments, the losses, the rate, and the rates of the epochs.
PLATEAUS = [
    ((0.5, 2), [5, 5, 5, 5, 5, 1, 2, 2, 2], 0.1, [*[0.1] * 3, *[0.05] * 2, *[0.025] * 3, 0.0125]),
    ((0.1, 1, 0.02), [1] * 5, 0.1, [0.1, 0.1, 0.02, 0.02, 0.02]),  # no smaller one
    ((0.5, 1), [1, 1, 1], lambda step: 0.1 / (1 + step), [0.1, 0.05, 0.5 * 0.1 / 3]),
]


@pytest.mark.parametrize(("arguments", "losses", "rate", "rates"), PLATEAUS)
def test_plateau(net, arguments, losses, rate, rates):
    plateau = fastmlp.ReduceOnPlateau(
        **dict(zip(("factor", "patience", "min_learning_rate"), arguments, strict=False))
    )
    _, history = play(net, plateau, losses, optimizer=fastmlp.SGD(rate), batch_size=len(X))
    assert history.learning_rate == pytest.approx(rates)


@pytest.mark.parametrize("scale", [-1.0, np.nan, "2"])
def test_a_scale_that_makes_no_sense(net, scale):
    callbacks = [lambda state: setattr(state, "learning_rate_scale", scale)]
    with pytest.raises((TypeError, ValueError), match="learning_rate_scale"):
        net.fit(X, Y, epochs=3, callbacks=callbacks)
    net.fit(X, Y, epochs=1)


def test_a_learning_rate_cannot_be_set(net):
    """Assigning it would have no effect, so that a callback that tries ends the fit."""
    with pytest.raises(AttributeError, match="set to 0.5 but is .*_scale, .* schedule"):
        net.fit(X, Y, epochs=3, callbacks=[lambda state: setattr(state, "learning_rate", 0.5)])
    assert len(net.history.loss) == 1


def test_state_and_hooks(net):
    calls = []

    class Recorder:
        def start(self, state):
            assert np.isnan(state.learning_rate)
            calls.append(("start", state.epoch, len(state.history.loss)))

        def __call__(self, state):
            assert state.model is net
            assert state.epochs == 3
            assert state.loss == state.history.loss[-1]
            assert state.val_loss == state.history.val_loss[-1]
            assert state.val_loss == net.evaluate(X, Y)
            assert state.learning_rate == state.history.learning_rate[-1]
            assert not state.completed
            calls.append(("epoch", state.epoch, len(state.history.loss)))

        def finish(self, state):
            calls.append(("finish", state.epoch, state.completed))

    net.fit(X, Y, epochs=3, validation_data=(X, Y), callbacks=[Recorder()])
    assert calls == [
        ("start", -1, 0), ("epoch", 0, 1), ("epoch", 1, 2), ("epoch", 2, 3), ("finish", 2, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "epochs"), [(True, 2), (np.True_, 2), (False, 5), (None, 5), (1, 5), ("yes", 5)]
)
def test_only_true_stops(net, answer, epochs):
    def callback(state):
        return answer if state.epoch == 1 else None

    history = net.fit(X, Y, epochs=5, callbacks=[callback])
    assert len(history.loss) == epochs
    assert history.stop_reason == ("callback returned True" if epochs == 2 else "")


def test_all_callbacks_see_the_last_epoch(net):
    seen = []
    net.fit(X, Y, epochs=5, callbacks=[lambda s: s.epoch == 1, lambda s: seen.append(s.epoch)])
    assert seen == [0, 1]


@pytest.mark.parametrize("hook", ["start", "__call__", "finish"])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_in_a_callback_leaves_a_usable_model(net, hook, error):
    finished = []

    class Watcher:
        def __call__(self, state):
            pass

        def finish(self, state):
            finished.append(state.completed)

    def fail(self, state):
        raise error

    broken = type("Broken", (), {"__call__": lambda self, state: None} | {hook: fail})()
    early = fastmlp.EarlyStopping("loss")
    with pytest.raises(error):
        net.fit(X, Y, epochs=3, callbacks=[Watcher(), early, broken])
    assert finished == [hook == "finish"]
    assert np.isfinite(net.predict(X)).all()
    assert len(net.fit(X, Y, epochs=2).loss) == 2


@pytest.mark.parametrize("hook", ["start", "finish"])
def test_a_hook_that_raises_stop_iteration_is_named(net, hook):
    def fail(self, state):
        raise StopIteration("mine")

    broken = type("Broken", (), {"__call__": lambda self, state: None, hook: fail})()
    with pytest.raises(RuntimeError, match=f"{hook} of Broken raised StopIteration") as caught:
        net.fit(X, Y, epochs=1, callbacks=[broken])
    assert isinstance(caught.value.__cause__, StopIteration)
    assert caught.value.__cause__.args == ("mine",)


def test_an_interrupt_keeps_the_last_epoch_not_the_best(net):
    def interrupt(state):
        if state.epoch == 2:
            raise KeyboardInterrupt

    script = Script(fastmlp.EarlyStopping(), [1, 2, 3, 4])
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=4, validation_data=(X, Y), callbacks=[script, interrupt])
    assert digest(net) == script.ends[2]


def test_progress_lines(net, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)  # importing it fails
    net.fit(X, Y, epochs=12, validation_data=(X, Y), verbose=True)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 12
    assert lines[0].startswith("epoch  1/12  loss ")
    assert "val_loss" in lines[0]
    assert lines[-1].startswith("epoch 12/12  loss ")
    text = io.StringIO()
    net.fit(X, Y, epochs=2, callbacks=[fastmlp.Progress(text)])
    assert text.getvalue().count("\n") == 2


@pytest.mark.parametrize(("verbose", "is_shown"), [(0, 0), (1, 1), (np.int64(2), 1), (True, 1)])
def test_verbose_may_be_an_integer(mlp, verbose, is_shown, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    for net in (mlp([1, 1], rng=0), fastmlp.Ensemble([mlp([1, 1], rng=0)])):
        net.fit(X, Y, epochs=1, verbose=verbose)
        assert capsys.readouterr().err.count("epoch 1/1") == is_shown
        for bad in (-1, 0.5, "yes", None, np.array([1, 2])):
            with pytest.raises((TypeError, ValueError), match="verbose is "):
                net.fit(X, Y, epochs=1, verbose=bad)


def test_progress_bar(net, monkeypatch):
    class Bar:
        def __init__(self, **options):
            self.total, self.n, self.closed = options["total"], 0, False
            bars.append(self)

        def set_postfix(self, losses, refresh):
            self.losses = losses

        def update(self):
            self.n += 1

        def close(self):
            self.closed = True

    bars = []
    monkeypatch.setitem(sys.modules, "tqdm.auto", type("Module", (), {"tqdm": Bar}))
    net.fit(X, Y, epochs=4, callbacks=[lambda state: state.epoch == 2], verbose=True)
    (bar,) = bars
    assert (bar.total, bar.n, bar.closed) == (4, 3, True)
    assert list(bar.losses) == ["loss"]


@pytest.mark.parametrize("wrong", [None, 0, np.zeros(3, np.uint8), "last"])
def test_only_a_snapshot_of_the_model_is_restored(net, wrong):
    def meddle(state):
        before = state.model.weights[0].copy()
        with pytest.raises(ValueError, match="snapshot"):
            state.restore(wrong)
        assert np.array_equal(before, state.model.weights[0])

    net.fit(X, Y, epochs=1, callbacks=[meddle])


def test_a_snapshot_travels_to_models_of_the_same_layers_only(net):
    kept = []
    net.fit(X, Y, epochs=1, callbacks=[lambda state: kept.append(state.snapshot())])
    restore = [lambda state: state.restore(pickle.loads(pickle.dumps(copy.deepcopy(kept[0]))))]
    same, other = type(net)([1, 6, 1], rng=1), type(net)([1, 7, 1], rng=1)
    same.fit(X, Y, epochs=1, callbacks=restore)
    assert np.array_equal(same.weights[0], net.weights[0])
    with pytest.raises(ValueError, match="restore was given Snapshot"):
        other.fit(X, Y, epochs=1, callbacks=restore)
