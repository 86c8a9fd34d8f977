"""An estimator of tables in a file: its parameters and the state of its last fit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._files import schema
from fastmlp._files.kinds import (
    Choice,
    Count,
    Flag,
    Kind,
    Number,
    Numbers,
    Place,
    Tensor,
    Text,
    Texts,
)
from fastmlp._files.schema import At, Codec, Counted, Flagged, List, Object
from fastmlp._files.strict_json import shown
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import Value
from fastmlp.sklearn.codec import codec_of
from fastmlp.tabular import codec_members
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.codec_members import PLACES, blend_of, check_groups
from fastmlp.tabular.columns import Array, Columns
from fastmlp.tabular.conformal import FREEDOMS, Residuals
from fastmlp.tabular.inspection import in_order
from fastmlp.tabular.regressor import NAMES, means_of
from fastmlp.tabular.report import Report
from fastmlp.tabular.targets import ClassTarget, MultiLabelTarget, NumericTarget
from fastmlp.tabular.temperature import LARGEST_LOG, applied

CURVE = (np.int64, np.float64, np.float64, np.float64)  # dtypes of the columns of a curve
COUNTS = ("best_epoch_", "n_iter_")
ATTRIBUTES = {  # field -> attribute of the estimator
    **{"columns": "_columns", "outputs": "n_outputs_", "out_of_fold": "_out_of_fold"},
    **{"out": "_out", "weighted": "_row_weights"},
    **{"sampled": "rows_"},
    **{"history": "history_", "report": "_report", **dict(zip(COUNTS, COUNTS, strict=True))},
}
FITTED = ("freedom", "spread", "rms")  # fields of residuals with one number per output
CLASSES = {False: "classes", True: "labels"}  # names of targets: are labels independent?


class _Parts(Kind):
    """Rows of the table in parts: the key says how many rows each part has."""

    def write(self, value: list[Array], place: Place) -> list[int]:
        place.file[place.tensor] = np.concatenate(value)
        return [len(rows) for rows in value]

    def read(self, tree: Any, place: Place) -> list[NDArray[np.int64]]:
        n, rows = (place.known[key] for key in ("members", "rows"))
        counts = List(Count(1, rows), n).read(tree, place)
        found = Tensor((sum(counts),), PLACES, 0, rows - 1).read(tree, place)
        return list(np.split(found, np.cumsum(counts)[:-1]))


def _report(**fields: Any) -> dict[str, Any]:
    for key, kind in (("seconds", float), ("more", str)):
        for name, each in fields[key].items():
            if not isinstance(name, str) or type(each) is not kind:
                raise ValueError(f"{key} has {shown(name)} with {shown(each)}")
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
    """Return a function from the known fields to the shape that some of them make."""
    return lambda known: tuple(known[name] for name in names)


def _of_places(known: Any) -> tuple[int]:
    return (sum(known["places"]),)


def _out_of_fold(known: Any) -> tuple[int, int]:
    return known["rows"], known["groups"][0]["network"].loss.heads * known["outputs"]


NUMBERS: dict[str, Kind] = {
    "target": Choice(NAMES),
    "judged": Count(1),
    "trust": Number(most=1.0),
    "places": List(Count(1), lambda known: known["outputs"]),
    "unit": Tensor(_shape("outputs"), positive=True),
    "residuals.z": Tensor(_shape("outputs", "judged")),
    "residuals.w": Tensor(_shape("outputs", "judged"), positive=True),
    "residuals.places": Tensor(_of_places),
    "residuals.sizes": Tensor(_of_places, positive=True),
    "residuals.freedom": Tensor(_shape("outputs"), float, FREEDOMS[0], FREEDOMS[-1]),
    "residuals.spread": Tensor(_shape("outputs"), positive=True),
    "residuals.rms": Tensor(_shape("outputs")),
}
TEMPERATURE = Number(*np.exp([-LARGEST_LOG, LARGEST_LOG]).tolist())
LABELS: dict[str, Kind] = {
    "target": Choice(tuple(CLASSES.values())),
    "temperature": TEMPERATURE,
    "classes": Value(np.ndarray),
}


# What predictions need: the columns of a table, and the members of each recipe.
BLEND: dict[str, Kind] = {
    "columns": codec_members.COLUMNS,
    "members": Count(1),
    "with_missing": Counted(
        Tensor(
            *(_shape("n"), PLACES, 0, lambda known: len(known["columns"].numbers) - 1), rising=True
        )
    ),
    "groups": At("/groups", List(codec_members.GROUP)),
    "outputs": schema.Checked(check_groups),
}


def _fit(task: dict[str, Kind]) -> Object:
    importance = Tensor(lambda known: (2, len(known["columns"].used)))
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


FITS = {True: _fit(LABELS), False: _fit(NUMBERS)}
FIT = schema.Chosen(lambda known: FITS[hasattr(known["cls"], "predict_proba")])


def _fit_values(model: Any, training: bool) -> dict[str, Any]:
    known = vars(model)
    blend, history, found = known["_members"], known["history_"], known["_importance"]
    importance = None
    if found is not None:
        order = [found.names.index(name) for name in known["_columns"].used]
        importance = np.stack([found.means, found.deviations])[:, order]
    curve = zip(*known["_curve"], strict=True) if training and known["_curve"] else [()] * 4
    return {
        **{key: known.get(name) for key, name in ATTRIBUTES.items()},
        **_blend_values(known["_columns"], blend),
        **(_label_values(known) if "classes_" in known else _number_values(known)),
        "rows": len(known["_out_of_fold"]),
        "feature_names": "feature_names_in_" in known,
        "explained": importance,
        **{f"curve.{at}": column for at, column in enumerate(curve)},
        "history": (history if training else type(history)()).whole(),
    }


def _blend_values(columns: Columns, blend: Blend) -> dict[str, Any]:
    return {
        "columns": columns,
        "members": len(blend.groups[0].ensemble),
        "with_missing": blend.groups[0].encoding.with_missing,
        "groups": list(map(codec_members.group_values, blend.groups, blend.weights)),
    }


def _label_values(known: dict[str, Any]) -> dict[str, Any]:
    return {
        "target": CLASSES[known["_has_labels"]],
        "temperature": float(known["temperature_"]),
        "classes": known["classes_"],
    }


def _number_values(known: dict[str, Any]) -> dict[str, Any]:
    residuals, target = known["_residuals"], known["_members"].groups[0].target
    lists = {key: [getattr(each, key) for each in residuals] for key in vars(residuals[0])}
    return {
        "target": target.name,
        "judged": len(lists["z"][0]),
        "trust": residuals[0].trust,
        "places": list(map(len, lists["places"])),
        "unit": target.unit,
        **{f"residuals.{key}": np.stack(lists[key]) for key in ("z", "w", *FITTED)},
        **{f"residuals.{key}": np.concatenate(lists[key]) for key in ("places", "sizes")},
    }


def _fitted(model: Any, fit: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a fit."""
    target, task = (_classes if hasattr(model, "predict_proba") else _numbers)(model, fit)
    columns, weights = fit["columns"], fit["weighted"]
    if weights is not None and weights[np.concatenate(fit["out"])].min() <= 0:
        raise ValueError("tensor 'fit.weights' has 0.0 but must be above 0 where a row is used")
    n = len(columns.names)
    curve = [fit[f"curve.{at}"] for at in range(len(CURVE))]
    if len(set(map(len, curve))) > 1:
        raise ValueError("fit has a curve of different lengths")
    importance, table = fit["explained"], (fit["rows"], n, columns.kinds, columns.left_out)
    kept = {name: fit[key] for key, name in ATTRIBUTES.items()}
    if fit["feature_names"]:
        kept["feature_names_in_"] = np.array(columns.names, object)
    return {
        **task,
        **kept,
        "n_features_in_": n,
        "_members": blend_of(fit, target),
        "_curve": list(zip(*curve, strict=True)),
        "_importance": None if importance is None else in_order(columns.used, *importance),
        "_report": Report(*table, **fit["report"]),
    }


