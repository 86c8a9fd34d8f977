"""A description that is being read: every key and every tensor is asked for, and checked, once.

What nobody has asked for is refused at the end, so that a file says nothing that is not used.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.finite import first_non_finite
from fastmlp._files.strict_json import MOST_INTEGER, ModelFormatError, shown

# Numbers in lists, which take 32 bytes each in Python and 8 in the file.
MOST_NUMBERS = 400_000
MOST_MESSAGE = 500  # characters of a constructor's complaint


class Tensors(dict[str, NDArray[Any]]):
    """The tensors of a file that is being written."""

    n_numbers = 0

    def put_list(self, name: str, values: Sequence[float], dtype: Any = np.float64) -> None:
        """Put a list of numbers among the tensors; complain about too many of them."""
        self[name] = np.array(values, dtype)
        self.n_numbers += len(values)
        if self.n_numbers > MOST_NUMBERS:
            raise ValueError(
                f"the lists of epochs have {self.n_numbers:,} numbers but a file has room for "
                f"{MOST_NUMBERS:,}: save with training=False, which leaves them out"
            )

    def room(self, epochs: int) -> int:
        """Return of how many epochs the lists would fit in, if these are of so many."""
        return MOST_NUMBERS * epochs // self.n_numbers

    def under(self, prefix: str) -> Tensors:
        """Return a view whose names begin with something more here."""
        return _Part(self, prefix)


class _Part(Tensors):
    """The tensors of a part of a model: they lie in the whole."""

    def __init__(self, whole: Tensors, prefix: str) -> None:
        super().__init__()
        self._whole, self._prefix = whole, prefix

    def __setitem__(self, name: str, array: NDArray[Any]) -> None:
        self._whole[self._prefix + name] = array

    def put_list(self, name: str, values: Sequence[float], dtype: Any = np.float64) -> None:
        self._whole.put_list(self._prefix + name, values, dtype)


class Store:
    """The tensors of a file, each of which is taken once.

    Parameters
    ----------
    tensors : dict
        Views of the file's bytes.
    functions : mapping
        Of whoever loads the file, by the names that it has for them.
    """

    def __init__(
        self, tensors: dict[str, NDArray[Any]], functions: Mapping[str, Any] | None = None
    ) -> None:
        self._left, self._numbers, self._prefix = dict(tensors), [0], ""
        self._functions, self._named = dict(functions or {}), set[str]()

    def function(self, tree: dict[str, Any], kind: type[Any]) -> Any:
        """Return the function, of a class, that stands under a name in the file."""
        name = tree.get("function")
        if not isinstance(name, str):
            raise ModelFormatError(f"a function is described by {shown(tree)}")
        found: Any = self._functions.get(name)
        if type(found) is not kind:
            raise ModelFormatError(
                f"it needs the {kind.__name__} {shown(name)}, which is no part of the file, but "
                f"functions has {found!r}: pass functions={{{shown(name)}: {kind.__name__}(...)}}"
            )
        facts = found.facts | {"function": name}
        for key in sorted(tree.keys() | facts.keys()):
            if tree.get(key) != facts.get(key):
                raise ModelFormatError(
                    f"it has a {kind.__name__} with the {shown(key)} {shown(tree.get(key))}, but "
                    f"functions has {found!r}: pass one that is made as that was"
                )
        self._named.add(name)
        return found

    def under(self, prefix: str) -> Store:
        """Return a view of those whose names begin with something; they are taken here, too."""
        part = copy.copy(self)
        part._prefix += prefix
        return part

    def take(self, name: str) -> NDArray[Any]:
        """Return a tensor that may have any dtype and shape."""
        name = self._prefix + name
        if name not in self._left:
            raise ModelFormatError(f"there is no tensor {shown(name)}")
        return self._left.pop(name)

    def parameter(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a finite tensor of known shape and dtype."""
        array = self.take(name)
        if array.shape != shape or array.dtype != dtype:
            raise ModelFormatError(
                f"tensor {shown(self._prefix + name)} is {array.dtype} of shape {array.shape} but "
                f"{dtype} of shape {shape} belongs there"
            )
        at = first_non_finite(array)
        if at is not None:
            raise ModelFormatError(f"tensor {shown(self._prefix + name)} has {array[at]} at {at}")
        return array

    def numbers(self, name: str, dtype: Any = np.float64) -> list[Any]:
        """Return a list of numbers of a dtype."""
        array = self.take(name)
        self._numbers[0] += array.size  # of all parts together
        if array.dtype != dtype or array.ndim != 1 or self._numbers[0] > MOST_NUMBERS:
            raise ModelFormatError(
                f"tensor {shown(self._prefix + name)} is {array.dtype} of shape {array.shape} but "
                f"a list of {np.dtype(dtype)}, at most {MOST_NUMBERS:,} in the file, belongs there"
            )
        return array.tolist()  # type: ignore[no-any-return]

    def finish(self) -> None:
        """Refuse tensors that nobody has taken, and functions."""
        if odd := sorted(self._functions.keys() - self._named):
            raise ModelFormatError(f"it has no function {odd[0]!r}: leave it out of functions")
        if self._left:
            raise ModelFormatError(f"tensor {shown(next(iter(self._left)))} belongs to nothing")


