"""The textbook computes what the library computes, from the same weights, and needs NumPy alone."""

import ast
import copy
import pickle
import sys
from pathlib import Path

import children
import numpy as np
import pytest
from tolerances import assert_all_close, assert_close

import fastmlp
from fastmlp import reference

N, SIZES = 9, [3, 5, 4, 2]


def targets(loss, rng):
    return rng.integers(0, 2, N) if loss == "cross_entropy" else rng.normal(size=(N, 2))


@pytest.mark.parametrize("model", [fastmlp.MLP, reference.MLP], ids=["native", "numpy"])
@pytest.mark.parametrize("loss", reference.LOSSES)
@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
def test_the_textbook_equals_the_library(activation, loss, model):
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(N, 3)), targets(loss, rng)
    net = model(SIZES, activation=activation, loss=loss, dtype="float64", rng=0)
    net.biases = [rng.normal(size=b.shape) for b in net.biases]
    taught = reference.Perceptron([*SIZES[:-1], net.weights[-1].shape[1]], activation, loss)
    taught.weights, taught.biases = ([*map(np.copy, kind)] for kind in (net.weights, net.biases))

    z = taught.forward(x)[1][-1]
    prediction = net.predict(x)
    heads = prediction if isinstance(prediction, tuple) else (prediction,)
    assert_close(net.loss.link(z), np.hstack(heads), "gradient", "float64")
    value, dW, db = taught.gradients(x, t)
    objective, weight_gradients, bias_gradients = net.gradients(x, t)
    assert_close(value, objective, "loss", "float64")
    wanted = [*weight_gradients, *bias_gradients]
    assert_all_close([*dW, *db], wanted, "gradient", "float64", most=1.0)
    for _ in range(2):
        its_loss = net.partial_fit(x, t, optimizer=fastmlp.SGD(0.1))
        assert_close(taught.step(x, t, rate=0.1), its_loss, "loss", "float64")
    wanted = [*net.weights, *net.biases]
    assert_all_close([*taught.weights, *taught.biases], wanted, "step", "float64", most=1.0)


def test_the_second_derivatives_of_the_textbook_are_those_of_the_library(mlp):
    net = mlp([3, 8, 2], activation="tanh", dtype="float64", rng=0)
    x = np.array([0.3, -1.0, 2.0])
    first = net.weights[0], net.biases[0]
    hessians = [reference.tanh_hessian(x, *first, w) for w in net.weights[1].T]
    assert_close(net.hessian(x), hessians, "elementwise", "float64")


def test_the_textbook_learns_from_sparse_rows():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(N, 3)) * (rng.random((N, 3)) < 0.5)
    rows = fastmlp.SparseRows(range(0, 3 * N + 1, 3), [2, 0, 1] * N, x[:, [2, 0, 1]].ravel(), 3)
    dense, thin = (reference.Perceptron(SIZES, "tanh", "squared_error") for _ in range(2))
    t = targets("squared_error", rng)
    losses = [
        [net.step(inputs, t, 0.1) for _ in range(3)] for net, inputs in ((dense, x), (thin, rows))
    ]
    assert_close(*losses, "loss", "float64")
    assert_all_close(thin.weights, dense.weights, "step", "float64")


@pytest.mark.parametrize(("activation", "loss"), [("ReLU", "squared_error"), ("tanh", "mse")])
def test_the_textbook_names_its_functions(activation, loss):
    names = ", ".join(reference.ACTIVATIONS), ", ".join(reference.LOSSES)
    with pytest.raises(
        ValueError, match="loss is '{}': choose from {}, and from {}".format(loss, *names)
    ):
        reference.Perceptron([3, 2, 1], activation, loss)


NUMBERS, CLASSES = r"numbers of shape \(4, 4\)", r"class numbers from 0 to 3, of shape \(4,\)"


@pytest.mark.parametrize(
    ("loss", "t", "words"),
    [
        *[("squared_error", np.zeros(n), NUMBERS) for n in ((), 4, (1, 4), (4, 1), (4, 4, 1))],
        *[("gaussian_nll", np.zeros(n), r"numbers of shape \(4, 2\)") for n in ((), 2, (4, 1))],
        ("gaussian_nll", np.zeros((4, 4)), r"numbers of shape \(4, 2\)"),
        *[("cross_entropy", [0, 1, 2, label], CLASSES) for label in (4, -1, 0.5, np.nan, "a")],
        *[("cross_entropy", t, CLASSES) for t in (np.eye(4), [0, 1, 2], 3, np.arange(1, 5))],
    ],
)
def test_the_textbook_names_wrong_targets(loss, t, words):
    """Most of these broadcast, or pass as rows of no class: a wrong loss without an error."""
    net = reference.Perceptron([3, 4], "tanh", loss)
    with pytest.raises(ValueError, match=rf"the targets t, of shape \(.*\), are not {words}"):
        net.step(np.ones((4, 3)), t, 0.1)


def test_the_textbook_takes_class_numbers_as_a_list_or_a_column():
    net, x, t = reference.Perceptron([3, 4], "tanh", "cross_entropy"), np.ones((3, 3)), [3, 0, 1]
    values = [net.gradients(x, labels)[0] for labels in (np.array(t), t, np.array([t]).T)]
    assert values[0] == values[1] == values[2] > 0


def test_the_textbook_is_a_short_file_that_runs_with_numpy_alone():
    path = Path(reference.__file__)
    text = path.read_text()
    assert text.count("\n") < 200  # the README says so
    imports = [n for n in ast.parse(text).body if isinstance(n, ast.Import | ast.ImportFrom)]
    roots = {(getattr(n, "module", None) or n.names[0].name).split(".")[0] for n in imports}
    assert roots - sys.stdlib_module_names == {"numpy"}
    program = f"import runpy, sys; runpy.run_path({str(path)!r}); print('fastmlp' in sys.modules)"
    assert children.printed(children.python("-c", program)).strip() == "False"


def test_the_model_in_numpy_keeps_its_public_place():
    net = reference.MLP([2, 3, 1], rng=0)
    assert repr(net).startswith("fastmlp.reference.MLP([2, 3, 1]")
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert type(twin) is reference.MLP
    with pytest.raises(AttributeError, match="no attribute 'MPL'"):
        reference.MPL  # type: ignore[attr-defined]


def test_the_textbook_takes_lists():
    net, same = (reference.Perceptron([2, 3, 1], "tanh", "squared_error") for _ in range(2))
    rows, targets = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [0]]
    assert net.step(rows, targets, 0.1) == same.step(np.array(rows), np.array(targets), 0.1)
    assert (net.weights[0] == same.weights[0]).all()
