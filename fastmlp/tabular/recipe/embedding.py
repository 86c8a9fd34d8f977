"""A first layer whose units see one column each: an embedding of every column.

With piecewise linear inputs it is like the embedding "Q-LR" of Gorishniy, Rubachev and Babenko
2022, "On embeddings for numerical features in tabular deep learning", section 3, but for the
activation: each column has learned functions of its own before columns meet. The weights between
units and inputs of other columns are 0, and bounds keep them there in training; so files, exports
and predictors need nothing for it.
"""

from __future__ import annotations

import numpy as np

from fastmlp._models.network import Network
from fastmlp.tabular.recipe.monotone import bind, unbounded
from fastmlp.tabular.table.columns import Array


def begin(network: Network, columns: Array) -> None:
    """Separate the columns of an untrained network; ``columns`` has that of each input.

    The weights that remain are made larger, so that the variance of the units stays the same.
    """
    of_units = _of_units(network, columns)
    factors = np.sqrt(len(columns) / np.bincount(columns)[of_units])
    network.assign("weights", lambda weights: [weights[0] * factors, *weights[1:]])
    _separate(network, columns[:, np.newaxis] != of_units)


def keep(network: Network, columns: Array) -> None:
    """Keep the columns of a network separate in further training if they are separate now."""
    is_apart = columns[:, np.newaxis] != _of_units(network, columns)
    if not network.parameters()["weights"][0][is_apart].any():
        _separate(network, is_apart)


def _of_units(network: Network, columns: Array) -> Array:
    """Return the column of each unit."""
    units = network.spec.layer_sizes[1]
    return np.asarray(np.arange(units) * (columns.max() + 1) // units)


def _separate(network: Network, is_apart: Array) -> None:
    if not is_apart.any():
        return
    lower, upper = unbounded(network)
    lower["weights"][0][is_apart] = upper["weights"][0][is_apart] = 0
    bind(network, lower, upper)
