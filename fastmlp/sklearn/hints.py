"""What a fit that has not converged may suffer from, and the parameter that helps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS = 1_000  # that are looked at, evenly spread
# Beyond these, relative to 1, first weights and rates that suit inputs of deviation 1 suit no more.
LARGEST, SMALLEST, FARTHEST = 10.0, 0.1, 10.0


def of_inputs(x: NDArray[Any]) -> str:
    """Return a sentence about inputs that are far from mean 0 and deviation 1, or nothing.

    Parameters
    ----------
    x : array, shape (n, features)
        As the network sees them.

    Examples
    --------
    >>> of_inputs(np.array([[0.0, 0], [2, 2000]]))
    ' The deviations of the inputs are from 1 to 1e+03: standardize=True would scale them.'
    >>> of_inputs(np.array([[-1.0], [1]]))
    ''
    """
    some = x[:: max(1, len(x) // ROWS)].astype(np.float64)
    deviations, means = some.std(axis=0), np.abs(some.mean(axis=0))
    varying = deviations > 0
    if not varying.any():
        return ""
    low, high = deviations[varying].min(), deviations[varying].max()
    if high > LARGEST or high < SMALLEST:
        what = f"deviations of the inputs are from {low:.2g} to {high:.2g}"
    elif (means[varying] / deviations[varying]).max() > FARTHEST:
        what = "means of the inputs are far from 0, in units of their deviations"
    else:
        return ""
    return f" The {what}: standardize=True would scale them."
