"""Numbers that are not plain: dates, durations, and text that holds dates or quantities.

Dates become seconds since 1970-01-01 00:00, those with a time zone in UTC, others as they are
written; durations become seconds.
"""

from __future__ import annotations

import datetime
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp._validation.arrays import is_missing, short
from fastmlp.tabular.table.rows import numbered, types_of

Array = NDArray[Any]

KINDS = {  # kinds of values, with the words for them
    "date": "dates without a time zone",
    "instant": "dates with a time zone",
    "duration": "time differences",
    "number": "numbers",
}
DATES = ("date", "instant")
SECOND, EPOCH_YEAR = datetime.timedelta(seconds=1), 1970
CYCLES = {"day": 86_400.0, "week": 604_800.0, "year": 31_556_952.0}  # seconds
LEAST_SPAN = 0.8  # the first date to the last, as a share of a cycle
LEAST_READABLE = 0.99  # share of the texts of a column that have its layout
MOST_MISSING = 100  # most distinct texts of a column without its layout, which count as missing
FEWEST_QUANTITIES = 21  # distinct texts; fewer quantities are categories

# ---------------------------------------------------------------------------------- text

_YEAR, _MONTH, _DAY, _MARK = "(?P<y>[0-9]{4})", "(?P<m>[0-9]{1,2})", "(?P<d>[0-9]{1,2})", "[-/.]"
_TIME = (
    r"(?:(?:T|\s+)(?P<hour>[0-9]{1,2})(?P<time>:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)"
    r"(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_SYMBOL = "[$€£¥₹]"
_QUANTITY = re.compile(
    rf"([-+]?)({_SYMBOL}?)\s*([-+]?[0-9.,]*[0-9][.,]?)"  # signs, a symbol, the number
    rf"(\s*[%‰]|\s*{_SYMBOL}|\s+[^\W\d_]\S{{0,9}}|)"
)


def _dates(pattern: str) -> Callable[[str], tuple[datetime.datetime, str]]:
    """Return a function from a text to its date, which has no unit; it may raise ValueError."""
    matches = re.compile(pattern + _TIME).fullmatch

    def read(text: str) -> tuple[datetime.datetime, str]:
        match = matches(text.strip())
        if match is None:
            raise ValueError
        year, month, day, hour, time, zone = match.group("y", "m", "d", "hour", "time", "zone")
        day = f"{year}-{month:0>2}-{day or '01':0>2}"
        time = f"{hour or '00':0>2}{time or ':00'}{zone or ''}"
        try:
            date = datetime.datetime.fromisoformat(f"{day}T{time}")
            _naive(date)
        except OverflowError as error:  # the year of a date in UTC may not be from 1 to 9999
            raise ValueError from error
        return date, ""

    return read


def _quantities(mark: str, separator: str) -> Callable[[str], tuple[float, str]]:
    """Return a function from a text to its number and unit; it may raise ValueError."""
    whole = rf"[-+]?([1-9][0-9]{{0,2}}(\{separator}[0-9]{{3}})+|[0-9]*)(\{mark}[0-9]*)?"

    def read(text: str) -> tuple[float, str]:
        match = _QUANTITY.fullmatch(text.strip())
        if match is None or not re.fullmatch(whole, number := match[1] + match[3]):
            raise ValueError
        unit = f"{match[2]} {match[4].strip()}".strip()
        value = float(number.replace(separator, "").replace(mark, "."))
        if math.isinf(value):
            raise ValueError
        return value, unit

    return read


class Layout(NamedTuple):
    """A way to write dates or quantities as text."""

    example: str
    read: Callable[[str], tuple[Any, str]]  # a text gives its value and unit


YEAR_FIRST = "year first"
LAYOUTS = {
    YEAR_FIRST: Layout(
        "2026-12-31 18:30",
        _dates(rf"(?![0-9]+\.[0-9]+$){_YEAR}(?P<mark>{_MARK}){_MONTH}((?P=mark){_DAY})?"),
    ),
    "day first": Layout(
        "31.12.2026 18:30", _dates(rf"{_DAY}(?P<mark>{_MARK}){_MONTH}(?P=mark){_YEAR}")
    ),
    "month first": Layout(
        "12/31/2026 18:30", _dates(rf"{_MONTH}(?P<mark>{_MARK}){_DAY}(?P=mark){_YEAR}")
    ),
    "decimal point": Layout("1,234.5", _quantities(".", ",")),
    "decimal comma": Layout("1.234,5", _quantities(",", ".")),
}

# ---------------------------------------------------------------------------------- columns


class Instants(np.ndarray):
    """Dates in UTC, datetime64, of a column with a time zone."""


@dataclass(frozen=True)
class Form:
    """How the values of a column become numbers."""

    kind: str  # a key of `KINDS`
    layout: str = ""  # the layout of text, a key of `LAYOUTS`
    unit: str = ""  # the unit of quantities
    missing: tuple[str, ...] = ()  # texts that count as missing
    cycles: tuple[str, ...] = ()  # keys of `CYCLES` that are further inputs

    def shown(self, value: float) -> str:
        """Return a number of the column as people write it."""
        if self.kind in DATES:
            return str(np.datetime64(round(value), "s")).removesuffix("T00:00:00")
        return f"{value:.4g}{' s' * (self.kind == 'duration')}"

    def read(self, series: Array, name: str) -> NDArray[np.float64]:
        """Return numbers, NaN where missing; raise TypeError or ValueError for other values."""
        if series.dtype.kind in "mM":
            is_instant = isinstance(series, Instants)
            kinds = {"instant" if is_instant else kind_of(series.dtype.type())}
            values: Any = series
        else:
            items = series.astype(object, copy=False)
            if series.dtype.kind == "f":  # each NaN would be a value of its own
                items[np.isnan(series)] = None
            if lists := [kind for kind in types_of(items) if kind.__hash__ is None]:
                kind = lists[0].__name__
                raise TypeError(f"{name} holds a {kind} but {KINDS[self.kind]} are expected")
            distinct: dict[Any, int] = {}
            places = numbered(items, {}, distinct)
            values = [self._value(item, name) for item in distinct]
            kinds = {kind_of(value) for value in values if value is not None}
        if others := kinds - {self.kind}:
            other = min(others)
            raise TypeError(
                f"{name} holds {KINDS.get(other, f'a {other}')} but {KINDS[self.kind]} are "
                "expected, as at fit: give the column values of one kind"
            )
        try:
            numbers = _converted(self.kind, values)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{name} holds {KINDS[self.kind]} that cannot be read ({error}): correct them"
            ) from None
        return numbers if values is series else numbers[places]

    def _value(self, item: Any, name: str) -> Any:
        """Return the date, difference or number of an item, None if it is missing."""
        if is_missing(item) or item in self.missing:
            return None
        if self.kind == "duration" or not (isinstance(item, str) or self.unit):
            return item
        try:
            value, unit = LAYOUTS[self.layout or YEAR_FIRST].read(str(item))
        except ValueError:
            unit = None
        if unit != self.unit:
            raise ValueError(
                f"{name} holds {short(item)} but values such as {self.example} are expected: "
                "correct it, or pass None where the value is missing"
            )
        return value

    @property
    def example(self) -> str:
        """A text that can be read."""
        return f"{LAYOUTS[self.layout or 'year first'].example} {self.unit}".strip()

    def note(self, name: str) -> str:
        """Return a note about text that is read as numbers."""
        words = "dates" if self.kind in DATES else "numbers"
        note = f"{name} is text that was read as {words} such as {self.example}"
        shown = ", ".join(map(ascii, self.missing[:3])) + ", ..." * (len(self.missing) > 3)
        return f"{note}; {shown} count as missing" if self.missing else note


