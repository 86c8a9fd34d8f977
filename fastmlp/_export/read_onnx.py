"""An ONNX model as an MLP: its layers are collected, what is between them is recognised."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

import fastmlp._export.onnx_nodes as nodes
from fastmlp._export.layers import Add, Affine, Array, Linear, Normalization
from fastmlp._export.onnx import package
from fastmlp._export.onnx_nodes import Graph, Name
from fastmlp._export.terms import INPUT, Read, Reader, Term
from fastmlp._models.import_mlp import network, refusal
from fastmlp._models.mlp import MLP
from fastmlp._network import layer_options
from fastmlp._network.activations import GELU_CUBIC, SQRT_2_OVER_PI
from fastmlp._network.losses import Loss
from fastmlp._network.names import LossName, NormPosition


def _torch_gelu_tanh(g: Graph, z: Name) -> Name:
    u = g.Mul(g.Add(z, g.Mul(g.Pow(z, 3.0), GELU_CUBIC)), SQRT_2_OVER_PI)
    return g.Mul(z, g.Mul(g.Add(g.Tanh(u), 1.0), 0.5))


# How an activation or a link may be written: as we do for either dtype, in one node, as PyTorch.
KNOWN_ACTIVATIONS: tuple[tuple[str, nodes.Emit], ...] = (
    *nodes.ACTIVATIONS.items(),
    *nodes.WIDE_ACTIVATIONS.items(),
    ("gelu", lambda g, z: g.Gelu(z)),
    ("gelu_tanh", lambda g, z: g.Gelu(z, approximate="tanh")),
    ("mish", lambda g, z: g.Mish(z)),
    ("gelu", lambda g, z: g.Mul(z, g.Mul(g.Add(g.Erf(g.Div(z, math.sqrt(2.0))), 1.0), 0.5))),
    ("gelu_tanh", _torch_gelu_tanh),
    ("softplus", lambda g, z: g.Where(g.Greater(z, 20.0), z, g.Softplus(z))),
)
KNOWN_LINKS: tuple[tuple[str, Callable[[Graph, Name], nodes.Names]], ...] = (
    *((name, emit) for name, (emit, _) in nodes.LINKS.items()),
    ("sigmoid", lambda g, z: (g.Sigmoid(z),)),
)
# Of two classes one sigmoid may be given as two probabilities.
KNOWN_PAIRS = tuple(
    (name, lambda g, z, emit=emit: (nodes.pair(g, emit(g, z)[0]),))
    for name, emit in KNOWN_LINKS
    if name == "sigmoid"
)
LABELS = ("label", "output_label")
REMEDY = "read the parameters with onnx.numpy_helper, and assign them to an MLP"


def from_onnx(
    model: Any,
    *,
    output: str | Sequence[str] | None = None,
    loss: LossName | Loss | None = None,
    rng: int | np.random.Generator | None = None,
) -> MLP:
    """Return the MLP that an ONNX model is.

    Parameters
    ----------
    model : str, path, bytes or onnx.ModelProto
        Gemm, or MatMul and Add, with activations between them, LayerNormalization before or after
        these, and perhaps Softmax or Sigmoid at the end, also 1 - p beside the p of a single one:
        what ``to_onnx`` writes, residual blocks, parametric activations and a linear path too, and
        what others write for such networks. A scale layer is in the weights.
    output : str or sequence of str, optional
        Names of the outputs that are the prediction; by default all but labels.
    loss : str or Loss, optional
        Of the MLP. By default one whose link is the end of the model, squared_error if there is
        none. A model that gives logits gets its link from here: ``loss="cross_entropy"``.
    rng : int, numpy.random.Generator or None
        As for :class:`MLP`.

    Returns
    -------
    MLP
        Of the model's dtype, with the same predictions up to rounding; of two classes with one
        Sigmoid, the probability of the second.

    Raises
    ------
    ImportError
        If there is no onnx package: ``pip install 'fastmlp[onnx]'``.
    ValueError
        If it is no plain MLP, or ``loss`` does not fit its end.

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP([3, 8, 2], activation="gelu", loss="cross_entropy", rng=0)
    >>> fastmlp.from_onnx(net.to_onnx()).activations
    ('gelu',)
    """
    onnx = package()
    try:
        if isinstance(model, bytes):
            model = onnx.load_from_string(model)
        elif not hasattr(model, "graph"):
            model = onnx.load(model)
    except import_module("google.protobuf.message").DecodeError as error:
        raise ValueError(f"model is no ONNX model: {error}") from None
    reader = _read(onnx, model.graph)
    names = [each.name for each in model.graph.output if each.name not in LABELS]
    if output is not None:
        names = [output] if isinstance(output, str) else list(output)
    unknown = [name for name in names if name not in reader.terms]
    if unknown or not names:
        raise refusal(f"the outputs {unknown or names} come from no chain of known nodes", REMEDY)
    terms = [reader.terms[name] for name in names]
    link = reader.name(terms, KNOWN_LINKS)
    if link is None and reader.width(terms[0]) == 1:
        link = reader.name(terms, KNOWN_PAIRS)
    if link is None or len({term.layer for term in terms}) > 1 or terms[0].layer < 0:
        what = f"the outputs {names} are {', '.join(map(reader.operation, terms))} of a layer"
        raise refusal(what, "name other outputs with output=, or " + REMEDY)
    layers: list[Affine] = []
    activations: list[str] = []
    entering: list[Term] = []  # each affine layer
    norms: dict[int, tuple[NormPosition, Normalization]] = {}
    alphas: dict[int, Array] = {}
    ends: dict[int, Term] = {}  # of blocks, and what is added there
    linear: Array | None = None
    for read, activation, alpha in _chain(reader, terms[0]):
        layer, k = read.layer, len(layers) - 1  # the affine layer before
        is_plain = not any(k in each for each in (norms, alphas, ends))
        if isinstance(layer, Affine):
            layers.append(layer)
            activations.append(activation)
            entering.append(read.before)
            k += 1
        elif isinstance(layer, Linear) and is_plain and _is_path(read, activation, activations[k]):
            linear = layer.weights
        elif (
            isinstance(layer, Add)
            and read.source is not None
            and activation == "identity"
            and alpha is None
            and k not in ends
        ):
            ends[k] = read.source
        elif isinstance(layer, Normalization):
            is_before = k >= 0 and activations[k] == "identity" and k not in alphas
            is_after = activation == "identity" and alpha is None
            is_alone = k >= 0 and k not in {*norms, *ends} and bool(activation)
            if not is_alone or not (is_before or is_after):
                what = "the model has a LayerNormalization that is not beside one hidden activation"
                raise refusal(what, REMEDY)
            norms[k] = "before" if is_before else "after", layer
            if is_before:
                activations[k] = activation
        else:
            raise refusal("the model has a sum that is no block of hidden layers", REMEDY)
        if alpha is not None:
            alphas[k] = alpha
    skip = _skip(ends, entering, [layer.weights.shape[1] for layer in layers[:-1]])
    others: dict[str, Any] = {"norms": norms, "alphas": alphas, "skip": skip, "linear": linear}
    return network(layers, activations[:-1], link, loss, rng, **others)


def _is_path(read: Read, after: str, before: str) -> bool:
    """Whether a term that is added is the linear path: of the inputs, to the outputs."""
    return read.source == INPUT and not after and before == "identity"


def _chain(reader: Reader, last: Term) -> list[tuple[Read, str, Array | None]]:
    """Return the layers that lead to a term, each with the activation after it, and its alphas.

    The activation is "" at the end.
    """
    found: list[tuple[Read, str, Array | None]] = []
    at, after, alphas = last.layer, "", None
    while at >= 0:
        read = reader.layers[at]
        found.append((read, after, alphas))
        before = read.before
        if before != INPUT:
            inner, alphas = reader.blend(before) or (before, None)
            after = reader.name([inner], KNOWN_ACTIVATIONS) or ""
            if not after or before.layer < 0:
                n = len(read.layer.weights) if isinstance(read.layer, Affine) else read.width
                what = f"the model has {reader.operation(before)} between layers of {n} units"
                raise refusal(what, REMEDY)
        at = before.layer
    return found[::-1]


def _skip(ends: Mapping[int, Term], entering: Sequence[Term], widths: Sequence[int]) -> int | None:
    """Return how many hidden layers a block has, from what is added at the ends of blocks."""
    if not ends:
        return None
    try:
        found = tuple(entering.index(ends[k]) if k in ends else None for k in range(len(widths)))
        last = min(ends)
        skip = last - (found[last] or 0) + 1
        if layer_options.blocks(skip, widths) == found:
            return skip
    except (IndexError, ValueError):
        pass  # said below
    raise refusal("the model has sums that are no blocks of equally many hidden layers", REMEDY)


def _read(onnx: Any, graph: Any) -> Reader:
    """Return what is known of all tensors of a graph."""
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    matrices = [array for array in constants.values() if array.ndim == 2]
    reader = Reader(np.result_type(np.float32, *matrices), constants=constants)
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1:
        raise refusal(f"the model has {len(inputs)} inputs, not one", REMEDY)
    reader.terms[inputs[0].name] = INPUT
    for node in graph.node:
        given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        given = {name: v.decode() if isinstance(v, bytes) else v for name, v in given.items()}
        if node.op_type == "Constant" and "value" in given:
            reader.constants[node.output[0]] = onnx.numpy_helper.to_array(given["value"])
        else:
            reader.read(node.op_type, list(node.input), list(node.output), given)
    return reader
