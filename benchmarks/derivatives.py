"""Second derivatives of networks, beside JAX, torch.func and CasADi, where installed.

One row is asked for its value, jacobian and hessian, as a controller does; many rows for products
of their hessians with vectors. Rivals compile what they can, and their inputs are arrays of theirs.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import derivative_training
import numpy as np
from harness import CannotRunError, Names, Rows, interleave, limited

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


def with_casadi(net: fastmlp.MLP, x: np.ndarray, v: np.ndarray) -> dict[str, Way]:
    """Return the value, jacobian and hessian of one row by CasADi's own expressions."""
    if len(x) > 1:
        return {}
    function, row = expression(net, "SX"), x[0].astype(float)
    return {"CasADi": lambda: function(row)}


def expression(net: fastmlp.MLP, kind: str) -> Any:
    """Return a network as a function of CasADi, of scalars (SX) or of matrices (MX)."""
    casadi = importlib.import_module("casadi")
    x = y = getattr(casadi, kind).sym("x", net.layer_sizes[0])
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        y = casadi.mtimes(w.T.astype(float), y) + b.astype(float)
        y = casadi.tanh(y) if k < len(net.biases) - 1 else y
    jacobian = casadi.jacobian(y, x)
    hessian = casadi.jacobian(casadi.vec(jacobian.T), x)
    return casadi.Function(f"casadi_{kind}", [x], [y, jacobian, hessian])


RIVALS = {"torch": with_torch, "jax": with_jax, "casadi": with_casadi}

CALLS = 1000  # one call of Python makes so many of C
REPEAT = """\
void repeat_{name}(const {real} *x, {real} *y, {real} *jacobian, {real} *hessian)
{{
    for (int k = 0; k < {calls}; k++) {{ {call}; }}
}}
"""
CASADI_CALL = """\
static double w[1 << 20];
    static long long iw[1 << 20];
    const double *arg[] = {x};
    double *res[] = {y, jacobian, hessian};
    casadi_MX(arg, res, iw, w, 0)"""


def compiled(folder: Path, name: str, real: str, include: str, call: str) -> tuple[Any, float]:
    """Return a function of C that makes many calls, and the CPU seconds of the compiler."""
    text = REPEAT.format(name=name, real=real, call=call, calls=CALLS)
    (folder / f"repeat_{name}.c").write_text(f'#include "{include}"\n{text}')
    command = [
        "gcc",
        "-O3",
        "-shared",
        "-fPIC",
        "-w",
        f"repeat_{name}.c",
        "-o",
        f"{name}.so",
        "-lm",
    ]
    before = os.times()
    subprocess.run(command, cwd=folder, check=True)
    after = os.times()
    seconds = after.children_user + after.children_system
    seconds -= before.children_user + before.children_system
    return getattr(ctypes.CDLL(str(folder / f"{name}.so")), f"repeat_{name}"), seconds


def measure_c(rivals: tuple[str, ...], rounds: int, turn: float) -> tuple[str, Rows]:
    """Return microseconds of a call of what `to_c` writes, and of what CasADi generates."""
    if not shutil.which("gcc"):
        raise CannotRunError("gcc is needed")
    sizes = (6, 32, 32, 6)
    net = fastmlp.MLP(sizes, activation="tanh", rng=0)
    with tempfile.TemporaryDirectory() as path, contextlib.chdir(path):
        net.to_c("net.c", derivatives=2)
        call = "net_hessian(x, y, jacobian, hessian)"
        functions = {"fastmlp": compiled(Path(path), "net", "float", "net.c", call)}
        if "casadi" in rivals and find_spec("casadi"):
            expression(net, "MX").generate("casadi_MX.c")
            rival = compiled(Path(path), "casadi", "double", "casadi_MX.c", CASADI_CALL)
            functions["CasADi"] = rival
    ways, arrays = {}, {}
    for name, (function, _) in functions.items():
        dtype = np.float32 if name == "fastmlp" else np.float64
        of_name = [np.zeros(shape, dtype) for shape in (6, 6, (6, 6), (6, 6, 6))]
        of_name[0][:] = np.linspace(-1, 1, 6)
        arrays[name] = of_name
        places = [ctypes.c_void_p(array.ctypes.data) for array in of_name]
        ways[name] = functools.partial(function, *places)

    def check() -> None:
        expected = net.predictor().derivatives(arrays["fastmlp"][0])
        for name, way in ways.items():
            way()
            for a, b in zip(arrays[name][1:], expected, strict=True):
                stored = a if name == "fastmlp" else column_major(a)
                np.testing.assert_allclose(stored, b, atol=1e-4)

    times = interleave(ways, check=check, rounds=rounds, turn=turn)
    mine = times["fastmlp"].median
    rows = {
        name: {
            **timing.row("us", CALLS),
            "times": timing.median / mine,
            "compiler, s": functions[name][1],
        }
        for name, timing in times.items()
    }
    return f"C, {'-'.join(map(str, sizes))}, one row, gcc -O3", rows


def column_major(array: np.ndarray) -> np.ndarray:
    """Return what CasADi stored column by column: (rows, inputs) for each column."""
    if array.ndim < 2:
        return array
    return array.reshape(array.shape[-1], -1).T.reshape(array.shape)


def measure(
    cases: tuple[str, ...] = Names.of([*CASES, "c", *derivative_training.TRAINING]),
    rivals: tuple[str, ...] = Names.of(RIVALS),
    rounds: int = 9,
    turn: float = 0.05,
) -> Iterator[tuple[str, Rows]]:
    """Yield microseconds of a call, and how many times as long as ours it takes."""
    rng = np.random.default_rng(0)
    for name in cases:
        if name == "c":
            yield measure_c(rivals, rounds, turn)
            continue
        if name in derivative_training.TRAINING:
            with limited(1):
                yield derivative_training.training(name, rivals, rounds, turn)
            continue
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
