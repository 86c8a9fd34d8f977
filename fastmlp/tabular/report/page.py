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
from fastmlp._core.page import Section, bars, number, table
from fastmlp.tabular.fitted import inspection
from fastmlp.tabular.fitted.fitted_table import FittedTable
from fastmlp.tabular.fitted.report import WITHOUT_ROWS
from fastmlp.tabular.fitted.results import NO_BETTER, Importance
from fastmlp.tabular.outcome.scores import MEANINGS, scores
from fastmlp.tabular.outcome.targets import Baseline, weighted_quantile
from fastmlp.tabular.plan.folds import ScoredRows
from fastmlp.tabular.recipe.epoch_selection import mean_cost
from fastmlp.tabular.report import reasons
from fastmlp.tabular.table.columns import MISSING, Array, Column, Table
from fastmlp.tabular.table.forms import CYCLES, DATES

MOST_POINTS = 600  # a scatter plot shows at most these
MOST_CLASSES = 30  # a confusion matrix shows at most these
NAMED_CLASSES = 8  # the columns of a larger confusion matrix have numbers
MOST_BARS, MOST_COLUMNS = 15, 60
MOST_CURVES = 4  # classes with a curve of their own; columns with a partial dependence
KINDS = {"numbers": "numbers", "codes": "categories"}  # words for the parts of a table
SAMPLE, GRID = 100, 15  # rows and values from which a partial dependence is computed
MANY_CELLS = 200_000  # each column of a larger table is shuffled only once
WORST, SEGMENTS = 8, 5  # rows; parts of a column
LEAST_ROWS = 5  # a part of fewer rows is not shown: their mean error says little
RELIED_SHARE = 0.2  # least importance of columns that the lead names, over that of the first
UNUSUAL, FEW_ROWS = 1.5, 30  # least error over the usual, and fewest rows, of a part in the lead
FREQUENT = 3  # values of a column of categories that are named
# The score that belongs to each loss; the tables of scores have no score of another loss.
LOSS_SCORES = {
    "squared_error": "rmse",
    "absolute_error": "mae",
    "quantile": "pinball_loss",
    "classes": "log_loss",
}
REASONS = (
    "What moves predictions away from the mean of some rows, by Shapley values: of three rows at "
    "the quarters of the predictions, and of the rows whose predictions were the worst when they "
    "had not been learned from. These predictions are those of all networks, some of which have "
    "learned from the row. They explain the model, which need not be right, and no causes."
)
WORTHLESS = "This model is no better than always predicting {}: do not use it. "
WEIGHTED = " Scores, calibration and importance count rows by their weights."


