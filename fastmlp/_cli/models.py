"""The commands that use saved models: predict, explain, evaluate, inspect and export."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp._cli import arguments, tables
from fastmlp._cli.arguments import CommandError, UsageError, argument, check_writable, command, show
from fastmlp._engine.exportable import Exportable
from fastmlp._files import inspection
from fastmlp._files.storage import ModelFormatError, load
from fastmlp._network.activations import Array

EXPLAINED_ROWS = 10_000  # rows that are explained, and written, at a time
LEAST_SECONDS = 1e-3  # for the rest of the rows when --time-limit is over
COVERAGE = 0.9  # the level of the intervals in which targets are counted
SUFFIXES = {"onnx": ".onnx", "c": ".c"}


OUTPUT = argument(
    "-o",
    "--output",
    metavar="FILE",
    default="-",
    help="CSV, or Parquet if so named; - prints",
)
KEEP = argument(
    "--keep",
    metavar="COLUMN",
    action="append",
    default=[],
    help="write this column of DATA beside the results; repeatable",
)
RECORDS = argument("--json", action="store_true", help="write JSON, for programs: one object a row")


@command(
    arguments.MODEL,
    *arguments.TABLE,
    OUTPUT,
    argument("--proba", action="store_true", help="add the probability of each class"),
    argument("--interval", metavar="COVERAGE", type=arguments.LEVEL, help="add intervals: 0.9"),
    argument("--quantiles", metavar="LEVELS", type=arguments.levels, help="add them: 0.1,0.5,0.9"),
    KEEP,
    RECORDS,
    examples=(
        "fastmlp predict model.safetensors new.csv",
        "fastmlp predict model.safetensors new.csv --keep id --interval 0.9 -o predictions.csv",
    ),
)
def predict(options: argparse.Namespace) -> None:
    """Predict the rows of a table with a saved model."""
    arguments.check_readable(options.model, options.data)
    if options.output != arguments.STANDARD:
        check_writable(options.output, inputs=[options.model, options.data])
    model, X, frame, _ = load_with_table(options, others=options.keep)
    kept = tables.kept(frame, options.keep)
    prediction = (model.predict if hasattr(model, "predict") else model)(X)
    means, *variances = prediction if isinstance(prediction, tuple) else (prediction,)
    columns = _columns("prediction", means)
    for variance in variances:
        columns |= _columns("variance", variance)
    if options.proba:
        p = _method(model, "predict_proba", "--proba")(X)
        columns |= {f"p_{name}": p[:, k] for k, name in enumerate(model.classes_.tolist())}
    if options.interval is not None:
        ends = _method(model, "predict_interval", "--interval")(X, options.interval)
        columns |= _columns("lower", ends[..., 0]) | _columns("upper", ends[..., 1])
    if options.quantiles is not None:
        values = _method(model, "predict_quantiles", "--quantiles")(X, options.quantiles)
        for k, level in enumerate(options.quantiles):
            columns |= _columns(f"q{level!r}", values[..., k])
    tables.save([_beside(kept, columns, options)], options.output, options.json)


@command(
    arguments.MODEL,
    *arguments.TABLE,
    OUTPUT,
    argument(
        "--background",
        metavar="FILE",
        help="a table of rows that stand for the population, by default 100 of DATA; or typical: "
        "one row of the medians and most frequent values of the fit",
    ),
    argument("--score", action="store_true", help="explain log-odds instead of probabilities"),
    argument("--time-limit", metavar="SECONDS", type=arguments.SECONDS, help="about so long"),
    KEEP,
    RECORDS,
    examples=(
        "fastmlp explain model.safetensors new.csv -o contributions.csv",
        "fastmlp explain model.safetensors new.csv --background old.csv --keep id",
    ),
)
def explain(options: argparse.Namespace) -> None:
    """Write how much each column adds to the predictions of the rows of a table."""
    from fastmlp._explain.explain import FEWEST_BACKGROUND, TYPICAL, OutputError, drawn_places
    from fastmlp.tabular.table.frames import take_rows

    is_typical = options.background == TYPICAL
    inputs = [options.model, options.data, None if is_typical else options.background]
    arguments.check_readable(*inputs)
    if options.output != arguments.STANDARD:
        check_writable(options.output, inputs=inputs)
    model, X, frame, names = load_with_table(options, others=options.keep)
    kept, n = tables.kept(frame, options.keep), len(X)
    if is_typical:
        rows = TYPICAL
    elif options.background is not None:
        of_rows = argparse.Namespace(**vars(options) | {"data": options.background})
        rows = load_with_table(of_rows, others=options.keep)[1]
    elif n < FEWEST_BACKGROUND:
        raise UsageError(
            f"--background is needed: {tables.source(options.data)} has {n} rows, and fewer "
            f"than {FEWEST_BACKGROUND} do not stand for the population: give a table, or typical"
        )
    else:
        rows = take_rows(X, drawn_places(n, 0))
    explained = _method(model, "explain", "explain")
    output, limit = "score" if options.score else None, options.time_limit
    began = time.monotonic()

    def blocks() -> Iterator[dict[str, list[Any]]]:
        for first in range(0, n, EXPLAINED_ROWS):
            part = slice(first, min(first + EXPLAINED_ROWS, n))
            share = None
            if limit is not None:  # of what is left of it
                left = max(began + limit - time.monotonic(), LEAST_SECONDS)
                share = left * (part.stop - first) / (n - first)
            columns = _contributions(
                explained(X[part], rows, output=output, time_limit=share), names
            )
            yield _beside({name: values[part] for name, values in kept.items()}, columns, options)

    try:
        tables.save(blocks(), options.output, options.json)
    except OutputError:
        raise UsageError(
            "--score is for probabilities, but the model predicts none: leave it out"
        ) from None


def _contributions(found: Any, names: Sequence[str]) -> dict[str, Array]:
    """Return the columns of an explanation."""
    columns: dict[str, Array] = {}
    for k, name_of_output in enumerate(found.outputs):
        end = f"_{name_of_output}" if len(found.outputs) > 1 else ""
        values = found.values.reshape(len(found), len(names), -1)[:, :, k]
        base = np.full(len(found), np.ravel(found.base)[k])
        columns |= {f"prediction{end}": base + values.sum(axis=1), f"base{end}": base}
        columns |= {f"by_{name}{end}": values[:, j] for j, name in enumerate(names)}
    if len(columns) < len(found.outputs) * (2 + len(names)):
        raise UsageError(
            "two contributions would have the same name, by_COLUMN_CLASS, in the output: rename a "
            "column or a class so that all are different, and fit again"
        )
    errors = found.standard_errors.reshape(len(found), -1)
    columns["largest_standard_error"] = errors.max(axis=1, initial=0.0)
    return columns


@command(
    arguments.MODEL,
    *arguments.TABLE,
    argument("--target", metavar="COLUMN", help="by default that of the fit, else no input"),
    *arguments.SURVIVAL,
    arguments.WEIGHT,
    arguments.JSON,
    examples=(
        "fastmlp evaluate model.safetensors new.csv",
        "fastmlp evaluate model.safetensors new.csv --target rent --json",
    ),
)
def evaluate(options: argparse.Namespace) -> None:
    """Score a saved model on rows whose targets are known."""
    from fastmlp.tabular.table.frames import take_rows  # needs scikit-learn

    arguments.check_readable(options.model, options.data)
    target, event, weight = options.target or options.time_to, options.event, options.weight
    model, X, frame, inputs = load_with_table(options, target, (weight, event))
    _check_question(options, model)
    of_fit = tuple(getattr(_fitted(model), "target_names", ()))
    if target is None and len(of_fit) == 1 and of_fit[0] in frame.columns:
        (target,) = of_fit
    if target is None:
        left = [name for name in frame.columns if name not in {*inputs, weight}]
        if len(left) != 1:
            names = ", ".join(left) or "no columns"
            raise UsageError(f"--target is needed: {names} are there beside the inputs")
        (target,) = left
    option = "--time-to" if event else "--target"
    rows = known_rows(frame, {target: option, **({event: "--event"} if event else {})})
    X, frame = take_rows(X, rows), take_rows(frame, rows)
    y, weights = truth_of(frame, target, weight, option)
    if event:
        y = with_events(frame, y, event)
    if hasattr(model, "get_params"):
        values = scores_of_model(model, options.data, X, y, weights)
    elif hasattr(model, "evaluate"):
        values = {"loss": float(model.evaluate(X, y, sample_weight=weights))}
    else:
        raise CommandError(f"{options.model} holds a {type(model).__name__}, which has no loss")
    show(options, values, score_lines(values))


@command(
    argument("files", metavar="FILE", nargs="+", help="a file that save() has written"),
    argument("--arrays", action="store_true", help="also a line for each array, as --json has"),
    arguments.JSON,
    examples=(
        "fastmlp inspect model.safetensors",
        "fastmlp inspect model.safetensors other.safetensors --json",
    ),
)
def inspect(options: argparse.Namespace) -> None:
    """Print the content of files of saved models, without loading the models."""
    contents: list[Any] = []
    wrong: list[Exception] = []
    for path in options.files:
        try:
            contents.append(inspection.facts(path))
        except (OSError, ValueError) as error:
            wrong.append(error)
    if contents:
        texts = (inspection.as_text(content, options.arrays) for content in contents)
        show(options, contents, "\n\n".join(texts))
    for fault in wrong[:-1]:
        warnings.warn(str(fault), stacklevel=2)
    if wrong:
        raise wrong[-1]


@command(
    arguments.MODEL,
    argument("--to", choices=tuple(SUFFIXES), help="by default the suffix of the output decides"),
    argument("-o", "--output", metavar="FILE", help="by default MODEL with .onnx or .c"),
    argument("--quantiles", metavar="LEVELS", type=arguments.levels, help="of regressors: 0.1,0.9"),
    argument("--derivatives", type=int, choices=(1, 2), help="of networks as C: up to this order"),
    arguments.JSON,
    examples=(
        "fastmlp export model.safetensors --to onnx",
        "fastmlp export model.safetensors -o model.c --quantiles 0.1,0.9",
    ),
)
def export(options: argparse.Namespace) -> None:
    """Write a saved model as ONNX or as C, for other programs."""
    suffix = Path(options.output or "").suffix
    kind = options.to or next((kind for kind, its in SUFFIXES.items() if suffix == its), None)
    if kind is None:
        raise UsageError("pass --to onnx or --to c, or -o with a name that ends in .onnx or .c")
    arguments.check_readable(options.model)
    output = options.output or str(Path(options.model).with_suffix(SUFFIXES[kind]))
    outputs = [output, str(Path(output).with_suffix(".h"))] if kind == "c" else [output]
    check_writable(*outputs, inputs=[options.model])
    arguments.check_new(options.output, *outputs)
    model, further = load(options.model), {}
    if options.quantiles is not None:
        _method(model, "predict_quantiles", "--quantiles")
        further["levels"] = options.quantiles
    if options.derivatives is not None:
        if kind != "c" or not isinstance(model, Exportable):
            raise CommandError("--derivatives is for networks as C, not for tables: leave it out")
        further["derivatives"] = options.derivatives
    written = _method(model, f"to_{kind}", f"--to {kind}")(output, **further)
    paths = [output] if kind == "onnx" else [str(written.source), str(written.header)]
    sizes = [Path(path).stat().st_size for path in paths]
    facts: dict[str, Any] = {"files": paths, "bytes": sizes}
    lines = [f"{path}  {size:,} bytes" for path, size in zip(paths, sizes, strict=True)]
    if kind == "c":
        facts["largest_error"] = written.largest_error
        lines.append(f"largest relative error of a prediction: {written.largest_error:.2g}")
    show(options, facts, "\n".join(lines))


def _beside(
    kept: dict[str, list[Any]], columns: dict[str, Array], options: argparse.Namespace
) -> dict[str, list[Any]]:
    """Return results beside the columns that are kept; refuse two columns of one name."""
    if twice := [name for name in kept if name in columns]:
        raise CommandError(
            f"--keep {twice[0]}: the results have a column of this name: rename it in "
            f"{tables.source(options.data)}"
        )
    return kept | {name: values.tolist() for name, values in columns.items()}


def _fitted(model: Any) -> Any:
    """Return the value of the fit of an estimator; None of a network."""
    return getattr(model, "_fitted", None)


def load_with_table(
    options: argparse.Namespace,
    target: str | None = None,
    beside: Sequence[str | None] = (),
    others: Sequence[str] = (),
) -> tuple[Any, Any, Any, list[str]]:
    """Return a model, the input for it, the table with that, and the names of the input columns.

    Columns and labels that were text at fit are read as text, even if they look like numbers. A
    model that was fitted on arrays takes all columns but the target, those beside it, such as the
    weight, and the others, which `tables.kept` returns.
    """
    path, data = options.model, options.data
    try:
        model = load(path)
    except ModelFormatError:
        if _is_model(data):
            words = f"{path} is no model but {data} is: the model comes first, MODEL DATA"
            raise UsageError(words) from None
        raise
    columns: Any = getattr(_fitted(model), "columns", None)  # only estimators of tables have them
    named: list[str] = [*getattr(model, "feature_names_in_", ())]
    text: list[str] = []
    if columns is not None:
        named = list(columns.names) if columns.named else []
        text = [c.name for _, c in columns.numbers + columns.categories if c.has_text]
    labels = getattr(model, "classes_", np.empty(0)).tolist()

    def as_text(names: Sequence[str]) -> list[str]:
        if not any(isinstance(label, str) for label in labels):
            return text
        targets = {*names} - {*named, *beside} if named else {target}
        return [*text, *filter(None, targets)]

    frame = tables.read(data, tables.dialect_of(options), as_text, others)
    tables.require(frame, named, f"{tables.source(data)} lacks inputs of the model")
    inputs = named or [name for name in frame.columns if name not in {target, *beside, *others}]
    if named:
        return model, frame[inputs], frame, inputs
    arrays = [tables.column(frame, name, "the data") for name in inputs]
    for name, array in zip(inputs, arrays, strict=True):
        if array.dtype.kind not in "iufb" and columns is None:
            raise CommandError(
                f"the column {name!r} holds text but this model takes numbers: convert it"
            )
    return model, np.column_stack(arrays), frame, inputs


def _is_model(path: str) -> bool:
    """Whether a file is a model, as far as its header tells."""
    try:
        inspection.facts(path)
    except (OSError, ModelFormatError):
        return False
    return True


def is_missing(values: Array) -> Array:
    """Return which values of a column are missing."""
    return np.array([value is None or value != value for value in values.tolist()], bool)


def known_rows(frame: Any, roles: Mapping[str, str]) -> Any:
    """Return the places of the rows that have all targets, and warn of the others.

    ``roles`` are the columns of the targets, each with the option that names it.
    """
    rows = np.arange(len(frame))
    for name, option in roles.items():
        missing = is_missing(tables.column(frame, name, option)[rows])
        n = np.count_nonzero(missing)
        if n == len(missing) > 0:
            raise CommandError(
                f"all values of the column {name!r} are missing: name another column"
            )
        if n:
            warnings.warn(
                f"{option}: {name} is missing in {n:,} of {len(missing):,} rows, which are left "
                "out",
                stacklevel=2,
            )
        rows = rows[~missing]
    return rows


def truth_of(frame: Any, target: str, weight: str | None, option: str) -> Any:
    """Return the targets of `known_rows`, and the weights of rows, None without a name."""
    y = tables.column(frame, target, option)
    if weight is None:
        return y, None
    values = tables.column(frame, weight, "--weight")
    if values.dtype.kind not in "iufb" or not np.all((values >= 0) & (values < np.inf)):
        raise CommandError(f"the column {weight!r} of --weight needs finite numbers of at least 0")
    return y, values.astype(float)


def with_events(frame: Any, times: Array, event: str) -> Array:
    """Return records of events and times; the events may also be the words true and false."""
    from fastmlp.tabular.outcome.checked_survival import paired

    events, _ = truth_of(frame, event, None, "--event")
    words = {"true": True, "false": False}
    if events.dtype.kind in "OUT" and {str(word).lower() for word in events.tolist()} <= {*words}:
        events = np.array([words[str(word).lower()] for word in events.tolist()])
    try:
        return paired(times, events)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _check_question(options: argparse.Namespace, model: Any) -> None:
    """Refuse options that name the columns of another kind of target than the model has."""
    is_survival, given = hasattr(model, "event_times_"), (options.time_to, options.event)
    if is_survival and (options.target or not all(given)):
        raise UsageError(
            "the model predicts times until an event: pass --time-to and --event, the columns that "
            "hold them"
        )
    if not is_survival and any(given):
        name = type(model).__name__
        raise UsageError(f"--time-to and --event are not for a {name}: pass --target")


def scores_of_model(
    model: Any, data: str, X: Any, y: Array, weights: Array | None
) -> dict[str, float]:
    """Return the scores of a fitted estimator on the rows of a file, which it has not seen."""
    if hasattr(model, "event_times_"):
        return scores_of_survival(model, data, y, model.predict_hazards(X), weights)
    prediction = model.predict(X)
    if np.ndim(prediction) > 1:
        raise ValueError("the model predicts several targets but one can be scored: use Python")
    if hasattr(model, "classes_"):
        return scores_of(model, data, y, model.predict_proba(X), weights)
    if y.dtype.kind not in "iufb":
        raise ValueError("the target holds text but the model predicts numbers: name another one")
    values = scores_of(model, data, y, prediction, weights)
    if hasattr(model, "predict_interval"):
        with warnings.catch_warnings(action="ignore"):  # no coverage was asked for
            low, high = model.predict_interval(X, COVERAGE).T
        inside = np.average((low <= y) & (y <= high), weights=weights)
        values[f"coverage_{COVERAGE:.0%}"] = float(inside)
    return values


def scores_of_fit(model: Any, y: Array, weights: Array | None) -> dict[str, float]:
    """Return the scores of out-of-fold predictions, on the rows of the fit that have them."""
    from fastmlp.tabular.outcome.scores import scores  # needs scikit-learn

    p = model.oof_prediction_
    rows = np.isfinite(p.reshape(len(p), -1)).all(axis=1)
    of_rows = None if weights is None else weights[rows]
    if hasattr(model, "event_times_"):
        return scores_of_survival(model, "", y[rows], p[rows], of_rows)
    return scores(y[rows], p[rows], getattr(model, "classes_", None), of_rows)


def scores_of_survival(
    model: Any, rows: str, y: Array, hazards: Array, weights: Array | None
) -> dict[str, float]:
    """Return the scores of curves; with a name of the rows, warn if one curve is no worse."""
    from fastmlp.tabular.outcome.checked_survival import survival_of
    from fastmlp.tabular.outcome.survival_target import SurvivalTarget

    target = SurvivalTarget.of_times(survival_of(y), model.event_times_)
    if rows:
        warn_of_constant(target, rows, hazards, weights)
    return target.scores(hazards, weights)


def scores_of(model: Any, rows: str, y: Array, p: Array, weights: Array | None) -> dict[str, float]:
    """Return the scores of predictions; warn if they are no better than a constant."""
    from fastmlp.tabular.outcome.scores import scores, target_of  # needs scikit-learn

    classes, loss = getattr(model, "classes_", None), getattr(model, "loss", "")
    target = target_of(y, classes, loss, getattr(model, "quantile", 0.5))
    warn_of_constant(target, rows, p if p.ndim > 1 else p[:, np.newaxis], weights)
    return scores(y, p, classes, weights)


def warn_of_constant(target: Any, rows: str, p_of_rows: Array, weights: Array | None) -> None:
    """Warn of predictions of rows that are no better than the best constant."""
    from fastmlp.tabular.outcome.targets import baseline  # needs scikit-learn
    from fastmlp.tabular.recipe.epoch_selection import mean_cost

    constant = baseline(target, weights)
    if not constant.is_beaten(target, p_of_rows, weights):
        score = target.shown(mean_cost(target, p_of_rows, weights))
        warnings.warn(
            f"the model is no better than always predicting {constant.name} ({rows}): "
            f"{target.metric} {score:.4g}, always {constant.name} "
            f"{constant.score(target, weights):.4g}",
            stacklevel=2,
        )


def score_lines(values: dict[str, float]) -> str:
    """Return scores as text, one a line."""
    return "\n".join(f"{name:<12} {value:.4g}" for name, value in values.items())


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
