"""Predict with fastmlp and with every other installed library, in alternation.

`python benchmarks/rivals.py --predict`. Each library lives in a process of its own, pinned to as
many CPUs as it has threads. Before anything is timed its predictions are compared with those of
float64 NumPy. NumPy array in, NumPy array out, link included, through Python.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import harness
import numpy as np
from predictors import PREDICTED, PREDICTORS, expected, flops, inputs
from workers import Worker, available_cpus, take_turns

OURS = "fastmlp p(x)"
ALL_OURS = tuple(name for name in PREDICTORS if name.startswith("fastmlp"))
TOLERANCE = 1e-3  # relative, and a tenth of it absolute, of predictions of order one


class Session:
    """What a worker process does with its library."""

    def __init__(self, name: str, threads: int) -> None:
        self.make, self.threads = PREDICTORS[name][1], threads

    def load(self, case: str, rows: int) -> Any:
        """Prepare a case; return its predictions."""
        x = inputs(PREDICTED[case], rows)
        statement, names = self.make(PREDICTED[case], x, self.threads)
        self.timer = timeit.Timer(statement, globals=names)
        return np.array(eval(statement, names)).reshape(rows, -1)

    def calibrate(self, turn: float) -> int:
        """Warm up; choose the calls of a turn and return them."""
        self.calls = 1
        while (spent := self.timer.timeit(self.calls)) < turn / 2:
            self.calls *= max(2, min(8, int(turn / max(spent, 1e-9))))
        self.calls = max(1, round(self.calls * turn / spent))
        return self.calls

    def turn(self) -> float:
        """Predict for one turn; return the seconds of a call."""
        return self.timer.timeit(self.calls) / self.calls

    def peak(self) -> float:
        """Return the multiply-add peak of the threads, in FLOP/s."""
        return harness.peak("float32", self.threads)


def measure(
    case: str, rows: int, workers: dict[str, Worker], rounds: int, turn: float
) -> dict[str, Any]:
    """Check and time one case on all workers; return a row a library."""
    table: dict[str, Any] = {}
    sound = {}
    right = expected(PREDICTED[case], inputs(PREDICTED[case], rows))
    for name, worker in workers.items():
        try:
            got = worker.ask("load", case, rows)
            np.testing.assert_allclose(got, right, rtol=TOLERANCE, atol=TOLERANCE / 10)
            worker.ask("calibrate", turn)
        except (RuntimeError, AssertionError) as error:
            table[name] = {"not timed": " ".join(str(error).split())}
            continue
        sound[name] = worker
    seconds, peaks = take_turns(sound, rounds, OURS)
    peak = float(np.median(peaks)) if peaks else float("nan")
    for name, values in seconds.items():
        timing = harness.Timing.of(values)
        fraction = flops(PREDICTED[case], rows) / timing.median / peak
        table[name] = {"seconds a call": timing, "of peak": fraction, "peak": peak}
    return table


def show(case: str, rows: int, threads: int, table: dict[str, Any]) -> None:
    """Print the table of one case: how many times as long as the predictor each takes."""
    timed = {name: row["seconds a call"] for name, row in table.items() if "of peak" in row}
    ours = timed[OURS].median if OURS in timed else float("nan")
    sizes = "-".join(map(str, PREDICTED[case].layer_sizes))
    turns = max((timing.turns for timing in timed.values()), default=0)
    peak = next((row["peak"] / 1e9 for row in table.values() if "peak" in row), float("nan"))
    print(
        f"\n{case}: {sizes} relu, {rows} row{'s' * (rows > 1)}, {threads} "
        f"thread{'s' * (threads > 1)}, peak {peak:.0f} GFLOP/s, {turns} rounds count"
    )
    print(f"  {'':<18}{'us/call':>11}{'spread':>9}{'of peak':>9}{'this / p(x)':>13}")
    for name in sorted(table, key=lambda n: timed[n].median if n in timed else float("inf")):
        if name not in timed:
            print(f"  {name:<18}NOT TIMED: {table[name]['not timed']}")
            continue
        timing = timed[name]
        print(
            f"  {name:<18}{timing.median * 1e6:>11.3f}{timing.spread:>9.1%}"
            f"{table[name]['of peak']:>9.1%}{timing.median / ours:>12.2f}x",
            flush=True,
        )


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = harness.command_line(__doc__ or "", rounds=9, turn=0.2, prog="rivals.py --predict")
    rivals = [name for name in PREDICTORS if name not in ALL_OURS]
    many = parser.add_argument
    many("--cases", nargs="+", choices=PREDICTED, default=list(PREDICTED), help="default: all")
    many("--rows", nargs="+", type=int, default=[1, 1024], help="rows of a call (default 1 1024)")
    many(
        "--threads",
        nargs="+",
        type=harness.positive(int, available_cpus()),
        default=[1],
        help="default: 1",
    )
    many("--rivals", nargs="*", choices=rivals, default=rivals, help="default: all installed")
    options = parser.parse_args(argv)
    for rows in options.rows:
        if not 1 <= rows <= min(case.n_rows for case in PREDICTED.values()):
            parser.error(f"--rows {rows}: the cases have fewer")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison."""
    options = arguments(argv)
    chosen = []
    missing: dict[str, list[str]] = {}
    for name in (*ALL_OURS, *options.rivals):
        lacks = [module for module in PREDICTORS[name][0] if find_spec(module) is None]
        if lacks:
            print(f"{name} is left out: pip install {' '.join(lacks)}")
            missing[name] = lacks
        else:
            chosen.append(name)
    results: dict[str, Any] = {"missing": missing}
    faulty = False
    for threads in options.threads:
        workers = {name: Worker(name, Session, threads) for name in chosen}
        for case in options.cases:
            for rows in options.rows:
                table = measure(case, rows, workers, options.rounds, options.turn)
                show(case, rows, threads, table)
                results[f"{case}, {rows} rows, {threads} threads"] = table
                faulty |= any("not timed" in row for row in table.values())
        for worker in workers.values():
            worker.close()
    harness.write_json(options.json, results)
    return int(faulty)
