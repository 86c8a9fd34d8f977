"""A thread for one function call, which notices a thread that died because memory ran out.

``threading.Thread.start`` waits until the new thread reports that it runs, so it waits for ever if
the thread dies before. Here every wait also checks whether the thread is alive.
"""

from __future__ import annotations

import _thread
import os
import weakref
from collections.abc import Callable

# Seconds between two checks whether a thread is alive. Where signals do not interrupt a waiting
# thread (Windows), Ctrl-C takes effect at the next check.
PATIENCE = 0.1


class Worker:
    """Call a function in a new thread; the exiting interpreter does not wait for it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._process, self._running = os.getpid(), _thread.allocate_lock()
        self._running.acquire()
        died = "a thread ended early because memory ran out: free some memory, and try again"
        # Created now, because a thread without memory cannot create it; replaced when the work
        # ends.
        self._errors: list[BaseException | None] = [MemoryError(died)]
        life = _Life()
        self._life = weakref.ref(life)
        _thread.start_new_thread(_run, (work, self._errors, self._running, life))

    def has_ended(self, seconds: float = PATIENCE) -> bool:
        """Whether the thread has ended, waiting for up to some seconds; True in a forked child."""
        if self._life() is None or os.getpid() != self._process:
            return True
        if not self._running.acquire(timeout=seconds):
            return False
        self._running.release()
        return True

    @property
    def error(self) -> BaseException | None:
        """The error that ended the work or the thread; None after success."""
        return self._errors[0]

    def finish(self) -> None:
        """Wait for the thread to end and raise its error; a forked child does neither."""
        while not self.has_ended():
            continue
        if self.error is not None and os.getpid() == self._process:
            raise self.error


class _Life:
    """Token among a thread's arguments; the interpreter frees it however the thread ends."""


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
