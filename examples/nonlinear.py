"""Exclusive or: no linear network can fit it, an MLP with one hidden layer does.

The best affine answer to the four points is 0.5 everywhere, with a loss of 1/8 (half of the
squared error 1/4): there the gradient is zero, and because the loss is convex no step leads
further down. A few tanh units between input and output are enough to fit all four points.
How the gradient comes back through them is in `fastmlp/reference.py`, beside its formulas.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastmlp

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([0.0, 1.0, 1.0, 0.0])


def train(layer_sizes: list[int], activation: str) -> fastmlp.MLP:
    net = fastmlp.MLP(layer_sizes, activation=activation, dtype="float64", rng=0)
    net.fit(X, Y, epochs=3000, batch_size=len(X), optimizer=fastmlp.SGD(0.1, momentum=0.9))
    return net


def main() -> dict[str, Any]:
    nets = {
        "linear": train([2, 1], "identity"),
        "deep linear": train([2, 8, 8, 1], "identity"),
        "MLP": train([2, 8, 1], "tanh"),
    }
    print(f"{'network':<14}{'loss':<12}predictions for 00, 01, 10, 11")
    for name, net in nets.items():
        shown = "  ".join(f"{p:.4f}" for p in np.ravel(net.predict(X)))
        print(f"{name:<14}{net.evaluate(X, Y):<12.2e}{shown}")
    _, (dw,), (db,) = nets["linear"].gradients(X, Y)
    slope = float(max(abs(dw).max(), abs(db).max()))
    print(f"\nlargest entry of the linear network's gradient: {slope:.1e}")
    return {
        "losses": {name: net.evaluate(X, Y) for name, net in nets.items()},
        "predictions": {name: np.ravel(net.predict(X)) for name, net in nets.items()},
        "linear_slope": slope,
    }


if __name__ == "__main__":
    main()
