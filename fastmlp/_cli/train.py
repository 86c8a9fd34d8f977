"""The command train."""

from __future__ import annotations

import argparse
import html
import sys
import time
import warnings
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from fastmlp._cli import arguments, models, tables
from fastmlp._cli.arguments import CommandError, UsageError, argument, check_writable, command, show
from fastmlp._core.page import Section
from fastmlp._core.printable import printable
from fastmlp._network.names import TableLossName
from fastmlp._validation.arrays import REFUSED_KINDS

TASKS = {"regression": "TabMLPRegressor", "classification": "TabMLPClassifier"}
SURVIVAL = "survival"  # the task of --time-to
OPTIONS = {
    "regression": " --interval 0.9",
    "classification": " --proba",
    SURVIVAL: "",
}  # predict has these
MOST_CLASSES = 10  # distinct whole numbers; a target with more is a number
FEWEST_COUNTS = 3  # distinct whole numbers that may be counts
LABEL_KINDS = "OUSTb"  # dtype kinds of text and booleans
FEWEST_CLASSES = 20  # fewer are not too many, however few rows there are
NEW_MODEL = "model.safetensors"
SIZES = ("networks", "stages")  # facts of a report that only --verbose prints
RULES = {  # options for columns in which predictions are monotone
    "--rising": "predictions never fall while this column rises",
    "--falling": "predictions never rise while this column rises",
}
LOSSES = [name for name in get_args(TableLossName) if not name.startswith("quantile")]
AUTO = f"text, booleans and at most {MOST_CLASSES} different whole numbers are classes"


