"""The networks of a recipe: how they are made, and about how long an epoch of them takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp._engine.thread_count import default_threads
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP
from fastmlp._network.groups import Groups
from fastmlp._network.optimizers import Adam
from fastmlp.tabular.presets import ACTIVATION_RATE, BETA_2, BIAS_RATE, SCALE_RATE, Recipe, batch_of

TRIALS = 3  # of which the quickest counts
BATCHES = 3  # of a trial: what an epoch costs besides them is small then


def network(recipe: Recipe, width: int, target: Any, rng: np.random.Generator) -> Any:
    """Return a network with the recipe's first weights: those of the output are 0."""
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


def groups() -> Groups:
    """Return how parameters of each kind learn."""
    return Groups(
        parametrization="ntk",
        bias_rate=BIAS_RATE,
        scale_rate=SCALE_RATE,
        activation_rate=ACTIVATION_RATE,
    )


def seconds_of_epoch(
    recipe: Recipe, width: int, target: Any, rows: int, members: int, n_threads: int | None
) -> float:
    """Return about how many seconds an epoch takes: a few batches are tried, by a member a thread.

    Parameters
    ----------
    recipe : Recipe
        Of the members.
    width : int
        Of their inputs.
    target : Numbers or Classes
        Of at least so many rows.
    rows : int
        That each learns from.
    members : int
        How many.
    n_threads : int or None
        As for ``Ensemble.fit``.
    """
    batch, rng = batch_of(rows), np.random.default_rng(0)
    tried = min(BATCHES * batch, rows)
    some = min(members, n_threads or default_threads())
    ensemble = Ensemble(network(recipe, width, target, rng) for _ in range(some))
    history = ensemble.fit(
        rng.normal(size=(tried, width)).astype(np.float32),
        target.encode(target.scale(np.arange(tried), None))[:tried],
        epochs=TRIALS,
        batch_size=batch,
        optimizer=Adam(learning_rate=1e-6, beta_2=BETA_2),
        groups=groups(),
        n_threads=n_threads,
    )
    return min(history.seconds) * rows / tried * members / some
