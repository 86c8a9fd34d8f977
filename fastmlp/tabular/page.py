"""The page about a fitted table: what the model is good for, for people who do not know it."""

from __future__ import annotations

import functools
import html
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastmlp._core import page
from fastmlp._core.charts import MOST_TICKS, Axes
from fastmlp._core.page import Section, bars, table
from fastmlp.tabular import inspection
from fastmlp.tabular.columns import Array, Column, Table
from fastmlp.tabular.epoch_selection import mean_cost
from fastmlp.tabular.fitted_table import FittedTable
from fastmlp.tabular.forms import CYCLES, DATES
from fastmlp.tabular.report import WITHOUT_ROWS
from fastmlp.tabular.scores import MEANINGS, codes_of, constant_scores, is_worthless, scores
from fastmlp.tabular.targets import mean_of_targets

MOST_POINTS = 600  # of a scatter plot
MOST_CLASSES = 30  # of a confusion matrix
NAMED_CLASSES = 8  # with more, the columns of a confusion matrix have numbers
MOST_BARS, MOST_COLUMNS = 15, 60
MOST_CURVES = 4  # classes with a curve of their own; columns with a partial dependence
KINDS = {"numbers": "numbers", "codes": "categories"}  # of the parts of a table
SAMPLE, GRID = 100, 15  # rows and values from which a partial dependence is computed
MANY_CELLS = 200_000  # with more cells, each column is shuffled only once for its importance
WORST, SEGMENTS = 8, 5  # rows; parts of a column
WEIGHTED = " Scores, calibration and importance count rows by their weights."


@dataclass(frozen=True, eq=False)
class Evidence:
    """The rows of a fit that networks predicted which had not learned from them."""

    model: Any
    fitted: FittedTable
    name: str  # of the target
    table: Table
    y: Array
    p: Array  # predictions, (n,), or probabilities, (n, classes)
    classes: Array | None
    weights: Array | None
    places: Array  # of these rows among those of the fit

    @functools.cached_property
    def importance(self) -> inspection.Importance:
        """The importance of columns, on these rows."""
        report = self.fitted.facts.report
        if self.fitted.importance is not None:
            return self.fitted.importance
        importance: inspection.Importance = self.model.importance(
            rounds=1 if report.rows * report.columns > MANY_CELLS else 3
        )
        return importance

    @functools.cached_property
    def errors(self) -> Array:
        """The absolute errors, or the missing probabilities of the true classes."""
        if self.classes is None:
            return np.asarray(np.abs(self.y - self.p))
        return 1 - self.p[np.arange(len(self.p)), codes_of(self.y, self.classes)]

    @functools.cached_property
    def scores(self) -> dict[str, float]:
        """The scores of the predictions."""
        return scores(self.y, self.p, self.classes, self.weights)

    @functools.cached_property
    def constant(self) -> tuple[str, dict[str, float]]:
        """The name and the scores of the best prediction that is the same for all rows."""
        return constant_scores(self.y, self.classes, self.weights)


def evidence_of(model: Any, fitted: FittedTable, task: Any, name: str) -> Evidence | None:
    """Return what the rows of a fit show; None without rows, or for several targets."""
    labels = getattr(fitted.calibration, "has_labels", False)
    classes = getattr(fitted.calibration, "classes", None)
    if fitted.rows is None or labels or (classes is None and fitted.calibration.outputs > 1):
        return None
    rows, target = fitted.rows
    weights = fitted.out_of_fold.weights
    places = np.arange(len(rows)) if weights is None else np.flatnonzero(weights)
    y = task.users(target.y)[places]
    y = y[:, 0] if y.ndim > 1 else y
    p = fitted.calibration.result(fitted.out_of_fold.predictions[places])
    weights = None if weights is None or np.ptp(weights[places]) == 0 else weights[places]
    parts = rows.take(places), y, p, classes, weights, places
    return Evidence(model, fitted, name, *parts)


def write(
    path: str | os.PathLike[str],
    model: Any,
    fitted: FittedTable,
    task: Any,
    name: str | None = None,
    others: dict[str, dict[str, float]] | None = None,
    more: Iterable[Section] = (),
) -> None:
    """Write the page; ``others`` are scores on further rows, and more sections come last."""
    name = name or fitted.target_name
    evidence = evidence_of(model, fitted, task, name)
    parts = [*sections(model, fitted, evidence, others or {}), *more]
    page.write(path, f"A model of {name}", lead(evidence, fitted), parts)


