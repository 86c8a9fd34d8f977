"""The fit of a table: from parameters and rows to one `FittedTable`.

Rows are read, as many as time and memory allow; members are trained and blended; out-of-fold
predictions calibrate the result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from fastmlp._engine.thread_count import of_jobs
from fastmlp._validation.arrays import TableLike
from fastmlp._validation.check import callbacks
from fastmlp.tabular.files.codec_members import warn_if_unsavable
from fastmlp.tabular.fit.parameters import check_parameters
from fastmlp.tabular.fit.reading import Reader, Reading, TableChunk, target_names
from fastmlp.tabular.fitted.fitted_table import Facts, FittedTable, HeldOut
from fastmlp.tabular.fitted.results import NO_BETTER, WARNING, Report, timed
from fastmlp.tabular.outcome import periods
from fastmlp.tabular.outcome.calibration import Calibration, NumberCalibration
from fastmlp.tabular.outcome.scoring import Scorer, scorer_of
from fastmlp.tabular.outcome.targets import Target
from fastmlp.tabular.plan.folds import ScoredRows
from fastmlp.tabular.plan.presets import PRESETS, adapted
from fastmlp.tabular.plan.progress import show_result
from fastmlp.tabular.recipe import blend, monotone
from fastmlp.tabular.recipe.blend import BlendResult
from fastmlp.tabular.recipe.budget import Budget, bytes_of
from fastmlp.tabular.recipe.epoch_selection import mean_cost
from fastmlp.tabular.recipe.members import INTERRUPTED, TrainingOptions
from fastmlp.tabular.selection import giveaways, identifiers
from fastmlp.tabular.selection.selection import select
from fastmlp.tabular.table.columns import Array, Columns, Table


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of training, before its calibration."""

    budget: Budget
    reading: Reading
    result: BlendResult
    scorer: Scorer  # ``scoring`` measures predictions out of fold by it; None: no ``scoring``
    seconds: dict[str, float]  # the seconds of each phase


def fit(
    target_class: type[Target],
    parameters: Mapping[str, Any],
    chunk: TableChunk,
    X_val: TableLike | None,
    y_val: ArrayLike | None,
) -> tuple[FittedTable, str]:
    """Fit a table; ``target_class`` is a class of `targets`.

    Return also the reason if the user ended the fit early, else an empty text.
    """
    trained = train(target_class, parameters, chunk, X_val, y_val)
    result, seconds = trained.result, trained.seconds
    with timed(seconds, "calibration"):
        try:
            fitted = fitted_table(parameters, trained, with_scores=True)
        except KeyboardInterrupt:  # repeat without the scores, which may take long
            note = f"ended early because {INTERRUPTED}: there are no other scores"
            result = replace(result, stopped=INTERRUPTED, notes=[*result.notes, note])
            trained = replace(trained, result=result)
            fitted = fitted_table(parameters, trained, with_scores=False)
    result.notes.extend(trained.budget.overrun(seconds))
    if parameters["verbose"]:
        scored = trained.reading.data.scored
        predictions, target = fitted.calibration.scored(result.out_of_fold), scored.target
        cost = mean_cost(target, predictions, scored.cost_weights)
        show_result(target.metric, target.shown(cost))
    return replace(fitted, target_names=target_names(chunk.y)), result.stopped


def train(
    target_class: type[Target],
    parameters: Mapping[str, Any],
    chunk: TableChunk,
    X_val: TableLike | None = None,
    y_val: ArrayLike | None = None,
    columns: Columns | None = None,
) -> Trained:
    """Read the rows, and train and blend the members; ``columns`` are those of a larger table."""
    seconds: dict[str, float] = {}
    check_parameters(parameters)
    preset = adapted(PRESETS[parameters["preset"]], parameters, target_class.are_hazards)
    if parameters["validation"] is not None:
        preset = preset.with_one_fold()
    if monotone.check(parameters):
        preset = monotone.adapted(preset)
    deadline = None
    if parameters["time_limit"] is not None:
        deadline = time.monotonic() + float(parameters["time_limit"])
    seed = check_random_state(parameters["random_state"]).randint(2**31 - 1, size=4)
    called = callbacks(
        parameters["callbacks"] or (), "a fit of a table trains whole epochs in one call"
    )
    n_threads, is_limited = of_jobs(parameters["n_jobs"]), parameters["max_memory"] is not None
    memory = bytes_of(parameters["max_memory"])
    budget = Budget(preset, deadline, n_threads, memory, is_limited)
    reader = Reader(target_class, parameters, budget, np.random.default_rng([*seed, 1]))
    with timed(seconds, "reading"):
        read = reader.read(chunk, columns, X_val, y_val)
    if parameters["select"] and columns is None:
        preset_of_rows, rng = read.rows.plan.preset, np.random.default_rng(seed)
        quick = TrainingOptions(preset_of_rows, rng, deadline, n_threads=n_threads)
        with timed(seconds, "names"):
            read = _with_names(read, parameters, quick, np.random.default_rng([*seed, 3]))
        if preset.selects:
            with timed(seconds, "selection"):
                read = _with_selection(read, quick, np.random.default_rng([*seed, 2]))
    data, plan = read.data, read.rows.plan
    recipes = blend.recipes_of(plan.preset, deadline is not None, data)
    warn_if_unsavable(data.columns, getattr(data.target, "classes", None), recipes)
    scorer = scorer_of(parameters["scoring"], data.scored.target, data.scored.weights)
    rng, verbose = np.random.default_rng(seed), bool(parameters["verbose"])
    options = TrainingOptions(plan.preset, rng, deadline, scorer, n_threads, called, verbose)
    with timed(seconds, "training"):
        result = blend.fit(data, options)
        result.notes.extend(plan.notes)
    return Trained(budget, read, result, scorer, seconds)


