"""One kernel at a time, on every CPU level of this machine, in both dtypes, at all edge sizes.

Two kinds of proof. Small integers, whose every product and partial sum is representable: nothing
may differ. Random reals against wider arithmetic: the difference stays below a bound from theory.
Outputs hold NaN before each kernel runs, so that an element that is not written is seen.
"""

import itertools

import cases
import numpy as np
import pytest
from probing import probe
from tolerances import assert_close, sum_bound

import fastmlp
from fastmlp._engine import native, native_engine
from fastmlp._network.activations import ACTIVATIONS

pytestmark = [
    pytest.mark.parametrize("level", native_engine.available_levels()),
    pytest.mark.parametrize("dtype", native_engine.DTYPES),
]

# Beyond the tables of sizes: batches and fan-ins of several cache blocks, and long sums.
LARGE = (
    *[(batch, 5, 26) for batch in (127, 128, 129, 255, 256, 257, 300, 513, 1029)],
    *[(33, n_in, 7) for n_in in (255, 256, 257, 1023, 1536, 1537, 2048)],
    *[(9, 31, n_out) for n_out in (255, 256, 257, 1000, 1537, 2048)],
    *[(3, 16384, 2), (16384, 3, 2), (2, 3, 16384), (67, 16384, 1), (200, 300, 250), (70, 1600, 40)],
)


def affine(level, dtype, batch, n_in, n_out, activation="identity", below="identity"):
    return probe.Affine(level, dtype, batch, n_in, n_out, activation, below, fill=np.nan)


def exact_affine(rng, level, dtype, shape, gate):
    """All three passes of one layer; with `gate` it has a relu above and one below."""
    batch, n_in, n_out = shape
    layer = affine(level, dtype, *shape, *(("relu", "relu") if gate else ()))
    x = cases.small_integers(rng, (batch, n_in), dtype)
    w = cases.small_integers(rng, (n_in, n_out), dtype)
    b = cases.small_integers(rng, n_out, dtype)
    dz = cases.small_integers(rng, (batch, n_out), dtype)
    layer.load(x=x, w=w, b=b, dz=dz)
    layer.backward_input()
    layer.backward_weights()
    layer.forward()
    x, w, b, dz = (a.astype(np.float64) for a in (x, w, b, dz))
    y, dx = x @ w + b, dz @ w.T
    if y.size > 200:  # a test on zeros would prove nothing
        assert np.count_nonzero(y) > 0.7 * y.size
    if gate:
        y, dx = np.maximum(y, 0), dx * (x > 0)
    expected = {"y": y, "dx": dx, "dw": x.T @ dz, "db": dz.sum(axis=0)}
    wrong = [n for n, value in expected.items() if not np.array_equal(getattr(layer, n), value)]
    return [(shape, gate, wrong)] if wrong else []


def check_affine(level, dtype, shapes, gates):
    rng = np.random.default_rng(1)
    runs = itertools.product(shapes, gates)
    assert [bad for run in runs for bad in exact_affine(rng, level, dtype, *run)] == []


def test_affine_of_integers_is_exact(level, dtype):
    """Every size beside few sizes of the other two."""
    few = cases.FEW_SIZES
    every = {(cases.SIZES, few, few), (few, cases.SIZES, few), (few, few, cases.SIZES)}
    shapes = {shape for sizes in every for shape in itertools.product(*sizes)}
    check_affine(level, dtype, [shape for shape in shapes if sum(shape) % 2], [False])
    check_affine(level, dtype, [shape for shape in shapes if sum(shape) % 2 == 0], [True])
    check_affine(level, dtype, LARGE, (False, True))


@pytest.mark.slow
def test_affine_of_all_sizes_is_exact(level, dtype):
    check_affine(level, dtype, itertools.product(cases.SIZES, repeat=3), (False, True))


@pytest.mark.parametrize("shape", [*itertools.product(cases.FEW_SIZES, repeat=3), (7, 4096, 5)])
def test_affine_of_reals_is_within_the_a_priori_bound(level, dtype, shape):
    rng = np.random.default_rng(2)
    batch, n_in, n_out = shape
    x, w, dz = (rng.normal(size=s).astype(dtype) for s in (shape[:2], shape[1:], (batch, n_out)))
    b = rng.normal(size=n_out).astype(dtype)
    layer = affine(level, dtype, *shape)
    layer.load(x=x, w=w, b=b, dz=dz)
    layer.forward()
    layer.backward_input()
    layer.backward_weights()
    wide = [a.astype(np.longdouble) for a in (x, w, b, dz)]
    for found, wanted, size, n_terms in zip(
        (layer.y, layer.dx, layer.dw, layer.db),
        passes(*wide),
        passes(*map(np.abs, wide)),
        (n_in + 1, n_out, batch, batch),
        strict=True,
    ):
        # Where long double is no wider than double, the reference errs as much as the kernel.
        slack = 1 if np.finfo(np.longdouble).eps < 1e-17 or dtype == "float32" else 2
        assert np.all(np.abs(found - wanted) <= slack * sum_bound(n_terms, dtype, size))