def lead(evidence: Evidence | None, fitted: FittedTable) -> str:
    """Return the sentence with which a page opens."""
    if evidence is None:
        report, target, beside = fitted.facts.report, fitted.target, ""
        metric, score = report.metric, report.together
        if fitted.rows is not None and not target.loss.levels:
            target, held_out = fitted.rows[1], fitted.out_of_fold
            weights, p = held_out.weights, fitted.calibration.scored(held_out.predictions)
            metric, score = target.metric, target.shown(mean_cost(target, p, weights))
            constant = target.shown(mean_cost(target, mean_of_targets(target, weights), weights))
            has_labels = getattr(fitted.calibration, "has_labels", False)
            name = "the shares of the labels" if has_labels else "the mean"
            beside = f"; that of always predicting {name} would be {constant:.4g}"
        elif fitted.rows is None:
            beside = f". {WITHOUT_ROWS[:-1]}"
        return (
            "The error on rows that the networks had not learned from, measured as "
            f"{metric}, is {score:.4g}{beside}."
        )
    values, name = evidence.scores, evidence.name
    constant_name, constant = evidence.constant
    warning = ""
    if is_worthless(values, constant):
        warning = f"This model is no better than always predicting {constant_name}: do not use it. "
    if evidence.classes is None:
        return (
            f"{warning}It predicts {name} to within {values['rmse']:.3g} on rows that it has not "
            f"seen; always predicting the mean would be off by {constant['rmse']:.3g}."
        )
    return (
        f"{warning}It predicts {name} right for {values['accuracy']:.0%} of rows that it has not "
        f"seen; always predicting the most frequent class would be right for "
        f"{constant['accuracy']:.0%}."
    )


def sections(
    model: Any, fitted: FittedTable, evidence: Evidence | None, others: dict[str, dict[str, float]]
) -> Iterator[Section]:
    """Yield the parts of the page; ``others`` are scores on further rows by the name of these."""
    report = fitted.facts.report
    if evidence is not None:
        yield "How well it does", "", _scores(evidence, others)
        yield from (_of_numbers if evidence.classes is None else _of_classes)(evidence)
        yield from _explained(evidence)
        yield "Largest errors", "The rows whose predictions are the worst.", _worst(evidence)
    yield "The data", "", _data(evidence, fitted)
    text = (
        f"{_predicted(evidence, fitted)}: these predictions, called out of fold, are what "
        f"this page measures.{WEIGHTED * (fitted.out_of_fold.weights is not None)}"
    )
    facts = [("networks: share, number, layers", member) for member in report.members]
    facts += [(f"left out: {name}", why) for name, why in report.left_out.items()]
    facts += [*report.more.items(), *(("note", note) for note in dict.fromkeys(report.notes))]
    yield "What was done", text, table(facts)
    if fitted.facts.curve:
        text = "The score of held-out rows by epoch. The weights of the marked epoch were kept."
        yield "Learning curves", text, model.plot_history(ax=Axes())
    yield "Where the time went", "", bars(report.seconds, "seconds")


def _predicted(evidence: Evidence | None, fitted: FittedTable) -> str:
    """Return the words for the rows that were learned from, and those predicted out of fold."""
    rows, later = fitted.facts.report.rows, fitted.facts.updated_rows
    if fitted.latest is not None:
        return (
            f"{rows:,} rows were learned from, and {later:,} later ones by partial_fit. Each of "
            f"the latest {len(fitted.latest):,} was predicted before it was learned from"
        )
    which = "Every row was also"
    if evidence is not None and len(evidence.places) < rows:
        which = f"Each of {len(evidence.places):,} rows was"
    return (
        f"{rows:,} rows were learned from. {which} predicted by networks that had not learned "
        "from it"
    )


