"""float64 against float32, and every CPU level that runs here against the best, in turns.

Targets: AVX2 within 10 percent of AVX-512, float64 at half the speed of float32 or better. The
first epoch of a level is compared with the NumPy engine's before anything is timed.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

import harness
from options import Option, check, less, prepare
from workloads import CASES, Case

import fastmlp
from fastmlp.engine import backend


def on_level(level: str) -> type[fastmlp.MLP]:
    """Return an MLP whose engine uses the kernels of a level."""

    class Leveled(fastmlp.MLP):
        _engine_type = staticmethod(functools.partial(backend.Engine, level=level))

    return Leveled


def measure(case: Case, levels: Sequence[str], rounds: int, turn: float) -> dict[str, Any]:
    """Return a row for each level and dtype; ratios are to float32 on the best level."""
    choices = {
        f"{level} {dtype}": (on_level(level), Option(less, net={"dtype": dtype}))
        for level in levels
        for dtype in backend.DTYPES
    }
    calls = {name: prepare(case, option, kind) for name, (kind, option) in choices.items()}

    def right() -> None:
        for name, (kind, option) in choices.items():
            check(case, {name: option}, kind)

    timings = harness.interleave(calls, check=right, rounds=rounds, turn=turn)
    best = timings[f"{levels[0]} float32"].median
    return {
        name: {
            "us a step": timing.median / case.steps * 1e6,
            "epoch": timing,
            "ratio": timing.median / best,
            "to float32": timing.median / timings[name.split()[0] + " float32"].median,
        }
        for name, timing in timings.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table a case."""
    parser = harness.command_line(__doc__ or "", rounds=9, turn=0.2)
    many = parser.add_argument
    many("--cases", nargs="+", choices=CASES, default=["small", "mnist", "wide"])
    options = parser.parse_args(argv)
    levels = backend.available_levels()
    results = {}
    for name in options.cases:
        results[name] = measure(CASES[name], levels, options.rounds, options.turn)
        print(f"\n{name}: batch {CASES[name].batch_size}, 1 thread")
        print(f"  {'':<18}{'us/step':>11}{'spread':>9}{'to the best':>13}{'to float32':>12}")
        for each, row in results[name].items():
            print(
                f"  {each:<18}{row['us a step']:>11.2f}{row['epoch'].spread:>9.1%}"
                f"{row['ratio']:>13.3f}{row['to float32']:>12.3f}",
                flush=True,
            )
    harness.write_json(options.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