def kind_of(value: Any) -> str:
    """Return the kind of a value, a key of `KINDS`, or the name of its type."""
    if isinstance(value, datetime.timedelta | np.timedelta64):
        return "duration"
    if isinstance(value, datetime.date | np.datetime64):
        return "date" if getattr(value, "tzinfo", None) is None else "instant"
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__


def _converted(kind: str, values: Any) -> NDArray[np.float64]:
    """Return values of one kind as numbers: an array of NumPy's times, or a list with None."""
    if kind == "number":
        numbers = np.array([np.nan if value is None else value for value in values], np.float64)
        if np.isinf(numbers).any():
            raise ValueError("a number is infinite")
        return numbers
    if kind == "duration":
        if isinstance(values, np.ndarray):
            return np.asarray(values / np.timedelta64(1, "s"))
        return np.array([np.nan if value is None else value / SECOND for value in values])
    dates = values if isinstance(values, np.ndarray) else np.array([*map(_naive, values)], "M8[us]")
    years, present = dates.astype("M8[Y]").astype(np.int64) + EPOCH_YEAR, ~np.isnat(dates)
    if np.any(present & ((years < datetime.MINYEAR) | (years > datetime.MAXYEAR))):
        raise ValueError("a year is not from 1 to 9999")
    return np.where(present, dates.astype("M8[us]").astype(np.int64) / 1e6, np.nan)


