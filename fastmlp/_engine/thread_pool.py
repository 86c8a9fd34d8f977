"""Teams of threads, which sleep between the calls that borrow them.

The threads are Python's own. Each makes one native call, which releases the interpreter lock and
waits for jobs (c/threads/sync.h). A forked child starts without any.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fastmlp._engine.native import Crew

MAX_THREADS = 256  # jobs.pxd has the same number


class Team:
    """Up to `n` threads, with the caller's, that do the engine's native jobs together.

    The threads start when they are first needed. If the system refuses one, or one dies before it
    arrives, the team is smaller. A team serves one caller at a time.

    >>> with Team(2) as team:
    ...     team.size
    2
    """

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"a team of {n} threads is not possible: at least 1 is expected")
        self._requested = min(n, MAX_THREADS)
        self._crew: Crew | None = None
        self._helpers = 0
        self._process = os.getpid()

    @property
    def crew(self) -> Crew:
        """The native object that runs the jobs; its threads start at the first access."""
        if not self._is_here():  # a forked child: the threads stayed with the parent
            self._forget()
            self._process = os.getpid()
        if self._crew is None:
            from fastmlp._engine.native import Crew

            crew = Crew()
            try:
                self._helpers = crew.muster(_start(crew.serve, self._requested - 1))
                self._crew = crew
            except BaseException:  # an interrupt: end even the threads that still start
                crew.dismiss()
                raise
        return self._crew

    @property
    def size(self) -> int:
        """Number of threads with the caller's; fixed from the first access on."""
        _ = self.crew
        return 1 + self._helpers

    def is_whole(self) -> bool:
        """Return whether the team has, or can still get, all the threads that were wanted."""
        return self._is_here() and (self._crew is None or self._helpers == self._requested - 1)

    def close(self) -> None:
        """Let the threads end."""
        if self._crew is not None and self._is_here():
            self._crew.dismiss()
        self._forget()

    def _is_here(self) -> bool:
        return self._process == os.getpid()

    def _forget(self) -> None:
        self._crew, self._helpers, self._requested = None, 0, 1

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _start(serve: Callable[[], None], n: int) -> int:
    """Start n threads and return how many the system has granted.

    ``threading.Thread.start`` would wait for a thread that may never run, and the interpreter's
    exit for those that do.
    """
    for started in range(n):
        try:
            _thread.start_new_thread(serve, ())
        except (RuntimeError, MemoryError):  # "can't start new thread"
            return started
    return n


# Sleeping teams by size. A list's pop and append are atomic.
_idle: dict[int, list[Team]] = {}
# Number of threads that work for each calling thread, by its identifier.
_busy: dict[int, int] = {}
_counting = threading.RLock()  # a handler of signals may predict
# The number of each process, and of its threads that work, in memory that forked processes share.
_family: NDArray[np.int32] | None = None
PLACES = 4096  # a process has the place of its number modulo this one


def _before_fork() -> None:
    """Make the memory that this process shares with its children."""
    global _family
    if _family is None:
        from mmap import mmap

        _family = np.frombuffer(mmap(-1, 8 * PLACES), np.int32).reshape(PLACES, 2)
        _publish()


def _start_anew() -> None:
    """Forget all teams in a forked child."""
    global _counting
    _counting = threading.RLock()
    _idle.clear()
    _busy.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_start_anew)


def _publish() -> None:
    """Write into the memory that related processes share how many threads work in this one."""
    if _family is not None:
        _family[os.getpid() % PLACES] = os.getpid(), sum(_busy.values())


def _busy_relatives() -> int:
    """Return the number of busy threads in living processes that descend from the same process.

    There is no lock: calls that begin at the same moment may miss each other, and are slower then.
    """
    total = 0
    for process, n in [] if _family is None else _family[_family[:, 1] > 0].tolist():
        if process != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(process, 0)  # only asks whether it is there
                total += n
    return total


def _let_go(n: int) -> None:
    """End idle teams, the oldest sizes first, to make room for n threads below MAX_THREADS."""
    for teams in list(_idle.values()):
        while sum(size * len(others) for size, others in list(_idle.items())) + n > MAX_THREADS:
            try:
                teams.pop().close()
            except IndexError:
                break


_ALONE = contextlib.nullcontext()


def borrowed_team(n: int, limit: int | None = None) -> AbstractContextManager[Team | None]:
    """Lend a team of n threads for the length of one call; for one thread it is None.

    With a limit, the team is smaller if all calls at once would have more threads than that.
    """
    return _ALONE if n == 1 else _borrowed(n, limit)


@contextlib.contextmanager
def _borrowed(n: int, limit: int | None) -> Iterator[Team | None]:
    team, caller = None, _thread.get_ident()
    before = _busy.get(caller, 0)  # another call may wait for the callback that makes this one
    try:
        with _counting:
            if limit is not None:
                others = sum(_busy.values()) - before + _busy_relatives()
                n = max(1, min(n, limit - others))
            _busy[caller] = max(n, before)
            _publish()
        if n > 1:
            try:
                team = _idle.setdefault(n, []).pop()
            except IndexError:
                _let_go(n)
                team = Team(n)
        yield team
    finally:
        with _counting:
            _busy[caller] = before
            if not before:
                del _busy[caller]
            _publish()
        if team is not None:
            if team.is_whole():
                _idle.setdefault(n, []).append(team)
            else:
                team.close()
