"""A fitted estimator of tables as plain arrays, the common input of all exporters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._export.layers import Exported, Labels, joined
from fastmlp._network.spec import Spec
from fastmlp.tabular.calibration import LabelCalibration
from fastmlp.tabular.columns import Columns
from fastmlp.tabular.conformal import Residuals
from fastmlp.tabular.encoding import CategoryInputs, Encoding
from fastmlp.tabular.fitted_table import FittedTable
from fastmlp.tabular.members import Members
from fastmlp.tabular.targets import TargetScale


@dataclass(frozen=True, eq=False)
class ExportedGroup:
    """The members of one recipe; the first axis of arrays is the member."""

    share: float  # the group's weight
    networks: Exported  # float32
    encoding: Encoding
    target: TargetScale | None  # with the limits of predictions


@dataclass(frozen=True, eq=False)
class ExportedTable:
    """All that a prediction of a table needs; for the order of inputs see ``Encoding.rows``."""

    columns: Columns
    with_missing: NDArray[np.int64]
    categories: tuple[CategoryInputs, ...]  # values that a member does not know get inputs of 0
    groups: tuple[ExportedGroup, ...]
    outputs: int
    labels: Labels | None = None
    temperature: float = 1.0
    residuals: tuple[Residuals, ...] = ()  # of each output of a regressor
    lowest: float = -np.inf  # quantile

    @property
    def has_variances(self) -> bool:
        """Whether networks predict variances after means; else ``residuals`` give the sizes."""
        return self.spec.loss.predicts_variance

    @property
    def networks(self) -> list[Exported]:
        """The networks of each group."""
        return [group.networks for group in self.groups]

    @property
    def spec(self) -> Spec:
        """Shape and dtype of the first network."""
        return self.groups[0].networks.spec

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all networks."""
        return sum(net.n_parameters for net in self.networks)


def exported(fitted: FittedTable) -> ExportedTable:
    """Return the description of a fitted table."""
    first, calibration = fitted.blend.groups[0], fitted.calibration
    more: dict[str, Any] = {}
    if isinstance(calibration, LabelCalibration):
        kind = "each" if calibration.has_labels else "largest"
        more["labels"] = Labels(kind, calibration.classes)
        more["temperature"] = calibration.temperature
    else:
        more["residuals"], more["lowest"] = calibration.residuals, calibration.lowest
    return ExportedTable(
        fitted.columns,
        first.encoding.with_missing,
        first.encoding.categories,
        tuple(map(_group, fitted.blend.groups, fitted.blend.weights)),
        calibration.outputs,
        **more,
    )


def _group(group: Members, share: float) -> ExportedGroup:
    networks = joined(member._exported() for member in group.ensemble)
    return ExportedGroup(float(share), networks, group.encoding, group.scale)
