"""Derivatives: native against NumPy, NumPy against central differences, links, bits, misuse."""

import cases
import numpy as np
import own
import pytest
from test_operators import every_norm, every_option, widths
from test_predictor import LOSSES, assert_same_bits, every_dtype, every_level
from tolerances import assert_all_close, assert_close, central_difference_step

import fastmlp
from fastmlp import reference
from fastmlp._engine import native_engine
from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.thread_pool import borrowed_team
from fastmlp._models.network import network_of
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.data import Data
from fastmlp._network.sparse import SparseRows
from fastmlp._network.spec import BLOCK_ROWS

# Sizes on both sides of panels of every level.
SIZES = ((3, 1, 2), (5, 33, 3), (2, 67, 31, 1), (17, 8, 9, 4))


def made(kind, network, seed=0):
    """Return a frozen engine of one of `cases.KINDS`, with random parameters."""
    engine = cases.engine(kind, network)
    engine.set_parameters(*cases.parameters(network, np.random.default_rng(seed)))
    return engine.frozen()


def arguments(network, n, seed=1):
    """Return rows x, directions v, and gradients p and q of the outputs."""
    rng, columns = np.random.default_rng(seed), network.shapes[-1][1]
    shapes = [(n, network.layer_sizes[0])] * 2 + [(n, columns)] * 2
    return [rng.normal(size=shape).astype(network.dtype) for shape in shapes]


def results(engine, x, v, p, q, team=None):
    """Return all that an engine differentiates."""
    return [
        engine.differentiate(x, v, team=team),
        engine.differentiate(x, q=q, team=team),
        engine.differentiate(x, v, p, team=team),
        engine.differentiate(x, v, p, q, team),
        *engine.derivatives(x, team),
    ]


# ---- native against NumPy ------------------------------------------------------------------------


@every_level
@every_dtype
@every_norm
@every_option
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_native_engine_is_the_reference(activation, options, norm, dtype, level):
    network = cases.build(
        (3, *widths(options, 35, 18), 2), activation, dtype=dtype, layer_norm=norm, **options
    )
    given = arguments(network, 5)
    native, numpy = (results(made(kind, network), *given) for kind in (level, "reference"))
    assert_all_close(native, numpy, "step", dtype)


@every_level
@every_dtype
@pytest.mark.parametrize("sizes", SIZES)
def test_bits_depend_on_neither_rows_nor_threads(sizes, dtype, level):
    network = cases.build(sizes, "gelu", dtype=dtype, layer_norm="before")
    engine, given = made(level, network), arguments(network, 131)
    whole = results(engine, *given)
    for n_threads in (2, 3):
        with borrowed_team(n_threads, None) as team:
            for a, b in zip(results(engine, *given, team), whole, strict=True):
                assert_same_bits(a, b)
    for rows in (slice(0, 1), slice(63, 65), slice(130, 131)):
        part = results(engine, *(a[rows] for a in given))
        for a, b in zip(part, whole, strict=True):
            assert_same_bits(a, b[rows])


@every_level
@every_dtype
def test_levels_have_the_same_bits(dtype, level):
    if level == "baseline":
        pytest.skip("has no fused multiply-add")
    for at, name in enumerate(ACTIVATIONS):
        network = cases.build((9, 33, 17, 2), name, dtype=dtype, layer_norm=[None, "after"])
        given = arguments(network, 7, at)
        best = results(made(native_engine.available_levels()[0], network), *given)
        for a, b in zip(results(made(level, network), *given), best, strict=True):
            assert_same_bits(a, b)


# ---- NumPy against differences -------------------------------------------------------------------


@every_norm
@every_option
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.native_row(False))
def test_derivatives_by_central_differences(loss, options, norm):
    sizes = (3, *widths(options, 6, 5), 2)
    options = {"activation": "tanh", "dtype": "float64", "rng": 0} | options
    net = reference.MLP(sizes, loss=loss, layer_norm=norm, **options)
    x, v, _, dy = arguments(network_of(net).spec, 5)
    h, predict = central_difference_step(), net.predictor()
    numeric = (predict(x + h * v) - predict(x - h * v)) / (2 * h)
    slope = net.jvp(x, v)
    assert_close(slope, numeric, "central_difference", "float64", scale=64)
    np.testing.assert_allclose(slope, np.einsum("ncj,nj->nc", net.jacobian(x), v), rtol=1e-9)
    dx, *_ = net.vjp(x, dy)
    assert_all_close([np.sum(dx * v, axis=1)], [np.sum(dy * slope, axis=1)], "step", "float64")
    numeric = (net.vjp(x + h * v, dy)[0] - net.vjp(x - h * v, dy)[0]) / (2 * h)
    product, hessian = net.hvp(x, v, dy), net.hessian(x)
    assert_close(product, numeric, "central_difference", "float64", scale=2048)
    assert_all_close([np.einsum("nc,ncij,nj->ni", dy, hessian, v)], [product], "step", "float64")
    np.testing.assert_array_equal(hessian, hessian.swapaxes(2, 3))
    one = (
        net.hvp(x[0], v[0], dy[0]),
        net.hessian(x[0]),
        net.jvp(x[0], v[0]),
        net.vjp(x[0], dy[0])[0],
    )
    assert_all_close(one, [product[0], hessian[0], slope[0], dx[0]], "step", "float64")


