"""A linear map between spaces of several dimensions, y = x A + c, recovered from examples.

With exact targets A and c themselves are found. With noisy ones gradient descent finds what linear
algebra gives in one go: the least-squares solution.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastmlp

N_IN, N_OUT, N_SAMPLES = 5, 3, 200


def descend(x: Any, y: Any) -> fastmlp.MLP:
    """Take full-batch gradient descent on a network without hidden layers."""
    net = fastmlp.MLP([N_IN, N_OUT], dtype="float64", rng=0)
    net.fit(x, y, epochs=400, batch_size=len(x), optimizer=fastmlp.SGD(0.5), shuffle=False)
    return net


def difference(net: fastmlp.MLP, weights: Any, bias: Any) -> float:
    """Return the largest distance between the network's parameters and these."""
    return float(max(abs(net.weights[0] - weights).max(), abs(net.biases[0] - bias).max()))


def main() -> dict[str, float]:
    rng = np.random.default_rng(0)
    matrix, offset = rng.normal(size=(N_IN, N_OUT)), rng.normal(size=N_OUT)
    x = rng.normal(size=(N_SAMPLES, N_IN))
    exact = x @ matrix + offset
    noisy = exact + 0.3 * rng.normal(size=exact.shape)

    recovered = difference(descend(x, exact), matrix, offset)
    solution = np.linalg.lstsq(np.hstack([x, np.ones((len(x), 1))]), noisy, rcond=None)[0]
    net = descend(x, noisy)
    least_squares = difference(net, solution[:-1], solution[-1])
    truth = difference(net, matrix, offset)

    print(f"a map from {N_IN} to {N_OUT} dimensions, {N_SAMPLES} samples; largest differences:")
    print(f"  exact targets: to the true map             {recovered:.1e}")
    print(f"  noisy targets: to the least-squares map    {least_squares:.1e}")
    print(f"  noisy targets: to the true map             {truth:.1e}")
    return {"recovered": recovered, "least_squares": least_squares, "truth": truth}


if __name__ == "__main__":
    main()
