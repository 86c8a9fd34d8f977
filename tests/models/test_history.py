"""What a fit leaves behind, for other programs: frames, JSON, curves; parameters by name."""

import json
import math
import sys

import numpy as np
import pytest
from models import COPIES, X, Y, digest, network
from states import refused

import fastmlp
from fastmlp import reference

OPTIONS = {"epochs": 4, "validation_data": (X, Y)}


def history(**options):
    return network(fastmlp.MLP).fit(X, Y, **OPTIONS | options)


def test_a_frame():
    found = history()
    frame = found.to_frame()
    assert list(frame.columns) == ["loss", "val_loss", "seconds", "learning_rate"]
    assert frame.index.name == "epoch"
    assert frame["val_loss"].tolist() == found.val_loss
    assert "val_loss" not in history(validation_data=None).to_frame().columns
    assert len(fastmlp.History().to_frame()) == 0


def test_curves_in_notebooks_need_no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text = history()._repr_html_()
    assert text.count("stroke-width: 2") == 4  # two curves, two lines of the legend
    assert "nan" not in text
    assert ">validation</text>" in text
    diverged = fastmlp.History([1.0, math.nan, math.inf], stop_reason="<b>")
    assert "nan" not in diverged._repr_html_().partition("<svg")[2].partition(">")[2]
    assert "<b>" not in diverged._repr_html_()
    assert fastmlp.History()._repr_html_().startswith("<p>History(0 epochs)</p><svg")


def test_json():
    found = history(callbacks=[lambda state: state.epoch == 1])
    read = json.loads(found.to_json())
    assert read["loss"] == found.loss
    assert read["stop_reason"] == "<lambda> returned True"
    assert json.loads(fastmlp.History([1.0], [math.inf]).to_json())["val_loss"] == [None]


def test_a_short_repr():
    text = repr(history(epochs=100))
    assert text.startswith("History(100 epochs, loss ")
    assert len(text) < 100
    assert repr(fastmlp.History()) == "History(0 epochs)"
    assert repr(fastmlp.History([1.0], stop_reason="enough")) == (
        "History(1 epoch, loss 1 to 1, stopped: enough)"
    )


@pytest.mark.parametrize(
    ("method", "module"), [("to_frame", "pandas"), ("plot", "matplotlib.pyplot")]
)
def test_a_package_that_is_missing(method, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install {module.partition('.')[0]}"):
        getattr(fastmlp.History([1.0]), method)()


@pytest.mark.parametrize("mlp", [fastmlp.MLP, reference.MLP])
def test_parameters_by_name(mlp, tmp_path):
    net, other = network(mlp), network(mlp, rng=1)
    state = net.state_dict()
    assert list(state) == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]
    np.savez(tmp_path / "net.npz", **state)
    with np.load(tmp_path / "net.npz") as read:
        other.load_state_dict(read)
    assert digest(other) == digest(net)
    state["layers.0.weight"][:] = 0  # a copy
    assert net.weights[0].any()


def changed(**changes):
    state = network(fastmlp.MLP).state_dict() | {k.replace("_", "."): v for k, v in changes.items()}
    return {name: array for name, array in state.items() if array is not None}


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        (changed(layers_1_bias=None), ValueError, "state lacks layers.1.bias but exactly"),
        (changed(layers_2_bias=np.ones(2)), ValueError, "state has also layers.2.bias"),
        (changed(layers_0_weight=np.ones((8, 3))), ValueError, r"\(3, 8\) is expected"),
        (changed(layers_1_bias=np.array([1, np.nan])), ValueError, "nan but finite"),
        ([np.ones(2)], TypeError, "a dict of names and arrays is expected"),
    ],
)
def test_parameters_that_do_not_fit_change_nothing(state, error, words):
    net = network(fastmlp.MLP)
    with refused(error, words, net):
        net.load_state_dict(state)


@pytest.mark.parametrize("twin", COPIES)
def test_a_copy_that_a_fit_overtakes_is_of_one_epoch(twin, tmp_path, monkeypatch):
    net, whole = network(fastmlp.MLP), fastmlp.History.whole
    net.fit(X, Y, epochs=1)

    def overtaken(history):
        monkeypatch.setattr(fastmlp.History, "whole", whole)
        net.fit(X, Y, epochs=3)
        return whole(history)

    monkeypatch.setattr(fastmlp.History, "whole", overtaken)
    found = COPIES[twin](net, tmp_path / "net")
    assert len(found.history.loss) == 3
    assert digest(found) == digest(net)
