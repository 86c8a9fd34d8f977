"""An estimator of tables in a file: its parameters, and all that its last fit has left."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._files.record import Record, Tensors
from fastmlp._files.strict_json import ModelFormatError, shown
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import describe as described, value
from fastmlp._network.losses import Loss
from fastmlp.sklearn.codec import describe_parameters, unfitted
from fastmlp.sklearn.regressor import LOSSES
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.codec_members import (
    FLOATS,
    PLACES,
    describe_blend,
    describe_columns,
    rebuild_blend,
    rebuild_columns,
)
from fastmlp.tabular.columns import Columns
from fastmlp.tabular.conformal import FREEDOMS, Residuals
from fastmlp.tabular.inspection import Importance, in_order
from fastmlp.tabular.regressor import NAMES
from fastmlp.tabular.report import Report
from fastmlp.tabular.targets import ClassTarget, MultiLabelTarget, NumericTarget
from fastmlp.tabular.temperature import LARGEST_LOG

CURVE = (np.int64, np.float64, np.float64, np.float64)  # dtypes of the columns of a curve
COUNTS = ("best_epoch_", "n_iter_")
MEASURED = ("fit.out_of_fold", "fit.unit", "fit.residuals.", "groups.")  # tensors: all finite
FITTED = ("freedom", "spread", "rms")  # of residuals: a number an output
CLASSES = {False: "classes", True: "labels"}  # names of targets, by whether labels are independent


def describe(model: Any, tensors: Tensors, training: bool) -> dict[str, Any]:
    """Return an estimator as JSON and tensors."""
    names = describe_parameters(model, tensors)
    known = vars(model)
    fitted = _describe_fit(known, tensors, training) if "_members" in known else None
    for name, array in tensors.items():
        if name.startswith(MEASURED) and not np.all(np.isfinite(array)):
            raise ValueError(f"{name} of the fit is not finite: scale y, and fit again")
    return {"parameters": names, "fit": fitted}


def rebuild(cls: Any, record: Record) -> Any:
    """Return the estimator that a file describes."""
    model = unfitted(cls, record)
    if record.has("fit"):
        part = record.part("fit")
        fitted = _rebuild_fit(model, part)
        part.finish()
        vars(model).update(fitted)
    return model


# ---------------------------------------------------------------------------------- a fit


def _describe_fit(known: dict[str, Any], tensors: Tensors, training: bool) -> dict[str, Any]:
    target, history = known["_members"].groups[0].target, known["history_"]
    tensors["fit.out_of_fold"] = known["_out_of_fold"]
    weights = known.get("_row_weights")
    if weights is not None:
        tensors["fit.weights"] = weights
    found = known["_importance"]
    if found is not None:
        order = [found.names.index(name) for name in known["_columns"].used]
        tensors["fit.importance"] = np.stack([found.means, found.deviations])[:, order]
    tensors["fit.out"] = np.concatenate(known["_out"])
    for at, dtype in enumerate(CURVE):
        column = [row[at] for row in known["_curve"]] if training else []
        tensors.put_list(f"fit.curve.{at}", column, dtype)
    names = known.get("feature_names_in_")
    return {
        "columns": describe_columns(known["_columns"], tensors),
        **describe_blend(known["_members"], tensors),
        **(_describe_numbers if isinstance(target, NumericTarget) else _describe_classes)(
            known, tensors
        ),
        "rows": len(known["_out_of_fold"]),
        "weighted": weights is not None,
        "explained": found is not None,
        "out": [len(rows) for rows in known["_out"]],
        "history": parts.describe_history(
            history.whole() if training else type(history)(), "fit.history", tensors
        ),
        "report": _describe_report(known["_report"], tensors),
        "feature_names": described(names, "fit.feature_names", tensors),
        **{name: int(known[name]) for name in COUNTS},
    }


def _rebuild_fit(model: Any, record: Record) -> dict[str, Any]:
    """Return the attributes of a fit."""
    columns = rebuild_columns(record.part("columns"))
    blend = rebuild_blend(record, columns)
    rows = record.count("rows", 1)
    outputs = blend.groups[0].ensemble[0].layer_sizes[-1]
    rebuild_task = _rebuild_classes if hasattr(type(model), "predict_proba") else _rebuild_numbers
    target, fitted = rebuild_task(model, record, blend, rows)
    for group in blend.groups:
        group.target = target
    heads = target.loss.heads
    shape = (rows, heads * outputs)
    history = parts.rebuild_history(record, "history")
    if history is None:
        raise ModelFormatError(f"{record.where} has no history")
    out = _rebuild_out(record, rows, len(blend.groups[0].ensemble))
    return {
        **fitted,
        **_rebuild_names(record, columns),
        **{name: record.count(name) for name in COUNTS},
        "n_features_in_": len(columns.names),
        "n_outputs_": outputs,
        "history_": history,
        "_columns": columns,
        "_members": blend,
        "_out_of_fold": record.store.parameter("fit.out_of_fold", shape, FLOATS).copy(),
        "_out": out,
        "_row_weights": _rebuild_weights(record, rows, out),
        "_curve": _rebuild_curve(record),
        "_importance": _rebuild_importance(record, columns),
        "_report": _rebuild_report(record, columns, rows, target.metric),
    }


def _rebuild_names(record: Record, columns: Columns) -> dict[str, Any]:
    names = value(record, "feature_names", np.ndarray, None)
    if names is None:
        return {}
    if names.shape != (len(columns.names),) or names.dtype != object:
        raise ModelFormatError(f"there are names for {names.shape} of {len(columns.names)} columns")
    return {"feature_names_in_": names}


def _rebuild_out(record: Record, rows: int, members: int) -> list[NDArray[np.int64]]:
    counts = _counts(record, "out", members, rows)
    out = record.store.parameter("fit.out", (sum(counts),), PLACES).copy()
    if not 0 <= out.min() <= out.max() < rows:
        raise ModelFormatError(f"tensor 'fit.out' has rows from {out.min()} to {out.max()}")
    return list(np.split(out, np.cumsum(counts)[:-1]))


def _rebuild_weights(
    record: Record, rows: int, out: list[NDArray[np.int64]]
) -> NDArray[np.float64] | None:
    if not (record.there("weighted") and record.flag("weighted")):  # there were files without
        return None
    weights = record.store.parameter("fit.weights", (rows,), FLOATS).copy()
    _check_positive("fit.weights", weights[np.concatenate(out)])
    if weights.min() < 0:
        raise ModelFormatError(f"tensor 'fit.weights' has {weights.min()} but must not be below 0")
    return weights


def _rebuild_importance(record: Record, columns: Columns) -> Importance | None:
    if not (record.there("explained") and record.flag("explained")):  # there were files without
        return None
    found = record.store.parameter("fit.importance", (2, len(columns.used)), FLOATS).copy()
    return in_order(columns.used, *found)


def _rebuild_curve(record: Record) -> list[tuple[int, float, float, float]]:
    lists = [record.store.numbers(f"fit.curve.{at}", dtype) for at, dtype in enumerate(CURVE)]
    if len(set(map(len, lists))) > 1:
        raise ModelFormatError(f"{record.where} has a curve of different lengths")
    return list(zip(*lists, strict=True))


def _counts(record: Record, key: str, n: int, most: int) -> list[int]:
    """Return so many counts from 1 to the most."""
    items = record.items(key)
    if len(items) != n:
        raise ModelFormatError(f"{record.where}.{key} has {len(items)} counts but {n} belong there")
    part = Record(dict(enumerate(items)), f"{record.where}.{key}", record.store)
    return [part.count(at, 1, most) for at in range(n)]


# ---------------------------------------------------------------------------------- the task


def _describe_classes(known: dict[str, Any], tensors: Tensors) -> dict[str, Any]:
    return {
        "target": CLASSES[known["_has_labels"]],
        "temperature": float(known["temperature_"]),
        "classes": described(known["classes_"], "fit.classes", tensors),
    }


def _rebuild_classes(
    model: Any, record: Record, blend: Blend, rows: int
) -> tuple[ClassTarget, dict[str, Any]]:
    del rows
    network = blend.groups[0].ensemble[0]
    n = network.layer_sizes[-1]
    labels = record.choice("target", CLASSES.values()) == CLASSES[True]
    target = MultiLabelTarget(np.zeros((1, n))) if labels else ClassTarget(np.zeros(1, int), n)
    _check_loss(network.loss, target)
    classes = value(record, "classes", np.ndarray)
    if classes.shape != (n,) or not (classes[:-1] < classes[1:]).all():
        raise ModelFormatError(f"there are {classes.shape} classes, not {n} in order, each once")
    found, limits = record.number("temperature"), np.exp([-LARGEST_LOG, LARGEST_LOG])
    if not limits[0] <= found <= limits[1]:
        raise ModelFormatError(
            f"the temperature is {found:g} but from {limits[0]:.3g} to {limits[1]:.3g} is possible"
        )
    return target, {
        "_trained_with": dict(vars(model)),
        "_has_labels": labels,
        "temperature_": found,
        "classes_": classes,
    }


def _describe_numbers(known: dict[str, Any], tensors: Tensors) -> dict[str, Any]:
    residuals, target = known["_residuals"], known["_members"].groups[0].target
    tensors["fit.unit"] = target.unit
    for key in ("z", "w"):
        tensors[f"fit.residuals.{key}"] = np.stack([getattr(each, key) for each in residuals])
    for key in ("places", "sizes"):
        whole = np.concatenate([getattr(each, key) for each in residuals])
        tensors[f"fit.residuals.{key}"] = whole
    for key in FITTED:
        tensors[f"fit.residuals.{key}"] = np.array([getattr(each, key) for each in residuals])
    return {
        "target": target.name,
        "judged": len(residuals[0].z),
        "trust": residuals[0].trust,
        "places": [len(each.places) for each in residuals],
    }


def _rebuild_numbers(
    model: Any, record: Record, blend: Blend, rows: int
) -> tuple[NumericTarget, dict[str, Any]]:
    network, store = blend.groups[0].ensemble[0], record.store
    n, name = network.layer_sizes[-1], record.choice("target", NAMES)
    target = NumericTarget(np.zeros((1, n)), LOSSES[name](model), name)
    _check_loss(network.loss, target)
    target.loss = network.loss
    target.unit = store.parameter("fit.unit", (n,), FLOATS).copy()
    n_rows = record.count("judged", 1, rows)
    trust = record.number("trust") if record.there("trust") else 1.0  # there were files without
    if trust > 1:
        raise ModelFormatError(f"the trust in predicted sizes is {trust} but at most 1 is expected")
    counts = _counts(record, "places", n, rows)
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("z", "w"), (n, n_rows)),
        **dict.fromkeys(("places", "sizes"), (sum(counts),)),
        **dict.fromkeys(FITTED, (n,)),
    }
    found = {
        key: store.parameter(f"fit.residuals.{key}", shape, FLOATS).copy()
        for key, shape in shapes.items()
    }
    for key in ("w", "sizes", "spread"):
        _check_positive(f"fit.residuals.{key}", found[key])
    effective = found["w"].sum(axis=1)
    if not ((effective > 0.5) & (effective < n_rows + 0.5)).all():
        raise ModelFormatError(
            f"tensor 'fit.residuals.w' sums to {effective.tolist()[:3]} but 1 to {n_rows} "
            "effective rows are possible"
        )
    low, high = FREEDOMS[0], FREEDOMS[-1]
    if not ((low <= found["freedom"]) & (found["freedom"] <= high)).all():
        raise ModelFormatError(
            f"tensor 'fit.residuals.freedom' has {found['freedom'].tolist()[:3]} but numbers from "
            f"{low} to {high} belong there"
        )
    _check_positive("fit.unit", target.unit)
    ends = np.cumsum(counts)[:-1]
    split = {key: np.split(found[key], ends) for key in ("places", "sizes")}
    residuals = []
    for k in range(n):
        each = Residuals.__new__(Residuals)
        each.trust, each.z, each.w = trust, found["z"][k], found["w"][k]
        each.places, each.sizes = split["places"][k], split["sizes"][k]
        each.freedom, each.spread, each.rms = (float(found[key][k]) for key in FITTED)
        if not ((each.z[:-1] <= each.z[1:]).all() and (each.places[:-1] < each.places[1:]).all()):
            raise ModelFormatError(f"the residuals of output {k} are not in order")
        residuals.append(each)
    # The parameters may have been set since; of those of the fit, these matter after it.
    own = {"loss": name, "quantile": getattr(network.loss, "quantile", model.quantile)}
    given = {**vars(model), **own}
    return target, {"_trained_with": given, "_residuals": residuals}


def _check_loss(loss: Loss, target: Any) -> None:
    if type(loss) is not type(target.loss):
        raise ModelFormatError(
            f"the networks have the loss {loss.name} but the target that of {target.loss.name}"
        )


def _check_positive(name: str, array: NDArray[Any]) -> None:
    if array.min() <= 0:
        raise ModelFormatError(f"tensor '{name}' has {array.min()} but must be above 0")


# ---------------------------------------------------------------------------------- the report


def _describe_report(report: Report, tensors: Tensors) -> dict[str, Any]:
    keys = ("members", "alone", "together", "seconds", "more", "notes")
    return {key: described(getattr(report, key), f"fit.report.{key}", tensors) for key in keys}


def _rebuild_report(record: Record, columns: Columns, rows: int, metric: str) -> Report:
    part = record.part("report")
    report = Report(
        rows,
        len(columns.names),
        {"numbers": len(columns.numbers), "categories": len(columns.categories)},
        columns.left_out,
        part.texts("members"),
        metric,
        value(part, "alone", float),
        value(part, "together", float),
        _pairs(part, "seconds", float),
        _pairs(part, "more", str),
        part.texts("notes"),
    )
    part.finish()
    return report


def _pairs(part: Record, key: str, kind: type) -> dict[str, Any]:
    """Return a dictionary of strings to values of a kind."""
    found = value(part, key, dict)
    for name, each in found.items():
        if not isinstance(name, str) or type(each) is not kind:
            raise ModelFormatError(f"{part.where}.{key} has {shown(name)} with {shown(each)}")
    return found  # type: ignore[no-any-return]
