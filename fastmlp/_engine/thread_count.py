"""The number of threads of a call: limited by the machine and by the amount of work."""

from __future__ import annotations

import functools
import math
import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from fastmlp._core.intervals import check_count
from fastmlp._engine.thread_pool import MAX_THREADS, Team, borrowed_team

if TYPE_CHECKING:
    from pathlib import Path

CALL_ROWS = 64  # rows of a block, the unit of work of a prediction; jobs.pxd has the same number
# Assumed operations per second of one thread, a cautious figure for an AVX2 core.
FLOPS = 50e9
# Work that takes one thread less than this is not divided: waiting would cost more than it gains.
STEP_SECONDS = 40e-6
CALL_SECONDS = 1e-4
STEP_ROWS = 32  # smaller batches are not divided


def default_threads() -> int:
    """Return the number of threads that a call may use by default.

    This is the smaller of the CPUs that the process may run on and the CPU quota of its control
    group. ``OMP_NUM_THREADS`` lowers it; ``FASTMLP_NUM_THREADS`` replaces it. Calls that run at
    once share it.

    Raises
    ------
    ValueError
        If ``FASTMLP_NUM_THREADS`` is no integer of at least 1.
    """
    setting = os.environ.get("FASTMLP_NUM_THREADS", "").strip()
    if setting:
        if not setting.isdecimal() or int(setting) < 1:
            raise ValueError(
                f"FASTMLP_NUM_THREADS is {setting!r} but an integer of at least 1 is expected: "
                "unset it to use all CPUs"
            )
        return min(int(setting), MAX_THREADS)
    limits = [_cpus(), _quota(), MAX_THREADS]
    # OpenMP allows a list with a number for each nesting level, of which the first applies. An
    # invalid value is ignored, as OpenMP ignores it.
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isdecimal():
        limits.append(max(1, int(openmp)))
    return min(limits)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache  # quotas hardly ever change, and reading them takes half a millisecond
def _quota(root: str | os.PathLike[str] = "/") -> int:
    """Return the whole CPUs that the control group grants; MAX_THREADS if it sets no limit."""
    from pathlib import Path  # slow to import, and only larger networks need threads

    from fastmlp._core import control_groups

    limits = [_limit(folder) for folder, _ in control_groups.folders("cpu", Path(root))]
    return max(1, math.floor(min([MAX_THREADS, *limits])))


def _limit(folder: Path) -> float:
    """Return the CPUs that the folder of one control group grants; infinity without a limit."""
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
    """Return the threads of a fit: `n_threads` if given, else the default where that can pay.

    A step takes 6 operations for each weight (fan-in times fan-out, all layers) and row.
    """
    if n_threads is not None:
        return min(n_threads, MAX_THREADS)
    if batch_size < STEP_ROWS or 6 * n_weights * batch_size < FLOPS * STEP_SECONDS:
        return 1
    return default_threads()


def for_call(n_weights: int, n_rows: int, n_threads: int | None = None) -> int:
    """Return the threads of a prediction or evaluation: at most `n_threads`, or the default.

    It takes 2 operations for each weight and row.
    """
    blocks = n_rows // CALL_ROWS
    if blocks < 2 or 2 * n_weights * n_rows < FLOPS * CALL_SECONDS:
        return 1
    return min(default_threads() if n_threads is None else n_threads, blocks, MAX_THREADS)


def fit_team(
    n_threads: int | None, n_weights: int, batch_size: int
) -> AbstractContextManager[Team | None]:
    """Lend a team of threads to a ``with`` block that trains; `for_fit` has their number."""
    if n_threads is not None:
        n_threads = check_count("n_threads", n_threads, example=2)
    n = for_fit(n_threads, n_weights, batch_size)
    return borrowed_team(n, n if n_threads is None else None)


def call_team(
    n_weights: int, n_rows: int, n_threads: int | None = None
) -> AbstractContextManager[Team | None]:
    """Lend a team of threads to a ``with`` block that predicts; `for_call` has their number."""
    n = for_call(n_weights, n_rows, n_threads)
    return borrowed_team(n, default_threads() if n > 1 and n_threads is None else None)


def of_jobs(n_jobs: int | None) -> int | None:
    """Return the threads that joblib's number means: -1 is all, -2 all but one; None is None.

    Raises
    ------
    ValueError
        If it is 0 or a truth value.
    """
    if isinstance(n_jobs, bool) or n_jobs == 0:
        raise ValueError(
            f"n_jobs is {n_jobs} but a number of threads is expected: pass 1 for one, -1 for all, "
            "None for as many as pay"
        )
    if n_jobs is None or n_jobs > 0:
        return n_jobs
    return max(1, default_threads() + 1 + n_jobs)