def _with_selection(read: Reading, options: TrainingOptions, rng: np.random.Generator) -> Reading:
    """Return the rows of a fit without the columns that say nothing, and note them."""
    selection = select(read.data, options, rng)
    read.rows.plan.notes.extend(selection.notes)
    if not (reasons := selection.left_out):
        return read
    columns = read.rows.columns
    return read.with_columns(columns.only(set(columns.places).difference(reasons), reasons))


def _with_names(
    read: Reading,
    parameters: Mapping[str, Any],
    options: TrainingOptions,
    rng: np.random.Generator,
) -> Reading:
    """Return the rows of a fit with the whole numbers that name things as categories.

    If the user has said which columns are categories, the others are none.
    """
    if not isinstance(parameters["categorical_features"], str):
        return read
    columns, note = identifiers.with_names(read.data, options, rng)
    read.rows.plan.notes.extend([note] * bool(note))
    if columns is read.rows.columns:
        return read
    return read.with_columns(columns)


def fitted_table(parameters: Mapping[str, Any], trained: Trained, with_scores: bool) -> FittedTable:
    """Return the fitted table: calibrated, and with a report of the fit."""
    read, result = trained.reading, trained.result
    rows, data, used = read.rows, read.data, read.used
    table, scored = rows.table, used[data.scored.rows]
    calibration, more, result = calibrated(data.scored, result, monotone.is_set(parameters))
    if with_scores:
        more |= _scores(parameters, trained, calibration)
        costs = data.scored.target.costs(calibration.scored(result.out_of_fold))
        result.notes.extend(giveaways.note_of(data, costs))
    weights = None
    if data.scored.weights is not None or len(scored) < len(table):
        weights = np.zeros(len(table))
        weights[scored] = 1.0 if data.scored.weights is None else data.scored.weights
    out = [used[part] for part in result.division.out]
    predictions = _of_all_rows(result, table, scored)
    learned = np.setdiff1d(used, scored) if len(scored) < len(used) else None
    earlier = data.scored.earlier
    if earlier is not None:
        earlier = np.full(predictions.shape, np.nan)
        earlier[scored] = data.scored.earlier
    held_out = HeldOut(predictions, out, weights, rows.sampled, learned, earlier)
    whole, target = rows.columns.with_typical(table, used), data.target.with_rows(rows.target.y)
    report = reported(result, whole, target, len(table), trained.seconds, more)
    return assembled(
        parameters,
        whole,
        rows.feature_names,
        result,
        calibration,
        held_out,
        report,
        (table, target),
    )


