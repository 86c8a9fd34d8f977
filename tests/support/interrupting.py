"""Interrupts at a place that a test chooses, and signals after a time."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
from collections.abc import Callable, Container, Iterator
from typing import Any


def interrupted_at(
    position: int,
    functions: Container[str],
    call: Callable[[], Any],
    watched: Callable[[], bool] = lambda: True,
) -> bool:
    """Interrupt a call at one of the instructions of some functions; return whether there is one.

    Functions are qualified names. Python handles signals at few of these places.
    """
    seen = itertools.count()

    def trace(frame: Any, event: str, arg: Any) -> Any:
        if frame.f_code.co_qualname not in functions or not watched():
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(seen) == position:
            raise KeyboardInterrupt
        return trace

    return _interrupted(sys.gettrace, sys.settrace, trace, call)


def interrupted_at_call(
    position: int,
    functions: Container[str],
    call: Callable[[], Any],
    watched: Callable[[], bool] = lambda: True,
) -> bool:
    """Do the same at the calls that these functions make: there Python handles signals.

    It also does where a loop jumps back, so such functions have no loops.
    """
    seen = itertools.count()

    def profile(frame: Any, event: str, arg: Any) -> None:
        caller = frame.f_back if event == "call" else frame if event != "return" else None
        is_theirs = caller is not None and caller.f_code.co_qualname in functions
        if is_theirs and watched() and next(seen) == position:
            raise KeyboardInterrupt

    return _interrupted(sys.getprofile, sys.setprofile, profile, call)


def _interrupted(get: Any, put: Any, function: Any, call: Callable[[], Any]) -> bool:
    """Run a call under a tracing or profiling function; return whether it was interrupted."""
    before = get()
    put(function)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        put(before)
    return False


@contextlib.contextmanager
def alarm(seconds: float, handler: Any, of_cpu: bool = False) -> Iterator[None]:
    """Have a signal handler called after some seconds, or after so much CPU time of the process."""
    timer, number = signal.ITIMER_REAL, signal.SIGALRM
    if of_cpu:
        timer, number = signal.ITIMER_PROF, signal.SIGPROF
    before = signal.signal(number, handler)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)