def _classes(model: Any, fit: dict[str, Any]) -> tuple[ClassTarget, dict[str, Any]]:
    n, classes = fit["outputs"], fit["classes"]
    labels, target = _label_target(fit)
    if classes.shape != (n,) or not (classes[:-1] < classes[1:]).all():
        raise ValueError(f"there are {classes.shape} classes, not {n} in order, each once")
    return target, {
        "_trained_with": dict(vars(model)),
        "_has_labels": labels,
        "temperature_": fit["temperature"],
        "classes_": classes,
    }


def _label_target(fit: dict[str, Any]) -> tuple[bool, ClassTarget]:
    """Return whether labels are independent, and the target."""
    n, labels = fit["outputs"], fit["target"] == CLASSES[True]
    target = MultiLabelTarget(np.zeros((1, n))) if labels else ClassTarget(np.zeros(1, int), n)
    _check_loss(fit, target)
    return labels, target


def _numbers(model: Any, fit: dict[str, Any]) -> tuple[NumericTarget, dict[str, Any]]:
    n, name, judged, rows = (fit[key] for key in ("outputs", "target", "judged", "rows"))
    target = NumericTarget(np.zeros((1, n)), name, float(model.quantile))
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
    each = {key: fit[f"residuals.{key}"] for key in ("z", "w")}
    each |= {key: fit[f"residuals.{key}"].tolist() for key in FITTED}
    each |= {key: np.split(fit[f"residuals.{key}"], ends) for key in ("places", "sizes")}
    residuals = []
    for k in range(n):
        own = Residuals.__new__(Residuals)
        vars(own).update({key: values[k] for key, values in each.items()}, trust=fit["trust"])
        if not ((own.z[:-1] <= own.z[1:]).all() and (own.places[:-1] < own.places[1:]).all()):
            raise ValueError(f"the residuals of output {k} are not in order")
        residuals.append(own)
    # Parameters may have been set after the fit; predictions need these two as they were in it.
    used = {"loss": name, "quantile": getattr(target.loss, "quantile", model.quantile)}
    return target, {"_trained_with": {**vars(model), **used}, "_residuals": residuals}


