"""Groups: rates and decay by layer and kind of tensor, frozen layers; more is in test_blocks.py."""

import cases
import numpy as np
import pytest
from models import X, Y, digest, network

import fastmlp
from fastmlp import Groups, reference
from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.numpy.random import dropout_masks
from fastmlp._engine.plan import Plan
from fastmlp._models.network import network_of
from fastmlp._network import groups
from fastmlp._network.data import Data
from fastmlp._network.spec import BLOCK_ROWS


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
def test_what_is_frozen_keeps_its_bytes_whatever_its_moments(mlp, optimizer, dtype):
    frozen = {
        (0, 3): Groups(layer_rates=[0, 1, 1]),
        (1, 4): Groups(layer_rates=[1, 0, 1]),
        (0, 1, 2): Groups(weight_rate=0),
        (3, 4, 5): Groups(bias_rate=0, bias_decay=1.0),
    }
    for clip_norm in (None, 0.1):
        for still, chosen in frozen.items():
            net = mlp([3, 8, 5, 2], activation="tanh", dtype=dtype, rng=0)
            net.partial_fit(X, Y, optimizer=optimizer, batch_size=32)
            net.weights[1] = np.where(net.weights[1] > 0, net.weights[1], -0.0)
            before = net.weights[:] + net.biases[:]
            options = {"l2": 0.1, "clip_norm": clip_norm, "groups": chosen, "batch_size": 32}
            net.partial_fit(X, Y, optimizer=optimizer, **options)
            after = net.weights[:] + net.biases[:]
            for k, (old, new) in enumerate(zip(before, after, strict=True)):
                assert (old.tobytes() == new.tobytes()) == (k in still)


@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
def test_other_factors_go_on_with_the_same_moments(optimizer):
    """Native and reference, call by call: freezing, and thawing what has kept its state."""
    nets = [network(model, dtype="float64") for model in (fastmlp.MLP, reference.MLP)]
    for chosen in (None, Groups(layer_rates=[0, 1]), None, Groups(bias_rate=0, bias_decay=1), None):
        for net in nets:
            net.partial_fit(X, Y, optimizer=optimizer, batch_size=30, l2=0.01, groups=chosen)
    assert network_of(nets[0]).resume_state[1] == network_of(nets[1]).resume_state[1] == 15
    ends = [[*net.weights, *net.biases] for net in nets]
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def tensors(sizes, layer_norm=None):
    network = cases.build(sizes, layer_norm=layer_norm)
    return tuple((kind, tuple(shapes)) for kind, shapes in network.tensors.items())


def test_tensors_of_equal_factors_are_one_group():
    three = tensors((5, 4, 4, 2))
    table = groups.table(groups.PLAIN, three, degree=1)
    assert table.factors.tolist() == [[1, 1, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1]]
    assert table.group_of.tolist() == [1, 1, 1, 0, 0, 0]
    assert table.first_trained == 0
    chosen = Groups(layer_rates=[0, 2, 1], bias_rate=0.5, bias_decay=1.0)
    mixed = groups.table(chosen, three, degree=0)
    assert mixed.factors[:, 0].tolist() == [0, 0.5, 1, 2]
    assert mixed.factors[:, 1:5].tolist() == [[1, 1, 1, 1]] * 4
    assert mixed.factors[:, 5].tolist() == [0, 1, 1, 1]
    assert mixed.group_of.tolist() == [0, 3, 2, 0, 2, 1]
    assert mixed.first_trained == 1
    assert groups.table(Groups(layer_rates=[0, 0]), tensors((5, 4, 2)), degree=0).first_trained == 1
    normed, chosen = tensors((1,) * 4, [None, "after"]), {"norm_rate": 2, "norm_decay": 3}
    only_norms = groups.table(Groups(weight_rate=0, bias_rate=0, **chosen), normed, degree=0)
    assert only_norms.factors[:, [0, 2]].tolist() == [[0, 0], [0, 1], [2, 3]]
    assert only_norms.group_of.tolist() == [1, 1, 1, 0, 0, 0, 2, 2, 2, 2]
    assert only_norms.first_trained == 1  # the first layer has no gains
    for degree in (0, 1):
        ntk = groups.table(Groups(parametrization="ntk"), tensors((4, 16, 2)), degree)
        turned = [2.0 ** (k * (1 + degree)) for k in (-2, -1, 0)]
        norms = [2.0**-4, 2.0**-2, 1]
        both = [
            [turned[k], 4 / 2**k, 1 / turned[k], 4 / 2**k, 1 / norms[k], norms[k]] for k in range(2)
        ]
        assert ntk.factors.tolist() == [*both, [1, 1, 0, 0, 0, 1]]
        assert ntk.group_of.tolist() == [1, 0, 2, 2]
    assert Groups(layer_rates=[1, 2]) == Groups(layer_rates=np.array([1.0, 2.0]))
    assert Plan(fastmlp.SGD(), 1, np.ones(1)).groups == Groups()


