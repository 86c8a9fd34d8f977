"""The time that a fit may take."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Says how much of the time has passed, and when it is over.

    Parameters
    ----------
    deadline : float or None
        In seconds, of ``now``; None is no limit.
    now : callable () -> float
        The time.

    Examples
    --------
    >>> clock = Clock(None)
    >>> clock.passed(), clock.ended()
    (0.0, False)
    """

    def __init__(self, deadline: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._deadline, self._now = deadline, now
        self._began = self._last = now()
        self._longest = 0.0

    def passed(self) -> float:
        """Return the share of the time since the beginning; 0 without a limit."""
        if self._deadline is None:
            return 0.0
        return (self._now() - self._began) / max(self._deadline - self._began, 1e-9)

    def ended(self) -> bool:
        """Whether there is none for an epoch as long as the longest one; asked after each."""
        if self._deadline is None:
            return False
        now = self._now()
        self._longest, self._last = max(self._longest, now - self._last), now
        return now + self._longest >= self._deadline


UNLIMITED = Clock(None)
