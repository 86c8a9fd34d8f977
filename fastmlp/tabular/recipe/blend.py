"""The trained model: groups of members, one per recipe, with weights for averaging."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.outcome.periods import Ahead
from fastmlp.tabular.plan.folds import FitRows, Splits, parts_of
from fastmlp.tabular.plan.presets import (
    FORWARD_SHARE,
    LEAST_SHARE,
    LEAST_SHARE_OF_EXACT,
    LINEAR_SHARE,
    MOST_LONGER,
    TRIED_RECIPES,
    Preset,
    Recipe,
    beginning,
    epochs_of,
    quick_epochs,
)
from fastmlp.tabular.plan.progress import Progress
from fastmlp.tabular.recipe import linear, members
from fastmlp.tabular.recipe.epoch_selection import (
    LIMIT_REACHED,
    LITTLE_GAIN,
    NOISY,
    OutOfFold,
    calibrated_costs,
    is_nearly_exact,
    mean_cost,
    of_all,
    ranked,
    trimmed_mean,
)
from fastmlp.tabular.recipe.linear import LinearPart
from fastmlp.tabular.recipe.members import (
    Members,
    TrainingOptions,
    TrainingResult,
    seconds_of_epoch,
)
from fastmlp.tabular.table.columns import Table
from fastmlp.tabular.table.encoding import width_of, with_missing

if TYPE_CHECKING:
    from fastmlp.tabular.outcome.targets import Target

Array = NDArray[Any]

ROUNDS = 20  # the selection of weights takes these


@dataclass(frozen=True)
class Blend:
    """Groups of members whose predictions are averaged with ``weights``, which sum to 1."""

    groups: list[Members]
    weights: Array

    @property
    def target(self) -> Any:
        """The target of the networks."""
        return self.groups[0].target

    def predict(self, table: Table) -> Array:
        """Return the weighted mean of all groups' predictions, (n, columns)."""
        predictions = [group.predict(table) for group in self.groups]
        return blended(self.weights.tolist(), predictions)

    def of_division(self, k: int, table: Table) -> Array:
        """Return the prediction by each group's k-th member; they share their training rows."""
        predictions = [group.predict_one(k, table) for group in self.groups]
        return blended(self.weights.tolist(), predictions)

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)


def blended(weights: Sequence[float], predictions: list[Array]) -> Array:
    """Return the weighted sum of predictions, added in order."""
    if len(weights) == 1:  # it is 1
        return predictions[0]
    total = weights[0] * predictions[0]
    for weight, prediction in zip(weights[1:], predictions[1:], strict=True):
        total = total + weight * prediction
    return np.asarray(total)


@dataclass(frozen=True)
class BlendResult:
    """The result of training."""

    blend: Blend
    out_of_fold: Array  # predictions of `FitRows.scored` by members not trained on a row
    alone: float  # mean cost of single members
    together: float  # the cost of the blended members that hold a row out
    all: float  # the cost of all members, estimated
    trained: list[TrainingResult]  # the largest weight is first
    division: Splits
    notes: list[str]  # deviations from the preset
    stage_log: list[str] = field(default_factory=list)  # a text per stage
    stopped: str = ""  # the reason if the user ended the fit early
    ahead: Ahead | None = None  # what calibrates a fit of numbers with times

    @property
    def share_of_all(self) -> float:
        """The cost of all members over that of those that hold a row out, else 1."""
        return max(self.all, 0.0) / self.together if self.together > 0 else 1.0

    @property
    def calibrating(self) -> Array:
        """The predictions that calibrate the fit."""
        return self.out_of_fold if self.ahead is None else self.ahead.predictions

    def shifted(self, shifts: Array) -> BlendResult:
        """Return a result whose predictions, one for each level, are shifted."""
        groups = []
        for group in self.blend.groups:
            assert group.scale is not None
            groups.append(replace(group, scale=group.scale.shifted(shifts)))
        blend, ahead = replace(self.blend, groups=groups), self.ahead
        if ahead is not None:
            ahead = ahead._replace(predictions=ahead.predictions + shifts)
        return replace(self, blend=blend, out_of_fold=self.out_of_fold + shifts, ahead=ahead)


def recipes_of(preset: Preset, is_limited: bool, data: FitRows) -> list[Recipe]:
    """Return all recipes that a fit may train: those of its first preset, then of the preset."""
    first = beginning(preset, is_limited)
    presets = [first] if first is preset else [first, preset]
    of_stages = [stage.recipes_for(data.target.kind, data.columns) for stage in presets]
    return [recipe for recipes in of_stages for recipe in recipes]


