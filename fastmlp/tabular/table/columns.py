"""The columns of a table: their kinds, and conversion to numbers or codes of categories.

A table is a pandas or polars frame, or an array. ``fit`` determines the kinds; later tables must
have the same columns and are read with the same kinds.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from itertools import combinations
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.user_warnings import warn
from fastmlp._validation.arrays import MISSING_TYPES, is_missing, short
from fastmlp.tabular.table.forms import (
    CYCLES,
    DATES,
    KINDS,
    Form,
    Instants,
    cycles_of,
    kind_of,
    of_kind,
    of_text,
)
from fastmlp.tabular.table.frames import is_frame, names_in
from fastmlp.tabular.table.rows import Derivation, numbered, types_of

Array: TypeAlias = NDArray[Any]
RowIndex: TypeAlias = NDArray[np.int64]  # places of rows

SAME = "the same as "  # why a column is left out, before the name of the other
MISSING = -1  # code of a missing or unknown category

FEW_ROWS = 32  # a pandas frame with no more rows is read faster as one array of objects
MOST_CATEGORIES = 64  # as many values of a column are frequent, even if they are rare
FEWEST_UNKNOWN = 10  # fewest rows without any value of the fit that get a warning
FEWEST_TEXTS = 21  # a category with fewer values gets no note: codes of groups look like numbers
MOST_DISTINCT = 0.9  # largest number of values of a category, as a share of its rows
LEAST_ROWS = 8  # other values count as frequent if they are in at least this number of rows
MOST_FREQUENT = 4_096  # most values of a column that count as frequent
SMALLEST_RANGE = 1e-300  # smallest range of numbers whose reciprocal is finite
HARMONICS = 3  # those of a week make any function of the weekday
DERIVED_ROWS = 4_096  # rows whose derived numbers are computed at once
MOST_DIFFERENCES = 15  # columns of dates: all pairs of six
# Types of cells in object columns.
NUMBERS = int | float | np.number | Decimal
TIMES = datetime.date | datetime.timedelta | np.datetime64 | np.timedelta64
CATEGORIES = str | bytes | int | float | np.number | np.bool_ | Decimal
INTERVAL = "Interval"  # pandas.cut makes them: categories by their text
# Types of numbers that NumPy converts as they are; None becomes NaN.
PLAIN_NUMBERS = {float, int, type(None), np.float64, np.float32, np.int64, np.int32}


@dataclass(frozen=True)
class Column:
    """Name and kind of one column."""

    name: str
    # Category values in order of their codes, the frequent ones first; None for numbers.
    values: tuple[Hashable, ...] | None = None
    frequent: int = 0  # number of frequent values, which have an input each; see `CategoryInputs`
    ordered: bool = False  # whether the values are in order, None at the end
    form: Form | None = None  # numbers that are not plain have one

    def __post_init__(self) -> None:
        """Raise ValueError unless some of the values are frequent, and all that are in order."""
        n = len(self.values or ())
        if not min(n, 1) <= self.frequent <= n or (self.ordered and self.frequent < n):
            raise ValueError(f"{short(self.name)} has {self.frequent} frequent values of {n}")
        if self.ordered and None in (self.values or ())[:-1]:
            raise ValueError(f"{short(self.name)} has an order in which None is not the last")

    @property
    def has_text(self) -> bool:
        """Whether one of the values is text, or numbers may be."""
        return self.form is not None or any(isinstance(value, str) for value in self.values or ())

    def read(self, series: Array) -> Array:
        """Return numbers, float64 with NaN where missing, or category codes, int32."""
        times = kind_of_times(series, _types(series, self.name))
        if times and self.form is None:
            raise TypeError(
                f"{self.name} holds {KINDS[times]} but "
                f"{'numbers' if self.values is None else 'categories'} are expected, as at fit: "
                "give the column the dtype that it had"
            )
        if self.values is None:
            return (_numbers if self.form is None else self.form.read)(series, self.name)
        others: dict[Any, int] = {}  # items that are not spelled like a value
        codes = numbered(_items(series, self.name), self.codes, others)
        if others:
            is_other = codes >= len(self.codes)
            codes[is_other] = self._codes_of(others)[codes[is_other] - len(self.codes)]
        return codes

    def warn_of_unknown(self, series: Array) -> None:
        """Warn of values, none of which the fit had: they may be spelled in another way.

        Identifiers are always new, and the fit has warned of them.
        """
        different = len({*map(str, series.tolist())})
        if len(self.codes) >= FEWEST_TEXTS and different > MOST_DISTINCT * len(series):
            return
        unknown, of_fit = (
            next((value for value in map(_value, values) if value is not None), None)
            for values in (series.tolist(), self.codes)
        )
        if unknown is not None:
            warn(
                f"{self.name} holds {short(unknown)} and no value of the fit in {len(series):,} "
                f"rows, so that all count as unknown: spell them as at fit, such as "
                f"{short(of_fit)}, or fit again, with rows of the new values or without the column"
            )

    @functools.cached_property
    def codes(self) -> dict[Hashable, int]:
        """The code of each category value."""
        return {value: code for code, value in enumerate(self.values or ())}

    def _codes_of(self, items: Iterable[Any]) -> NDArray[np.int32]:
        """Return the codes of distinct items; raise ValueError for an item of another type."""
        values = [*map(_value, items)]
        families = {_family(value) for value in self.codes if value is not None}
        for value in values:
            if value is not None and _family(value) not in families:
                raise ValueError(
                    f"{self.name} holds {short(value)} but {' or '.join(sorted(families)[::-1])} "
                    "was there at fit: give the column the dtype that it had"
                )
            if (
                isinstance(value, float | np.floating)
                and np.isinf(value)
                and value not in self.codes
            ):
                raise _infinite(self.name)
        return np.array([self.codes.get(value, MISSING) for value in values], np.int32)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "codes"}


@dataclass(frozen=True)
class Table:
    """Numbers (n, columns), NaN if missing, and codes (n, columns), from 0, or `MISSING`."""

    numbers: NDArray[np.float64]
    codes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: NDArray[np.int64] | slice) -> Table:
        """Return some rows: a copy, or views for a slice."""
        return Table(self.numbers[rows], self.codes[rows])

    def joined(self, *others: Table) -> Table:
        """Return these rows, then those of other tables."""
        tables = self, *others
        numbers = np.concatenate([table.numbers for table in tables])
        return Table(numbers, np.concatenate([table.codes for table in tables]))


class Derived(NamedTuple):
    """Numbers of one kind that are computed from others of their row, or from codes."""

    kind: str  # one of `rows.DERIVED`
    of: Array  # places among the columns of numbers, or of ranks among those of categories
    by: Array  # periods of waves, places of dates to subtract, or numbers of ranks
    phase: Array


# The derivatives of derived numbers at a row: places among the columns of numbers, and values.
DERIVED_SLOPES: dict[str, Callable[[Table, Derived], list[tuple[Array, Any]]]] = {
    "wave": lambda table, at: [(at.of, _quarter_ahead(table, at) * (2 * np.pi / at.by))],
    "difference": lambda table, at: [(at.of, 1.0), (at.by.astype(int), -1.0)],
    "rank": lambda table, at: [],
}


def _median(numbers: Array) -> float:
    """Return the lower median of numbers, of which some may be missing; NaN if all are."""
    known = numbers[~np.isnan(numbers)]
    return float(np.quantile(known, 0.5, method="lower")) if known.size else math.nan


def _quarter_ahead(table: Table, at: Derived) -> Array:
    """Return the waves of a row a quarter of a period ahead."""
    n = table.numbers.shape[1]
    ahead = at._replace(phase=at.phase + np.pi / 2)
    numbers = np.concatenate([table.numbers[0], np.zeros(len(at.of))])
    Derivation(n, table.codes.shape[1], [ahead])(numbers, table.codes)
    return numbers[n:]


def first_tied(numbers: Array) -> NDArray[np.int64]:
    """Return for each column the first one that always rises or falls with it, maybe itself."""
    first: dict[bytes, int] = {}
    tied = np.arange(numbers.shape[1])
    for k, column in enumerate(numbers.T):
        ranks = np.unique(column, return_inverse=True)[1]
        keys = (hashlib.blake2b(order.data).digest() for order in (ranks, ranks.max() - ranks))
        tied[k] = first.setdefault(min(keys), k)
    return tied


@dataclass(frozen=True)
class Columns:
    """The used columns, each with its index in the table, and the reasons for unused ones."""

    numbers: tuple[tuple[int, Column], ...]
    categories: tuple[tuple[int, Column], ...]
    left_out: dict[str, str]
    names: tuple[str, ...]
    named: bool  # whether the table is a frame
    numeric: bool = False  # whether one numeric array can hold all columns
    # Of each used column, numbers before categories: the median of the fit, or the code of the most
    # frequent value; empty before a fit has ended.
    typical: tuple[float, ...] = ()

    @classmethod
    def of(cls, X: Any, categorical: Any = "from_dtype") -> Columns:
        """Determine the kinds of columns; ``categorical`` is the parameter of the estimators."""
        names, values = columns_of(X)
        named = is_frame(X)
        selected = categorical_indices(categorical, names, list(X.columns) if named else [])
        dtypes = list(X.dtypes) if named else []
        if categorical is not None:
            selected |= {k for k, dtype in enumerate(dtypes) if _is_category(str(dtype))}

        def read() -> Iterable[tuple[Column, Array]]:
            for k, name in enumerate(names):
                series = values(k)
                kind = "category" if k in selected else kind_of_column(series, name)
                if kind == "category":
                    order = order_of(dtypes[k]) if named else ()
                    counted = count_values(series, name)
                    column = of_counts(name, counted, is_text=k not in selected, order=order)
                else:
                    column = Column(name, form=of_kind(kind))
                yield column, column.read(series)

        return cls.used_of(read(), named)

    @classmethod
    def used_of(cls, columns: Iterable[tuple[Column, Array]], named: bool) -> Columns:
        """Leave out columns that tell nothing new; each comes with its numbers or codes."""
        numbers: list[tuple[int, Column]] = []
        categories: list[tuple[int, Column]] = []
        names: list[str] = []
        left_out: dict[str, str] = {}
        seen: dict[tuple[bool, bytes], str] = {}
        numeric = not named
        for k, (column, values) in enumerate(columns):
            name = column.name
            names.append(name)
            if column.form is not None and column.form.kind in DATES:
                form = replace(column.form, cycles=cycles_of(values))
                column = replace(column, form=form)
            numeric = numeric and (column.values is None or not column.has_text)
            key = column.values is None, hashlib.blake2b(np.ascontiguousarray(values).data).digest()
            with np.errstate(over="ignore"):
                is_narrow = (
                    column.values is None and len(values) and np.ptp(values) < SMALLEST_RANGE
                )
            # Missing counts as a value.
            if np.all((values == values[:1]) | (np.isnan(values) & np.isnan(values[:1]))):
                left_out[name] = "no values" if np.isnan(values).all() else "constant"
            elif is_narrow:
                left_out[name] = f"its range is below {SMALLEST_RANGE:g}: rescale it"
            elif key in seen:
                left_out[name] = f"{SAME}{seen[key]}"
            else:
                seen[key] = name
                (numbers if column.values is None else categories).append((k, column))
        return cls(tuple(numbers), tuple(categories), left_out, tuple(names), named, numeric)

    @functools.cached_property
    def derived(self) -> tuple[Derived, ...]:
        """The numbers that are computed from columns, by kind; they follow those of the columns."""
        forms = [(at, column.form) for at, (_, column) in enumerate(self.numbers) if column.form]
        waves = [
            (at, CYCLES[cycle] / harmonic, phase)
            for at, form in forms
            for cycle in form.cycles
            for harmonic in range(1, HARMONICS + 1)
            for phase in (0.0, np.pi / 2)
        ]
        dates = [(at, form.kind) for at, form in forms if form.kind in DATES]
        differences = [
            (at, other, 0) for (other, kind), (at, same) in combinations(dates, 2) if kind == same
        ]
        ranks = [
            (at, len(column.values or ()) - (None in (column.values or ())), 0)
            for at, (_, column) in enumerate(self.categories)
            if column.ordered
        ]
        kinds: dict[str, list[Any]] = {
            "wave": waves,
            "difference": differences[:MOST_DIFFERENCES],
            "rank": ranks,
        }
        groups = []
        for kind, rows in kinds.items():
            if rows:
                of, by, phase = map(np.array, zip(*rows, strict=True))
                groups.append(Derived(kind, of, by, phase))
        return tuple(groups)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @functools.cached_property
    def n_numbers(self) -> int:
        """How many numbers a row of a table has."""
        return len(self.numbers) + sum(len(derived.of) for derived in self.derived)

    def binned(self, bins: int) -> NDArray[np.int64]:
        """Return the bins of each number: none of the overtones of a cycle, which are smooth."""
        of_each = np.full(self.n_numbers, bins, np.int64)
        for derived in self.derived[:1]:  # waves come first
            if derived.kind == "wave":
                of_waves = of_each[len(self.numbers) :][: len(derived.of)]
                of_waves[~np.isin(derived.by, [*CYCLES.values()])] = 0
        return of_each

    def derive(self, table: Table) -> Table:
        """Compute the derived numbers of a table, in place, and return it."""
        for first in range(0, len(table) if self.derived else 0, DERIVED_ROWS):
            rows = table.take(slice(first, first + DERIVED_ROWS))
            numbers = np.ascontiguousarray(rows.numbers)
            self.derivation(numbers, np.ascontiguousarray(rows.codes, np.int32))
            if numbers is not rows.numbers:
                rows.numbers[:] = numbers
        return table

    @functools.cached_property
    def derivation(self) -> Derivation:
        """The compiled form of the derived numbers."""
        return Derivation(len(self.numbers), len(self.categories), self.derived)

    def slopes(self, table: Table) -> Array:
        """Return the derivatives of all numbers of one row by those of columns."""
        n = len(self.numbers)
        slopes = [np.eye(n)]
        for derived in self.derived:
            slopes.append(np.zeros((len(derived.of), n)))
            for places, values in DERIVED_SLOPES[derived.kind](table, derived):
                slopes[-1][np.arange(len(places)), places] = values
        return np.nan_to_num(np.concatenate(slopes))  # 0 by missing dates

    def first_tied(self, numbers: Array) -> Array:
        """Return for each column of the table the first one that is tied to it, or its copy."""
        tied = np.arange(len(self.names))
        places = np.array([place for place, _ in self.numbers], int)
        tied[places] = places[first_tied(numbers[:, : len(places)])]
        place_of = {name: place for place, name in enumerate(self.names)}
        of_copies = {SAME + name: place for name, place in place_of.items()}
        for name, why in self.left_out.items():
            if why in of_copies:
                tied[place_of[name]] = tied[of_copies[why]]
        return tied

    @property
    def sources(self) -> NDArray[np.int64] | None:
        """The used column from which each number and then each code of a table comes.

        Those of numbers come before those of categories. None if a number comes from two columns.
        """
        n, m = len(self.numbers), len(self.categories)
        firsts = {"wave": 0, "rank": n}
        if any(derived.kind not in firsts for derived in self.derived):
            return None
        derived = [firsts[derived.kind] + derived.of for derived in self.derived]
        return np.concatenate([np.arange(n), *derived, np.arange(n, n + m)])

    @property
    def kinds(self) -> dict[str, int]:
        """How many used columns hold numbers, dates and categories."""
        dates = sum(bool(column.form and column.form.kind in DATES) for _, column in self.numbers)
        numbers = len(self.numbers) - dates
        return {"numbers": numbers, "dates": dates, "categories": len(self.categories)}

    @property
    def used(self) -> list[str]:
        """The names of the used numeric columns, then of the category columns."""
        return [column.name for _, column in self.numbers + self.categories]

    def read(self, X: Any) -> Table:
        """Read a table with these columns; raise TypeError or ValueError if they differ."""
        if self.named and is_frame(X):  # arrays have no names
            names = tuple(map(str, names_in(X)))
            if names != self.names:
                raise ValueError(
                    f"X has the columns {', '.join(names)} but {', '.join(self.names)} are "
                    "expected: give those of the fit, in their order"
                )
        X = in_one_array(X)
        shape = (len(X), len(names_in(X))) if is_frame(X) else X.shape
        if len(shape) != 2 or shape[1] != len(self.names):
            raise ValueError(
                f"X has the shape {shape} but (n, {len(self.names)}) is expected, one row a sample "
                "with the columns of the fit: pass [row] for one row"
            )
        _, values = columns_of(X)
        table = self.empty(len(X))
        are_read = isinstance(X, np.ndarray) and self._read_numbers(
            X, table.numbers[:, : len(self.numbers)]
        )
        if not are_read:
            _fill(table.numbers, self.numbers, lambda k, column: column.read(values(k)))
        _fill(table.codes, self.categories, lambda k, column: column.read(values(k)))
        for (k, column), codes in zip(self.categories, table.codes.T, strict=True):
            if len(codes) >= FEWEST_UNKNOWN and codes.max() == MISSING:
                column.warn_of_unknown(values(k))
        return self.derive(table)

    def _read_numbers(self, X: Array, numbers: NDArray[np.float64]) -> bool:
        """Read all numbers of an array at once; return False if they need the checks of columns."""
        part = X[:, [k for k, _ in self.numbers]]
        if any(column.form for _, column in self.numbers):
            return False
        if part.dtype.kind not in "biuf" and not (
            part.dtype.kind == "O" and types_of(part.reshape(-1)) <= PLAIN_NUMBERS
        ):
            return False
        try:
            with np.errstate(over="ignore"):
                numbers[:] = part
        except OverflowError:  # integers of Python
            return False
        return not np.isinf(numbers).any()

    @property
    def places(self) -> list[int]:
        """The places of the used columns in the user's table: numbers, then categories."""
        return [place for place, _ in self.numbers + self.categories]

    def only(self, places: Iterable[int], reasons: Mapping[int, str] | None = None) -> Columns:
        """Return some of these columns, by their places; the others are left out for a reason."""
        kept = frozenset(places)
        numbers, categories = (
            tuple((place, column) for place, column in columns if place in kept)
            for columns in (self.numbers, self.categories)
        )
        more = {self.names[place]: why for place, why in (reasons or {}).items()}
        left_out = {**self.left_out, **more}
        return replace(self, numbers=numbers, categories=categories, left_out=left_out)

    def with_names(self, places: Iterable[int], table: Table) -> Columns:
        """Return these columns with some numbers, by their places, as ordered categories.

        Their values are those of a table of these columns.
        """
        names = frozenset(places)
        categories = list(self.categories)
        for at, (place, column) in enumerate(self.numbers):
            if place in names:
                counts = count_values(table.numbers[:, at], column.name)
                order = sorted(value for value in counts if value is not None)
                categories.append((place, of_counts(column.name, counts, order=order)))
        numbers = tuple((place, column) for place, column in self.numbers if place not in names)
        by_place = sorted(categories, key=lambda category: category[0])
        return replace(self, numbers=numbers, categories=tuple(by_place))

    def with_typical(self, table: Table, rows: Array) -> Columns:
        """Return these columns with the typical row of some rows of a table, given by place."""
        medians = (_median(column[rows]) for column in table.numbers.T[: len(self.numbers)])
        frequent = (np.bincount(c[rows] - MISSING).argmax() + MISSING for c in table.codes.T)
        return replace(self, typical=(*medians, *map(float, frequent)))

    def part(self, table: Table, columns: Columns) -> Table:
        """Return a table of these columns from one of more columns, or with fewer categories."""
        numbers, codes = (
            {place: values[:, at] for at, (place, _) in enumerate(old)}
            for old, values in (
                (columns.numbers, table.numbers),
                (columns.categories, table.codes),
            )
        )
        part = self.empty(len(table))
        _fill(part.numbers, self.numbers, lambda place, _: numbers[place])
        _fill(
            part.codes,
            self.categories,
            lambda place, column: codes[place] if place in codes else column.read(numbers[place]),
        )
        return self.derive(part)

    def permuted(self, table: Table, at: int, rng: np.random.Generator) -> Table:
        """Return a table with the values of one column, by its place in `used`, permuted."""
        order, n = rng.permutation(len(table)), len(self.numbers)
        permuted = Table(table.numbers.copy(), table.codes.copy())
        values, k = (permuted.numbers, at) if at < n else (permuted.codes, at - n)
        values[:, k] = values[order, k]
        return self.derive(permuted)

    def empty(self, n: int) -> Table:
        """Return a table of n rows to be filled."""
        codes = np.empty((n, len(self.categories)), np.int32)
        return Table(np.empty((n, self.n_numbers)), codes)

    def fill(self, table: Table, read: Callable[[int, Column], Array]) -> None:
        """Fill a table column by column, which needs memory for one more column."""
        _fill(table.numbers, self.numbers, read)
        _fill(table.codes, self.categories, read)
        self.derive(table)


