"""The layers of a C file: those of a network, those that int8 weights need; what they compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp.activations import ACTIVATIONS
from fastmlp.export.layers import Activation, Affine, Array, Exported, Normalization, Parametric
from fastmlp.normalization import layer_norm
from fastmlp.parametric import blended

LARGEST = 127  # of signed char, both signs alike


@dataclass(frozen=True, eq=False)
class Shift:
    """(x - mean) * factor: a layer that int8 weights need where inputs differ in scale."""

    mean: Array
    factor: Array


@dataclass(frozen=True, eq=False)
class Quantized:
    """Weights in whole units of their column, from -127 to 127."""

    weights: Array
    unit: Array
    biases: Array


def _shift(layer: Shift, x: Array) -> Array:
    return np.asarray((x - layer.mean) * layer.factor)


def _affine(layer: Affine, x: Array) -> Array:
    return np.asarray(x @ layer.weights.astype(x.dtype) + layer.biases)


def _quantized(layer: Quantized, x: Array) -> Array:
    return np.asarray((x @ layer.weights.astype(x.dtype)) * layer.unit + layer.biases)


def _normalization(layer: Normalization, x: Array) -> Array:
    return layer_norm(x, layer.gains, layer.shifts)


# What each layer computes, link apart.
VALUES: dict[type, Any] = {
    Shift: _shift,
    Affine: _affine,
    Quantized: _quantized,
    Normalization: _normalization,
    Activation: lambda layer, x: ACTIVATIONS[layer.name].value(x),
    Parametric: lambda layer, x: blended(layer.name, layer.alphas, x),
}


def predict(model: Exported, layers: list[Any], rows: Array) -> Array:
    """Return predictions in float64."""
    z = rows.astype(np.float64)
    with np.errstate(all="ignore"):
        for layer in layers[:-1]:
            z = VALUES[type(layer)](layer, z)
        p = model.spec.loss.link(z)
    return np.concatenate([1 - p, p], axis=1) if model.is_pair else p


def quantized(layers: list[Any], rows: Array) -> list[Any]:
    """Return layers with int8 weights; inputs are scaled first, as the rows are."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    first = layers[0]
    folded = Affine(first.weights * spread[:, np.newaxis], first.biases + mean @ first.weights)
    return [
        Shift(mean.astype(np.float32), (1 / spread).astype(np.float32)),
        *(_in_units(each) if isinstance(each, Affine) else each for each in [folded, *layers[1:]]),
    ]


def _in_units(layer: Affine) -> Quantized:
    unit = np.abs(layer.weights).max(axis=0) / LARGEST
    unit = np.where(unit > 0, unit, 1.0).astype(np.float32)
    weights = np.rint(layer.weights / unit).clip(-LARGEST, LARGEST).astype(np.int8)
    return Quantized(weights, unit, layer.biases.astype(np.float32))
