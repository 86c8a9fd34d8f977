"""Whose turn it is to change a model: threads, interrupts, forks, copies."""

import contextlib
import copy
import dis
import os
import pickle
import signal
import threading
import time
import warnings

import pytest
from at_once import at_once, switching

from fastmlp._core.fit_lock import FitLock


def refused(turn):
    try:
        with turn.taken():
            return False
    except RuntimeError as error:
        return "wait for its end" in str(error)


@contextlib.contextmanager
def held_by_another(turn):
    """Another thread has the turn within the block."""
    taken, done = threading.Event(), threading.Event()

    def hold():
        with turn.taken():
            taken.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(60)
    yield
    done.set()
    thread.join(60)


def test_one_at_a_time():
    turn = FitLock()
    assert not turn.is_mine()
    with turn.taken():
        assert turn.is_mine()
        assert not at_once(turn.is_mine)[0]
        assert refused(turn)
        assert at_once(lambda: refused(turn))[0]
        assert turn.is_mine()  # who was refused has taken nothing away
    assert not turn.is_mine()
    with held_by_another(turn):
        assert not turn.is_mine()
        assert refused(turn)
    assert not refused(turn)


def test_an_error_gives_it_back():
    turn = FitLock()
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), turn.taken():
            raise error
        assert not at_once(lambda: refused(turn))[0]


def test_never_two():
    turn, inside, most, began = FitLock(), [], [], []

    def work():
        for _ in range(2000):
            with contextlib.suppress(RuntimeError), turn.taken():
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
    [copy.copy, copy.deepcopy, lambda turn: pickle.loads(pickle.dumps(turn))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_are_free(copied):
    turn = FitLock()
    with turn.taken():
        other = copied(turn)
        assert not other.is_mine()
        assert not refused(other)
        assert turn.is_mine()


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
    turn = FitLock()
    holding = turn.taken() if where == "forked within" else held_by_another(turn)
    with holding, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork, from 3.12 on
        child = os.fork()
        if child == 0:
            ours = not turn.is_mine() and not refused(turn) and not refused(turn)
            os._exit(0 if ours else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert refused(turn)
    assert not refused(turn)


def test_nothing_is_called_where_it_is_given_back():
    """Python handles interrupts where something is called, and where a loop jumps back."""
    names = [each.opname for each in dis.get_instructions(FitLock._hold)]
    ends = names[names.index("YIELD_VALUE") :]
    assert "DELETE_SUBSCR" in ends
    assert not {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD"} & {*ends}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_interrupts_never_leave_it_taken(no_collections):
    turn, caught, seed = FitLock(), 0, 1
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    end = time.monotonic() + 1.0
    try:
        while time.monotonic() < end:
            seed = seed * 16807 % (2**31 - 1)
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 + seed / 2**31 * 4e-5)
                while time.monotonic() < end:
                    with turn.taken():
                        pass
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                caught += 1
            assert not turn.is_mine(), f"after {caught} interrupts"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught > 100
