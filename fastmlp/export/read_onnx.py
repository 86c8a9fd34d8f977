"""An ONNX model as an MLP: its layers are collected, what is between them is recognised.

Every tensor is a term: an expression over the output of the last layer before it, with a
number that equal expressions share. The activations are written as such terms too, by the same
table that writes models, so that recognising one is to compare two numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

import fastmlp.export.graph as nodes
from fastmlp.activations import GELU_CUBIC, SQRT_2_OVER_PI
from fastmlp.export.graph import Graph, Name
from fastmlp.export.layers import Affine, Array, Normalization
from fastmlp.export.onnx import package
from fastmlp.export.plain import network, refusal
from fastmlp.losses import Loss
from fastmlp.mlp import MLP
from fastmlp.normalization import EPSILON


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
# What attributes are if they are not given; those of an axis count from the end of two.
DEFAULTS: dict[str, dict[str, Any]] = {
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    "LeakyRelu": {"alpha": 0.01},
    "Elu": {"alpha": 1.0},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    "Gelu": {"approximate": "none"},
    "Softmax": {"axis": -1},
    "Flatten": {"axis": 1},
    "LayerNormalization": {"axis": -1, "epsilon": 1e-5},
}
COMMUTATIVE = ("Add", "Mul", "Max", "Min")
LABELS = ("label", "output_label")
Collected: TypeAlias = Affine | Normalization  # what shifts columns, by its second array
Z = 0  # the number of the term that is the layer's output itself, or the input
REMEDY = "read the parameters with onnx.numpy_helper, and assign them to an MLP"


@dataclass(frozen=True)
class Term:
    """What a tensor is: an expression over the output of a layer.

    Attributes
    ----------
    layer : int
        Index into the layers; -1 is the input.
    number : int
        Of the expression.
    """

    layer: int
    number: int


@dataclass
class Reader:
    """All that is known of a graph on the way through it."""

    dtype: np.dtype[Any]
    numbers: dict[Any, int] = field(default_factory=lambda: {"z": Z})
    constants: dict[Name, Array] = field(default_factory=dict)
    terms: dict[Name, Term] = field(default_factory=dict)
    layers: list[tuple[Collected, Term]] = field(default_factory=list)  # and what enters it

    def read(self, op: str, inputs: Sequence[Name], outputs: Sequence[Name], given: Any) -> None:
        """Follow one node."""
        attributes = DEFAULTS.get(op, {}) | given
        if "axis" in attributes and attributes["axis"] >= 0:
            attributes["axis"] -= 2
        arrays = [self.constants.get(name) for name in inputs]
        if all(array is not None for array in arrays):
            if op in FOLDED:
                self.constants[outputs[0]] = FOLDED[op](attributes, *arrays)
            return
        known = [self.terms[name] for name in inputs if name in self.terms]
        layer = self._layer(op, inputs, arrays, attributes)
        if layer is not None:
            self.terms[outputs[0]] = Term(len(self.layers), Z)
            self.layers.append(layer)
        elif known and self._changes_nothing(op, attributes, arrays, known[0]):
            self.terms[outputs[0]] = known[0]
        elif len({term.layer for term in known}) == 1:
            key = [self._part(name) for name in inputs]
            if op in COMMUTATIVE:
                key.sort(key=str)
            for at, output in enumerate(outputs):
                whole = op, _rounded(attributes), tuple(key), at
                number = self.numbers.setdefault(whole, len(self.numbers))
                self.terms[output] = Term(known[0].layer, number)

    def _part(self, name: Name) -> Any:
        if name in self.terms:
            return self.terms[name].number
        array = self.constants.get(name)
        if array is None or array.size != 1 or array.dtype.kind not in "biuf":
            return name  # equal to nothing
        return "number", float(array.reshape(()))

    def _changes_nothing(
        self, op: str, attributes: dict[str, Any], arrays: list[Array | None], term: Term
    ) -> bool:
        if op == "Cast":
            helper = package().helper
            return bool(helper.tensor_dtype_to_np_dtype(attributes["to"]) == self.dtype)
        if op == "Dropout":
            return len(arrays) < 3  # else it may be at work
        if op == "Reshape" and term.layer >= 0:  # into what it is already
            columns = len([*vars(self.layers[term.layer][0]).values()][1])
            return arrays[1] is not None and arrays[1].tolist() == [-1, columns]
        return op == "Identity" or (op == "Flatten" and attributes["axis"] == -1)

    def _layer(
        self, op: str, inputs: Sequence[Name], arrays: list[Array | None], attributes: Any
    ) -> tuple[Collected, Term] | None:
        """Return the layer that a node makes, and what enters it; None if it makes none."""
        before = self.terms.get(inputs[0])
        if op in ("Gemm", "MatMul") and before is not None and len(arrays) > 1:
            weights = arrays[1]
            if weights is None or weights.ndim != 2 or weights.dtype != self.dtype:
                return None
            if attributes.get("transA"):
                return None
            if op == "Gemm":
                weights = attributes["alpha"] * (weights.T if attributes["transB"] else weights)
            zero = np.zeros(weights.shape[1], weights.dtype)
            shift = arrays[2] if len(arrays) > 2 else None
            if len(arrays) > 2 and shift is None:
                return None
            biases = zero if shift is None else zero + attributes["beta"] * shift.reshape(-1)
            return Affine(weights.astype(self.dtype), biases.astype(self.dtype)), before
        if op == "LayerNormalization" and before is not None and len(arrays) > 1:
            made = _normalization(arrays[1:], attributes)
            return None if made is None else (made, before)
        term = next((self.terms[name] for name in inputs if name in self.terms), None)
        vector = next((array for array in arrays if array is not None), None)
        if term is None or term.layer < 0 or vector is None or not vector.ndim:
            return None
        if op == "Mul":
            whole, gains = self._normalized(term), vector.reshape(-1)
            return None if whole is None else (Normalization(gains, np.zeros_like(gains)), whole)
        if op == "Add" and term.number == Z:
            layer, before = self.layers[term.layer]
            first, shift = vars(layer).values()
            if vector.size == len(shift):
                return type(layer)(first, shift + vector.reshape(-1)), before
        return None

    def _normalized(self, term: Term) -> Term | None:
        """Return the term whose normalised rows a term is, if it is that of any."""
        for each in {each for each in self.terms.values() if each.layer == term.layer}:
            if self.pattern(nodes.normalized, each.number) == (term.number,):
                return each
        return None

    def pattern(
        self, emit: Callable[[Graph, Name], Name | nodes.Names], z: int = Z
    ) -> tuple[int, ...]:
        """Return the numbers of what an emitter makes of a term of this number."""
        g = Graph(self.dtype)
        made = emit(g, "z")
        own = Reader(self.dtype, self.numbers, g.constants, {"z": Term(-1, z)})
        for node in g.nodes:
            own.read(node.op, node.inputs, node.outputs, node.attributes)
        outputs = (made,) if isinstance(made, str) else made
        return tuple(own.terms[name].number for name in outputs)

    def name(
        self, terms: Iterable[Term], table: Iterable[tuple[str, Callable[..., Any]]]
    ) -> str | None:
        """Return the row of a table that makes these terms."""
        wanted = tuple(term.number for term in terms)
        return next((name for name, emit in table if self.pattern(emit) == wanted), None)

    def operation(self, term: Term) -> str:
        """Return the last operation of a term, for a message."""
        return str(next(key[0] for key, number in self.numbers.items() if number == term.number))


def _normalization(arrays: list[Array | None], attributes: Any) -> Normalization | None:
    """Return what LayerNormalization is, if it is ours: over columns, with the same epsilon."""
    is_ours = abs(attributes["epsilon"] - EPSILON) < 1e-6 * EPSILON  # it is kept in float32
    vectors = [array for array in arrays if array is not None and array.ndim == 1]
    if not is_ours or attributes["axis"] != -1 or len(vectors) != len(arrays):
        return None
    return Normalization(vectors[0], [*vectors, np.zeros_like(vectors[0])][1])


def _rounded(attributes: dict[str, Any]) -> tuple[Any, ...]:
    """Return attributes as a key; ONNX keeps real numbers in float32."""
    return tuple(
        (name, float(np.float32(value)) if isinstance(value, float) else str(value))
        for name, value in sorted(attributes.items())
    )


FOLDED: dict[str, Callable[..., Array]] = {
    "Identity": lambda _, array: array,
    "Transpose": lambda attributes, array: array.transpose(attributes.get("perm")),
}


def from_onnx(
    model: Any,
    *,
    output: str | Sequence[str] | None = None,
    loss: str | Loss | None = None,
    rng: int | np.random.Generator | None = None,
) -> MLP:
    """Return the MLP that an ONNX model is.

    Parameters
    ----------
    model : str, path, bytes or onnx.ModelProto
        Gemm, or MatMul and Add, with activations between them, LayerNormalization before or after
        these, and perhaps Softmax or Sigmoid at the end: what ``to_onnx`` writes, and what others
        write for such networks.
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
        Of the model's dtype, with the same predictions up to rounding.

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
    if link is None or len({term.layer for term in terms}) > 1 or terms[0].layer < 0:
        what = f"the outputs {names} are {', '.join(map(reader.operation, terms))} of a layer"
        raise refusal(what, "name other outputs with output=, or " + REMEDY)
    layers: list[Affine] = []
    activations: list[str] = []
    norms: dict[int, tuple[str, Normalization]] = {}
    for layer, activation in _chain(reader, terms[0]):
        if isinstance(layer, Affine):
            layers.append(layer)
            activations.append(activation)
            continue
        k = len(layers) - 1  # the affine layer before
        is_before = k >= 0 and activations[k] == "identity"
        if k < 0 or k in norms or not activation or not (is_before or activation == "identity"):
            what = "the model has a LayerNormalization that is not beside one hidden activation"
            raise refusal(what, REMEDY)
        norms[k] = "before" if is_before else "after", layer
        if is_before:
            activations[k] = activation
    return network(layers, activations[:-1], link, loss, rng, norms=norms)


