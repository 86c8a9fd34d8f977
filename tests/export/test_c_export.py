"""Models as C: compiled with all warnings, checked by themselves, quantized, called by threads."""

import doctest
import json
import re
import subprocess
from pathlib import Path

import cases
import compilers
import exports
import numpy as np
import pytest
from at_once import at_once
from exports import needs_gcc
from test_networks import ALL, FIT, SCORE, X, ensemble

import fastmlp
from fastmlp._export import c
from fastmlp._network.activations import ACTIVATIONS


def all_kinds(folder):
    """Write files that have every piece of C between them; return their paths."""
    x = exports.rows(64, 7, "float64")
    everything, layers = list(ACTIVATIONS), (7, *[9] * len(ACTIVATIONS), 4)
    net = exports.network(everything, "cross_entropy", "float32", layers, parametric=True)
    net.to_c(folder / "parametric.c", derivatives=2)
    for k, loss in enumerate(["cross_entropy", "binary_cross_entropy", "gaussian_nll"]):
        for dtype in exports.RELATIVE:
            net = exports.network(everything, loss, dtype, layers)
            net.to_c(folder / f"net{k}_{dtype}.c", derivatives=k)
            everything, layers = "tanh", (7, 40, 4)
    net = exports.network("relu", "cross_entropy", "float32")
    net.to_c(folder / "int8.c", weights="int8", X=x)
    normalized = exports.network("relu", "cross_entropy", "float32", layer_norm="after")
    normalized.to_c(folder / "normalized.c", derivatives=2)
    exports.network("relu", "squared_error", "float32", (7, 2)).to_c(
        folder / "linear.c", derivatives=2
    )
    net.weights = [1e-41 * w for w in net.weights]
    net.to_c(folder / "denormal.c")
    ensemble("gaussian_nll", **ALL).to_c(folder / "mixture.c", weights="int8", X=X)
    ensemble("quantile", **ALL).to_c(folder / "mean.c", derivatives=2)
    return sorted(folder.glob("*.c"))


@pytest.mark.slow
@compilers.COMPILERS
def test_no_warnings_and_the_self_check_passes(command, tmp_path):
    for source in all_kinds(tmp_path):
        compilers.check_passes(source, tmp_path, command)


@needs_gcc
def test_the_self_check_finds_a_wrong_weight(tmp_path):
    source = tmp_path / "net.c"
    exports.network("relu", "squared_error", "float32").to_c(source)
    text = source.read_text()
    at = text.index("0.", text.index("biases_2"))
    source.write_text(text[:at] + "1." + text[at + 2 :])
    ran = compilers.check(source, tmp_path)
    assert ran.returncode == 1
    assert ran.stdout.startswith("16 of 16 rows wrong")


@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll"])
def test_the_self_check_of_an_ensemble_is_of_the_mixture(loss):
    nets = ensemble(loss)
    model = nets._exported()
    own, wanted = c.predict(model, model.nets, X), cases.columns(nets.predict(X))
    np.testing.assert_allclose(own, wanted, rtol=1e-9)


@needs_gcc
def test_members_are_data(tmp_path):
    nets = ensemble()
    limits = {"float32": 1e-4, "float64": 1e-12, "int8": 0.3, "bfloat16": 0.1}
    for weights, limit in limits.items():
        files = nets.to_c(tmp_path / "nets.c", weights=weights, X=X)
        one = nets[0].to_c(tmp_path / "one.c", weights=weights, X=X)
        assert files.constant_bytes == 3 * one.constant_bytes
        assert files.largest_error < limit
    text = files.source.read_text()
    assert "3 multi-layer perceptrons, each of 5-8-8-3 units" in text
    assert len(re.findall("static void member", text)) == 1


# ---- weights of int8 ----------------------------------------------------------------------------


