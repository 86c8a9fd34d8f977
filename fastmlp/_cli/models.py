"""The commands that use saved models: predict, evaluate, inspect and export."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._cli import scores, tables
from fastmlp._cli.arguments import (
    DATA,
    JSON,
    LEVEL,
    MODEL,
    WEIGHT,
    CommandError,
    UsageError,
    argument,
    check_writable,
    command,
    levels,
)
from fastmlp._files import inspection
from fastmlp._files.storage import load

Array = NDArray[Any]

SUFFIXES = {"onnx": ".onnx", "c": ".c"}


@command(
    MODEL,
    DATA,
    argument("-o", "--output", metavar="FILE", default="-", help="CSV, or Parquet if so named"),
    argument("--proba", action="store_true", help="add the probability of each class"),
    argument("--interval", metavar="COVERAGE", type=LEVEL, help="add intervals: 0.9"),
    argument("--quantiles", metavar="LEVELS", type=levels, help="add them: 0.1,0.5,0.9"),
    argument("--json", action="store_true", help="write JSON, for programs: one object a row"),
)
def predict(options: argparse.Namespace) -> None:
    """Predict the rows of a table with a saved model."""
    if options.output != tables.STANDARD:
        check_writable(options.output, inputs=[options.model, options.data])
    model, _, X = load_with_table(options.model, options.data)
    prediction = (model.predict if hasattr(model, "predict") else model)(X)
    means, *variances = prediction if isinstance(prediction, tuple) else (prediction,)
    found = _columns("prediction", means)
    for each in variances:
        found |= _columns("variance", each)
    if options.proba:
        p = _method(model, "predict_proba", "--proba")(X)
        found |= {f"p_{name}": p[:, k] for k, name in enumerate(model.classes_.tolist())}
    if options.interval is not None:
        ends = _method(model, "predict_interval", "--interval")(X, options.interval)
        found |= _columns("lower", ends[..., 0]) | _columns("upper", ends[..., 1])
    if options.quantiles is not None:
        values = _method(model, "predict_quantiles", "--quantiles")(X, options.quantiles)
        for k, each in enumerate(options.quantiles):
            found |= _columns(f"q{each:g}", values[..., k])
    tables.save(found, options.output, options.json)


@command(
    MODEL,
    DATA,
    argument("--target", metavar="COLUMN", help="by default the one column that is no input"),
    WEIGHT,
    JSON,
)
def evaluate(options: argparse.Namespace) -> None:
    """Score a saved model on rows whose targets are known."""
    target, weight = options.target, options.weight
    model, frame, X = load_with_table(options.model, options.data, target, weight)
    if target is None:
        inputs = {*getattr(X, "columns", frame.columns), weight}
        left = [name for name in frame.columns if name not in inputs]
        if len(left) != 1:
            names = ", ".join(left) or "no columns"
            raise UsageError(f"--target is needed: {names} are there beside the inputs")
        (target,) = left
    y = present(tables.column(frame, target, "--target"), target)
    weights = weights_of(frame, weight)
    if hasattr(model, "get_params"):
        found = scores.of_model(model, X, y, weights)
    elif hasattr(model, "evaluate"):
        found = {"loss": float(model.evaluate(X, y, sample_weight=weights))}
    else:
        raise CommandError(f"{options.model} holds a {type(model).__name__}, which has no loss")
    print(json.dumps(found, indent=2) if options.json else scores.lines(found))


@command(argument("files", metavar="FILE", nargs="+", help="a file that save() has written"))
def inspect(options: argparse.Namespace) -> None:
    """Print the content of files of saved models, without loading the models."""
    for at, path in enumerate(options.files):
        print("\n" * (at > 0) + inspection.report(path))


@command(
    MODEL,
    argument("--to", choices=tuple(SUFFIXES), help="by default the suffix of the output decides"),
    argument("-o", "--output", metavar="FILE", help="by default MODEL with .onnx or .c"),
    argument(
        "--quantiles", metavar="LEVELS", type=levels, help="of a regressor of tables: 0.1,0.9"
    ),
    JSON,
)
def export(options: argparse.Namespace) -> None:
    """Write a saved model as ONNX or as C, for other programs."""
    suffix = Path(options.output or "").suffix
    kind = options.to or next((kind for kind, its in SUFFIXES.items() if suffix == its), None)
    if kind is None:
        raise UsageError("--to onnx or --to c is needed, or -o with such a name")
    output = options.output or str(Path(options.model).with_suffix(SUFFIXES[kind]))
    check_writable(output, inputs=[options.model])
    model = load(options.model)
    arguments: dict[str, Any] = {}
    if options.quantiles is not None:
        _method(model, "predict_quantiles", "--quantiles")
        arguments["levels"] = options.quantiles
    written = _method(model, f"to_{kind}", f"--to {kind}")(output, **arguments)
    paths = [output] if kind == "onnx" else [str(written.source), str(written.header)]
    facts: dict[str, Any] = {"files": paths, "bytes": [Path(p).stat().st_size for p in paths]}
    if kind == "c":
        facts["largest_error"] = written.largest_error
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    for path, size in zip(paths, facts["bytes"], strict=True):
        print(f"{path}  {size:,} bytes")
    if kind == "c":
        print(f"largest error of a prediction: {written.largest_error:.2g}")


def load_with_table(
    path: str, data: str, target: str | None = None, weight: str | None = None
) -> tuple[Any, Any, Any]:
    """Return a model, a table, and the table's input columns.

    Columns and labels that were text at fit are read as text, even if they look like numbers.
    """
    model: Any = load(path)
    columns = getattr(model, "_columns", None)
    inputs = list(getattr(model, "feature_names_in_", ())) or None
    text: list[str] = []
    if columns is not None:
        inputs = list(columns.names) if columns.named else None
        text = [column.name for _, column in columns.categories if column.has_text]
    labels = getattr(model, "classes_", np.empty(0)).tolist()
    has_text_labels = any(isinstance(label, str) for label in labels)

    def as_text(names: Sequence[str]) -> list[str]:
        if not has_text_labels:
            return text
        others = [target] if inputs is None else set(names) - {*inputs, weight}
        return [*text, *filter(None, others)]

    frame = tables.read(data, as_text)
    if inputs is None:  # the model was fitted on arrays
        names = [name for name in frame.columns if name not in {target, weight}]
        return model, frame, _array(frame, names, takes_text=hasattr(model, "report"))
    tables.require(frame, inputs, f"{data} lacks inputs of the model")
    return model, frame, frame[inputs]


def _array(frame: Any, names: Sequence[str], takes_text: bool) -> Array:
    """Return columns as one array."""
    columns = [tables.column(frame, name, "the data") for name in names]
    for name, column in zip(names, columns, strict=True):
        if column.dtype.kind not in "iufb" and not takes_text:
            raise CommandError(
                f"the column {name!r} holds text but this model takes numbers: convert it, or "
                "train a model of tables by fastmlp train"
            )
    return np.column_stack(columns)


def present(values: Array, name: str) -> Array:
    """Return a column, or raise an error for missing values in it."""
    n = sum(value is None or value != value for value in values.tolist())
    if n:
        raise CommandError(f"the column {name!r} has {n:,} missing values: remove these rows")
    return values


def weights_of(frame: Any, name: str | None) -> Array | None:
    """Return the weights of rows, None without a name."""
    if name is None:
        return None
    values = tables.column(frame, name, "--weight")
    if values.dtype.kind not in "iufb" or not np.all((values >= 0) & (values < np.inf)):
        raise CommandError(f"the column {name!r} of --weight needs finite numbers of at least 0")
    return values.astype(float)


def _columns(name: str, values: Array) -> dict[str, Array]:
    """Return predictions as columns: one, or one of each output."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1:
        return {name: values}
    return {f"{name}_{k}": values[:, k] for k in range(values.shape[1])}


def _method(model: Any, name: str, option: str) -> Any:
    """Return a method of a model, or raise an error that names the option that needs it."""
    if not hasattr(model, name):
        raise CommandError(f"{option} is not for a {type(model).__name__}: leave it out")
    return getattr(model, name)
