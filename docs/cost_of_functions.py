"""What functions of one's own cost: CPU time of a step with one, over that with fastmlp's own.

Medians of interleaved fits on one thread, for the figures in functions.md.
"""

import statistics
import time

import numpy as np

import fastmlp

ROUNDS = 15
RATE = 1e-4


def tanh(z):
    """Return value and slope."""
    y = np.tanh(z)
    return y, 1 - y * y


def square(z, t):
    """Return value and gradient."""
    e = z - t
    return 0.5 * np.sum(e * e, axis=1), e


CHANGES = {
    "activation": {"activation": fastmlp.CustomActivation(tanh)},
    "loss": {"loss": fastmlp.CustomLoss(square)},
}


def main() -> None:
    """Print the ratios, network by network."""
    for sizes, n, batch_size in (([8, 16, 1], 4096, 32), ([784, 256, 128, 10], 2560, 128)):
        rng = np.random.default_rng(0)
        x, y = (rng.normal(size=(n, width)).astype("f") for width in (sizes[0], sizes[-1]))

        def seconds(change, sizes=sizes, batch_size=batch_size, x=x, y=y):
            net = fastmlp.MLP(sizes, rng=0, **{"activation": "tanh"} | change)
            optimizer = fastmlp.SGD(RATE, momentum=0.9)
            began = time.process_time()
            net.fit(x, y, epochs=2, batch_size=batch_size, optimizer=optimizer, n_threads=1)
            return time.process_time() - began

        times = {name: [] for name in ("none", *CHANGES)}
        for _ in range(ROUNDS):
            for name, found in times.items():
                found.append(seconds(CHANGES.get(name, {})))
        step = statistics.median(times["none"]) / (2 * n / batch_size)
        print(f"{'-'.join(map(str, sizes))}, batches of {batch_size}: {step * 1e6:.1f} us a step")
        for name in CHANGES:
            ratio = statistics.median(times[name]) / statistics.median(times["none"])
            print(f"    own {name}: {ratio:.1f} times")


if __name__ == "__main__":
    main()
