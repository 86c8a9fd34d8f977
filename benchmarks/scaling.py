"""How the cost of an epoch grows with rows and with parameters, and what fraction of peak it is.

Linear growth is a level line: microseconds a row and epoch over the rows, and nanoseconds a row
and parameter over the parameters. One thread, relu, cross-entropy, Adam, batch 128, shuffled.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import harness
import numpy as np
from options import OPTIONS, PLAIN, check, prepare
from workloads import Case

INPUTS, OUTPUTS, BATCH = 32, 10, 128
ROWS = (1_000, 3_162, 10_000, 31_623, 100_000, 316_228, 1_000_000)
PARAMETERS = (1_000, 3_162, 10_000, 31_623, 100_000, 316_228, 1_000_000, 3_162_278, 10_000_000)
PARAMETERS_MEANWHILE, ROWS_MEANWHILE = 10_000, 2_048
QUICK = 31_623  # the largest size with --quick


def network(parameters: int, rows: int) -> Case:
    """Return a case with two equal hidden layers and about so many parameters."""
    linear = INPUTS + OUTPUTS + 2
    width = (-linear + math.sqrt(linear**2 + 4 * (parameters - OUTPUTS))) / 2
    sizes = (INPUTS, max(1, round(width)), max(1, round(width)), OUTPUTS)
    return Case(f"{parameters}", sizes, "relu", "cross_entropy", BATCH, rows)


def count(case: Case) -> int:
    """Return the parameters of a case, biases included."""
    return sum(
        (i + 1) * o for i, o in zip(case.layer_sizes[:-1], case.layer_sizes[1:], strict=True)
    )


def measure(cases: Sequence[Case], rounds: int, turn: float) -> list[dict[str, Any]]:
    """Return a row a case."""
    plain = {PLAIN: OPTIONS[PLAIN]}

    def right() -> None:
        for case in cases:
            check(case, plain)

    calls = {f"{case.name}, {case.n_rows}": prepare(case, OPTIONS[PLAIN]) for case in cases}
    peaks = [harness.peak()]
    timings = harness.interleave(calls, check=right, rounds=rounds, turn=turn)
    peaks.append(harness.peak())
    rows = []
    for case, timing in zip(cases, timings.values(), strict=True):
        flops = case.flops / case.batch_size * case.n_rows
        rows.append(
            {
                "rows": case.n_rows,
                "parameters": count(case),
                "layer sizes": case.layer_sizes,
                "epoch": timing,
                "us a row": timing.median / case.n_rows * 1e6,
                "ns a row and parameter": timing.median / case.n_rows / count(case) * 1e9,
                "of peak": flops / timing.median / float(np.median(peaks)),
            }
        )
    return rows


def plot(path: str, results: dict[str, list[dict[str, Any]]]) -> None:
    """Draw both axes: cost on the left, fraction of peak on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, (axis, cost) in zip(
        axes, {"rows": "us a row", "parameters": "ns a row and parameter"}.items(), strict=True
    ):
        table = results[axis]
        at = [row[axis] for row in table]
        ax.plot(at, [row[cost] for row in table], "o-", color="tab:blue", lw=1.2, ms=3)
        ax.set(xscale="log", yscale="log", xlabel=axis)
        ax.set_ylabel(f"{cost} and epoch", color="tab:blue")
        middle = float(np.median([row[cost] for row in table]))
        ax.set_ylim(middle / 10, middle * 10)
        ax.grid(alpha=0.3)
        right = ax.twinx()
        right.plot(at, [row["of peak"] for row in table], "s--", color="tab:orange", lw=1, ms=3)
        right.set_ylim(0, 1)
        right.set_ylabel("fraction of multiply-add peak", color="tab:orange")
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, draw."""
    parser = harness.command_line(__doc__ or "", rounds=5, turn=0.1)
    many = parser.add_argument
    many("--quick", action="store_true", help=f"sizes up to {QUICK} only, two short turns")
    many("--plot", metavar="FILE", help="draw the results there (needs matplotlib)")
    options = parser.parse_args(argv)
    largest = QUICK if options.quick else max(*ROWS, *PARAMETERS)
    rounds, turn = (2, 0.01) if options.quick else (options.rounds, options.turn)
    cases = {
        "rows": [network(PARAMETERS_MEANWHILE, n) for n in ROWS if n <= largest],
        "parameters": [network(n, ROWS_MEANWHILE) for n in PARAMETERS if n <= largest],
    }
    results = {}
    for axis, sizes in cases.items():
        results[axis] = measure(sizes, rounds, turn)
        print(f"\n{'rows':>9}{'parameters':>12}{'us/row':>10}{'ns/row/par':>12}{'of peak':>9}")
        for row in results[axis]:
            print(
                f"{row['rows']:>9}{row['parameters']:>12}{row['us a row']:>10.3f}"
                f"{row['ns a row and parameter']:>12.4f}{row['of peak']:>9.1%}"
            )
    if options.plot:
        plot(options.plot, results)
    harness.write_json(options.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
