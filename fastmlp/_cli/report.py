"""A page about a trained model of tables: one HTML file with all pictures and styles inside."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._cli import scores, tables
from fastmlp._cli.arguments import VERSION
from fastmlp._core.atomic_files import write as write_file
from fastmlp._core.charts import Axes

Array = NDArray[Any]

MOST_POINTS = 600  # of a scatter plot
MOST_CLASSES = 12  # of a confusion matrix
MOST_BARS = 15
MOST_CURVES = 4  # classes with a curve of their own; columns with a partial dependence
SAMPLE, GRID = 100, 15  # rows and values from which a partial dependence is computed
MANY_CELLS = 200_000  # with more cells, each column is shuffled only once for its importance
STYLE = Path(__file__).with_name("report.css")
SCORES = {
    "rmse": "root mean squared error, in the units of the target: less is better",
    "mae": "mean absolute error, in the units of the target: less is better",
    "r2": "share of the target's variance that is explained: 1 is perfect",
    f"coverage_{scores.LEVEL:.0%}": "share of targets inside their intervals",
    "accuracy": "share of rows whose class is right",
    "log_loss": "mean negative logarithm of the probability of the true class: less is better",
    "roc_auc": "probability that a row of the last class is ranked above one of the first",
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style></head>
<body><h1>{title}</h1>
<main>
{sections}
</main>
<footer>Made by fastmlp {version}.</footer></body></html>
"""


def write(
    path: str, model: Any, X: Any, y: Array, weights: Array | None, found: dict[str, Any]
) -> None:
    """Write the page of a model that was fitted on X, y and weights.

    ``found`` are the results of the command train: model, task, target, seconds, scores.
    """
    write_page(path, f"A model of {found['target']}", sections(model, X, y, weights, found))


def write_page(path: str, title: str, sections: Iterable[tuple[str, str]]) -> None:
    """Write a page of sections, each a title and HTML."""
    parts = [f"<section><h2>{html.escape(name)}</h2>{body}</section>" for name, body in sections]
    page = PAGE.format(
        title=html.escape(title),
        style=STYLE.read_text(encoding="utf-8"),
        sections="\n".join(parts),
        version=VERSION,
    )
    write_file(path, [page.encode()])


def sections(
    model: Any, X: Any, y: Array, weights: Array | None, found: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield the title and the content of each part of the page."""
    report, classes = model.report(), getattr(model, "classes_", None)
    rounds = 1 if report.rows * report.columns > MANY_CELLS else 3
    importance = model.importance(X, y, rounds=rounds)
    yield "What was done", _facts(report, found)
    yield "How well it does", _scores(found, y, weights)
    yield "Calibration", _calibration(model, y, classes)
    if classes is None:
        yield "Residuals", _residuals(y, model.oof_prediction_)
    else:
        yield "Confusion", _confusion(y, model.oof_prediction_, classes)
    names = importance.names[:MOST_BARS]
    if names:
        ax = Axes()
        each = zip(names, importance.means, importance.deviations, strict=False)
        ax.barh(*zip(*list(each)[::-1], strict=True))
        ax.set(xlabel="rise of the loss when the column is shuffled")
        text = "How much worse predictions of unseen rows get when a column is shuffled."
        yield "Importance", f"<p>{text}</p>{ax.svg('Importance of the columns')}"
        curves = "".join(_dependence(model, X, name) for name in names[:MOST_CURVES])
        text = "The mean prediction if a column had one value in all rows."
        yield "Partial dependence", f"<p>{text}</p>{curves}"
    ax = Axes()
    model.plot_history(ax=ax)
    text = "The score of held-out rows, epoch by epoch. The weights of the marked epoch were kept."
    yield "Learning curves", f"<p>{text}</p>{ax.svg('Score by epoch')}"
    ax = Axes()
    ax.barh(list(report.seconds)[::-1], list(report.seconds.values())[::-1])
    ax.set(xlabel="seconds")
    yield "Where the time went", ax.svg("Seconds by phase")
    yield "How to use it", _usage(found)


def table(rows: Any, head: Any = ()) -> str:
    """Return a table of HTML; the cells are plain text."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(str(c))}</th>' for c in head)}</tr>"] if head else []
    for first, *others in rows:
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in others)
        lines.append(f"<tr><th>{html.escape(str(first))}</th>{cells}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _facts(report: Any, found: dict[str, Any]) -> str:
    kinds = " and ".join(f"{count} of {name}" for name, count in report.kinds.items())
    text = (
        f"A {found['task']} model that predicts {found['target']} was trained in "
        f"{found['seconds']:.1f} seconds on {report.rows:,} rows. It takes {report.columns} "
        f"columns; {kinds} are used. Every row was also predicted by networks that had not learned "
        "from it: these predictions, called out of fold, are what this page measures."
    )
    facts = [("networks: share, number, layers", each) for each in report.members]
    facts += [(f"left out: {name}", why) for name, why in report.left_out.items()]
    facts += [("note", note) for note in report.notes]
    return f"<p>{html.escape(text)}</p>{table(facts)}"


def _scores(found: dict[str, Any], y: Array, weights: Array | None) -> str:
    parts = {"out_of_fold": "out of fold", "valid": "validation file"}
    parts = {key: name for key, name in parts.items() if key in found}
    names = dict.fromkeys(name for part in parts for name in found[part])
    rows = [
        [name, *(f"{found[p][name]:.4g}" if name in found[p] else "" for p in parts), SCORES[name]]
        for name in names
    ]
    if found["task"] == "regression":
        spread = np.sqrt(np.average((y - np.average(y, weights=weights)) ** 2, weights=weights))
        simple = f"always predicting the mean has an rmse of {spread:.4g}"
    else:
        counts = np.bincount(np.unique(y, return_inverse=True)[1], weights)
        share = counts.max() / counts.sum()
        simple = f"always predicting the largest class is right in {share:.1%}"
    return table(rows, ["score", *parts.values(), "meaning"]) + f"<p>To compare: {simple}.</p>"


def _calibration(model: Any, y: Array, classes: Array | None) -> str:
    ax = Axes()
    if classes is None:
        model.plot_calibration(y, ax=ax)
        text = "The share of targets below each predicted quantile; on the diagonal it is right."
        return f"<p>{text}</p>{ax.svg('Calibration of quantiles')}"
    text = "How often rows with a predicted probability are of the class; ideal is the diagonal."
    labels, counts = np.unique(y, return_counts=True)
    frequent = labels[np.argsort(-counts, kind="stable")[:MOST_CURVES]]
    for label in frequent if len(labels) > 2 else labels[-1:]:
        ax.label = str(label)
        model.plot_calibration(y, label=label, ax=ax)
    return f"<p>{text}</p>{ax.svg('Calibration of classes')}"


def _residuals(y: Array, prediction: Array) -> str:
    every, ax = slice(None, None, -(-len(y) // MOST_POINTS)), Axes()
    ax.plot([prediction.min(), prediction.max()], [0, 0], color="gray")
    ax.scatter(prediction[every], (y - prediction)[every])
    ax.set(xlabel="prediction, out of fold", ylabel="target minus prediction")
    text = "The errors of the predictions; no pattern should be left."
    return f"<p>{text}</p>{ax.svg('Residuals by prediction')}"


def _confusion(y: Array, p: Array, classes: Array) -> str:
    """Return the table of true and predicted classes; the cells are shaded by their share."""
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (scores.codes_of(y, classes), p.argmax(axis=1)), 1)
    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MOST_CLASSES])
    head = "".join(f"<th>{html.escape(str(classes[k]))}</th>" for k in shown)
    body = ""
    for k in shown:
        shares = counts[k] / max(counts[k].sum(), 1)
        cells = [f'<td style="--share:{shares[j]:.2f}">{counts[k, j]:,}</td>' for j in shown]
        body += f"<tr><th>{html.escape(str(classes[k]))}</th>{''.join(cells)}</tr>"
    note = f" The {len(shown)} largest of {len(classes)} classes are shown."
    return (
        "<p>Rows are true classes, columns predicted ones, out of fold."
        f"{note * (len(classes) > len(shown))}</p>"
        f'<div class="wide"><table class="confusion"><tr><th></th>{head}</tr>{body}</table></div>'
    )


