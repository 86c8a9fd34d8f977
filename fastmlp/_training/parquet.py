"""Row groups of Parquet files: listed by the footers of the files, then read.

The footer says where the numbers are, so a file that is replaced in between would be read as if it
had the old columns and rows. Each row group that is read is of the file whose footer was listed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.optional import require
from fastmlp._training.stores import files_of, is_local, retried, without_secrets

T = TypeVar("T")
# Bytes that are read at a time from a local file; other stores fetch whole columns of a row group.
LOCAL_BUFFER = 16_384
# Most row groups, and most of their bytes, that are read in turn, so that a buffer mixes rows of
# many places. These numbers change the order of the rows, so they are the same on all machines.
GROUPS_AT_ONCE, BYTES_AT_ONCE = 8, 2**27


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file."""

    fragment: Any  # a part of an Arrow dataset, with this row group alone
    schema: Any  # that dataset's; the filter needs it
    first: int  # number of its first row in the file
    offset: int  # the same in all files
    # Of a local file, before its footer was read. If None, each reader compares the footer.
    version: tuple[int, int] | None

    @cached_property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.fragment.row_groups[0].num_rows)

    @cached_property
    def size(self) -> int:
        """Number of bytes of all columns in memory."""
        return int(self.fragment.row_groups[0].total_byte_size)

    @cached_property
    def path(self) -> str:
        """The file for messages."""
        return without_secrets(self.fragment.path)

    @cached_property
    def keys(self) -> dict[str, Any]:
        """The values of the folder's columns (hive partitions)."""
        dataset = require("ArrowBlocks", "pyarrow.dataset")
        keys: dict[str, Any] = dataset.get_partition_keys(self.fragment.partition_expression)
        names = [name for name in self.schema.names if name not in self.file_names]
        return {name: keys[name] for name in names if name in keys}

    @cached_property
    def file_names(self) -> list[str]:
        """The names of the columns in the file."""
        names: list[str] = self.fragment.physical_schema.names
        return names

    def place(self, rows: NDArray[np.int64], k: int) -> str:
        """Return the words for the k-th of some rows of this group."""
        number = self.fragment.row_groups[0].id
        return f"{self.path}, row group {number}, row {self.first + rows[k]}"

    def batches(
        self, names: Sequence[str], rows: int, types: dict[str, Any], chosen: Any
    ) -> Iterator[tuple[Any, NDArray[np.int64]]]:
        """Yield batches of some columns, with the numbers of their rows in this group.

        ``types`` are of all files. Only rows that the expression ``chosen`` selects are read.
        """
        pyarrow, names = require("ArrowBlocks", "pyarrow"), list(dict.fromkeys(names))
        self._check_version()
        mask = None if chosen is None else self._retried(partial(self._mask, chosen))
        reader: Iterator[Any] | None = None
        n_read, first = 0, 0

        def following() -> Any:
            nonlocal reader
            try:
                reader = reader or islice(self._reader(names, rows), n_read, None)
                return next(reader, None)
            except BaseException:
                reader = None
                raise

        while (batch := self._retried(following)) is not None:
            numbers = np.arange(first, first + batch.num_rows)
            n_read, first = n_read + 1, first + batch.num_rows
            if mask is not None:
                passed = mask[numbers]
                batch, numbers = batch.filter(pyarrow.array(passed)), numbers[passed]
            arrays = []
            for name in names:
                if name in self.keys:
                    value = pyarrow.scalar(self.keys[name], self.schema.field(name).type)
                    arrays.append(pyarrow.repeat(value, batch.num_rows))
                else:
                    column = batch.column(name)
                    kind = types.get(name, column.type)
                    arrays.append(column if column.type == kind else column.cast(kind, safe=False))
            yield pyarrow.RecordBatch.from_arrays(arrays, names=names), numbers
        self._check_version()

    def _reader(self, names: Sequence[str], rows: int) -> Iterator[Any]:
        """Yield batches; one thread and no read ahead need least memory."""
        fragment, local = self.fragment, is_local(self.fragment.filesystem)
        columns = [name for name in names if name not in self.keys]
        with require("ArrowBlocks", "pyarrow.parquet").ParquetFile(
            fragment.path,
            filesystem=fragment.filesystem,
            metadata=None if self.version is None else fragment.metadata,
            pre_buffer=not local,
            buffer_size=LOCAL_BUFFER if local else 0,
        ) as file:
            if self.version is None and not file.metadata.equals(fragment.metadata):
                raise self._changed()
            group = [fragment.row_groups[0].id]
            yield from file.iter_batches(rows, group, columns, use_threads=False)

    def _mask(self, chosen: Any) -> NDArray[np.bool_]:
        """Return for each row whether an expression selects it."""
        scanner = self.fragment.scanner(
            schema=self.schema, columns={"passed": chosen}, use_threads=False
        )
        return np.asarray(scanner.to_table()["passed"].fill_null(False), bool)

    def _retried(self, read: Callable[[], T]) -> T:
        def checked() -> T:
            try:
                return read()
            except Exception:
                self._check_version()  # which explains other errors
                raise

        return retried(checked, self.path, is_local(self.fragment.filesystem))

    def _check_version(self) -> None:
        """Raise ValueError if the file is another one than that of the footer."""
        if self.version is not None and _version(self.fragment.path) != self.version:
            raise self._changed()

    def _changed(self) -> ValueError:
        return ValueError(
            f"{self.path} was replaced or changed after its footer was read but one file is "
            "expected while it is read: write new rows to new files, and start again"
        )


