"""A network as a LiteRT file: LiteRT itself converts only from TensorFlow, PyTorch and JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FUSED = "fusedActivationFunction"


def model(parameters: Sequence[tuple[Array, Array]], rows: int, classifies: bool) -> bytes:
    """Return the file: FULLY_CONNECTED with fused relu for each layer, and perhaps SOFTMAX.

    ``parameters`` are float32 weights (fan_in, fan_out) and biases of each layer.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tensors: list[Any] = []
    operators: list[Any] = []
    codes: list[Any] = []
    buffers = [schema.BufferT()]  # tensors without constants use the first buffer

    def made(kind: str, **fields: Any) -> Any:
        table = getattr(schema, f"{kind}T")()
        vars(table).update(fields)
        return table

    def tensor(shape: Sequence[int], values: Array | None = None) -> int:
        if values is not None:
            data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            buffers.append(made("Buffer", data=data))
        buffer = 0 if values is None else len(buffers) - 1
        kind, name = schema.TensorType.FLOAT32, f"t{len(tensors)}"
        tensors.append(made("Tensor", name=name, shape=list(shape), buffer=buffer, type=kind))
        return len(tensors) - 1

    def operator(name: str, inputs: list[int], width: int, options: str, **fields: Any) -> int:
        code = getattr(schema.BuiltinOperator, name)
        codes.append(made("OperatorCode", builtinCode=code, deprecatedBuiltinCode=code))
        output = tensor((rows, width))
        operators.append(
            made(
                "Operator",
                opcodeIndex=len(codes) - 1,
                inputs=inputs,
                outputs=[output],
                builtinOptionsType=getattr(schema.BuiltinOptions, options),
                builtinOptions=made(options, **fields),
            )
        )
        return output

    first = at = tensor((rows, len(parameters[0][0])))
    for k, (weights, bias) in enumerate(parameters):
        relu = schema.ActivationFunctionType.RELU if k < len(parameters) - 1 else 0
        inputs = [at, tensor(weights.T.shape, weights.T), tensor(bias.shape, bias)]
        at = operator(
            "FULLY_CONNECTED", inputs, len(bias), "FullyConnectedOptions", **{FUSED: relu}
        )
    if classifies:
        at = operator("SOFTMAX", [at], len(parameters[-1][1]), "SoftmaxOptions", beta=1.0)
    graph = made("SubGraph", tensors=tensors, operators=operators, inputs=[first], outputs=[at])
    fields = {"subgraphs": [graph], "operatorCodes": codes, "buffers": buffers}
    builder = flatbuffers.Builder(1024)
    builder.Finish(made("Model", version=3, **fields).Pack(builder), b"TFL3")
    return bytes(builder.Output())
