"""From the predictions of all members to results: means and quantiles, or probabilities.

Both calibrations are fitted to out-of-fold predictions. They need NumPy alone, so that a program
without scikit-learn can use them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from fastmlp.tabular.outcome import temperature
from fastmlp.tabular.outcome.conformal import Residuals, offsets_of
from fastmlp.tabular.table.columns import Array

USUAL_COVERAGE = 0.9  # reports tell whether the rows support intervals of it


@dataclass(frozen=True, eq=False)
class NumberCalibration:
    """Residuals of each output of a regression; outputs are means, then variances if predicted."""

    residuals: tuple[Residuals, ...]
    lowest: float = -np.inf  # lower bound of quantiles
    are_counts: bool = False  # whether quantiles are whole numbers, as all targets are

    def __post_init__(self) -> None:
        """Raise ValueError for residuals that no fit has."""
        if not self.lowest <= 0:
            raise ValueError(f"lowest is {self.lowest} but must be at most 0")
        for k, r in enumerate(self.residuals):
            if not ((r.z[:-1] <= r.z[1:]).all() and (r.places[:-1] < r.places[1:]).all()):
                raise ValueError(f"the residuals of output {k} are not in order")
            if len(r.places) != len(r.sizes):
                raise ValueError(f"output {k} has {len(r.sizes)} sizes at {len(r.places)} places")
            n, total = len(r.w), r.w.sum()
            if not 0.5 < total < n + 0.5:
                words = f"1 to {n} effective rows are possible"
                raise ValueError(f"the weights of output {k} sum to {total:g} but {words}")

    @property
    def outputs(self) -> int:
        """The number of targets."""
        return len(self.residuals)

    def result(self, outputs: Array) -> Array:
        """Return means in the shape of the user's targets: (n,) for one output."""
        return means_of(outputs, self.outputs)

    def scored(self, outputs: Array) -> Array:
        """Return outputs as they are scored, all columns."""
        return outputs

    def means_and_sizes(self, outputs: Array) -> tuple[Array, Array]:
        """Return means, and the local sizes of the residuals, both (n, outputs)."""
        m = self.outputs
        mean = outputs[:, :m]
        predicted = np.sqrt(outputs[:, m:].T) if outputs.shape[1] > m else [None] * m
        sizes = [r.deviation(mean[:, k], predicted[k]) for k, r in enumerate(self.residuals)]
        return mean, np.column_stack(sizes)

    def deviations(self, outputs: Array) -> Array:
        """Return standard deviations, (n, outputs)."""
        _, size = self.means_and_sizes(outputs)
        return np.asarray(size * [residuals.rms for residuals in self.residuals])

    def quantiles(self, outputs: Array, levels: Sequence[float]) -> Array:
        """Return quantiles, (n, outputs, levels), of one output (n, levels)."""
        return self._shifted(outputs, offsets_of(self.residuals, levels))

    def _shifted(self, outputs: Array, offsets: Array) -> Array:
        """Return means plus quantiles of the scaled residuals, times their sizes."""
        mean, size = self.means_and_sizes(outputs)
        quantiles = mean[:, :, np.newaxis] + size[:, :, np.newaxis] * offsets
        quantiles = self.rounded(np.maximum(quantiles, self.lowest))
        return quantiles[:, 0] if self.outputs == 1 else quantiles

    def finish_for(self, levels: Sequence[float]) -> Callable[[Array], Array]:
        """Return the function from outputs to results, or to quantiles if there are levels."""
        offsets = offsets_of(self.residuals, levels)
        return partial(self._shifted, offsets=offsets) if levels else self.result

    def rounded(self, quantiles: Array) -> Array:
        """Return quantiles of counts rounded down (Machado and Santos Silva 2005), else as given.

        A count is above a quantile if and only if it is above this whole number.
        """
        return np.floor(quantiles) if self.are_counts else quantiles

    @property
    def effective_rows(self) -> float:
        """The smallest number of effective rows of an output."""
        return min(float(r.w.sum()) for r in self.residuals)

    @property
    def limits(self) -> dict[str, str]:
        """A line for a report if the rows are too few for intervals of the usual coverage."""
        n = self.effective_rows
        if (most := 1 - 2 / (n + 1)) >= USUAL_COVERAGE:
            return {}
        words = f"{n:.3g} effective rows support at most {max(most, 0.0):.0%}"
        return {"intervals": f"{words}; wider ones end beyond all residuals"}

    def log_density(self, outputs: Array, y: Array) -> Array:
        """Return log-densities of targets, (n, outputs), summed over outputs that are not NaN."""
        mean, size = self.means_and_sizes(outputs)
        missing = np.isnan(y)
        y = np.where(missing, mean, y)
        columns = [
            r.log_density(y[:, k], mean[:, k], size[:, k]) for k, r in enumerate(self.residuals)
        ]
        return np.asarray(np.sum(np.where(missing.T, 0.0, columns), axis=0))

    @property
    def facts(self) -> dict[str, str]:
        """Facts for a report, of which residuals have none."""
        return {}

    def exported(self, outputs: Array, levels: Sequence[float]) -> Array:
        """Return the columns of an exported file: means, deviations, quantiles."""
        quantiles = self.quantiles(outputs, levels).reshape(len(outputs), -1)
        mean = outputs[:, : self.outputs]
        return np.concatenate([mean, self.deviations(outputs), quantiles], axis=1)


@dataclass(frozen=True, eq=False)
class LabelCalibration:
    """The temperature of a classification, and its classes or labels."""

    temperature: float
    classes: Array
    has_labels: bool  # whether each column is the probability of an independent label

    @property
    def kind(self) -> str:
        """The rule that turns probabilities into labels, see `fastmlp._network.exported.Labels`."""
        return "each" if self.has_labels else "largest"

    @property
    def outputs(self) -> int:
        """The number of probabilities."""
        return len(self.classes)

    def result(self, outputs: Array) -> Array:
        """Return calibrated probabilities, (n, outputs)."""
        return temperature.applied(outputs, self.temperature, self.has_labels)

    def finish_for(self, levels: Sequence[float]) -> Callable[[Array], Array]:
        """Return the function from outputs to results; classes have no levels."""
        return self.result

    def scored(self, outputs: Array) -> Array:
        """Return outputs as they are scored, calibrated."""
        return self.result(outputs)

    def labels(self, outputs: Array) -> Array:
        """Return the most probable classes, (n,), or 0 or 1 for each label, (n, labels)."""
        return most_probable(self.result(outputs), self.classes, self.has_labels)

    @property
    def facts(self) -> dict[str, str]:
        """Facts for a report."""
        return {"temperature": f"{self.temperature:.3g}"}

    def exported(self, outputs: Array, levels: Sequence[float]) -> Array:
        """Return the columns of an exported file, the probabilities."""
        return self.result(outputs)


class HazardCalibration(LabelCalibration):
    """The temperature of hazards; the classes are the ends of the intervals."""

    kind = "hazards"


Calibration: TypeAlias = NumberCalibration | LabelCalibration


def most_probable(p: Array, classes: Array, has_labels: bool) -> Array:
    """Return the most probable classes, (n,), or 0 or 1 for each label, (n, labels)."""
    return np.asarray((p > 0.5).astype(int) if has_labels else classes[p.argmax(axis=1)])


def means_of(outputs: Array, targets: int) -> Array:
    """Return means in the shape of the user's targets: (n,) for one target."""
    return outputs[:, 0] if targets == 1 else outputs[:, :targets]
