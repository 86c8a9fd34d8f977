"""Tables in and out of files: CSV by Python's csv module, Parquet by polars, else pandas.

One reader of CSV, so that a file is the same table whatever is installed: polars takes half of its
time, which is little beside a fit, but the readers differ in types, quotes and encodings.

Every reader returns a frame with `columns`, `frame[name]`, `frame[list of names]`, `frame[::step]`
and `len(frame)`; other modules here use nothing else of it.
"""

from __future__ import annotations

import argparse
import codecs
import csv
import gzip
import importlib
import io
import json
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastmlp._cli.arguments import STANDARD, CommandError, UsageError
from fastmlp._core.atomic_files import write
from fastmlp._core.keywords import near
from fastmlp._network.activations import Array

Chooser = Callable[[Sequence[str]], Collection[str]]  # it chooses among names of columns

MISSING = frozenset(("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"))
SEPARATORS = ",;\t|"
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"  # first bytes of such files
# The beginnings of files of other kinds.
STRANGERS = {
    rb"PK\x03\x04": "an Excel workbook, or another zip archive",
    rb"\xd0\xcf\x11\xe0": "an Excel workbook",
    rb"\s*(\{\s*\"|\[\s*[\[{])": "JSON",
    rb"\s*<(\?xml|!doctype|html)": "HTML or XML",
    rb".{8}\{\"__metadata__\"": "a model of fastmlp",
}
MARKS = {  # byte order marks; that of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}
HEAD = 1 << 16  # bytes that show the encoding
LINE_END, LINE = re.compile("\r\n|\r|\n"), re.compile("[^\r\n]+")
WITH_END = re.compile(f"[^\r\n]*(?:{LINE_END.pattern})|{LINE.pattern}")
ROWS = 2_000  # that are split at once
LONGEST_CELL = 2**31 - 1  # characters
NUMBER = re.compile(r"-?\d+([.,]\d+)?")
NUL = "\0"  # no cell contains it, so it separates the cells of a column
FLAGS = {"true": True, "false": False}
WIDE = {int, Decimal, type(None)}  # numbers of Parquet files that NumPy has as objects; or missing


class Dialect(NamedTuple):
    """Separator, decimal mark and encoding of a CSV file; None if the file itself shows them."""

    separator: str | None = None
    decimal: str = "."
    encoding: str | None = None

    def separator_of(self, line: str) -> str:
        """Return the separator: by default the one that cuts the first line into most values."""
        others = [character for character in SEPARATORS if character != self.decimal]
        return self.separator or max(
            others, key=lambda character: len(next(csv.reader([line], delimiter=character)))
        )


USUAL = Dialect()


def dialect_of(options: argparse.Namespace) -> Dialect:
    """Return the dialect that the options of a command describe."""
    dialect = Dialect(options.separator, options.decimal, options.encoding)
    if dialect.separator == dialect.decimal:
        raise UsageError(
            f"--separator and --decimal are both {dialect.decimal!r}: pass different characters"
        )
    return dialect


class Series(np.ndarray):
    """A column of `Frame`, or one with a name."""

    name = ""

    def to_numpy(self) -> Array:
        """Return the plain array."""
        return self.view(np.ndarray)


def named(values: Array, name: str) -> Series:
    """Return a column that knows its name."""
    series = values.view(Series)
    series.name = name
    return series


class Frame:
    """A table of NumPy arrays by name, for use without polars and pandas.

    ``written`` has the cells of some columns as they are in the file.
    """

    def __init__(
        self, values: Mapping[str, Array], written: Mapping[str, list[str]] | None = None
    ) -> None:
        self.values, self.written = dict(values), written or {}

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


def engine() -> Any:
    """Return polars, else pandas, one of which is needed for Parquet."""
    name = next((name for name in ("polars", "pandas") if find_spec(name)), None)
    if name is None:
        raise CommandError("Parquet needs polars, or pandas and pyarrow: pip install polars")
    return importlib.import_module(name)


def source(path: str) -> str:
    """Return the name of an input for messages."""
    return "the standard input" if path == STANDARD else path


def read(
    path: str,
    dialect: Dialect = USUAL,
    text: Chooser = lambda names: (),
    keep: Collection[str] = (),
) -> Any:
    """Return the table in a file or, for "-", in the standard input.

    `text` gets the names of a CSV file's columns, and returns those to read as text in any case.
    `keep` are columns that `kept` returns.
    """
    if path == STANDARD and sys.stdin is None:
        raise CommandError("the standard input is closed: name a file, or pass it on")
    content = sys.stdin.buffer.read() if path == STANDARD else Path(path).read_bytes()
    try:
        if content.startswith(GZIP):
            content = gzip.decompress(content)
        if content.startswith(PARQUET):
            frame = engine().read_parquet(io.BytesIO(content))
        else:
            for start, kind in STRANGERS.items():
                if re.match(start, content, re.IGNORECASE | re.DOTALL):
                    raise ValueError(f"it is {kind}: save the table as CSV or Parquet")
            frame = _csv(content, dialect, text, keep)
    except (CommandError, MemoryError):
        raise
    except Exception as error:  # each reader raises its own errors
        reason = str(error).strip().partition("\n")[0]
        raise CommandError(f"{source(path)} cannot be read as a table: {reason}") from None
    if len(frame) == 0:
        raise CommandError(f"{source(path)} has no rows: the first line holds the column names")
    return frame


def _csv(content: bytes, dialect: Dialect, text: Chooser, keep: Collection[str]) -> Frame:
    whole = _decoded(content, dialect.encoding)
    first = LINE.search(whole)
    separator = dialect.separator_of(first.group() if first else "")
    rows = _rows(whole, separator)
    names = next(rows, [])
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"two columns have the name {twice[0]!r}: rename one, or write names above the rows"
        )
    if names and all(map(NUMBER.fullmatch, names)):
        fault = (
            f"the first line has numbers such as {names[0]} but names of columns are expected: "
            "write names above the rows"
        )
        if any(set(name) & set(".,") for name in names):
            raise ValueError(fault)
        warnings.warn(f"{fault}, unless these numbers are names", stacklevel=2)
    columns: list[list[str]] = [[] for _ in names]
    while block := list(islice(rows, ROWS)):
        for parts, cells in zip(columns, zip(*block, strict=True), strict=True):
            parts.append(NUL.join(cells))  # takes less memory than the cells
    as_text, values, written = text(names), {}, {}
    for name, parts in zip(names, columns, strict=True):
        joined = NUL.join(parts)
        is_text = name in as_text
        values[name] = _typed(joined, dialect.decimal, is_text) if parts else np.empty(0)
        if name in keep:
            written[name] = joined.split(NUL)
    return Frame(values, written)


