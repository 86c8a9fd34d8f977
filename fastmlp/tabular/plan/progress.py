"""The time of a fit: its limit, a progress line, and a hint if it will take long."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from statistics import median_low
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.history import State
from fastmlp._core.user_warnings import warn
from fastmlp._engine.thread_count import default_threads

TICK = 1e-9  # shortest time of an epoch, for coarse clocks
FIRST_EVALUATION = 0.25  # assumed time of the first evaluation, in epochs
ENDLESS_EPOCHS = 2.0**53  # an unreasonably large limit would give infinitely many
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
        self._assumed = max(self.epoch, TICK)
        self._epochs: deque[float] = deque(maxlen=RECENT)
        # An assumed value damps the first evaluation, which may include loading of modules.
        self._evaluations = deque([FIRST_EVALUATION * self._assumed], RECENT)

    def evaluated(self, seconds: float) -> None:
        """Record the time of one evaluation of held-out rows."""
        self._evaluations.append(seconds)

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
        return median_low(self._epochs or [self._assumed])

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
        epochs = min(self._left(deadline, now) / self._epoch, ENDLESS_EPOCHS)
        return now - self._began, max(math.floor(epochs), 1)

    def _left(self, deadline: float, now: float) -> float:
        return deadline - now - self.after * median_low(self._evaluations)


UNLIMITED = Clock(None)


LONG_FIT = 60.0  # seconds; longer fits get a hint
TEDIOUS_FIT = 600.0  # seconds; longer fits warn instead
RELIABLE_AFTER = 5.0  # seconds until the estimate is reliable, as first epochs are slow
UPDATE_INTERVAL = 0.1  # seconds between updates on a terminal
UNITS = (1e9, "GB"), (1e6, "MB"), (1e3, "kB")
USUAL_COLUMNS = 80  # a terminal that does not tell its width has these
LINES_PER_RECIPE = 10  # lines per recipe in a file
BAR = "|{bar:20}| {desc}"  # the words beside it say the share


@dataclass(eq=False)
class Line:
    """A line that a terminal rewrites, or some lines of a file."""

    file: TextIO | None = None  # None: sys.stderr of the moment
    shown: float = -1.0  # when it was last written, or which part was done; below 0: not yet
    width: int = 0  # the characters that a terminal shows

    def is_live(self) -> bool:
        """Whether what is written replaces what was written before."""
        return (self.file or sys.stderr).isatty()

    def is_due(self, now: float, part: float) -> bool:
        """Whether it is time to write, after a part of a recipe."""
        at, interval = (now, UPDATE_INTERVAL) if self.is_live() else (part, 1 / LINES_PER_RECIPE)
        if self.shown >= 0 and at - self.shown < interval and part < 1:
            return False
        self.shown = at
        return True

    def write(self, parts: Sequence[str], share: float) -> None:
        """Write the parts of the line, on a terminal as many of the last ones as fit."""
        file = self.file or sys.stderr
        if not file.isatty():
            print(", ".join(parts), file=file, flush=True)
            return
        line = _fitting(parts, _columns(file) - 1)  # a full line would begin another one
        print("\r" + line.ljust(self.width), end="", file=file, flush=True)
        self.width = len(line)

    def begin(self) -> None:
        """Let the next part be written at once."""
        self.shown = -1.0

    def end(self) -> None:
        """End the line on a terminal."""
        if self.width:
            print(file=self.file or sys.stderr)
            self.width = 0


@dataclass(eq=False)
class Bar(Line):
    """A bar of tqdm, on a terminal or as a widget of a notebook."""

    _bar: Any = None
    _done: float = 0.0

    def is_live(self) -> bool:
        """Whether what is written replaces what was written before: always."""
        return True

    def write(self, parts: Sequence[str], share: float) -> None:
        """Move the bar to a share of the whole, and write the parts beside it."""
        if self._bar is None:
            file = self.file or sys.stderr
            self._bar = tqdm()(total=1.0, bar_format=BAR, mininterval=0, miniters=0, file=file)
            self._done = 0.0
        self._bar.set_description_str(", ".join(parts), refresh=False)
        self._bar.update(share - self._done)
        self._done = share

    def end(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def tqdm() -> Any:
    """Return the class of bars, a widget in notebooks, or None if tqdm is not installed."""
    try:
        return import_module("tqdm.auto").tqdm
    except ImportError:
        return None


def line_or_bar(file: TextIO | None = None) -> Line:
    """Return a bar for terminals and notebooks if tqdm is installed, else lines."""
    kind = tqdm()
    is_widget = any(each.__module__ == "tqdm.notebook" for each in getattr(kind, "__mro__", ()))
    is_bar = kind is not None and (is_widget or (file or sys.stderr).isatty())
    return Bar(file) if is_bar else Line(file)


@dataclass(eq=False)
class Progress:
    """Callback for all recipes of a fit, which shows how far it is."""

    work: Sequence[float]  # the work of each recipe, relative
    metric: str
    deadline: float | None  # a time of ``now``
    n_threads: int | None
    shows: bool
    memory: float = 0.0  # estimated bytes of the fit
    line: Line = field(default_factory=line_or_bar)
    now: Callable[[], float] = time.monotonic
    recipe: int = 0
    is_passive = True  # see `CallbackList`
    _hinted: bool = False

    def __post_init__(self) -> None:
        self._began = self.now()

    def begin(self, recipe: int) -> None:
        """Start the next recipe, counted from 0."""
        self.recipe = recipe
        self.line.begin()

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
        if not (self.shows and self.line.is_due(now, part)):
            return
        parts = [f"recipe {self.recipe + 1} of {len(self.work)}", f"{share:.0%} done"]
        parts.append(f"{_span(left)} left")
        if state.val_loss == state.val_loss:
            parts.append(f"{self.metric} {state.val_loss:.4g} out of fold")
        self.line.write(parts, share)

    def close(self) -> None:
        """End the line on a terminal."""
        self.line.end()

    def _hint(self, passed: float, seconds: float) -> None:
        """Log and show a hint, once, on how to shorten a long fit."""
        if self._hinted or passed < RELIABLE_AFTER or seconds < LONG_FIT:
            return
        self._hinted = True
        remedy = "preset='fast' is quicker, and time_limit=60 ends it in about a minute"
        if self.n_threads is not None and self.n_threads < default_threads():
            remedy += f"; n_jobs={self.n_threads} uses less than the {default_threads()} threads"
            remedy += " of this machine, n_jobs=None all of them"
        memory = f" and {in_bytes(self.memory)}" if self.memory else ""
        text = f"this fit takes about {_span(seconds)}{memory}: {remedy}"
        self.close()
        if seconds > TEDIOUS_FIT:
            warn(text)
            return
        logging.getLogger("fastmlp").info(text)
        if self.shows:
            print(text, file=self.line.file or sys.stderr)


def show_result(metric: str, score: float) -> None:
    """Print the score of the fitted model, which is known only after the last progress line."""
    print(f"done: {metric} {score:.4g} out of fold", file=sys.stderr, flush=True)


def _columns(terminal: TextIO) -> int:
    """Return the width of a terminal."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError):  # it is none for the system
        return USUAL_COLUMNS


def _fitting(parts: Sequence[str], width: int) -> str:
    """Return parts of a line, as many of the last ones as fit."""
    for first in range(len(parts)):
        if len(line := ", ".join(parts[first:])) <= width:
            return line
    return parts[-1][:width]


def _span(seconds: float) -> str:
    """Return a duration as text, such as 7 s or 5 min."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def in_bytes(size: float) -> str:
    """Return a size as text, such as 4.0 GB."""
    unit, name = next((u, n) for u, n in UNITS if size >= u or u == 1e3)
    return f"{size / unit:.3g} {name}"
