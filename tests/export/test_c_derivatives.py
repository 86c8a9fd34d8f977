"""Derivatives in C: those of the reference in float64, of every activation, link and option."""

import ctypes
import itertools

import compilers
import exports
import numpy as np
import pytest
from exports import needs_gcc
from test_networks import ALL, FIT, SCORE, TWO, X, ensemble

import fastmlp
from fastmlp._network.activations import ACTIVATIONS

OPTIONS = [*exports.OPTIONS.values(), *({"layer_norm": norm} for norm in exports.NORMS)]
OPTIONS += [{"skip": 1}, {"skip": 1, "layer_norm": "after"}, ALL]
SIZES = (5, 9, 9, 4)
LIMITS = {"float32": 2e-5, "float64": 1e-12}


def networks(dtype):
    """Return networks with each activation, loss and option, and some of few layers."""
    for activation, loss, options in itertools.zip_longest(ACTIVATIONS, exports.LOSSES, OPTIONS):
        yield exports.network(activation or "tanh", "gaussian_nll", dtype, SIZES, **options or {})
        yield exports.network("silu", loss or "cross_entropy", dtype, SIZES)
    for activation, sizes in itertools.product(
        ("identity", "tanh"), [(3, 2), (1, 1, 1), (2, 70, 3)]
    ):
        yield exports.network(activation, "squared_error", dtype, sizes)
    yield exports.network("identity", "huber", dtype, SIZES, parametric=True, layer_norm="after")


def assert_derivatives(library, name, x, expected, limit=1e-12):
    """Fail if values, jacobians and hessians of C are far from expected ones, (n, ...) each."""
    for order, function in enumerate(("predict", "jacobian", "hessian")):
        results = [np.full(a.shape, np.nan, x.dtype) for a in expected[: order + 1]]
        exports.called(getattr(library, f"{name}_{function}"), x, *results)
        for a, b in zip(results, expected, strict=False):
            assert np.abs(a - b).max() <= limit * max(1, np.abs(b).max())
    assert np.array_equal(results[2], results[2].swapaxes(2, 3))


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("dtype", exports.RELATIVE)
def test_derivatives_are_those_of_the_reference(dtype, tmp_path):
    nets = list(networks(dtype))
    for k, net in enumerate(nets):
        net.to_c(tmp_path / f"net{k}.c", derivatives=2)
    library = exports.compiled(tmp_path, "-O0")
    for k, net in enumerate(nets):
        x = exports.ordinary(7, net.layer_sizes[0], dtype)
        exact, wide = exports.exact(net), x.astype(np.float64)
        expected = exports.truth(net, x), exact.jacobian(wide), exact.hessian(wide)
        assert_derivatives(library, f"net{k}", x, expected, LIMITS[dtype])


def of_casadi(library, name, x, n_in):
    """Return the first output of a function of CasADi, as it is stored: column by column."""
    shape = ctypes.POINTER(ctypes.c_longlong)
    for end in ("_sparsity_in", "_sparsity_out"):
        getattr(library, name + end).restype = shape
    rows, columns, is_dense = getattr(library, f"{name}_sparsity_out")(0)[:3]
    assert is_dense
    assert getattr(library, f"{name}_sparsity_in")(0)[:3] == [len(x), 1, 1]
    assert getattr(library, f"{name}_n_in")() == n_in
    sizes = [ctypes.c_longlong() for _ in range(4)]
    getattr(library, f"{name}_work")(*map(ctypes.byref, sizes))
    result, memory = np.full((columns, rows), np.nan), np.empty(sizes[3].value)
    double = ctypes.POINTER(ctypes.c_double)
    at = [array.ctypes.data_as(double) for array in (x, result, memory)]
    getattr(library, name)((double * 3)(at[0]), (double * 2)(at[1]), None, at[2], 0)
    return result.T


@needs_gcc
@pytest.mark.parametrize("dtype", exports.RELATIVE)
def test_functions_of_casadi(dtype, tmp_path):
    net, x = exports.network("tanh", "squared_error", dtype, SIZES), np.linspace(-1, 1, 5)
    net.to_c(tmp_path / "net.c", derivatives=2)
    library = exports.compiled(tmp_path, "-O0")
    value, jacobian, hessian = exports.exact(net).predictor().derivatives(x)
    stacked = hessian.transpose(1, 0, 2).reshape(-1, 5)  # inputs vary first
    for order, expected in enumerate((value[:, np.newaxis], jacobian, stacked)):
        results = of_casadi(library, "jac_" * order + "net", x, order + 1)
        np.testing.assert_allclose(results, expected, rtol=0, atol=LIMITS[dtype] * 10)


