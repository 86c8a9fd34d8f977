"""Schemas: a class that a file can hold is declared once, as an `Object`, a table of its fields.

One walk over the table writes the class, and reads it. The kinds here are made of other kinds; the
simple ones are in fastmlp/_files/kinds.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastmlp._files.kinds import GONE, Choice, Flag, Hidden, Kind, Place, built, limit, opened
from fastmlp._files.strict_json import shown


class Of(Kind):
    """A kind that is made of another one."""

    def __init__(self, kind: Kind) -> None:
        self.kind, self.needed, self.hidden = kind, kind.needed, kind.hidden


class Maybe(Of):
    """A value, or None: null."""

    def write(self, value: Any, place: Place) -> Any:
        return None if value is None else self.kind.write(value, place)

    def read(self, tree: Any, place: Place) -> Any:
        return None if tree is None else self.kind.read(tree, place)


class Later(Of):
    """A field that a file may lack: it has its default then.

    Nothing is written for GONE; nor for false, 0, None or nothing if the default is of these and
    ``leave_out`` is true. Files of models without the feature stay as they were.
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
    """A field whose tensors have another name than its key: "/x" from the top, "x" beside it."""

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
    """Tensors that may be missing: the key says whether they are there."""

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
    """A list of values of one kind; ``n`` is its length, or the lengths that it may have."""

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
    """A list of values that are tensors, under the numbers ``first`` to ``n`` - 1."""

    def __init__(self, kind: Kind, n: Any, first: int = 0) -> None:
        self.kind, self.n, self.first = kind, n, first

    def write(self, value: Sequence[Any], place: Place) -> Any:
        for k, each in enumerate(value, self.first):
            self.kind.write(each, place.at(k))
        return GONE

    def read(self, tree: Any, place: Place) -> list[Any]:
        return [self.kind.read(GONE, place.at(k)) for k in range(self.first, limit(self.n, place))]


class Checked(Hidden):
    """No field, but a check of those that were read before it; it returns what to remember."""

    def __init__(self, check: Callable[[Any], Any]) -> None:
        self.check = check

    def read(self, tree: Any, place: Place) -> Any:
        return built(place.where.rpartition(".")[0], self.check, place.known)


class Object(Kind):
    """A JSON object: a table of fields, in the order in which they are read; there is no other key.

    ``make`` gets the fields by their keys and returns the value; its errors are refusals.
    ``values`` returns the fields of a value, which are its items or attributes by default.
    The tensors of the fields ``first`` lie before those of the others.
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
        return built(place.where, self.make, **values)


class Chosen(Kind):
    """The kind that a function chooses by what is known."""

    def __init__(self, choose: Callable[[Any], Kind]) -> None:
        self.choose = choose

    def write(self, value: Any, place: Place) -> Any:
        return self.choose(place.known).write(value, place)

    def read(self, tree: Any, place: Place) -> Any:
        return self.choose(place.known).read(tree, place)


class OneOf(Kind):
    """A JSON object of one of several kinds; the key "class" says which."""

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