@dataclass(frozen=True, eq=False)
class Evidence:
    """The rows of a fit, with their predictions by networks that had not learned from them."""

    model: Any
    fitted: FittedTable
    name: str  # the target's
    table: Table
    y: Array
    target: Any  # these rows' target, in the networks' form
    outputs: Array  # calibrated, (n, columns): the prediction comes first, or (n, classes)
    baseline: Baseline
    classes: Array | None
    weights: Array | None
    places: Array  # places of these rows among those of the fit

    @functools.cached_property
    def importance(self) -> Importance:
        """The importance of columns, on these rows."""
        report = self.fitted.facts.report
        if self.fitted.importance is not None:
            return self.fitted.importance
        importance: Importance = self.model.importance(
            rounds=1 if report.rows * report.columns > MANY_CELLS else 3
        )
        return importance

    @functools.cached_property
    def examples(self) -> tuple[list[int], list[int]]:
        """The places of typical rows, and of those that are predicted worst."""
        p = self.p if self.classes is None else self.p.max(axis=1)
        return reasons.typical_and_worst(p, self.errors)

    @property
    def contributions(self) -> dict[str, float]:
        """The mean absolute contribution of each important column to predictions of some rows."""
        means = reasons.means(*self._explanation)
        return {name: means[name] for name in self.importance.names[:MOST_BARS]}

    @property
    def reasons(self) -> list[str]:
        """Sentences on what moves the predictions of the examples, of classes the likeliest."""
        return reasons.sentences(*self._explanation)

    @functools.cached_property
    def _explanation(self) -> tuple[Any, int]:
        """The contributions to some rows and then to the examples; and how many are the former."""
        some, names = reasons.some_rows(self.table, self.fitted), self.fitted.columns.names
        typical, worst = self.examples
        rows = some.joined(self.table.take(np.array([*typical, *worst], np.int64)))
        texts = np.full((len(rows), len(names)), "", object)
        for name, feature in features(self.fitted).items():
            texts[:, names.index(name)] = [*map(feature.text, feature.values(rows).tolist())]
        classes = None if self.classes is None else self.class_names
        return reasons.contributions(self.fitted, rows, some, texts, classes), len(some)

    @property
    def p(self) -> Array:
        """The predictions, (n,), or probabilities, (n, classes)."""
        return self.outputs[:, 0] if self.classes is None else self.outputs

    @functools.cached_property
    def errors(self) -> Array:
        """The absolute errors, pinball losses, or missing probabilities of the true classes."""
        if self.classes is None:
            return self._errors_of(self.p)
        return 1 - self.p[np.arange(len(self.p)), self.codes]

    @functools.cached_property
    def codes(self) -> Array:
        """The places of the true labels among the classes."""
        assert self.classes is not None
        return np.asarray(self.target.y)

    @functools.cached_property
    def mistakes(self) -> Array:
        """The errors of numbers, or which classes are wrong."""
        if self.classes is None:
            return self.errors
        return np.asarray(self.p.argmax(axis=1) != self.codes, float)

    @functools.cached_property
    def class_names(self) -> Array:
        """The classes as people write them."""
        assert self.classes is not None
        if self.classes.dtype.kind == "M":
            days, seconds = self.classes.astype("M8[D]"), self.classes.astype("M8[s]")
            return np.array([*map(_date, days if (days == seconds).all() else seconds)])
        return np.array([str(value) for value in self.classes.tolist()])

    def truth(self, row: int) -> str:
        """Return the true target of a row as people write it."""
        if self.classes is None:
            return number(self.y[row])
        return str(self.class_names[self.codes[row]])

    @functools.cached_property
    def features(self) -> list[Feature]:
        """The most important columns."""
        by_name = features(self.fitted)
        return [by_name[name] for name in self.importance.names[:MOST_CURVES]]

    @functools.cached_property
    def segments(self) -> list[Segment]:
        """Parts of the most important columns."""
        return [part for feature in self.features for part in _segments(self, feature)]

    @functools.cached_property
    def confusion(self) -> Array:
        """The weights of rows by true and predicted class, (classes, classes)."""
        assert self.classes is not None
        counts = np.zeros((len(self.classes), len(self.classes)))
        w = 1.0 if self.weights is None else self.weights
        np.add.at(counts, (self.codes, self.p.argmax(axis=1)), w)
        return counts

    @property
    def level(self) -> float | None:
        """The level of the quantile that is predicted; None for means, medians and classes."""
        return getattr(self.fitted.target.loss, "quantile", None)

    @property
    def score(self) -> str:
        """The name of the score by which a model is judged: that of the loss of its fit."""
        return LOSS_SCORES.get(self.target.name, str(self.target.metric))

    @functools.cached_property
    def scores(self) -> dict[str, float]:
        """The scores of the predictions."""
        return self._scores_of(self.outputs)

    @functools.cached_property
    def constant(self) -> dict[str, float]:
        """The scores of the baseline."""
        return self._scores_of(self.baseline.predictions)

    def _scores_of(self, outputs: Array) -> dict[str, float]:
        if self.level is not None:
            errors = self._errors_of(outputs[:, 0])
            return {self.score: float(np.average(errors, weights=self.weights))}
        p = outputs[:, 0] if self.classes is None else outputs
        cost = np.average(self.target.costs(outputs), weights=self.weights)
        others = scores(self.y, p, self.classes, self.weights)
        return {self.score: self.target.shown(cost)} | others

    def _errors_of(self, p: Array) -> Array:
        """Return the absolute errors, or the pinball losses, in the units of the target."""
        error = self.y - p
        above, below = (1, 1) if self.level is None else (self.level, 1 - self.level)
        return np.asarray(np.maximum(above * error, -below * error))


