"""A progress line for fits of tables, and a hint if a fit will take long."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

from fastmlp._core.history import State
from fastmlp._engine.thread_count import default_threads

LONG = 60.0  # seconds; longer fits get a hint
SURE = 5.0  # seconds until the estimate is reliable, as first epochs are slow
EVERY = 0.1  # seconds between updates on a terminal
UNITS = (1e9, "GB"), (1e6, "MB"), (1e3, "kB")
PARTS = 10  # lines per recipe in a file


@dataclass(eq=False)
class Progress:
    """Callback for all recipes of a fit: one line that a terminal rewrites, else `PARTS` lines."""

    work: Sequence[float]  # of each recipe, relative
    metric: str
    deadline: float | None  # a time of ``now``
    n_threads: int | None
    shows: bool
    memory: float = 0.0  # estimated bytes of the fit
    file: TextIO | None = None
    now: Callable[[], float] = time.monotonic
    recipe: int = 0
    _hinted: bool = False
    _shown: float = -1.0
    _width: int = 0

    def __post_init__(self) -> None:
        self._began = self.now()

    def begin(self, recipe: int) -> None:
        """Start the next recipe, counted from 0."""
        self.recipe, self._shown = recipe, -1.0

    def __call__(self, state: State) -> None:
        """Show an epoch."""
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
        """Log and show a hint, once, on how to shorten a long fit."""
        if self._hinted or passed < SURE or seconds < LONG:
            return
        self._hinted = True
        remedy = "preset='fast' is quicker, and time_limit=60 ends it in about a minute"
        if self.n_threads is not None and self.n_threads < default_threads():
            remedy += f"; n_jobs={self.n_threads} uses less than the {default_threads()} threads"
            remedy += " of this machine, n_jobs=None all of them"
        memory = f" and {in_bytes(self.memory)}" if self.memory else ""
        text = f"this fit takes about {_span(seconds)}{memory}: {remedy}"
        logging.getLogger("fastmlp").info(text)
        if self.shows:
            self.close()
            print(text, file=self.file or sys.stderr)


def _span(seconds: float) -> str:
    """Return a duration as text, such as 7 s or 5 min."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def in_bytes(size: float) -> str:
    """Return a size as text, such as 4.0 GB."""
    unit, name = next((u, n) for u, n in UNITS if size >= u or u == 1e3)
    return f"{size / unit:.3g} {name}"