def calibrated(
    scored: ScoredRows, result: BlendResult, keeps_order: bool
) -> tuple[Calibration, dict[str, str], BlendResult]:
    """Return the calibration by scored rows, report lines, and the result that it is for.

    The scored rows have times in some fits. With ``keeps_order``, rows with larger predictions have
    no smaller quantiles.
    """
    target, times, baseline = scored.target, scored.times, scored.baseline
    cost_weights = scored.cost_weights
    constant = baseline.score(target, cost_weights)
    lines = {"baseline": f"{target.metric} {constant:.4g}, of always predicting {baseline.title}"}
    held_out, of_fit, most = scored, scored, None
    if times is not None:
        recent = periods.recency(times, scored.weights)
        of_fit = scored._replace(weights=recent, groups=periods.with_periods(times, scored.groups))
        held_out = of_fit
        if (ahead := result.ahead) is not None:
            held_out = of_fit.take(ahead.places)._replace(weights=ahead.even(recent))
            most = ahead.most
    weights, groups = held_out.weights, held_out.groups
    if (shifts := held_out.target.shifts(result.calibrating, weights, groups)) is not None:
        result = result.shifted(shifts)
    calibration = held_out.target.calibration(
        result.calibrating, weights, groups, result.share_of_all, keeps_order, most
    )
    predictions = calibration.scored(result.out_of_fold)
    more: dict[str, str] = {}
    if isinstance(calibration, NumberCalibration) and not target.loss.levels:
        more |= calibration.limits
    d2 = baseline.explained(target, target.costs(predictions), cost_weights)
    if d2 is not None:
        lines["d2 score"] = f"{d2:.4g}, the share of the baseline's loss that is saved"
    for name, text in calibration.facts.items():
        loss = mean_cost(target, predictions, of_fit.cost_weights)
        more[name] = f"{text}, with it {target.metric} {loss:.4g}"
    more |= target.facts(predictions, of_fit.weights)
    if times is not None:
        more["by time"] = periods.scores_of(scored, predictions)
    if not baseline.is_beaten(target, predictions, cost_weights):
        lines[WARNING] = NO_BETTER
    return calibration, lines | more, result


def reported(
    result: BlendResult,
    columns: Columns,
    target: Target,
    n: int,
    seconds: dict[str, float],
    more: dict[str, str],
) -> Report:
    """Return the report of a blend that was trained on n rows, with ``more`` lines."""
    members = []
    for share, trained in zip(result.blend.weights, result.trained, strict=True):
        group = trained.members
        networks = f"{len(group)} networks of {group.spec.layer_sizes[0]} inputs"
        epoch = f", epoch {trained.epoch} of {trained.run}" if trained.run else ""
        members.append(f"{share:.0%}: {trained.recipe.title} ({networks}){epoch}")
    stages = {"stages": "; then ".join(result.stage_log)} if result.stage_log else {}
    return Report(
        n,
        len(columns.names),
        columns.kinds,
        columns.left_out,
        members,
        target.metric,
        target.shown(result.alone),
        target.shown(result.together),
        seconds,
        stages | more,
        result.notes,
    )


def assembled(
    parameters: Mapping[str, Any],
    columns: Columns,
    feature_names: Array | None,
    result: BlendResult,
    calibration: Calibration,
    held_out: HeldOut,
    report: Report,
    rows: tuple[Table, Target],
) -> FittedTable:
    """Return the fitted table of a blend, whose networks keep no rows of the target."""
    blend = result.blend
    first = max(result.trained, key=lambda trained: trained.run > 0)  # the first with epochs
    without_rows = blend.target.with_rows(None)
    groups = [replace(group, target=without_rows) for group in blend.groups]
    whole = replace(blend, groups=groups)
    facts = Facts(report, first.history, first.curve, first.epoch, first.run)
    return FittedTable(
        dict(parameters), columns, feature_names, whole, calibration, held_out, facts, rows=rows
    )


def _of_all_rows(result: BlendResult, table: Table, scored: Array) -> Array:
    """Return predictions of all rows: out of fold, but for rows that no member holds out."""
    if len(scored) == len(table):
        return result.out_of_fold
    predictions = np.empty((len(table), result.out_of_fold.shape[1]))
    predictions[scored] = result.out_of_fold
    others = np.setdiff1d(np.arange(len(table)), scored)
    predictions[others] = result.blend.predict(table.take(others))
    return predictions


def _scores(
    parameters: Mapping[str, Any], trained: Trained, calibration: Calibration
) -> dict[str, str]:
    """Return lines for the report: the score by ``scoring``, and those on validation rows."""
    scoring, result = parameters["scoring"], trained.result
    name, more = str(getattr(scoring, "__name__", scoring)), {}
    if trained.scorer is not None:
        more["scoring"] = f"{name} {trained.scorer(result.out_of_fold):.4g}, out of fold"
    if trained.reading.validation is not None:
        table, others = trained.reading.validation
        of_fit = trained.reading.data.target
        target = of_fit.with_rows(others.y, of_fit.weighting and " (unweighted)")
        predictions = calibration.scored(result.blend.predict(table))
        cost = mean_cost(target, predictions, target.cost_weights(None))
        text = f"{target.metric} {target.shown(cost):.4g}"
        if (scorer := scorer_of(scoring, target, None)) is not None:
            text += f", {name} {scorer(predictions):.4g}"
        more["validation"] = f"{text}, of {len(table):,} rows that were not learned from"
    return more