def evidence_of(model: Any, fitted: FittedTable, name: str) -> Evidence | None:
    """Return what the rows of a fit show; None without rows, or for several targets."""
    labels = getattr(fitted.calibration, "has_labels", False)
    classes = getattr(fitted.calibration, "classes", None)
    if fitted.rows is None or labels or (classes is None and fitted.calibration.outputs > 1):
        return None
    scored = _scored(fitted)
    places, target, weights = scored.rows, scored.target, scored.weights
    outputs = fitted.calibration.scored(fitted.out_of_fold.predictions[places])
    return Evidence(
        model,
        fitted,
        name,
        fitted.rows[0].take(places),
        target.original_y,
        target,
        outputs,
        scored.baseline,
        classes,
        weights,
        places,
    )


def _scored(fitted: FittedTable) -> ScoredRows:
    """Return the rows that some network had not learned from."""
    assert fitted.rows is not None
    target, held_out, w = fitted.rows[1], fitted.out_of_fold, fitted.out_of_fold.weights
    rows = np.arange(len(target.y))
    scored = ScoredRows(rows, target, w, None, None, held_out.earlier)
    if w is None:
        return scored
    scored = scored.take(places := np.flatnonzero(w))
    return scored._replace(weights=None) if np.ptp(w[places]) == 0 else scored


def write(
    path: str | os.PathLike[str],
    model: Any,
    fitted: FittedTable,
    name: str | None = None,
    others: dict[str, dict[str, float]] | None = None,
    more: Iterable[Section] = (),
) -> None:
    """Write the page; ``others`` are scores on further rows, and more sections come last."""
    name = name or name_of(fitted)
    evidence = evidence_of(model, fitted, name)
    parts = [*sections(model, fitted, evidence, others or {}), *more]
    page.write(path, f"A model of {name}", lead(evidence, fitted), parts)


def verdict(model: Any, fitted: FittedTable) -> str:
    """Return the sentence on the error with which a page opens, and the output of the command."""
    name = name_of(fitted)
    return _verdict(evidence_of(model, fitted, name), fitted)


def name_of(fitted: FittedTable) -> str:
    """Return the name of the targets."""
    return ", ".join(fitted.target_names) or "the target"


def lead(evidence: Evidence | None, fitted: FittedTable) -> str:
    """Return the sentences with which a page opens."""
    first = _verdict(evidence, fitted)
    is_useful = not fitted.facts.report.is_worthless
    if evidence is None or len(np.unique(evidence.y)) < 2 or not is_useful:
        return first
    return " ".join([first, *_strengths(evidence)])


def _verdict(evidence: Evidence | None, fitted: FittedTable) -> str:
    if evidence is None:
        return _lead_of_metric(fitted)
    if len(np.unique(evidence.y)) < 2:
        return f"{evidence.name} is the same in all rows here: there is nothing to predict."
    if fitted.facts.report.is_worthless:
        return WORTHLESS.format(evidence.baseline.title) + _compared(evidence)
    return _compared(evidence)


