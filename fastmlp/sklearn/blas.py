"""SciPy's BLAS on one thread while lbfgs runs.

Its vectors are short, and its threads spin beside ours for as long as the fit lasts. The limit
holds for the whole process; of fits that overlap, the first sets it and the last takes it back.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

from threadpoolctl import ThreadpoolController


class OneThread:
    """A context: every BLAS of the process has one thread within, and as many as before after."""

    def __init__(self) -> None:
        self._users = 0
        self._limit: Any = None
        self.unlock()

    def unlock(self) -> None:
        """Have a new lock: that of a forked child may be taken, by a thread that is not there."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._limit = _libraries().limit(limits=1, user_api="blas")
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limit.restore_original_limits()


@functools.cache  # looking for them takes milliseconds
def _libraries() -> Any:
    return ThreadpoolController()


one_thread = OneThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=one_thread.unlock)
