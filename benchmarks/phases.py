"""A time line of one training step on one thread, by phases, beside the whole step.

Each phase is timed by itself, in the order and with the memory of a step. Where a level has
registers for both, a real step overlaps the optimizer with the next gradient: `apart, %` is what
the phases take more than the step. `update` has the optimizer's constants once for each piece of
weights, a step once. `of peak, %` is the time of the products at the peak of multiply-adds, over
that of the step. The report and the choice of pieces are in none of the phases. Times are the
shortest of many rounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from harness import Names, Rows, limited
from workloads import CASES, Case

import fastmlp
from fastmlp._engine import kernels, native_engine
from fastmlp._engine.plan import Plan
from fastmlp._network.data import Data

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

MORE = (
    Case("40-256x3-1", (40, 256, 256, 256, 1), "relu", "squared_error", 256, 5_120),
    Case("8-16-1", (8, 16, 1), "relu", "squared_error", 8, 4_096),
)
KNOWN = CASES | {case.name: case for case in MORE}
ALL = Names.of(KNOWN)
LEVELS = Names.of(native_engine.available_levels())


def time_line(case: Case, level: str, rounds: int) -> dict[str, float]:
    """Return microseconds of a step by phases, then those of the whole step."""
    from probing import probe

    x, y = case.data()
    steps = max(6, min(case.steps, 20_000_000 // case.flops))
    rows = steps * case.batch_size
    data = Data(x[:rows], y[:rows].astype(np.int32) if case.classifies else y[:rows])
    net = fastmlp.MLP(case.layer_sizes, activation=case.activation, loss=case.loss, rng=0)
    engine = native_engine.Engine(net._spec, level)
    engine.set_parameters(*net._engine.parameters())
    optimizer = fastmlp.Adam()
    engine.start(optimizer)
    rng, best, whole = np.random.default_rng(0), dict[str, float](), np.inf
    for _ in range(rounds):
        plan = Plan(optimizer, case.batch_size, np.full(steps, 1e-3), rng.permutation(rows))
        engine.epoch(data, plan)  # after the phases, it first copies the parameters
        start = time.thread_time()
        engine.epoch(data, plan)
        whole = min(whole, time.thread_time() - start)
        for phase, spent in probe.phases(engine, data, plan).items():
            best[phase] = min(spent, best.get(phase, np.inf))
    return {phase: spent / steps * 1e6 for phase, spent in (best | {"step": whole}).items()}


def measure(
    cases: Names = ALL,
    levels: Names = LEVELS,
    rounds: int = 40,
    plot: str | None = None,
) -> Iterator[tuple[str, Rows]]:
    """Yield the phases of each case in microseconds, and draw them as stacked bars."""
    lines: dict[str, dict[str, float]] = {}
    with limited(1):
        for level in levels:
            rows: Rows = {}
            peak = kernels.peak("float32", level) * 1e3  # operations in a microsecond
            for case in map(KNOWN.__getitem__, cases):
                us = time_line(case, level, rounds)
                whole = us.pop("step")
                lines[f"{case.name}, {level}"] = us
                apart = 100 * (sum(us.values()) / whole - 1)
                share = 100 * case.flops / (whole * peak)
                rows[case.name] = {**us, "step": whole, "of peak, %": share, "apart, %": apart}
            yield f"a step by phases, us, {level}, one thread, peak {peak / 1e3:.0f} GFLOP/s", rows
    if plot:
        draw(plot, lines)


def draw(path: str, lines: dict[str, dict[str, float]]) -> None:
    """Draw the share of each phase as stacked bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.4 * len(lines) + 1), layout="constrained")
    ax = figure.subplots()
    for name, us in reversed(lines.items()):
        left = 0.0
        for k, (phase, spent) in enumerate(us.items()):
            share = 100 * spent / sum(us.values())
            label = phase if name == next(iter(lines)) else None
            ax.barh(name, share, left=left, color=f"C{k}", label=label)
            left += share
    ax.set(xlabel="% of the phases of a step", xlim=(0, 100))
    figure.legend(ncols=7, loc="outside upper center", frameon=False)
    figure.savefig(path, dpi=150)
