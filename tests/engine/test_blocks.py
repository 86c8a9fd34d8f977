"""Training and gradients of the native engine against the reference, on any threads.

Batches may have more rows than go through the network together: sums over blocks.
"""

import cases
import numpy as np
import pytest
from tolerances import assert_all_close, assert_close

import fastmlp
from fastmlp import Groups
from fastmlp._engine import native_engine
from fastmlp._engine.numpy.numpy_engine import flat
from fastmlp._engine.thread_pool import borrowed_team
from fastmlp._network.spec import BLOCK_ROWS

ONE_OUTPUT = {"sizes": (7, 17, 1), "loss": "squared_error"}
VARIANCE = {"sizes": (7, 17, 1), "loss": "gaussian_nll"}
AROUND = {"sizes": (5, 9, 9, 3), "skip": 1, "linear_path": True, "scale": True}
ODD, WIDE, NARROW = ({"sizes": s} for s in ((7, 17, 40, 2), (24, 50, 70, 5), (1, 3, 2, 2)))
CLIPPED = {"l2": 0.1, "clip_norm": 0.05}
PER_BATCH = {"l2": 3.0, "per_batch": True}
BY_LAYER = Groups([0.5, 3.0, 1.0], bias_rate=2.0, layer_decays=[0, 2.0, 1.0])
UPPER = Groups([0, 2, 1], layer_decays=[1, 3, 0], bias_decay=0.5)
NO_SECOND = Groups([1, 0, 2], weight_rate=0.3, bias_decay=0.5)
BIASES = Groups(weight_rate=0, bias_rate=1.5, layer_decays=[1, 2, 0], bias_decay=1.0)
ONE, TWO, BOTH = BLOCK_ROWS, 2 * BLOCK_ROWS, BLOCK_ROWS + 300
# Rows of the data and of a batch; options of the fit; the network, if not that of `engines`.
WAYS = {
    "a block less a row": (ONE - 1, ONE - 1, {}, {}),
    "a block": (ONE, ONE, {"l2": 0.3}, {}),
    "a late step": (33, 16, {"step": 2**32 + 3}, {}),
    "a block and a row": (ONE + 1, ONE + 1, {"clip_norm": 0.05}, {}),
    "two blocks and some rows": (TWO + 7, TWO + 7, PER_BATCH, {}),
    "batches of both kinds": (3 * ONE, BOTH, {}, {}),
    "a last batch of a row": (TWO + 1, TWO, {"l2": 0.3}, {}),
    "l1": (150, 64, {"l1": 0.02}, {}),
    "l1, l2, clipped": (150, 64, {"l1": 0.02, **CLIPPED}, NARROW),
    "l1 of blocks": (TWO + 7, BOTH, {"l1": 0.02, **PER_BATCH}, WIDE),
    "l1 by groups": (150, 150, {"l1": 0.02, "groups": UPPER}, ODD),
    "l1, ntk": (150, 64, {"l1": 0.02, "l2": 0.1, "groups": Groups(parametrization="ntk")}, {}),
    "l1, one output": (33, 16, {"l1": 0.03, "l2": 0.01}, ONE_OUTPUT | {"layer_norm": "before"}),
    "l1, mean and variance": (33, 16, {"l1": 0.03, "l2": 0.01}, VARIANCE | {"scale": True}),
    "rates and decays by layer": (150, 64, {"l2": 0.1, "groups": BY_LAYER}, {}),
    "the last layer": (150, 64, {**CLIPPED, "groups": Groups([0, 0, 1], bias_decay=1.0)}, AROUND),
    "all but the second layer": (TWO + 7, TWO + 7, {**CLIPPED, "groups": NO_SECOND}, WIDE),
    "biases": (TWO + 7, BOTH, {**PER_BATCH, "groups": BIASES}, ODD),
    "weights": (150, 64, {"l2": 0.1, "groups": Groups(bias_rate=0)}, AROUND),
    "one output": (150, 64, {**CLIPPED, "groups": Groups([1, 2], bias_rate=0)}, ONE_OUTPUT),
    "only the scales": (150, 64, {"l2": 0.1, "groups": Groups(weight_rate=0, bias_rate=0)}, AROUND),
    "nothing": (150, 64, {**CLIPPED, "groups": Groups([0, 0, 0])}, NARROW),
}


def engines(
    level, dtype, loss="cross_entropy", dropout=0.0, sizes=(5, 33, 9, 3), activation="tanh", **more
):
    spec = cases.build(sizes, activation, loss, dtype, dropout, **more)
    return spec, *cases.engines(spec, level, np.random.default_rng(0))


def compare_training(level, dtype, at, way, optimizer, **kind):
    """Train a network on the reference and on 1, 2 and 3 threads; every other one has dropout."""
    n, batch_size, options = way

    def trained(n_threads):
        spec, fast, slow = engines(level, dtype, dropout=0.2 * (at % 2), **kind)
        data = cases.data(spec, n, np.random.default_rng(at), weighted=at % 3 == 1)
        engine = fast if n_threads else slow
        return cases.train(engine, data, batch_size, optimizer, max(n_threads, 1), **options)

    cases.agree(dtype, *map(trained, (0, 1, 2, 3)))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
def test_training_is_that_of_the_reference_on_any_threads(optimizer, level, dtype):
    first = cases.OPTIMIZERS.index(optimizer) % 2  # each second way, the others for the next one
    for at, (name, (*way, kind)) in enumerate(list(WAYS.items())[first::2]):
        with cases.row(name):
            compare_training(level, dtype, at, way, optimizer, **kind)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize("case", cases.LOSSES, ids=str)
@pytest.mark.parametrize(
    "n", [1, 7, 8, 63, 64, 65, 129, 300, BLOCK_ROWS, BLOCK_ROWS + 1, 5 * BLOCK_ROWS + 13]
)
def test_gradients_on_any_threads(n, case, level, dtype):
    sizes = (7, 49, 3 if case.loss.target_kind == "class" else 1)
    spec, fast, slow = engines(level, dtype, case.loss, sizes=sizes)
    data = cases.data(spec, n, np.random.default_rng(n), case.labels, weighted=n > 5)
    wanted, *expected = slow.gradients(data, 0.1)
    results = []
    for n_threads in (1, 2, 3):
        with borrowed_team(n_threads) as team:
            results.append(fast.gradients(data, 0.1, team))
    for value, *gradients in results:
        assert value == results[0][0]
        assert_close(value, wanted, "loss", dtype)
        np.testing.assert_equal(gradients, results[0][1:])
        assert_all_close(flat(gradients), flat(expected), "gradient", dtype)
    assert_close(fast.evaluate(data), slow.evaluate(data), "loss", dtype)


def test_big_batches_need_no_big_buffers(monkeypatch):
    from fastmlp._engine import native

    taken, allocate = [], native.allocate
    monkeypatch.setattr(native, "allocate", lambda n: taken.append(n) or allocate(n))
    needed = []
    for n in (2 * BLOCK_ROWS, 64 * BLOCK_ROWS):
        spec, fast, _ = engines(native_engine.level(), "float32")
        data = cases.data(spec, n, np.random.default_rng(0))
        taken.clear()
        cases.train(fast, data, n, fastmlp.Adam())
        fast.gradients(data)
        needed.append(sum(taken))
    assert needed[0] == needed[1]