@every_level
@every_dtype
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_curvature_of_an_activation_at_any_z(name, dtype, level):
    """A network of one unit with weights of 1 is its activation."""
    network = cases.build([1, 1, 1], name, dtype=dtype)
    info = np.finfo(dtype)
    z = np.concatenate([np.linspace(-45, 45, 901), [0, -0.0, 1e4, -1e4, info.max, -info.max]])
    z = z.astype(dtype)[:, np.newaxis]
    engine = cases.engine(level, network)
    engine.set_parameters([np.ones((1, 1))] * 2, [np.zeros(1)] * 2)
    curvature = engine.frozen().derivatives(z)[2][:, 0, 0]
    assert_close(curvature, ACTIVATIONS[name].curvature(z.astype(float)), "elementwise", dtype, 4)
    if name in ("identity", "relu", "leaky_relu"):
        assert not curvature.any()


# ---- gradients of parameters ---------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.native_row(False))
@pytest.mark.parametrize("n", [1, 66, BLOCK_ROWS + 7])
def test_vjp_of_the_loss_is_its_gradient(mlp, n, loss, dtype):
    net = mlp([3, 33, 4], loss=loss, activation="tanh", dtype=dtype, rng=0, layer_norm="after")
    x = arguments(network_of(net).spec, n)[0]
    y = cases.targets(loss, n, 4, np.random.default_rng(0), dtype)
    z = network_of(net).engine.predict(x, None, False)
    _, dz = net.loss.value_and_gradient(z, y)
    _, *gradients = network_of(net).engine.gradients(Data(x, dz / n, is_gradient=True))
    for got, wanted in zip(gradients, net.gradients(x, y)[1:], strict=True):
        assert_all_close(got, wanted, "gradient", dtype)


def test_vjp_is_never_rounded(mlp):
    plain, rounded = (mlp([64, 64, 2], compute=each, rng=0) for each in (None, "bfloat16"))
    x, _, dy, _ = arguments(network_of(plain).spec, 64)
    for a, b in zip(plain.vjp(x, dy), rounded.vjp(x, dy), strict=True):
        assert_all_close(a, b, "exact", "float32")


@every_norm
@every_option
def test_gradients_per_sample(mlp, options, norm):
    net = mlp((3, *widths(options, 6, 5), 2), layer_norm=norm, dtype="float64", rng=0, **options)
    x, _, y, _ = arguments(network_of(net).spec, 9)
    losses, *gradients = net.gradients(x, y, per_sample=True)
    batches = net.gradients(x, y, per_sample=True, batch_size=4)
    net.weights = [2 * w for w in net.weights]  # later than the call
    for first, (some, *parts) in zip((0, 4, 8), batches, strict=True):
        rows = slice(first, first + 4)
        assert_close(some, losses[rows], "loss", "float64")
        for kind, part in zip(gradients, parts, strict=True):
            assert_all_close(part, [array[rows] for array in kind], "gradient", "float64")
    net.weights = [w / 2 for w in net.weights]
    for row in (0, 8):
        loss, *single = net.gradients(x[row : row + 1], y[row : row + 1])
        assert_close(losses[row], loss, "loss", "float64")
        for kind, wanted in zip(gradients, single, strict=True):
            assert_all_close([a[row] for a in kind], wanted, "gradient", "float64")


@pytest.mark.parametrize("samples", [1, 2, 5, 9])
def test_gradients_per_sample_are_computed_in_blocks(mlp, samples, monkeypatch):
    """Signals take effect between blocks."""
    net = mlp([3, 8, 2], scale=True, linear_path=True, dtype="float64", rng=0)
    x, _, y, _ = arguments(network_of(net).spec, 9)
    losses, *whole = net.gradients(x, y, per_sample=True)
    rows, of_block = [], numpy_engine.ForwardPass

    def recorded(spec, parameters, x):
        rows.append(len(x))
        return of_block(spec, parameters, x)

    monkeypatch.setattr(numpy_engine, "SAMPLE_BYTES", samples * net.parameters_vector.nbytes + 1)
    monkeypatch.setattr(numpy_engine, "ForwardPass", recorded)
    some, *parts = net.gradients(x, y, per_sample=True)
    assert (max(rows), sum(rows)) == (samples, 9)
    assert_close(some, losses, "loss", "float64")
    for kind, part in zip(whole, parts, strict=True):
        assert_all_close(part, kind, "gradient", "float64")


