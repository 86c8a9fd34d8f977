"""How many rows and networks a fit may have, by its time limit and its memory."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core import control_groups
from fastmlp.tabular.plan.presets import (
    EVALUATION_SHARE,
    Preset,
    Recipe,
    batch_of,
    beginning,
    epochs_of,
)
from fastmlp.tabular.plan.progress import in_bytes
from fastmlp.tabular.recipe.members import seconds_of_epoch
from fastmlp.tabular.table.columns import Columns
from fastmlp.tabular.table.encoding import width_of

if TYPE_CHECKING:
    from fastmlp.tabular.outcome.targets import Target

FEWEST_ROWS = 5_000  # neither a time limit nor a lack of memory makes a sample smaller
PILOT_ROWS = 8_192  # rows read first, which tell the kinds of columns and how long reading takes
READING_SHARE = 0.4  # share of a time limit for the reading of a source
KEPT_SHARE = 0.25  # share of the memory for the rows of a source that wait for the plan
OVERRUN = 0.1  # share of a time limit that a fit may take longer without a note
ENOUGH_EPOCHS = 8  # all rows are used if this many epochs fit into the time
# ENCODING is the time of an epoch over that of a trial without the encoding of rows. PREPARATION is
# the time from reading to the first epoch over that of reading. Both are measured, and rounded up.
ENCODING, PREPARATION = 1.25, 2.0
PART = 65_536  # rows of a sample that are drawn at a time
FREE_SHARE = 0.8  # share of the free memory that a fit may take
MARGIN = 1.2  # factor on estimates of memory, whose error is up to 15 percent
SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(?:([kmgt])(i?))?b?\s*", re.IGNORECASE)

# For control groups of version 2 or 1: the files with the limit and the usage, and the name of the
# part of the usage that is a cache.
GROUPS = {
    True: ("memory.max", "memory.current", "inactive_file"),
    False: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def bytes_of(max_memory: Any) -> float:
    """Return the parameter ``max_memory`` in bytes; raise ValueError for a text without a size."""
    if max_memory is None:
        return FREE_SHARE * free_bytes()
    if not isinstance(max_memory, str):
        return float(max_memory)
    match = SIZE.fullmatch(max_memory)
    size = 0.0
    if match:
        number, unit, binary = match.groups()
        size = float(number) * (1024 if binary else 1000) ** (" kmgt".index((unit or " ").lower()))
    if not size:
        raise ValueError(
            f"max_memory is {max_memory!r} but a size above 0 is expected: pass for example '4GB', "
            "'500 MiB', or a number of bytes"
        )
    return size


def free_bytes(root: Path = Path("/")) -> float:
    """Return the memory free to this process by machine, control groups, ulimit; else infinity."""
    free = [1024 * kibibytes for kibibytes in _numbers(root / "proc/meminfo", "MemAvailable")]
    sizes = _numbers(root / "proc/self/status", "VmSize")
    for most, kibibytes in zip(
        _numbers(root / "proc/self/limits", "Max address space"), sizes, strict=False
    ):
        free.append(most - 1024 * kibibytes)
    for folder, is_second in control_groups.folders("memory", root):
        limit, usage, cache = GROUPS[is_second]
        for most, used in zip(_numbers(folder / limit), _numbers(folder / usage), strict=False):
            free.append(most - used + sum(_numbers(folder / "memory.stat", cache)))
    return max(min(free, default=math.inf), 0.0)


def _numbers(path: Path, name: str = "") -> list[int]:
    """Return the number that follows a name at the beginning of a line, if the file has one."""
    try:
        match = re.search(rf"^{name}:?\s*(\d+)", path.read_text(), re.MULTILINE)
    except OSError:
        return []
    return [int(match[1])] if match else []


@dataclass
class TablePlan:
    """The rows and the networks of a fit."""

    total_rows: int  # number of rows
    rows: int  # number of those that are used
    preset: Preset
    memory: float = 0.0  # estimated bytes
    notes: list[str] = field(default_factory=list)  # they name rows and networks that were left out


@dataclass(frozen=True)
class Budget:
    """The time and the memory of a fit, and what it trains with them."""

    preset: Preset
    deadline: float | None  # ``time.monotonic`` counts to it
    n_threads: int | None
    memory: float = math.inf  # bytes
    is_limited: bool = False  # whether the user has set the memory

    def overrun(self, seconds: Mapping[str, float]) -> list[str]:
        """Return a note if the phases of a fit took clearly longer than the time limit."""
        spent = sum(seconds.values())
        over = min(time.monotonic() - (self.deadline or math.inf), spent)
        if over <= OVERRUN * (spent - over):
            return []
        longest = max(seconds, key=lambda name: seconds[name])
        return [
            f"the fit took {spent:.3g} s, {over:.3g} s longer than time_limit: "
            f"{seconds[longest]:.3g} s for the {longest}"
        ]

    def plan(
        self, n: int, columns: Columns, missing: int, target: Target, reading: float
    ) -> TablePlan:
        """Return how many of n rows, and which networks, fit; ``reading`` is the time of a row."""
        preset, used = self.preset, n
        notes: list[str] = []
        fixed, row = memory_of(preset, n, target, columns, missing)
        if fixed + n * row > self.memory:
            size = in_bytes(self.memory)
            why = f"max_memory is {size}" if self.is_limited else f"{size} of memory is free"
            preset = self.preset.with_change(lambda each: replace(each, repeats=1, members=None))
            count = self.preset.repeats_of(self.preset.folds_of(n))
            if count > 1:
                notes.append(f"one network, not {count}, holds out each row, because {why}")
            fixed, row = memory_of(preset, n, target, columns, missing)
            fewest = min(n, FEWEST_ROWS)
            used = min(n, int((self.memory - fixed) / row))
            if used < fewest and self.is_limited:
                raise MemoryError(
                    f"max_memory is {size} but the fit takes about "
                    f"{in_bytes(fixed + fewest * row)} at least: raise it, or make the networks "
                    "smaller by preset='fast' or width="
                )
            used = max(used, fewest)
        rows = self._rows_in_time(preset, n, target, columns, missing, reading)
        if rows < used:
            why = f"more could not be learned {ENOUGH_EPOCHS} times within the time limit"
            used = rows
        if used < n:
            notes.append(f"{used:,} of {n:,} rows are used, a random sample: {why}")
        return TablePlan(n, used, preset, fixed + used * row, notes)

    def _rows_in_time(
        self, whole: Preset, n: int, target: Target, columns: Columns, missing: int, reading: float
    ) -> int:
        """Return how many rows can be read, and learned for `ENOUGH_EPOCHS`, in the time."""
        if self.deadline is None or n <= FEWEST_ROWS:
            return n
        first = beginning(whole, is_limited=True)
        preset, recipes = stages_of(first, target.kind, columns)[0]
        folds, recipe = preset.folds_of(n), recipes[0]
        members = folds * preset.repeats_of(folds)
        width = width_of(columns, missing, recipe.bins)
        rows = max(n - n // folds, 1)
        seconds = seconds_of_epoch(recipe, width, target, rows, members, self.n_threads)
        epoch = ENCODING * seconds / n / (1 - EVALUATION_SHARE)
        epochs = min(ENOUGH_EPOCHS, epochs_of(preset, recipe, n))
        seconds = PREPARATION * reading + epochs * epoch
        left = self.deadline - time.monotonic()
        return max(int(min(left / seconds, n)), FEWEST_ROWS)


def stages_of(
    preset: Preset, kind: str, columns: Columns
) -> list[tuple[Preset, tuple[Recipe, ...]]]:
    """Return the stages of a preset at their longest, each with its recipes."""
    recipes = preset.recipes_for(kind, columns)
    if not preset.trial_folds:
        return [(preset, recipes)]
    return [(preset.trial, recipes), (preset.longer(recipes), recipes)]


def memory_of(
    preset: Preset, n: int, target: Target, columns: Columns, missing: int
) -> tuple[float, float]:
    """Return the bytes that a fit takes about: for any number of rows, and per row."""
    numbers, codes = columns.n_numbers, len(columns.categories)
    outputs = (1 + target.loss.predicts_variance) * target.outputs
    trained, largest, held_out, most = 0.0, 0.0, 0.0, 0.0
    for stage, recipes in stages_of(preset, target.kind, columns):
        folds = stage.folds_of(n)
        repeats = stage.repeats_of(folds)
        members = folds * repeats
        learned = n - n // max(folds, 2)
        for recipe in recipes:
            width = width_of(columns, missing, recipe.bins)
            weights = 4.0 * members * recipe.work(width)
            batch = batch_of(max(learned, 1)) * (5 * sum(recipe.sizes(width)) - width)
            # In training activations of a batch, gradients, two moments and copies.
            largest = max(largest, 4.0 * members * batch + 5 * weights)
            trained += 2 * weights
        held_out += 8 * repeats * outputs * len(recipes)
        # Indices of folds, encoded targets and out-of-fold predictions.
        places = 8 * (members * learned / n + 2 * repeats)
        most = max(most, places + 4 * members * outputs + 16 * repeats * outputs)
    row = 8 * numbers + 4 * codes + 32 * target.outputs + 48 * outputs + held_out + most
    return MARGIN * (trained + largest), MARGIN * row


def sample(n: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a uniform sample of ``count`` of n rows, in ascending order."""
    rows = []
    for at in range(0, n, PART):  # one part at a time: memory is needed for the sample alone
        part = min(PART, n - at)
        taken = int(rng.hypergeometric(count, n - at - count, part))
        rows.append(at + np.sort(rng.choice(part, taken, replace=False)))
        count -= taken
    return np.concatenate(rows)
