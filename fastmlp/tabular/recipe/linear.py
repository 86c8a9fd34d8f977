"""The linear part of a blend: it needs few rows, and carries trends beyond those of the fit.

A network without hidden layers has the weights of a ridge or a logistic regression. Of rows with
times its numbers and dates are not clipped, and its predictions have no limits. The hazards of all
intervals of time rise alike with an input, as in Cox's model for discrete times (Cox 1972,
"Regression models and life-tables").
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastmlp._core.history import History
from fastmlp._models.network import Network
from fastmlp._network import initializers
from fastmlp._network.groups import Groups
from fastmlp._network.spec import Spec, build
from fastmlp.tabular.outcome import periods
from fastmlp.tabular.plan.folds import FitRows, Splits
from fastmlp.tabular.plan.presets import Preset, Recipe
from fastmlp.tabular.recipe.epoch_selection import OutOfFold, calibrated_costs, places_of
from fastmlp.tabular.recipe.members import Members, TrainingResult
from fastmlp.tabular.table.columns import Array, RowIndex
from fastmlp.tabular.table.encoding import Encoding, width_of, with_missing
from fastmlp.tabular.table.rows import EncodedRows

# Penalties of the squared weights of standardised inputs, in multiples of the number of rows; that
# with the lowest cost of held-out rows is taken.
DECAYS = (1.0, 0.1, 1e-2, 1e-4, 1e-6)
MOST_ROWS = 10_000  # of more rows without times, networks have learned what is linear
MOST_WEIGHTS = 1_000  # a part has at most these: equations for them take little time
# Later rows are learned by Adam, whose steps have one size for each weight: so few weights need
# larger ones to follow as networks do, and biases have full steps.
UPDATE_RATE, UPDATE_GROUPS = 10.0, Groups(parametrization="ntk")
ROWS_AT_A_TIME = 512  # larger products wait for threads of NumPy that other programs hold up
SMALLEST = 1e-7  # deviation of an input that is not constant
FIXED = 1e-9  # penalty of biases, which determines their common part
MOST_STEPS, LEAST_STEP = 30, 1e-6  # Newton's method for classes ends by these
# Errors that leave the part out, and the reason that a report gives: networks need no part.
NO_SOLUTION = "the equations of a line have no finite solution"
FAILURES = {
    np.linalg.LinAlgError: NO_SOLUTION,
    MemoryError: "there is too little memory for the equations of a line",
}

Terms = Callable[..., tuple[float, Array, Array]]  # a cost, its gradient and second derivatives


@dataclass(frozen=True)
class LinearPart(Recipe):
    """The recipe of networks without hidden layers; ``decay`` is the penalty."""

    bins: int = 0

    @property
    def title(self) -> str:
        """The description of the recipe in reports."""
        return f"linear, decay {self.decay:g}"


def suits(data: FitRows, preset: Preset) -> bool:
    """Whether rows have a linear part: hazards, squared errors, or with times one class.

    Without times, squared errors have it if the preset says so and there are few rows.
    """
    target = data.target
    is_wanted = target.kind == "numbers" and preset.has_line and len(data.table) <= MOST_ROWS
    if data.signs is not None or not (is_wanted or data.times is not None or target.are_hazards):
        return False
    width = width_of(data.columns, len(with_missing(data.columns, data.table)), LinearPart.bins)
    equations = target.outputs if target.sums_to_one else 1
    if target.kind == "numbers":
        equations = sum(1 for _ in _gaps(np.reshape(target.y, (len(target.y), -1))))
    is_small = width * equations <= MOST_WEIGHTS
    is_class = target.kind == "classes"
    is_known = target.sums_to_one or target.are_hazards if is_class else target.row.is_square
    return bool(is_small and is_known)


def reason_of(error: BaseException) -> str:
    """Return why an error of `FAILURES` leaves the part out."""
    return next(why for kind, why in FAILURES.items() if isinstance(error, kind))


def train(data: FitRows, division: Splits, deadline: float | None = None) -> TrainingResult | None:
    """Return linear networks of each fold; None if the deadline comes before the first.

    Raise LinAlgError if no penalty has a finite solution and cost.
    """
    scored = data.scored
    best: tuple[float, Any] = math.inf, None
    solved, members = _solved(data, division.learn, DECAYS, deadline), None
    for decay, members in zip(DECAYS, solved, strict=False):
        if not _are_finite(members):
            continue
        held_out = _held_out(data, members, division.out)
        costs = calibrated_costs(scored.target, held_out.joint(scored.target), scored.cost_weights)
        cost = float(np.average(costs, weights=scored.cost_weights))
        if cost < best[0]:
            best = cost, (decay, members, held_out)
    if members is None:
        return None
    if best[1] is None:
        raise np.linalg.LinAlgError(NO_SOLUTION)
    decay, members, held_out = best[1]
    return TrainingResult(LinearPart(decay=decay), members, held_out, History())


def trained_again(result: TrainingResult, data: FitRows, count: int) -> TrainingResult:
    """Return ``count`` linear networks that have learned from all rows.

    If that fails, return the result as it is, with the reason in its field ``stopped``.
    """
    rows = np.arange(len(data.table))
    try:
        (members,) = _solved(data, [rows] * count, [result.recipe.decay])
    except tuple(FAILURES) as error:
        return replace(result, stopped=reason_of(error))
    if not _are_finite(members):
        return replace(result, stopped=NO_SOLUTION)
    return replace(result, members=members)


def _solved(
    data: FitRows,
    learn: Sequence[RowIndex],
    decays: Sequence[float],
    deadline: float | None = None,
) -> Iterator[Members]:
    """Yield the members of each penalty; they learn from rows, of which later ones weigh more.

    Yield none if a solution is found after the deadline, a time of ``time.monotonic``.
    """
    table, target, in_training = data.table, data.target, data.weights.training
    numbers = range(0 if data.times is None else table.numbers.shape[1])
    encoding = Encoding.of(table, data.columns, learn, LinearPart.bins, unclipped=numbers)
    scale = target.scale(learn, in_training)
    if target.kind == "numbers" and data.times is not None:
        unlimited = np.full_like(scale.low, np.inf)
        scale = scale._replace(low=-unlimited, high=unlimited)
    spec = build([encoding.layout.width, target.outputs], loss=target.loss)
    solutions: dict[int, list[Network]] = {}  # members may share their rows
    for member, rows in enumerate(learn):
        if id(rows) in solutions:
            continue
        x, y = encoding.rows(table, member)[rows], target.encode(scale, member)[rows]
        weights = np.ones(len(rows)) if in_training is None else in_training[rows]
        if data.times is not None:
            weights = periods.recency(data.times[rows], weights)
        solve = _proportional if target.are_hazards else _logistic
        if target.kind == "numbers":
            solve = ridge
        solutions[id(rows)] = []
        for solution in solve(x, y, weights, decays, target.outputs):
            if deadline is not None and time.monotonic() > deadline:
                return
            solutions[id(rows)].append(_network(spec, *solution))
    for k in range(len(decays)):
        networks = [solutions[id(rows)][k] for rows in learn]
        yield Members(networks, encoding, scale, target).published()


def _network(spec: Spec, weights: Array, biases: Array) -> Network:
    """Return a network with these weights, (inputs, outputs), and biases."""
    rng = np.random.default_rng(0)  # nothing is trained
    parameters = initializers.draw(spec, rng, ["zeros"])
    of_kind = dict(zip(spec.tensors, parameters, strict=True))
    with np.errstate(over="ignore"):  # what is not finite is left out
        of_kind["weights"][0][...], of_kind["biases"][0][...] = weights, biases
    return Network.of(spec, parameters, rng)


def _are_finite(members: Members) -> bool:
    """Whether all weights are numbers, in the networks' dtype, too."""
    kinds = (network.parameters() for network in members.networks)
    return all(
        np.isfinite(a).all() for each in kinds for k in ("weights", "biases") for a in each[k]
    )


