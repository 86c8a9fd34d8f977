"""Sparse rows on the native engine: the bits of the same rows dense, on any number of threads.

A zero may have the other sign. The reference multiplies sparse rows by NumPy, in another order.
"""

from dataclasses import replace

import cases
import numpy as np
import pytest
from scipy import sparse

import fastmlp
from fastmlp import Groups
from fastmlp._engine import native_engine
from fastmlp._engine.numpy.numpy_engine import flat
from fastmlp._engine.thread_pool import borrowed_team
from fastmlp._network.sparse import rows_of
from fastmlp._network.spec import BLOCK_ROWS

LEVELS = native_engine.available_levels()
SEEDS = [
    range(30),
    pytest.param(range(30, 100), marks=pytest.mark.slow),
]  # each seed makes a network
INPUTS = (1, 2, 7, 31, 63, 64, 65, 100, 257, 530)
WIDTHS = (1, 3, 8, 16, 17, 33, 64, 100, 130)
OUTPUTS = (1, 1, 2, 5, 40)
LARGE = 2 * BLOCK_ROWS + 7
ROWS = ((1, 1), (7, 5), (50, 32), (300, 200), (300, 300), (LARGE, LARGE))
DENSITIES = (0.0, 0.02, 0.1, 0.5, 1.0)
PER_BATCH = {"l2": 3.0, "per_batch": True}
BY_LAYER = {"l2": 0.1, "groups": Groups(parametrization="ntk", bias_rate=2.0, scale_rate=3.0)}
FROZEN = {"groups": Groups(weight_rate=0, bias_rate=1.0)}
OPTIONS = ({}, {}, {"l2": 0.1}, {"l1": 0.02}, {"clip_norm": 0.05}, PER_BATCH, BY_LAYER, FROZEN)


def random_network(rng, dtype):
    """Return the description of a random network with the options that concern its inputs."""
    hidden = tuple(int(width) for width in rng.choice(WIDTHS, rng.integers(0, 4)))
    options = {
        "scale": bool(rng.random() < 0.4),
        "linear_path": bool(hidden and rng.random() < 0.4),
    }
    if hidden:
        options["linear_path"] = bool(rng.random() < 0.4)
        options["layer_norm"] = (None, "before", "after")[rng.integers(3)]
        options["parametric"] = bool(rng.random() < 0.3)
    sizes = (int(rng.choice(INPUTS)), *hidden, int(rng.choice(OUTPUTS)))
    activation = str(rng.choice(["relu", "tanh", "gelu"]))
    dropout = 0.3 if hidden and rng.random() < 0.3 else 0.0
    return cases.build(sizes, activation, "squared_error", dtype, dropout, **options)


def random_data(rng, spec):
    """Return the same rows dense and sparse, some of weight 0, and the size of a batch."""
    n, batch_size = ROWS[rng.integers(len(ROWS))]
    dense = cases.data(spec, n, rng, weighted=n > 7 and rng.random() < 0.5)
    is_stored = rng.random(dense.x.shape) < rng.choice(DENSITIES)
    dense.x = np.where(is_stored, dense.x, dense.x.dtype.type(0))
    return dense, replace(dense, x=rows_of(sparse.csr_array(dense.x))), batch_size


def results(engine, data, batch_size, optimizer, n_threads, **options):
    """Train for two epochs; return the numbers and arrays of this and of all other calls."""
    objectives, parameters = cases.train(engine, data, batch_size, optimizer, n_threads, **options)
    with borrowed_team(n_threads) as team:
        loss, predictions = engine.evaluate(data, team), engine.predict(data.x, team)
        value, *gradients = engine.gradients(data, 0.1, team)
    arrays = [parameters, *flat(gradients), predictions]
    return [*objectives, loss, value], np.concatenate([np.ravel(array) for array in arrays])


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_sparse_rows_have_the_bits_of_dense_rows(seeds, level, dtype):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        spec = random_network(rng, dtype)
        dense, stored, batch_size = random_data(rng, spec)
        optimizer = cases.OPTIMIZERS[seed % len(cases.OPTIMIZERS)]
        options = OPTIONS[rng.integers(len(OPTIONS))]
        every = []
        with cases.row(f"{seed}: {spec}, {optimizer}, {options}"):
            for data, n_threads in ((dense, 1), (stored, 1), (stored, 2), (stored, 3)):
                engine, _ = cases.engines(spec, level, np.random.default_rng(seed))
                every.append(results(engine, data, batch_size, optimizer, n_threads, **options))
            for values, array in every[1:]:
                assert values == every[0][0]
                np.testing.assert_array_equal(array, every[0][1])


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_the_reference_agrees(dtype):
    rng = np.random.default_rng(3)
    for at, optimizer in enumerate((fastmlp.SGD(0.01), fastmlp.Adam(0.01))):
        options = {"scale": True, "linear_path": True} if at else {}
        spec = cases.build((65, 33, 3), dtype=dtype, **options)
        dense = cases.data(spec, 150, rng, weighted=True)
        dense.x *= rng.random(dense.x.shape) < 0.1
        data = replace(dense, x=rows_of(sparse.csr_array(dense.x)))
        pair = cases.engines(spec, LEVELS[0], np.random.default_rng(0))
        fast, slow = (results(engine, data, 64, optimizer, 1, l2=0.1) for engine in pair)
        cases.agree(dtype, slow, fast)