def _lead_of_metric(fitted: FittedTable) -> str:
    """Return sentences about the error, of several targets or without the rows of the fit."""
    report = fitted.facts.report
    if fitted.rows is None:
        warning = f"{NO_BETTER[0].upper()}{NO_BETTER[1:]}. " * report.is_worthless
        return (
            f"{warning}Its error on rows that it has not seen is {number(report.together)} "
            f"({report.metric}); the baseline is {report.more.get('baseline', 'not there')}. "
            f"{WITHOUT_ROWS}"
        )
    scored = _scored(fitted)
    target, name = scored.target, scored.baseline.title
    p = fitted.calibration.scored(fitted.out_of_fold.predictions[scored.rows])
    score = target.shown(mean_cost(target, p, scored.cost_weights))
    constant = scored.baseline.score(target, scored.cost_weights)
    warning = WORTHLESS.format(name) * report.is_worthless
    return (
        f"{warning}Its error on rows that it has not seen is {number(score)}; that of always "
        f"predicting {name} would be {number(constant)} ({target.metric})."
    )


def _compared(evidence: Evidence) -> str:
    """Return a sentence on the error, beside that of a prediction that is the same for all rows."""
    values, constant, baseline = evidence.scores, evidence.constant, evidence.baseline
    name = baseline.title
    if evidence.level is not None:
        share = np.average(evidence.y <= evidence.p, weights=evidence.weights)
        return (
            f"It predicts {baseline.name} of {evidence.name} by the columns of a row: of the rows "
            f"that it has not seen, {share:.0%} are below. Its pinball loss is "
            f"{number(values['pinball_loss'])}; always predicting {baseline.name}"
            f"{baseline.rows or ' of all rows'} would have {number(constant['pinball_loss'])}."
        )
    score, other = values[evidence.score], constant[evidence.score]
    if evidence.score in ("rmse", "mae"):
        return (
            f"It predicts {evidence.name} to within {number(score)} on rows that it has not seen; "
            f"always predicting {name} would be off by {number(other)}."
        )
    if evidence.classes is None:
        return (
            f"Its {evidence.score} on rows that it has not seen is {number(score)}; that of always "
            f"predicting {name} would be {number(other)}."
        )
    return (
        f"It predicts {evidence.name} right for {values['accuracy']:.0%} of rows that it has not "
        f"seen; always predicting the most frequent class{baseline.rows} would be right for "
        f"{constant['accuracy']:.0%}."
    )


def _strengths(evidence: Evidence) -> Iterator[str]:
    """Yield sentences on where predictions are good and bad, and on what they rely."""
    if evidence.classes is not None:
        recall = evidence.confusion.diagonal() / evidence.confusion.sum(axis=1)
        worst, best = np.argsort(recall)[[0, -1]]
        shares = _share(recall[best]), _share(recall[worst])
        if shares[0] != shares[1]:
            yield (
                f"It finds the rows of {evidence.class_names[best]} best ({shares[0]} of them), "
                f"and those of {evidence.class_names[worst]} worst ({shares[1]})."
            )
    elif evidence.level is None:
        errors, weights = evidence.errors[:, np.newaxis], evidence.weights
        half, most = (weighted_quantile(errors, level, weights)[0] for level in (0.5, 0.9))
        yield f"Half of the errors are below {number(half)}, one in ten is above {number(most)}."
    means = evidence.importance.means
    relied = int(np.count_nonzero(means >= RELIED_SHARE * means.max(initial=0)))
    *others, last = evidence.importance.names[: min(relied, MOST_CURVES)] or [""]
    if last:
        names = f"{', '.join(others)} and {last}" if others else last
        yield f"It relies most on {names}."
    usual = np.average(evidence.mistakes, weights=evidence.weights)
    large = [part for part in evidence.segments if part.rows >= FEW_ROWS]
    part = max(large, key=lambda part: part.error, default=None)
    if part is not None and part.error > UNUSUAL * usual > 0:
        yield (
            f"Be careful where {part.column} is {part.values}: errors there are "
            f"{part.error / usual:.1f} times the usual."
        )


