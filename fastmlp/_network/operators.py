"""A network as a list of operators, the steps of the native engine from inputs to outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fastmlp._network.tensors import TENSORS

if TYPE_CHECKING:
    from fastmlp._network.functions.activation import CustomActivation

# Kinds of operators with their kinds of tensors, in the order of the native table (network.pxd).
OPERATORS = {
    operator: tuple(kind for kind, row in TENSORS.items() if row.operator == operator)
    for operator in ("affine", "layer_norm", "scale", "parametric", "skip", "linear")
}


class Operator(NamedTuple):
    """One step: z, computed from the output y of the previous step, then activation(z).

    Two kinds also read the output a of an earlier step: skip gives y + a, and linear y + a @ W.
    """

    kind: str  # a key of OPERATORS
    layer: int  # the layer of the operator and its tensors
    n_in: int
    n_out: int
    activation: str | CustomActivation = "identity"
    ends: bool = False  # whether it ends a hidden layer (except for a skip): dropout follows
    inner: str | CustomActivation = "identity"  # f in a parametric (1 - alphas) x + alphas f(x)
    source: int | None = None  # index of the earlier step that it reads; -1: the inputs


def operators(spec: Any) -> list[Operator]:
    """Return the operators that compute a network, in order; `Spec.operators` keeps them."""
    n = spec.layer_sizes[0]
    steps = [Operator("scale", 0, n, n)] if spec.scale else []
    entering = []  # index of the step before each hidden layer
    hidden = zip(spec.activations, spec.layer_norm, spec.parametric, spec.blocks, strict=True)
    for k, (activation, position, is_parametric, first) in enumerate(hidden):
        n_in, n_out = spec.shapes[k]
        entering.append(len(steps) - 1)
        layer = [Operator("affine", k, n_in, n_out)]
        if position == "before":
            layer.append(Operator("layer_norm", k, n_out, n_out))
        if is_parametric:
            layer.append(Operator("parametric", k, n_out, n_out, inner=activation))
        else:
            layer.append(layer.pop()._replace(activation=activation))
        if position == "after":
            layer.append(Operator("layer_norm", k, n_out, n_out))
        steps += [*layer[:-1], layer[-1]._replace(ends=True)]
        if first is not None:
            steps.append(Operator("skip", k, n_out, n_out, source=entering[first]))
    last, n_out = len(spec.shapes) - 1, spec.shapes[-1][1]
    steps.append(Operator("affine", last, *spec.shapes[-1]))
    if spec.linear_path:
        steps.append(Operator("linear", last, n, n_out, source=entering[0]))
    return steps
