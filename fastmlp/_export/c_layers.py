"""The layers of a C file, including those for narrow weights, and their values in NumPy."""

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
from fastmlp._network.weight_types import from_bfloat16, in_units, to_bfloat16


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


@dataclass(frozen=True, eq=False)
class Halves:
    """An affine layer whose weights are the upper halves of float32 numbers."""

    weights: Array
    biases: Array


@dataclass(frozen=True, eq=False)
class LinearHalves:
    """A linear path with such weights."""

    weights: Array


# The value of each layer except the link, from the layer, its input, and the values that `Keep`
# layers have stored.
VALUES: dict[type, Any] = {
    InputScaling: lambda layer, x, kept: (x - layer.mean) * layer.factor,
    Affine: lambda layer, x, kept: x @ layer.weights.astype(x.dtype) + layer.biases,
    Quantized: lambda layer, x, kept: _in_full(layer, x) + layer.biases,
    Halves: lambda layer, x, kept: x @ from_bfloat16(layer.weights) + layer.biases,
    LinearHalves: lambda layer, x, kept: x + kept["inputs"] @ from_bfloat16(layer.weights),
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


def narrowed(layers: list[Any], kind: str, rows: Array) -> list[Any]:
    """Return layers with weights of this kind: of int8 after a scaling of inputs by the rows."""
    rules = NARROW[kind]
    before, layers = _scaled(layers, rows) if kind == "int8" else ([], layers)
    return before + [rules[type(each)](each) if type(each) in rules else each for each in layers]


def _scaled(layers: list[Any], rows: Array) -> tuple[list[Any], list[Any]]:
    """Return a layer that scales inputs by statistics of the rows, and the layers after it."""
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
    scaling = InputScaling(mean.astype(np.float32), (1 / spread).astype(np.float32))
    return [scaling], folded


# Functions from a layer to one with narrow weights.
NARROW: dict[str, dict[type, Any]] = {
    "int8": {
        Affine: lambda each: Quantized(*in_units(each.weights), each.biases.astype(np.float32)),
        Linear: lambda each: QuantizedLinear(*in_units(each.weights)),
    },
    "bfloat16": {
        Affine: lambda each: Halves(to_bfloat16(each.weights), each.biases.astype(np.float32)),
        Linear: lambda each: LinearHalves(to_bfloat16(each.weights)),
    },
}
