"""Checkpoints: what is kept, when, of which fit; and which fits can go on with one."""

import os
import unittest.mock

import cut
import models
import numpy as np
import pytest
from models import X, Y
from states import refused, same

import fastmlp
from fastmlp._files import storage


def job(mlp, path, callbacks=list, **options):
    """Fit a new model as the same command line does again and again; the process may end."""
    net = models.network(mlp)
    options = {"epochs": 8, "batch_size": 32, "validation_data": (X[:20], Y[:20])} | options
    net.fit(X, Y, resume=path, callbacks=[fastmlp.Checkpoint(path), *callbacks()], **options)
    return net


@pytest.mark.parametrize("where", ["here", "behind a link", "on another disk"])
def test_what_is_kept(where, tmp_path, monkeypatch):
    path, best = tmp_path / "net.safetensors", tmp_path / "best.safetensors"
    if where != "here":
        (tmp_path / "folder").mkdir()
        path.symlink_to("folder/real")
    if where == "on another disk":
        monkeypatch.setattr(os, "link", unittest.mock.Mock(side_effect=OSError(18, "far")))
    checkpoint = fastmlp.Checkpoint(path, every=2, keep=3, best=best)
    net = models.network(fastmlp.MLP)
    history = net.fit(X, Y, epochs=9, validation_data=(X[:9], Y[:9]), callbacks=[checkpoint])
    names = sorted(each.name for each in tmp_path.iterdir() if each.name != "folder")
    numbered = {n: f"net-{n:06}.safetensors" for n in (6, 8, 9)}
    assert names == ["best.safetensors", *numbered.values(), path.name]
    for n, name in numbered.items():
        assert len(fastmlp.load(tmp_path / name).history.loss) == n
    assert len(fastmlp.load(os.path.realpath(path)).history.loss) == 9
    assert fastmlp.load(best).history.val_loss[-1] == min(history.val_loss)


def test_what_is_kept_beside_a_longer_fit_of_before(tmp_path):
    path = tmp_path / "net[1].safetensors"  # brackets have a meaning in a pattern
    for epochs in (6, 3):
        checkpoint = fastmlp.Checkpoint(path, keep=2)
        models.network(fastmlp.MLP).fit(X, Y, epochs=epochs, callbacks=[checkpoint])
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == [*(f"net[1]-{n:06}.safetensors" for n in (2, 3, 5, 6)), path.name]


def test_by_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr("time.monotonic", iter(range(1000)).__next__)
    saved, saving = [], storage.saving

    def noted(net, path):
        saved.append(len(net.history.loss))
        return saving(net, path)

    monkeypatch.setattr(storage, "saving", noted)
    net = models.network(fastmlp.MLP)
    net.fit(X, Y, epochs=9, callbacks=[fastmlp.Checkpoint(tmp_path / "net", seconds=3)])
    assert saved == [3, 6, 9]


def test_another_model_is_refused_and_nothing_changes(mlp, tmp_path):
    path = tmp_path / "net"
    job(mlp, path)
    other = models.network(mlp, rng=np.random.Generator(np.random.SFC64(0)))
    for net, epochs, words in (
        (mlp([3, 9, 2], rng=0), 9, "make the model as it was made"),
        (other, 9, "same kind of generator"),
        (models.network(mlp), 3, "epochs is 3 but the fit to resume has had 8"),
    ):
        held = {"validation_data": (X[:20], Y[:20])}
        with refused(ValueError, words, net):
            net.fit(X, Y, epochs=epochs, batch_size=32, resume=path, **held)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(fastmlp.ModelFormatError):
        net.fit(X, Y, epochs=9, resume=path)
    with pytest.raises(ValueError, match="Checkpoint monitors val_loss but there is no"):
        net.fit(X, Y, callbacks=[fastmlp.Checkpoint(path, monitor="val_loss")])


def test_other_data_and_batches_are_those_of_another_job(mlp, tmp_path):
    path, held = tmp_path / "net", (X[:20], Y[:20])
    job(mlp, path)
    moved = Y.copy()
    moved[-1, 0] += 1e-6
    same_job = {"batch_size": 32, "validation_data": held}
    for data, options, words in (
        ((X, moved), {}, "resume is '.*net' but X, y, sample_weight or the validation data differ"),
        ((X[::-1], Y), {}, "differ from those of the fit"),
        ((X, Y), {"sample_weight": np.ones(90)}, "differ from those of the fit"),
        ((X, Y), {"validation_data": (X[:20], Y[1:21])}, "differ from those of the fit"),
        ((X, Y), {"batch_size": 31}, "resume is '.*net' and batch_size is 31 but was 32"),
        ((X[1:], Y[1:]), {}, "resume is '.*net' and the number of rows of X is 89 but was 90"),
    ):
        net = models.network(mlp)
        with refused(ValueError, words, net):
            net.fit(*data, epochs=9, resume=path, **{**same_job, **options})
    # The same numbers in another layout are the same data; and a loaded model takes any.
    models.network(mlp).fit(np.asfortranarray(X), Y, epochs=9, resume=path, **same_job)
    fastmlp.load(path).fit(X, moved, epochs=9, resume=True, validation_data=held)


def test_a_source_is_not_asked_for_its_data(mlp, tmp_path):
    path = tmp_path / "net"
    for epochs, blocks in ((1, [(X, Y)]), (2, [(X[:40], Y[:40]), (X[40:], Y[40:])])):
        callbacks = [fastmlp.Checkpoint(path)]
        net = models.network(mlp)
        net.fit(lambda b=blocks: b, epochs=epochs, resume=path, callbacks=callbacks)
    assert len(net.history.loss) == 2
    with pytest.raises(ValueError, match="batch_size is 7 but was 64"):
        net.fit(lambda: [(X, Y)], epochs=3, resume=path, batch_size=7)


def test_a_killed_job_ends_as_one_that_was_not(tmp_path):
    """The process ends by SIGKILL, in whatever it does, and the same work is started again."""
    path, rng = tmp_path / "net", np.random.default_rng(0)
    options = {"callbacks": lambda: [fastmlp.EarlyStopping(patience=40)], "epochs": 60}
    whole = job(fastmlp.MLP, tmp_path / "whole", **options)
    n_kills = 0
    for _ in range(cut.KILLS):
        if cut.killed_after(lambda: job(fastmlp.MLP, path, **options), float(rng.uniform(0, 0.1))):
            n_kills += 1
    same(job(fastmlp.MLP, path, **options), whole)
    assert n_kills
