"""Schedules: functions of the step, a step being one batch, counted from 0.

Any callable ``step -> learning rate`` is a schedule; weight decay and dropout take schedules, too.
Those here also accept an integer array of steps, so one call gives the rates of a whole epoch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastmlp._core.intervals import INNER_FRACTION, NON_NEGATIVE, POSITIVE, check_count
from fastmlp._network.scheduled import (
    LearningRate,
    Rates,
    Schedule,
    check_scheduled,
    evaluate,
    length_of,
    of_length,
)

__all__ = ["Schedule", "Constant", "Step", "Cosine", "OneCycle", "InverseScaling", "WarmUp"]

MOST_STEPS = 2**62  # no training gets there; arrays cannot count beyond


def _check_length(name: str, value: Any) -> None:
    if value is not None:
        check_count(name, value, example=1000)


# Checks of options that several schedules have, with examples for the messages.
RATE, STEPS, LENGTH = (POSITIVE.check, 0.001), (check_count, 1000), (_check_length,)


class OfFit(Schedule):
    """A schedule of `n_steps` steps; None stands for the steps of the fit."""

    n_steps: int | None

    def _length(self) -> int | None:
        return self.n_steps

    def _of_length(self, n_steps: int) -> Schedule:
        # A dataclass, as this base is not.
        return replace(self, n_steps=n_steps) if self.n_steps is None else self  # type: ignore[type-var]

    def _passed(self, step: npt.NDArray[Any]) -> Rates:
        """Return the fraction of the steps that has passed."""
        if self.n_steps is None:
            raise ValueError(
                f"{self!r} has no n_steps, and here the length of the training is not known: pass "
                "n_steps, the number of epochs times that of batches in an epoch"
            )
        return _share(step, self.n_steps)


@dataclass(frozen=True)
class Constant(Schedule):
    """A schedule that leaves the step size as it is, the same at every step.

    Take it where a schedule is expected and you want none; a number does the same.

    Parameters
    ----------
    learning_rate : float, > 0
        The rate.

    Examples
    --------
    >>> import fastmlp
    >>> float(fastmlp.Constant(0.1)(7))
    0.1
    """

    _checks: ClassVar = {"learning_rate": RATE}
    learning_rate: float

    def _rate(self, step: npt.NDArray[Any]) -> Rates:
        return np.full(step.shape, float(self.learning_rate))[()]


@dataclass(frozen=True)
class Step(Schedule):
    """A schedule: the step size is divided, all at once, after every so many steps.

    Take it where a paper does; `Cosine` needs fewer choices.

    The learning rate is multiplied by `factor` after every `every` steps.

    Parameters
    ----------
    learning_rate : float, > 0
        The rate of the first `every` steps.
    every : int, >= 1
        Steps between two drops.
    factor : float, in (0, 1)
        Factor of each drop.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.Step(1.0, every=2, factor=0.5)(np.arange(5)).tolist()
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    _checks: ClassVar = {
        "learning_rate": RATE,
        "every": STEPS,
        "factor": (INNER_FRACTION.check, 0.1),
    }
    learning_rate: float
    every: int
    factor: float = 0.1

    def _rate(self, step: npt.NDArray[Any]) -> Rates:
        drops = step // min(self.every, MOST_STEPS)
        return self.learning_rate * np.float64(self.factor) ** drops


@dataclass(frozen=True)
class Cosine(OfFit):
    """A schedule: the step size falls along half a cosine, first slowly, then fast, then slowly.

    Take it for a fit of a known length: large steps first, small ones to settle.

    Half a cosine from `learning_rate` down to `final`, which is kept from `n_steps` on.

    Source: Loshchilov and Hutter 2017, "SGDR", without restarts.

    Parameters
    ----------
    learning_rate : float, > 0
        The rate of step 0.
    n_steps : int >= 1, optional
        Length of the descent: by default all steps of the fit. ``partial_fit``, and a fit of a
        source that does not tell its number of rows, need it.
    final : float, >= 0
        The rate of step `n_steps` and later.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.Cosine(1.0, n_steps=4)(np.array([0, 2, 4, 9])).round(6).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """

    _checks: ClassVar = {
        "learning_rate": RATE,
        "n_steps": LENGTH,
        "final": (NON_NEGATIVE.check, 0.0),
    }
    learning_rate: float
    n_steps: int | None = None
    final: float = 0.0

    def _rate(self, step: npt.NDArray[Any]) -> Rates:
        return _half_cosine(self.learning_rate, self.final, self._passed(step))


