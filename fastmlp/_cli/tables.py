"""Tables in and out of files: CSV and Parquet, by polars, else pandas, else the csv module.

Every reader returns a frame with `columns`, `frame[name]`, `frame[list of names]`, `frame[::step]`
and `len(frame)`; other modules here use nothing else of it.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._cli.arguments import STANDARD, CommandError
from fastmlp._core.atomic_files import write

Array = NDArray[Any]

MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
SEPARATORS = ",;\t|"
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"  # first bytes of such files
FLAGS = {"true": True, "false": False}


class Series(np.ndarray):
    """A column of `Frame`."""

    def to_numpy(self) -> Array:
        """Return the plain array."""
        return self.view(np.ndarray)


class Frame:
    """A table of NumPy arrays by name, for use without polars and pandas."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        self.values = dict(values)

    # Estimators recognise a frame by these properties of its class.
    columns = property(lambda self: list(self.values))
    dtypes = property(lambda self: [column.dtype for column in self.values.values()])
    shape = property(lambda self: (len(self), len(self.values)))

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), ()))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self.values[key].view(Series)
        if isinstance(key, slice | np.ndarray):
            return Frame({name: column[key] for name, column in self.values.items()})
        return Frame({name: self.values[name] for name in key})


def engine(needed: bool = False) -> Any:
    """Return polars, else pandas, else None; raise an error if one is needed for Parquet."""
    name = next((name for name in ("polars", "pandas") if find_spec(name)), None)
    if name is None and needed:
        raise CommandError("Parquet needs polars, or pandas and pyarrow: pip install polars")
    return name and importlib.import_module(name)


def source(path: str) -> str:
    """Return the name of an input for messages."""
    return "the standard input" if path == STANDARD else path


def read(path: str, text: Callable[[Sequence[str]], Collection[str]] = lambda names: ()) -> Any:
    """Return the table in a file or, for "-", in the standard input.

    `text` gets the names of a CSV file's columns, and returns those to read as text in any case.
    """
    if path == STANDARD and sys.stdin is None:
        raise CommandError("the standard input is closed: name a file, or pass it on")
    content = sys.stdin.buffer.read() if path == STANDARD else Path(path).read_bytes()
    try:
        if content.startswith(GZIP):
            content = gzip.decompress(content)
        if content.startswith(PARQUET):
            frame = engine(needed=True).read_parquet(io.BytesIO(content))
        else:
            frame = _csv(content.decode("utf-8-sig"), text)
    except (CommandError, MemoryError):
        raise
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{source(path)} is neither Parquet nor text in UTF-8: {error}"
        ) from None
    except Exception as error:  # each reader raises its own errors
        reason = str(error).strip().partition("\n")[0]
        raise CommandError(f"{source(path)} cannot be read as a table: {reason}") from None
    if len(frame) == 0:
        raise CommandError(
            f"{source(path)} has no rows: expected is a line of names, and rows below it"
        )
    return frame


def _csv(lines: str, text: Callable[[Sequence[str]], Collection[str]]) -> Any:
    separator = max(SEPARATORS, key=lines.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(lines), delimiter=separator)
    names = next(reader, [])
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two columns have the name {twice[0]!r}: rename one")
    module, as_text = engine(), {*text(names)} & {*names}
    if module is None or not names:
        return _plain(names, [row for row in reader if row], as_text)
    content, missing = io.BytesIO(lines.encode()), list(MISSING)
    if module.__name__ == "polars":
        kinds = dict.fromkeys(as_text, module.String)
        options = {"null_values": missing, "schema_overrides": kinds, "infer_schema_length": None}
        frame = module.read_csv(content, separator=separator, **options)
        frame.columns = names  # it leaves quotes within them doubled
        return frame
    options = {"na_values": missing, "dtype": dict.fromkeys(as_text, "str")}
    return module.read_csv(
        content, sep=separator, keep_default_na=False, index_col=False, **options
    )


def _plain(names: Sequence[str], rows: list[list[str]], text: Collection[str]) -> Frame:
    """Return a table read by the csv module alone."""
    for count, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise ValueError(f"row {count} has {len(row)} values instead of {len(names)}")
    columns = zip(names, zip(*rows, strict=True), strict=False)  # without rows, zip(*rows) is empty
    return Frame({name: _typed(cells, name in text) for name, cells in columns})


def _typed(values: Sequence[str], is_text: bool) -> Array:
    """Return a column as integers, floats, booleans or text, as the values allow."""
    cells: list[Any] = [None if value in MISSING else value for value in values]
    if not is_text:
        with suppress(ValueError, TypeError, OverflowError):  # TypeError: one is missing
            return np.array([int(cell) for cell in cells], np.int64)
        with suppress(ValueError):
            return np.array([np.nan if cell is None else float(cell) for cell in cells])
        with suppress(KeyError):
            flags = [None if cell is None else FLAGS[cell.lower()] for cell in cells]
            return np.array(flags, object if None in flags else bool)
    return np.array(cells, object)


def column(frame: Any, name: str, option: str) -> Array:
    """Return a column of a frame as an array; `option` names it in the error message."""
    require(frame, [name], option)
    series = frame[name]
    if str(series.dtype).lower().startswith(("cat", "enum")):
        return np.array(series.to_list(), dtype=object)
    return np.asarray(series.to_numpy())


def require(frame: Any, names: Sequence[str], option: str) -> None:
    """Raise an error for columns that a frame lacks."""
    lacking = [name for name in names if name not in list(frame.columns)]
    if lacking:
        raise CommandError(
            f"{option}: there is no column {', '.join(map(repr, lacking))}: the columns are "
            f"{', '.join(map(str, frame.columns))}"
        )


def replaced(frame: Any, name: str, value: Any) -> Any:
    """Return a copy of a frame with one value in all rows of a column."""
    if isinstance(frame, Frame):
        old = frame.values[name]
        return Frame({**frame.values, name: np.full(len(frame), value, old.dtype)})
    kind = frame[name].dtype
    if hasattr(frame, "assign"):
        return frame.assign(**{name: value}).astype({name: kind})
    literal = importlib.import_module("polars").lit
    return frame.with_columns(literal(value, dtype=kind).alias(name))


def save(columns: Mapping[str, Array], path: str, as_json: bool = False) -> None:
    """Write columns as CSV, JSON records or Parquet to a file, or to the standard output ("-")."""
    if path.endswith(".parquet"):
        frame, binary = engine(needed=True).DataFrame(dict(columns)), io.BytesIO()
        (frame.write_parquet if hasattr(frame, "write_parquet") else frame.to_parquet)(binary)
        write(path, [binary.getvalue()])
        return
    text = io.StringIO()
    rows = zip(*(array.tolist() for array in columns.values()), strict=True)
    if as_json:
        records = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
        text.write("[" + ",\n ".join(records) + "]\n")
    else:
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    if path == STANDARD:
        sys.stdout.write(text.getvalue())
    else:
        write(path, [text.getvalue().encode()])
