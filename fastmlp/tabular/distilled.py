"""Distillation of an ensemble into one network, for fast predictions of single rows.

The network is trained on the ensemble's predictions for the user's rows and for mixtures of them.
Sources: Bucila, Caruana and Niculescu-Mizil 2006, "Model compression"; Hinton, Vinyals and Dean
2015, "Distilling the knowledge in a neural network" (arXiv:1503.02531).
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np

from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP
from fastmlp._network.optimizers import Adam
from fastmlp._network.schedules import OneCycle
from fastmlp.tabular import monotone
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Array, Table
from fastmlp.tabular.conformal import with_measured_sizes
from fastmlp.tabular.encoding import Encoding, with_missing
from fastmlp.tabular.fitted_table import FittedTable
from fastmlp.tabular.members import Members
from fastmlp.tabular.presets import Recipe, even
from fastmlp.tabular.targets import NumericTarget, TargetScale, with_rows

STUDENT = Recipe(bins=8)
MIXTURES = 9  # mixtures per row
CHANGED = 0.25  # mean share of a mixture's values that come from another row
MAX_TRAINING_ROWS = 100_000  # most training rows, mixtures included; more rows are thinned evenly
EPOCHS, BATCH = 60, 256
RATE = 3e-3
MEANS = "squared_error"  # the loss of a network that learns numbers


def distilled(fitted: FittedTable, table: Table, seed: int) -> FittedTable:
    """Return a fitted table of one network, trained on the predictions of another for a table."""
    rng = np.random.default_rng(seed)
    table = table.take(np.arange(0, len(table), math.ceil(len(table) / MAX_TRAINING_ROWS)))
    everyone = [np.arange(len(table))]
    columns = fitted.columns
    missing = with_missing(columns, table)
    encoding = Encoding.of(table, columns, everyone, missing, STUDENT.bins)
    rows = columns.derive(_with_mixtures(table, rng))
    target, scale, loss, y = _lesson(fitted.blend, rows)
    x = encoding.rows(rows)
    signs = monotone.signs_of(fitted.parameters["monotone"], fitted.columns, target)
    net = MLP(
        [x.shape[1], *[STUDENT.width] * STUDENT.depth, target.outputs],
        activation=target.activation if signs is None else monotone.ACTIVATION,
        loss=loss,
        scale=True,
        rng=rng,
    )
    if signs is not None:
        monotone.constrain(net, encoding.directions(signs), target.directions)
    batch = even(len(x), BATCH)
    rate = OneCycle(RATE, n_steps=EPOCHS * math.ceil(len(x) / batch))
    net.fit(x, y, epochs=EPOCHS, batch_size=batch, optimizer=Adam(learning_rate=rate))
    student = Members(Ensemble([net]), encoding, scale, with_rows(target, None))
    return _of_student(fitted, student)


def _of_student(fitted: FittedTable, student: Members) -> FittedTable:
    """Return a fitted table in which one network predicts in place of all members."""
    outputs, weights = fitted.held_out.predictions, fitted.held_out.weights
    m = student.target.outputs
    rows = np.arange(len(outputs)) if weights is None else np.flatnonzero(weights)
    calibration: Any = fitted.calibration
    if outputs.shape[1] > m:  # with variances, which the network does not predict
        residuals = [
            with_measured_sizes(r, outputs[:, k], np.sqrt(outputs[:, m + k]), weights)
            for k, r in enumerate(calibration.residuals)
        ]
        calibration = replace(calibration, residuals=tuple(residuals))
    report, inputs = fitted.facts.report, student.ensemble[0].layer_sizes[0]
    note = f"distilled: one network of {inputs} inputs predicts in place of these"
    report = replace(report, notes=[*report.notes, note])
    rows_of_fit = fitted.rows
    if student.scale and rows_of_fit is not None:  # numbers
        table, target = rows_of_fit
        rows_of_fit = table, NumericTarget(target.y, MEANS)
    return replace(
        fitted,
        blend=Blend([student], np.ones(1)),
        calibration=calibration,
        held_out=replace(fitted.held_out, predictions=outputs[:, :m], rows=[rows]),
        facts=replace(fitted.facts, report=report, curve=[]),
        importance=None,
        rows=rows_of_fit,
    )


def _with_mixtures(table: Table, rng: np.random.Generator) -> Table:
    """Return the rows followed by mixtures of pairs: random values of one row replace another's."""
    n = len(table)
    count = min(MIXTURES * n, max(MAX_TRAINING_ROWS - n, 0))
    one, other = rng.integers(0, n, (2, count))
    mixed = [
        np.where(rng.random((count, kind.shape[1])) < CHANGED, kind[other], kind[one])
        for kind in (table.numbers, table.codes)
    ]
    return Table(np.concatenate([table.numbers, mixed[0]]), np.concatenate([table.codes, mixed[1]]))


def _lesson(blend: Blend, rows: Table) -> tuple[Any, Any, Any, Array]:
    """Return target, scale and loss of the network, and the predictions that it learns."""
    target = copy.copy(blend.groups[0].target)
    y = blend.predict(rows)[:, : target.outputs]
    if not isinstance(target, NumericTarget):
        return target, None, type(target.loss)(), y.astype(np.float32)
    # Predictions are means, medians or rates, so the loss need not be that of the members.
    target = NumericTarget(y, MEANS)
    centre, factor = y.mean(axis=0), y.std(axis=0)
    factor = np.where(factor > 0, factor, 1.0)
    measured = centre, factor, y.min(axis=0), y.max(axis=0)
    scale = TargetScale(*(array[np.newaxis] for array in measured))
    return target, scale, target.loss, ((y - centre) / factor).astype(np.float32)
