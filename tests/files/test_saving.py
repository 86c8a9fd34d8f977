"""A save replaces a file at one moment: full disks, kills, short writes, others that save too."""

import functools
import os
import pickle
import shutil
import signal
import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path

import cut
import models
import numpy as np
import pytest
import trials
from at_once import at_once

import fastmlp
from fastmlp._core import atomic_files


@pytest.mark.parametrize("trial", trials.every("saves cut short"), ids=", ".join)
def test_trial(trial, check):
    check(trial)


def test_the_file_is_on_the_disk_before_it_has_its_name_and_the_folder_after():
    calls = [name for name in cut.calls_of_a_save() if name in ("write", "fsync", "replace")]
    assert calls.index("fsync") == len([name for name in calls if name == "write"])
    assert calls[calls.index("fsync") :] == ["fsync", "replace", "fsync"]


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    net, write = cut.model(cut.NEW), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:1000]))
    net.save(tmp_path / "net")
    assert models.digest(fastmlp.load(tmp_path / "net")) == models.digest(net)


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/net")
    cut.model(cut.OLD).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert fastmlp.load(tmp_path / "folder" / "net").layer_sizes == tuple(cut.OLD)


def test_only_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/full"), Path(os.devnull)):
        with pytest.raises(OSError, match="only a file can be replaced"):
            cut.model(cut.OLD).save(path)
    assert (tmp_path / "pipe").is_fifo()
    missing = tmp_path / "no folder" / "net.c"
    net = cut.model(cut.OLD)
    exports = [net.to_onnx] if find_spec("onnx") else []
    for write, suffix in ((net.save, ""), (net.to_c, ".c"), *((to, ".onnx") for to in exports)):
        with pytest.raises(FileNotFoundError, match="the folder .* make it: .*no folder'"):
            write(missing.with_suffix(suffix))
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError):
            cut.model(cut.OLD).save(tmp_path / "net")


@pytest.mark.parametrize("kind", ["save", "to_c"])
def test_a_full_disk_keeps_the_old_files(kind, tmp_path):
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    path = tmp_path / ("model.c" if kind == "to_c" else "model")
    try:
        getattr(cut.model(cut.OLD), kind)(path)
        before = contents(tmp_path)
        with pytest.raises(OSError, match="No space left .*model"):
            getattr(cut.model([9, 200, 200, 1]), kind)(path)
        assert contents(tmp_path) == before
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def contents(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir()}


OTHER = [5, 30, 1]  # is exported at once


@pytest.mark.parametrize("nth", [1, 2])
def test_c_has_both_its_files_or_none(nth, tmp_path, monkeypatch):
    """The header or the source cannot be put on the disk."""
    calls, fsync = iter(range(1, 9)), os.fsync

    def fail(descriptor):
        if next(calls) == nth:
            raise OSError(28, "no space left")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=rf"no space left: '.*net\.{' hc'[nth]}'"):
        cut.model(OTHER).to_c(tmp_path / "net.c")
    assert not contents(tmp_path)


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("suffix", ["c", "onnx"])
def test_exports_are_replaced_as_a_whole_too(suffix, call, tmp_path, monkeypatch):
    if suffix == "onnx":
        pytest.importorskip("onnx", reason="needs onnx")
    path = tmp_path / f"net.{suffix}"
    export = f"to_{suffix}"
    getattr(cut.model(cut.OLD), export)(path)
    before = contents(tmp_path)

    def fail(*arguments):
        raise OSError(28, "no space left")

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(OSError, match="no space left"):
            getattr(cut.model(OTHER), export)(path)
    assert contents(tmp_path) == before
    getattr(cut.model(OTHER), export)(path)
    assert path.read_bytes() != before[path.name]
    assert contents(tmp_path).keys() == before.keys()


def test_threads_that_save_to_one_file_do_not_mix_their_models(tmp_path):
    path = tmp_path / "model"

    def save(net):
        for _ in range(20):
            net.save(path)
            cut.whole(path)

    nets = [cut.model(sizes) for sizes in (cut.OLD, cut.NEW, cut.OLD)]
    at_once(*(functools.partial(save, net) for net in nets))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_members_that_share_a_generator_share_one_after_they_are_loaded(tmp_path):
    shared = np.random.default_rng(0)
    nets = [models.network(fastmlp.MLP, rng=rng) for rng in (shared, 1, shared)]
    ensemble = fastmlp.Ensemble(nets)
    ensemble.fit(models.X, models.Y, epochs=2)
    loaded = models.saved(ensemble, tmp_path / "ensemble")
    for each in (ensemble, loaded):
        each.fit(models.X, models.Y, epochs=2)
    first, second = ([models.digest(m) for m in e.members] for e in (ensemble, loaded))
    assert first == second