def _fill(
    into: Array, columns: Iterable[tuple[int, Column]], read: Callable[[int, Column], Array]
) -> None:
    """Read columns into those of an array."""
    for at, (k, column) in enumerate(columns):
        into[:, at] = read(k, column)


def in_one_array(X: Any) -> Any:
    """Return arrays, and few rows of pandas, whose columns take long to get, as one array."""
    if not is_frame(X):
        return np.asarray(X)
    if not hasattr(X, "iloc") or len(X) > FEW_ROWS:
        return X
    if len(X) == 1:  # its row is quicker yet
        with suppress(ValueError, OverflowError):  # pandas finds a type that lacks a number of it
            if (row := X.iloc[0]).dtype == object:
                return row.to_numpy()[np.newaxis]
    return X.to_numpy(object)  # np.asarray would round integers beside floats


def columns_of(X: Any) -> tuple[list[str], Callable[[int], Array]]:
    """Return the names of a table's columns, and a function that returns the k-th, of any dtype."""
    if not is_frame(X):
        array = np.asarray(X)
        return [f"column {k}" for k in range(array.shape[1])], lambda k: array[:, k]
    names = [str(name) for name in names_in(X)]
    is_pandas = hasattr(X, "iloc")
    series = [column for _, column in X.items()] if is_pandas else [X[name] for name in X.columns]

    def values(k: int) -> Array:
        array = _array(series[k], names[k])
        if array.ndim != 1:  # polars structs and arrays
            raise _neither(names[k], "list")
        return array

    return names, values