def _dependence(model: Any, X: Any, name: str) -> str:
    """Return the chart of the mean prediction by the value of one column."""
    values = tables.column(X, name, "the data")
    sample, ax = X[:: -(-len(X) // SAMPLE)], Axes()
    is_number = values.dtype.kind in "iuf"
    if is_number:
        present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        grid = np.unique(np.quantile(present, np.linspace(0.02, 0.98, GRID), method="nearest"))
    else:
        present = np.array([v for v in values.tolist() if v is not None and v == v], object)
        kinds, counts = np.unique(present, return_counts=True)
        grid = kinds[np.argsort(-counts, kind="stable")[:MOST_BARS]]
    classes: Any = getattr(model, "classes_", ())
    predict = model.predict_proba if len(classes) else model.predict
    means = [predict(tables.replaced(sample, name, v)).mean(axis=0) for v in grid.tolist()]
    found = np.reshape(means, (len(grid), -1))
    several = len(classes) > 2 and is_number
    columns = range(found.shape[1])[:MOST_CURVES] if several else [found.shape[1] - 1]
    label = "prediction"
    if len(classes):
        label = "probability" if several else f"probability of {classes[-1]}"
    if is_number:
        for k in columns:
            ax.plot(grid, found[:, k], label=str(classes[k]) if several else "")
        ax.set(xlabel=name, ylabel=label)
    else:
        ax.barh([str(v) for v in grid[::-1]], found[::-1, columns[0]])
        ax.set(xlabel=label)
    picture = ax.svg(f"Partial dependence on {name}")
    return f"<figure><figcaption>{html.escape(name)}</figcaption>{picture}</figure>"


def _usage(found: dict[str, Any]) -> str:
    model = found["model"]
    option = "--interval 0.9" if found["task"] == "regression" else "--proba"
    text = (
        f"import fastmlp\n\nmodel = fastmlp.load({model!r})\nmodel.predict(frame)  # pandas, polars"
        f"\n\n$ fastmlp predict {model} new.csv {option} -o predictions.csv"
        f"\n$ fastmlp evaluate {model} new.csv --target {found['target']}"
        f"\n$ fastmlp export {model} --to onnx"
    )
    return f"<p>In Python, and in a shell:</p><pre>{html.escape(text)}</pre>"