def _decoded(content: bytes, chosen: str | None) -> str:
    """Return the text of a file, without NUL; ``chosen`` is the user's encoding."""
    encoding = chosen or _encoding(content)
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
        before, is_wrong, _ = text.partition(NUL)
        fault = "has a NUL character: remove it"
    except UnicodeDecodeError as error:
        before, is_wrong = content[: error.start].decode(encoding, "ignore"), "yes"
        fault = (
            f"is no text in {encoding.upper()} ({error.reason}): pass its encoding, for example "
            "--encoding cp1252, or save the table as CSV in UTF-8"
        )
    if is_wrong:
        raise ValueError(f"line {len(LINE_END.findall(before)) + 1} {fault}")
    return text


def _encoding(content: bytes) -> str:
    """Return the encoding of a text: by its mark, else UTF-16 if its line ends are, else UTF-8."""

    def ends(encoding: str) -> int:
        text = head.decode(encoding, "ignore")
        return text.count("\r") + text.count("\n")

    head = content[:HEAD]
    marked = [name for mark, name in MARKS.items() if head.startswith(mark)]
    wide = ("utf-16-le", "utf-16-be") if b"\0" in head else ()
    by_ends = [name for name in wide if ends(name) > ends("latin-1") / 2]
    return [*marked, *by_ends, "utf-8"][0]


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    """Yield the rows of a table without empty lines, the names first; all have as many values."""
    csv.field_size_limit(LONGEST_CELL)
    lines = (match.group() for match in WITH_END.finditer(text))
    reader, first, count = csv.reader(lines, delimiter=separator, strict=True), 1, 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ValueError(
                f"line {first} has quotes that do not match ({error}): close, or double, them"
            ) from None
        if row is None:
            return
        count = count or len(row)
        if row and len(row) != count:
            raise ValueError(
                f"line {first} has {len(row)} values but there are {count} names: correct it, or "
                f"pass --separator if it is not {separator!r}"
            )
        if row:
            yield row
        first = reader.line_num + 1


