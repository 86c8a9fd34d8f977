"""`python -m fastmlp`: its report, its options, and the digits it learns from."""

import re
import sys
import time

import children
import numpy as np
import pytest
from commands import here

from fastmlp import _cli, digits
from fastmlp._cli import demo


def run(*arguments, **environment):
    return children.python("-m", "fastmlp", *arguments, **environment)


def test_digits_are_those_of_the_repository():
    pixels, labels = digits.load()
    assert pixels.shape == (1797, 64)
    assert pixels.dtype == labels.dtype == np.uint8
    assert pixels.max() == 16
    # As scikit-learn's load_digits counts and adds them.
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert int(pixels.sum()) == 561718


def test_digits_agree_with_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    right = datasets.load_digits()
    pixels, labels = digits.load()
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
    for line in ("training  ", "CPU  ", "one prediction  ", "of FMA peak  "):
        assert line in result.stdout
    assert len(re.findall(r"^ +\d+ +\d\.\d{4} +\d\.\d{4}", result.stdout, re.MULTILINE)) >= 5
    assert seconds < 10 * children.SLOWDOWN


@pytest.mark.parametrize("seed", [1, 2])
def test_accuracy_is_no_luck(seed):
    result = demo.train(epochs=40, seed=seed, n_threads=1)
    assert result.right / len(result.labels) >= 0.97


def test_help_explains():
    result = here("--help")
    assert result.returncode == 0
    for word in ("--plot", "--epochs", "--seed", "--threads", "CC BY 4.0"):
        assert word in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--epochs", "0"], "'0' is no integer of at least 1"),
        (["--threads", "many"], "'many' is no integer of at least 1"),
        (["--seed", "-1"], "'-1' is no integer from 0 to 4,294,967,295"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_options_are_told(arguments, complaint):
    result = here(*arguments)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "digits.png"
    result = run("--epochs", "2", "--plot", str(file))
    assert result.returncode == 0, result.stderr
    assert file.read_bytes().startswith(b"\x89PNG")


def test_plot_needs_matplotlib(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert _cli.main(["--plot", "digits.png"]) == 1
    message = capsys.readouterr().err
    assert "--plot needs matplotlib" in message
    assert "pip install matplotlib" in message


@pytest.mark.parametrize(
    ("file", "said"),
    [("no/such/folder/digits.png", "there is no folder"), ("digits.nonsense", "'nonsense' is not")],
)
def test_plot_that_cannot_be_written(file, said, tmp_path):
    pytest.importorskip("matplotlib")
    result = run("--epochs", "1", "--plot", str(tmp_path / file))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "error: " in result.stderr
    assert said in result.stderr
