"""The places of labels among the classes of a fit."""

from __future__ import annotations

import numpy as np

from fastmlp.tabular.table.columns import Array, RowIndex

MOST_SHOWN = 10  # classes in an error message


def codes_of(y: Array, classes: Array) -> RowIndex:
    """Return the place of each label among classes; raise ValueError for an unknown label."""
    codes = {label: k for k, label in enumerate(classes.tolist())}
    for label in y.tolist():
        if label not in codes:
            shown = ", ".join(map(repr, classes.tolist()[:MOST_SHOWN]))
            raise ValueError(
                f"the target holds {label!r} but the model knows {len(codes)} classes ({shown}"
                f"{', ...' * (len(codes) > MOST_SHOWN)}): remove such rows"
            )
    return np.fromiter(map(codes.__getitem__, y.tolist()), np.int64, len(y))
