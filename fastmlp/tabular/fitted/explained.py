"""A fitted table as a function of matrices: a number for each used column, codes of categories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastmlp._engine.explainable import Explained
from fastmlp.tabular.table.columns import Array, Columns, Table, columns_of, in_one_array
from fastmlp.tabular.table.frames import is_frame


def of_table(
    columns: Columns,
    predict: Callable[[Table], Array],
    checked: Callable[[Any], Any],
    classes: Array | None,
    targets: Sequence[str] = (),
) -> Explained:
    """Return the columns and predictions of a fit; ``checked`` returns a table like its own.

    What is derived from several columns, such as a difference of two dates, is computed for each
    matrix anew.
    """
    from fastmlp._explain import explained

    end = len(columns.numbers)
    used = np.array([place for place, _ in columns.numbers + columns.categories], np.int64)

    def read(X: Any) -> Array:
        table = columns.read(checked(X))
        return np.concatenate([table.numbers[:, :end], table.codes], axis=1)

    def cells(X: Any) -> tuple[Sequence[str], Array]:
        X = checked(X)
        if not is_frame(X):
            return columns.names, np.asarray(in_one_array(X))
        values = columns_of(X)[1]
        data = np.empty((len(X), len(columns.names)), object)
        for k in range(data.shape[1]):
            data[:, k] = values(k)
        return columns.names, data

    def of_matrix(rows: Array) -> Array:
        table = columns.empty(len(rows))
        table.numbers[:, :end], table.codes[:] = rows[:, :end], rows[:, end:]
        return predict(columns.derive(table))

    return explained.Explained(
        of_matrix,
        read,
        cells,
        used,
        len(columns.names),
        are_probabilities=classes is not None,
        outputs=tuple(targets if classes is None else classes),
        left_out=columns.left_out,
    )
