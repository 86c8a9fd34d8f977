"""Many networks trained together, each on one thread at a time, against one thread and each alone.

`gain` is the time of one thread over that of all: 1.9 on two CPUs is the target, for any number of
members that is at least the number of threads. On a busy machine that of the best turns says more.
`peak gain` is what the machine has to give in the same minutes, its multiply-add peak on all
threads over that on one. `each epoch` is the gain of fits with a callback, which return to Python
after each epoch. `alone` is the time of `MLP.fit` with one thread, of one member after the other.
All members must end with the bits that they have alone. Cases with few rows take so many epochs
that a fit is no shorter than the others. `outside` is the share of the CPU time with one thread
that is spent between the native calls, on arguments, histories and the first epochs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import harness
import numpy as np
from harness import FAULT, CannotRunError, Names, Rows
from workloads import CASES, LEARNING_RATE, Case

import fastmlp
from fastmlp._engine import native_engine

TARGET = 0.95  # the gain wanted, as a share of the number of threads
MEMBERS = (2, 3, 8)
REPEATS = 3
FLOPS = 4e9  # a fit of one member has at least so many
SHAPES = {
    "few rows": dataclasses.replace(CASES["tiny"], name="few rows", n_rows=128),
    **CASES,
}


def networks(case: Case, members: int) -> list[fastmlp.MLP]:
    options: dict[str, Any] = {"activation": case.activation, "loss": case.loss}
    return [fastmlp.MLP(case.layer_sizes, rng=k, **options) for k in range(members)]


def fits(case: Case, members: int, threads: int, epochs: int) -> dict[str, Callable[[], Any]]:
    """Return what is compared: fits of new networks would measure how these are made."""
    x, y = case.data()
    adam = fastmlp.Adam(learning_rate=LEARNING_RATE)
    options = {"epochs": epochs, "batch_size": case.batch_size, "optimizer": adam}
    nets = networks(case, members)
    together = functools.partial(fastmlp.Ensemble(nets).fit, x, y, **options)
    watched = functools.partial(together, callbacks=[lambda state: None])

    def alone() -> list[fastmlp.MLP]:
        for net in nets:
            net.fit(x, y, n_threads=1, **options)
        return nets

    return {
        "one thread": functools.partial(together, n_threads=1),
        "all threads": functools.partial(together, n_threads=threads),
        "watched, one thread": functools.partial(watched, n_threads=1),
        "watched, all threads": functools.partial(watched, n_threads=threads),
        "alone": alone,
    }


def check(case: Case, members: int, threads: int) -> None:
    """Raise if a member has other bits than alone."""
    case = dataclasses.replace(case, n_rows=min(case.n_rows, 4 * case.batch_size))
    x, y = case.data()
    nets, singles = networks(case, members), networks(case, members)
    options = {"epochs": 20, "batch_size": case.batch_size}
    fastmlp.Ensemble(nets).fit(x, y, n_threads=threads, **options)
    for net, single in zip(nets, singles, strict=True):
        single.fit(x, y, n_threads=1, **options)
        for own, other in zip(net.weights, single.weights, strict=True):
            np.testing.assert_array_equal(own, other, err_msg=case.name)


def outside(fit: Callable[[], Any]) -> float:
    """Return the share of a fit's CPU time by one thread that is spent outside the native epochs.

    That is what threads cannot share; it is the same on a busy machine.
    """
    train_many, inside = native_engine.Engine.train_many, 0.0

    def timed(*given: Any) -> Any:
        nonlocal inside
        began = time.thread_time()
        found = train_many(*given)
        inside += time.thread_time() - began
        return found

    shares = []
    with mock.patch.object(native_engine.Engine, "train_many", staticmethod(timed)):
        for _ in range(REPEATS):
            inside, began = 0.0, time.thread_time()
            fit()
            shares.append(1 - inside / (time.thread_time() - began))
    return float(np.median(shares))


def compare(case: Case, members: int, threads: int, **turns: Any) -> dict[str, Any]:
    """Return the row of a case and of a number of members."""
    epochs = math.ceil(FLOPS / (case.flops * case.steps))
    right = functools.partial(check, case, members, threads)
    peaks = [(harness.peak(), harness.peak(threads=threads))]
    candidates = fits(case, members, threads, epochs)
    timings = harness.interleave(candidates, check=right, **turns)
    peaks.append((harness.peak(), harness.peak(threads=threads)))
    one, more, watched_one, watched_more, alone = timings.values()
    gain, count = one.median / more.median, members * epochs
    return {
        "epochs": epochs,
        "one thread, us": one.median / count * 1e6,
        **more.row("us/member and epoch", count),
        "alone, us": alone.median / count * 1e6,
        "outside, %": 100 * outside(candidates["one thread"]),
        "gain": gain,
        "of the best turns": one.best / more.best,
        "each epoch": watched_one.median / watched_more.median,
        "peak gain": sum(both for _, both in peaks) / sum(single for single, _ in peaks),
        "timings": timings,
        **({} if gain >= TARGET * threads else {FAULT: "MISSED"}),
    }


ALL = Names.of(SHAPES)


def measure(
    cases: Names = ALL,
    members: Sequence[int] = MEMBERS,
    threads: int = 2,
    rounds: int = 9,
    turn: float = 0.2,
) -> Iterator[tuple[str, Rows]]:
    if threads < 2:
        raise CannotRunError("--threads must be at least 2")
    for name in cases:
        case = SHAPES[name]
        yield (
            f"{case.title}, {case.n_rows:,} rows, {harness.counted(threads, 'thread')}",
            {
                harness.counted(n, "member"): compare(case, n, threads, rounds=rounds, turn=turn)
                for n in members
            },
        )