class Record:
    """A JSON object that is being read: each key is asked for once, and there may be no other.

    Parameters
    ----------
    tree : any
        The object, or what stands in its place.
    where : str
        Its name in complaints.
    store : Store
        The tensors.
    engine : str
        Of the whole model: who is to compute.
    """

    def __init__(self, tree: Any, where: str, store: Store, engine: str = "") -> None:
        if not isinstance(tree, dict):
            raise ModelFormatError(f"{where} is {shown(tree)} and no object")
        self._left, self.where, self.store, self.engine = dict(tree), where, store, engine

    def has(self, key: str) -> bool:
        """Whether there is something but null at a key; if not, the key is dealt with."""
        if self._left.get(key) is None:
            self.plain(key)
            return False
        return True

    def look(self, key: str) -> Any:
        """Return what JSON has there, if anything; it is still to be asked for."""
        return self._left.get(key)

    def there(self, key: str) -> bool:
        """Whether there is such a key."""
        return key in self._left

    def plain(self, key: str) -> Any:
        """Return what JSON has there."""
        if key not in self._left:
            raise ModelFormatError(f"{self.where} has no {shown(key)}")
        return self._left.pop(key)

    def choice(self, key: str, choices: Any) -> Any:
        """Return a string, one of several."""
        value = self.text(key)
        if value not in choices:
            raise ModelFormatError(
                f"{self.where}.{key} is {shown(value)} but must be one of {', '.join(choices)}"
            )
        return value

    def count(self, key: Any, least: int = 0, most: int = MOST_INTEGER) -> int:
        """Return an integer in a range; one beyond JSON's has its digits in a string."""
        given = self.plain(key)
        value = from_digits(given) if most > MOST_INTEGER else given
        if type(value) is not int or not least <= value <= most:
            raise ModelFormatError(
                f"{self.where}.{key} is {shown(given)} but must be from {least} to {most}"
            )
        return value

    def number(self, key: Any, least: float = 0.0) -> float:
        """Return a finite number, by default not negative."""
        value = self.plain(key)
        if type(value) not in (int, float) or not least <= value < math.inf:
            raise ModelFormatError(
                f"{self.where}.{key} is {shown(value)} but must be a number from {least:g} on"
            )
        return float(value)

    def numbers(self, key: str, n: int) -> tuple[float, ...]:
        """Return so many of them."""
        value = self.items(key)
        if len(value) != n:
            raise ModelFormatError(
                f"{self.where}.{key} has {len(value)} numbers but {n} belong there"
            )
        part = Record(dict(enumerate(value)), f"{self.where}.{key}", self.store)
        return tuple(part.number(at) for at in range(n))

    def length(self, key: str) -> int:
        """Return how many there are in a list, 0 of anything else."""
        value = self._left.get(key)
        return len(value) if isinstance(value, list) else 0

    def items(self, key: str) -> list[Any]:
        """Return a list."""
        value = self.plain(key)
        if not isinstance(value, list):
            raise ModelFormatError(f"{self.where}.{key} is {shown(value)} and no list")
        return value

    def texts(self, key: str) -> list[str]:
        """Return a list of strings."""
        part = Record(dict(enumerate(self.items(key))), f"{self.where}.{key}", self.store)
        return [part.text(at) for at in range(len(part._left))]

    def flag(self, key: str) -> bool:
        """Return a truth value."""
        value = self.plain(key)
        if not isinstance(value, bool):
            raise ModelFormatError(
                f"{self.where}.{key} is {shown(value)} and neither true nor false"
            )
        return value

    def text(self, key: Any) -> str:
        """Return a string."""
        value = self.plain(key)
        if not isinstance(value, str):
            raise ModelFormatError(f"{self.where}.{key} is {shown(value)} and no string")
        return value

    def part(self, key: str) -> Record:
        """Return an object in this one."""
        return Record(self.plain(key), f"{self.where}.{key}", self.store)

    def finish(self) -> None:
        """Refuse keys that nobody has asked for."""
        if self._left:
            raise ModelFormatError(
                f"{self.where} has {shown(next(iter(self._left)))}, unknown here"
            )


def digits(number: int) -> str:
    """Return an integer that JSON's readers would round, as a string."""
    return hex(number)


def from_digits(text: Any) -> int:
    """Return the integer whose digits a string has, or -1."""
    try:
        number = int(text, 16) if isinstance(text, str) else -1
    except ValueError:
        return -1
    return number if hex(number) == text else -1


def built(where: str, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a constructor that checks its arguments, which come from a file."""
    try:
        return make(*args, **options)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ModelFormatError(f"{where}: {str(error)[:MOST_MESSAGE]}") from None
