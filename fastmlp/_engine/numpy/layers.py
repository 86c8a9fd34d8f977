"""Hidden layers of the NumPy engine: from z = x @ W + b to the outputs, and the gradient back.

The scale layer comes before the first layer (`scaled`), the linear path after the last (`linear`).
A hidden layer is an activation, plain or parametric, with a normalisation before or after it, then
dropout, then the sum at the end of a residual block (`joined`), each by its textbook formula.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastmlp._engine.numpy.random import Masks
from fastmlp._network.activations import Array, blended, blended_gradient, row_of
from fastmlp._network.layer_norm import layer_norm, layer_norm_gradient
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


def forward(spec: Spec, parameters: Parameters, k: int, z: Array) -> Array:
    """Return the activations of hidden layer k, with its normalisation, before dropout."""
    tensors, position = named(spec, parameters), spec.layer_norm[k]
    if position == "before":
        z = layer_norm(z, tensors["gains"][k], tensors["shifts"][k])
    y = _active(spec, tensors, k, z)
    if position == "after":
        y = layer_norm(y, tensors["gains"][k], tensors["shifts"][k])
    return y


def backward(
    spec: Spec, parameters: Parameters, k: int, z: Array, dy: Array
) -> tuple[Array, dict[str, Array]]:
    """Return dz, given the gradient dy of `forward`, and the gradients of the tensors by kind."""
    tensors, position = named(spec, parameters), spec.layer_norm[k]
    gradients: dict[str, Array] = {}
    active = z  # the input of the activation
    if position == "before":
        active = layer_norm(z, tensors["gains"][k], tensors["shifts"][k])
    if position == "after":
        y = _active(spec, tensors, k, active)
        dy, gradients["gains"], gradients["shifts"] = layer_norm_gradient(
            y, tensors["gains"][k], dy
        )
    if spec.parametric[k]:
        name, alpha = spec.activations[k], tensors["alphas"][k]
        dz, gradients["alphas"] = blended_gradient(name, alpha, active, dy)
    else:
        dz = dy * row_of(spec.activations[k]).slope(active)
    if position == "before":
        dz, gradients["gains"], gradients["shifts"] = layer_norm_gradient(
            z, tensors["gains"][k], dz
        )
    return dz, gradients


def _active(spec: Spec, tensors: dict[str, list[Array]], k: int, z: Array) -> Array:
    if spec.parametric[k]:
        return blended(spec.activations[k], tensors["alphas"][k], z)
    value: Array = row_of(spec.activations[k]).value(z)
    return value


def back(
    spec: Spec,
    parameters: Parameters,
    outputs: list[Array],
    dz: Array,
    masks: Masks | None = None,
    training: bool = False,
) -> list[tuple[int, Array, dict[str, Array]]]:
    """Return (k, gradient of outputs[k], gradients of tensors by kind) from the last layer back.

    The arguments are those of `numpy_engine.backward`.
    """
    # A list, no generator: a user's activation may raise StopIteration.
    weights, rounded = parameters[0], spec.rounded
    skipped: dict[int, Array] = {}
    steps: list[tuple[int, Array, dict[str, Array]]] = [(len(weights) - 1, dz, {})]
    for k in reversed(range(len(weights) - 1)):
        dy = product(dz, weights[k + 1].T, training and rounded[k + 1])
        dy = parted(spec, k, dy, skipped)
        if masks is not None:
            dy = drop(dy, masks[k], spec.dropout[k])
        dz, gradients = backward(spec, parameters, k, outputs[k], dy)
        steps.append((k, dz, gradients))
    return steps


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


def over_rows(y: Array, dz: Array, is_rounded: bool = False) -> Array:
    """Return y.T @ dz, blocks of rows added in float64: a million float32 terms lose two digits."""
    total = np.zeros((y.shape[1], dz.shape[1]))
    for first in range(0, len(y), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        total += product(y[block].T, dz[block], is_rounded)
    return total.astype(dz.dtype)


def drop(y: Array, mask: npt.NDArray[np.bool_] | None, p: float) -> Array:
    """Return y (or, backward, dy) with dropped entries 0 and kept ones divided by 1 - p."""
    if mask is None:
        return y
    scale = np.divide(1, np.subtract(1, p, dtype=y.dtype), dtype=y.dtype)
    return np.where(mask, y * scale, np.zeros_like(y))