def sections(
    model: Any, fitted: FittedTable, evidence: Evidence | None, others: dict[str, dict[str, float]]
) -> Iterator[Section]:
    """Yield the parts of the page; ``others`` are scores on further rows by the name of these."""
    report = fitted.facts.report
    target = fitted.target
    has_scores = target.outputs_are_columns and not target.loss.levels
    if evidence is None and fitted.rows is not None and has_scores:
        yield "How well it does", "", _scores_of_outputs(fitted)
    if fitted.rows is not None and hasattr(target, "scores"):
        scored = _scored(fitted)
        p = fitted.calibration.result(fitted.out_of_fold.predictions[scored.rows])
        own = {"out of fold": scored.target.scores(p, scored.weights)}
        yield "How well it does", "", _table_of_scores(own | others, MEANINGS)
    if evidence is not None:
        yield "How well it does", "", _scores(evidence, others)
        yield from (_of_numbers if evidence.classes is None else _of_classes)(evidence)
        yield from _explained(evidence)
        first = "row of the fit"
        if fitted.latest is not None:
            first = f"of the latest {len(fitted.latest):,} rows"
        text = f"The rows whose predictions are the worst; the first {first} is 0."
        yield "Largest errors", text, _worst(evidence)
    text = ""
    if evidence is not None and (fitted.latest is not None or len(evidence.y) < report.rows):
        text = f"These are the {len(evidence.y):,} rows that this page measures. There were others."
    yield "The data", text, _data(evidence, fitted)
    # Targets of a file do not say whether rows have weights, but the metric does.
    is_weighted = "(weighted" in (report.metric if fitted.rows is None else fitted.rows[1].metric)
    text = (
        f"{_predicted(fitted)}: these predictions, called out of fold, are what "
        f"this page measures.{WEIGHTED * is_weighted}"
    )
    facts = [("networks: share, number, layers", member) for member in report.members]
    facts += [(f"left out: {names}", why) for names, why in report.left_out_together()]
    facts += [*report.more.items(), *(("note", note) for note in dict.fromkeys(report.notes))]
    yield "What was done", text, table(facts)
    if fitted.facts.curve:
        text = "The score of held-out rows by epoch. The weights of the marked epoch were kept."
        yield "Learning curves", text, model.plot_history(ax=Axes())
    yield "Where the time went", "", bars(report.seconds, "seconds")


def _predicted(fitted: FittedTable) -> str:
    """Return the words for the rows that were learned from, and those predicted out of fold."""
    rows, later = fitted.facts.report.rows, fitted.facts.updated_rows
    if fitted.latest is not None:
        return (
            f"There were {rows:,} rows at the fit, of which are the networks and the baseline "
            f"below, and {later:,} later ones by partial_fit. Each of the latest "
            f"{len(fitted.latest):,} was predicted before it was learned from"
        )
    weights = fitted.out_of_fold.weights
    predicted = rows if weights is None else np.count_nonzero(weights)
    if predicted < rows:
        return (
            f"Of the {rows:,} rows of the fit, {predicted:,} were predicted by networks that had "
            "not learned from them"
        )
    return (
        f"{rows:,} rows were learned from. Every row was also predicted by networks that had not "
        "learned from it"
    )


def _scores(evidence: Evidence, others: dict[str, dict[str, float]]) -> str:
    """Return the table of scores, beside those of one prediction for all rows."""
    best = f"always {evidence.baseline.title}"
    parts = {"out of fold": evidence.scores, **others, best: evidence.constant}
    meanings = {evidence.score: "the loss of the fit: less is better"} | MEANINGS
    return _table_of_scores(parts, meanings)


def _table_of_scores(parts: dict[str, dict[str, float]], meanings: dict[str, str]) -> str:
    """Return the table of scores by the names of the rows that have them."""
    rows = [
        [score, *(number(part[score]) if score in part else "" for part in parts.values()), text]
        for score, text in meanings.items()
        if any(score in part for part in parts.values())
    ]
    return table(rows, ["score", *parts, "meaning"])


