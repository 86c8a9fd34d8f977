"""Export of estimators for tables to ONNX: raw columns in, calibrated predictions out.

The members of a recipe form a batch: their statistics are stacked along the first axis, and each
layer is one MatMul. Networks are float32, all other parts float64, as in `fastmlp.tabular`, so that
large numbers with small differences are not rounded before scaling.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from fastmlp._export.graph import Graph, Name, Names
from fastmlp._export.layers import by_member, stacked
from fastmlp._export.onnx import OPSET, Value, Values, check_size, label, made, network, package
from fastmlp._export.onnx_nodes import mixture
from fastmlp.tabular.export.exported import ExportedTable
from fastmlp.tabular.export.onnx_columns import ML, WIDE, Inputs
from fastmlp.tabular.outcome.conformal import Residuals, offsets_of
from fastmlp.tabular.outcome.temperature import SMALLEST
from fastmlp.tabular.recipe.members import Members
from fastmlp.tabular.table.encoding import SHARED, CategoryInputs

if TYPE_CHECKING:
    from onnx import ModelProto

ROOT = "table."


def _root(names: Sequence[str]) -> str:
    """Return a prefix for names of tensors that no column name begins with."""
    root = ROOT
    while any(name.startswith(root) for name in names):
        root = "_" + root
    return root


def _wide(g: Graph) -> Graph:
    """Return a view of the graph that adds float64 nodes."""
    return g.of(WIDE, "wide.")


def _cast(g: Graph, x: Name, dtype: DTypeLike | None = None) -> Name:
    """Cast values to a dtype, by default that of the graph's networks."""
    return g.Cast(x, to=package().helper.np_dtype_to_tensor_dtype(dtype or g.dtype))


# -------------------------------------------------------------------------------- encoding


def _encoded(
    g: Graph, model: ExportedTable, group: Members, x: Name, categories: Sequence[Names]
) -> Name:  # `categories` has the codes of each category column, and the inputs of known values
    """Return the inputs of all members, (members, rows, inputs), like ``Encoding.rows``."""
    layout = group.encoding.layout
    parts: dict[int, Name] = {}  # the key is the place of the first input
    if model.columns.n_numbers:
        wide = _wide(g)
        scaled, missing = _scaled(wide, group, x)
        parts[0] = _cast(g, scaled)
        if len(group.encoding.with_missing):
            flags = g.Gather(missing, group.encoding.with_missing, axis=2)
            parts[model.columns.n_numbers] = _cast(g, flags)
        if group.encoding.bins.any():
            parts[layout.bins] = _cast(g, _binned(wide, group, scaled, missing))
    seen_by_column = group.encoding.seen_by_column
    for (code, inputs), seen, place in zip(
        categories, seen_by_column, layout.categories, strict=True
    ):
        is_known = np.pad(seen, ((0, 0), (0, 1)))[..., np.newaxis].astype(g.dtype)
        parts[place] = g.Mul(inputs, g.Gather(is_known, code, axis=1))
    return g.Concat(*(parts[place] for place in sorted(parts)), axis=2)


def _inputs_of(g: Graph, code: Name, column: CategoryInputs) -> Name:
    """Return the inputs of values, (rows, inputs); all are 0 for the code after the last one."""
    *_, stored = column.stored
    if column.values <= 2:
        return g.Gather(np.append(stored, np.float32(0))[:, np.newaxis], code, axis=0)
    one_hot = g.OneHot(code, np.int64(column.frequent), np.array([0, 1], g.dtype))
    rare = column.values - column.frequent
    if not rare:
        return one_hot
    shared = np.zeros((column.values + 1, SHARED), np.float32)
    shared[column.frequent : -1] = stored[column.frequent :].reshape(rare, SHARED)
    return g.Concat(one_hot, g.Gather(shared, code, axis=0), axis=1)


def _scaled(g: Graph, group: Members, x: Name) -> tuple[Name, Name]:
    """Return scaled and clipped numbers, 0 where missing, and flags of missing values."""
    centre = g.constant(by_member(group.encoding.numbers.centre), "centre")
    factor = g.constant(by_member(group.encoding.numbers.factor), "factor")
    raw = g.Mul(g.Sub(x, centre), factor)
    missing = g.IsNaN(raw)
    clip, far = group.encoding.limits
    near = g.Max(g.Min(g.Where(missing, 0.0, raw), far), -far)
    part = g.Div(near, clip)
    return g.Div(near, g.Sqrt(g.Add(g.Mul(part, part), 1.0))), missing


def _binned(g: Graph, group: Members, scaled: Name, missing: Name) -> Name:
    """Return the piecewise linear inputs; 0 where missing."""
    middle, half = map(by_member, group.encoding.middles)
    of_number = group.encoding.of_bins
    away = g.Sub(g.Gather(scaled, of_number, axis=2), g.constant(middle, "middle"))
    part = g.Clip(g.Div(away, g.constant(half, "half")), -1.0, 1.0)
    return g.Where(g.Gather(missing, of_number, axis=2), 0.0, part)


# -------------------------------------------------------------------------------- decoding


def _predicted(g: Graph, group: Members, heads: Names, has_labels: bool) -> Names:
    """Return a group's prediction; see ``decode`` of targets and ``OutOfFold.joint``."""
    wide = [_cast(g, head, WIDE) for head in heads]
    if group.scale is not None:  # else probabilities are normalised at the end alone
        centre, factor, low, high = (
            g.constant(by_member(values), "target_" + name)
            for name, values in group.scale._asdict().items()
        )
        wide[0] = g.Min(g.Max(g.Add(g.Mul(wide[0], factor), centre), low), high)
        wide[1:] = [g.Mul(g.Mul(variance, factor), factor) for variance in wide[1:]]
        if has_labels:
            wide[0] = g.Div(wide[0], g.ReduceSum(wide[0], np.array([-1])))
    return mixture(g, tuple(wide))


