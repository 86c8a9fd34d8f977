"""The result of a fit of a table: one value that never changes.

Estimators, files, exports, predictors and reports read it. It needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastmlp._core.history import History
from fastmlp.tabular.fitted.predictor import RowPredictor
from fastmlp.tabular.fitted.results import Importance, Report
from fastmlp.tabular.outcome.calibration import Calibration
from fastmlp.tabular.recipe.blend import Blend
from fastmlp.tabular.table.columns import Array, Columns, Table


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of the rows of the fit by members that were not trained on them."""

    predictions: Array  # (n, columns), of all rows of the fit
    rows: list[Array]  # those that the k-th member of each group holds out
    weights: Array | None  # one a row; None if they are equal
    sampled: Array | None = None  # the rows of the fit among those of its table; None if all are
    learned: Array | None = None  # rows that no member holds out; None if there are none
    # With times, the best constant of the rows before each, (n, columns), NaN for rows that no
    # member holds out; not in files.
    earlier: Array | None = None

    def __post_init__(self) -> None:
        """Raise ValueError unless the rows that members hold out have weights above 0."""
        if self.weights is not None:
            lowest = self.weights[np.concatenate(self.rows)].min()
            if lowest <= 0:
                raise ValueError(f"'weights' has {lowest} but must be above 0 where a row is used")


@dataclass(frozen=True, eq=False)
class Facts:
    """Facts about a fit that people read: the report, and how training went."""

    report: Report
    history: History
    curve: list[tuple[int, float, float, float]]  # see `BestEpochSelector`
    best_epoch: int
    n_iter: int
    updated_rows: int = 0  # rows that `partial_fit` has learned since the fit


@dataclass(frozen=True, eq=False)
class FittedTable:
    """The columns, networks and calibration of a fit, and facts about it."""

    parameters: dict[str, Any]  # the estimator had these when it was fitted
    columns: Columns
    feature_names: Array | None  # a frame has them if its names are all text
    blend: Blend
    calibration: Calibration
    held_out: HeldOut | None  # None after ``save(out_of_fold=False)``, see `out_of_fold`
    facts: Facts
    importance: Importance | None = None  # the rows of the fit show it, once it was computed
    rows: tuple[Table, Any] | None = None  # table and target of the fit; not in copies and files
    # After `partial_fit`, the targets of the rows in `held_out`, in the form of a target's ``y``.
    latest: Array | None = None
    target_names: Sequence[str] = ()  # empty if they have none

    @property
    def target(self) -> Any:
        """The target of the networks, without rows."""
        return self.blend.target

    @property
    def out_of_fold(self) -> HeldOut:
        """The predictions of held-out rows; raise AttributeError without them."""
        if self.held_out is None:
            raise AttributeError(
                "the model was saved with out_of_fold=False, without the predictions of held-out "
                "rows that this needs: use the fitted model, or save it with out_of_fold=True"
            )
        return self.held_out

    def predict(self, table: Table) -> Array:
        """Return the predictions of all members, (n, columns)."""
        return self.blend.predict(table)

    def held_out_parts(self) -> list[tuple[Callable[[Table], Array], Array]]:
        """Return functions that predict tables out of fold, each with the rows that it predicts."""
        rows = enumerate(self.out_of_fold.rows)
        return [(partial(self.blend.of_division, k), held_out) for k, held_out in rows]

    def oof_prediction(self) -> Array:
        """Return calibrated out-of-fold predictions, NaN for rows that all members have learned."""
        held_out = self.out_of_fold
        predictions = self.calibration.result(held_out.predictions).copy()
        if held_out.learned is not None:
            predictions[held_out.learned] = np.nan
        return predictions

    def predictor(self, levels: Sequence[float]) -> RowPredictor:
        """Return a function of one row, which predicts quantiles if there are levels."""
        classes = getattr(self.calibration, "classes", None)
        return RowPredictor(self.columns, self.blend, self.calibration.finish_for(levels), classes)
