"""One row with weights of 32, 16 and 8 bits, for networks that follow each other in turn.

The weights of one network of the case mnist fill 0.9 MiB; those of several leave the second-level
cache between two calls, like those of a larger network or beside other work.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from harness import Rows, interleave, limited
from workloads import CASES

import fastmlp

TYPES = (None, "bfloat16", "int8")


def measure(
    members: tuple[int, ...] = (1, 4, 16), rounds: int = 20, turn: float = 0.005
) -> Iterator[tuple[str, Rows]]:
    """Yield microseconds of a row, and how many times as fast as with float32 it is."""
    case = CASES["mnist"]
    x = case.data()[0][0]
    with limited(1):
        for n in members:
            nets = [fastmlp.MLP(case.layer_sizes, loss=case.loss, rng=k) for k in range(n)]
            ways = {
                kind or "float32": functools.partial(
                    one_each, [net.predictor(1, weights=kind) for net in nets], x
                )
                for kind in TYPES
            }
            times = interleave(ways, check=functools.partial(check, ways), rounds=rounds, turn=turn)
            plain = times["float32"].best
            yield (
                f"one row of mnist, {n} networks in turn, fastest turn",
                {
                    name: {"us": each.best / n * 1e6, "times": plain / each.best, "timing": each}
                    for name, each in times.items()
                },
            )


def one_each(predictors: list[Any], x: np.ndarray) -> np.ndarray:
    """Predict the row with each network, and return the last prediction."""
    for predict in predictors:
        y = predict(x)
    return y  # type: ignore[no-any-return]


def check(ways: dict[str, Any]) -> None:
    """Compare each prediction with that of float32 weights."""
    for way in ways.values():
        np.testing.assert_allclose(way(), ways["float32"](), atol=0.03)
