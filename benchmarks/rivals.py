"""Train the four cases with fastmlp and with every other installed library, in alternation.

Each library lives in a process of its own, with its threads limited before it is imported by
environment and CPU affinity. All start from the same weights on the same data. Before anything is
timed, each trains an epoch in row order and one shuffled, and the loss of its weights, computed in
float64, has to agree with that of a float64 training. Then they take turns of about a third of a
second, every turn one or more whole shuffled epochs.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import harness
import numpy as np
import rivals_predict
from trainers import TRAINERS
from workers import Worker, available_cpus, take_turns
from workloads import CASES, NumpyTrainer, loss

OURS = "fastmlp"
# Relative difference of the loss allowed after one epoch: in row order (the same sums, in float32)
# and in a random order of the library's own.
TOLERANCES = {"in row order": 0.01, "shuffled": 0.1}


class Session:
    """What a worker process does with its library."""

    def __init__(self, rival: str, threads: int) -> None:
        self.make: Callable[..., Any] = TRAINERS[rival][1]
        self.threads = threads

    def load(self, case: str) -> dict[str, Any]:
        """Prepare a case; return the weights after one epoch of each kind."""
        self.case = CASES[case]
        self.trainer = self.make(self.case, self.threads)
        weights = {}
        for kind in TOLERANCES:
            self.trainer.reset()
            self.trainer.train(1, kind == "shuffled")
            weights[kind] = [(w.copy(), b.copy()) for w, b in self.trainer.get()]
        return weights

    def calibrate(self, turn: float) -> int:
        """Warm up; choose the epochs of a turn and return them."""
        self.epochs = harness.calibrate(functools.partial(self.trainer.train, 1, True), turn)
        return self.epochs

    def turn(self) -> float:
        """Train one turn; return the seconds of a step."""
        start = time.perf_counter()
        self.trainer.train(self.epochs, True)
        return (time.perf_counter() - start) / self.epochs / self.case.steps

    def peak(self) -> float:
        """Return the multiply-add peak of the threads, in FLOP/s."""
        return harness.peak("float32", self.threads)


@functools.cache
def expected(case: str) -> dict[str, float]:
    """Return the losses after one epoch of each kind, by NumPy in float64, and the first loss."""
    trainer = NumpyTrainer(CASES[case], np.float64)
    data = CASES[case].data()
    losses = {"at first": loss(CASES[case], trainer.get(), *data)}
    for kind in TOLERANCES:
        trainer.reset()
        trainer.train(1, kind == "shuffled")
        losses[kind] = loss(CASES[case], trainer.get(), *data)
    return losses


def complaints(case: str, weights: dict[str, Any]) -> list[str]:
    """Say where the losses of these weights differ from the float64 training."""
    right = expected(case)
    data = CASES[case].data()
    found = []
    for kind, tolerance in TOLERANCES.items():
        value = loss(CASES[case], weights[kind], *data)
        # The tolerance is part of what the epoch achieved too: a rival that stands still fails.
        allowed = tolerance * min(right[kind], abs(right["at first"] - right[kind]))
        if not abs(value - right[kind]) <= allowed:
            found.append(f"loss {value:.5f} {kind} instead of {right[kind]:.5f} +- {allowed:.5f}")
    return found


def measure(case: str, workers: dict[str, Worker], rounds: int, turn: float) -> dict[str, Any]:
    """Check and time one case on all workers; return a row a library."""
    rows: dict[str, Any] = {}
    sound = {}
    for rival, worker in workers.items():
        try:
            wrong = complaints(case, worker.ask("load", case))
        except RuntimeError as error:
            wrong = [str(error)]
        if wrong:
            rows[rival] = {"not timed": "; ".join(wrong)}
            continue
        worker.ask("calibrate", turn)
        sound[rival] = worker
    seconds, peaks = take_turns(sound, rounds, OURS)
    peak = float(np.median(peaks)) if peaks else float("nan")
    for rival, values in seconds.items():
        timing = harness.Timing.of(values)
        fraction = CASES[case].flops / timing.median / peak
        rows[rival] = {"seconds a step": timing, "of peak": fraction, "peak": peak}
    return rows


def show(case: str, threads: int, rows: dict[str, Any]) -> None:
    """Print the table of one case."""
    timed = {name: row["seconds a step"] for name, row in rows.items() if "of peak" in row}
    others = [timing.median for name, timing in timed.items() if name != OURS]
    best = min(others, default=float("nan"))
    sizes = "-".join(map(str, CASES[case].layer_sizes))
    turns = max((timing.turns for timing in timed.values()), default=0)
    peak = next((row["peak"] / 1e9 for row in rows.values() if "peak" in row), float("nan"))
    plural = "" if threads == 1 else "s"
    print(
        f"\n{case}: {sizes} {CASES[case].activation}, {CASES[case].loss}, batch "
        f"{CASES[case].batch_size}, {threads} thread{plural}, peak {peak:.0f} GFLOP/s, "
        f"{turns} rounds count"
    )
    print(f"  {'':<14}{'us/step':>11}{'spread':>9}{'of peak':>9}{'best rival / this':>19}")
    speed = {name: timed[name].median if name in timed else float("inf") for name in rows}
    for name in sorted(rows, key=speed.__getitem__):
        if name not in timed:
            print(f"  {name:<14}NOT TIMED: {rows[name]['not timed']}")
            continue
        timing, fraction = timed[name], rows[name]["of peak"]
        print(
            f"  {name:<14}{timing.median * 1e6:>11.2f}{timing.spread:>9.1%}{fraction:>9.1%}"
            f"{best / timing.median:>18.2f}x",
            flush=True,
        )


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = harness.command_line(__doc__ or "", rounds=9, turn=0.3)
    rivals = [name for name in TRAINERS if name != OURS]
    many = parser.add_argument
    many("--cases", nargs="+", choices=CASES, default=list(CASES), help="default: all four")
    many(
        "--threads",
        nargs="+",
        type=harness.positive(int, available_cpus()),
        default=[1, 2],
        help="default: 1 2",
    )
    many("--rivals", nargs="*", choices=rivals, default=rivals, help="default: all installed")
    many("--predict", action="store_true", help="predictions; has options of its own (--help)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if "--predict" in argv:
        argv.remove("--predict")
        return rivals_predict.main(argv)
    options = arguments(argv)
    chosen = [OURS, *options.rivals]
    missing = [name for name in chosen if find_spec(TRAINERS[name][0]) is None]
    for name in missing:
        print(f"{name} is not installed: left out (pip install {TRAINERS[name][0]})")
    results: dict[str, Any] = {"missing": missing}
    faulty = False
    for threads in options.threads:
        workers = {name: Worker(name, Session, threads) for name in chosen if name not in missing}
        for case in options.cases:
            rows = measure(case, workers, options.rounds, options.turn)
            show(case, threads, rows)
            results[f"{case}, {threads} threads"] = rows
            faulty |= any("not timed" in row for row in rows.values())
        for worker in workers.values():
            worker.close()
    harness.write_json(options.json, results)
    return int(faulty)


if __name__ == "__main__":
    sys.exit(main())
