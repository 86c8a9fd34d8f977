"""Schemas: each class that a file can hold is declared once, as an `Object`, a table of its fields.

The table is used for writing and for reading. The fields here are composed of other fields; the
simple ones are in fastmlp/_files/fields.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from fastmlp._files.fields import (
    GONE,
    Choice,
    Context,
    Count,
    Cursor,
    Field,
    Flag,
    Hidden,
    Tensor,
    limit,
    opened,
)
from fastmlp._files.strict_json import MOST_INTEGER, Json

Inner = TypeVar("Inner")
Sized = TypeVar("Sized", bound=Sequence[Any] | NDArray[Any])


@dataclass
class Wrapper(Generic[Inner]):
    """A part of the fields that wrap another one."""

    field: Field[Inner]

    def __post_init__(self) -> None:
        """Take over whether there is a key."""
        self.hidden = self.field.hidden


class Maybe(Wrapper[Inner], Field[Inner | None]):
    """A value or None, which is null in JSON."""

    def write(self, value: Inner | None, cursor: Cursor) -> Json:
        return None if value is None else self.field.write(value, cursor)

    def read(self, tree: Json, cursor: Cursor) -> Inner | None:
        return None if tree is None else self.field.read(tree, cursor)


class At(Field[Inner]):
    """A field whose tensors are named "x", beside its key, or "/x", from the top."""

    def __init__(self, name: str, field: Field[Inner]) -> None:
        self.name, self.field, self.hidden = name, field, field.hidden

    def _moved(self, cursor: Cursor) -> Cursor:
        top = "" if self.name.startswith("/") else cursor.name.rpartition(".")[0]
        return cursor._replace(name=".".join(filter(None, [top, self.name.lstrip("/")])))

    def write(self, value: Inner, cursor: Cursor) -> Json:
        return self.field.write(value, self._moved(cursor))

    def read(self, tree: Json, cursor: Cursor) -> Inner:
        return self.field.read(tree, self._moved(cursor))


@dataclass
class Flagged(Field[Inner | None]):
    """Tensors that may be missing; the key holds whether they are present."""

    field: Field[Inner]

    def write(self, value: Inner | None, cursor: Cursor) -> bool:
        if value is not None:
            self.field.write(value, cursor)
        return value is not None

    def read(self, tree: Json, cursor: Cursor) -> Inner | None:
        return self.field.read(GONE, cursor) if Flag().read(tree, cursor) else None


@dataclass
class Counted(Field[Sized]):
    """A tensor whose JSON value is the length of an axis, which its shape may call "n"."""

    field: Field[Sized]
    axis: int = 0
    least: Any = 0
    most: Any = MOST_INTEGER

    def write(self, value: Sized, cursor: Cursor) -> int:
        self.field.write(value, cursor)
        return int(np.shape(value)[self.axis])

    def read(self, tree: Json, cursor: Cursor) -> Sized:
        n = Count(self.least, self.most).read(tree, cursor)
        values = self.field.read(GONE, cursor.inside({"n": n}))
        cursor.check(np.shape(values)[self.axis] == n, f"has {len(values)} entries and not {n}")
        return values


@dataclass
class List(Wrapper[Inner], Field[Any]):
    """A list of values of one field; ``n`` is its length, or a tuple of allowed lengths."""

    n: Any = None
    make: Callable[[Any], Any] = list

    def write(self, value: Sequence[Inner], cursor: Cursor) -> list[Json]:
        return [self.field.write(item, cursor.at(k)) for k, item in enumerate(value)]

    def read(self, tree: Json, cursor: Cursor) -> Any:
        cursor.check(isinstance(tree, list), "is {} and no list", tree)
        items = cast("list[Json]", tree)
        n = limit(self.n, cursor)
        sizes = n if isinstance(n, tuple) else (n,)
        words = f"has {len(items)} entries but {' or '.join(map(str, sizes))} belong there"
        cursor.check(n is None or len(items) in sizes, words)
        return self.make([self.field.read(item, cursor.at(k)) for k, item in enumerate(items)])


@dataclass
class NamedTensors(Hidden[Sequence[Inner]]):
    """A list of values that are tensors, named by a function of the fields read before."""

    field: Field[Inner]
    names: Callable[[Any], Iterable[Any]]

    def write(self, value: Sequence[Inner], cursor: Cursor) -> Json:
        for name, item in zip(self.names(cursor.context), value, strict=True):
            self.field.write(item, cursor.at(name))
        return GONE

    def read(self, tree: Json, cursor: Cursor) -> list[Inner]:
        return [self.field.read(GONE, cursor.at(name)) for name in self.names(cursor.context)]


@dataclass
class Parts(Field[Sequence[NDArray[Any]]]):
    """A list of arrays, stored as one tensor, whose shape may call the sum of their lengths "n".

    The JSON value is the list of lengths, from 1 to ``most``; ``n`` is the number of arrays.
    """

    field: Tensor
    n: Any
    most: Any

    def write(self, value: Sequence[NDArray[Any]], cursor: Cursor) -> Json:
        self.field.write(np.concatenate(value), cursor)
        return [len(part) for part in value]

    def read(self, tree: Json, cursor: Cursor) -> list[NDArray[Any]]:
        lengths = List(Count(1, self.most), self.n).read(tree, cursor)
        whole = self.field.read(GONE, cursor.inside({"n": sum(lengths)}))
        return np.split(whole, np.cumsum(lengths)[:-1])


@dataclass
class Computed(Hidden[Any]):
    """A value that a function computes from the fields before it, and checks; files lack it."""

    result: Callable[[Any], Any]

    def read(self, tree: Json, cursor: Cursor) -> Any:
        parent = cursor._replace(name=cursor.name.rpartition(".")[0])
        return parent.built(self.result, cursor.context)


@dataclass
class Object(Field[Any]):
    """A JSON object with exactly these fields, which are read in this order."""

    fields: Mapping[str, Field[Any]]
    make: Callable[..., Any] = dict  # the value of the fields by name; may raise
    values: Callable[[Any], Any] | None = None  # the fields of a value; else items or attributes
    partial: bool = False  # whether a value, a dictionary, and the file may lack some keys

    def write(self, value: Any, cursor: Cursor) -> dict[str, Any]:
        if self.values:
            value = self.values(value)
        written = {k: field for k, field in self.fields.items() if not isinstance(field, Computed)}
        if self.partial:
            written = {key: field for key, field in written.items() if key in value}
        if not isinstance(value, Mapping):
            value = {key: getattr(value, key) for key in written}
        inner = cursor.inside(value)
        tree = {key: field.write(value[key], inner.at(key)) for key, field in written.items()}
        return {key: part for key, part in tree.items() if part is not GONE}

    def read(self, tree: Json, cursor: Cursor) -> Any:
        left = opened(tree, cursor)
        values = self._read(left, cursor)
        cursor.check(not left, "has {}, unknown here", next(iter(left), None))
        return cursor.built(self.make, **values)

    def read_part(self, tree: Json, cursor: Cursor) -> Any:
        """Return the value of these fields of an object that has others, too."""
        return cursor.built(self.make, **self._read(opened(tree, cursor), cursor))

    def _read(self, left: dict[str, Any], cursor: Cursor) -> dict[str, Any]:
        """Return the values of the fields, and take them out of the object."""
        values: dict[str, Any] = {}
        inner = cursor.inside(values)
        for key, field in self.fields.items():
            part = GONE if field.hidden else left.pop(key, GONE)
            if part is not GONE or field.hidden:
                values[key] = field.read(part, inner.at(key))
            else:
                cursor.check(self.partial, "has no {}", key)
        return values


@dataclass
class Chosen(Field[Any]):
    """A field that a function chooses by the fields that were read before."""

    choose: Callable[[Context], Field[Any]]

    def write(self, value: Any, cursor: Cursor) -> Json:
        return self.choose(cursor.context).write(value, cursor)

    def read(self, tree: Json, cursor: Cursor) -> Any:
        return self.choose(cursor.context).read(tree, cursor)


@dataclass
class OneOf(Field[Any]):
    """One of several JSON objects, selected by the key "class"."""

    objects: Mapping[str, Object]
    name_of: Callable[[Any], str]

    def write(self, value: Any, cursor: Cursor) -> dict[str, Any]:
        name = self.name_of(value)
        return {"class": name, **self.objects[name].write(value, cursor)}

    def read(self, tree: Json, cursor: Cursor) -> Any:
        left = opened(tree, cursor)
        cursor.check("class" in left, "has no 'class'")
        name = Choice(self.objects).read(left.pop("class"), cursor.at("class"))
        return self.objects[name].read(left, cursor)


class Codec(NamedTuple):
    """How models of one class are written and read."""

    schema: Object
    # The fields of a model, with or without its training, and the engine if it has a choice of two.
    values: Callable[[Any, bool], dict[str, Any]]
    build: Callable[[Any, dict[str, Any]], Any]  # the model of a class and its fields