def test_a_child_that_is_forked_within_a_save_can_save_too(tmp_path, monkeypatch):
    """It inherits the open temporary file, and with it the lock. The last save to end wins."""
    path, fsync = tmp_path / "model", os.fsync

    def fork(descriptor):
        monkeypatch.setattr(os, "fsync", fsync)
        trials.forked(functools.partial(cut.model(cut.OLD).save, path))
        assert cut.whole(path) == cut.OLD
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fork)
    cut.model(cut.NEW).save(path)
    assert cut.whole(path) == cut.NEW
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_worker_of_a_killed_job_holds_up_no_save(tmp_path):
    """The job was killed within a save, and the worker that it had forked there lives on."""
    path, (asleep, wake) = tmp_path / "model", os.pipe()

    def end(descriptor):
        if os.fork():
            os.kill(os.getpid(), signal.SIGKILL)
        os.close(wake)
        os.read(asleep, 1)  # this waits until the test closes its end
        os._exit(0)

    job = os.fork()
    if job == 0:
        os.fsync = end
        cut.model(cut.OLD).save(path)
    assert os.waitpid(job, 0)[1] == signal.SIGKILL
    trials.forked(functools.partial(cut.model(cut.NEW).save, path))
    assert cut.whole(path) == cut.NEW
    os.close(wake)

    def is_tidy():  # a save tidies up, once the worker has ended
        cut.model(cut.OLD).save(path)
        return [each.name for each in tmp_path.iterdir()] == [path.name]

    trials.until(is_tidy)
    os.close(asleep)


OTHERS = {
    "a pipe": lambda path, other: os.mkfifo(path),
    "a pipe with a reader": lambda path, other: read_pipe(path),
    "a hard link": lambda path, other: os.link(other, path),
    "a symbolic link": lambda path, other: path.symlink_to(other),
    "a link to nothing": lambda path, other: path.symlink_to("nothing"),
    "a folder": lambda path, other: path.mkdir(),
    "a file of another user": lambda path, other: given_away(path),
}


def read_pipe(path):
    os.mkfifo(path)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def given_away(path):
    path.write_bytes(b"a part of a model")
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(path, 65534, -1)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", ["model", "m" * 250, "\N{SNOWMAN}" * 85])
def test_a_temporary_file_of_somebody_else_is_not_used(name, other, tmp_path):
    """In a folder that others can write, they can put anything at the temporary file's name."""
    (tmp_path / "other").write_bytes(b"x")
    taken = tmp_path / atomic_files._temporary_name(name)
    reader = OTHERS[other](taken, tmp_path / "other")
    before = os.lstat(taken)
    cut.model(cut.NEW).save(tmp_path / name)
    assert cut.model(cut.NEW).layer_sizes == fastmlp.load(tmp_path / name).layer_sizes
    assert (tmp_path / "other").read_bytes() == b"x"
    assert {each.name for each in tmp_path.iterdir()} == {name, "other", taken.name}
    assert os.path.samestat(os.lstat(taken), before)
    if reader is not None:
        os.close(reader)
    saved = (tmp_path / name).stat()
    assert (saved.st_uid, saved.st_nlink) == (os.geteuid(), 1)


def test_a_new_file_has_no_more_rights_than_a_file_can_use(tmp_path):
    (tmp_path / "model").write_bytes(b"")
    (tmp_path / "model").chmod(0o4640)
    cut.model(cut.NEW).save(tmp_path / "model")
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o640


def test_a_save_removes_all_that_killed_savers_have_left(tmp_path):
    for name in (".model.saving", ".model.saving.1", ".model.saving.2"):
        (tmp_path / name).write_bytes(b"a part of a model")
    cut.model(cut.NEW).save(tmp_path / "model")
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.onnx", r"'m.onnx' has the name of ONNX but .*'m.safetensors'; to_onnx\(path\) writes"),
        ("m.c", r"has the name of C but .*: name it 'm.safetensors'; to_c\(path\) writes that"),
        ("M.PT", "has the name of a file of PyTorch but .*to_onnx"),
        ("m.keras", "has the name of a file of Keras but .*to_onnx"),
        ("m.pkl", "has the name of a pickle but .*pickle.dump"),
        ("m.json", "has the name of JSON but .*to_onnx"),
    ],
)
def test_a_name_of_another_kind_of_file_is_warned_of(name, words, tmp_path):
    net = cut.model(cut.OLD)
    with pytest.warns(UserWarning, match=words):
        net.save(tmp_path / name)
    assert fastmlp.load(tmp_path / name).layer_sizes == tuple(cut.OLD)
    for usual in ("m", "m.safetensors", "m.fastmlp", "m.v1"):
        net.save(str(tmp_path / usual))


def test_models_of_other_formats_are_named_when_they_are_loaded(tmp_path):
    net = cut.model(cut.OLD)
    (tmp_path / "pickled").write_bytes(pickle.dumps(net))
    writers = {
        "pickled": ("a pickle", None),
        "np.npy": ("an array", lambda path: np.save(path, [1])),
    }
    if find_spec("onnx"):
        writers["m.onnx"] = ("an ONNX model, .*: onnxruntime runs it", net.to_onnx)
    for name, (kind, write) in writers.items():
        if write:
            write(tmp_path / name)
        for load in (fastmlp.load, fastmlp.load_predictor):
            with pytest.raises(fastmlp.ModelFormatError, match=f"cannot be loaded: it is {kind}"):
                load(tmp_path / name)