def row_groups(data: Any, filesystem: Any, chosen: Any) -> list[RowGroup]:
    """Return the row groups of files or of a dataset that may have rows of an expression.

    ``data`` is an Arrow dataset, or a list of paths of files and folders, and of patterns.
    """
    is_dataset = hasattr(data, "get_fragments")  # which may have read footers long ago
    datasets = [(data, {})] if is_dataset else _datasets(data, filesystem)
    groups, offset = [], 0
    for dataset, versions in datasets:
        fragments = list(dataset.get_fragments(chosen))
        schema = dataset.schema if chosen is None else _of_all(dataset.schema, fragments)
        for fragment in fragments:
            split = partial(fragment.split_by_row_group, chosen, schema=schema)
            parts = {}
            for part in retried(split, fragment.path, is_local(fragment.filesystem)):
                parts[part.row_groups[0].id] = part
            first = 0  # those without such rows are not among the parts
            for number in range(max(parts, default=-1) + 1):
                if number in parts:
                    version = versions.get(fragment.path)
                    group = RowGroup(parts[number], schema, first, offset + first, version)
                    groups.append(group)
                first += fragment.metadata.row_group(number).num_rows
            offset += first
    return groups


def _of_all(schema: Any, fragments: Sequence[Any]) -> Any:
    """Return a dataset's schema, which is that of its first file, with types that suit all files.

    Arrow casts columns to these types before a filter compares them.
    """
    for fragment in fragments:
        read = partial(getattr, fragment, "physical_schema")
        retried(read, fragment.path, is_local(fragment.filesystem))
    types = number_types(fragments)
    fields = [field.with_type(types.get(field.name, field.type)) for field in schema]
    return require("ArrowBlocks", "pyarrow").schema(fields, schema.metadata)


def number_types(fragments: Iterable[Any]) -> dict[str, Any]:
    """Return a common type for each numeric column whose type differs between files."""
    pyarrow = require("ArrowBlocks", "pyarrow")
    types: dict[str, set[Any]] = {}
    for schema in {fragment.path: fragment.physical_schema for fragment in fragments}.values():
        for field in schema:
            types.setdefault(field.name, set()).add(field.type)
    numeric = pyarrow.types.is_integer, pyarrow.types.is_floating
    return {
        name: pyarrow.from_numpy_dtype(np.result_type(*(kind.to_pandas_dtype() for kind in kinds)))
        for name, kinds in types.items()
        if len(kinds) > 1 and all(any(test(kind) for test in numeric) for kind in kinds)
    }


def groups_at_once(groups: Sequence[RowGroup], most_bytes: float = BYTES_AT_ONCE) -> int:
    """Return how many row groups to read in turn: as many as fit, at least one."""
    size = max(1, *(group.size for group in groups))
    return max(1, int(min(GROUPS_AT_ONCE, len(groups), most_bytes / size)))


def in_turn(readers: Iterable[Iterator[T]], count: int) -> Generator[T, None, None]:
    """Yield from some of the readers in turn; one that ends is replaced by the next one."""
    waiting, reading = iter(readers), list[Iterator[T]]()
    while reading := [*reading, *islice(waiting, count - len(reading))]:
        for reader in tuple(reading):
            try:
                yield next(reader)
            except StopIteration:
                reading.remove(reader)


def _datasets(paths: Iterable[Any], filesystem: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield an Arrow dataset for each path or pattern, and the versions of its local files."""
    dataset = require("ArrowBlocks", "pyarrow.dataset").dataset
    for store, files, folder in files_of(paths, filesystem):
        local = is_local(store)
        versions = {path: _version(path) for path in files if local}
        partitions = (
            {} if folder is None else {"partitioning": "hive", "partition_base_dir": folder}
        )
        source = files[0] if folder is None else files
        make = partial(dataset, source, format="parquet", filesystem=store, **partitions)
        yield retried(make, files[0], local), versions


def _version(path: str) -> tuple[int, int] | None:
    """Return the size and time of a local file, None if there is none."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
