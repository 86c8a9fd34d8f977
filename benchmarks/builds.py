"""Compare builds of the library: minima of many short, interleaved turns of a row and of a step.

Minima tolerate a busy machine. Each build has a process on the first CPU; only one works at a time:

    python benchmarks/builds.py LOCAL/bin/python WHEEL/bin/python ...
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

TURNS = 300
# Prints its path; then, for each line that it reads, seconds of a row and of a step, from turns of
# about 2 ms.
PROGRAM = """
import os, sys, timeit
import numpy as np
import fastmlp
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
timers = []
for sizes, batch, steps in ((8, 32, 32, 1), 32, 256), ((784, 256, 128, 10), 128, 2):
    net = fastmlp.MLP(sizes, rng=0)
    x = np.random.default_rng(0).standard_normal((steps * batch, sizes[0]), dtype=np.float32)
    names = {"p": net.predictor(1), "row": x[:1], "net": net, "x": x, "y": x[:, : sizes[-1]]}
    names["how"] = {"epochs": 1, "batch_size": batch, "n_threads": 1, "optimizer": "adam"}
    for statement, parts in ("p(row)", 1), ("net.fit(x, y, **how)", steps):
        timer = timeit.Timer(statement, globals=names)
        calls = max(1, round(0.002 / min(timer.repeat(99, 1))))
        timers.append((timer, calls, calls * parts))
print(fastmlp.__file__, flush=True)
for line in sys.stdin:
    print(*(timer.timeit(calls) / parts for timer, calls, parts in timers), flush=True)
"""
COLUMNS = [f"{net} {call}" for net in ("8-32-32-1", "784-256-128-10") for call in ("row", "step")]


def main(pythons: Sequence[str]) -> None:
    """Print microseconds, and their ratio to those of the first build."""
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen([each, "-P", "-c", PROGRAM], stdin=pipe, stdout=pipe, text=True, cwd="/")
        for each in pythons
    ]
    names = [worker.stdout.readline().strip() for worker in workers if worker.stdout]
    best = [[float("inf")] * len(COLUMNS) for _ in workers]
    for turn in range(TURNS):
        for k in range(len(workers)):
            at = (turn + k) % len(workers)  # nobody always follows the same one
            stdin, stdout = workers[at].stdin, workers[at].stdout
            print(file=stdin, flush=True)
            seconds = map(float, stdout.readline().split() if stdout else ())
            best[at] = list(map(min, best[at], seconds))
    for name, times in zip(names, best, strict=True):
        print(name)
        for column, mine, first in zip(COLUMNS, times, best[0], strict=True):
            print(f"  {column:<20} {mine * 1e6:10.3f} us  {mine / first:.3f}")
    for worker in workers:
        worker.communicate()


if __name__ == "__main__":
    main(sys.argv[1:])
