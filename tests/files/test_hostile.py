"""Hostile files: each is refused for its own reason, in little time and memory; none runs code."""

import io
import json
import os
import re
from collections import Counter
from pathlib import Path

import children
import hostile
import hostile_files
import hostile_models
import numpy as np
import pytest
import stored
import trials

import fastmlp
from fastmlp._files import files
from fastmlp._models.network import network_of

ROWS = [*hostile_files.CONTAINER, *hostile_models.MODELS, *hostile_models.TABLES]
VALID = (
    *("MLP", "ensemble", "MLP float64"),
    *("MLPClassifier words", "TabMLPRegressor two outputs"),
)
ALLOWED = 16 << 20  # bytes of memory, beside twice the file


def complaint(text):
    """Return why a file is refused."""
    with pytest.raises(fastmlp.ModelFormatError) as caught:
        hostile.load(text)
    return str(caught.value)


@pytest.mark.parametrize(("make", "words"), ROWS, ids=[words for _, words in ROWS])
def test_a_file_by_hand_is_refused_for_its_reason(make, words):
    text = make()
    peak, said = trials.peak_of(lambda: complaint(text))
    assert re.search(words, said), said
    assert len(said) < 800
    assert said.isprintable()
    assert peak < 2 * len(text) + ALLOWED


def test_every_reason_is_another():
    assert len(ROWS) > 180
    twice = Counter(complaint(make()) for make, _ in ROWS)
    assert max(twice.values()) == 1, twice.most_common(1)


@pytest.mark.slow
@pytest.mark.parametrize("trial", trials.every("hostile files"), ids=", ".join)
def test_trial(trial, check):
    check(trial)