def _typed(text: str, decimal: str, is_text: bool) -> Array:
    """Return a column, cells between NUL, as integers, floats, booleans or text: what all are."""
    cells: list[Any] = [None if cell in MISSING else cell for cell in text.split(NUL)]
    # Numbers of Python may have underscores, and digits of all scripts.
    if not is_text and text.isascii() and "_" not in text:
        numbers = cells
        if decimal != ".":
            swap = str.maketrans({decimal: ".", ".": decimal})
            numbers = [cell and cell.translate(swap) for cell in cells]
        with suppress(ValueError, TypeError, OverflowError):  # TypeError: one is missing
            return np.array([int(cell) for cell in numbers], np.int64)
        with suppress(ValueError):
            return np.array([np.nan if cell is None else float(cell) for cell in numbers])
        with suppress(KeyError):
            flags = [None if cell is None else FLAGS[cell.lower()] for cell in cells]
            return np.array(flags, object if None in flags else bool)
    return np.array(cells, object)


def column(frame: Any, name: str, option: str) -> Array:
    """Return a column of a frame as an array; `option` names it in the error message."""
    require(frame, [name], option)
    series = frame[name]
    kind = str(series.dtype).lower()
    if kind.startswith(("cat", "enum")):
        return np.array(series.to_list(), dtype=object)
    values = np.asarray(series.to_list() if kind.endswith("int128") else series.to_numpy())
    if values.dtype.hasobject and {*map(type, values.tolist())} <= WIDE:
        return values.astype(float)
    return values


def kept(frame: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of columns, as text as it is in the file if that is CSV."""
    require(frame, names, "--keep")
    if isinstance(frame, Frame):
        return {name: frame.written[name] for name in names}
    return {name: _values(frame[name]) for name in names}


def _values(series: Any) -> list[Any]:
    """Return the values of a series, None where they are missing."""
    values = series.to_list()
    is_missing = series.isna() if hasattr(series, "isna") else [value is None for value in values]
    return [None if lacks else value for lacks, value in zip(is_missing, values, strict=True)]


def require(frame: Any, names: Sequence[str], option: str) -> None:
    """Raise an error for columns that a frame lacks; it names those that may be meant."""
    columns = list(map(str, frame.columns))
    lacking = {name: near(name, columns) for name in names if name not in list(frame.columns)}
    if lacking:
        words = [
            f"{name!r} (perhaps {meant!r})" if meant else repr(name)
            for name, meant in lacking.items()
        ]
        raise CommandError(
            f"{option}: there is no column {', '.join(words)}: the columns are {', '.join(columns)}"
        )


def save(blocks: Iterable[Mapping[str, list[Any]]], path: str, as_json: bool = False) -> None:
    """Write columns as CSV, JSON records or Parquet to a file, or to the standard output ("-").

    They come as blocks of rows, each of which is written, except to Parquet, before the next one.
    """
    if path.endswith(".parquet"):
        columns: dict[str, list[Any]] = {}
        for block in blocks:
            for name, values in block.items():
                columns.setdefault(name, []).extend(values)
        frame, binary = engine().DataFrame(columns), io.BytesIO()
        (frame.write_parquet if hasattr(frame, "write_parquet") else frame.to_parquet)(binary)
        write(path, [binary.getvalue()])
        return
    texts = (_json_of if as_json else _csv_of)(blocks)
    if path == STANDARD:
        sys.stdout.writelines(texts)
    else:
        write(path, (text.encode() for text in texts))


def _csv_of(blocks: Iterable[Mapping[str, list[Any]]]) -> Iterator[str]:
    """Yield the text of each block; the first begins with the names."""
    for k, block in enumerate(blocks):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([block] if k == 0 else [])
        writer.writerows(zip(*block.values(), strict=True))
        yield text.getvalue()


def _json_of(blocks: Iterable[Mapping[str, list[Any]]]) -> Iterator[str]:
    """Yield the records of each block; kept columns may have dates and decimals."""
    for k, block in enumerate(blocks):
        rows = zip(*block.values(), strict=True)
        records = (json.dumps(dict(zip(block, row, strict=True)), default=str) for row in rows)
        yield ("[" if k == 0 else ",\n ") + ",\n ".join(records)
    yield "]\n"
