"""Parameters with bounds: no step leaves them, and without bounds the bits stay the same."""

from dataclasses import replace

import cases
import numpy as np
import pytest
from scipy import sparse

import fastmlp
from fastmlp._engine.numpy.numpy_engine import flat
from fastmlp._network.sparse import rows_of
from fastmlp._network.spec import BLOCK_ROWS

SIZES = (70, 33, 17, 2)
OPTIONS = ({}, {"l2": 0.1}, {"l1": 0.02}, {"clip_norm": 0.05})
RUNS = [(50, 16), (300, 150), (BLOCK_ROWS + 9, BLOCK_ROWS + 9)]


def bound(engine, seed):
    """Set random bounds of random parameters, and return them; the others have none."""
    rng, kinds = np.random.default_rng(seed), engine.parameters()
    lower = [[np.full_like(p, -np.inf) for p in kind] for kind in kinds]
    upper = [[-p for p in kind] for kind in lower]
    for p, low, high in zip(flat(kinds), flat(lower), flat(upper), strict=True):
        low[rng.random(low.shape) < 0.4] = -0.01
        high[rng.random(high.shape) < 0.4] = 0.02
        np.clip(p, low, high, out=p)
    engine.set_parameters(*kinds)
    engine.set_bounds(lower, upper)
    return flat(lower), flat(upper)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("kind", cases.KINDS)
def test_no_step_leaves_the_bounds(kind, dtype):
    options = {"scale": True, "parametric": True, "linear_path": True}
    spec = cases.build(SIZES, "relu", "squared_error", dtype, **options)
    for at, optimizer in enumerate(cases.OPTIMIZERS):
        rng, more = np.random.default_rng(at), OPTIONS[at % len(OPTIONS)]
        n, batch_size = RUNS[at % len(RUNS)]
        data = cases.data(spec, n, rng, weighted=False)
        level = cases.KINDS[-1] if kind == "reference" else kind
        engine = cases.engines(spec, level, rng)[kind == "reference"]
        lower, upper = bound(engine, at)
        with cases.row(f"{optimizer}, {more}"):
            cases.train(engine, data, batch_size, optimizer, 2, **more)
            parameters = flat(engine.parameters())
            at_bounds = 0
            for p, low, high in zip(parameters, lower, upper, strict=True):
                assert np.all((low <= p) & (p <= high))
                at_bounds += np.count_nonzero((p == low) | (p == high))
            assert 0 < at_bounds < sum(p.size for p in parameters)
            assert np.array_equal(engine.predict(data.x), fresh(engine, spec).predict(data.x))


def fresh(engine, spec):
    """Return an engine that gets the parameters: its copies of them are new."""
    other = type(engine)(spec, *[engine.level] * (engine.level != "numpy"))
    other.set_parameters(*engine.parameters())
    return other


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_the_reference_agrees(dtype):
    spec = cases.build(SIZES, "tanh", "squared_error", dtype)
    data = cases.data(spec, 100, np.random.default_rng(0))
    pair = cases.engines(spec, cases.KINDS[1], np.random.default_rng(1))
    found = []
    for engine in pair:
        bound(engine, 2)
        found.append(cases.train(engine, data, 32, fastmlp.Adam(0.01), 1))
    cases.agree(dtype, found[1], found[0])


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", cases.KINDS[1:])
def test_bounds_that_are_never_reached_change_no_bit(level, dtype):
    spec = cases.build(SIZES, "tanh", "squared_error", dtype)
    data = cases.data(spec, 100, np.random.default_rng(0))
    found = []
    for is_bound in (False, True):
        engine, _ = cases.engines(spec, level, np.random.default_rng(1))
        if is_bound:
            lower = [[np.full_like(p, -1e9) for p in kind] for kind in engine.parameters()]
            engine.set_bounds(lower, [[-p for p in kind] for kind in lower])
        found.append(cases.train(engine, data, 32, fastmlp.Adam(0.01), 1)[1])
    assert np.array_equal(*found)


@pytest.mark.parametrize("optimizer", [fastmlp.SGD(0.01), fastmlp.Adam(0.01)])
def test_sparse_rows_keep_the_bounds(optimizer):
    spec = cases.build(SIZES, "relu", "squared_error", "float32")
    data = cases.data(spec, 60, np.random.default_rng(0))
    data.x *= np.random.default_rng(1).random(data.x.shape) < 0.1
    found = []
    for x in (data.x, rows_of(sparse.csr_array(data.x))):
        engine, _ = cases.engines(spec, cases.KINDS[-1], np.random.default_rng(2))
        lower, upper = bound(engine, 3)
        found.append(cases.train(engine, replace(data, x=x), 20, optimizer)[1])
        for p, low, high in zip(flat(engine.parameters()), lower, upper, strict=True):
            assert np.all((low <= p) & (p <= high))
    assert np.array_equal(*found)


@pytest.mark.parametrize("kind", cases.KINDS)
def test_a_fit_that_diverges_is_still_seen(kind):
    spec = cases.build((3, 4, 1), "relu", "squared_error", "float32")
    data = cases.data(spec, 20, np.random.default_rng(0))
    level = cases.KINDS[-1] if kind == "reference" else kind
    engine = cases.engines(spec, level, np.random.default_rng(1))[kind == "reference"]
    bound(engine, 2)
    before = engine.parameters()
    data.targets[:] = 1e30
    objectives, _ = cases.train(engine, data, 5, fastmlp.SGD(1e9), 1)
    assert not np.isfinite(objectives).all()
    for p, first in zip(flat(engine.parameters()), flat(before), strict=True):
        assert np.array_equal(p, first)
