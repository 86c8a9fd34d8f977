"""Standardising inside an estimator: measured on the data, folded into the weights afterwards.

A network on scaled inputs and targets is a network on raw ones with another first and last layer:
(x - m) / s @ W + b = x @ (W / s) + (b - m / s @ W). Done in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class Scaling:
    """Means and scales of inputs and targets, float64; a target that is not scaled has 0 and 1.

    Attributes
    ----------
    x_mean, x_scale : arrays, shape (features,)
    y_mean, y_scale : arrays, shape (outputs,)
    heads : int
        2 if the network predicts a mean and the logarithm of a variance for each output, else 1.
    """

    x_mean: NDArray[np.float64]
    x_scale: NDArray[np.float64]
    y_mean: NDArray[np.float64]
    y_scale: NDArray[np.float64]
    heads: int = 1

    @classmethod
    def measure(
        cls,
        x: NDArray[Any],
        y: NDArray[Any] | None,
        n_outputs: int,
        weights: NDArray[Any] | None,
        heads: int,
    ) -> Scaling:
        """Measure inputs and, unless ``y`` is None, targets, both 2-D, with sample weights."""
        x_mean, x_scale = _moments(x, weights)
        y_mean, y_scale = np.zeros(n_outputs), np.ones(n_outputs)
        if y is not None:
            y_mean, y_scale = _moments(y, weights)
        return cls(x_mean, x_scale, y_mean, y_scale, heads)

    def inputs(self, x: NDArray[Any]) -> NDArray[Any]:
        """Scale inputs, in their dtype."""
        return ((x - self.x_mean) / self.x_scale).astype(x.dtype, copy=False)

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """Scale targets, in their dtype."""
        return ((y - self.y_mean) / self.y_scale).astype(y.dtype, copy=False)

    def fold(self, weights: Arrays, biases: Arrays) -> tuple[Arrays, Arrays]:
        """Return the parameters for raw data from those for scaled data."""
        weights, biases = _wide(weights), _wide(biases)
        biases[0] = biases[0] - (self.x_mean / self.x_scale) @ weights[0]
        weights[0] = weights[0] / self.x_scale[:, np.newaxis]
        scale, shift = self._outputs()
        weights[-1] = weights[-1] * scale
        biases[-1] = biases[-1] * scale + shift
        return weights, biases

    def unfold(self, weights: Arrays, biases: Arrays) -> tuple[Arrays, Arrays]:
        """Return the parameters for scaled data from those for raw data."""
        weights, biases = _wide(weights), _wide(biases)
        scale, shift = self._outputs()
        weights[-1] = weights[-1] / scale
        biases[-1] = (biases[-1] - shift) / scale
        biases[0] = biases[0] + self.x_mean @ weights[0]
        weights[0] = weights[0] * self.x_scale[:, np.newaxis]
        return weights, biases

    def _outputs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and shift of each column of the last layer: means, then log-variances."""
        if self.heads == 1:
            return self.y_scale, self.y_mean
        same, spread = np.ones_like(self.y_scale), 2 * np.log(self.y_scale)
        return np.concatenate([self.y_scale, same]), np.concatenate([self.y_mean, spread])


def _moments(
    values: NDArray[Any], weights: NDArray[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of the columns; 1 for a column that does not vary."""
    wide = values.astype(np.float64, copy=False)
    mean = np.average(wide, axis=0, weights=weights)
    deviation = np.sqrt(np.average((wide - mean) ** 2, axis=0, weights=weights))
    # What rounding leaves of a constant column is no variation.
    constant = deviation <= 10 * np.finfo(values.dtype).eps * np.abs(mean)
    return mean, np.where(constant, 1.0, deviation)


def _wide(arrays: Arrays) -> Arrays:
    return [np.asarray(array, np.float64) for array in arrays]
