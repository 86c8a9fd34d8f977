"""A reader of tables in Arrow's memory format: Parquet files, frames, query results."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.intervals import check_count
from fastmlp._core.optional import require
from fastmlp._validation import check

Array = NDArray[Any]
Path = str | os.PathLike[str]
# A record batch, the names of the columns to read, and the words for the place of its k-th row.
Batch = tuple[Any, list[str], Callable[[int], str]]


class ArrowBlocks:
    """Read a table of numbers in blocks of rows; a fit holds two blocks in memory at a time.

    Needs pyarrow.

    Parameters
    ----------
    data : path, sequence of paths, Arrow table, or callable
        Parquet files, which are opened one after the other; an object that exports an Arrow stream
        (``__arrow_c_stream__``: tables of pyarrow, polars, pandas 3, DuckDB), which must do so in
        every epoch; or a callable that returns such an object, and is called once an epoch.
    target : str or sequence of str, optional
        The column with the targets, or several columns: y then has shape (n, len(target)). Without
        targets, the blocks serve ``MLP.predict`` alone.
    features : str or sequence of str, optional
        The columns of X; by default all of the first table that are not target or weight, in its
        order. Later tables and files are read by these names.
    weight : str, optional
        The column with sample weights.
    rows : int
        Largest number of rows in a block, at least 1.

    Raises
    ------
    ImportError
        If pyarrow is missing.
    TypeError, ValueError
        If an argument is none of these, or a target is also a feature or the weight; while reading,
        if a column is missing, occurs twice, holds no numbers, or has missing values. The error
        names file, row group, row and column.

    Notes
    -----
    Blocks come in the order of the rows. If that order is not random, let
    ``fit(source, shuffle_buffer=131_072)`` mix them.

    Examples
    --------
    >>> import fastmlp, numpy as np, pytest
    >>> pyarrow = pytest.importorskip("pyarrow")
    >>> x = np.linspace(-1, 1, 1000, dtype=np.float32)
    >>> table = pyarrow.table({"x": x, "y": x**2})
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> source = fastmlp.ArrowBlocks(table, "y", rows=300)
    >>> history = net.fit(source, epochs=2, shuffle_buffer=1000)
    >>> len(history.loss)
    2
    """

    def __init__(
        self,
        data: Any,
        target: str | Sequence[str] | None = None,
        *,
        features: str | Sequence[str] | None = None,
        weight: str | None = None,
        rows: int = 65_536,
    ) -> None:
        require("ArrowBlocks", "pyarrow")  # now, not when a thread reads the first block
        self.targets = [] if target is None else _columns("target", target)
        self.target, self.weight = target, weight
        self.features = None if features is None else _columns("features", features)
        for name in self.targets:
            if name == weight or name in (self.features or ()):
                role = "weight" if name == weight else "feature"
                raise ValueError(
                    f"the column {name!r} is target and {role} but a target is predicted from "
                    "other columns: name it once"
                )
        self.rows = check_count("rows", rows, example=65_536)
        self.data = data
        if isinstance(data, (list, tuple)) and not data:
            raise ValueError(
                "data is an empty list but at least one path is expected: correct the pattern, "
                "if glob made the list"
            )
        self.paths: list[Path] = list(data) if isinstance(data, (list, tuple)) else [data]
        if not all(isinstance(path, (str, os.PathLike)) for path in self.paths):
            self.paths = []
        if not (self.paths or callable(data) or hasattr(data, "__arrow_c_stream__")):
            raise TypeError(
                f"data is {check.short(data)} but paths of Parquet files, an Arrow table or a "
                "callable that returns one is expected: pass for example a polars or pyarrow table"
            )

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """Yield the blocks, from the first row to the last."""
        for batch in self.batches():
            yield self._block(*batch)

    def batches(self) -> Generator[Batch, None, None]:
        """Yield record batches, names of features, targets and weight, and words for a place."""
        if self.paths:
            for path in self.paths:
                yield from self._of_file(path)
            return
        table = self.data() if callable(self.data) else self.data
        if not hasattr(table, "__arrow_c_stream__"):
            raise TypeError(
                f"data returned {check.short(table)} but an Arrow table is expected: let it return "
                "for example a polars or pyarrow table"
            )
        reader = require("ArrowBlocks", "pyarrow").RecordBatchReader.from_stream(table)
        names = self._names(reader.schema.names, "the table")
        row = 0
        for batch in reader:
            for first in range(0, batch.num_rows, self.rows):
                part = batch.slice(first, self.rows)
                yield part, names, functools.partial(_place, row + first)
            row += batch.num_rows

    @property
    def n(self) -> int | None:
        """Number of rows, if files or a table tell it without being read; else None."""
        if not self.paths:  # the shape of a stream, which can be read once, is not known
            shape = () if callable(self.data) else getattr(self.data, "shape", ())
            return int(shape[0]) if shape else None
        rows = 0
        for path in self.paths:
            with _opened(path) as file:
                rows += file.metadata.num_rows
        return rows

    def _of_file(self, path: Path) -> Iterator[Batch]:
        """Yield the batches of a Parquet file; one thread and no read ahead need least memory."""
        with _opened(path) as file:
            names = self._names(file.schema_arrow.names, str(path))
            ends = np.cumsum(
                [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
            )
            row = 0

            def place(first: int, k: int) -> str:
                group = int(np.searchsorted(ends, first + k, side="right"))
                return f"{path}, row group {group}, {_place(first, k)}"

            columns = list(dict.fromkeys(names))
            for batch in file.iter_batches(self.rows, columns=columns, use_threads=False):
                yield batch, names, functools.partial(place, row)
                row += batch.num_rows

    def _names(self, names: Sequence[str], where: str) -> list[str]:
        """Return the columns to read: those of X, then targets, then the weight."""
        others = self.targets if self.weight is None else [*self.targets, self.weight]
        features = self.features
        if features is None:
            features = [name for name in names if name not in others]
        for name in (*features, *others):
            if (count := list(names).count(name)) != 1:
                raise ValueError(
                    f"{where} has {count or 'no'} column{'s' * (count > 1)} {name!r}: its columns "
                    f"are {', '.join(names)}"
                )
        if not features:
            raise ValueError(f"{where} has no columns besides target and weight: name features")
        self.features = features  # later files may have their columns in another order
        return [*features, *others]

    def _block(
        self, batch: Any, names: list[str], place: Callable[[int], str]
    ) -> tuple[Array, ...]:
        """Return X, y, and the weights if there are any, of some rows."""
        n_features = len(names) - len(self.targets) - (self.weight is not None)
        columns = [
            numbers_of(batch.column(name), name, place, is_feature=k < n_features)
            for k, name in enumerate(names)
        ]
        weights = [columns.pop()] if self.weight is not None else []
        features, targets = columns[:n_features], columns[n_features:]
        dtype = np.result_type(*(column.dtype for column in features))
        X = np.empty((batch.num_rows, len(features)), dtype if dtype.kind == "f" else np.float64)
        for k, column in enumerate(features):
            X[:, k] = column
        if not targets:
            return (X,)
        y = targets[0] if isinstance(self.target, str) else np.column_stack(targets)
        return (X, y, *weights)


def _columns(name: str, value: str | Sequence[str]) -> list[str]:
    """Return names of columns as a list; raise TypeError or ValueError if they are none."""
    names = [value] if isinstance(value, str) else list(value) if np.iterable(value) else [value]
    if not all(isinstance(column, str) for column in names):
        raise TypeError(f"{name} is {value!r} but names of columns are expected: pass strings")
    if not names:
        raise ValueError(f"{name} is empty but at least one name of a column is expected")
    return names


def _opened(path: Path) -> Any:
    """Open a Parquet file; an error names it."""
    parquet = require("ArrowBlocks", "pyarrow.parquet")
    try:
        return parquet.ParquetFile(path, pre_buffer=False)
    except Exception as error:
        error.add_note(f"in {path}")
        raise


def _place(first: int, k: int) -> str:
    """Return the words for row k of a block that begins with row ``first``."""
    return f"row {first + k}"


def numbers_of(
    column: Any, name: str, place: Callable[[int], str], is_feature: bool = False
) -> Array:
    """Return a column's numbers; raise an error that names the first row without one."""
    if column.null_count:
        first = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(
            f"{place(first)}, column {name!r}: a value is missing but a number is expected: "
            + (
                "fill missing values first, or train a fastmlp.TabMLPRegressor, which takes them"
                if is_feature
                else "drop the rows without one"
            )
        )
    numbers: Array = column.to_numpy(zero_copy_only=False)
    if str(column.type).startswith("decimal"):
        numbers = numbers.astype(np.float64)
    if numbers.dtype.kind not in "biuf":
        raise TypeError(
            f"{place(0)}, column {name!r}: {column.type} but numbers are expected: turn it into "
            "numbers first" + ", or leave it out by features=[...]" * is_feature
        )
    return numbers
