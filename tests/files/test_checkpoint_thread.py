"""Checkpoints are written by a thread: what they hold, where, and what becomes of an error."""

import _thread
import copy
import threading

import models
import pytest
import trials
from models import X, Y
from states import refused

import fastmlp
from fastmlp._core import atomic_files
from fastmlp._files import record


class CutError(Exception):
    pass


def test_training_goes_on_while_a_thread_writes(mlp, tmp_path, monkeypatch):
    """What is written is what was, though the model changes and is copied meanwhile."""
    path, write, may_write = tmp_path / "net", atomic_files.write, threading.Event()

    def slow(*arguments):
        assert may_write.wait(60)
        write(*arguments)

    def third(state):
        if state.epoch == 2:
            assert not path.exists()
            copy.deepcopy((state.model, state.callbacks))
            may_write.set()

    monkeypatch.setattr(atomic_files, "write", slow)
    net, whole = models.network(mlp), models.network(mlp)
    options = {"optimizer": fastmlp.SGD(0.1, momentum=0.9)}
    callbacks = [fastmlp.Checkpoint(path, every=2, keep=2), third]
    net.fit(X, Y, epochs=4, callbacks=callbacks, **options)
    whole.fit(X, Y, epochs=2, **options)
    early = fastmlp.load(tmp_path / "net-000002")
    assert models.digest(early) == models.digest(whole)
    early.fit(X, Y, epochs=4, resume=True, **options)
    assert models.digest(early) == models.digest(net) == models.digest(fastmlp.load(path))


@pytest.mark.parametrize("stop", [None, 4, 5])
def test_an_error_of_the_thread_is_that_of_the_fit(stop, tmp_path, monkeypatch):
    """By the next save, or at the end; there not in place of what has ended the fit."""
    path, net = tmp_path / "net", models.network(fastmlp.MLP)
    checkpoint, write = fastmlp.Checkpoint(path, every=3), atomic_files.write

    def fails(path, pieces):
        if path.exists():
            raise OSError(28, "no space left")
        write(path, pieces)

    def end(state):
        if state.epoch == stop == 5:
            raise CutError
        return state.epoch == stop

    monkeypatch.setattr(atomic_files, "write", fails)
    if stop == 5:
        end.runs_last = True  # type: ignore[attr-defined]
        with pytest.raises(CutError), pytest.warns(match="not written: .*no space left"):
            net.fit(X, Y, epochs=20, callbacks=[checkpoint, end])
    else:
        with pytest.raises(OSError, match="no space left"):
            net.fit(X, Y, epochs=20, callbacks=[checkpoint, end])
    assert len(net.history.loss) == {None: 9, 4: 5, 5: 6}[stop]
    assert len(fastmlp.load(path).history.loss) == 3
    monkeypatch.setattr(atomic_files, "write", write)
    net.fit(X, Y, epochs=20, resume=True, callbacks=[checkpoint])
    assert len(fastmlp.load(path).history.loss) == 20


def test_without_a_thread_the_fit_writes(tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    path = tmp_path / "net"
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    net = models.network(fastmlp.MLP)
    net.fit(X, Y, epochs=3, n_threads=1, callbacks=[fastmlp.Checkpoint(path)])
    assert models.digest(fastmlp.load(path)) == models.digest(net)


@pytest.mark.parametrize(("kind", "epochs"), [("source", 0), ("a save", 2), ("the last", 1)])
def test_a_thread_that_dies_at_once_is_out_of_memory(kind, epochs, tmp_path, monkeypatch):
    """It is missed by the next save, or by the end of the fit; nobody waits for it."""
    start, net = _thread.start_new_thread, models.network(fastmlp.MLP)
    data = (lambda: iter([(X, Y)]),) if kind == "source" else (X, Y)
    callbacks = [] if kind == "source" else [fastmlp.Checkpoint(tmp_path / "net")]

    def fit():
        with pytest.raises(MemoryError, match="memory ran out"):
            net.fit(*data, epochs=1 if kind == "the last" else 5, n_threads=1, callbacks=callbacks)
        assert len(net.history.loss if net.history else ()) == epochs

    for module, name in ((_thread, "start_new_thread"), (threading, "_start_new_thread")):
        monkeypatch.setattr(module, name, lambda *_: start(int, ()), raising=False)
    trials.forked(fit)


@pytest.mark.parametrize("name", ["path", "best"])
def test_a_folder_that_is_not_there_is_missed_before_the_first_epoch(mlp, name, tmp_path):
    net, paths = models.network(mlp), {"path": tmp_path / "net", name: tmp_path / "none" / "net"}
    with refused(FileNotFoundError, "into a folder that is not there: .*none'", net):
        net.fit(X, Y, callbacks=[fastmlp.Checkpoint(**paths)])


@pytest.mark.parametrize("kind", ["net", "ensemble"])
def test_a_job_whose_checkpoint_is_behind_a_link_is_started_again(kind, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("net")
    options = {"resume": link}
    for epochs in (2, 5):
        callbacks = [fastmlp.Checkpoint(link)]
        net = models.network(fastmlp.MLP)
        model = net if kind == "net" else fastmlp.Ensemble([net])
        model.fit(X, Y, epochs=epochs, callbacks=callbacks, **options)
        assert len(model.history.loss) == epochs
    assert link.is_symlink()


MODELS = {
    "mlp": (lambda: models.network(fastmlp.MLP), {}, 4),
    "mlp validated": (lambda: models.network(fastmlp.MLP), {"validation_data": (X, Y)}, 5),
    "metrics": (lambda: models.network(fastmlp.MLP), {"metrics": ["r2"]}, 5),
    "ensemble": (
        lambda: fastmlp.Ensemble([models.network(fastmlp.MLP, rng=k) for k in range(3)]),
        {"validation_data": (X, Y)},
        5 * 3 + 4,
    ),
}


@pytest.mark.parametrize("every", [1, 100])
@pytest.mark.parametrize("name", MODELS)
def test_more_epochs_than_a_file_has_room_for_are_told_at_once(name, every, tmp_path, monkeypatch):
    make, options, numbers = MODELS[name]
    path, net = tmp_path / "net", make()
    monkeypatch.setattr(record, "MOST_NUMBERS", 6 * numbers)
    options = options | {"callbacks": [fastmlp.Checkpoint(path, every)], "resume": path}
    net.fit(X, Y, epochs=4, **options)
    told = pytest.warns(UserWarning, match="epochs is 7 but a file has room for .* of 6 epochs")
    with told, pytest.raises(ValueError, match="numbers but a file has room for"):
        net.fit(X, Y, epochs=7, **options)
    assert len(fastmlp.load(path).history.loss) == (6 if every == 1 else 4)
    assert len(net.fit(X, Y, epochs=6, **options).loss) == 6
    assert fastmlp.load(path).history.loss == net.history.loss
