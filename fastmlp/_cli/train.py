"""The command train: train a model on a table, and save it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastmlp
from fastmlp._cli import models, report, scores, tables
from fastmlp._cli.demo import count
from fastmlp._cli.errors import CommandError, check_writable

Array = NDArray[Any]

PRESETS = ("fast", "default", "best")
TASKS = {"regression": "TabMLPRegressor", "classification": "TabMLPClassifier"}
MOST_CLASSES = 10  # distinct whole numbers; a target with more is a number
LABEL_KINDS = "OUSTb"  # of dtypes: text and booleans


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    option = parser.add_argument
    option("data", metavar="DATA", help="a CSV or Parquet file; - is the standard input")
    option("--target", metavar="COLUMN", required=True, help="the column to predict")
    option(
        "--task",
        choices=("auto", *TASKS),
        default="auto",
        help="auto: classification of text, booleans, and at most "
        f"{MOST_CLASSES} different whole numbers; else regression",
    )
    option("--preset", choices=PRESETS, default="default", help="how much to train")
    option("--drop", metavar="COLUMN", action="append", default=[], help="leave out; repeatable")
    option("--weight", metavar="COLUMN", help="weights of the rows")
    option("--groups", metavar="COLUMN", help="rows with equal values are held out together")
    option("--valid", metavar="FILE", help="further rows, to score the model on")
    option("-o", "--output", metavar="FILE", default="model.safetensors", help="of the model")
    option("--report", metavar="FILE", help="write a page about the model: report.html")
    option("--time-limit", metavar="SECONDS", type=seconds, help="that the fit may take, about")
    option("--seed", type=count(0), default=0, help="the same seed gives the same model")
    option("--threads", type=count(1), help="by default all that pay")
    option("--json", action="store_true", help="print JSON, for programs")


def seconds(text: str) -> float:
    """Read a duration, as an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def task_of(y: Array, wanted: str) -> str:
    """Return the task of a target."""
    if wanted != "auto":
        return wanted
    if y.dtype.kind in LABEL_KINDS:
        return "classification"
    if y.dtype.kind not in "iuf":
        raise CommandError(f"the target holds {y.dtype}: expected are numbers, text or booleans")
    whole = np.all(y == np.floor(y)) and len(np.unique(y)) <= MOST_CLASSES
    return "classification" if whole else "regression"


def text_columns(frame: Any) -> list[str]:
    """Return the columns of a frame that hold text."""
    found = []
    for name in frame.columns:
        values = tables.column(frame, name, "the data")
        if values.dtype.kind in "OT" and any(isinstance(value, str) for value in values):
            found.append(name)
    return found


def run(options: argparse.Namespace) -> None:
    """Read, train, save, and print what has come of it."""
    check_writable(options.output, options.report)
    frame = tables.read(options.data)
    y = models.present(tables.column(frame, options.target, "--target"), options.target)
    weights = models.weights_of(frame, options.weight)
    tables.require(frame, options.drop, "--drop")
    groups = options.groups and tables.column(frame, options.groups, "--groups")
    unused = {options.target, options.weight, options.groups, *options.drop}
    names = [name for name in frame.columns if name not in unused]
    if not names:
        raise CommandError("no columns are left to learn from")
    valid = options.valid and tables.read(options.valid, lambda names: text_columns(frame))
    if valid is not None:
        tables.require(valid, [*names, options.target], options.valid)
    task = task_of(y, options.task)
    model = getattr(fastmlp, TASKS[task])(
        preset=options.preset,
        random_state=options.seed,
        time_limit=options.time_limit,
        n_jobs=options.threads,
        verbose=int(sys.stderr.isatty()),
    )
    began = time.perf_counter()
    model.fit(frame[names], y, sample_weight=weights, groups=groups)
    found: dict[str, Any] = {
        "model": options.output,
        "task": task,
        "target": options.target,
        "seconds": round(time.perf_counter() - began, 3),
        "out_of_fold": out_of_fold(model, y, weights),
    }
    if valid is not None:
        truth = models.present(tables.column(valid, options.target, "--valid"), options.target)
        its_weights = options.weight and models.weights_of(valid, options.weight)
        found["valid"] = scores.of_model(model, valid[names], truth, its_weights)
    model.save(options.output)
    if options.report is not None:
        report.write(options.report, model, frame[names], y, weights, found)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"task         {task} of {options.target}\n{model.report()}")
    for part in ("out_of_fold", "valid"):
        if part in found:
            print(f"\n{part.replace('_', ' ')}\n{scores.lines(found[part])}")
    print(f"\nmodel        {options.output}")
    if options.report is not None:
        print(f"report       {options.report}")


def out_of_fold(model: Any, y: Array, weights: Array | None) -> dict[str, float]:
    """Return the scores of each row's prediction by members that have not learned from it."""
    if hasattr(model, "classes_"):
        return scores.of_classes(y, model.oof_prediction_, model.classes_, weights)
    return scores.of_numbers(y, model.oof_prediction_, weights)
