"""A fitted estimator of tables as plain arrays, the common input of all exporters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp._engine import linked
from fastmlp._network.exported import Exported, Labels, joined
from fastmlp._network.spec import Spec
from fastmlp.tabular.fitted.fitted_table import FittedTable
from fastmlp.tabular.outcome.calibration import LabelCalibration
from fastmlp.tabular.outcome.conformal import Residuals
from fastmlp.tabular.recipe.members import Members
from fastmlp.tabular.table.columns import Columns
from fastmlp.tabular.table.encoding import Encoding


@dataclass(frozen=True, eq=False)
class ExportedTable:
    """All that a prediction of a table needs; for the order of inputs see ``Encoding.rows``."""

    columns: Columns
    groups: list[Members]  # one for each recipe
    shares: list[float]  # the weights of the groups
    networks: list[Exported]  # those of each group, float32
    outputs: int
    labels: Labels | None = None
    temperature: float = 1.0
    residuals: tuple[Residuals, ...] = ()  # one an output of a regressor
    lowest: float = -np.inf  # quantile
    are_counts: bool = False  # whether quantiles are rounded down

    @property
    def encoding(self) -> Encoding:
        """The encoding of the first group, for all that does not depend on members and bins.

        Values of a category that a member does not know get inputs of 0.
        """
        return self.groups[0].encoding

    @property
    def has_variances(self) -> bool:
        """Whether networks predict variances after means; else ``residuals`` give the sizes."""
        return self.spec.loss.predicts_variance

    @property
    def spec(self) -> Spec:
        """Shape and dtype of the first network."""
        return self.networks[0].spec

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all networks."""
        return sum(net.n_parameters for net in self.networks)


def exported(fitted: FittedTable) -> ExportedTable:
    """Return the description of a fitted table."""
    blend, calibration = fitted.blend, fitted.calibration
    networks = [joined(map(linked.exported, group.engines())) for group in blend.groups]
    if isinstance(calibration, LabelCalibration):
        labels = Labels(calibration.kind, calibration.classes)
        more: dict[str, Any] = {"labels": labels, "temperature": calibration.temperature}
    else:
        names = "residuals", "lowest", "are_counts"
        more = {name: getattr(calibration, name) for name in names}
    shares, outputs = blend.weights.tolist(), calibration.outputs
    return ExportedTable(fitted.columns, blend.groups, shares, networks, outputs, **more)
