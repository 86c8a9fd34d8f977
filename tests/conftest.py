"""The package under test is the installed one, or one built in place: never bare sources."""

from __future__ import annotations

import collections
import gc
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

ROOT = Path(__file__).resolve().parents[1]

# `python -m pytest` puts the current folder on the path; without compiled modules it is no package.
if not list((ROOT / "fastmlp" / "_engine").glob("predictor.*.so")):
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

import children  # noqa: E402

import fastmlp  # noqa: E402

# The same for the processes that libraries start, whatever folder they start in.
os.environ.update(children.importing(children.PACKAGE))


def rows(item):
    """Return which row of each of its tables of parameters a case has, and of each fixture's."""
    left = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    if "trial" in left:  # its name says what there is of all combinations
        group, name = left["trial"]
        yield from ((group, word) for word in name.split(", "))
        return
    for mark in item.iter_markers("parametrize"):
        names = re.findall(r"\w+", str(mark.args[0]))
        yield tuple((name, id(left.pop(name))) for name in names)
    yield from ((name, id(value)) for name, value in left.items())


def sample(cases):
    """Return few of a test's cases, in which each row of each of its tables occurs."""
    left, found = {case: set(rows(case)) for case in cases}, []
    while left:
        found.append(max(left, key=lambda case: len(left[case])))
        seen = left.pop(found[-1])
        left = {case: rest for case in left if (rest := left[case] - seen)}
    return found


@pytest.hookimpl(tryfirst=True)  # before "-m" is applied
def pytest_collection_modifyitems(items):
    """Mark as slow what a sample of each test's cases leaves out: more combinations of the same."""
    cases = collections.defaultdict(list)
    for item in items:
        if item.get_closest_marker("slow") is None:
            cases[item.nodeid.partition("[")[0]].append(item)
    for each in cases.values():
        for case in set(each) - set(sample(each)):
            case.add_marker(pytest.mark.slow)


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
def interrupt_after(default_sigint, no_collections):
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
