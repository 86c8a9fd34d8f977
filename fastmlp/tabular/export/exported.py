"""A fitted estimator of tables as plain arrays: what every way of writing it down begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._export.layers import Exported, Labels
from fastmlp._network.spec import Spec
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Columns
from fastmlp.tabular.conformal import Residuals
from fastmlp.tabular.encoding import NumericStatistics, inputs_of_values
from fastmlp.tabular.members import TrainedMembers
from fastmlp.tabular.targets import TargetScale

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ExportedGroup:
    """Members of one recipe, each with its own encoding; see `fastmlp.tabular.encoding`.

    Attributes
    ----------
    share : float
        What the mean of its members, or the mean and variance of their mixture, counts for in the
        sum over groups; all sum to 1.
    networks : tuple of Exported
        Of the members, float32, of one shape; their links are inside.
    numbers : Numbers
        Of the numeric columns, float64: ``centre`` and ``factor`` of shape (members, numbers),
        ``edges`` of shape (members, numbers, bins + 1).
    bins : int
        Piecewise linear inputs of each number; 0 for none.
    known : tuple of arrays of bool, each of shape (members, values)
        Of each category column, which values a member has learned from.
    target : Scale or None
        How predictions come from networks of numbers, float64, each array of shape (members,
        outputs): z * factor + centre, from ``low`` to ``high``, and variances times factor**2.
    """

    share: float
    networks: tuple[Exported, ...]
    numbers: NumericStatistics
    bins: int
    known: tuple[NDArray[np.bool_], ...]
    target: TargetScale | None


@dataclass(frozen=True, eq=False)
class ExportedTable:
    """All that a prediction of a table needs.

    Attributes
    ----------
    columns : Columns
        Places, names and values of the columns that are used.
    with_missing : array of int
        Which of the numeric columns have an input that says that the number is missing.
    inputs_of_values : tuple of arrays of float32, each of shape (values, inputs)
        Of each category column, the inputs of each value that a member knows; 0 for others.
    groups : tuple of ExportedGroup
        Their inputs, in order: numbers, which are missing, categories, piecewise linear parts.
    outputs : int
        Classes, labels or targets.
    labels : Labels or None
        Of a classifier; of kind "largest", or "each" for several labels.
    temperature : float
        Of a classifier, see `fastmlp.tabular.temperature.applied`.
    residuals : tuple of Residuals
        Of a regressor, for each output: ``places``, ``sizes``, ``rms`` and ``quantile(level)``.
    lowest : float
        No quantile of a regressor is lower.
    """

    columns: Columns
    with_missing: NDArray[np.int64]
    inputs_of_values: tuple[NDArray[np.float32], ...]
    groups: tuple[ExportedGroup, ...]
    outputs: int
    labels: Labels | None = None
    temperature: float = 1.0
    residuals: tuple[Residuals, ...] = ()
    lowest: float = -np.inf

    @property
    def has_variances(self) -> bool:
        """Whether networks predict variances behind means; else sizes come of ``residuals``."""
        return self.spec.loss.heads > 1

    @property
    def spec(self) -> Spec:
        """Shape and dtype of the first network."""
        return self.groups[0].networks[0].spec

    @property
    def n_parameters(self) -> int:
        """Of all networks."""
        return sum(net.n_parameters for group in self.groups for net in group.networks)


def exported(columns: Columns, blend: Blend, **more: Any) -> ExportedTable:
    """Return the description of what predicts; ``more`` are the attributes behind ``outputs``."""
    first = blend.groups[0]
    return ExportedTable(
        columns,
        first.encodings[0].with_missing,
        tuple(inputs_of_values(len(column.values or ())) for _, column in columns.categories),
        tuple(map(_group, blend.groups, blend.weights)),
        first.target.outputs,
        **more,
    )


def _group(group: TrainedMembers, share: float) -> ExportedGroup:
    numbers = zip(*(encoding.numbers for encoding in group.encodings), strict=True)
    known = zip(*(encoding.known for encoding in group.encodings), strict=True)
    return ExportedGroup(
        float(share),
        tuple(member._exported() for member in group.ensemble),
        NumericStatistics(*map(np.stack, numbers)),
        group.encodings[0].bins,
        tuple(map(np.stack, known)),
        _target(group.target, group.scales),
    )


def _target(target: Any, scales: Sequence[TargetScale | None]) -> TargetScale | None:
    """Return the scales of all members, with the limits that predictions have."""
    found = [target.limited(scale) for scale in scales if scale is not None]
    return TargetScale(*map(np.stack, zip(*found, strict=True))) if found else None
