"""Kinds of fields: each writes a value to a file, and reads it back within its range.

``write(value, place)`` returns JSON and adds arrays to the tensors; ``read(tree, place)`` returns
the value that some JSON describes, or raises ModelFormatError. A limit may be a function of the
fields that were read before: ``Count(1, lambda known: known["rows"])``.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastmlp._files.strict_json import MOST_INTEGER, ModelFormatError, shown

MOST_MESSAGE = 500  # characters of a constructor's error message
GONE: Any = object()  # the value of a missing key


class Place(NamedTuple):
    """The position of a value in a file."""

    file: Any  # the Tensors or the Store
    known: ChainMap[str, Any]  # the fields of the enclosing objects, innermost first
    name: str = ""  # the beginning of the names of its tensors: "fit.history"
    prefix: str = ""  # precedes the name in an ensemble: "members.0."

    @property
    def where(self) -> str:
        """The place in messages, by the names of its tensors: "model.fit.history"."""
        return f"model.{self.tensor}".rstrip(".")

    @property
    def tensor(self) -> str:
        """The name of the tensor at this place."""
        return self.prefix + self.name

    def at(self, key: object) -> Place:
        """Return the place of a part of this value."""
        name = f"{self.name}.{key}" if self.name else str(key)
        return Place(self.file, self.known, name, self.prefix)

    def fail(self, what: str) -> ModelFormatError:
        """Return the error for the value at this place."""
        return ModelFormatError(f"{self.where} {what}")

    def wrong(self, what: str) -> ModelFormatError:
        """Return the error for the tensor at this place."""
        return ModelFormatError(f"tensor {shown(self.tensor)} {what}")


class Kind:
    """A kind of field; the base class itself stands for any JSON, checked by a constructor."""

    needed = True  # whether the key must be present
    hidden = False  # whether the field consists of tensors alone, without a key

    def write(self, value: Any, place: Place) -> Any:
        """Return the value as JSON, or GONE for no key."""
        return value

    def read(self, tree: Any, place: Place) -> Any:
        """Return the value that some JSON describes; the JSON is GONE without a key."""
        return tree


class Hidden(Kind):
    """A field that consists of tensors alone."""

    needed, hidden = False, True


def limit(given: Any, place: Place) -> Any:
    """Return a limit, which may be a function of the known fields."""
    return given(place.known) if callable(given) else given


# ---------------------------------------------------------------------------------- JSON alone


class Count(Kind):
    """An integer in a range; if the range exceeds JSON's, a string of hexadecimal digits."""

    def __init__(self, least: Any = 0, most: Any = MOST_INTEGER) -> None:
        self.least, self.most = least, most

    def write(self, value: Any, place: Place) -> Any:
        return hex(value) if not callable(self.most) and self.most > MOST_INTEGER else int(value)

    def read(self, tree: Any, place: Place) -> int:
        least, most = limit(self.least, place), limit(self.most, place)
        value = from_digits(tree) if most > MOST_INTEGER else tree
        if type(value) is not int or not least <= value <= most:
            raise place.fail(f"is {shown(tree)} but must be from {least} to {most}")
        return value


class Number(Kind):
    """A finite number in a range, by default at least 0."""

    def __init__(self, least: float = 0.0, most: float = math.inf) -> None:
        self.least, self.most = least, most

    def write(self, value: Any, place: Place) -> float:
        return float(value)

    def read(self, tree: Any, place: Place) -> float:
        is_number = type(tree) in (int, float) and abs(tree) < math.inf
        if not (is_number and self.least <= tree <= self.most):
            to = "on" if self.most == math.inf else f"to {self.most:.3g}"
            raise place.fail(f"is {shown(tree)} but must be a number from {self.least:.3g} {to}")
        return float(tree)


class Flag(Kind):
    """A truth value."""

    def read(self, tree: Any, place: Place) -> bool:
        if not isinstance(tree, bool):
            raise place.fail(f"is {shown(tree)} and neither true nor false")
        return tree


