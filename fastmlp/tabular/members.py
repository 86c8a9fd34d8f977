"""The members of a fit: networks trained at the same time, each on its folds with its encoding."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastmlp
from fastmlp.tabular import folds
from fastmlp.tabular.columns import Columns, Table
from fastmlp.tabular.encoding import Encoding
from fastmlp.tabular.epochs import HeldOut, JointEpoch
from fastmlp.tabular.presets import (
    BETA_2,
    BIAS_RATE,
    MANY_ROWS,
    SCALE_RATE,
    Cycles,
    Preset,
    TimedCycles,
    batch_of,
    epochs_of,
)
from fastmlp.training.records import History

Array = NDArray[Any]
Rows = NDArray[np.int64]

ROWS_AT_A_TIME = 8_192  # of a prediction


@dataclass
class Request:
    """What a fit is asked for, besides its data.

    Attributes
    ----------
    preset : Preset
        What is trained.
    rng : numpy.random.Generator
        Of folds, first weights, orders.
    deadline : float or None
        Of ``time.monotonic``.
    scorer : callable or None
        See `JointEpoch`.
    n_threads : int or None
        Of ``Ensemble.fit``.
    callbacks : sequence of callables
        Of ``Ensemble.fit``.
    """

    preset: Preset
    rng: np.random.Generator
    deadline: float | None = None
    scorer: Callable[[Array], float] | None = None
    n_threads: int | None = None
    callbacks: Sequence[Any] = ()


class Members:
    """Trained networks with their encodings, which predict tables.

    Parameters
    ----------
    ensemble : fastmlp.Ensemble
        The networks.
    encodings : list of Encoding
        Of each.
    scales : list
        Of the target of each.
    target : Numbers or Classes
        Without rows: what decodes.
    """

    def __init__(
        self, ensemble: Any, encodings: list[Encoding], scales: list[Any], target: Any
    ) -> None:
        self.ensemble, self.encodings, self.scales = ensemble, encodings, scales
        self.target = target

    def of_one(self, k: int, table: Table) -> Array:
        """Return the predictions of one member, (n, columns), in the user's units."""
        z = self.ensemble[k].predict(self.encodings[k].inputs(table))
        return np.asarray(self.target.decode(self.scales[k], joined(z)))

    def each(self, table: Table) -> Array:
        """Return the predictions of every member, (members, n, columns)."""
        return np.stack([self.of_one(k, table) for k in range(len(self.ensemble))])

    def predict(self, table: Table) -> tuple[Array, Array]:
        """Return the prediction of all, (n, columns), and the deviation among them, (n, outputs)."""
        m = self.target.outputs
        means, spreads = [], []
        for at in range(0, max(len(table), 1), ROWS_AT_A_TIME):
            part = table.take(np.arange(at, min(at + ROWS_AT_A_TIME, len(table))))
            each = self.each(part)
            squares = np.mean(each[:, :, :m] ** 2, axis=0)
            means.append(self.target.mixed(each.mean(axis=0), squares))
            spreads.append(each[:, :, :m].std(axis=0))
        return np.concatenate(means), np.concatenate(spreads)


@dataclass
class Trained:
    """What training leaves behind.

    Attributes
    ----------
    members : Members
        At their joint epoch.
    held_out : HeldOut
        What members say of rows that they have not learned from.
    out : list of arrays of int
        Of each member, these rows.
    history : History
        Of the ensemble.
    curve : list of tuples
        See `JointEpoch`.
    epoch, epochs : int
        The one that was kept, of how many.
    notes : list of str
        What was done otherwise than the preset says.
    """

    members: Members
    held_out: HeldOut
    out: list[Rows]
    history: History
    curve: list[tuple[int, float, float, float]]
    epoch: int
    epochs: int
    notes: list[str]


def joined(prediction: Any) -> Array:
    """Return what a network predicts as one array: means, then variances if any."""
    if isinstance(prediction, tuple):
        return np.concatenate(prediction, axis=1)
    return np.asarray(prediction)


