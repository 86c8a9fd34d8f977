"""One epoch for all members: that in which they are best together on rows they have not seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.clock import Clock
from fastmlp.tabular.presets import AVERAGING, CYCLE_ENDS, MOST_LOOKS
from fastmlp.training.records import State

Array = NDArray[Any]
Rows = NDArray[np.int64]


class HeldOut:
    """Predictions of rows by those members that have not learned from them.

    Parameters
    ----------
    n : int
        Rows.
    columns : int
        Of a prediction.
    means : int
        How many of them, from the left, are means that have variances.

    Attributes
    ----------
    count : array of int, shape (n,)
        Members that have predicted each row.
    """

    def __init__(self, n: int, columns: int, means: int) -> None:
        self.sum = np.zeros((n, columns))
        self.first = np.zeros((n, means))
        self.away = np.zeros((n, means))  # sum of distances from the first, so that no large part
        self.squares = np.zeros((n, means))  # that is common to all is squared
        self.cost = np.zeros(n)
        self.count = np.zeros(n, np.int64)

    def add(self, rows: Rows, prediction: Array, target: Any) -> None:
        """Take in the predictions of one member."""
        self.sum[rows] += prediction
        means = prediction[:, : self.first.shape[1]]
        is_first = self.count[rows, np.newaxis] == 0
        self.first[rows] = np.where(is_first, means, self.first[rows])
        away = means - self.first[rows]
        self.away[rows] += away
        self.squares[rows] += away**2
        self.cost[rows] += target.costs(prediction, rows)
        self.count[rows] += 1

    def prediction(self, target: Any) -> Array:
        """Return what those members predict together."""
        count = np.maximum(self.count, 1)[:, np.newaxis]
        spread = np.maximum(self.squares / count - (self.away / count) ** 2, 0.0)
        return np.asarray(target.mixed(self.sum / count, spread))

    def scores(self, target: Any, weights: Array | None) -> tuple[float, float]:
        """Return the mean cost of single members, and of those of each row together."""
        there = self.count > 0
        w = None if weights is None else weights[there]
        alone = self.cost[there] / self.count[there]
        together = target.costs(self.prediction(target))[there]
        return float(np.average(alone, weights=w)), float(np.average(together, weights=w))


def of_all(alone: float, together: float) -> float:
    """Return what all members together are taken to cost, from one and from two of them.

    For squared errors the gain of averaging is the variance of the members, times 1 - 1 / members.
    """
    return alone - AVERAGING * (alone - together)


def ranked(cost: float) -> float:
    """Return a cost to compare: what is not a number is worse than all that is."""
    return math.inf if math.isnan(cost) else cost


class JointEpoch:
    """Follows the score of held-out rows, and keeps the weights of the best epoch.

    Parameters
    ----------
    inputs : sequence of arrays
        Of each member, the inputs of the rows that it does not learn from.
    rows : sequence of arrays of int
        Which rows these are.
    decode : callable (int, array) -> array
        From member and its output to its prediction.
    target : Numbers or Classes
        What is predicted.
    weights : array, shape (n,), or None
        Of the rows.
    scorer : callable (prediction) -> float, optional
        What is looked at instead of the target's costs; more is better.
    clock : Clock, optional
        If the time is limited.
    hopeless : float, > 1
        At the ends of cycles of the rate a fit ends whose costs are so many times the lowest.

    Attributes
    ----------
    curve : list of (int, float, float, float)
        Epoch, cost alone, cost together, what is compared.
    epoch : int
        The best, counted from 1.
    held_out : HeldOut
        Of that epoch.
    why : str
        Why it ended before its last epoch, if it did.
    """

    def __init__(
        self,
        inputs: Sequence[Array],
        rows: Sequence[Rows],
        decode: Callable[[int, Array], Array],
        target: Any,
        weights: Array | None,
        scorer: Callable[[Array], float] | None = None,
        clock: Clock | None = None,
        hopeless: float = math.inf,
    ) -> None:
        self.inputs, self.rows, self.decode, self.target = inputs, rows, decode, target
        self.weights, self.scorer, self.clock = weights, scorer, clock
        self.hopeless, self._cycles, self.why = hopeless, 0, ""
        self.curve: list[tuple[int, float, float, float]] = []
        self.epoch, self.best = 0, math.inf
        self.held_out: Any = None
        self._snapshot: Any = None

    def __call__(self, state: State) -> bool:
        """Look at an epoch; True when the fit is to end."""
        epoch = state.epoch + 1
        # To the nearest epoch, for the rate begins anew after it.
        share = (epoch + 0.5) / state.epochs
        if self.clock is not None:
            share = max(share, self.clock.passed())
        cycles = sum(share >= end for end in CYCLE_ENDS)
        annealed, self._cycles = cycles > self._cycles, cycles
        every = max(1, state.epochs // MOST_LOOKS)
        looks = annealed or epoch % every == 0 or epoch == state.epochs
        if looks:
            self._look(state)
        if self.clock is not None and self.clock.ended():
            self.why = "the time was over"
            if not looks:
                self._look(state)
        if annealed and self._is_hopeless() and not self.why:
            self.why = "rows that were held out were predicted ever worse"
        return bool(self.why)

    def _is_hopeless(self) -> bool:
        """Whether what is learned now is noise, and has been for long."""
        epoch, _, now, _ = self.curve[-1]
        lowest = min(self.curve, key=lambda look: look[2])
        return self.scorer is None and now > self.hopeless * lowest[2] and 2 * lowest[0] <= epoch

    def _look(self, state: State) -> None:
        began = time.monotonic()
        n = len(self.target.y)
        held_out: Any = None
        for k, engine in enumerate(state.engine.engines):
            prediction = self.decode(k, engine.predict(self.inputs[k]))
            columns = prediction.shape[1]
            if held_out is None:
                held_out = HeldOut(n, columns, columns - self.target.outputs)
            held_out.add(self.rows[k], prediction, self.target)
        alone, together = held_out.scores(self.target, self.weights)
        cost = of_all(alone, together)
        if self.scorer is not None:
            cost = -self.scorer(held_out.prediction(self.target))
        self.curve.append((state.epoch + 1, alone, together, cost))
        cost = ranked(cost)
        if cost <= self.best:  # the last of ties
            self.best, self.epoch, self.held_out = cost, state.epoch + 1, held_out
            self._snapshot = state.snapshot()
        if self.clock is not None:
            self.clock.looked(time.monotonic() - began)

    def finish(self, state: State) -> None:
        """Give all members the weights of the best epoch."""
        snapshot, self._snapshot = self._snapshot, None
        if state.completed and snapshot is not None:
            state.restore(snapshot)