@needs_gcc
@pytest.mark.filterwarnings("ignore:.*onverge")
def test_derivatives_of_ensembles_and_estimators(tmp_path):
    """Means over members; both classes; inputs before they are standardised."""
    x, nets = SCORE[:20], ensemble("cross_entropy", **ALL)
    parts = [net.predictor().derivatives(x) for net in nets]
    wanted = {"nets": [np.mean(arrays, axis=0) for arrays in zip(*parts, strict=True)]}
    nets.to_c(tmp_path / "nets.c", derivatives=2)
    model = fastmlp.MLPClassifier((9,), "tanh", standardize=True, **FIT).fit(X, TWO)
    model.to_c(tmp_path / "two.c", derivatives=2)
    second = model.to_mlp().predictor().derivatives(X[:20])
    wanted["two"] = [
        np.concatenate([k - a, a], axis=1) for k, a in zip((1, 0, 0), second, strict=True)
    ]
    library = exports.compiled(tmp_path, "-O0")
    assert_derivatives(library, "nets", x, wanted["nets"])
    assert_derivatives(library, "two", X[:20], wanted["two"])


@needs_gcc
def test_the_self_check_finds_a_wrong_derivative(tmp_path):
    for dtype, weights in (("float32", "float64"), ("float64", "float32")):
        net = exports.network("tanh", "squared_error", dtype, SIZES)
        source = net.to_c(tmp_path / "net.c", weights=weights, derivatives=2).source
        compilers.check_passes(source, tmp_path)
        source.write_text(source.read_text().replace("slope = 1.0", "slope = 1.01"))
        assert compilers.check(source, tmp_path).stdout.startswith("16 of 16 rows wrong")


@needs_gcc
@pytest.mark.parametrize("derivatives", [0, 1, 2])
@pytest.mark.parametrize(("weight", "bias"), [(100.0, 0.0), (1000.0, 80.0)])
def test_the_self_check_leaves_out_rows_with_infinite_results(weight, bias, derivatives, tmp_path):
    """The prediction or the hessian at one of the rows, or at all, is above float32."""
    net = fastmlp.MLP([1, 1], loss="poisson_nll", rng=0)
    net.weights, net.biases = [np.array([[weight]])], [np.array([bias])]
    rows = [[0.0], [100 / weight**2 if bias else 1.0]]
    source = net.to_c(tmp_path / "net.c", X=rows, derivatives=derivatives).source
    compilers.check_passes(source, tmp_path)


@needs_gcc
def test_an_output_stands_beside_one_whose_link_overflows(tmp_path):
    net, x = exports.network("tanh", "poisson_nll", "float64", SIZES), np.ones((1, 5))
    expected = net.predictor().derivatives(x)
    net.parameters_vector = [*net.parameters_vector[:-1], 1e4]  # the last bias
    assert net.to_c(tmp_path / "net.c", derivatives=2).largest_error < 1e-15
    results = [np.empty_like(a) for a in expected]
    exports.called(exports.compiled(tmp_path, "-O0").net_hessian, x, *results)
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a[:, :-1], b[:, :-1], rtol=1e-12)


def test_c_without_a_finite_prediction_is_refused_and_infinite_ones_are_an_error(tmp_path):
    net = fastmlp.MLP([1, 1], loss="poisson_nll", rng=0, dtype="float64")
    net.weights, net.biases = [np.array([[100.0]])], [np.array([0.0])]
    rows, path = np.array([[0.0], [2.0]]), tmp_path / "net.c"  # exp(200) is above float32
    assert net.to_c(path, X=rows, weights="float64").largest_error == 0
    assert net.to_c(path, X=rows, weights="float32").largest_error == np.inf
    with pytest.raises(ValueError, match="of all 1 rows are infinite or NaN in float32 but"):
        net.to_c(path, X=rows[1:], weights="float32")


def test_the_self_check_of_many_derivatives_is_of_lower_order(tmp_path):
    for sizes, function in (((90, 2, 40), "jacobian"), ((9, 2, 9), "hessian")):
        source = fastmlp.MLP(sizes, rng=0).to_c(tmp_path / "net.c", derivatives=2).source
        main = source.read_text().partition("int main")[2]
        assert f"net_{function}(" in main
        assert ("net_hessian(" in main) == (function == "hessian")


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (exports.network, {"derivatives": 3}, "0, 1 or 2 is expected"),
        (exports.network, {"derivatives": True}, "derivatives"),
        (exports.network, {"derivatives": 1, "weights": "bfloat16"}, "use weights='float32'"),
        (ensemble, {"derivatives": 1}, "write the members"),
        (
            lambda *_: fastmlp.MLP([600, 150, 150, 1], activation="tanh"),
            {"derivatives": 2},
            "bytes of stack",
        ),
    ],
)
def test_bad_arguments_write_nothing(make, options, words, tmp_path):
    arguments = ("gaussian_nll",) if make is ensemble else ("relu", "squared_error", "float32")
    with pytest.raises((TypeError, ValueError), match=words):
        make(*arguments).to_c(tmp_path / "net.c", **options)
    assert not list(tmp_path.iterdir())


def test_only_functions_that_were_asked_for_are_there(tmp_path):
    net = fastmlp.MLP([200, 8, 3])
    header = net.to_c(tmp_path / "net.c", derivatives=1).header.read_text()
    assert "net_jacobian(" in header
    assert "hessian" not in header
