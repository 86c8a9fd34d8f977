"""Schemas: each class that a file can hold is declared once, as an `Object`, a table of its fields.

The table is used for writing and for reading. The kinds here are composed of other kinds; the
simple ones are in fastmlp/_files/kinds.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastmlp._files.kinds import GONE, Choice, Count, Flag, Hidden, Kind, Place, limit, opened


@dataclass
class Of(Kind):
    """A kind that wraps another one."""

    kind: Kind

    def __post_init__(self) -> None:
        """Take over whether there is a key."""
        self.needed, self.hidden = self.kind.needed, self.kind.hidden


class Maybe(Of):
    """A value or None, which is null in JSON."""

    def write(self, value: Any, place: Place) -> Any:
        return None if value is None else self.kind.write(value, place)

    def read(self, tree: Any, place: Place) -> Any:
        return None if tree is None else self.kind.read(tree, place)


class Optional(Of):
    """A field that a file lacks if the model does."""

    def __post_init__(self) -> None:
        """Let files lack the key."""
        self.needed = False

    def write(self, value: Any, place: Place) -> Any:
        return GONE if value is GONE else self.kind.write(value, place)

    def read(self, tree: Any, place: Place) -> Any:
        return GONE if tree is GONE else self.kind.read(tree, place)


class At(Kind):
    """A field whose tensors are named "x", beside its key, or "/x", from the top."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name, self.kind, self.needed, self.hidden = name, kind, kind.needed, kind.hidden

    def _moved(self, place: Place) -> Place:
        top = "" if self.name.startswith("/") else place.name.rpartition(".")[0]
        return place._replace(name=".".join(filter(None, [top, self.name.lstrip("/")])))

    def write(self, value: Any, place: Place) -> Any:
        return self.kind.write(value, self._moved(place))

    def read(self, tree: Any, place: Place) -> Any:
        return self.kind.read(tree, self._moved(place))


@dataclass
class Flagged(Kind):
    """Tensors that may be missing; the key holds whether they are present."""

    kind: Kind

    def write(self, value: Any, place: Place) -> bool:
        if value is not None:
            self.kind.write(value, place)
        return value is not None

    def read(self, tree: Any, place: Place) -> Any:
        return self.kind.read(GONE, place) if Flag().read(tree, place) else None


@dataclass
class Counted(Kind):
    """A list stored as a tensor; its JSON value is the length, which the shape may call "n"."""

    kind: Kind

    def write(self, value: Any, place: Place) -> int:
        self.kind.write(value, place)
        return len(value)

    def read(self, tree: Any, place: Place) -> Any:
        n = Count().read(tree, place)
        found = self.kind.read(GONE, place._replace(known=place.known.new_child({"n": n})))
        place.check(len(found) == n, f"has {len(found)} entries and not {n}")
        return found


@dataclass
class List(Of):
    """A list of values of one kind; ``n`` is its length, or a tuple of allowed lengths."""

    n: Any = None
    make: Callable[[Any], Any] = list

    def write(self, value: Sequence[Any], place: Place) -> list[Any]:
        return [self.kind.write(each, place.at(k)) for k, each in enumerate(value)]

    def read(self, tree: Any, place: Place) -> Any:
        place.check(isinstance(tree, list), "is {} and no list", tree)
        n = limit(self.n, place)
        sizes = n if isinstance(n, tuple) else (n,)
        words = f"has {len(tree)} entries but {' or '.join(map(str, sizes))} belong there"
        place.check(n is None or len(tree) in sizes, words)
        return self.make([self.kind.read(each, place.at(k)) for k, each in enumerate(tree)])


@dataclass
class Each(Hidden):
    """A list of values that are tensors; a function of the known fields returns their names."""

    kind: Kind
    names: Callable[[Any], Iterable[Any]]

    def write(self, value: Sequence[Any], place: Place) -> Any:
        for name, each in zip(self.names(place.known), value, strict=True):
            self.kind.write(each, place.at(name))
        return GONE

    def read(self, tree: Any, place: Place) -> list[Any]:
        return [self.kind.read(GONE, place.at(name)) for name in self.names(place.known)]


@dataclass
class Checked(Hidden):
    """A check of the fields before it; the result is available to later fields."""

    result: Callable[[Any], Any]

    def read(self, tree: Any, place: Place) -> Any:
        parent = place._replace(name=place.name.rpartition(".")[0])
        return parent.built(self.result, place.known)


@dataclass
class Object(Kind):
    """A JSON object with exactly these fields, which are read in this order."""

    fields: Mapping[str, Kind]
    make: Callable[..., Any] = dict  # the value of the fields by name; may raise
    values: Callable[[Any], Any] | None = None  # the fields of a value; else items or attributes
    first: Sequence[str] = ()  # fields whose tensors are written before the others

    def write(self, value: Any, place: Place) -> dict[str, Any]:
        if self.values:
            value = self.values(value)
        if not isinstance(value, Mapping):
            value = {key: getattr(value, key) for key in self.fields}
        inner = place._replace(known=place.known.new_child(value))
        written = [key for key, kind in self.fields.items() if not isinstance(kind, Checked)]
        order = sorted(written, key=lambda key: key not in self.first)
        found = {key: self.fields[key].write(value[key], inner.at(key)) for key in order}
        return {key: found[key] for key in written if found[key] is not GONE}

    def read(self, tree: Any, place: Place) -> Any:
        left, values = opened(tree, place), dict[str, Any]()
        inner = place._replace(known=place.known.new_child(values))
        for key, kind in self.fields.items():
            found = GONE if kind.hidden else left.pop(key, GONE)
            place.check(found is not GONE or not kind.needed, "has no {}", key)
            values[key] = kind.read(found, inner.at(key))
        place.check(not left, "has {}, unknown here", next(iter(left), None))
        values = {key: value for key, value in values.items() if value is not GONE}
        return place.built(self.make, **values)


@dataclass
class Chosen(Kind):
    """A field whose kind a function chooses, given the fields that were read before."""

    choose: Callable[[Any], Kind]

    def write(self, value: Any, place: Place) -> Any:
        return self.choose(place.known).write(value, place)

    def read(self, tree: Any, place: Place) -> Any:
        return self.choose(place.known).read(tree, place)


@dataclass
class OneOf(Kind):
    """A JSON object of one of several kinds, selected by the key "class"."""

    kinds: Mapping[str, Object]
    name_of: Callable[[Any], str]

    def write(self, value: Any, place: Place) -> dict[str, Any]:
        name = self.name_of(value)
        return {"class": name, **self.kinds[name].write(value, place)}

    def read(self, tree: Any, place: Place) -> Any:
        left = opened(tree, place)
        place.check("class" in left, "has no 'class'")
        name = Choice(self.kinds).read(left.pop("class"), place.at("class"))
        return self.kinds[name].read(left, place)


class Codec(NamedTuple):
    """How models of one class are written and read."""

    schema: Object
    # The fields of a model, with or without its training, and the engine if it has a choice of two.
    values: Callable[[Any, bool], dict[str, Any]]
    build: Callable[[Any, dict[str, Any]], Any]  # the model of a class and its fields
