"""At most two threads against one, on a quiet machine and beside a process that keeps one CPU busy.

Threads that wait for each other lose when one of them does not run. Targets: two threads are never
slower than one, and at most 15 percent slower while another process works. The losses must agree
to the bit.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any

import harness
from harness import CannotRunError, Names, Rows
from options import Option, less, prepare
from workloads import RELU, Case


def spin() -> None:
    """Work, until ended."""
    while True:
        pass


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """Have another process compute meanwhile."""
    process = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


# How busy the machine is: what runs meanwhile, and the ratio that is promised.
LIMITS = {"quiet": (contextlib.nullcontext, 1.0), "busy": (neighbour, 1.15)}


def limited(threads: int, fit: Callable[[], Any]) -> Callable[[], Any]:
    """Return the fit with at most so many threads: it takes one where more cannot pay."""

    def call() -> Any:
        os.environ["FASTMLP_NUM_THREADS"] = str(threads)
        return fit()

    return call


def compare(case: Case, threads: int, **turns: Any) -> Rows:
    """Return times with one thread and with more, quiet and busy, and their ratios."""
    option = Option(less, fit={"n_threads": None})

    def prepared() -> dict[str, Callable[[], Any]]:
        fits = {harness.counted(n, "thread"): (n, prepare(case, option)) for n in (1, threads)}
        return {name: limited(*fit) for name, fit in fits.items()}

    def check() -> None:
        one, more = (call().loss for call in prepared().values())
        assert one == more, f"{case.name}: {one} and {more}"

    rows: Rows = {}
    for kind, (meanwhile, limit) in LIMITS.items():
        with meanwhile():
            timings = harness.interleave(prepared(), check=check, **turns)
        rows |= {f"{kind}, {name}": t.row("us/step", case.steps) for name, t in timings.items()}
        one, more = timings.values()
        rows[list(rows)[-1]] |= harness.judged(more.median / one.median, most=limit)
    return rows


ALL = Names.of(RELU)


def measure(
    cases: Names = ALL, threads: int = 2, rounds: int = 15, turn: float = 0.2
) -> Iterator[tuple[str, Rows]]:
    if threads < 2:
        raise CannotRunError("--threads must be at least 2")
    for name in cases:
        title = f"{RELU[name].title}, {harness.counted(harness.available_cpus(), 'CPU')}"
        yield title, compare(RELU[name], threads, rounds=rounds, turn=turn)
