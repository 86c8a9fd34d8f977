"""Predictions by LiteRT, of a file that is written here, for `predictors.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from workloads import Array, Case

from fastmlp._cli.rivals import Timed


def model_file(case: Case) -> bytes:
    """Return a network as a LiteRT file, which LiteRT itself makes of other libraries' models only.

    Layers are FULLY_CONNECTED with fused relu; the link is SOFTMAX.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def made(kind: str, **fields: Any) -> Any:
        table = getattr(schema, f"{kind}T")()
        vars(table).update(fields)
        return table

    tensors: list[Any] = []
    operators: list[Any] = []
    buffers = [made("Buffer")]  # of tensors that are computed

    def tensor(shape: Sequence[int], values: Array | None = None) -> int:
        if values is not None:
            buffers.append(made("Buffer", data=np.frombuffer(values.tobytes(), np.uint8)))
        place = 0 if values is None else len(buffers) - 1
        kind, name = schema.TensorType.FLOAT32, f"t{len(tensors)}"
        tensors.append(made("Tensor", name=name, shape=list(shape), buffer=place, type=kind))
        return len(tensors) - 1

    def operator(code: int, inputs: list[int], width: int, options: str, **fields: Any) -> int:
        output, kind = tensor((case.n_rows, width)), getattr(schema.BuiltinOptions, options)
        given = {"builtinOptionsType": kind, "builtinOptions": made(options, **fields)}
        ends = {"inputs": inputs, "outputs": [output]}
        operators.append(made("Operator", opcodeIndex=code, **ends, **given))
        return output

    layers = case.parameters()
    first = at = tensor((case.n_rows, case.layer_sizes[0]))
    for k, (weights, bias) in enumerate(layers):
        inputs = [at, tensor(weights.T.shape, weights.T), tensor(bias.shape, bias)]
        fused = {"fusedActivationFunction": int(k < len(layers) - 1)}  # 0 is none, 1 is relu
        at = operator(0, inputs, len(bias), "FullyConnectedOptions", **fused)
    if case.classifies:
        at = operator(1, [at], case.layer_sizes[-1], "SoftmaxOptions", beta=1.0)
    ends = {"inputs": [first], "outputs": [at]}
    fields = {
        "subgraphs": [made("SubGraph", tensors=tensors, operators=operators, **ends)],
        "operatorCodes": [
            made("OperatorCode", builtinCode=code, deprecatedBuiltinCode=code)
            for code in (schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.SOFTMAX)
        ],
        "buffers": buffers,
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(made("Model", version=3, **fields).Pack(builder), b"TFL3")
    return bytes(builder.Output())


def predict(case: Case, threads: int) -> Timed:
    from ai_edge_litert.interpreter import Interpreter

    machine = Interpreter(model_content=model_file(case), num_threads=threads)  # with XNNPACK
    machine.allocate_tensors()
    ends = machine.get_input_details(), machine.get_output_details()
    (first, last), x = (details[0]["index"] for details in ends), case.data()[0]

    def call() -> Array:
        machine.set_tensor(first, x)
        machine.invoke()
        return np.asarray(machine.get_tensor(last))

    return Timed("call()", {"call": call})
