"""Models as C: compiled with all warnings, and run."""

import ctypes
import functools
import itertools
import shutil
import subprocess

import cortex
import exports
import numpy as np
import pytest
from at_once import at_once
from models import network as small_network

import fastmlp
from fastmlp import reference
from fastmlp._network.activations import ACTIVATIONS

COMPILERS = [
    pytest.param(command, marks=pytest.mark.skipif(not shutil.which(command[0]), reason="not here"))
    for command in (
        ("gcc", "-std=c99"),
        ("clang", "-std=c99"),
        ("g++", "-xc++"),
        ("clang++", "-xc++"),
        ("arm-linux-gnueabihf-gcc", "-std=c99", "-static"),
        (cortex.COMPILER, "-std=c99", *cortex.FLAGS),
    )
]
# Whether programs of a compiler run here, what they are linked with, and the command.
HERE = (lambda: True, lambda folder: [], lambda program: [program])
RUN = {
    "arm-linux-gnueabihf-gcc": (
        lambda: shutil.which("qemu-arm"),
        lambda folder: [],
        lambda program: ["qemu-arm", program],
    ),
    cortex.COMPILER: (cortex.is_here, cortex.linked, cortex.command),
}
STRICT = ("-O2", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
TYPES = dict.fromkeys(("float32", "int8", "bfloat16"), ctypes.c_float) | {
    "float64": ctypes.c_double
}

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


def compiled(folder, optimize="-O1"):
    """Return the library of all C files in a folder."""
    library = folder / "all.so"
    sources = sorted(folder.glob("*.c"))
    command = ["gcc", "-std=c99", optimize, "-shared", "-fPIC", "-o", library, *sources]
    subprocess.run([*command, "-lm"], check=True)
    return ctypes.CDLL(library)


def predict(library, name, x, columns, kind):
    """Return what NAME_predict makes of rows."""
    pointer = ctypes.POINTER(TYPES[kind])
    function = getattr(library, f"{name}_predict")
    function.argtypes, function.restype = [pointer, pointer], None
    x = np.ascontiguousarray(x, TYPES[kind])
    y = np.empty((len(x), columns), x.dtype)
    for row, result in zip(x, y, strict=True):
        function(row.ctypes.data_as(pointer), result.ctypes.data_as(pointer))
    return y


@needs_gcc
@pytest.mark.parametrize("dtype", exports.RELATIVE)
def test_every_activation_and_loss(dtype, tmp_path):
    nets = {}
    for k, pair in enumerate(exports.PAIRS):
        nets[f"net{k}"] = exports.network(*pair.values, dtype)
        nets[f"net{k}"].to_c(tmp_path / f"net{k}.c")
    library = compiled(tmp_path, "-O0")
    x = exports.rows(300, 7, dtype)
    for name, net in nets.items():
        y = predict(library, name, x, net.loss.heads * 5, dtype)
        exports.assert_as_true(np.split(y, net.loss.heads, axis=1), net, x)


@needs_gcc
@pytest.mark.parametrize("layers", [(1, 1), (3, 2), (2, 1, 1), (5, 31, 32, 33, 65, 64, 4)])
def test_few_and_many_layers(layers, tmp_path):
    net = exports.network("tanh", "gaussian_nll", "float32", layers)
    files = net.to_c(tmp_path / "net.c")
    assert files.constant_bytes == sum(4 * a.size for a in [*net.weights, *net.biases])
    x = exports.rows(200, layers[0], "float32")
    y = predict(compiled(tmp_path), "net", x, 2 * layers[-1], "float32")
    exports.assert_as_true(np.split(y, 2, axis=1), net, x)


@needs_gcc
@pytest.mark.parametrize("dtype", exports.RELATIVE)
def test_layer_normalisation(dtype, tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 7)).astype(dtype)
    x[0] = 0
    nets = [exports.network("gelu", "gaussian_nll", dtype, layer_norm=n) for n in exports.NORMS]
    for k, net in enumerate(nets):
        net.to_c(tmp_path / f"net{k}.c")
        net.to_c(tmp_path / f"small{k}.c", weights="int8", X=x)
    library = compiled(tmp_path)
    for k, net in enumerate(nets):
        y = predict(library, f"net{k}", x, 10, dtype)
        exports.assert_normalized(np.split(y, 2, axis=1), net, x)
        small = predict(library, f"small{k}", x, 10, "int8")
        assert np.abs(small - y).max() < 0.05 * np.abs(y).max()


