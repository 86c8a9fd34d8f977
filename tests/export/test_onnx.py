"""Models as ONNX: names, shapes and versions; what a file cannot be. Predictions: test_networks."""

import sys

import exports
import numpy as np
import pytest
from exports import run_onnx
from test_networks import TARGETS, X

from fastmlp import MLPClassifier
from fastmlp._export import onnx as writer
from fastmlp._export.layers import Exported
from fastmlp._export.onnx_nodes import DEGREE, MIDDLE, TAIL, tail_coefficients
from fastmlp._network.spec import build

onnx = pytest.importorskip("onnx", reason="needs onnx")


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
        x = np.zeros((n, 7), np.float32)
        assert run_onnx(model, {"X": x})["means"].shape == (n, 5)


@pytest.mark.parametrize(
    "options",
    [*exports.OPTIONS.values(), {"layer_norm": "before"}, {"layer_norm": [None, "after"]}],
    ids=str,
)
def test_tensors_have_the_names_of_the_state(options):
    net = exports.network("tanh", "huber", "float32", **options)
    names = {each.name for each in net.to_onnx().graph.initializer}
    assert {name for name in net.state_dict() if not name.endswith("scale")} <= names


@pytest.mark.filterwarnings("ignore:.*onverge")
def test_the_names_are_those_of_skl2onnx():
    skl2onnx = pytest.importorskip("skl2onnx", reason="compares with skl2onnx")
    from sklearn.neural_network import MLPClassifier as Theirs

    y = TARGETS["names"]
    theirs = Theirs((16,), max_iter=8, random_state=0).fit(X, y)
    converted = skl2onnx.to_onnx(theirs, X[:1], options={"zipmap": False})
    ours = MLPClassifier((16,), max_iter=8, random_state=0).fit(X, y).to_onnx()
    for side in ("input", "output"):
        names = [[each.name for each in getattr(m.graph, side)] for m in (ours, converted)]
        assert names[0] == names[1]


def test_a_file_has_the_same_bytes(tmp_path):
    net = exports.network("relu", "squared_error", "float32")
    path = tmp_path / "net.onnx"
    assert path.write_bytes(b"old")
    model = net.to_onnx(path)
    assert path.read_bytes() == model.SerializeToString()
    onnx.checker.check_model(str(path), full_check=True)


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
    with pytest.raises(ValueError, match="at most 2,147,483,647"):
        writer.model(Exported(build([2**15, 2**15, 1]), ([],)))
