"""What goes on around a call: the process ends, or CPUs are taken away."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import children
import numpy as np
import trials
from at_once import busy, repeating
from disturbances import network
from injection import REAL, X, many_threads
from states import digest, state

# ---- exits -------------------------------------------------------------------------------------

SETUP = """
import os, signal, sys, threading, time
import numpy as np, fastmlp
x = np.random.default_rng(0).normal(size=(20000, 20)).astype(np.float32)
net = fastmlp.MLP([20, 64, 64, 1], rng=0)
predictor = net.predictor(n_threads=2)
begun = threading.Event()
WORK = {
    "fit": lambda: net.fit(
        x, x[:, 0], epochs=10**6, n_threads=2, callbacks=[lambda _: begun.set()]
    ),
    "partial_fit": lambda: net.partial_fit(x, x[:, 0], batch_size=50, n_threads=2),
    "predict": lambda: net.predict(x),
    "predictor": lambda: predictor(x),
}
def work(name):
    while True:
        WORK[name]()
        begun.set()
def start(name, daemon=True):
    threading.Thread(target=work, args=(name,), daemon=daemon).start()
    assert begun.wait(60)
    time.sleep(PAUSE)
"""
# How a process ends while a thread of it works: the code, and the status that it must end with.
ENDS = {
    "end of the program": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "os._exit": ("os._exit(4)", 4),
    "exception": ("raise SystemExit('no')", 1),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)", -signal.SIGTERM),
    "SIGINT": ("signal.raise_signal(signal.SIGINT); time.sleep(20)", -signal.SIGINT),
    "exit in a second thread": (
        "threading.Thread(target=os._exit, args=(5,)).start(); time.sleep(20)",
        5,
    ),
}
IN_THIS_THREAD = {
    "SIGTERM to a fit": (
        "signal.setitimer(signal.ITIMER_REAL, 0.1)\n"
        "signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))\n"
        "work('fit')",
        -signal.SIGTERM,
    ),
    "exit in a callback": (
        "net.fit(x, x[:, 0], n_threads=2, callbacks=[lambda _: sys.exit(6)])",
        6,
    ),
}


def ends(code: str, status: int, start: str = "") -> trials.Trial:
    """End a process in the middle of some work: with the right status, soon, and no crash."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        lines = f"PAUSE = {rng.uniform(0, 0.1)}", SETUP, start
        program = "\n".join((*lines, "print(time.time(), flush=True)", code))
        limit = trials.FORK_SECONDS
        done = children.python(
            *("-W", "ignore", "-c", program), timeout=limit, PYTHONFAULTHANDLER="1"
        )
        waited = time.time() - float(done.stdout.split()[0])
        assert done.returncode == status, f"{done.returncode}, {done.stderr}"
        assert "Fatal" not in done.stderr, done.stderr
        yield waited if "sleep" not in code else 0.0

    return trial


EXITS: dict[str, trials.Trial] = {
    f"{name}, {work}": ends(*how, f"start({work!r})")
    for name, how in ENDS.items()
    for work in ("fit", "partial_fit", "predict", "predictor")
} | {name: ends(*how) for name, how in IN_THIS_THREAD.items()}

# ---- CPUs --------------------------------------------------------------------------------------


def affinity(rng: np.random.Generator) -> Iterator[float]:
    """Move every thread from CPU to CPU meanwhile: the same bits, and nothing waits for ever."""
    everywhere = os.sched_getaffinity(0)
    cpus = sorted(everywhere)

    def move() -> None:
        chosen = rng.choice(cpus, rng.integers(1, len(cpus) + 1), replace=False).tolist()
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has ended
                os.sched_setaffinity(int(task.name), chosen)
        time.sleep(1e-4)

    def work() -> str:
        net = network(5, 64, 64, 1)
        with many_threads():
            net.fit(X, REAL, epochs=20, batch_size=50, n_threads=3)
            return digest([net.predict(X), state(net)])

    expected = work()
    try:
        with busy(repeating(move), seconds=trials.FORK_SECONDS):
            time.sleep(0.05)
            for _ in range(5):
                began = time.perf_counter()
                assert work() == expected
                yield time.perf_counter() - began
    finally:
        os.sched_setaffinity(0, everywhere)


AFFINITY: dict[str, trials.Trial] = (
    {"sched_setaffinity": affinity} if hasattr(os, "sched_setaffinity") else {}
)
