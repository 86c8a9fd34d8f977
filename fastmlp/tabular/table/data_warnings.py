"""Warnings about suspicious but valid data, such as numbers stored as text."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.user_warnings import warn
from fastmlp._validation.arrays import TableLike
from fastmlp.tabular.table.columns import FEWEST_TEXTS, MISSING, MOST_DISTINCT, Columns, Table
from fastmlp.tabular.table.encoding import SHARED
from fastmlp.tabular.table.forms import is_number

LOGGER = logging.getLogger("fastmlp")
MOST_OTHERS = 0.1  # largest share of values that do not fit the form, such as "?"
MOST_SHOWN = 3  # number of such values in the message, and of columns in a warning
# Largest share of rows whose category is so rare that it has no input of its own.
MOST_RARE = 0.5
FEWEST_DATES = 20  # fewest different numbers like 20261231, all of them dates, that are noted


def check_order(X: TableLike, **others: Any) -> None:
    """Warn if the index of y, weights or groups is a permutation of X's: rows match by position."""
    index = _index(X)
    for name, other in others.items():
        others_index = _index(other)
        if index is None or others_index is None or len(others_index) != len(index):
            continue
        if others_index.equals(index):
            continue
        if others_index.is_unique and index.is_unique and others_index.isin(index).all():
            warn(
                f"{name} has the index of X in another order but rows are matched by their place: "
                f"if the index is right, pass {name}.loc[X.index]; if the place is, "
                f"{name}.to_numpy()"
            )


def _index(table: Any) -> Any:
    """Return the index of a pandas frame or series, else None."""
    index = getattr(table, "index", None)
    return index if hasattr(index, "equals") and hasattr(index, "isin") else None


def _like(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether a text matches a pattern or is a plain number."""
    matches = re.compile(pattern).fullmatch
    return lambda text: is_number(text) or matches(text.strip()) is not None


SIZES = "convert the column{rest} if their sizes matter"
MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
DATE = "|".join(
    (
        r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?",
        r"\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})",
        rf"(\d{{1,2}}\W{{0,2}})?{MONTH}\W{{0,2}}(\d{{1,2}}\W{{1,2}})?(\d{{4}}|\d{{2}})",
    )
)

# Forms of text that suggest another dtype: name, test and remedy. The first form that nearly all
# texts of a column have applies.
FORMS: tuple[tuple[str, Callable[[str], object], str], ...] = (
    ("numbers", is_number, SIZES),
    ("numbers with %", _like(r"[-+]?\d+([.,]\d*)?\s*%"), f"take the % off, and {SIZES}"),
    (
        "numbers with commas",
        _like(r"[-+]?(\d{1,3}(,\d{3})+(\.\d*)?|\d*,\d*)"),
        "take the commas out, or read them as decimal marks (decimal=',' of pandas, --decimal , of "
        f"the command), and {SIZES}",
    ),
    (
        "dates",
        re.compile(rf"({DATE})([T ].*)?", re.IGNORECASE).fullmatch,
        "write all of them like 2026-12-31 18:30, for example by pandas.to_datetime, and they are "
        "read as dates",
    ),
)


def check_targets(y: NDArray[Any], warns: bool = True) -> list[str]:
    """Return a note about rows without the one target; several targets may have gaps."""
    count = np.count_nonzero(np.isnan(y)) if y.dtype.kind == "f" and y.shape[1:] == (1,) else 0
    if not count:
        return []
    text = (
        f"y is NaN in {count:,} of {len(y):,} rows, which have weight 0: they are not learned from"
    )
    if warns:
        warn(text)
    return [text]


def check_columns(columns: Columns, table: Table, warns: bool = True) -> list[str]:
    """Return notes about category columns of numbers or dates, or of rare or unique values.

    And about columns of numbers that are dates, such as 20261231.

    One warning for all of them has the first ones. Text that is read as numbers or dates also gets
    a note, which is logged.
    """
    forms = [(column.name, column.form) for _, column in columns.numbers if column.form]
    read = [form.note(name) for name, form in forms if form.layout]
    for text in read if warns else ():
        LOGGER.info(text)
    notes: list[str] = []
    for (_, column), numbers in zip(columns.numbers, table.numbers.T, strict=False):
        if column.form is None and are_dates(numbers):
            example = f"{np.fmax.reduce(numbers):.0f}"
            notes.append(
                f"{column.name} is read as numbers but all of them are dates, such as {example}: "
                f"pass pd.to_datetime(X[{column.name!r}].astype('Int64').astype('string'), "
                "format='%Y%m%d') in their place"
            )
    for (_, column), codes in zip(columns.categories, table.codes.T, strict=True):
        values = column.values or ()
        missing = values.index(None) if None in values else MISSING
        present = codes[codes != missing]
        is_unique = len(np.unique(present)) > MOST_DISTINCT * len(present)
        rare = np.mean(present >= column.frequent) if len(present) else 0.0
        text = note(column.name, values, is_unique)
        if not text and rare > MOST_RARE:
            text = (
                f"{column.name} is a category of {len(values):,} values of which most are rare, so "
                f"that {rare:.0%} of the rows share {SHARED} inputs: keep a part of its values "
                "that many rows have, or leave the column out"
            )
        notes += filter(None, [text])
    if notes and warns:
        more = len(notes) - MOST_SHOWN
        others = [f"{more} more, of which report().notes tells"] if more > 0 else []
        warn("; ".join([*notes[:MOST_SHOWN], *others]))
    return read + notes


def are_dates(numbers: NDArray[Any]) -> bool:
    """Whether all numbers are dates such as 20261231, at least 20 different ones of a century."""
    low, high = np.fmin.reduce(numbers), np.fmax.reduce(numbers)
    if not (low >= 1e7 and high < min(1e8, low + 1e6)):
        return False
    different = np.unique(numbers[~np.isnan(numbers)])
    if len(different) < FEWEST_DATES or np.any(different % 1):
        return False
    years, rest = np.divmod(different.astype(np.int64), 10_000)
    months, days = np.divmod(rest, 100)
    begins = np.datetime64("0000", "M") + (12 * years + months - 1)
    lengths = (begins + 1).astype("M8[D]") - begins.astype("M8[D]")
    are_months = (months >= 1) & (months <= 12)
    return bool(np.all(are_months & (days >= 1) & (days <= lengths.astype(int))))


def note(name: str, values: Sequence[Any], is_unique: bool = False) -> str:
    """Return the note for one category column; empty if there is nothing suspicious."""
    there = [value for value in values if value is not None]
    if len(there) < FEWEST_TEXTS:
        return ""
    for form, holds, advice in FORMS if any(isinstance(value, str) for value in there) else ():
        others = [v for v in there if isinstance(v, bool | bytes) or not holds(str(v))]
        if len(others) > MOST_OTHERS * len(there):
            continue
        remedy = advice.format(rest=", with NaN for the other values," * bool(others))
        if not others:
            return f"{name} is a category of {len(there):,} texts that are {form}: {remedy}"
        shown = ", ".join(map(ascii, others[:MOST_SHOWN])) + ", ..." * (len(others) > MOST_SHOWN)
        n = len(there) - len(others)
        return f"{name} is a category for {shown}, but its other {n:,} values are {form}: {remedy}"
    if is_unique:
        return (
            f"{name} is a category with another value in nearly every row, from which nothing can "
            "be learned: leave the column out, or keep a part of its values that many rows share"
        )
    return ""
