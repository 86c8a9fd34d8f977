"""Measure a service that has NumPy alone, and one with the estimator: megabytes and milliseconds.

Sizes are those of the files of the installed distributions; times are medians of whole processes,
from the start of Python to the first prediction of a row of a table.
"""

from __future__ import annotations

import importlib.metadata
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fastmlp import TabMLPRegressor

RUNS = 15
ALONE = ("fastmlp", "numpy")
ESTIMATOR = (*ALONE, "scikit-learn", "scipy", "joblib", "threadpoolctl", "narwhals")
PROGRAMS = {
    "load_predictor": (ALONE, "fastmlp.load_predictor(sys.argv[1])([0.1, 0.2, 0.3])"),
    "load": (ESTIMATOR, "fastmlp.load(sys.argv[1]).predict([[0.1, 0.2, 0.3]])"),
}


def megabytes(names: tuple[str, ...]) -> float:
    """Return the size of installed distributions; those that are missing count as 0."""
    total = 0
    for name in names:
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        paths = (Path(str(file.locate())) for file in files)
        total += sum(path.stat().st_size for path in paths if path.exists())
    return total / 1e6


def main() -> None:
    """Print a row for each way to read a model."""
    X = np.random.default_rng(0).normal(size=(300, 3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0]).save(path)
        times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
        for _ in range(RUNS):
            for name, (_, call) in PROGRAMS.items():
                program = f"import sys, fastmlp; {call}"
                began = time.perf_counter()
                subprocess.run([sys.executable, "-c", program, path], check=True)
                times[name].append(1e3 * (time.perf_counter() - began))
    for name, (distributions, _) in PROGRAMS.items():
        size = megabytes(distributions)
        print(f"{name:<15} {size:6.0f} MB {statistics.median(times[name]):6.0f} ms")


if __name__ == "__main__":
    main()
