"""One class a library, each training a case in the fastest way that library offers.

Common interface: ``reset()`` back to the initial weights and a fresh Adam, ``train(epochs,
shuffle)`` over whole epochs, ``get()`` the weights. Libraries are imported where they are used:
a process holds one of them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from workloads import LEARNING_RATE, Case, NumpyTrainer, Parameters


class FastmlpTrainer:
    """fastmlp through the public ``MLP.fit``, all its checks on.

    The number of threads is a limit, set by environment: below the work floor it takes fewer.
    """

    def __init__(self, case: Case, threads: int) -> None:
        import fastmlp

        os.environ["FASTMLP_NUM_THREADS"] = str(threads)
        self.case = case
        self.x, self.y = case.data()
        sizes = list(case.layer_sizes)
        self.net = fastmlp.MLP(sizes, activation=case.activation, loss=case.loss, rng=2)
        adam = fastmlp.Adam(learning_rate=LEARNING_RATE)
        self.options = {"batch_size": case.batch_size, "optimizer": adam}
        self.reset()

    def reset(self) -> None:
        weights, biases = zip(*self.case.parameters(), strict=True)
        self.net.weights, self.net.biases = list(weights), list(biases)

    def get(self) -> Parameters:
        pairs = zip(self.net.weights, self.net.biases, strict=True)
        return [(np.array(w), np.array(b)) for w, b in pairs]

    def train(self, epochs: int, shuffle: bool) -> None:
        self.net.fit(self.x, self.y, epochs=epochs, shuffle=shuffle, **self.options)


class SklearnTrainer:
    """scikit-learn: an estimator's ``fit`` with float32 data and a warm start."""

    def __init__(self, case: Case, threads: int) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        warnings.simplefilter("ignore", ConvergenceWarning)
        self.case = case
        self.x, self.y = case.data()
        kind = MLPClassifier if case.classifies else MLPRegressor
        if kind is MLPRegressor:
            self.y = self.y.ravel()
        self.net = kind(
            hidden_layer_sizes=case.layer_sizes[1:-1],
            activation=case.activation,
            batch_size=case.batch_size,
            alpha=0.0,
            learning_rate_init=LEARNING_RATE,
            max_iter=1,
            warm_start=True,
            tol=0.0,
            n_iter_no_change=10**9,
            random_state=2,
        ).fit(self.x, self.y)
        self.reset()

    def reset(self) -> None:
        weights, biases = zip(*self.case.parameters(), strict=True)
        self.net.coefs_, self.net.intercepts_ = list(weights), list(biases)

    def get(self) -> Parameters:
        return list(zip(self.net.coefs_, self.net.intercepts_, strict=True))

    def train(self, epochs: int, shuffle: bool) -> None:
        self.net.set_params(max_iter=epochs, shuffle=shuffle).fit(self.x, self.y)


class TorchTrainer:
    """PyTorch, eager, fused Adam, batches gathered by index from tensors in memory."""

    def __init__(self, case: Case, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(2)
        self.torch, self.case = torch, case
        x, y = case.data()
        self.x = torch.from_numpy(x)
        if not case.classifies:
            self.y, mean = torch.from_numpy(y), torch.nn.MSELoss()
            self.loss: Callable[..., Any] = lambda z, t: 0.5 * mean(z, t)
        else:
            self.y, self.loss = torch.from_numpy(y.astype(np.int64)), torch.nn.CrossEntropyLoss()
        self.activation = torch.nn.Tanh if case.activation == "tanh" else torch.nn.ReLU
        self.reset()

    def reset(self) -> None:
        torch = self.torch
        layers: list[Any] = []
        with torch.no_grad():
            for weights, bias in self.case.parameters():
                linear = torch.nn.Linear(*weights.shape)
                linear.weight.copy_(torch.from_numpy(weights.T.copy()))
                linear.bias.copy_(torch.from_numpy(bias))
                layers += [linear, self.activation()]
        self.linear = layers[::2]
        self.net = torch.nn.Sequential(*layers[:-1])
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LEARNING_RATE, fused=True)

    def get(self) -> Parameters:
        return [
            (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy())
            for layer in self.linear
        ]

    def train(self, epochs: int, shuffle: bool) -> None:
        torch, case = self.torch, self.case
        for _ in range(epochs):
            order = torch.randperm(case.n_rows) if shuffle else torch.arange(case.n_rows)
            for rows in order.split(case.batch_size):
                self.optimizer.zero_grad(set_to_none=True)
                self.loss(self.net(self.x[rows]), self.y[rows]).backward()
                self.optimizer.step()


class JaxTrainer:
    """JAX: a whole epoch in one jitted scan that gathers its shuffled batches; state donated."""

    def __init__(self, case: Case, threads: int) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.case = jax, case
        self.rng = np.random.default_rng(2)
        x, y = case.data()
        self.x, self.y = jnp.asarray(x), jnp.asarray(y)
        self.epoch = jax.jit(self.build(), donate_argnums=(0,))
        self.reset()

    def build(self) -> Callable[..., Any]:
        """Return the function that trains one epoch in the given order of rows."""
        jax, case = self.jax, self.case
        jnp = jax.numpy
        hidden = jnp.tanh if case.activation == "tanh" else jax.nn.relu

        def objective(parameters: Any, x: Any, y: Any) -> Any:
            for weights, bias in parameters[:-1]:
                x = hidden(x @ weights + bias)
            z = x @ parameters[-1][0] + parameters[-1][1]
            if not case.classifies:
                return 0.5 * jnp.mean((z - y) ** 2)
            chosen = jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
            return jnp.mean(jax.nn.logsumexp(z, axis=1) - chosen)

        def epoch(state: Any, order: Any, x: Any, y: Any) -> Any:
            def step(state: Any, rows: Any) -> Any:
                parameters, first, second, t = state
                value, gradients = jax.value_and_grad(objective)(parameters, x[rows], y[rows])
                t = t + 1
                root = jnp.sqrt(1 - 0.999**t)
                rate = LEARNING_RATE * root / (1 - 0.9**t)
                tree = jax.tree.map
                first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
                second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)

                def move(p: Any, m: Any, v: Any) -> Any:
                    return p - rate * m / (jnp.sqrt(v) + 1e-8 * root)

                parameters = tree(move, parameters, first, second)
                return (parameters, first, second, t), value

            return jax.lax.scan(step, state, order)

        return epoch

    def reset(self) -> None:
        jax, jnp = self.jax, self.jax.numpy
        parameters = jax.tree.map(jnp.array, self.case.parameters())
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        self.state = (parameters, zeros, jax.tree.map(jnp.copy, zeros), jnp.float32(0))

    def get(self) -> Parameters:
        return [(np.array(w), np.array(b)) for w, b in self.state[0]]

    def train(self, epochs: int, shuffle: bool) -> None:
        case = self.case
        for _ in range(epochs):
            order = np.arange(case.n_rows, dtype=np.int32)
            if shuffle:
                self.rng.shuffle(order)
            batches = order.reshape(-1, case.batch_size)
            self.state, losses = self.epoch(self.state, batches, self.x, self.y)
        losses.block_until_ready()


# Name in the table -> modules that must be installed, class.
TRAINERS: dict[str, tuple[tuple[str, ...], Callable[[Case, int], Any]]] = {
    "fastmlp": (("fastmlp",), FastmlpTrainer),
    "JAX": (("jax",), JaxTrainer),
    "PyTorch": (("torch",), TorchTrainer),
    "scikit-learn": (("sklearn",), SklearnTrainer),
    "NumPy": (("numpy",), NumpyTrainer),
}
