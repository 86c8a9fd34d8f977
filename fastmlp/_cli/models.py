"""Models of files together with the tables that they are to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastmlp
from fastmlp._cli import tables
from fastmlp._cli.errors import CommandError, UsageError
from fastmlp._cli.internals import columns_of

Array = NDArray[Any]


def load_with_table(
    path: str, data: str, target: str | None = None, weight: str | None = None
) -> tuple[Any, Any, Any]:
    """Return a model, a table that is read as the model needs it, and its input columns.

    Columns of text at fit are read as text, and so are labels, whatever they look like.
    """
    model = fastmlp.load(path)
    inputs, text = columns_of(model)
    labels = getattr(model, "classes_", np.empty(0)).tolist()
    has_text_labels = any(isinstance(label, str) for label in labels)

    def as_text(names: Sequence[str]) -> list[str]:
        if inputs is None or not has_text_labels:
            return text
        return [*text, *(name for name in names if name not in {*inputs, weight})]

    frame = tables.read(data, as_text)
    if inputs is None:  # the model was fitted on arrays
        inputs = [name for name in frame.columns if name not in {target, weight}]
    tables.require(frame, inputs, f"{data} lacks inputs of the model")
    X = frame[inputs]
    return model, frame, X if hasattr(model, "get_params") else _numbers(X)


def target_of(frame: Any, X: Any, *known: str | None) -> str:
    """Return the name of the one column that is neither an input nor known."""
    inputs = {*getattr(X, "columns", frame.columns), *known}
    left = [name for name in frame.columns if name not in inputs]
    if len(left) != 1:
        raise UsageError(
            f"--target is needed: {', '.join(left) or 'no columns'} are there beside the inputs"
        )
    return str(left[0])


def _numbers(X: Any) -> Array:
    """Return a table as an array, for models that take nothing else."""
    columns = [tables.column(X, name, "the data") for name in X.columns]
    for name, column in zip(X.columns, columns, strict=True):
        if column.dtype.kind not in "iufb":
            raise CommandError(
                f"the column {name!r} holds text but this model takes numbers: convert it, or "
                "train a model of tables by fastmlp train"
            )
    return np.column_stack(columns)


def present(values: Array, name: str) -> Array:
    """Return a column, or complain of missing values in it."""
    n = sum(value is None or value != value for value in values.tolist())
    if n:
        raise CommandError(f"the column {name!r} has {n:,} missing values: remove these rows")
    return values


def weights_of(frame: Any, name: str | None) -> Array | None:
    """Return the weights of rows, None without a name."""
    if name is None:
        return None
    values = tables.column(frame, name, "--weight")
    if values.dtype.kind not in "iufb" or not np.all((values >= 0) & (values < np.inf)):
        raise CommandError(f"the column {name!r} of --weight needs finite numbers of at least 0")
    return values.astype(float)
