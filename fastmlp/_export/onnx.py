"""Export to ONNX: a network as a graph of standard operators."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import fastmlp._export.onnx_nodes as nodes
from fastmlp._core.atomic_files import write
from fastmlp._core.optional import require
from fastmlp._export.activations import ACTIVATIONS
from fastmlp._export.graph import Graph, Name, Names
from fastmlp._export.layers import stacked
from fastmlp._network.exported import Exported, Labels, Layer
from fastmlp._network.tensors import name_of

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

OPSET = 17
MAX_BYTES = 2**31 - 1  # limit of a protobuf message
INPUT = "X"
ROWS = "rows"  # name of the axis of variable length


def package() -> ModuleType:
    """Return the onnx package."""
    require("to_onnx", "onnx.numpy_helper")
    return require("to_onnx", "onnx")


# The nodes of each layer except the link, from the graph, the current and the stored values, the
# layer's name, and the names of its arrays.
WRITERS: dict[str, Any] = {
    "affine": lambda g, z, stored, name, weights, biases: nodes.product(g, z, weights, biases),
    "linear": lambda g, z, stored, name, linear_weights: nodes.product(
        g, stored["inputs"], linear_weights, z
    ),
    "layer_norm": lambda g, z, stored, name, gains, shifts: nodes.layer_norm(g, z, gains, shifts),
    "parametric": lambda g, z, stored, name, alphas: nodes.parametric(g, z, name, alphas),
    "activation": lambda g, z, stored, name: ACTIVATIONS[name].nodes(g, z),
    "keep": lambda g, z, stored, name: stored.update({name: z}) or z,
    "skip": lambda g, z, stored, name: g.Add(z, stored["block"]),
}


def network(g: Graph, x: Name, layers: Iterable[Layer]) -> Names:
    """Add all layers of a network, or of a stack of networks, and return the outputs."""
    z, stored = x, dict[str, Name]()
    *hidden, link = layers
    for layer in hidden:
        arrays = {
            kind: g.constant(array, name_of(kind, layer.number))
            for kind, array in layer.arrays.items()
        }
        z = WRITERS[layer.kind](g, z, stored, layer.name, **arrays)
    return nodes.LINKS[link.name][0](g, z, link.heads)


@dataclass(frozen=True)
class Value:
    """Dtype and shape of one row of an input or output."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


Values: TypeAlias = dict[Name, Value]


def model(exported: Exported, path: str | os.PathLike[str] | None = None) -> ModelProto:
    """Return the onnx.ModelProto of a network, and write it to a file if there is a path."""
    package()
    check_size(exported.n_parameters * exported.spec.dtype.itemsize)
    g = Graph(exported.spec.dtype)
    if len(exported.nets) == 1:
        names = network(g, INPUT, exported.nets[0])
    else:
        names = nodes.mixture(g, network(g, INPUT, stacked(exported.nets)))
    outputs: Values = {}
    if exported.labels is not None:
        outputs["label"] = label(g, names[0], exported.labels)
    columns = exported.spec.shapes[-1][1] // len(names)
    if exported.is_pair:
        names, columns = (nodes.pair(g, names[0]),), 2
    output_names = nodes.LINKS[exported.spec.loss.link_name][1]
    for old, new in zip(names, output_names, strict=True):
        g.rename(old, new)
        outputs[new] = Value(exported.spec.dtype, (columns,))
    inputs = {INPUT: Value(exported.spec.dtype, (exported.spec.layer_sizes[0],))}
    return made(g, outputs, inputs, {"": OPSET}, path)


def label(g: Graph, p: Name, labels: Labels) -> Value:
    """Add the output ``label``, computed from probabilities."""
    if labels.kind == "largest":
        codes = g.ArgMax(p, axis=1, keepdims=0)
    else:
        codes = g.Cast(g.Greater(p, 0.5), to=package().TensorProto.INT64)
    if labels.kind == "each":
        g.rename(codes, "label")
        return Value(np.dtype(np.int64), (len(labels.classes),))
    if labels.kind == "pair":
        codes = g.Reshape(codes, np.array([-1]))
    g.rename(codes if labels.are_numbered else g.Gather(labels.values, codes), "label")
    return Value(labels.values.dtype, ())


def check_size(size: int) -> None:
    """Raise an error for more bytes of parameters than an ONNX file can hold."""
    if size > MAX_BYTES:
        raise ValueError(
            f"the parameters take {size:,} bytes but a file of ONNX holds at most {MAX_BYTES:,}: "
            "use a smaller network, or float32"
        )


def made(
    g: Graph,
    outputs: Values,
    inputs: Values,
    opsets: dict[str, int],
    path: str | os.PathLike[str] | None,
) -> ModelProto:
    """Return a checked onnx.ModelProto of a graph, and write it to a file if there is a path."""
    onnx = package()
    helper, arrays = onnx.helper, onnx.numpy_helper

    def described(name: Name, value: Value) -> ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        info: ValueInfoProto = helper.make_tensor_value_info(name, kind, [ROWS, *value.shape])
        return info

    body = helper.make_graph(
        [
            helper.make_node(n.op, n.inputs, n.outputs, n.outputs[0], **n.attributes)
            for n in g.nodes
        ],
        "fastmlp",
        [described(*item) for item in inputs.items()],
        [described(*item) for item in outputs.items()],
        [arrays.from_array(array, name) for name, array in g.constants.items()],
    )
    needed = [helper.make_opsetid(*item) for item in opsets.items()]
    proto: ModelProto = helper.make_model(
        body,
        opset_imports=needed,
        ir_version=helper.find_min_ir_version_for(needed),
        producer_name="fastmlp",
    )
    onnx.checker.check_model(proto, full_check=True)
    if path is not None:
        write(path, [proto.SerializeToString()])
    return proto
