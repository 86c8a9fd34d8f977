"""The command predict: predict the rows of a table with a saved model."""

from __future__ import annotations

import argparse
from typing import Any

from numpy.typing import NDArray

from fastmlp._cli import models, tables
from fastmlp._cli.errors import CommandError, check_writable

Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    option = parser.add_argument
    option("model", metavar="MODEL", help="a file of a model")
    option("data", metavar="DATA", help="a CSV or Parquet file; - is the standard input")
    option("-o", "--output", metavar="FILE", default="-", help="CSV, or Parquet if so named")
    more = parser.add_mutually_exclusive_group()
    more.add_argument("--proba", action="store_true", help="add the probability of each class")
    more.add_argument("--interval", metavar="COVERAGE", type=level, help="add intervals: 0.9")
    more.add_argument("--quantiles", metavar="LEVELS", type=levels, help="add them: 0.1,0.5,0.9")
    option("--json", action="store_true", help="write JSON, for programs: one object a row")


def level(text: str) -> float:
    """Read a number between 0 and 1, as an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1")
    return value


def levels(text: str) -> list[float]:
    """Read levels that are separated by commas, as an argparse type."""
    return [level(part) for part in text.split(",")]


def run(options: argparse.Namespace) -> None:
    """Read, predict and write."""
    if options.output != tables.STANDARD:
        check_writable(options.output)
    model, _, X = models.load_with_table(options.model, options.data)
    predict = model.predict if hasattr(model, "predict") else model
    prediction = predict(X)
    means, *variances = prediction if isinstance(prediction, tuple) else (prediction,)
    found = _columns("prediction", means)
    for each in variances:
        found |= _columns("variance", each)
    if options.proba:
        p = _method(model, "predict_proba", "--proba", options.model)(X)
        found.update((f"p_{name}", p[:, k]) for k, name in enumerate(model.classes_.tolist()))
    if options.interval is not None:
        ends = _method(model, "predict_interval", "--interval", options.model)(X, options.interval)
        found.update(_columns("lower", ends[..., 0]) | _columns("upper", ends[..., 1]))
    if options.quantiles is not None:
        quantiles = _method(model, "predict_quantiles", "--quantiles", options.model)
        values = quantiles(X, options.quantiles)
        for k, each in enumerate(options.quantiles):
            found.update(_columns(f"q{each:g}", values[..., k]))
    tables.save(found, options.output, options.json)


def _columns(name: str, values: Array) -> dict[str, Array]:
    """Return an array as columns: one, or one of each output."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1:
        return {name: values}
    return {f"{name}_{k}": values[:, k] for k in range(values.shape[1])}


def _method(model: Any, name: str, option: str, path: str) -> Any:
    if not hasattr(model, name):
        raise CommandError(
            f"{option} is not for the {type(model).__name__} in {path}: leave it out"
        )
    return getattr(model, name)
