"""Second derivatives of networks with one output, beside JAX and torch.func, where installed.

One row is asked for its value, jacobian and hessian, as a controller does; many rows for products
of their hessians with vectors. Rivals compile what they can, and their inputs are arrays of theirs.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from harness import Names, Rows, interleave, limited

import fastmlp

Way = Callable[[], Any]
# Sizes of the network, and rows.
CASES = {
    "one row": ((8, 32, 32, 1), 1),
    "products": ((64, 128, 128, 1), 1024),
}


def ours(net: fastmlp.MLP, x: np.ndarray, v: np.ndarray) -> dict[str, Way]:
    """Return what is measured of this library."""
    if len(x) == 1:
        return {"fastmlp": functools.partial(net.predictor().derivatives, x[0])}
    dy = np.ones((len(x), 1), x.dtype)
    return {"fastmlp": functools.partial(net.hvp, x, v, dy)}


def with_torch(net: fastmlp.MLP, x: np.ndarray, v: np.ndarray) -> dict[str, Way]:
    """Return the same by torch.func."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    pairs = zip(net.weights, net.biases, strict=True)
    parameters = [(torch.tensor(w), torch.tensor(b)) for w, b in pairs]
    rows, directions = torch.tensor(x), torch.tensor(v)

    def value(row: Any) -> Any:
        for w, b in parameters[:-1]:
            row = torch.tanh(row @ w + b)
        return (row @ parameters[-1][0] + parameters[-1][1])[..., 0]

    grad = torch.func.grad(value)
    if len(x) == 1:
        hessian = torch.func.hessian(value)
        return {"torch.func": lambda: (value(rows[0]), grad(rows[0]), hessian(rows[0]))}
    total = torch.func.grad(lambda some: value(some).sum())
    return {"torch.func": lambda: torch.func.jvp(total, (rows,), (directions,))[1]}


def with_jax(net: fastmlp.MLP, x: np.ndarray, v: np.ndarray) -> dict[str, Way]:
    """Return the same by JAX, compiled."""
    jax = importlib.import_module("jax")
    pairs = zip(net.weights, net.biases, strict=True)
    parameters = [(jax.numpy.array(w), jax.numpy.array(b)) for w, b in pairs]
    rows, directions = jax.numpy.array(x), jax.numpy.array(v)

    def value(row: Any) -> Any:
        for w, b in parameters[:-1]:
            row = jax.numpy.tanh(row @ w + b)
        return (row @ parameters[-1][0] + parameters[-1][1])[0]

    grad = jax.grad(value)
    if len(x) == 1:
        all_three = jax.jit(lambda row: (value(row), grad(row), jax.hessian(value)(row)))
        return {"JAX": lambda: jax.block_until_ready(all_three(rows[0]))}
    product = jax.jit(jax.vmap(lambda row, d: jax.jvp(grad, (row,), (d,))[1]))
    return {"JAX": lambda: jax.block_until_ready(product(rows, directions))}


RIVALS = {"torch": with_torch, "jax": with_jax}


def measure(
    cases: tuple[str, ...] = Names.of(CASES),
    rivals: tuple[str, ...] = Names.of(RIVALS),
    rounds: int = 9,
    turn: float = 0.05,
) -> Iterator[tuple[str, Rows]]:
    """Yield microseconds of a call, and how many times as long as ours it takes."""
    rng = np.random.default_rng(0)
    for name in cases:
        sizes, n = CASES[name]
        with limited(1):
            net = fastmlp.MLP(sizes, activation="tanh", rng=0)
            x, v = (rng.normal(size=(n, sizes[0])).astype(np.float32) for _ in range(2))
            ways = ours(net, x, v)
            for rival in rivals:
                if find_spec(rival):
                    ways |= RIVALS[rival](net, x, v)
            times = interleave(
                ways, check=functools.partial(check, net, x, v, ways), rounds=rounds, turn=turn
            )
            mine = times["fastmlp"].median
            yield (
                f"{name}, {'-'.join(map(str, sizes))}, float32, one thread",
                {
                    way: {**timing.row("us"), "times": timing.median / mine}
                    for way, timing in times.items()
                },
            )


def check(net: fastmlp.MLP, x: np.ndarray, v: np.ndarray, ways: dict[str, Way]) -> None:
    """Compare results with those of the reference in float64."""
    exact = fastmlp.reference.MLP(net.layer_sizes, activation="tanh", dtype="float64")
    exact.load_state_dict(net.state_dict())
    if len(x) == 1:
        expected = exact.predict(x)[0], exact.jacobian(x)[0], exact.hessian(x)[0]
    else:
        expected = (exact.hvp(x, v, np.ones((len(x), 1))),)
    for way in ways.values():
        found = way()
        for a, b in zip(found if len(x) == 1 else (found,), expected, strict=True):
            np.testing.assert_allclose(np.ravel(a), b.ravel(), atol=1e-4)
