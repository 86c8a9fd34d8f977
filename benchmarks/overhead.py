"""What an epoch costs outside the native call: shuffle, history, callbacks.

A fit of many epochs whose native call is replaced by one that returns at once, less a fit of one
epoch, divided by the epochs between: what is left is Python and the shuffle. The target is 30
microseconds and 2 nanoseconds a sample; the shuffle alone has to stay under 2 nanoseconds a sample.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import harness
import numpy as np

import fastmlp
from fastmlp.engine import backend, kernels
from fastmlp.network import Network

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


def observe(state: Any) -> None:
    """Look at the state as a callback does."""
    float(state.loss)


def idle_fit(rows: int, callbacks: Sequence[Callable[..., Any]]) -> Callable[[int], Any]:
    """Return a function that fits some epochs of nothing."""
    x = np.zeros((rows, 1), np.float32)
    net: Network = fastmlp.MLP([1, 8, 1], rng=0)
    net._engine = Idle(net._engine)
    return functools.partial(_fit, net, x, callbacks)


def _fit(net: Any, x: Any, callbacks: Sequence[Callable[..., Any]], epochs: int) -> Any:
    return net.fit(x, x, epochs=epochs, batch_size=BATCH, callbacks=callbacks, n_threads=1)


def measure(rows: int, rounds: int, turn: float) -> dict[str, Any]:
    """Return the timings for a number of rows."""
    order, level = np.arange(rows), backend.level()
    plain, watched = idle_fit(rows, ()), idle_fit(rows, (observe,))

    def check() -> None:
        kernels.shuffle(order, 1, level)
        np.testing.assert_array_equal(np.sort(order), np.arange(rows))
        assert rows < 2 or (order != np.arange(rows)).any(), "the shuffle changed nothing"
        for fit in (plain, watched):
            assert fit(3).loss == [1.0] * 3

    calls = {
        "shuffle": functools.partial(kernels.shuffle, order, 2, level),
        "one": functools.partial(plain, 1),
        "many": functools.partial(plain, EPOCHS),
        "one, callback": functools.partial(watched, 1),
        "many, callback": functools.partial(watched, EPOCHS),
    }
    timings = harness.interleave(calls, check=check, rounds=rounds, turn=turn)

    def epoch(suffix: str) -> float:
        return (timings["many" + suffix].median - timings["one" + suffix].median) / (EPOCHS - 1)

    limit = FIXED + PER_SAMPLE * rows
    return {
        "timings": timings,
        "shuffle, ns a sample": timings["shuffle"].median / rows * 1e9,
        "epoch, us": epoch("") * 1e6,
        "epoch with a callback, us": epoch(", callback") * 1e6,
        "target, us": limit * 1e6,
        "met": epoch(", callback") <= limit and timings["shuffle"].median <= PER_SAMPLE * rows,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a target is missed."""
    parser = harness.command_line(__doc__ or "", rounds=9, turn=0.05)
    many = parser.add_argument
    many(
        "--rows",
        nargs="+",
        type=harness.positive(int),
        default=list(ROWS),
        help="default: 1e3 to 1e6",
    )
    options = parser.parse_args(argv)
    results = {}
    print(f"{'rows':>9}{'shuffle ns':>12}{'epoch us':>11}{'+ callback':>12}{'target us':>11}")
    for rows in options.rows:
        row = results[rows] = measure(rows, options.rounds, options.turn)
        print(
            f"{rows:>9}{row['shuffle, ns a sample']:>12.2f}{row['epoch, us']:>11.1f}"
            f"{row['epoch with a callback, us']:>12.1f}{row['target, us']:>11.1f}"
            f"  {'met' if row['met'] else 'MISSED'}",
            flush=True,
        )
    harness.write_json(options.json, results)
    return int(not all(row["met"] for row in results.values()))


if __name__ == "__main__":
    sys.exit(main())
