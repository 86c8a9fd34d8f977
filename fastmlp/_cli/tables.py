"""Tables in and out of files: CSV and Parquet, by polars, else pandas, else the csv module.

Every reader gives a frame with `columns`, `frame[name]`, `frame[list of names]`, `frame[::step]`
and `len(frame)`; nothing else of it is used outside this file.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._cli.errors import CommandError
from fastmlp._cli.internals import write

Array = NDArray[Any]

MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
SEPARATORS = ",;\t|"
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"  # what such files begin with
FLAGS = {"true": True, "false": False}
STANDARD = "-"  # the name of standard input and output


class Frame:
    """A table of NumPy arrays by name, for where neither polars nor pandas is installed."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        self.values = dict(values)

    @property
    def columns(self) -> list[str]:
        """The names."""
        return list(self.values)

    @property
    def dtypes(self) -> list[np.dtype[Any]]:
        """The dtype of each column."""
        return [column.dtype for column in self.values.values()]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), len(self.values)

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), ()))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return _Series(self.values[key])
        if isinstance(key, slice):
            return Frame({name: column[key] for name, column in self.values.items()})
        return Frame({name: self.values[name] for name in key})

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.column_stack(list(self.values.values())).astype(dtype or float)


class _Series(np.ndarray):
    """A column with the method that frames' columns have."""

    def __new__(cls, values: Array) -> _Series:
        return values.view(cls)

    def to_numpy(self) -> Array:
        """Return the plain array."""
        return self.view(np.ndarray)


def engine() -> Any:
    """Return polars, else pandas, else None."""
    name = next((name for name in ("polars", "pandas") if find_spec(name)), None)
    return name and importlib.import_module(name)


def read(path: str, text: Callable[[Sequence[str]], Sequence[str]] = lambda names: ()) -> Any:
    """Return the table in a file, or in the standard input if the path is "-".

    Parameters
    ----------
    path : str
        CSV (separated by comma, semicolon, tab or bar; UTF-8) or Parquet, also gzipped.
    text : callable (names) -> names
        Of all columns of a CSV file, those that are text even where they look like numbers.
    """
    source = "the standard input" if path == STANDARD else path
    content = sys.stdin.buffer.read() if path == STANDARD else Path(path).read_bytes()
    try:
        if content.startswith(GZIP):
            content = gzip.decompress(content)
        frame = _parquet(content) if content.startswith(PARQUET) else _csv(content, text)
    except (CommandError, MemoryError):
        raise
    except UnicodeDecodeError as error:
        raise CommandError(f"{source} is neither Parquet nor text in UTF-8: {error}") from None
    except Exception as error:  # every reader has its own
        reason = str(error).strip().partition("\n")[0]
        raise CommandError(f"{source} cannot be read as a table: {reason}") from None
    if len(frame) == 0:
        raise CommandError(f"{source} has no rows: expected is a line of names, and rows below it")
    return frame


def _parquet(content: bytes) -> Any:
    module = engine()
    if module is None:
        raise CommandError("Parquet needs polars, or pandas and pyarrow: pip install polars")
    return module.read_parquet(io.BytesIO(content))


def _csv(content: bytes, text: Callable[[Sequence[str]], Sequence[str]]) -> Any:
    lines = content.decode("utf-8-sig")
    head = lines[: lines.find("\n")] if "\n" in lines else lines
    separator = max(SEPARATORS, key=head.count)
    names = next(csv.reader(io.StringIO(lines), delimiter=separator), [])
    if not names:
        return Frame({})
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two columns have the name {twice[0]!r}: rename one")
    module, as_text = engine(), text(names)
    if module is None:
        return _plain(lines, separator, as_text)
    source = io.BytesIO(lines.encode())
    if module.__name__ == "polars":
        return module.read_csv(
            source,
            separator=separator,
            null_values=list(MISSING),
            infer_schema_length=None,
            schema_overrides=dict.fromkeys(set(as_text) & set(names), module.String),
        )
    return module.read_csv(
        source,
        sep=separator,
        na_values=list(MISSING),
        keep_default_na=False,
        dtype=dict.fromkeys(as_text, "str"),
        index_col=False,
    )