def fit(data: FitRows, options: TrainingOptions) -> BlendResult:
    """Train the recipes of a preset in stages, and blend them; if rows have times, train again."""
    is_forward, deadline, of_stages = data.times is not None, options.deadline, options
    has_line = linear.suits(data, options.preset)
    if deadline is not None:
        left = deadline - time.monotonic()
        deadline -= (1 - FORWARD_SHARE) * left * is_forward
        of_stages = replace(options, deadline=deadline - LINEAR_SHARE * left * has_line)
    result = _stages(data, of_stages)
    if has_line:
        result = _with_linear_part(result, data, options, deadline)
    return _trained_again(result, data, options) if is_forward else result


def _with_linear_part(
    result: BlendResult, data: FitRows, options: TrainingOptions, deadline: float | None
) -> BlendResult:
    """Return the blend with a linear group, if it is solved, and in time."""
    part, why = None, ""
    try:
        part = linear.train(data, result.division, deadline)
        if part is None:
            why = LIMIT_REACHED
        else:
            blended = _blended([*result.trained, part], data, options, result.division)
    except tuple(linear.FAILURES) as error:
        part, why = None, linear.reason_of(error)
    except KeyboardInterrupt:
        part, why = None, members.INTERRUPTED
        result = replace(result, stopped=why)
    if why:
        note = f"there is no linear part, because {why}"
        result = replace(result, notes=[*result.notes, note])
    if part is None:
        return result
    return replace(blended, notes=result.notes, stage_log=result.stage_log, stopped=result.stopped)


def predicted_ahead(result: BlendResult, data: FitRows) -> Ahead | None:
    """Return what the members of each fold in time predict of all later rows.

    Their errors tell how wide intervals must be further ahead. Classes have none: return None.
    """
    if data.target.kind == "classes":
        return None
    out, folds_in_time = result.division.out, result.division.places
    folds = len({id(rows) for rows in out})
    parts = []
    for first, (number, part) in enumerate(folds_in_time[:folds]):
        later = [
            (k, after - number)
            for k, (after, other) in enumerate(folds_in_time[:folds])
            if other == part and after >= number
        ]
        rows = np.concatenate([out[k] for k, _ in later])
        distances = np.concatenate([np.full(len(out[k]), away) for k, away in later])
        members, table = range(first, len(out), folds), data.table.take(rows)
        predictions = np.stack([result.blend.of_division(k, table) for k in members])
        joint = OutOfFold(predictions).joint(data.target)
        parts.append((data.scored.places(rows), distances, joint))
    places, distances, predictions = map(np.concatenate, zip(*parts, strict=True))
    return Ahead(places, distances, predictions, len(data.table))


def _trained_again(result: BlendResult, data: FitRows, options: TrainingOptions) -> BlendResult:
    """Train the networks of a blend again on all rows, unless the time or the user ends that."""
    count, n, why = len(result.division.learn), len(data.table), result.stopped
    rows = n * members.members_per_thread(count, options.n_threads)
    seconds = sum(trained.epoch * trained.pace for trained in result.trained) * rows
    progress = _progress([1.0] * len(result.trained), data, options)
    options = replace(options, callbacks=[*options.callbacks, progress])
    deadline = np.inf if options.deadline is None else options.deadline
    if not why and time.monotonic() + seconds > deadline:
        why = LIMIT_REACHED
    again: list[TrainingResult] = []
    try:
        result = replace(result, ahead=predicted_ahead(result, data))
        for k, trained in enumerate(result.trained if not why else ()):
            progress.begin(k)
            if isinstance(trained.recipe, LinearPart):
                again.append(linear.trained_again(trained, data, count))
            else:
                again.append(members.trained_again(trained, data, count, options))
            why = again[-1].stopped
            if why:
                break
    except KeyboardInterrupt:
        why = members.INTERRUPTED
    finally:
        progress.close()
    if why:
        note = f"the networks have not learned from all rows, because {why}"
        by_user = why not in {LIMIT_REACHED, *linear.FAILURES.values()}
        stopped = why if by_user else ""
        return replace(result, notes=[*result.notes, note], stopped=stopped)
    of_groups = "" if data.groups is None else " of groups that were not learned"
    note = f"the networks were trained again on all rows; scores are those of later rows{of_groups}"
    out = parts_of(data.scored.rows, count)  # the importance of columns is measured on these
    return replace(
        result,
        blend=Blend([group.members for group in again], result.blend.weights),
        trained=again,
        division=replace(result.division, out=out),
        notes=[*result.notes, note],
    )


