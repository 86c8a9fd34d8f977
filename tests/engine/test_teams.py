"""Teams of threads: how they start, what they do when a thread does not come, and who has them."""

import _thread
import itertools
import time

import numpy as np
import pytest
from probing import probe

import fastmlp
from fastmlp._engine import thread_pool

RNG = np.random.default_rng(3)
X = RNG.normal(size=(512, 20)).astype(np.float32)
Y = RNG.integers(0, 5, size=512)


def test_team_starts_threads_late_and_ends_them():
    before = _thread._count()
    with thread_pool.Team(4) as team:
        assert _thread._count() == before
        probe.meet(team)
        assert _thread._count() == before + 3
    come_down_to(before)


def test_team_of_none_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        thread_pool.Team(0)


def come_down_to(count):
    """Wait until no more threads run than before; they end by themselves."""
    end = time.monotonic() + 10
    while _thread._count() > count and time.monotonic() < end:
        time.sleep(0.01)
    assert _thread._count() == count


def refused(serve):
    raise RuntimeError("can't start new thread")


def lost(serve):
    """What the system has started, and what then has no memory to live."""


def late(serve):
    time.sleep(2)
    serve()


@pytest.mark.parametrize("fault", [refused, lost, late], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("started", [0, 1, 2])
def test_team_is_smaller_when_threads_do_not_come(monkeypatch, started, fault):
    start, calls = _thread.start_new_thread, itertools.count()

    def faulty(serve, arguments):
        if next(calls) < started:
            return start(serve, arguments)
        return fault(serve) if fault is refused else start(fault, (serve,))

    before = _thread._count()
    monkeypatch.setattr(_thread, "start_new_thread", faulty)
    with thread_pool.Team(4) as team:
        assert team.size == started + 1
        assert not team.is_whole()
        assert probe.meet(team) == [1] * (started + 1)
    come_down_to(before)


@pytest.mark.parametrize("started", [0, 1, 2])
def test_interrupt_while_threads_start(monkeypatch, started):
    start, calls = _thread.start_new_thread, itertools.count()

    def interrupt(serve, arguments):
        if next(calls) == started:
            raise KeyboardInterrupt
        return start(serve, arguments)

    before = _thread._count()
    monkeypatch.setattr(_thread, "start_new_thread", interrupt)
    with thread_pool.Team(4) as team:
        with pytest.raises(KeyboardInterrupt):
            _ = team.size
        assert probe.meet(team) == [1] * 4  # a new start
    come_down_to(before)


def test_a_team_that_is_not_whole_is_not_lent_again(monkeypatch):
    monkeypatch.setattr(thread_pool, "_idle", {})
    monkeypatch.setattr(_thread, "start_new_thread", lambda serve, arguments: refused(serve))
    with thread_pool.borrowed_team(7) as team:
        assert team.size == 1
    monkeypatch.undo()
    with thread_pool.borrowed_team(7) as team:
        assert team.size == 7


def test_fits_borrow_a_sleeping_team(monkeypatch):
    net = fastmlp.MLP([20, 8, 5], loss="cross_entropy", rng=0)
    net.fit(X, Y, epochs=1, n_threads=5)

    def nobody(serve, arguments):
        raise AssertionError("a thread was started")

    monkeypatch.setattr(_thread, "start_new_thread", nobody)
    net.fit(X, Y, epochs=1, n_threads=5)
    net.partial_fit(X, Y, n_threads=5)
