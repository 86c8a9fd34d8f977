"""Check that a free-threaded Python has its lock off, and that two threads do more than one."""

import sys
import threading
import time

import numpy as np

import fastmlp

# Turns are short and many, so that some have both CPUs for themselves on a busy machine.
CALLS, TURNS, ROUNDS = 1_000, 500, 20


def rate(threads: int) -> float:
    """Return predictions a second in the best turn of some threads, with a predictor each."""
    gate = threading.Barrier(threads)
    spans: list[list[tuple[float, float]]] = [[] for _ in range(TURNS)]

    def work() -> None:
        predictor = fastmlp.MLP([8, 32, 32, 1], rng=0).predictor()
        row = np.ones(8, np.float32)
        for turn in spans:
            gate.wait()
            start = time.perf_counter()
            for _ in range(CALLS):
                predictor(row)
            turn.append((start, time.perf_counter()))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ends = (tuple(zip(*turn, strict=True)) for turn in spans)
    return threads * CALLS / min(max(last) - min(first) for first, last in ends)


if __name__ == "__main__":
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        raise SystemExit("the interpreter's lock is on")
    one = two = 0.0
    for _ in range(ROUNDS):
        one, two = max(one, rate(1)), max(two, rate(2))
        if two > 1.5 * one:
            break
    print(f"single predictions a second: one thread {one:,.0f}, two {two:,.0f} ({two / one:.2f})")
    if two <= one:
        raise SystemExit("two threads do not predict more than one: is the machine busy?")
