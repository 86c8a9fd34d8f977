"""Ensembles elsewhere: as a predictor, as ONNX, as C, as plain arrays."""

import shutil
import subprocess

import cases
import numpy as np
import pytest
from states import state
from test_ensemble import X

import fastmlp
from fastmlp import reference

KINDS = [fastmlp.MLP, reference.MLP]
LOSSES = [case.loss for case in cases.LOSSES if not case.labels]
OPTIONS = {
    "layer_norm": "before",
    "scale": True,
    "skip": 1,
    "linear_path": True,
    "parametric": True,
}


def ensemble(loss="squared_error", m=3, kind=fastmlp.MLP, **options):
    given = {"activation": "tanh", "dtype": "float64", **options}
    found = fastmlp.Ensemble([kind([5, 8, 8, 3], loss=loss, rng=k, **given) for k in range(m)])
    for k, net in enumerate(found):
        net.biases = [np.full(b.shape, 0.1 + k) for b in net.biases]
    return found


def parts(prediction):
    """Return means and variances as one array."""
    return np.concatenate(prediction, axis=1) if isinstance(prediction, tuple) else prediction


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_predictor_has_the_bits_of_predict(kind, loss, dtype):
    nets = ensemble(loss, 3, kind, dtype=dtype)
    predict, x = nets.predictor(), X.astype(dtype)
    expected = parts(nets.predict(x))
    np.testing.assert_array_equal(predict(x), expected)
    for row, wanted in zip(x[:5], expected, strict=False):
        if kind is fastmlp.MLP:  # in NumPy a row's products may be others than in a batch
            np.testing.assert_array_equal(predict(row), wanted)
            np.testing.assert_array_equal(predict(row[np.newaxis]), wanted[np.newaxis])
        assert predict(row).shape == wanted.shape
    assert predict.spec == nets[0]._spec
    assert len(predict.members) == 3
    assert "of 3 x" in repr(predict)
    nets[0].biases = [b + 1 for b in nets[0].biases]
    np.testing.assert_array_equal(predict(x), expected)


def test_a_predictor_writes_where_it_is_told():
    nets = fastmlp.Ensemble([fastmlp.MLP([3, 4, 3], rng=k) for k in range(2)])
    predict, x = nets.predictor(), np.ones((4, 3), np.float32)
    expected = predict(x)
    assert predict(x, x) is x  # the second one reads it after the first one has written
    np.testing.assert_array_equal(x, expected)
    out = np.empty(3, np.float32)
    assert predict(np.ones(3, np.float32), out) is out
    np.testing.assert_array_equal(out, expected[0])
    with pytest.raises(ValueError, match="out is"):
        predict(x, np.empty((4, 2), np.float32))
    with pytest.raises(ValueError, match="x has shape"):
        predict(np.ones(4, np.float32))


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "all"])
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_onnx_predicts_the_mixture(loss, dtype, options, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    nets = ensemble(loss, dtype=dtype, **options)
    nets.to_onnx(tmp_path / "nets.onnx")
    session = runtime.InferenceSession(tmp_path / "nets.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"X": X.astype(dtype)}), strict=True))
    expected = parts(nets.predict(X))
    if "label" in found:
        np.testing.assert_array_equal(found.pop("label"), expected.argmax(axis=1))
    together = np.concatenate(list(found.values()), axis=1)
    np.testing.assert_allclose(together, expected, rtol=1e-4 if dtype == "float32" else 1e-9)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "all"])
@pytest.mark.parametrize("weights", ["float32", "float64", "int8", "bfloat16"])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_c_predicts_the_mixture(loss, weights, options, tmp_path):
    nets = ensemble(loss, **options)
    files = nets.to_c(tmp_path / "nets.c", weights=weights, X=X)
    limits = {"float32": 1e-4, "float64": 1e-12, "int8": 0.3, "bfloat16": 0.1}
    assert files.largest_error < limits[weights]
    one = nets[0].to_c(tmp_path / "one.c", weights=weights, X=X)
    assert files.constant_bytes == 3 * one.constant_bytes
    assert "3 multi-layer perceptrons, each of 5-8-8-3 units" in files.source.read_text()
    strict = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
    program = tmp_path / "program"
    command = ["gcc", *strict, "-DFASTMLP_MAIN", files.source, "-o", program, "-lm"]
    subprocess.run(command, check=True)
    subprocess.run([program], check=True, capture_output=True)  # checks itself


@pytest.mark.parametrize("kind", ["native", "reference"])
def test_predictors_write_the_same(kind, tmp_path):
    nets = ensemble("gaussian_nll", kind={"native": fastmlp.MLP, "reference": reference.MLP}[kind])
    written = []
    for each in (nets, nets.predictor()):
        each.to_c(tmp_path / "nets.c", X=X)
        written.append((tmp_path / "nets.c").read_text())
    assert written[0] == written[1]


@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll"])
def test_the_self_check_of_c_is_of_the_mixture(loss, tmp_path):
    """What the C file is compared with is what fastmlp predicts."""
    from fastmlp._export import c_layers

    nets = ensemble(loss)
    model = nets._exported()
    own = c_layers.predict(model, [each.layers for each in model.each], X)
    np.testing.assert_allclose(own, parts(nets.predict(X)), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_go_out_and_in(kind):
    nets, others = (
        ensemble(kind=kind),
        fastmlp.Ensemble(
            [kind([5, 8, 8, 3], activation="tanh", dtype="float64") for _ in range(3)]
        ),
    )
    others.load_state_dict(nets.state_dict())
    for net, other in zip(nets, others, strict=True):
        for name, array in net.state_dict().items():
            np.testing.assert_array_equal(array, other.state_dict()[name])
    assert len(nets.state_dict()) == 18
    before = state(nets)
    wrong = nets.state_dict()
    wrong["members.0.layers.0.weight"] = wrong["members.0.layers.0.weight"] + 1
    with pytest.raises(ValueError, match="state has also x"):
        nets.load_state_dict({**wrong, "x": 1})
    wrong["members.2.layers.0.weight"] = np.zeros(3)
    with pytest.raises(ValueError, match="weights"):
        nets.load_state_dict(wrong)
    assert state(nets) == before
