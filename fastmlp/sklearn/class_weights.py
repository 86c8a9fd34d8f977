"""What ``class_weight`` makes of labels: a factor on the weight of each sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp._core.user_warnings import warn

Array = NDArray[Any]

MOST_NAMED = 5


def weights_of_classes(class_weight: Any, y: Array, classes: Array) -> Array:
    """Return the weight of each sample by its class.

    Warns of classes that there are not: a fold of a cross-validation may lack one, but it may be
    misspelt too.

    Parameters
    ----------
    class_weight : dict or "balanced"
        As the estimator has it.
    y : array, shape (n,) or (n, labels)
        Labels of the samples.
    classes : array
        Those that the estimator knows.

    Examples
    --------
    >>> weights_of_classes({"b": 3}, np.array(["a", "b"]), np.array(["a", "b"])).tolist()
    [1.0, 3.0]
    """
    weights = np.asarray(compute_sample_weight(class_weight, y))
    if isinstance(class_weight, dict):
        unknown = [label for label in class_weight if label not in set(classes.tolist())]
        if unknown:
            warn(
                f"class_weight has {_listed(unknown)} but y has the classes "
                f"{_listed(classes.tolist())}: what is said of others counts for nothing"
            )
    return weights


def _listed(labels: list[Any]) -> str:
    """Return the first labels, to be read."""
    more = ", ..." if len(labels) > MOST_NAMED else ""
    return ", ".join(map(repr, labels[:MOST_NAMED])) + more
