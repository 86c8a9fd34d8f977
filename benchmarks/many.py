"""Many small fits at once, by threads and by each kind of processes, beside the ideal.

The ideal is the CPU time of the fits one after the other, divided by the number of CPUs. `s` are
the seconds of all fits when the workers have started and have fitted once, which takes `start`;
`CPU` is the CPU time of all processes meanwhile over that of the fits one after the other: on a
busy machine it says more than `ratio`, the seconds over the ideal. The weights must have the same
bits each way. Target: a ratio of 1.1.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, NamedTuple

import harness
import numpy as np
from harness import FAULT, Names, Rows, Timing

import fastmlp

SIZES, EPOCHS, LIMIT = [20, 64, 64, 1], 20, 1.1
WAYS = {"threads": "fastmlp", "fork": "fastmlp", "spawn": "fastmlp"}  # the packages they need
WAYS |= {"loky": "joblib", "Dask": "distributed", "Ray": "ray"}
ALL = Names.of(WAYS)
Map = Callable[[Callable[[int], "Fit"], Iterable[int]], Iterable["Fit"]]


class Fit(NamedTuple):
    """The weights of a fit, and the CPU time of its process before and after it."""

    digest: str
    process: int
    began: float
    ended: float


def fit(seed: int, rows: int, threads: int | None = None) -> Fit:
    began, rng = time.process_time(), np.random.default_rng(seed)
    x = rng.normal(size=(rows, SIZES[0])).astype("float32")
    net = fastmlp.MLP(SIZES, rng=seed)
    net.fit(x, x[:, 0] * x[:, 1], epochs=EPOCHS, n_threads=threads)
    digest = hashlib.sha256(b"".join(each.tobytes() for each in net.weights)).hexdigest()
    return Fit(digest, os.getpid(), began, time.process_time())


@contextlib.contextmanager
def workers(way: str, cpus: int) -> Iterator[Map]:
    """Start workers, and return a function like ``map`` that shares calls among them."""
    if way == "threads":
        with ThreadPoolExecutor(cpus) as threads:
            yield threads.map
    elif way in ("fork", "spawn"):
        with multiprocessing.get_context(way).Pool(cpus) as pool:
            yield functools.partial(pool.map, chunksize=1)
    elif way == "loky":
        from joblib import Parallel, delayed

        with Parallel(cpus) as parallel:
            yield lambda call, seeds: parallel(delayed(call)(seed) for seed in seeds)
    elif way == "Dask":
        from distributed import Client

        options = {"silence_logs": logging.ERROR, "dashboard_address": ":0"}
        with Client(n_workers=cpus, threads_per_worker=1, **options) as client:
            yield lambda call, seeds: client.gather(client.map(call, list(seeds), pure=False))
    else:
        import ray

        ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        remote = ray.remote(lambda call, seed: call(seed))
        yield lambda call, seeds: ray.get([remote.remote(call, seed) for seed in seeds])
        ray.shutdown()


def turn(way: str, cpus: int, fits: int, rows: int) -> tuple[float, float, list[Fit]]:
    """Return the seconds until all workers have started, those of the fits, and their results."""
    threads = 1 if way == "spawn" else None  # such processes do not know of each other
    call, began = functools.partial(fit, rows=rows, threads=threads), time.perf_counter()
    with workers(way, cpus) as run:
        list(run(call, range(2 * cpus)))
        ready = time.perf_counter()
        found = list(run(call, range(fits)))
        return ready - began, time.perf_counter() - ready, found


def cpu_seconds(found: list[Fit]) -> float:
    """Return the CPU time of all processes from their first fit to the end of their last."""
    each = [[one for one in found if one.process == pid] for pid in {f.process for f in found}]
    return sum(max(f.ended for f in some) - min(f.began for f in some) for some in each)


def measure(
    cases: Names = ALL, fits: int = 64, rows: int = 10_000, rounds: int = 3
) -> Iterator[tuple[str, Rows]]:
    for way in (missing := [way for way in cases if not find_spec(WAYS[way])]):
        yield f"{way} is left out: pip install {WAYS[way]}", {}
    ways = [way for way in cases if way not in missing]
    cpus = harness.available_cpus()
    alone = [fit(seed, rows, 1) for seed in (0, *range(fits))][1:]  # one to warm up
    ideal = sum(each.ended - each.began for each in alone) / cpus
    turns: dict[str, list[Any]] = {way: [] for way in ways}
    for order in harness.rotations(ways, rounds):
        for way in order:
            turns[way].append(turn(way, cpus, fits, rows))
    table: Rows = {"ideal": {"s": ideal}}
    right = [each.digest for each in alone]
    for way, taken in turns.items():
        starts, seconds, found = zip(*taken, strict=True)
        if any([each.digest for each in one] != right for one in found):
            table[way] = {FAULT: "WRONG WEIGHTS"}
            continue
        timing = Timing.of(list(seconds))
        cpu = float(np.median([cpu_seconds(one) for one in found])) / (ideal * cpus)
        table[way] = timing.row("s") | harness.judged(timing.median / ideal, LIMIT)
        table[way] |= {"CPU": cpu, "start": float(np.median(starts))}
    yield f"{fits} fits of {rows:,} rows, {EPOCHS} epochs, {harness.counted(cpus, 'CPU')}", table
