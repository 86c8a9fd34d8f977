"""Selection of one epoch for all members, by their joint score on held-out rows."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.history import State
from fastmlp.tabular.recipe.presets import (
    EVALUATION_SHARE,
    LEAST_GAINS,
    MAX_EVALUATIONS,
    NEARLY_EXACT,
    NOISE,
    NOISE_OF_EXACT,
    STEEP_GAIN,
    TRAINING_WORK,
    TRIMMED,
    cycle_end,
)
from fastmlp.tabular.recipe.progress import Clock
from fastmlp.tabular.table.columns import Array, RowIndex

if TYPE_CHECKING:
    from fastmlp.tabular.outcome.targets import Target
    from fastmlp.tabular.recipe.folds import ScoredRows

LIMIT_REACHED = "time_limit was reached"
ONLY_WORSE = "predictions of held-out rows only got worse"
LITTLE_GAIN = "more training no longer helped"
# Reasons to end that show that there is only noise to learn. For classes, worse predictions do not:
# costs also grow if probabilities are too close to 0 and 1, which calibration mends.
NOISY = {"numbers": {LITTLE_GAIN, ONLY_WORSE}, "classes": {LITTLE_GAIN}}
SMALLEST_REST = np.finfo(float).eps  # of all weights, beside that of one row
DECODED_ROWS = 65_536  # predictions that are decoded at a time, which limits the memory


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions of rows by the members that hold them out: one in each repeat."""

    predictions: Array  # (repeats, n, columns)
    held: Array | None = None  # (repeats, n): whether there is one; None if there are all

    def _mean(self, values: Array, first: int = 0) -> Array:
        """Return the mean over repeats of values of each row; those before ``first`` are 0."""
        if self.held is None:
            return np.asarray(np.add.reduce(values, axis=0) / len(self.predictions))
        held = self.held.reshape(*self.held.shape, *[1] * (values.ndim - 2))
        total = np.add.reduce(values, axis=0, where=held[first:])
        return np.asarray(total / np.add.reduce(held, axis=0))

    def joint(self, target: Target) -> Array:
        """Return the predictions of the members of all repeats together, (n, columns)."""
        means = self.predictions.shape[2] - target.outputs
        mean = self._mean(self.predictions)
        if not means:  # nor variances
            return mean
        # Distances from the first prediction, since squares of a large common part lose precision.
        away = self.predictions[1:, :, :means] - self.predictions[0, :, :means]
        spread = np.maximum(self._mean(away**2, 1) - self._mean(away, 1) ** 2, 0.0)
        mean[:, means:] += spread  # variances contain that of the means
        return mean

    def alone(self, target: Target, weights: Array | None) -> float:
        """Return the mean cost of single members."""
        costs = self._mean(target.costs(self.predictions))
        return float(np.average(costs, weights=weights))


def places_of(
    scored: ScoredRows, out: Sequence[RowIndex]
) -> tuple[Array, tuple[int, int], Array | None]:
    """Return the places of the predictions of members among (repeats, rows), and which there are.

    The k-th prediction of a row belongs to the k-th repeat. ``held`` is None if there are all.
    """
    counts, places = np.zeros(n := len(scored.target.y), np.int64), []
    for rows in map(scored.places, out):
        places.append(rows + n * counts[rows])
        counts[rows] += 1
    repeats = np.arange(counts.max())
    held = None if np.all(counts == len(repeats)) else repeats[:, np.newaxis] < counts
    return np.concatenate(places), (len(repeats), n), held


def mean_cost(target: Target, prediction: Array, weights: Array | None) -> float:
    """Return the mean cost of rows."""
    return float(np.average(target.costs(prediction), weights=weights))


def calibrated_costs(target: Target, prediction: Array, weights: Array | None) -> Array:
    """Return the cost of each row by predictions that are calibrated as at the end of a fit.

    Networks that are too sure of themselves are no reason to end early: calibration mends that.
    """
    return np.asarray(target.costs(target.calibrated(prediction, weights)))


def of_all(alone: float, together: float, averaging: float) -> float:
    """Estimate the cost of all members from that of one and of two; see `loss_rows.AVERAGING`."""
    return alone - averaging * (alone - together)


