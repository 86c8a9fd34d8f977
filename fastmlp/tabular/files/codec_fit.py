"""The fit of an estimator of tables in a file. Reading it needs NumPy alone."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.history import History
from fastmlp._files.fields import Context, Count, Cursor, Flag, Number, Numbers, Tensor, Text, Texts
from fastmlp._files.schema import Chosen, Computed, Counted, Flagged, List, Maybe, Object, Parts
from fastmlp._files.strict_json import MOST_INTEGER, shown
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import Value
from fastmlp.tabular.files.codec_members import BLEND, COLUMNS, PLACES, length
from fastmlp.tabular.fitted.fitted_table import Facts, FittedTable, HeldOut
from fastmlp.tabular.fitted.predictor import RowPredictor
from fastmlp.tabular.fitted.results import Importance, Report
from fastmlp.tabular.outcome.calibration import (
    Calibration,
    HazardCalibration,
    LabelCalibration,
    NumberCalibration,
    means_of,
)
from fastmlp.tabular.outcome.conformal import FREEDOMS, Residuals, levels_for
from fastmlp.tabular.outcome.targets import MultiLabelTarget
from fastmlp.tabular.outcome.temperature import LARGEST_LOG
from fastmlp.tabular.recipe.blend import Blend

# Of a point of a curve: the dtypes of its epoch and its costs.
CURVE = {"epoch": np.int64, **dict.fromkeys(("alone", "joint", "compared"), np.float64)}


def _outputs(context: Context) -> int:
    return context["blend"].target.outputs  # type: ignore[no-any-return]


def _rows(context: Context) -> int:
    held_out = context.get("held_out")  # which a predictor does not need
    return MOST_INTEGER if held_out is None else len(held_out.predictions)


# ---------------------------------------------------------------------------------- rows


def _of_predictions(context: Context) -> tuple[int, int]:
    return context["n"], (1 + context["blend"].target.loss.predicts_variance) * _outputs(context)


def _of_rows(context: Context) -> tuple[int]:
    return (len(context["predictions"]),)


def _last_row(context: Context) -> int:
    return len(context["predictions"]) - 1


HELD_OUT = Object(
    {
        "predictions": Counted(Tensor(_of_predictions)),
        "rows": Parts(
            Tensor(length, PLACES, 0, _last_row),
            lambda context: len(context["blend"].groups[0]),
            lambda context: len(context["predictions"]),
        ),
        "weights": Flagged(Tensor(_of_rows, least=0.0)),
        "sampled": Flagged(Tensor(_of_rows, PLACES, 0)),
        "learned": Maybe(Counted(Tensor(length, PLACES, 0, _last_row, rising=True))),
    },
    HeldOut,
)

# ---------------------------------------------------------------------------------- calibrations


def _of_outputs(context: Context) -> tuple[int]:
    return (_outputs(context),)


# The first axis of each array is the output.
RESIDUALS = Object(
    {
        "z": Counted(Tensor(lambda context: (_outputs(context), context["n"])), 1, 1, _rows),
        "w": Tensor(lambda context: context["z"].shape, least=0.0),
        "places": Parts(Tensor(length), _outputs, _rows),
        "sizes": Parts(Tensor(length, positive=True), _outputs, _rows),
        "trust": Tensor(_of_outputs, least=0.0, most=1.0),
        "freedom": Tensor(_of_outputs, least=FREEDOMS[0], most=FREEDOMS[-1]),
        "spread": Tensor(_of_outputs, positive=True),
        "rms": Tensor(_of_outputs),
    },
    lambda **arrays: tuple(map(Residuals, *arrays.values())),
    lambda residuals: {key: [getattr(r, key) for r in residuals] for key in vars(residuals[0])},
)


TEMPERATURE = Number(*np.exp([-LARGEST_LOG, LARGEST_LOG]).tolist())


def _labels(classes: NDArray[Any], outputs: int, **fields: Any) -> LabelCalibration:
    if classes.shape != (outputs,) or not (classes[:-1] < classes[1:]).all():
        raise ValueError(f"there are {classes.shape} classes, not {outputs} in order, each once")
    return LabelCalibration(classes=classes, **fields)


def _hazards(temperature: float, edges: NDArray[np.float64]) -> HazardCalibration:
    return HazardCalibration(temperature, edges, has_labels=True)


CALIBRATIONS = {
    "TabMLPSurvival": Object(
        {"temperature": TEMPERATURE, "edges": Tensor(_of_outputs, positive=True, rising=True)},
        _hazards,
        lambda calibration: {
            "temperature": calibration.temperature,
            "edges": calibration.classes,
        },
    ),
    "TabMLPClassifier": Object(
        {
            "outputs": Computed(_outputs),
            "has_labels": Computed(lambda c: isinstance(c["blend"].target, MultiLabelTarget)),
            "temperature": TEMPERATURE,
            "classes": Value(np.ndarray),
        },
        _labels,
    ),
    "TabMLPRegressor": Object(
        {"residuals": RESIDUALS, "lowest": Value(float), "are_counts": Flag()}, NumberCalibration
    ),
}

# ---------------------------------------------------------------------------------- facts


def _report(**fields: Any) -> Report:
    for key, kind in (("seconds", float), ("more", str)):
        for name, value in fields[key].items():
            if not isinstance(name, str) or type(value) is not kind:
                raise ValueError(f"{key} has {shown(name)} with {shown(value)}")
    return Report(**fields)


REPORT = Object(
    {
        "rows": Count(1),
        "kinds": Computed(lambda context: context["columns"].kinds),
        "left_out": Computed(lambda context: context["columns"].left_out),
        "columns": Computed(lambda context: len(context["columns"].names)),  # hides the others
        "members": List(Text()),
        "metric": Text(),
        **dict.fromkeys(("alone", "together"), Value(float)),
        **dict.fromkeys(("seconds", "more"), Value(dict)),
        "notes": Texts(),
    },
    _report,
)
FACTS = Object(
    {
        "report": REPORT,
        "history": parts.HISTORY,
        "curve": Object(
            {name: Numbers(dtype) for name, dtype in CURVE.items()},
            lambda **columns: list(zip(*columns.values(), strict=True)),
            lambda curve: {name: [point[at] for point in curve] for at, name in enumerate(CURVE)},
        ),
        **dict.fromkeys(("best_epoch", "n_iter", "updated_rows"), Count()),
    },
    Facts,
)
IMPORTANCE = Object(
    {
        "names": Texts(),
        **dict.fromkeys(("means", "deviations"), Tensor(lambda c: (len(c["names"]),))),
        "unit": Text(),
    },
    Importance,
)


def _latest(of: tuple[Any, int], targets: Any) -> NDArray[Any]:
    """Return the targets of the n latest rows of `partial_fit`."""
    (target, n), y = of, np.array(targets)
    shape = (n,) if target.name == "classes" else (n, target.outputs)
    if y.size != math.prod(shape):
        raise ValueError(f"there are {y.size} targets of {shape}")
    if target.kind == "classes":
        most = target.outputs - 1 if target.name == "classes" else 1
        if not np.isin(y, np.arange(most + 1)).all():
            raise ValueError(f"there are targets that are no integers from 0 to {most}")
        y = y.astype(np.int64)
    return y.reshape(shape)


LATEST = Object(
    {
        "of": Computed(lambda context: (context["blend"].target, _rows(context))),
        "targets": Numbers(),
    },
    _latest,
    lambda y: {"targets": y.ravel()},
)

# ---------------------------------------------------------------------------------- the fit


def _fitted(blend: Blend, calibration: Calibration, **fields: Any) -> FittedTable:
    """Return a fitted table whose target has the classes that the file holds once."""
    if isinstance(calibration, LabelCalibration):
        target = replace(blend.target, classes=calibration.classes)
        blend = replace(blend, groups=[replace(group, target=target) for group in blend.groups])
    return FittedTable(blend=blend, calibration=calibration, **fields)


FIT = Object(
    {
        "columns": COLUMNS,
        "feature_names": Flagged(Computed(lambda c: np.array(c["columns"].names, object))),
        "blend": BLEND,
        "held_out": Maybe(HELD_OUT),
        "calibration": Chosen(lambda context: CALIBRATIONS[context["name"]]),
        "facts": FACTS,
        "importance": Maybe(IMPORTANCE),
        "latest": Maybe(LATEST),
        "target_names": List(Text()),
        "parameters": Computed(lambda context: context["parameters"]),
    },
    _fitted,
)
NETWORKS = {key: FIT.fields[key] for key in ("columns", "blend")}
CALIBRATED = Object({**NETWORKS, "calibration": FIT.fields["calibration"]})
# What predictions need; those of numbers need no residuals, but for quantiles.
SERVED = {
    "TabMLPClassifier": CALIBRATED,
    "TabMLPRegressor": Object(NETWORKS),
    "TabMLPSurvival": CALIBRATED,
}


def values(fitted: FittedTable, training: bool) -> FittedTable:
    """Return a fitted table without the record of its training, unless it belongs to the file."""
    if training:
        return fitted
    groups = [replace(group, optimizers=()) for group in fitted.blend.groups]
    return replace(
        fitted,
        blend=replace(fitted.blend, groups=groups),
        facts=replace(fitted.facts, history=History(), curve=[]),
    )


def predictor(fit: Any, cursor: Cursor, levels: Any = ()) -> RowPredictor:
    """Return the function of one row that a file describes."""
    served = CALIBRATED if np.size(levels) else SERVED[cursor.context["name"]]
    fields = served.read_part(fit, cursor)
    calibration, blend = fields.get("calibration"), fields["blend"]
    finish = partial(means_of, targets=blend.target.outputs)
    if calibration:
        finish = calibration.finish_for(levels_for(blend.target, levels))
    return RowPredictor(fields["columns"], blend, finish, getattr(calibration, "classes", None))
