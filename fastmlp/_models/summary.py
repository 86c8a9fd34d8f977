"""Networks in words: the table of layers that `MLP.summary` returns, and one line."""

from __future__ import annotations

import html
import math
from typing import Any

from fastmlp._models.network import network_of
from fastmlp._network.spec import OPTIONS, Spec
from fastmlp._network.tensors import each_tensor

HEADS = ("layer", "inputs", "outputs", "activation", "options", "parameters")
TEXT = ("activation", "options")  # these columns are aligned on the left


def summary(spec: Spec) -> str:
    """Return one line for each layer: its sizes, activation or link, options and parameters."""
    rows = table(spec)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(HEADS, row, widths, strict=True)
        lines.append("  ".join(c.ljust(w) if h in TEXT else c.rjust(w) for h, c, w in cells))
    return "\n".join(lines)


def one_line(model: Any) -> str:
    """Return the call that makes a model, with the options that differ from the defaults."""
    activations = set(model.activations)
    activation = model.activations[0] if len(activations) == 1 else list(model.activations)
    public = {"_models.mlp": "fastmlp", "_models.numpy_mlp": "fastmlp.reference"}
    module = type(model).__module__
    facts = {"activation": activation, "loss": model.loss, "dtype": model.dtype.name}
    for option in ("dropout", "layer_norm", "parametric", *OPTIONS):
        value = getattr(network_of(model).spec, option)
        if any(value) if isinstance(value, tuple) else value:
            facts[option] = list(value) if isinstance(value, tuple) else value
    options = "".join(f", {option}={value!r}" for option, value in facts.items())
    name = public.get(module.removeprefix("fastmlp."), module)
    return f"{name}.{type(model).__name__}({list(model.layer_sizes)}{options})"


def as_html(spec: Spec) -> str:
    """Return the table as HTML, for notebooks."""
    rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in table(spec))
    return f"<table><tr>{'</tr><tr>'.join(rows)}</tr></table>"


def table(spec: Spec) -> list[tuple[str, ...]]:
    """Return the cells: the heads, a row for each layer, and the total."""
    last = len(spec.shapes) - 1
    counts = [0] * (last + 1)
    for tensor in each_tensor(spec.tensors):
        counts[tensor.layer] += math.prod(tensor.shape)
    functions = [*spec.activations, spec.loss.link_name]
    names = [getattr(function, "name", function) for function in functions]
    rows = [
        (str(k), *map(str, spec.shapes[k]), str(names[k]), _options(spec, k), f"{counts[k]:,}")
        for k in range(last + 1)
    ]
    return [HEADS, *rows, ("total", "", "", "", "", f"{spec.n_parameters:,}")]


def _options(spec: Spec, k: int) -> str:
    """Return the names of layer k's options: normalisation, dropout and the like."""
    names = ["scale"] if spec.scale and k == 0 else []
    if spec.rounded[k]:
        names.append(f"compute={spec.compute}")
    if k == len(spec.activations):
        return ", ".join([*names, *(["linear_path"] if spec.linear_path else [])])
    if spec.layer_norm[k]:
        names.append(f"layer_norm={spec.layer_norm[k]}")
    if spec.parametric[k]:
        names.append("parametric")
    if spec.dropout[k]:
        names.append(f"dropout={spec.dropout[k]:g}")
    if spec.blocks[k] is not None:
        names.append(f"skip from layer {spec.blocks[k]}")
    return ", ".join(names)