def _scores_of_outputs(fitted: FittedTable) -> str:
    """Return the table of scores of several targets, on the rows that have them."""
    scored = _scored(fitted)
    target, baseline = scored.target, scored.baseline
    has_labels = target.kind == "classes"
    score = "accuracy" if has_labels else "rmse"
    p = fitted.calibration.result(fitted.out_of_fold.predictions[scored.rows])
    lines, w = [], scored.weights
    for k, y in enumerate(target.y.T):
        used = ~np.isnan(y)
        weights = None if w is None else w[used]
        outputs = [p[used, k], baseline.predictions[used, k]]
        if has_labels:
            outputs = [np.column_stack([1 - share, share]) for share in outputs]
        classes = np.arange(2) if has_labels else None
        values, constant = (scores(y[used], each, classes, weights) for each in outputs)
        names = fitted.target_names
        name = names[k] if k < len(names) == target.outputs else f"output {k}"
        more = values.get("roc_auc", np.nan) if has_labels else values.get("r2", np.nan)
        lines.append((name, *(number(value) for value in (values[score], constant[score], more))))
    best = f"always {'the most frequent' if has_labels else baseline.name}{baseline.rows}"
    return table(lines, ["target", score, best, "roc_auc" if has_labels else "r2"])


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
    classes, truth, p, weights = evidence.classes, evidence.codes, evidence.p, evidence.weights
    names = evidence.class_names
    assert classes is not None
    w = np.ones(len(truth)) if weights is None else weights
    counts = evidence.confusion
    right, rows, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        shares = zip(names, rows, right / predicted, right / rows, strict=True)
    lines = [(c, f"{n:,.6g}", _share(precise), _share(recall)) for c, n, precise, recall in shares]
    text = (
        "Precision: of the rows predicted as the class, the share that is. Recall: of the rows of "
        "the class, the share that is predicted so."
    )
    yield "Each class", text, table(lines, ["class", "rows", "precision", "recall"])
    yield "Confusion", *confusion(counts, names, weights is not None)
    frequent = np.argsort(-rows, kind="stable")[:MOST_CURVES] if len(classes) > 2 else [1]
    roc, calibration = Axes(), Axes()
    roc.plot([0, 1], [0, 1], color="gray")
    labels = evidence.fitted.rows[1].y if evidence.fitted.rows else truth
    for k in frequent:
        order = np.argsort(-p[:, k], kind="stable")
        is_class = truth[order] == k
        hits = [np.cumsum(w[order] * part) for part in (~is_class, is_class)]
        x, ys = (np.append(0, part / max(part[-1], 1e-300)) for part in hits)
        roc.plot(x, ys, label=names[k])
        calibration.label = names[k]
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
    text = (
        "How much worse predictions of unseen rows get when a column is shuffled; and how much "
        "each column adds to, or takes from, a prediction in the mean: its Shapley values, which "
        "are there even if the column makes predictions no better."
    )
    unit = "prediction" if evidence.classes is None else "probabilities"
    charts = {
        "when the column is shuffled": inspection.bars(importance, MOST_BARS, Axes()),
        "mean contribution": bars(evidence.contributions, f"change of the {unit}"),
    }
    yield "Importance", text, charts
    yield "Why", REASONS, _reasons(evidence)
    text = "The mean prediction if a column had one value in all rows, on one scale in all charts."
    yield "Partial dependence", text, _dependences(evidence, evidence.features)
    title, shown = "mean absolute error", "{:.3g}"
    if evidence.level is not None:
        title = "mean pinball loss"
    if evidence.classes is not None:
        title, shown = "share of wrong classes", "{:.0%}"
    rows, above = [], ""
    for column, values, count, error in evidence.segments:
        rows.append((column if column != above else "", values, f"{count:,}", shown.format(error)))
        above = column
    text = "Where errors are larger than elsewhere, rely less on predictions."
    if rows:
        yield "Errors by column", text, table(rows, ["column", "values", "rows", title])