def passes(x, w, b, dz):
    return x @ w + b, dz @ w.T, x.T @ dz, dz.sum(axis=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(level, dtype, name):
    rng = np.random.default_rng(3)
    row = ACTIVATIONS[name]
    for batch, width in itertools.product((*cases.FEW_SIZES, 130), cases.SIZES):
        z = rng.normal(scale=2, size=(batch, width)).astype(dtype)
        z[0, 0] = 0
        dz = rng.normal(size=(batch, width)).astype(dtype)
        same = np.eye(width, dtype=dtype)
        layer = affine(level, dtype, batch, width, width, name)
        layer.load(x=z, w=same)
        layer.forward(training=True)
        y, slope = layer.y, layer.slope
        layer.forward()
        np.testing.assert_array_equal(layer.y, y)  # training and prediction have the same bits
        wide = z.astype(np.float64)
        assert_close(y, row.value(wide), "elementwise", dtype)
        below = affine(level, dtype, batch, width, width, "identity", name)
        below.load(x=y, dz=dz, w=same, slope=slope)
        below.backward_input()
        scale = float(np.abs(dz).max())
        assert_close(below.dx, row.slope(wide) * dz, "elementwise", dtype, scale)
        if slope is not None:
            np.testing.assert_array_equal(below.dx, dz * slope)


@pytest.mark.parametrize("case", cases.LOSSES, ids=str)
def test_losses(level, dtype, case):
    rng = np.random.default_rng(4)
    kernels = probe.Kernels(level, dtype)
    for n, m in itertools.product((1, 8, 13), (*cases.SIZES, 128, 200, 1000)):
        if m == 1 and case.loss.target_kind == "class":
            continue  # one class: no such network
        z = rng.normal(scale=2, size=(n, m * case.loss.heads)).astype(dtype)
        t = cases.targets(case.loss, n, m, rng, dtype, case.labels)
        if case.loss.target_kind == "real":
            t[0, 0] = z[0, 0]  # an error of 0
        values, dz = kernels.loss(case.loss, z, t)
        wide = t if case.labels else t.astype(np.float64)
        wanted, gradient = case.loss.value_and_gradient(z.astype(np.float64), wide)
        assert_close(values, wanted, "loss", dtype, scale=np.sqrt(m))
        assert_close(dz, gradient, "elementwise", dtype)


def shares(optimizer):
    """What turns the native slots, plain sums, into the means of the textbook's formulas."""
    if isinstance(optimizer, fastmlp.Adam):
        return 1 - optimizer.beta_1, 1 - optimizer.beta_2
    if isinstance(optimizer, fastmlp.RMSprop):
        return (1 - optimizer.alpha,)
    if isinstance(optimizer, fastmlp.Lion):
        return (1 - optimizer.beta_2,)
    return (1,) * optimizer.n_slots


@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
@pytest.mark.parametrize(("l2", "scale"), [(0.0, 1.0), (0.1, 0.25)])
def test_optimizer_steps(level, dtype, optimizer, l2, scale):
    rng = np.random.default_rng(5)
    kernels = probe.Kernels(level, dtype)
    for n in (*cases.SIZES, 257):
        w = rng.normal(size=n).astype(dtype)
        slots = [np.zeros(n, dtype) for _ in range(optimizer.n_slots)]
        wide, wide_slots = w.astype(np.float64), [s.astype(np.float64) for s in slots]
        powers = (1.0, 1.0)
        for t in range(1, 4):
            g = rng.normal(size=n).astype(dtype)
            powers = kernels.step(optimizer, w, g, slots, 0.02, powers, l2, scale)
            gradient = scale * g.astype(np.float64) + l2 * wide
            optimizer.step(wide, gradient, wide_slots, 0.02, t, decay=True)
            assert_close(w, wide, "elementwise", dtype)
            for slot, wide_slot, share in zip(slots, wide_slots, shares(optimizer), strict=True):
                assert_close(share * slot, wide_slot, "elementwise", dtype)


def layouts(x):
    """The same values in memory of every kind."""
    n, k = x.shape
    gaps = np.full((2 * n, 3 * k), np.nan, x.dtype)
    gaps[::2, ::3] = x
    return {
        "C": x,
        "F": np.asfortranarray(x),
        "gaps": gaps[::2, ::3],
        "reversed": np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    }


def test_gather(level, dtype):
    rng = np.random.default_rng(7)
    kernels = probe.Kernels(level, dtype)
    for rows, columns in itertools.product(cases.FEW_SIZES, (*cases.SIZES, 128, 257)):
        x = rng.normal(size=(rows, columns)).astype(dtype)
        order = rng.integers(0, rows, 2 * rows + 1)  # repeats, and some that are left out
        for name, array in layouts(x).items():
            np.testing.assert_array_equal(kernels.gather(array, order), x[order], err_msg=name)
        row = np.broadcast_to(x[:1], x.shape)
        np.testing.assert_array_equal(kernels.gather(row, order), row[order])


@pytest.mark.parametrize("layer_sizes", cases.NETWORKS, ids=str)
def test_parameters_come_back_and_are_looked_through(level, dtype, layer_sizes):
    rng = np.random.default_rng(8)
    spec = cases.build(layer_sizes, "relu", "squared_error", dtype)
    engine = native.Engine(spec, level)
    wanted = cases.parameters(spec, rng)
    engine.set_parameters(*wanted)
    snapshot = engine.snapshot()
    assert engine.finite()
    for at, group in itertools.product((0, -1), (0, 1)):
        for k in range(len(spec.shapes)):
            for bad in (np.nan, np.inf, -np.inf):
                broken = tuple([a.copy() for a in arrays] for arrays in wanted)
                broken[group][k].flat[at] = bad
                engine.set_parameters(*broken)
                assert not engine.finite()
    engine.restore(snapshot)
    assert engine.finite()
    for found, given in zip(engine.parameters(), wanted, strict=True):
        for a, b in zip(found, given, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.flags.c_contiguous
            assert a.flags.writeable


def test_largest_numbers_are_finite(level, dtype):
    engine = native.Engine(cases.build([3, 2], "relu", "squared_error", dtype), level)
    largest = np.finfo(dtype).max
    engine.set_parameters([np.full((3, 2), largest)], [np.full(2, -largest)])
    assert engine.finite()
