"""The layers of a network, the common input of all exporters.

Exporters are tables over the kinds of layers; a new kind is one row in each table.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from fastmlp._network.activations import Array
from fastmlp._network.exported import Exported, Labels, Layer
from fastmlp._network.operators import OPERATORS
from fastmlp._network.spec import Spec
from fastmlp._network.tensors import each_tensor

# Operators that exporters know; a scale is folded into the weights that multiply the inputs.
EXPORTED = ("affine", "layer_norm", "parametric", "skip", "linear")


def exported(spec: Spec, *parameters: list[Array], labels: Labels | None = None) -> Exported:
    """Return a network with these parameters; without labels, classes are numbered from 0."""
    places = [(tensor.kind, tensor.layer) for tensor in each_tensor(spec.tensors)]
    tensors = dict(zip(places, itertools.chain(*parameters), strict=True))
    steps, last = spec.operators, len(spec.shapes) - 1
    entering = {step.source for step in steps if step.kind == "skip"}
    layers = [Layer("keep", "inputs")] if spec.linear_path else []
    for at, step in enumerate(steps):
        arrays = {kind: tensors[kind, step.layer] for kind in OPERATORS[step.kind]}
        if step.kind == "scale":
            for place in {("weights", 0), ("linear_weights", last)} & tensors.keys():
                (scale,) = arrays.values()
                tensors[place] = scale[:, np.newaxis] * tensors[place]
            continue
        named = step.inner if step.kind == "parametric" else step.activation
        if step.kind not in EXPORTED or not isinstance(named, str):
            unknown = named if step.kind in EXPORTED else step.kind
            raise TypeError(
                f"the model has {unknown!r}, which other programs do not know: for an export use "
                "an activation of fastmlp's own, and layers that it can export, or save(path)"
            )
        number = 0 if step.kind == "linear" else step.layer
        layers.append(Layer(step.kind, named, arrays, number))
        if step.kind != "parametric" and named != "identity":
            layers.append(Layer("activation", named))
        if at in entering:
            layers.append(Layer("keep", "block"))
    link = Layer("link", spec.loss.link_name, heads=spec.loss.heads)
    if labels is None and spec.loss.target_kind == "class":
        labels = Labels("largest", np.arange(spec.n_outputs))
    return Exported(spec, ([*layers, link],), labels)


def stacked(nets: Sequence[list[Layer]]) -> list[Layer]:
    """Return the layers of equal networks as one: their arrays are stacked, see `by_member`."""
    return [
        first._replace(
            arrays={
                name: by_member(np.stack([layer.arrays[name] for layer in (first, *others)]))
                for name in first.arrays
            }
        )
        for first, *others in zip(*nets, strict=True)
    ]


def by_member(stack: Array) -> Array:
    """Reshape vectors, one for each member, to (members, 1, width), to broadcast over rows."""
    return stack.reshape(len(stack), 1, -1) if stack.ndim == 2 else stack
