"""Time limit of a fit."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

TICK = 1e-9  # shortest time of an epoch, for coarse clocks
FIRST_LOOK = 0.25  # assumed time of the first evaluation, in epochs
MOST_EPOCHS = 2.0**53  # of an unreasonably large limit, which would be infinitely many
RECENT = 3  # epochs, and evaluations, whose median time is used: one slow one does not count


@dataclass(eq=False)
class Clock:
    """Progress of training under a time limit."""

    deadline: float | None  # a time of ``now``
    now: Callable[[], float] = time.monotonic
    epoch: float = 0.0  # assumed seconds per epoch, before the first has ended
    after: float = 0.0  # time needed after training, in evaluations of held-out rows

    def __post_init__(self) -> None:
        self._began = self._last = self.now()
        self._thought = max(self.epoch, TICK)
        self._epochs: deque[float] = deque(maxlen=RECENT)
        # An assumed value damps the first evaluation, which may include loading of modules.
        self._looks = deque([FIRST_LOOK * self._thought], RECENT)

    def looked(self, seconds: float) -> None:
        """Record the time of one evaluation of held-out rows."""
        self._looks.append(seconds)

    def ended(self) -> bool:
        """Whether there is no time for another epoch; called after each epoch."""
        if self.deadline is None:
            return False
        now = self.now()
        self._epochs.append(max(now - self._last, TICK))
        self._last = now
        return self._epoch > self._left(self.deadline, now)

    @property
    def _epoch(self) -> float:
        return median_low(self._epochs or [self._thought])

    def passed(self) -> float:
        """Return the share of training that is done, in terms of time; 0 without a limit."""
        if self.deadline is None:
            return 0.0
        spent, epochs = self._spent_and_left(self.deadline)
        return spent / (spent + epochs * self._epoch)

    def shares(self, step: NDArray[np.int64], n_steps: int) -> NDArray[np.float64]:
        """Return the share of the steps, or of a time too short for them, done at steps to come."""
        shares = np.asarray(step / n_steps)
        if self.deadline is None:
            return shares
        spent, epochs = self._spent_and_left(self.deadline)
        if epochs * step.size >= n_steps - step.min():
            return shares
        more = np.arange(step.size).reshape(step.shape) / step.size * self._epoch
        return np.maximum(shares, (spent + more) / (spent + epochs * self._epoch))

    def _spent_and_left(self, deadline: float) -> tuple[float, int]:
        """Return the seconds so far, and the number of epochs for which there is time (>= 1)."""
        now = self.now()
        epochs = min(self._left(deadline, now) / self._epoch, MOST_EPOCHS)
        return now - self._began, max(math.floor(epochs), 1)

    def _left(self, deadline: float, now: float) -> float:
        return deadline - now - self.after * median_low(self._looks)


UNLIMITED = Clock(None)