def _check_loss(fit: dict[str, Any], target: Any) -> Any:
    loss = fit["groups"][0]["network"].loss
    if type(loss) is not type(target.loss):
        raise ValueError(
            f"the networks have the loss {loss.name} but the target that of {target.loss.name}"
        )
    return loss


# ---------------------------------------------------------------------------------- predictors

TARGET: dict[str, Kind] = {
    "target": Choice([*NAMES, *CLASSES.values()]),
    "temperature": schema.Maybe(TEMPERATURE),  # of classes
}


def _row_values(model: Any, training: bool) -> dict[str, Any]:
    del training
    given = model._finish.keywords
    is_regressor = "temperature" not in given
    name = model._blend.groups[0].target.name if is_regressor else CLASSES[given["labels"]]
    own = {"target": name, "temperature": None if is_regressor else float(given["temperature"])}
    return {"fit": {**_blend_values(model._columns, model._blend), **own}}


def _row(cls: Any, fields: dict[str, Any]) -> Any:
    fit = fields["fit"]
    n, name, temperature = (fit[key] for key in ("outputs", "target", "temperature"))
    is_regressor = name in NAMES
    if is_regressor != (temperature is None):
        raise ValueError(f"the networks or the temperature are not those of the target {name}")
    if is_regressor:
        target: Any = NumericTarget(np.zeros((1, n)), name)
        target.loss = _check_loss(fit, target)
        finish = functools.partial(means_of, outputs=n)
    else:
        labels, target = _label_target(fit)
        finish = functools.partial(applied, temperature=temperature, labels=labels)
    return cls(fit["columns"], blend_of(fit, target), finish)


CODECS = {
    **dict.fromkeys(
        ("TabMLPClassifier", "TabMLPRegressor"), codec_of(FIT, "_members", _fit_values, _fitted)
    ),
    "RowPredictor": Codec(Object({"fit": Object({**BLEND, **TARGET})}), _row_values, _row),
}