def task_of(y: NDArray[Any], choice: str, note: str) -> str:
    """Return the task of a target; refuse text that looks like numbers, dates or identifiers."""
    if choice != "auto":
        return choice
    if y.dtype.kind in LABEL_KINDS:
        count = len({*y.tolist()})
        if not note and count > max(len(y) // 2, FEWEST_CLASSES):
            note = f"the target has {count} different texts in {len(y)} rows: name another one"
        if note:
            raise CommandError(f"{note}, or pass --task classification if each is a class")
        return "classification"
    if y.dtype.kind not in "iuf":
        content, remedy = REFUSED_KINDS.get(y.dtype.kind, (str(y.dtype), "convert them"))
        raise CommandError(
            f"the target holds {content} but numbers, text or booleans are expected: {remedy}, or "
            "pass --task classification if each is a class"
        )
    whole = np.all(y == np.floor(y)) and len(np.unique(y)) <= MOST_CLASSES
    return "classification" if whole else "regression"


@command(
    *arguments.TABLE,
    argument("--target", metavar="COLUMN", help="the column to predict"),
    *arguments.SURVIVAL,
    argument("--task", choices=("auto", *TASKS), default="auto", help=f"auto: {AUTO}"),
    argument("--loss", choices=LOSSES, help="of a regression; poisson: counts or rates"),
    argument(
        "--preset", choices=("fast", "default", "best"), default="default", help="how much to train"
    ),
    argument("--drop", metavar="COLUMN", action="append", default=[], help="leave out; repeatable"),
    arguments.WEIGHT,
    argument("--groups", metavar="COLUMN", help="rows with equal values are held out together"),
    argument("--time", metavar="COLUMN", help="networks that predict a row learn earlier ones"),
    *(
        argument(option, metavar="COLUMN", action="append", default=[], help=f"{words}; repeatable")
        for option, words in RULES.items()
    ),
    argument("--valid", metavar="FILE", help="further rows, to score the model on"),
    argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"file of the model; by default {NEW_MODEL}, which must be new",
    ),
    argument("--report", metavar="FILE", help="write a page about the model: report.html"),
    argument("--time-limit", metavar="SECONDS", type=arguments.SECONDS, help="by default none"),
    argument("--seed", type=arguments.SEED, default=0, help="the same seed gives the same model"),
    argument("--threads", type=arguments.COUNT, help="default: automatic"),
    argument(
        "-v", "--verbose", action="store_true", help="also print the networks and their sizes"
    ),
    arguments.JSON,
    examples=(
        "fastmlp train flats.csv --target rent",
        "fastmlp train flats.csv --target rent --drop id --valid new.csv --report report.html",
    ),
)
def train(options: argparse.Namespace) -> None:
    """Train a model on a table, and save it."""
    from fastmlp import tabular  # needs scikit-learn
    from fastmlp.tabular.table import data_warnings
    from fastmlp.tabular.table.frames import take_rows

    _check_question(options)
    target = options.target or options.time_to
    roles = [*filter(None, (target, options.event, options.weight, options.groups))]
    named = [*roles, *options.drop]
    _check_apart([*named, *options.rising, *options.falling])
    _check_apart([*roles, *filter(None, [options.time])])  # an input, too, unless it is dropped
    arguments.check_readable(options.data, options.valid)
    output = options.output or NEW_MODEL
    arguments.check_new(options.output, output)
    check_writable(output, options.report, inputs=[options.data, options.valid])
    dialect = tables.dialect_of(options)
    # Numbers would be rounded: identifiers of groups may have many digits.
    frame = tables.read(options.data, dialect, lambda names: [options.groups])
    option = "--target" if options.target else "--time-to"
    targets = {target: option, **({options.event: "--event"} if options.event else {})}
    frame = take_rows(frame, models.known_rows(frame, targets))
    y, weights = models.truth_of(frame, target, options.weight, option)
    tables.require(frame, options.drop, "--drop")
    for option in RULES:
        tables.require(frame, getattr(options, option[2:]), option)
    groups = options.groups and tables.column(frame, options.groups, "--groups")
    times = options.time and tables.column(frame, options.time, "--time")
    names = [name for name in frame.columns if name not in named]
    if not names:
        raise CommandError("no columns are left to learn from")
    X = frame[names]
    valid = _validation(options, dialect, frame, [*names, *targets])
    note = data_warnings.note(target, [*{*y.tolist()}]) if y.dtype.kind in LABEL_KINDS else ""
    task, of_fit = SURVIVAL, {}
    if options.event:
        y = of_fit["y"] = models.with_events(frame, y, options.event)
    else:
        task = task_of(y, "regression" if options.loss else options.task, note)
        of_fit = {"y": tables.named(y, target), "time": times}
    if options.loss and options.task == "classification":
        raise UsageError("--loss is that of a regression: leave it out, or --task classification")
    if valid is not None:  # It is checked before the fit, whose time a mistake here would waste.
        valid = take_rows(valid, models.known_rows(valid, dict.fromkeys(targets, "--valid")))
        truth, of_truth = models.truth_of(valid, target, options.weight, "--valid")
        if options.event:
            truth = models.with_events(valid, truth, options.event)
    loss = {"loss": options.loss} if options.loss else {}
    model = getattr(tabular, TASKS.get(task, "TabMLPSurvival"))(
        **loss,
        preset=options.preset,
        monotone=dict.fromkeys(options.rising, 1) | dict.fromkeys(options.falling, -1) or None,
        random_state=options.seed,
        time_limit=options.time_limit,
        n_jobs=options.threads,
        verbose=int(sys.stderr.isatty()),
    )
    if task == "classification" and note:
        warnings.warn(note, stacklevel=2)
    seconds = _fit(model, X, **of_fit, sample_weight=weights, groups=groups)
    model.save(output)
    if (rows := model.rows_) is not None:  # a sample, of which all results are
        X, y = take_rows(X, rows), y[rows]
        weights = None if weights is None else weights[rows]
    report = model.report()
    if report.is_worthless:
        words = f"the model is no better than its baseline: {report.metric} {report.together:.4g}"
        warnings.warn(f"{words}, baseline {report.more['baseline']}", stacklevel=2)
    results: dict[str, Any] = {
        **{"model": output, "task": task, "target": target, "seconds": seconds},
        "out_of_fold": models.scores_of_fit(model, y, weights),
    }
    if valid is not None:
        table = valid[names]
        results["valid"] = models.scores_of_model(model, options.valid, table, truth, of_truth)
    title = f"{task} of {target}{_note_on_counts(task, options.task, y)}"
    lines = [f"{report.by_rows.verdict()}\n\ntask         {title}"]
    shown = (line for line in report.lines() if options.verbose or line[0] not in SIZES)
    lines += [printable(f"{name:<12} {text}") for name, text in shown]
    for part, values in results.items():
        if isinstance(values, dict):
            lines += [f"\n{part.replace('_', ' ')}\n{models.score_lines(values)}"]
    lines += [f"\nmodel        {output}"]
    if options.report is not None:
        others = {"validation file": results["valid"]} if valid is not None else {}
        usage = _usage(results, options.event)
        report.by_rows.write(options.report, name=target, others=others, more=[usage])
        lines += [f"report       {options.report}"]
    show(options, results, "\n".join(lines))


