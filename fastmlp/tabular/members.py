"""Members of one recipe: networks trained at the same time, each on its folds and encoding."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.history import History
from fastmlp._engine.thread_count import default_threads
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP
from fastmlp._network.groups import Groups
from fastmlp._network.optimizers import Adam, AdamW, Optimizer
from fastmlp.tabular import presets
from fastmlp.tabular.columns import Table
from fastmlp.tabular.conformal import MOST_ROWS
from fastmlp.tabular.encoding import Encoding, encoder_of, with_missing
from fastmlp.tabular.epoch_selection import BestEpochSelector, OutOfFold
from fastmlp.tabular.folds import FitRows, Splits
from fastmlp.tabular.presets import Preset, Recipe, batch_of, epochs_of
from fastmlp.tabular.progress import Clock
from fastmlp.tabular.rows import Encoder

Array = NDArray[Any]

ROWS_AT_A_TIME = 8_192  # rows per call, which limits the memory of a prediction
INTERRUPTED = "the user interrupted it"
TRIALS = 3  # trials, of which the median counts
BATCHES = 3  # batches per trial, so that overhead per epoch is small
# Learning rates by kind of parameter.
GROUPS = Groups(
    parametrization="ntk",
    bias_rate=presets.BIAS_RATE,
    scale_rate=presets.SCALE_RATE,
    activation_rate=presets.ACTIVATION_RATE,
)


@dataclass
class FitOptions:
    """The options of a fit."""

    preset: Preset
    rng: np.random.Generator
    deadline: float | None = None  # of ``time.monotonic``
    scorer: Callable[[Array], float] | None = None  # see `BestEpochSelector`
    n_threads: int | None = None
    callbacks: Sequence[Any] = ()  # one that returns True ends the fit of all recipes
    verbose: bool = False
    communicator: Any = None  # the messages to other processes that train with this one


@dataclass(eq=False)
class TrainedMembers:
    """Trained networks, each with its encoding and scale of the target, which predict tables."""

    ensemble: Any
    encodings: list[Encoding]
    scales: list[Any]
    target: Any  # without rows: it decodes the networks' outputs

    def of_one(self, k: int, table: Table) -> Array:
        """Return the predictions of one member, (n, columns), in the user's units."""
        return self._said(k, encoder_of(self.encodings), table)

    def each(self, table: Table) -> Array:
        """Return the predictions of every member, (members, n, columns)."""
        encoder, members = encoder_of(self.encodings), range(len(self.ensemble))
        return np.stack([self._said(k, encoder, table) for k in members])

    def _said(self, k: int, encoder: Encoder, table: Table) -> Array:
        z = self.ensemble[k].predict(encoder.rows(table.numbers, table.codes, k))
        whole = np.concatenate(z, axis=1) if isinstance(z, tuple) else z  # means, then variances
        return np.asarray(self.target.decode(self.scales[k], whole))

    def predict(self, table: Table) -> Array:
        """Return the joint prediction of all members, (n, columns)."""
        found = []
        for at in range(0, max(len(table), 1), ROWS_AT_A_TIME):
            part = table.take(np.arange(at, min(at + ROWS_AT_A_TIME, len(table))))
            found.append(mixed(self.target, self.each(part)))
        return np.concatenate(found)


def mixed(target: Any, each: Array) -> Array:
    """Return the joint prediction from those of every member, (members, n, columns)."""
    mean, m = _summed(each) / len(each), target.outputs
    if mean.shape[1] == m:  # means only: no variances to add the spread to
        return np.asarray(mean)
    away = each[:, :, :m] - mean[:, :m]
    return np.asarray(target.mixed(mean, _summed(away * away) / len(each)))


def _summed(each: Array) -> Array:
    """Return the sum over members, added in their order for any number of rows."""
    if each[0].size == 1:  # NumPy's reduce would add single numbers in pairs
        return np.asarray(np.add.accumulate(each, axis=0)[-1])
    return np.asarray(np.add.reduce(each, axis=0))


@dataclass
class TrainingResult:
    """The result of training one recipe."""

    recipe: Recipe
    members: TrainedMembers  # with the weights of the best joint epoch
    held_out: OutOfFold
    history: History
    curve: list[tuple[int, float, float, float]]  # see `BestEpochSelector`
    epoch: int  # the best one, from 1
    planned: int  # number of epochs
    why: str  # the reason for fewer epochs
    stopped: str  # the reason why no other recipe is trained: an interrupt or a callback
    pace: float  # see `pace_of`

    @property
    def run(self) -> int:
        """The number of epochs that were run."""
        return len(self.history.loss)


def network(recipe: Recipe, width: int, target: Any, rng: np.random.Generator) -> Any:
    """Return a network with the recipe's initial weights; those of the output layer are 0."""
    own = np.random.default_rng(rng.integers(2**63))
    net = MLP(
        [width, *[recipe.width] * recipe.depth, target.outputs],
        activation=recipe.activation or target.activation,
        loss=target.loss,
        scale=True,
        parametric=recipe.parametric,
        initializer=["lecun_normal"] * recipe.depth + ["zeros"],
        rng=own,
    )
    for layer in range(recipe.depth):
        net.biases[layer] = own.normal(size=recipe.width)
    return net


