"""Hints after a fit of an estimator: what made it worse, and the parameter that helps."""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from fastmlp.sklearn.parameters import STOCHASTIC

Array = NDArray[Any]

ROWS = 1_000  # that are looked at, evenly spread
FEWEST = 201  # of fewer rows a fit is a trial, and nothing is said of scales
# Beyond these, relative to 1, first weights and rates that suit inputs of deviation 1 suit no more.
LARGEST, SMALLEST, FARTHEST = 10.0, 0.1, 10.0
# Held-out rows of which the accuracy stops fits too early: on six sets of 100 to 8,000 rows of
# scikit-learn the loss stopped later, and the accuracy of new rows was higher, by 0.5 % to 28 %
# below so many and by 0.2 % above.
FEW_HELD_OUT = 401


LOGGER = logging.getLogger("fastmlp")


class HintWarning(UserWarning):
    """Deprecated: hints are messages of the logger ``fastmlp`` now, of level INFO.

    Nothing warns with this class any more; it is there so that programs that filter it still run.
    """


def found(estimator: Any, x: Array, targets: Array, held_out: int) -> list[str]:
    """Return what a fit may have suffered from, in sentences.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        That has been fitted.
    x, targets : arrays, shapes (n, features) and (n, outputs)
        As the network saw them.
    held_out : int
        Rows of validation data.
    """
    quiet = estimator.standardize or len(x) < FEWEST
    hints = [] if quiet else _of_scales(estimator, x, targets)
    stops = estimator.early_stopping and estimator.solver in STOCHASTIC
    by_accuracy = stops and is_classifier(estimator) and estimator.scoring is None
    if by_accuracy and held_out < FEW_HELD_OUT:
        hints.append(
            f"early_stopping looked at the accuracy of {held_out} rows, which often stands still "
            "while the fit still improves: scoring='loss' makes it look at their loss"
        )
    return hints


def tell(hints: list[str], verbose: Any) -> None:
    """Log hints; with ``verbose``, print them beside, where they are not taken for results."""
    for hint in hints:
        LOGGER.info(hint)
        if verbose:
            print(f"Hint: {hint}", file=sys.stderr)


def _of_scales(estimator: Any, x: Array, targets: Array) -> list[str]:
    scaled = {"X": x, "y": targets} if estimator._scales_target() else {"X": x}
    said = [each for name, array in scaled.items() if (each := of_columns(array, name))]
    if not said:
        return []
    names = " and ".join(scaled)
    return [f"{', '.join(said)}: standardize=True would scale {names} to a deviation of 1"]


def of_columns(array: Array, name: str) -> str:
    """Return what is far from mean 0 and deviation 1, or nothing.

    Parameters
    ----------
    array : array, shape (n, columns)
        Real numbers.
    name : str
        Of the array.

    Examples
    --------
    >>> of_columns(np.array([[0.0, 0], [2, 2000]]), "X")
    'X has columns of deviations from 1 to 1e+03'
    >>> of_columns(np.array([[-1.0], [1]]), "X")
    ''
    """
    some = array[:: max(1, len(array) // ROWS)].astype(np.float64)
    unit = max(np.abs(some).max(), np.finfo(float).tiny)  # that no square over- or underflows
    some /= unit
    deviations, means = unit * some.std(axis=0), unit * np.abs(some.mean(axis=0))
    varying = some.max(axis=0) > some.min(axis=0)
    if not varying.any():
        return ""
    low, high = deviations[varying].min(), deviations[varying].max()
    if high > LARGEST or high < SMALLEST:
        return f"{name} has columns of deviations from {low:.2g} to {high:.2g}"
    if means[varying].max() > FARTHEST * high:
        return f"{name} has columns far from 0, in units of the largest deviation"
    return ""
