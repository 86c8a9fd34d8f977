"""What goes on around a call: the process ends, CPUs are taken away, other threads call too."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import children
import numpy as np
import trials
from disturbances import busy, fit_until, network, repeat, stop_after
from injection import REAL, X, estimator, many_threads
from states import digest, state

from fastmlp.sklearn import MLPRegressor

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


def ends(code: str, status: int, names: tuple[str, ...] = ("fit",)) -> trials.Trial:
    """End a process in the middle of some work: with the right status, soon, and no crash."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        for name in names:
            lines = [f"PAUSE = {rng.uniform(0, 0.1)}", SETUP]
            lines += [f"start({name!r})"] if len(names) > 1 else []
            lines += ["print(time.time(), flush=True)", code]
            program = "-W", "ignore", "-c", "\n".join(lines)
            limit = trials.FORK_SECONDS
            done = children.python(*program, timeout=limit, PYTHONFAULTHANDLER="1")
            waited = time.time() - float(done.stdout.split()[0])
            assert done.returncode == status, f"{name}: {done.returncode}, {done.stderr}"
            assert "Fatal" not in done.stderr, done.stderr
            yield waited if "sleep" not in code else 0.0

    return trial


EXITS: dict[str, trials.Trial] = {
    name: ends(*how, names=("fit", "partial_fit", "predict", "predictor"))
    for name, how in ENDS.items()
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
        with busy(lambda stop: repeat(move, stop)):
            for _ in range(10):
                began = time.perf_counter()
                assert work() == expected
                yield time.perf_counter() - began
    finally:
        os.sched_setaffinity(0, everywhere)


AFFINITY: dict[str, trials.Trial] = (
    {"sched_setaffinity": affinity} if hasattr(os, "sched_setaffinity") else {}
)

# ---- other threads -----------------------------------------------------------------------------

# What a thread may do with a model that another one fits: it sees the last whole epoch.
READS: dict[str, Callable[[Any], Any]] = {
    "predict": lambda model: model.predict(X),
    "predict one row": lambda model: model.predict(X[:1]),
    "copy": lambda model: copy.deepcopy(model).predict(X),
}
MLP_READS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)).predict(X),
    "predictor": lambda net: net.predictor()(X),
    "evaluate": lambda net: net.evaluate(X, REAL),
    "gradients": lambda net: net.gradients(X, REAL)[1][0],
    "weights": lambda net: net.weights[1],
}
KINDS: dict[str, tuple[Callable[[], Any], dict[str, Callable[[Any], Any]]]] = {
    "MLP": (lambda: network(5, 64, 64, 1), READS | MLP_READS),
    "MLPRegressor": (lambda: estimator(MLPRegressor, warm_start=True), READS),
}


def reads_during_a_fit(make: Callable[[], Any], read: Callable[[Any], Any]) -> trials.Trial:
    """Read from two threads while a third one fits: what was read is what some whole epoch gave."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        model, seen = make(), []
        fit_until(model, stop_after(1))  # the first fit settles the shape of predictions
        whole = {digest(read(model))}
        stop = stop_after(200)

        def after_an_epoch() -> bool:
            whole.add(digest(read(model)))
            return stop()

        with busy(lambda end: repeat(lambda: seen.append(digest(read(model))), end), n=2):
            fit_until(model, after_an_epoch)
        torn = sum(found not in whole for found in seen)
        assert not torn, f"{torn} of {len(seen)} reads saw no whole epoch"
        yield 0.0

    return trial


def two_fits(make: Callable[[], Any]) -> trials.Trial:
    """Fit one model from two threads: one of them is refused, or comes later."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            model, refused = make(), []

            def fit(stop: Callable[[], bool]) -> None:
                for _ in range(20):
                    try:
                        fit_until(model, stop_after(3))
                    except RuntimeError as error:
                        refused.append(str(error))

            with busy(fit, n=2):
                pass
            assert all("a fit is running" in message for message in refused), refused
            assert np.isfinite(model.predict(X)).all()
        finally:
            sys.setswitchinterval(interval)
        yield 0.0

    return trial


def predictions(rng: np.random.Generator) -> Iterator[float]:
    """Eight threads predict with one model: the bits of one."""
    net = network(5, 64, 64, 1)
    predictor, classifier = net.predictor(), estimator()
    calls = [lambda: net.predict(X), lambda: predictor(X), lambda: classifier.predict_proba(X)]
    expected = [digest(call()) for call in calls]
    wrong: list[int] = []

    def work(stop: Callable[[], bool]) -> None:
        for turn in range(60):
            which = turn % len(calls)
            wrong.extend([which] * (digest(calls[which]()) != expected[which]))

    with many_threads(), busy(work, n=8):
        pass
    assert not wrong
    yield 0.0


CONCURRENT: dict[str, trials.Trial] = {
    "predictions": predictions,
    **{f"{kind}, two fits": two_fits(make) for kind, (make, _) in KINDS.items()},
    **{
        f"{kind}, {name} during a fit": reads_during_a_fit(make, read)
        for kind, (make, reads) in KINDS.items()
        for name, read in reads.items()
    },
}
