"""How a time is taken here: check the result, warm up, interleave, report median and spread.

On a shared machine the speed drifts by more than most differences worth knowing. So what is to be
compared takes turns within the same minutes, and the machine's multiply-add peak is measured in
the same run. Every figure is written with the processor, compiler and versions that made it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LARGEST = sys.float_info.max
LIBRARIES = ("numpy", "scikit-learn", "torch", "jax", "onnxruntime")


@dataclass(frozen=True)
class Timing:
    """Seconds of one call over several turns."""

    median: float
    spread: float  # half the distance between the quartiles, as a fraction of the median
    best: float
    turns: int

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """Summarise the seconds a call took in each turn."""
        median = statistics.median(seconds)
        quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [median] * 3
        spread = (quartiles[2] - quartiles[0]) / 2 / median
        return cls(median, spread, min(seconds), len(seconds))


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    check: Callable[[], None],
    rounds: int = 9,
    turn: float = 0.05,
) -> dict[str, Timing]:
    """Time the candidates in alternation.

    Parameters
    ----------
    candidates : mapping of str to callable
        What is compared, by name.
    check : callable
        Runs first and raises if any candidate's result is wrong: no time without a right result.
    rounds : int
        Turns of each candidate; the order rotates from round to round.
    turn : float
        Seconds that one turn lasts at least, by repetition.
    """
    check()
    repeats = {name: calibrate(call, turn) for name, call in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for index in range(rounds):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            seconds[name].append(once(candidates[name], repeats[name]))
    return {name: Timing.of(values) for name, values in seconds.items()}


def command_line(
    description: str, *, rounds: int, turn: float, prog: str | None = None
) -> argparse.ArgumentParser:
    """Return the command line that every script has; those of one script are added to it."""
    parser = argparse.ArgumentParser(prog, description=description.split("\n\n")[0])
    many = parser.add_argument
    many("--rounds", type=positive(int), default=rounds, help=f"turns of each (default {rounds})")
    many("--turn", type=positive(float), default=turn, help=f"its seconds, about (default {turn})")
    many("--json", metavar="FILE", help="write the results there, with what they depend on")
    return parser


def positive(kind: type[int] | type[float], most: float = LARGEST) -> Callable[[str], float]:
    """Return what reads a number of the command line: above 0, and no more than ``most``."""

    def read(text: str) -> float:
        number = kind(text)
        if not 0 < number <= most:
            limits = "above 0" if most == LARGEST else f"from 1 to {most}"
            raise argparse.ArgumentTypeError(f"{text} is not a finite number {limits}")
        return number

    read.__name__ = kind.__name__  # for argparse, which names it when text is no number
    return read


def calibrate(call: Callable[[], object], turn: float) -> int:
    """Warm up, and return how many calls fill a turn."""
    repeats = 1
    while (spent := once(call, repeats) * repeats) < turn / 2:
        repeats *= 2 if spent <= 0 else max(2, min(8, int(turn / spent)))
    return max(1, round(repeats * turn / spent))


def once(call: Callable[[], object], repeats: int) -> float:
    """Return the seconds of one call, averaged over ``repeats`` calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def peak(dtype: str = "float32", threads: int = 1) -> float:
    """Return the multiply-add peak, FLOP/s, of so many threads at the same time, measured now.

    Two CPUs may be halves of one core, on a virtual machine for minutes and without a sign of it:
    twice the peak of one would be a promise that nothing can keep.
    """
    from fastmlp.engine import backend

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(backend.peak, [dtype] * threads)) * 1e9


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def environment() -> dict[str, Any]:
    """Return what a figure depends on: machine, interpreter, versions, fastmlp's configuration."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    from fastmlp import config

    return {
        "processor": processor(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "fastmlp": config.config(),
    }


def write_json(path: str | Path | None, results: Any) -> None:
    """Write results, timings included, together with the environment; without a path do nothing."""
    if path is None:
        return

    def plain(value: object) -> object:
        if isinstance(value, Timing):
            return asdict(value)
        raise TypeError(f"{value!r} has no place in a result file")

    content = {"environment": environment(), "results": results}
    Path(path).write_text(json.dumps(content, indent=1, default=plain) + "\n")
