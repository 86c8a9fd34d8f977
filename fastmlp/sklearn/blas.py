"""Limit SciPy's BLAS to one thread while lbfgs runs.

Its vectors are short, and idle BLAS threads would spin beside ours during the fit. The limit holds
for the whole process; if fits overlap, the first sets and removes it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from threadpoolctl import ThreadpoolController

from fastmlp._core.fit_lock import FitLock

_turn = FitLock()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Context manager: every BLAS of the process has one thread; restores the old numbers."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(RuntimeError):  # another fit holds the limit
            stack.enter_context(_turn.taken())
            stack.enter_context(_libraries().limit(limits=1, user_api="blas"))
        yield


@functools.cache  # finding them takes milliseconds
def _libraries() -> Any:
    return ThreadpoolController()
