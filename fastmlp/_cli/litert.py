"""A network for LiteRT: its file is built here, for LiteRT has no converter of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def predictor(
    parameters: Sequence[tuple[Array, Array]], x: Array, threads: int, classifies: bool = False
) -> Callable[[], Array]:
    """Return a function that predicts some rows; relu lies between the layers.

    Parameters
    ----------
    parameters : sequence of (weights, bias)
        Of each layer, float32: weights of shape (fan_in, fan_out).
    x : array of float32, shape (n, features)
        The rows.
    threads : int
        Of XNNPACK.
    classifies : bool
        Whether a softmax stands behind the last layer.
    """
    from ai_edge_litert.interpreter import Interpreter

    content = model(parameters, len(x), classifies)
    machine = Interpreter(model_content=content, num_threads=threads)
    machine.allocate_tensors()
    first = machine.get_input_details()[0]["index"]
    last = machine.get_output_details()[0]["index"]

    def predict() -> Array:
        machine.set_tensor(first, x)
        machine.invoke()
        return np.asarray(machine.get_tensor(last))

    return predict


def model(parameters: Sequence[tuple[Array, Array]], rows: int, classifies: bool) -> bytes:
    """Return the file: FULLY_CONNECTED for each layer, perhaps SOFTMAX behind."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    whole, graph = schema.ModelT(), schema.SubGraphT()
    whole.version, whole.subgraphs, whole.operatorCodes = 3, [graph], []
    whole.buffers = [schema.BufferT()]  # the first is that of tensors without constants
    graph.tensors, graph.operators = [], []

    def tensor(shape: Sequence[int], values: Array | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = f"t{len(graph.tensors)}", list(shape), 0
        made.type = schema.TensorType.FLOAT32
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            whole.buffers.append(buffer)
            made.buffer = len(whole.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code: int, inputs: list[int], width: int, kind: int, options: Any) -> int:
        made, its_code = schema.OperatorT(), schema.OperatorCodeT()
        its_code.builtinCode = its_code.deprecatedBuiltinCode = code
        whole.operatorCodes.append(its_code)
        made.opcodeIndex, made.inputs = len(whole.operatorCodes) - 1, inputs
        output = tensor((rows, width))
        made.outputs = [output]
        made.builtinOptionsType, made.builtinOptions = kind, options
        graph.operators.append(made)
        return output

    at = tensor((rows, len(parameters[0][0])))
    graph.inputs, relu = [at], schema.ActivationFunctionType.RELU
    for k, (weights, bias) in enumerate(parameters):
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = relu if k < len(parameters) - 1 else 0
        constants = [tensor(weights.T.shape, weights.T), tensor(bias.shape, bias)]
        kinds = schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOptions.FullyConnectedOptions
        at = operator(kinds[0], [at, *constants], len(bias), kinds[1], options)
    if classifies:
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        kinds = schema.BuiltinOperator.SOFTMAX, schema.BuiltinOptions.SoftmaxOptions
        at = operator(kinds[0], [at], len(parameters[-1][1]), kinds[1], options)
    graph.outputs = [at]
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())
