"""How time and memory of fits of tables grow with rows, columns, classes and categories.

Each fit runs in a process of its own, see large.py. "growth" is the ratio of CPU seconds and MB to
those of the size before, over the ratio of the sizes: 1 is linear. A model whose fit has taken
longer than ``--most`` seconds gets no larger table. Linux only.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import FAULT, CannotRunError, Names, Rows
from large import STATUS, resident

SIZES = {
    "rows": (10_000, 100_000, 1_000_000, 10_000_000),
    "columns": (10, 100, 1_000, 5_000),
    "classes": (2, 10, 100, 1_000),
    "categories": (10, 1_000, 100_000),
}
LINEAR = 1.2  # largest growth that counts as linear, since times and memory are not exact
MB_OF_PROCESS = 100  # differences of memory below are those of a process, not of a table


def table(case: str, size: int) -> tuple[Any, Any]:
    """Return a simulated frame and its target: 20 columns, 1,000 to 200,000 rows."""
    import pandas as pd

    rng = np.random.default_rng(0)
    n = {"rows": size, "columns": 1_000, "classes": 10_000, "categories": 200_000}[case]
    columns = size if case == "columns" else 20
    x = rng.normal(size=(n, columns)).astype(np.float32)
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=n)
    frame = pd.DataFrame(x, columns=[f"number {k}" for k in range(columns)])
    if case == "categories":
        code = np.append(np.arange(size), rng.integers(0, size, n - size))
        frame["number 3"] = pd.Categorical.from_codes(code, [f"value {k}" for k in range(size)])
        y += rng.normal(size=size)[code]
    if case == "classes":
        y = (np.argsort(np.argsort(y)) * size // n).astype(int)
    return frame, y


def model(name: str, has_classes: bool, threads: int) -> Any:
    """Return a model with its defaults."""
    task = "Classifier" if has_classes else "Regressor"
    if name == "LightGBM":
        import lightgbm

        return getattr(lightgbm, f"LGBM{task}")(n_jobs=threads, verbose=-1)
    if name == "XGBoost":
        import xgboost

        return getattr(xgboost, f"XGB{task}")(n_jobs=threads, enable_categorical=True)
    import fastmlp

    return getattr(fastmlp, f"TabMLP{task}")(preset=name, random_state=0, n_jobs=threads)


MODELS = {"fast": "sklearn", "default": "sklearn", "LightGBM": "lightgbm", "XGBoost": "xgboost"}
CHOSEN = Names.of(MODELS, "fast", "LightGBM", "XGBoost")
CASES = Names.of(SIZES)


def trial(name: str, case: str, size: int, threads: int) -> dict[str, float]:
    """Fit a model in this process; return its columns."""
    with harness.limited(threads):
        fitted = model(name, case == "classes", threads)
        X, y = table(case, size)
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to the size of now
        before, began, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
        fitted.fit(X, y)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        return {"CPU s": cpu, "seconds": seconds, "MB": resident("VmHWM") - before}


def grown(now: Mapping[str, float], before: Mapping[str, float], ratio: float) -> dict[str, Any]:
    """Return the growth from one size to the next, over that of the sizes."""
    cpu = now["CPU s"] / before["CPU s"] / ratio
    memory = now["MB"] / max(before["MB"], MB_OF_PROCESS) / ratio
    return {"growth of CPU": cpu, "growth of MB": memory}


def draw(path: str, results: Mapping[str, Rows]) -> None:
    """Draw CPU seconds and memory over the sizes, an axis for each case."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.7 * len(results), 5), layout="constrained")
    axes = figure.subplots(2, len(results), squeeze=False)
    for column, (case, rows) in zip(axes.T, results.items(), strict=True):
        for ax, key in zip(column, ("CPU s", "MB"), strict=True):
            for k, name in enumerate(dict.fromkeys(row["model"] for row in rows.values())):
                of_model = [row for row in rows.values() if row["model"] == name]
                at = [row["size"] for row in of_model]
                ax.plot(at, [row[key] for row in of_model], "o-", label=name, color=f"C{k}", ms=3)
            ax.set(xscale="log", yscale="log", xlabel=case, ylabel=key)
            ax.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.savefig(path, dpi=80)


def measure(
    cases: Names = CASES,
    models: Names = CHOSEN,
    largest: int = 1_000_000,
    threads: int = 1,
    most: float = 100.0,
    plot: str | None = None,
) -> Iterator[tuple[str, Rows]]:
    if not STATUS.exists() or not find_spec("pandas"):
        raise CannotRunError("memory is read from /proc, and the tables are pandas frames")
    results: dict[str, Rows] = {}
    for case in cases:
        results[case] = {}
        for name in models:
            if not find_spec(MODELS[name]):
                continue
            before: dict[str, Any] = {}
            for size in SIZES[case]:
                if size > largest or before.get("CPU s", 0.0) > most:
                    continue
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    row = pool.submit(trial, name, case, size, threads).result()
                row |= {"model": name, "size": size}
                if before:
                    row |= grown(row, before, size / before["size"])
                    is_ours = MODELS[name] == "sklearn"
                    if is_ours and max(row["growth of CPU"], row["growth of MB"]) > LINEAR:
                        row[FAULT] = "MISSED"
                results[case][f"{size:,} {case}, {name}"] = before = row
        yield case, results[case]
    if plot:
        draw(plot, results)
