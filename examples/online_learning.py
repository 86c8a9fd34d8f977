"""Learning from a stream: each batch is seen once, predicted first and learned from after.

``partial_fit`` takes one pass over what it is given and keeps the state of the optimizer from call
to call. Half way through, the law behind the data changes; the network, which never stops
learning, finds the new one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastmlp

BATCHES, ROWS = 3000, 32
NOISE = 0.1


def main() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    laws = rng.normal(size=(2, 8, 1)) / np.sqrt(8)
    net = fastmlp.MLP([8, 64, 1], activation="relu", rng=0)
    adam = fastmlp.Adam(learning_rate=1e-2)
    losses = np.empty(BATCHES)
    for at in range(BATCHES):
        x = rng.normal(size=(ROWS, 8))
        y = np.sin(2 * x @ laws[2 * at // BATCHES]) + NOISE * rng.normal(size=(ROWS, 1))
        losses[at] = net.partial_fit(x, y, optimizer=adam)  # the loss is that before the step
    half = BATCHES // 2
    numbers: dict[str, Any] = {
        "first": losses[:20].mean(),
        "before": losses[half - 20 : half].mean(),
        "after": losses[half : half + 20].mean(),
        "last": losses[-20:].mean(),
    }
    floor = 0.5 * NOISE**2
    print(f"loss on unseen batches, mean of 20 (the noise alone gives {floor:.4f})")
    print(f"  the first              {numbers['first']:.4f}")
    print(f"  before the law changes {numbers['before']:.4f}")
    print(f"  after it has changed   {numbers['after']:.4f}")
    print(f"  the last               {numbers['last']:.4f}")
    return numbers | {"losses": losses}


if __name__ == "__main__":
    main()
