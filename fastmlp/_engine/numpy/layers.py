"""Hidden layers of the NumPy engine: from z = x @ W + b to the outputs, and the gradient back.

The scale layer comes before the first layer (`scaled`), the linear path after the last (`linear`).
A hidden layer is an activation, plain or parametric, with a normalisation before or after it (its
`steps`), then dropout, then the sum at the end of a residual block (`joined`), each by its textbook
formula.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fastmlp._engine.numpy.random import Masks
from fastmlp._network import layer_norm
from fastmlp._network.activations import Array, blended, blended_slope, row_of
from fastmlp._network.spec import BLOCK_ROWS, Spec
from fastmlp._network.weight_types import from_bfloat16, to_bfloat16

# One list of arrays for each kind of tensor in Spec.tensors: weights, biases, ...
Parameters = tuple[list[Array], ...]


def named(spec: Spec, parameters: Parameters) -> dict[str, list[Array]]:
    """Return the parameters by kind."""
    return dict(zip(spec.tensors, parameters, strict=True))


def product(a: Array, b: Array, is_rounded: bool) -> Array:
    """Return a @ b, of the factors rounded to bfloat16 if `is_rounded`."""
    return _factor(a, is_rounded) @ _factor(b, is_rounded)


def _factor(a: Array, is_rounded: bool) -> Array:
    return from_bfloat16(to_bfloat16(a)) if is_rounded else a


def scaled(spec: Spec, parameters: Parameters, x: Array) -> Array:
    """Multiply each column of x by its parameter if there is a scale layer; also for gradients.

    Source: Holzmueller, Grinsztajn and Steinwart 2024, "Better by default" (arXiv:2407.04491).
    """
    return x * named(spec, parameters)["scales"][0] if spec.scale else x


def linear(spec: Spec, parameters: Parameters, x: Array, z: Array) -> Array:
    """Return z, plus the scaled inputs x times their own weights if there is a linear path.

    Source: Cheng et al. 2016, "Wide & deep learning" (arXiv:1606.07792), section 3.
    """
    return z + x @ named(spec, parameters)["linear_weights"][0] if spec.linear_path else z


def joined(spec: Spec, k: int, y: Array, inputs: list[Array]) -> Array:
    """Return y, at the end of a residual block plus the input of the block.

    Source: He, Zhang, Ren and Sun 2016, "Identity mappings in deep residual networks"
    (arXiv:1603.05027), equation 4.
    """
    first = spec.blocks[k]
    return y if first is None else y + inputs[first]


def parted(spec: Spec, k: int, dy: Array, skipped: dict[int, Array]) -> Array:
    """Return the gradient of hidden layer k's result, given the part from the layer after it.

    `skipped` holds the gradients that skip a block, by the number of the block's input.
    """
    if k + 1 in skipped:
        dy = dy + skipped.pop(k + 1)
    first = spec.blocks[k]
    if first is not None:
        skipped[first] = dy
    return dy


class Activate(NamedTuple):
    """The step y = f(z) of a hidden layer, or of a parametric activation (1 - a) z + a f(z)."""

    name: Any  # of f, or a custom activation
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


def steps(spec: Spec, parameters: Parameters, k: int, z: Array) -> list[Step]:
    """Return the steps of hidden layer k from z on; the value of the last is its activation."""
    tensors, position = named(spec, parameters), spec.layer_norm[k]
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


class Passed(NamedTuple):
    """What the backward pass leaves at one affine layer and the steps after it."""

    k: int  # number of the layer
    dz: Array  # gradient of outputs[k], (N, O)
    received: list[Array]  # gradient of the outputs of each step
    gradients: dict[str, Array]  # of each row, by the kinds of tensors of the steps


def back(
    spec: Spec,
    parameters: Parameters,
    outputs: list[Array],
    dz: Array,
    masks: Masks | None = None,
    training: bool = False,
    bends: list[list[Array]] | None = None,
    tangents: list[list[Array]] | None = None,
) -> list[Passed]:
    """Return the gradients of every affine layer's outputs, from the last layer back.

    The arguments are those of `numpy_engine.backward`; ``bends`` are added to the gradients of the
    inputs of each step of each hidden layer. With the tangents of these inputs, the gradients are
    those of sum(dz * tangents of the outputs).
    """
    # A list, no generator: a user's activation may raise StopIteration.
    weights, rounded = parameters[0], spec.rounded
    skipped: dict[int, Array] = {}
    passed = [Passed(len(weights) - 1, dz, [], {})]
    for k in reversed(range(len(weights) - 1)):
        dy = product(dz, weights[k + 1].T, training and rounded[k + 1])
        dy = parted(spec, k, dy, skipped)
        if masks is not None:
            dy = drop(dy, masks[k], spec.dropout[k])
        gradients: dict[str, Array] = {}
        made = steps(spec, parameters, k, outputs[k])
        received = [dy] * len(made)
        for i in reversed(range(len(made))):
            received[i] = dy
            gradients |= made[i].gradients(dy, None if tangents is None else tangents[k][i])
            dy = made[i].back(dy) if bends is None else made[i].back(dy) + bends[k][i]
        dz = dy
        passed.append(Passed(k, dz, received, gradients))
    return passed


def to_inputs(spec: Spec, parameters: Parameters, first: Array, last: Array) -> Array:
    """Return the gradient of the scaled inputs, given those of the first and the last outputs."""
    dx = first @ parameters[0][0].T
    if spec.linear_path:
        dx = dx + last @ named(spec, parameters)["linear_weights"][0].T
    return dx


def scale_gradient(
    spec: Spec, parameters: Parameters, x: Array, first: Array, last: Array
) -> Array:
    """Return the gradient of the scales, given those of the first and the last outputs.

    That of scale i is the sum over rows n and outputs o of x[n, i] dz[n, o] W[i, o].
    """
    uses = [(parameters[0][0], first, spec.rounded[0])]
    if spec.linear_path:
        uses.append((named(spec, parameters)["linear_weights"][0], last, False))
    total = np.zeros(x.shape[1])
    for weights, dz, is_rounded in uses:
        products = over_rows(x, _factor(dz, is_rounded)) * _factor(weights, is_rounded)
        total += np.sum(products, axis=1, dtype=np.float64)
    return total.astype(first.dtype)


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
