"""What a fit has done, to read: ``print(model.report())``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Report:
    """Facts of a fit; its text has a line for each.

    Attributes
    ----------
    rows, columns : int
        Of the table.
    kinds : dict of str to int
        Numbers and categories.
    left_out : dict of str to str
        Columns that are not used, and why.
    members : list of str
        Share, number, layers and epoch of each group, the one that counts most first.
    metric : str
        What `alone` and `together` are; it chose epochs and shares unless `scoring` did.
    alone, together : float
        That of single members on rows they have not learned from, and of those of a row together.
    seconds : dict of str to float
        By phase.
    more : dict of str to str
        What the task adds: the temperature, and what `scoring` says out of fold.
    notes : list of str
        What was done otherwise than the preset says.
    """

    rows: int
    columns: int
    kinds: dict[str, int]
    left_out: dict[str, str]
    members: list[str]
    metric: str
    alone: float
    together: float
    seconds: dict[str, float]
    more: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return one line for each fact."""
        kinds = ", ".join(f"{count} {name}" for name, count in self.kinds.items())
        seconds = ", ".join(f"{name} {value:.2f}" for name, value in self.seconds.items())
        lines = {
            "table": f"{self.rows:,} rows, {self.columns} columns: {kinds}",
            "left out": "; ".join(f"{name}: {why}" for name, why in self.left_out.items()),
            "members": "; ".join(self.members),
            "out of fold": f"{self.metric} {self.together:.4g}, single members {self.alone:.4g}",
            **self.more,
            "seconds": seconds,
            "notes": "; ".join(self.notes),
        }
        return "\n".join(f"{name:<12} {text}" for name, text in lines.items() if text)


class Stopwatch:
    """Takes the time of phases.

    Attributes
    ----------
    seconds : dict of str to float
        By name.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time inside to a phase."""
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
