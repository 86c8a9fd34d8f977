"""Residual blocks and the linear path: gradients, options, groups, exports, both engines."""

import cases
import exports
import numpy as np
import pytest
from models import X, Y
from test_operators import check_gradients

import fastmlp
from fastmlp import Groups
from fastmlp._engine.numpy import layers
from fastmlp._engine.numpy.forward_pass import ForwardPass
from fastmlp._engine.numpy.random import dropout_masks
from fastmlp._models.network import network_of
from fastmlp._network.activations import ACTIVATIONS

# Layer sizes, and options: each alone, both, and with all that may stand around them.
NETWORKS = {
    "blocks of one": ((3, 4, 4, 4, 2), {"skip": 1}),
    "blocks of two": ((3, 4, 4, 4, 4, 4, 2), {"skip": 2}),
    "two widths": (
        (3, 5, 4, 4, 4, 3, 3, 3, 1),
        {"skip": 2, "layer_norm": [None, "after", None, "before", None, None, None]},
    ),
    "linear path": ((3, 5, 2), {"linear_path": True}),
    "scaled linear path": ((3, 5, 2), {"linear_path": True, "scale": True}),
    "all": (
        (3, 4, 4, 4, 2),
        {
            "skip": 2,
            "linear_path": True,
            "scale": True,
            "parametric": [True, False, True],
            "layer_norm": ["before", None, "after"],
            "dropout": [0.0, 0.2, 0.3],
        },
    ),
}
EACH = pytest.mark.parametrize(("sizes", "options"), NETWORKS.values(), ids=NETWORKS)


@EACH
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_by_central_differences(activation, sizes, options):
    check_gradients(cases.build(sizes, activation, **options))


def test_the_formula():
    """y = dropout(activation(z)) + what entered the block, and z of the end + x W."""
    network = cases.build((3, 4, 4, 4, 2), "tanh", skip=2, linear_path=True, dropout=0.5)
    parameters = cases.parameters(network, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(9, 3))
    masks = dropout_masks(network, seed=1, step=0, n_rows=9)
    weights, biases, (linear,) = parameters

    def layer(k, y):
        return layers.drop(np.tanh(y @ weights[k] + biases[k]), masks[k], 0.5)

    first = layer(0, x)
    end = layer(2, layer(1, first)) + first
    outputs = ForwardPass(network, parameters, x, masks).outputs
    np.testing.assert_allclose(outputs[-1], end @ weights[3] + biases[3] + x @ linear, rtol=1e-12)


@pytest.mark.parametrize(
    ("widths", "skip", "expected"),
    [
        ((4, 4), 1, (None, 1)),
        ((4, 4, 4, 4), 3, (None, None, None, 1)),
        ((9, 4, 4, 4, 4, 4, 8), 2, (None, None, None, 2, None, 4, None)),
        ((4, 4, 4, 2, 2, 2), 2, (None, None, 1, None, None, 4)),
        ((4, 4, 4), np.int64(2), (None, None, 1)),
    ],
)
def test_which_layers_are_blocks(mlp, widths, skip, expected):
    net = mlp([3, *widths, 1], skip=skip, rng=0)
    assert network_of(net).spec.blocks == expected
    assert f"skip={int(skip)}" in repr(net)


def make(mlp, sizes, options, **more):
    defaults = {"activation": "tanh", "dtype": "float64", "rng": 0}
    return mlp([3, *sizes[1:-1], 2], **defaults | options | more)


def test_the_path_is_linear_and_scaled(mlp):
    net = make(mlp, *NETWORKS["scaled linear path"])
    before, w = net.predict(X), np.array([[1.0, 2.0], [3.0, -4.0], [5.0, 6.0]])
    factors = np.array([0.5, -1.0, 2.0])
    net.linear_weights[0] = w
    np.testing.assert_allclose(net.predict(X), before + X @ w, rtol=1e-12)
    net.scales[0] = factors
    wide = make(mlp, *NETWORKS["linear path"])
    state = dict(net.state_dict())
    del state["layers.0.scale"]
    wide.load_state_dict(state)
    np.testing.assert_allclose(net.predict(X), wide.predict(X * factors), rtol=1e-12)


def test_the_linear_weights_of_ntk_take_the_steps_of_the_others(mlp):
    """One step of SGD: W' = W sqrt(fan_in) moves W by 1 / fan_in times as much."""
    steps = []
    for parametrization in ("standard", "ntk"):
        net = make(mlp, (3, 5, 2), {"linear_path": True})
        groups = Groups(parametrization=parametrization)
        rest = {"epochs": 1, "batch_size": len(X), "optimizer": fastmlp.SGD(0.1)}
        net.fit(X, Y, groups=groups, shuffle=False, **rest)
        steps.append(net.linear_weights[0])
    np.testing.assert_allclose(steps[1], steps[0] / 3, rtol=1e-9)


# ---- exports ----------------------------------------------------------------------------------


def exportable(sizes, options, dtype, loss="gaussian_nll"):
    net = make(fastmlp.MLP, (7, *sizes[1:-1], 5), options, dtype=dtype, loss=loss)
    drawn = cases.parameters(network_of(net).spec, np.random.default_rng(2))
    for kind, arrays in zip(network_of(net).spec.tensors, drawn, strict=True):
        setattr(net, kind, arrays)
    x = np.random.default_rng(0).normal(1.0, 2.0, size=(300, len(net.weights[0])))
    return net, x.astype(dtype)


@exports.FORMATS
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_exports(predicted, dtype, tmp_path):
    nets, rows = zip(*(exportable(*each, dtype) for each in NETWORKS.values()), strict=True)
    for net, (y, _) in zip(nets, predicted(nets, rows[0], tmp_path), strict=True):
        exports.assert_normalized(y, net, rows[0])
    if predicted is exports.by_onnx:
        for net in nets:
            names = {each.name for each in net.to_onnx().graph.initializer}
            assert net.state_dict().keys() - {"layers.0.scale"} <= names
        return
    small = exports.by_c(nets, rows[0], tmp_path, weights="int8", X=rows[0])
    for net, (y, _) in zip(nets, small, strict=True):
        exports.assert_as_small(y, net, rows[0])


def test_c_of_two_classes(tmp_path):
    """The one probability is written behind the other, and so is what the path adds to."""
    model = fastmlp.MLP([3, 5, 5, 1], skip=1, linear_path=True, loss="binary_cross_entropy", rng=0)
    assert model.to_c(tmp_path / "net.c", weights="int8", X=X).largest_error < 0.05