def _array(series: Any, name: str) -> Array:
    """Return a series as a numeric array if it is numeric, else as an object array."""
    kind = str(series.dtype)
    zone = getattr(series.dtype, "tz", None) or getattr(series.dtype, "time_zone", None)
    if zone is not None and hasattr(series, "dt") and hasattr(series.dt, "tz_convert"):
        series = series.dt.tz_convert(None)  # pandas; others are in UTC without it
    if _is_category(kind) or kind.endswith("Int128"):  # which NumPy does not have
        return _objects(series)
    try:
        array = np.asarray(series.to_numpy())
    except MemoryError:
        raise
    except Exception:  # libraries raise various errors for types unknown to NumPy
        raise _neither(name, kind) from None
    if array.dtype.kind == "O" and kind.startswith(("Int", "UInt", "Float")):  # pandas.NA
        return np.array([np.nan if is_missing(v) else v for v in array], np.float64)
    return array if zone is None else array.view(Instants)


def _objects(series: Any) -> Array:
    """Return the values of a series as objects; rows of a category of pandas share one object."""
    categorical = getattr(series, "array", None)  # pandas has it
    if categorical is None or len(series) <= len(categorical.categories):
        return np.fromiter(series.to_list(), object, len(series))
    distinct = [*categorical.categories.tolist(), np.nan]  # the code of a missing value is -1
    values = np.fromiter(distinct, object, len(distinct))
    return np.asarray(values[categorical.codes])


