"""A fitted table as a function of matrices: a number for each used column, codes of categories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from fastmlp._engine.coalitions import Coalitions
from fastmlp._engine.explainable import Explained
from fastmlp._validation.arrays import TableLike
from fastmlp.tabular.recipe.blend import Blend, blended
from fastmlp.tabular.recipe.members import Members
from fastmlp.tabular.table.columns import Array, Columns, Table, columns_of
from fastmlp.tabular.table.frames import is_frame

MOST_SHARES = 1 << 25  # numbers of the shares of a background's columns; of more there are none
CELLS = 1 << 21  # outputs of networks, or shares of columns, that are computed at a time
MOST_KEPT = 1 << 22  # numbers that are kept of a background; larger ones are computed for each call
MOST_COLUMNS = 1_000  # of more columns, the coalitions of one order take much memory


def of_table(
    columns: Columns,
    blend: Blend,
    finish: Callable[[Array], Array],
    checked: Callable[[Any], Any],
    classes: Array | None,
    targets: Sequence[str] = (),
) -> Explained:
    """Return the columns and predictions of a fit; ``checked`` returns a table like its own.

    ``finish`` is a function of the joint predictions of networks. What is derived from several
    columns, such as a difference of two dates, is computed for each matrix anew.
    """
    from fastmlp._explain import explained

    end = len(columns.numbers)
    used = np.array([place for place, _ in columns.numbers + columns.categories], np.int64)

    def read(X: TableLike) -> Array:
        table = columns.read(checked(X))
        return np.concatenate([table.numbers[:, :end], table.codes], axis=1)

    def cells(X: Any) -> tuple[Sequence[str], Array]:
        X = checked(X)
        if not is_frame(X) or hasattr(X, "iloc"):
            return columns.names, X.to_numpy(object) if is_frame(X) else np.asarray(X)
        values = columns_of(X)[1]
        data = np.empty((len(X), len(columns.names)), object)
        for k in range(data.shape[1]):
            cells = values(k)
            is_time = cells.dtype.kind in "mM"  # NumPy makes integers of nanoseconds
            data[:, k] = cells.astype(f"{cells.dtype.kind}8[us]") if is_time else cells
        return columns.names, data

    def table_of(rows: Array) -> Table:
        table = columns.empty(len(rows))
        table.numbers[:, :end], table.codes[:] = rows[:, :end], rows[:, end:]
        return columns.derive(table)

    def beside(background: Array) -> Callable[[Array, Array, Array], Array] | None:
        sources = columns.sources
        width = sum(len(group) * group.spec.shapes[0][1] for group in blend.groups)
        is_small = 0 < background.size * width <= MOST_SHARES and len(used) <= MOST_COLUMNS
        if sources is None or not is_small or any(g.spec.linear_path for g in blend.groups):
            return None
        groups = [(g, _beside(g, sources, background, table_of)) for g in blend.groups]

        def predict(rows: Array, b: Array, masks: Array) -> Array:
            table, weights = table_of(rows), blend.weights.tolist()
            p = finish(blended(weights, [of.predict(g, table, b, masks) for g, of in groups]))
            return p.reshape(len(rows), len(b), masks.shape[1], -1)

        return predict

    return explained.Explained(
        lambda rows: finish(blend.predict(table_of(rows))),
        read,
        cells,
        used,
        len(columns.names),
        are_probabilities=classes is not None,
        outputs=tuple(targets if classes is None else classes),
        left_out=columns.left_out,
        typical=np.array(columns.typical),
        beside=beside,
    )


def _beside(
    group: Members, sources: Array, rows: Array, table_of: Callable[[Array], Table]
) -> _Background:
    """Return members beside a background: those of the last call if nothing differs from it."""
    kept = _KEPT.get(group)
    if kept is None or not kept.holds(group, rows):
        kept = _Background(group, sources, rows, table_of(rows))
        if kept.size <= MOST_KEPT:
            _KEPT[group] = kept
    return kept


class _Background:
    """What of members predicts rows between explained ones and those of a background.

    It does not hold the members, so that it is kept as long as they are.
    """

    def __init__(self, group: Members, sources: Array, rows: Array, table: Table) -> None:
        columns, n_columns = sources[group.encoding.columns], int(sources.max(initial=-1)) + 1
        self.rows, self.parameters = rows, [engine.snapshot() for engine in group.engines()]
        self.networks = [Coalitions(engine, columns, n_columns) for engine in group.engines()]
        self.background = self.shares(group, table)
        self.size = len(group) * group.spec.n_weights + sum(each.size for each in self.background)

    def holds(self, group: Members, rows: Array) -> bool:
        """Whether this is of these rows, and of the parameters that the members have now."""
        now = [engine.snapshot() for engine in group.engines()]
        are_same = all(a is b for a, b in zip(now, self.parameters, strict=True))
        return are_same and np.array_equal(rows, self.rows, equal_nan=True)

    def shares(self, group: Members, table: Table) -> list[Array]:
        """Return the shares of the columns of rows in each network."""
        encoded = (group.encoding.rows(table, m) for m in range(len(self.networks)))
        pairs = zip(self.networks, encoded, strict=True)
        return [network.shares(np.asarray(inputs)) for network, inputs in pairs]

    def predict(self, group: Members, table: Table, b: Array, masks: Array) -> Array:
        """Return the joint predictions, (rows x background rows x coalitions, columns)."""
        shapes, columns = group.spec.shapes, masks.shape[2]
        of_row = max(len(b) * masks.shape[1] * shapes[-1][1], columns * shapes[0][1])
        size = max(1, CELLS // (of_row * len(self.networks)))
        blocks = []
        for first in range(0, len(table), size):
            of_rows = self.shares(group, table.take(slice(first, first + size)))
            z = [
                network.predict(x, background, b, masks)
                for network, x, background in zip(
                    self.networks, of_rows, self.background, strict=True
                )
            ]
            blocks.append(group.joint(np.stack(z).reshape(len(z), -1, z[0].shape[-1])))
        return np.concatenate(blocks)


# Of members, the background of the last call: who explains rows one by one passes the same again.
_KEPT: WeakKeyDictionary[Members, _Background] = WeakKeyDictionary()
