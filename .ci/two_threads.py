"""Check that a free-threaded Python keeps its lock off, and how much two threads predict."""

import sys
import threading
import time

import numpy as np

import fastmlp

CALLS = 200_000


def rate(threads: int) -> float:
    """Return the single predictions a second that some threads make, with a predictor each."""
    gate = threading.Barrier(threads + 1)

    def work() -> None:
        predictor = fastmlp.MLP([8, 32, 32, 1], rng=0).predictor()
        row = np.ones(8, np.float32)
        gate.wait()
        for _ in range(CALLS):
            predictor(row)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    gate.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return threads * CALLS / (time.perf_counter() - start)


if __name__ == "__main__":
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        raise SystemExit("the interpreter's lock is on")
    one, two = (max(rate(threads) for _ in range(5)) for threads in (1, 2))
    print(f"single predictions a second: one thread {one:,.0f}, two {two:,.0f} ({two / one:.2f})")