def _is_category(kind: str) -> bool:
    """Whether this is the name of the dtype of categories in pandas or polars."""
    return kind.startswith(("category", "Categorical", "Enum"))


def _items(series: Array, name: str) -> Array:
    """Return the items of a category column as objects; raise TypeError for other types."""
    items = series.astype(object, copy=False)
    for kind in types_of(items):
        if not issubclass(kind, CATEGORIES) and kind.__name__ not in (*MISSING_TYPES, INTERVAL):
            raise _neither(name, kind.__name__)
    return items


def _value(item: Any) -> Any:
    """Return the category value of an item, text of an interval; None if it is missing."""
    if type(item).__name__ == INTERVAL:
        return str(item)
    if isinstance(item, Decimal):
        is_whole = item.is_finite() and item == item.to_integral_value()
        item = int(item) if is_whole else float(item)
    is_whole = isinstance(item, float) and item.is_integer()
    return None if is_missing(item) else int(item) if is_whole else item


def _family(value: Any) -> str:
    """Return the word for the type of a category value."""
    return "text" if isinstance(value, str) else "bytes" if isinstance(value, bytes) else "a number"


def _neither(name: str, kind: str) -> TypeError:
    numbers = "dates by dt.to_timestamp()" if kind == "Period" else "numbers by astype(float)"
    return TypeError(
        f"argument must be a string or a number: {name} holds a {kind}, which is neither: convert "
        f"the column to {numbers}, or to categories by astype(str); in polars by "
        "cast(Float64) or cast(String)"
    )


