"""The lock of a model: only one fit may change it at a time, and a second fit raises an error.

The lock records its holder (process and thread) in a dictionary with ``setdefault``, which is
atomic with and without the global interpreter lock. So no thread waits, and a forked child
inherits no locked lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from threading import get_ident
from typing import Any, TypeVar

T = TypeVar("T")


class FitLock:
    """A lock that allows one thread to change a model; it is no part of copies and pickles."""

    __slots__ = ("_holders", "_last", "trainer")

    def __init__(self) -> None:
        # Process -> (process, thread). The key keeps a forked child apart from its parent.
        self._holders: dict[int, tuple[int, int]] = {}
        self._last: tuple[int, int] | None = None  # a new object each time that the lock is taken
        self.trainer: Any = None  # the running fit's: it stores the state for resuming on demand

    def is_mine(self) -> bool:
        """Whether this thread holds the lock."""
        process = os.getpid()
        return self._holders.get(process) == (process, get_ident())

    def taken(self) -> AbstractContextManager[Any]:
        """Hold the lock for a ``with`` block; raise RuntimeError if any thread already holds it."""
        holding = self._hold()
        next(holding)
        return closing(holding)

    def _hold(self) -> Iterator[None]:
        """Hold the lock until the generator is closed, or nobody refers to it any longer."""
        # Python handles interrupts at calls, so nothing is called where the lock is given back.
        holders, process = self._holders, os.getpid()
        mine = process, get_ident()
        try:
            if holders.setdefault(process, mine) is not mine:
                raise RuntimeError(
                    "a fit is running on this model, or an assignment to it: wait for its end"
                )
            self._last, self.trainer = mine, None
            if len(holders) > 1:  # this process was forked during a fit, which is now forgotten
                for other in holders.keys() - {process}:
                    del holders[other]
            yield
        finally:
            try:
                if holders[process] is mine:
                    self.trainer = None
                    del holders[process]
            except KeyError:
                pass

    def held(self) -> AbstractContextManager[Any]:
        """Hold the lock, which this thread may have already, as a callback does during a fit."""
        return nullcontext() if self.is_mine() else self.taken()

    def read(self, state: Callable[[], T]) -> T:
        """Return a copy of the model's state; raise RuntimeError if another thread changes it."""
        # A child that was forked during a fit has half of its changes.
        while True:
            last = self._last
            if self._holders and not self.is_mine():
                raise RuntimeError(
                    "the model is being trained by another thread, or was when this process was "
                    "forked, and cannot be copied, pickled or saved: use predictor(), or copy it "
                    "in a callback of the fit"
                )
            copied = state()
            if self._last is last:  # else another thread has begun to change it: read again
                return copied


@contextmanager
def taken(locks: Iterable[FitLock]) -> Iterator[None]:
    """Hold several locks for a ``with`` block; take none and raise RuntimeError if one is held."""
    holding: list[Iterator[None]] = []
    try:
        for lock in locks:
            holding.append(lock._hold())
            next(holding[-1])
        yield
    finally:
        holding.clear()  # one call, which gives all of them back
