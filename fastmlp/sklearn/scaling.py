"""Standardisation inside an estimator: measured on the data, folded into the weights after a fit.

A network on scaled inputs and targets equals one on raw data with other first and last layers:
(x - m) / s @ W + b = x @ (W / s) + (b - m / s @ W). Computed in float64. Sparse inputs are not
centred (m = 0), since they would no longer be sparse.
"""

from __future__ import annotations

import functools
import reprlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.user_warnings import warn
from fastmlp._network import links
from fastmlp._network.sparse import SparseRows
from fastmlp._network.spec import Spec

Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class Scaling:
    """Means and scales in float64, (features,) for inputs and (outputs,) for targets.

    Of targets whose logarithms a network predicts, ``y_mean`` is the logarithm of the mean.
    """

    x_mean: NDArray[np.float64]
    x_scale: NDArray[np.float64]
    y_mean: NDArray[np.float64]  # 0 for unscaled targets
    y_scale: NDArray[np.float64]  # 1 for unscaled targets
    heads: int = 1  # 2: the network predicts a mean and a log-variance per output

    @classmethod
    def measure(
        cls,
        x: NDArray[Any] | SparseRows,
        y: NDArray[Any],
        weights: NDArray[Any] | None,
        spec: Spec,
        more_follow: bool,
    ) -> Scaling:
        """Measure 2-D inputs and targets of a network with this spec.

        If ``more_follow``, rows that may vary where these do not, check that these vary.
        """
        x_mean, x_scale, peak = _moments(x, weights, "X", spec.dtype)
        if isinstance(x, SparseRows):
            x_mean = np.zeros_like(x_mean)
        elif more_follow:
            _check_variation(x_scale)
        # The network sees 0 for a constant column, whatever its scale. This scale keeps the product
        # of raw value and folded weight small.
        x_scale = np.where(x_scale > 0, x_scale, np.maximum(peak, 1.0))
        unscaled = cls(x_mean, x_scale, np.zeros(spec.n_outputs), np.ones(spec.n_outputs))
        return unscaled.of_targets(y, weights, spec)

    def of_targets(self, y: NDArray[Any], weights: NDArray[Any] | None, spec: Spec) -> Scaling:
        """Return this scaling of the inputs with that of a network's targets.

        Logarithms of means are shifted, so that targets have the mean 1; labels are left alone.
        """
        shift, scale = np.zeros(spec.n_outputs), np.ones(spec.n_outputs)
        if has_logarithms(spec):
            mean = _moments(y, weights, "y", spec.dtype)[0]
            shift = np.log(np.where(mean > 0, mean, 1.0))
        elif spec.loss.target_kind == "real":
            shift, measured, _ = _moments(y, weights, "y", spec.dtype)
            scale = np.where(measured > 0, measured, 1.0)
        return replace(self, y_mean=shift, y_scale=scale, heads=spec.loss.heads)

    def scaled_targets(self, y: NDArray[Any], spec: Spec) -> NDArray[Any]:
        """Return targets of the network for raw ones."""
        if has_logarithms(spec):
            return np.asarray(y / np.exp(self.y_mean))
        return np.asarray((y - self.y_mean) / self.y_scale)

    def scaled(self, x: Any) -> Any:
        """Return inputs of the network for raw ones."""
        if not isinstance(x, SparseRows):
            return (x - self.x_mean) / self.x_scale
        if self.x_mean.any():
            raise ValueError(
                "X is sparse but standardize=True has subtracted the means of the dense rows of "
                "the first fit, after which no value would be 0: pass X.toarray(), or fit anew"
            )
        return x * (1 / self.x_scale)

    def fold(self, weights: Arrays, biases: Arrays) -> tuple[Arrays, Arrays]:
        """Return the parameters of a network of inputs and outputs that are not scaled.

        The scaling becomes part of the first and the last layer, which are then in float64.
        """
        weights, biases = _wide(weights), _wide(biases)
        scale, shift = self._outputs()
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            biases[0] = biases[0] - (self.x_mean / self.x_scale) @ weights[0]
            weights[0] = weights[0] / self.x_scale[:, np.newaxis]
            weights[-1] = weights[-1] * scale
            biases[-1] = biases[-1] * scale + shift
        return weights, biases

    def unfold(self, weights: Arrays, biases: Arrays) -> tuple[Arrays, Arrays]:
        """Return the parameters for scaled data from those for raw data."""
        weights, biases = _wide(weights), _wide(biases)
        scale, shift = self._outputs()
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            weights[-1] = weights[-1] / scale
            biases[-1] = (biases[-1] - shift) / scale
            biases[0] = biases[0] + self.x_mean @ weights[0]
            weights[0] = weights[0] * self.x_scale[:, np.newaxis]
        return weights, biases

    def fits(self, weights: Arrays, biases: Arrays, dtype: np.dtype[Any]) -> bool:
        """Whether the parameters for raw data, computed from these, are finite in this dtype."""
        largest = float(np.finfo(dtype).max)
        peak = max(float(np.abs(a[at]).max()) for a in (weights, biases) for at in (0, -1))
        if (1 + peak) * self._growth < largest:
            return True
        folded = self.fold(weights, biases)
        return all(np.abs(arrays[at]).max() <= largest for arrays in folded for at in (0, -1))

    @functools.cached_property
    def _growth(self) -> float:
        """Upper bound of the ratio of raw parameters to 1 + the largest scaled parameter."""
        scale, shift = self._outputs()
        with np.errstate(over="ignore", invalid="ignore"):
            inwards = 1 + np.sum((1 + np.abs(self.x_mean)) / self.x_scale)
            return float(2 * inwards * (1 + scale.max()) + np.abs(shift).max())

    def _outputs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and shift of each column of the last layer: means, then log-variances."""
        if self.heads == 1:
            return self.y_scale, self.y_mean
        same, spread = np.ones_like(self.y_scale), 2 * np.log(self.y_scale)
        return np.concatenate([self.y_scale, same]), np.concatenate([self.y_mean, spread])


def has_logarithms(spec: Spec) -> bool:
    """Whether a network predicts the logarithm of the mean of its targets."""
    return spec.loss.link_row is links.EXP


def _check_variation(deviations: NDArray[np.float64]) -> None:
    """Reject first rows of ``partial_fit`` without variation, and warn of columns without it."""
    constant = np.flatnonzero(deviations == 0).tolist()
    is_all = len(constant) == len(deviations)
    columns = "all columns" if is_all else f"columns {reprlib.repr(constant)}"
    text = (
        f"{columns} of X are constant in the first call of partial_fit, whose means and deviations "
        "standardize=True keeps for all later rows: begin with some hundred typical rows, or scale "
        "the rows yourself"
    )
    if is_all:
        raise ValueError(text)
    if constant:
        warn(text)


def _moments(
    values: Any, weights: NDArray[Any] | None, name: str, dtype: np.dtype[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean, standard deviation (0 if constant) and order of magnitude per column."""
    measure = _of_sparse if isinstance(values, SparseRows) else _of_dense
    magnitude, mean, deviation = measure(values, weights)
    # Rounding errors of a constant column do not count as variation.
    constant = deviation <= 10 * np.finfo(values.dtype).eps * np.abs(mean)
    scale = np.where(constant, 0.0, np.ldexp(deviation, magnitude))
    info = np.finfo(dtype)
    # Kernels flush numbers below tiny to 0; for folded weights that must stay a rounding error.
    smallest, largest = info.tiny / info.eps, info.eps / info.tiny
    wrong = (magnitude > np.frexp(largest)[1]) | (~constant & (scale < smallest))
    if wrong.any():
        column = int(np.argmax(wrong))
        raise ValueError(
            f"{name} has a column ({column}) of standard deviation {scale[column]:.3g} and values "
            f"up to {np.ldexp(1.0, int(magnitude[column])):.3g} but standardize=True can do with "
            f"{smallest:.1g} to {largest:.1g} in {dtype}: rescale {name}"
        )
    return np.ldexp(mean, magnitude), scale, np.ldexp(1.0, magnitude)