def _naive(value: Any) -> Any:
    """Return a date in UTC without its time zone."""
    if getattr(value, "tzinfo", None) is None:
        return value
    return value.astimezone(datetime.UTC).replace(tzinfo=None)


def of_kind(kind: str, **of_text: Any) -> Form | None:
    """Return the form of a kind, of dates with all cycles until they are measured; else None."""
    if kind not in KINDS:
        return None
    return Form(kind, cycles=tuple(CYCLES) if kind in DATES else (), **of_text)


def of_text(count: Counter[Any]) -> Form | None:
    """Return the form of a column of text, from the numbers of its rows; None for categories.

    Dates of two meanings, such as 1/2/2026, have no form unless others of the column decide. If
    three digits follow each mark of quantities, it separates thousands.
    """
    texts = {text: n for text, n in count.items() if text is not None}
    if not texts or not all(isinstance(text, str) for text in texts):
        return None
    by_layout = {layout: _readable(layout, texts) for layout in LAYOUTS}
    layouts = [layout for layout, readable in by_layout.items() if readable]
    if not layouts:
        return None
    kind = kind_of(next(iter(by_layout[layouts[0]].values()))[0])
    if kind == "number":  # thousands are larger than numbers with three decimals
        layouts.sort(key=lambda layout: -sum(abs(value) for value, _ in by_layout[layout].values()))
    layout, readable = layouts[0], by_layout[layouts[0]]
    _, unit = next(iter(readable.values()))
    if kind != "number":
        is_clear = all(by_layout[other] == readable for other in layouts)
    else:
        is_clear = len(readable) >= FEWEST_QUANTITIES and not all(map(is_number, readable))
    if not is_clear:
        return None
    missing = tuple(text for text in texts if text not in readable)
    return of_kind(kind, layout=layout, unit=unit, missing=missing)


def _readable(layout: str, texts: dict[str, int]) -> dict[str, Any]:
    """Return values and units of the texts that have a layout; none if others are too many."""
    others, most_rows = 0, (1 - LEAST_READABLE) * sum(texts.values())
    readable: dict[str, tuple[Any, str]] = {}
    for text, n in texts.items():
        try:
            readable[text] = LAYOUTS[layout].read(text)
        except ValueError:
            others += n
            if others > most_rows:
                return {}
    ((unit, _),) = Counter(unit for _, unit in readable.values()).most_common(1)
    readable = {text: pair for text, pair in readable.items() if pair[1] == unit}
    rows = sum(texts[text] for text in readable)
    too_many = rows < LEAST_READABLE * sum(texts.values())
    return {} if too_many or len(texts) - len(readable) > MOST_MISSING else readable


def is_number(text: str) -> bool:
    """Whether a text is a number as Python writes it: codes of groups look like this, too."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def cycles_of(seconds: NDArray[np.float64]) -> tuple[str, ...]:
    """Return the cycles that dates span and in which they differ."""
    present = seconds[~np.isnan(seconds)]
    if not len(present):
        return ()
    return tuple(
        cycle
        for cycle, period in CYCLES.items()
        if np.ptp(present) >= LEAST_SPAN * period and np.ptp(np.mod(present, period)) > 0
    )
