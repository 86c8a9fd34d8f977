"""Rows between two rows: of each column, the value comes from the one or the other.

The first layer of a network is a sum over columns. So the share of each column is computed once for
either row, and a row between them, a coalition of the columns, is a choice of shares: a network
whose inputs are 0 and 1, two for each column, and whose first weights are the shares.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastmlp._engine.thread_count import call_team
from fastmlp._network.activations import Array
from fastmlp._network.sparse import SparseRows
from fastmlp._network.spec import build


class Coalitions:
    """The predictions of one network for rows between an explained row and one of the background.

    Parameters
    ----------
    engine : native.Engine
        The network, without a linear path.
    columns : array of int, shape (inputs,)
        The column to which each input belongs, from 0 to ``n_columns`` - 1.
    n_columns : int
        Number of columns.
    """

    def __init__(self, engine: Any, columns: Array, n_columns: int) -> None:
        spec, level, make = engine.spec, engine.level, type(engine)
        kinds = dict(zip(spec.tensors, engine.parameters(), strict=True))
        weights = kinds["weights"][0]
        if spec.scale:
            weights *= kinds.pop("scales")[0][:, np.newaxis]
        sizes = 2 * n_columns, *spec.layer_sizes[1:]
        self._network = make(replace(spec, layer_sizes=sizes, scale=False), level)
        kinds["weights"][0] = np.zeros((sizes[0], weights.shape[1]), weights.dtype)
        self._network.set_parameters(*kinds.values())
        self._first = make(build(weights.shape, dtype=spec.dtype), level)
        self._first.set_parameters([weights], [np.zeros(weights.shape[1])])
        # The order of the inputs, column by column.
        self._order = np.argsort(columns, kind="stable").astype(np.int32)
        self._sizes = np.bincount(columns, minlength=n_columns)

    def shares(self, inputs: Array) -> Array:
        """Return the share of each column in the first layer, (rows, columns, width)."""
        n, starts = len(inputs), np.zeros(len(inputs) * len(self._sizes) + 1, np.int64)
        np.cumsum(np.tile(self._sizes, n), out=starts[1:])
        places = np.tile(self._order, n)  # a row for each column, without the inputs of others
        rows = SparseRows(starts, places, inputs[:, self._order].reshape(-1), inputs.shape[1])
        shares: Array = self._first.predict(rows)
        return shares.reshape(n, len(self._sizes), shares.shape[1])

    def predict(self, x: Array, background: Array, chosen: Array, masks: Array) -> Array:
        """Return predictions, (rows, chosen rows, coalitions, outputs), from shares of rows.

        ``chosen`` are the places of rows of the background, which are not copied; a row may occur
        more than once. ``masks``, (chosen rows or 1, coalitions, columns), are true for columns of
        ``x``.
        """
        spec = self._network.spec
        layer, outputs = (len(self._sizes), spec.shapes[0][1]), spec.shapes[-1][1]
        some, n_masks, columns = masks.shape
        if {x.shape[1:], background.shape[1:]} != {layer} or columns != layer[0]:
            raise ValueError(
                f"shares {x.shape} and {background.shape}, and masks {masks.shape}, are not those "
                f"of {layer[0]} columns and {layer[1]} units"
            )
        if some not in (1, len(chosen)):
            raise ValueError(f"there are masks of {some} rows but {len(chosen)} are expected")
        chosen = np.ascontiguousarray(chosen, np.int64)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(background):
            raise ValueError(
                f"rows {chosen.min()} to {chosen.max()} are chosen of {len(background)}, but they "
                "are expected to be among these"
            )
        x, background = (np.ascontiguousarray(shares, spec.dtype) for shares in (x, background))
        inputs = np.empty((some * n_masks, 2 * columns), spec.dtype)
        inputs[:, ::2] = masks.reshape(-1, columns)
        np.subtract(1, inputs[:, ::2], out=inputs[:, 1::2])
        out = np.empty((len(x), len(chosen), n_masks, outputs), spec.dtype)
        with call_team(spec.n_weights, out.size // outputs) as team:
            self._network.coalitions(x, background, chosen, inputs, out, team)
        return out