def is_gain(
    before: Array,
    after: Array,
    weights: Array | None,
    *,
    noise: float = NOISE,
    least: float = LEAST_GAINS[0],
) -> bool:
    """Whether costs of rows have fallen by more than the noise, and a share of what is left.

    See `presets.NOISE`; ``least`` is that share. The noise is the standard error of the mean, by
    how far it moves without each row: few heavy rows are no more certain than few rows.
    """
    gain, n = np.average(before - after, weights=weights), len(after)
    shares = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    moves = shares * (before - after - gain) / np.maximum(1 - shares, SMALLEST_REST)
    error = (1 - 1 / n) * math.sqrt(np.sum(moves**2))
    cost = abs(np.average(after, weights=weights))
    return bool(gain > max(noise * error, least * cost))


def is_nearly_exact(scored: ScoredRows, costs: Array) -> bool:
    """Whether predictions with these costs explain nearly everything; see `NEARLY_EXACT`."""
    explained = scored.baseline.explained(scored.target, costs, scored.cost_weights)
    return explained is not None and explained > NEARLY_EXACT


def trimmed_mean(differences: Array, weights: Array | None) -> float:
    """Return the mean difference of rows without the extreme ones; see `presets.TRIMMED`."""
    cut = int(TRIMMED * len(differences))
    rows = np.argsort(differences, kind="stable")[cut : len(differences) - cut]
    return float(np.average(differences[rows], weights=None if weights is None else weights[rows]))


def ranked(cost: float) -> float:
    """Return a cost for comparisons, in which NaN is worse than any number."""
    return math.inf if math.isnan(cost) else cost


