"""How the cost of an epoch grows with rows and with parameters, and what fraction of peak it is.

Linear growth is a level line: microseconds a row and epoch over the rows, and nanoseconds a row
and parameter over the parameters. One thread, relu, cross-entropy, Adam, batch 128, shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import harness
import numpy as np
from harness import Rows
from options import OPTIONS, PLAIN, check, prepare
from workloads import Case

INPUTS, OUTPUTS, BATCH = 32, 10, 128
ROWS = (1_000, 3_162, 10_000, 31_623, 100_000, 316_228, 1_000_000)
PARAMETERS = (1_000, 3_162, 10_000, 31_623, 100_000, 316_228, 1_000_000, 3_162_278, 10_000_000)
PARAMETERS_MEANWHILE, ROWS_MEANWHILE = 10_000, 2_048


def network(parameters: int, rows: int) -> Case:
    """Return a case with two equal hidden layers and about so many parameters."""
    linear = INPUTS + OUTPUTS + 2
    width = (-linear + math.sqrt(linear**2 + 4 * (parameters - OUTPUTS))) / 2
    sizes = (INPUTS, max(1, round(width)), max(1, round(width)), OUTPUTS)
    name = f"{rows:,} rows, {parameters:,} parameters"
    return Case(name, sizes, "relu", "cross_entropy", BATCH, rows)


def count(case: Case) -> int:
    """Return the parameters of a case, biases included."""
    return case.n_weights + sum(case.layer_sizes[1:])


def compare(cases: Sequence[Case], **turns: Any) -> Rows:
    """Return a row a case."""

    def right() -> None:
        for case in cases:
            check(case, {PLAIN: OPTIONS[PLAIN]})

    calls = {case.name: prepare(case, OPTIONS[PLAIN]) for case in cases}
    peaks = [harness.peak()]
    timings = harness.interleave(calls, check=right, **turns)
    peak = float(np.median([*peaks, harness.peak()]))
    return {
        case.name: {
            "rows": case.n_rows,
            "parameters": count(case),
            "layer sizes": case.layer_sizes,
            **timing.row("us/row", case.n_rows),
            **timing.row("ns/row/parameter", case.n_rows * count(case)),
            "of peak, %": 100 * case.flops / case.batch_size * case.n_rows / timing.median / peak,
        }
        for case, timing in zip(cases, timings.values(), strict=True)
    }


def draw(path: str, results: Mapping[str, Rows]) -> None:
    """Draw both axes: cost on the left, fraction of peak on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, (axis, cost) in zip(
        axes, {"rows": "us/row", "parameters": "ns/row/parameter"}.items(), strict=True
    ):
        table = results[axis].values()
        at = [row[axis] for row in table]
        ax.plot(at, [row[cost] for row in table], "o-", color="tab:blue", lw=1.2, ms=3)
        ax.set(xscale="log", yscale="log", xlabel=axis)
        ax.set_ylabel(f"{cost} and epoch", color="tab:blue")
        middle = float(np.median([row[cost] for row in table]))
        ax.set_ylim(middle / 10, middle * 10)
        ax.grid(alpha=0.3)
        right = ax.twinx()
        right.plot(at, [row["of peak, %"] for row in table], "s--", color="tab:orange", lw=1, ms=3)
        right.set_ylim(0, 100)
        right.set_ylabel("% of the multiply-add peak", color="tab:orange")
    figure.savefig(path, dpi=150)


def measure(
    largest: int = max(PARAMETERS), rounds: int = 5, turn: float = 0.1, plot: str | None = None
) -> Iterator[tuple[str, Rows]]:
    """Measure along both axes, and draw."""
    cases = {
        "rows": [network(PARAMETERS_MEANWHILE, n) for n in ROWS if n <= largest],
        "parameters": [network(n, ROWS_MEANWHILE) for n in PARAMETERS if n <= largest],
    }
    results = {}
    for axis, sizes in cases.items():
        results[axis] = compare(sizes, rounds=rounds, turn=turn)
        yield axis, results[axis]
    if plot:
        draw(plot, results)
