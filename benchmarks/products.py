"""Training with compute="bfloat16" beside float32: steps, and losses of held-out rows.

The losses are means over several splits and initial weights, with the standard error of the mean
difference. Target: 1.6 times as fast for mnist and wide, with the same losses.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from harness import FAULT, CannotRunError, Names, Rows, interleave, limited
from tables import Split, built_in
from workloads import CASES, Case

import fastmlp
from fastmlp._engine import native_engine

MORE = Case("40-256x3-1", (40, 256, 256, 256, 1), "relu", "squared_error", 256, 5_120)
KNOWN = CASES | {MORE.name: MORE}
WAYS: dict[str, Any] = {"float32": None, "bfloat16": "bfloat16"}
TARGET = 1.6
JUDGED = ("mnist", "wide")
TABLES = ("digits", "breast_cancer", "diabetes")
CHOSEN = Names.of(KNOWN, "small", "mnist", "wide", "40-256x3-1")
UNLIKE = 0.05  # a final loss that differs more is another training


def measure(
    cases: Names = CHOSEN,
    threads: tuple[int, ...] = (1, 2),
    rounds: int = 20,
    fits: int = 10,
) -> Iterator[tuple[str, Rows]]:
    """Yield the steps of each case, then the losses."""
    if (unit := native_engine.bfloat16_unit()).startswith("none"):
        raise CannotRunError(f"nothing here multiplies bfloat16 faster than float32: {unit}")
    for n in threads:
        with limited(n):
            rows = {name: step(name, n, rounds) for name in cases}
        yield f"a step by {unit}, us, {n} thread{'s' * (n > 1)}, fastest turn", rows
    yield "loss of held-out rows, mean", dict(losses(fits))


def step(name: str, threads: int, rounds: int) -> dict[str, Any]:
    """Return the microseconds of a step in both ways."""
    case = KNOWN[name]
    x, y = case.data()
    made = {"activation": case.activation, "loss": case.loss, "rng": 0}
    nets = {way: fastmlp.MLP(case.layer_sizes, compute=c, **made) for way, c in WAYS.items()}
    options = {"epochs": 1, "batch_size": case.batch_size, "n_threads": threads}
    ways = {way: functools.partial(net.fit, x, y, **options) for way, net in nets.items()}

    def check() -> None:
        found = [way().loss[-1] for way in ways.values()]
        assert abs(found[0] - found[1]) < UNLIKE * found[0], found

    times = interleave(ways, check=check, rounds=rounds, turn=0.05)
    best = {way: each.best / case.steps * 1e6 for way, each in times.items()}
    times_faster = best["float32"] / best["bfloat16"]
    missed = name in JUDGED and times_faster < TARGET
    return {**best, "times": times_faster, **({FAULT: "MISSED"} if missed else {})}


def losses(fits: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the mean losses of each table in both ways."""
    for table in built_in():
        if table.name not in TABLES:
            continue
        splits = enumerate(table.splits(fits))
        pairs = np.array([held_out(split, table.classes, seed) for seed, split in splits])
        difference = pairs[:, 1] - pairs[:, 0]
        error = difference.std(ddof=1) / fits**0.5
        yield (
            table.name,
            {
                **dict(zip(WAYS, pairs.mean(0), strict=True)),
                "difference": difference.mean(),
                "+-": error,
            },
        )


def held_out(split: Split, classes: bool, seed: int) -> list[float]:
    """Return the losses in both ways, of networks with the same initial weights."""
    mean, deviation = split.X.mean(0), split.X.std(0)
    deviation[deviation == 0] = 1
    x, x_test = ((each - mean) / deviation for each in (split.X, split.X_test))
    y, y_test = split.y, split.y_test
    if not classes:
        y, y_test = ((each - split.y.mean()) / split.y.std() for each in (y, y_test))
    outputs, loss = (int(y.max()) + 1, "cross_entropy") if classes else (1, "squared_error")
    found = []
    for compute in WAYS.values():
        sizes = [x.shape[1], 128, 128, outputs]
        net = fastmlp.MLP(sizes, loss=loss, compute=compute, rng=seed)
        net.fit(x, y, epochs=30, batch_size=32)
        found.append(net.evaluate(x_test, y_test))
    return found
