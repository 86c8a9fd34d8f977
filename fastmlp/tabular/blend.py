"""All that a fit has trained: groups of members, one a recipe, and how much each counts."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular import members
from fastmlp.tabular.columns import Columns, Table
from fastmlp.tabular.encoding import width_of, with_missing
from fastmlp.tabular.epoch_selection import TIME_WAS_OVER, of_all, ranked
from fastmlp.tabular.members import INTERRUPTED, FitOptions, Splits, TrainedMembers, TrainingResult
from fastmlp.tabular.presets import epochs_of, quick_epochs
from fastmlp.tabular.progress import Progress
from fastmlp.tabular.selection import greedy
from fastmlp.tabular.timing import seconds_an_epoch

Array = NDArray[Any]


@dataclass
class Blend:
    """Groups of members that predict together.

    Attributes
    ----------
    groups : list of Members
        Those that count.
    weights : array, shape (groups,)
        How much; they sum to 1.
    """

    groups: list[TrainedMembers]
    weights: Array

    def predict(self, table: Table) -> Array:
        """Return the prediction of all, (n, columns)."""
        each = [group.predict(table) for group in self.groups]
        return blended(self.weights.tolist(), each)

    def of_division(self, k: int, table: Table) -> Array:
        """Return the predictions of those members, one a group, that learn from the same rows."""
        each = [group.of_one(k, table) for group in self.groups]
        return blended(self.weights.tolist(), each)

    def __len__(self) -> int:
        return sum(len(group.ensemble) for group in self.groups)


def blended(weights: Sequence[float], each: list[Array]) -> Array:
    """Return the weighted sum of predictions, in their order."""
    total = weights[0] * each[0]
    for weight, own in zip(weights[1:], each[1:], strict=True):
        total = total + weight * own
    return np.asarray(total)


@dataclass
class BlendResult:
    """What a fit has come to.

    Attributes
    ----------
    blend : Blend
        What predicts.
    out_of_fold : array, shape (n, columns)
        What it says of rows that its members have not learned from.
    alone, together, all : float
        Costs there: of single members, of those of a row, and, as is supposed, of all members.
    trained : list of Trained
        The groups that count, the one that counts most first.
    notes : list of str
        What was done otherwise than the preset says.
    stopped : str
        Why the user ended the fit early, if that happened.
    """

    blend: Blend
    out_of_fold: Array
    alone: float
    together: float
    all: float
    trained: list[TrainingResult]
    notes: list[str]
    stopped: str = ""


def fit(
    table: Table,
    columns: Columns,
    target: Any,
    weights: Array | None,
    division: Splits,
    request: FitOptions,
) -> BlendResult:
    """Train the recipes of a preset until time is over or the user stops, and blend what helps.

    Parameters
    ----------
    table, columns, target, weights, division, request
        As for ``members.train``.
    """
    groups: list[TrainingResult] = []
    over = ""
    recipes = request.preset.of(target.kind, len(columns.numbers))
    n, size, rows = len(table), len(division.learn), max(map(len, division.learn))
    width = functools.partial(width_of, columns, len(with_missing(table)))
    epochs = [epochs_of(request.preset, recipe, n) for recipe in recipes]
    work = [e * r.work(width(r.bins)) for e, r in zip(epochs, recipes, strict=True)]
    progress = Progress(work, target, request.deadline, request.n_threads, request.verbose)
    request = replace(request, callbacks=[*request.callbacks, progress])
    try:
        for k, recipe in enumerate(recipes):
            epoch = seconds_an_epoch(recipe, rows, size, table, columns, target, request)
            # One that is cut to less than half of its epochs, and those of "fast", adds little.
            needed = epoch * min(epochs[k] / 2, quick_epochs(target.kind, n))
            end = math.inf if request.deadline is None else request.deadline
            if groups and end - time.monotonic() < needed:
                over = TIME_WAS_OVER
                break
            progress.begin(k)
            data = table, columns, target, weights
            groups.append(members.train(recipe, *data, division, request, epoch))
            if groups[-1].stopped:
                break
    except KeyboardInterrupt:
        if not groups:
            raise
        groups[-1].stopped = INTERRUPTED
    finally:
        progress.close()
    stopped = groups[-1].stopped
    notes = [*division.notes, *_cut(groups, stopped or over, len(recipes))]
    return replace(_blended(groups, target, weights, request, notes), stopped=stopped)


def _cut(groups: list[TrainingResult], why: str, count: int) -> list[str]:
    """Return a note for each reason to train less than planned: recipes, and epochs of them."""
    cut: dict[str, list[str]] = {}
    if len(groups) < count:
        cut[why] = [f"{len(groups)} of {count} recipes"]
    for group in groups:
        if group.run < group.planned:
            text = f"{group.recipe.title} after {group.run} of {group.planned} epochs"
            cut.setdefault(group.why, []).append(text)
    return [f"ended early because {why}: {'; '.join(texts)}" for why, texts in cut.items()]


def _blended(
    groups: list[TrainingResult],
    target: Any,
    weights: Array | None,
    request: FitOptions,
    notes: list[str],
) -> BlendResult:
    said = [group.held_out.prediction(target) for group in groups]

    def cost(prediction: Array) -> float:
        if request.scorer is not None:
            return ranked(-request.scorer(prediction))
        return float(np.average(target.costs(prediction), weights=weights))

    shares = greedy(said, cost)
    order = [k for k in np.argsort(-shares, kind="stable") if shares[k] > 0]
    shares, said = shares[order], [said[k] for k in order]
    groups = [groups[k] for k in order]
    found = np.tensordot(shares, np.stack(said), axes=1)
    together = float(np.average(target.costs(found), weights=weights))
    scores = [group.held_out.scores(target, weights) for group in groups]
    # What averaging more members takes off one group is the variance of its members.
    gains = [pair - of_all(alone, pair, target.averaging) for alone, pair in scores]
    return BlendResult(
        Blend([group.members for group in groups], shares),
        found,
        float(np.dot(shares, [alone for alone, _ in scores])),
        together,
        together - float(np.dot(shares**2, gains)),
        groups,
        notes,
    )
