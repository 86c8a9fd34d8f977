"""The fit of an estimator of tables in a file. Reading it needs NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._files import schema
from fastmlp._files.fields import (
    Choice,
    Count,
    Cursor,
    Field,
    Flag,
    Number,
    Numbers,
    Tensor,
    Text,
    Texts,
)
from fastmlp._files.schema import At, Counted, Flagged, List, Object
from fastmlp._files.strict_json import shown
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import Value
from fastmlp.tabular import codec_members
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.calibration import LabelCalibration, NumberCalibration
from fastmlp.tabular.codec_members import PLACES, blend_of, check_groups
from fastmlp.tabular.columns import Array, Columns
from fastmlp.tabular.conformal import FREEDOMS, Residuals
from fastmlp.tabular.fitted_table import Facts, FittedTable, HeldOut
from fastmlp.tabular.inspection import in_order
from fastmlp.tabular.loss_rows import LOSSES
from fastmlp.tabular.predictor import RowPredictor
from fastmlp.tabular.report import Report
from fastmlp.tabular.targets import ClassTarget, MultiLabelTarget, NumericTarget
from fastmlp.tabular.temperature import LARGEST_LOG

CURVE = (np.int64, np.float64, np.float64, np.float64)  # dtypes of the columns of a curve
COUNTS = {"best_epoch_": "best_epoch", "n_iter_": "n_iter"}  # field -> fact
FITTED = ("freedom", "spread", "rms")  # fields of residuals with one number per output
CLASSES = {False: "classes", True: "labels"}  # names of targets: are labels independent?


class _Parts(Field):
    """Rows of the table in parts: the key says how many rows each part has."""

    def write(self, value: list[Array], cursor: Cursor) -> list[int]:
        cursor.file[cursor.tensor] = np.concatenate(value)
        return [len(rows) for rows in value]

    def read(self, tree: Any, cursor: Cursor) -> list[NDArray[np.int64]]:
        n, rows = (cursor.context[key] for key in ("members", "rows"))
        counts = List(Count(1, rows), n).read(tree, cursor)
        found = Tensor((sum(counts),), PLACES, 0, rows - 1).read(tree, cursor)
        return list(np.split(found, np.cumsum(counts)[:-1]))


def _report(**fields: Any) -> dict[str, Any]:
    for key, kind in (("seconds", float), ("more", str)):
        for name, value in fields[key].items():
            if not isinstance(name, str) or type(value) is not kind:
                raise ValueError(f"{key} has {shown(name)} with {shown(value)}")
    return fields


REPORT = Object(
    {
        "members": List(Text()),
        "metric": Text(),
        **dict.fromkeys(("alone", "together"), Value(float)),
        **dict.fromkeys(("seconds", "more"), Value(dict)),
        "notes": Texts(),
    },
    _report,
)


def _shape(*names: str) -> Callable[[Any], tuple[int, ...]]:
    """Return a function from the fields read before to the shape that some of them make."""
    return lambda context: tuple(context[name] for name in names)


def _of_places(context: Any) -> tuple[int]:
    return (sum(context["places"]),)


def _out_of_fold(context: Any) -> tuple[int, int]:
    return context["rows"], context["groups"][0]["network"].loss.heads * context["outputs"]


NUMBERS: dict[str, Field] = {
    "target": Choice(LOSSES),
    "judged": Count(1),
    "trust": Number(most=1.0),
    "places": List(Count(1), lambda context: context["outputs"]),
    "unit": Tensor(_shape("outputs"), positive=True),
    "lowest": schema.Maybe(Number()),  # null: none
    "residuals.z": Tensor(_shape("outputs", "judged")),
    "residuals.w": Tensor(_shape("outputs", "judged"), positive=True),
    "residuals.places": Tensor(_of_places),
    "residuals.sizes": Tensor(_of_places, positive=True),
    "residuals.freedom": Tensor(_shape("outputs"), float, FREEDOMS[0], FREEDOMS[-1]),
    "residuals.spread": Tensor(_shape("outputs"), positive=True),
    "residuals.rms": Tensor(_shape("outputs")),
}
TEMPERATURE = Number(*np.exp([-LARGEST_LOG, LARGEST_LOG]).tolist())
LABELS: dict[str, Field] = {
    "target": Choice(tuple(CLASSES.values())),
    "temperature": TEMPERATURE,
    "classes": Value(np.ndarray),
}


# What predictions need: the columns of a table, and the members of each recipe.
BLEND: dict[str, Field] = {
    "columns": codec_members.COLUMNS,
    "members": Count(1),
    "with_missing": Counted(
        Tensor(
            *(_shape("n"), PLACES, 0, lambda context: len(context["columns"].numbers) - 1),
            rising=True,
        )
    ),
    "groups": At("/groups", List(codec_members.GROUP)),
    "outputs": schema.Checked(check_groups),
}


def _fit(task: dict[str, Field]) -> Object:
    importance = Tensor(lambda context: (2, len(context["columns"].used)))
    curve = {f"curve.{at}": Numbers(dtype) for at, dtype in enumerate(CURVE)}
    return Object(
        {
            **BLEND,
            **task,
            "rows": Count(1),
            "out_of_fold": Tensor(_out_of_fold),
            "weighted": Flagged(At("weights", Tensor(_shape("rows"), least=0.0))),
            "explained": Flagged(At("importance", importance)),
            "sampled": Flagged(Tensor(_shape("rows"), PLACES, 0)),
            "out": _Parts(),
            **curve,
            "history": parts.HISTORY,
            "report": REPORT,
            "feature_names": Flag(),
            **dict.fromkeys(COUNTS, Count()),
        },
        first=("out_of_fold", "weighted", "explained", "out", *curve),
    )


FITS = {"TabMLPClassifier": _fit(LABELS), "TabMLPRegressor": _fit(NUMBERS)}
FIT = schema.Chosen(lambda context: FITS[context["name"]])


def values(fitted: FittedTable, training: bool) -> dict[str, Any]:
    """Return the fields of a fitted table."""
    held_out, facts, columns = fitted.held_out, fitted.facts, fitted.columns
    importance = None
    if fitted.importance is not None:
        order = [fitted.importance.names.index(name) for name in columns.used]
        importance = np.stack([fitted.importance.means, fitted.importance.deviations])[:, order]
    curve = zip(*facts.curve, strict=True) if training and facts.curve else [()] * len(CURVE)
    has_classes = isinstance(fitted.calibration, LabelCalibration)
    of_task = _label_values if has_classes else _number_values
    return {
        **_blend_values(columns, fitted.blend),
        **of_task(fitted),
        "outputs": fitted.calibration.outputs,
        "rows": len(held_out.predictions),
        "out_of_fold": held_out.predictions,
        "weighted": held_out.weights,
        "explained": importance,
        "sampled": held_out.sampled,
        "out": held_out.rows,
        **{f"curve.{at}": column for at, column in enumerate(curve)},
        "history": (facts.history if training else type(facts.history)()).whole(),
        "report": facts.report,
        "feature_names": fitted.feature_names is not None,
        **{field: getattr(facts, fact) for field, fact in COUNTS.items()},
    }


def _blend_values(columns: Columns, blend: Blend) -> dict[str, Any]:
    return {
        "columns": columns,
        "members": len(blend.groups[0].ensemble),
        "with_missing": blend.groups[0].encoding.with_missing,
        "groups": list(map(codec_members.group_values, blend.groups, blend.weights)),
    }


def _label_values(fitted: FittedTable) -> dict[str, Any]:
    calibration: Any = fitted.calibration
    return {
        "target": CLASSES[calibration.has_labels],
        "temperature": float(calibration.temperature),
        "classes": calibration.classes,
    }


def _number_values(fitted: FittedTable) -> dict[str, Any]:
    calibration: Any = fitted.calibration
    residuals = calibration.residuals
    lists = {key: [getattr(output, key) for output in residuals] for key in vars(residuals[0])}
    return {
        "target": fitted.target.name,
        "judged": len(lists["z"][0]),
        "trust": residuals[0].trust,
        "places": list(map(len, lists["places"])),
        "unit": fitted.target.unit,
        "lowest": calibration.lowest if np.isfinite(calibration.lowest) else None,
        **{f"residuals.{key}": np.stack(lists[key]) for key in ("z", "w", *FITTED)},
        **{f"residuals.{key}": np.concatenate(lists[key]) for key in ("places", "sizes")},
    }


def built(fit: dict[str, Any], parameters: Mapping[str, Any]) -> FittedTable:
    """Return the fitted table of these fields, and of the parameters of the estimator."""
    of_task = _numbers if fit["target"] in LOSSES else _classes
    target, calibration, used = of_task(fit)
    columns, weights = fit["columns"], fit["weighted"]
    if weights is not None and weights[np.concatenate(fit["out"])].min() <= 0:
        raise ValueError("tensor 'fit.weights' has 0.0 but must be above 0 where a row is used")
    n = len(columns.names)
    curve = [fit[f"curve.{at}"] for at in range(len(CURVE))]
    if len(set(map(len, curve))) > 1:
        raise ValueError("fit has a curve of different lengths")
    importance, table = fit["explained"], (fit["rows"], n, columns.kinds, columns.left_out)
    names = np.array(columns.names, object) if fit["feature_names"] else None
    report = Report(*table, **fit["report"])
    counts = (fit[field] for field in COUNTS)
    return FittedTable(
        {**parameters, **used},
        columns,
        names,
        blend_of(fit, target),
        calibration,
        HeldOut(fit["out_of_fold"], fit["out"], weights, fit["sampled"]),
        Facts(report, fit["history"], list(zip(*curve, strict=True)), *counts),
        None if importance is None else in_order(columns.used, *importance),
    )


def _classes(fit: dict[str, Any]) -> tuple[Any, LabelCalibration, dict[str, Any]]:
    n, classes = fit["outputs"], fit["classes"]
    labels, target = _label_target(fit)
    if classes.shape != (n,) or not (classes[:-1] < classes[1:]).all():
        raise ValueError(f"there are {classes.shape} classes, not {n} in order, each once")
    return target, LabelCalibration(fit["temperature"], classes, labels), {}


def _label_target(fit: dict[str, Any]) -> tuple[bool, ClassTarget]:
    """Return whether labels are independent, and the target."""
    n, labels = fit["outputs"], fit["target"] == CLASSES[True]
    target = MultiLabelTarget(np.zeros((1, n))) if labels else ClassTarget(np.zeros(1, int), n)
    _check_loss(fit, target)
    return labels, target


def _numbers(fit: dict[str, Any]) -> tuple[Any, NumberCalibration, dict[str, Any]]:
    n, name, judged, rows = (fit[key] for key in ("outputs", "target", "judged", "rows"))
    target = NumericTarget(np.zeros((1, n)), name)
    target.loss = _check_loss(fit, target)
    target.unit = fit["unit"]
    for key, most in (("judged", judged), ("places", max(fit["places"]))):
        if most > rows:
            raise ValueError(f"fit.{key} is {most} but must be from 1 to {rows}")
    effective = fit["residuals.w"].sum(axis=1)
    if not ((effective > 0.5) & (effective < judged + 0.5)).all():
        raise ValueError(
            f"tensor 'fit.residuals.w' sums to {effective.tolist()[:3]} but 1 to {judged} "
            "effective rows are possible"
        )
    ends = np.cumsum(fit["places"])[:-1]
    values = {key: fit[f"residuals.{key}"] for key in ("z", "w")}
    values |= {key: fit[f"residuals.{key}"].tolist() for key in FITTED}
    values |= {key: np.split(fit[f"residuals.{key}"], ends) for key in ("places", "sizes")}
    residuals = [
        Residuals(trust=fit["trust"], **{key: outputs[k] for key, outputs in values.items()})
        for k in range(n)
    ]
    # Parameters may have been set after the fit; predictions need these two as they were in it.
    level = getattr(target.loss, "quantile", None)
    used = {"loss": name} | ({} if level is None else {"quantile": level})
    lowest = -np.inf if fit["lowest"] is None else fit["lowest"]
    return target, NumberCalibration(tuple(residuals), lowest), used


def _check_loss(fit: dict[str, Any], target: Any) -> Any:
    loss = fit["groups"][0]["network"].loss
    if type(loss) is not type(target.loss):
        raise ValueError(
            f"the networks have the loss {loss.name} but the target that of {target.loss.name}"
        )
    return loss


def predictor(fit: Any, cursor: Cursor) -> RowPredictor:
    """Return the function of one row that a file describes."""
    table: FittedTable = cursor.built(built, FIT.read(fit, cursor), {})
    return table.predictor()
