"""The kinds of targets: one row each, with what checks, custom functions and tests know of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.intervals import NON_NEGATIVE, POSITIVE, Interval

Array = NDArray[Any]


@dataclass(frozen=True)
class TargetKind:
    """One row: the allowed targets, the remedy for others, and examples.

    ``examples`` turns real numbers of order 1, (n, outputs), into targets of the kind.
    """

    allowed: Interval
    remedy: str
    examples: Callable[[Array], Array]

    def check(self, y: Array, name: str, loss: str = "this loss") -> None:
        """Raise ValueError if a target that is not NaN is not allowed."""
        if not y.size:
            return
        for extreme in (np.fmin.reduce(y, axis=None), np.fmax.reduce(y, axis=None)):
            number = float(extreme)
            if not (math.isnan(number) or number in self.allowed):
                raise ValueError(
                    f"{name} holds {extreme} but {loss} expects targets in {self.allowed}: "
                    f"{self.remedy}"
                )


def _shares(real: Array) -> Array:
    """Return rows of shares whose sum is 1."""
    powers = np.exp(real)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


KINDS = {
    "real": TargetKind(Interval(-math.inf, math.inf), "pass finite numbers", np.copy),
    "count": TargetKind(
        NON_NEGATIVE,
        "pass counts or amounts, or another loss such as squared_error",
        lambda real: np.floor(2 * np.abs(real)),
    ),
    "unit_interval": TargetKind(
        Interval(0.0, 1.0, high_open=False),
        "rescale y, or use another loss such as squared_error",
        lambda real: np.clip((real + 1) / 2, 0, 1),  # both ends, and values between them
    ),
    "class": TargetKind(
        Interval(0.0, 1.0, high_open=False),
        "pass integer labels of shape (n,), or probabilities",
        _shares,
    ),
    "positive": TargetKind(
        POSITIVE, "leave out the other rows, or pass tweedie, whose targets may be 0", np.exp
    ),
}