@dataclass(eq=False)
class BestEpochSelector:
    """Callback that evaluates held-out rows and keeps the weights of the best epoch."""

    learners: Any  # the members that are trained, see `members.Learners`
    out: Sequence[RowIndex]  # the rows that each of them holds out
    clock: Clock
    why: str = ""  # the reason for an early end
    # Epoch, cost of single members, joint cost, and the cost that selects (calibrated, or a score).
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)
    epoch: int = 0  # the best one, from 1
    share: float = 0.0  # the part of the schedule that was over at this epoch
    best: float = math.inf
    held_out: Any = None  # out-of-fold predictions of the best epoch
    restored: bool = False
    _cycle: int = 0
    _passed: float = 0.0
    _before: tuple[float, Any] = (math.inf, None)
    _snapshot: Any = None
    _part: slice | None = None  # a part of the predictions, and the scale of its members
    _scale: Any = None

    def __post_init__(self) -> None:
        options, data = self.learners.options, self.learners.data
        self.target, self.weights = data.scored.target, data.scored.cost_weights
        self.scorer = options.scorer  # higher is better; replaces the costs
        self.inputs = [x[rows] for x, rows in zip(self.learners.inputs, self.out, strict=True)]
        # A fit ends if a cycle ends with this multiple of the lowest cost.
        self.hopeless = data.target.row.hopeless if self.learners.recipe.share == 1 else math.inf
        # Fewest epochs between two evaluations in a cycle, so that evaluations take little of the
        # time. The unit of the work of an epoch is the prediction of one row.
        work = TRAINING_WORK * sum(map(len, self.learners.learn))
        self.every = int(sum(map(len, self.out)) / (EVALUATION_SHARE * work))
        # All predictions, one member after the other, have a member and a place.
        members = np.arange(len(self.out), dtype=np.int32)
        self._members = np.repeat(members, list(map(len, self.out)))
        self._places, self._shape, self._held = places_of(data.scored, self.out)
        # The first cycle is too short for decisions, and the last ends the fit anyway.
        preset = options.preset
        self._decisive = range(max(2, preset.first_cycle), preset.cycles)
        self._ends = [cycle_end(cycle, preset.cycles) for cycle in self._decisive]

    @property
    def is_passive(self) -> bool:
        """Whether epochs need not be timed, so that several may be trained before it is called."""
        return self.clock.deadline is None

    def __call__(self, state: State) -> bool:
        """Evaluate an epoch, set ``val_loss`` for later callbacks; return True to end the fit."""
        epoch = state.epoch + 1
        # Rounded to the nearest epoch, because the rate restarts after a cycle.
        passed = self.clock.passed()
        share = max((epoch + 0.5) / state.epochs, passed)
        self._passed = max(epoch / state.epochs, passed)
        cycle = bisect.bisect_right(self._ends, share)
        annealed, self._cycle = cycle > self._cycle, cycle
        every = max(self.every, state.epochs // MAX_EVALUATIONS, 1)
        is_evaluated = annealed or epoch % every == 0 or epoch == state.epochs
        if is_evaluated:
            self._evaluate(state)
        if self.clock.ended():
            self.why = LIMIT_REACHED
            if not is_evaluated:
                self._evaluate(state)
        if annealed and not self.why:
            self.why = self._reason()
        if self.curve:
            state.val_loss = self.target.shown(self.curve[-1][2])
        return bool(self.why)

    def _reason(self) -> str:
        """Return the reason to end the fit with this cycle of the rate, or an empty text."""
        # Costs before calibration count: networks that only get more confident gain nothing later.
        epoch, _, now, _ = self.curve[-1]
        lowest = min(self.curve, key=itemgetter(2))
        is_late = self.scorer is None and 2 * lowest[0] <= epoch
        if is_late and now > self.hopeless * lowest[2]:
            return ONLY_WORSE
        if not self.learners.options.preset.trial_folds:
            return ""
        # Compare the best epoch with the best one at the end of the cycle before.
        costs = self._costs()
        (best, before), self._before = self._before, (self.best, costs)
        if before is None or (self.scorer is not None and self.best < best):
            return ""
        noise = NOISE_OF_EXACT if is_nearly_exact(self.learners.data.scored, costs) else NOISE
        least = LEAST_GAINS[self._decisive[self._cycle - 1] - 3]
        is_enough = is_gain(before, costs, self.weights, noise=noise, least=least)
        return "" if is_enough else LITTLE_GAIN

    def _costs(self) -> Array:
        """Return the cost of each row in the best epoch, after calibration."""
        joint = self.held_out.joint(self.target)
        return calibrated_costs(self.target, joint, self.weights)

    def is_steep(self) -> bool:
        """Whether the cost is a fraction of that of the cycle before; see `presets.STEEP_GAIN`."""
        before = self._before[1]
        if before is None or self.hopeless == math.inf:  # costs may be negative
            return False
        return is_gain(before, self._costs(), self.weights, least=STEEP_GAIN)

    def _evaluate(self, state: State) -> None:
        """Predict the held-out rows, and keep the weights if their cost is the lowest so far."""
        began = time.monotonic()
        pairs = zip(state.engine.engines, self.inputs, strict=True)
        z = np.concatenate([engine.predict(x) for engine, x in pairs])
        predictions = np.zeros((math.prod(self._shape), z.shape[1]))
        for first in range(0, len(z), DECODED_ROWS):
            part = slice(first, first + DECODED_ROWS)
            if part != self._part:  # the same each time, unless there are several parts
                self._part, members = part, self._members[part]
                scale = self.learners.members.scale
                self._scale = scale and type(scale)(*(array[members] for array in scale))
            decoded = self.target.decode(self._scale, z[part], slice(None))
            predictions[self._places[part]] = decoded
        held_out = OutOfFold(predictions.reshape(*self._shape, -1), self._held)
        joint, alone = held_out.joint(self.target), held_out.alone(self.target, self.weights)
        cost = together = mean_cost(self.target, joint, self.weights)
        if self.scorer is not None:
            cost = -self.scorer(joint)
        elif (calibrated := self.target.calibrated(joint, self.weights)) is not joint:
            cost = mean_cost(self.target, calibrated, self.weights)
        self.curve.append((state.epoch + 1, alone, together, cost))
        cost = ranked(cost)
        if cost <= self.best:  # the last of equal epochs
            best = cost, state.epoch + 1, self._passed, held_out, state.snapshot()
            # One statement without calls: an interrupt cannot assign only some of the five.
            self.best, self.epoch, self.share, self.held_out, self._snapshot = best
        self.clock.evaluated(time.monotonic() - began)

    def finish(self, state: State) -> None:
        """Restore the best weights of all members, also after an interrupt."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            state.restore(snapshot)
            self.restored = True
