"""A fitted table as a function of matrices: a number for each used column, codes of categories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
        groups = [_OfGroup(group, sources, table_of(background)) for group in blend.groups]

        def predict(rows: Array, b: Array, masks: Array) -> Array:
            table, weights = table_of(rows), blend.weights.tolist()
            p = finish(blended(weights, [group.predict(table, b, masks) for group in groups]))
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


class _OfGroup:
    """Members that predict rows between explained ones and those of a background."""

    def __init__(self, group: Members, sources: Array, background: Table) -> None:
        columns, n_columns = sources[group.encoding.columns], int(sources.max(initial=-1)) + 1
        self.group = group
        self.networks = [Coalitions(engine, columns, n_columns) for engine in group.engines()]
        self.background = self.shares(background)

    def shares(self, table: Table) -> list[Array]:
        """Return the shares of the columns of rows in each network."""
        encoded = (self.group.encoding.rows(table, m) for m in range(len(self.networks)))
        pairs = zip(self.networks, encoded, strict=True)
        return [network.shares(np.asarray(inputs)) for network, inputs in pairs]

    def predict(self, table: Table, b: Array, masks: Array) -> Array:
        """Return the joint predictions, (rows x background rows x coalitions, columns)."""
        shapes, columns = self.group.spec.shapes, masks.shape[2]
        of_row = max(len(b) * masks.shape[1] * shapes[-1][1], columns * shapes[0][1])
        size = max(1, CELLS // (of_row * len(self.networks)))
        blocks = []
        for first in range(0, len(table), size):
            of_rows = self.shares(table.take(slice(first, first + size)))
            z = [
                network.predict(x, background[b], masks)
                for network, x, background in zip(
                    self.networks, of_rows, self.background, strict=True
                )
            ]
            blocks.append(self.group.joint(np.stack(z).reshape(len(z), -1, z[0].shape[-1])))
        return np.concatenate(blocks)
