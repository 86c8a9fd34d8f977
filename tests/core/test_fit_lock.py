"""The lock of a model: threads, interrupts, forks, copies."""

import contextlib
import copy
import itertools
import os
import pickle
import signal
import time
import warnings

import pytest
import trials
from at_once import at_once, held, switching
from interrupting import interrupted_at_call

from fastmlp._core.fit_lock import FitLock


def refused(lock):
    try:
        with lock.taken():
            return False
    except RuntimeError as error:
        return "wait for its end" in str(error)


def held_by_another(turn):
    """Another thread has the turn within the block."""

    def work(hold):
        with turn.taken():
            hold()

    return held(work)


def test_one_at_a_time():
    lock = FitLock()
    assert not lock.is_mine()
    with lock.taken():
        assert lock.is_mine()
        assert not at_once(lock.is_mine)[0]
        assert refused(lock)
        assert at_once(lambda: refused(lock))[0]
        assert lock.is_mine()  # who was refused has taken nothing away
    assert not lock.is_mine()
    with held_by_another(lock):
        assert not lock.is_mine()
        assert refused(lock)
    assert not refused(lock)


def test_an_error_gives_it_back():
    lock = FitLock()
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), lock.taken():
            raise error
        assert not at_once(lambda: refused(lock))[0]


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


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_are_free(copied):
    lock = FitLock()
    with lock.taken():
        other = copied(lock)
        assert not other.is_mine()
        assert not refused(other)
        assert lock.is_mine()


def test_a_copy_is_of_one_moment():
    lock, reads = FitLock(), []

    def state():
        reads.append(None)
        if len(reads) == 1:  # a whole fit of another thread goes by
            at_once(lambda: refused(lock))
        return len(reads)

    assert lock.read(state) == 2
    with lock.taken():
        assert lock.read(state) == 3
    with held_by_another(lock), pytest.raises(RuntimeError, match="trained by another thread"):
        lock.read(state)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("where", ["forked within", "forked by another thread"])
def test_a_forked_child_is_free(where):
    lock = FitLock()

    def child():
        assert not lock.is_mine()
        assert not refused(lock)
        assert not refused(lock)

    holding = lock.taken() if where == "forked within" else held_by_another(lock)
    with holding, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork, from 3.12 on
        trials.forked(child)
        assert refused(lock)
    assert not refused(lock)


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