@needs_gcc
@pytest.mark.parametrize("dtype", exports.RELATIVE)
def test_int8_of_every_layer(dtype, tmp_path):
    x = exports.ordinary(300, 7, dtype)
    options = [*exports.OPTIONS.values(), *({"layer_norm": norm} for norm in exports.NORMS)]
    pairs = zip(ACTIVATIONS, options + options, strict=False)
    nets = [exports.network(name, "gaussian_nll", dtype, **own) for name, own in pairs]
    for net, (y, _) in zip(nets, exports.by_c(nets, x, tmp_path, weights="int8", X=x), strict=True):
        exports.assert_as_small(y, net, x)


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
    ((y, _),) = exports.by_c([net], x, tmp_path, weights="int8", X=x)
    error = np.abs(y - net.predict(x)).max() / net.predict(x).max()
    assert error == pytest.approx(files.largest_error, rel=0.01)


@needs_gcc
@pytest.mark.parametrize("dtype", exports.RELATIVE)
def test_inputs_far_from_0_count_with_their_rounding(dtype, tmp_path):
    """Kelvin and Pascal: the self-check passes, and the error is that of the compiled file."""
    rng = np.random.default_rng(0)
    mean, deviation = np.array([293.15] * 4 + [101325] * 3), np.array([0.2] * 4 + [20] * 3)
    x = (mean + deviation * rng.normal(size=(500, 7))).astype(dtype)
    net = exports.network("tanh", "squared_error", dtype, (7, 32, 2))
    weights, biases = ([*map(np.float64, arrays)] for arrays in (net.weights, net.biases))
    weights[0] = weights[0] / deviation[:, np.newaxis]
    biases[0] = biases[0] - mean @ weights[0]
    net.weights, net.biases = weights, biases
    ((y, _),) = exports.by_c([net], x, tmp_path, weights="float32", X=x)
    largest = np.abs(exports.truth(net, x)).max()
    for kind, least in {"float32": 1e-5, dtype: 0}.items():
        files = net.to_c(tmp_path / "net.c", weights=kind, X=x, derivatives=2)
        compilers.check_passes(files.source, tmp_path)
        assert files.largest_error > least
    files = net.to_c(tmp_path / "net.c", weights="float32", X=x)
    error = np.abs(y - exports.truth(net, x)).max() / largest
    assert error == pytest.approx(files.largest_error, rel=0.01)


@needs_gcc
def test_bfloat16_is_that_of_the_predictor(tmp_path):
    net = exports.network("tanh", "squared_error", "float32", (7, 40, 5), linear_path=True)
    x, p = exports.rows(100, 7, "float32"), net.predictor(weights="bfloat16")
    files = net.to_c(tmp_path / "net.c", weights="bfloat16", X=x)
    assert 0 < files.largest_error < 0.02
    assert files.constant_bytes == 2 * (7 * 40 + 40 * 5 + 7 * 5) + 4 * 45
    ((y, _),) = exports.by_c([net], x, tmp_path, weights="bfloat16", X=x)
    np.testing.assert_allclose(y, p(x), rtol=1e-4, atol=1e-5)


@needs_gcc
@pytest.mark.filterwarnings("ignore:.*onverge")
def test_int8_with_columns_of_all_sizes(tmp_path):
    x = X * [1e-3, 1, 1e4, 1, 1]
    model = fastmlp.MLPRegressor("gaussian", (32,), standardize=True, **FIT).fit(x, SCORE[:, :2])
    assert model.to_c(tmp_path / "net.c", weights="int8", X=x).largest_error < 0.05
    ((found, _),) = exports.by_c([model], x, tmp_path, weights="int8", X=x)
    mean, deviation = model.predict(x, return_std=True)
    np.testing.assert_allclose(found[:, :2], mean, atol=0.05 * np.abs(mean).max())
    np.testing.assert_allclose(np.sqrt(found[:, 2:]), deviation, rtol=0.1)


# ---- bits, threads, arguments -------------------------------------------------------------------


@needs_gcc
@pytest.mark.parametrize("weights", ["float64", "int8", "bfloat16"])
def test_small_code_has_the_same_bits(weights, tmp_path):
    net = exports.network("tanh", "squared_error", "float32", (7, 40, 5))
    x, found = exports.rows(100, 7, "float32"), []
    for optimize in ("-Os", "-O3"):
        (tmp_path / optimize).mkdir()
        found += exports.by_c([net], x, tmp_path / optimize, optimize, weights=weights, X=x)
    assert np.array_equal(found[0][0], found[1][0])


