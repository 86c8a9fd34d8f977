"""A reader of tables in Arrow's memory format: Parquet files, datasets, frames, query results."""

from __future__ import annotations

import copy
import functools
import itertools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.intervals import check_count
from fastmlp._core.optional import require
from fastmlp._network.activations import Array
from fastmlp._training.parquet import (
    RowGroup,
    groups_at_once,
    in_turn,
    number_types,
    row_groups,
)
from fastmlp._training.readers import Order, TableSource
from fastmlp._validation import check

Rows = NDArray[np.int64]


class ArrowColumn(Protocol):
    """A column of pyarrow, whose classes have no types of their own."""

    type: Any  # its text begins with the name of the type
    null_count: int
    dictionary: Any
    indices: Any

    def __len__(self) -> int: ...

    def is_null(self) -> Any: ...

    def to_numpy(self, *, zero_copy_only: bool) -> Array: ...


class ArrowBatch(Protocol):
    """Some rows of a table of pyarrow."""

    num_rows: int
    nbytes: int
    schema: Any

    def column(self, name: str) -> ArrowColumn: ...


class Batch(NamedTuple):
    """Some rows of a table or file, in Arrow's format."""

    batch: ArrowBatch
    names: list[str]  # the columns to read
    place: Callable[[int], str]  # says for a message where the k-th row is
    first: int  # number of the first row in the source


