"""Ranges of hyper-parameters, with one error message, and a search for non-finite numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

# Elements per block in the search: the temporary array stays in cache.
FINITE_BLOCK = 1 << 16
FEW_ELEMENTS = 1 << 12  # arrays up to this size are searched at once, in a quarter of the time
BOOLEANS = (bool, np.bool_)
INTEGERS = (int, np.integer)


@dataclass(frozen=True)
class Interval:
    """A range of finite real numbers; an open end is excluded."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = True

    def __str__(self) -> str:
        left = "(" if self.low_open else "["
        right = ")" if self.high_open else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"

    def __contains__(self, value: float) -> bool:
        return bool(self.has(value))

    def has(self, values: Any) -> Any:
        """Return whether a number is inside, or elementwise for an array."""
        above = values > self.low if self.low_open else values >= self.low
        below = values < self.high if self.high_open else values <= self.high
        return above & below & (abs(values) < math.inf)

    def check(self, name: str, value: object, example: float) -> float:
        """Return a number as a float; raise TypeError for a non-number, ValueError if outside."""
        if type(value) is float and (  # the usual case, without calls
            self.low < value < self.high or (value == self.low > -math.inf and not self.low_open)
        ):
            return value
        remedy = f"pass for example {name}={example!r}"
        if isinstance(value, bool | np.bool_ | np.timedelta64) or not isinstance(value, Real):
            raise TypeError(f"{name} is {value!r} but must be a number in {self}: {remedy}")
        try:
            number = float(value)
        except OverflowError:  # an integer beyond the largest float
            number = math.inf
        if number not in self:
            raise ValueError(f"{name} is {value!r} but must be a finite number in {self}: {remedy}")
        return number

    def check_all(self, **values: tuple[object, float]) -> list[float]:
        """Return several numbers like `check`, each given by its name with an example."""
        return [self.check(name, value, example) for name, (value, example) in values.items()]


POSITIVE = Interval(0.0, math.inf, low_open=True)
NON_NEGATIVE = Interval(0.0, math.inf)
FRACTION = Interval(0.0, 1.0)
INNER_FRACTION = Interval(0.0, 1.0, low_open=True)


def check_levels(name: str, value: Any) -> tuple[float, ...]:
    """Return ascending quantile levels as a tuple; raise TypeError or ValueError if bad."""
    levels = value if isinstance(value, Iterable) and not isinstance(value, str) else ()
    checked = tuple(INNER_FRACTION.check(name, level, example=0.9) for level in levels)
    if len(checked) < 2 or any(low >= high for low, high in pairwise(checked)):
        raise ValueError(
            f"{name} is {value!r} but at least two ascending levels are expected: [0.1, 0.5, 0.9]"
        )
    return checked


def check_flag(name: str, value: object) -> bool:
    """Return a bool of Python or NumPy as a bool; raise TypeError for 1, "no" and the like."""
    if not isinstance(value, BOOLEANS):
        raise TypeError(f"{name} is {value!r} but must be True or False: pass {name}=True")
    return bool(value)


def check_flags(**values: object) -> dict[str, bool]:
    """Return several bools like `check_flag`, each by its name."""
    return {name: check_flag(name, value) for name, value in values.items()}


def check_verbose(value: Any) -> bool:
    """Return whether to show progress: a bool, or an integer of at least 0, as elsewhere."""
    if isinstance(value, INTEGERS):  # a tuple, since a union is made anew by each call
        return check_count("verbose", int(value), example=1, least=0) > 0
    return check_flag("verbose", value)


# What may be passed instead of a number, for the messages about some arguments.
ALTERNATIVES = {
    "batch_size": "len(X) for one step with all rows",
    "n_threads": "None for as many as the machine and the network allow",
    "rng": "a numpy.random.Generator",
}


def check_count(name: str, value: object, example: int, least: int = 1) -> int:
    """Return an integer of at least ``least`` as an int; raise TypeError or ValueError if bad."""
    if type(value) is int and value >= least:  # the usual case, without calls
        return value
    expected = f"must be an integer of at least {least}: pass for example {name}={example}"
    if name in ALTERNATIVES:
        expected += f", or {ALTERNATIVES[name]}"
    # Arrays of one element also have __index__, but are no more a count than a bool is.
    if isinstance(value, bool | np.bool_ | np.ndarray | type) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r} but {expected}")
    count = operator.index(value)
    if count < least:
        raise ValueError(f"{name} is {value!r} but {expected}")
    return count


def check_counts(name: str, values: Iterable[object], example: int) -> tuple[int, ...]:
    """Return the integers of a list like `check_count`, each of at least 1."""
    return tuple([check_count(f"{name}[{at}]", value, example) for at, value in enumerate(values)])


class Options:
    """Base of dataclasses that check their fields at construction."""

    # By field: a function of name, value and the further entries, such as an example.
    _checks: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    def __post_init__(self) -> None:
        for name, (check, *arguments) in self._checks.items():
            check(name, getattr(self, name), *arguments)


def few_are_finite(array: NDArray[Any]) -> bool:
    """Return True if an array is small and finite; False may also mean that it is not small."""
    return array.size <= FEW_ELEMENTS and 0 not in np.isfinite(array).tobytes()


# What searches ask first.
_is_finite: Callable[[NDArray[Any]], bool] = few_are_finite


def search_first_by(is_finite: Callable[[NDArray[Any]], bool]) -> None:
    """Have searches ask another function first: the compiled engine has a faster one.

    The function returns True only for an array of finite numbers, and False if it does not know.
    """
    global _is_finite
    _is_finite = is_finite


def first_non_finite(array: NDArray[Any]) -> tuple[int, ...] | None:
    """Return the index of the first NaN or infinity found, or None; searches in blocks of rows."""
    if array.size <= FINITE_BLOCK and _is_finite(array):
        return None
    if array.ndim == 2 and abs(array.strides[0]) < abs(array.strides[1]):
        index = first_non_finite(array.T)  # search in memory order
        return index and index[::-1]
    rows = max(1, FINITE_BLOCK // max(1, math.prod(array.shape[1:])))
    for start in range(0, array.shape[0], rows):
        block = array[start : start + rows]
        if _is_finite(block):
            continue
        finite = np.isfinite(block)
        if 0 in finite.tobytes():  # twice as fast as finite.all() for one row, equal for many
            row, *rest = np.unravel_index(int(np.argmin(finite)), finite.shape)
            return (start + int(row), *map(int, rest))
    return None