@needs_gcc
def test_large_numbers_are_normalized_as_by_python(tmp_path):
    """Their squares, and sums of the largest, overflow; equal numbers have no deviation."""
    net = exports.network("relu", "squared_error", "float32", (2, 2, 3), layer_norm="before")
    x = np.array([[0, 1e15], [1e18, 2e18], [1e19, -3e19], [1.7e38, 1.6e38]], np.float32)
    for weights in ([[1, 0.5], [1, 0.5]], np.ones((2, 2))):
        net.weights[0] = np.array(weights)
        ((y, _),) = exports.by_c([net], x, tmp_path)
        np.testing.assert_allclose(y, net.predict(x), rtol=1e-5, atol=1e-6)


@needs_gcc
def test_nan_goes_through(tmp_path):
    net = exports.network("relu", "squared_error", "float32")
    ((y, _),) = exports.by_c([net], np.full((1, 7), np.nan, np.float32), tmp_path)
    assert np.isnan(y).all()


@needs_gcc
def test_the_programs_of_the_page_print_what_it_says(tmp_path):
    page = (Path(__file__).parents[2] / "docs/guides/export-c.md").read_text("utf-8")
    names = {}
    for example in doctest.DocTestParser().get_examples(page.partition("## C\n")[0]):
        exec(example.source, names)
    names["model"].to_c(tmp_path / "gate.c", X=names["X"])
    names["table"].to_c(tmp_path / "rent.c", X=names["flats"], levels=[0.05, 0.95])
    found = re.findall(
        r"```c\n(.*?)```\n\n    cc -O3 main.c (\w+)\.c -lm .*?\n    (.*?)\n", page, re.S
    )
    assert [name for _, name, _ in found] == ["gate", "rent"]
    for program, name, printed in found:
        (tmp_path / "main.c").write_text(program)
        command = ["gcc", "-O2", "-Wall", "-Werror", "main.c", f"{name}.c", "-lm"]
        subprocess.run(command, cwd=tmp_path, check=True)
        assert subprocess.check_output(["./a.out"], cwd=tmp_path, text=True) == f"{printed}\n"


@needs_gcc
def test_many_threads_may_call(tmp_path):
    net = exports.network("tanh", "cross_entropy", "float32")
    net.to_c(tmp_path / "net.c")
    function, x = exports.compiled(tmp_path).net_predict, exports.rows(2000, 7, "float32")

    def work():
        return exports.called(function, x, np.empty((2000, 5), np.float32))

    wanted = work()
    assert all(np.array_equal(each, wanted) for each in at_once(*[work] * 4))


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("net.h", {}, "for example 'net.c'"),
        ("my-net.c", {}, "letters, digits and _ .* for example 'my_net.c'"),
        ("7net.c", {}, "for example 'model.c'"),
        ("net.c", {"weights": "int4"}, "choose from float32, float64, int8, bfloat16"),
        ("net.c", {"weights": "int8"}, "needs X"),
        ("net.c", {"X": np.zeros((3, 2))}, "2 features"),
        ("net.c", {"weights": "float32"}, "weights='float64'"),
    ],
)
def test_bad_arguments_write_nothing(path, options, words, tmp_path):
    net = exports.network("relu", "squared_error", "float64")
    net.biases[0] = np.full(33, 1e200)  # too large for float32
    with pytest.raises(ValueError, match=words):
        net.to_c(tmp_path / path, **options)
    assert not list(tmp_path.iterdir())


def test_the_description_has_inputs_classes_and_functions(tmp_path):
    net = fastmlp.MLP([3, 4, 2], loss="cross_entropy", rng=0)
    files = net.to_c(tmp_path / "net.c", derivatives=1)
    assert json.loads(files.description.read_text()) == {
        "name": "net",
        "real": "float",
        "inputs": 3,
        "outputs": 2,
        "labels": [0, 1],
        "functions": [
            "void net_predict(const float *x, float *y);",
            "int net_class(const float *x);",
            "void net_jacobian(const float *x, float *y, float *jacobian);",
        ],
    }
