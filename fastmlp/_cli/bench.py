"""The command bench: the speed of this library and of others on this machine.

Each library has one thread, in a process of its own; they take turns, so that a machine of varying
speed treats all alike. Results are checked before anything is timed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import sys
import time
import timeit
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

import numpy as np

from fastmlp._cli import arguments
from fastmlp._cli.arguments import JSON, UsageError, argument, check_writable, command, show
from fastmlp._cli.info import facts
from fastmlp._cli.rivals import LIBRARIES, Task, outputs, table
from fastmlp._core.atomic_files import write
from fastmlp._network.activations import Array

TURNS = 10  # each library runs each task as often, if the time allows
TOLERANCE = 1e-3  # the unit is the largest prediction
THREADS = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "FASTMLP_NUM", "VECLIB_MAXIMUM", "NUMEXPR_NUM")
OURS = "fastmlp"
CLEAR = "\r\x1b[K"  # moves to the start of the terminal's line and erases it
SIZES = ((8, 32, 32, 1), (64, 128, 128, 10), (784, 256, 128, 10))
TABLE = Task("fit of a table, 295 rows x 10", (), "", "", 0, 0)
# Why another library may need less time, by the kind of work.
CLOSE = "a close race, or a busy machine: repeat it with more --seconds"
REASONS = {"predict": CLOSE, "table": "trees learn few rows sooner: see the errors"}
NO_TIME = "no time was left for it: pass more --seconds"


def _tasks() -> Iterator[tuple[str, Task]]:
    """Yield the kind of work and the task of each line of the table."""
    for rows in (1, 1024):
        for sizes in SIZES:
            title = f"prediction of {rows:,} row{'s' * (rows > 1)}, {'-'.join(map(str, sizes))}"
            yield "predict", Task(title, sizes, "relu", "squared_error", 1, rows)
    yield "table", TABLE


@command(
    argument("--seconds", type=arguments.SECONDS, default=100, help="time for all"),
    argument("--only", metavar="LIBRARY", action="append", help="compare with it; repeatable"),
    argument("-o", "--output", metavar="FILE", help="write all as JSON, to send to others"),
    JSON,
    examples=("fastmlp bench --seconds 10", "fastmlp bench --only CatBoost -o bench.json"),
)
def bench(options: argparse.Namespace) -> None:
    """Compare the speed of this library and of others on this machine."""
    check_writable(options.output)
    if unknown := {*(options.only or ())} - {*LIBRARIES}:
        raise UsageError(f"--only {unknown.pop()}: known are {', '.join(LIBRARIES)}")
    here = [name for name, (modules, _) in LIBRARIES.items() if all(map(find_spec, modules))]
    chosen = [name for name in here if name in {OURS, *(options.only or here)}]
    machine = {**facts(), "cores": os.cpu_count()}
    lacking = [name for name in LIBRARIES if name not in here]
    rows: list[dict[str, Any]] = []
    result = {"machine": machine, "libraries": chosen, "not_installed": lacking, "results": rows}
    try:
        compare(chosen, options.seconds, rows)
    finally:  # Ctrl-C ends the measurements, but prints them
        show(options, result, as_table(result))
        if options.output:
            write(options.output, [json.dumps(result, indent=2).encode()])


def compare(names: list[str], seconds: float, rows: list[dict[str, Any]]) -> None:
    """Add a row for each task: the seconds of each library, or the reason why it has none."""
    end = time.monotonic() + seconds
    os.environ |= {f"{name}_THREADS": "1" for name in THREADS}
    works: list[tuple[str, str, Task, dict[str, Any], list[float]]] = []
    for kind, task in _tasks():
        rows.append({"task": task.name, "kind": kind, "seconds": {}, "errors": {}, "faults": {}})
        able = [name for name in names if kind in LIBRARIES[name][1]]
        works += [(name, kind, task, rows[-1], []) for name in able]
    length, is_shown = seconds / TURNS / len(works), sys.stderr.isatty()
    say, context = partial(print, end="", file=sys.stderr, flush=True), get_context("spawn")
    pools = {name: ProcessPoolExecutor(1, context, _start_worker) for name in names}
    try:
        for pool in pools.values():
            pool.submit(os.getpid)  # starts all processes at once
        for turn in itertools.count():
            for name, kind, task, row, all_times in works:
                left = end - time.monotonic()
                if left <= 0 and turn:
                    return
                if left <= 0:
                    row["faults"][name] = NO_TIME
                if name in row["faults"]:
                    continue
                say(f"{CLEAR}{left:.0f} s left  {task.name}" * is_shown)
                try:
                    if not turn:
                        row["errors"][name] = pools[name].submit(prepare, name, kind, task).result()
                    all_times.append(pools[name].submit(measure, task, length).result())
                except Exception as error:  # the library failed, or its process ended
                    row["faults"][name] = f"{type(error).__name__}: {error}"
                else:
                    row["seconds"][name] = statistics.median(all_times)
    finally:
        say(CLEAR * is_shown)
        for pool in pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


_timers: dict[Task, timeit.Timer] = {}  # each process has its own


def _start_worker() -> None:
    """Leave Ctrl-C to the process that waits for the result, and keep to one CPU."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def prepare(library: str, kind: str, task: Task) -> float:
    """Load a task, and return the root mean square error of the library's result.

    It must be near 0 for predictions, and for a model of the table below that of the mean of y;
    else raise ValueError.
    """
    timed = LIBRARIES[library][1][kind](task, 1)
    _timers[task] = timeit.Timer(timed.statement, globals=timed.names)
    if kind == "table":
        _, y, _, truth = table()
        most = _rms(np.mean(y) - truth)
    else:
        x = task.inputs().astype(float)
        truth = outputs(task.parameters(), x, lambda z: np.maximum(z, 0))
        most = TOLERANCE * _rms(truth)
    error = _rms(timed.predictions().reshape(truth.shape) - truth)
    if not error < most:
        raise ValueError(f"its error is {error:.3g}, not below {most:.3g}")
    return error


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def measure(task: Task, seconds: float) -> float:
    """Return the seconds of a call, the mean over about this many seconds."""
    calls = 1
    while (spent := _timers[task].timeit(calls)) < seconds / 2:
        calls *= 2
    return spent / calls


def as_table(result: dict[str, Any]) -> str:
    """Return the results as text: microseconds of each library, and the best other over ours."""
    names, machine = result["libraries"], result["machine"]
    lines = [f"{'us per call, one thread':<42}" + "".join(f"{name:>14}" for name in names)]
    lines[0] += "   best other / fastmlp"
    for row in result["results"]:
        seconds = row["seconds"]
        cells = [f"{seconds[n] * 1e6:14,.1f}" if n in seconds else " " * 14 for n in names]
        others = [value for name, value in seconds.items() if name != OURS]
        if others and OURS in seconds:
            ratio = min(others) / seconds[OURS]
            cells.append(f"{ratio:17.2f}" + f"   {REASONS[row['kind']]}" * (ratio < 1))
        lines.append(f"{row['task']:<42}{''.join(cells)}")
        if row["kind"] == "table":
            errors = ", ".join(f"{name} {error:.1f}" for name, error in row["errors"].items())
            lines.append(f"  root mean squared errors: {errors}")
        lines += [f"  {name} is left out: {text}" for name, text in row["faults"].items()]
    lines.append(f"\n{machine['CPU']}, {machine['cores']} cores, level {machine['CPU level']}")
    if result["not_installed"]:
        lines.append(f"not installed: {', '.join(result['not_installed'])}")
    return "\n".join(lines)
