"""How far the fit of a table is: a line for people who wait, and a hint if they will wait long."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from fastmlp._core.history import State
from fastmlp._engine.thread_count import default_threads

LONG = 60.0  # seconds of a fit that a hint is given about
SURE = 5.0  # seconds after which its length is known well enough; first epochs are slow
EVERY = 0.1  # seconds between two lines on a terminal
PARTS = 10  # lines of a recipe in a file


class Progress:
    """A callback for all recipes of a fit: shows recipe, share done, time left and score.

    On a terminal one line is rewritten in place; elsewhere each recipe gets `PARTS` lines.

    Parameters
    ----------
    work : sequence of float
        How much each recipe computes; only their ratios matter.
    target : Numbers or Classes
        Names the score.
    deadline : float or None
        When the fit must end, by ``now``.
    n_threads : int or None
        Threads of the fit; None is all.
    shows : bool
        Whether lines are written; a hint is logged in any case.
    file : file object, optional
        Where to write; the standard error stream by default.
    now : callable () -> float
        The time in seconds.
    """

    def __init__(
        self,
        work: Sequence[float],
        target: Any,
        deadline: float | None,
        n_threads: int | None,
        shows: bool,
        file: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.work, self.metric, self.deadline = work, target.metric, deadline
        self.n_threads, self.shows, self.file, self.now = n_threads, shows, file, now
        self.recipe, self._began, self._hinted = 0, now(), False
        self._shown, self._width = -1.0, 0

    def begin(self, recipe: int) -> None:
        """Follow another recipe; they count from 0."""
        self.recipe, self._shown = recipe, -1.0

    def __call__(self, state: State) -> None:
        """Report an epoch."""
        now, part = self.now(), (state.epoch + 1) / state.epochs
        passed = now - self._began
        done = sum(self.work[: self.recipe]) + part * self.work[self.recipe]
        share = done / sum(self.work)
        left = passed * (1 - share) / share
        if self.deadline is None:
            self._hint(passed, passed + left)
        else:
            left = min(left, max(self.deadline - now, 0.0))
            share = passed / max(passed + left, 1e-9)
        if not self.shows:
            return
        file = self.file or sys.stderr
        is_terminal = file.isatty()
        due = now - self._shown >= EVERY if is_terminal else part - self._shown >= 1 / PARTS
        if self._shown >= 0 and not due and part < 1:
            return
        self._shown = now if is_terminal else part
        line = f"recipe {self.recipe + 1} of {len(self.work)}, {share:.0%} done, {_span(left)} left"
        if state.val_loss == state.val_loss:
            line += f", {self.metric} {state.val_loss:.4g} out of fold"
        if is_terminal:
            print("\r" + line.ljust(self._width), end="", file=file, flush=True)
            self._width = len(line)
        else:
            print(line, file=file, flush=True)

    def close(self) -> None:
        """End the line on a terminal."""
        if self._width:
            print(file=self.file or sys.stderr)
            self._width = 0

    def _hint(self, passed: float, seconds: float) -> None:
        """Say once what makes a long fit shorter, by logging and among the lines."""
        if self._hinted or passed < SURE or seconds < LONG:
            return
        self._hinted = True
        remedy = "preset='fast' is quicker, and time_limit=60 ends it in about a minute"
        if self.n_threads is not None and self.n_threads < default_threads():
            remedy += f"; n_jobs={self.n_threads} uses less than the {default_threads()} threads"
            remedy += " of this machine, n_jobs=None all of them"
        text = f"this fit takes about {_span(seconds)}: {remedy}"
        logging.getLogger("fastmlp").info(text)
        if self.shows:
            self.close()
            print(text, file=self.file or sys.stderr)


def _span(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> _span(7.4), _span(300.0)
    ('7 s', '5 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
