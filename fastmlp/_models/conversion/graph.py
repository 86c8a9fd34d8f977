"""The graph of a foreign network: layers, and the affine functions of them that lie between.

A reader calls the functions of this module in the order of the foreign forward pass. Whatever is
affine (batch normalisation, scalers, concatenation, columns) folds into the weights of the layer
that reads it, in float64; `assembly` makes a network of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._network.layer_norm import EPSILON
from fastmlp._network.names import NormPosition

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Layer:
    """The inputs, or a normalisation, an activation and dropout of an affine function."""

    width: int
    source: Value | None = None  # None: the layer is the inputs
    activation: Any = "identity"  # a name of fastmlp's, or of a link: see assembly.LINKS
    norm: NormPosition | None = None
    dropout: float = 0.0
    is_sum: bool = False  # whether it holds what the foreign network adds
    more: dict[str, Array] = field(default_factory=dict)  # gains, shifts and alphas

    @property
    def is_plain(self) -> bool:
        """Whether its outputs are the values of its source."""
        return (
            self.source is not None
            and self.activation == "identity"
            and not (self.norm or self.dropout or self.more)
        )


@dataclass(frozen=True, eq=False)
class Value:
    """An affine function of layers: the sum of their outputs times matrices, plus a shift."""

    # By what the outputs of each layer are multiplied before they are added up: factors of its
    # columns, (width,), or a matrix, (width of the layer, width).
    terms: dict[Layer, Array]
    shift: Array  # (width,)
    is_product: bool = False  # whether a matrix product gave it: the next one makes a new layer
    is_flat: bool = False  # whether the foreign array has shape (rows,), not (rows, 1)
    is_shared: bool = False  # whether several operations read it: its layer stays as it is

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.shift)

    @property
    def layer(self) -> Layer | None:
        """The layer whose outputs these are, unchanged; None for anything else."""
        ((layer, factor), *others) = self.terms.items()
        is_same = not others and factor.ndim == 1 and np.all(factor == 1) and not self.shift.any()
        return layer if is_same else None

    @property
    def own_layer(self) -> Layer | None:
        """The same, if nothing else reads it, so that what follows may become a part of it."""
        return None if self.is_shared else self.layer


def refusal(what: str, remedy: str) -> ValueError:
    """Return the error for a network that is no multi-layer perceptron."""
    expected = "affine layers, activations of fastmlp between them, and a softmax or sigmoid"
    return ValueError(f"{what}, but a plain MLP has {expected}: {remedy}")


def value_of(layer: Layer, is_flat: bool = False) -> Value:
    """Return the outputs of a layer."""
    return Value({layer: np.ones(layer.width)}, np.zeros(layer.width), is_flat=is_flat)


def matrix(factor: Array) -> Array:
    """Return a term as a matrix."""
    return np.diag(factor) if factor.ndim == 1 else factor


def scaled(value: Value, gain: Any = 1.0, shift: Any = 0.0) -> Value:
    """Return a value times one factor or one for each column, plus shifts of that shape."""
    gain, shift = (np.asarray(one, np.float64) for one in (gain, shift))
    terms = {layer: factor * gain for layer, factor in value.terms.items()}
    return replace(value, terms=terms, shift=value.shift * gain + shift)


def product(value: Value, weights: Array, biases: Any = 0.0) -> Value:
    """Return a value times a matrix (width, outputs), plus biases."""
    if value.is_product:  # a product of two matrices may be larger than both
        value = value_of(_layer(value))
    weights = np.asarray(weights, np.float64)
    terms = {
        layer: weights * factor[:, np.newaxis] if factor.ndim == 1 else factor @ weights
        for layer, factor in value.terms.items()
    }
    return Value(terms, value.shift @ weights + biases, is_product=True)


def columns(value: Value, index: Any) -> Value:
    """Return some columns of a value, by an index of NumPy's."""
    terms = {layer: matrix(factor)[:, index] for layer, factor in value.terms.items()}
    return replace(value, terms=terms, shift=value.shift[index])