def _stages(data: FitRows, options: TrainingOptions) -> BlendResult:
    """Train the recipes of a preset in stages, and blend them."""
    stage = functools.partial(_stage, data, options)
    preset = options.preset
    begin = beginning(preset, options.deadline is not None)
    if not begin.trial_folds:
        return replace(stage(preset), stage_log=[])
    first = _in_stages(data, begin, stage)
    if first.stopped or begin is preset:
        return first
    last = stage(preset, first, first)
    return replace(last, notes=last.notes + first.notes, stage_log=first.stage_log + last.stage_log)


def _in_stages(data: FitRows, preset: Preset, stage: Callable[..., BlendResult]) -> BlendResult:
    """Train all recipes shortly, and the best ones longer if that pays."""
    trial = stage(preset.trial)
    pairs = [*zip(trial.blend.weights, trial.trained, strict=True)]
    able = [pair for pair in pairs if pair[1].is_steep or not pair[1].recipe.is_precise] or pairs
    (largest, strongest), *_ = able
    is_exact = _is_nearly_exact(trial.out_of_fold, data)
    least = largest * (LEAST_SHARE_OF_EXACT if is_exact else LEAST_SHARE)
    chosen = [group.recipe for weight, group in able if weight >= least and not group.why]
    chosen = chosen[:MOST_LONGER]
    if trial.stopped or not chosen:
        text = f"no further stage, because {trial.stopped or strongest.why}"
        return replace(trial, stage_log=[*trial.stage_log, text])
    # Where a relation is nearly exact, other recipes add less than a longer cycle.
    longer = preset.longest if strongest.is_steep else preset.longer
    last = stage(longer(tuple(chosen)), trial)
    if last.blend is trial.blend:  # no recipe was trained
        return replace(last, stage_log=trial.stage_log + last.stage_log)
    return _better(data.scored.target, data.scored.cost_weights, trial, last)


def _better(
    target: Target, weights: Array | None, first: BlendResult, then: BlendResult
) -> BlendResult:
    """Return the stage with the better score; of equal ones the first, which has fewer networks."""
    before, after = (
        calibrated_costs(target, stage.out_of_fold, weights) for stage in (first, then)
    )
    first_is_better = not trimmed_mean(after - before, weights) < 0
    better, other = (first, then) if first_is_better else (then, first)
    stage_log = first.stage_log + then.stage_log
    if first_is_better:
        stage_log.append("the stage before is kept")
    notes = better.notes + other.notes
    return replace(better, notes=notes, stopped=then.stopped, stage_log=stage_log)


def _stage(
    data: FitRows,
    options: TrainingOptions,
    preset: Preset,
    before: BlendResult | None = None,
    beside: BlendResult | None = None,
) -> BlendResult:
    """Train and blend the recipes of a preset; without time for one, return the stage before.

    New members have the folds of the stage ``beside``, and are blended with its members.
    """
    began = time.monotonic()
    groups: list[TrainingResult] = []
    over = stopped = ""
    table, target = data.table, data.target
    division = beside.division if beside else Splits.of(data, preset, options.rng)
    options = replace(options, preset=preset)
    recipes = preset.recipes_for(target.kind, data.columns)
    division.notes.extend(preset.left_out(target.kind, data.columns))
    n, size, rows = len(table), len(division.learn), max(map(len, division.learn))
    width = functools.partial(width_of, data.columns, len(with_missing(data.columns, table)))
    epochs = [epochs_of(preset, recipe, n) for recipe in recipes]
    work = [e * r.work(width(r.bins)) for e, r in zip(epochs, recipes, strict=True)]
    progress = _progress(work, data, options)
    options = replace(options, callbacks=[*options.callbacks, progress])
    try:
        for k, recipe in enumerate(recipes):
            tried = k == TRIED_RECIPES and preset.trial_folds and not before
            if tried and {group.why for group in groups} <= NOISY[target.kind]:
                over = LITTLE_GAIN
                break
            if recipe.is_precise and not before:
                found = (group.held_out.joint(data.scored.target) for group in groups)
                if not any(_is_nearly_exact(predictions, data) for predictions in found):
                    recipes = recipes[:k]
                    break
            epoch_seconds = 0.0  # a time is estimated if it is limited
            if options.deadline is not None:
                epoch_seconds = seconds_of_epoch(
                    recipe,
                    width(recipe.bins),
                    target,
                    rows,
                    size,
                    options.n_threads,
                    before.trained if before else (),
                )
            # A recipe with less than half of its epochs, and fewer than "fast" has, adds little; a
            # later stage with fewer is no better than the first.
            needed = epochs[k] / 2 if before else min(epochs[k] / 2, quick_epochs(n))
            end = math.inf if options.deadline is None else options.deadline
            if (groups or before) and end - time.monotonic() < needed * epoch_seconds:
                over = LIMIT_REACHED
                break
            progress.begin(k)
            groups.append(members.train(recipe, data, division, options, epoch_seconds))
            stopped = groups[-1].stopped
            if stopped:
                break
    except KeyboardInterrupt:
        if not (groups or before):
            raise
        stopped = members.INTERRUPTED
    finally:
        progress.close()
    over = stopped or over
    if before and not groups:
        return replace(before, stage_log=[f"no further stage, because {over}"], stopped=stopped)
    division.notes.extend(_cut(groups, over, len(recipes)))
    trained = [*beside.trained, *groups] if beside else groups
    result = _blended(trained, data, options, division)
    scored = data.scored
    costs = calibrated_costs(scored.target, result.out_of_fold, scored.cost_weights)
    score = target.shown(float(np.average(costs, weights=scored.cost_weights)))
    text = (
        f"{len(groups)} x {size} networks in {time.monotonic() - began:.1f} s, "
        f"{target.metric} {score:.4g}{', calibrated' * (target.kind == 'classes')}"
    )
    return replace(result, stage_log=[text], stopped=stopped)