def test_gradients_per_sample_of_sparse_rows_and_missing_targets(mlp):
    net = mlp([3, 8, 2], rng=0)
    x, _, y, _ = arguments(network_of(net).spec, 9)
    sparse = SparseRows(np.arange(0, 28, 3), np.tile(np.arange(3), 9), x.ravel(), 3)
    y[::2, 1] = np.nan
    for rows in (x, sparse):
        _, weights, _ = net.gradients(rows, y, per_sample=True)
        for at in range(9):
            known = y[at : at + 1].copy()
            _, single, _ = net.gradients(x[at : at + 1], known)
            share = np.mean(np.isfinite(known))  # the weight of the row, which a mean divides out
            assert_all_close(
                [w[at] for w in weights], [share * w for w in single], "step", "float32"
            )


# ---- gradients from outside ----------------------------------------------------------------------


def parameters_of(net):
    return [a for kind in network_of(net).engine.parameters() for a in kind]


@every_dtype
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.native_row(False))
def test_a_step_with_a_gradient_from_outside(mlp, loss, n_threads, dtype):
    options = {"loss": loss, "activation": "tanh", "dtype": dtype, "dropout": 0.0, "rng": 0}
    net, twin = (mlp([3, 33, 4], **options) for _ in range(2))
    steps = {"optimizer": fastmlp.Adam(0.01), "l2": 0.1, "n_threads": n_threads}
    for n in (37, 5, BLOCK_ROWS + 6):
        x = arguments(network_of(net).spec, n)[0]
        y = cases.targets(loss, n, 4, np.random.default_rng(n), dtype)
        z = network_of(net).engine.predict(x, None, False)
        _, dz = loss.value_and_gradient(z, y)
        value = net.partial_fit(x, output_gradient=dz / n, **steps)
        twin.partial_fit(x, y, **steps)
        assert_all_close(parameters_of(net), parameters_of(twin), "fit", dtype)
        penalty = 0.05 * sum(float(np.sum(w.astype(float) ** 2)) for w in net.weights)
        assert abs(value - np.sum(dz / n * z) - penalty) < 0.05 * (1 + abs(value))
    net.partial_fit(x, y, **steps)
    twin.partial_fit(x, y, **steps)
    assert_all_close(parameters_of(net), parameters_of(twin), "fit", dtype)


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy", "poisson_nll", "gaussian_nll"])
def test_a_gradient_of_predictions_goes_through_the_link(mlp, loss):
    nets = [mlp([3, 8, 4], loss=loss, dtype="float64", rng=0) for _ in range(3)]
    x, _, dy, _ = arguments(network_of(nets[0]).spec, 12)
    jacobian = nets[0].loss.link_row.product(nets[0].predictor()(x), dy)
    for net, gradient, through in zip(nets, (dy, jacobian), (True, False), strict=False):
        net.partial_fit(x, output_gradient=gradient, through_link=through, batch_size=5)
    assert_all_close(*map(parameters_of, nets[:2]), "fit", "float64")
    before = nets[2].predict(x)
    nets[2].partial_fit(x, output_gradient=0 * dy)
    np.testing.assert_array_equal(nets[2].predict(x), before)


@every_dtype
@pytest.mark.parametrize("loss", ["poisson_nll", "gaussian_nll"])
def test_an_output_stands_beside_one_whose_link_overflows(mlp, loss, dtype):
    net = mlp([3, 8, 2], activation="tanh", loss=loss, dtype=dtype, rng=0)
    x = np.random.default_rng(0).normal(size=(5, 3))
    dY = np.eye(net.predictor()(x).shape[1])[np.zeros(5, int)]

    def results():
        p = net.predictor()
        derivatives = [a[:, :-1] for a in (*p.derivatives(x), p.jacobian(x))]
        return [*derivatives, net.vjp(x, dY)[0], net.hvp(x, np.ones((5, 3)), dY)]

    before, vector = results(), net.parameters_vector.copy()
    vector[-1] = 1e4  # the last bias
    net.parameters_vector = vector
    assert np.isinf(net.predictor()(x)[:, -1]).all()
    for after, expected in zip(results(), before, strict=True):
        np.testing.assert_array_equal(after, expected)


def test_a_gradient_from_outside_is_not_divided(mlp):
    moves = []
    for rows in (slice(0, 8), slice(0, 4), slice(4, 8)):
        net = mlp([2, 3, 1], dtype="float64", rng=0)
        (x, _, dz, _), start = arguments(network_of(net).spec, 8), parameters_of(net)
        net.partial_fit(x[rows], output_gradient=dz[rows, 0], optimizer=fastmlp.SGD(0.1))
        moves.append([a - b for a, b in zip(parameters_of(net), start, strict=True)])
    whole, *halves = moves
    assert_all_close(whole, [a + b for a, b in zip(*halves, strict=True)], "step", "float64")


