"""Members of one recipe: networks trained at the same time, each on its folds and encoding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.history import History
from fastmlp._engine.native import FEW_ROWS, predict_each
from fastmlp._engine.optimizer_state import OptimizerState
from fastmlp._engine.thread_count import call_team, default_threads
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import model_of
from fastmlp._models.network import Network
from fastmlp._network import initializers
from fastmlp._network.groups import Groups
from fastmlp._network.optimizers import Adam, AdamW, Optimizer
from fastmlp._network.spec import Spec, build
from fastmlp.tabular.outcome.conformal import MAX_TAIL_ROWS
from fastmlp.tabular.outcome.targets import Target, TargetScale
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.folds import FitRows, Splits
from fastmlp.tabular.plan.presets import Preset, Recipe, batch_of, epochs_of
from fastmlp.tabular.plan.progress import Clock
from fastmlp.tabular.recipe import embedding, monotone
from fastmlp.tabular.recipe.epoch_selection import BestEpochSelector, OutOfFold
from fastmlp.tabular.table.columns import RowIndex, Table
from fastmlp.tabular.table.encoding import Encoding
from fastmlp.tabular.table.rows import Joint

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
class TrainingOptions:
    """What the training of recipes has from the fit: its preset for a stage, time and callbacks."""

    preset: Preset
    rng: np.random.Generator
    deadline: float | None = None  # ``time.monotonic`` counts to it
    scorer: Callable[[Array], float] | None = None  # see `BestEpochSelector`
    n_threads: int | None = None
    callbacks: Sequence[Any] = ()  # one that returns True ends the fit of all recipes
    verbose: bool = False


@dataclass(eq=False, frozen=True)
class Members:
    """Trained networks that predict tables; the first axis of all arrays is the member."""

    networks: Sequence[Network]  # all have one shape
    encoding: Encoding
    scale: TargetScale | None  # None for classes
    target: Any  # it has no rows: it decodes the networks' outputs
    optimizers: Sequence[OptimizerState] = ()  # one a network, after a `partial_fit`

    def __post_init__(self) -> None:
        """Raise ValueError for scales that no target has."""
        if self.scale is None:
            return
        if self.scale.factor.min() <= 0:
            raise ValueError("the scales of the targets have a factor that is not above 0")
        low, high = self.scale.low, self.scale.high
        if not np.all((low <= high) & (low < np.inf) & (high > -np.inf)):
            raise ValueError("the scales of the targets have limits in the wrong order")

    def __len__(self) -> int:
        return len(self.networks)

    @property
    def spec(self) -> Spec:
        """The description of each network."""
        return self.networks[0].spec

    @property
    def is_linear(self) -> bool:
        """Whether these are networks without hidden layers, see `linear`."""
        return len(self.spec.layer_sizes) == 2

    def predict_one(self, member: int, table: Table) -> Array:
        """Return the predictions of one member, (n, columns), in the user's units."""
        return np.asarray(self.target.decode(self.scale, *self._outputs([member], table), member))

    def _outputs(self, members: Sequence[int], table: Table) -> list[Array]:
        """Return the outputs of networks, (n, columns) each: means, then variances if any."""
        engines = self.engines()
        with call_team(engines[0].spec.n_weights, len(table)) as team:
            return [engines[m].predict(self.encoding.rows(table, m), team) for m in members]

    def engines(self) -> list[Any]:
        """Return the engine of each member."""
        return [network.engine for network in self.networks]

    def predict(self, table: Table) -> Array:
        """Return the joint prediction of all members, (n, columns)."""
        if 0 < len(table) <= FEW_ROWS:
            rows, predict = zip(table.numbers, table.codes, strict=True), self.of_row()
            return np.concatenate([predict(*row) for row in rows])
        blocks = []
        for at in range(0, max(len(table), 1), ROWS_AT_A_TIME):
            block = table.take(slice(at, at + ROWS_AT_A_TIME))
            blocks.append(self.joint(np.stack(self._outputs(range(len(self)), block))))
        return np.concatenate(blocks)

    def of_row(self) -> Callable[[Array, Array], Array]:
        """Return the function from a row to its joint prediction, with the bits of `predict`.

        It takes numbers and codes, and returns (1, columns); these members must not change.
        """
        engines, encode, joint = self.engines(), self.encoding.encoder, self._joint()

        def predict(numbers: Array, codes: Array) -> Array:
            return joint(predict_each(engines, encode(numbers, codes)))

        return predict

    def joint(self, z: Array) -> Array:
        """Return the joint prediction, (n, columns), from outputs, (members, n, columns).

        It is the mean of the members' predictions in the user's units, and has the same bits for
        any n. Variances contain that of the means.
        """
        return self._joint()(z)

    def _joint(self) -> Joint:
        return Joint(self.scale, self.target.outputs, self.target.sums_to_one)

    def tangents(self, engines: list[Any], numbers: Array, codes: Array) -> tuple[Array, Array]:
        """Return each member's outputs for a row, and their derivatives by each number.

        They are (members, columns) and (numbers, members, columns). The engines are frozen ones.
        """
        inputs = self.encoding.encoder(numbers, codes)
        jacobians = [
            engine.jacobian(row[np.newaxis])[0] for engine, row in zip(engines, inputs, strict=True)
        ]
        slopes = self.encoding.slopes(numbers)
        tangents = np.einsum("mcw,mwk->kmc", np.stack(jacobians).astype(np.float64), slopes)
        return predict_each(self.engines(), inputs), tangents

    def of_first(self, members: int) -> Members:
        """Return the first members."""
        if len(self) == members:
            return self
        scale = self.scale and TargetScale(*(array[:members] for array in self.scale))
        encoding = self.encoding.of_first(members)
        return Members(self.networks[:members], encoding, scale, self.target)

    def published(self) -> Members:
        """Return members for predictions alone, without optimizers and buffers of training."""
        networks = tuple(network.frozen() for network in self.networks)
        for network in networks:
            network.keep(None)
        return replace(self, networks=networks)


