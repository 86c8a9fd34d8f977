"""A network as a list of operators: the steps of the native engine from inputs to outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastmlp._network.functions.activation import CustomActivation
    from fastmlp._network.spec import Spec

# Kinds of operators, in the order of the native table (network.pxd), and of their tensors: what
# multiplies, and what is added, if anything.
OPERATORS = {
    "affine": ("weights", "biases"),
    "layer_norm": ("gains", "shifts"),
    "scale": ("scales",),
    "parametric": ("alphas",),
    "skip": (),
    "linear": ("linear_weights",),
}
# All kinds of tensors, in the order of everything that has one list for each, as in `Spec.tensors`.
KINDS = tuple(kind for pair in OPERATORS.values() for kind in pair)


class Operator(NamedTuple):
    """One step: z from what the step before gives, then activation(z).

    Two kinds read an earlier step as well, a: of the step before's y, skip makes y + a, and linear
    y + a @ W.

    Attributes
    ----------
    kind : str
        A key of `OPERATORS`.
    layer : int
        The layer that it belongs to.
    n_in, n_out : int
        Widths.
    activation : str or CustomActivation
        Its name, or one of the user's own.
    ends : bool
        Whether dropout follows, if there is any: it is the last of a hidden layer with tensors.
    inner : str
        The activation f of a parametric one, z = (1 - alphas) x + alphas f(x).
    source : int or None
        The other step that it reads, -1 for the inputs; None if it reads no other.
    """

    kind: str
    layer: int
    n_in: int
    n_out: int
    activation: str | CustomActivation = "identity"
    ends: bool = False
    inner: str | CustomActivation = "identity"
    source: int | None = None

    @property
    def number(self) -> int:
        """Of its tensors, among those of their kind."""
        return 0 if self.kind == "linear" else self.layer


def operators(spec: Spec) -> list[Operator]:
    """Return the steps of a network.

    Examples
    --------
    >>> from fastmlp import spec
    >>> [step.kind for step in operators(spec.build([2, 8, 1], layer_norm="before"))]
    ['affine', 'layer_norm', 'affine']
    >>> step = operators(spec.build([2, 8, 8, 1], skip=1))[2]
    >>> step.kind, step.source
    ('skip', 0)
    """
    n = spec.layer_sizes[0]
    steps = [Operator("scale", 0, n, n)] if spec.scale else []
    entering = []  # the step before each hidden layer
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
