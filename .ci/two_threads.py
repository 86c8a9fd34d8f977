"""Check that a free-threaded Python has its lock off, and that two threads do more than one."""

import sys
import threading
import time

import numpy as np

import fastmlp

CALLS, PARTS, WINDOW = 100, 10_000, 100  # calls of a part, parts of a thread, parts that are timed


def rate(threads: int) -> float:
    """Return the most predictions a second of some threads together, with a predictor each.

    The best window of about two milliseconds counts: a busy machine gives both CPUs at times.
    """
    gate, ends = threading.Barrier(threads), []

    def work() -> None:
        predictor = fastmlp.MLP([8, 32, 32, 1], rng=0).predictor()
        row, own = np.ones(8, np.float32), []
        gate.wait()
        for _ in range(PARTS):
            for _ in range(CALLS):
                predictor(row)
            own.append(time.perf_counter())
        ends.extend(own)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ends.sort()
    spans = (last - first for first, last in zip(ends, ends[WINDOW:], strict=False))
    return WINDOW * CALLS / min(spans)


if __name__ == "__main__":
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        raise SystemExit("the interpreter's lock is on")
    one, two = rate(1), rate(2)
    print(f"single predictions a second: one thread {one:,.0f}, two {two:,.0f} ({two / one:.2f})")
    if two <= one:
        raise SystemExit("two threads do not predict more than one")
