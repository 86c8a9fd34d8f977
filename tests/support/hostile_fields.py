"""Hostile descriptions from the schemas: every field missing, of a wrong type, out of its range."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
from hostile import apart, load, valid
from hostile_files import GONE, changed, filled, model, renamed

import fastmlp
from fastmlp._files import fields, schema, storage
from fastmlp._files.strict_json import MOST_INTEGER
from fastmlp._models.codecs import parts, values

Path: TypeAlias = tuple[Any, ...]
EXTRA = "exec"  # a key, a choice and a class that nothing knows

# What no field of a kind may be; the limits of counts come besides.
WRONG: dict[type, list[Any]] = {
    fields.Count: [None, True, 1.5, "1", [], -1],
    fields.Number: [None, True, "1", {"float": "inf"}],
    fields.Flag: [None, 0, "true", []],
    schema.Flagged: [None, 0, "true", []],
    fields.Text: [None, 1, [EXTRA]],
    fields.Choice: [None, 1, [EXTRA], EXTRA],
    schema.List: [None, 3, {}, EXTRA],
    schema.Object: [None, 3, [], EXTRA],
    schema.OneOf: [None, 3, [], {"class": EXTRA}],
    values.Value: [{"pickle": EXTRA}],
}


OTHER_DTYPES = {
    **{"F64": "I64", "F32": "I32", "I64": "F64", "U64": "I64", "U32": "I32"},
    **{"BOOL": "I8", "U8": "I8"},
}

# What a field of another kind may not be, by what it has.
OTHERS: dict[type, list[Any]] = {
    int: WRONG[fields.Count],
    list: WRONG[schema.List],
    str: [None, 1, [EXTRA], EXTRA],
}


def wrong(field: fields.Field, tree: Any) -> Iterator[Any]:
    """Yield JSON that a field must not have."""
    lists = [WRONG[cls] for cls in type(field).__mro__ if cls in WRONG]
    if not lists and type(field) not in (fields.Field, parts.Function):
        lists = [OTHERS[type(tree)]]
    yield from lists[0] if lists else ()
    if isinstance(field, fields.Count):
        most = MOST_INTEGER if callable(field.most) else field.most
        yield from [1, hex(most + 1)] if most > MOST_INTEGER else [most + 1] * (most < MOST_INTEGER)
        yield from [] if callable(field.least) or most > MOST_INTEGER else [field.least - 1]
    if isinstance(field, fields.Number):
        yield from [end for end in (field.least - 1, field.most + 1) if math.isfinite(end)]
    if isinstance(field, schema.List) and field.n is not None:
        yield [*tree, *(tree[:1] or [0] * 9)]
    if isinstance(field, values.Value) and object not in field.kinds:
        yield from [True, {"object": {"class": EXTRA}}, {"tuple": 3}, {"a": 1, "b": 2}]


def rows(field: fields.Field, tree: Any, path: Path, cls: Any) -> Iterator[tuple[Path, Any]]:
    """Yield each path in some JSON, with what must not be there; GONE if something must."""
    if isinstance(field, schema.Chosen):
        yield from rows(field.choose({"cls": cls, "name": cls.__name__}), tree, path, cls)
    elif isinstance(field, schema.Maybe):
        yield from (row for row in rows(field.field, tree, path, cls) if row[0] != path or row[1])
    elif isinstance(field, schema.At):
        yield from rows(field.field, tree, path, cls)
    elif tree is not None:
        yield from ((path, part) for part in wrong(field, tree))
        for key, part in inner(field, tree):
            if isinstance(tree, dict) and not getattr(field, "partial", False):
                yield (*path, key), GONE
            yield from rows(part, tree[key], (*path, key), cls)
        if isinstance(field, schema.Object | schema.OneOf):
            yield (*path, EXTRA), 1


def inner(field: fields.Field, tree: Any) -> Iterator[tuple[Any, fields.Field]]:
    """Yield the keys of some JSON, with the fields for their values."""
    if isinstance(field, schema.OneOf):
        yield "class", fields.Choice(field.objects)
        field = field.objects[tree["class"]]
    if isinstance(field, schema.Object):
        yield from ((k, part) for k, part in field.fields.items() if k in tree and not part.hidden)
    elif isinstance(field, values.Value) and isinstance(tree, dict):
        yield from ((tag, values.TAGS[tag]) for tag in tree)
    elif isinstance(field, schema.List) and tree:
        yield 0, field.field


def refusals(name: str) -> Iterator[tuple[Path, Any, str]]:
    """Yield each change of a description, and what is said about it; "" if nothing is."""
    description = apart(valid(name))[0]["__metadata__"]["model"]
    codec = storage.codec_of(description["class"])
    cls = storage.class_of(description["class"], description["engine"])
    fields = {**storage.HEAD.fields, **codec.schema.fields}
    for path, value in rows(schema.Object(fields), description, (), cls):
        if path:
            yield path, value, said(model(*path, to=value, name=name)())


def refusals_of_tensors(name: str) -> Iterator[tuple[str, Any, str]]:
    """Yield each tensor with a change of it, and what is said about it."""
    for tensor, entry in apart(valid(name))[0].items():
        # Classes and parameters of estimators may have any dtype.
        if not re.search("__metadata__|classes|parameters", tensor):
            wrong = {"shape": [1, *entry["shape"]], "dtype": OTHER_DTYPES[entry["dtype"]]}
            for key, value in wrong.items():
                yield tensor, value, said(changed(name, tensor, key, to=value)())
            yield tensor, GONE, said(renamed(name, tensor, EXTRA)())


def refusals_of_ranges(name: str) -> Iterator[tuple[str, Any, str]]:
    """Yield each tensor with NaN or a number beyond its limits, and what is said about it."""
    read, limits = fields.Tensor.read, {}

    def recorded(field: fields.Tensor, tree: Any, cursor: fields.Cursor) -> Any:
        array = read(field, tree, cursor)
        if array is not None and array.size:
            ends = (fields.limit(end, cursor) for end in (field.least, field.most))
            limits[cursor.tensor] = (array, *ends, field.positive, field.rising)
        return array

    with mock.patch.object(fields.Tensor, "read", recorded):
        load(valid(name))
    for tensor, (array, least, most, is_positive, is_rising) in limits.items():
        values: list[Any] = [np.zeros(1, array.dtype)] * is_positive
        if array.dtype.kind == "f":
            values.append(np.array(np.nan, array.dtype))
        for end, away in ((least, -1), (most, 1)):
            beyond = end + away if array.dtype.kind in "iu" else np.nextafter(end, away * np.inf)
            if np.isfinite(end) and np.can_cast(np.min_scalar_type(beyond), array.dtype):
                values.append(np.array(beyond, array.dtype))
        if is_rising and array.size > 1:
            values.append(array[1::-1])
        for value in values:
            yield tensor, value, said(filled(name, tensor, value)())


def said(text: bytes) -> str:
    """Return why a file is refused, "" if it is not."""
    try:
        load(text)
    except fastmlp.ModelFormatError as error:
        return str(error)
    return ""
