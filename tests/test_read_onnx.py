"""ONNX models read as MLPs: our own, others', and those that are refused."""

import exports
import numpy as np
import pytest

import fastmlp
from fastmlp._network import losses

onnx = pytest.importorskip("onnx", reason="needs onnx")
helper = onnx.helper

RNG = np.random.default_rng(0)
CONSTANTS = {
    "W0": RNG.normal(size=(4, 6)).astype(np.float32),
    "W0T": RNG.normal(size=(6, 4)).astype(np.float32),
    "b0": RNG.normal(size=6).astype(np.float32),
    "row4": RNG.normal(size=4).astype(np.float32),
    "row": RNG.normal(size=(1, 6)).astype(np.float32),
    "W1": RNG.normal(size=(6, 3)).astype(np.float32),
    "W2": RNG.normal(size=(6, 6)).astype(np.float32),
    "row6": RNG.normal(size=6).astype(np.float32),
    "b1": RNG.normal(size=3).astype(np.float32),
    "one": np.float32(1),
    "one1": np.ones(1, np.float32),
    "row4T": RNG.normal(size=(4, 1)).astype(np.float32),
    "two": np.float32(2),
    "gain": RNG.normal(size=6).astype(np.float32),
    "shift": RNG.normal(size=6).astype(np.float32),
    "half": np.ones((6, 3), np.float16),
    "narrow": np.ones((5, 3), np.float32),
}


