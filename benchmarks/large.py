"""Large simulated tables: CPU time, peak memory and error of TabMLPRegressor and of boosted trees.

24 numbers, of which four have missing values, and 6 categories with 284 values; the noise of the
targets has a deviation of 0.7. Each fit runs in a process of its own, one after the other. Memory
is the resident peak of the fit above what the process held with the table. Linux only.
"""

from __future__ import annotations

import importlib
import multiprocessing
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import CannotRunError, Names, Rows

VALUES = (3, 5, 12, 24, 40, 200)  # each category column has one of these numbers
NUMBERS = 24
MISSING = 0.05  # share of the last four numbers
NOISE = 0.7
TEST = 20_000
STATUS = Path("/proc/self/status")


def table(n: int, seed: int) -> tuple[Any, Any]:
    """Return a simulated table as a pandas frame, and its target."""
    import pandas as pd

    rng, fixed = np.random.default_rng(seed), np.random.default_rng(0)
    x = rng.normal(size=(n, NUMBERS)).astype(np.float32)
    codes = [rng.integers(0, count, n) for count in VALUES]
    effects = [fixed.normal(size=count) for count in VALUES]
    y = 2 * np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + np.abs(x[:, 3]) - x[:, 4] * (x[:, 5] > 0)
    y = y + 0.5 * np.cos(x[:, 6] + x[:, 7]) * x[:, 8] + 0.1 * x[:, 9:].sum(axis=1)
    for effect, code in zip(effects, codes, strict=True):
        y = y + 0.5 * effect[code]
    y += effects[1][codes[1]] * x[:, 9] + NOISE * rng.normal(size=n)
    x[:, -4:][rng.random((n, 4)) < MISSING] = np.nan
    columns = {f"number {k}": x[:, k] for k in range(NUMBERS)}
    for k, (count, code) in enumerate(zip(VALUES, codes, strict=True)):
        names = [f"value {value}" for value in range(count)]
        columns[f"category {k}"] = pd.Categorical.from_codes(code, names)
    return pd.DataFrame(columns), y


def ours(preset: str) -> Callable[[int, float], Any]:
    def build(threads: int, limit: float) -> Any:
        import fastmlp

        limits = {"time_limit": limit} if limit else {}
        return fastmlp.TabMLPRegressor(preset=preset, random_state=0, n_jobs=threads, **limits)

    return build


def trees(module: str, name: str, **options: Any) -> Callable[[int, float], Any]:
    def build(threads: int, limit: float) -> Any:
        jobs = {} if module == "sklearn.ensemble" else {"n_jobs": threads, "verbose": -1}
        return getattr(importlib.import_module(module), name)(**options, **jobs, random_state=0)

    return build


MODELS: dict[str, tuple[str, Callable[[int, float], Any]]] = {
    "fast": ("sklearn", ours("fast")),
    "default": ("sklearn", ours("default")),
    "HistGB": ("sklearn", trees("sklearn.ensemble", "HistGradientBoostingRegressor")),
    "LightGBM": ("lightgbm", trees("lightgbm", "LGBMRegressor")),
    "LightGBM x10": ("lightgbm", trees("lightgbm", "LGBMRegressor", n_estimators=1_000)),
}
CHOSEN = Names.of(MODELS, "fast", "HistGB", "LightGBM", "LightGBM x10")


def resident(key: str) -> float:
    """Return the resident size in MB: now ("VmRSS") or the largest since the reset ("VmHWM")."""
    found = re.search(rf"{key}:\s+(\d+)", STATUS.read_text())
    assert found is not None
    return int(found[1]) / 1024


def trial(name: str, n: int, threads: int, limit: float) -> dict[str, float]:
    """Fit a model in this process; return its columns."""
    with harness.limited(threads):
        model = MODELS[name][1](threads, limit)
        X, y = table(n, 1)
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to the size of now
        before, began, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
        model.fit(X, y)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        memory = resident("VmHWM") - before
    X, y = table(TEST, 2)
    error = float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))
    return {"CPU s": cpu, "seconds": seconds, "MB": memory, "RMSE": error}


def measure(
    models: Names = CHOSEN,
    rows: Sequence[int] = (100_000, 1_000_000),
    threads: int = 2,
    limit: float = 0.0,
) -> Iterator[tuple[str, Rows]]:
    if not STATUS.exists() or not find_spec("pandas"):
        raise CannotRunError("memory is read from /proc, and the tables are pandas frames")
    for n in rows:
        found: Rows = {}
        for name in models:
            if find_spec(MODELS[name][0]):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    found[name] = pool.submit(trial, name, n, threads, limit).result()
        yield f"{harness.counted(n, 'row')} of {NUMBERS + len(VALUES)} columns", found