def _scores(evidence: Evidence, others: dict[str, dict[str, float]]) -> str:
    """Return the table of scores, beside those of one prediction for all rows."""
    name, constant = evidence.constant
    parts = {"out of fold": evidence.scores, **others, f"always {name}": constant}
    rows = [
        [score, *(f"{part[score]:.4g}" if score in part else "" for part in parts.values()), text]
        for score, text in MEANINGS.items()
        if any(score in part for part in parts.values())
    ]
    return table(rows, ["score", *parts, "meaning"])


def _of_numbers(evidence: Evidence) -> Iterator[Section]:
    """Yield the pictures of a regression."""
    y, p, ax = evidence.y, evidence.p, Axes()
    every = slice(None, None, -(-len(y) // MOST_POINTS))
    ends = [min(y.min(), p.min()), max(y.max(), p.max())]
    ax.plot(ends, ends, color="gray")
    ax.scatter(p[every], y[every])
    ax.set(xlabel=f"predicted {evidence.name}, out of fold", ylabel=f"actual {evidence.name}")
    text = "Each point is a row; on the diagonal the prediction is right."
    yield "Actual and predicted", text, ax
    text = "The share of targets below each predicted quantile; on the diagonal it is right."
    whole = evidence.fitted.rows[1].y if evidence.fitted.rows else y
    yield "Calibration", text, evidence.model.plot_calibration(whole, ax=Axes())


def _of_classes(evidence: Evidence) -> Iterator[Section]:
    """Yield the pictures and tables of a classification."""
    classes, y, p, weights = evidence.classes, evidence.y, evidence.p, evidence.weights
    assert classes is not None
    truth, w = codes_of(y, classes), np.ones(len(y)) if weights is None else weights
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (truth, p.argmax(axis=1)), w)
    right, rows, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        shares = zip(classes.tolist(), rows, right / predicted, right / rows, strict=True)
    lines = [(c, f"{n:,.6g}", _share(precise), _share(recall)) for c, n, precise, recall in shares]
    text = (
        "Precision: of the rows predicted as the class, the share that is. Recall: of the rows of "
        "the class, the share that is predicted so."
    )
    yield "Each class", text, table(lines, ["class", "rows", "precision", "recall"])
    yield "Confusion", *confusion(counts, classes, weights is not None)
    frequent = np.argsort(-rows, kind="stable")[:MOST_CURVES] if len(classes) > 2 else [1]
    roc, calibration = Axes(), Axes()
    roc.plot([0, 1], [0, 1], color="gray")
    labels = evidence.fitted.rows[1].y if evidence.fitted.rows else truth
    for k in frequent:
        order = np.argsort(-p[:, k], kind="stable")
        is_class = truth[order] == k
        hits = [np.cumsum(w[order] * part) for part in (~is_class, is_class)]
        x, ys = (np.append(0, part / max(part[-1], 1e-300)) for part in hits)
        roc.plot(x, ys, label=str(classes[k]))
        calibration.label = str(classes[k])
        evidence.model.plot_calibration(classes[labels], label=classes[k], ax=calibration)
    roc.set(xlabel="share of other rows above a threshold", ylabel="share of the class above it")
    text = "Rows by the probability of a class (ROC); ideal is the upper left corner."
    yield "Ranking", text, roc
    text = "How often rows with a predicted probability are of the class; ideal is the diagonal."
    yield "Calibration", text, calibration


def _share(value: float) -> str:
    return f"{value:.0%}" if np.isfinite(value) else ""


def confusion(counts: Array, classes: Array, is_weighted: bool) -> tuple[str, str]:
    """Return a text, and the table of true and predicted classes, its cells shaded by share."""
    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MOST_CLASSES])
    is_named = len(shown) <= NAMED_CLASSES
    names = [str(name) if is_named else f"{k}" for k, name in enumerate(classes[shown].tolist(), 1)]
    rows = [f"<tr><th></th>{''.join(f'<th>{html.escape(name)}</th>' for name in names)}</tr>"]
    for k, (name, row) in enumerate(zip(classes[shown].tolist(), counts[shown], strict=True), 1):
        shares = row / (row.sum() or 1)
        head = html.escape(str(name) if is_named else f"{k} {name}")
        cells = [
            f'<td style="--share:{shares[j]:.2f}">{f"{row[j]:,.6g}" if row[j] else ""}</td>'
            for j in shown
        ]
        rows.append(f"<tr><th>{head}</th>{''.join(cells)}</tr>")
    text = "Rows are true classes, columns predicted ones, out of fold."
    text += " Cells are sums of the rows' weights." * is_weighted
    if len(classes) > len(shown):
        text += f" The {len(shown)} largest of {len(classes)} classes are shown."
    small = "" if is_named else " many"
    return text, f'<div class="wide"><table class="confusion{small}">{"".join(rows)}</table></div>'


