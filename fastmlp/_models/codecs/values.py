"""Kinds of general values: plain JSON where possible, else JSON with a tag; arrays are tensors.

A file can select only among the tags and classes in the tables here.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._files.kinds import Kind, Place, Text, check_characters, from_digits
from fastmlp._files.schema import List, Object, OneOf
from fastmlp._files.strict_json import MOST_INTEGER, MOST_STRING, shown
from fastmlp._models.codecs import generators
from fastmlp._network import losses, optimizers, schedules
from fastmlp._training import callbacks

MOST_STRINGS = 1 << 16  # in an array
_KEYS = (str, int, float, np.generic, type(None))  # of a dict

# Classes of objects in files. Each keeps its constructor's arguments and checks them.
OBJECTS: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        *losses.LOSSES.values(),
        *optimizers.OPTIMIZERS.values(),
        *(schedules.Constant, schedules.Step, schedules.Cosine),
        *(schedules.OneCycle, schedules.InverseScaling, schedules.WarmUp),
        *(callbacks.EarlyStopping, callbacks.ReduceOnPlateau, callbacks.Progress),
    )
}


def is_object(value: Any) -> bool:
    """Whether a file can hold this object."""
    return OBJECTS.get(type(value).__name__) is type(value)


class Value(Kind):
    """A value of one of several classes (None for None); the value determines its kind."""

    def __init__(self, *kinds: Any) -> None:
        self.kinds = kinds

    def write(self, value: Any, place: Place) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool):
            return value
        tag = _tag(value)
        if tag is None:
            raise TypeError(
                f"{place.name} is {value!r}, which a file cannot hold: use numbers, strings, "
                "lists, or objects of fastmlp's own"
            )
        if not tag:
            return _PLAIN[type(value)].write(value, place)
        return {tag: TAGS[tag].write(value, place)}

    def read(self, tree: Any, place: Place) -> Any:
        found = self._found(tree, place)
        allowed = tuple(type(None) if kind is None else kind for kind in self.kinds)
        wrong_bool = isinstance(found, bool) and not {bool, object}.intersection(self.kinds)
        if wrong_bool or not isinstance(found, allowed):
            names = " or ".join("null" if kind is None else kind.__name__ for kind in self.kinds)
            raise place.fail(f"is {shown(found)} but {names} belongs there")
        return found

    def _found(self, tree: Any, place: Place) -> Any:
        if isinstance(tree, list):
            return _LIST.read(tree, place)
        if not isinstance(tree, dict):
            return tree
        if len(tree) != 1 or (tag := next(iter(tree))) not in TAGS:
            raise place.fail(f"has the keys {shown(sorted(tree))}, which are no value")
        return TAGS[tag].read(tree[tag], place)


def _tag(value: Any) -> str | None:
    """Return the tag of a value; "" for plain JSON, None if a file cannot hold it."""
    if is_object(value):
        return "object"
    if type(value) is int:
        return "int" if abs(value) > MOST_INTEGER else ""
    if type(value) is float:
        return "" if math.isfinite(value) else "float"
    if type(value) is np.ndarray:
        return {"U": "strings", "O": "string objects"}.get(value.dtype.kind, "array")
    return _TAG_OF.get(type(value))


class _Dict(Kind):
    """A dictionary, as a list of pairs."""

    def write(self, value: dict[Any, Any], place: Place) -> list[Any]:
        for key in value:
            if not isinstance(key, _KEYS):
                raise TypeError(
                    f"{place.name} has the key {key!r}, which a file cannot hold: use strings"
                )
        return _LIST.write([list(pair) for pair in value.items()], place)

    def read(self, tree: Any, place: Place) -> dict[Any, Any]:
        found = {}
        for pair in _LIST.read(tree, place):
            if not isinstance(pair, list) or len(pair) != 2:
                raise place.fail(f"has {shown(pair)} in place of key and value")
            if not isinstance(pair[0], _KEYS) or pair[0] in found:
                raise place.fail(f"has the key {shown(pair[0])}, again or of a wrong kind")
            found[pair[0]] = pair[1]
        return found


class _Integer(Kind):
    """An integer that JSON readers would round, as hexadecimal digits."""

    def write(self, value: int, place: Place) -> str:
        return hex(value)

    def read(self, tree: Any, place: Place) -> int:
        number = from_digits(tree)
        if abs(number) <= MOST_INTEGER:
            raise place.fail(f"is {shown(tree)} and no large integer in hexadecimal")
        return number


class _Float(Kind):
    """An infinite number or NaN, which JSON lacks."""

    def write(self, value: float, place: Place) -> str:
        return str(value)

    def read(self, tree: Any, place: Place) -> float:
        if tree not in ("inf", "-inf", "nan"):
            raise place.fail(f"is the float {shown(tree)}")
        return float(tree)


class _Array(Kind):
    """An array of numbers, stored as a tensor; the JSON repeats the tensor's name."""

    def write(self, value: NDArray[Any], place: Place) -> str:
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8 or not value.ndim:
            raise TypeError(
                f"{place.name} is an array of {value.dtype} but a file holds numbers of up to 8 "
                "bytes and strings: convert it"
            )
        place.file[place.tensor] = value
        return place.name

    def read(self, tree: Any, place: Place) -> NDArray[Any]:
        if tree != place.name:
            raise place.fail(f"is said to be the tensor {shown(tree)}")
        return place.file.take(place.tensor).copy()  # type: ignore[no-any-return]