def _held_out(data: FitRows, members: Members, out: Sequence[RowIndex]) -> OutOfFold:
    """Return the predictions of held-out rows."""
    target, parts = data.scored.target, []
    for member, rows in enumerate(out):
        x = members.encoding.rows(data.table, member)[rows]
        z = members.networks[member].engine.predict(x)
        parts.append(target.decode(members.scale, z, member))
    places, shape, held = places_of(data.scored, out)
    predictions = np.zeros((math.prod(shape), parts[0].shape[1]))
    predictions[places] = np.concatenate(parts)
    return OutOfFold(predictions.reshape(*shape, -1), held)


def _blocks(x: EncodedRows, *of_rows: Array) -> Iterator[tuple[Array, ...]]:
    """Yield the inputs of some rows at a time, as float64, and what else belongs to them."""
    for first in range(0, len(x), ROWS_AT_A_TIME):
        part = slice(first, first + ROWS_AT_A_TIME)
        block = np.asarray(x[np.arange(len(x))[part]], np.float64)
        yield block, *(array[part] for array in of_rows)


def _inverse_deviations(variances: Array) -> Array:
    """Return one over the deviation of each input, 0 for those that are constant."""
    deviations = np.sqrt(np.maximum(variances, 0.0))
    is_varied = deviations > SMALLEST
    return np.divide(1.0, deviations, out=np.zeros_like(deviations), where=is_varied)


