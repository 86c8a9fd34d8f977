"""The parts of a layer in the NumPy engine: products, the steps of a hidden layer, dropout.

A hidden layer is an activation, plain or parametric, with a normalisation before or after it: its
`steps`, each by its textbook formula.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fastmlp._core.weight_types import from_bfloat16, to_bfloat16
from fastmlp._network import layer_norm
from fastmlp._network.activations import Array, blended, blended_slope, row_of
from fastmlp._network.spec import BLOCK_ROWS, Spec

# One list of arrays for each kind of tensor in Spec.tensors: weights, biases, ...
Parameters = tuple[list[Array], ...]


def product(a: Array, b: Array, is_rounded: bool) -> Array:
    """Return a @ b, of the factors rounded to bfloat16 if `is_rounded`."""
    return factor(a, is_rounded) @ factor(b, is_rounded)


def factor(a: Array, is_rounded: bool) -> Array:
    """Return a, rounded to bfloat16 if `is_rounded`."""
    return from_bfloat16(to_bfloat16(a)) if is_rounded else a


class Activate(NamedTuple):
    """The step y = f(z) of a hidden layer, or of a parametric activation (1 - a) z + a f(z)."""

    name: Any  # a key of ACTIVATIONS, or a custom activation
    alpha: Array | None
    z: Array

    def value(self) -> Array:
        """Return y."""
        if self.alpha is not None:
            return blended(self.name, self.alpha, self.z)
        value: Array = row_of(self.name).value(self.z)
        return value

    def tangent(self, s: Array) -> Array:
        """Return the derivative of y in the direction s."""
        if self.alpha is not None:
            return s * blended_slope(self.name, self.alpha, self.z)
        return np.asarray(s * row_of(self.name).slope(self.z))

    def back(self, dy: Array) -> Array:
        """Return dz, given dy: the matrix of derivatives is diagonal."""
        return self.tangent(dy)

    def bend(self, s: Array, dy: Array) -> Array:
        """Return the gradient by z of sum(dy * tangent(s))."""
        curvature = dy * s * row_of(self.name).curvature(self.z)
        return curvature if self.alpha is None else curvature * self.alpha

    def gradients(self, dy: Array, s: Array | None = None) -> dict[str, Array]:
        """Return the gradient of each row, given dy, by the tensors of the step.

        With s it is that of sum(dy * tangent(s)).
        """
        if self.alpha is None:
            return {}
        f = row_of(self.name)
        return {"alphas": dy * (f.value(self.z) - self.z if s is None else s * f.slope(self.z) - s)}


class Normalize(NamedTuple):
    """The step of a hidden layer that scales each row of z to mean 0 and variance 1."""

    gain: Array
    shift: Array
    z: Array

    def value(self) -> Array:
        """Return y."""
        return layer_norm.layer_norm(self.z, self.gain, self.shift)

    def tangent(self, s: Array) -> Array:
        """Return the derivative of y in the direction s."""
        return layer_norm.layer_norm_tangent(self.z, self.gain, s)

    def back(self, dy: Array) -> Array:
        """Return dz, given dy."""
        return layer_norm.layer_norm_gradient(self.z, self.gain, dy)

    def bend(self, s: Array, dy: Array) -> Array:
        """Return the gradient by z of sum(dy * tangent(s))."""
        return layer_norm.layer_norm_bend(self.z, self.gain, s, dy)

    def gradients(self, dy: Array, s: Array | None = None) -> dict[str, Array]:
        """Return the gradient of each row, given dy, as that of an activation."""
        if s is not None:
            return {"gains": dy * layer_norm.layer_norm_tangent(self.z, np.ones_like(self.gain), s)}
        return {"gains": dy * layer_norm.normalized(self.z)[0], "shifts": dy}


Step: TypeAlias = Activate | Normalize


def steps(spec: Spec, tensors: dict[str, list[Array]], k: int, z: Array) -> list[Step]:
    """Return the steps of hidden layer k from z on; the value of the last is its activation."""
    position = spec.layer_norm[k]
    made: list[Step] = []
    for part in ("before", "activation", "after"):
        if part not in ("activation", position):
            continue
        z = made[-1].value() if made else z
        if part == position:
            made.append(Normalize(tensors["gains"][k], tensors["shifts"][k], z))
        else:
            alpha = tensors["alphas"][k] if spec.parametric[k] else None
            made.append(Activate(spec.activations[k], alpha, z))
    return made


def summed(rows: Array) -> Array:
    """Return the sum of all rows, in float64."""
    return np.sum(rows, axis=0, dtype=np.float64).astype(rows.dtype)


def over_rows(y: Array, dz: Array, is_rounded: bool = False) -> Array:
    """Return y.T @ dz, blocks of rows added in float64: a million float32 terms lose two digits."""
    total = np.zeros((y.shape[1], dz.shape[1]))
    for first in range(0, len(y), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        total += product(y[block].T, dz[block], is_rounded)
    return total.astype(dz.dtype)


def outer(y: Array, dz: Array) -> Array:
    """Return the gradient of the weights of each row, (N, I, O)."""
    return y[:, :, np.newaxis] * dz[:, np.newaxis, :]


def drop(y: Array, mask: npt.NDArray[np.bool_] | None, p: float) -> Array:
    """Return y (or, backward, dy) with dropped entries 0 and kept ones divided by 1 - p."""
    if mask is None:
        return y
    scale = np.divide(1, np.subtract(1, p, dtype=y.dtype), dtype=y.dtype)
    return np.where(mask, y * scale, np.zeros_like(y))
