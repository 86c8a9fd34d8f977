"""Scales of columns that do not suit first weights and learning rates, meant for deviation 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.user_warnings import warn
from fastmlp._network.data import Data
from fastmlp._network.sparse import SparseRows
from fastmlp._network.spec import Spec
from fastmlp._validation import check

NUMBERS, FEW_ROWS = 2_000, 32  # numbers in the inspected rows, and how many rows there are at least
LARGEST = 10.0  # deviation; the smallest is its inverse
FARTHEST = 10.0  # mean, in deviations
LARGEST_OF_NETWORKS = 30.0  # deviation beyond which the first fit of a network warns
LARGEST_ROUNDING = 3e-4  # change of a number, in ranges of its column, of which a fit warns
# Such a column ranges over a small share of its numbers, which few rows show.
NEAR_ONE = 1 - float(np.finfo(np.float32).eps) / LARGEST_ROUNDING


def problems(arrays: Mapping[str, Any], largest: float = LARGEST) -> str:
    """Describe columns of arrays far from mean 0 and deviation 1; empty if there are none.

    What is no array, such as sparse rows, is not looked at.
    """
    shown = (_problem(a, n, largest) for n, a in arrays.items() if isinstance(a, np.ndarray))
    return ", ".join(filter(None, shown))


def _inspected(array: NDArray[Any]) -> slice:
    """Return the evenly spaced rows that are inspected."""
    n = max(FEW_ROWS, NUMBERS // array[0].size)
    return slice(None, None, max(1, len(array) // n))


def _problem(array: NDArray[Any], name: str, largest: float) -> str:
    rows = array[_inspected(array)].astype(np.float64)
    smallest, biggest = rows.min(axis=0), rows.max(axis=0)
    unit = max(-smallest.min(), biggest.max(), np.finfo(float).tiny)  # avoids overflow of squares
    rows /= unit
    deviations, means = unit * rows.std(axis=0), unit * np.abs(rows.mean(axis=0))
    varying = biggest > smallest
    low = high = largest  # where nothing varies
    if varying.any():
        low, high = deviations[varying].min(), deviations[varying].max()
    if high > largest or high < 1 / largest:
        return f"{name} has columns with deviations from {low:.2g} to {high:.2g}"
    if means.max(where=varying | (means > FARTHEST * largest), initial=0) > FARTHEST * high:
        return f"{name} has columns far from 0, in units of the largest deviation"
    return ""


def warn_of_arrays(x: Any, y: Any, data: Data, spec: Spec) -> None:
    """Warn of columns of X or y from which a network in its first state hardly learns.

    Rows that are computed, such as those of tables, are scaled already.
    """
    is_stored = isinstance(data.x, (np.ndarray, SparseRows))
    if is_stored and not _warns_of_rounding(x, y, data):
        if data.weights is not None:  # rows of weight 0 may have any numbers
            rows = np.flatnonzero(data.weights)
            data = data.part(rows[:: len(rows) // NUMBERS + 1])
        targets = data.targets if spec.loss.target_kind == "real" else None
        if text := problems({"X": data.x, "y": targets}, LARGEST_OF_NETWORKS):
            warn(
                f"{text}, but first weights and usual learning rates suit columns of mean 0 and "
                "deviation 1: subtract the mean of each column and divide by its standard "
                "deviation, or use MLPRegressor or MLPClassifier with standardize=True, whose fits "
                "go on longer with tol=0, n_iter_no_change=100 and max_iter=2000"
            )


def _warns_of_rounding(x: Any, y: Any, data: Data) -> bool:
    """Warn of a column of X or y from which float32, the dtype of the data, takes its digits."""
    for name, values, rounded in (("X", x, data.x), ("y", y, data.targets)):
        exact = type(values) is np.ndarray and np.can_cast(values.dtype, np.float32)
        if exact or not isinstance(rounded, np.ndarray) or rounded.dtype != np.float32:
            continue
        few = rounded[:: len(rounded) // FEW_ROWS + 1]
        low, high = np.fmin.reduce(few), np.fmax.reduce(few)
        far = (high * NEAR_ONE <= low) | (low * NEAR_ONE >= high)  # range far below the numbers
        if not far.any():
            continue
        rows = _inspected(rounded)
        exact_rows = check.numeric(values, name).reshape(rounded.shape)[rows].astype(np.float64)
        low, high = np.fmin.reduce(exact_rows), np.fmax.reduce(exact_rows)
        change = np.fmax.reduce(np.abs(exact_rows - rounded[rows]))
        lost = far & (high > low) & (change > LARGEST_ROUNDING * (high - low))
        if lost.any():
            k = int(np.argmax(lost))
            warn(
                f"{name} has a column ({k}) from {low[k]:.10g} to {high[k]:.10g}, which float32 "
                f"rounds by up to {change[k]:.2g}: subtract its mean and divide by its deviation "
                "in float64, in predictions too, or make the MLP with dtype='float64'"
            )
            return True
    return False
