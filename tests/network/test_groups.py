"""Groups: rates and decay by layer and kind of tensor, frozen layers; more is in test_blocks.py."""

import cases
import numpy as np
import pytest
from models import X, Y, digest, network

import fastmlp
from fastmlp import reference
from fastmlp._engine.plan import Plan
from fastmlp._network import groups
from fastmlp._network.groups import Groups


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
            for k, (old, new) in enumerate(
                zip(before, net.weights[:] + net.biases[:], strict=True)
            ):
                assert (old.tobytes() == new.tobytes()) == (k in still)


@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
def test_other_factors_go_on_with_the_same_moments(optimizer):
    """Native and reference, call by call: freezing, and thawing what has kept its state."""
    nets = [network(model, dtype="float64") for model in (fastmlp.MLP, reference.MLP)]
    for chosen in (None, Groups(layer_rates=[0, 1]), None, Groups(bias_rate=0, bias_decay=1), None):
        for net in nets:
            net.partial_fit(X, Y, optimizer=optimizer, batch_size=30, l2=0.01, groups=chosen)
    assert nets[0]._progress[1] == nets[1]._progress[1] == 15
    for a, b in zip(nets[0].weights[:] + nets[0].biases[:],
                    nets[1].weights[:] + nets[1].biases[:], strict=True):  # fmt: skip
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


def test_groups_must_fit_the_network(mlp):
    net = network(mlp)
    before = digest(net)
    for name in ("layer_rates", "layer_decays"):
        for call in (net.fit, net.partial_fit):
            with pytest.raises(ValueError, match=f"{name} of groups has 3 factors.* 2 layers"):
                call(X, Y, groups=Groups(**{name: [1, 1, 1]}))
    with pytest.raises(TypeError, match="groups is .*fastmlp.Groups"):
        net.fit(X, Y, groups={"bias_rate": 2.0})
    assert digest(net) == before
