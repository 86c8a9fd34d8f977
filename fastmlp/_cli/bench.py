"""The command bench.

Each library has one thread, in a process of its own; they take turns, so that a machine of varying
speed treats all alike. Results are checked before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
import timeit
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp._cli import report
from fastmlp._cli.arguments import JSON, SECONDS, UsageError, argument, check_writable, command
from fastmlp._cli.info import as_text, facts
from fastmlp._cli.rivals import LIBRARIES, Array, Parameters, Task, table
from fastmlp._core.atomic_files import write
from fastmlp._core.charts import Axes

ROUNDS = 5  # turns of each library at each task
TOLERANCE = 1e-3  # of predictions, relative to the largest
ONE_THREAD = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTMLP_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)
OURS = "fastmlp"
CLEAR = "\r\x1b[K"  # moves to the start of the terminal's line and erases it
SIZES = ((8, 32, 32, 1), (64, 128, 128, 10), (784, 256, 128, 10))
TABLE = Task("fit of a table, 295 rows x 10", (), "", "", 0, 0)


def _tasks() -> Iterator[tuple[str, Task]]:
    """Yield the kind of work and the task of each line of the table."""
    for rows in (1, 1024):
        for sizes in SIZES:
            title = f"prediction of {rows:,} row{'s' * (rows > 1)}, {'-'.join(map(str, sizes))}"
            yield "predict", Task(title, sizes, "relu", "squared_error", 1, rows)
    for sizes, batch in zip(SIZES, (32, 128, 128), strict=True):
        title = f"epoch of 4,096 rows, batch {batch}, {'-'.join(map(str, sizes))}"
        yield "train", Task(title, sizes, "relu", "squared_error", batch, 4096)
    yield "table", TABLE


def cpu() -> str:
    """Return the name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


@command(
    argument("--seconds", type=SECONDS, default=100, help="time for all (default 100)"),
    argument("--only", metavar="LIBRARY", action="append", help="compare with it; repeatable"),
    argument("-o", "--output", metavar="FILE", help="write all as JSON, to send to others"),
    argument("--report", metavar="FILE", help="write a page with charts: bench.html"),
    JSON,
)
def bench(options: argparse.Namespace) -> None:
    """Compare the speed of this library and of others on this machine."""
    from fastmlp._engine import native_engine  # `info` works without compiled modules

    check_writable(options.output, options.report)
    unknown = {*(options.only or ())} - {*LIBRARIES}
    if unknown:
        raise UsageError(f"--only {unknown.pop()}: known are {', '.join(LIBRARIES)}")
    here = [name for name, (modules, _) in LIBRARIES.items() if all(map(find_spec, modules))]
    wanted = {OURS, *(options.only or here)}
    result: dict[str, Any] = {
        "machine": {**facts(), "CPU": cpu(), "cores": os.cpu_count()},
        "peak_gflops": round(native_engine.peak(), 1),
        "libraries": [name for name in here if name in wanted],
        "not_installed": [name for name in LIBRARIES if name not in here],
        "results": [],
    }
    try:
        for row in rows(result["libraries"], options.seconds):
            result["results"].append(row)
    finally:  # after Ctrl-C, print the rows so far
        text = json.dumps(result, indent=2)
        print(text if options.json else as_table(result))
        if options.output:
            write(options.output, [text.encode()])
        if options.report:
            report.write_page(options.report, "fastmlp and others", sections(result))