def categorical_indices(
    categorical: Any, names: Sequence[str], frame_names: Sequence[Any]
) -> set[int]:
    """Return the indices of the user's category columns; the names in a frame may be integers."""
    if categorical is None or (isinstance(categorical, str) and categorical == "from_dtype"):
        return set()
    selected = np.asarray(categorical)
    if selected.dtype.kind == "b":
        if selected.shape != (len(names),):
            raise ValueError(
                f"categorical_features has booleans of shape {selected.shape} but ({len(names)},) "
                "is expected: one for each column"
            )
        return set(np.flatnonzero(selected).tolist())
    entries = selected.reshape(-1).tolist()
    return set(places_of(entries, names, frame_names, "categorical_features"))


def places_of(
    entries: Iterable[Any], names: Sequence[str], frame_names: Sequence[Any], parameter: str
) -> list[int]:
    """Return the indices of columns that a parameter has by their names or places."""
    places = []
    by_number = any(isinstance(name, int | np.integer) for name in frame_names)
    may_be_names = by_number and list(frame_names) != list(range(len(names)))
    for entry in entries:
        if isinstance(entry, str) and entry in names:
            places.append(names.index(entry))
        elif isinstance(entry, Integral) and may_be_names:
            raise ValueError(
                f"{parameter} has {entry} but the columns of X have numbers for names, so that it "
                f"may be a name or a place: pass the name as text, {str(entry)!r}"
            )
        elif isinstance(entry, Integral) and 0 <= int(entry) < len(names):
            places.append(int(entry))
        else:
            raise ValueError(
                f"{parameter} has {entry!r} but names of columns, or their places from 0 to "
                f"{len(names) - 1}, are expected: the columns are {', '.join(names)}"
            )
    return places


