"""The ranges that hyper-parameters live in, and the one wording of the complaint when one is left.

Left of every other module: losses, optimizers, schedules and the network's shape check their
numbers here at construction, so that a bad one is reported where it was written, not epochs later.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A range of real numbers; infinity and NaN are never inside.

    Parameters
    ----------
    low, high : float
        The two ends.
    low_open, high_open : bool
        Whether that end is excluded.

    Examples
    --------
    >>> FRACTION.check("momentum", 0.9, example=0.5)
    0.9
    """

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
        """Return whether numbers are inside, one or an array of them."""
        above = values > self.low if self.low_open else values >= self.low
        below = values < self.high if self.high_open else values <= self.high
        return above & below & (abs(values) < math.inf)

    def check(self, name: str, value: object, example: float) -> float:
        """Return `value` as a float, or complain.

        Parameters
        ----------
        name : str
            What the user calls it.
        value : object
            What the user passed.
        example : float
            A value that would do, for the message.

        Returns
        -------
        float
            `value`, known to be inside.

        Raises
        ------
        TypeError
            If `value` is not a real number (a bool is not).
        ValueError
            If `value` is outside.
        """
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


POSITIVE = Interval(0.0, math.inf, low_open=True)
NON_NEGATIVE = Interval(0.0, math.inf)
FRACTION = Interval(0.0, 1.0)
INNER_FRACTION = Interval(0.0, 1.0, low_open=True)


def check_flag(name: str, value: object) -> bool:
    """Return `value` as a bool, or complain: "no", or a 1 of who meant a number, is true to Python.

    Parameters
    ----------
    name : str
        What the user calls it.
    value : object
        What the user passed: True or False, of Python or of NumPy.

    Returns
    -------
    bool
        `value`.

    Raises
    ------
    TypeError
        If `value` is something else.

    Examples
    --------
    >>> check_flag("shuffle", np.True_)
    True
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(
            f"{name} is {value!r} but must be True or False: pass {name}=True or {name}=False"
        )
    return bool(value)


def check_count(name: str, value: object, example: int, least: int = 1) -> int:
    """Return `value` as an int of at least 1, or another number, or complain.

    Parameters
    ----------
    name : str
        What the user calls it.
    value : object
        What the user passed: any integer type but bool.
    example : int
        A value that would do, for the message.
    least : int
        The smallest number that will do.

    Returns
    -------
    int
        `value`, known to be `least` or more.

    Raises
    ------
    TypeError
        If `value` is not an integer.
    ValueError
        If `value` is below `least`.

    Examples
    --------
    >>> check_count("n_steps", 100, example=10)
    100
    """
    wanted = f"must be an integer of at least {least}: pass for example {name}={example}"
    # Arrays of one element have __index__ too, and are as little a count as a bool is.
    if isinstance(value, bool | np.bool_ | np.ndarray | type) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r} but {wanted}")
    count = operator.index(value)
    if count < least:
        raise ValueError(f"{name} is {value!r} but {wanted}")
    return count