@dataclass(frozen=True)
class TrainingResult:
    """The result of training one recipe; the defaults are those of a training without choices."""

    recipe: Recipe
    members: Members  # they have the weights of the best joint epoch
    held_out: OutOfFold
    history: History
    # See `BestEpochSelector`.
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)
    epoch: int = 0  # the best one, from 1
    share: float = 1.0  # the part of the schedule that was over at this epoch
    planned: int = 0  # number of epochs
    why: str = ""  # the reason for fewer epochs
    stopped: str = ""  # the reason why no other recipe is trained: an interrupt or a callback
    pace: float = 0.0  # see `pace_of`
    is_steep: bool = False  # see `CycleEnds`

    @property
    def run(self) -> int:
        """The number of epochs that were run."""
        return len(self.history.loss)


def untrained(
    recipe: Recipe, width: int, target: Target, rng: np.random.Generator, count: int
) -> list[Network]:
    """Return networks with the recipe's initial weights; those of the output layer are 0."""
    sizes = recipe.sizes(width)
    spec = build(
        [*sizes, target.outputs // max(1, len(target.loss.levels))],
        activation=recipe.activation or presets.ACTIVATION[target.kind],
        loss=target.loss,
        scale=True,
        parametric=recipe.parametric,
    )
    initializer = ["lecun_normal"] * (len(sizes) - 1) + ["zeros"]
    networks = []
    for _ in range(count):
        rng_of_network = np.random.default_rng(rng.integers(2**63))
        parameters = initializers.draw(spec, rng_of_network, initializer)
        for biases in dict(zip(spec.tensors, parameters, strict=True))["biases"][:-1]:
            biases[:] = rng_of_network.normal(size=len(biases))
        networks.append(Network.of(spec, parameters, rng_of_network))
    return networks


def ensemble_of(networks: Sequence[Network]) -> Ensemble:
    """Return an ensemble that trains networks."""
    return Ensemble(map(model_of, networks))


def members_per_thread(members: int, n_threads: int | None) -> float:
    """Return how many members each thread trains, at least 1."""
    return max(members / (n_threads or default_threads()), 1.0)


def pace_of(history: History, rows: int, members: int, n_threads: int | None) -> float:
    """Return the seconds in which a thread trains a member on one row."""
    return median(history.seconds) / (rows * members_per_thread(members, n_threads))


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
    work = rows * members_per_thread(members, n_threads)
    if paces := [result.pace for result in before if result.recipe == recipe]:
        return paces[0] * work
    batch, rng = batch_of(rows), np.random.default_rng(0)
    tried_rows = min(BATCHES * batch, rows, len(target.y))
    tried_members = min(members, n_threads or default_threads())
    history = ensemble_of(untrained(recipe, width, target, rng, tried_members)).fit(
        rng.normal(size=(tried_rows, width)).astype(np.float32),
        target.encode(target.scale([np.arange(tried_rows)], None), 0)[:tried_rows],
        epochs=TRIALS,
        batch_size=batch,
        optimizer=Adam(learning_rate=1e-6, beta_2=presets.BETA_2),
        groups=GROUPS,
        n_threads=n_threads,
    )
    return pace_of(history, tried_rows, tried_members, n_threads) * work


@dataclass(eq=False)
class Learners:
    """New members of one recipe, and the rows that each learns from."""

    recipe: Recipe
    data: FitRows
    learn: Sequence[RowIndex]
    options: TrainingOptions

    def __post_init__(self) -> None:
        recipe, data, learn = self.recipe, self.data, self.learn
        table, columns, target = data.table, data.columns, data.target
        encoding = Encoding.of(table, columns, learn, recipe.bins)
        self.inputs = [encoding.rows(table, member) for member in range(len(learn))]
        scale, width = target.scale(learn, data.weights.training), self.inputs[0].shape[1]
        networks = untrained(recipe, width, target, self.options.rng, len(learn))
        if recipe.embedding:
            for network in networks:
                embedding.begin(network, encoding.columns)
        if data.signs is not None:
            directions = encoding.directions(data.signs)
            for network in networks:
                monotone.constrain(network, directions, target.directions)
        self.members = Members(networks, encoding, scale, target)
        self.ensemble = ensemble_of(networks)

    def fit(self, epochs: int, callbacks: Sequence[Any], **schedule: Any) -> None:
        """Train members; dropout and decay fall during the steps of the rate."""
        recipe, data, members = self.recipe, self.data, self.members
        preset, rate = self.options.preset, data.target.row.rate * recipe.rate
        rate = presets.Cycles(rate, cycles=preset.cycles, first=preset.first_cycle, **schedule)
        optimizer: Optimizer = Adam(learning_rate=rate, beta_2=presets.BETA_2)
        if recipe.decay:
            decay = presets.FlatCosine(recipe.decay, rate.n_steps)
            optimizer = AdamW(learning_rate=rate, beta_2=presets.BETA_2, weight_decay=decay)
        dropout = presets.FlatCosine(recipe.dropout, rate.n_steps) if recipe.dropout else None
        self.ensemble.fit(
            self.inputs,
            [data.target.encode(members.scale, member) for member in range(len(self.learn))],
            rows=self.learn,
            epochs=epochs,
            batch_size=batch_of(max(map(len, self.learn))),
            optimizer=optimizer,
            dropout=dropout,
            groups=GROUPS,
            sample_weight=data.weights.training,
            callbacks=callbacks,
            n_threads=self.options.n_threads,
        )


def train(
    recipe: Recipe,
    data: FitRows,
    division: Splits,
    options: TrainingOptions,
    epoch_seconds: float = 0.0,
) -> TrainingResult:
    """Train the members of one recipe; ``epoch_seconds`` is an estimate, if time is limited."""
    learn, n = division.learn, len(data.table)
    learners, stopped = Learners(recipe, data, learn, options), ""
    members, epochs = learners.members, epochs_of(options.preset, recipe, n)
    after = presets.TIME_AFTER[data.target.kind] * min(1.0, 2 * MAX_TAIL_ROWS / n)
    clock = Clock(options.deadline, epoch=epoch_seconds, after=after)
    selector = BestEpochSelector(learners, division.out, clock)
    try:
        learners.fit(epochs, [selector, *options.callbacks], clock=clock)
    except KeyboardInterrupt:
        if not selector.restored:
            raise
        stopped = INTERRUPTED
    history = learners.ensemble.history
    assert history is not None
    if stopped:
        history.stop_reason = stopped
    if history.stop_reason == f"{type(selector).__name__} returned True":
        history.stop_reason = selector.why
    if history.stop_reason != selector.why:
        stopped = history.stop_reason
    best = selector.best
    if best.cost == math.inf:
        raise ValueError(
            f"the fit was ended before its first score ({stopped}), so it has no result: end it "
            "once state.val_loss is a number"
            if stopped
            else "no epoch has a score that is a finite number: mend scoring, or rescale X and y"
        )
    return TrainingResult(
        recipe,
        members.published(),
        best.held_out,
        history,
        selector.curve,
        epoch=best.epoch,
        share=best.share,
        planned=epochs,
        why=stopped or selector.why,
        stopped=stopped,
        pace=pace_of(history, max(map(len, learn)), len(learn), options.n_threads),
        is_steep=selector.cycles.is_steep(best),
    )


def trained_again(
    result: TrainingResult, data: FitRows, count: int, options: TrainingOptions
) -> TrainingResult:
    """Train ``count`` new networks of a recipe on all rows, up to the epoch that was best."""
    n = len(data.table)
    learners = Learners(result.recipe, data, [np.arange(n)] * count, options)
    planned = round(result.epoch * math.ceil(n / batch_of(n)) / result.share)
    learners.fit(result.epoch, options.callbacks, n_steps=planned)
    history = learners.ensemble.history
    assert history is not None
    return replace(result, members=learners.members.published(), stopped=history.stop_reason)
