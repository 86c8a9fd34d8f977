"""What is allowed of a table, but seldom meant: said, not refused."""

from __future__ import annotations

import warnings
from typing import Any

from fastmlp.tabular.columns import Columns

FEWEST_TEXTS = 21  # that are all numbers, for a category to be doubted: postcodes are many, too


def check_order(X: Any, **others: Any) -> None:
    """Warn of labels that have the index of X in another order: rows are matched by their place.

    Parameters
    ----------
    X : frame or array
        Rows.
    **others : series, frames or arrays
        What belongs to these rows, by name.
    """
    index = _index(X)
    for name, other in others.items():
        own = _index(other)
        if index is None or own is None or len(own) != len(index) or own.equals(index):
            continue
        if own.is_unique and index.is_unique and own.isin(index).all():
            warnings.warn(
                f"{name} has the index of X in another order but rows are matched by their place: "
                f"if the index is right, pass {name}.loc[X.index]; if the place is, "
                f"{name}.to_numpy()",
                stacklevel=2,
            )


def _index(table: Any) -> Any:
    """Return the index of a frame or series of pandas, else None."""
    index = getattr(table, "index", None)
    return index if hasattr(index, "equals") and hasattr(index, "isin") else None


def numbers_as_text(columns: Columns) -> list[str]:
    """Return notes about categories whose texts are all numbers.

    Parameters
    ----------
    columns : Columns
        Of a fit.
    """
    return [
        f"{column.name} is a category of {len(column.values)} texts that are numbers: convert the "
        "column if their sizes matter"
        for _, column in columns.categories
        if column.values is not None
        and len(column.values) >= FEWEST_TEXTS
        and all(value is None or _is_number(value) for value in column.values)
    ]


def _is_number(value: Any) -> bool:
    """Whether a value is text that says a number."""
    try:
        float(value)
    except ValueError:
        return False
    return isinstance(value, str)