def _explained(evidence: Evidence) -> Iterator[Section]:
    """Yield the importance of columns, and how predictions and errors depend on the first."""
    importance = evidence.importance
    if not importance.names:
        return
    text = "How much worse predictions of unseen rows get when a column is shuffled."
    yield "Importance", text, inspection.bars(importance, MOST_BARS, Axes())
    by_name = features(evidence.fitted)
    first = [by_name[name] for name in importance.names[:MOST_CURVES]]
    text = "The mean prediction if a column had one value in all rows, on one scale in all charts."
    yield "Partial dependence", text, _dependences(evidence, first)
    rows = [row for feature in first for row in _segments(evidence, feature)]
    title = "mean absolute error" if evidence.classes is None else "share of wrong classes"
    yield "Errors by column", "", table(rows, ["column", "values", "rows", title])


class Feature(NamedTuple):
    """A column of a `Table`."""

    part: str  # "numbers" or "codes"
    place: int  # in this part
    column: Column

    def values(self, table: Table) -> Array:
        """Return the column of a table, a view."""
        return getattr(table, self.part)[:, self.place]  # type: ignore[no-any-return]

    @property
    def is_date(self) -> bool:
        """Whether the numbers are the seconds of dates."""
        return self.column.form is not None and self.column.form.kind in DATES

    def text(self, value: Any) -> str:
        """Return a value as people write it."""
        if not value >= 0 if self.part == "codes" else np.isnan(value):
            return "missing"
        if self.part == "codes":
            return str((self.column.values or ())[int(value)])
        form = self.column.form
        return f"{value:.4g}" if form is None else str(form.shown(value))


def features(fitted: FittedTable) -> dict[str, Feature]:
    """Return the columns by their names."""
    parts = {"numbers": fitted.columns.numbers, "codes": fitted.columns.categories}
    return {
        column.name: Feature(part, place, column)
        for part, columns in parts.items()
        for place, (_, column) in enumerate(columns)
    }


def _groups(evidence: Evidence, feature: Feature, most: int) -> list[tuple[str, Array, float]]:
    """Return parts of a column by value: a text, which rows, and a value of them."""
    values = feature.values(evidence.table)
    if feature.part == "codes":
        codes, counts = np.unique(values, return_counts=True)
        codes = codes[np.argsort(-counts, kind="stable")][:most]
        return [(feature.text(code), values == code, code) for code in codes.tolist()]
    present = values[np.isfinite(values)]
    groups = [(feature.text(value), values == value, value) for value in np.unique(present)]
    if len(groups) > most:
        ends = np.unique(np.quantile(present, np.linspace(0, 1, most + 1), method="nearest"))
        groups, last = [], len(ends) - 2
        for at, (low, high) in enumerate(itertools.pairwise(ends)):
            inside = (values >= low) & ((values < high) | (at == last) & (values <= high))
            groups.append((f"{feature.text(low)} to {feature.text(high)}", inside, low))
    if len(present) < len(values):
        groups.append(("missing", np.isnan(values), np.nan))
    return groups