@pytest.mark.parametrize("level", LEVELS)
def test_rows_change_from_call_to_call(level):
    """Buffers fit the longest rows of a call, and lists of columns start anew in each batch."""
    rng = np.random.default_rng(5)
    spec = cases.build((40, 9, 1), dtype="float32")
    engine, _ = cases.engines(spec, level, rng)
    same, _ = cases.engines(spec, level, rng)
    same.set_parameters(*engine.parameters())
    for density in (0.1, 0.0, 1.0, 0.02, 0.5):
        dense = cases.data(spec, 33, rng)
        dense.x *= rng.random(dense.x.shape) < density
        data = replace(dense, x=rows_of(sparse.csr_array(dense.x)))
        assert same.evaluate(dense) == engine.evaluate(data)
        pairs = (same, dense), (engine, data)
        first, second = (results(*pair, 16, fastmlp.SGD(0.1), 2) for pair in pairs)
        assert first[0] == second[0]
        np.testing.assert_array_equal(first[1], second[1])


def test_memory_does_not_grow_with_the_columns_of_a_batch():
    from fastmlp._engine import native

    taken, allocate = [], native.allocate
    spec = cases.build((200_000, 2), dtype="float32")
    rows = fastmlp.SparseRows(np.arange(2001), np.arange(2000), np.ones(2000, "f4"), 200_000)
    engine, _ = cases.engines(spec, LEVELS[0], np.random.default_rng(0))
    data = cases.data(cases.build((1, 2), dtype="float32"), 2000, np.random.default_rng(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "allocate", lambda n: taken.append(n) or allocate(n))
        results(engine, replace(data, x=rows), 500, fastmlp.SGD(0.1), 1)
    weights = 200_032 * 64 * 4  # bytes of a panel; dense rows would have 8 times as many
    assert max(taken) <= weights
    assert sum(taken) < 6 * weights


@pytest.mark.parametrize(
    ("dtype", "weights"),
    [("float64", None), ("float32", None), ("float32", "bfloat16"), ("float32", "int8")],
)
def test_a_predictor_takes_sparse_rows(dtype, weights):
    net = fastmlp.MLP([65, 17, 3], dtype=dtype, rng=0, scale=True)
    predictor = net.predictor(weights=weights)
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(9, 65)) * (rng.random((9, 65)) < 0.1)).astype(dtype)
    for rows in (sparse.csr_array(x), rows_of(sparse.coo_matrix(x))):
        np.testing.assert_array_equal(predictor(rows), predictor(x))
    out = np.empty((9, 3), dtype)
    assert predictor(sparse.csc_array(x), out) is out
    np.testing.assert_array_equal(out, predictor(x))
    for row in x:
        (indices,) = np.nonzero(row)
        shuffled = rng.permutation(indices)
        np.testing.assert_array_equal(predictor.sparse(shuffled, row[shuffled]), predictor(row))
        assert predictor.sparse(indices, row[indices], out[0]).base is out
    twice = predictor.sparse([4, 9, 4], [0.5, 1.0, 0.25])
    np.testing.assert_array_equal(twice, predictor.sparse([9, 4], [1.0, 0.75]))


@pytest.mark.parametrize(
    ("indices", "values", "error", "message"),
    [
        ([65], [1.0], ValueError, "65 but integers from 0 to 64"),
        ([-1], [1.0], ValueError, "-1 but integers from 0 to 64"),
        ([0.5], [1.0], TypeError, "flat array of integers"),
        ([1, 2], [1.0], ValueError, "2 indices but 1 values"),
        ([1], [np.nan], ValueError, "finite numbers"),
        ([1], [1e300], ValueError, "too large for float32"),
        ([[1]], [1.0], TypeError, "flat array"),
    ],
)
def test_a_wrong_sparse_row_is_refused(indices, values, error, message):
    predictor = fastmlp.MLP([65, 17, 3], rng=0).predictor()
    with pytest.raises(error, match=message):
        predictor.sparse(indices, values)
    with pytest.raises(ValueError, match=r"out is .* shape \(3,\)"):
        predictor.sparse([1], [1.0], out=np.empty(4, "f4"))


def test_a_jacobian_is_that_of_dense_rows():
    predictor = fastmlp.MLP([65, 17, 3], rng=0).predictor()
    with pytest.raises(TypeError, match="sparse"):
        predictor.jacobian(sparse.csr_array(np.eye(3, 65)))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n_in", [255, 256, 257, 784])
def test_a_wide_row_alone_has_the_bits_of_a_batch(n_in, level, dtype):
    """Rows with few inputs that are not 0, at most a quarter, are multiplied by these alone."""
    rng = np.random.default_rng(n_in)
    for sizes, options in (((n_in, 33, 2), {}), ((n_in, 130, 1), {"scale": True}), ((n_in, 1), {})):
        spec = cases.build(sizes, "relu", dtype=dtype, **options)
        engine, _ = cases.engines(spec, level, rng)
        quarter = n_in // 4
        counts = [0, 1, quarter - 1, quarter, quarter + 1, n_in]
        rows = np.full((len(counts), n_in), -0.0, dtype)
        for row, count in zip(rows, counts, strict=True):
            places = rng.choice(n_in, count, replace=False)
            row[places] = rng.normal(size=count)
        alone = np.concatenate([engine.predict_row(row[np.newaxis]) for row in rows])
        np.testing.assert_array_equal(alone, engine.predict(rows))