def turns(members: int, n_threads: int | None) -> float:
    """Return how many members each thread trains, at least 1."""
    return max(members / (n_threads or default_threads()), 1.0)


def pace_of(history: History, rows: int, members: int, n_threads: int | None) -> float:
    """Return the seconds in which a thread trains a member on one row."""
    return median(history.seconds) / (rows * turns(members, n_threads))


def seconds_of_epoch(
    recipe: Recipe,
    width: int,
    target: Any,
    rows: int,
    members: int,
    n_threads: int | None,
    before: Sequence[TrainingResult] = (),
) -> float:
    """Estimate the seconds per epoch: by an earlier training of the recipe, else by a trial.

    A trial takes a few batches with one member per thread. Other programs slow it down by chance.
    """
    work = rows * turns(members, n_threads)
    if known := [each.pace for each in before if each.recipe == recipe]:
        return known[0] * work
    batch, rng = batch_of(rows), np.random.default_rng(0)
    tried = min(BATCHES * batch, rows, len(target.y))
    some = min(members, n_threads or default_threads())
    ensemble = Ensemble(network(recipe, width, target, rng) for _ in range(some))
    history = ensemble.fit(
        rng.normal(size=(tried, width)).astype(np.float32),
        target.encode(target.scale(np.arange(tried), None))[:tried],
        epochs=TRIALS,
        batch_size=batch,
        optimizer=Adam(learning_rate=1e-6, beta_2=presets.BETA_2),
        groups=GROUPS,
        n_threads=n_threads,
    )
    return pace_of(history, tried, some, n_threads) * work


def train(
    recipe: Recipe, data: FitRows, division: Splits, request: FitOptions, epoch: float = 0.0
) -> TrainingResult:
    """Train the members of one recipe; ``epoch`` is its estimated time if the time is limited."""
    table, columns, target, weights = data.table, data.columns, data.target, data.weights
    learn, out, n = division.learn, division.out, len(table)
    missing = with_missing(table)
    encodings = [Encoding.of(table, columns, rows, missing, recipe.bins) for rows in learn]
    encoder = encoder_of(encodings)
    inputs = [encoder.rows(table.numbers, table.codes, k) for k in range(len(learn))]
    scales = [target.scale(rows, weights) for rows in learn]
    nets = [network(recipe, inputs[0].shape[1], target, request.rng) for _ in learn]
    members = TrainedMembers(Ensemble(nets), encodings, scales, target)

    batch, epochs = batch_of(max(map(len, learn))), epochs_of(request.preset, recipe, n)
    steps = epochs * math.ceil(min(map(len, learn)) / batch)
    after = presets.AFTER[target.kind] * min(1.0, 2 * MOST_ROWS / n)
    clock = Clock(request.deadline, epoch=epoch, after=after)
    preset = request.preset
    rate = presets.Cycles(target.rate * recipe.rate, steps, clock, preset.cycles)
    optimizer: Optimizer = Adam(learning_rate=rate, beta_2=presets.BETA_2)
    if recipe.decay:
        decay = presets.FlatCosine(recipe.decay, steps)
        optimizer = AdamW(learning_rate=rate, beta_2=presets.BETA_2, weight_decay=decay)
    follow = BestEpochSelector(
        [x[rows] for x, rows in zip(inputs, out, strict=True)],
        out,
        scales,
        target,
        weights,
        request.scorer,
        clock,
        hopeless=target.hopeless if recipe.share == 1 else math.inf,
        cycles=preset.cycles,
        measures=bool(preset.trial_folds),
        every=int(sum(map(len, out)) / (presets.LOOKS * presets.TRAINING * sum(map(len, learn)))),
    )
    stopped = ""
    try:
        members.ensemble.fit(
            inputs,
            [target.encode(scale) for scale in scales],
            rows=learn,
            epochs=epochs,
            batch_size=batch,
            optimizer=optimizer,
            dropout=presets.FlatCosine(recipe.dropout, steps) if recipe.dropout else None,
            groups=GROUPS,
            sample_weight=weights,
            callbacks=[follow, *request.callbacks],
            n_threads=request.n_threads,
            communicator=request.communicator,
        )
    except KeyboardInterrupt:
        if not follow.restored:
            raise
        stopped = members.ensemble.history.stop_reason = INTERRUPTED
    for member in members.ensemble:
        member._progress = None  # pickles need no optimizer state
    members.ensemble = copy.deepcopy(members.ensemble)  # without the buffers of training
    history: History = members.ensemble.history
    if history.stop_reason == f"{type(follow).__name__} returned True":
        history.stop_reason = follow.why
    if history.stop_reason != follow.why:
        stopped = history.stop_reason
    if follow.best == math.inf:
        raise ValueError(
            f"the fit was ended before its first score ({stopped}), so it has no result: end it "
            "once state.val_loss is a number"
            if stopped
            else "no epoch has a score that is a finite number: mend scoring, or rescale X and y"
        )
    found, why = (follow.held_out, history, follow.curve, follow.epoch), stopped or follow.why
    pace = pace_of(history, max(map(len, learn)), len(learn), request.n_threads)
    return TrainingResult(recipe, members, *found, epochs, why, stopped, pace)