class _Strings(_Array):
    """An array of strings, stored as a matrix of their code points, padded with 0."""

    def write(self, value: NDArray[Any], place: Place) -> str:
        name, texts = place.name, value.tolist()
        if value.ndim != 1 or not all(isinstance(each, str) for each in texts):
            raise TypeError(f"{name} has other things than strings in it, which a file cannot hold")
        fixed, longest = value.astype("=U"), max(map(len, texts), default=0)
        if len(texts) > MOST_STRINGS or longest > MOST_STRING or fixed.tolist() != texts:
            raise ValueError(
                f"{name} has {len(texts):,} strings of up to {longest:,} characters but a file "
                f"holds {MOST_STRINGS:,} of up to {MOST_STRING:,}, without a null at the end"
            )
        for each in texts:
            check_characters(each, name)
        width = fixed.dtype.itemsize // 4
        return super().write(fixed.view(np.uint32).reshape(len(fixed), width), place)

    def read(self, tree: Any, place: Place) -> NDArray[Any]:
        points = super().read(tree, place)
        if points.dtype != np.uint32 or points.ndim != 2 or not 1 <= points.shape[1] <= MOST_STRING:
            raise place.fail(f"is {points.dtype} of shape {points.shape} and no strings")
        if len(points) > MOST_STRINGS:
            raise place.fail(f"has {len(points):,} strings, more than {MOST_STRINGS:,}")
        impossible = ((points >= 0xD800) & (points <= 0xDFFF)) | (points > 0x10FFFF)
        if impossible.any():
            point = points[np.unravel_index(int(impossible.argmax()), points.shape)]
            raise place.fail(f"has a character that does not exist, {point:#x}")
        return points.view(f"=U{points.shape[1]}").reshape(-1)


class _StringObjects(_Strings):
    """The same for an array of dtype object."""

    def read(self, tree: Any, place: Place) -> NDArray[Any]:
        return super().read(tree, place).astype(object)


ANY = Value(object)
_LIST = List(ANY)
_OBJECT = OneOf(
    {
        name: Object(dict.fromkeys(inspect.signature(cls).parameters, ANY), cls)
        for name, cls in OBJECTS.items()
    },
    lambda value: type(value).__name__,
)
_PLAIN: dict[type, Kind] = {int: Kind(), float: Kind(), str: Text(), list: _LIST}
_TAG_OF = {str: "", list: "", tuple: "tuple", dict: "dict"} | {
    np.random.Generator: "generator",
    np.random.RandomState: "random state",
}
TAGS: dict[str, Kind] = {
    "tuple": List(ANY, make=tuple),
    "dict": _Dict(),
    "int": _Integer(),
    "float": _Float(),
    "object": _OBJECT,
    "array": _Array(),
    "strings": _Strings(),
    "string objects": _StringObjects(),
    "generator": generators.GENERATOR,
    "random state": generators.RANDOM_STATE,
}
