"""Models as ONNX: runtimes predict what fastmlp predicts."""

import sys

import exports
import numpy as np
import pytest
from models import network as small_network

import fastmlp
from fastmlp import reference
from fastmlp._export.onnx_nodes import DEGREE, MIDDLE, TAIL, tail_coefficients
from fastmlp._network.activations import ACTIVATIONS

onnx = pytest.importorskip("onnx", reason="needs onnx")
runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")


def run(model, x):
    """Return what ONNX Runtime predicts, by name."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"X": x}), strict=True))


def predictions(outputs):
    return [array for name, array in outputs.items() if name != "label"]


@pytest.mark.parametrize("dtype", exports.RELATIVE)
@pytest.mark.parametrize(("activation", "loss"), exports.PAIRS)
def test_every_activation_and_loss(activation, loss, dtype):
    net = exports.network(activation, loss, dtype)
    x = exports.rows(2000, 7, dtype)
    outputs = run(net.to_onnx(), x)
    exports.assert_as_true(predictions(outputs), net, x)
    if loss.name == "cross_entropy":
        p = np.sort(net.predict(x), axis=1)
        exports.assert_same_labels(
            outputs["label"], net.predict(x).argmax(axis=1), p[:, -1] > p[:, -2] + 1e-4
        )


@pytest.mark.parametrize("layers", [(1, 1), (3, 2), (2, 1, 1), (5, 70, 3, 4)])
@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll"])
def test_few_and_many_layers(layers, loss):
    net = exports.network("tanh", loss, "float32", layers)
    x = exports.rows(64, layers[0], np.float32)
    exports.assert_as_true(predictions(run(net.to_onnx(), x)), net, x)


@pytest.mark.parametrize("dtype", exports.RELATIVE)
@pytest.mark.parametrize("layer_norm", exports.NORMS, ids=str)
@pytest.mark.parametrize("loss", ["huber", "gaussian_nll"])
def test_layer_normalisation(loss, layer_norm, dtype):
    net = exports.network("tanh", loss, dtype, layer_norm=layer_norm)
    x = np.random.default_rng(0).normal(size=(1000, 7)).astype(dtype)
    x[0] = 0
    exports.assert_normalized(predictions(run(net.to_onnx(), x)), net, x)
    names = {each.name for each in net.to_onnx().graph.initializer}
    assert net.state_dict().keys() <= names


@pytest.mark.parametrize("dtype", exports.RELATIVE)
@pytest.mark.parametrize("options", exports.OPTIONS.values(), ids=exports.OPTIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_scales_and_parametric_activations(activation, options, dtype):
    net = exports.network(activation, "gaussian_nll", dtype, **options)
    x = exports.rows(1000, 7, dtype)
    exports.assert_as_true(predictions(run(net.to_onnx(), x)), net, x)
    names = {each.name for each in net.to_onnx().graph.initializer}
    assert {name for name in net.state_dict() if not name.endswith("scale")} <= names


def test_a_large_common_part_does_not_drown_a_row():
    net = exports.network("identity", "squared_error", "float32", layer_norm="before")
    x = np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)
    net.biases = [net.biases[0] + 1000, *list(net.biases)[1:]]
    (got,), (wanted,) = predictions(run(net.to_onnx(), x)), exports.truth(net, x)
    assert np.max(np.abs(got - wanted)) < 1e-3


def test_names_shapes_and_versions():
    net = exports.network("relu", "gaussian_nll", "float32")
    model = net.to_onnx()
    assert [each.name for each in model.graph.input] == ["X"]
    assert [each.name for each in model.graph.output] == ["means", "variances"]
    assert [each.version for each in model.opset_import] == [17]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"
    weights = {each.name: list(each.dims) for each in model.graph.initializer}
    assert weights["layers.0.weight"] == [7, 33]
    assert [node.op_type for node in model.graph.node][:3] == ["Gemm", "Relu", "Gemm"]
    for n in (0, 1, 5):  # any number of rows
        assert run(model, np.zeros((n, 7), np.float32))["means"].shape == (n, 5)


def test_a_file_has_the_same_bytes(tmp_path):
    net = exports.network("relu", "squared_error", "float32")
    path = tmp_path / "net.onnx"
    assert path.write_bytes(b"old")
    model = net.to_onnx(path)
    assert path.read_bytes() == model.SerializeToString()
    onnx.checker.check_model(str(path), full_check=True)


@pytest.mark.parametrize("mlp", [fastmlp.MLP, reference.MLP])
def test_predictors_and_the_reference_write_the_same(mlp):
    net = small_network(mlp)
    assert net.predictor().to_onnx() == net.to_onnx() == small_network(fastmlp.MLP).to_onnx()


def test_the_tail_of_the_normal_distribution():
    """Against mpmath, everywhere it is used."""
    mpmath = pytest.importorskip("mpmath")
    coefficients = tail_coefficients()
    assert len(coefficients) == DEGREE + 1
    for a in np.linspace(0, TAIL, 97):
        u = (a - MIDDLE) / (a + MIDDLE)
        got = np.polynomial.polynomial.polyval(u, coefficients)
        exact = mpmath.exp(mpmath.mpf(a) ** 2 / 2) * mpmath.ncdf(-mpmath.mpf(a))
        assert abs(got / exact - 1) < 2e-14


def test_without_the_package_there_is_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnx.numpy_helper", None)
    with pytest.raises(ImportError, match="pip install onnx"):
        exports.network("relu", "squared_error", "float32").to_onnx()


def test_too_large_for_a_file():
    from fastmlp._export import onnx as writer
    from fastmlp._export.layers import Exported
    from fastmlp._network.spec import build

    with pytest.raises(ValueError, match="at most 2,147,483,647"):
        writer.model(Exported(build([2**15, 2**15, 1]), ([],)))
