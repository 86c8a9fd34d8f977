"""The time of a fit that is limited: whether there is some for another epoch, or for a preset."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.columns import Columns, Table
from fastmlp.tabular.conformal import MOST_ROWS
from fastmlp.tabular.encoding import width_of, with_missing
from fastmlp.tabular.networks import seconds_of_epoch
from fastmlp.tabular.presets import AFTER, PRESETS, Cycles, Preset, Recipe, epochs_of, quick_epochs

FIRST_LOOK = 0.25  # of an epoch, before there was one
TICK = 1e-9  # no epoch is shorter, whatever a clock says


@dataclass
class Request:
    """What a fit is asked for, besides its data.

    Attributes
    ----------
    preset : Preset
        What is trained.
    rng : numpy.random.Generator
        Of folds, first weights, orders.
    deadline : float or None
        Of ``time.monotonic``.
    scorer : callable or None
        See `JointEpoch`.
    n_threads : int or None
        Of ``Ensemble.fit``.
    callbacks : sequence of callables
        Of ``Ensemble.fit``.
    """

    preset: Preset
    rng: np.random.Generator
    deadline: float | None = None
    scorer: Callable[[NDArray[Any]], float] | None = None
    n_threads: int | None = None
    callbacks: Sequence[Any] = ()


class Clock:
    """What is left of the time for one recipe; it is made when its training begins.

    Parameters
    ----------
    deadline : float
        Of ``time.monotonic``, for all of the fit.
    epoch : float
        Seconds that an epoch is thought to take, until one has ended.
    after : float
        What comes after training takes as long as so many looks at held-out rows.
    """

    def __init__(self, deadline: float, epoch: float, after: float) -> None:
        self._deadline, self._after = deadline, after
        self._began = self._last = time.monotonic()
        self._epoch = max(epoch, TICK)
        self._look = FIRST_LOOK * self._epoch
        self._is_measured = False

    def looked(self, seconds: float) -> None:
        """Say how long a look at held-out rows has taken."""
        self._look = seconds

    def ended(self) -> bool:
        """Say that an epoch, and its look, have ended; return whether there is no time for more."""
        now = time.monotonic()
        took, self._last = max(now - self._last, TICK), now
        self._epoch = max(self._epoch, took) if self._is_measured else took
        self._is_measured = True
        return self._epoch > self._left(now)

    def passed(self) -> float:
        """Return the share of the training that is over: its end is that of a whole epoch."""
        spent, more = self._spent_and_more()
        return spent / (spent + more)

    def shares(self, n: int) -> NDArray[np.float64]:
        """Return the same for each of the n steps of the next epoch."""
        spent, more = self._spent_and_more()
        return (spent + self._epoch * np.arange(n) / n) / (spent + more)

    def _spent_and_more(self) -> tuple[float, float]:
        now = time.monotonic()
        epochs = max(math.floor(self._left(now) / self._epoch), 1)
        return now - self._began, epochs * self._epoch

    def _left(self, now: float) -> float:
        return self._deadline - now - self._after * self._look


@dataclass(frozen=True)
class TimedCycles(Cycles):
    """The same, of the larger of two shares: of the steps, and of the time.

    Parameters
    ----------
    rate, n_steps
        As for `Cycles`.
    clock : Clock
        That of the recipe.
    """

    clock: Clock

    def _rate(self, step: NDArray[np.int64]) -> NDArray[np.float64]:
        timed = self.clock.shares(step.size).reshape(step.shape)
        return self.at(np.minimum(np.maximum(step / self.n_steps, timed), 1.0))


def clock_of(request: Request, epoch: float, target: Any) -> Clock | None:
    """Return a clock that begins now, if the time is limited.

    Parameters
    ----------
    request : Request
        What is asked for.
    epoch : float
        See `Clock`.
    target : Numbers or Classes
        Of the rows.
    """
    if request.deadline is None:
        return None
    after = AFTER[target.kind] * min(1.0, 2 * MOST_ROWS / len(target.y))
    return Clock(request.deadline, epoch, after)


def seconds_an_epoch(
    recipe: Recipe,
    rows: int,
    members: int,
    table: Table,
    columns: Columns,
    target: Any,
    request: Request,
) -> float:
    """Return about how long an epoch takes, if the time is limited; else 0.

    Parameters
    ----------
    recipe : Recipe
        Of the members.
    rows, members : int
        How many there are, and from how many rows each learns.
    table, columns, target, request
        As for ``members.train``.
    """
    if request.deadline is None:
        return 0.0
    width = width_of(columns, len(with_missing(table)), recipe.bins)
    return seconds_of_epoch(recipe, width, target, rows, members, request.n_threads)


def in_time(request: Request, table: Table, columns: Columns, target: Any) -> list[str]:
    """Ask for "fast" first where there is no time for as many epochs; return what to say of it.

    In the time of an epoch of the other presets "fast" learns more, as long as it learns at all.

    Parameters
    ----------
    request : Request
        What is asked for: its preset may become another.
    table, columns, target
        As for ``members.train``.
    """
    preset, fast, n = request.preset, PRESETS["fast"], len(table)
    if request.deadline is None or preset is fast:
        return []
    recipes, folds = preset.of(target.kind), preset.folds_of(n)
    rows, members = max(n - n // folds, 1), folds * preset.repeats
    epoch = seconds_an_epoch(recipes[0], rows, members, table, columns, target, request)
    epochs = min(epochs_of(preset, recipes[0], n), quick_epochs(target.kind, n))
    if time.monotonic() + epochs * epoch <= request.deadline:
        return []
    part = fast.epochs / preset.epochs
    first = tuple(replace(recipe, share=recipe.share * part) for recipe in fast.of(target.kind))
    request.preset = replace(fast, epochs=preset.epochs, recipes=first + recipes, first={})
    return [f"fast first, for {epochs} epochs of the preset would take {epochs * epoch:.2g} s"]
