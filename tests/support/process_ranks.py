"""A rank in a process of its own: it fits, and writes what came of it to a file of its own.

mpiexec starts it (test_mpi.py), or a test with the arguments of a TorchCommunicator
(test_torch_ranks.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import ranks

import fastmlp
from fastmlp._core import communicators

if len(sys.argv) > 3:
    COMM = fastmlp.TorchCommunicator(sys.argv[3], *map(int, sys.argv[4:6]), float(sys.argv[6]))
else:
    from mpi4py import MPI

    COMM = MPI.COMM_WORLD
ROWS, BATCH = 96, 24
X = np.linspace(-1, 1, 3 * ROWS).reshape(ROWS, 3)
Y = np.sin(3 * X[:, 0])
SIZES = [3, 9, 1]


def net(dtype="float32"):
    return fastmlp.MLP(SIZES, activation="tanh", rng=0, dtype=dtype, dropout=0.1)


def alone(dtype):
    """Return (losses, weights) of one process with all rows."""
    model = net(dtype)
    history = model.fit(X, Y, epochs=3, batch_size=BATCH, shuffle=False, clip_norm=1.0, l2=0.01)
    return history.loss, ranks.everything(model)


def together(dtype):
    """Return the same of all ranks, each with its part of every batch."""
    model = net(dtype)
    x, y = ranks.share_of(COMM.rank, COMM.size, BATCH, X, Y)
    history = model.fit(
        *(x, y), epochs=3, batch_size=BATCH // COMM.size, shuffle=False, clip_norm=1.0, l2=0.01,
        communicator=COMM,
    )  # fmt: skip
    return history.loss, ranks.everything(model)


def equal():
    found = {}
    for dtype in ("float32", "float64"):
        for how in (alone, together):
            losses, weights = how(dtype)
            digest = hashlib.sha256(weights.tobytes()).hexdigest()
            found[f"{how.__name__} {dtype}"] = [losses, weights.tolist(), digest]
    return found


def is_last():
    return COMM.rank == COMM.size - 1


def raises():
    def callback(state):
        if is_last() and state.epoch == 1:
            raise ValueError("of a callback")

    net().fit(X, Y, epochs=3, callbacks=[callback], communicator=COMM)


def diverges():
    y = np.full(ROWS, 1e30) if is_last() else Y
    net().fit(X, y, epochs=3, communicator=COMM)


def differs():
    net("float64" if is_last() else "float32").fit(X, Y, communicator=COMM)


def is_interrupted():
    """Be interrupted on the last rank, by a signal within an epoch that would take minutes."""
    x = np.zeros((200_000, 64), np.float32)
    model = fastmlp.MLP([64, 256, 256, 1], rng=0)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    if is_last():
        timer.start()
    model.fit(x, x[:, 0], epochs=1000, batch_size=32, communicator=COMM)


def leaves(how):
    def callback(state):
        if is_last() and state.epoch == 1:
            Path(sys.argv[1], "begun").write_text(str(os.getpid()))
            how()

    net().fit(X, Y, epochs=100, callbacks=[callback], communicator=COMM)


def exits():
    leaves(lambda: os._exit(3))


def is_killed():
    leaves(lambda: os.kill(os.getpid(), signal.SIGKILL))


def is_stopped():
    leaves(lambda: os.kill(os.getpid(), signal.SIGSTOP))


def is_in_a_daemon_thread():
    """Fit in a thread that the end of the process stops."""
    begun = threading.Event()
    given = {"epochs": 1_000_000, "communicator": COMM, "callbacks": [lambda s: begun.set()]}
    work = threading.Thread(target=net().fit, args=(X, Y), kwargs=given, daemon=True)
    work.start()
    begun.wait(60)
    if is_last():
        sys.exit()
    work.join()


def is_not_caught():
    leaves(lambda: 1 / 0)


def refuses():
    """Return what is said of communicators of MPI that sum over no group."""
    said = []
    for wrong in (MPI.COMM_NULL, MPI.Comm(), MPI.Intercomm()):
        try:
            communicators.resolve(wrong)
        except TypeError as error:
            said.append(str(error))
    return said


def failures():
    """Fail in every way that leaves the processes alive, one after the other, and then succeed."""
    found = {}
    for work in (raises, diverges, differs, is_interrupted):
        try:
            work()
        except BaseException as error:
            found[work.__name__] = [type(error).__name__, str(error), getattr(error, "rank", None)]
    return found | {"equal": equal()["together float32"][2]}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    result = globals()[sys.argv[2]]()
    Path(sys.argv[1], str(COMM.rank)).write_text(json.dumps(result))
