"""Networks, ensembles and estimators as ONNX and as C: both predict what fastmlp predicts."""

import itertools
import sys

import cases
import exports
import mpmath
import numpy as np
import pytest
from exports import FORMATS
from models import network as small_network
from states import refused

import fastmlp
from fastmlp import reference
from fastmlp._export import activations, onnx
from fastmlp._export.layers import Exported
from fastmlp._models.network import network_of
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.spec import build
from fastmlp.sklearn.fitted import fitted_of

DTYPES = pytest.mark.parametrize("dtype", exports.RELATIVE)


@FORMATS
@DTYPES
def test_every_activation_and_loss(predicted, dtype, tmp_path):
    nets = [exports.network(*pair, dtype) for pair in exports.PAIRS]
    x = exports.rows(1000, 7, dtype)
    for net, (y, labels) in zip(nets, predicted(nets, x, tmp_path), strict=True):
        exports.assert_as_true(y, net, x)
        assert (labels is None) == (net.loss.name != "cross_entropy")
        if labels is not None:
            p = net.predict(x)
            exports.assert_same_labels(labels, p.argmax(axis=1), p)


@FORMATS
@pytest.mark.parametrize("layers", [(1, 1), (3, 2), (2, 1, 1), (5, 31, 32, 33, 65, 70, 3, 4)])
def test_few_and_many_layers(predicted, layers, tmp_path):
    net = exports.network("tanh", "gaussian_nll", "float32", layers)
    x = exports.rows(200, layers[0], "float32")
    ((y, _),) = predicted([net], x, tmp_path)
    exports.assert_as_true(y, net, x)


@FORMATS
@DTYPES
def test_layer_normalisation(predicted, dtype, tmp_path):
    x = exports.ordinary(300, 7, dtype)
    pairs = itertools.product(("gelu", "tanh"), exports.NORMS)
    nets = [exports.network(f, "gaussian_nll", dtype, layer_norm=norm) for f, norm in pairs]
    # A large common part does not drown a row.
    large = exports.network("identity", "squared_error", dtype, layer_norm="before")
    large.biases = [large.biases[0] + 1000, *list(large.biases)[1:]]
    *found, (y, _) = predicted([*nets, large], x, tmp_path)
    assert np.max(np.abs(y - exports.truth(large, x))) < 3e-3
    for net, (y, _) in zip(nets, found, strict=True):
        exports.assert_normalized(y, net, x)


@FORMATS
@DTYPES
@pytest.mark.parametrize(
    "first", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, len(exports.OPTIONS)))]
)
def test_scales_and_parametric_activations(predicted, dtype, first, tmp_path):
    x = exports.rows(300, 7, dtype)
    options = itertools.islice(itertools.cycle(exports.OPTIONS.values()), first, None)
    pairs = zip(ACTIVATIONS, options, strict=False)
    nets = [exports.network(name, "gaussian_nll", dtype, **own) for name, own in pairs]
    for net, (y, _) in zip(nets, predicted(nets, x, tmp_path), strict=True):
        exports.assert_as_true(y, net, x)


# ---- ensembles ----------------------------------------------------------------------------------

ALL = {"layer_norm": "before", "scale": True, "skip": 1, "linear_path": True, "parametric": True}


def ensemble(loss="squared_error", kind=fastmlp.MLP, **options):
    given = {"activation": "tanh", "dtype": "float64", **options}
    found = fastmlp.Ensemble([kind([5, 8, 8, 3], loss=loss, rng=k, **given) for k in range(3)])
    for k, net in enumerate(found):
        net.biases = [np.full(b.shape, 0.1 + k) for b in net.biases]
    return found


@FORMATS
@DTYPES
@pytest.mark.parametrize("options", [{}, ALL], ids=["plain", "all"])
def test_ensembles_predict_the_mixture(predicted, dtype, options, tmp_path):
    nets, x = [ensemble(loss, dtype=dtype, **options) for loss in exports.LOSSES], X.astype(dtype)
    for net, (y, labels) in zip(nets, predicted(nets, x, tmp_path), strict=True):
        expected = cases.columns(net.predict(x))
        np.testing.assert_allclose(y, expected, rtol=1e-4 if dtype == "float32" else 1e-9)
        if labels is not None:
            exports.assert_same_labels(labels, expected.argmax(axis=1), expected)