def divided(
    n: int, preset: Preset, rng: np.random.Generator, classes: Any, groups: Any
) -> tuple[list[Rows], list[Rows], list[str]]:
    """Return for each member the rows that it learns from, and those that it does not."""
    parts = n if groups is None else len(np.unique(groups))
    wanted, repeats = preset.folds, preset.repeats
    notes = []
    if n > MANY_ROWS:
        wanted = max(2, wanted // 2)
        notes.append(f"{wanted} folds instead of {preset.folds}, for there are {n:,} rows")
    k = min(wanted, parts)
    if k < wanted:
        what = "rows" if groups is None else "groups"
        notes.append(f"{k} folds instead of {wanted}, for there are {parts} {what}")
    if k < 2:
        raise ValueError(
            f"{n} row{'s' * (n > 1)} in {parts} groups were given but at least two groups are "
            "expected: members are judged on groups that they have not learned from"
        )
    learn, out = [], []
    for _ in range(repeats):
        fold = folds.assign(n, k, rng, classes, groups)
        for f in range(k):
            learn.append(np.flatnonzero(fold != f))
            out.append(np.flatnonzero(fold == f))
    return learn, out, notes


def train(
    table: Table,
    columns: Columns,
    target: Any,
    weights: Array | None,
    groups: Array | None,
    request: Request,
) -> Trained:
    """Train the members of one preset.

    Parameters
    ----------
    table : Table
        All rows.
    columns : Columns
        What they are.
    target : Numbers or Classes
        Of the rows.
    weights : array, shape (n,), or None
        All above 0.
    groups : array, shape (n,), or None
        Rows of one are held out together.
    request : Request
        What is asked for.
    """
    preset, n = request.preset, len(table)
    learn, out, notes = divided(n, preset, request.rng, target.classes, groups)
    with_missing = np.flatnonzero(np.isnan(table.numbers).any(axis=0))
    encodings = [Encoding.of(table, columns, rows, with_missing, preset.bins) for rows in learn]
    inputs = [encoding.inputs(table) for encoding in encodings]
    scales = [target.scale(rows, weights) for rows in learn]
    nets = [network(preset, inputs[0].shape[1], target, request.rng) for _ in learn]
    members = Members(fastmlp.Ensemble(nets), encodings, scales, target)

    rows = min(map(len, learn))
    batch, epochs = batch_of(rows), epochs_of(preset, n)
    rate, ended = _timed(target.rate, epochs * math.ceil(rows / batch), request.deadline)
    follow = JointEpoch(
        [x[rows] for x, rows in zip(inputs, out, strict=True)],
        out,
        lambda k, z: target.decode(scales[k], z),
        target,
        weights,
        request.scorer,
        ended,
    )
    history = members.ensemble.fit(
        inputs,
        [target.encode(scale) for scale in scales],
        rows=learn,
        epochs=epochs,
        batch_size=batch,
        optimizer=fastmlp.Adam(learning_rate=rate, beta_2=BETA_2),
        groups=fastmlp.Groups(parametrization="ntk", bias_rate=BIAS_RATE, scale_rate=SCALE_RATE),
        sample_weight=weights,
        callbacks=[follow, *request.callbacks],
        n_threads=request.n_threads,
    )
    run = len(history.loss)
    if run < epochs:
        notes.append(f"{run} epochs instead of {epochs}, for the time was over")
    return Trained(members, follow.held_out, out, history, follow.curve, follow.epoch, run, notes)


def network(preset: Preset, width: int, target: Any, rng: np.random.Generator) -> Any:
    """Return a network with the recipe's first weights: those of the output are 0."""
    own = np.random.default_rng(rng.integers(2**63))
    net = fastmlp.MLP(
        [width, *[preset.width] * preset.depth, target.outputs],
        activation=target.activation,
        loss=target.loss,
        scale=True,
        initializer=["lecun_normal"] * preset.depth + ["zeros"],
        rng=own,
    )
    for layer in range(preset.depth):
        net.biases[layer] = own.normal(size=preset.width)
    return net


def _timed(rate: float, n_steps: int, deadline: float | None) -> tuple[Cycles, Callable[[], bool]]:
    """Return the rates, and whether the time is over: about an epoch before it really is."""
    if deadline is None:
        return Cycles(rate, n_steps), lambda: False
    began = last = time.monotonic()
    longest = 0.0

    def passed() -> float:
        return (time.monotonic() - began) / max(deadline - began, 1e-9)

    def ended() -> bool:
        nonlocal last, longest
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        return now + longest >= deadline

    return TimedCycles(rate, n_steps, passed), ended
