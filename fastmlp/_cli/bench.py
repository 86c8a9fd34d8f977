"""The command bench: compare the speed of this library and of others on this machine.

Each library has one thread, in a process of its own; they take turns, so that a machine whose
speed drifts treats all alike. Results are checked before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from fastmlp._cli import report, rivals
from fastmlp._cli.charts import Axes
from fastmlp._cli.errors import UsageError, check_writable
from fastmlp._cli.info import as_text, facts
from fastmlp._cli.internals import backend, write
from fastmlp._cli.progress import Progress
from fastmlp._cli.train import seconds

ROUNDS = 5  # turns of each library at each task
ONE_THREAD = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTMLP_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)
OURS = "fastmlp"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    option = parser.add_argument
    option("--seconds", type=seconds, default=100, help="that are timed in all (default 100)")
    option("--only", metavar="LIBRARY", action="append", help="compare with this one; repeatable")
    option("-o", "--output", metavar="FILE", help="write all as JSON, to send to others")
    option("--report", metavar="FILE", help="write a page with charts: bench.html")
    option("--json", action="store_true", help="print JSON, for programs")


def run(options: argparse.Namespace) -> None:
    """Time, print, and write."""
    check_writable(options.output, options.report)
    unknown = set(options.only or ()) - set(rivals.LIBRARIES)
    if unknown:
        raise UsageError(f"--only {unknown.pop()}: known are {', '.join(rivals.LIBRARIES)}")
    wanted = {OURS, *(options.only or rivals.LIBRARIES)}
    missing = {
        name: [module for module in modules if find_spec(module) is None]
        for name, (modules, _) in rivals.LIBRARIES.items()
    }
    names = [name for name in rivals.LIBRARIES if name in wanted and not missing[name]]
    result: dict[str, Any] = {
        "machine": {**facts(), "CPU": cpu(), "cores": os.cpu_count()},
        "peak_gflops": round(backend().peak(), 1),
        "libraries": names,
        "not_installed": [name for name, lacking in missing.items() if lacking],
        "results": [],
    }
    try:
        for row in rows(names, options.seconds):
            result["results"].append(row)
    finally:  # also what there is after Ctrl-C
        text = json.dumps(result, indent=2)
        print(text if options.json else table(result))
        if options.output:
            write(options.output, [text.encode()])
        if options.report:
            report.write_page(options.report, "fastmlp and others", sections(result))


def cpu() -> str:
    """Return the name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def rows(names: list[str], budget: float) -> Any:
    """Yield of each task the seconds of each library, or why it has none."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    able = {
        task: [name for name in names if task.kind in rivals.LIBRARIES[name][1]]
        for task in rivals.TASKS
    }
    turn = budget / ROUNDS / sum(map(len, able.values()))
    context = get_context("spawn")
    pools = {name: ProcessPoolExecutor(1, context, _start_worker) for name in names}
    progress = Progress(len(rivals.TASKS) * ROUNDS)
    try:
        for task, libraries in able.items():
            faults: dict[str, str] = {}
            times: dict[str, list[float]] = {}
            errors: dict[str, float] = {}
            for name in libraries:
                try:
                    found = pools[name].submit(rivals.prepare, name, task).result()
                    faults[name] = rivals.fault(task, found)
                    if task.kind == "table":
                        errors[name] = rivals.error(found)
                except Exception as error:  # of a library, or the end of its process
                    faults[name] = f"{type(error).__name__}: {error}"
                if not faults[name]:
                    times[name] = []
            for _ in range(ROUNDS):
                for name, all_times in times.items():
                    all_times.append(pools[name].submit(rivals.measure, turn).result())
                progress.step(task.title)
            yield {
                "task": task.title,
                "seconds": {name: statistics.median(each) for name, each in times.items()},
                "rmse": errors,
                "faults": {name: text for name, text in faults.items() if text},
            }
    finally:
        progress.close()
        for pool in pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the process that waits for the result, and keep to one CPU."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def table(result: dict[str, Any]) -> str:
    """Return the results as text: microseconds of each library, and the best other over ours."""
    names = result["libraries"]
    lines = [f"{'us per call, one thread':<42}" + "".join(f"{name:>14}" for name in names)]
    lines[0] += "   best other / fastmlp"
    for row in result["results"]:
        cells = [
            f"{row['seconds'][n] * 1e6:14,.1f}" if n in row["seconds"] else f"{'':14}"
            for n in names
        ]
        best = ratio(row)
        lines.append(f"{row['task']:<42}{''.join(cells)}" + (f"{best:17.2f}" if best else ""))
        if row["rmse"]:
            cells = [f"{row['rmse'][n]:14.1f}" if n in row["rmse"] else f"{'':14}" for n in names]
            lines.append(f"{'  its root mean squared error':<42}{''.join(cells)}")
        lines += [f"  {name} is left out: {text}" for name, text in row["faults"].items()]
    machine = result["machine"]
    lines.append(
        f"\n{machine['CPU']}, {machine['cores']} cores, level {machine['CPU level']}, "
        f"{result['peak_gflops']:.0f} GFLOP/s a core"
    )
    if result["not_installed"]:
        lines.append(f"not installed: {', '.join(result['not_installed'])}")
    return "\n".join(lines)


def ratio(row: dict[str, Any]) -> float | None:
    """Return how many times as long as ours the best other library takes."""
    others = [value for name, value in row["seconds"].items() if name != OURS]
    return min(others) / row["seconds"][OURS] if others and OURS in row["seconds"] else None


def sections(result: dict[str, Any]) -> Any:
    """Yield the parts of the page: a chart of each task, and the machine."""
    for row in result["results"]:
        ax = Axes()
        names = sorted(row["seconds"], key=row["seconds"].__getitem__, reverse=True)
        ax.barh(names, [row["seconds"][name] * 1e6 for name in names])
        ax.set(xlabel="microseconds, one thread: less is better")
        yield row["task"], ax.svg(row["task"])
    machine = {**result["machine"], "GFLOP/s a core": result["peak_gflops"]}
    yield "The machine", report.table((name, as_text(value)) for name, value in machine.items())