def _reasons(evidence: Evidence) -> str:
    """Return a table of sentences on typical predictions and on the worst ones."""
    typical, worst = evidence.examples
    kinds = ["typical"] * len(typical) + ["among the worst"] * len(worst)
    rows = [
        (kind, f"{evidence.places[place]:,}", evidence.truth(place), text)
        for kind, place, text in zip(kinds, [*typical, *worst], evidence.reasons, strict=True)
    ]
    return table(rows, ["", "row", "actual", "why"])


class Feature(NamedTuple):
    """A column of a `Table`."""

    part: str  # "numbers" or "codes"
    place: int  # the place in this part
    column: Column

    def values(self, table: Table) -> Array:
        """Return the column of a table, a view."""
        return getattr(table, self.part)[:, self.place]  # type: ignore[no-any-return]

    @property
    def is_date(self) -> bool:
        """Whether the numbers are the seconds of dates."""
        return self.column.form is not None and self.column.form.kind in DATES

    def is_missing(self, values: Any) -> Any:
        """Return which numbers or codes mean that the value is missing."""
        if self.part == "codes":
            return (values < 0) | (values == self.column.codes.get(None, MISSING))
        return np.isnan(values)

    def text(self, value: Any) -> str:
        """Return a value as people write it."""
        if self.is_missing(value):
            return "missing"
        if self.part == "codes":
            return str((self.column.values or ())[int(value)])
        form = self.column.form
        return number(value) if form is None else _date(form.shown(value))


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


class Segment(NamedTuple):
    """The rows in which a column has certain values."""

    column: str
    values: str
    rows: int
    error: float  # the mean


def _segments(evidence: Evidence, feature: Feature) -> Iterator[Segment]:
    """Yield the parts of a column that have rows enough; an identifier has none."""
    for text, rows, _ in _groups(evidence, feature, SEGMENTS):
        if int(rows.sum()) >= LEAST_ROWS:
            w = None if evidence.weights is None else evidence.weights[rows]
            error = float(np.average(evidence.mistakes[rows], weights=w))
            yield Segment(feature.column.name, text, int(rows.sum()), error)


