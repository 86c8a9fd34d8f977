"""Training written out in NumPy, also with the NTK parametrisation, of W' = W sqrt(fan_in)."""

import cases
import numpy as np
import pytest
import test_bits
from models import X, Y, digest
from test_blocks import engines, train

from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.numpy.random import dropout_masks
from fastmlp._network.data import Data
from fastmlp._network.groups import Groups
from fastmlp._network.spec import BLOCK_ROWS

NTK = Groups(parametrization="ntk")
FACTORS = {"layer_decays": [2, 0.5, 1], "bias_rate": 0.5, "bias_decay": 1.5}
MIXED = Groups([0.5, 2.0, 1.0], weight_rate=0.8, **FACTORS, parametrization="ntk")
# Rows of the data and of a batch, the options of the fit, the groups; every other one has dropout.
WAYS = (
    (150, 64, {"l2": 0.02}, NTK),
    (150, 64, {"l2": 0.02, "clip_norm": 0.3}, MIXED),
    (BLOCK_ROWS + 40, BLOCK_ROWS + 40, {"l2": 0.02, "clip_norm": 0.3}, NTK),
    (150, 64, {"l2": 0.1, "clip_norm": 0.5}, Groups()),
    (150, 64, {"l2": 0.1}, Groups([0.5, 2.0, 1.0], weight_rate=0.8, **FACTORS)),
    (150, 64, {"l2": 0.1, "clip_norm": 0.01}, Groups([0, 1, 1], **FACTORS)),
    (150, 64, {"clip_norm": 0.01}, Groups(weight_rate=0)),
)


def written_out(spec, parameters, data, batch_size, optimizer, groups, l2=0.0, clip_norm=0.0):
    """Two epochs on W', in the order of test_blocks.train: the formulas as the papers have them."""
    ntk = groups.parametrization == "ntk"
    c = [1 / np.sqrt(fan_in) if ntk else 1.0 for fan_in, _ in spec.shapes]
    n = len(c)
    seen = [w / scale for w, scale in zip(parameters[0], c, strict=True)] + list(parameters[1])
    of_layers = (groups.layer_rates or (1,) * n), (groups.layer_decays or (1,) * n)
    of_kinds = (groups.weight_rate, groups.bias_rate), (1, groups.bias_decay)
    rates, decays = ([k * f for k in of_kinds[i] for f in of_layers[i]] for i in range(2))
    slots = [[np.zeros_like(p) for _ in range(optimizer.n_slots)] for p in seen]
    order = np.random.default_rng(1).permutation(len(data.x))
    t, objectives = 0, []
    for _ in range(2):
        sums = np.zeros(2)
        for step, first in enumerate(range(0, len(order), batch_size)):
            rows = order[first : first + batch_size]
            weights = [scale * w for w, scale in zip(seen, c, strict=False)]
            batch = Data(data.x[rows], data.targets[rows], data.weights[rows])
            masks = dropout_masks(spec, 7, step, len(rows))
            value, dws, dbs = numpy_engine.objective(spec, (weights, seen[n:]), batch, 0.0, masks)
            value += l2 / 2 * sum(d * np.sum(p**2) for d, p in zip(decays, seen, strict=True))
            sums += batch.weights.sum() * np.array([value, 1.0])
            gradients = [scale * g for scale, g in zip(c, dws, strict=True)] + dbs
            gradients = [g + l2 * d * p for g, d, p in zip(gradients, decays, seen, strict=True)]
            moved = [g for g, rate in zip(gradients, rates, strict=True) if rate]
            norm = np.sqrt(sum(np.sum(g**2) for g in moved))
            shrink = clip_norm / norm if clip_norm and norm > clip_norm else 1.0
            t += 1
            for k, g in enumerate(gradients):
                if rates[k]:
                    optimizer.step(seen[k], shrink * g, slots[k], 1e-2 * rates[k], t, decays[k])
        objectives.append(sums[0] / sums[1])
    trained = [scale * w for w, scale in zip(seen, c, strict=False)] + seen[n:]
    return objectives, np.concatenate([p.ravel() for p in trained])


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", ["reference", *test_bits.LEVELS])
@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
def test_it_trains_what_the_optimizer_is_to_see(optimizer, level, dtype):
    for at, (n, batch_size, options, groups) in enumerate(WAYS):
        of_level, dropout = test_bits.LEVELS[0] if level == "reference" else level, 0.3 * (at % 2)
        results = []
        for n_threads in (1, 2):
            spec, fast, slow = engines(of_level, dtype, dropout=dropout)
            data = cases.data(spec, n, np.random.default_rng(0), weighted=at % 2 > 0)
            engine, given = slow if level == "reference" else fast, {**options, "groups": groups}
            parameters = [[p.astype(float) for p in kind] for kind in engine.parameters()]
            results.append(train(engine, data, batch_size, optimizer, n_threads, **given))
        plain = cases.build(spec.layer_sizes, "tanh", "cross_entropy", dropout=dropout)
        shares = np.ones(n) if data.weights is None else data.weights.astype(float)
        wide = Data(data.x.astype(float), data.targets, shares)
        expected = written_out(plain, parameters, wide, batch_size, optimizer, groups, **options)
        atol = 1e-12 if dtype == "float64" else 1e-3 if optimizer.degree == 0 else 2e-5
        with cases.row((n, options, groups)):
            for found, wanted in zip(results[0], expected, strict=True):
                np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)
            assert results[0][0] == results[1][0]
            np.testing.assert_array_equal(results[0][1], results[1][1])


def test_one_input_is_no_other_parametrization(mlp):
    nets = [mlp([1, 1, 1], dtype="float64", rng=0) for _ in range(2)]
    for net, groups in zip(nets, (None, NTK), strict=True):
        net.fit(X[:, :1], Y[:, :1], epochs=2, l2=0.1, clip_norm=0.1, groups=groups)
    assert digest(nets[0]) == digest(nets[1])
