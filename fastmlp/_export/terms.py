"""What the tensors of an ONNX graph are: expressions over the outputs of its layers.

Every tensor is a term: an expression over the output of the last layer before it, with a
number that equal expressions share. The activations are written as such terms too, by the same
table that writes models, so that recognising one is to compare two numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

import fastmlp._export.onnx_nodes as nodes
from fastmlp._export.layers import Add, Affine, Array, Linear, Normalization
from fastmlp._export.onnx import package
from fastmlp._export.onnx_nodes import Graph, Name
from fastmlp._network.layer_norm import EPSILON

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
Collected: TypeAlias = Affine | Normalization | Linear | Add
Z = 0  # the number of the term that is the layer's output itself, or the input


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


INPUT = Term(-1, Z)


class Read(NamedTuple):
    """A layer, of how many columns, and what enters it; a sum has another source."""

    layer: Collected
    width: int
    before: Term
    source: Term | None = None


@dataclass
class Reader:
    """All that is known of a graph on the way through it."""

    dtype: np.dtype[Any]
    numbers: dict[Any, int] = field(default_factory=lambda: {"z": Z})
    constants: dict[Name, Array] = field(default_factory=dict)
    terms: dict[Name, Term] = field(default_factory=dict)
    layers: list[Read] = field(default_factory=list)

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
            columns = self.layers[term.layer].width
            return arrays[1] is not None and arrays[1].tolist() == [-1, columns]
        return op == "Identity" or (op == "Flatten" and attributes["axis"] == -1)

    def _layer(
        self, op: str, inputs: Sequence[Name], arrays: list[Array | None], attributes: Any
    ) -> Read | None:
        """Return the layer that a node makes; None if it makes none."""
        before = self.terms.get(inputs[0])
        if op in ("Gemm", "MatMul") and before is not None and len(arrays) > 1:
            weights = arrays[1]
            if weights is None or weights.ndim != 2 or weights.dtype != self.dtype:
                return None
            if attributes.get("transA"):
                return None
            if op == "Gemm":
                weights = attributes["alpha"] * (weights.T if attributes["transB"] else weights)
            weights, width = weights.astype(self.dtype), weights.shape[1]
            zero = np.zeros(width, self.dtype)
            shift = arrays[2] if len(arrays) > 2 else None
            if len(arrays) > 2 and shift is None:  # added to a term
                y = self.terms.get(inputs[2])
                is_sum = y is not None and attributes["beta"] == 1 and self.width(y) == width
                return Read(Linear(weights), width, y, before) if y and is_sum else None
            biases = zero if shift is None else zero + attributes["beta"] * shift.reshape(-1)
            return Read(Affine(weights, biases.astype(self.dtype)), width, before)
        if op == "LayerNormalization" and before is not None and len(arrays) > 1:
            made = _normalization(arrays[1:], attributes)
            return None if made is None else Read(made, len(made.gains), before)
        if op == "Add" and all(name in self.terms for name in inputs):
            source, y = sorted((self.terms[name] for name in inputs), key=lambda term: term.layer)
            if source.layer == y.layer or self.width(source) not in (None, self.width(y)):
                return None
            return Read(Add("block"), self.layers[y.layer].width, y, source)
        term = next((self.terms[name] for name in inputs if name in self.terms), None)
        vector = next((array for array in arrays if array is not None), None)
        if term is None or term.layer < 0 or vector is None or not vector.ndim:
            return None
        if op == "Mul":
            whole, gains = self._normalized(term), vector.reshape(-1)
            made = Normalization(gains, np.zeros_like(gains))
            return None if whole is None else Read(made, len(gains), whole)
        read = self.layers[term.layer]
        if op == "Add" and term.number == Z and isinstance(read.layer, Affine | Normalization):
            first, shift = vars(read.layer).values()
            if vector.size == len(shift):
                return read._replace(layer=type(read.layer)(first, shift + vector.reshape(-1)))
        return None

    def width(self, term: Term) -> int | None:
        """Return how many columns a term has, None if that is unknown."""
        return self.layers[term.layer].width if term.layer >= 0 else None  # of the inputs, unknown

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

    def blend(self, term: Term) -> tuple[Term, Array] | None:
        """Return t and a of (1 - a) z + a t, if a term is that of a layer's output z."""
        if term.number == Z:
            return None
        keys = {number: key for key, number in self.numbers.items()}
        op, _, parts, _ = keys[term.number]
        products = [self._factors(keys.get(part)) for part in parts] if op == "Add" else []
        one, two = products or (None, None)
        if one is None or two is None:
            return None
        for (z, rest), (t, alphas) in ((one, two), (two, one)):
            if z == Z and np.array_equal(rest, 1 - alphas):
                return Term(term.layer, t), alphas
        return None

    def _factors(self, key: Any) -> tuple[int, Array] | None:
        """Return the term and the constant vector of a product, if it is one."""
        if not isinstance(key, tuple) or key[0] != "Mul":
            return None
        terms = [part for part in key[2] if isinstance(part, int)]
        others = [part for part in key[2] if not isinstance(part, int)]
        if len(terms) != 1:
            return None
        if isinstance(others[0], tuple):  # a vector of one number
            return terms[0], np.full(1, others[0][1], self.dtype)
        found = self.constants.get(others[0])
        return None if found is None else (terms[0], found.reshape(-1))

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
    "Sub": lambda _, a, b: a - b,
    "Transpose": lambda attributes, array: array.transpose(attributes.get("perm")),
}