def joined(values: Sequence[Value]) -> Value:
    """Return the columns of several values beside each other."""
    terms = {
        layer: np.concatenate(
            [
                matrix(one.terms[layer])
                if layer in one.terms
                else np.zeros((layer.width, one.width))
                for one in values
            ],
            axis=1,
        )
        for layer in dict.fromkeys(layer for one in values for layer in one.terms)
    }
    shift = np.concatenate([one.shift for one in values])
    return Value(terms, shift, any(one.is_product for one in values))


def combined(one: Value, other: Value) -> Value:
    """Return the sum of two values as one affine function."""
    terms = dict(one.terms)
    for layer, factor in other.terms.items():
        if layer not in terms:
            terms[layer] = factor
        elif terms[layer].ndim == factor.ndim == 1:
            terms[layer] = terms[layer] + factor
        else:
            terms[layer] = matrix(terms[layer]) + matrix(factor)
    is_product = one.is_product or other.is_product
    return replace(one, terms=terms, shift=one.shift + other.shift, is_product=is_product)


def added(one: Value, other: Value) -> Value:
    """Return the sum of two values, as a layer that later sums and blocks may read."""
    both = combined(one, other)
    return value_of(_layer(both, is_sum=True), both.is_flat)


def shared(value: Value) -> Value:
    """Return a value that several operations read: a product becomes a layer, computed once."""
    if value.is_product:
        value = value_of(_layer(value, is_sum=True), value.is_flat)
    return replace(value, is_shared=True)


def activated(value: Value, activation: Any, alphas: Array | None = None) -> Value:
    """Return an activation of a value: with alphas, a parametric one."""
    layer, more = value.own_layer, {} if alphas is None else {"alphas": alphas}
    if layer and layer.norm == "before" and layer.activation == "identity" and not layer.dropout:
        new = replace(layer, activation=activation, more=layer.more | more)
    else:
        new = _layer(value, activation=activation, more=more)
    return value_of(new, value.is_flat)


def between(value: Value, low: float, high: float) -> Value:
    """Return a value limited to an interval, as relu(z - low) - relu(z - high) + low."""
    if not np.isfinite([low, high]).all():
        sign, bound = (-1.0, high) if np.isfinite(high) else (1.0, low)
        kept = activated(scaled(value, sign, -sign * bound), "relu")
        return scaled(kept, sign, bound)
    units = activated(joined([scaled(value, shift=-low), scaled(value, shift=-high)]), "relu")
    eye = np.eye(value.width)
    (layer,) = units.terms
    limited = Value({layer: np.concatenate([eye, -eye])}, np.full(value.width, float(low)))
    return replace(limited, is_flat=value.is_flat)


def normalised(value: Value, gains: Array, shifts: Array, epsilon: float = EPSILON) -> Value:
    """Return the layer normalisation of a value; another epsilon is a factor of the value."""
    if epsilon != EPSILON:
        if not epsilon > 0:
            raise refusal(
                f"the network normalises a layer with epsilon {epsilon}", "make it positive"
            )
        value = scaled(value, np.sqrt(EPSILON / epsilon))
    layer, more = value.own_layer, {"gains": gains, "shifts": shifts}
    is_late = layer and layer.source and not (layer.is_plain or layer.norm or layer.dropout)
    if layer and is_late:
        return value_of(replace(layer, norm="after", more=layer.more | more))
    return value_of(_layer(value, norm="before", more=more))


def dropped(value: Value, rate: float) -> Value:
    """Return a value with dropout, without it where a network has none: of inputs and sums."""
    if value.is_product or value.is_shared:
        return value_of(_layer(value, dropout=rate), value.is_flat)
    ((layer, factor), *others) = value.terms.items()
    has_place = layer.source and not (others or layer.is_sum or layer.dropout) and factor.ndim == 1
    return replace(value, terms={replace(layer, dropout=rate): factor}) if has_place else value


def _layer(value: Value, **options: Any) -> Layer:
    return Layer(value.width, value, **options)
