"""The training of a fit without epochs and optimizer, measured in docs/reference/networks.md.

The weight decay follows from the noise of the targets. The training of a wide network approximates
a regression with the arc-cosine kernel (Cho and Saul 2009, "Kernel methods for deep learning"). For
this regression, a formula gives the prediction of each row by all others (Allen 1974, PRESS).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp._network.activations import Array
from fastmlp._network.data import Data
from fastmlp._network.optimizers import AdamW
from fastmlp._network.schedules import OneCycle
from fastmlp._network.spec import Spec

# Limits of steps and epochs; MAX_WORK limits the rows in all batches times the parameters.
MAX_STEPS, MIN_STEPS, MIN_EPOCHS, MAX_WORK = 8000, 600, 10, 2.56e10
# Most steps per row for a loss with a link, which never stops falling where classes are separate.
STEPS_PER_ROW = 40
PEAK, PEAK_NEURONS = 0.03, 400  # the rate falls as more hidden neurons are added than these


class Decay(NamedTuple):
    """The weight decay: factor noise**noise_power parameters**power inputs**2 / rows."""

    factor: float
    noise_power: float
    power: float
    most: float  # the limit, for each hidden layer


# The keys say whether the loss has a link.
DECAYS = {False: Decay(0.5, 1 / 3, 1 / 2, 1.5), True: Decay(1.86, 1 / 6, 1 / 3, 2.9)}
MAX_INPUTS = 10  # more inputs do not raise the decay: most of many inputs depend on others

NOISES = 10.0 ** np.arange(-5, 2.5, 0.5)  # variances of the noise over that of the function
MAX_ROWS, MAX_NUMBERS = 500, 5_000_000  # rows of a kernel; numbers in the inputs of these rows
# Outputs whose errors are measured; if targets are missing, outputs with a kernel of their own.
MAX_OUTPUTS, MAX_KERNELS = 100, 8
UNKNOWN = 0.1  # noise where it cannot be measured: fewer than two rows, equal targets


def chosen(data: Data, batch_size: int, spec: Spec) -> tuple[int, AdamW]:
    """Return epochs and optimizer that suit the rows and the network."""
    is_linked, (n_inputs, *hidden, _) = spec.loss.is_linked, spec.layer_sizes
    work = min(batch_size, data.rows) * spec.n_parameters
    steps = min(MAX_STEPS, STEPS_PER_ROW * data.rows if is_linked else math.inf, MAX_WORK / work)
    n_steps, per_epoch = max(MIN_STEPS, int(steps)), -(-data.rows // batch_size)
    factor, noise_power, power, most = DECAYS[is_linked]
    spread = noise(data) ** noise_power * spec.n_parameters**power
    decay = factor * spread * min(n_inputs, MAX_INPUTS) ** 2 / data.rows
    decay = float(f"{min(decay, most * max(1, len(hidden))):.3g}")  # the same on every machine
    peak = PEAK * min(1.0, PEAK_NEURONS / max(1, sum(hidden)))
    return max(MIN_EPOCHS, -(-n_steps // per_epoch)), AdamW(OneCycle(peak), weight_decay=decay)


def noise(data: Data) -> float:
    """Return the one of NOISES with which a kernel regression best predicts rows it leaves out."""
    rows = np.arange(data.rows) if data.weights is None else np.flatnonzero(data.weights)
    if data.output_weights is None:
        total = _left_out_errors(data.x, data.targets, rows)
    else:  # each output has targets in rows of its own
        errors = [
            _left_out_errors(data.x, data.targets[:, [k]], rows[data.output_weights[rows, k] > 0])
            for k in _evenly(data.targets.shape[1], MAX_KERNELS)
        ]
        total = np.sum(errors, axis=0)
    if not (np.isfinite(total).all() and np.all(total > 0)):
        return UNKNOWN
    # The largest noise that is nearly best is returned, so that rounding in LAPACK decides nothing.
    return float(NOISES[np.flatnonzero(total <= 1.001 * total.min())[-1]])


def _left_out_errors(x: Array, targets: Array, rows: Array) -> Array:
    """Return the squared error of left-out rows for each of NOISES; 0 if it cannot be measured."""
    rows = rows[_evenly(len(rows), min(MAX_ROWS, max(2, MAX_NUMBERS // x.shape[1])))]
    # Only one of several equal rows is used, because the others would reveal its target.
    x = np.asarray(x[rows], float)
    first = _first_of_equal(x)
    x, y, errors = x[first], targets[rows[first]], np.zeros(len(NOISES))
    if len(x) < 2:
        return errors
    y = (y[:, None] == np.unique(y) if y.ndim == 1 else y).astype(float)
    y = y[:, _evenly(y.shape[1], MAX_OUTPUTS)]
    with np.errstate(all="ignore"):  # huge numbers overflow
        kernel = _kernel((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9))
        largest = np.abs(y).max()
        centred = (y - y.mean(axis=0)) / largest
        if not (np.isfinite(kernel).all() and 1e-12 < np.abs(centred).max() < np.inf):
            return errors
        values, vectors = np.linalg.eigh(kernel)
        coordinates = vectors.T @ centred
        for k, variance in enumerate(NOISES):
            shrinkage = variance / (variance + np.maximum(values, 0))
            residuals = vectors @ (shrinkage[:, None] * coordinates)
            left = vectors**2 @ shrinkage - 1 / len(x)  # the mean takes a degree of freedom
            errors[k] = np.square(residuals / left[:, None]).sum()
    return errors


def _first_of_equal(x: Array) -> list[int]:
    """Return the rows that equal none before them."""
    firsts: dict[bytes, int] = {}
    for k, row in enumerate(x + 0.0):  # turns -0.0 into 0.0
        firsts.setdefault(row.tobytes(), k)
    return list(firsts.values())


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` of n indices, evenly spaced."""
    return np.linspace(0, n - 1, min(n, most)).astype(int)


def _kernel(x: Array) -> Array:
    """Return the centred kernel of some rows, of mean variance 1."""
    products = (x @ x.T + 1) / (x.shape[1] + 1)  # 1 for the bias
    norms = np.sqrt(np.outer(products.diagonal(), products.diagonal()))
    cosines = np.clip(products / norms, -1, 1)
    kernel = norms * (np.sqrt(1 - cosines**2) + (np.pi - np.arccos(cosines)) * cosines)
    kernel -= kernel.mean(axis=0)
    kernel -= kernel.mean(axis=1)[:, None]
    return np.asarray(kernel / (kernel.trace() / len(x)))
