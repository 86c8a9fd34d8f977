"""`python -m fastmlp`: its report, its options, and the digits it learns from."""

import re
import sys
import time
from pathlib import Path

import children
import numpy as np
import pytest
from commands import here, run
from sklearn.datasets import load_digits

from fastmlp import digits

ROOT = Path(__file__).resolve().parents[2]


def test_digits_agree_with_scikit_learn():
    right = load_digits()
    pixels, labels = digits.load()
    assert pixels.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, right.data)
    np.testing.assert_array_equal(labels, right.target)


def test_split_takes_every_digit_once():
    X, y, X_test, y_test = digits.split(seed=3)
    pixels, labels = digits.load()
    together = np.column_stack([np.vstack([X, X_test]), np.concatenate([y, y_test])])
    right = np.column_stack([pixels / 8 - 1, labels])
    np.testing.assert_array_equal(sorted(map(tuple, together)), sorted(map(tuple, right)))


def test_report():
    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    accuracy = re.search(r"test accuracy +(\d\.\d+)", result.stdout)
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.97
    for line in ("training  ", "CPU  ", "one prediction  "):
        assert line in result.stdout
    assert "peak" not in result.stdout
    assert len(re.findall(r"^ +\d+ +\d\.\d{4} +\d\.\d{4}", result.stdout, re.MULTILINE)) >= 5
    assert seconds < 10 * children.SLOWDOWN
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = re.search(r"```text\n([^`]*test accuracy[^`]*\n)```", readme)
    assert shown is not None
    assert shown[1] in re.sub(r" +$", "", result.stdout, flags=re.MULTILINE)


@pytest.mark.slow
def test_plot(tmp_path):
    file = tmp_path / "digits.png"
    result = run("--epochs", "2", "--plot", str(file))
    assert result.returncode == 0, result.stderr
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("file", "is_here", "said"),
    [
        ("digits.png", False, "--plot needs matplotlib, .*: pip install matplotlib"),
        ("no/such/folder/digits.png", True, "there is no folder"),
        ("digits.nonsense", True, "'nonsense' is not"),
    ],
)
def test_a_plot_that_cannot_be_drawn(file, is_here, said, tmp_path, monkeypatch):
    if not is_here:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = here("--epochs", "1", "--plot", str(tmp_path / file))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert re.search(f"error: .*{said}", result.stderr)