def kind_of_column(series: Array, name: str) -> str:
    """Return "plain" for numbers, a key of `KINDS` for dates and durations, or "category"."""
    types, dtype = _types(series, name), series.dtype.kind
    if times := kind_of_times(series, types):
        if dtype == "O" and not all(
            _is_time(kind) or kind.__name__ in MISSING_TYPES for kind in types
        ):
            raise TypeError(
                f"{name} holds {KINDS[times]} beside other values but values of one kind are "
                "expected: convert the others, to None if they are missing"
            )
        return times
    is_plain = dtype in "iuf" or (
        dtype == "O"
        and all(
            kind.__name__ in MISSING_TYPES or (issubclass(kind, NUMBERS) and kind is not bool)
            for kind in types
        )
    )
    return "plain" if is_plain else "category"


def count_values(series: Array, name: str) -> Counter[Any]:
    """Return how often each category value occurs; None counts missing ones."""
    distinct: dict[Any, int] = {}
    rows = np.bincount(numbered(_items(series, name), {}, distinct))
    count: Counter[Any] = Counter()
    for item, n in zip(distinct, rows.tolist(), strict=True):
        count[_value(item)] += n
    return count


def of_counts(
    name: str, count: Counter[Any], is_text: bool = False, order: Sequence[Any] = ()
) -> Column:
    """Return the column of values with these counts; None stands for missing ones.

    Text may hold dates or quantities. An ``order`` is that of all values that a category may have.
    """
    if is_text and (form := of_text(count)) is not None:
        return Column(name, form=form)
    if 0 < len(order) <= MOST_FREQUENT and count.keys() <= {*order, None}:
        values = [*order, *([None] if None in count else ())]
        return Column(name, tuple(values), len(values), ordered=True)
    values = sorted(count, key=lambda v: (type(v).__name__, v if v is not None else 0))
    if len(values) <= MOST_CATEGORIES:
        return Column(name, tuple(values), len(values))
    often = sorted(values, key=lambda v: -count[v])[:MOST_FREQUENT]
    frequent = {v for k, v in enumerate(often) if k < MOST_CATEGORIES or count[v] >= LEAST_ROWS}
    values.sort(key=lambda v: v not in frequent)  # stable: both parts stay sorted
    return Column(name, tuple(values), len(frequent))


