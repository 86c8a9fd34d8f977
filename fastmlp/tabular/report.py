"""What a fit has done, to read: ``print(model.report())``."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Report:
    """Facts of a fit; its text has a line for each.

    Attributes
    ----------
    rows, columns : int
        Of the table.
    kinds : dict of str to int
        Numbers, categories, and inputs of a network.
    left_out : dict of str to str
        Columns that are not used, and why.
    members : str
        How many of what.
    metric : str
        What chose the epoch.
    alone, together : float
        That of single members on rows they have not learned from, and of those of a row together.
    epoch, epochs : int
        The one that was kept, of how many.
    seconds : dict of str to float
        By phase.
    more : dict of str to str
        What the task adds, such as the temperature.
    notes : list of str
        What was done otherwise than the preset says.
    """

    rows: int
    columns: int
    kinds: dict[str, int]
    left_out: dict[str, str]
    members: str
    metric: str
    alone: float
    together: float
    epoch: int
    epochs: int
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
            "members": self.members,
            "epoch": f"{self.epoch} of {self.epochs}, chosen by {self.metric} out of fold",
            "out of fold": f"{self.metric} {self.together:.4g}, single members {self.alone:.4g}",
            **self.more,
            "seconds": seconds,
            "notes": "; ".join(self.notes),
        }
        return "\n".join(f"{name:<12} {text}" for name, text in lines.items() if text)
