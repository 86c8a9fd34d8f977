"""The multi-layer perceptron of the textbook, in NumPy alone, each line below its formula.

The N rows of a batch x are samples. An affine layer has I inputs and O outputs, weights W of shape
(I, O) and biases b of shape (O,). dz is short for the derivative dL/dz of the loss L; it has the
shape of z.

``fastmlp.MLP`` computes the same with compiled code. ``fastmlp.reference.MLP`` has all options of
``fastmlp.MLP`` in plain NumPy, to compare with; its engine is in ``_engine/numpy/``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

# ---- a layer: an affine map, then a nonlinearity f ---------------------------------------------


def affine(x: Array, W: Array, b: Array) -> Array:
    """Return z = x W + b, for all rows of x at once."""
    return x @ W + b


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z))."""
    return 1 / (1 + np.exp(-z))


# The name of each nonlinearity, with f(z) and its derivative f'(z).
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
}

# ---- losses: the mean over the rows, and its derivative dz by the last layer's outputs z --------


def expect(is_right: Any, t: Array, expected: str) -> None:
    """Raise an error about targets t of a wrong shape, with which NumPy may compute nonsense."""
    if not is_right:
        raise ValueError(f"the targets t, of shape {np.shape(t)}, are not {expected}: pass those")


def squared_error(z: Array, t: Array) -> tuple[float, Array]:
    """Return L = 1/N sum (z - t)^2 / 2 and dz = (z - t) / N, for targets t of shape (N, O)."""
    expect(np.shape(t) == z.shape, t, f"numbers of shape {z.shape}")
    return np.sum((z - t) ** 2) / (2 * len(z)), (z - t) / len(z)


def cross_entropy(z: Array, t: Array) -> tuple[float, Array]:
    """Return L = -1/N sum log p_t and dz = (p - [class = t]) / N, for class numbers t (N,).

    The probabilities are the softmax of the outputs: p_c = exp(z_c) / sum_j exp(z_j).
    """
    is_class = np.arange(z.shape[1]) == np.reshape(t, (-1, 1))  # True in the column t of each row
    is_right = is_class.shape == z.shape and is_class.any(axis=1).all()
    expect(is_right, t, f"class numbers from 0 to {z.shape[1] - 1}, of shape ({len(z)},)")
    z = z - z.max(axis=1, keepdims=True)  # p stays the same, and no exp(z) overflows
    log_p = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
    return -np.sum(log_p[is_class]) / len(z), (np.exp(log_p) - is_class) / len(z)


def gaussian_nll(z: Array, t: Array) -> tuple[float, Array]:
    """Return L = 1/N sum (s + (m - t)^2 / v + log 2 pi) / 2 and dz = (dm, ds).

    This is the negative logarithm of a normal density: half of the columns of z are its means m,
    the other half s = log v the logarithms of its variances.
    """
    m, s = np.split(z, 2, axis=1)
    expect(np.shape(t) == m.shape, t, f"numbers of shape {m.shape}")
    e, v = m - t, np.exp(s)
    dm, ds = e / v, (1 - e**2 / v) / 2
    value = np.sum(s + e**2 / v + np.log(2 * np.pi)) / (2 * len(z))
    return value, np.concatenate([dm, ds], axis=1) / len(z)


LOSSES = {loss.__name__: loss for loss in (squared_error, cross_entropy, gaussian_nll)}

# ---- the network: stacked layers, backpropagation, gradient step --------------------------------


