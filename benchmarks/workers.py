"""A process for each library: limited before it imports anything, one at work at a time."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import harness

PAUSE = 0.1  # seconds between turns: idle threads of the last library spin (OpenBLAS: 26 ms)
UNDISTURBED = 0.9  # rounds with a lower share of the best peak do not count


class Work:
    """What a worker process holds: a function that works so many times and returns the seconds."""

    seconds: Callable[[int], float]
    repeats: int


def load(make: Callable[..., tuple[Any, Callable[[int], float]]], *arguments: Any) -> Any:
    """Have the work made; return its result, to be checked."""
    result, Work.seconds = make(*arguments)
    return result


def calibrate(turn: float) -> None:
    """Warm up, and choose how much work a turn is."""
    Work.repeats = harness.calibrate(Work.seconds, turn)


def work() -> float:
    """Work for one turn; return the seconds of one repetition."""
    return Work.seconds(Work.repeats) / Work.repeats


class Worker:
    """A process that has as many CPUs as threads."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with harness.limited(threads):
            self.ask(int)  # starts it

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Have the function called there; return its result."""
        return self.pool.submit(function, *arguments).result()

    def peak(self) -> float:
        """Return the multiply-add peak of the threads, in FLOP/s."""
        return float(self.ask(harness.peak, "float32", self.threads))


def take_turns(
    workers: Mapping[str, Worker], rounds: int, ours: str
) -> tuple[dict[str, list[float]], list[float]]:
    """Let the workers take turns, their order rotating.

    Returns
    -------
    seconds : dict of list of float
        What each worker's turns returned, in the rounds that count.
    peaks : list of float
        Multiply-add peak of the threads in each of these rounds, FLOP/s: the lower of before and
        after. Empty if ``ours`` is not there; then every round counts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    peaks = [workers[ours].peak()] if ours in workers else []
    for order in harness.rotations(workers, rounds):
        for name in order:
            time.sleep(PAUSE)
            seconds[name].append(workers[name].ask(work))
        if ours in workers:
            peaks.append(workers[ours].peak())
    peaks = [min(pair) for pair in itertools.pairwise(peaks)]
    if not peaks:
        return seconds, peaks
    counts = [peak >= UNDISTURBED * max(peaks) for peak in peaks]
    return (
        {name: list(itertools.compress(values, counts)) for name, values in seconds.items()},
        list(itertools.compress(peaks, counts)),
    )
