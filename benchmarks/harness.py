"""How a time is taken here: check the result, warm up, interleave, report median and spread.

On a shared machine the speed drifts by more than most differences worth knowing. So what is to be
compared takes turns within the same minutes, and the machine's multiply-add peak is measured in
the same run.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

THREAD_VARIABLES = ("OMP", "MKL", "OPENBLAS", "FASTMLP")
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}

# What a benchmark yields under a title: of each thing its values by column. Numbers are
# printed, all is written. A row with a fault makes the run fail.
Rows = dict[str, dict[str, Any]]
FAULT = "fault"


class CannotRunError(Exception):
    """Something that the benchmark needs is not here."""


class Names(tuple[str, ...]):
    """Some names, the default of an argument, and all that may be chosen."""

    choices: list[str]

    @classmethod
    def of(cls, choices: Iterable[str], *default: str) -> Names:
        """Return the default, which is all of the choices if it is not given."""
        choices = list(choices)
        names = cls(default or choices)
        names.choices = choices
        return names


def counted(number: int, noun: str) -> str:
    """Return number and noun as text: 1 row, 1,024 rows."""
    return f"{number:,} {noun}{'s' * (number > 1)}"


def judged(ratio: float, most: float) -> dict[str, Any]:
    """Return the columns of a ratio that has a limit."""
    return {"ratio": ratio, "limit": most, **({FAULT: "MISSED"} if ratio > most else {})}


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

    def row(self, column: str, count: float = 1) -> dict[str, Any]:
        """Return the columns of a time, which begins with its unit: of ``count`` things, each."""
        value = self.median / count * UNITS[column.partition("/")[0]]
        return {column: value, "spread, %": self.spread * 100, "timing": self}


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
    times = {name: functools.partial(repeat, call) for name, call in candidates.items()}
    repeats = {name: calibrate(time, turn) for name, time in times.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for order in rotations(candidates, rounds):
        for name in order:
            seconds[name].append(times[name](repeats[name]) / repeats[name])
    return {name: Timing.of(values) for name, values in seconds.items()}


def rotations(names: Iterable[str], rounds: int) -> Iterator[list[str]]:
    """Return the order of turns in each round: every name comes first in its turn."""
    order = list(names)
    for index in range(rounds):
        at = index % max(1, len(order))
        yield order[at:] + order[:at]


def calibrate(seconds: Callable[[int], float], turn: float) -> int:
    """Warm up, and return how many calls fill a turn; ``seconds`` runs so many and times them."""
    repeats = 1
    while (spent := seconds(repeats)) < turn / 2:
        repeats *= 2 if spent <= 0 else max(2, min(8, int(turn / spent)))
    return max(1, round(repeats * turn / spent))


def repeat(call: Callable[[], object], repeats: int) -> float:
    """Return the seconds of so many calls."""
    start = time.perf_counter()
    for _ in itertools.repeat(None, repeats):
        call()
    return time.perf_counter() - start


def peak(dtype: str = "float32", threads: int = 1) -> float:
    """Return the multiply-add peak, FLOP/s, of so many threads at the same time, measured now.

    Two CPUs may be halves of one core, on a virtual machine for minutes and without a sign of it:
    twice the peak of one would be a promise that nothing can keep.
    """
    from fastmlp._engine import native_engine

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(native_engine.peak, [dtype] * threads)) * 1e9


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """Limit threads and CPUs, inside, of this process and of those that are started."""
    if threads > available_cpus():
        raise CannotRunError(f"{threads} threads, but {counted(available_cpus(), 'CPU')}")
    before = dict(os.environ)
    pinned = hasattr(os, "sched_setaffinity")
    cpus = os.sched_getaffinity(0) if pinned else set()
    os.environ.update({f"{name}_NUM_THREADS": str(threads) for name in THREAD_VARIABLES})
    os.environ.update(JAX_PLATFORMS="cpu", NPROC=str(threads))  # NPROC: XLA's pool
    if pinned:
        os.sched_setaffinity(0, sorted(cpus)[-threads:])
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if pinned:
            os.sched_setaffinity(0, cpus)