KINDS = [fastmlp.MLP, reference.MLP]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("loss", exports.LOSSES, ids=str)
def test_a_predictor_has_the_bits_of_predict(kind, loss, dtype):
    nets = ensemble(loss, kind, dtype=dtype)
    predict, x = nets.predictor(), X[:61].astype(dtype)
    expected = cases.columns(nets.predict(x))
    np.testing.assert_array_equal(predict(x), expected)
    for row, wanted in zip(x[:5], expected, strict=False):
        if kind is fastmlp.MLP:  # NumPy may round a row otherwise than a batch
            np.testing.assert_array_equal(predict(row), wanted)
            np.testing.assert_array_equal(predict(row[np.newaxis]), wanted[np.newaxis])
        assert predict(row).shape == wanted.shape
    assert predict.spec == network_of(nets[0]).spec
    assert len(predict.members) == 3
    assert repr(predict).endswith("; 3 networks>")
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


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_go_out_and_in(kind):
    nets, options = ensemble(kind=kind), {"activation": "tanh", "dtype": "float64"}
    others = fastmlp.Ensemble([kind([5, 8, 8, 3], **options) for _ in range(3)])
    others.load_state_dict(nets.state_dict())
    for net, other in zip(nets, others, strict=True):
        for name, array in net.state_dict().items():
            np.testing.assert_array_equal(array, other.state_dict()[name])
    assert len(nets.state_dict()) == 18
    wrong = nets.state_dict()
    wrong["members.0.layers.0.weight"] = wrong["members.0.layers.0.weight"] + 1
    for name, value, words in (
        ("x", 1, "state has also x"),
        ("members.2.layers.0.weight", np.zeros(3), "weights"),
    ):
        with refused(ValueError, words, nets):
            nets.load_state_dict({**wrong, name: value})


# ---- estimators ---------------------------------------------------------------------------------

RNG = np.random.default_rng(11)
N = 400
X = RNG.normal(size=(N, 5)) * [1, 10, 0.1, 1, 1] + [0, 50, 3, 0, 0]
SCORE = (X - X.mean(axis=0)) / X.std(axis=0)
TWO = (SCORE[:, 0] > 0).astype(np.int64)
FOUR = np.digitize(SCORE[:, 1], [-0.7, 0, 0.7])
TARGETS = {
    "two": TWO,
    "two-names": np.array(["no", "yes, very"])[TWO],
    "two-truths": TWO.astype(bool),
    "one": np.full(N, 7),
    "four": FOUR,
    "int8": FOUR.astype(np.int8),
    "gaps": 3 * FOUR - 5,
    "floats": FOUR * 2.0,
    "names": np.array(["red", "green", "blue", "ünïcode"])[FOUR],
    "objects": np.array(["red", "green", "blue", "black"], dtype=object)[FOUR],
    "each": np.column_stack([SCORE[:, 0] > 0, SCORE[:, 1] > 0, SCORE[:, 2] > 0.5]).astype(int),
}
FIT = {"max_iter": 8, "random_state": 0, "learning_rate_init": 0.01}


@FORMATS
@DTYPES
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.filterwarnings("ignore:.*onverge")
def test_classifiers(predicted, standardize, dtype, tmp_path):
    x, made = X.astype(dtype), {"hidden_layer_sizes": (16, 8), "standardize": standardize, **FIT}
    models = [fastmlp.MLPClassifier(**made).fit(x, y) for y in TARGETS.values()]
    for model, (p, labels) in zip(models, predicted(models, x, tmp_path), strict=True):
        wanted = model.predict_proba(x)
        assert p.dtype == dtype
        np.testing.assert_allclose(p, wanted, rtol=0, atol=exports.RELATIVE[dtype] * 50)
        exports.assert_same_labels(labels, model.predict(x), wanted)