# ---- training written out, step by step; also with the NTK parametrisation, of W' = W sqrt(fan_in)

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


def written_out(spec, parameters, data, batch_size, optimizer, chosen, l2=0.0, clip_norm=0.0):
    """Two epochs on W', in the order of test_blocks.train: the formulas as the papers have them."""
    ntk = chosen.parametrization == "ntk"
    c = [1 / np.sqrt(fan_in) if ntk else 1.0 for fan_in, _ in spec.shapes]
    n = len(c)
    seen = [w / scale for w, scale in zip(parameters[0], c, strict=True)] + list(parameters[1])
    of_layers = (chosen.layer_rates or (1,) * n), (chosen.layer_decays or (1,) * n)
    of_kinds = (chosen.weight_rate, chosen.bias_rate), (1, chosen.bias_decay)
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
            total = np.sum(batch.weights > 0) * np.mean(data.weights[data.weights > 0])
            arguments = spec, (weights, seen[n:]), batch, 0.0, masks
            value, dws, dbs = numpy_engine.objective(*arguments, total=total)
            value += l2 / 2 * sum(d * np.sum(p**2) for d, p in zip(decays, seen, strict=True))
            sums += total * np.array([value, 1.0])
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
@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
def test_it_trains_what_the_optimizer_is_to_see(optimizer, kind, dtype):
    for at, (n, batch_size, options, chosen) in enumerate(WAYS):
        plain, spec = (
            cases.build((5, 33, 9, 3), "tanh", "cross_entropy", each, 0.3 * (at % 2))
            for each in ("float64", dtype)
        )
        data = cases.data(spec, n, np.random.default_rng(0), weighted=at % 2 > 0)
        parameters = cases.parameters(spec, np.random.default_rng(0))
        results = []
        for n_threads in (1, 2):
            engine = cases.engine(kind, spec)
            engine.set_parameters(*parameters)
            given = {**options, "groups": chosen}
            results.append(cases.train(engine, data, batch_size, optimizer, n_threads, **given))
        parameters = [[p.astype(float) for p in arrays] for arrays in parameters]
        shares = np.ones(n) if data.weights is None else data.weights.astype(float)
        wide = Data(data.x.astype(float), data.targets, shares)
        expected = written_out(plain, parameters, wide, batch_size, optimizer, chosen, **options)
        atol = 1e-12 if dtype == "float64" else 1e-3 if optimizer.degree == 0 else 2e-5
        with cases.row((n, options, chosen)):
            for found, wanted in zip(results[0], expected, strict=True):
                np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)
            assert results[0][0] == results[1][0]
            np.testing.assert_array_equal(results[0][1], results[1][1])


def test_one_input_is_no_other_parametrization(mlp):
    nets = [mlp([1, 1, 1], dtype="float64", rng=0) for _ in range(2)]
    for net, chosen in zip(nets, (None, NTK), strict=True):
        net.fit(X[:, :1], Y[:, :1], epochs=2, l2=0.1, clip_norm=0.1, groups=chosen)
    assert digest(nets[0]) == digest(nets[1])
