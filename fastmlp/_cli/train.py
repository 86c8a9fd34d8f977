"""The command train."""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._cli import models, report, scores, tables
from fastmlp._cli.arguments import (
    COUNT,
    DATA,
    JSON,
    SECONDS,
    SEED,
    WEIGHT,
    CommandError,
    argument,
    check_writable,
    command,
)

Array = NDArray[Any]

TASKS = {"regression": "TabMLPRegressor", "classification": "TabMLPClassifier"}
MOST_CLASSES = 10  # distinct whole numbers; a target with more is a number
LABEL_KINDS = "OUSTb"  # dtype kinds of text and booleans
AUTO = f"text, booleans and at most {MOST_CLASSES} different whole numbers are classes"


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
    columns = {name: tables.column(frame, name, "the data") for name in frame.columns}
    return [
        name
        for name, values in columns.items()
        if values.dtype.kind in "OT" and any(isinstance(value, str) for value in values)
    ]


@command(
    DATA,
    argument("--target", metavar="COLUMN", required=True, help="the column to predict"),
    argument("--task", choices=("auto", *TASKS), default="auto", help=f"auto: {AUTO}"),
    argument(
        "--preset",
        choices=("fast", "default", "best"),
        default="default",
        help="how much to train",
    ),
    argument("--drop", metavar="COLUMN", action="append", default=[], help="leave out; repeatable"),
    WEIGHT,
    argument("--groups", metavar="COLUMN", help="rows with equal values are held out together"),
    argument("--valid", metavar="FILE", help="further rows, to score the model on"),
    argument(
        "-o", "--output", metavar="FILE", default="model.safetensors", help="file of the model"
    ),
    argument("--report", metavar="FILE", help="write a page about the model: report.html"),
    argument("--time-limit", metavar="SECONDS", type=SECONDS, help="rough limit of the fit"),
    argument("--seed", type=SEED, default=0, help="the same seed gives the same model"),
    argument("--threads", type=COUNT, help="by default all that pay"),
    JSON,
)
def train(options: argparse.Namespace) -> None:
    """Train a model on a table, and save it."""
    from fastmlp import tabular  # needs scikit-learn
    from fastmlp.tabular import data_warnings
    from fastmlp.tabular.codec_members import check_room

    check_writable(options.output, options.report, inputs=[options.data, options.valid])
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
    model = getattr(tabular, TASKS[task])(
        preset=options.preset,
        random_state=options.seed,
        time_limit=options.time_limit,
        n_jobs=options.threads,
        verbose=int(sys.stderr.isatty()),
    )
    check_room(frame[names])  # now, because a model of a larger table could not be saved
    if task == "classification" and (note := data_warnings.note(options.target, [*{*y.tolist()}])):
        warnings.warn(note, stacklevel=2)
    began = time.perf_counter()
    model.fit(frame[names], y, sample_weight=weights, groups=groups)
    seconds = round(time.perf_counter() - began, 3)
    if task == "regression":
        out_of_fold = scores.of_numbers(y, model.oof_prediction_, weights)
    else:
        out_of_fold = scores.of_classes(y, model.oof_prediction_, model.classes_, weights)
    found: dict[str, Any] = {"model": options.output, "task": task, "target": options.target}
    found |= {"seconds": seconds, "out_of_fold": out_of_fold}
    if valid is not None:
        truth = models.present(tables.column(valid, options.target, "--valid"), options.target)
        its_weights = models.weights_of(valid, options.weight)
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
