"""What is allowed of a table, but seldom meant: said, not refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastmlp._core.user_warnings import warn
from fastmlp.tabular.columns import REMEDY_OF_DATES, Columns

FEWEST_TEXTS = 21  # values of a category, for it to be doubted: postcodes are many, too
MOST_OTHERS = 0.1  # of these, that are "?" or the like
MOST_SHOWN = 3  # of them


def check_order(X: Any, **others: Any) -> None:
    """Warn of labels that have the index of X in another order: rows are matched by their place.

    Parameters
    ----------
    X : frame or array
        Rows.
    **others : series, frames or arrays
        What belongs to these rows, by name.
    """
    index = _index(X)
    for name, other in others.items():
        own = _index(other)
        if index is None or own is None or len(own) != len(index) or own.equals(index):
            continue
        if own.is_unique and index.is_unique and own.isin(index).all():
            warn(
                f"{name} has the index of X in another order but rows are matched by their place: "
                f"if the index is right, pass {name}.loc[X.index]; if the place is, "
                f"{name}.to_numpy()"
            )


def _index(table: Any) -> Any:
    """Return the index of a frame or series of pandas, else None."""
    index = getattr(table, "index", None)
    return index if hasattr(index, "equals") and hasattr(index, "isin") else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _like(pattern: str) -> Callable[[str], bool]:
    """Return whether a text is as a pattern has it, or a plain number."""
    matches = re.compile(pattern).fullmatch
    return lambda text: _is_number(text) or matches(text.strip()) is not None


@dataclass(frozen=True)
class TextForm:
    """What texts may be that are no mere names.

    Attributes
    ----------
    what : str
        They are.
    holds : callable
        Whether a text is one.
    remedy : str
        What to do about the column.
    """

    what: str
    holds: Callable[[str], object]
    remedy: str


SIZES = "convert the column{rest} if their sizes matter"
DATE = r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}"

# The first that nearly all texts of a column have.
FORMS = (
    TextForm("numbers", _is_number, SIZES),
    TextForm("numbers with %", _like(r"[-+]?\d+([.,]\d*)?\s*%"), f"take the % off, and {SIZES}"),
    TextForm(
        "numbers with commas",
        _like(r"[-+]?(\d{1,3}(,\d{3})+(\.\d*)?|\d*,\d*)"),
        f"take the commas out, or make points of them, and {SIZES}",
    ),
    TextForm("dates", re.compile(rf"({DATE})([T ].*)?").fullmatch, REMEDY_OF_DATES),
)


def texts(columns: Columns) -> list[str]:
    """Return notes about categories that are numbers or dates, but for a few of their values.

    Parameters
    ----------
    columns : Columns
        Of a fit.
    """
    notes = (_note(column.name, column.values or ()) for _, column in columns.categories)
    return [note for note in notes if note]


def _note(name: str, values: Sequence[Any]) -> str:
    """Return what is to be said of a category, if anything."""
    there = [value for value in values if value is not None]
    if len(there) < FEWEST_TEXTS or not any(isinstance(value, str) for value in there):
        return ""
    for form in FORMS:
        others = [v for v in there if isinstance(v, bool | bytes) or not form.holds(str(v))]
        if len(others) <= MOST_OTHERS * len(there):
            break
    else:
        return ""
    if not others:
        remedy = form.remedy.format(rest="")
        return f"{name} is a category of {len(there)} texts that are {form.what}: {remedy}"
    shown = ", ".join(map(ascii, others[:MOST_SHOWN])) + ", ..." * (len(others) > MOST_SHOWN)
    remedy = form.remedy.format(rest=", with NaN for what is none,")
    return (
        f"{name} is a category for {shown}, but its other {len(there) - len(others)} values are "
        f"{form.what}: {remedy}"
    )
