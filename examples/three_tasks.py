"""The three tasks: regression, classification, and the probabilistic view behind both.

* Regression: a noisy sine, squared error. The network finds the mean, and its error on new data
  comes down to the noise.
* Classification: handwritten digits, cross-entropy; the predictions are probabilities.
* Probabilistic: maximum likelihood. With a Gaussian of variance 1 the loss is squared error plus
  the constant log(2 pi) / 2 an output, so its gradients are the same and training gives the same
  weights, bit for bit. With a second output for the variance the network also tells how uncertain
  it is, here where the noise grows from left to right.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastmlp
from fastmlp import digits

NOISE = 0.2


def regression(rng: np.random.Generator) -> dict[str, float]:
    def sample(n: int) -> tuple[Any, Any]:
        x = rng.uniform(-1, 1, size=(n, 1))
        return x, np.sin(3 * x) + NOISE * rng.normal(size=(n, 1))

    x, y = sample(2000)
    net = fastmlp.MLP([1, 32, 1], activation="tanh", rng=0)
    net.fit(x, y, epochs=60, optimizer=fastmlp.Adam(fastmlp.Cosine(1e-2)))
    loss = net.evaluate(*sample(2000))
    floor = 0.5 * NOISE**2
    print(f"regression       loss on new data {loss:.4f}; half of the noise's variance {floor:.4f}")
    return {"loss": loss, "floor": floor}


def classification() -> dict[str, float]:
    X, y, X_test, y_test = digits.split()
    net = fastmlp.MLP([64, 64, 10], loss="cross_entropy", rng=0)
    net.fit(X, y, epochs=30)
    probabilities = net.predict(X_test)
    accuracy = float(np.mean(probabilities.argmax(axis=1) == y_test))
    off = float(abs(probabilities.sum(axis=1) - 1).max())
    print(f"classification   {accuracy:.1%} of the held-out digits recognised")
    return {"accuracy": accuracy, "off": off}


def unit_variance(rng: np.random.Generator) -> dict[str, Any]:
    x, y = rng.normal(size=(500, 3)), rng.normal(size=(500, 2))
    likelihood = fastmlp.GaussianNLL(predict_variance=False)
    nets = [
        fastmlp.MLP([3, 16, 2], loss=loss, dtype="float64", rng=0)
        for loss in ("squared_error", likelihood)
    ]
    gap = nets[1].evaluate(x, y) - nets[0].evaluate(x, y)
    for net in nets:
        net.fit(x, y, epochs=20)
    same = all(np.array_equal(a, b) for a, b in zip(nets[0].weights, nets[1].weights, strict=True))
    constant = 2 * 0.5 * math.log(2 * math.pi)
    print(f"unit variance    likelihood minus squared error {gap:.12f}")
    print(f"                 log(2 pi) / 2 for each output  {constant:.12f}")
    print(f"                 same weights after training    {same}")
    return {"gap": gap, "constant": constant, "same": same}


def predicted_variance(rng: np.random.Generator) -> dict[str, Any]:
    x = rng.uniform(-1, 1, size=(8000, 1))
    y = np.sin(3 * x) + deviation(x) * rng.normal(size=x.shape)
    net = fastmlp.MLP([1, 32, 1], activation="tanh", loss="gaussian_nll", rng=0)
    net.fit(x, y, epochs=40, optimizer=fastmlp.Adam(fastmlp.Cosine(1e-2)))
    grid = np.linspace(-0.75, 0.75, 6)[:, np.newaxis]
    means, variances = net.predict(grid)
    found, true = np.sqrt(variances), deviation(grid)
    print("predicted        x     " + "".join(f"{v:7.2f}" for v in grid[:, 0]))
    print("  deviation      true  " + "".join(f"{v:7.3f}" for v in true[:, 0]))
    print("                 found " + "".join(f"{v:7.3f}" for v in found[:, 0]))
    return {
        "mean_error": float(abs(means - np.sin(3 * grid)).max()),
        "deviation_ratio": (found / true)[:, 0],
    }


def deviation(x: Any) -> Any:
    """Of the noise: from 0.05 on the left to 0.45 on the right."""
    return 0.25 + 0.2 * x


def main() -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    return {
        "regression": regression(rng),
        "classification": classification(),
        "unit_variance": unit_variance(rng),
        "predicted_variance": predicted_variance(rng),
    }


if __name__ == "__main__":
    main()