class Text(Kind):
    """A string."""

    def write(self, value: str, place: Place) -> str:
        check_characters(value, place.name)
        return value

    def read(self, tree: Any, place: Place) -> str:
        if not isinstance(tree, str):
            raise place.fail(f"is {shown(tree)} and no string")
        return tree


class Choice(Text):
    """One of several strings."""

    def __init__(self, choices: Any) -> None:
        self.choices = choices

    def write(self, value: Any, place: Place) -> str:
        return str(value)

    def read(self, tree: Any, place: Place) -> str:
        value = super().read(tree, place)
        if value not in self.choices:
            raise place.fail(f"is {shown(value)} but must be one of {', '.join(self.choices)}")
        return value


# ---------------------------------------------------------------------------------- tensors


class Tensor(Hidden):
    """An array of known shape and dtype, of finite numbers in a range; None if its shape is None.

    ``positive`` numbers are above 0; of ``rising`` ones each is above the one before it.
    """

    def __init__(
        self,
        shape: Any,
        dtype: Any = np.float64,
        least: Any = -math.inf,
        most: Any = math.inf,
        positive: bool = False,
        rising: bool = False,
    ) -> None:
        self.shape, self.dtype, self.least, self.most = shape, np.dtype(dtype), least, most
        self.positive, self.rising = positive, rising

    def write(self, value: Any, place: Place) -> Any:
        if value is None:
            return GONE
        if not np.all(np.isfinite(value)):
            raise ValueError(f"{place.name} of the fit is not finite: scale y, and fit again")
        place.file[place.tensor] = np.asarray(value, self.dtype)
        return GONE

    def read(self, tree: Any, place: Place) -> Any:
        shape = limit(self.shape, place)
        return None if shape is None else self.array(shape, place)

    def array(self, shape: tuple[int, ...], place: Place) -> Any:
        """Return the array, of this shape."""
        array = place.file.parameter(place.tensor, shape, self.dtype)
        least, most = limit(self.least, place), limit(self.most, place)
        low, high = (array.min(), array.max()) if array.size else (least, most)
        if self.positive and low <= 0:
            raise place.wrong(f"has {low} but must be above 0")
        if array.size and not least <= low <= high <= most:
            raise place.wrong(f"has {low} to {high} but must have numbers from {least} to {most}")
        if self.rising and not (array[:-1] < array[1:]).all():
            raise place.wrong("is not in order, each number once")
        return array.copy()


class Sized(Tensor):
    """A list of numbers in a range; the key holds their count."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(None, *args, **options)
        self.needed, self.hidden = True, False

    def write(self, value: Any, place: Place) -> int:
        super().write(value, place)
        return len(value)

    def read(self, tree: Any, place: Place) -> Any:
        return self.array((Count().read(tree, place),), place)


class Numbers(Hidden):
    """A list of any length; the numbers need not be finite."""

    def __init__(self, dtype: Any = np.float64) -> None:
        self.dtype = dtype

    def write(self, value: Sequence[float], place: Place) -> Any:
        place.file.put_list(place.tensor, value, self.dtype)
        return GONE

    def read(self, tree: Any, place: Place) -> list[Any]:
        return place.file.numbers(place.tensor, self.dtype)  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------- helpers


def opened(tree: Any, place: Place) -> dict[str, Any]:
    """Return a copy of a JSON object."""
    if not isinstance(tree, dict):
        raise place.fail(f"is {shown(tree)} and no object")
    return dict(tree)


def built(place: Place, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a constructor with arguments from a file; its errors become ModelFormatError."""
    try:
        return make(*args, **options)
    except ModelFormatError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ModelFormatError(f"{place.where}: {str(error)[:MOST_MESSAGE]}") from None


def from_digits(text: Any) -> int:
    """Return the integer of a string of hexadecimal digits, or -1."""
    try:
        number = int(text, 16) if isinstance(text, str) else -1
    except ValueError:
        return -1
    return number if hex(number) == text else -1


def check_characters(text: str, name: str) -> None:
    """Raise ValueError for half a character (a lone surrogate), which UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name} has the text {shown(text)} with half a character (a lone surrogate), which a "
            "file cannot hold: rename it, and fit again"
        ) from None
