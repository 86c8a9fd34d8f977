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
        if not has_text_labels:
            return text
        others = [target] if inputs is None else set(names) - {*inputs, weight}
        return [*text, *filter(None, others)]

    frame = tables.read(data, as_text)
    if inputs is None:  # the model was fitted on arrays
        names = [name for name in frame.columns if name not in {target, weight}]
        return model, frame, _array(frame, names, text=hasattr(model, "report"))
    tables.require(frame, inputs, f"{data} lacks inputs of the model")
    return model, frame, frame[inputs]


def target_of(frame: Any, X: Any, *known: str | None) -> str:
    """Return the name of the one column that is neither an input nor known."""
    inputs = {*getattr(X, "columns", frame.columns), *known}
    left = [name for name in frame.columns if name not in inputs]
    if len(left) != 1:
        raise UsageError(
            f"--target is needed: {', '.join(left) or 'no columns'} are there beside the inputs"
        )
    return str(left[0])


def _array(frame: Any, names: Sequence[str], text: bool) -> Array:
    """Return columns as one array, which may hold text or may not."""
    columns = [tables.column(frame, name, "the data") for name in names]
    for name, column in zip(names, columns, strict=True):
        if column.dtype.kind not in "iufb" and not text:
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
