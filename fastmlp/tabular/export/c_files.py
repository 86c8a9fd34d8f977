"""Export to C: writes and verifies the files of a fitted estimator."""

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

RARELY = 0.1  # share of missing values in generated rows


class NumpyNetwork:
    """A network with the layers as written to C (cast or quantized), evaluated in NumPy."""

    def __init__(self, network: Exported, layers: list[Any]) -> None:
        self._layers, self._link = layers[:-1], network.spec.loss.link

    def predict(self, x: EncodedRows) -> Array:
        """Return predictions in float64."""
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
    """Write the files; ``said`` maps predictions of the blend to all outputs of the C functions."""
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
    """Return random rows like those of the fit, with some missing and unknown values."""
    rng = np.random.default_rng(0)
    numbers = model.groups[0].numbers
    centre, factor = numbers.centre[0], numbers.factor[0]
    unit = np.divide(1.0, factor, out=np.zeros_like(factor), where=factor > 0)
    values = rng.normal(size=(ROWS, len(centre))) * np.minimum(unit, 1e300) + centre
    values[rng.random(values.shape) < RARELY] = np.nan
    counts = [len(column.values or ()) for _, column in model.columns.categories]
    codes = rng.integers(MISSING, counts, size=(ROWS, len(counts)), dtype=np.int32)
    return Table(values, codes)
