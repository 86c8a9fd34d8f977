"""The lock of a model: only one fit may change it at a time, and a second fit raises an error.

The lock records its holder (process and thread) in a dictionary with ``setdefault``, which is
atomic with and without the global interpreter lock. So no thread waits, and a forked child
inherits no locked lock.
"""

from __future__ import annotations

import operator
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import compress, repeat
from typing import Any


class FitLock:
    """A lock that allows one thread to change a model; copies and pickles of it are unlocked."""

    __slots__ = ("_holders",)

    def __init__(self) -> None:
        # Process -> (process, thread). The key keeps a forked child apart from its parent.
        self._holders: dict[int, tuple[int, int]] = {}

    def is_mine(self) -> bool:
        """Whether this thread holds the lock."""
        me = _me()
        return self._holders.get(me[0]) == me

    def is_free(self) -> bool:
        """Whether no thread of this process holds the lock."""
        return os.getpid() not in self._holders

    def taken(self) -> AbstractContextManager[None]:
        """Hold the lock for a ``with`` block; raise RuntimeError if any thread already holds it."""
        return _taken([self._holders])

    def kept(self) -> AbstractContextManager[None]:
        """Hold the lock, or keep it if this thread has it, as a callback does during a fit."""
        return nullcontext() if self.is_mine() else self.taken()

    def __reduce__(self) -> tuple[type[FitLock], tuple[()]]:
        return FitLock, ()


def taken(turns: Iterable[FitLock]) -> AbstractContextManager[None]:
    """Hold several locks for a ``with`` block; take none and raise RuntimeError if one is held."""
    return _taken([turn._holders for turn in turns])


@contextmanager
def _taken(holders: list[dict[int, tuple[int, int]]]) -> Iterator[None]:
    """Hold the locks with these dictionaries of holders."""
    mine = _me()
    process = mine[0]
    # Each of these runs in one C call, in which Python handles no interrupt. They are prepared
    # here.
    those = map(operator.is_, map(dict.get, holders, repeat(process)), repeat(mine))
    empty: deque[None] = deque(maxlen=0)  # consumes an iterator without needing memory
    give_back: Callable[[], Any] = partial(empty.extend, map(dict.clear, compress(holders, those)))
    answers = map(dict.setdefault, holders, repeat(process), repeat(mine))
    try:
        if not all(map(operator.is_, answers, repeat(mine))):
            raise RuntimeError(
                "a fit is running on this model, or an assignment to it: "
                "wait for its end, or use copy.deepcopy(model)"
            )
        yield
    finally:
        give_back()


def _me() -> tuple[int, int]:
    """Return the calling process and thread, as a new tuple for each call."""
    return os.getpid(), threading.get_ident()
