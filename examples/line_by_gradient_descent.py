"""A line, y = w x + b, fitted by gradient descent; and what a step size that is too large does.

The simplest network there is: one input, one output, nothing hidden. Its loss is a parabola in
(w, b). Along the steepest direction of that parabola, with curvature c, one step of gradient
descent multiplies the distance to the minimum by 1 - rate * c: below a rate of 2 / c it shrinks,
above it grows without end, and fastmlp raises an error as soon as a number is no longer finite.
The step for a network of any depth is in `fastmlp/reference.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastmlp

W, B = 2.0, -1.0


def by_hand(x: Any, y: Any, rate: float, steps: int) -> tuple[float, float]:
    """Descend on 0.5 mean((w x + b - y)**2) from w = b = 0, written out."""
    w = b = 0.0
    for _ in range(steps):
        error = w * x + b - y
        w, b = w - rate * np.mean(error * x), b - rate * np.mean(error)
    return float(w), float(b)


def network() -> fastmlp.MLP:
    """Return a network that is a line, w x + b, from w = b = 0."""
    return fastmlp.MLP([1, 1], dtype="float64", initializer="zeros")


def fit(net: fastmlp.MLP, x: Any, y: Any, rate: float, steps: int) -> fastmlp.History:
    """Do the same with fastmlp: every step sees all samples, in their order."""
    descent = fastmlp.SGD(rate)
    return net.fit(x, y, epochs=steps, batch_size=len(x), optimizer=descent, shuffle=False)


def parameters(net: fastmlp.MLP) -> tuple[float, float]:
    return net.weights[0].item(), net.biases[0].item()


def main() -> dict[str, Any]:
    x = np.linspace(-1, 3, 41)[:, np.newaxis]
    y = W * x + B
    design = np.hstack([x, np.ones_like(x)])
    curvature = float(np.linalg.eigvalsh(design.T @ design / len(x)).max())
    limit = 2 / curvature

    line = network()
    fit(line, x, y, 0.5 * limit, steps=200)
    lines = {
        "truth": (W, B),
        "fastmlp": parameters(line),
        "by hand": by_hand(x, y, 0.5 * limit, steps=200),
    }
    for name, (w, b) in lines.items():
        print(f"{name:<9}w = {w:.10f}  b = {b:.10f}")

    print(f"\nloss after 20 steps; the largest step size that can work is {limit:.4f}")
    losses = {}
    for share in (0.1, 0.5, 0.95, 1.05, 1.5):
        # The 21st entry is the loss that the 21st step starts from.
        losses[share] = fit(network(), x, y, share * limit, steps=21).loss[20]
        print(f"  step size {share * limit:.4f} = {share:4} of it: loss {losses[share]:.3g}")

    line = network()
    try:
        fit(line, x, y, 1.5 * limit, steps=2000)
    except fastmlp.DivergenceError as error:
        diverged = error
    print(f"\nwith 2000 steps of {1.5 * limit:.4f}:\n{diverged}.")
    return {
        "lines": lines,
        "start_loss": network().evaluate(x, y),
        "losses": losses,
        "limit": limit,
        "diverged": diverged,
        "kept": parameters(line),
    }


if __name__ == "__main__":
    main()
