"""Ranks that are threads of this process: a communicator of barriers, and how to start them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from states import digest

import fastmlp
from fastmlp._models.network import network_of

N = 48
X = np.linspace(-1, 1, 3 * N).reshape(N, 3)
Y = np.sin(3 * X[:, 0])

SECONDS = 60  # a rank that waits longer for another says so and ends


class Group:
    """What the ranks of one communicator share."""

    def __init__(self, size: int) -> None:
        self.arrays: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=SECONDS)


class Threads:
    """The communicator of one rank: sums in the order of the ranks."""

    def __init__(self, group: Group, rank: int) -> None:
        self.group, self.rank, self.size = group, rank, len(group.arrays)
        self.sent: list[tuple[int, str]] = []  # lengths and dtypes

    def allreduce(self, buffer):
        self.sent.append((len(buffer), buffer.dtype.name))
        self.group.arrays[self.rank] = buffer
        self.group.barrier.wait()
        forms = {(a.shape, a.dtype) for a in self.group.arrays}
        assert len(forms) == 1, forms
        total = self.group.arrays[0].copy()
        for other in self.group.arrays[1:]:
            total += other
        self.group.barrier.wait()
        buffer[:] = total
        self.group.barrier.wait()


def alone():
    """Return the communicator of one rank."""
    return Threads(Group(1), 0)


def run(size: int, work: Callable[[Threads], Any]) -> list[Any]:
    """Return what each rank's work returned or raised; all have ended."""
    group, results = Group(size), [None] * size

    def rank(r: int) -> None:
        try:
            results[r] = work(Threads(group, r))
        except BaseException as error:
            results[r] = error

    threads = [threading.Thread(target=rank, args=(r,)) for r in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * SECONDS)
    assert not any(thread.is_alive() for thread in threads), "a rank hangs"
    return results


def raised(results: list[Any]) -> list[Any]:
    """Return the errors of all ranks, that must have failed."""
    assert all(isinstance(each, BaseException) for each in results), results
    return results


def told(results: list[Any], kind: type) -> str:
    """Return the words of the error that all ranks raised alike."""
    assert {type(each) for each in raised(results)} == {kind}
    (words,) = {str(each) for each in results}
    return words


def good(results: list[Any]) -> list[Any]:
    """Return the results of all ranks, none of which may have failed."""
    for each in results:
        if isinstance(each, BaseException):
            raise each
    return results


def share_of(rank, size, batch, *arrays):
    """Return a rank's rows: its part of every batch, so that together they are one process's."""
    n = len(arrays[0])
    mine = []
    for at in range(0, n, batch):
        rows = min(batch, n - at)
        mine += range(at + rows * rank // size, at + rows * (rank + 1) // size)
    return [array[mine] for array in arrays]


def net(mlp=fastmlp.MLP, sizes=(3, 5, 1), **options):
    return mlp(sizes, **{"rng": 0, **options})


def everything(model):
    return np.concatenate(
        [a.ravel() for kind in network_of(model).engine.parameters() for a in kind]
    )


@contextlib.contextmanager
def unchanged(*models):
    """Check that what fails within leaves networks as they were, and let its error through."""

    def now():
        return digest([(everything(model), model.history) for model in models])

    before = now()
    try:
        yield
    finally:
        assert now() == before


def train(model, communicator, **options):
    given = {"epochs": 3, "batch_size": 16, "communicator": communicator, **options}
    return model.fit(X, Y, **given)


def schedule(rate, fails_at=None):
    def of_step(step):
        if step == fails_at:
            raise LookupError("schedule")
        return rate

    return of_step
