"""Values in a file: what JSON has as it is, everything else under a tag; arrays become tensors.

``describe`` turns a value into JSON and puts its arrays aside; ``rebuild`` is the way back. A file
chooses among the tags and classes in the tables here, and names nothing else.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._files.record import Record, Store, Tensors, built, digits, from_digits
from fastmlp._files.strict_json import MOST_INTEGER, MOST_STRING, ModelFormatError, shown
from fastmlp._models.codecs import generators
from fastmlp._network import losses, optimizers, schedules
from fastmlp._training import callbacks

MOST_STRINGS = 1 << 16  # in an array
_KEYS = (str, int, float, np.generic, type(None))  # of a dict

# The objects that a file may have in it. Each keeps its constructor's arguments, and checks them.
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
FIELDS = {name: tuple(inspect.signature(cls).parameters) for name, cls in OBJECTS.items()}


# ---------------------------------------------------------------------------------------- writing


def describe(value: Any, name: str, tensors: Tensors) -> Any:
    """Return a value as JSON; its arrays become tensors whose names begin with ``name``.

    Raises
    ------
    TypeError, ValueError
        If a file cannot hold it.

    Examples
    --------
    >>> describe((1, float("inf")), "pair", Tensors())
    {'tuple': [1, {'float': 'inf'}]}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    kind = type(value)
    if is_object(value):
        return {"object": _describe_object(value, name, tensors)}
    if kind not in _WRITERS:
        raise TypeError(
            f"{name} is {value!r}, which a file cannot hold: use numbers, strings, lists, or "
            "objects of fastmlp's own"
        )
    return _WRITERS[kind](value, name, tensors)


def is_object(value: Any) -> bool:
    """Whether a file can have this object, by its class, in it."""
    return OBJECTS.get(type(value).__name__) is type(value)


def _describe_integer(value: int, name: str, tensors: Tensors) -> Any:
    return value if abs(value) <= MOST_INTEGER else {"int": digits(value)}


def _describe_float(value: float, name: str, tensors: Tensors) -> Any:
    return value if math.isfinite(value) else {"float": str(value)}


def _describe_string(value: str, name: str, tensors: Tensors) -> str:
    _check_characters(value, name)
    return value


