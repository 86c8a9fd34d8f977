"""A thread for one piece of work; a thread that dies for want of memory is noticed.

``threading.Thread.start`` waits until the new thread says that it runs, and so it waits for ever if
the thread dies before that. Nothing here waits for a thread without looking whether it lives.
"""

from __future__ import annotations

import _thread
import os
import weakref
from collections.abc import Callable

# Seconds between two looks whether a thread lives. Where signals do not wake a waiting thread
# (Windows), Ctrl-C waits for a look.
PATIENCE = 0.1


class Worker:
    """Call a function in a new thread; an interpreter that exits does not wait for it.

    Parameters
    ----------
    work : callable
        Called without arguments.

    Raises
    ------
    RuntimeError, MemoryError
        If the system starts no thread.

    Examples
    --------
    >>> from fastmlp._core.worker import Worker
    >>> done = []
    >>> Worker(lambda: done.append(1)).finish()
    >>> done
    [1]
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._process, self._running = os.getpid(), _thread.allocate_lock()
        self._running.acquire()
        died = "a thread ended before its work was done, for want of memory: free some, try again"
        # Made now, since a thread without memory can make nothing; the work's own end replaces it.
        self._errors: list[BaseException | None] = [MemoryError(died)]
        life = _Life()
        self._life = weakref.ref(life)
        _thread.start_new_thread(_run, (work, self._errors, self._running, life))

    def has_ended(self, seconds: float = PATIENCE) -> bool:
        """Whether the thread has ended, waiting for some seconds; for a forked child it has."""
        if self._life() is None or os.getpid() != self._process:
            return True
        if not self._running.acquire(timeout=seconds):
            return False
        self._running.release()
        return True

    @property
    def error(self) -> BaseException | None:
        """The error that has ended the work, or the thread before its work; None without one."""
        return self._errors[0]

    def finish(self) -> None:
        """Wait for the end of the thread and raise its error; a forked child does neither."""
        while not self.has_ended():
            continue
        if self.error is not None and os.getpid() == self._process:
            raise self.error


class _Life:
    """Goes with the arguments of a thread, which the interpreter frees wherever the thread ends."""


def _run(
    work: Callable[[], object],
    errors: list[BaseException | None],
    running: _thread.LockType,
    life: _Life,
) -> None:
    try:
        work()
        errors[0] = None
    except BaseException as error:
        errors[0] = error
    finally:
        running.release()
