"""A surrogate: a network that imitates a simulation, thousands of times as fast, with derivatives.

The simulation integrates a mass on a spring that hardens, for given stiffness, damping and push,
and returns the largest deflection. The network learns it from 2,000 runs; `predictor()` is then a
function of one row, and its derivatives say which parameter matters how much.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import fastmlp

LOW, HIGH = np.array([1.0, 0.1, 0.5]), np.array([4.0, 1.0, 3.0])  # stiffness, damping, push


def simulate(parameters: Any) -> Any:
    """Return the largest deflection in ten seconds, for each row of parameters."""
    stiffness, damping, push = np.asarray(parameters).T
    x, v, largest = np.zeros((3, *stiffness.shape))
    for _ in range(1000):
        v = v + 0.01 * (push - stiffness * x - 0.5 * x**3 - damping * v)
        x = x + 0.01 * v
        largest = np.maximum(largest, x)
    return largest


def seconds(function: Any, row: Any, repeats: int) -> float:
    """Return the time of one call."""
    start = time.perf_counter()
    for _ in range(repeats):
        function(row)
    return (time.perf_counter() - start) / repeats


def main() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x, x_new = rng.uniform(LOW, HIGH, size=(2000, 3)), rng.uniform(LOW, HIGH, size=(500, 3))
    net = fastmlp.MLP([3, 32, 32, 1], activation="tanh", dtype="float64", rng=0)
    net.fit(x, simulate(x))
    predict, row = net.predictor(), np.array([2.0, 0.5, 1.0])
    truth, predicted = simulate(x_new), net.predict(x_new)
    error = float(np.sqrt(np.mean((predicted - truth) ** 2)) / np.std(truth))
    slopes, value = predict.jacobian(row)[0], predict(row).item()
    up, down = np.split(simulate(row + 0.01 * np.vstack([np.eye(3), -np.eye(3)])), 2)
    differences = (up - down) / 0.02
    ratio = seconds(simulate, row[None], 3) / seconds(predict, row, 3000)
    print(f"error on {len(x_new)} new runs: {error:.2%} of the standard deviation")
    print(f"largest deflection of {row}: {value:.4f}, simulated {simulate(row[None])[0]:.4f}")
    print("derivatives by stiffness, damping, push:", np.round(slopes, 2))
    print("finite differences of the simulation:   ", np.round(differences, 2))
    print(f"one row: more than {10 ** int(np.log10(ratio)):,} times as fast")
    numbers = {"error": error, "slopes": slopes, "differences": differences}
    return numbers | {"truth": truth, "predicted": predicted}


if __name__ == "__main__":
    main()
