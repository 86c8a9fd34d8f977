"""What one network that has learned from all members loses, and how much faster it is.

On scikit-learn's sets: the error of all members together, of single ones (their mean), and of the
network of `distill`, on rows that none has learned from (root mean squared error, or log loss), and
the CPU time of one row by `predictor()` and by `distill`.
"""

from __future__ import annotations

import importlib.util
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import harness
import numpy as np
import tables
from harness import FAULT, CannotRunError, Names, Rows
from tabular import SMALLEST, ours

PRESETS = Names.of(("fast", "default"))
CALLS = 200  # a turn


def seconds(call: Callable[[Any], Any], row: list[float]) -> float:
    """Return the CPU time of a row."""
    began = time.process_time()
    for _ in range(CALLS):
        call(row)
    return (time.process_time() - began) / CALLS


def error(y: Any, said: Any, classes: bool) -> float:
    """Return the log loss, or the root mean squared error."""
    if classes:
        return float(-np.mean(np.log(np.maximum(said[np.arange(len(y)), y], SMALLEST))))
    return float(np.sqrt(np.mean((said - y) ** 2)))


def compare(preset: str, split: tables.Split, classes: bool, rounds: int) -> dict[str, Any]:
    """Return a row of the table."""
    model = ours(preset).build(classes, 2, split.X).fit(split.X, split.y)
    calls = {"all": model.predictor(), "distilled": model.distill(split.X).predictor()}
    rows = np.asarray(split.X_test, float)
    said = {name: np.array([call(row) for row in rows.tolist()]) for name, call in calls.items()}
    table, finish = model._fitted.columns.read(rows), model._fitted.calibration.result
    groups = model._fitted.blend.groups
    alone = [finish(g.predict_one(k, table)) for g in groups for k in range(len(g))]
    errors = {name: error(split.y_test, each, classes) for name, each in said.items()}
    errors["single"] = statistics.fmean(error(split.y_test, each, classes) for each in alone)
    turns: dict[str, list[float]] = {name: [] for name in calls}
    for names in harness.rotations(calls, rounds):
        for name in names:
            turns[name].append(seconds(calls[name], rows[0].tolist()))
    expected = model.predict_proba(rows) if classes else model.predict(rows)
    wrong = not np.allclose(said["all"], expected) or not math.isfinite(errors["distilled"])
    return {
        **{f"error, {name}": errors[name] for name in ("all", "single", "distilled")},
        **{f"us, {name}": 1e6 * statistics.median(turns[name]) for name in calls},
        **({FAULT: "WRONG"} if wrong else {}),
    }


def measure(
    cases: tuple[str, ...] = ("all",), models: Names = PRESETS, rounds: int = 20
) -> Iterator[tuple[str, Rows]]:
    """Compare errors and times, set by set."""
    if importlib.util.find_spec("sklearn") is None:
        raise CannotRunError("needs scikit-learn: pip install scikit-learn")
    warnings.simplefilter("ignore")
    for each in tables.built_in():
        if "all" in cases or each.name in cases:
            split = next(iter(each.splits(1)))
            yield (
                f"{each.name}, {'log loss' if each.classes else 'RMSE'}",
                {preset: compare(preset, split, each.classes, rounds) for preset in models},
            )