def _chain(reader: Reader, last: Term) -> list[tuple[Collected, str]]:
    """Return the layers that lead to a term, each with the activation after it; "" at the end."""
    found: list[tuple[Collected, str]] = []
    at, after = last.layer, ""
    while at >= 0:
        layer, before = reader.layers[at]
        found.append((layer, after))
        if before.layer >= 0 or before.number != Z:
            after = reader.name([before], KNOWN_ACTIVATIONS) or ""
            if not after or before.layer < 0:
                where = f"between layers of {len(next(iter(vars(layer).values())))} units"
                raise refusal(f"the model has {reader.operation(before)} {where}", REMEDY)
        at = before.layer
    return found[::-1]


def _read(onnx: Any, graph: Any) -> Reader:
    """Return what is known of all tensors of a graph."""
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    matrices = [array for array in constants.values() if array.ndim == 2]
    reader = Reader(np.result_type(np.float32, *matrices), constants=constants)
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1:
        raise refusal(f"the model has {len(inputs)} inputs, not one", REMEDY)
    reader.terms[inputs[0].name] = Term(-1, Z)
    for node in graph.node:
        given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        given = {name: v.decode() if isinstance(v, bytes) else v for name, v in given.items()}
        if node.op_type == "Constant" and "value" in given:
            reader.constants[node.output[0]] = onnx.numpy_helper.to_array(given["value"])
        else:
            reader.read(node.op_type, list(node.input), list(node.output), given)
    return reader