def _plain(lines: str, separator: str, text: Sequence[str]) -> Frame:
    """Return a table by the csv module alone."""
    names, *rows = csv.reader(io.StringIO(lines), delimiter=separator)
    rows = [row for row in rows if row]
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise ValueError(f"row {number} has {len(row)} values instead of {len(names)}")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return Frame(
        {name: _typed(column, name in text) for name, column in zip(names, columns, strict=True)}
    )


def _typed(values: Sequence[str], is_text: bool) -> Array:
    """Return a column as integers, floats, booleans or text, as the values allow."""
    present = [value for value in values if value not in MISSING]
    if not is_text:
        for kind in (int, float):
            try:
                if kind is int and len(present) == len(values):
                    return np.array([int(value) for value in values], np.int64)
                return np.array([np.nan if v in MISSING else float(v) for v in values])
            except (ValueError, OverflowError):
                pass
        if present and all(value.lower() in FLAGS for value in present):
            found = [FLAGS.get(value.lower()) for value in values]
            return np.array(found, object if None in found else bool)
    return np.array([None if value in MISSING else value for value in values], object)


def column(frame: Any, name: str, option: str) -> Array:
    """Return a column of a frame as an array; `option` is what named it."""
    require(frame, [name], option)
    series = frame[name]
    if str(series.dtype).lower().startswith(("cat", "enum")):
        return np.array(series.to_list(), dtype=object)
    return np.asarray(series.to_numpy())


def require(frame: Any, names: Sequence[str], what: str) -> None:
    """Complain of columns that a frame lacks."""
    lacking = [name for name in names if name not in list(frame.columns)]
    if lacking:
        raise CommandError(
            f"{what}: there is no column {', '.join(map(repr, lacking))}: the columns are "
            f"{', '.join(map(str, frame.columns))}"
        )


def replaced(frame: Any, name: str, value: Any) -> Any:
    """Return a copy of a frame with one value in all rows of a column."""
    if isinstance(frame, Frame):
        old = frame.values[name]
        return Frame({**frame.values, name: np.full(len(frame), value, old.dtype)})
    if hasattr(frame, "with_columns"):
        polars = importlib.import_module("polars")
        kind = frame[name].dtype
        new = polars.Series(name, [value] * len(frame), dtype=kind, strict=False)
        return frame.with_columns(new)
    return frame.assign(**{name: value}).astype({name: frame[name].dtype})


def save(columns: Mapping[str, Array], path: str, as_json: bool = False) -> None:
    """Write columns as CSV, JSON records or Parquet to a file, or to the standard output ("-")."""
    if path.endswith(".parquet"):
        module = engine()
        if module is None:
            raise CommandError("Parquet needs polars, or pandas and pyarrow: pip install polars")
        frame, binary = module.DataFrame(dict(columns)), io.BytesIO()
        (frame.write_parquet if hasattr(frame, "write_parquet") else frame.to_parquet)(binary)
        write(path, [binary.getvalue()])
        return
    text = _as_json(columns) if as_json else _as_csv(columns)
    if path == STANDARD:
        sys.stdout.write(text)
    else:
        write(path, [text.encode()])


def _as_csv(columns: Mapping[str, Array]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(_rows(columns))
    return text.getvalue()


def _as_json(columns: Mapping[str, Array]) -> str:
    json = importlib.import_module("json")
    rows = (json.dumps(dict(zip(columns, row, strict=True))) for row in _rows(columns))
    return "[" + ",\n ".join(rows) + "]\n"


def _rows(columns: Mapping[str, Array]) -> Any:
    return zip(*(array.tolist() for array in columns.values()), strict=True)
