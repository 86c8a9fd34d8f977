"""All that a fit has trained: groups of members, one a recipe, and how much each counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular import members
from fastmlp.tabular.columns import Columns, Table
from fastmlp.tabular.epoch_selection import of_all, ranked
from fastmlp.tabular.members import FitOptions, Splits, TrainedMembers, TrainingResult
from fastmlp.tabular.presets import epochs_of, quick_epochs
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
    """

    blend: Blend
    out_of_fold: Array
    alone: float
    together: float
    all: float
    trained: list[TrainingResult]
    notes: list[str]


def fit(
    table: Table,
    columns: Columns,
    target: Any,
    weights: Array | None,
    division: Splits,
    request: FitOptions,
) -> BlendResult:
    """Train the recipes of a preset while there is time, and blend what helps.

    Parameters
    ----------
    table, columns, target, weights, division, request
        As for ``members.train``.
    """
    groups: list[TrainingResult] = []
    notes = list(division.notes)
    recipes = request.preset.of(target.kind, len(columns.numbers))
    n, size, rows = len(table), len(division.learn), max(map(len, division.learn))
    for k, recipe in enumerate(recipes):
        epoch = seconds_an_epoch(recipe, rows, size, table, columns, target, request)
        # One that is cut to less than half of its epochs, and those of "fast", adds little.
        needed = epoch * min(epochs_of(request.preset, recipe, n) / 2, quick_epochs(target.kind, n))
        if groups and request.deadline is not None and request.deadline - time.monotonic() < needed:
            notes.append(f"{k} of {len(recipes)} recipes, for the time was over")
            break
        groups.append(
            members.train(recipe, table, columns, target, weights, division, request, epoch)
        )
    notes += [
        f"{group.run} epoch{'s' * (group.run > 1)} instead of {group.planned}, for {group.why}"
        for group in groups
        if group.run < group.planned
    ]
    return _blended(groups, target, weights, request, notes)


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
