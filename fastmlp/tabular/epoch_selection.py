"""Selection of one epoch for all members, by their joint score on held-out rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.history import State
from fastmlp.tabular.presets import LEAST_GAIN, MOST_LOOKS, NOISE, TRIMMED, cycle_end
from fastmlp.tabular.progress import UNLIMITED, Clock
from fastmlp.tabular.rows import EncodedRows

Array = NDArray[Any]
Rows = NDArray[np.int64]

LIMIT_REACHED = "time_limit was reached"
ONLY_WORSE = "predictions of held-out rows only got worse"
LITTLE_GAIN = "more training no longer helped"


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Out-of-fold predictions, (repeats, n, columns): in each repeat one member predicts a row."""

    said: Array

    def prediction(self, target: Any) -> Array:
        """Return the joint prediction of the members that hold a row out."""
        repeats, means = len(self.said), self.said.shape[2] - target.outputs
        # Distances from the first prediction, since squares of a large common part lose precision.
        away = self.said[1:, :, :means] - self.said[0, :, :means]
        mean_away = np.add.reduce(away, axis=0) / repeats
        spread = np.maximum(np.add.reduce(away**2, axis=0) / repeats - mean_away**2, 0.0)
        return np.asarray(target.mixed(np.add.reduce(self.said, axis=0) / repeats, spread))

    def scores(self, target: Any, weights: Array | None) -> tuple[float, float]:
        """Return the mean cost of single members, and of the joint predictions."""
        alone = sum(map(target.costs, self.said)) / len(self.said)
        costs = alone, target.costs(self.prediction(target))
        one, both = (float(np.average(each, weights=weights)) for each in costs)
        return one, both

    def costs(self, target: Any, weights: Array | None) -> Array:
        """Return the cost of each row by the joint predictions, see `calibrated_costs`."""
        return calibrated_costs(target, self.prediction(target), weights)


def calibrated_costs(target: Any, prediction: Array, weights: Array | None) -> Array:
    """Return the cost of each row by predictions that are calibrated as at the end of a fit.

    Networks that are too sure of themselves are no reason to end early: calibration mends that.
    """
    return np.asarray(target.costs(target.calibrated(prediction, weights)))


def of_all(alone: float, together: float, averaging: float) -> float:
    """Estimate the cost of all members from that of one and of two; see `presets.AVERAGING`."""
    return alone - averaging * (alone - together)


def is_gain(before: Array, after: Array, weights: Array | None) -> bool:
    """Whether costs of rows have fallen by more than the noise; see `presets.NOISE`."""
    gain = np.average(before - after, weights=weights)
    variance = np.average((before - after - gain) ** 2, weights=weights)
    cost = abs(np.average(after, weights=weights))
    return bool(gain > max(NOISE * math.sqrt(variance / len(after)), LEAST_GAIN * cost))


def trimmed_mean(differences: Array, weights: Array | None) -> float:
    """Return the mean difference of rows without the extreme ones; see `presets.TRIMMED`."""
    cut = int(TRIMMED * len(differences))
    some = np.argsort(differences, kind="stable")[cut : len(differences) - cut]
    return float(np.average(differences[some], weights=None if weights is None else weights[some]))


def ranked(cost: float) -> float:
    """Return a cost for comparisons, in which NaN is worse than any number."""
    return math.inf if math.isnan(cost) else cost


