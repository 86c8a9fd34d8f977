"""One fit at a time: whose turn it is to change a model. Without waiting: who comes second is told.

The holder is a thread of a process. It is put into a dictionary with ``setdefault``, which is
atomic, with and without the interpreter lock; so there is nothing to wait for, and no lock that a
forked child could inherit locked.
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
    """The right to change one model; copies and pickles of it are new and free.

    Examples
    --------
    >>> from fastmlp._core.fit_lock import FitLock
    >>> turn = FitLock()
    >>> with turn.taken():
    ...     turn.is_mine()
    True
    >>> turn.is_mine()
    False
    """

    __slots__ = ("_holders",)

    def __init__(self) -> None:
        # Process -> (process, thread). What a forked child has of its parent is under another key.
        self._holders: dict[int, tuple[int, int]] = {}

    def is_mine(self) -> bool:
        """Whether this thread has the turn."""
        me = _me()
        return self._holders.get(me[0]) == me

    def is_free(self) -> bool:
        """Whether nobody has the turn."""
        return os.getpid() not in self._holders

    def taken(self) -> AbstractContextManager[None]:
        """Have the turn for the length of a ``with`` block.

        Raises
        ------
        RuntimeError
            If somebody has it, the same thread included.
        """
        return _taken([self._holders])

    def kept(self) -> AbstractContextManager[None]:
        """Have the turn, or go on having it: a callback changes the model from within its fit."""
        return nullcontext() if self.is_mine() else self.taken()

    def __reduce__(self) -> tuple[type[FitLock], tuple[()]]:
        return FitLock, ()


def taken(turns: Iterable[FitLock]) -> AbstractContextManager[None]:
    """Have the turns of different models for the length of a ``with`` block: all, or none.

    Parameters
    ----------
    turns : iterable of Turn
        Of models.

    Raises
    ------
    RuntimeError
        If somebody has one of them, the same thread included.
    """
    return _taken([turn._holders for turn in turns])


@contextmanager
def _taken(holders: list[dict[int, tuple[int, int]]]) -> Iterator[None]:
    """Have the turns of models, by what their locks hold."""
    mine = _me()
    process = mine[0]
    # Each is one call, in C, within which Python looks for no interrupt; made ready before.
    those = map(operator.is_, map(dict.get, holders, repeat(process)), repeat(mine))
    empty: deque[None] = deque(maxlen=0)  # takes no memory, which may have run out by then
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
    """Return who is calling, as a new object each time."""
    return os.getpid(), threading.get_ident()