def kind_of_times(series: Array, types: Iterable[type]) -> str:
    """Return the kind of the first date or time difference of a column; empty if it has none."""
    if isinstance(series, Instants):
        return "instant"
    if not any(map(_is_time, types)):
        return ""
    return next(kind_of(item) for item in series if _is_time(type(item)))


def _is_time(kind: type) -> bool:
    """Whether a type is one of dates or time differences; that of NaT is one of missing values."""
    return issubclass(kind, TIMES) and kind.__name__ not in MISSING_TYPES


def order_of(dtype: Any) -> tuple[Any, ...]:
    """Return the values of an ordered dtype of categories of pandas or polars, else none."""
    is_ordered = getattr(dtype, "ordered", False) or str(dtype).startswith("Enum")
    return tuple(map(_value, dtype.categories.to_list())) if is_ordered else ()


def _types(series: Array, name: str) -> set[type]:
    """Return the types of a column's items; refuse times of day and complex numbers."""
    if series.dtype.kind in "biufSU":
        return {series.dtype.type}
    types = types_of(series) if series.dtype.kind == "O" else {series.dtype.type}
    for kind in types:
        if issubclass(kind, datetime.time):
            raise TypeError(
                f"{name} holds times of day but numbers or categories are expected: convert them "
                "to numbers, for example the seconds since midnight"
            )
        if issubclass(kind, complex | np.complexfloating):
            raise ValueError(f"Complex data not supported: {name} holds complex numbers")
    return types


def _numbers(series: Array, name: str) -> NDArray[np.float64]:
    n = len(series)
    try:
        if series.dtype.kind == "O" and not types_of(series) <= PLAIN_NUMBERS:
            values = (np.nan if is_missing(v) else v for v in series)
            series = np.fromiter(values, dtype=object, count=n)  # keeps lists, rejected later
        with np.errstate(over="ignore"):
            numbers = series.astype(np.float64).reshape(n)
    except OverflowError:  # integers of Python
        numbers = np.array([np.inf])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} was numbers at fit but cannot be read as such now ({error}): "
            "give it the dtype that it had"
        ) from None
    if np.isinf(numbers).any():
        raise _infinite(name)
    return numbers


def _infinite(name: str) -> ValueError:
    return ValueError(
        f"Input X contains infinity or a value too large for dtype('float64'): {name} has such "
        "values; use NaN for unknown ones"
    )
