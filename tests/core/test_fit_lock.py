"""The lock of a model: threads and interrupts."""

import contextlib
import itertools
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from at_once import at_once, switching
from interrupting import interrupted_at_call

from fastmlp._core.fit_lock import FitLock


def refused(lock):
    try:
        with lock.taken():
            return False
    except RuntimeError as error:
        return "wait for its end" in str(error)


def test_a_second_holder_is_refused():
    lock = FitLock()
    with lock.taken(), ThreadPoolExecutor(1) as others:
        assert lock.is_mine()
        assert refused(lock)
        assert others.submit(refused, lock).result()
        assert lock.is_mine()
    assert not refused(lock)


def test_never_two():
    lock, inside, most, began = FitLock(), [], [], []

    def work():
        for _ in range(2000):
            with contextlib.suppress(RuntimeError), lock.taken():
                inside.append(None)
                most.append(len(inside))
                inside.pop()
        began.append(None)

    with switching(1e-6):
        at_once(*[work] * 8)
    assert len(began) == 8
    assert set(most) == {1}


def test_an_interrupt_at_any_call_leaves_it_free():
    def work(turn):
        with turn.taken():
            pass

    for position in itertools.count():
        turn = FitLock()
        if not interrupted_at_call(position, {"FitLock._hold"}, lambda t=turn: work(t)):
            break
        assert not turn.is_mine(), position
    assert position > 3


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_interrupts_never_leave_it_taken(no_collections):
    lock, caught, seed = FitLock(), 0, 1
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    end = time.monotonic() + 1.0
    try:
        while time.monotonic() < end:
            seed = seed * 16807 % (2**31 - 1)
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 + seed / 2**31 * 4e-5)
                while True:
                    with lock.taken():
                        pass
            except KeyboardInterrupt:
                caught += 1
            assert not lock.is_mine(), f"after {caught} interrupts"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught > 100
