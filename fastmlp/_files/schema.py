"""Schemas: each class that a file can hold is declared once, as an `Object`, a table of its fields.

The table is used for writing and for reading. The kinds here are composed of other kinds; the
simple ones are in fastmlp/_files/kinds.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastmlp._files.kinds import GONE, Choice, Flag, Hidden, Kind, Place, built, limit, opened
from fastmlp._files.strict_json import shown


class Of(Kind):
    """A kind that wraps another one."""

    def __init__(self, kind: Kind) -> None:
        self.kind, self.needed, self.hidden = kind, kind.needed, kind.hidden


class Maybe(Of):
    """A value or None, which is null in JSON."""

    def write(self, value: Any, place: Place) -> Any:
        return None if value is None else self.kind.write(value, place)

    def read(self, tree: Any, place: Place) -> Any:
        return None if tree is None else self.kind.read(tree, place)


class Later(Of):
    """A field with a default for files that lack it.

    With ``leave_out``, an empty value (such as False, 0 or None) is not written if the default is
    empty too, so that files of models without the feature stay as they were.
    """

    def __init__(self, kind: Kind, default: Any = GONE, leave_out: bool = True) -> None:
        super().__init__(kind)
        self.needed, self.default, self.leave_out = False, default, leave_out

    def write(self, value: Any, place: Place) -> Any:
        if value is GONE or (self.leave_out and not (self.default or value)):
            return GONE
        return self.kind.write(value, place)

    def read(self, tree: Any, place: Place) -> Any:
        return self.default if tree is GONE else self.kind.read(tree, place)


class At(Of):
    """A field whose tensors are named "x", beside its key, or "/x", from the top."""

    def __init__(self, name: str, kind: Kind) -> None:
        super().__init__(kind)
        self.name = name

    def _moved(self, place: Place) -> Place:
        top = "" if self.name.startswith("/") else place.name.rpartition(".")[0]
        return place._replace(name=".".join(filter(None, [top, self.name.lstrip("/")])))

    def write(self, value: Any, place: Place) -> Any:
        return self.kind.write(value, self._moved(place))

    def read(self, tree: Any, place: Place) -> Any:
        return self.kind.read(tree, self._moved(place))


class Flagged(Of):
    """Tensors that may be missing; the key holds whether they are present."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.needed, self.hidden = True, False

    def write(self, value: Any, place: Place) -> bool:
        if value is not None:
            self.kind.write(value, place)
        return value is not None

    def read(self, tree: Any, place: Place) -> Any:
        return self.kind.read(GONE, place) if Flag().read(tree, place) else None


class List(Of):
    """A list of values of one kind; ``n`` is its length, or a tuple of allowed lengths."""

    def __init__(self, kind: Kind, n: Any = None, make: Callable[[Any], Any] = list) -> None:
        super().__init__(kind)
        self.n, self.make = n, make

    def write(self, value: Sequence[Any], place: Place) -> list[Any]:
        return [self.kind.write(each, place.at(k)) for k, each in enumerate(value)]

    def read(self, tree: Any, place: Place) -> Any:
        if not isinstance(tree, list):
            raise place.fail(f"is {shown(tree)} and no list")
        n = limit(self.n, place)
        sizes = n if isinstance(n, tuple) else (n,)
        if n is not None and len(tree) not in sizes:
            raise place.fail(
                f"has {len(tree)} entries but {' or '.join(map(str, sizes))} belong there"
            )
        return self.make([self.kind.read(each, place.at(k)) for k, each in enumerate(tree)])


class Each(Hidden):
    """A list of values that are tensors; a function of the known fields returns their names."""

    def __init__(self, kind: Kind, names: Callable[[Any], Iterable[Any]]) -> None:
        self.kind, self.names = kind, names

    def write(self, value: Sequence[Any], place: Place) -> Any:
        for name, each in zip(self.names(place.known), value, strict=True):
            self.kind.write(each, place.at(name))
        return GONE

    def read(self, tree: Any, place: Place) -> list[Any]:
        return [self.kind.read(GONE, place.at(name)) for name in self.names(place.known)]


class Checked(Hidden):
    """A check of the fields before it; the result is available to later fields."""

    def __init__(self, check: Callable[[Any], Any]) -> None:
        self.check = check

    def read(self, tree: Any, place: Place) -> Any:
        parent = place._replace(name=place.name.rpartition(".")[0])
        return built(parent, self.check, place.known)


class Object(Kind):
    """A JSON object with exactly these fields, which are read in this order.

    ``make`` returns the value, given the fields by name; its errors become ModelFormatError.
    ``values`` returns the fields of a value, by default its items or attributes.
    The tensors of the fields in ``first`` are written before the others.
    """

    def __init__(
        self, fields: Mapping[str, Kind], make: Any = dict, values: Any = None, first: Any = ()
    ) -> None:
        self.fields, self.make, self.values, self.first = fields, make, values, first

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
            if found is GONE and kind.needed:
                raise place.fail(f"has no {shown(key)}")
            values[key] = kind.read(found, inner.at(key))
        if left:
            raise place.fail(f"has {shown(next(iter(left)))}, unknown here")
        values = {key: value for key, value in values.items() if value is not GONE}
        return built(place, self.make, **values)


class Chosen(Kind):
    """A field whose kind a function chooses, given the fields that were read before."""

    def __init__(self, choose: Callable[[Any], Kind]) -> None:
        self.choose = choose

    def write(self, value: Any, place: Place) -> Any:
        return self.choose(place.known).write(value, place)

    def read(self, tree: Any, place: Place) -> Any:
        return self.choose(place.known).read(tree, place)


class OneOf(Kind):
    """A JSON object of one of several kinds, selected by the key "class"."""

    def __init__(self, kinds: Mapping[str, Object], name_of: Callable[[Any], str]) -> None:
        self.kinds, self.name_of = kinds, name_of

    def write(self, value: Any, place: Place) -> dict[str, Any]:
        name = self.name_of(value)
        return {"class": name, **self.kinds[name].write(value, place)}

    def read(self, tree: Any, place: Place) -> Any:
        left = opened(tree, place)
        if "class" not in left:
            raise place.fail("has no 'class'")
        name = Choice(self.kinds).read(left.pop("class"), place.at("class"))
        return self.kinds[name].read(left, place)


class Codec(NamedTuple):
    """How models of one class are written and read.

    ``values(model, training)`` returns the fields of a model, and its engine if the class does not
    determine it; ``build(cls, fields)`` returns the model.
    """

    schema: Object
    values: Callable[[Any, bool], dict[str, Any]]
    build: Callable[[Any, dict[str, Any]], Any]
