"""The layers of a C file, including those for int8 weights, and their values in NumPy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastmlp._export.layers import (
    Activation,
    Add,
    Affine,
    Array,
    Exported,
    Keep,
    Linear,
    Normalization,
    Parametric,
)
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.layer_norm import layer_norm
from fastmlp._network.parametric_activation import blended

LARGEST = 127  # largest int8 weight; symmetric in sign


@dataclass(frozen=True, eq=False)
class InputScaling:
    """Computes (x - mean) * factor, so that int8 networks see inputs of equal scale."""

    mean: Array
    factor: Array


@dataclass(frozen=True, eq=False)
class Quantized:
    """An affine layer with int8 weights from -127 to 127, in multiples of each column's unit."""

    weights: Array
    unit: Array
    biases: Array


@dataclass(frozen=True, eq=False)
class QuantizedLinear:
    """A linear path with int8 weights."""

    weights: Array
    unit: Array


# The value of each layer except the link, from the layer, its input, and the values that `Keep`
# layers have stored.
VALUES: dict[type, Any] = {
    InputScaling: lambda layer, x, kept: (x - layer.mean) * layer.factor,
    Affine: lambda layer, x, kept: x @ layer.weights.astype(x.dtype) + layer.biases,
    Quantized: lambda layer, x, kept: _in_full(layer, x) + layer.biases,
    Normalization: lambda layer, x, kept: layer_norm(x, layer.gains, layer.shifts),
    Keep: lambda layer, x, kept: kept.update({layer.name: x}) or x,
    Add: lambda layer, x, kept: x + kept[layer.name],
    Linear: lambda layer, x, kept: x + kept["inputs"] @ layer.weights.astype(x.dtype),
    QuantizedLinear: lambda layer, x, kept: x + _in_full(layer, kept["inputs"]),
    Activation: lambda layer, x, kept: ACTIVATIONS[layer.name].value(x),
    Parametric: lambda layer, x, kept: blended(layer.name, layer.alphas, x),
}


def _in_full(layer: Any, x: Array) -> Array:
    """Return x times quantized weights."""
    return np.asarray((x @ layer.weights.astype(x.dtype)) * layer.unit)


def predict(model: Exported, each: list[list[Any]], rows: Array) -> Array:
    """Return predictions in float64, averaged over the networks."""
    link = model.spec.loss.link
    with np.errstate(all="ignore"):
        predictions = [link(outputs(layers[:-1], rows)) for layers in each]
        p = np.asarray(np.mean(predictions, axis=0))
        if model.spec.loss.heads == 2:
            m = model.spec.n_outputs
            p[:, m:] += np.var([own[:, :m] for own in predictions], axis=0)
    return np.concatenate([1 - p, p], axis=1) if model.is_pair else p


def outputs(layers: list[Any], rows: Array) -> Array:
    """Return the output of these layers for some rows, in float64."""
    z = rows.astype(np.float64)
    kept: dict[str, Array] = {}
    for layer in layers:
        z = VALUES[type(layer)](layer, z, kept)
    return z


def quantized(layers: list[Any], rows: Array) -> list[Any]:
    """Return layers with int8 weights, after one that scales inputs by statistics of the rows."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    at = [k for k, each in enumerate(layers) if isinstance(each, Affine)]
    readers = {at[0]: at[0]}  # layer that reads the inputs -> layer whose biases absorb the mean
    readers |= {k: at[-1] for k, each in enumerate(layers) if isinstance(each, Linear)}
    folded = list(layers)
    for k, biased in readers.items():
        weights, biases = layers[k].weights, folded[biased].biases + mean @ layers[k].weights
        folded[biased] = replace(folded[biased], biases=biases)
        folded[k] = replace(folded[k], weights=weights * spread[:, np.newaxis])
    return [
        InputScaling(mean.astype(np.float32), (1 / spread).astype(np.float32)),
        *(QUANTIZED[type(each)](each) if type(each) in QUANTIZED else each for each in folded),
    ]


def _in_units(weights: Array) -> tuple[Array, Array]:
    """Return int8 weights, and the unit of each column."""
    unit = np.abs(weights).max(axis=0) / LARGEST
    unit = np.where(unit > 0, unit, 1.0).astype(np.float32)
    return np.rint(weights / unit).clip(-LARGEST, LARGEST).astype(np.int8), unit


QUANTIZED: dict[type, Any] = {
    Affine: lambda each: Quantized(*_in_units(each.weights), each.biases.astype(np.float32)),
    Linear: lambda each: QuantizedLinear(*_in_units(each.weights)),
}