def rows(names: list[str], budget: float) -> Iterator[dict[str, Any]]:
    """Yield for each task the seconds of each library, or the reason why it has none."""
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    works = [(kind, task, [n for n in names if kind in LIBRARIES[n][1]]) for kind, task in _tasks()]
    turn, total = budget / ROUNDS / sum(len(able) for *_, able in works), len(works) * ROUNDS
    began, done, shown = time.monotonic(), 0, sys.stderr.isatty()
    context = get_context("spawn")
    pools = {name: ProcessPoolExecutor(1, context, _start_worker) for name in names}
    try:
        for kind, task, able in works:
            times: dict[str, list[float]] = {}
            errors, faults = {}, {}
            for name in able:
                try:
                    errors[name], most = pools[name].submit(prepare, name, kind, task).result()
                except Exception as error:  # the library failed, or its process ended
                    faults[name] = f"{type(error).__name__}: {error}"
                else:
                    if errors[name] < most:
                        times[name] = []
                    else:
                        faults[name] = f"its error is {errors[name]:.3g}, not below {most:.3g}"
            for _ in range(ROUNDS):
                for name, all_times in times.items():
                    all_times.append(pools[name].submit(measure, turn).result())
                done += 1
                if shown:
                    left = (time.monotonic() - began) * (total / done - 1)
                    line = f"{CLEAR}{done}/{total}  {left:.0f} s left  {task.name}"
                    print(line, end="", file=sys.stderr, flush=True)
            seconds = {name: statistics.median(each) for name, each in times.items()}
            yield {"task": task.name, "seconds": seconds, "errors": errors, "faults": faults}
    finally:
        print(CLEAR * shown, end="", file=sys.stderr, flush=True)
        for pool in pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


_timer = timeit.Timer("pass")  # of this process's current task


def _start_worker() -> None:
    """Leave Ctrl-C to the process that waits for the result, and keep to one CPU."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def prepare(library: str, kind: str, task: Task) -> tuple[float, float]:
    """Load a task, and return the error of a library's result and the largest allowed error.

    An epoch must reduce the error of the first weights, a model of the table must be better than
    the mean. Errors are root mean squares.
    """
    global _timer
    timed = LIBRARIES[library][1][kind](task, 1)
    _timer = timeit.Timer(timed.statement, globals=timed.names)
    if kind == "table":
        _, y, _, truth = table()
        return _rms(timed.predictions() - truth), _rms(np.mean(y) - truth)
    x, y = task.data()
    first = outputs(task.parameters(), x)
    if kind == "predict":
        return _rms(timed.predictions().reshape(first.shape) - first), TOLERANCE * _rms(first)
    _timer.timeit(1)
    return _rms(timed.predictions().reshape(y.shape) - y), _rms(first - y)


def outputs(parameters: Parameters, x: Array) -> Array:
    """Return the predictions of a network with relu, in float64."""
    *hidden, (weights, bias) = parameters
    x = x.astype(float)
    for w, b in hidden:
        x = np.maximum(x @ w + b, 0)
    return np.asarray(x @ weights + bias)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def measure(seconds: float) -> float:
    """Return the seconds of a call, the mean over about this many seconds."""
    calls = 1
    while (spent := _timer.timeit(calls)) < seconds / 2:
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
            cells.append(f"{min(others) / seconds[OURS]:17.2f}")
        lines.append(f"{row['task']:<42}{''.join(cells)}")
        if row["task"] == TABLE.name:
            errors = ", ".join(f"{name} {error:.1f}" for name, error in row["errors"].items())
            lines.append(f"  root mean squared errors: {errors}")
        lines += [f"  {name} is left out: {text}" for name, text in row["faults"].items()]
    lines.append(
        f"\n{machine['CPU']}, {machine['cores']} cores, level {machine['CPU level']}, "
        f"{result['peak_gflops']:.0f} GFLOP/s a core"
    )
    if result["not_installed"]:
        lines.append(f"not installed: {', '.join(result['not_installed'])}")
    return "\n".join(lines)


def sections(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parts of the page: a chart of each task, and the machine."""
    for row in result["results"]:
        ax = Axes()
        names = sorted(row["seconds"], key=row["seconds"].__getitem__, reverse=True)
        ax.barh(names, [row["seconds"][name] * 1e6 for name in names])
        ax.set(xlabel="microseconds, one thread: less is better")
        yield row["task"], ax.svg(row["task"])
    machine = {**result["machine"], "GFLOP/s a core": result["peak_gflops"]}
    yield "The machine", report.table((name, as_text(value)) for name, value in machine.items())
