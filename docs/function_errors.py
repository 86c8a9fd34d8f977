"""Measure the largest errors of the library's elementwise functions; docs/kernels.md quotes them.

Run `python docs/function_errors.py` (needs mpmath; about a minute). Values are compared with the
same formulas in float64 (for float32) or in 40 digits (for float64), at points spread evenly over
[-100, 100] and over all magnitudes from 1e-30 to 100. Value errors are in units in the last place
of the true result (ULP), everywhere and for abs(z) <= 4; slope errors are absolute, in epsilons
(2**-23 and 2**-52).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

from fastmlp._engine import native_engine
from fastmlp.losses import CrossEntropy, PoissonNLL

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
import formulas
from probing import probe

POINTS = {"float32": 300_000, "float64": 20_000}
SMALLEST = 2**12  # times the smallest normal number: below, factors of a result may be flushed to 0
# What the formulas are made of: in float64, and in 40 digits.
LIBRARIES = {"float32": formulas.FLOAT, "float64": formulas.DIGITS}


def points(dtype: str, low: float, high: float) -> Any:
    """Return where functions are looked at, in [low, high], the same in every run."""
    rng = np.random.default_rng(0)
    even = rng.uniform(low, high, POINTS[dtype] // 2)
    magnitudes = 10.0 ** rng.uniform(-30, 2, POINTS[dtype] // 2)
    signed = magnitudes * rng.choice([-1, 1], magnitudes.size)
    return np.clip(np.concatenate([even, signed]), low, high).astype(dtype)


def largest(found: Any, true: list[Any], ulp: bool) -> float:
    """Return the largest error: in ULP of the true values, or in epsilons."""
    info = np.finfo(found.dtype)
    unit, worst = float(info.eps), 0.0
    for got, right in zip(found.tolist(), true, strict=True):
        if ulp:
            size = float(abs(right))
            if size < SMALLEST * float(info.smallest_normal):
                continue
            unit = math.ldexp(float(info.eps), math.frexp(size)[1] - 1)
        worst = max(worst, float(abs(got - right)) / unit)
    return worst


def measure(level: str, dtype: str) -> Iterator[list[str]]:
    """Yield the rows of the table: name, errors of the value (two) and of the slope."""
    kernels, m = probe.Kernels(level, dtype), LIBRARIES[dtype]
    z = points(dtype, *((-86.0, 88.0) if dtype == "float32" else (-707.0, 709.0)))
    zeros = np.zeros((len(z), 1), dtype)
    exp, _ = kernels.loss(PoissonNLL(), z[:, np.newaxis], zeros)  # exp(z) - 0 z
    true = [m.exp(m.number(v)) for v in z.tolist()]
    yield ["exp", f"{largest(exp, true, ulp=True):.2f}", "", ""]
    counts = range(2, 4000)
    one = np.zeros(1, np.int32)
    logs = [kernels.loss(CrossEntropy(), np.zeros((1, n), dtype), one)[0][0] for n in counts]
    true = [m.log(m.number(n)) for n in counts]
    yield ["log of 2, 3, ..., 3999", f"{largest(np.array(logs), true, ulp=True):.2f}", "", ""]
    z = points(dtype, -100.0, 100.0)
    z = np.concatenate([z[abs(z) <= 4], z[abs(z) > 4]])
    n_near = int(np.sum(abs(z) <= 4))
    for name, formula in formulas.ACTIVATIONS.items():
        values, slopes = kernels.activation(name, z)
        pairs = [formula(m, m.number(v)) for v in z.tolist()]
        true = [value for value, _ in pairs]
        errors = (
            largest(values, true, ulp=True),
            largest(values[:n_near], true[:n_near], ulp=True),
            largest(slopes, [slope for _, slope in pairs], ulp=False),
        )
        yield [name, *(f"{error:.2f}" for error in errors)]


def main() -> None:
    """Print one table per level and dtype."""
    mpmath.mp.dps = 40
    for level in native_engine.available_levels():
        for dtype in POINTS:
            print(f"\n{level}, {dtype}\n")
            print("| function | value (ULP) | for abs(z) <= 4 | slope (epsilon) |")
            print("|---|---|---|---|")
            for row in measure(level, dtype):
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
