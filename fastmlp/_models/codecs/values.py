"""Kinds of general values: plain JSON where possible, else JSON with a tag; arrays are tensors.

A file can select only among the tags and classes in the tables here.
"""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._files import fields
from fastmlp._files.fields import TIMES, Count, Cursor, Field, Number, Tensor, Text
from fastmlp._files.schema import List, Object, OneOf
from fastmlp._files.strict_json import MOST_INTEGER, MOST_STRING, Json
from fastmlp._network import losses, optimizers, schedules
from fastmlp._training import callbacks

MOST_STRINGS = 1 << 16  # an array of texts may have this many
_KEYS = (str, int, float, np.generic, type(None))  # keys of a dict may have these types

# Classes of objects in files. Each keeps its constructor's arguments and checks them.
OBJECTS: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        *losses.LOSSES.values(),
        *optimizers.OPTIMIZERS.values(),
        *(getattr(schedules, name) for name in schedules.__all__ if name != "Schedule"),
        *(callbacks.EarlyStopping, callbacks.ReduceOnPlateau, callbacks.Progress),
    )
}


def is_object(value: Any) -> bool:
    """Whether a file can hold this object."""
    return OBJECTS.get(type(value).__name__) is type(value)


class Value(Field[Any]):
    """A value of one of several classes (None for None); the value determines its kind."""

    def __init__(self, *kinds: Any) -> None:
        self.kinds = kinds
        self._classes = tuple(type(None) if kind is None else kind for kind in kinds)
        self._names = " or ".join("null" if kind is None else kind.__name__ for kind in kinds)

    def write(self, value: Any, cursor: Cursor) -> Json:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool):
            return value
        if tag := _tag(value):
            return {tag: TAGS[tag].write(value, cursor)}
        if type(value) not in PLAIN:
            raise TypeError(
                f"{cursor.name} is {value!r}, which a file cannot hold: use numbers, strings, "
                "lists, or objects of fastmlp's own"
            )
        return PLAIN[type(value)].write(value, cursor)

    def read(self, tree: Json, cursor: Cursor) -> Any:
        value = self._value(tree, cursor)
        wrong_bool = isinstance(value, bool) and not {bool, object}.intersection(self.kinds)
        is_right = isinstance(value, self._classes) and not wrong_bool
        cursor.check(is_right, f"is {{}} but {self._names} belongs there", value)
        return value

    def _value(self, tree: Json, cursor: Cursor) -> Any:
        if isinstance(tree, list):
            return _LIST.read(tree, cursor)
        if not isinstance(tree, dict):
            return tree
        tag = next(iter(tree), "")
        is_right = len(tree) == 1 and tag in TAGS
        cursor.check(is_right, "has the keys {}, which are no value", sorted(tree))
        return TAGS[tag].read(tree[tag], cursor)


def _tag(value: Any) -> str:
    """Return the tag of a value; "" for plain JSON, and for a value that a file cannot hold."""
    if is_object(value):
        return "object"
    if type(value) is int:
        return "int" if abs(value) > MOST_INTEGER else ""
    if type(value) is float:
        return "" if math.isfinite(value) else "float"
    if type(value) is np.ndarray:
        return TAG_OF_KIND.get(value.dtype.kind, "array")
    return TAG_OF.get(type(value), "")


class _Dict(Field[dict[Any, Any]]):
    """A dictionary, as a list of pairs."""

    def write(self, value: dict[Any, Any], cursor: Cursor) -> Json:
        for key in value:
            if not isinstance(key, _KEYS):
                raise TypeError(
                    f"{cursor.name} has the key {key!r}, which a file cannot hold: use strings"
                )
        return _LIST.write([list(pair) for pair in value.items()], cursor)

    def read(self, tree: Json, cursor: Cursor) -> dict[Any, Any]:
        values = {}
        for pair in _LIST.read(tree, cursor):
            is_pair = isinstance(pair, list) and len(pair) == 2
            cursor.check(is_pair, "has {} in place of key and value", pair)
            key, value = pair
            is_new = isinstance(key, _KEYS) and key not in values
            cursor.check(is_new, "has the key {}, again or of a wrong kind", key)
            values[key] = value
        return values


