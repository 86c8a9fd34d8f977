"""What exported models are compared with: odd rows, and the truth in float64."""

from __future__ import annotations

import itertools
from typing import Any

import cases
import numpy as np
import numpy.typing as npt
import pytest

import fastmlp
from fastmlp import reference
from fastmlp._network import losses
from fastmlp._network.activations import ACTIVATIONS

Array = npt.NDArray[Any]

KEPT = ("layer_norm", "loss", "scale", "parametric", "skip", "linear_path")
LAYERS = (7, 33, 20, 5)
# Of what is summed up in a network, see `sizes`.
RELATIVE = {"float32": 1e-6, "float64": 1e-12}
LOSSES = [case.loss for case in cases.LOSSES if not case.labels]
# Each activation and each loss: neither knows of the other.
PAIRS = [
    pytest.param(activation, loss, id=f"{activation}-{loss.native_row(False)}-{loss.parameter:g}")
    for activation, loss in zip(itertools.cycle(ACTIVATIONS), LOSSES, strict=False)
]


def network(
    activation: Any,
    loss: losses.Loss | str,
    dtype: str,
    layers: tuple[int, ...] = LAYERS,
    **options: Any,
) -> Any:
    """Return a network with biases, and what else there is by the options; nothing is 0 or 1."""
    net = fastmlp.MLP(layers, activation=activation, loss=loss, dtype=dtype, rng=1, **options)
    rng = np.random.default_rng(2)
    net.biases = [rng.normal(scale=0.3, size=b.shape) for b in net.biases]
    net.gains = [rng.normal(1, scale=0.3, size=a.shape) for a in net.gains]
    net.shifts = [rng.normal(scale=0.3, size=a.shape) for a in net.shifts]
    net.scales = [rng.normal(1, scale=0.3, size=a.shape) for a in net.scales]
    net.alphas = [rng.normal(1, scale=0.3, size=a.shape) for a in net.alphas]
    net.linear_weights = [rng.normal(scale=0.3, size=a.shape) for a in net.linear_weights]
    return net


def rows(n: int, n_in: int, dtype: Any) -> Array:
    """Return n rows: most of order 1; some zero, tiny, denormal, huge or of mixed orders."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, n_in))
    x[: n // 8] *= np.exp(rng.normal(scale=3, size=(n // 8, n_in)))
    x[0], x[1], x[2], x[3], x[4] = 0, 1e-30, 1e-40, 1e4, -1e4
    return x.astype(dtype)


def parts(prediction: Any) -> list[Array]:
    """Return a prediction as a list of matrices: one, or means and variances."""
    return list(prediction) if isinstance(prediction, tuple) else [prediction]


def truth(net: Any, x: Array) -> list[Array]:
    """Return the prediction of the reference in float64."""
    options = {name: getattr(net._spec, name) for name in KEPT}
    options["activation"] = list(net.activations)
    exact = reference.MLP(net.layer_sizes, dtype="float64", **options)
    exact.load_state_dict(net.state_dict())
    with np.errstate(all="ignore"):
        return parts(exact.predict(x.astype(np.float64)))


def assert_normalized(got: list[Array], net: Any, x: Array) -> None:
    """Fail unless predictions of a normalised network, for ordinary rows, are near the truth."""
    factor = 20 if net.dtype == np.float32 else 1  # a division by the deviation of a row
    for a, t in zip(got, truth(net, x), strict=True):
        error = np.abs(a - t) / (1 + np.abs(t))
        assert np.max(error) < factor * RELATIVE[net.dtype.name]


# What else a network may have, and whether its layers are normalised.
OPTIONS: dict[str, dict[str, Any]] = {
    "scale": {"scale": True},
    "parametric": {"parametric": True},
    "parametric, scale": {"parametric": [False, True], "scale": True},
    "linear path": {"linear_path": True},
    "linear path, scale": {"linear_path": True, "scale": True},
}
NORMS = ["before", "after", ["before", None], [None, "after"]]


def sizes(net: Any, x: Array) -> Array:
    """Return by row how large the numbers are that the network sums up, (n, 1)."""
    magnitude = np.abs(x.astype(np.float64))
    for scale in net.scales:
        magnitude = magnitude * np.abs(scale)
    inputs = magnitude
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        magnitude = magnitude @ np.abs(w) + np.abs(b)
        if k < len(net.alphas) and len(net.alphas[k]):
            magnitude = magnitude * (np.abs(1 - net.alphas[k]) + np.abs(net.alphas[k]))
    for w in net.linear_weights:
        magnitude = magnitude + inputs @ np.abs(w)
    return magnitude.max(axis=1, keepdims=True)


def assert_as_true(got: list[Array], net: Any, x: Array) -> None:
    """Fail unless predictions are as near to the truth as rounding lets them be."""
    wanted, relative = truth(net, x), RELATIVE[net.dtype.name] * sizes(net, x)
    largest = np.finfo(net.dtype).max / 2
    for index, (a, t) in enumerate(zip(got, wanted, strict=True)):
        assert a.dtype == net.dtype
        assert a.shape == t.shape
        # An error of z is one relative to exp(z), and absolute where there is no exp.
        absolute = net.loss.link_name in ("identity", "mean_and_variance") and index == 0
        scale = 1.0 if absolute else np.abs(t)
        known = (np.abs(t) < largest) & (relative < 1)
        with np.errstate(invalid="ignore"):  # an infinity less another, in both
            error = np.abs(a - t)
        assert known.mean() > 0.8
        assert np.all((error <= relative * scale + np.finfo(net.dtype).tiny)[known])


def assert_same_labels(got: Array, wanted: Array, sure: Array) -> None:
    """Fail if labels differ where the probabilities leave no doubt."""
    assert got.shape == wanted.shape
    assert sure.mean() > 0.5
    assert np.array_equal(got[sure], wanted[sure])