@needs_gcc
@pytest.mark.parametrize("dtype", exports.RELATIVE)
def test_scales_and_parametric_activations(dtype, tmp_path):
    x = exports.rows(300, 7, dtype)
    ordinary = np.random.default_rng(0).normal(size=(300, 7)).astype(dtype)
    pairs = zip(ACTIVATIONS, itertools.cycle(exports.OPTIONS.values()), strict=False)
    nets = [exports.network(name, "squared_error", dtype, **options) for name, options in pairs]
    for k, net in enumerate(nets):
        net.to_c(tmp_path / f"net{k}.c")
        net.to_c(tmp_path / f"small{k}.c", weights="int8", X=ordinary)
    library = compiled(tmp_path)
    for k, net in enumerate(nets):
        exports.assert_as_true([predict(library, f"net{k}", x, 5, dtype)], net, x)
        (y,), small = (
            exports.truth(net, ordinary),
            predict(library, f"small{k}", ordinary, 5, "int8"),
        )
        assert np.abs(small - y).max() < 0.05 * np.abs(y).max()


def all_kinds(folder):
    """Write files that have every piece of C between them; return their names."""
    x = exports.rows(64, 7, "float64")
    everything, layers = list(ACTIVATIONS), (7, *[9] * len(ACTIVATIONS), 4)
    net = exports.network(everything, "cross_entropy", "float32", layers, parametric=True)
    net.to_c(folder / "parametric.c")
    for k, loss in enumerate(["cross_entropy", "binary_cross_entropy", "gaussian_nll"]):
        for dtype in exports.RELATIVE:
            net = exports.network(everything, loss, dtype, layers)
            net.to_c(folder / f"net{k}_{dtype}.c")
            everything, layers = "tanh", (7, 40, 4)
    net = exports.network("relu", "cross_entropy", "float32")
    net.to_c(folder / "int8.c", weights="int8", X=x)
    normalized = exports.network("relu", "cross_entropy", "float32", layer_norm="after")
    normalized.to_c(folder / "normalized.c")
    exports.network("relu", "squared_error", "float32", (7, 2)).to_c(folder / "linear.c")
    net.weights = [1e-41 * w for w in net.weights]
    net.to_c(folder / "denormal.c")
    return sorted(path.stem for path in folder.glob("*.c"))