def _blended(g: Graph, model: ExportedTable, inputs: Inputs) -> Names:
    """Return the blended prediction, each part (rows, outputs), float64."""
    x, codes = inputs.numbers(g), inputs.codes(g)
    x = inputs.with_derived(_wide(g), x, codes)
    pairs = zip(codes, model.encoding.categories, strict=True)
    categories = [(code, _inputs_of(g, code, column)) for code, column in pairs]
    parts = []
    of_groups = zip(model.groups, model.networks, model.shares, strict=True)
    for k, (group, networks, share) in enumerate(of_groups):
        g.prefix = f"groups.{k}."
        wide = _wide(g)
        encoded = _encoded(g, model, group, x, categories)
        heads = network(g, encoded, stacked(networks.nets))
        predicted = _predicted(wide, group, heads, model.labels is not None)
        parts.append([wide.Mul(name, share) for name in predicted])
    g.prefix = ""
    return tuple(functools.reduce(g.Add, names) for names in zip(*parts, strict=True))


# -------------------------------------------------------------------------------- outputs


def _calibrated(g: Graph, p: Name, model: ExportedTable) -> Name:
    """Return calibrated probabilities; see ``fastmlp.tabular.outcome.temperature.applied``."""
    assert model.labels is not None
    if model.labels.kind != "largest":
        p = g.Clip(p, SMALLEST, 1 - SMALLEST)
        odds = g.Pow(g.Div(g.Sub(1.0, p), p), 1 / model.temperature)
        return g.Div(1.0, g.Add(odds, 1.0))
    logits = g.Div(g.Log(g.Clip(p, SMALLEST, 1.0)), model.temperature)
    powers = g.Exp(g.Sub(logits, g.ReduceMax(logits, axes=[1])))
    return g.Div(powers, g.ReduceSum(powers, np.array([1])))


def _size(g: Graph, mean: Name, k: int, residuals: Residuals) -> Name:
    """Return the size of an output's residuals, (rows, 1), like ``Residuals.deviation``."""
    places = residuals.places
    widths = np.append(np.diff(places), 0.0)  # one more part, of width 0
    rises = np.append(np.diff(residuals.sizes), 0.0)
    of_output = g.Gather(mean, np.array([k]), axis=1)
    share = g.Div(
        g.Max(g.Min(g.Sub(of_output, places), widths), 0.0), np.where(widths > 0, widths, 1.0)
    )
    return g.Add(g.ReduceSum(g.Mul(share, rises), np.array([1])), float(residuals.sizes[0]))


def _regression(
    g: Graph, predicted: Names, model: ExportedTable, levels: Sequence[float]
) -> Values:
    """Add the outputs of ``predict`` and ``predict_quantiles``, and return them."""
    mean, *variances = predicted
    if variances:
        size = g.Pow(variances[0], model.residuals[0].trust / 2)
    else:
        sizes = [_size(g, mean, k, residuals) for k, residuals in enumerate(model.residuals)]
        size = g.Concat(*sizes, axis=1)
    deviation = g.Mul(size, np.array([residuals.rms for residuals in model.residuals]))
    columns = (model.outputs,)
    outputs = {"predictions": Value(WIDE, columns), "deviations": Value(WIDE, columns)}
    names = [mean, deviation]
    if len(levels):
        offsets = offsets_of(model.residuals, levels)
        middle, unit, shape = mean, size, (len(levels),)  # one output has no axis
        if model.outputs > 1:
            middle, unit = (g.Unsqueeze(name, np.array([2])) for name in (mean, size))
            shape = offsets.shape
        quantiles = g.Max(g.Add(middle, g.Mul(unit, offsets)), model.lowest)
        names.append(g.Floor(quantiles) if model.are_counts else quantiles)
        outputs["quantiles"] = Value(WIDE, shape)
    for old, new in zip(names, outputs, strict=True):
        g.rename(old, new)
    return outputs


def _classification(g: Graph, predicted: Names, model: ExportedTable) -> Values:
    """Add the outputs of ``predict`` and ``predict_proba``, and return them."""
    assert model.labels is not None
    p = _calibrated(g, predicted[0], model)
    if model.labels.kind == "hazards":
        passed = g.Exp(g.CumSum(g.Log(g.Sub(1.0, p)), np.array(1)))
        g.rename(p, "hazards")
        g.rename(passed, "survival")
        return dict.fromkeys(("hazards", "survival"), Value(WIDE, (model.outputs,)))
    outputs = {"label": label(g, p, model.labels)}
    g.rename(p, "probabilities")
    return outputs | {"probabilities": Value(WIDE, (model.outputs,))}


def model(
    table: ExportedTable, path: str | os.PathLike[str] | None = None, levels: Sequence[float] = ()
) -> ModelProto:
    """Return the onnx.ModelProto of an estimator; arguments are those of its ``to_onnx``."""
    package()
    g = Graph(np.dtype(np.float32), root=_root(table.columns.names))
    check_size(table.n_parameters * g.dtype.itemsize)
    inputs = Inputs.of(table.columns)
    predicted = _blended(g, table, inputs)
    wide = _wide(g)
    if table.labels is None:
        outputs = _regression(wide, predicted, table, levels)
    else:
        outputs = _classification(wide, predicted, table)
    inputs.check_names(outputs)
    opsets = {"": OPSET} | ({ML: inputs.opset} if inputs.opset else {})
    return made(g, outputs, inputs.values, opsets, path)
