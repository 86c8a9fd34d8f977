"""`fastmlp.lr_find`: what it suggests, what it leaves unchanged, and what it refuses."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import fastmlp

X = np.linspace(-1, 1, 512)[:, np.newaxis]
Y = 2 * X + 1
# With all rows in a batch, the loss of the line 2 x + 1 is a quadratic function of two parameters.
# Its curvatures are the mean of x**2 and 1: gradient descent converges below the rate 2 / 1.
LIMIT = 2.0


def line() -> fastmlp.MLP:
    return fastmlp.MLP([1, 1], rng=0)


def test_gradient_descent_on_a_line_is_stable_at_the_suggestion_and_not_at_the_end() -> None:
    found = fastmlp.lr_find(line(), X, Y, optimizer="sgd", batch_size=512, end=1e4)
    assert 0.02 * LIMIT < found.suggestion < LIMIT < found.learning_rates[-1] < 1e4
    np.testing.assert_allclose(np.diff(np.log(found.learning_rates)), math.log(1e10) / 99)
    assert found.losses.min() < 0.1 * found.losses[0]
    assert np.all(np.isfinite(found.losses))
    for rate, converges in ((found.suggestion, True), (1.1 * LIMIT, False)):
        history = line().fit(X, Y, epochs=200, batch_size=512, optimizer=fastmlp.SGD(rate))
        assert (history.loss[-1] < 1e-6) == converges


@pytest.mark.parametrize("optimizer", [None, "lion", fastmlp.AdamW(weight_decay=0.1)])
def test_the_model_is_unchanged_and_the_result_repeatable(optimizer: Any) -> None:
    net = fastmlp.MLP([1, 16, 1], dropout=0.1, rng=0)
    net.partial_fit(X, Y)
    before = pickle.dumps(net)
    options: dict[str, Any] = {"optimizer": optimizer, "steps": 40, "l2": 1e-4, "n_threads": 1}
    found = [fastmlp.lr_find(net, X, Y, **options) for _ in range(2)]
    assert pickle.dumps(net) == before
    assert found[0].suggestion == found[1].suggestion
    assert len(found[0].losses) <= 40
    if isinstance(optimizer, fastmlp.AdamW):
        assert optimizer == fastmlp.AdamW(weight_decay=0.1)


def test_a_loss_that_never_falls_has_no_suggestion() -> None:
    found = fastmlp.lr_find(line(), 0 * X, 0 * Y, steps=20)
    assert math.isnan(found.suggestion)
    assert ">suggestion</text>" not in found._repr_html_()


def test_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fastmlp.lr_find(line(), X, Y, optimizer="sgd")
    assert found._repr_html_().startswith("<svg")
    assert "nan" not in found._repr_html_()
    ax = Figure().add_subplot()
    assert found.plot(ax) is ax
    assert ax.get_xscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), found.learning_rates)
    assert ax.lines[1].get_xdata()[0] == found.suggestion
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"LRFind.plot needs matplotlib.*pip install matplotlib"):
        found.plot()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "net"}, TypeError, "model is a str but an MLP is expected"),
        ({"epochs": 3}, TypeError, "no option 'epochs': it takes optimizer, batch_size, start,"),
        ({"start": 0}, ValueError, "start is 0 but must be a finite number"),
        ({"end": "1"}, TypeError, "end is '1' but must be a number"),
        ({"start": 1.0, "end": 0.1}, ValueError, "start is 1 but must be below end, 0.1"),
        ({"steps": 3}, ValueError, "steps is 3 but at least 10 are needed"),
        ({"steps": 1.5}, TypeError, "steps"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"optimizer": "adamm"}, ValueError, "adamm"),
        ({"y": Y[:-1]}, ValueError, "511"),
        ({"start": 1e30, "end": 1e38, "optimizer": "sgd"}, ValueError, "pass a smaller start"),
    ],
)
def test_wrong_arguments_are_explained(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {"model": line(), "X": X, "y": Y, **options}
    with pytest.raises(error, match=message):
        fastmlp.lr_find(**arguments)
