"""The networks of a recipe: construction, and an estimate of the time per epoch."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from fastmlp._engine.thread_count import default_threads
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP
from fastmlp._network.groups import Groups
from fastmlp._network.optimizers import Adam
from fastmlp.tabular.presets import ACTIVATION_RATE, BETA_2, BIAS_RATE, SCALE_RATE, Recipe, batch_of

TRIALS = 3  # trials, of which the median counts
BATCHES = 3  # batches per trial, so that overhead per epoch is small
# Learning rates by kind of parameter.
GROUPS = Groups(
    parametrization="ntk",
    bias_rate=BIAS_RATE,
    scale_rate=SCALE_RATE,
    activation_rate=ACTIVATION_RATE,
)


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


def seconds_of_epoch(
    recipe: Recipe, width: int, target: Any, rows: int, members: int, n_threads: int | None
) -> float:
    """Estimate the seconds per epoch by a trial of a few batches with one member per thread."""
    batch, rng = batch_of(rows), np.random.default_rng(0)
    tried = min(BATCHES * batch, rows, len(target.y))
    some = min(members, n_threads or default_threads())
    ensemble = Ensemble(network(recipe, width, target, rng) for _ in range(some))
    history = ensemble.fit(
        rng.normal(size=(tried, width)).astype(np.float32),
        target.encode(target.scale(np.arange(tried), None))[:tried],
        epochs=TRIALS,
        batch_size=batch,
        optimizer=Adam(learning_rate=1e-6, beta_2=BETA_2),
        groups=GROUPS,
        n_threads=n_threads,
    )
    return median(history.seconds) * rows / tried * members / some
