"""Functions that run at the same time, each in a thread of its own."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Return the results of functions that begin together; raise what one of them raises."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


@contextlib.contextmanager
def switching(seconds: float = 1e-5) -> Iterator[None]:
    """Have Python go from thread to thread after so short a time."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@contextlib.contextmanager
def held(work: Callable[[Callable[..., None]], Any]) -> Iterator[list[Any]]:
    """Run a function in another thread; where it calls its argument, it waits for the block's end.

    Gives a list, in which there is afterwards what the function has returned or raised.
    """
    reached, go_on = threading.Event(), threading.Event()
    results: list[Any] = []

    def hold(*_: Any) -> None:
        reached.set()
        assert go_on.wait(60)

    def run() -> None:
        try:
            results.append(work(hold))
        except BaseException as error:
            results.append(error)
            reached.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert reached.wait(60)
    try:
        yield results
    finally:
        go_on.set()
        thread.join(60)


@contextlib.contextmanager
def busy(*works: Callable[[Callable[[], bool]], Any], seconds: float = 60) -> Iterator[list[Any]]:
    """Let threads work meanwhile, which ask whether to stop; raise what one of them has raised.

    Gives the list of errors.
    """
    end, errors = threading.Event(), []

    def run(work: Callable[[Callable[[], bool]], Any]) -> None:
        try:
            work(end.is_set)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        end.set()
        for thread in threads:
            thread.join(seconds)
            assert not thread.is_alive(), "the thread hangs"
    if errors:
        raise errors[0]


def repeating(call: Callable[[], Any]) -> Callable[[Callable[[], bool]], None]:
    """Return the work of calling a function once, and again until it is to stop."""

    def work(stop: Callable[[], bool]) -> None:
        call()
        while not stop():
            call()

    return work
