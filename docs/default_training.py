"""Compare what `MLP.fit` chooses without epochs and optimizer with a grid.

The table is in docs/reference/networks.md; python docs/default_training.py prints it.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

import fastmlp

ROWS = {100: 2, 1000: 1, 10_000: 1}  # and how many data sets of so many rows
TESTED = 4000
SHAPES = ((32,), (64, 64), (128, 128, 128))
STEPS, PEAKS, DECAYS = (500, 2000, 8000), (0.003, 0.01, 0.03), (0.0, 0.3, 3.0)
BATCH = 64
CENTRES = np.random.default_rng(7).normal(size=(3, 8)) * 0.9

# Functions of inputs in (-1, 1): number of inputs, target without noise, deviation of the noise.
FUNCTIONS: dict[str, tuple[int, Callable[[Any], Any], float]] = {
    "sine": (1, lambda x: np.sin(6 * x[:, 0]), 0),
    "noisy sine": (1, lambda x: np.sin(6 * x[:, 0]), 0.4),
    "bump": (2, lambda x: np.exp(-8 * (x**2).sum(axis=1)), 0.02),
    "Friedman": (
        10,
        lambda x: (
            np.sin(np.pi * (x[:, 0] + 1) * (x[:, 1] + 1) / 4) * 2
            + x[:, 2] ** 2
            + x[:, 3]
            + x[:, 4] / 2
        ),
        0.2,
    ),
    "product": (5, lambda x: 3 * x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3], 0.1),
    "plane": (10, lambda x: x @ np.linspace(-1, 1, 10), 0.5),
    "steps": (3, lambda x: np.sign(x[:, 0]) + abs(x[:, 1] - 0.2) + (x[:, 2] > 0.3), 0.1),
}
# Probabilities of the second of two classes.
CLASSES: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "exclusive or": (4, lambda x: np.where(x[:, 0] * x[:, 1] > 0, 0.9, 0.1)),
    "rings": (3, lambda x: 1 / (1 + np.exp(-8 * np.sin(6 * (x**2).sum(axis=1))))),
    "half plane": (8, lambda x: 1 / (1 + np.exp(-4 * x[:, 0] - 2 * x[:, 1]))),
}
CASES = (*FUNCTIONS, *CLASSES, "three normals")


def rows_of(case: str, n: int, seed: int) -> tuple[Any, Any]:
    """Return inputs and targets."""
    rng = np.random.default_rng(seed)
    if case == "three normals":
        y = rng.integers(0, 3, n)
        return CENTRES[y] + rng.normal(size=(n, 8)), y
    x = rng.uniform(-1, 1, (n, (FUNCTIONS | CLASSES)[case][0]))
    if case in CLASSES:
        return x, (rng.random(n) < CLASSES[case][1](x)).astype(int)
    _, function, noise = FUNCTIONS[case]
    return x, function(x) + noise * rng.normal(size=n)


def score(case: str, n: int, hidden: tuple[int, ...], seed: int = 0, **options: Any) -> float:
    """Return 1 - R2, or the log loss, of rows that were not learned from."""
    (x, y), (x_new, y_new) = (rows_of(case, k, 10 * seed + j) for k, j in ((n, 1), (TESTED, 2)))
    loss: Any = "squared_error" if case in FUNCTIONS else "cross_entropy"
    n_outputs = 1 if case in FUNCTIONS else int(y.max()) + 1
    net = fastmlp.MLP([x.shape[1], *hidden, n_outputs], loss=loss, rng=seed)
    net.fit(x, y, n_threads=1, **options)
    scale = np.var(y_new) / 2 if case in FUNCTIONS else 1
    return net.evaluate(x_new, y_new) / float(scale)


def mean_score(case: str, n: int, hidden: tuple[int, ...], **options: Any) -> float:
    """Return the mean over the data sets: the best of the grid is not the luckiest on one."""
    return statistics.mean(score(case, n, hidden, k, **options) for k in range(ROWS[n]))


def grid(n: int) -> list[dict[str, Any]]:
    """Return options of fits to choose the best from."""
    return [
        {
            "epochs": max(1, steps // -(-n // BATCH)),
            "optimizer": fastmlp.AdamW(fastmlp.OneCycle(peak), weight_decay=decay),
        }
        for steps, peak, decay in itertools.product(STEPS, PEAKS, DECAYS)
    ]


def main() -> None:
    """Print, for each number of rows, how much worse than the best of the grid two choices are."""
    for n, kind in itertools.product(ROWS, ("functions", "classes")):
        gaps: dict[str, list[float]] = {"by default": [], "20 epochs of Adam": []}
        cases = [case for case in CASES if (case in FUNCTIONS) == (kind == "functions")]
        for case, hidden in itertools.product(cases, SHAPES):
            chosen = mean_score(case, n, hidden), mean_score(case, n, hidden, epochs=20)
            best = min(mean_score(case, n, hidden, **options) for options in grid(n))
            for name, value in zip(gaps, chosen, strict=True):
                gaps[name].append(value - best)
        shown = [f"{statistics.median(v):.3f} / {max(v):.2f}" for v in gaps.values()]
        print(f"| {n:,} | {kind} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
