"""Thread counts, teams, and what threads must survive: errors, interrupts, forks, exits."""

import _thread
import itertools
import os
import threading
import time
from pathlib import Path

import children
import numpy as np
import pytest
import trials
from probing import probe

import fastmlp
from fastmlp._engine import thread_count, thread_pool

RNG = np.random.default_rng(3)
X = RNG.normal(size=(512, 20)).astype(np.float32)
Y = RNG.integers(0, 5, size=512)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("FASTMLP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def machine(monkeypatch):
    """8 CPUs, no quota."""
    monkeypatch.setattr(thread_count, "_cpus", lambda: 8)
    monkeypatch.setattr(thread_count, "_quota", lambda: thread_count.MAX_THREADS)


@pytest.mark.parametrize(
    ("ours", "openmp", "expected"),
    [
        (None, None, 8),
        ("", "", 8),
        (None, "3", 3),
        (None, "3,2", 3),
        (None, "100", 8),
        (None, "0", 1),
        (None, "many", 8),  # not ours to complain about
        ("2", None, 2),
        ("2", "1", 2),
        (" 12 ", None, 12),
        ("100000", None, thread_count.MAX_THREADS),
    ],
)
def test_environment(machine, monkeypatch, ours, openmp, expected):
    for name, value in [("FASTMLP_NUM_THREADS", ours), ("OMP_NUM_THREADS", openmp)]:
        if value is not None:
            monkeypatch.setenv(name, value)
    assert thread_count.default_threads() == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_bad_environment(machine, monkeypatch, value):
    monkeypatch.setenv("FASTMLP_NUM_THREADS", value)
    with pytest.raises(ValueError, match="FASTMLP_NUM_THREADS is .* integer of at least 1"):
        thread_count.default_threads()


def test_quota_limits(machine, monkeypatch):
    monkeypatch.setattr(thread_count, "_quota", lambda: 2)
    assert thread_count.default_threads() == 2


def test_default_is_possible_here():
    assert 1 <= thread_count.default_threads() <= (os.cpu_count() or 1)


# The groups of the process; files of the groups; the whole CPUs that they grant.
NONE, IN_A_B, PERIOD = thread_count.MAX_THREADS, "0::/a/b\n", "cpu/a/cpu.cfs_period_us"
QUOTAS = [
    (None, {}, NONE),
    ("0::/\n", {}, NONE),
    (IN_A_B, {"a/b/cpu.max": "250000 100000\n"}, 2),
    (IN_A_B, {"a/b/cpu.max": "50000 100000\n"}, 1),
    (IN_A_B, {"a/b/cpu.max": "max 100000\n"}, NONE),
    (IN_A_B, {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
    (
        "5:memory:/a\n2:cpu,cpuacct:/a\n",
        {"cpu/a/cpu.cfs_quota_us": "400000\n", PERIOD: "100000\n"},
        4,
    ),
    ("2:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", PERIOD: "100000\n"}, NONE),
    # In a container the group's path is that of the host, and the limit stands at the mount.
    ("0::/host/path\n", {"cpu.max": "200000 100000\n"}, 2),
]


@pytest.mark.parametrize(("groups", "files", "expected"), QUOTAS)
def test_quota(tmp_path, groups, files, expected):
    files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in (files | ({"proc/self/cgroup": groups} if groups else {})).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert thread_count._quota.__wrapped__(tmp_path) == expected


@pytest.mark.parametrize(
    ("wanted", "n_weights", "batch", "expected"),
    [
        (None, 10_000_000, 64, 8),
        (None, 10_000_000, 31, 1),  # too few rows
        (None, 5_000, 64, 1),  # too little work: 6 * 5000 * 64 / 50e9 = 38 us
        (None, 5_300, 64, 8),
        (3, 1, 1, 3),  # asked for
        (10**6, 1, 1, thread_count.MAX_THREADS),
    ],
)
def test_threads_for_a_fit(machine, wanted, n_weights, batch, expected):
    assert thread_count.for_fit(wanted, n_weights, batch) == expected


@pytest.mark.parametrize(
    ("n_weights", "rows", "expected"),
    [
        (10_000_000, 127, 1),
        (10_000_000, 128, 2),
        (10_000_000, 400, 6),
        (300, 8000, 1),
        (300, 9000, 8),
    ],
)
def test_threads_for_a_call(machine, n_weights, rows, expected):
    assert thread_count.for_call(n_weights, rows) == expected


# Threads of the calls that run at once, outermost first: (asked for, limit or None), and expected.
LOANS = [
    ([(8, 8), (8, 8), (8, 8)], [8, 1, 1]),  # the first has all
    ([(3, 8), (8, 8), (4, 8)], [3, 5, 1]),
    ([(6, None), (8, 8), (4, None)], [6, 2, 4]),  # a number that the user sets holds
]


@pytest.mark.parametrize(("asked", "expected"), LOANS)
def test_calls_that_run_at_once_share_the_threads(asked, expected):
    meeting, sizes = threading.Barrier(len(asked)), [0] * len(asked)
    turns = [threading.Event() for _ in range(len(asked) + 1)]
    turns[0].set()

    def work(k):
        assert turns[k].wait(60)
        with thread_pool.borrowed_team(*asked[k]) as team:
            sizes[k] = team.size if team else 1
            turns[k + 1].set()
            meeting.wait(60)

    callers = [threading.Thread(target=work, args=(k,)) for k in range(len(asked))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert sizes == expected
    assert not thread_pool._busy


def test_a_call_of_a_callback_has_the_threads_of_the_fit_that_waits_for_it():
    with thread_pool.borrowed_team(4, 4) as fit:
        with thread_pool.borrowed_team(4, 4) as call:
            assert fit.size == call.size == 4
        assert [*thread_pool._busy.values()] == [4]
    assert not thread_pool._busy


POOL = """
import contextlib, multiprocessing, os, signal
from fastmlp._engine import thread_pool

def work(k):
    with contextlib.ExitStack() as call:
        with turn:  # processes that begin at the same moment may not see each other
            team = call.enter_context(thread_pool.borrowed_team(8, 8))
        mine.wait(60)  # all have borrowed
        return team.size if team else 1

def dies():
    thread_pool.borrowed_team(8, 8).__enter__()
    os.kill(os.getpid(), signal.SIGKILL)

fork = multiprocessing.get_context("fork")
mine, turn = fork.Barrier(3), fork.Lock()
with fork.Pool(3) as pool:
    print(sorted(pool.map(work, range(3), chunksize=1)))
dead = fork.Process(target=dies)
dead.start(), dead.join()
with thread_pool.borrowed_team(8, 8) as team:
    print(team.size)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_processes_of_a_fork_share_the_threads_but_not_with_the_dead():
    ended = children.python("-W", "ignore", "-c", POOL)
    assert children.printed(ended).split("\n")[:2] == ["[1, 1, 8]", "8"]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_team_runs_every_index_at_once(size):
    with thread_pool.Team(size) as team:
        assert team.size == size
        for pause in (0, 0, 0, 0.001, 0.01):  # helpers still look for work, or have fallen asleep
            for _ in range(20):
                assert probe.meet(team) == [1] * size
                time.sleep(pause)


def test_no_call_is_lost():
    """Pauses around the time after which a helper falls asleep."""
    pauses = np.random.default_rng(0).uniform(0, 3e-4, 1000)

    def work():
        with thread_pool.Team(2) as team:
            for pause in pauses:
                assert probe.meet(team) == [1, 1]
                end = time.perf_counter() + pause
                while time.perf_counter() < end:
                    pass
        finished.append(True)

    finished = []
    callers = [threading.Thread(target=work) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=trials.HANG_SECONDS)
    assert finished == [True, True]


# ---- how teams start, what they do when a thread does not come, and who has them ---------------


def quiet():
    """Return how many threads run when those of earlier tests have ended."""
    count = -1
    while count != (count := _thread._count()):
        time.sleep(0.05)
    return count


def network():
    return fastmlp.MLP([20, 64, 64, 5], loss="cross_entropy", rng=0)


def test_team_starts_threads_late_and_ends_them():
    before = quiet()
    with thread_pool.Team(4) as team:
        assert _thread._count() == before
        probe.meet(team)
        assert _thread._count() == before + 3
    trials.until(lambda: _thread._count() == before)


def test_team_of_none_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        thread_pool.Team(0)


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

    before = quiet()
    monkeypatch.setattr(_thread, "start_new_thread", faulty)
    with thread_pool.Team(4) as team:
        assert team.size == started + 1
        assert not team.is_whole()
        assert probe.meet(team) == [1] * (started + 1)
    trials.until(lambda: _thread._count() == before)


def test_a_team_that_is_not_whole_is_not_lent_again(monkeypatch):
    monkeypatch.setattr(thread_pool, "_idle", {})
    monkeypatch.setattr(_thread, "start_new_thread", lambda serve, arguments: refused(serve))
    with thread_pool.borrowed_team(7) as team:
        assert team.size == 1
    monkeypatch.undo()
    with thread_pool.borrowed_team(7) as team:
        assert team.size == 7


def test_fits_borrow_a_sleeping_team(monkeypatch):
    net = network()
    net.fit(X, Y, epochs=1, n_threads=5)

    def nobody(serve, arguments):
        raise AssertionError("a thread was started")

    monkeypatch.setattr(_thread, "start_new_thread", nobody)
    net.fit(X, Y, epochs=1, n_threads=5)
    net.partial_fit(X, Y, n_threads=5)


def test_idle_threads_are_no_crowd():
    """Teams of many sizes are not all kept: 600 threads would sleep."""
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        pytest.skip("this system does not show its threads")
    before, weights = len(list(tasks.iterdir())), set()
    for n in range(2, 102, 9):
        net = network()
        net.fit(X, Y, epochs=1, n_threads=n)
        weights.add(net.weights[0].tobytes())
    assert len(weights) == 1
    assert sum(n * len(idle) for n, idle in thread_pool._idle.items()) <= thread_count.MAX_THREADS
    most = before + thread_count.MAX_THREADS
    trials.until(lambda: len(list(tasks.iterdir())) <= most)
