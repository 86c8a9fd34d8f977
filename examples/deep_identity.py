"""A deep stack of identity layers is one affine map; depth alone adds nothing.

(x W1 + b1) W2 + b2 = x (W1 W2) + (b1 W2 + b2), and so on for any number of layers. So such a
network, however deep and however long it is trained, cannot fit better than least squares can. The
same network with a nonlinearity between the layers can.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastmlp

SIZES = [4, 16, 8, 16, 8, 3]


def collapse(net: fastmlp.MLP) -> tuple[Any, Any]:
    """Multiply the layers out: the matrix and the offset of the one affine map."""
    matrix, offset = np.eye(net.layer_sizes[0]), np.zeros(net.layer_sizes[0])
    for w, b in zip(net.weights, net.biases, strict=True):
        matrix, offset = matrix @ w, offset @ w + b
    return matrix, offset


def difference(net: fastmlp.MLP, x: Any) -> float:
    """Compare the deep network with a network that is its one affine map: largest difference."""
    shallow = fastmlp.MLP([net.layer_sizes[0], net.layer_sizes[-1]], dtype="float64")
    matrix, offset = collapse(net)
    shallow.weights[0], shallow.biases[0] = matrix, offset
    return float(abs(net.predict(x) - shallow.predict(x)).max())


def train(activation: str, x: Any, y: Any) -> fastmlp.MLP:
    net = fastmlp.MLP(SIZES, activation=activation, dtype="float64", rng=1)
    adam = fastmlp.Adam(fastmlp.Cosine(3e-3))
    net.fit(x, y, epochs=300, batch_size=len(x) // 8, optimizer=adam)
    return net


def main() -> dict[str, float]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(512, SIZES[0]))
    y = np.sin(x @ rng.normal(size=(SIZES[0], SIZES[-1])))

    untrained = fastmlp.MLP(SIZES, activation="identity", dtype="float64", rng=1)
    untrained.biases = [rng.normal(size=b.shape) for b in untrained.biases]
    before = difference(untrained, x)

    deep, bent = train("identity", x, y), train("tanh", x, y)
    after = difference(deep, x)
    design = np.hstack([x, np.ones((len(x), 1))])
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    best_affine = 0.5 * float(np.mean(np.sum(residual**2, axis=1)))

    print(f"{len(SIZES) - 1} layers, {SIZES}; deep network against its one affine map:")
    print(f"  largest difference before training  {before:.1e}")
    print(f"  largest difference after training   {after:.1e}")
    print("loss on a target that is not affine:")
    print(f"  least squares, one affine map       {best_affine:.6f}")
    print(f"  deep, identity between the layers   {deep.evaluate(x, y):.6f}")
    print(f"  deep, tanh between the layers       {bent.evaluate(x, y):.6f}")
    return {
        "before": before,
        "after": after,
        "best_affine": best_affine,
        "identity": deep.evaluate(x, y),
        "tanh": bent.evaluate(x, y),
    }


if __name__ == "__main__":
    main()