@pytest.mark.parametrize("command", COMPILERS)
def test_no_warnings_and_the_self_check_passes(command, tmp_path):
    is_here, linked, started = RUN.get(command[0], HERE)
    if not is_here():
        pytest.skip("needs an emulator")
    more = linked(tmp_path)
    for name in all_kinds(tmp_path):
        source, program = tmp_path / f"{name}.c", tmp_path / name
        subprocess.run([*command, *STRICT, "-c", source, "-o", "/dev/null"], check=True)
        options = [*command, *STRICT, "-DFASTMLP_MAIN", source, "-o", program, *more, "-lm"]
        subprocess.run(options, check=True)
        run = subprocess.run(started(program), capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout
        assert run.stdout.startswith("0 of 16 rows wrong")


@needs_gcc
def test_the_self_check_finds_a_wrong_weight(tmp_path):
    net = exports.network("relu", "squared_error", "float32")
    source, program = tmp_path / "net.c", tmp_path / "net"
    net.to_c(source)
    text = source.read_text()
    at = text.index("0.", text.index("biases_2"))
    source.write_text(text[:at] + "1." + text[at + 2 :])
    subprocess.run(["gcc", "-DFASTMLP_MAIN", source, "-o", program, "-lm"], check=True)
    run = subprocess.run([program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout.startswith("16 of 16 rows wrong")


@needs_gcc
def test_int8_is_near_and_says_how_near(tmp_path):
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.integers(-3, 4, 20)
    x = rng.normal(size=(500, 20)) * scale + 5 * scale
    net = exports.network("tanh", "cross_entropy", "float32", (20, 40, 3))
    net.weights[0] = net.weights[0] / scale[:, None]
    files = net.to_c(tmp_path / "net.c", weights="int8", X=x)
    assert 0 < files.largest_error < 0.05
    assert files.labels_changed < 0.05
    assert files.constant_bytes == 20 * 40 + 40 * 3 + 4 * (2 * 43 + 2 * 20)
    y = predict(compiled(tmp_path), "net", x, 3, "int8")
    error = np.abs(y - net.predict(x)).max() / net.predict(x).max()
    assert error == pytest.approx(files.largest_error, rel=0.01)


@needs_gcc
def test_bfloat16_is_that_of_the_predictor(tmp_path):
    net = exports.network("tanh", "squared_error", "float32", (7, 40, 5), linear_path=True)
    x, p = exports.rows(100, 7, "float32"), net.predictor(weights="bfloat16")
    files = net.to_c(tmp_path / "net.c", weights="bfloat16", X=x)
    assert 0 < files.largest_error < 0.02
    assert files.constant_bytes == 2 * (7 * 40 + 40 * 5 + 7 * 5) + 4 * 45
    y = predict(compiled(tmp_path), "net", x, 5, "bfloat16")
    np.testing.assert_allclose(y, p(x), rtol=1e-4, atol=1e-5)


@needs_gcc
@pytest.mark.parametrize("weights", ["float64", "int8", "bfloat16"])
def test_small_code_has_the_same_bits(weights, tmp_path):
    net = exports.network("tanh", "squared_error", "float32", (7, 40, 5))
    x, found = exports.rows(100, 7, "float32"), []
    for optimize in ("-Os", "-O3"):
        (tmp_path / optimize).mkdir()
        net.to_c(tmp_path / optimize / "net.c", weights=weights, X=x)
        found.append(predict(compiled(tmp_path / optimize, optimize), "net", x, 5, weights))
    assert np.array_equal(*found)


@needs_gcc
def test_nan_goes_through(tmp_path):
    net = exports.network("relu", "squared_error", "float32")
    net.to_c(tmp_path / "net.c")
    x = np.full((1, 7), np.nan)
    assert np.isnan(predict(compiled(tmp_path), "net", x, 5, "float32")).all()


@needs_gcc
def test_many_threads_may_call(tmp_path):
    net = exports.network("tanh", "cross_entropy", "float32")
    net.to_c(tmp_path / "net.c")
    library, x = compiled(tmp_path), exports.rows(2000, 7, "float32")
    work = functools.partial(predict, library, "net", x, 5, "float32")
    wanted = work()
    assert all(np.array_equal(each, wanted) for each in at_once(*[work] * 4))


@pytest.mark.parametrize("mlp", [fastmlp.MLP, reference.MLP])
def test_predictors_and_the_reference_write_the_same(mlp, tmp_path):
    net, texts = small_network(mlp), []
    for k, model in enumerate([net, net.predictor(), small_network(fastmlp.MLP)]):
        (tmp_path / str(k)).mkdir()
        model.to_c(tmp_path / str(k) / "net.c")
        texts.append((tmp_path / str(k) / "net.c").read_text())
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("net.h", {}, "for example 'model.c'"),
        ("my-net.c", {}, "for example 'model.c'"),
        ("net.c", {"weights": "int4"}, "one of float32, float64, int8, bfloat16"),
        ("net.c", {"weights": "int8"}, "needs X"),
        ("net.c", {"X": np.zeros((3, 2))}, "2 features"),
    ],
)
def test_bad_arguments_write_nothing(path, options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        exports.network("relu", "squared_error", "float32").to_c(tmp_path / path, **options)
    assert not list(tmp_path.iterdir())


def test_a_weight_too_large_for_float32(tmp_path):
    net = exports.network("relu", "squared_error", "float64")
    net.biases[0] = np.full(33, 1e200)
    with pytest.raises(ValueError, match="weights='float64'"):
        net.to_c(tmp_path / "net.c", weights="float32")
