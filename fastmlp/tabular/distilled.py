"""One network that says what all members say, for rows in a great hurry.

It learns their predictions of the user's rows, and of mixtures of these, as many as one likes.
Sources: Bucila, Caruana and Niculescu-Mizil 2006, "Model compression"; Hinton, Vinyals and Dean
2015, "Distilling the knowledge in a neural network" (arXiv:1503.02531).
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP
from fastmlp._network import losses
from fastmlp._network.optimizers import Adam
from fastmlp._network.schedules import OneCycle
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Columns, Table
from fastmlp.tabular.encoding import Encoding, encoder_of, with_missing
from fastmlp.tabular.members import TrainedMembers
from fastmlp.tabular.presets import Recipe, even
from fastmlp.tabular.targets import MultiLabelTarget, NumericTarget, TargetScale

Array = NDArray[Any]

STUDENT = Recipe(bins=8)
MIXTURES = 9  # of each row
CHANGED = 0.25  # of the values of a mixture, on average: they are those of another row
MOST_ROWS = 100_000  # with mixtures; of more rows, these, evenly spread
EPOCHS, BATCH = 60, 256
RATE = 3e-3


def distilled(columns: Columns, blend: Blend, table: Table, seed: int) -> Blend:
    """Return a blend of one network, which has learned from another blend.

    Parameters
    ----------
    columns : Columns
        Of the table.
    blend : Blend
        What is to be said.
    table : Table
        Rows like those to come.
    seed : int
        Of mixtures, first weights and the order of rows.
    """
    rng = np.random.default_rng(seed)
    table = table.take(np.arange(0, len(table), math.ceil(len(table) / MOST_ROWS)))
    everyone = np.arange(len(table))
    encoding = Encoding.of(table, columns, everyone, with_missing(table), STUDENT.bins)
    rows = _with_mixtures(table, rng)
    target, scale, loss, y = _lesson(blend, rows)
    x = encoder_of([encoding]).rows(rows.numbers, rows.codes)
    net = MLP(
        [x.shape[1], *[STUDENT.width] * STUDENT.depth, target.outputs],
        activation=target.activation,
        loss=loss,
        scale=True,
        rng=rng,
    )
    batch = even(len(x), BATCH)
    rate = OneCycle(RATE, n_steps=EPOCHS * math.ceil(len(x) / batch))
    net.fit(x, y, epochs=EPOCHS, batch_size=batch, optimizer=Adam(learning_rate=rate))
    return Blend([TrainedMembers(Ensemble([net]), [encoding], [scale], target)], np.ones(1))


def _with_mixtures(table: Table, rng: np.random.Generator) -> Table:
    """Return the rows, and mixtures of two: some values of the one in the place of the other's."""
    n = len(table)
    count = min(MIXTURES * n, max(MOST_ROWS - n, 0))
    one, other = rng.integers(0, n, (2, count))
    mixed = [
        np.where(rng.random((count, kind.shape[1])) < CHANGED, kind[other], kind[one])
        for kind in (table.numbers, table.codes)
    ]
    return Table(np.concatenate([table.numbers, mixed[0]]), np.concatenate([table.codes, mixed[1]]))


def _lesson(blend: Blend, rows: Table) -> tuple[Any, Any, Any, Array]:
    """Return the target, scale and loss of the network, and what it learns of the rows."""
    target = copy.copy(blend.groups[0].target)
    said = blend.predict(rows)[:, : target.outputs]
    if isinstance(
        target, NumericTarget
    ):  # whatever the loss was: a mean, a median or a rate is said
        target.name, target.loss = "squared_error", losses.SquaredError()
        centre, factor = said.mean(axis=0), said.std(axis=0)
        factor = np.where(factor > 0, factor, 1.0)
        scale = TargetScale(centre, factor, said.min(axis=0), said.max(axis=0))
        return target, scale, target.loss, ((said - centre) / factor).astype(np.float32)
    loss = (
        losses.BinaryCrossEntropy()
        if isinstance(target, MultiLabelTarget)
        else losses.CrossEntropy()
    )
    return target, None, loss, said.astype(np.float32)
