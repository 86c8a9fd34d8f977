"""A first layer whose units see one column each: an embedding of every column.

With piecewise linear inputs it is like the embedding "Q-LR" of Gorishniy, Rubachev and Babenko
2022, "On embeddings for numerical features in tabular deep learning", section 3, but for the
activation: each column has learned functions of its own before columns meet. The weights between
units and inputs of other columns are 0, and bounds keep them there in training; so files, exports
and predictors need nothing for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.tabular.columns import Array
from fastmlp.tabular.monotone import bind, unbounded


def begin(net: Any, columns: Array) -> None:
    """Separate the columns of an untrained network; ``columns`` has that of each input.

    The weights that remain are made larger, so that the variance of the units stays the same.
    """
    weights = net.weights
    of_units = _of_units(net, columns)
    weights[0] = weights[0] * np.sqrt(len(columns) / np.bincount(columns)[of_units])
    net.weights = weights
    _separate(net, columns[:, np.newaxis] != of_units)


def keep(net: Any, columns: Array) -> None:
    """Keep the columns of a network separate in further training if they are separate now."""
    is_apart = columns[:, np.newaxis] != _of_units(net, columns)
    if not net.weights[0][is_apart].any():
        _separate(net, is_apart)


def _of_units(net: Any, columns: Array) -> Array:
    """Return the column of each unit."""
    units = net.layer_sizes[1]
    return np.asarray(np.arange(units) * (columns.max() + 1) // units)


def _separate(net: Any, is_apart: Array) -> None:
    if not is_apart.any():
        return
    lower, upper = unbounded(net)
    lower["weights"][0][is_apart] = upper["weights"][0][is_apart] = 0
    bind(net, lower, upper)
