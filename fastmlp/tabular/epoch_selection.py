"""One epoch for all members: that in which they are best together on rows they have not seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.history import State
from fastmlp.tabular.clock import UNLIMITED, Clock
from fastmlp.tabular.presets import CYCLE_ENDS, MOST_LOOKS
from fastmlp.tabular.rows import EncodedRows

Array = NDArray[Any]
Rows = NDArray[np.int64]

TIME_WAS_OVER = "the time was over"


class OutOfFold:
    """Predictions of rows by those members that have not learned from them.

    Parameters
    ----------
    said : array, shape (repeats, n, columns)
        In each repeat every row is predicted by one member.
    """

    def __init__(self, said: Array) -> None:
        self.said = said

    def prediction(self, target: Any) -> Array:
        """Return what those members predict together."""
        repeats, means = len(self.said), self.said.shape[2] - target.outputs
        # Distances from the first, so that no large part that is common to all is squared.
        away = self.said[1:, :, :means] - self.said[0, :, :means]
        mean_away = np.add.reduce(away, axis=0) / repeats
        spread = np.maximum(np.add.reduce(away**2, axis=0) / repeats - mean_away**2, 0.0)
        return np.asarray(target.mixed(np.add.reduce(self.said, axis=0) / repeats, spread))

    def scores(self, target: Any, weights: Array | None) -> tuple[float, float]:
        """Return the mean cost of single members, and of those of each row together."""
        alone = sum(map(target.costs, self.said)) / len(self.said)
        together = target.costs(self.prediction(target))
        return (
            float(np.average(alone, weights=weights)),
            float(np.average(together, weights=weights)),
        )


def of_all(alone: float, together: float, averaging: float) -> float:
    """Return what all members together are taken to cost, from one and from two of them.

    For squared errors the gain of averaging is the variance of the members, times 1 - 1 / members.

    Parameters
    ----------
    alone, together : float
        What one costs, and what two do.
    averaging : float
        What is gained by all, in gains of two.
    """
    return alone - averaging * (alone - together)


def ranked(cost: float) -> float:
    """Return a cost to compare: what is not a number is worse than all that is."""
    return math.inf if math.isnan(cost) else cost


class BestEpochSelector:
    """Follows the score of held-out rows, and keeps the weights of the best epoch.

    Parameters
    ----------
    inputs : sequence of EncodedRows
        Of each member, the inputs of the rows that it does not learn from.
    rows : sequence of arrays of int
        Which rows these are: of some members, one after the other, all, of the next again all.
    scales : sequence
        Of the target of each member.
    target : Numbers or Classes
        What is predicted.
    weights : array, shape (n,), or None
        Of the rows.
    scorer : callable (prediction) -> float, optional
        What is looked at instead of the target's costs; more is better.
    clock : Clock
        Of the time that the fit may take.
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
    restored : bool
        Whether the members have the weights of the best epoch.
    """

    def __init__(
        self,
        inputs: Sequence[EncodedRows],
        rows: Sequence[Rows],
        scales: Sequence[Any],
        target: Any,
        weights: Array | None,
        scorer: Callable[[Array], float] | None = None,
        clock: Clock = UNLIMITED,
        hopeless: float = math.inf,
    ) -> None:
        self.inputs, self.target = inputs, target
        sizes, n = list(map(len, rows)), len(target.y)
        repeat = np.repeat(np.cumsum([0, *sizes[:-1]]) // n, sizes)
        self._order = np.argsort(repeat * n + np.concatenate(rows))
        self._scale = target.scale_of(scales, sizes)
        self.weights, self.scorer, self.clock = weights, scorer, clock
        self.hopeless, self._cycles, self.why = hopeless, 0, ""
        self.curve: list[tuple[int, float, float, float]] = []
        self.epoch, self.best = 0, math.inf
        self.held_out: Any = None
        self._snapshot: Any = None
        self.restored = False

    def __call__(self, state: State) -> bool:
        """Look at an epoch, and tell other callbacks as ``val_loss``; True ends the fit."""
        epoch = state.epoch + 1
        # To the nearest epoch, for the rate begins anew after it.
        share = max((epoch + 0.5) / state.epochs, self.clock.passed())
        cycles = sum(share >= end for end in CYCLE_ENDS)
        annealed, self._cycles = cycles > self._cycles, cycles
        every = max(1, state.epochs // MOST_LOOKS)
        looks = annealed or epoch % every == 0 or epoch == state.epochs
        if looks:
            self._look(state)
        if self.clock.ended():
            self.why = TIME_WAS_OVER
            if not looks:
                self._look(state)
        if annealed and self._is_hopeless() and not self.why:
            self.why = "predictions of held-out rows only got worse"
        if self.curve:
            state.val_loss = self.target.shown(self.curve[-1][2])
        return bool(self.why)

    def _is_hopeless(self) -> bool:
        """Whether what is learned now is noise, and has been for long."""
        epoch, _, now, _ = self.curve[-1]
        lowest = min(self.curve, key=lambda look: look[2])
        return self.scorer is None and now > self.hopeless * lowest[2] and 2 * lowest[0] <= epoch

    def _look(self, state: State) -> None:
        began = time.monotonic()
        each = zip(state.engine.engines, self.inputs, strict=True)
        z = np.concatenate([engine.predict(x) for engine, x in each])
        said = self.target.decode(self._scale, z)[self._order]
        held_out = OutOfFold(said.reshape(-1, len(self.target.y), said.shape[1]))
        alone, together = held_out.scores(self.target, self.weights)
        cost = of_all(alone, together, self.target.averaging)
        if self.scorer is not None:
            cost = -self.scorer(held_out.prediction(self.target))
        self.curve.append((state.epoch + 1, alone, together, cost))
        cost = ranked(cost)
        if cost <= self.best:  # the last of ties
            best = cost, state.epoch + 1, held_out, state.snapshot()
            # One statement without a call: an interrupt leaves all of them, or none, of this epoch.
            self.best, self.epoch, self.held_out, self._snapshot = best
        self.clock.looked(time.monotonic() - began)

    def finish(self, state: State) -> None:
        """Give all members the weights of the best epoch, after an interrupt too."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            state.restore(snapshot)
            self.restored = True
