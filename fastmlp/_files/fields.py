"""Fields: each class writes a value to a file, and reads it back within its range.

``write(value, cursor)`` returns JSON and adds arrays to the tensors; ``read(tree, cursor)`` returns
the value that some JSON describes, or raises ModelFormatError. A limit may be a function of the
fields that were read before: ``Count(1, lambda context: context["rows"])``.
"""

from __future__ import annotations

import itertools
import math
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastmlp._files.strict_json import MOST_INTEGER, Json, ModelFormatError, shown

MOST_MESSAGE = 500  # characters of a constructor's error message
GONE = cast(Json, object())  # the value of a missing key
# The dtypes of dates and time differences.
TIMES = [
    f"{kind}64[{unit}]"
    for kind in ("datetime", "timedelta")
    for unit in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
]


Value = TypeVar("Value")
Context: TypeAlias = Mapping[str, Any]  # the fields that were read before, by name


class Cursor(NamedTuple):
    """The position of a value in a file."""

    file: Any  # the Tensors or the Store
    context: ChainMap[str, Any]  # the fields of the enclosing objects, innermost first
    name: str = ""  # the beginning of the names of its tensors: "fit.history"
    prefix: str = ""  # precedes the name in an ensemble: "members.0."

    @property
    def tensor(self) -> str:
        """The name of the tensor at this position."""
        return self.prefix + self.name

    def at(self, key: object) -> Cursor:
        """Return the position of a part of this value."""
        return self._replace(name=f"{self.name}.{key}" if self.name else str(key))

    def inside(self, fields: dict[str, Any]) -> Cursor:
        """Return this position with an object's fields as the innermost ones."""
        return self._replace(context=self.context.new_child(fields))

    def check(self, truth: Any, words: str, *values: Any) -> None:
        """Raise an error for the value here unless something is true; {} stands for a value."""
        if not truth:
            where = f"model.{self.tensor}".rstrip(".")
            raise ModelFormatError(f"{where} {words.format(*map(shown, values))}")

    def check_tensor(self, truth: Any, words: str) -> None:
        """Raise an error for the tensor at this position unless something is true."""
        if not truth:
            raise ModelFormatError(f"tensor {shown(self.tensor)} {words}")

    def built(self, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a constructor with arguments from a file; its errors become ModelFormatError."""
        try:
            return make(*args, **options)
        except ModelFormatError:
            raise
        except (TypeError, ValueError, ArithmeticError) as error:
            where = f"model.{self.tensor}".rstrip(".")
            raise ModelFormatError(f"{where}: {str(error)[:MOST_MESSAGE]}") from None


class Field(Generic[Value]):
    """A field of values of one type; the base class stands for JSON that a constructor checks."""

    hidden = False  # whether the field consists of tensors alone, without a key

    def write(self, value: Value, cursor: Cursor) -> Json:
        """Return the value as JSON, or GONE for no key."""
        return cast(Json, value)

    def read(self, tree: Json, cursor: Cursor) -> Value:
        """Return the value that some JSON describes; the JSON is GONE without a key."""
        return cast(Value, tree)


class Hidden(Field[Value]):
    """A field that consists of tensors alone."""

    hidden = True


def limit(bound: Any, cursor: Cursor) -> Any:
    """Return a limit, which may be a function of the fields that were read before."""
    return bound(cursor.context) if callable(bound) else bound


# ---------------------------------------------------------------------------------- JSON alone


@dataclass
class Count(Field[int]):
    """An integer in a range; if the range exceeds JSON's, a string of hexadecimal digits."""

    least: Any = 0
    most: Any = MOST_INTEGER

    def write(self, value: int, cursor: Cursor) -> Json:
        return hex(value) if not callable(self.most) and self.most > MOST_INTEGER else int(value)

    def read(self, tree: Json, cursor: Cursor) -> int:
        least, most = limit(self.least, cursor), limit(self.most, cursor)
        value: Any = from_digits(tree) if most > MOST_INTEGER else tree
        is_right = type(value) is int and least <= value <= most
        cursor.check(is_right, f"is {{}} but must be from {least} to {most}", tree)
        return value  # type: ignore[no-any-return]


@dataclass
class Number(Field[float]):
    """A finite number in a range, by default at least 0."""

    least: float = 0.0
    most: float = math.inf

    def write(self, value: float, cursor: Cursor) -> float:
        return float(value)

    def read(self, tree: Json, cursor: Cursor) -> float:
        number = tree if isinstance(tree, int | float) and not isinstance(tree, bool) else math.nan
        to = "on" if self.most == math.inf else f"to {self.most:.3g}"
        words = f"is {{}} but must be a number from {self.least:.3g} {to}"
        is_right = abs(number) < math.inf and self.least <= number <= self.most
        cursor.check(is_right, words, tree)
        return float(number)


class Flag(Field[bool]):
    """A truth value."""

    def read(self, tree: Json, cursor: Cursor) -> bool:
        cursor.check(isinstance(tree, bool), "is {} and neither true nor false", tree)
        return cast(bool, tree)


class Text(Field[str]):
    """A string."""

    def write(self, value: str, cursor: Cursor) -> str:
        encoded(value, cursor.name)
        return value

    def read(self, tree: Json, cursor: Cursor) -> str:
        cursor.check(isinstance(tree, str), "is {} and no string", tree)
        return cast(str, tree)


@dataclass
class Choice(Text):
    """One of several strings."""

    choices: Any

    def write(self, value: str, cursor: Cursor) -> str:
        return str(value)

    def read(self, tree: Json, cursor: Cursor) -> str:
        value, choices = super().read(tree, cursor), limit(self.choices, cursor)
        words = f"is {{}} but must be one of {', '.join(choices)}"
        cursor.check(value in choices, words, value)
        return value


# ---------------------------------------------------------------------------------- tensors


@dataclass
class Tensor(Hidden[Any]):
    """An array of one shape and dtype, in a range; None if its shape is None.

    Its numbers are finite, unless it ``is_infinite``: then some may be infinite, none NaN.
    """

    shape: Any
    dtype: DTypeLike = np.float64
    least: Any = -math.inf
    most: Any = math.inf
    positive: bool = False  # whether each must be above 0
    rising: bool = False  # each number is above the one before it
    is_infinite: bool = False

    def write(self, value: ArrayLike | None, cursor: Cursor) -> Json:
        if value is None:
            return GONE
        is_right = ~np.isnan(value) if self.is_infinite else np.isfinite(value)
        if not np.all(is_right):
            raise ValueError(f"{cursor.name} of the fit is not finite: scale y, and fit again")
        cursor.file[cursor.tensor] = np.asarray(value, self.dtype)
        return GONE

    def read(self, tree: Json, cursor: Cursor) -> Any:
        shape = limit(self.shape, cursor)
        if shape is None:
            return None
        array = cursor.file.parameter(cursor.tensor, shape, self.dtype, not self.is_infinite)
        if array.size:
            least, most = limit(self.least, cursor), limit(self.most, cursor)
            low, high = array.min(), array.max()
            if self.positive:
                cursor.check_tensor(low > 0, f"has {low} but must be above 0")
            words = f"has {low} to {high} but must have numbers from {least} to {most}"
            cursor.check_tensor(least <= low <= high <= most, words)
        if self.rising:
            is_right = (array[:-1] < array[1:]).all()
            cursor.check_tensor(is_right, "is not in order, each number once")
        return array.copy()


@dataclass
class Numbers(Hidden[Sequence[float]]):
    """A list of any length; the numbers need not be finite."""

    dtype: DTypeLike = np.float64

    def write(self, value: Sequence[float], cursor: Cursor) -> Json:
        cursor.file.put_list(cursor.tensor, value, self.dtype)
        return GONE

    def read(self, tree: Json, cursor: Cursor) -> list[Any]:
        return cursor.file.numbers(cursor.tensor, self.dtype)  # type: ignore[no-any-return]


class Pieces(Hidden[Any]):
    """A list of byte strings: their bytes one after the other, and where each of them ends."""

    def write(self, value: Sequence[Any], cursor: Cursor) -> Json:
        ends = np.cumsum([len(piece) for piece in value], dtype=np.int64)
        cursor.file[cursor.at("ends").tensor] = ends
        cursor.file[cursor.at("bytes").tensor] = np.frombuffer(b"".join(value), np.uint8)
        return GONE

    def read(self, tree: Json, cursor: Cursor) -> list[Any]:
        text = _column(cursor.at("bytes"), np.uint8).tobytes()
        ends = np.concatenate([[0], _column(cursor.at("ends"), np.int64)])
        is_right = (ends[:-1] <= ends[1:]).all() and ends[-1] == len(text)
        cursor.at("ends").check_tensor(is_right, f"does not divide {len(text):,} bytes")
        return [text[start:end] for start, end in itertools.pairwise(ends.tolist())]


class Texts(Pieces):
    """A list of strings of any length, stored in UTF-8."""

    def write(self, value: Sequence[str], cursor: Cursor) -> Json:
        return super().write([encoded(text, cursor.name) for text in value], cursor)

    def read(self, tree: Json, cursor: Cursor) -> list[str]:
        pieces = super().read(tree, cursor)
        return cursor.built(lambda: [piece.decode() for piece in pieces])  # type: ignore[no-any-return]


def _column(cursor: Cursor, dtype: DTypeLike) -> NDArray[Any]:
    """Return a tensor of one dimension."""
    array: NDArray[Any] = cursor.file.take(cursor.tensor)
    words = f"is {array.dtype} of shape {array.shape} but a list of {np.dtype(dtype)} belongs there"
    cursor.check_tensor(array.dtype == dtype and array.ndim == 1, words)
    return array


# ---------------------------------------------------------------------------------- helpers


def opened(tree: Json, cursor: Cursor) -> dict[str, Any]:
    """Return a copy of a JSON object."""
    cursor.check(isinstance(tree, dict), "is {} and no object", tree)
    return dict(cast(dict[str, Any], tree))


def from_digits(text: Any) -> int:
    """Return the integer of a string of hexadecimal digits, or -1."""
    try:
        number = int(text, 16) if isinstance(text, str) else -1
    except ValueError:
        return -1
    return number if hex(number) == text else -1


def encoded(text: str, name: str) -> bytes:
    """Return UTF-8; raise ValueError for half a character (a lone surrogate), which it lacks."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name} has the text {shown(text)} with half a character (a lone surrogate), which a "
            "file cannot hold: rename it, and fit again"
        ) from None
