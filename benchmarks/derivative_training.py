"""Training on values and derivatives by the inputs, beside torch and JAX: `derivatives.measure`.

Each way takes a pass over the batches, and has a function for its weights.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from harness import Rows, interleave

import fastmlp

Way = Callable[[], Any]
# Sizes of the network, and rows of a batch.
TRAINING = {"training": ((30, 64, 64, 1), 64), "small training": ((8, 32, 32, 1), 32)}
BATCHES, RATE, EPSILON = 128, 1e-3, 1e-8
Weights = Callable[[], list[Any]]
Learner = tuple[Way, Weights]


def learner_of_ours(net: fastmlp.MLP, x: Any, y: Any, d: Any, batch: int) -> Learner:
    """Return the training of this library, by values alone if d is None."""
    options: dict[str, Any] = {"batch_size": batch, "optimizer": fastmlp.Adam(RATE), "n_threads": 1}
    return functools.partial(net.partial_fit, x, y, dy=d, **options), lambda: list(net.weights)


def learner_of_torch(net: fastmlp.MLP, x: Any, y: Any, d: Any, batch: int) -> Learner:
    """Return that of torch, which differentiates the derivative."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    arrays = [*net.weights, *net.biases]
    parameters = [torch.tensor(a, requires_grad=True) for a in arrays]
    n, optimizer = len(net.weights), torch.optim.Adam(parameters, RATE, eps=EPSILON)
    batches = [torch.tensor(a).split(batch) for a in (x, y, d)]

    def learn() -> None:
        for rows, values, slopes in zip(*batches, strict=True):
            z = rows.requires_grad_()
            for w, b in zip(parameters[: n - 1], parameters[n:-1], strict=True):
                z = torch.tanh(z @ w + b)
            z = (z @ parameters[n - 1] + parameters[-1])[:, 0]
            (slope,) = torch.autograd.grad(z.sum(), rows, create_graph=True)
            squares = ((z - values) ** 2).sum() + ((slope - slopes) ** 2).sum()
            optimizer.zero_grad()
            (squares / (2 * batch)).backward()
            optimizer.step()

    return learn, lambda: [w.detach().numpy() for w in parameters[:n]]


def learner_of_jax(net: fastmlp.MLP, x: Any, y: Any, d: Any, batch: int) -> Learner:
    """Return that of JAX, a compiled loop over all batches."""
    jax = importlib.import_module("jax")
    jnp = jax.numpy
    arrays = [*map(jnp.array, (*net.weights, *net.biases))]
    n = len(net.weights)
    batches = [jnp.array(a).reshape(BATCHES, batch, *a.shape[1:]) for a in (x, y, d)]

    def value(parameters: Any, row: Any) -> Any:
        for w, b in zip(parameters[: n - 1], parameters[n:-1], strict=True):
            row = jnp.tanh(row @ w + b)
        return (row @ parameters[n - 1] + parameters[-1])[0]

    def loss(parameters: Any, rows: Any, values: Any, slopes: Any) -> Any:
        z, slope = jax.vmap(jax.value_and_grad(value, 1), (None, 0))(parameters, rows)
        return (((z - values) ** 2).sum() + ((slope - slopes) ** 2).sum()) / (2 * batch)

    def step(state: Any, one: Any) -> Any:
        parameters, means, squares, t = state
        gradients = jax.grad(loss)(parameters, *one)
        t = t + 1
        means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients, strict=True)]
        squares = [0.999 * s + 0.001 * g * g for s, g in zip(squares, gradients, strict=True)]
        rate = RATE / (1 - 0.9**t)
        triples = zip(parameters, means, squares, strict=True)
        root = jnp.sqrt(1 - 0.999**t)
        moved = [p - rate * m / (jnp.sqrt(s) / root + EPSILON) for p, m, s in triples]
        return (moved, means, squares, t), None

    learn = jax.jit(lambda state: jax.lax.scan(step, state, batches)[0])
    zeros = [jnp.zeros_like(a) for a in arrays]
    state = [(arrays, zeros, zeros, jnp.zeros(()))]

    def call() -> None:
        state[0] = jax.block_until_ready(learn(state[0]))

    return call, lambda: [np.asarray(w) for w in state[0][0][:n]]


LEARNERS: dict[str, Callable[..., Learner]] = {"torch": learner_of_torch, "jax": learner_of_jax}


def training(name: str, rivals: tuple[str, ...], rounds: int, turn: float) -> tuple[str, Rows]:
    """Return microseconds of a step, and how many times as long as ours it takes."""
    sizes, batch = TRAINING[name]
    rng = np.random.default_rng(0)
    x, d = (rng.normal(size=(BATCHES * batch, sizes[0])).astype(np.float32) for _ in range(2))
    y = rng.normal(size=len(x)).astype(np.float32)
    nets = [fastmlp.MLP(sizes, activation="tanh", rng=0) for _ in range(2)]
    exact = fastmlp.reference.MLP(sizes, activation="tanh", dtype="float64")
    exact.load_state_dict(nets[0].state_dict())
    learners = {"fastmlp": learner_of_ours(nets[0], x, y, d, batch)}
    for rival, made in LEARNERS.items():
        if rival in rivals and find_spec(rival):
            learners[rival] = made(nets[0], x, y, d, batch)

    def check() -> None:
        learn, weights = learner_of_ours(exact, x, y, d, batch)
        learn()
        for learn, found in learners.values():
            learn()
            for a, b in zip(found(), weights(), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-3)

    ways = {way: learn for way, (learn, _) in learners.items()}
    ways["fastmlp, values alone"] = learner_of_ours(nets[1], x, y, None, batch)[0]
    times = interleave(ways, check=check, rounds=rounds, turn=turn)
    mine = times["fastmlp"].median
    rows = {
        way: {**timing.row("us/step", BATCHES), "times": timing.median / mine}
        for way, timing in times.items()
    }
    return f"{name}, {'-'.join(map(str, sizes))}, batches of {batch}, Adam, one thread", rows
