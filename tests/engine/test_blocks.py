"""Batches of more rows than go through the network together: sums over blocks, on any threads."""

import cases
import numpy as np
import pytest

from fastmlp._engine import native, native_engine
from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_pool import borrowed_team
from fastmlp._network import optimizers
from fastmlp._network.spec import BLOCK_ROWS

# Rows of the data and of a batch: around one block and two; batches of both kinds in one epoch.
ROWS = (
    (BLOCK_ROWS - 1, BLOCK_ROWS - 1),
    (BLOCK_ROWS, BLOCK_ROWS),
    (BLOCK_ROWS + 1, BLOCK_ROWS + 1),
    (2 * BLOCK_ROWS + 7, 2 * BLOCK_ROWS + 7),
    (3 * BLOCK_ROWS, BLOCK_ROWS + 300),
    (2 * BLOCK_ROWS + 1, 2 * BLOCK_ROWS),
)
OPTIONS = ({}, {"l2": 0.3}, {"clip_norm": 0.05}, {"l2": 3.0, "l2_per_batch": True})


def engines(
    level, dtype, loss="cross_entropy", dropout=0.0, sizes=(5, 33, 9, 3), activation="tanh", **more
):
    spec = cases.build(sizes, activation, loss, dtype, dropout, **more)
    pair = native.Engine(spec, level), numpy_engine.Engine(spec)
    weights = cases.parameters(spec, np.random.default_rng(0))
    for engine in pair:
        engine.set_parameters(*weights)
    return spec, *pair


def train(engine, data, batch_size, optimizer, n_threads=1, **options):
    n_batches = -(-len(data.x) // batch_size)
    order = np.random.default_rng(1).permutation(len(data.x))
    plan = Plan(optimizer, batch_size, np.full(n_batches, 1e-2), order, seed=7, **options)
    engine.start(optimizer)
    with borrowed_team(n_threads) as plan.team:
        objectives = [engine.epoch(data, plan) for _ in range(2)]
    return objectives, np.concatenate([a.ravel() for group in engine.parameters() for a in group])


def compare_training(level, dtype, at, way, optimizer, **kind):
    """Train a network on the reference and on 1, 2 and 3 threads; every other one has dropout."""
    n, batch_size, options = way

    def trained(n_threads):
        spec, fast, slow = engines(level, dtype, dropout=0.2 * (at % 2), **kind)
        data = cases.data(spec, n, np.random.default_rng(at), weighted=at % 3 == 1)
        engine = fast if n_threads else slow
        return train(engine, data, batch_size, optimizer, max(n_threads, 1), **options)

    cases.agree(dtype, *map(trained, (0, 1, 2, 3)))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_training_is_that_of_the_reference_on_any_threads(rows, level, dtype):
    for at, optimizer in enumerate(cases.OPTIMIZERS[:6]):
        way = (*rows, OPTIONS[at % len(OPTIONS)])
        compare_training(level, dtype, at, way, optimizer)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll", "quantile"])
@pytest.mark.parametrize("n", [1, BLOCK_ROWS, BLOCK_ROWS + 1, 5 * BLOCK_ROWS + 13])
def test_gradients_on_any_threads(n, loss, level, dtype):
    spec, fast, slow = engines(level, dtype, loss, sizes=(7, 17, 1))
    data = cases.data(spec, n, np.random.default_rng(n), weighted=n > 5)
    expected = slow.gradients(data, 0.1)
    results = []
    for n_threads in (1, 2, 3):
        with borrowed_team(n_threads) as team:
            results.append(fast.gradients(data, 0.1, team))
    for value, weights, biases in results:
        assert value == results[0][0]
        assert value == pytest.approx(expected[0], rel=1e-4 if dtype == "float32" else 1e-12)
        for found, first, right in zip(
            [*weights, *biases],
            [*results[0][1], *results[0][2]],
            [*expected[1], *expected[2]],
            strict=True,
        ):
            assert np.array_equal(found, first)
            scale = max(1.0, float(np.abs(right).max()))
            np.testing.assert_allclose(
                found, right, rtol=0, atol=scale * (2e-5 if dtype == "float32" else 1e-12)
            )


def test_big_batches_need_no_big_buffers(monkeypatch):
    from fastmlp._engine import arena

    taken, allocate = [], arena.allocate
    monkeypatch.setattr(arena, "allocate", lambda n: taken.append(n) or allocate(n))
    needed = []
    for n in (2 * BLOCK_ROWS, 64 * BLOCK_ROWS):
        spec, fast, _ = engines(native_engine.level(), "float32")
        data = cases.data(spec, n, np.random.default_rng(0))
        taken.clear()
        train(fast, data, n, optimizers.Adam())
        fast.gradients(data)
        needed.append(sum(taken))
    assert needed[0] == needed[1]
