"""Weights of the groups of members: greedy selection on out-of-fold predictions.

Caruana, Niculescu-Mizil, Crew and Ksikes 2004, "Ensemble selection from libraries of models".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ROUNDS = 20


def greedy(predictions: Sequence[Array], cost: Callable[[Array], float]) -> Array:
    """Return a weight for each prediction; they sum to 1, and useless predictions have 0.

    The start is the mean of all. Then each round adds the prediction that gives the lowest cost,
    again and again. The weights are those of the best round, of equal rounds the first.
    """
    count = len(predictions)
    if count == 1:
        return np.ones(1)
    everyone = np.ones(count) / count
    best, found = cost(np.mean(predictions, axis=0)), everyone
    total, taken = np.zeros_like(predictions[0]), np.zeros(count)
    for rounds in range(1, ROUNDS + 1):
        costs = [cost((total + each) / rounds) for each in predictions]
        k = int(np.argmin(costs))
        total, taken[k] = total + predictions[k], taken[k] + 1
        if costs[k] < best:
            best, found = costs[k], taken / rounds
    return found
