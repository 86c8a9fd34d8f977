"""The commands info and bench: this machine, and the speed of libraries on it.

In bench, each library has one thread, in a process of its own; they take turns, so that a machine
of varying speed treats all alike. Results are checked before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
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

from fastmlp._cli import arguments
from fastmlp._cli.arguments import JSON, UsageError, argument, check_writable, command, show
from fastmlp._cli.rivals import LIBRARIES, Task, outputs, table
from fastmlp._core import page
from fastmlp._core.atomic_files import write
from fastmlp._models import config
from fastmlp._network.activations import Array

# Packages that commands use if they are installed.
OPTIONAL = ("scikit-learn", "polars", "pandas", "pyarrow", "onnx", "matplotlib", "tqdm")
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


def facts() -> dict[str, Any]:
    """Return the facts that info prints; no optional package is imported."""
    versions = {**config.config(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in OPTIONAL:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


@command(JSON, examples=("fastmlp info", "fastmlp info --json"))
def info(options: argparse.Namespace) -> None:
    """Print versions, the CPU level and threads, as a bug report needs them."""
    versions = facts()
    lines = (f"{name:<17} {text}" for name, text in config.texts(versions).items())
    show(options, versions, "\n".join(lines))


@command(
    argument("--seconds", type=arguments.SECONDS, default=100, help="time for all"),
    argument("--only", metavar="LIBRARY", action="append", help="compare with it; repeatable"),
    argument("-o", "--output", metavar="FILE", help="write all as JSON, to send to others"),
    argument("--report", metavar="FILE", help="write a page with charts: bench.html"),
    JSON,
    examples=(
        "fastmlp bench --seconds 10",
        "fastmlp bench --only scikit-learn --report bench.html",
    ),
)
def bench(options: argparse.Namespace) -> None:
    """Compare the speed of this library and of others on this machine."""
    from fastmlp._engine import native_engine  # `info` works without compiled modules

    check_writable(options.output, options.report)
    unknown = {*(options.only or ())} - {*LIBRARIES}
    if unknown:
        raise UsageError(f"--only {unknown.pop()}: known are {', '.join(LIBRARIES)}")
    here = [name for name, (modules, _) in LIBRARIES.items() if all(map(find_spec, modules))]
    chosen = {OURS, *(options.only or here)}
    result: dict[str, Any] = {
        "machine": {**facts(), "CPU": cpu(), "cores": os.cpu_count()},
        "peak_gflops": round(native_engine.peak(), 1),
        "libraries": [name for name in here if name in chosen],
        "not_installed": [name for name in LIBRARIES if name not in here],
        "results": [],
    }
    try:
        for row in rows(result["libraries"], options.seconds):
            result["results"].append(row)
    finally:  # after Ctrl-C, print the rows so far
        show(options, result, as_table(result))
        if options.output:
            write(options.output, [json.dumps(result, indent=2).encode()])
        if options.report:
            page.write(options.report, "fastmlp and others", "", sections(result))


def rows(names: list[str], budget: float) -> Iterator[dict[str, Any]]:
    """Yield for each task the seconds of each library, or the reason why it has none."""
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    works = [(kind, task, [n for n in names if kind in LIBRARIES[n][1]]) for kind, task in _tasks()]
    length, total = budget / ROUNDS / sum(len(able) for *_, able in works), len(works) * ROUNDS
    began, done, shown = time.monotonic(), 0, sys.stderr.isatty()
    context = get_context("spawn")
    pools = {name: ProcessPoolExecutor(1, context, _start_worker) for name in names}
    try:
        for kind, task, able in works:
            errors, faults = {}, {}
            for name in able:
                try:
                    errors[name] = pools[name].submit(prepare, name, kind, task).result()
                except Exception as error:  # the library failed, or its process ended
                    faults[name] = f"{type(error).__name__}: {error}"
            times: dict[str, list[float]] = {name: [] for name in errors}
            for _ in range(ROUNDS):
                for name, all_times in times.items():
                    all_times.append(pools[name].submit(measure, length).result())
                done += 1
                if shown:
                    left = (time.monotonic() - began) * (total / done - 1)
                    line = f"{CLEAR}{done}/{total}  {left:.0f} s left  {task.name}"
                    print(line, end="", file=sys.stderr, flush=True)
            seconds = {name: statistics.median(rounds) for name, rounds in times.items()}
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


def prepare(library: str, kind: str, task: Task) -> float:
    """Load a task, and return the root mean square error of the library's result.

    It must be below that of the initial weights, for a model of the table below that of the mean
    of y, and for predictions near 0; else raise ValueError.
    """
    global _timer
    timed = LIBRARIES[library][1][kind](task, 1)
    _timer = timeit.Timer(timed.statement, globals=timed.names)
    if kind == "table":
        _, y, _, truth = table()
        most = _rms(np.mean(y) - truth)
    else:
        x, truth = task.data()
        first = outputs(task.parameters(), x.astype(float), lambda z: np.maximum(z, 0))
        most = _rms(first - truth)
    if kind == "predict":
        truth, most = first, TOLERANCE * _rms(first)
    if kind == "train":
        _timer.timeit(1)
    error = _rms(timed.predictions().reshape(truth.shape) - truth)
    if not error < most:
        raise ValueError(f"its error is {error:.3g}, not below {most:.3g}")
    return error


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


def sections(result: dict[str, Any]) -> Iterator[page.Section]:
    """Yield the parts of the page: a chart of each task, and the machine."""
    for row in result["results"]:
        times = sorted((seconds * 1e6, name) for name, seconds in row["seconds"].items())
        yield (
            row["task"],
            "",
            page.bars({n: us for us, n in times}, "microseconds, one thread: less is better"),
        )
    machine = {**result["machine"], "GFLOP/s a core": result["peak_gflops"]}
    yield "The machine", "", page.table(config.texts(machine).items())