def _gaps(y: Array) -> Iterator[tuple[Array, list[int]]]:
    """Yield where targets are missing, and the columns of y whose gaps these are."""
    columns: dict[bytes, list[int]] = {}
    for k, missing in enumerate(np.isnan(y).T):
        columns.setdefault(missing.tobytes(), []).append(k)
    for of_gaps in columns.values():
        yield np.isnan(y[:, of_gaps[0]]), of_gaps


def ridge(
    x: EncodedRows, y: Array, weights: Array, decays: Sequence[float], outputs: int
) -> Iterator[tuple[Array, Array]]:
    """Yield the weights and biases of each penalty, with the least squares for standardised inputs.

    Targets that are NaN are missing. Those that are there in the same rows share the equations.
    """
    p = x.shape[1] + 1
    solutions = [np.zeros((p, outputs)) for _ in decays]
    for missing, of_outputs in _gaps(y):
        w = np.where(missing, 0.0, weights)
        if not w.any():
            continue
        w, targets = w / w.sum(), np.nan_to_num(y[:, of_outputs]).astype(np.float64)
        moments = np.zeros((p + len(of_outputs),) * 2)  # of a one, the inputs and the targets
        for block, part, weight in _blocks(x, targets, w):
            all_columns = np.column_stack([np.ones(len(block)), block, part])
            moments += all_columns.T @ (weight[:, np.newaxis] * all_columns)
        mean = moments[0]
        centred = moments - np.outer(mean, mean)
        inverse = _inverse_deviations(np.diag(centred)[1:p])
        eigenvalues, vectors = np.linalg.eigh(centred[1:p, 1:p] * np.outer(inverse, inverse))
        for at, k in enumerate(of_outputs, p):
            turned = vectors.T @ (inverse * centred[1:p, at])
            for solution, decay in zip(solutions, decays, strict=True):
                slopes = inverse * (vectors @ (turned / (np.maximum(eigenvalues, 0.0) + decay)))
                solution[:, k] = mean[at] - mean[1:p] @ slopes, *slopes
    for solution in solutions:
        yield solution[1:], solution[0]


def _logistic(
    x: EncodedRows, y: Array, weights: Array, decays: Sequence[float], outputs: int
) -> Iterator[tuple[Array, Array]]:
    """Yield the weights and biases of each penalty, with the least log loss."""
    start = np.zeros((outputs, x.shape[1] + 1))
    for solution, (mean, inverse) in _solutions(_of_classes, x, y, weights, decays, start):
        slopes = solution[:, 1:] * inverse
        yield slopes.T, solution[:, 0] - slopes @ mean


def _proportional(
    x: EncodedRows, y: Array, weights: Array, decays: Sequence[float], outputs: int
) -> Iterator[tuple[Array, Array]]:
    """Yield the same of hazards, whose logits have one slope; labels that are NaN are missing."""
    start = np.zeros(outputs + x.shape[1])  # biases, then slopes
    for solution, (mean, inverse) in _solutions(_of_hazards, x, y, weights, decays, start):
        slopes = solution[outputs:] * inverse
        yield np.tile(slopes[:, np.newaxis], outputs), solution[:outputs] - slopes @ mean


def _solutions(
    terms: Terms, x: EncodedRows, y: Array, weights: Array, decays: Sequence[float], start: Array
) -> Iterator[tuple[Array, tuple[Array, Array]]]:
    """Yield the solution of each penalty for standardised inputs, and the scale of these."""
    weights = weights / weights.sum()
    scale = _scale_of(x, weights)
    for decay in decays:  # the largest is first, each begins with the one before
        start = _newton(functools.partial(terms, x, scale, y, weights, decay), start)
        yield start, scale


