"""Time limits: an estimate of the time per epoch, and the choice of recipes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from fastmlp.tabular.columns import Columns, Table
from fastmlp.tabular.encoding import width_of, with_missing
from fastmlp.tabular.members import FitOptions
from fastmlp.tabular.networks import seconds_of_epoch
from fastmlp.tabular.presets import PRESETS, Recipe, epochs_of, quick_epochs


def seconds_an_epoch(
    recipe: Recipe,
    rows: int,
    members: int,
    table: Table,
    columns: Columns,
    target: Any,
    request: FitOptions,
) -> float:
    """Return the estimated seconds per epoch if the time is limited, else 0."""
    if request.deadline is None:
        return 0.0
    width = width_of(columns, len(with_missing(table)), recipe.bins)
    return seconds_of_epoch(recipe, width, target, rows, members, request.n_threads)


def in_time(request: FitOptions, table: Table, columns: Columns, target: Any) -> list[str]:
    """Put the recipe of "fast" first if the time does not suffice for the preset; return notes.

    "fast" learns more in the time of one epoch of the other presets, while it still improves. A
    preset with the user's own choices stays.
    """
    preset, fast, n = request.preset, PRESETS["fast"], len(table)
    if request.deadline is None or preset is fast or preset not in PRESETS.values():
        return []
    recipes = preset.of(target.kind, len(columns.numbers))
    folds = preset.folds_of(n)
    rows, members = max(n - n // folds, 1), folds * preset.repeats_of(folds)
    epoch = seconds_an_epoch(recipes[0], rows, members, table, columns, target, request)
    epochs = min(epochs_of(preset, recipes[0], n), quick_epochs(target.kind, n))
    if time.monotonic() + epochs * epoch <= request.deadline:
        return []
    part = fast.epochs / preset.epochs
    first = tuple(replace(recipe, share=recipe.share * part) for recipe in fast.of(target.kind))
    request.preset = replace(fast, epochs=preset.epochs, recipes=first + recipes, first={})
    return [
        f"fast first ({first[0].title}), because {epochs} epochs of {recipes[0].title} would take "
        f"{epochs * epoch:.2g} s"
    ]
