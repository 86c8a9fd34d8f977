"""One kernel at a time, on the level in use: `pytest -n 0 benchmarks/bench_kernels.py`.

Each result is compared with float64 NumPy before its time is taken. ``fraction_of_peak`` in the
extra information is relative to the multiply-add peak measured in the same session.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workloads import CASES

from fastmlp._engine import native_engine
from fastmlp._network.activations import ACTIVATIONS

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from probing import probe

DTYPES = ("float32", "float64")
# Layers of the five cases: (rows, fan-in, fan-out).
SHAPES = sorted({(case.batch_size, *layer) for case in CASES.values() for layer in case.layers})
ROUNDING = {"float32": 2e-4, "float64": 1e-11}

# Kernel: the length of its sums, and what it leaves where, of x, w, b and dz.
RIGHT: dict[str, tuple[Callable[..., int], Callable[..., dict[str, Any]]]] = {
    "forward": (lambda x, w, b, dz: len(w), lambda x, w, b, dz: {"y": np.maximum(x @ w + b, 0)}),
    "backward_input": (lambda x, w, b, dz: len(b), lambda x, w, b, dz: {"dx": dz @ w.T}),
    "backward_weights": (
        lambda x, w, b, dz: len(x),
        lambda x, w, b, dz: {"dw": x.T @ dz, "db": dz.sum(axis=0)},
    ),
}


@pytest.fixture(scope="module", params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def peak(dtype: str) -> float:
    return native_engine.peak(dtype) * 1e9


@pytest.fixture(params=SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def arrays(request: pytest.FixtureRequest, dtype: str) -> tuple[Any, ...]:
    rows, fan_in, fan_out = request.param
    rng = np.random.default_rng(0)
    shapes = ((rows, fan_in), (fan_in, fan_out), (fan_out,), (rows, fan_out))
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


def close(got: Any, right: Any, dtype: str, length: int) -> None:
    """Compare with a tolerance for sums of ``length`` products of order one."""
    np.testing.assert_allclose(got, right, rtol=0, atol=ROUNDING[dtype] * length**0.5)


def report(benchmark: Any, flops: int, peak: float) -> None:
    if benchmark.stats is not None:  # absent under --benchmark-disable
        rate = flops / benchmark.stats.stats.median
        benchmark.extra_info.update(gflops=rate / 1e9, fraction_of_peak=rate / peak)


def affine(arrays: Any, dtype: str, activation: str = "identity") -> Any:
    """Return one layer with its arrays in place, so that a call runs the kernel and no more."""
    x, w, b, dz = arrays
    layer = probe.Affine(native_engine.level(), dtype, len(x), *w.shape, activation)
    layer.load(x=x, w=w, b=b, dz=dz)
    return layer


@pytest.mark.parametrize("kernel", RIGHT)
def bench_affine(benchmark: Any, kernel: str, arrays: Any, dtype: str, peak: float) -> None:
    layer = affine(arrays, dtype, "relu" if kernel == "forward" else "identity")
    call = getattr(layer, kernel)
    call()
    length, right = RIGHT[kernel]
    wide = [array.astype(float) for array in arrays]
    for name, values in right(*wide).items():
        close(getattr(layer, name), values, dtype, length(*arrays))
    benchmark(call)
    report(benchmark, 2 * len(arrays[0]) * arrays[1].size, peak)


@pytest.mark.parametrize("name", ACTIVATIONS)
def bench_activation(benchmark: Any, dtype: str, name: str) -> None:
    """Value and kept derivative, behind the cheapest affine map there is: one input."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((128, 1)).astype(dtype), rng.standard_normal((1, 256)).astype(dtype)
    layer = affine((x, w, None, None), dtype, name)
    layer.forward(training=True)
    close(layer.y, ACTIVATIONS[name].value(x.astype(float) @ w.astype(float)), dtype, 1)
    benchmark(layer.forward, training=True)
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_element"] = benchmark.stats.stats.median / (128 * 256) * 1e9