@FORMATS
@DTYPES
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.filterwarnings("ignore:.*onverge")
def test_regressors(predicted, outputs, dtype, tmp_path):
    x, y = X.astype(dtype), np.abs(SCORE[:, :outputs]) * 20 + 100
    y = y[:, 0] if outputs == 1 else y
    models = [
        fastmlp.MLPRegressor(loss, (16,), standardize=loss != "poisson", **FIT).fit(x, y)
        for loss in ("squared_error", "poisson", "gaussian", "quantile")
    ]
    models[0].intercepts_[-1][:] += 10  # weights that were written into are exported
    x = x[:300]
    for model, (found, labels) in zip(models, predicted(models, x, tmp_path), strict=True):
        assert labels is None
        wanted = [model.predict(x)]
        if model.loss == "gaussian":
            wanted = model.predict(x, return_std=True)
            found[:, outputs:] **= 0.5
        wanted = np.concatenate([each.reshape(len(x), outputs) for each in wanted], axis=1)
        np.testing.assert_allclose(found, wanted, rtol=exports.RELATIVE[dtype] * 50)


# ---- what all write -----------------------------------------------------------------------------


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("mlp", KINDS)
def test_predictors_and_the_reference_write_the_same(mlp, many, tmp_path):
    model, native = (
        ensemble("gaussian_nll", kind) if many else small_network(kind)
        for kind in (mlp, fastmlp.MLP)
    )
    texts = []
    for each in (model, model.predictor(), native):
        each.to_c(tmp_path / "net.c")
        texts.append([(tmp_path / f"net.{end}").read_bytes() for end in "ch"])
    assert texts[0] == texts[1] == texts[2]
    assert model.to_onnx() == model.predictor().to_onnx() == native.to_onnx()


def test_what_no_other_program_has_a_type_for_is_refused(tmp_path):
    from sklearn.exceptions import NotFittedError

    model = fastmlp.MLPClassifier((4,), max_iter=2)
    ways = [lambda: model.to_c(tmp_path / "net.c"), model.to_onnx]
    for write in ways:
        with pytest.raises(NotFittedError):
            write()
    with pytest.warns(match="onverge"):
        model.fit(X, TARGETS["objects"])
    fitted_of(model).targets.labels.classes_ = np.array([b"x", b"y", b"z", b"w"])
    for write in ways:
        with pytest.raises(TypeError, match="strings, integers of 64 bits, floats or booleans"):
            write()
    assert not list(tmp_path.iterdir())


# ---- files of ONNX -------------------------------------------------------------------------------


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
        assert exports.run_onnx(model, {"X": x})["means"].shape == (n, 5)


@pytest.mark.parametrize(
    "options",
    [*exports.OPTIONS.values(), {"layer_norm": "before"}, {"layer_norm": [None, "after"]}],
    ids=str,
)
def test_tensors_have_the_names_of_the_state(options):
    net = exports.network("tanh", "huber", "float32", **options)
    names = {each.name for each in net.to_onnx().graph.initializer}
    assert {name for name in net.state_dict() if not name.endswith("scale")} <= names


def test_a_file_has_the_same_bytes(tmp_path):
    net = exports.network("relu", "squared_error", "float32")
    path = tmp_path / "net.onnx"
    assert path.write_bytes(b"old")
    model = net.to_onnx(path)
    assert path.read_bytes() == model.SerializeToString()
    __import__("onnx").checker.check_model(str(path), full_check=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_huge_numbers(activation, dtype):
    """As a predictor's, up to a rounding of 1, and of the number itself where it is returned."""
    net = fastmlp.MLP([1, 1, 1], activation=activation, dtype=dtype, rng=0)
    net.weights, net.biases = [np.ones((1, 1))] * 2, [np.zeros(1)] * 2
    sizes = np.array([0.0, 1e-40, 9.0, 13.5, 1e4, 1e13, 1e30, np.finfo(dtype).max / 4])
    x = np.concatenate([-sizes, sizes])[:, np.newaxis].astype(dtype)
    (found,) = exports.run_onnx(net.to_onnx(), {"X": x}).values()
    rounding = {"float32": 2e-6, "float64": 4e-15}[dtype]  # of ONNX Runtime's sigmoid
    np.testing.assert_allclose(found, net.predict(x), rtol=rounding, atol=rounding)


def test_the_tail_of_the_normal_distribution():
    """Against mpmath, everywhere it is used."""
    coefficients = activations.tail_coefficients()
    assert len(coefficients) == activations.DEGREE + 1
    for a in np.linspace(0, activations.TAIL, 97):
        u = (a - activations.MIDDLE) / (a + activations.MIDDLE)
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
        onnx.model(Exported(build([2**15, 2**15, 1]), ([],)))
