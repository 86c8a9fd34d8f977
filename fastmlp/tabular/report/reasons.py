"""Contributions of columns to the predictions of a fit, for the page about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastmlp.tabular.fitted.explained import of_table
from fastmlp.tabular.fitted.fitted_table import FittedTable
from fastmlp.tabular.table.columns import Array, Table

if TYPE_CHECKING:
    from fastmlp._explain.explanation import Explanation

TOLERANCE = 0.1  # largest standard error, as a share of the deviation of the predictions
# Rows that are explained for the means, and rows of the background: at least, at most, and times
# the number of columns.
FEWEST, MOST, CELLS = 10, 50, 3_000
EXAMPLES = 3  # rows of each kind whose predictions are explained


def some_rows(table: Table, fitted: FittedTable) -> Table:
    """Return rows that stand for a table: fewer of many columns, which take longer to explain."""
    count = int(np.clip(CELLS // max(len(fitted.columns.used), 1), FEWEST, MOST))
    return table.take(np.sort(np.random.default_rng(0).permutation(len(table))[:count]))


def contributions(
    fitted: FittedTable, rows: Table, background: Table, texts: Array, classes: Array | None
) -> Explanation:
    """Return how much each column adds to the predictions of rows by all networks.

    ``texts`` are the cells of the rows, (n, all columns), and ``classes`` the names of classes, as
    people write them.
    """
    from fastmlp._explain.explain import explanation

    columns, end = fitted.columns, len(fitted.columns.numbers)
    model = of_table(
        columns,
        fitted.blend,
        fitted.calibration.result,
        lambda X: X,
        classes,
        fitted.target_names,
    )
    model = replace(
        model,
        read=lambda table: np.concatenate([table.numbers[:, :end], table.codes], axis=1),
        cells=lambda table: (columns.names, texts),
    )
    return explanation(
        model,
        rows,
        background,
        output=None,
        tolerance=TOLERANCE,
        time_limit=None,
        random_state=0,
    )


def means(found: Explanation, count: int) -> dict[str, float]:
    """Return the mean absolute contribution of each column to the first rows, by its name."""
    size = np.abs(found.values[:count]).reshape(count, len(found.names), -1)
    return dict(zip(found.names, size.mean(axis=(0, 2)).tolist(), strict=True))


def sentences(found: Explanation, first: int) -> list[str]:
    """Return a sentence on each of the rows from the first on; of classes, on the likeliest."""
    best = found.predictions.reshape(len(found), -1).argmax(axis=1)
    is_class = found.values.ndim == 3 and found.unit == "probability"
    outputs = [found.outputs[k] if is_class else None for k in best]
    return [found.in_words(k, output=outputs[k]) for k in range(first, len(found))]


def typical_and_worst(predictions: Array, errors: Array) -> tuple[list[int], list[int]]:
    """Return the places of rows at the quarters of the predictions, and of the largest errors."""
    order, n = np.argsort(predictions, kind="stable"), len(predictions)
    typical = [int(order[k * n // (EXAMPLES + 1)]) for k in range(1, EXAMPLES + 1)]
    worst = np.argsort(-errors, kind="stable")[:EXAMPLES]
    return list(dict.fromkeys(typical)), worst.tolist()