def _segments(evidence: Evidence, feature: Feature) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row of a table for each part of a column: its rows, and their mean error."""
    errors = evidence.errors
    if evidence.classes is not None:
        truth = codes_of(evidence.y, evidence.classes)
        errors = (evidence.p.argmax(axis=1) != truth).astype(float)
    for k, (text, rows, _) in enumerate(_groups(evidence, feature, SEGMENTS)):
        if rows.any():
            w = None if evidence.weights is None else evidence.weights[rows]
            mean = np.average(errors[rows], weights=w)
            shown = f"{mean:.3g}" if evidence.classes is None else f"{mean:.0%}"
            yield feature.column.name if k == 0 else "", text, f"{rows.sum():,}", shown


def _dependences(evidence: Evidence, features: list[Feature]) -> dict[str, Axes]:
    """Return charts of the mean prediction by the value of one column, with a common scale."""
    fitted, classes = evidence.fitted, evidence.classes
    lines, label = [(0, "")], evidence.name
    if classes is not None and len(classes) == 2:
        lines, label = [(1, "")], f"probability of {classes[1]}"
    elif classes is not None:
        lines = [(k, str(name)) for k, name in enumerate(classes[:MOST_CURVES])]
        label = "probability"
    sample = evidence.table.take(slice(None, None, -(-len(evidence.table) // SAMPLE)))
    charts = {}
    low, high = np.inf, -np.inf
    for feature in features:
        name = feature.column.name
        groups = [group for group in _groups(evidence, feature, GRID) if np.isfinite(group[2])]
        means = np.empty((len(groups), max(fitted.calibration.outputs, 1)))
        for mean, (_, _, value) in zip(means, groups, strict=True):
            changed = sample.take(np.arange(len(sample)))
            feature.values(changed)[:] = value
            result = fitted.calibration.result(fitted.predict(fitted.columns.derive(changed)))
            mean[:] = result.reshape(len(sample), -1).mean(axis=0)
        shown = means[:, [line for line, _ in lines]]
        low, high = min(low, shown.min()), max(high, shown.max())
        if feature.part == "codes":
            texts = [text for text, _, _ in groups]
            of_class = f"probability of {lines[0][1]}" if lines[0][1] else label
            charts[name] = bars(dict(zip(texts, shown[:, 0].tolist(), strict=True)), of_class)
            continue
        charts[name] = Axes()
        for at, (_, text) in enumerate(lines):
            charts[name].plot([value for _, _, value in groups], shown[:, at], label=text)
        charts[name].set(xlabel=name, ylabel=label)
        if feature.is_date:
            charts[name].x_text = _text_of_dates(np.ptp([value for _, _, value in groups]))
    for chart in charts.values():
        chart.range = low, high
    return charts


def _text_of_dates(span: float) -> Callable[[float], str]:
    """Return the text of ticks in seconds: dates, or days and times where ticks may share a day."""
    part = slice(10) if span > MOST_TICKS * CYCLES["day"] else slice(5, 16)
    return lambda seconds: str(np.datetime64(round(seconds), "s"))[part].replace("T", " ")


def _worst(evidence: Evidence) -> str:
    """Return a table of the rows with the largest errors."""
    used, lines = evidence.importance.names[:MOST_CURVES], []
    by_name = features(evidence.fitted)
    columns = [by_name[name] for name in used]
    for row in np.argsort(-evidence.errors, kind="stable")[:WORST]:
        cells = [feature.text(feature.values(evidence.table)[row]) for feature in columns]
        y, p = evidence.y[row], evidence.p[row]
        prediction = f"{p:.4g}" if evidence.classes is None else evidence.classes[p.argmax()]
        truth = f"{y:.4g}" if evidence.classes is None else y
        lines.append((f"{evidence.places[row]:,}", truth, prediction, *cells))
    return table(lines, ["row", "actual", "predicted", *used])


def _data(evidence: Evidence | None, fitted: FittedTable) -> str:
    """Return a table of the columns: kind, missing and different values."""
    lines: list[tuple[str, ...]] = []
    by_name = features(fitted)
    if evidence is not None:
        y = evidence.y
        kind = "numbers" if evidence.classes is None else "classes"
        lines.append((f"{evidence.name} (predicted)", kind, "", f"{len(np.unique(y)):,}"))
    for name in fitted.columns.used[:MOST_COLUMNS]:
        feature = by_name[name]
        kind = "dates" if feature.is_date else KINDS[feature.part]
        counts: tuple[str, ...] = ()
        if evidence is not None:
            values = feature.values(evidence.table)
            is_missing = values < 0 if feature.part == "codes" else np.isnan(values)
            missing = f"{is_missing.sum():,}" if is_missing.any() else ""
            counts = missing, f"{len(np.unique(values[~is_missing])):,}"
        lines.append((name, kind, *counts))
    more = len(fitted.columns.used) - MOST_COLUMNS
    if more > 0:
        lines.append((f"{more} more",))
    names = ["column", "kind", "missing", "different"]
    return table(lines, names if evidence is not None else names[:2])
