"""What an estimator of tables tells of a fit: its report, and the importance of its columns.

Both are values; what draws them and writes pages is loaded when it is asked for.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple

from fastmlp._core.keywords import with_attribute_hints
from fastmlp._core.optional import require
from fastmlp._core.printable import printable
from fastmlp.tabular.table.columns import Array

# The line of a report whose fit has learned nothing.
WARNING, NO_BETTER = "warning", "this model is no better than the baseline: do not use it"
PAGES = ("", ".html", ".htm")  # how names of saved reports end
MOST_NAMES = 20  # of columns that are left out for the same reason, in one line
NO_ROWS = (
    "{} needs the rows of the fit, which copies, pickles and files of an estimator do not have: "
    "read feature_importances_ before making them, or call importance(X, y)"
)


class ReportByRows(NamedTuple):
    """What a report tells only where the estimator has the rows of the fit, computed when asked."""

    pictures: tuple[Callable[..., Any], ...]  # each draws on the axes that it is given
    write: Callable[..., None]  # the page, to a path
    verdict: Callable[[], str]  # the sentence on the error with which the page opens


@partial(with_attribute_hints, attributes=((("save(path)",), "to_html to_pdf write export"),))
@dataclass(frozen=True, repr=False)
class Report:
    """What a fit of a table found, to print, and with pictures in notebooks or by ``save``.

    The text has a line per fact.

    Attributes
    ----------
    rows, columns : int
        Size of the table.
    kinds : dict of str to int
        Number of columns of numbers, of dates and of categories.
    left_out : dict of str to str
        Unused columns, with the reasons.
    members : list of str
        A line per used recipe: its weight, description, networks and best epoch.
    metric : str
        Metric of `alone` and `together`. It selected epochs, of classes after calibration, and
        weights, unless `scoring` was set.
    alone, together : float
        Out-of-fold score of single networks, and of the mean of the networks that hold a row out.
    seconds : dict of str to float
        Duration of each phase of the fit.
    more : dict of str to str
        Further results: the baseline, with a warning if the model is no better, the temperature,
        and the scores by `scoring` and on validation rows.
    notes : list of str
        Deviations from the preset, and suspicious properties of the columns.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import TabMLPRegressor
    >>> X = np.random.default_rng(0).uniform(size=(60, 2))
    >>> model = TabMLPRegressor(preset="fast", members=2, epochs=5, random_state=0)
    >>> model = model.fit(X, X[:, 1])
    >>> report = model.report()
    >>> report.rows, report.columns
    (60, 2)
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

    by_rows: ReportByRows | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "by_rows": None}  # pickles lack the rows

    @property
    def is_worthless(self) -> bool:
        """Whether the model is no better than its baseline, on rows that it has not learned from.

        After ``partial_fit`` these are the latest rows, once there are 100.
        """
        return WARNING in self.more

    def left_out_together(self) -> list[tuple[str, str]]:
        """Return the names of the unused columns with the same reason, and the reason."""
        names: dict[str, list[str]] = {}
        for name, why in self.left_out.items():
            names.setdefault(why, []).append(name)
        return [(_listed(found), why) for why, found in names.items()]

    def lines(self) -> list[tuple[str, str]]:
        """Return the facts, each with its name; some have several lines."""
        kinds = ", ".join(f"{count} of {name}" for name, count in self.kinds.items() if count)
        seconds = ", ".join(f"{name} {value:.2f}" for name, value in self.seconds.items())
        columns = f"{self.columns} column{'s' * (self.columns != 1)}"
        return [
            ("table", f"{self.rows:,} rows, {columns}: {kinds}"),
            *(("left out", f"{names}: {why}") for names, why in self.left_out_together()),
            *(("networks", text) for text in self.members),
            ("out of fold", f"{self.metric} {self.together:.4g}, of one network {self.alone:.4g}"),
            *self.more.items(),
            ("seconds", seconds),
            *(("note", note) for note in dict.fromkeys(self.notes)),
        ]

    def __str__(self) -> str:
        """Return one line for each fact."""
        return "\n".join(printable(f"{name:<12} {text}") for name, text in self.lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return a table of the facts, and pictures."""
        from fastmlp.tabular.fitted.report import as_html

        return as_html(self.lines(), () if self.by_rows is None else self.by_rows.pictures)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an HTML page about the model, as the command line does.

        It opens with a sentence about the errors on rows that the networks had not learned from,
        and has their distribution, the largest ones, the influence of columns, and the facts of the
        report. Copies, pickles and files of an estimator have no rows, so their pages are short.

        Parameters
        ----------
        path : str or path
            Path of the file, such as ``report.html``.

        Raises
        ------
        OSError
            If the file cannot be written.

        Warns
        -----
        UserWarning
            If the name ends as that of another kind of file, such as ``report.pdf``.
        """
        name = PurePath(os.fsdecode(path))
        if name.suffix.lower() not in PAGES:
            warnings.warn(
                f"{name.name!r} is written as an HTML page: name it {name.stem + '.html'!r}, "
                "which a browser opens, and prints as PDF",
                UserWarning,
                stacklevel=2,
            )
        if self.by_rows is not None:
            self.by_rows.write(path)
        else:
            from fastmlp.tabular.fitted.report import write_facts

            write_facts(path, self.lines())


def _listed(names: list[str]) -> str:
    """Return the first names, and how many others there are."""
    others = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + f" and {others:,} others" * (others > 0)


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Store the seconds spent inside under a name."""
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began


@partial(with_attribute_hints, attributes=((("= model.plot_importance(X, y) draws it",), "plot"),))
class Importance(NamedTuple):
    """Which columns matter: how much worse predictions get when a column is shuffled, by column.

    The most important column comes first.

    Attributes
    ----------
    names : list of str
        Names of the used columns.
    means, deviations : arrays of float64
        Mean and standard deviation, over the shuffles, of the increase of the mean error when a
        column is shuffled.
    unit : str
        The error, such as "log loss" or "mean squared error over the variance of y".

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import TabMLPRegressor
    >>> X = np.random.default_rng(0).uniform(size=(60, 2))
    >>> model = TabMLPRegressor(preset="fast", members=2, epochs=5, random_state=0)
    >>> model = model.fit(X, X[:, 1])
    >>> importance = model.importance(X, X[:, 1], rounds=2)
    >>> len(importance.names), importance.means.shape
    (2, (2,))
    """

    names: list[str]
    means: Array
    deviations: Array
    unit: str

    def __repr__(self) -> str:
        """Return a line for each column."""
        if not self.names:
            return "no column is used"
        names = list(map(printable, self.names))
        width = max(map(len, names))
        rows = zip(names, self.means, self.deviations, strict=True)
        lines = [f"{name:<{width}}  {mean:8.4f} +- {away:.4f}" for name, mean, away in rows]
        return "\n".join([f"increase of {self.unit} when a column is shuffled", *lines])

    def to_frame(self) -> Any:
        """Return a pandas.DataFrame with a row for each column: its mean and deviation.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = require("Importance.to_frame", "pandas")
        return pandas.DataFrame({"mean": self.means, "deviation": self.deviations}, self.names)