@dataclass(frozen=True)
class OneCycle(OfFit):
    """A schedule: the step size rises along half a cosine, and then falls to nearly zero.

    Take it for a fit of a known, short length: large steps in the middle learn fast.

    Half a cosine up to `peak`, then half a cosine down to nearly zero.

    Source: Smith and Topin 2018, "Super-convergence". The rate starts at ``peak / start_divisor``,
    is `peak` at the step ``warm_fraction * n_steps`` and ends, at `n_steps`, at
    ``peak / final_divisor``, which it keeps.

    Parameters
    ----------
    peak : float, > 0
        The highest rate.
    n_steps : int >= 1, optional
        Length of the cycle, epochs times batches per epoch: by default all steps of the fit.
        ``partial_fit``, and a fit of a source that does not tell its number of rows, need it.
    warm_fraction : float, in (0, 1)
        Share of the cycle that climbs.
    start_divisor, final_divisor : float, > 0
        The rate at the start, and at the end, is `peak` divided by this.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.OneCycle(1.0, n_steps=10, warm_fraction=0.2)(np.array([0, 2, 10])).round(4).tolist()
    [0.04, 1.0, 0.0001]
    """

    _checks: ClassVar = {
        "peak": (POSITIVE.check, 0.01),
        "n_steps": LENGTH,
        "warm_fraction": (INNER_FRACTION.check, 0.3),
        "start_divisor": (POSITIVE.check, 25.0),
        "final_divisor": (POSITIVE.check, 1e4),
    }
    peak: float
    n_steps: int | None = None
    warm_fraction: float = 0.3
    start_divisor: float = 25.0
    final_divisor: float = 1e4

    def _rate(self, step: npt.NDArray[Any]) -> Rates:
        share = self._passed(step)
        warm = self.warm_fraction
        climb = _half_cosine(self.peak / self.start_divisor, self.peak, share / warm)
        descent = _half_cosine(
            self.peak, self.peak / self.final_divisor, (share - warm) / (1.0 - warm)
        )
        return np.where(share < warm, climb, descent)[()]


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """A schedule: the step size falls like one over a power of the number of steps.

    Take it for streams without an end, for which the other schedules need a length.

    ``learning_rate / (step + 1) ** power``: the classical rate under which SGD converges.

    Parameters
    ----------
    learning_rate : float, > 0
        The rate of step 0.
    power : float, > 0
        How fast it falls.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.InverseScaling(1.0, power=0.5)(np.array([0, 3])).tolist()
    [1.0, 0.5]
    """

    _checks: ClassVar = {"learning_rate": RATE, "power": (POSITIVE.check, 0.5)}
    learning_rate: float
    power: float = 0.5

    def _rate(self, step: npt.NDArray[Any]) -> Rates:
        return self.learning_rate / (step + 1.0) ** self.power


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A schedule that begins with small steps, and then follows another schedule.

    Take it if a fit diverges in its first steps.

    Another schedule, scaled by ``(step + 1) / n_steps`` during its first `n_steps` steps.

    Parameters
    ----------
    schedule : float or callable
        The schedule to warm up, or a rate. Both count their steps from the same step 0.
    n_steps : int, >= 1
        Steps of the ramp; the last of them has the full rate.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> fastmlp.WarmUp(1.0, n_steps=4)(np.arange(6)).tolist()
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    _checks: ClassVar = {"schedule": (check_scheduled, 0.001, POSITIVE), "n_steps": STEPS}
    schedule: LearningRate
    n_steps: int

    def _length(self) -> int | None:
        return length_of(self.schedule)

    def _of_length(self, n_steps: int) -> Schedule:
        return replace(self, schedule=of_length(self.schedule, n_steps))

    def _rate(self, step: npt.NDArray[Any]) -> Rates:
        ramp = np.minimum(1.0, _share(step + 1.0, self.n_steps))
        return ramp * evaluate(self.schedule, step)


def _share(step: npt.NDArray[Any], n_steps: int) -> Rates:
    """Return the fraction of the steps that has passed."""
    return step / float(min(n_steps, MOST_STEPS))


def _half_cosine(start: float, end: float, share: Rates) -> Rates:
    """Go from `start` (share <= 0) to `end` (share >= 1) along half a cosine."""
    cosine = np.cos(math.pi * np.clip(share, 0.0, 1.0))
    return end + 0.5 * (start - end) * (1.0 + cosine)
