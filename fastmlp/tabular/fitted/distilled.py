"""Distillation of a teacher into one network, for fast predictions of single rows.

The network is trained on the teacher's predictions for the user's rows and for mixtures of them.
Sources: Bucila, Caruana and Niculescu-Mizil 2006, "Model compression"; Hinton, Vinyals and Dean
2015, "Distilling the knowledge in a neural network" (arXiv:1503.02531).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.history import History
from fastmlp._models.mlp import model_of
from fastmlp._models.network import Network
from fastmlp._network.optimizers import Adam
from fastmlp._network.schedules import OneCycle
from fastmlp.tabular.fitted.fitted_table import FittedTable, HeldOut
from fastmlp.tabular.outcome.conformal import with_measured_sizes
from fastmlp.tabular.outcome.loss_rows import MEANS
from fastmlp.tabular.outcome.targets import NumericTarget
from fastmlp.tabular.plan.presets import BETA_2, MOST_PIECES, Recipe, even
from fastmlp.tabular.recipe import monotone
from fastmlp.tabular.recipe.blend import Blend
from fastmlp.tabular.recipe.members import GROUPS, Members, seconds_of_epoch, untrained
from fastmlp.tabular.table.columns import Array, Columns, RowIndex, Table, first_tied
from fastmlp.tabular.table.encoding import Encoding

if TYPE_CHECKING:
    from fastmlp.tabular.outcome.targets import Target

MIXTURES = 9  # mixtures per row
MAX_TRAINING_ROWS = 100_000  # most training rows, mixtures included; more rows are thinned evenly
EPOCHS, BATCH = 60, 256
MAX_STEPS = 24_000  # fewer epochs of long lessons
FEWEST_STEPS = 400  # a lesson whose work is limited takes at least these
RATE = 0.03


@dataclass(frozen=True)
class Course:
    """How a network learns from a teacher."""

    recipe: Recipe
    changed: float  # mean share of a mixture's values that come from another row
    rows_of_bin: int = 1  # fewer bins for fewer rows than these for each bin


# A network resembles other networks with few bins; trees have thresholds, for which it needs many,
# and say little far from all rows.
OF_NETWORKS = Course(Recipe(bins=8), changed=0.25)
OF_OTHERS = Course(Recipe(bins=256, width=64), changed=0.1, rows_of_bin=8)


def distilled(fitted: FittedTable, table: Table, seed: int) -> FittedTable:
    """Return a fitted table of one network, trained on the predictions of another for a table."""
    if fitted.target.loss.levels:
        raise ValueError(
            "a fit with loss='quantiles' cannot be distilled, since one network of means would not "
            "keep quantiles in order: use predictor()"
        )
    held_out, teachers = fitted.out_of_fold, fitted.blend.groups
    rng = np.random.default_rng(seed)
    table = table.take(np.arange(0, len(table), math.ceil(len(table) / MAX_TRAINING_ROWS)))
    n, width = len(table), table.numbers.shape[1] + table.codes.shape[1]
    tied = np.arange(width)
    tied[: table.numbers.shape[1]] = first_tied(table.numbers)
    count = min(MIXTURES * n, max(MAX_TRAINING_ROWS - n, 0))
    places = mixtures(np.arange(n), count, tied, OF_NETWORKS.changed, rng)
    rows = table.joined(fitted.columns.derive(_mixed(table, places)))
    lesson = Lesson(table, rows, fitted.predict(rows)[:, : fitted.target.outputs])
    columns, target = fitted.columns, fitted.target
    signs = monotone.signs_of(fitted.parameters["monotone"], columns, target)
    student, _ = taught(OF_NETWORKS, columns, target, signs, lesson, rng, teachers=teachers)
    return _of_student(fitted, held_out, student)


class Lesson(NamedTuple):
    """Rows and what is to be predicted for them."""

    measured: Table  # the inputs of the network are measured on these rows
    table: Table
    labels: Array  # (rows of the table, outputs)


class Limits(NamedTuple):
    """How much a network may read, on how many threads."""

    work: float = math.inf  # inputs times rows of batches
    seconds: float = math.inf
    n_threads: int | None = None


UNLIMITED = Limits()


def taught(
    course: Course,
    columns: Columns,
    target: Target,
    signs: Array | None,  # `monotone.signs_of` makes them
    lesson: Lesson,
    rng: np.random.Generator,
    limits: Limits = UNLIMITED,
    teachers: Sequence[Members] = (),
) -> tuple[Members, History]:
    """Return a network that has learned a lesson.

    Where one epoch takes longer than the limits allow, the lesson is thinned evenly. Where one of
    the ``teachers`` has a number that is not clipped, or no limit, the network has none either.
    """
    rows, (work, seconds, n_threads) = lesson.measured, limits
    bins = _bins(course, rows.numbers)
    unclipped = [place for group in teachers for place in group.encoding.unclipped.tolist()]
    encoding = Encoding.of(rows, columns, [np.arange(len(rows))], bins, unclipped)
    x = encoding.rows(lesson.table)
    width = x.shape[1]
    learned, scale, y = _learned(target, lesson.labels)
    if scale is not None:
        scale = scale.freed([group.scale for group in teachers if group.scale is not None])
    recipe = course.recipe
    if signs is not None:
        recipe = replace(recipe, activation=monotone.ACTIVATION)
    (network,) = untrained(recipe, width, learned, rng, 1)
    if signs is not None:
        monotone.constrain(network, encoding.directions(signs), learned.directions)
    if math.isfinite(seconds):
        epoch = seconds_of_epoch(recipe, width, learned, len(x), 1, n_threads)
        work = max(len(x) * width * seconds / epoch, FEWEST_STEPS * BATCH * width)
        step = math.ceil(len(x) * width / work)
        if step > 1:
            x, y = encoding.rows(lesson.table.take(np.arange(0, len(x), step))), y[::step]
    batch = even(len(x), BATCH)
    steps = math.ceil(len(x) / batch)
    most = min(MAX_STEPS, max(FEWEST_STEPS, work / (batch * width)))
    epochs = min(EPOCHS, math.ceil(most / steps))
    history = model_of(network).fit(
        x,
        y,
        epochs=epochs,
        batch_size=batch,
        optimizer=Adam(learning_rate=OneCycle(RATE, n_steps=epochs * steps), beta_2=BETA_2),
        groups=GROUPS,
        n_threads=n_threads,
    )
    target = _lasting(target, learned)
    spec = replace(network.spec, loss=target.loss)
    student = Network.of(spec, network.engine.parameters(), rng)
    return Members([student], encoding, scale, target), history


def _bins(course: Course, numbers: Array) -> NDArray[np.int64]:
    """Return how many bins each column needs: fewer if it has few different values.

    A column that always rises or falls with an earlier one needs none.
    """
    of_columns, of_rows = (
        MOST_PIECES // max(numbers.shape[1], 1),
        len(numbers) // course.rows_of_bin,
    )
    most = min(course.recipe.bins, of_columns, of_rows)
    distinct = [len(np.unique(column[~np.isnan(column)])) for column in numbers.T]
    is_first = first_tied(numbers) == np.arange(len(distinct))
    return np.where(is_first, np.clip(np.array(distinct, np.int64) - 1, 0, most), 0)


def _of_student(fitted: FittedTable, held_out: HeldOut, student: Members) -> FittedTable:
    """Return a fitted table in which one network predicts in place of all members."""
    outputs, weights = held_out.predictions, held_out.weights
    m = student.target.outputs
    rows = np.arange(len(outputs)) if weights is None else np.flatnonzero(weights)
    calibration: Any = fitted.calibration
    if outputs.shape[1] > m:  # the others are variances, which the network does not predict
        residuals = [
            with_measured_sizes(r, outputs[:, k], np.sqrt(outputs[:, m + k]), weights)
            for k, r in enumerate(calibration.residuals)
        ]
        calibration = replace(calibration, residuals=tuple(residuals))
    report, inputs = fitted.facts.report, student.spec.layer_sizes[0]
    note = f"distilled: one network of {inputs} inputs predicts in place of these"
    report = replace(report, notes=[*report.notes, note])
    rows_of_fit = fitted.rows
    if rows_of_fit is not None:
        table, target = rows_of_fit
        rows_of_fit = table, student.target.with_rows(target.y)
    return replace(
        fitted,
        blend=Blend([student], np.ones(1)),
        calibration=calibration,
        held_out=replace(held_out, predictions=outputs[:, :m], rows=[rows]),
        facts=replace(fitted.facts, report=report, curve=[]),
        importance=None,
        rows=rows_of_fit,
    )


def mixtures(
    rows: RowIndex,
    count: int,
    tied: Array,  # the first column that comes from the same row as each column
    changed: float,
    rng: np.random.Generator,
    shares: Array | None = None,
) -> NDArray[np.int32]:
    """Return mixtures of pairs of rows: for each value, (count, columns), the row it comes from.

    At least one value comes from the other row. Rows are drawn in proportion to their shares.
    """
    one, other = rng.choice(rows.astype(np.int32), (2, count), p=shares)
    groups, of_columns = np.unique(tied, return_inverse=True)
    is_other = rng.random((count, len(groups))) < changed
    is_other[np.arange(count), rng.integers(0, len(groups), count)] = True
    is_other = is_other[:, of_columns]
    return np.asarray(np.where(is_other, other[:, np.newaxis], one[:, np.newaxis]), np.int32)


def _mixed(table: Table, places: NDArray[np.int32]) -> Table:
    """Return mixtures of the rows of a table."""
    at = np.arange(places.shape[1])
    numbers, codes = np.split(at, [table.numbers.shape[1]])
    of_numbers = table.numbers[places[:, numbers], numbers]
    return Table(of_numbers, table.codes[places[:, codes], codes - len(numbers)])


def _learned(target: Target, labels: Array) -> tuple[Any, Any, Array]:
    """Return the target and scale of a network, and the labels as it learns them."""
    everyone = [np.arange(len(labels))]
    if not isinstance(target, NumericTarget):
        scale = target.scale(everyone, None)
        target = replace(target, loss=type(target.loss)())  # labels are smooth already
        if scale is not None:  # the weights of classes, which `Members` divides out again
            labels = labels / scale.factor
            labels /= labels.sum(axis=1, keepdims=True)
        return target, scale, labels.astype(np.float32)
    # Labels are means, medians or rates, so the loss need not be that of the members.
    target = NumericTarget.of(labels, MEANS)
    scale = target.scale(everyone, None)
    return target, scale, target.encode(scale, 0)


def _lasting(target: Target, learned: Any) -> Target:
    """Return the target of `partial_fit`, which learns the user's targets, without rows."""
    if isinstance(target, NumericTarget) and target.row.distills_to_means:
        target = replace(learned, unit=target.unit)
    return target.with_rows(None)
