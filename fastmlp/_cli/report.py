"""A page about a trained model of tables: one HTML file with all pictures and styles inside."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastmlp
from fastmlp._cli import scores, tables
from fastmlp._cli.charts import Axes
from fastmlp._cli.internals import write as write_file

Array = NDArray[Any]

MOST_POINTS = 600  # of a scatter plot
MOST_CLASSES = 12  # of a confusion matrix
MOST_BARS = 15
MOST_CURVES = 4  # classes with a curve of their own; columns with a partial dependence
SAMPLE, GRID = 100, 15  # rows and values of a partial dependence
MANY_CELLS = 200_000  # of a table whose columns are shuffled but once
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


def write(
    path: str, model: Any, X: Any, y: Array, weights: Array | None, found: dict[str, Any]
) -> None:
    """Write the page.

    Parameters
    ----------
    path : str
        Of the file.
    model : TabMLPRegressor or TabMLPClassifier
        Fitted on X, y and weights.
    found : dict
        What the command train has found: model, task, target, seconds, scores.
    """
    write_page(path, f"A model of {found['target']}", sections(model, X, y, weights, found))


def write_page(path: str, title: str, sections: Iterable[tuple[str, str]]) -> None:
    """Write a page of sections, each a title and HTML."""
    parts = [f"<section><h2>{html.escape(name)}</h2>{body}</section>" for name, body in sections]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{html.escape(title)}</title>\n<style>\n{STYLE.read_text()}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n<main>\n" + "\n".join(parts) + "\n</main>\n"
        f"<footer>Made by fastmlp {fastmlp.__version__}.</footer></body></html>\n"
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
    yield "Calibration", _calibration(model, y)
    if classes is None:
        yield "Residuals", _residuals(y, model.oof_prediction_)
    else:
        yield "Confusion", _confusion(y, model.oof_prediction_, classes)
    names, ax = importance.names[:MOST_BARS], Axes()
    if names:
        ends = slice(len(names) - 1, None, -1) if len(names) > 1 else slice(None)
        ax.barh(names[::-1], importance.means[ends], xerr=importance.deviations[ends])
        ax.set(xlabel="rise of the loss when the column is shuffled")
        yield (
            "Importance",
            (
                "<p>How much worse predictions of unseen rows get when a column is shuffled.</p>"
                + ax.svg("Importance of the columns")
            ),
        )
        yield (
            "Partial dependence",
            (
                "<p>The mean prediction if a column had one value in all rows.</p>"
                + "".join(_dependence(model, X, name) for name in names[:MOST_CURVES])
            ),
        )
    ax = Axes()
    model.plot_history(ax=ax)
    yield (
        "Learning curves",
        (
            "<p>The score of held-out rows, epoch by epoch. The weights of the marked epoch "
            f"were kept.</p>{ax.svg('Score by epoch')}"
        ),
    )
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
    names = list(dict.fromkeys(name for part in parts for name in found[part]))
    rows = [
        [name, *(f"{found[p][name]:.4g}" if name in found[p] else "" for p in parts), SCORES[name]]
        for name in names
    ]
    if found["task"] == "regression":
        spread = np.sqrt(np.average((y - np.average(y, weights=weights)) ** 2, weights=weights))
        simple = f"always predicting the mean has an rmse of {spread:.4g}"
    else:
        _, places = np.unique(y, return_inverse=True)
        counts = np.bincount(places, weights)
        simple = (
            f"always predicting the largest class is right in {counts.max() / counts.sum():.1%}"
        )
    return table(rows, ["score", *parts.values(), "meaning"]) + f"<p>To compare: {simple}.</p>"


def _calibration(model: Any, y: Array) -> str:
    if not hasattr(model, "classes_"):
        ax = Axes()
        model.plot_calibration(y, ax=ax)
        text = "The share of targets below each predicted quantile; on the diagonal it is right."
        return f"<p>{text}</p>{ax.svg('Calibration of quantiles')}"
    text = "How often rows with a predicted probability are of the class; ideal is the diagonal."
    labels, counts = np.unique(y, return_counts=True)
    often = labels[np.argsort(-counts, kind="stable")[:MOST_CURVES]]
    ax = Axes()
    for label in often if len(labels) > 2 else labels[-1:]:
        ax.label = str(label)
        model.plot_calibration(y, label=label, ax=ax)
    return f"<p>{text}</p>{ax.svg('Calibration of classes')}"


def _figure(title: str, picture: str) -> str:
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{picture}</figure>"


def _residuals(y: Array, prediction: Array) -> str:
    every = slice(None, None, -(-len(y) // MOST_POINTS))
    ax = Axes()
    ax.plot([prediction.min(), prediction.max()], [0, 0], color="gray")
    ax.scatter(prediction[every], (y - prediction)[every])
    ax.set(xlabel="prediction, out of fold", ylabel="target minus prediction")
    return "<p>The errors of the predictions; no pattern should be left.</p>" + ax.svg(
        "Residuals by prediction"
    )


def _confusion(y: Array, p: Array, classes: Array) -> str:
    """Return the table of true and predicted classes; the cells are shaded by their share."""
    truth, said = scores.codes_of(y, classes), p.argmax(axis=1)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (truth, said), 1)
    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MOST_CLASSES])
    head = "".join(f"<th>{html.escape(str(classes[k]))}</th>" for k in shown)
    body = ""
    for k in shown:
        shares = counts[k] / max(counts[k].sum(), 1)
        cells = [f'<td style="--share:{shares[j]:.2f}">{counts[k, j]:,}</td>' for j in shown]
        body += f"<tr><th>{html.escape(str(classes[k]))}</th>{''.join(cells)}</tr>"
    more = len(classes) - len(shown)
    note = f" The {len(shown)} largest of {len(classes)} classes are shown." if more else ""
    return (
        f"<p>Rows are true classes, columns predicted ones, out of fold.{note}</p>"
        f'<div class="wide"><table class="confusion"><tr><th></th>{head}</tr>{body}</table></div>'
    )


def _dependence(model: Any, X: Any, name: str) -> str:
    """Return the chart of the mean prediction by the value of one column."""
    values = tables.column(X, name, "the data")
    sample, ax = X[:: -(-len(X) // SAMPLE)], Axes()
    number = values.dtype.kind in "iuf"
    if number:
        present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        grid = np.unique(np.quantile(present, np.linspace(0.02, 0.98, GRID), method="nearest"))
    else:
        present = np.array([v for v in values.tolist() if v is not None and v == v], object)
        kinds, counts = np.unique(present, return_counts=True)
        grid = kinds[np.argsort(-counts, kind="stable")[:MOST_BARS]]
    classes = getattr(model, "classes_", np.empty(0))
    predict = model.predict_proba if len(classes) else model.predict
    means = [predict(tables.replaced(sample, name, v)).mean(axis=0) for v in grid.tolist()]
    found = np.reshape(means, (len(grid), -1))
    columns = range(found.shape[1])[-1:] if len(classes) <= 2 else range(len(classes))[:MOST_CURVES]
    what = "probability" if len(classes) else "prediction"
    if len(columns) == 1 and len(classes):
        what += f" of {classes[-1]}"
    if number:
        for k in columns:
            ax.plot(grid, found[:, k], label=str(classes[k]) if len(classes) > 2 else "")
        ax.set(xlabel=name, ylabel=what)
    else:
        last = columns[-1]
        ax.barh([str(v) for v in grid[::-1]], found[::-1, last])
        ax.set(xlabel=f"probability of {classes[last]}" if len(classes) else what)
    return _figure(name, ax.svg(f"Partial dependence on {name}"))


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