def _check_characters(text: str, name: str) -> None:
    """Complain about half a character, which no file in UTF-8 has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name} has the text {shown(text)} with half a character (a lone surrogate), which a "
            "file cannot hold: rename it, and fit again"
        ) from None


def _describe_list(value: list[Any], name: str, tensors: Tensors) -> list[Any]:
    return [describe(each, f"{name}.{at}", tensors) for at, each in enumerate(value)]


def _describe_dict(value: dict[Any, Any], name: str, tensors: Tensors) -> Any:
    for key in value:
        if not isinstance(key, _KEYS):
            raise TypeError(f"{name} has the key {key!r}, which a file cannot hold: use strings")
    return {"dict": _describe_list([list(pair) for pair in value.items()], name, tensors)}


def _describe_object(value: Any, name: str, tensors: Tensors) -> dict[str, Any]:
    kind = type(value).__name__
    fields = {key: getattr(value, key) for key in FIELDS[kind]}
    described = {key: describe(each, f"{name}.{key}", tensors) for key, each in fields.items()}
    return {"class": kind, **described}


def _describe_array(value: NDArray[Any], name: str, tensors: Tensors) -> Any:
    kind = value.dtype.kind
    if kind in "UO":
        tensors[name] = _code_points(value, name)
        return {"strings" if kind == "U" else "string objects": name}
    if kind not in "biuf" or value.dtype.itemsize > 8 or not value.ndim:
        raise TypeError(
            f"{name} is an array of {value.dtype} but a file holds numbers of up to 8 bytes and "
            "strings: convert it"
        )
    tensors[name] = value
    return {"array": name}


def _code_points(strings: NDArray[Any], name: str) -> NDArray[np.uint32]:
    """Return strings as a matrix of their characters, 0 behind the last one."""
    if strings.ndim != 1 or not all(isinstance(each, str) for each in strings.tolist()):
        raise TypeError(f"{name} has other things than strings in it, which a file cannot hold")
    fixed = strings.astype("=U")
    longest = max(map(len, strings.tolist()), default=0)
    if len(strings) > MOST_STRINGS or longest > MOST_STRING or fixed.tolist() != strings.tolist():
        raise ValueError(
            f"{name} has {len(strings):,} strings of up to {longest:,} characters but a file holds "
            f"{MOST_STRINGS:,} of up to {MOST_STRING:,}, without a null at the end"
        )
    for each in strings.tolist():
        _check_characters(each, name)
    width = fixed.dtype.itemsize // 4
    return fixed.view(np.uint32).reshape(len(fixed), width)


_WRITERS: dict[type, Callable[[Any, str, Tensors], Any]] = {
    int: _describe_integer,
    float: _describe_float,
    str: _describe_string,
    list: _describe_list,
    tuple: lambda value, name, tensors: {"tuple": _describe_list(list(value), name, tensors)},
    dict: _describe_dict,
    np.ndarray: _describe_array,
    np.random.Generator: generators.describe,
    np.random.RandomState: generators.describe_legacy,
}


# ---------------------------------------------------------------------------------------- reading


def value(record: Record, key: str, *kinds: Any) -> Any:
    """Return the value that is described at a key of a record, of one of these classes."""
    where = f"{record.where}.{key}"
    found = rebuild(record.plain(key), where, record.store)
    allowed = tuple(type(None) if kind is None else kind for kind in kinds)
    wrong_bool = isinstance(found, bool) and not {bool, object}.intersection(kinds)
    if wrong_bool or not isinstance(found, allowed):
        names = " or ".join("null" if kind is None else kind.__name__ for kind in kinds)
        raise ModelFormatError(f"{where} is {shown(found)} but {names} belongs there")
    return found


def rebuild(tree: Any, where: str, store: Store) -> Any:
    """Return the value that some JSON describes.

    Raises
    ------
    ModelFormatError
        If it describes none.
    """
    if isinstance(tree, list):
        return [rebuild(each, f"{where}.{at}", store) for at, each in enumerate(tree)]
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1 or (tag := next(iter(tree))) not in _READERS:
        raise ModelFormatError(f"{where} has the keys {shown(sorted(tree))}, which are no value")
    return _READERS[tag](tree[tag], where, store)


def _rebuild_tuple(tree: Any, where: str, store: Store) -> tuple[Any, ...]:
    if not isinstance(tree, list):
        raise ModelFormatError(f"{where} is a tuple of {shown(tree)}")
    return tuple(rebuild(tree, where, store))


def _rebuild_dict(tree: Any, where: str, store: Store) -> dict[Any, Any]:
    found = {}
    for pair in _rebuild_tuple(tree, where, store):
        if not isinstance(pair, list) or len(pair) != 2:
            raise ModelFormatError(f"{where} has {shown(pair)} in place of key and value")
        if not isinstance(pair[0], _KEYS) or pair[0] in found:
            raise ModelFormatError(
                f"{where} has the key {shown(pair[0])}, again or of a wrong kind"
            )
        found[pair[0]] = pair[1]
    return found


def _rebuild_integer(tree: Any, where: str, store: Store) -> int:
    number = from_digits(tree)
    if abs(number) <= MOST_INTEGER:
        raise ModelFormatError(f"{where} is {shown(tree)} and no large integer in hexadecimal")
    return number


def _rebuild_float(tree: Any, where: str, store: Store) -> float:
    if tree not in ("inf", "-inf", "nan"):
        raise ModelFormatError(f"{where} is the float {shown(tree)}")
    return float(tree)


def _rebuild_object(tree: Any, where: str, store: Store) -> Any:
    record = Record(tree, where, store)
    kind = record.choice("class", OBJECTS)
    fields = {key: rebuild(record.plain(key), f"{where}.{key}", store) for key in FIELDS[kind]}
    record.finish()
    return built(where, OBJECTS[kind], **fields)


def _name(tree: Any, where: str) -> str:
    if tree != where.partition(".")[2]:
        raise ModelFormatError(f"{where} is said to be the tensor {shown(tree)}")
    return tree  # type: ignore[no-any-return]


def _rebuild_array(tree: Any, where: str, store: Store) -> NDArray[Any]:
    return store.take(_name(tree, where)).copy()


def _rebuild_strings(tree: Any, where: str, store: Store) -> NDArray[Any]:
    points = store.take(_name(tree, where))
    if points.dtype != np.uint32 or points.ndim != 2 or not 1 <= points.shape[1] <= MOST_STRING:
        raise ModelFormatError(f"{where} is {points.dtype} of shape {points.shape} and no strings")
    if len(points) > MOST_STRINGS:
        raise ModelFormatError(f"{where} has {len(points):,} strings, more than {MOST_STRINGS:,}")
    impossible = ((points >= 0xD800) & (points <= 0xDFFF)) | (points > 0x10FFFF)
    if impossible.any():
        point = points[np.unravel_index(int(impossible.argmax()), points.shape)]
        raise ModelFormatError(f"{where} has a character that does not exist, {point:#x}")
    return points.copy().view(f"=U{points.shape[1]}").reshape(-1)


def _rebuild_string_objects(tree: Any, where: str, store: Store) -> NDArray[Any]:
    return _rebuild_strings(tree, where, store).astype(object)


_READERS: dict[str, Callable[[Any, str, Store], Any]] = {
    "tuple": _rebuild_tuple,
    "dict": _rebuild_dict,
    "int": _rebuild_integer,
    "float": _rebuild_float,
    "object": _rebuild_object,
    "array": _rebuild_array,
    "strings": _rebuild_strings,
    "string objects": _rebuild_string_objects,
    "generator": lambda tree, where, store: generators.rebuild(Record(tree, where, store)),
    "random state": lambda tree, where, store: generators.rebuild_legacy(
        Record(tree, where, store)
    ),
}