class Perceptron:
    """Layers in a stack, x -> f(x W + b); the last one has no nonlinearity.

    Parameters
    ----------
    layer_sizes : sequence of int
        Inputs, hidden layers, outputs.
    activation : str
        A key of `ACTIVATIONS`, for all hidden layers.
    loss : str
        A key of `LOSSES`.
    seed : int
        Of the first weights, which are normal with variance 1 / I.

    The targets t of `step` have the shape that the loss names, and ``forward(x)[1][-1]`` are the
    outputs of the last layer: predictions, or for classes the numbers in front of the softmax.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 50)[:, np.newaxis]
    >>> net = Perceptron([1, 8, 1], activation="tanh", loss="squared_error")
    >>> losses = [net.step(x, np.sin(3 * x), rate=0.2) for _ in range(500)]
    >>> bool(losses[-1] < 0.1 * losses[0])
    True
    """

    def __init__(self, layer_sizes: Sequence[int], activation: str, loss: str, seed: int = 0):
        if activation not in ACTIVATIONS or loss not in LOSSES:
            raise ValueError(
                f"activation is {activation!r} and loss is {loss!r}: choose from "
                f"{', '.join(ACTIVATIONS)}, and from {', '.join(LOSSES)}"
            )
        rng = np.random.default_rng(seed)
        self.weights = [rng.normal(0, ins**-0.5, (ins, out)) for ins, out in pairwise(layer_sizes)]
        self.biases = [np.zeros(out) for out in layer_sizes[1:]]
        self.f, self.f_slope = ACTIVATIONS[activation]
        self.loss = LOSSES[loss]

    def forward(self, x: Array) -> tuple[list[Array], list[Array]]:
        """Return all x_k and z_k: x_0 = x, then z_k = x_k W_k + b_k and x_k+1 = f(z_k)."""
        inputs, outputs = [np.asarray(x)], [affine(x, self.weights[0], self.biases[0])]
        for W, b in zip(self.weights[1:], self.biases[1:], strict=True):
            inputs.append(self.f(outputs[-1]))
            outputs.append(affine(inputs[-1], W, b))
        return inputs, outputs

    def gradients(self, x: Array, t: Array) -> tuple[float, list[Array], list[Array]]:
        """Return the loss, all dW and all db, by the chain rule from the last layer to the first.

        From z = x W + b:  dW = x^T dz,  db = sum of the rows of dz,  dx = dz W^T.
        From x = f(z) of the layer below:  dz = f'(z) dx, element by element.
        """
        inputs, outputs = self.forward(x)
        value, dz = self.loss(outputs[-1], t)
        dW: list[Array] = []
        db: list[Array] = []
        for k in reversed(range(len(self.weights))):
            dW.insert(0, inputs[k].T @ dz)
            db.insert(0, dz.sum(axis=0))
            if k > 0:
                dx = dz @ self.weights[k].T
                dz = self.f_slope(outputs[k - 1]) * dx
        return value, dW, db

    def step(self, x: Array, t: Array, rate: float) -> float:
        """Descend once, W <- W - rate dW and b <- b - rate db; return the loss of before."""
        value, dW, db = self.gradients(x, t)
        for p, dp in zip([*self.weights, *self.biases], [*dW, *db], strict=True):
            p -= rate * dp
        return value


# ---- second derivatives: two layers, differentiated by their inputs ------------------------------


def tanh_hessian(x: Array, W: Array, b: Array, w: Array) -> Array:
    """Return H_ij = d^2 y / dx_i dx_j of y = f(x W + b) w, with f = tanh, for one row x (I,).

    From z = x W + b, by the chain rule:  dy/dx_i = sum_k W_ik f'(z_k) w_k,  and of that again
    H_ij = sum_k W_ik f''(z_k) w_k W_jk,  with f' = 1 - f^2 and f'' = -2 f f'.

    Examples
    --------
    >>> tanh_hessian(np.ones(1), np.ones((1, 1)), np.zeros(1), np.ones(1)).round(4)
    array([[-0.6397]])
    """
    f = np.tanh(affine(x, W, b))
    return W @ np.diag(-2 * f * (1 - f**2) * w) @ W.T


# ---- not part of the lesson: the library's own model in NumPy, imported on demand ---------------

if TYPE_CHECKING:
    from fastmlp._models.numpy_mlp import MLP as MLP
else:

    def __getattr__(name: str) -> type:
        """Return `fastmlp.reference.MLP`."""
        if name != "MLP":
            raise AttributeError(f"module 'fastmlp.reference' has no attribute {name!r}")
        from fastmlp._models.numpy_mlp import MLP

        return MLP
