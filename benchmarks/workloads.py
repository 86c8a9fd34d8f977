"""The five networks that training benchmarks run, and a plain float64 account of them.

tiny is all overhead, small lives in the first-level cache, mnist in the second, wide beyond it, and
in big the activations of a batch do, too.
The data are drawn from a fixed seed, with targets that can be learned. The training that judges
every library is computed here, in float64.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import numpy.typing as npt

from fastmlp._cli.rivals import Array, Parameters, Task

LEARNING_RATE = 1e-3  # Adam has it everywhere


class Case(Task):
    """One network with its loss, batch and number of rows, and the arithmetic of its training."""

    @property
    def classifies(self) -> bool:
        """Whether the targets are labels and a softmax follows the last layer."""
        return bool(self.loss == "cross_entropy")

    def data(self, seed: int = 0) -> tuple[Array, Array]:
        """Return inputs, float32 (rows, features), and targets: float32 (rows, n) or labels."""
        rng = np.random.default_rng(seed)
        n_in, n_out = self.layer_sizes[0], self.layer_sizes[-1]
        x = rng.standard_normal((self.n_rows, n_in), dtype=np.float32)
        teacher = rng.standard_normal((n_in, n_out)).astype(np.float32) / np.float32(n_in**0.5)
        if not self.classifies:
            return x, np.sin(x @ teacher * 2)
        return x, np.argmax(x @ teacher, axis=1).astype(np.int32)

    @property
    def title(self) -> str:
        """The case in a heading."""
        sizes = "-".join(map(str, self.layer_sizes))
        return f"{self.name}: {sizes} {self.activation}, {self.loss}, batch {self.batch_size}"

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return self.n_rows // self.batch_size

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Fan-in and fan-out of each layer."""
        return list(itertools.pairwise(self.layer_sizes))

    @property
    def n_weights(self) -> int:
        """Weights of all layers, without biases."""
        return sum(i * o for i, o in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations of one step: three products a layer, the first has but two."""
        return 2 * self.batch_size * (3 * self.n_weights - math.prod(self.layer_sizes[:2]))


CASES = {
    case.name: case
    for case in (
        Case("tiny", (8, 32, 32, 1), "tanh", "squared_error", 32, 32_768),
        Case("small", (64, 128, 128, 10), "relu", "cross_entropy", 128, 12_800),
        Case("mnist", (784, 256, 128, 10), "relu", "cross_entropy", 128, 12_800),
        Case("wide", (512, 1024, 1024, 100), "relu", "cross_entropy", 256, 5_120),
        Case("big", (784, 1024, 1024, 10), "relu", "cross_entropy", 1024, 20_480),
    )
}
RELU = {name: dataclasses.replace(case, activation="relu") for name, case in CASES.items()}


def forward(case: Case, parameters: Parameters, x: Array) -> list[Array]:
    """Return the input of every layer and, last, the network's output before its link."""
    values = [x]
    for depth, (weights, bias) in enumerate(parameters):
        z = values[-1] @ weights
        z += bias
        if depth < len(parameters) - 1:
            z = np.tanh(z, out=z) if case.activation == "tanh" else np.maximum(z, 0, out=z)
        values.append(z)
    return values


def outputs(case: Case, parameters: Parameters, x: Array) -> Array:
    """Return the network's output before its link, in float64."""
    wide = [(w.astype(np.float64), b.astype(np.float64)) for w, b in parameters]
    return forward(case, wide, x.astype(np.float64))[-1]


def output_gradient(case: Case, z: Array, y: Array) -> tuple[float, Array]:
    """Return the mean loss of a batch and its gradient with respect to the outputs ``z``."""
    if not case.classifies:
        difference = z - y
        return float(0.5 * np.mean(difference**2)), difference / len(z)
    shifted = z - z.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    rows = np.arange(len(z))
    loss = float(np.mean(np.log(sums[:, 0]) - shifted[rows, y]))
    dz = exponentials / sums
    dz[rows, y] -= 1
    dz /= len(z)
    return loss, dz


def loss(case: Case, parameters: Parameters, x: Array, y: Array) -> float:
    """Return the mean loss over all data, in float64."""
    return output_gradient(case, outputs(case, parameters, x), y)[0]


class NumpyTrainer:
    """Hand-written NumPy training: a rival in float32 and the judge of all in float64."""

    def __init__(self, case: Case, threads: int = 1, dtype: npt.DTypeLike = np.float32) -> None:
        self.case = case
        x, y = case.data()
        self.x = x.astype(dtype)
        self.y = y if case.classifies else y.astype(dtype)
        self.dtype = dtype
        self.rng = np.random.default_rng(2)
        self.reset()

    def reset(self) -> None:
        """Go back to the initial weights and a fresh Adam."""
        flat = [array.astype(self.dtype) for layer in self.case.parameters() for array in layer]
        self.parameters: Parameters = list(zip(flat[::2], flat[1::2], strict=True))
        self.moments = [(np.zeros_like(p), np.zeros_like(p), np.empty_like(p)) for p in flat]
        self.flat = flat
        self.t = 0

    def get(self) -> Parameters:
        """Return the present weights and biases."""
        return self.parameters

    def train(self, epochs: int, shuffle: bool) -> None:
        """Run whole epochs."""
        case = self.case
        for _ in range(epochs):
            order = self.rng.permutation(case.n_rows) if shuffle else np.arange(case.n_rows)
            for start in range(0, case.n_rows, case.batch_size):
                rows = order[start : start + case.batch_size]
                self.step(self.x[rows], self.y[rows])

    def step(self, x: Array, y: Array) -> None:
        """Update all parameters by one batch."""
        values = forward(self.case, self.parameters, x)
        dz = output_gradient(self.case, values[-1], y)[1]
        gradients: list[Array] = []
        for depth in reversed(range(len(self.parameters))):
            inputs = values[depth]
            gradients += [dz.sum(axis=0), inputs.T @ dz]
            if depth:
                dz = dz @ self.parameters[depth][0].T
                dz *= 1 - inputs**2 if self.case.activation == "tanh" else inputs > 0
        self.adam(gradients[::-1])

    def adam(self, gradients: list[Array], beta_1: float = 0.9, beta_2: float = 0.999) -> None:
        """Apply Adam's formula in place, its bias corrections folded into rate and epsilon."""
        self.t += 1
        root = (1 - beta_2**self.t) ** 0.5
        rate = LEARNING_RATE * root / (1 - beta_1**self.t)
        for parameter, gradient, slots in zip(self.flat, gradients, self.moments, strict=True):
            first, second, scratch = slots
            first *= beta_1
            first += np.multiply(gradient, 1 - beta_1, out=scratch)
            second *= beta_2
            gradient *= gradient
            gradient *= 1 - beta_2
            second += gradient
            np.sqrt(second, out=scratch)
            scratch += 1e-8 * root
            np.divide(first, scratch, out=scratch)
            scratch *= rate
            parameter -= scratch
