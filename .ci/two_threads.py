"""Check that a free-threaded Python has its lock off, and that two threads do more than one."""

import sys
import threading
import time

import numpy as np

import fastmlp

CALLS, PARTS, WINDOW = 100, 10_000, 100  # calls of a part, parts of a thread, parts that are timed


def rate(threads: int, has_out: bool) -> float:
    """Return the most predictions a second of some threads together, with a predictor each.

    With an array for the results, threads share nothing. Without, NumPy counts the references to
    the dtype of all new arrays, which two threads cannot do at the same time.

    The best window of about two milliseconds counts: a busy machine gives both CPUs at times.
    """
    gate, ends = threading.Barrier(threads), []

    def work() -> None:
        predictor = fastmlp.MLP([8, 32, 32, 1], rng=0).predictor()
        row, own = np.ones(8, np.float32), []
        out = np.empty(1, np.float32) if has_out else None
        gate.wait()
        for _ in range(PARTS):
            for _ in range(CALLS):
                predictor(row, out)
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
    for name, has_out in {"with out=": True, "with new arrays": False}.items():
        one, two = rate(1, has_out), rate(2, has_out)
        print(f"predictions a second, {name}: {one:,.0f} and {two:,.0f} ({two / one:.2f})")
        if two <= one:
            raise SystemExit("two threads do not predict more than one")
