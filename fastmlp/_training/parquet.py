"""Row groups of Parquet files: listed from files, folders, patterns and datasets, then read.

A store's error is tried again a few times. Messages show no passwords and no queries of addresses,
which may hold signatures.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.optional import require

T = TypeVar("T")
WILD = re.compile(r"[*?\[]")
PAUSES = (0.1, 0.5, 2.0)  # seconds before the further attempts at reading from a store
# Errors of a store for which a further attempt is useless; others may pass, even a missing file.
LASTING = (PermissionError, ValueError, TypeError, MemoryError)
# Bytes that are read at a time from a local file; other stores fetch whole columns of a row group.
LOCAL_BUFFER = 16_384
# Most row groups, and most of their bytes, that are read in turn, so that a buffer mixes rows of
# many places. These numbers change the order of the rows, so they are the same on all machines.
GROUPS_AT_ONCE, BYTES_AT_ONCE = 8, 2**27


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file."""

    fragment: Any  # of an Arrow dataset, with this row group alone
    schema: Any  # of that dataset, for the filter
    first: int  # number of its first row in the file
    offset: int  # the same in all files

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

    def _reader(self, names: Sequence[str], rows: int) -> Iterator[Any]:
        """Yield batches; one thread and no read ahead need least memory."""
        fragment, is_local = self.fragment, _is_local(self.fragment.filesystem)
        columns = [name for name in names if name not in self.keys]
        with require("ArrowBlocks", "pyarrow.parquet").ParquetFile(
            fragment.path,
            filesystem=fragment.filesystem,
            metadata=fragment.metadata,
            pre_buffer=not is_local,
            buffer_size=LOCAL_BUFFER if is_local else 0,
        ) as file:
            group = [fragment.row_groups[0].id]
            yield from file.iter_batches(rows, group, columns, use_threads=False)

    def _mask(self, chosen: Any) -> NDArray[np.bool_]:
        """Return for each row whether an expression selects it."""
        scanner = self.fragment.scanner(
            schema=self.schema, columns={"passed": chosen}, use_threads=False
        )
        return np.asarray(scanner.to_table()["passed"].fill_null(False), bool)

    def _retried(self, read: Callable[[], T]) -> T:
        return retried(read, self.path, _is_local(self.fragment.filesystem))


def row_groups(data: Any, filesystem: Any, chosen: Any) -> list[RowGroup]:
    """Return the row groups of files or of a dataset that may have rows of an expression.

    ``data`` is an Arrow dataset, or a list of paths of files and folders, and of patterns.
    """
    datasets = [data] if hasattr(data, "get_fragments") else _datasets(data, filesystem)
    groups, offset = [], 0
    for dataset in datasets:
        fragments = list(dataset.get_fragments(chosen))
        schema = dataset.schema if chosen is None else _of_all(dataset.schema, fragments)
        for fragment in fragments:
            split = partial(fragment.split_by_row_group, chosen, schema=schema)
            parts = {}
            for part in retried(split, fragment.path, _is_local(fragment.filesystem)):
                parts[part.row_groups[0].id] = part
            first = 0  # those without such rows are not among the parts
            for number in range(max(parts, default=-1) + 1):
                if number in parts:
                    groups.append(RowGroup(parts[number], schema, first, offset + first))
                first += fragment.metadata.row_group(number).num_rows
            offset += first
    return groups


def _of_all(schema: Any, fragments: Sequence[Any]) -> Any:
    """Return a dataset's schema, which is that of its first file, with types that suit all files.

    Arrow casts columns to these types before a filter compares them.
    """
    for fragment in fragments:
        read = partial(getattr, fragment, "physical_schema")
        retried(read, fragment.path, _is_local(fragment.filesystem))
    types = number_types(fragments)
    fields = [field.with_type(types.get(field.name, field.type)) for field in schema]
    return require("ArrowBlocks", "pyarrow").schema(fields, schema.metadata)


def number_types(fragments: Iterable[Any]) -> dict[str, Any]:
    """Return, of columns of integers or floats, a type that holds the numbers of all files."""
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


def retried(
    read: Callable[[], T], path: str, is_local: bool, pauses: Sequence[float] = PAUSES
) -> T:
    """Return ``read()``, after a few attempts at a store; an error names the file."""
    try:
        return read()
    except Exception as error:
        if is_local or not pauses or isinstance(error, LASTING):
            raise _named(error, path, is_local) from None
    time.sleep(pauses[0])
    return retried(read, path, is_local, pauses[1:])


def without_secrets(text: str) -> str:
    """Return a text without the passwords and the queries of its addresses."""
    text = re.sub(r"(://)[^\s?'\"]*@", r"\1", text)
    return re.sub(r"(://[^\s?'\")]*)\?[^\s'\")]*", r"\1", text)


def _named(error: Exception, path: str, is_local: bool) -> Exception:
    """Return an error with the path of its file, and of a store a new one without secrets."""
    if not is_local:
        kind = next((k for k in (FileNotFoundError, *LASTING) if isinstance(error, k)), OSError)
        text = f"{type(error).__name__}: {error}" if kind is OSError else str(error)
        error = kind(without_secrets(text))
    error.add_note(f"in {without_secrets(path)}")
    return error


def _datasets(paths: Iterable[Any], filesystem: Any) -> Iterator[Any]:
    """Yield an Arrow dataset for each path of a file or folder, and for each pattern."""
    fs, dataset = (require("ArrowBlocks", f"pyarrow.{name}") for name in ("fs", "dataset"))
    for path in paths:
        text, store = os.fspath(path), filesystem
        if store is None and "://" not in text:
            store = fs.LocalFileSystem()
        elif store is None:
            store, text = retried(partial(_store, text), text, is_local=False)
        elif not isinstance(store, fs.FileSystem):
            store = fs.PyFileSystem(fs.FSSpecHandler(store))
        made = partial(_dataset, fs, dataset, store, text)
        yield retried(made, text, _is_local(store))


def _store(address: str) -> Any:
    """Return the file system of an address, by Arrow or by fsspec, and the path in it."""
    from_uri = require("ArrowBlocks", "pyarrow.fs").FileSystem.from_uri
    try:
        return from_uri(address)
    except ValueError:
        return from_uri(f"fsspec+{address}")


def _dataset(fs: Any, dataset: Any, store: Any, path: str) -> Any:
    """Return the Arrow dataset of a file, of a folder, or of the files that match a pattern."""
    kind, wild = store.get_file_info(path).type, WILD.search(path)
    make = partial(dataset.dataset, filesystem=store, format="parquet")
    if kind == fs.FileType.Directory:
        return make(path, partitioning="hive")
    if kind == fs.FileType.File or wild is None:
        return make(path)
    folder = path[: wild.start()].rpartition("/")[0]
    if "**" in path:
        raise ValueError(
            f"the pattern {path} has ** but * alone is expected: pass the folder {folder}, for all "
            "files in it"
        )
    selector = fs.FileSelector(folder or ".", recursive="/" in path[len(folder) + 1 :])
    names = [info.path for info in store.get_file_info(selector) if info.is_file]
    files = sorted(name for name in names if PurePosixPath(name).match(path))
    if not files:
        raise FileNotFoundError(f"no file matches the pattern {path}")
    return make(files, partitioning="hive", partition_base_dir=folder)


def _is_local(store: Any) -> bool:
    return bool(store.type_name == "local")
