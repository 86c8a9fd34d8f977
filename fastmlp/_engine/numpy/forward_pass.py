"""A forward pass of some rows through a network in NumPy, and the derivatives from its values.

A backward pass takes the gradient by the last outputs to the parameters and to the inputs. A pass
of tangents takes a direction of the inputs to the directional derivatives s of all outputs z. The
gradient of a function of s and z by the inputs is again a backward pass, to which the second
derivatives of the steps of hidden layers, their bends, add (Pearlmutter 1994, "Fast exact
multiplication by the Hessian"). Axes: N rows, I fan-in, O fan-out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastmlp._engine.numpy.layers import (
    Parameters,
    Step,
    drop,
    factor,
    outer,
    over_rows,
    product,
    steps,
    summed,
)
from fastmlp._engine.numpy.random import Masks
from fastmlp._network.activations import Array
from fastmlp._network.sparse import SparseRows
from fastmlp._network.spec import Spec

OfSteps = list[list[Array]]  # one array a step, one list a hidden layer


class Passed(NamedTuple):
    """What a backward pass leaves at one affine layer and the steps after it."""

    k: int  # number of the layer
    dz: Array  # gradient of outputs[k], (N, O)
    received: list[Array]  # gradient of the outputs of each step
    gradients: dict[str, Array]  # the kind of a tensor: its gradient for each row


class Tangents(NamedTuple):
    """The derivatives of the values of a forward pass in a direction of its rows."""

    x: Array  # the direction
    inputs: list[Array]  # the tangent of each affine layer's input
    steps: OfSteps  # the tangents of the steps' inputs
    last: Array  # the tangent of the last outputs


class ForwardPass:
    """The values of some rows in every layer.

    ``inputs[k]`` and ``outputs[k]`` are those of affine layer k: inputs[0] are the scaled rows, and
    inputs[k] the result of hidden layer k - 1, after dropout and the sum at the end of a block;
    outputs[k] = inputs[k] @ W[k] + b[k]. The last outputs, with the linear path, go to the loss.
    The masks are those of `random.dropout_masks`, for a prediction None. Only in training,
    Spec.compute has an effect.
    """

    def __init__(
        self,
        spec: Spec,
        parameters: Parameters,
        x: Array | SparseRows,
        masks: Masks | None = None,
        training: bool = False,
    ) -> None:
        self.spec, self.parameters = spec, parameters
        self.tensors = dict(zip(spec.tensors, parameters, strict=True))
        self.masks = [None] * len(spec.dropout) if masks is None else masks
        self.rounded = [training and is_rounded for is_rounded in spec.rounded]
        # Computes the rows of a RowSource.
        self.x: Any = x if isinstance(x, SparseRows) else np.asarray(x)
        self.inputs, self.outputs = [self._scaled(self.x)], list[Array]()
        self.weights, biases = parameters[:2]
        for k, b in enumerate(biases):
            self.outputs.append(product(self.inputs[k], self.weights[k], self.rounded[k]) + b)
            if k < len(spec.activations):
                y = self._steps(k)[-1].value()
                self.inputs.append(self._next(k, y, self.inputs))
        self.outputs[-1] = self._with_linear_path(self.inputs[0], self.outputs[-1])

    def _steps(self, k: int) -> list[Step]:
        return steps(self.spec, self.tensors, k, self.outputs[k])

    def _scaled(self, x: Any) -> Array:
        """Multiply each column of x by its parameter if there is a scale layer; also for gradients.

        Source: Holzmueller, Grinsztajn and Steinwart 2024, "Better by default" (arXiv:2407.04491).
        """
        return x * self.tensors["scales"][0] if self.spec.scale else x  # type: ignore[no-any-return]

    def _with_linear_path(self, x: Array, z: Array) -> Array:
        """Return z, plus the scaled inputs x times their own weights if there is a linear path.

        Source: Cheng et al. 2016, "Wide & deep learning" (arXiv:1606.07792), section 3.
        """
        return z + x @ self.tensors["linear_weights"][0] if self.spec.linear_path else z

    def _next(self, k: int, y: Array, inputs: list[Array]) -> Array:
        """Return the result of hidden layer k: y after dropout, plus a block's input at its end.

        Source: He, Zhang, Ren and Sun 2016, "Identity mappings in deep residual networks"
        (arXiv:1603.05027), equation 4.
        """
        y = drop(y, self.masks[k], self.spec.dropout[k])
        first = self.spec.blocks[k]
        return y if first is None else y + inputs[first]

    def back(
        self, dz: Array, bends: OfSteps | None = None, tangents: Tangents | None = None
    ) -> list[Passed]:
        """Return the gradients of every affine layer's outputs, given dz, from the last layer back.

        ``bends`` are added to the gradients of the inputs of each step. With tangents, the
        gradients are those of sum(dz * tangents.last).
        """
        # A list, no generator: a user's activation may raise StopIteration.
        skipped: dict[int, Array] = {}  # gradients that skip a block, by the number of its input
        passed = [Passed(len(self.weights) - 1, dz, [], {})]
        for k in reversed(range(len(self.weights) - 1)):
            dy = product(dz, self.weights[k + 1].T, self.rounded[k + 1])
            if k + 1 in skipped:
                dy = dy + skipped.pop(k + 1)
            if (first := self.spec.blocks[k]) is not None:
                skipped[first] = dy
            dy = drop(dy, self.masks[k], self.spec.dropout[k])
            gradients: dict[str, Array] = {}
            made = self._steps(k)
            received = [dy] * len(made)
            for i in reversed(range(len(made))):
                received[i] = dy
                gradients |= made[i].gradients(dy, tangents and tangents.steps[k][i])
                dy = made[i].back(dy) if bends is None else made[i].back(dy) + bends[k][i]
            dz = dy
            passed.append(Passed(k, dz, received, gradients))
        return passed

    def gradient(
        self,
        dz: Array,
        per_sample: bool = False,
        bends: OfSteps | None = None,
        tangents: Tangents | None = None,
    ) -> Parameters:
        """Return the gradient by the parameters, given dz (N, O), that of the last outputs.

        If ``per_sample``, the gradients of the rows are not summed, but the first axis of the
        arrays. Bends and tangents are those of `back`.
        """
        rows = (len(dz),) if per_sample else ()
        gradients: Parameters = tuple(
            [np.zeros((*rows, *p.shape), p.dtype) for p in kind] for kind in self.parameters
        )
        of_kind, last = dict(zip(self.tensors, gradients, strict=True)), dz
        x, inputs = (self.x, self.inputs) if tangents is None else tangents[:2]
        for k, dz, _, of_rows in self.back(last, bends, tangents):
            y, rounded = inputs[k], self.rounded[k]
            of_kind["weights"][k] = outer(y, dz) if per_sample else over_rows(y, dz, rounded)
            of_biases = {"biases": dz} if tangents is None else {}  # which have no tangent
            for kind, g in (of_biases | of_rows).items():
                of_kind[kind][k] = g if per_sample else summed(g)
        if self.spec.scale and per_sample:
            of_kind["scales"][0] = x * self._to_inputs(dz, last)
        elif self.spec.scale:
            of_kind["scales"][0] = self._scale_gradient(x, dz, last)
        if self.spec.linear_path:
            over = outer if per_sample else over_rows
            of_kind["linear_weights"][0] = over(inputs[0], last)
        return gradients

    def _to_inputs(self, first: Array, last: Array) -> Array:
        """Return the gradient of the scaled rows, given those of the first and the last outputs."""
        dx = first @ self.weights[0].T
        if self.spec.linear_path:
            dx = dx + last @ self.tensors["linear_weights"][0].T
        return dx

    def _scale_gradient(self, x: Array, first: Array, last: Array) -> Array:
        """Return the gradient of the scales, given those of the first and the last outputs.

        That of scale i is the sum over rows n and outputs o of x[n, i] dz[n, o] W[i, o].
        """
        uses = [(self.weights[0], first, self.rounded[0])]
        if self.spec.linear_path:
            uses.append((self.tensors["linear_weights"][0], last, False))
        total = np.zeros(x.shape[1])
        for weights, dz, is_rounded in uses:
            products = over_rows(x, factor(dz, is_rounded)) * factor(weights, is_rounded)
            total += np.sum(products, axis=1, dtype=np.float64)
        return total.astype(first.dtype)

    def tangents(self, v: Array) -> Tangents:
        """Return the derivatives in the direction v (N, I) of the rows."""
        inputs, of_steps = [self._scaled(v)], []
        for k in range(len(self.weights) - 1):
            s = inputs[-1] @ self.weights[k]
            of_steps.append([s])
            for step in self._steps(k):
                s = step.tangent(s)
                of_steps[k].append(s)
            inputs.append(self._next(k, of_steps[k].pop(), inputs))
        last = self._with_linear_path(inputs[0], inputs[-1] @ self.weights[-1])
        return Tangents(v, inputs, of_steps, last)

    def bends(self, tangents: Tangents, p: Array) -> OfSteps:
        """Return what the second derivative of each step adds to the gradient of its inputs.

        The gradient is that of sum(p * tangents.last).
        """
        result: OfSteps = [[] for _ in tangents.steps]
        for k, _, received, _ in self.back(p)[1:]:
            triples = zip(self._steps(k), tangents.steps[k], received, strict=True)
            result[k] = [step.bend(s, dy) for step, s, dy in triples]
        return result

    def differentiate(
        self, v: Array | None = None, p: Array | None = None, q: Array | None = None
    ) -> Array:
        """Return the derivatives s (N, O) of the last outputs z in the direction v (N, I) of x.

        With p or q, (N, O), return the gradient of sum(p * s) + sum(q * z) by the rows, (N, I).
        """
        bends = None
        if v is not None:
            tangents = self.tangents(v)
            if p is None:
                return tangents.last
            bends = self.bends(tangents, p)
        dz = np.zeros_like(self.outputs[-1]) if q is None else q
        return self._scaled(self._to_inputs(self.back(dz, bends)[-1].dz, dz))

    def jacobian(self, slopes: list[Array] | None = None) -> Array:
        """Return d z[n, c] / d x[n, i] at [n, c, i], by a backward pass for every output c.

        With slopes the derivatives are those of functions of z, of which they are the gradients.
        """
        slopes = self.units(self.outputs[-1].shape[1]) if slopes is None else slopes
        return np.stack([self.differentiate(q=slope) for slope in slopes], axis=1)

    def hessian(self) -> Array:
        """Return d^2 z[n, o] / d x[n, i] d x[n, j] at [n, o, i, j], exactly symmetric."""
        n_in, (n, n_out) = self.spec.layer_sizes[0], self.outputs[-1].shape
        result = np.empty((n, n_out, n_in, n_in), self.outputs[-1].dtype)
        for o, p in enumerate(self.units(n_out)):
            for i, v in enumerate(self.units(n_in)):
                row = self.differentiate(v, p)[:, : i + 1]
                result[:, o, i, : i + 1] = result[:, o, : i + 1, i] = row
        return result

    def units(self, size: int) -> list[Array]:
        """Return for each column of (N, size) the array in which it is 1 and all others are 0."""
        last = self.outputs[-1]
        return [np.tile(row, (len(last), 1)) for row in np.eye(size, dtype=last.dtype)]
