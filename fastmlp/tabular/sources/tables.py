"""Tables read from `ArrowBlocks`: for predictions block by block, for a fit in two passes.

The first pass finds the categories, the second one reads the rows of the fit. Within limits both
are passes over the batches of a `sampling.SourceSample` in memory. Quantiles need no sketch: they
are those of the rows of the fit, which are all in memory, and a uniform sample where memory or time
is too short for all.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastmlp.tabular.table.columns as of_columns
from fastmlp._training.arrow import ArrowBatch, ArrowBlocks, ArrowColumn, Batch, numbers_of
from fastmlp.tabular.table.columns import Array, Column, Columns, Table
from fastmlp.tabular.table.forms import Form, Instants, of_kind

CATEGORIES = ("bool", "string", "large_string", "binary", "large_binary", "fixed_size_binary")
Place = Callable[[int], str]  # the words for the place of a row of a batch


@dataclass(frozen=True)
class Scan:
    """The result of the first pass."""

    source: ArrowBlocks
    has_labels: bool  # whether its targets are classes
    columns: Columns  # all of the source
    rows: int
    missing: int  # number of columns with missing values
    y: Array  # targets of the first block, then all labels that occur
    has_weight: NDArray[np.bool_]  # one a row; (0,) without weights


def scan(source: ArrowBlocks, batches: Iterable[Batch], categorical: Any, has_labels: bool) -> Scan:
    """Count the rows of batches of a source, and the values of its category columns."""
    count: dict[int, Counter[Any]] = {}
    untyped: set[int] = set()  # columns, none of text, that have had no value yet
    labels: dict[Any, None] = {}
    missing: set[str] = set()
    y, n, has_weight = np.empty(0), 0, [np.empty(0, bool)]
    forms: dict[int, Form | None] = {}
    orders: dict[int, Sequence[Any]] = {}
    chosen: set[int] = set()
    for batch, _, place, _ in batches:
        features = source.features or []
        targets = _targets(source, has_labels, batch, place)
        kinds, chosen = _categories(batch, features, categorical)
        empty = {k for k, name in enumerate(features) if _is_empty(batch.column(name))}
        if not n:
            y, count = targets, {k: Counter() for k in kinds}
            untyped = set(range(len(features))) - kinds
        elif has_labels and y.ndim == 1:
            labels |= dict.fromkeys(np.unique(targets).tolist())
        first = untyped - empty
        count |= {k: Counter({None: n}) for k in first & kinds}
        untyped &= empty
        for k, name in enumerate(features):
            missing |= {name} if batch.column(name).null_count else set()
            if k in count:
                orders.setdefault(k, _order(batch.column(name)))
                counted = partial(of_columns.count_values, name=name)
                count[k].update(_located(counted, _array(batch.column(name)), name, place))
            elif k in first:
                kind = _located(partial(_kind, name=name), _array(batch.column(name)), name, place)
                forms[k] = of_kind(kind)
        if source.weight is not None:
            has_weight.append(numbers_of(batch.column(source.weight), source.weight, place) != 0)
        n += batch.num_rows
    if not n:
        raise ValueError("the source has no rows but at least 2 are expected")
    if labels and len({isinstance(label, str) for label in [*labels, *y[:1].tolist()]}) > 1:
        raise TypeError(
            f"column {source.target!r} holds text and numbers but labels of one kind are expected: "
            "give all files the same type"
        )
    y = np.concatenate([y, np.array(list(labels), y.dtype)]) if labels else y
    columns = [
        (
            k,
            of_columns.of_counts(name, count[k], k not in chosen, orders[k])
            if k in count
            else Column(name, form=forms.get(k)),
        )
        for k, name in enumerate(features)
    ]
    numbers = tuple(pair for pair in columns if pair[1].values is None)
    categories = tuple(pair for pair in columns if pair[1].values is not None)
    every = Columns(numbers, categories, {}, tuple(features), named=True)
    return Scan(source, has_labels, every, n, len(missing), y, np.concatenate(has_weight))


def read(
    batches: Iterable[Batch], scan: Scan, rows: NDArray[np.int64] | None
) -> tuple[Columns, Table, Array, Array | None]:
    """Return the used columns, the rows (None: all), their targets and weights."""
    source = scan.source
    table = scan.columns.empty(scan.rows if rows is None else len(rows))
    y, weights, filled, first, end = [], [], 0, 0, 0
    for batch, _, place, _ in batches:
        end = first + batch.num_rows
        if end > scan.rows:
            break
        chosen: Any = slice(None)
        if rows is not None:
            chosen = rows[filled : np.searchsorted(rows, end)] - first
        y.append(_targets(source, scan.has_labels, batch, place)[chosen])
        if source.weight is not None:
            weights.append(numbers_of(batch.column(source.weight), source.weight, place)[chosen])
        part = table.take(slice(filled, filled + len(y[-1])))
        of_batch: dict[str, Any] = {"names": scan.columns.names, "batch": batch, "place": place}
        scan.columns.fill(part, partial(_values_of_rows, rows=chosen, **of_batch))
        filled, first = filled + len(y[-1]), end
    if end != scan.rows:
        raise ValueError(
            f"the source had {scan.rows:,} rows when it was read first but now has another "
            "number: it must yield the same rows each time"
        )
    columns, table = _used(scan.columns, table)
    return columns, table, np.concatenate(y), np.concatenate(weights) if weights else None


def check_roles(source: ArrowBlocks) -> None:
    """Raise ValueError for a source without a target, or with derivatives."""
    if not source.targets:
        raise ValueError("the source has no target: pass ArrowBlocks(data, target)")
    if source.dy:
        raise ValueError("the source has dy, which a table does not learn: train a fastmlp.MLP")


def targets_of(batches: Iterable[Batch], scan: Scan) -> Array:
    """Return the targets of batches of a source."""
    source, has_labels = scan.source, scan.has_labels
    return np.concatenate(
        [_targets(source, has_labels, batch, place) for batch, _, place, _ in batches]
    )


def blocks(source: ArrowBlocks, columns: Columns) -> Iterator[Table]:
    """Yield the used columns of each block of new rows, which are read by their names."""
    rows = 0
    names = _names(source, columns)
    for batch, _, place, _ in source.for_features(names).batches():
        rows += batch.num_rows
        yield _table(columns, names, batch, place)
    if not rows:
        raise ValueError("the source has no rows but at least 1 is expected")


def learned(
    source: ArrowBlocks, columns: Columns, has_labels: bool
) -> Iterator[tuple[Table, Array, Array | None]]:
    """Yield the used columns of each block of labelled rows, with their targets and weights."""
    check_roles(source)
    source = copy.copy(source)
    source.features = names = list(_names(source, columns))
    if both := {*source.targets} & {*names}:
        raise ValueError(f"the target {min(both)!r} is a feature of the fit: pass another one")
    for batch, _, place, _ in source.batches():
        weights = None
        if source.weight is not None:
            weights = numbers_of(batch.column(source.weight), source.weight, place)
        targets = _targets(source, has_labels, batch, place)
        yield _table(columns, names, batch, place), targets, weights


def _names(source: ArrowBlocks, columns: Columns) -> Sequence[str]:
    """Return the columns of a source that are those of a fit, in its order."""
    fitted, features = columns.names, source.features or ()
    names = fitted if columns.named else tuple(features)
    if len(names) != len(fitted) or (features and set(features) != set(names)):
        raise ValueError(
            f"the source has the features {', '.join(features) or '(not named)'} but "
            f"{', '.join(fitted)} are expected: pass features=[...], the columns of the fit"
        )
    return names


def _table(columns: Columns, names: Sequence[str], batch: ArrowBatch, place: Place) -> Table:
    """Return the used columns of a batch."""
    table = columns.empty(batch.num_rows)
    columns.fill(table, partial(_values, names=names, batch=batch, place=place))
    return table


def _categories(
    batch: ArrowBatch, features: list[str], categorical: Any
) -> tuple[set[int], set[int]]:
    """Return the indices of category columns, and of those that the user or a dtype chose."""
    chosen: set[int] = of_columns.categorical_indices(categorical, features, features)
    text = set()
    for k, name in enumerate(features):
        kind = batch.schema.field(name).type
        if str(kind).startswith("dictionary"):
            chosen |= {k} if categorical is not None else set()
            kind = kind.value_type
        text |= {k} if str(kind).startswith(CATEGORIES) else set()
    return chosen | text, chosen


def _is_empty(column: ArrowColumn) -> bool:
    """Return whether a column has no value, whatever its type."""
    return bool(column.null_count == len(column))


def _order(column: ArrowColumn) -> Sequence[Any]:
    """Return the values of an ordered dictionary."""
    return column.dictionary.to_pylist() if getattr(column.type, "ordered", False) else ()


def _used(columns: Columns, table: Table) -> tuple[Columns, Table]:
    """Leave out columns that are constant or there twice, as `Columns.of` does."""
    places = [*columns.numbers, *columns.categories]
    arrays = [*table.numbers.T[: len(columns.numbers)], *table.codes.T]
    in_order = sorted(zip(places, arrays, strict=True), key=lambda pair: pair[0][0])
    used = Columns.used_of(((column, array) for (_, column), array in in_order), named=True)
    if not used.left_out and used.n_numbers == columns.n_numbers:
        return used, table
    return used, used.part(table, columns)


def _targets(source: ArrowBlocks, has_labels: bool, batch: ArrowBatch, place: Place) -> Array:
    """Return numbers or labels, (n,) or with several targets (n, outputs)."""
    arrays, has_several = [], len(source.targets) > 1
    for name in source.targets:
        column = batch.column(name)
        if has_labels and column.null_count:
            first = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise ValueError(
                f"{place(first)}, column {name!r}: a label is missing: drop the rows without one"
            )
        if has_labels:
            arrays.append(_array(column))
        else:
            arrays.append(numbers_of(column, name, place, may_miss=has_several))
    return arrays[0] if isinstance(source.target, str) else np.column_stack(arrays)


def _values_of_rows(k: int, column: Column, *, rows: Array, **of_batch: Any) -> Array:
    """Return the numbers or codes of some rows of a batch, whose categories must be known."""
    read = _values(k, column, **of_batch)
    if column.values is not None and np.any(unknown := read == of_columns.MISSING):
        at, place = int(np.argmax(unknown)), of_batch["place"]
        value = _array(of_batch["batch"].column(column.name))[at]
        raise ValueError(
            f"{place(at)}, column {column.name!r}: {value!r} was not there when the source was "
            "read first: it must yield the same rows each time"
        )
    return np.asarray(read[rows])


def _values(
    k: int, column: Column, *, names: Sequence[str], batch: ArrowBatch, place: Place
) -> Array:
    """Return the numbers or codes of a batch."""
    return np.asarray(_located(column.read, _array(batch.column(names[k])), names[k], place))


def _array(column: ArrowColumn) -> Array:
    """Return the values of an Arrow column."""
    if str(column.type).startswith("dictionary"):
        values = _array(column.dictionary)  # pyarrow cannot take some text types
        if column.null_count:
            values = np.append(values.astype(object), [None])
        codes = column.indices.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False)
        return np.asarray(values[codes])
    array = np.asarray(column.to_numpy(zero_copy_only=False))
    return array if getattr(column.type, "tz", None) is None else array.view(Instants)


def _located(read: Callable[[Array], Any], values: Array, name: str, place: Place) -> Any:
    """Return ``read(values)``; an error names the first row that causes it."""
    try:
        return read(values)
    except (TypeError, ValueError) as error:
        whole = error
    first = 0  # if no row alone causes it
    for row in range(len(values)):
        try:
            read(values[row : row + 1])
        except (TypeError, ValueError):
            first = row
            break
    raise type(whole)(f"{place(first)}, column {name!r}: {whole}")


def _kind(values: Array, name: str) -> str:
    """Return the kind of a column of numbers or times; raise an error for another one."""
    kind = of_columns.kind_of_column(values, name)
    if kind == "category":
        of_columns.count_values(values, name)  # which refuses other types
    return kind
