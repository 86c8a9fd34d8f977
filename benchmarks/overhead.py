"""What an epoch costs outside the native call: shuffle, history, callbacks.

A fit of many epochs whose native call is replaced by one that returns at once, less a fit of one
epoch, divided by the epochs between: what is left is Python and the shuffle. The target is 30
microseconds and 2 nanoseconds a sample; the shuffle alone has to stay under 2 nanoseconds a sample.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import harness
import numpy as np
from harness import FAULT, Rows

import fastmlp
from fastmlp._engine import native, native_engine
from fastmlp._engine.protocol import Epochs

ROWS = (1_000, 10_000, 100_000, 1_000_000)
FIXED, PER_SAMPLE = 30e-6, 2e-9
EPOCHS = 21
BATCH = 64


class Idle:
    """An engine that does everything as its model's own, except that its epochs take no time."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def epoch(self, data: Any, plan: Any) -> float:
        return 1.0

    @staticmethod
    def train_many(
        engines: Any, datas: Any, plans: Any, team: Any, epochs: int, seeds: Any, *held: Any
    ) -> Epochs:
        """Shuffle as the native call for several epochs does, and do nothing else."""
        for seed in () if seeds is None else seeds[0]:
            engines[0].shuffle(plans[0].order, int(seed))
        ones = np.ones((epochs, len(engines)))
        return Epochs(ones, 0 * ones, [])


def observe(state: Any) -> None:
    """Look at the state as a callback does."""
    float(state.loss)


def idle_fit(rows: int, *callbacks: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that fits some epochs of nothing."""
    x = np.zeros((rows, 1), np.float32)
    net = fastmlp.MLP([1, 8, 1], rng=0)
    net._network.engine = Idle(net._network.engine)
    return functools.partial(net.fit, x, x, batch_size=BATCH, callbacks=callbacks, n_threads=1)


def row(rows: int, rounds: int, turn: float) -> dict[str, Any]:
    """Return the times for a number of rows."""
    order, level = np.arange(rows), native_engine.level()
    plain, watched = idle_fit(rows), idle_fit(rows, observe)

    def check() -> None:
        native.shuffle(order, 1, level)
        np.testing.assert_array_equal(np.sort(order), np.arange(rows))
        assert rows < 2 or (order != np.arange(rows)).any(), "the shuffle changed nothing"
        for fit in (plain, watched):
            assert fit(epochs=3).loss == [1.0] * 3

    calls = {
        "shuffle": functools.partial(native.shuffle, order, 2, level),
        "one": functools.partial(plain, epochs=1),
        "many": functools.partial(plain, epochs=EPOCHS),
        "one, callback": functools.partial(watched, epochs=1),
        "many, callback": functools.partial(watched, epochs=EPOCHS),
    }
    timings = harness.interleave(calls, check=check, rounds=rounds, turn=turn)

    def epoch(suffix: str) -> float:
        return (timings["many" + suffix].median - timings["one" + suffix].median) / (EPOCHS - 1)

    limit = FIXED + PER_SAMPLE * rows
    met = epoch(", callback") <= limit and timings["shuffle"].median <= PER_SAMPLE * rows
    return {
        "shuffle, ns/row": timings["shuffle"].median / rows * 1e9,
        "epoch, us": epoch("") * 1e6,
        "with a callback, us": epoch(", callback") * 1e6,
        "target, us": limit * 1e6,
        "timings": timings,
        **({} if met else {FAULT: "MISSED"}),
    }


def measure(
    rows: Sequence[int] = ROWS, rounds: int = 9, turn: float = 0.05
) -> Iterator[tuple[str, Rows]]:
    table = {harness.counted(number, "row"): row(number, rounds, turn) for number in rows}
    yield "an epoch outside the native call", table