class ArrowBlocks(TableSource):
    """Parquet files or Arrow tables as data of a fit, read in blocks, for more than memory holds.

    Take it for a table of numbers in files; a fit holds two blocks in memory at a time.

    Needs pyarrow.

    Parameters
    ----------
    data : path, sequence of paths, Arrow dataset or table, or callable
        Parquet files, folders with all files in them, patterns such as ``"data/*.parquet"``, or
        addresses such as ``"s3://bucket/data"``; a ``pyarrow.dataset``; an object that exports an
        Arrow stream (``__arrow_c_stream__``: tables of pyarrow, polars, pandas 3, DuckDB), which
        must do so in every epoch; or a callable that returns such an object, and is called once an
        epoch. Folders named ``key=value`` below a folder or a pattern's ``*`` are columns (hive).
    target : str or sequence of str, optional
        The column with the targets, or several columns: y then has shape (n, len(target)). Without
        targets, the blocks serve ``MLP.predict`` alone.
    features : str or sequence of str, optional
        The columns of X; by default all of the first table that are named in no other role, in its
        order. Later tables and files are read by these names.
    weight : str, optional
        The column with sample weights.
    dy : str or sequence of str, optional
        Columns with derivatives to learn, as ``dy`` of ``MLP.fit``: of the first target by each
        of ``features`` in turn, then those of the next target. A missing value is an unknown
        derivative.
    rows : int
        Largest number of rows in a block, at least 1.
    filter : pyarrow.compute.Expression, optional
        Which rows of files are read, such as ``pyarrow.dataset.field("year") > 2020``.
    filesystem : pyarrow.fs.FileSystem or fsspec file system, optional
        Where the paths are; by default addresses say so, other paths are local.

    Raises
    ------
    ImportError
        If pyarrow is missing.
    TypeError, ValueError
        If an argument is none of these, or a target or derivative has another role, too; while
        reading, if a column is missing, occurs twice, holds no numbers, or has missing values, or
        if a file is replaced meanwhile. The error names file, row group, row and column.

    Notes
    -----
    A fit reads row groups of files in a random order, and tables in the order of their rows. If
    rows are sorted, let ``fit(source, shuffle_folder=folder)`` or ``shuffle_buffer=131_072`` mix
    them.

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
        dy: str | Sequence[str] | None = None,
        rows: int = 65_536,
        filter: Any = None,  # noqa: A002 pyarrow's name
        filesystem: Any = None,
    ) -> None:
        require("ArrowBlocks", "pyarrow")  # now, not when a thread reads the first block
        self.targets = [] if target is None else _columns("target", target)
        self.target, self.weight = target, weight
        self.features = None if features is None else _columns("features", features)
        self.dy = [] if dy is None else _columns("dy", dy)
        self._check_roles()
        self.rows = check_count("rows", rows, example=65_536)
        self.data = data
        if isinstance(data, (list, tuple)) and not data:
            raise ValueError(
                "data is an empty list but at least one path is expected: correct the pattern, "
                "if glob made the list"
            )
        self.paths: list[Any] = list(data) if isinstance(data, (list, tuple)) else [data]
        if not all(isinstance(path, (str, os.PathLike)) for path in self.paths):
            self.paths = []
        self.filter, self.filesystem = filter, filesystem
        self.has_row_groups = bool(self.paths) or _is_parquet(data)
        has_stream = any(hasattr(data, name) for name in ("scanner", "__arrow_c_stream__"))
        if not (self.has_row_groups or callable(data) or has_stream):
            raise TypeError(
                f"data is {check.short(data)} but paths of Parquet files, an Arrow table or a "
                "callable that returns one is expected: pass for example a polars or pyarrow table"
            )
        if filter is not None:
            kind = require("ArrowBlocks", "pyarrow.compute").Expression
            if not isinstance(filter, kind):
                raise TypeError(
                    f"filter is {check.short(filter)} but a pyarrow expression is expected: for "
                    "example pyarrow.compute.field('year') == 2026"
                )
        for name, value, what, has in (
            ("filter", filter, "Parquet files", self.has_row_groups),
            ("filesystem", filesystem, "paths", self.paths),
        ):
            if value is not None and not has:
                raise ValueError(
                    f"{name} is passed beside a {type(data).__name__} but it is for {what}: leave "
                    f"{name} out, and let the data be what it would make of them"
                )

    def _check_roles(self) -> None:
        """Raise ValueError for a column of several roles, or derivatives of nothing."""
        if self.dy and not (self.targets and self.features is not None):
            raise ValueError(
                "dy has derivatives of the target by each feature but target or features are not "
                "passed: name them, features in the order of dy"
            )
        if len({*self.dy}) < len(self.dy):
            raise ValueError(f"dy is {self.dy} but names that differ are expected: name each once")
        others: dict[str, list[Any]] = {"weight": [self.weight], "feature": self.features or []}
        for role, names in {"target": self.targets, "dy": self.dy}.items():
            for name, other in itertools.product(names, others):
                if name in others[other]:
                    raise ValueError(
                        f"the column {name!r} is {role} and {other} but each column has one role: "
                        "name it once"
                    )
            others[role] = names

    def __iter__(self) -> Iterator[tuple[Array | None, ...]]:
        """Yield the blocks, from the first row to the last."""
        return self.ordered(None)

    def ordered(self, order: Order | None) -> Iterator[tuple[Array | None, ...]]:
        """Yield the blocks in an order, see `batches`."""
        for batch in self.batches(order):
            yield self._block(batch)

    def batches(
        self,
        order: Order | None = None,
        groups: list[RowGroup] | None = None,
        at_once: int | None = None,
    ) -> Generator[Batch, None, None]:
        """Yield record batches; ``order`` returns that of n row groups.

        ``groups`` are those of `row_groups`, if it was called before, and ``at_once`` the number of
        groups in random order that are read in turn, each a part of a block; by default several.
        """
        if not self.has_row_groups:
            yield from self._of_stream()
            return
        groups = self.row_groups() if groups is None else groups
        if not groups:
            return
        self._names(groups[0])  # the first file decides on the features
        count, types = 1, number_types(group.fragment for group in groups)
        if order is not None:
            count = at_once or groups_at_once(groups)
            groups = [groups[k] for k in order(len(groups))]
        n = 0  # rows that passed the filter
        readers = (self._of_group(group, -(-self.rows // count), types) for group in groups)
        for batch, names, group, rows in in_turn(readers, count):
            first = group.offset + int(rows[0]) if self.is_counted else n
            n += len(rows)
            yield Batch(batch, names, functools.partial(group.place, rows), first)

    def row_groups(self) -> list[RowGroup]:
        """Return the row groups of the files, by their footers."""
        return row_groups(self.paths or self.data, self.filesystem, self.filter)

    def for_features(self, names: Sequence[str]) -> ArrowBlocks:
        """Return a source of the same rows with these features alone."""
        source = copy.copy(self)
        source.targets, source.target, source.weight, source.dy = [], None, None, []
        source.features = list(names)
        return source

    @property
    def is_counted(self) -> bool:
        """Whether footers of files tell the number of each row before it is read."""
        return self.has_row_groups and self.filter is None

    @property
    def n(self) -> int | None:
        """Number of rows, if files or a table tell it without being read; else None."""
        if not self.has_row_groups:  # the shape of a stream, which can be read once, is not known
            shape = () if callable(self.data) else getattr(self.data, "shape", ())
            return int(shape[0]) if shape else None
        return sum(group.rows for group in self.row_groups()) if self.filter is None else None

    def _of_stream(self) -> Iterator[Batch]:
        """Yield the batches of a table, or of the stream that a callable returns."""
        table = self.data() if callable(self.data) else self.data
        if hasattr(
            table, "scanner"
        ):  # an Arrow dataset of other files, or with a filter of its own
            table = table.scanner(use_threads=False, batch_readahead=1).to_reader()
        if not hasattr(table, "__arrow_c_stream__"):
            raise TypeError(
                f"data returned {check.short(table)} but an Arrow table is expected: let it return "
                "for example a polars or pyarrow table"
            )
        reader = require("ArrowBlocks", "pyarrow").RecordBatchReader.from_stream(table)
        names = self._checked_names(reader.schema.names, "the table")
        row = 0
        for batch in reader:
            for first in range(0, batch.num_rows, self.rows):
                part = batch.slice(first, self.rows)
                yield Batch(part, names, functools.partial(_place, row + first), row + first)
            row += batch.num_rows

    def _of_group(
        self, group: RowGroup, most_rows: int, types: dict[str, Any]
    ) -> Iterator[tuple[Any, list[str], RowGroup, Rows]]:
        """Yield the batches of a row group, and the numbers of their rows in it."""
        names = self._names(group)
        for batch, rows in group.batches(names, most_rows, types, self.filter):
            if len(rows):
                yield batch, names, group, rows

    def _names(self, group: RowGroup) -> list[str]:
        return self._checked_names([*group.file_names, *group.keys], group.path)

    def _checked_names(self, names: Sequence[str], where: str) -> list[str]:
        """Return the columns to read: those of X, then targets, derivatives, and the weight."""
        others = [*self.targets, *self.dy, *([] if self.weight is None else [self.weight])]
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
            raise ValueError(f"{where} has no columns besides target, weight and dy: name features")
        if self.dy and len(self.dy) != (n := len(self.targets) * len(features)):
            raise ValueError(
                f"dy has {len(self.dy)} names but the derivatives of {len(self.targets)} targets "
                f"by {len(features)} features are {n}: name a column for each"
            )
        self.features = features  # later files may have their columns in another order
        return [*features, *others]

    def _block(self, part: Batch) -> tuple[Array | None, ...]:
        """Return X, y, weights and derivatives of some rows; absent arrays are left out."""
        batch, names, m = part.batch, part.names, len(self.targets)
        n_features = len(names) - m - len(self.dy) - (self.weight is not None)
        gaps = {*self.dy, *(self.targets if self.dy or m > 1 else ())}
        columns = [
            numbers_of(batch.column(name), name, part.place, k < n_features, name in gaps)
            for k, name in enumerate(names)
        ]
        weights = [columns.pop()] if self.weight is not None else []
        features, targets = columns[:n_features], columns[n_features : n_features + m]
        dtype = np.result_type(*(column.dtype for column in features))
        X = np.empty((batch.num_rows, len(features)), dtype if dtype.kind == "f" else np.float64)
        for k, column in enumerate(features):
            X[:, k] = column
        if not targets:
            return (X,)
        y = targets[0] if isinstance(self.target, str) else np.column_stack(targets)
        if not self.dy:
            return (X, y, *weights)
        derivatives = np.column_stack(columns[n_features + m :]).reshape(len(X), m, n_features)
        return (X, y, weights[0] if weights else None, derivatives)


def _is_parquet(data: Any) -> bool:
    """Whether this is an Arrow dataset of Parquet files without a filter of its own."""
    kind = getattr(getattr(data, "format", None), "default_extname", "")
    return kind == "parquet" and not getattr(data, "_scan_options", None)


def _columns(name: str, value: str | Sequence[str]) -> list[str]:
    """Return names of columns as a list; raise TypeError or ValueError if they are none."""
    names = [value] if isinstance(value, str) else list(value) if np.iterable(value) else [value]
    if not all(isinstance(column, str) for column in names):
        raise TypeError(f"{name} is {value!r} but names of columns are expected: pass strings")
    if not names:
        raise ValueError(f"{name} is empty but at least one name of a column is expected")
    return names


def _place(first: int, k: int) -> str:
    """Return the words for row k of a block that begins with row ``first``."""
    return f"row {first + k}"


def numbers_of(
    column: ArrowColumn,
    name: str,
    place: Callable[[int], str],
    is_feature: bool = False,
    may_miss: bool = False,
) -> Array:
    """Return a column's finite numbers; raise an error that names the first row without one.

    If numbers may be missing, these are NaN.
    """
    if column.null_count and not may_miss:
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
    wrong = np.isinf(numbers) if may_miss else ~np.isfinite(numbers)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"{place(first)}, column {name!r}: {numbers[first]} but a finite number is expected: "
            "correct the row, or drop it"
        )
    return numbers