def dependence(evidence: Evidence, feature: Feature, ax: Any) -> tuple[float, float] | None:
    """Draw the mean prediction by the value of one column; return its least and largest value."""
    fitted, classes, name = evidence.fitted, evidence.classes, feature.column.name
    lines, label = [(0, "")], evidence.name
    if classes is not None and len(classes) == 2:
        lines, label = [(1, "")], f"probability of {evidence.class_names[1]}"
    elif classes is not None:
        lines = [*enumerate(evidence.class_names[:MOST_CURVES].tolist())]
        label = "probability"
    sample = evidence.table.take(slice(None, None, -(-len(evidence.table) // SAMPLE)))
    groups = [group for group in _groups(evidence, feature, GRID) if np.isfinite(group[2])]
    if not groups:  # later rows may all lack the value
        return None
    texts, _, values = zip(*groups, strict=True)
    span = np.ptp(values) if feature.is_date else 0.0
    week = CYCLES["week"] if span > MOST_TICKS * CYCLES["week"] else 0.0
    means = np.empty((len(groups), max(fitted.calibration.outputs, 1)))
    for mean, value in zip(means, values, strict=True):
        changed = sample.take(np.arange(len(sample)))
        column = feature.values(changed)
        column[:] = value - value % week + np.nan_to_num(column) % week if week else value
        result = fitted.calibration.result(fitted.predict(fitted.columns.derive(changed)))
        mean[:] = result.reshape(len(sample), -1).mean(axis=0)
    shown = means[:, [line for line, _ in lines]]
    if feature.part == "codes":
        ax.barh(texts[::-1], shown[::-1, 0])
        ax.set(xlabel=f"probability of {lines[0][1]}" if lines[0][1] else label)
        return shown.min(), shown.max()
    for at, (_, text) in enumerate(lines):
        ax.plot(values, shown[:, at], label=text)
    of_week = ", with the weekdays and times of the rows" if week else ""
    ax.set(xlabel=name + of_week, ylabel=label)
    if len(lines) > 1:
        ax.legend()
    if feature.is_date:
        text_of = _text_of_dates(span)
        ax.xaxis.set_major_formatter(lambda seconds, _: text_of(seconds))
    return shown.min(), shown.max()


def _dependences(evidence: Evidence, features: list[Feature]) -> dict[str, Axes]:
    """Return charts of the mean prediction by the value of one column, with a common scale."""
    charts = {}
    ends: list[float] = []
    for feature in features:
        chart = Axes()
        if (found := dependence(evidence, feature, chart)) is not None:
            charts[feature.column.name] = chart
            ends += found
    for chart in charts.values():
        chart.include(min(ends), max(ends))
    return charts


def _text_of_dates(span: float) -> Callable[[float], str]:
    """Return the text of ticks in seconds: dates, or days and times where ticks may share a day."""
    part = slice(10) if span > MOST_TICKS * CYCLES["day"] else slice(5, 16)
    return lambda seconds: _date(np.datetime64(round(seconds), "s"))[part]


def _date(value: Any) -> str:
    """Return a date, or a duration, as people write it."""
    return str(value).replace("T", " ")


def _worst(evidence: Evidence) -> str:
    """Return a table of the rows with the largest errors."""
    columns, lines = evidence.features, []
    for row in np.argsort(-evidence.errors, kind="stable")[:WORST]:
        cells = [feature.text(feature.values(evidence.table)[row]) for feature in columns]
        p = evidence.p[row]
        prediction = number(p) if evidence.classes is None else evidence.class_names[p.argmax()]
        lines.append((f"{evidence.places[row]:,}", evidence.truth(row), prediction, *cells))
    head = ["row", "actual", "predicted", *(feature.column.name for feature in columns)]
    return table(lines, head)


def _frequent(values: Array, text: Callable[[Any], str] = str) -> str:
    """Return the most frequent values."""
    different, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return ", ".join(map(text, different[order[:FREQUENT]].tolist()))


def _data(evidence: Evidence | None, fitted: FittedTable) -> str:
    """Return a table of the columns: kind, missing and different values, and which these are."""
    lines: list[tuple[str, ...]] = []
    by_name = features(fitted)
    if evidence is not None:
        y = evidence.y
        kind = "numbers" if evidence.classes is None else "classes"
        if evidence.classes is None:
            shown = f"{number(y.min())} to {number(y.max())}"
        else:
            shown = _frequent(evidence.class_names[evidence.codes])
        lines.append((f"{evidence.name} (predicted)", kind, "", f"{len(np.unique(y)):,}", shown))
    for name in fitted.columns.used[:MOST_COLUMNS]:
        feature = by_name[name]
        kind = "dates" if feature.is_date else KINDS[feature.part]
        counts: tuple[str, ...] = ()
        if evidence is not None:
            values = feature.values(evidence.table)
            is_missing = feature.is_missing(values)
            missing = f"{is_missing.sum():,}" if is_missing.any() else ""
            there = values[~is_missing]
            shown = ""
            if feature.part == "codes":
                shown = _frequent(there, feature.text)
            elif len(there):
                shown = f"{feature.text(there.min())} to {feature.text(there.max())}"
            counts = missing, f"{len(np.unique(there)):,}", shown
        lines.append((name, kind, *counts))
    more = len(fitted.columns.used) - MOST_COLUMNS
    if more > 0:
        lines.append((f"{more} more",))
    names = ["column", "kind", "missing", "different", "range, or the most frequent"]
    return table(lines, names if evidence is not None else names[:2])
