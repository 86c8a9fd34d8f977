"""How many threads a call uses, and the teams of threads.

The threads are Python's own: each enters one native call, which gives the interpreter lock back,
and waits there for jobs. Fits and predictions borrow a team that sleeps in between, and a forked
child starts without any. How they wait is the native side's matter.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastmlp.engine.crew import Crew

# The native side's (jobs.pxd), known here without it; a test compares.
MAX_THREADS = 256
CALL_ROWS = 64  # of a block, which one thread takes

# One thread is assumed to do this many floating-point operations a second (a cautious figure for
# one AVX2 core); only used to guess whether a second thread can pay.
FLOPS = 50e9
# Below this much one-thread work a step, waiting for each other costs more than it gains.
STEP_SECONDS = 40e-6
# Below this many rows a batch there is too little to divide.
STEP_ROWS = 32
# Below this much one-thread work a prediction has nothing to share.
CALL_SECONDS = 1e-4


def default_threads() -> int:
    """Return the threads that a call may use when nobody said a number.

    The smaller of the CPUs this process may run on and the CPU quota of its control group.
    ``OMP_NUM_THREADS`` lowers it; ``FASTMLP_NUM_THREADS`` replaces it.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ValueError
        If ``FASTMLP_NUM_THREADS`` is no integer of at least 1.
    """
    wanted = os.environ.get("FASTMLP_NUM_THREADS", "").strip()
    if wanted:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise ValueError(
                f"FASTMLP_NUM_THREADS is {wanted!r} but an integer of at least 1 is expected: "
                "unset it to use all CPUs"
            )
        return min(int(wanted), MAX_THREADS)
    limits = [_cpus(), _quota(), MAX_THREADS]
    # OpenMP allows a list, one number a nesting level; the first one is ours. What OpenMP would
    # not understand either is not ours to complain about.
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isdecimal():
        limits.append(max(1, int(openmp)))
    return min(limits)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache  # read once: quotas hardly ever change, and reading takes half a millisecond
def _quota(root: Path = Path("/")) -> int:
    """Return the whole CPUs that the control group grants, MAX_THREADS without a limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return MAX_THREADS
    best = float(MAX_THREADS)
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        inner = base / group.lstrip("/")
        # A limit of any group above holds too.
        for folder in [inner, *inner.parents]:
            if base not in (folder, *folder.parents):
                break
            best = min(best, _limit(folder))
    return max(1, math.floor(best))


def _limit(folder: Path) -> float:
    """Return the CPUs granted by one control group folder; infinity when it sets no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        granted = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max": no limit
        return math.inf
    return granted if granted > 0 else math.inf


def for_fit(n_threads: int | None, n_weights: int, batch_size: int) -> int:
    """Return the threads for a fit: as asked for, else the default where that much can pay.

    Parameters
    ----------
    n_threads : int or None
        The user's wish, taken as it is (at most ``MAX_THREADS``).
    n_weights : int
        Sum of fan-in times fan-out over the layers; a step costs 6 operations a weight and row.
    batch_size : int
        Rows of one step.
    """
    if n_threads is not None:
        return min(n_threads, MAX_THREADS)
    if batch_size < STEP_ROWS or 6 * n_weights * batch_size < FLOPS * STEP_SECONDS:
        return 1
    return default_threads()


def for_call(n_weights: int, n_rows: int, n_threads: int | None = None) -> int:
    """Threads for one prediction or evaluation of ``n_rows`` rows (2 operations a weight and row).

    ``n_threads`` is the most that may be used; None is the default of the machine.
    """
    blocks = n_rows // CALL_ROWS
    if blocks < 2 or 2 * n_weights * n_rows < FLOPS * CALL_SECONDS:
        return 1
    return min(default_threads() if n_threads is None else n_threads, blocks, MAX_THREADS)


class Team:
    """Threads that do the engine's native jobs together, each with its own index.

    The threads start when they are first needed. If the system refuses one, or it does not come
    (a thread that starts without memory dies on its way), the team is smaller. A team serves one
    caller at a time.

    Parameters
    ----------
    n : int
        Wanted size, the calling thread included.

    Examples
    --------
    >>> from fastmlp.threads import Team
    >>> with Team(2) as team:
    ...     team.size
    2
    """

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"a team of {n} threads is not possible: at least 1 is expected")
        self._wanted = min(n, MAX_THREADS)
        self._crew: Crew | None = None
        self._helpers = 0
        self._process = os.getpid()

    @property
    def crew(self) -> Crew:
        """What the engine gives its jobs to; its threads are started here."""
        if not self._is_here():  # a forked child: the threads stayed with the parent
            self._forget()
            self._process = os.getpid()
        if self._crew is None:
            from fastmlp.engine.crew import (
                Crew,  # compiled: the reference makes teams, but no crews
            )

            crew = Crew()
            try:
                self._helpers = crew.muster(_start(crew.serve, self._wanted - 1))
                self._crew = crew
            except BaseException:  # an interrupt: whoever has come, or still comes, goes home
                crew.dismiss()
                raise
        return self._crew

    @property
    def size(self) -> int:
        """Threads of the team, the caller included; fixed from the first look on."""
        _ = self.crew
        return 1 + self._helpers

    def is_whole(self) -> bool:
        """Whether the team is, or can be, as large as it was meant to be."""
        return self._is_here() and (self._crew is None or self._helpers == self._wanted - 1)

    def close(self) -> None:
        """Let the threads end."""
        if self._crew is not None and self._is_here():
            self._crew.dismiss()
        self._forget()

    def _is_here(self) -> bool:
        return self._process == os.getpid()

    def _forget(self) -> None:
        self._crew, self._helpers, self._wanted = None, 0, 1

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _start(serve: Callable[[], None], n: int) -> int:
    """Start n threads and return how many the system has granted.

    Not ``threading.Thread``, whose start waits for a thread that may never come. An interpreter
    that exits does not wait for these.
    """
    for started in range(n):
        try:
            _thread.start_new_thread(serve, ())
        except (RuntimeError, MemoryError):  # "can't start new thread"
            return started
    return n


# Teams that sleep until somebody needs one, by size. A list's pop and append are atomic.
_idle: dict[int, list[Team]] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # their threads stay with the parent


def _let_go(n: int) -> None:
    """End idle teams, of the sizes known longest, until those and n more threads are no crowd."""
    for teams in list(_idle.values()):
        while sum(each * len(others) for each, others in list(_idle.items())) + n > MAX_THREADS:
            try:
                teams.pop().close()
            except IndexError:
                break


@contextlib.contextmanager
def borrowed_team(n: int) -> Iterator[Team | None]:
    """Lend a team for the length of one call, a fit for example; for 1 it is None."""
    if n == 1:
        yield None
        return
    idle = _idle.setdefault(n, [])
    team = None
    try:
        try:
            team = idle.pop()
        except IndexError:
            _let_go(n)
            team = Team(n)
        yield team
    finally:
        if team is not None:
            if team.is_whole():
                idle.append(team)
            else:
                team.close()