def _scale_of(x: EncodedRows, weights: Array) -> tuple[Array, Array]:
    """Return the mean of each input, and one over its deviation."""
    mean, square = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for block, weight in _blocks(x, weights):
        mean, square = mean + weight @ block, square + weight @ block**2
    return mean, _inverse_deviations(square - mean**2)


def _newton(terms: Terms, start: Array) -> Array:
    """Return where a convex function is lowest, by Newton's method with halved steps.

    ``terms`` returns its value, gradient and matrix of second derivatives.
    """
    solution, lowest, step = start, math.inf, np.zeros_like(start)
    for _ in range(MOST_STEPS):
        tried = solution + step
        with np.errstate(over="ignore", invalid="ignore"):  # what is tried may be too far
            cost, gradient, matrix = terms(tried)
        if not cost <= lowest:  # nor is NaN
            step = step / 2
            if np.abs(step).max() < LEAST_STEP:
                break
            continue
        solution, lowest = tried, cost
        step = -np.linalg.solve(matrix, gradient.ravel()).reshape(gradient.shape)
        if np.abs(step).max() < LEAST_STEP:
            break
    return solution


def _of_classes(
    x: EncodedRows, scale: tuple[Array, Array], y: Array, weights: Array, decay: float, tried: Array
) -> tuple[float, Array, Array]:
    """Return the terms of a penalised softmax regression at a solution, (classes, 1 + inputs)."""
    mean, inverse = scale
    classes, columns = tried.shape
    penalty = np.full(columns, decay)
    penalty[0] = FIXED  # biases are free, but for a common part
    cost, gradient = 0.5 * float(np.sum(penalty * tried**2)), penalty * tried
    hessian = np.zeros((classes, columns, classes, columns))
    for block, labels, weight in _blocks(x, y, weights):
        z = np.column_stack([np.ones(len(block)), (block - mean) * inverse])
        scores = z @ tried.T
        scores -= scores.max(axis=1, keepdims=True)
        odds = np.exp(scores)
        totals = odds.sum(axis=1)
        p = odds / totals[:, np.newaxis]
        cost += float(weight @ (np.log(totals) - scores[np.arange(len(z)), labels]))
        gradient = gradient + (weight[:, np.newaxis] * (p - np.eye(classes)[labels])).T @ z
        for k in range(classes):
            for j in range(classes):
                curved = weight * p[:, k] * ((j == k) - p[:, j])
                hessian[k, :, j] += z.T @ (curved[:, np.newaxis] * z)
    matrix = hessian.reshape(classes * columns, -1)
    matrix[np.diag_indices_from(matrix)] += np.tile(penalty, classes)
    return cost, gradient, matrix


def _of_hazards(
    x: EncodedRows, scale: tuple[Array, Array], y: Array, weights: Array, decay: float, tried: Array
) -> tuple[float, Array, Array]:
    """Return the terms of penalised hazards at a solution, biases before the common slopes."""
    mean, inverse = scale
    count = y.shape[1]
    penalty = np.full(len(tried), decay)
    penalty[:count] = FIXED
    cost, gradient = 0.5 * float(np.sum(penalty * tried**2)), penalty * tried
    matrix = np.diag(penalty)
    for block, labels, weight in _blocks(x, y, weights):
        z = (block - mean) * inverse
        scores = (z @ tried[count:])[:, np.newaxis] + tried[:count]
        of_row = np.where(np.isnan(labels), 0.0, weight[:, np.newaxis])
        event = np.nan_to_num(labels)
        p = 1 / (1 + np.exp(-scores))
        cost += float(np.sum(of_row * (np.logaddexp(0.0, scores) - event * scores)))
        away, curved = of_row * (p - event), of_row * p * (1 - p)
        gradient = gradient + np.append(away.sum(axis=0), away.sum(axis=1) @ z)
        matrix[np.diag_indices(count)] += curved.sum(axis=0)
        matrix[:count, count:] += curved.T @ z
        matrix[count:, count:] += z.T @ (curved.sum(axis=1)[:, np.newaxis] * z)
    matrix[count:, :count] = matrix[:count, count:].T
    return cost, gradient, matrix