# ---- custom functions and misuse -----------------------------------------------------------------


def square(z):
    return z * z, 2 * z


def test_custom_activations(mlp):
    known = fastmlp.CustomActivation(square, curvature=lambda z: np.full_like(z, 2))
    net = mlp([3, 5, 2], activation=known, dtype="float64", rng=0)
    x, v, dy, _ = arguments(network_of(net).spec, 4)
    first, last = net.weights
    hessian = np.einsum("io,jo,oc->cij", first, first, 2 * last)
    assert_all_close([net.hessian(x)], [np.tile(hessian, (4, 1, 1, 1))], "step", "float64")
    assert_all_close(
        [net.hvp(x, v, dy)], [np.einsum("nc,cij,nj->ni", dy, hessian, v)], "step", "float64"
    )
    plain = mlp([3, 5, 2], activation=fastmlp.CustomActivation(square), dtype="float64", rng=0)
    assert_all_close([plain.jvp(x, v)], [net.jvp(x, v)], "step", "float64")
    for call in (lambda: plain.hessian(x), lambda: plain.hvp(x, v, dy)):
        with pytest.raises(
            TypeError, match=r"'square' has no second derivative, .*curvature=\.\.\."
        ):
            call()
    for wrong, words in ((lambda z: 3 + 0 * z, "correct the curvature"), (lambda z: z[0], "shape")):
        with pytest.raises(ValueError, match=words):
            mlp([2, 3, 1], activation=fastmlp.CustomActivation(square, curvature=wrong))
    with pytest.raises(TypeError, match="curvature is 2 but a callable"):
        fastmlp.CustomActivation(square, curvature=2)


def test_a_custom_loss_has_derivatives_and_steps(mlp):
    net, twin = (
        mlp([3, 8, 2], loss=loss, dtype="float64", rng=0)
        for loss in (fastmlp.CustomLoss(own.square), "squared_error")
    )
    x, v, dy, _ = arguments(network_of(net).spec, 4)
    np.testing.assert_array_equal(net.hvp(x, v, dy), twin.hvp(x, v, dy))
    assert net.partial_fit(x, output_gradient=dy) == twin.partial_fit(x, output_gradient=dy)
    assert_all_close(parameters_of(net), parameters_of(twin), "exact", "float64")


ONES = np.ones((4, 3))
MISUSE = [
    (lambda net: net.jvp(ONES, ONES[:, :2]), r"V has shape \(4, 2\) but \(4, 3\)"),
    (lambda net: net.vjp(ONES, ONES[:3, :2]), r"dY has shape \(3, 2\) but \(4, 2\)"),
    (lambda net: net.hvp(ONES, ONES, [[np.nan, 1]] * 4), r"dY\[0, 0\] is nan"),
    (lambda net: net.jvp(ONES, [["a"] * 3] * 4), "V holds strings"),
    (lambda net: net.vjp(ONES[:0], np.ones((0, 2))), "X has 0 rows"),
    (lambda net: net.hessian(ONES[:, :2]), "X has 2 features"),
    (lambda net: net.partial_fit(ONES, output_gradient=ONES), "output_gradient has shape"),
    (
        lambda net: net.partial_fit(ONES, output_gradient=np.full((4, 2), np.inf)),
        r"output_gradient\[0, 0\] is inf",
    ),
    (
        lambda net: net.partial_fit(ONES, sample_weight=ONES[:, 0], output_gradient=ONES[:, :2]),
        "sample_weight is given with output_gradient",
    ),
    (lambda net: net.partial_fit(ONES, ONES[:, :2], through_link=True), "through_link is True but"),
    (lambda net: net.gradients(ONES, ONES[:, :2], batch_size=3), "per_sample=True"),
    (lambda net: net.gradients(ONES, ONES[:, :2], per_sample=3), "per_sample is 3"),
]


@pytest.mark.parametrize(("call", "words"), MISUSE)
def test_misuse_is_refused_and_changes_nothing(mlp, call, words):
    net = mlp([3, 8, 2], rng=0)
    before = parameters_of(net)
    with pytest.raises((TypeError, ValueError), match=words):
        call(net)
    assert_all_close(parameters_of(net), before, "exact", "float32")


def test_no_rows_have_derivatives_of_no_rows(mlp):
    net = mlp([3, 8, 2], rng=0)
    none, outputs = np.ones((0, 3)), np.ones((0, 2))
    assert net.jvp(none, none).shape == (0, 2)
    assert net.hvp(none, none, outputs).shape == (0, 3)
    assert net.hessian(none).shape == (0, 2, 3, 3)