SMALL = fastmlp.MLP([2, 3, 2], rng=0)  # its file has 1 KB


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_seen(step):
    """Of bits 0, 3, 6, 9 and so on, three or two are in each byte."""
    text = bytearray(stored.text_of(SMALL))
    for at in range(0, 8 * len(text), step):
        text[at // 8] ^= 1 << at % 8
        hostile.refused(bytes(text))
        text[at // 8] ^= 1 << at % 8


def test_every_truncation_and_every_extreme_byte_is_seen():
    text = stored.text_of(SMALL)
    for at in range(len(text)):
        hostile.refused(text[:at])
        for byte in {0x00, 0xFF} - {text[at]}:
            hostile.refused(text[:at] + bytes([byte]) + text[at + 1 :])


@pytest.mark.parametrize("name", hostile.VALID)
def test_a_valid_file_costs_twice_its_size(name):
    text = hostile.valid(name)
    peak, _ = trials.peak_of(lambda: hostile.load(text))
    assert peak < 2 * len(text) + ALLOWED


@pytest.mark.slow
def test_a_category_costs_130_bytes_beside_its_text():
    n = 70_000
    X = np.arange(n).astype(str).astype(object)[:, np.newaxis]
    y = np.resize(stored.LABELS, n)
    text = stored.text_of(stored.table(fastmlp.TabMLPRegressor, y, X, epochs=1))
    peak, _ = trials.peak_of(lambda: hostile.load(text))
    assert peak < 2 * len(text) + 130 * n + ALLOWED


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say")
def test_a_large_file_with_moments_costs_twice_its_size(tmp_path):
    net = fastmlp.MLP([512, 1024, 1024, 64], rng=0)
    x = np.zeros((2, 512), np.float32)
    net.partial_fit(x, np.zeros((2, 64)))
    net.save(tmp_path / "net")
    program = (
        "import pathlib, re, sys, fastmlp\n"
        "fastmlp.MLP([1, 1]).predict([[0]])\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "def peak(): return int(re.search(r'VmHWM:\\s*(\\d+)', status.read_text())[1]) * 1024\n"
        "before = peak()\n"
        "net = fastmlp.load(sys.argv[1])\n"
        "print(peak() - before)"
    )
    used = int(children.printed(children.python("-c", program, tmp_path / "net")))
    size = (tmp_path / "net").stat().st_size
    assert size < used < 2 * size + ALLOWED


AUDITED = """
import sys, json, fastmlp, fastmlp.sklearn.codec, fastmlp.tabular.files.codec
import fastmlp._models.codecs.models, fastmlp._models.summary
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp import TabMLPClassifier, TabMLPRegressor, TabMLPSurvival
models = [fastmlp.load(path) for path in sys.argv[1:6]]
events = []
sys.addaudithook(lambda event, arguments: seen is not None and seen.append((event, arguments)))
seen = None
for path in sys.argv[1:]:
    seen = []
    try:
        model, error = fastmlp.load(path), None
    except fastmlp.ModelFormatError as refusal:
        error = refusal
    found, seen = seen, None
    found = [pair for pair in found if pair[0] != "builtins.id"]  # of the repr of a dataclass
    events.append([path, [event for event, _ in found], [str(a[0]) for _, a in found]])
print(json.dumps(events))
"""


def test_a_load_opens_its_file_and_does_nothing_else(tmp_path):
    paths = []
    for at, name in enumerate(VALID):
        paths.append(tmp_path / f"valid {at}")
        paths[-1].write_bytes(hostile.valid(name))
    for at, (make, _) in enumerate(ROWS):
        paths.append(tmp_path / f"hostile {at}")
        paths[-1].write_bytes(make())
    said = json.loads(children.printed(children.python("-c", AUDITED, *paths)))
    assert len(said) == len(paths)
    for path, events, arguments in said:
        assert events == ["open"], (path, events)
        assert arguments == [path]


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "net").write_bytes(hostile.valid("MLP"))
    (tmp_path / "link").symlink_to("net")
    os.mkfifo(tmp_path / "pipe")
    devices = [Path(os.devnull), Path("/dev/zero")]
    for path in (tmp_path, tmp_path / "pipe", *(path for path in devices if path.exists())):
        with pytest.raises(fastmlp.ModelFormatError, match="a folder, a pipe or a device"):
            fastmlp.load(path)
    with pytest.raises(fastmlp.ModelFormatError, match="is a symbolic link: pass the file"):
        fastmlp.load(tmp_path / "link")
    (tmp_path / "text").write_text("weights = [1, 2, 3]")
    with pytest.raises(fastmlp.ModelFormatError, match=r"text' cannot be loaded: it is text, such"):
        fastmlp.load(tmp_path / "text")
    net, content = fastmlp.MLP([2, 1]), hostile.valid("MLP")
    for path in (3, content, io.BytesIO(content)):
        for call in (fastmlp.load, fastmlp.load_predictor, net.save, net.to_c, net.to_onnx):
            with pytest.raises(TypeError, match=r"path is .*: pass a str or a pathlib\.Path$"):
                call(path)


def test_a_file_that_is_mostly_a_hole_is_refused_before_it_is_read(tmp_path):
    """A file system gives a file any size, and it takes no room on the disk."""
    path, size = tmp_path / "net", 10**12
    header, payload = hostile.apart(hostile.valid("MLP float64"))
    path.write_bytes(hostile.together(header, payload))
    try:
        os.truncate(path, size)
    except OSError:
        pytest.skip("the file system has no such files")
    with pytest.raises(fastmlp.ModelFormatError, match="bytes follow the last tensor"):
        fastmlp.load(path)
    n = files.memory() // 4 + 1
    header["hole"] = {"dtype": "F32", "shape": [n], "data_offsets": [len(payload)] * 2}
    header["hole"]["data_offsets"][1] += 4 * n
    text = hostile.together(header, payload)
    path.write_bytes(text)
    os.truncate(path, len(text) + 4 * n)
    with pytest.raises(fastmlp.ModelFormatError, match="for which there is no memory here"):
        fastmlp.load(path)
    assert files.read(path, only=()).size == len(text) + 4 * n


def test_a_file_for_which_there_is_no_memory(monkeypatch):
    def fail(size, dtype):
        if size > 10_000:
            raise MemoryError
        return empty(size, dtype)

    empty, text = np.empty, stored.text_of(fastmlp.MLP([50, 99, 1], rng=0))
    monkeypatch.setattr(np, "empty", fail)
    with pytest.raises(fastmlp.ModelFormatError, match="bytes, for which there is no memory here"):
        hostile.decode(text)


@pytest.mark.parametrize(("change", "words"), [(-8, "was cut off"), (4, "it grew while")])
def test_a_file_that_changes_meanwhile_is_refused(change, words, tmp_path, monkeypatch):
    path, text = tmp_path / "net", hostile.valid("MLP")
    path.write_bytes(text)
    read, calls = os.readv, []

    def readv(descriptor, rooms):
        calls.append(len(rooms[0]))
        if len(calls) == 2:
            with path.open("r+b") as file:
                file.truncate(len(text) + change)
        return read(descriptor, [rooms[0][:7]])  # and reads come short

    monkeypatch.setattr(os, "readv", readv)
    with pytest.raises(fastmlp.ModelFormatError, match=words):
        fastmlp.load(path)
    path.write_bytes(text)
    assert files.read(path).size == len(text)


def test_moments_that_do_not_belong_to_the_optimizer_are_not_used(tmp_path):
    net = stored.mlp()
    net.save(tmp_path / "net")
    again, fresh = (fastmlp.load(tmp_path / "net") for _ in range(2))
    network_of(fresh).resume_state = None
    for each in (again, fresh):
        each.partial_fit(stored.X, stored.Y, optimizer=fastmlp.Adam())
    assert all((a == b).all() for a, b in zip(again.weights, fresh.weights, strict=True))
