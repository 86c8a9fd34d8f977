"""Losses of classes and of labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastmlp._core.intervals import FRACTION
from fastmlp._network import links
from fastmlp._network.activations import Array, sigmoid, softplus
from fastmlp._network.losses.base import Loss


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """-sum_c t_c log softmax(z)_c, with t integer labels or rows of probabilities that sum to 1.

    Parameters
    ----------
    label_smoothing : float, in [0, 1)
        Targets become (1 - label_smoothing) t + label_smoothing / C (Szegedy et al. 2016).

    Examples
    --------
    >>> CrossEntropy().value_and_gradient(np.zeros((1, 2)), np.array([1]))
    (array([0.69314718]), array([[ 0.5, -0.5]]))
    """

    name = "cross_entropy"
    target_kind = "class"
    _link = links.SOFTMAX
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        FRACTION.check("label_smoothing", self.label_smoothing, example=0.1)

    @property
    def parameter(self) -> float:
        """The label_smoothing."""
        return float(self.label_smoothing)

    def native_row(self, labels: bool) -> str:
        """Return the row of `NATIVE_LOSSES`, by the kind of target."""
        return "cross_entropy_labels" if labels else "cross_entropy_soft"

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        n_classes = z.shape[1]
        if t.ndim == 1:
            t = np.eye(n_classes, dtype=z.dtype)[t]
        t = (1 - self.parameter) * t + self.parameter / n_classes
        largest = _row_max(z)
        log_sum = np.log(np.sum(np.exp(z - largest), axis=1, keepdims=True))
        # In quarters: a difference beyond the dtype may have a target of 0.
        below = 4 * np.sum(t * (largest / 4 - z / 4), axis=1, keepdims=True)
        return below + log_sum, self.link(z) - t


def _row_max(z: Array) -> Array:
    return np.asarray(np.max(z, axis=1, keepdims=True))


class BinaryCrossEntropy(Loss):
    """-t log(p) - (1 - t) log(1 - p) with p = sigmoid(z), summed over outputs (multi-label).

    Examples
    --------
    >>> BinaryCrossEntropy().value_and_gradient(np.array([[0.0]]), np.array([[1.0]]))
    (array([0.69314718]), array([[-0.5]]))
    """

    name = "binary_cross_entropy"
    target_kind = "unit_interval"
    _link = links.SIGMOID

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        return softplus(z) - z * t, sigmoid(z) - t
