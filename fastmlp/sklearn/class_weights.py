"""Sample weights from the parameter ``class_weight``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp._core.user_warnings import warn

Array = NDArray[Any]

MOST_NAMED = 5


def weights_of_classes(class_weight: Any, y: Array, classes: Array) -> Array:
    """Return the weight of each sample by its class; warn of weights for unknown classes."""
    weights = np.asarray(compute_sample_weight(class_weight, y))
    if isinstance(class_weight, dict):
        unknown = [label for label in class_weight if label not in set(classes.tolist())]
        if unknown:
            warn(
                f"class_weight has {_listed(unknown)} but y has the classes "
                f"{_listed(classes.tolist())}: the other entries have no effect"
            )
    return weights


def _listed(labels: list[Any]) -> str:
    """Return the first few labels as text."""
    more = ", ..." if len(labels) > MOST_NAMED else ""
    return ", ".join(map(repr, labels[:MOST_NAMED])) + more
