"""How long single predictions take: p50, p99, p99.9 and the maximum of a million calls.

What the median hides decides whether a control loop keeps its deadline. Every call is timed on its
own, so each figure includes one reading of the clock; the row `clock` shows what that takes. The
ways take turns of some thousand calls in one process on one CPU, the garbage collector on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import harness
import numpy as np
from predictors import PREDICTED, bound, bound_out, checked, expected, inputs
from workloads import Array, Case

WAYS = {"p(x)": bound, "p(x, out)": bound_out, "net.predict(x)": checked}
CLOCK = "clock"
TURN = 10_000  # calls
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
TEMPLATE = """
def run(spent, first, last):
    for i in range(first, last):
        began = clock()
        {statement}
        spent[i] = clock() - began
"""


def runner(statement: str, names: dict[str, Any]) -> Callable[[Any, int, int], None]:
    """Return a function that times the statement again and again, into an array of nanoseconds."""
    scope = {**names, "clock": time.perf_counter_ns}
    exec(TEMPLATE.format(statement=statement), scope)
    run: Callable[[Any, int, int], None] = scope["run"]
    return run


def measure(case: Case, calls: int) -> dict[str, Array]:
    """Return the nanoseconds of each call, sorted, by way."""
    x = inputs(case, 1)
    right = expected(case, x)
    runs = {CLOCK: runner("pass", {})}
    for way, make in WAYS.items():
        statement, names = make(case, x, 1)
        np.testing.assert_allclose(eval(statement, names), right, rtol=1e-3, atol=1e-4)
        runs[way] = runner(statement, names)
    spent = {way: array("q", bytes(8 * calls)) for way in runs}
    for way, run in runs.items():  # warm up; overwritten later
        run(spent[way], 0, min(calls, TURN))
    for first in range(0, calls, TURN):
        for way, run in runs.items():
            run(spent[way], first, min(first + TURN, calls))
    return {way: np.sort(np.frombuffer(times, np.int64)) for way, times in spent.items()}


def quantiles(spent: Array) -> dict[str, float]:
    """Return the quantiles of sorted nanoseconds, in microseconds."""
    last = len(spent) - 1
    return {name: float(spent[int(np.ceil(q * last))]) / 1e3 for name, q in QUANTILES.items()}


def plot(path: str, results: dict[str, dict[str, Array]]) -> None:
    """Draw, for each case, the fraction of calls that took longer than a time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(results), 3.6), layout="constrained")
    axes = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for ax, (name, times) in zip(axes, results.items(), strict=True):
        for way, spent in times.items():
            at, count = np.unique(spent, return_counts=True)
            longer = (len(spent) - np.cumsum(count) + count) / len(spent)
            ax.step(at / 1e3, longer, where="post", label=way, lw=1.2)
        ax.set(xscale="log", yscale="log", title=name, xlabel="microseconds")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("fraction of calls that took as long")
    axes[-1].legend()
    figure.savefig(path, dpi=150)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    many = parser.add_argument
    many("--cases", nargs="+", choices=PREDICTED, default=list(PREDICTED), help="default: all")
    many(
        "--calls",
        type=harness.positive(int),
        default=1_000_000,
        help="of each way (default a million)",
    )
    many("--plot", metavar="FILE", help="draw the distributions there (needs matplotlib)")
    many("--json", metavar="FILE", help="write the quantiles there, with what they depend on")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, draw."""
    options = arguments(argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    results = {}
    for name in options.cases:
        case = PREDICTED[name]
        results[name] = measure(case, options.calls)
        sizes = "-".join(map(str, case.layer_sizes))
        print(f"\n{name}: {sizes} relu, 1 row, {options.calls:,} calls, microseconds")
        print(f"  {'':<16}" + "".join(f"{quantile:>11}" for quantile in QUANTILES))
        for way, spent in results[name].items():
            values = quantiles(spent).values()
            print(f"  {way:<16}" + "".join(f"{value:>11.3f}" for value in values), flush=True)
    if options.plot:
        plot(options.plot, results)
    table = {
        name: {way: quantiles(spent) for way, spent in times.items()}
        for name, times in results.items()
    }
    harness.write_json(options.json, {"calls": options.calls, "microseconds": table})
    return 0


if __name__ == "__main__":
    sys.exit(main())
