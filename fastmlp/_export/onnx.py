"""Export to ONNX: a network as a graph of standard operators."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastmlp._export.onnx_nodes as nodes
from fastmlp._core.atomic_files import write
from fastmlp._core.optional import require
from fastmlp._export.layers import (
    Activation,
    Add,
    Affine,
    Exported,
    Keep,
    Labels,
    Layer,
    Linear,
    Link,
    Normalization,
    Parametric,
)
from fastmlp._export.onnx_nodes import Graph, Name, Names
from fastmlp._network.tensors import name_of

OPSET = 17
MAX_BYTES = 2**31 - 1  # limit of a protobuf message
INPUT = "X"
ROWS = "rows"  # name of the axis of variable length


def package() -> Any:
    """Return the onnx package."""
    require("to_onnx", "onnx.numpy_helper")
    return require("to_onnx", "onnx")


def _parametric(g: Graph, z: Name, layer: Parametric, k: int) -> Name:
    alphas = g.constant(layer.alphas, name_of("alphas", k))
    active = g.Mul(nodes.activations(g.dtype)[layer.name](g, z), alphas)
    return g.Add(g.Mul(z, g.Sub(1.0, alphas)), active)


def _normalization(g: Graph, z: Name, layer: Normalization, k: int) -> Name:
    gains = g.constant(layer.gains, name_of("gains", k))
    return nodes.layer_norm(g, z, gains, g.constant(layer.shifts, name_of("shifts", k)))


def _affine(g: Graph, z: Name, layer: Affine, k: int) -> Name:
    weights = g.constant(layer.weights, name_of("weights", k))
    biases = g.constant(layer.biases, name_of("biases", k))
    if layer.weights.ndim > 2:  # a stack of networks, which Gemm does not multiply
        return g.Add(g.MatMul(z, weights), biases)
    return g.Gemm(z, weights, biases)


def _linear(g: Graph, z: Name, layer: Linear, inputs: Name) -> Name:
    return g.Gemm(inputs, g.constant(layer.weights, name_of("linear_weights", 0)), z)


# The nodes of each layer: arguments are the graph, the current value, the layer, the index of the
# affine layer at or before it, and the values stored by `Keep`.
WRITERS: dict[type, Any] = {
    Affine: lambda g, z, layer, k, kept: _affine(g, z, layer, k),
    Normalization: lambda g, z, layer, k, kept: _normalization(g, z, layer, k),
    Keep: lambda g, z, layer, k, kept: kept.update({layer.name: z}) or z,
    Add: lambda g, z, layer, k, kept: g.Add(z, kept[layer.name]),
    Linear: lambda g, z, layer, k, kept: _linear(g, z, layer, kept["inputs"]),
    Activation: lambda g, z, layer, k, kept: nodes.activations(g.dtype)[layer.name](g, z),
    Parametric: lambda g, z, layer, k, kept: _parametric(g, z, layer, k),
}


def _class_of_largest(g: Graph, p: Name, labels: Labels) -> Name:
    return _called(g, g.ArgMax(p, axis=1, keepdims=0), labels)


def _class_of_pair(g: Graph, p: Name, labels: Labels) -> Name:
    is_second = g.Reshape(g.Greater(p, 0.5), np.array([-1]))
    return _called(g, g.Cast(is_second, to=package().TensorProto.INT64), labels)


def _each(g: Graph, p: Name, labels: Labels) -> Name:
    del labels
    return g.Cast(g.Greater(p, 0.5), to=package().TensorProto.INT64)


LABELS = {"largest": _class_of_largest, "pair": _class_of_pair, "each": _each}


def _called(g: Graph, index: Name, labels: Labels) -> Name:
    return index if labels.are_numbered else g.Gather(labels.values, index)


def network(g: Graph, x: Name, layers: Iterable[Layer]) -> Names:
    """Add all layers of a network, or of a stack of networks, and return the outputs."""
    z, k = x, -1
    kept: dict[str, Name] = {}
    for layer in layers:
        if isinstance(layer, Link):
            return nodes.LINKS[layer.name][0](g, z)
        k += isinstance(layer, Affine)
        z = WRITERS[type(layer)](g, z, layer, k, kept)
    return (z,)


def _prediction(g: Graph, number: int, model: Exported) -> Names:
    g.prefix = f"members.{number}." if number else ""
    return network(g, INPUT, model.layers)


@dataclass(frozen=True)
class Value:
    """Dtype and shape of one row of an input or output."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def graph(model: Exported) -> tuple[Graph, dict[Name, Value]]:
    """Return the graph of a model, and its outputs by name."""
    g, columns = Graph(model.spec.dtype), model.spec.n_outputs
    names = nodes.mixture(g, [_prediction(g, k, each) for k, each in enumerate(model.each)])
    outputs: dict[Name, Value] = {}
    if model.labels is not None:
        outputs["label"] = label(g, names[0], model.labels)
    if model.is_pair:
        names, columns = (nodes.pair(g, names[0]),), 2
    wanted = nodes.LINKS[model.spec.loss.link_name][1]
    for old, new in zip(names, wanted, strict=True):
        g.rename(old, new)
        outputs[new] = Value(model.spec.dtype, (columns,))
    return g, outputs


def label(g: Graph, p: Name, labels: Labels) -> Value:
    """Add the output ``label``, computed from probabilities."""
    g.rename(LABELS[labels.kind](g, p, labels), "label")
    if labels.kind == "each":
        return Value(np.dtype(np.int64), (len(labels.classes),))
    return Value(labels.values.dtype, ())


def check_size(size: int) -> None:
    """Raise an error for more bytes of parameters than an ONNX file can hold."""
    if size > MAX_BYTES:
        raise ValueError(
            f"the parameters take {size:,} bytes but a file of ONNX holds at most {MAX_BYTES:,}: "
            "use a smaller network, or float32"
        )


def model(exported: Exported, path: Any = None) -> Any:
    """Return the onnx.ModelProto of a network, and write it to a file if there is a path."""
    package()
    check_size(exported.n_parameters * exported.spec.dtype.itemsize)
    inputs = {INPUT: Value(exported.spec.dtype, (exported.spec.layer_sizes[0],))}
    return made(*graph(exported), inputs, {"": OPSET}, path)


def made(
    g: Graph,
    outputs: dict[Name, Value],
    inputs: dict[Name, Value],
    opsets: dict[str, int],
    path: Any,
) -> Any:
    """Return a checked onnx.ModelProto of a graph, and write it to a file if there is a path."""
    onnx = package()
    helper, arrays = onnx.helper, onnx.numpy_helper

    def described(name: Name, value: Value) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(name, kind, [ROWS, *value.shape])

    body = helper.make_graph(
        [
            helper.make_node(n.op, n.inputs, n.outputs, n.outputs[0], **n.attributes)
            for n in g.nodes
        ],
        "fastmlp",
        [described(*each) for each in inputs.items()],
        [described(*each) for each in outputs.items()],
        [arrays.from_array(array, name) for name, array in g.constants.items()],
    )
    needed = [helper.make_opsetid(*each) for each in opsets.items()]
    proto = helper.make_model(
        body,
        opset_imports=needed,
        ir_version=helper.find_min_ir_version_for(needed),
        producer_name="fastmlp",
    )
    onnx.checker.check_model(proto, full_check=True)
    if path is not None:
        write(path, [proto.SerializeToString()])
    return proto