def _is_nearly_exact(out_of_fold: Array, data: FitRows) -> bool:
    """Whether predictions explain nearly everything."""
    scored = data.scored
    costs = calibrated_costs(scored.target, out_of_fold, scored.cost_weights)
    return is_nearly_exact(scored, costs)


def _progress(work: Sequence[float], data: FitRows, options: TrainingOptions) -> Progress:
    """Return what shows the progress of recipes, with the work of each."""
    metric, n_threads = data.target.metric, options.n_threads
    return Progress(work, metric, options.deadline, n_threads, options.verbose, data.memory)


def _cut(groups: list[TrainingResult], why: str, count: int) -> list[str]:
    """Return a note per reason for training fewer recipes or epochs than planned."""
    cut: dict[str, list[str]] = {}
    if len(groups) < count:
        cut[why] = [f"{len(groups)} of {count} recipes"]
    for group in groups:
        if group.run < group.planned:
            text = f"{group.recipe.title} after {group.run} of {group.planned} epochs"
            cut.setdefault(group.why, []).append(text)
    return [f"ended early because {why}: {'; '.join(texts)}" for why, texts in cut.items()]


def _blended(
    groups: list[TrainingResult], data: FitRows, options: TrainingOptions, division: Splits
) -> BlendResult:
    target, weights = data.scored.target, data.scored.cost_weights
    predictions = [group.held_out.joint(target) for group in groups]

    def cost(prediction: Array) -> float:
        if options.scorer is not None:
            return ranked(-options.scorer(prediction))
        return mean_cost(target, prediction, weights)

    shares = greedy(predictions, cost)
    order = [k for k in np.argsort(-shares, kind="stable") if shares[k] > 0]
    shares, predictions = shares[order], [predictions[k] for k in order]
    groups = [groups[k] for k in order]
    joint = np.tensordot(shares, np.stack(predictions), axes=1)
    together = mean_cost(target, joint, weights)
    singles = [group.held_out.alone(target, weights) for group in groups]
    pairs = [mean_cost(target, prediction, weights) for prediction in predictions]
    costs = zip(singles, pairs, strict=True)
    # Averaging more members reduces the cost of a group by the variance of its members.
    gains = [pair - of_all(alone, pair, target.row.averaging) for alone, pair in costs]
    return BlendResult(
        Blend([group.members for group in groups], shares),
        joint,
        float(np.dot(shares, singles)),
        together,
        together - float(np.dot(shares**2, gains)),
        groups,
        division,
        division.notes,
    )


def greedy(predictions: Sequence[Array], cost: Callable[[Array], float]) -> Array:
    """Return a weight for each prediction; they sum to 1, and useless predictions have 0.

    The start is the mean of all. Then each round adds the prediction that gives the lowest cost; a
    prediction may be added again. The weights are those of the best round, of equal ones the first.
    Caruana, Niculescu-Mizil, Crew and Ksikes 2004, "Ensemble selection from libraries of models".
    """
    count = len(predictions)
    if count == 1:
        return np.ones(1)
    everyone = np.ones(count) / count
    lowest, selected = cost(np.mean(predictions, axis=0)), everyone
    total, taken = np.zeros_like(predictions[0]), np.zeros(count)
    for rounds in range(1, ROUNDS + 1):
        costs = [cost((total + prediction) / rounds) for prediction in predictions]
        k = int(np.argmin(costs))
        total, taken[k] = total + predictions[k], taken[k] + 1
        if costs[k] < lowest:
            lowest, selected = costs[k], taken / rounds
    return selected
