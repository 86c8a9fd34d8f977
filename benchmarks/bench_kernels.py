"""One kernel at a time, on the level in use: `pytest benchmarks/bench_kernels.py`.

Each result is compared with float64 NumPy before its time is taken. ``fraction_of_peak`` in the
extra information is relative to the multiply-add peak measured in the same session.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workloads import CASES

from fastmlp.activations import ACTIVATIONS
from fastmlp.engine import backend

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from probing import probe

DTYPES = ("float32", "float64")
# Layers of the four cases: (rows, fan-in, fan-out).
SHAPES = sorted(
    {
        (case.batch_size, i, o)
        for case in CASES.values()
        for i, o in zip(case.layer_sizes[:-1], case.layer_sizes[1:], strict=True)
    }
)
ROUNDING = {"float32": 2e-4, "float64": 1e-11}


@pytest.fixture(scope="module", params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def peak(dtype: str) -> float:
    return backend.peak(dtype) * 1e9


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
    layer = probe.Affine(backend.level(), dtype, len(x), *w.shape, activation)
    layer.load(x=x, w=w, b=b, dz=dz)
    return layer


def bench_affine_forward(benchmark: Any, arrays: Any, dtype: str, peak: float) -> None:
    x, w, b, _ = arrays
    layer = affine(arrays, dtype, "relu")
    layer.forward()
    close(layer.y, np.maximum(x.astype(float) @ w.astype(float) + b, 0), dtype, w.shape[0])
    benchmark(layer.forward)
    report(benchmark, 2 * len(x) * w.size, peak)


def bench_affine_backward_input(benchmark: Any, arrays: Any, dtype: str, peak: float) -> None:
    _, w, _, dz = arrays
    layer = affine(arrays, dtype)
    layer.backward_input()
    close(layer.dx, dz.astype(float) @ w.T.astype(float), dtype, w.shape[1])
    benchmark(layer.backward_input)
    report(benchmark, 2 * len(dz) * w.size, peak)


def bench_affine_backward_weights(benchmark: Any, arrays: Any, dtype: str, peak: float) -> None:
    x, w, _, dz = arrays
    layer = affine(arrays, dtype)
    layer.backward_weights()
    close(layer.dw, x.T.astype(float) @ dz.astype(float), dtype, len(x))
    close(layer.db, dz.astype(float).sum(axis=0), dtype, len(x))
    benchmark(layer.backward_weights)
    report(benchmark, 2 * len(x) * w.size, peak)


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
