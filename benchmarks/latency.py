"""How long single predictions take: p50, p99, p99.9 and the maximum of a million calls.

What the median hides decides whether a control loop keeps its deadline. Every call is timed on its
own, so each figure includes one reading of the clock; the row `clock` shows what that takes. The
ways take turns of some thousand calls in one process on one CPU, the garbage collector on.
"""

from __future__ import annotations

import dataclasses
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import harness
import numpy as np
from harness import Names, Rows
from predictors import PREDICTED, bound, bound_out, checked, expected
from workloads import Array, Case

WAYS = {"p(x)": bound, "p(x, out)": bound_out, "net.predict(x)": checked}
CLOCK = "clock"
TURN = 10_000  # calls
QUANTILES = {"p50, us": 0.5, "p99, us": 0.99, "p99.9, us": 0.999, "max, us": 1.0}
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


def time_calls(case: Case, calls: int) -> dict[str, Array]:
    """Return the nanoseconds of each call, sorted, by way."""
    x = case.data()[0]
    right = expected(case, x)
    runs = {CLOCK: runner("pass", {})}
    for way, make in WAYS.items():
        timed = make(case, 1)
        np.testing.assert_allclose(timed.predictions(), right, rtol=1e-3, atol=1e-4)
        runs[way] = runner(timed.statement, timed.names)
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


def draw(path: str, results: dict[str, dict[str, Array]]) -> None:
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


ALL = Names.of(PREDICTED)


def measure(
    cases: Names = ALL, calls: int = 1_000_000, plot: str | None = None
) -> Iterator[tuple[str, Rows]]:
    """Measure on one CPU, and draw."""
    results = {}
    with harness.limited(1):
        for name in cases:
            case = dataclasses.replace(PREDICTED[name], n_rows=1)
            results[name] = time_calls(case, calls)
            title = f"{case.title}, 1 row, {harness.counted(calls, 'call')}"
            yield title, {way: quantiles(spent) for way, spent in results[name].items()}
    if plot:
        draw(plot, results)
