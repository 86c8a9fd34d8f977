"""The time that a fit may take."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

TICK = 1e-9  # seconds: no epoch is shorter, whatever a clock says
FIRST_LOOK = 0.25  # of an epoch, before there was one
RECENT = 3  # epochs and looks, of which one that the machine was slow at changes no plan


class Clock:
    """Says how far the training of a recipe is, and when there is no time for another epoch.

    Parameters
    ----------
    deadline : float or None
        Of the whole fit, in seconds, of ``now``; None is no limit.
    now : callable () -> float
        The time.
    epoch : float
        Seconds that an epoch is thought to take, until one has ended.
    after : float
        What follows training takes as long as so many looks at held-out rows.

    Examples
    --------
    >>> clock = Clock(None)
    >>> clock.passed(), clock.ended()
    (0.0, False)
    """

    def __init__(
        self,
        deadline: float | None,
        now: Callable[[], float] = time.monotonic,
        epoch: float = 0.0,
        after: float = 0.0,
    ) -> None:
        self._deadline, self._now, self._after = deadline, now, after
        self._began = self._last = now()
        self._thought = max(epoch, TICK)
        self._epochs: deque[float] = deque(maxlen=RECENT)
        # The first look alone is not believed: whoever looks may have had much to load.
        self._looks = deque([FIRST_LOOK * self._thought], RECENT)

    def looked(self, seconds: float) -> None:
        """Say how long a look at held-out rows has taken."""
        self._looks.append(seconds)

    def ended(self) -> bool:
        """Whether there is no time for another epoch, as long as they are; asked after each."""
        if self._deadline is None:
            return False
        now = self._now()
        self._epochs.append(max(now - self._last, TICK))
        self._last = now
        return self._epoch > self._left(self._deadline, now)

    @property
    def _epoch(self) -> float:
        return median_low(self._epochs or [self._thought])

    def passed(self) -> float:
        """Return the share of the training that is over; 0 without a limit.

        It ends with a whole epoch, the last for which there is time.
        """
        if self._deadline is None:
            return 0.0
        spent, epochs = self._spent_and_left(self._deadline)
        return spent / (spent + epochs * self._epoch)

    def shares(self, step: NDArray[np.int64], n_steps: int) -> NDArray[np.float64]:
        """Return how far training is at the steps of the next epoch, 1 at its end.

        Where there is no time for all steps it is the share of the time, if that is larger.

        Parameters
        ----------
        step : array of int
            The steps.
        n_steps : int
            How many there are to be, in all.
        """
        shares = np.asarray(step / n_steps)
        if self._deadline is None:
            return shares
        spent, epochs = self._spent_and_left(self._deadline)
        if epochs * step.size >= n_steps - step.min():
            return shares
        more = np.arange(step.size).reshape(step.shape) / step.size * self._epoch
        return np.maximum(shares, (spent + more) / (spent + epochs * self._epoch))

    def _spent_and_left(self, deadline: float) -> tuple[float, int]:
        """Return the seconds so far, and the whole epochs that there is time for, at least 1."""
        now = self._now()
        return now - self._began, max(math.floor(self._left(deadline, now) / self._epoch), 1)

    def _left(self, deadline: float, now: float) -> float:
        return deadline - now - self._after * median_low(self._looks)


UNLIMITED = Clock(None)