@dataclass(eq=False)
class BestEpochSelector:
    """Callback that evaluates held-out rows and keeps the weights of the best epoch."""

    inputs: Sequence[EncodedRows]  # held out by each member
    rows: Sequence[Rows]  # their numbers; successive members cover all rows, once per repeat
    scale: Any  # of the members' targets
    target: Any
    weights: Array | None
    scorer: Callable[[Array], float] | None = None  # higher is better; replaces the costs
    clock: Clock = UNLIMITED
    hopeless: float = math.inf  # a fit ends if a cycle ends with this multiple of the lowest cost
    cycles: int = 4  # of the rate
    measures: bool = False  # whether a fit ends with a cycle that gained less than its noise
    every: int = 1  # epochs from one evaluation to the next, at least, within a cycle
    why: str = ""  # the reason for an early end
    # Epoch, cost of single members, joint cost, and the compared one: calibrated, or by the scorer.
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)
    epoch: int = 0  # the best one, from 1
    best: float = math.inf
    held_out: Any = None  # out-of-fold predictions of the best epoch
    restored: bool = False
    _cycle: int = 0
    _before: tuple[float, Any] = (math.inf, None)
    _snapshot: Any = None

    def __post_init__(self) -> None:
        ends = np.cumsum(list(map(len, self.rows)))
        self._repeats = ((ends - 1) // len(self.target.y)).tolist()  # each covers all rows
        # The first cycle is too short for decisions, and the last ends the fit anyway.
        self._ends = [cycle_end(cycle, self.cycles) for cycle in range(2, self.cycles)]

    def __call__(self, state: State) -> bool:
        """Evaluate an epoch, set ``val_loss`` for later callbacks; return True to end the fit."""
        epoch = state.epoch + 1
        # Rounded to the nearest epoch, because the rate restarts after a cycle.
        share = max((epoch + 0.5) / state.epochs, self.clock.passed())
        cycle = sum(share >= end for end in self._ends)
        annealed, self._cycle = cycle > self._cycle, cycle
        every = max(self.every, state.epochs // MOST_LOOKS, 1)
        looks = annealed or epoch % every == 0 or epoch == state.epochs
        if looks:
            self._look(state)
        if self.clock.ended():
            self.why = LIMIT_REACHED
            if not looks:
                self._look(state)
        if annealed and not self.why:
            self.why = self._reason()
        if self.curve:
            state.val_loss = self.target.shown(self.curve[-1][2])
        return bool(self.why)

    def _reason(self) -> str:
        """Return the reason to end the fit with this cycle of the rate, or an empty text."""
        # Before calibration: if networks only get surer of themselves, later epochs gain nothing.
        epoch, _, now, _ = self.curve[-1]
        lowest = min(self.curve, key=lambda look: look[2])
        is_late = self.scorer is None and 2 * lowest[0] <= epoch
        if is_late and now > self.hopeless * lowest[2]:
            return ONLY_WORSE
        if not self.measures:
            return ""
        # Compare the best epoch with the best one at the end of the cycle before.
        costs = self.held_out.costs(self.target, self.weights)
        (best, before), self._before = self._before, (self.best, costs)
        by_score = self.scorer is not None and self.best < best
        gains = before is None or by_score or is_gain(before, costs, self.weights)
        return "" if gains else LITTLE_GAIN

    def _look(self, state: State) -> None:
        began = time.monotonic()
        said: Array = np.empty(0)
        members = zip(state.engine.engines, self.inputs, self._repeats, self.rows, strict=True)
        for member, (engine, x, repeat, rows) in enumerate(members):
            z = engine.predict(x)[np.newaxis]
            part = self.target.decode(self.scale, z, slice(member, member + 1))[0]
            if not said.size:
                said = np.empty((self._repeats[-1] + 1, len(self.target.y), part.shape[1]))
            said[repeat, rows] = part
        held_out = OutOfFold(said)
        alone, together = held_out.scores(self.target, self.weights)
        if self.scorer is None:
            costs = held_out.costs(self.target, self.weights)
            cost = float(np.average(costs, weights=self.weights))
        else:
            cost = -self.scorer(held_out.prediction(self.target))
        self.curve.append((state.epoch + 1, alone, together, cost))
        cost = ranked(cost)
        if cost <= self.best:  # the last of equal epochs
            best = cost, state.epoch + 1, held_out, state.snapshot()
            # One statement without calls: an interrupt cannot assign only some of the four.
            self.best, self.epoch, self.held_out, self._snapshot = best
        self.clock.looked(time.monotonic() - began)

    def finish(self, state: State) -> None:
        """Restore the best weights of all members, also after an interrupt."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            state.restore(snapshot)
            self.restored = True
