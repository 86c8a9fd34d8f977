"""Derivatives of a network with respect to its inputs, in NumPy, by the chain rule.

A forward pass of tangents takes a direction of the inputs to the directional derivatives s of all
outputs z. A backward pass takes the gradient of a function of s and z to the inputs: with p the
gradient by s and q that by z of the last layer, the second depends on the first through the bends
of the steps of hidden layers (`layers.steps`), their second derivatives (Pearlmutter 1994, "Fast
exact multiplication by the Hessian"). `outputs` are those of `numpy_engine.forward`.
"""

from __future__ import annotations

import numpy as np

from fastmlp._engine.numpy import layers
from fastmlp._engine.numpy.layers import Parameters
from fastmlp._engine.numpy.random import Masks
from fastmlp._network.activations import Array
from fastmlp._network.spec import Spec


def tangents(
    spec: Spec, parameters: Parameters, outputs: list[Array], v: Array, masks: Masks | None = None
) -> tuple[list[Array], list[list[Array]], Array]:
    """Return the derivatives in the direction v (N, I) of the inputs.

    The results are those of the inputs of every affine layer, of the inputs of each step of each
    hidden layer, and of the last outputs (N, O).
    """
    weights = parameters[0]
    inputs, of_steps = [layers.scaled(spec, parameters, v)], []
    for k in range(len(weights) - 1):
        s = inputs[-1] @ weights[k]
        of_steps.append([s])
        for step in layers.steps(spec, parameters, k, outputs[k]):
            s = step.tangent(s)
            of_steps[k].append(s)
        s = of_steps[k].pop()
        s = s if masks is None else layers.drop(s, masks[k], spec.dropout[k])
        inputs.append(layers.joined(spec, k, s, inputs))
    last = layers.linear(spec, parameters, inputs[0], inputs[-1] @ weights[-1])
    return inputs, of_steps, last


def bends(
    spec: Spec,
    parameters: Parameters,
    outputs: list[Array],
    of_steps: list[list[Array]],
    p: Array,
    masks: Masks | None = None,
) -> list[list[Array]]:
    """Return what the second derivative of each step adds to the gradient of its inputs."""
    result: list[list[Array]] = [[] for _ in of_steps]
    for k, _, received, _ in layers.back(spec, parameters, outputs, p, masks)[1:]:
        made = layers.steps(spec, parameters, k, outputs[k])
        triples = zip(made, of_steps[k], received, strict=True)
        result[k] = [step.bend(s, dy) for step, s, dy in triples]
    return result


def differentiate(
    spec: Spec,
    parameters: Parameters,
    outputs: list[Array],
    v: Array | None = None,
    p: Array | None = None,
    q: Array | None = None,
) -> Array:
    """Return the derivatives s (N, O) of the last outputs z in the direction v (N, I) of x.

    With p or q, (N, O), return the gradient of sum(p * s) + sum(q * z) by the inputs, (N, I).
    """
    added = None
    if v is not None:
        _, of_steps, s = tangents(spec, parameters, outputs, v)
        if p is None:
            return s
        added = bends(spec, parameters, outputs, of_steps, p)
    dz = np.zeros_like(outputs[-1]) if q is None else q
    first = layers.back(spec, parameters, outputs, dz, bends=added)[-1].dz
    return layers.scaled(spec, parameters, layers.to_inputs(spec, parameters, first, dz))


def units(size: int, like: Array) -> list[Array]:
    """Return for each column of (N, size) the array in which it is 1 and all others are 0."""
    return [np.tile(row, (len(like), 1)) for row in np.eye(size, dtype=like.dtype)]


def jacobian(
    spec: Spec, parameters: Parameters, outputs: list[Array], slopes: list[Array] | None = None
) -> Array:
    """Return d z[n, c] / d x[n, i] at [n, c, i], by a backward pass for every output c.

    With slopes the derivatives are those of functions of z, of which they are the gradients.
    """
    slopes = units(outputs[-1].shape[1], outputs[-1]) if slopes is None else slopes
    gradients = [differentiate(spec, parameters, outputs, q=slope) for slope in slopes]
    return np.stack(gradients, axis=1)


def hessian(spec: Spec, parameters: Parameters, outputs: list[Array]) -> Array:
    """Return d^2 z[n, o] / d x[n, i] d x[n, j] at [n, o, i, j], exactly symmetric."""
    n_in, (n, n_out) = spec.layer_sizes[0], outputs[-1].shape
    result = np.empty((n, n_out, n_in, n_in), outputs[-1].dtype)
    for o, p in enumerate(units(n_out, outputs[-1])):
        for i, v in enumerate(units(n_in, outputs[-1])):
            row = differentiate(spec, parameters, outputs, v, p)[:, : i + 1]
            result[:, o, i, : i + 1] = result[:, o, : i + 1, i] = row
    return result
