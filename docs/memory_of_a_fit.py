"""Measure the memory of a fit, in units of the model's parameters (docs/architecture.md)."""

from __future__ import annotations

import tracemalloc

import numpy as np

import fastmlp


def main() -> None:
    """Print the peak while a 784-256-128-10 network trains; data are not counted."""
    X, y = np.zeros((10_000, 784), np.float32), np.zeros(10_000, np.int64)
    tracemalloc.start()
    net = fastmlp.MLP([784, 256, 128, 10], loss="cross_entropy", rng=0)
    parameters = sum(array.nbytes for array in [*net.weights, *net.biases])
    tracemalloc.reset_peak()
    net.fit(X, y, epochs=2, batch_size=128, n_threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    print(f"parameters {parameters / 1e6:.2f} MB, peak {peak / parameters:.1f} times that")


if __name__ == "__main__":
    main()
