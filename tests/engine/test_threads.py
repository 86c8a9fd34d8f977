"""Thread counts, teams, and what threads must survive: errors, interrupts, forks, exits."""

import os
import signal
import threading
import time
from pathlib import Path

import children
import numpy as np
import pytest
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


# files below the root; the whole CPUs they grant
QUOTAS = [
    ({}, thread_count.MAX_THREADS),
    ({"proc/self/cgroup": "0::/\n"}, thread_count.MAX_THREADS),
    ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "250000 100000\n"}, 2),
    ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}, 1),
    (
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"},
        thread_count.MAX_THREADS,
    ),
    (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
        },
        3,
    ),
    (
        {
            "proc/self/cgroup": "5:memory:/a\n2:cpu,cpuacct:/a\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "400000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        },
        4,
    ),
    (
        {
            "proc/self/cgroup": "2:cpu,cpuacct:/a\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        },
        thread_count.MAX_THREADS,
    ),
    # In a container the group's path is that of the host, and the limit stands at the mount.
    (
        {"proc/self/cgroup": "0::/host/path\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
        2,
    ),
]


@pytest.mark.parametrize(("files", "expected"), QUOTAS)
def test_quota(tmp_path, files, expected):
    for name, text in files.items():
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
    pauses = np.random.default_rng(0).uniform(0, 3e-4, 3000)

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
        caller.join(timeout=120)
    assert finished == [True, True]


@pytest.fixture
def interrupts():
    """SIGINT raises KeyboardInterrupt, whoever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def network():
    return fastmlp.MLP([20, 64, 64, 5], loss="cross_entropy", rng=0)


def digest(net):
    return b"".join(array.tobytes() for array in [*net.weights, *net.biases])


def test_interrupts_at_random_times(interrupts, no_collections):
    """Wherever it strikes, the model is at the end of a whole epoch and can go on."""
    expected = {}
    reference = network()
    expected[digest(reference)] = -1
    reference.fit(
        X, Y, epochs=400, n_threads=2,
        callbacks=[lambda s: expected.__setitem__(digest(s.model), s.epoch)],
    )  # fmt: skip
    delays = np.random.default_rng(5).uniform(0, 0.05, size=40)
    struck = 0
    for delay in delays:
        net = network()
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, delay)
        try:
            net.fit(X, Y, epochs=400, n_threads=2)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            struck += 1
        assert digest(net) in expected
        with net._turn.taken():  # free again
            pass
        net.fit(X, Y, epochs=1, n_threads=2)
    assert struck >= len(delays) // 2
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_same_bits_for_any_number_of_threads():
    results = set()
    for n in (1, 2, 3, 4, 8):
        net = network()
        net.fit(X, Y, epochs=2, batch_size=100, n_threads=n)
        results.add(digest(net))
    assert len(results) == 1


def test_idle_threads_are_no_crowd():
    """Teams of a hundred sizes are not all kept: 5000 threads would sleep."""
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        pytest.skip("this system does not show its threads")
    before = len(list(tasks.iterdir()))
    for n in range(2, 102):
        network().fit(X, Y, epochs=1, n_threads=n)
    assert sum(n * len(idle) for n, idle in thread_pool._idle.items()) <= thread_count.MAX_THREADS
    end = time.monotonic() + 10
    while len(list(tasks.iterdir())) > before + thread_count.MAX_THREADS:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_concurrent_predictions():
    net = network()
    expected = net.predict(X)
    wrong = []

    def work():
        wrong.extend(1 for _ in range(50) if not np.array_equal(net.predict(X), expected))

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def run_python(code, timeout=30):
    return children.python("-W", "ignore", "-c", code, timeout=timeout)


SETUP = """
import os, threading, time
import numpy as np, fastmlp
x = np.random.default_rng(0).normal(size=(512, 20)).astype(np.float32)
y = np.arange(512) % 5
def fitted(n_threads=2, epochs=5):
    net = fastmlp.MLP([20, 64, 64, 5], loss="cross_entropy", rng=0)
    net.fit(x, y, epochs=epochs, n_threads=n_threads)
    return net.predict(x).tobytes()
"""

FORK = """
expected = fitted()
busy = threading.Thread(target=fitted, args=(2, 10**6), daemon=True)
busy.start()
time.sleep(0.1)  # now fork while another thread is in a fit
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0 if fitted() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
print("same bits")
os._exit(0)
"""

FORK_BETWEEN_PREDICTIONS = """
import gc
from fastmlp._engine import thread_count, thread_pool
thread_count.CALL_SECONDS = 0.0
p = fastmlp.MLP([20, 64, 64, 5], rng=0).predictor(n_threads=3)
expected = p(x)
for pause in (0, 0.05):  # helpers look for work, or have fallen asleep
    time.sleep(pause)
    child = os.fork()
    if child == 0:
        same = (p(x) == expected).all()
        thread_pool._idle.clear()
        gc.collect()
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (p(x) == expected).all()
print("same bits")
"""

EXIT = """
threading.Thread(target=fitted, args=(2, 10**6), daemon=True).start()
time.sleep(0.2)
print("bye")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_fork_after_and_during_a_fit():
    result = run_python(SETUP + FORK)
    assert (result.stdout, result.returncode) == ("same bits\n", 0), result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_fork_between_predictions():
    result = run_python(SETUP + FORK_BETWEEN_PREDICTIONS)
    assert (result.stdout, result.returncode) == ("same bits\n", 0), result.stderr


def test_exit_during_a_fit_of_a_daemon_thread():
    result = run_python(SETUP + EXIT)
    assert (result.stdout, result.returncode) == ("bye\n", 0), result.stderr
