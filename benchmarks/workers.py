"""A process for each library: limited before it imports anything, and only one at work at a time.

A worker holds a session, an object whose methods the parent calls. Sessions have at least
``turn()``, the seconds of one unit of work, and ``peak()``.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

THREAD_VARIABLES = ("OMP", "MKL", "OPENBLAS", "FASTMLP")
PAUSE = 0.1  # seconds between turns: idle threads of the last library spin (OpenBLAS: 26 ms)
UNDISTURBED = 0.9  # of the best round's peak: a round below it does not count, for anybody


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """Limit the threads and the CPUs of a process that is started inside."""
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


def serve(pipe: Connection, name: str, session: Callable[..., Any], threads: int) -> None:
    """Obey the parent: a command is the name of a method of the session and its arguments."""
    held = session(name, threads)
    while (command := pipe.recv()) is not None:
        try:
            pipe.send((True, getattr(held, command[0])(*command[1:])))
        except Exception as error:
            pipe.send((False, f"{name}: {type(error).__name__}: {error}"))


class Worker:
    """The parent's end of a worker process.

    Parameters
    ----------
    name : str
        Of the library, for the session and for messages.
    session : callable
        Called in the process with name and threads.
    threads : int
        As many threads and CPUs the process has.
    """

    def __init__(self, name: str, session: Callable[..., Any], threads: int) -> None:
        self.pipe, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        arguments = (other, name, session, threads)
        with limited(threads):
            self.process = context.Process(target=serve, args=arguments, daemon=True)
            self.process.start()
        other.close()

    def ask(self, *command: Any) -> Any:
        """Have a method of the session called; return its result."""
        self.pipe.send(command)
        good, result = self.pipe.recv()
        if not good:
            raise RuntimeError(result)
        return result

    def close(self) -> None:
        """End the process."""
        self.pipe.send(None)
        self.process.join()


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
    peaks = [workers[ours].ask("peak")] if ours in workers else []
    names = list(workers)
    for index in range(rounds):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            time.sleep(PAUSE)
            seconds[name].append(workers[name].ask("turn"))
        if ours in workers:
            peaks.append(workers[ours].ask("peak"))
    peaks = [min(pair) for pair in itertools.pairwise(peaks)]
    if not peaks:
        return seconds, peaks
    counts = [peak >= UNDISTURBED * max(peaks) for peak in peaks]
    return (
        {name: list(itertools.compress(values, counts)) for name, values in seconds.items()},
        list(itertools.compress(peaks, counts)),
    )