def model(*nodes, outputs=("y",), inputs=("X",)):
    """Return a model of nodes ``(op, inputs, output, {attributes})``."""
    made = [helper.make_node(op, i.split(), o.split(), **dict(*a)) for op, i, o, *a in nodes]
    kind = onnx.TensorProto.FLOAT
    used = {name for node in made for name in node.input}
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info(name, kind, ["n", 4]) for name in inputs],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [onnx.numpy_helper.from_array(CONSTANTS[n], n) for n in sorted(used & CONSTANTS.keys())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


GEMM = ("Gemm", "X W0 b0", "z")
LAST = ("Gemm", "h W1 b1", "y")
SUMMED = ("Gemm", "s W1 b1", "y")
# A residual block of one layer.
BLOCK = [GEMM, ("Relu", "z", "r"), ("Gemm", "r W2 row6", "u"), ("Add", "u r", "s")]


@pytest.mark.parametrize("dtype", exports.RELATIVE)
@pytest.mark.parametrize(("activation", "loss"), exports.PAIRS)
def test_what_we_write_we_read(activation, loss, dtype):
    net = exports.network(activation, loss, dtype)
    back = fastmlp.from_onnx(net.to_onnx().SerializeToString(), loss=loss)
    assert (back.activations, back.dtype, back.loss) == (net.activations, net.dtype, loss)
    for a, b in zip([*net.weights, *net.biases], [*back.weights, *back.biases], strict=True):
        assert np.array_equal(a, b)
    guessed = fastmlp.from_onnx(net.to_onnx())
    assert guessed.loss.link_name == loss.link_name
    x = exports.rows(50, 7, dtype)
    for a, b in zip(*(exports.parts(n.predict(x)) for n in (net, guessed)), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", exports.RELATIVE)
@pytest.mark.parametrize("layer_norm", exports.NORMS, ids=str)
@pytest.mark.parametrize("activation", ["tanh", "gelu", "mish", "identity"])
def test_normalised_layers_come_back(activation, layer_norm, dtype):
    for layers in [(7, 9, 33, 5), (3, 1, 1, 2)]:
        net = exports.network(activation, "cross_entropy", dtype, layers, layer_norm=layer_norm)
        back = fastmlp.from_onnx(net.to_onnx())
        for name, array in net.state_dict().items():
            assert np.array_equal(array, back.state_dict()[name]), name
        x = exports.rows(50, layers[0], dtype)
        assert np.array_equal(net.predict(x), back.predict(x))


NORM = ("LayerNormalization", "z gain shift", "n")


@pytest.mark.parametrize(
    ("nodes", "place"),
    [
        ([NORM, ("Relu", "n", "h")], "before"),
        ([("Relu", "z", "r"), ("LayerNormalization", "r gain", "h", {"axis": 1})], "after"),
    ],
)
def test_normalisation_in_one_node(nodes, place):
    made = model(GEMM, *nodes, LAST)
    net = fastmlp.from_onnx(made)
    assert (net.layer_norm, net.activations) == ((place,), ("relu",))
    np.testing.assert_array_equal(net.gains[0], CONSTANTS["gain"])
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    x = RNG.normal(size=(20, 4)).astype(np.float32)
    made.ir_version = 9
    session = runtime.InferenceSession(made.SerializeToString())
    np.testing.assert_allclose(net.predict(x), session.run(None, {"X": x})[0], 1e-4, 1e-5)


FIRST = {
    "gemm": ([("Gemm", "X W0 b0", "z")], lambda x: x @ CONSTANTS["W0"] + CONSTANTS["b0"]),
    "transposed": (
        [("Gemm", "X W0T b0", "z", {"transB": 1, "alpha": 0.5, "beta": 2.0})],
        lambda x: 0.5 * (x @ CONSTANTS["W0T"].T) + 2 * CONSTANTS["b0"],
    ),
    "no bias": ([("MatMul", "X W0", "z")], lambda x: x @ CONSTANTS["W0"]),
    "matmul": (
        [("MatMul", "X W0", "s"), ("Add", "s b0", "z")],
        lambda x: x @ CONSTANTS["W0"] + CONSTANTS["b0"],
    ),
    "the other way": (
        [("MatMul", "X W0", "s"), ("Add", "row s", "z")],
        lambda x: x @ CONSTANTS["W0"] + CONSTANTS["row"],
    ),
    "around it": (
        [
            *[("Cast", "X", "c", {"to": onnx.TensorProto.FLOAT}), ("Flatten", "c", "f")],
            *[("Transpose", "W0T", "t"), ("MatMul", "f t", "s"), ("Add", "s b0", "i")],
            *[("Identity", "i", "d"), ("Dropout", "d", "z")],
        ],
        lambda x: x @ CONSTANTS["W0T"].T + CONSTANTS["b0"],
    ),
}


@pytest.mark.parametrize("first", FIRST)
def test_ways_to_write_an_affine_layer(first):
    nodes, value = FIRST[first]
    net = fastmlp.from_onnx(model(*nodes, ("Tanh", "z", "h"), LAST))
    x = RNG.normal(size=(20, 4)).astype(np.float32)
    wanted = np.tanh(value(x)) @ CONSTANTS["W1"] + CONSTANTS["b1"]
    np.testing.assert_allclose(net.predict(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "attributes", "activation"),
    [
        ("Gelu", {}, "gelu"),
        ("Gelu", {"approximate": "tanh"}, "gelu_tanh"),
        ("Mish", {}, "mish"),
        ("Elu", {"alpha": 1.0}, "elu"),
        ("LeakyRelu", {}, "leaky_relu"),
        ("Identity", {}, "identity"),
    ],
)
def test_activations_in_one_node(op, attributes, activation):
    net = fastmlp.from_onnx(model(("Gemm", "X W0 b0", "z"), (op, "z", "h", attributes), LAST))
    assert net.activations == (activation,)


def test_a_block_of_others():
    net = fastmlp.from_onnx(model(*BLOCK, SUMMED))
    assert (net.skip, net.activations) == (1, ("relu", "identity"))
    x = RNG.normal(size=(20, 4)).astype(np.float32)
    r = np.maximum(x @ CONSTANTS["W0"] + CONSTANTS["b0"], 0)
    s = r @ CONSTANTS["W2"] + CONSTANTS["row6"] + r
    wanted = s @ CONSTANTS["W1"] + CONSTANTS["b1"]
    np.testing.assert_allclose(net.predict(x), wanted, rtol=1e-4, atol=1e-4)


REFUSED = {
    "activation": ([GEMM, ("HardSwish", "z", "h"), LAST], "HardSwish between layers of 6 units"),
    "slope": ([GEMM, ("LeakyRelu", "z", "h", {"alpha": 0.2}), LAST], "LeakyRelu between"),
    "scaled input": ([("Mul", "X two", "m"), ("Gemm", "m W0 b0", "y")], "Mul between layers of 4"),
    "residual": (
        [GEMM, ("Relu", "z", "r"), ("MatMul", "r W1", "u"), ("Add", "u X", "y")],
        "a sum that is no block of hidden layers",
    ),
    "a block of one": (
        [GEMM, ("Relu", "z", "r"), ("Add", "r X", "s"), ("Gemm", "s W1 b1", "y")],
        "sums that are no blocks",
    ),
    "a block around none": (
        [GEMM, ("Relu", "z", "r"), ("Gemm", "r W2 row6", "u"), ("Add", "u z", "s"), SUMMED],
        "sums that are no blocks",
    ),
    "a sum of two layers": (
        [
            *[GEMM, ("Relu", "z", "r"), ("Gemm", "X W0 row6", "u"), ("Add", "u r", "v")],
            *[("Gemm", "v W2 b0", "w"), ("Add", "w v", "s"), SUMMED],
        ],
        "sums that are no blocks",
    ),
    "a blend by no constant": (
        [
            *[GEMM, ("Sub", "one row", "a"), ("Neg", "row", "b"), ("Mul", "z a", "c")],
            *[("Mul", "z b", "d"), ("Add", "c d", "h"), LAST],
        ],
        "Add between",
    ),
    "a normalised sum": (
        [*BLOCK, ("LayerNormalization", "s gain", "n"), ("Gemm", "n W1 b1", "y")],
        "not beside one hidden activation",
    ),
    "an active sum": ([*BLOCK, ("Tanh", "s", "n"), ("Gemm", "n W1 b1", "y")], "a sum that is no"),
    "twice the sum": (
        [*BLOCK, ("Add", "s r", "n"), ("Gemm", "n W1 b1", "y")],
        "a sum that is no",
    ),
    "a path from within": (
        [GEMM, ("Relu", "z", "r"), ("Gemm", "r W1 b1", "o"), ("Gemm", "r W1 o", "y")],
        "a sum that is no",
    ),
    "a path to within": (
        [GEMM, ("Gemm", "X W0 z", "o"), ("Relu", "o", "r"), ("Gemm", "r W1 b1", "y")],
        "a sum that is no",
    ),
    "half a blend": (
        [
            *[GEMM, ("Mul", "z row", "a"), ("Tanh", "z", "t"), ("Mul", "t row", "b")],
            *[("Add", "a b", "h"), LAST],
        ],
        "Add between",
    ),
    "a sum": ([("Relu", "X", "r"), ("Add", "q r", "s"), ("Add", "q q", "y")], "no chain"),
    "attention": ([("MatMul", "X X", "y")], "are MatMul of a layer"),
    "no layer": ([("Relu", "X", "y")], "are Relu of a layer"),
    "end": ([GEMM, ("Relu", "z", "h"), ("Gemm", "h W1 b1", "o"), ("Relu", "o", "y")], "are Relu"),
    "axis": ([GEMM, ("Softmax", "z", "y", {"axis": 0})], "are Softmax"),
    "float16": ([GEMM, ("MatMul", "z half", "y")], "are MatMul of a layer"),
    "sizes": ([GEMM, ("Relu", "z", "h"), ("MatMul", "h narrow", "y")], "layer 0 has 6 outputs"),
    "another epsilon": (
        [GEMM, ("LayerNormalization", "z gain", "h", {"epsilon": 1e-3}), LAST],
        "LayerNormalization between layers of 6",
    ),
    "two activations": (
        [GEMM, ("Relu", "z", "r"), ("LayerNormalization", "r gain", "n"), ("Tanh", "n", "h"), LAST],
        "not beside one hidden activation",
    ),
    "normalised twice": (
        [GEMM, NORM, ("LayerNormalization", "n gain", "h"), LAST],
        "not beside one hidden activation",
    ),
    "normalised outputs": ([GEMM, ("LayerNormalization", "z gain", "y")], "not beside one hidden"),
    "normalised inputs": (
        [("LayerNormalization", "X row4", "n"), ("Gemm", "n W0 b0", "y")],
        "not beside one hidden activation",
    ),
    "training": ([GEMM, ("Dropout", "z two two", "h"), LAST], "Dropout between"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plain_mlp_is_refused(name):
    nodes, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        fastmlp.from_onnx(model(*nodes))


@pytest.mark.parametrize("sizes", [exports.LAYERS, (7, 1, 1, 5)])
@pytest.mark.parametrize(
    "options",
    [
        {"parametric": [False, True]},
        {"parametric": True, "layer_norm": "before"},
        {"parametric": True, "layer_norm": "after"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", exports.RELATIVE)
def test_parametric_activations_come_back(options, sizes, dtype):
    for activation in ("relu", "silu", "gelu", ["identity", "elu"]):
        net = exports.network(activation, "squared_error", dtype, sizes, **options)
        back = fastmlp.from_onnx(net.to_onnx())
        assert (back.activations, back.parametric) == (net.activations, net.parametric)
        if activation != ["identity", "elu"]:  # of the identity, all alphas are alike
            for name, array in net.state_dict().items():
                np.testing.assert_array_equal(array, back.state_dict()[name])
        x = exports.rows(50, sizes[0], dtype)
        np.testing.assert_allclose(back.predict(x), net.predict(x), rtol=1e-5)


def test_a_scale_layer_comes_back_in_the_weights():
    net = exports.network("relu", "squared_error", "float64", scale=True)
    x = exports.rows(50, 7, "float64")
    np.testing.assert_allclose(
        fastmlp.from_onnx(net.to_onnx()).predict(x), net.predict(x), rtol=1e-9
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", exports.RELATIVE)
def test_models_of_skl2onnx(dtype):
    skl2onnx = pytest.importorskip("skl2onnx", reason="needs skl2onnx")
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    x = RNG.normal(size=(100, 4)).astype(dtype)
    three, options = RNG.integers(0, 3, 100), {"hidden_layer_sizes": (6, 5), "max_iter": 3}
    targets = (three, np.array(["a", "b", "c"])[three], RNG.integers(0, 2, (100, 3)))
    for y in targets:
        model = MLPClassifier(activation="logistic", **options).fit(x, y)
        net = fastmlp.from_onnx(skl2onnx.to_onnx(model, x[:1], options={"zipmap": False}))
        np.testing.assert_allclose(net.predict(x), model.predict_proba(x), rtol=1e-5)
    model = MLPRegressor(activation="tanh", **options).fit(x, x[:, 0])
    net = fastmlp.from_onnx(skl2onnx.to_onnx(model, x[:1]))
    np.testing.assert_allclose(net.predict(x)[:, 0], model.predict(x), rtol=1e-4, atol=1e-6)
    two = skl2onnx.to_onnx(MLPClassifier(**options).fit(x, three > 1), x[:1])
    with pytest.raises(ValueError, match="ZipMap"):
        fastmlp.from_onnx(two)


@pytest.mark.filterwarnings("ignore")  # two epochs are few
@pytest.mark.parametrize("dtype", exports.RELATIVE)
@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers_come_back(classes, dtype):
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    x = RNG.normal(size=(60, 4)).astype(dtype)
    model = fastmlp.MLPClassifier((6,), max_iter=2).fit(x, np.arange(60) % classes)
    p = model.predict_proba(x)
    net = fastmlp.from_onnx(model.to_onnx())
    assert np.array_equal(net.predict(x), p if classes > 2 else p[:, 1:])


PAIR = [("Sigmoid", "z", "p"), ("Sub", "one p", "q")]


def test_two_probabilities_of_a_sigmoid_are_of_one_output():
    narrow = ("Gemm", "X row4T one1", "z")
    net = fastmlp.from_onnx(model(narrow, *PAIR, ("Concat", "q p", "y", {"axis": 1})))
    assert (net.layer_sizes, net.loss) == ((4, 1), losses.BinaryCrossEntropy())
    for first, end in ((GEMM, "q p"), (narrow, "p q"), (narrow, "q p p")):
        with pytest.raises(ValueError, match="are Concat of a layer"):
            fastmlp.from_onnx(model(first, *PAIR, ("Concat", end, "y", {"axis": -1})))


def test_two_inputs_are_refused():
    with pytest.raises(ValueError, match="2 inputs"):
        fastmlp.from_onnx(model(GEMM, ("Add", "z V", "y"), inputs=("X", "V")))


def test_outputs_and_losses():
    ends = model(GEMM, ("Softmax", "z", "p"), outputs=("z", "p"))
    with pytest.raises(ValueError, match="name other outputs"):
        fastmlp.from_onnx(ends)
    assert fastmlp.from_onnx(ends, output="p").loss == losses.CrossEntropy()
    assert fastmlp.from_onnx(ends, output="z").loss == losses.SquaredError()
    logits = fastmlp.from_onnx(ends, output="z", loss="cross_entropy")
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    assert np.array_equal(logits.predict(x), fastmlp.from_onnx(ends, output="p").predict(x))
    with pytest.raises(ValueError, match="this network ends in softmax"):
        fastmlp.from_onnx(ends, output="p", loss="squared_error")
    with pytest.raises(ValueError, match="'q'"):
        fastmlp.from_onnx(ends, output="q")


def test_what_it_reads_from(tmp_path):
    net = exports.network("relu", "squared_error", "float32")
    path = tmp_path / "net.onnx"
    net.to_onnx(path)
    for source in (path, str(path), path.read_bytes(), net.to_onnx()):
        assert fastmlp.from_onnx(source).layer_sizes == net.layer_sizes
    assert fastmlp.from_onnx(path, rng=3).fit(np.eye(7), np.eye(7)[:, :5], epochs=1).loss


def test_what_is_no_onnx_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x12\x00rubbish")
    for source in (path, path.read_bytes()):
        with pytest.raises(ValueError, match="no ONNX model"):
            fastmlp.from_onnx(source)
