"""Selection of one epoch for all members, by their joint score on held-out rows."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.history import State
from fastmlp.tabular.plan.presets import (
    EVALUATION_SHARE,
    LEAST_GAINS,
    MAX_EVALUATIONS,
    NEARLY_EXACT,
    NOISE,
    NOISE_OF_EXACT,
    STEEP_GAIN,
    TRAINING_WORK,
    TRIMMED,
    Preset,
    cycle_end,
)
from fastmlp.tabular.plan.progress import Clock
from fastmlp.tabular.table.columns import Array, RowIndex

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine
    from fastmlp.tabular.outcome.targets import Target
    from fastmlp.tabular.plan.folds import ScoredRows

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

    See `presets.NOISE`; ``least`` is that share.
    """
    gain, error = gain_and_error(before, after, weights)
    cost = abs(np.average(after, weights=weights))
    return bool(gain > max(noise * error, least * cost))


def gain_and_error(before: Array, after: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return by how much the mean cost of rows, (n,) or (n, targets), has fallen, and the noise.

    The noise is the standard error of the mean, by how far it moves without each row: few heavy
    rows are no more certain than few rows.
    """
    gain, n = np.average(before - after, axis=0, weights=weights), len(after)
    shares = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    shares = shares.reshape(n, *[1] * (after.ndim - 1))
    moves = shares * (before - after - gain) / np.maximum(1 - shares, SMALLEST_REST)
    return gain, (1 - 1 / n) * np.sqrt(np.sum(moves**2, axis=0))


def is_nearly_exact(scored: ScoredRows, costs: Array) -> bool:
    """Whether predictions with these costs explain nearly everything; see `NEARLY_EXACT`."""
    explained = scored.baseline.explained(scored.target, costs, scored.cost_weights)
    return explained is not None and explained > NEARLY_EXACT


def is_settled(scored: ScoredRows, costs: Array) -> bool:
    """Whether classes are predicted with so little log loss that less of it could not be seen.

    If none of n rows is a surprise, one of the next n may still be (Laplace's rule of succession):
    it costs more than 1 / n in the mean. Below that, networks only become more confident. Rows of
    small weights count as others do, and of several labels one may be hard although most are not.
    """
    target = scored.target
    mean = max(np.average(costs, weights=scored.cost_weights), np.mean(costs))
    return bool(target.kind == "classes" and target.sums_to_one and mean < 1 / len(costs))


def trimmed_mean(differences: Array, weights: Array | None) -> float:
    """Return the mean difference of rows without the extreme ones; see `presets.TRIMMED`."""
    cut = int(TRIMMED * len(differences))
    rows = np.argsort(differences, kind="stable")[cut : len(differences) - cut]
    return float(np.average(differences[rows], weights=None if weights is None else weights[rows]))


def ranked(cost: float) -> float:
    """Return a cost for comparisons, in which NaN is worse than any number."""
    return math.inf if math.isnan(cost) else cost


@dataclass(frozen=True, eq=False)
class BestEpoch:
    """The epoch with the lowest cost so far; the defaults are those before the first one."""

    cost: float = math.inf  # of all members together, calibrated, or a score with its sign changed
    epoch: int = 0  # from 1
    share: float = 0.0  # the part of the schedule that was over at this epoch
    held_out: Any = None  # its `OutOfFold`
    # The weights of this epoch. It is None once the engines have got these weights back.
    snapshot: Any = None

    def costs(self, scored: ScoredRows) -> Array:
        """Return the cost of each row in this epoch, after calibration."""
        joint = self.held_out.joint(scored.target)
        return calibrated_costs(scored.target, joint, scored.cost_weights)


class HeldOutRows:
    """The rows that each member holds out, and what is the same each time they are predicted."""

    def __init__(self, learners: Any, out: Sequence[RowIndex]) -> None:
        self.learners = learners
        self.inputs = [x[rows] for x, rows in zip(learners.inputs, out, strict=True)]
        # All predictions, one member after the other, have a member and a place.
        members = np.arange(len(out), dtype=np.int32)
        self.members = np.repeat(members, list(map(len, out)))
        self.places, self.shape, self.held = places_of(learners.data.scored, out)
        self._part: slice | None = None  # a part of the predictions, and the scale of its members
        self._scale: Any = None

    def __len__(self) -> int:
        return len(self.members)

    def predicted(self, engines: Sequence[Engine]) -> OutOfFold:
        """Return the predictions of the members with the weights that their engines have."""
        pairs = zip(engines, self.inputs, strict=True)
        z = np.concatenate([engine.predict(x) for engine, x in pairs])
        predictions = np.zeros((math.prod(self.shape), z.shape[1]))
        for first in range(0, len(z), DECODED_ROWS):
            part = slice(first, first + DECODED_ROWS)
            if part != self._part:  # the same each time, unless there are several parts
                self._part, members = part, self.members[part]
                scale = self.learners.members.scale
                self._scale = scale and type(scale)(*(array[members] for array in scale))
            decoded = self.learners.data.scored.target.decode(self._scale, z[part], slice(None))
            predictions[self.places[part]] = decoded
        return OutOfFold(predictions.reshape(*self.shape, -1), self.held)


class CycleEnds:
    """Decides whenever a cycle of the learning rate ends whether more training may help."""

    def __init__(
        self, scored: ScoredRows, preset: Preset, hopeless: float, *, has_scorer: bool
    ) -> None:
        self.scored, self.has_scorer = scored, has_scorer
        self.has_stages = preset.trial_folds > 0
        self.hopeless = hopeless  # a fit ends if a cycle ends with this multiple of the lowest cost
        # The first cycle is too short for decisions, and the last ends the fit anyway.
        self.decisive = range(max(2, preset.first_cycle), preset.cycles)
        self.shares = [cycle_end(cycle, preset.cycles) for cycle in self.decisive]
        self.passed = 0  # how many of these cycles are over
        # The cost of the best epoch when the cycle before ended, and that of each row in it.
        self.before: tuple[float, Array | None] = (math.inf, None)

    def has_passed(self, share: float) -> bool:
        """Whether a cycle has ended since the last call, when a share of the schedule is over."""
        before, self.passed = self.passed, bisect.bisect_right(self.shares, share)
        return self.passed > before

    def reason(self, curve: Sequence[tuple[int, float, float, float]], best: BestEpoch) -> str:
        """Return the reason to end the fit with the cycle that has ended, or an empty text."""
        # Costs before calibration count: networks that only get more confident gain nothing later.
        epoch, _, now, _ = curve[-1]
        lowest = min(curve, key=itemgetter(2))
        is_late = not self.has_scorer and 2 * lowest[0] <= epoch
        if is_late and now > self.hopeless * lowest[2]:
            return ONLY_WORSE
        if not self.has_stages:
            return ""
        # Compare the best epoch with the best one at the end of the cycle before.
        costs = best.costs(self.scored)
        (cost, before), self.before = self.before, (best.cost, costs)
        if before is None or (self.has_scorer and best.cost < cost):
            return ""
        if is_settled(self.scored, costs):
            return LITTLE_GAIN
        noise = NOISE_OF_EXACT if is_nearly_exact(self.scored, costs) else NOISE
        least = LEAST_GAINS[self.decisive[self.passed - 1] - 3]
        is_enough = is_gain(before, costs, self.scored.cost_weights, noise=noise, least=least)
        return "" if is_enough else LITTLE_GAIN

    def is_steep(self, best: BestEpoch) -> bool:
        """Whether the cost is a fraction of that of the cycle before; see `presets.STEEP_GAIN`."""
        before = self.before[1]
        if before is None or self.hopeless == math.inf:  # costs may be negative
            return False
        return is_gain(before, best.costs(self.scored), self.scored.cost_weights, least=STEEP_GAIN)


class BestEpochSelector:
    """Callback that evaluates held-out rows and keeps the weights of the best epoch."""

    def __init__(self, learners: Any, out: Sequence[RowIndex], clock: Clock) -> None:
        """Take the members that are trained, see `members.Learners`, and the rows they hold out."""
        options, data = learners.options, learners.data
        self.clock, self.scored = clock, data.scored
        self.scorer = options.scorer  # higher is better; replaces the costs
        self.rows = HeldOutRows(learners, out)
        hopeless = data.target.row.hopeless if learners.recipe.share == 1 else math.inf
        has_scorer = self.scorer is not None
        self.cycles = CycleEnds(data.scored, options.preset, hopeless, has_scorer=has_scorer)
        # Fewest epochs between two evaluations in a cycle, so that evaluations take little of the
        # time. The unit of the work of an epoch is the prediction of one row.
        work = TRAINING_WORK * sum(map(len, learners.learn))
        self.every = int(len(self.rows) / (EVALUATION_SHARE * work))
        # Epoch, cost of single members, joint cost, and the cost that selects (see `BestEpoch`).
        self.curve: list[tuple[int, float, float, float]] = []
        self.best = BestEpoch()
        self.why = ""  # the reason for an early end
        self.restored = False  # whether the members have the weights of the best epoch

    @property
    def is_passive(self) -> bool:
        """Whether epochs need not be timed, so that several may be trained before it is called."""
        return self.clock.deadline is None

    def __call__(self, state: State) -> bool:
        """Evaluate an epoch, set ``val_loss`` for later callbacks; return True to end the fit."""
        epoch = state.epoch + 1
        passed = self.clock.passed()
        # Rounded to the nearest epoch, because the rate restarts after a cycle.
        annealed = self.cycles.has_passed(max((epoch + 0.5) / state.epochs, passed))
        share = max(epoch / state.epochs, passed)
        every = max(self.every, state.epochs // MAX_EVALUATIONS, 1)
        is_evaluated = annealed or epoch % every == 0 or epoch == state.epochs
        if is_evaluated:
            self._evaluate(state, share)
        if self.clock.ended():
            self.why = LIMIT_REACHED
            if not is_evaluated:
                self._evaluate(state, share)
        if annealed and not self.why:
            self.why = self.cycles.reason(self.curve, self.best)
        if self.curve:
            state.val_loss = self.scored.target.shown(self.curve[-1][2])
        return bool(self.why)

    def _evaluate(self, state: State, share: float) -> None:
        """Predict the held-out rows, and keep the weights if their cost is the lowest so far."""
        began = time.monotonic()
        target, weights = self.scored.target, self.scored.cost_weights
        held_out = self.rows.predicted(state.engine.engines)
        joint, alone = held_out.joint(target), held_out.alone(target, weights)
        cost = together = mean_cost(target, joint, weights)
        if self.scorer is not None:
            cost = -self.scorer(joint)
        elif (calibrated := target.calibrated(joint, weights)) is not joint:
            cost = mean_cost(target, calibrated, weights)
        self.curve.append((state.epoch + 1, alone, together, cost))
        cost = ranked(cost)
        if cost <= self.best.cost:  # the last of equal epochs
            self.best = BestEpoch(cost, state.epoch + 1, share, held_out, state.snapshot())
        self.clock.evaluated(time.monotonic() - began)

    def finish(self, state: State) -> None:
        """Restore the best weights of all members, also after an interrupt."""
        snapshot = self.best.snapshot
        if snapshot is not None:
            self.best = replace(self.best, snapshot=None)
            state.restore(snapshot)
            self.restored = True
