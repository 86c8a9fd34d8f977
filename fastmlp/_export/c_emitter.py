"""The writers of layers: each adds constants, helper functions and calls to a C file."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastmlp._export.c_text as text
from fastmlp._export.c_layers import Halves, InputScaling, LinearHalves, Quantized, QuantizedLinear
from fastmlp._export.layers import (
    Activation,
    Add,
    Affine,
    Array,
    Keep,
    Linear,
    Link,
    Normalization,
    Parametric,
)

# C types of arrays by dtype; float32, which is not listed, becomes the type of the arithmetic.
KINDS = {
    "float64": "double",
    "int8": "signed char",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "int32": "int",
}
SEVERAL = "p"  # buffer for the prediction of one of several networks


class Emitter:
    """Collects constants, functions and calls of networks; the last layer writes to ``output``."""

    def __init__(self, dtype: np.dtype[Any], output: str) -> None:
        self.dtype, self.output = dtype, output
        self.constants: list[str] = []
        self.functions: dict[str, str] = {}  # a dictionary by name, so that each is written once
        self.calls: list[str] = []
        self.constant_bytes = 0
        self.buffers: dict[str, int] = {}  # name -> size; two alternate, one more per kept value
        self.kept: dict[str, str]  # name of a Keep -> its buffer
        self._k = -1  # index of the current affine layer

    @property
    def stack_bytes(self) -> int:
        """Bytes of all buffers."""
        return sum(self.buffers.values()) * self.dtype.itemsize

    def network(self, layers: list[Any], inputs: int) -> None:
        """Add all layers of one network, quantized or not."""
        self.at, self.width, self.kept = "x", inputs, {}
        self._last = self._k + sum(hasattr(layer, "biases") for layer in layers)
        for layer in layers:
            self._k += hasattr(layer, "biases")
            WRITERS[type(layer)](self, layer)

    def body(self) -> str:
        """Return declarations of buffers and all calls, as the lines of a function body."""
        buffers = [f"real {name}[{size}];" for name, size in self.buffers.items()]
        return "".join(f"    {line}\n" for line in [*buffers, *self.calls])

    # ------------------------------------------------------------ layers

    def array(self, name: str, values: Array) -> str:
        """Add a constant array, and return its name."""
        kind = KINDS.get(values.dtype.name, "real")
        array = text.constants(kind, name, values)
        self.constants.append(text.typed(array, self.dtype) if kind == "real" else array)
        self.constant_bytes += values.nbytes
        return name

    def constant(self, name: str, values: Array) -> str:
        """Add a constant of the current layer, and return its name."""
        return self.array(f"{name}_{max(self._k, 0)}", values)

    def move(self, width: int, *, last: bool = False) -> tuple[str, str]:
        """Return the next layer's source and target buffers; the last one writes to the output."""
        source, self.width = self.at, width
        if last:
            self.at = self.output
            if self.at == SEVERAL:
                self.buffers[SEVERAL] = width
        else:
            self.at = next(each for each in "abcd" if each not in (source, *self.kept.values()))
            self.buffers[self.at] = max(self.buffers.get(self.at, 0), width)
        return source, self.at

    def affine(self, piece: str, layer: Any, *units: str) -> None:
        """Add an affine layer, or a linear path, which adds to current values instead of biases."""
        n, m = layer.weights.shape
        blocks = [layer.weights[:, j : j + text.BLOCK].ravel() for j in range(0, m, text.BLOCK)]
        is_path = not hasattr(layer, "biases")
        weights = self.constant("linear" if is_path else "weights", np.concatenate(blocks))
        self.functions["affine"] = piece
        if is_path:
            biases, source, target = self.at, self.kept["inputs"], self.at
        else:
            biases = self.constant("biases", layer.biases)
            source, target = self.move(m, last=self._k == self._last)
        arguments = ", ".join([source, weights, *units, biases, target, str(n), str(m)])
        self.calls.append(f"affine({arguments});")

    def quantized(self, layer: Any, unit: str) -> None:
        """Add an affine layer or a linear path with int8 weights."""
        self.affine(text.QUANTIZED_AFFINE, layer, self.constant(unit, layer.unit))

    def scale_inputs(self, layer: InputScaling) -> None:
        """Add the scaling of inputs."""
        n = len(layer.mean)
        mean, factor = self.constant("mean", layer.mean), self.constant("factor", layer.factor)
        self.functions["shift"] = text.SHIFT
        before, after = self.move(n)
        self.calls.append(f"shift({before}, {mean}, {factor}, {after}, {n});")

    def call(self, name: str, piece: str, *arguments: str) -> None:
        """Add a call of a helper function that changes the current values in place."""
        self.functions[name] = piece
        self.calls.append(f"{name}({', '.join([self.at, *arguments, str(self.width)])});")

    def apply(self, name: str, body: str, frame: str = text.FUNCTION, *more: str) -> None:
        """Add a function that changes the current values in place."""
        if "sigmoid(" in body:
            self.functions["sigmoid()"] = text.SIGMOID
        name = f"apply_{name}"
        self.call(name, frame.format(name=name, body=body), *more)

    def normalize(self, layer: Normalization) -> None:
        """Add a layer normalisation."""
        names = self.constant("gains", layer.gains), self.constant("shifts", layer.shifts)
        self.call("normalize", text.NORMALIZE, *names)

    def parametric(self, layer: Parametric) -> None:
        """Add a parametric activation."""
        alphas, body = self.constant("alphas", layer.alphas), text.ACTIVATIONS[layer.name]
        self.apply(f"parametric_{layer.name}", body, text.PARAMETRIC, alphas)

    def link(self, layer: Link) -> None:
        """Add the link."""
        if text.LINKS[layer.name]:
            self.apply(layer.name, text.LINKS[layer.name])


WRITERS: dict[type, Any] = {
    InputScaling: Emitter.scale_inputs,
    Affine: lambda emitter, layer: emitter.affine(text.AFFINE, layer),
    Quantized: lambda emitter, layer: emitter.quantized(layer, "unit"),
    Halves: lambda emitter, layer: emitter.affine(text.HALVES_AFFINE, layer),
    LinearHalves: lambda emitter, layer: emitter.affine(text.HALVES_AFFINE, layer),
    Normalization: Emitter.normalize,
    Keep: lambda emitter, layer: emitter.kept.update({layer.name: emitter.at}),
    Add: lambda emitter, layer: emitter.call("add", text.ADD, emitter.kept.pop(layer.name)),
    Linear: lambda emitter, layer: emitter.affine(text.AFFINE, layer),
    QuantizedLinear: lambda emitter, layer: emitter.quantized(layer, "linear_unit"),
    Activation: lambda emitter, layer: emitter.apply(
        layer.name, text.EACH.format(text.ACTIVATIONS[layer.name])
    ),
    Parametric: Emitter.parametric,
    Link: Emitter.link,
}
