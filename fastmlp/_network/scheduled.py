"""Options that may change from step to step: a number, or a schedule ``step -> number``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt

from fastmlp._core.intervals import NON_NEGATIVE, Interval, Options

Scheduled: TypeAlias = float | Callable[[int], float]
LearningRate: TypeAlias = Scheduled
Rates: TypeAlias = npt.NDArray[np.float64]  # of an array of steps; one step has a number


Value = TypeVar("Value")


class Schedule(Options):
    """Base class of the schedules: a schedule says how large the step size is at each step.

    Base of the built-in schedules, which are callables ``step -> learning rate``.

    Examples
    --------
    >>> import fastmlp
    >>> rate = fastmlp.Step(0.1, every=100, factor=0.5)
    >>> isinstance(rate, fastmlp.Schedule), float(rate(0)), float(rate(250))
    (True, 0.1, 0.025)
    """

    @overload
    def __call__(self, step: int) -> float: ...
    @overload
    def __call__(self, step: npt.ArrayLike) -> Rates: ...
    def __call__(self, step: npt.ArrayLike) -> float | Rates:
        """Return the learning rate of a step, or the rates of an integer array of steps."""
        return self._rate(np.asarray(step))

    def _rate(self, step: npt.NDArray[Any]) -> Rates:
        raise NotImplementedError

    def _length(self) -> int | None:
        """Return the step from which the value stays the same; None if there is none yet."""
        return None

    def _of_length(self, n_steps: int) -> Schedule:
        """Return the schedule with `n_steps` where it has none."""
        return self


def of_length(scheduled: Value, n_steps: int) -> Value | Schedule:
    """Return a number or a schedule, with the length of the fit where it has no `n_steps`."""
    return scheduled._of_length(n_steps) if isinstance(scheduled, Schedule) else scheduled


def length_of(scheduled: Any) -> int | None:
    """Return the number of steps after which a schedule stays the same; None for all others."""
    return scheduled._length() if isinstance(scheduled, Schedule) else None


def check_scheduled(name: str, value: Any, example: float, interval: Interval) -> Scheduled:
    """Return a callable or a number in an interval; raise TypeError or ValueError for others."""
    if isinstance(value, type | str):
        shown = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
        raise TypeError(
            f"{name} is {shown} but must be a number or a callable of the step: pass for example "
            f"{name}={example!r}, or a schedule such as fastmlp.Constant({example!r})"
        )
    if not callable(value):
        interval.check(name, value, example)
    return value  # type: ignore[no-any-return]


def learning_rates(
    schedule: Scheduled,
    first_step: int,
    n: int,
    name: str = "learning rate",
    interval: Interval = NON_NEGATIVE,
) -> npt.NDArray[np.float64]:
    """Return the float64 values of `n` steps; raise ValueError for one outside the interval."""
    rates = evaluate(schedule, np.arange(first_step, first_step + n))
    bad = ~interval.has(rates)
    if bad.any():
        at = int(np.argmax(bad))
        raise ValueError(
            f"the {name} of step {first_step + at} is {float(rates[at])!r} but must be a finite "
            f"number in {interval}: correct the schedule {schedule!r}"
        )
    return rates


def evaluate(schedule: Any, steps: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the rates of an array of steps as a new float64 array; raise TypeError for others."""
    if isinstance(schedule, Schedule):
        return np.array(schedule(steps), dtype=np.float64)
    if not callable(schedule):
        return np.full(steps.shape, float(schedule))
    rates = np.empty(steps.shape)
    for at, step in np.ndenumerate(steps):
        rate = schedule(int(step))
        try:
            rates[at] = float(rate)
        except (TypeError, ValueError):
            raise TypeError(
                f"the schedule {schedule!r} returned {rate!r} at step {int(step)} but must return "
                "a number: return a float"
            ) from None
    return rates