def _check_question(options: argparse.Namespace) -> None:
    """Refuse a command without a target, or with options that a time until an event has not."""
    is_survival = bool(options.time_to)
    if bool(options.target) == is_survival or bool(options.event) != is_survival:
        raise UsageError("pass --target, or --time-to and --event: the columns to predict")
    others = {
        "--time": options.time,
        "--loss": options.loss,
        "--task": options.task != "auto",
    }
    wrong = [name for name, value in others.items() if value]
    if is_survival and wrong:
        raise UsageError(f"{wrong[0]} is not for --time-to: leave it out")


def _check_apart(names: list[str]) -> None:
    """Refuse a column that several options name."""
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"two options name the column {twice[0]}: leave one of them out")


def _note_on_counts(task: str, choice: str, y: NDArray[Any]) -> str:
    """Return a note on whole numbers, which may be counts, that are taken as classes."""
    count = len(np.unique(y)) if y.dtype.kind in "iuf" else 0
    if task != "classification" or choice != "auto" or count < FEWEST_COUNTS:
        return ""
    return f": {count} whole numbers are classes; for counts pass --loss poisson"


def _validation(
    options: argparse.Namespace, dialect: tables.Dialect, frame: Any, names: list[str]
) -> Any:
    """Return the table of ``--valid``, whose text columns are those of the data; None without."""
    if not options.valid:
        return None
    columns = {name: tables.column(frame, name, "the data").tolist() for name in frame.columns}
    text = [n for n, values in columns.items() if any(isinstance(v, str) for v in values)]
    valid = tables.read(options.valid, dialect, lambda names: text)
    tables.require(valid, names, options.valid)
    return valid


def _fit(model: Any, X: Any, **of_rows: Any) -> float:
    """Fit a model unless no file could hold it; return the seconds."""
    from fastmlp.tabular.files.codec_members import UnsavableWarning

    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnsavableWarning)  # it comes before the training
        try:
            model.fit(X, **of_rows)
        except UnsavableWarning as warning:
            raise CommandError(str(warning)) from None
    return round(time.perf_counter() - began, 3)


def _usage(results: dict[str, Any], event: str | None) -> Section:
    """Return the part of the page that shows how to use the model's file."""
    model, task, target = results["model"], results["task"], results["target"]
    truth = f"--time-to {target} --event {event}" if event else f"--target {target}"
    text = (
        f"import fastmlp\n\nmodel = fastmlp.load({model!r})\nmodel.predict(frame)  # pandas, polars"
        f"\n\n$ fastmlp predict {model} new.csv{OPTIONS[task]} -o predictions.csv"
        f"\n$ fastmlp evaluate {model} new.csv {truth}\n$ fastmlp export {model} --to onnx"
    )
    return "How to use it", "In Python, and in a shell:", f"<pre>{html.escape(text)}</pre>"
