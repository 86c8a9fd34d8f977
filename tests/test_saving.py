"""A save replaces a file at one moment: full disks, kills, short writes, others that save too."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cut
import models
import pytest
import trials

import fastmlp


@pytest.fixture(scope="session")
def check(request: pytest.FixtureRequest) -> Any:
    return trials.chosen(request.session)


@pytest.mark.parametrize("trial", trials.every("saves cut short"), ids=", ".join)
def test_trial(trial: tuple[str, str], check: Any) -> None:
    check(trial)


def test_the_file_is_on_the_disk_before_it_has_its_name_and_the_folder_after() -> None:
    calls = [name for name in cut.calls_of_a_save() if name in ("write", "fsync", "replace")]
    assert calls.index("fsync") == len([name for name in calls if name == "write"])
    assert calls[calls.index("fsync") :] == ["fsync", "replace", "fsync"]


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, write = cut.model(cut.NEW), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:1000]))
    net.save(tmp_path / "net")
    assert models.digest(fastmlp.load(tmp_path / "net")) == models.digest(net)


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/net")
    cut.model(cut.OLD).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert fastmlp.load(tmp_path / "folder" / "net").layer_sizes == tuple(cut.OLD)


def test_the_mode_of_a_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "net"
    cut.model(cut.OLD).save(path)
    path.chmod(0o600)
    cut.model(cut.NEW).save(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_only_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/full"), Path(os.devnull)):
        with pytest.raises(OSError, match="only a file can be replaced"):
            cut.model(cut.OLD).save(path)
    assert (tmp_path / "pipe").is_fifo()
    missing = tmp_path / "no folder" / "net.c"
    net = cut.model(cut.OLD)
    exports = [net.to_onnx] if find_spec("onnx") else []
    for write in (net.save, net.to_c, *exports):
        with pytest.raises(FileNotFoundError, match="the folder .* make it: .*no folder'"):
            write(missing)
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError):
            cut.model(cut.OLD).save(tmp_path / "net")


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        cut.model(cut.OLD).save(tmp_path / "model")
        with pytest.raises(OSError, match="No space left"):
            cut.model([9, 500, 500, 1]).save(tmp_path / "model")
        assert cut.whole(tmp_path / "model") == cut.OLD
        assert len(list(tmp_path.iterdir())) == 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("suffix", ["c", "onnx"])
def test_exports_are_replaced_as_a_whole_too(
    suffix: str, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == "onnx":
        pytest.importorskip("onnx", reason="needs onnx")
    path = tmp_path / f"net.{suffix}"
    export = f"to_{suffix}"
    getattr(cut.model(cut.OLD), export)(path)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def fail(*arguments: object) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(OSError, match="no space left"):
            getattr(cut.model(cut.NEW), export)(path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
    getattr(cut.model(cut.NEW), export)(path)
    assert path.read_bytes() != before[path.name]
    assert {each.name for each in tmp_path.iterdir()} == before.keys()


def test_threads_that_save_to_one_file_do_not_mix_their_models(tmp_path: Path) -> None:
    path, failed = tmp_path / "model", []

    def save(net: fastmlp.MLP) -> None:
        try:
            for _ in range(20):
                net.save(path)
                cut.whole(path)
        except Exception as error:
            failed.append(error)

    nets = [cut.model(sizes) for sizes in (cut.OLD, cut.NEW, cut.OLD)]
    threads = [threading.Thread(target=save, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
