"""Hints after a fit: properties of the data that hurt training, and parameters that help."""

from __future__ import annotations

import logging
import sys

from sklearn.base import is_classifier

from fastmlp._network.activations import Array
from fastmlp._network.sparse import SparseRows
from fastmlp._training import scales
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.sklearn.parameters import STOCHASTIC, Validated

FEWEST = 201  # no hints about scales for fewer rows
# With fewer held-out rows, accuracy stops fits too early: on six data sets of scikit-learn with 100
# to 8,000 rows, the loss stopped later, with an accuracy on new rows that was higher by 0.5 % to 28
# % below this limit and by 0.2 % above.
FEW_HELD_OUT = 401

LOGGER = logging.getLogger("fastmlp")


def all_of(estimator: Validated, x: Array | SparseRows, targets: Array, held_out: int) -> list[str]:
    """Return sentences on likely problems; x and targets are those the network was trained on."""
    hints = []
    if not estimator.standardize and len(x) >= FEWEST:
        is_real = fitted_of(estimator).network.spec.loss.target_kind == "real"
        scaled = {} if isinstance(x, SparseRows) else {"X": x}
        scaled |= {"y": targets} if is_real else {}
        if text := scales.problems(scaled):
            remedy = f"standardize=True would scale {' and '.join(scaled)} to a deviation of 1"
            hints.append(f"{text}: {remedy}")
    stops = estimator.early_stopping and estimator.solver in STOCHASTIC
    by_accuracy = stops and is_classifier(estimator) and estimator.scoring is None
    if by_accuracy and held_out < FEW_HELD_OUT:
        hints.append(
            f"early_stopping used the accuracy of {held_out} rows, which often stagnates "
            "while the fit still improves: scoring='loss' makes it use their loss"
        )
    return hints


def tell(hints: list[str], verbose: bool | int) -> None:
    """Log hints; with ``verbose`` also print them to standard error."""
    for hint in hints:
        LOGGER.info(hint)
        if verbose:
            print(f"Hint: {hint}", file=sys.stderr)