class _Integer(Field[int]):
    """An integer that JSON readers would round, as hexadecimal digits."""

    def write(self, value: int, cursor: Cursor) -> str:
        return hex(value)

    def read(self, tree: Json, cursor: Cursor) -> int:
        number = fields.from_digits(tree)
        words = "is {} and no large integer in hexadecimal"
        cursor.check(abs(number) > MOST_INTEGER, words, tree)
        return number


class _Float(Field[float]):
    """An infinite number or NaN, which JSON lacks."""

    def write(self, value: float, cursor: Cursor) -> str:
        return str(value)

    def read(self, tree: Json, cursor: Cursor) -> float:
        cursor.check(tree in ("inf", "-inf", "nan"), "is the float {}", tree)
        return float(str(tree))


class _Array(Field[NDArray[Any]]):
    """An array of numbers, stored as a tensor; the JSON repeats the tensor's name."""

    def write(self, value: NDArray[Any], cursor: Cursor) -> str:
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8 or not value.ndim:
            raise TypeError(
                f"{cursor.name} is an array of {value.dtype} but a file holds numbers of up to 8 "
                "bytes, strings and dates: convert it"
            )
        cursor.file[cursor.tensor] = value
        return cursor.name

    def read(self, tree: Json, cursor: Cursor) -> NDArray[Any]:
        cursor.check(tree == cursor.name, "is said to be the tensor {}", tree)
        return cursor.file.take(cursor.tensor).copy()  # type: ignore[no-any-return]


class _Times(_Array):
    """An array of dates or time differences, stored as integers; the JSON is their dtype."""

    def write(self, value: NDArray[Any], cursor: Cursor) -> str:
        super().write(value.astype(np.int64) if value.dtype.name in TIMES else value, cursor)
        return value.dtype.name

    def read(self, tree: Json, cursor: Cursor) -> NDArray[Any]:
        cursor.check(tree in TIMES, "is said to be an array of {}", tree)
        numbers = super().read(cursor.name, cursor)
        cursor.check(numbers.dtype == np.int64, f"is {numbers.dtype} and no dates")
        return numbers.view(str(tree))


class _Strings(_Array):
    """An array of strings, stored as a matrix of their code points, padded with 0."""

    def write(self, value: NDArray[Any], cursor: Cursor) -> str:
        name, texts = cursor.name, value.tolist()
        if value.ndim != 1 or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{name} has other things than strings in it, which a file cannot hold")
        fixed, longest = np.array(texts, "U"), max(map(len, texts), default=0)
        if len(texts) > MOST_STRINGS or longest > MOST_STRING or fixed.tolist() != texts:
            raise ValueError(
                f"{name} has {len(texts):,} strings of up to {longest:,} characters but a file "
                f"holds {MOST_STRINGS:,} of up to {MOST_STRING:,}, without a null at the end: "
                "shorten or number them"
            )
        for text in texts:
            fields.encoded(text, name)
        width = fixed.dtype.itemsize // 4
        return super().write(fixed.view(np.uint32).reshape(len(fixed), width), cursor)

    def read(self, tree: Json, cursor: Cursor) -> NDArray[Any]:
        points = super().read(tree, cursor)
        is_text = points.dtype == np.uint32 and points.ndim == 2
        is_text = is_text and 1 <= points.shape[1] <= MOST_STRING
        cursor.check(is_text, f"is {points.dtype} of shape {points.shape} and no strings")
        few = len(points) <= MOST_STRINGS
        cursor.check(few, f"has {len(points):,} strings, more than {MOST_STRINGS:,}")
        wrong = points[((points >= 0xD800) & (points <= 0xDFFF)) | (points > 0x10FFFF)]
        cursor.check(not wrong.size, f"has a character that does not exist, {[*wrong[:1]]}")
        return points.view(f"=U{points.shape[1]}").reshape(-1)


class _StringObjects(_Strings):
    """The same for an array of dtype object."""

    def read(self, tree: Json, cursor: Cursor) -> NDArray[Any]:
        return super().read(tree, cursor).astype(object)


ANY = Value(object)
_LIST = List(ANY)
_OBJECT = OneOf(
    {
        name: Object(dict.fromkeys(inspect.signature(cls).parameters, ANY), cls)
        for name, cls in OBJECTS.items()
    },
    lambda value: type(value).__name__,
)

