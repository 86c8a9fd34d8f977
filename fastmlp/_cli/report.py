"""A page about a trained model of tables: one HTML file with all pictures and styles inside."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._cli import models, tables
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
STYLE, PAGE = (Path(__file__).with_name(f"report.{kind}") for kind in ("css", "html"))
SCORES = {
    "rmse": "root mean squared error, in the units of the target: less is better",
    "mae": "mean absolute error, in the units of the target: less is better",
    "r2": "share of the target's variance that is explained: 1 is perfect",
    f"coverage_{models.COVERAGE:.0%}": "share of targets inside their intervals",
    "accuracy": "share of rows whose class is right",
    "log_loss": "mean negative logarithm of the probability of the true class: less is better",
    "roc_auc": "probability that a row of the last class is ranked above one of the first",
}
WEIGHTED = " Scores, calibration and importance count rows by their weights."


Section: TypeAlias = tuple[
    str, str, "str | Axes"
]  # title and text, both plain, and HTML or a chart


def write_page(path: str, title: str, sections: Iterable[Section]) -> None:
    """Write a page of sections."""
    parts = []
    for name, text, body in sections:
        picture = body.svg(name) if isinstance(body, Axes) else body
        above = f"<h2>{html.escape(name)}</h2>" + f"<p>{html.escape(text)}</p>" * bool(text)
        parts.append(f"<section>{above}{picture}</section>")
    page = PAGE.read_text(encoding="utf-8").format(
        title=html.escape(title),
        style=STYLE.read_text(encoding="utf-8"),
        sections="\n".join(parts),
        version=VERSION,
    )
    write_file(path, [page.encode()])


def table(rows: Any, head: Any = ()) -> str:
    """Return a table of HTML; the cells are plain text."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(str(c))}</th>' for c in head)}</tr>"] if head else []
    for first, *others in rows:
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in others)
        lines.append(f"<tr><th>{html.escape(str(first))}</th>{cells}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def bars(values: Mapping[str, float], label: str) -> Axes:
    """Return a chart of bars, the first at the top."""
    ax = Axes()
    ax.barh(list(values)[::-1], list(values.values())[::-1])
    ax.set(xlabel=label)
    return ax


def sections(
    model: Any, X: Any, y: Array, weights: Array | None, results: dict[str, Any]
) -> Iterator[Section]:
    """Yield the parts of the page about a fitted model; ``results`` are those of train."""
    from fastmlp.tabular import inspection  # needs scikit-learn

    report, classes = model.report(), getattr(model, "classes_", None)
    held_y, held_p, held_weights = models.held_out(model, y, weights)
    rounds = 1 if report.rows * report.columns > MANY_CELLS else 3
    importance = model.importance(X, y, rounds=rounds)
    kinds = " and ".join(f"{count} of {name}" for name, count in report.kinds.items())
    text = (
        f"A {results['task']} model that predicts {results['target']} was trained in "
        f"{results['seconds']:.1f} seconds on {report.rows:,} rows. It takes {report.columns} "
        f"columns; {kinds} are used. Every row was also predicted by networks that had not learned "
        "from it: these predictions, called out of fold, are what this page measures."
    )
    facts = [("networks: share, number, layers", member) for member in report.members]
    facts += [(f"left out: {name}", why) for name, why in report.left_out.items()]
    facts += [("note", note) for note in report.notes]
    yield "What was done", f"{text}{WEIGHTED * (weights is not None)}", table(facts)
    yield "How well it does", "", _scores(results, held_y, classes, held_weights)
    if classes is None:
        text = "The share of targets below each predicted quantile; on the diagonal it is right."
        yield "Calibration", text, model.plot_calibration(y, ax=Axes())
        text = "The errors of the predictions; no pattern should be left."
        yield "Residuals", text, _residuals(held_y, held_p)
    else:
        text = (
            "How often rows with a predicted probability are of the class; ideal is the diagonal."
        )
        yield "Calibration", text, _calibration(model, y)
        yield "Confusion", *_confusion(held_y, held_p, classes, held_weights)
    if importance.names:
        text = "How much worse predictions of unseen rows get when a column is shuffled."
        yield "Importance", text, inspection.bars(importance, MOST_BARS, Axes())
        curves = "".join(_dependence(model, X, name) for name in importance.names[:MOST_CURVES])
        text = "The mean prediction if a column had one value in all rows."
        yield "Partial dependence", text, curves
    text = "The score of held-out rows, epoch by epoch. The weights of the marked epoch were kept."
    yield "Learning curves", text, model.plot_history(ax=Axes())
    yield "Where the time went", "", bars(report.seconds, "seconds")
    yield "How to use it", "In Python, and in a shell:", _usage(results)


def _scores(results: dict[str, Any], y: Array, classes: Array | None, weights: Array | None) -> str:
    """Return the table of scores, beside those of one prediction for all rows."""
    name, constant = models.constant_scores(y, classes, weights)
    parts = {
        "out of fold": results["out_of_fold"],
        **({"validation file": results["valid"]} if "valid" in results else {}),
        f"always {name}": constant,
    }
    rows = [
        [name, *(f"{part[name]:.4g}" if name in part else "" for part in parts.values()), meaning]
        for name, meaning in SCORES.items()
        if any(name in part for part in parts.values())
    ]
    return table(rows, ["score", *parts, "meaning"])


def _calibration(model: Any, y: Array) -> Axes:
    """Draw the calibration of the last of two classes, or of the largest of several."""
    labels, counts = np.unique(y, return_counts=True)
    frequent, ax = labels[np.argsort(-counts, kind="stable")[:MOST_CURVES]], Axes()
    for label in frequent if len(labels) > 2 else labels[-1:]:
        ax.label = str(label)
        model.plot_calibration(y, label=label, ax=ax)
    return ax


def _residuals(y: Array, prediction: Array) -> Axes:
    every, ax = slice(None, None, -(-len(y) // MOST_POINTS)), Axes()
    ax.plot([prediction.min(), prediction.max()], [0, 0], color="gray")
    ax.scatter(prediction[every], (y - prediction)[every])
    ax.set(xlabel="prediction, out of fold", ylabel="target minus prediction")
    return ax


def _confusion(y: Array, p: Array, classes: Array, weights: Array | None) -> tuple[str, str]:
    """Return a text, and the table of true and predicted classes, its cells shaded by share."""
    counts = np.zeros((len(classes), len(classes)))
    places = models.codes_of(y, classes), p.argmax(axis=1)
    np.add.at(counts, places, 1 if weights is None else weights)
    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MOST_CLASSES])
    names = [f"<th>{html.escape(str(name))}</th>" for name in classes[shown].tolist()]
    rows = [f"<tr><th></th>{''.join(names)}</tr>"]
    for name, row in zip(names, counts[shown], strict=True):
        shares = row / (row.sum() or 1)
        cells = [f'<td style="--share:{shares[k]:.2f}">{row[k]:,.6g}</td>' for k in shown]
        rows.append(f"<tr>{name}{''.join(cells)}</tr>")
    text = "Rows are true classes, columns predicted ones, out of fold."
    text += " Cells are sums of the rows' weights." * (weights is not None)
    if len(classes) > len(shown):
        text += f" The {len(shown)} largest of {len(classes)} classes are shown."
    return text, f'<div class="wide"><table class="confusion">{"".join(rows)}</table></div>'


def _dependence(model: Any, X: Any, name: str) -> str:
    """Return the chart of the mean prediction by the value of one column."""
    values, sample = tables.column(X, name, "the data"), X[:: -(-len(X) // SAMPLE)]
    is_number = values.dtype.kind in "iuf"
    if is_number:
        present = values[np.isfinite(values)]
        grid = np.unique(np.quantile(present, np.linspace(0.02, 0.98, GRID), method="nearest"))
    else:
        present = np.array([v for v in values.tolist() if v is not None and v == v], object)
        kinds, counts = np.unique(present, return_counts=True)
        grid = kinds[np.argsort(-counts, kind="stable")[:MOST_BARS]]
    classes: Any = getattr(model, "classes_", ())
    predict = model.predict_proba if len(classes) else model.predict
    means = [predict(tables.replaced(sample, name, v)).mean(axis=0) for v in grid.tolist()]
    curves = np.reshape(means, (len(grid), -1))
    several = len(classes) > 2 and is_number
    label = f"probability of {classes[-1]}" if len(classes) else "prediction"
    if is_number:
        ax = Axes()
        for k in range(curves.shape[1])[:MOST_CURVES] if several else [-1]:
            ax.plot(grid, curves[:, k], label=str(classes[k]) if several else "")
        ax.set(xlabel=name, ylabel="probability" if several else label)
    else:
        ax = bars(dict(zip(map(str, grid), curves[:, -1], strict=True)), label)
    picture = ax.svg(f"Partial dependence on {name}")
    return f"<figure><figcaption>{html.escape(name)}</figcaption>{picture}</figure>"


def _usage(results: dict[str, Any]) -> str:
    model = results["model"]
    option = "--interval 0.9" if results["task"] == "regression" else "--proba"
    text = (
        f"import fastmlp\n\nmodel = fastmlp.load({model!r})\nmodel.predict(frame)  # pandas, polars"
        f"\n\n$ fastmlp predict {model} new.csv {option} -o predictions.csv"
        f"\n$ fastmlp evaluate {model} new.csv --target {results['target']}"
        f"\n$ fastmlp export {model} --to onnx"
    )
    return f"<pre>{html.escape(text)}</pre>"
