"""What an explanation needs of a model: rows as numbers, and a function that predicts them.

Rows are matrices with one number for each column that the model uses: values, or codes of
categories. So a row between two others is a choice between two numbers, for any kind of model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._explain.shapley import ByShares
from fastmlp._validation import check
from fastmlp._validation.arrays import TableLike, short

Array: TypeAlias = NDArray[Any]

PROBABILITIES = ("sigmoid", "softmax")  # links


@dataclass(frozen=True, eq=False)
class Explained:
    """A model as a function of matrices of rows."""

    predict: Callable[[Array], Array]  # rows (n, used columns): (n,) or (n, outputs, ...)
    read: Callable[[Any], Array]  # the user's rows as such a matrix; it refuses wrong ones
    # The names of all columns, and the user's values, (n, columns).
    cells: Callable[[Any], tuple[Sequence[str], Array]]
    # The place of each used column among all, and the number of all.
    used: Array
    n_columns: int
    are_probabilities: bool = False
    outputs: Sequence[Any] = ()  # names of the outputs; empty for numbers from 0
    left_out: Mapping[str, str] = field(default_factory=dict)  # why columns are not used
    typical: Array | None = None  # (used columns,), if the model holds a typical row of its fit
    # Of a background, the function that predicts rows between these rows and others by the shares
    # of columns, see `shapley.ByShares`; None: by the plain formula alone.
    beside: Callable[[Array], ByShares | None] = lambda background: None


def of_network(
    predictor: Any, classes: Sequence[Any] = (), read: Callable[[Any], Any] | None = None
) -> Explained:
    """Return a network, by its predictor; ``read`` makes its rows and may check them."""
    spec = predictor.spec

    def rows(X: TableLike) -> Array:
        x = check.inputs(X if read is None else read(X), spec, empty=True)
        if not isinstance(x, np.ndarray):
            raise TypeError(
                f"X is {short(X)}, sparse rows, but an array is expected: pass X.toarray()"
            )
        return x

    def predict(x: Array) -> Array:
        p: Array = predictor(x)
        if loss.predicts_variance:
            p = p[:, : p.shape[1] // 2]  # the means
        # Of two classes, networks predict the probability of the second.
        return np.concatenate([1 - p, p], axis=1) if is_pair else p

    n, loss = spec.layer_sizes[0], spec.loss
    is_pair = len(classes) > 0 and spec.layer_sizes[-1] == 1
    return Explained(
        predict, rows, cells_of, np.arange(n), n, loss.link_name in PROBABILITIES, classes
    )


def cells_of(X: TableLike) -> tuple[Sequence[str], Array]:
    """Return the names of the columns of a frame or an array, and its values."""
    values = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)
    names = getattr(X, "columns", range(values.shape[1]))
    return [name if isinstance(name, str) else f"column {name}" for name in names], values
