"""SciPy's BLAS on one thread while lbfgs runs.

Its vectors are short, and its threads would spin beside ours for as long as the fit lasts. The
limit holds for the whole process; of fits that overlap the first sets it, and takes it back.
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
    """Give every BLAS of the process one thread within, and as many as before after."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(RuntimeError):  # another fit has seen to it
            stack.enter_context(_turn.taken())
            stack.enter_context(_libraries().limit(limits=1, user_api="blas"))
        yield


@functools.cache  # looking for them takes milliseconds
def _libraries() -> Any:
    return ThreadpoolController()
