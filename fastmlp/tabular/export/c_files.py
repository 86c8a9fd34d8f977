"""C: a fitted estimator of tables as one file of C99 and its header."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastmlp._export.c import ROWS, CFiles, arithmetic, finish, kind_of, layers_of, some, source_of
from fastmlp._export.c_layers import outputs
from fastmlp._export.layers import Array, Exported
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import MISSING, Table
from fastmlp.tabular.export.c_source import TableSource
from fastmlp.tabular.export.exported import ExportedTable
from fastmlp.tabular.members import TrainedMembers
from fastmlp.tabular.rows import EncodedRows

RARELY = 0.1  # missing among the rows that are made up


class NumpyNetwork:
    """A network as it is written, in NumPy.

    Parameters
    ----------
    network : Exported
        What it is of.
    layers : list of layers
        Those that are written, cast or quantized.
    """

    def __init__(self, network: Exported, layers: list[Any]) -> None:
        self._layers, self._link = layers[:-1], network.spec.loss.link

    def predict(self, x: EncodedRows) -> Array:
        """Return predictions, float64."""
        with np.errstate(all="ignore"):
            return np.asarray(self._link(outputs(self._layers, np.asarray(x))))


def write(
    model: ExportedTable,
    blend: Blend,
    said: Callable[[Array], Array],
    path: Any,
    weights: str | None,
    table: Table | None,
    levels: Sequence[float],
) -> CFiles:
    """Write the files.

    Parameters
    ----------
    model : ExportedTable
        What predicts.
    blend : Blend
        The same, which the files are compared with.
    said : callable
        From predictions of a blend to all that the file says, both (n, columns).
    path, weights
        As for the estimators' ``to_c``.
    table : Table or None
        Typical rows.
    levels : list of float
        Of the quantiles of a regressor.
    """
    kind, source = kind_of(weights, table, model), source_of(path)
    rows = _made_up(model) if table is None else table
    groups = []
    each: list[list[list[Any]]] = []
    for group, exported in zip(blend.groups, model.groups, strict=True):
        pairs = zip(exported.networks, group.encodings, strict=True)
        each.append([layers_of(net.layers, kind, own.inputs(rows)) for net, own in pairs])
        nets = [NumpyNetwork(*pair) for pair in zip(exported.networks, each[-1], strict=True)]
        groups.append(TrainedMembers(nets, group.encodings, group.scales, group.target))
    made = TableSource(model, source.stem, arithmetic(kind), each, levels)
    own = said(Blend(groups, blend.weights).predict(rows))
    few = np.arange(len(rows))[some(rows)]
    main = made.main(rows.take(few), own[few])
    return finish(made, source, main, (own, said(blend.predict(rows))), made.unit)


def _made_up(model: ExportedTable) -> Table:
    """Return rows like those of the first member's fit, some values missing or unknown."""
    rng = np.random.default_rng(0)
    numbers = model.groups[0].numbers
    centre, factor = numbers.centre[0], numbers.factor[0]
    unit = np.divide(1.0, factor, out=np.zeros_like(factor), where=factor > 0)
    values = rng.normal(size=(ROWS, len(centre))) * np.minimum(unit, 1e300) + centre
    values[rng.random(values.shape) < RARELY] = np.nan
    counts = [len(column.values or ()) for _, column in model.columns.categories]
    codes = rng.integers(MISSING, counts, size=(ROWS, len(counts)), dtype=np.int32)
    return Table(values, codes)
