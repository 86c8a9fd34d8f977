"""How many threads a call uses: what the machine allows, and what pays."""

from __future__ import annotations

import functools
import math
import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from fastmlp._engine.thread_pool import MAX_THREADS, Team, borrowed_team

if TYPE_CHECKING:
    from pathlib import Path

# The native side's (jobs.pxd), known here without it; a test compares.
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
def _quota(root: str | os.PathLike[str] = "/") -> int:
    """Return the whole CPUs that the control group grants, MAX_THREADS without a limit."""
    from pathlib import Path  # slow to import, and small networks need no second thread

    root = Path(root)
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


def fit_team(
    n_threads: int | None, n_weights: int, batch_size: int
) -> AbstractContextManager[Team | None]:
    """Return the team for a fit, to be borrowed with ``with``; see `for_fit`."""
    return borrowed_team(for_fit(n_threads, n_weights, batch_size))


def call_team(
    n_weights: int, n_rows: int, n_threads: int | None = None
) -> AbstractContextManager[Team | None]:
    """Return the team for a prediction, to be borrowed with ``with``; see `for_call`."""
    return borrowed_team(for_call(n_weights, n_rows, n_threads))


def of_jobs(n_jobs: int | None) -> int | None:
    """Return the threads that joblib's number means: -1 is all, -2 all but one; None is None.

    Raises
    ------
    ValueError
        If it is 0, or a truth value.
    """
    if isinstance(n_jobs, bool) or n_jobs == 0:
        raise ValueError(
            f"n_jobs is {n_jobs} but a number of threads is expected: pass 1 for one, -1 for all, "
            "None for as many as pay"
        )
    if n_jobs is None or n_jobs > 0:
        return n_jobs
    return max(1, default_threads() + 1 + n_jobs)
