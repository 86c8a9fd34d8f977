"""The NTK parametrisation, against a training of W' = W sqrt(fan_in) written out in NumPy."""

import cases
import numpy as np
import pytest
import test_bits
from models import X, Y, digest, network
from test_blocks import engines, train

import fastmlp
from fastmlp._engine.numpy import numpy_engine
from fastmlp._network.data import Data
from fastmlp._network.groups import Groups
from fastmlp._network.spec import BLOCK_ROWS

NTK = Groups(parametrization="ntk")
MIXED = Groups([0.5, 2.0, 1.0], bias_rate=0.5, layer_decays=[2, 0.5, 1], parametrization="ntk")
# Rows of the data and of a batch, the options of the fit, the groups.
WAYS = (
    (150, 64, {"l2": 0.02}, NTK),
    (150, 64, {"l2": 0.02, "clip_norm": 0.3}, MIXED),
    (BLOCK_ROWS + 40, BLOCK_ROWS + 40, {"l2": 0.02, "clip_norm": 0.3}, NTK),
)


def written_out(spec, parameters, data, batch_size, optimizer, l2=0.0, clip_norm=0.0, groups=NTK):
    """Two epochs on W', in the order of test_blocks.train: the formulas as the papers have them."""
    c = [1 / np.sqrt(fan_in) for fan_in, _ in spec.shapes]
    n = len(c)
    seen = [w / scale for w, scale in zip(parameters[0], c, strict=True)] + list(parameters[1])
    rates = groups.layer_rates or (1,) * n
    rates = [*rates, *(groups.bias_rate * rate for rate in rates)]
    decays = [*(groups.layer_decays or (1,) * n), *(0,) * n]
    slots = [[np.zeros_like(p) for _ in range(optimizer.n_slots)] for p in seen]
    order = np.random.default_rng(1).permutation(len(data.x))
    t = 0
    for _ in range(2):
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            weights = [scale * w for w, scale in zip(seen, c, strict=False)]
            batch = Data(data.x[rows], data.targets[rows])
            _, dws, dbs = numpy_engine.objective(spec, (weights, seen[n:]), batch, 0.0)
            gradients = [scale * g for scale, g in zip(c, dws, strict=True)] + dbs
            gradients = [g + l2 * d * p for g, d, p in zip(gradients, decays, seen, strict=True)]
            norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
            shrink = clip_norm / norm if clip_norm and norm > clip_norm else 1.0
            t += 1
            for k, g in enumerate(gradients):
                optimizer.step(seen[k], shrink * g, slots[k], 1e-2 * rates[k], t, decays[k])
    trained = [scale * w for w, scale in zip(seen, c, strict=False)] + seen[n:]
    return np.concatenate([p.ravel() for p in trained])


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", ["reference", *test_bits.LEVELS])
@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
def test_it_trains_what_the_optimizer_is_to_see(optimizer, level, dtype):
    for n, batch_size, options, groups in WAYS:
        spec, fast, slow = engines(test_bits.LEVELS[0] if level == "reference" else level, dtype)
        engine = slow if level == "reference" else fast
        data = cases.data(spec, n, np.random.default_rng(0))
        plain = cases.build(spec.layer_sizes, "tanh", "cross_entropy")
        wide = Data(data.x.astype(float), data.targets)
        parameters = [[p.astype(float) for p in kind] for kind in engine.parameters()]
        expected = written_out(
            plain, parameters, wide, batch_size, optimizer, **options, groups=groups
        )
        options = {**options, "groups": groups}
        objectives, trained = train(engine, data, batch_size, optimizer, **options)
        atol = 1e-12 if dtype == "float64" else 1e-3 if optimizer.degree == 0 else 2e-5
        np.testing.assert_allclose(trained, expected, rtol=0, atol=atol)
        if level != "reference":
            _, again, _ = engines(level, dtype)
            found = train(again, data, batch_size, optimizer, 2, **options)
            assert found[0] == objectives
            np.testing.assert_array_equal(found[1], trained)


def test_one_input_is_no_other_parametrization(mlp):
    nets = [mlp([1, 1, 1], dtype="float64", rng=0) for _ in range(2)]
    for net, groups in zip(nets, (None, NTK), strict=True):
        net.fit(X[:, :1], Y[:, :1], epochs=2, l2=0.1, clip_norm=0.1, groups=groups)
    assert digest(nets[0]) == digest(nets[1])


def test_the_penalty_is_that_of_what_the_optimizer_sees(mlp):
    net = network(mlp, dtype="float64")
    squares = sum(w.shape[0] * np.sum(w**2) for w in net.weights)
    wanted = net.evaluate(X, Y) + 0.5 * 0.1 * squares
    assert net.partial_fit(X, Y, l2=0.1, groups=NTK) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("wrong", ["NTK", None, "mup", 1])
def test_other_parametrizations_are_refused(wrong):
    with pytest.raises((TypeError, ValueError), match="parametrization is .* standard, ntk"):
        fastmlp.Groups(parametrization=wrong)
