"""The package under test is the installed one, or one built in place: never bare sources."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

# Before NumPy is loaded: the threads of a BLAS spin, beside ours and those of other processes, for
# products that are too small to share. Not OMP_NUM_THREADS, which sets our own default too.
for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
    os.environ[variable] = "1"

# Hundreds of children import the package, which takes a second longer without compiled files, and
# pytest reads 200 rewritten modules in each process.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

ROOT = Path(__file__).resolve().parents[1]

# `python -m pytest` puts the current folder on the path; without compiled modules it is no package.
if not list((ROOT / "fastmlp" / "_engine").glob("native.*.so")):
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

import children  # noqa: E402

import fastmlp  # noqa: E402

# The same for the processes that libraries start, whatever folder they start in.
os.environ.update(children.importing(children.PACKAGE))


def table_rows(metafunc, call):
    """Yield the row of each table of parameters, and of each fixture, that a case of a test has."""
    left = dict(call.params)
    if "trial" in left:  # one of each group shows that its trials can be run
        yield left["trial"][0]
        return
    is_crossed = metafunc.definition.get_closest_marker("crossed") is not None
    for mark in metafunc.definition.iter_markers("parametrize"):
        row = tuple((name, id(left.pop(name))) for name in re.findall(r"\w+", str(mark.args[0])))
        yield from row if is_crossed else [row]
    yield from ((name, id(value)) for name, value in left.items())


def sample(metafunc, calls):
    """Return the indices of a few of a test's cases in which each row of each table occurs."""
    left = {i: set(table_rows(metafunc, call)) for i, call in enumerate(calls)}
    chosen = set()
    while left:
        best = max(left, key=lambda i: len(left[i]))
        chosen.add(best)
        covered = left.pop(best)
        left = {i: rest for i, rows in left.items() if (rest := rows - covered)}
    return chosen


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc):
    """Mark the cases outside a sample of each test's as slow; a run without slow cases drops them.

    pytest makes a test of each entry of ``_calls``; the entries themselves cost little.
    """
    yield
    fast = [call for call in metafunc._calls if not any(m.name == "slow" for m in call.marks)]
    chosen = sample(metafunc, fast)
    others = [call for i, call in enumerate(fast) if i not in chosen]
    if metafunc.config.option.markexpr == "not slow":
        left_out = set(map(id, others))
        metafunc._calls = [call for call in metafunc._calls if id(call) not in left_out]
    for call in others:
        call.marks.append(pytest.mark.slow.mark)


# Files whose slow tests take minutes: two processes that begin with them end together.
LONG = (
    *("package/test_frozen.py", "package/test_benchmarks.py", "network/test_operators.py"),
    *("engine/test_trials.py", "engine/test_derivatives.py", "engine/test_kernels.py"),
)


def pytest_collection_modifyitems(items):
    """Let the longest files be the first."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))


def pytest_collection_finish():
    """Spare the garbage collector what stays: half a million objects of pytest and tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=[fastmlp.MLP, fastmlp.reference.MLP], ids=["native", "reference"])
def mlp(request):
    return request.param


@pytest.fixture(scope="session")
def check(request):
    """Run the trials that the session has chosen; a test calls it with its own."""
    import trials

    return trials.chosen(request.session)


@pytest.fixture
def no_thread_stays():
    """Whoever has read a source ahead has ended."""
    import trials

    yield
    trials.until(lambda: not trials.workers())


@pytest.fixture
def interrupt_after(default_sigint, no_collections, no_records):
    """SIGINT to this process after some seconds; gives the time it was sent."""
    sent, timers = [], []

    def arm(seconds):
        def send():
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        timers.append(threading.Timer(seconds, send))
        timers[0].start()
        return sent

    yield arm
    for timer in timers:
        timer.join()


@pytest.fixture
def default_sigint():
    """SIGINT raises KeyboardInterrupt, whoever has started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def no_collections():
    """Without the garbage collector, whose callbacks (hypothesis has one) swallow interrupts."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def no_records():
    """Without records of logging: an interrupt within one may leave the lock of a handler taken.

    All other threads that log would then wait for ever, such as those of a cluster.
    """
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
