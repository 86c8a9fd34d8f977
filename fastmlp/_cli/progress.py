"""Progress on the standard error stream, where that is a terminal: one line, with time left."""

from __future__ import annotations

import sys
import time

CLEAR = "\r\x1b[K"  # to the beginning of the line, which is emptied


class Progress:
    """Counts steps that take about equally long; says nothing where nobody watches."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._began = total, 0, time.monotonic()
        self._shown = sys.stderr.isatty()

    def step(self, text: str) -> None:
        """Count one more step, and show how many are done and the time that is left."""
        self._done += 1
        left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        if self._shown:
            line = f"{self._done}/{self._total}  {left:.0f} s left  {text}"
            print(CLEAR + line, end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the line."""
        if self._shown:
            print(CLEAR, end="", file=sys.stderr, flush=True)