# ---------------------------------------------------------------------------------- generators

# NumPy's own setters take an index beyond the state, and read there: so each field has a range.
BIT, WORD, LONG = Count(most=1), Count(most=2**32 - 1), Count(most=2**128 - 1)
_BUFFERED: dict[str, Field[Any]] = {"has_uint32": BIT, "uinteger": WORD}
_PCG64: dict[str, Field[Any]] = {"state.state": LONG, "state.inc": LONG, **_BUFFERED}

# Bit generator -> the fields of its state, with dots between the keys of nested dictionaries.
STATES: dict[str, dict[str, Field[Any]]] = {
    "PCG64": _PCG64,
    "PCG64DXSM": _PCG64,
    "MT19937": {"state.key": Tensor((624,), np.uint32), "state.pos": Count(most=624)},
    "Philox": {
        **{"state.counter": Tensor((4,), np.uint64), "state.key": Tensor((2,), np.uint64)},
        **{"buffer": Tensor((4,), np.uint64), "buffer_pos": Count(most=4), **_BUFFERED},
    },
    "SFC64": {"state.state": Tensor((4,), np.uint64), **_BUFFERED},
}


def _flat(state: Any) -> dict[str, Any]:
    """Return a state without nested dictionaries."""
    inner = {f"state.{key}": value for key, value in state["state"].items()}
    return {**state, **inner}


def _nested(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the state that NumPy expects."""
    state: dict[str, Any] = {"bit_generator": name, "state": {}}
    for field, value in fields.items():
        *folder, key = field.split(".")
        (state["state"] if folder else state)[key] = value
    return state


def _generator(name: str, **fields: Any) -> np.random.Generator:
    bits = getattr(np.random, name)(0)
    bits.state = _nested(name, fields)
    return np.random.Generator(bits)


def _random_state(**fields: Any) -> np.random.RandomState:
    random_state = np.random.RandomState(0)
    random_state.set_state(_nested("MT19937", fields))
    return random_state


class _Generator(OneOf):
    """One of NumPy's generators, by the name of its bit generator."""

    def __init__(self, kinds: dict[str, Object]) -> None:
        super().__init__(kinds, lambda value: type(value._bit_generator).__name__)

    def write(self, value: Any, cursor: Cursor) -> dict[str, Any]:
        kind = type(value._bit_generator)
        if kind.__name__ not in self.objects or kind is not getattr(np.random, kind.__name__, None):
            raise TypeError(
                f"{cursor.name} draws from {kind.__name__} but a file holds the state of "
                f"{', '.join(self.objects)}: use one of these"
            )
        return super().write(value, cursor)


_BITS = {
    name: Object(state, functools.partial(_generator, name), lambda g: _flat(g.bit_generator.state))
    for name, state in STATES.items()
}
GENERATOR = _Generator(_BITS)
_GAUSS: dict[str, Field[Any]] = {"has_gauss": BIT, "gauss": Number(-math.inf)}
_LEGACY: dict[str, Field[Any]] = STATES["MT19937"] | _GAUSS
RANDOM_STATE = _Generator(
    {"MT19937": Object(_LEGACY, _random_state, lambda r: _flat(r.get_state(legacy=False)))}
)

# ---------------------------------------------------------------------------------- tags

PLAIN: dict[type, Field[Any]] = {int: Field(), float: Field(), str: Text(), list: _LIST}
TAGS: dict[str, Field[Any]] = {
    "object": _OBJECT,
    "tuple": List(ANY, make=tuple),
    "dict": _Dict(),
    "int": _Integer(),
    "float": _Float(),
    "strings": _Strings(),
    "string objects": _StringObjects(),
    "array": _Array(),
    "times": _Times(),
    "generator": GENERATOR,
    "random state": RANDOM_STATE,
}
TAG_OF_KIND = {"U": "strings", "O": "string objects", "M": "times", "m": "times"}
TAG_OF: dict[type, str] = {
    **{tuple: "tuple", dict: "dict"},
    **{np.random.Generator: "generator", np.random.RandomState: "random state"},
}
