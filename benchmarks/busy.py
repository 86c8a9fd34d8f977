"""At most two threads against one, on a quiet machine and beside a process that keeps one CPU busy.

Threads that wait for each other lose when one of them does not run. Targets: two threads are never
slower than one, and at most 15 percent slower while another process works. The losses must agree
to the bit.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import harness
from options import Option, less, prepare
from workers import available_cpus
from workloads import CASES, Case

LIMITS = {"quiet": 1.0, "busy": 1.15}


def spin() -> None:
    """Work, until ended."""
    while True:
        pass


@contextlib.contextmanager
def neighbour(wanted: bool) -> Iterator[None]:
    """Have another process compute meanwhile, if wanted."""
    if not wanted:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def limited(threads: int, fit: Callable[[], Any]) -> Callable[[], Any]:
    """Return the fit with at most so many threads: it takes one where more cannot pay."""

    def call() -> Any:
        os.environ["FASTMLP_NUM_THREADS"] = str(threads)
        return fit()

    return call


def measure(case: Case, threads: int, rounds: int, turn: float) -> dict[str, Any]:
    """Return timings with one thread and with more, quiet and busy, and their ratios."""
    option = Option(less, fit={"n_threads": None})

    def prepared() -> dict[str, Callable[[], Any]]:
        return {f"{n} threads": limited(n, prepare(case, option)) for n in (1, threads)}

    def check() -> None:
        one, more = (call().loss for call in prepared().values())
        assert one == more, f"{case.name}: {one} and {more}"

    calls = prepared()
    rows = {}
    for kind in LIMITS:
        with neighbour(kind == "busy"):
            timings = harness.interleave(calls, check=check, rounds=rounds, turn=turn)
        one, more = timings.values()
        rows[kind] = {"timings": timings, "ratio": more.median / one.median}
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a target is missed."""
    parser = harness.command_line(__doc__ or "", rounds=15, turn=0.2)
    many = parser.add_argument
    many("--cases", nargs="+", choices=CASES, default=list(CASES), help="default: all four")
    many("--threads", type=int, default=2, help="against one (default 2)")
    options = parser.parse_args(argv)
    if options.threads < 2:
        parser.error("--threads must be at least 2")
    print(f"{options.threads} threads on {available_cpus()} CPUs; ratio: time over that of one")
    print(f"{'':<8}{'':<7}{'1, us/step':>12}{options.threads:>4}, us/step{'ratio':>8}{'limit':>7}")
    results = {}
    missed = False
    for name in options.cases:
        case = CASES[name]
        results[name] = measure(case, options.threads, options.rounds, options.turn)
        for kind, row in results[name].items():
            one, more = (t.median / case.steps * 1e6 for t in row["timings"].values())
            good = row["ratio"] <= LIMITS[kind]
            missed |= not good
            print(
                f"{name:<8}{kind:<7}{one:>12.2f}{more:>13.2f}{row['ratio']:>8.3f}"
                f"{LIMITS[kind]:>7.2f}{'' if good else '  MISSED'}",
                flush=True,
            )
    harness.write_json(options.json, results)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
