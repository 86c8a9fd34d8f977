"""Penalties by absolute value beside those by squares, and Lion's signs; more in test_blocks.py."""

import cases
import numpy as np
import pytest
import test_bits
from models import X, Y
from tolerances import assert_close

import fastmlp
from fastmlp._engine import native_engine
from fastmlp._engine.plan import Plan
from fastmlp._models.network import network_of
from fastmlp._network.data import Data


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_zero_is_pulled_nowhere_and_the_rest_by_its_sign(mlp, dtype):
    net = mlp([3, 8, 2], activation="tanh", dtype=dtype, rng=0)
    net.weights[0] = np.resize([0.5, 0.0, -0.0, -2.0], (3, 8))
    free, with_l1 = net.gradients(X, Y), net.gradients(X, Y, l1=0.25)
    pulls = [0.25, 0.0, 0.0, -0.25]
    found = with_l1[1][0].astype(float) - free[1][0]
    assert_close(found, np.resize(pulls, (3, 8)), "gradient", dtype)
    np.testing.assert_equal(with_l1[2], free[2])
    assert with_l1[0] - free[0] == pytest.approx(
        0.25 * sum(np.abs(w.astype(float)).sum() for w in net.weights), rel=1e-5
    )


# ---- Lion ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", cases.KINDS)
def test_lion_hides_no_overflow(level, dtype):
    """A sign is finite where the gradient is not: the epoch must fail all the same."""
    spec = cases.build([1, 1], (), "squared_error", dtype)
    engine = cases.engine(level, spec)
    most = float(np.finfo(dtype).max)
    engine.set_parameters([np.full((1, 1), most**-0.8, dtype)], [np.zeros(1, dtype)])
    data = Data(np.full((4, 1), most**0.8, dtype), np.full((4, 1), -(most**0.3), dtype))
    before = engine.parameters()
    with np.errstate(over="ignore"):
        objective, (dw,), (db,) = engine.gradients(data)
    assert np.isfinite(objective)
    assert np.isfinite(db).all()
    assert not np.isfinite(dw).any()
    engine.start(fastmlp.Lion())
    assert np.isnan(engine.epoch(data, Plan(fastmlp.Lion(), 4, np.full(1, 1e-3))))
    for mine, old in zip(engine.parameters(), before, strict=True):
        np.testing.assert_array_equal(mine[0], old[0])


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", test_bits.LEVELS)
def test_lion_moves_what_has_no_gradient_nowhere(level, dtype):
    """A feature that is always 0, before any momentum: its weights stay, to the bit."""
    net = fastmlp.MLP([3, 9, 2], dtype=dtype, rng=0)
    network_of(net).engine = native_engine.Engine(network_of(net).spec, level)
    network_of(net).engine.set_parameters(
        *cases.parameters(network_of(net).spec, np.random.default_rng(0))
    )
    before, x = net.weights[0], X.copy()
    x[:, 1] = 0
    net.fit(x, Y, epochs=3, optimizer=fastmlp.Lion(0.01))
    np.testing.assert_array_equal(net.weights[0][1], before[1])
    moved = np.abs(net.weights[0][[0, 2]] - before[[0, 2]])
    assert np.all(moved <= 6 * 0.01 * (1 + 1e-5))
    assert np.any(moved > 0)