Moments = tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]


def _of_dense(values: NDArray[Any], weights: NDArray[Any] | None) -> Moments:
    """Return per column the exponent of a power of two, and mean and deviation in units of it."""
    wide = np.ascontiguousarray(values, np.float64)  # layout affects the bits of sums
    # Division by a power of two is exact, and prevents overflow and underflow of squares.
    highest, lowest = wide.max(axis=0), wide.min(axis=0)
    magnitude = _exponent(np.maximum(highest, -lowest))
    unit = wide * np.ldexp(1.0, -magnitude)
    mean = np.average(unit, axis=0, weights=weights)
    deviation = np.sqrt(np.average((unit - mean) ** 2, axis=0, weights=weights))
    return magnitude, mean, np.where(highest == lowest, 0.0, deviation)


def _of_sparse(rows: SparseRows, weights: NDArray[Any] | None) -> Moments:
    """Return the same of sparse rows; values that are not stored count as 0."""
    weights = np.ones(len(rows)) if weights is None else weights.astype(np.float64)
    rows, weights = rows[weights > 0], weights[weights > 0]
    (n, n_columns), columns = rows.shape, rows.indices

    def sums(terms: Any) -> NDArray[np.float64]:
        return np.bincount(columns, terms, n_columns).astype(np.float64, copy=False)

    is_full = sums(None) == n
    highest, lowest = np.where(is_full, -np.inf, 0.0), np.where(is_full, np.inf, 0.0)
    np.maximum.at(highest, columns, rows.values)
    np.minimum.at(lowest, columns, rows.values)
    magnitude = _exponent(np.maximum(highest, -lowest))
    unit = rows.values * np.ldexp(1.0, -magnitude)[columns]
    shares = np.repeat(weights / weights.sum(), np.diff(rows.indptr))
    mean = sums(shares * unit)
    absent = np.where(is_full, 0.0, 1 - sums(shares)).clip(0)
    variance = sums(shares * (unit - mean[columns]) ** 2) + absent * mean**2
    return magnitude, mean, np.where(highest == lowest, 0.0, np.sqrt(variance))


def _exponent(peak: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.frexp(peak)[1].clip(-1023, 1023)


def _wide(arrays: Arrays) -> Arrays:
    """Return a new list with the first and last arrays in float64."""
    wide = list(arrays)
    wide[0], wide[-1] = (np.asarray(arrays[at], np.float64) for at in (0, -1))
    return wide
