"""One hidden layer approximates a continuous function ever better as it widens.

Twice, for f(x) = sin(2 pi x) + |x - 0.4| on [0, 1]:

* built: the proof as a program. A sum of relu units, each bending the line at its own knot, is the
  polygon through points of f. Where f is smooth the polygon through n + 1 points is within
  max|f''| / (8 n**2) of it: twice the width, a quarter of the error. Cutting the kink costs at most
  1 / (2 n) more.
* trained: tanh units fitted to samples of f. Each network begins as the narrower one before it,
  with as many new units again that do not count yet (their output weights are 0), so it has
  nothing to lose. Training lowers the mean square error; the largest error, which sits at the
  kink, mostly follows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastmlp

WIDTHS = (2, 4, 8, 16, 32)
STEPS = 1000
KINK = 0.4  # no width has a knot here: the polygon has to cut this corner


def f(x: Any) -> Any:
    return np.sin(2 * math.pi * x) + abs(x - KINK)


def built(width: int) -> fastmlp.MLP:
    """Return the polygon through width + 1 equidistant points of f; nobody trained it."""
    knots = np.linspace(0, 1, width + 1)
    slopes = np.diff(f(knots)) * width
    net = fastmlp.MLP([1, width, 1], activation="relu", dtype="float64")
    net.weights = [np.ones((1, width)), np.diff(slopes, prepend=0.0)[:, np.newaxis]]
    net.biases = [-knots[:-1], f(knots[:1])]
    return net


def widened(width: int, narrow: fastmlp.MLP | None, rng: np.random.Generator) -> fastmlp.MLP:
    """Return tanh units at random places, the first ones those of a narrower network."""
    steepness = rng.normal(scale=8, size=width)
    w, b = steepness[np.newaxis], -steepness * rng.uniform(size=width)
    v, c = np.zeros((width, 1)), np.zeros(1)
    if narrow is not None:
        n = narrow.layer_sizes[1]
        (w[:, :n], v[:n]), (b[:n], c) = narrow.weights, narrow.biases
    net = fastmlp.MLP([1, width, 1], activation="tanh", dtype="float64")
    net.weights, net.biases = [w, v], [b, c]
    return net


def train(net: fastmlp.MLP) -> None:
    x = np.linspace(0, 1, 256)[:, np.newaxis]
    adam = fastmlp.Adam(fastmlp.OneCycle(3e-2))
    net.fit(x, f(x), epochs=STEPS, batch_size=len(x), optimizer=adam, shuffle=False)


def errors(net: fastmlp.MLP) -> tuple[float, float]:
    """Return the largest and the root mean square error."""
    x = np.linspace(0, 1, 2001)[:, np.newaxis]
    error = net.predict(x) - f(x)
    return float(abs(error).max()), float(np.sqrt(np.mean(error**2)))


def main() -> dict[str, list[tuple[float, float]]]:
    print("errors on [0, 1] of one hidden layer: largest, root mean square")
    print("width       built            trained")
    found: dict[str, list[tuple[float, float]]] = {"built": [], "trained": []}
    rng = np.random.default_rng(0)
    net = None
    for width in WIDTHS:
        net = widened(width, net, rng)
        train(net)
        row = errors(built(width)), errors(net)
        for numbers, pair in zip(found.values(), row, strict=True):
            numbers.append(pair)
        print(f"{width:>5}  " + "  ".join(f"{largest:.5f}  {rms:.5f}" for largest, rms in row))
    return found


if __name__ == "__main__":
    main()
