"""A network as the text of a C file and its header: layers in, constants, functions, calls out."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastmlp.export.c_text as text
from fastmlp.export.c_layers import Quantized, QuantizedLinear, Shift
from fastmlp.export.layers import (
    Activation,
    Add,
    Affine,
    Array,
    Exported,
    Keep,
    Linear,
    Link,
    Normalization,
    Parametric,
)

# Errors that the self-check allows, relative to the largest prediction, in units of epsilon.
ALLOWED = 1000
MEANINGS = {
    "identity": "Predict.",
    "exp": "Predict rates.",
    "mean_and_variance": "Predict means, and behind them variances.",
    "sigmoid": "Predict probabilities.",
    "softmax": "Predict probabilities.",
}
# Of labels, by NumPy's kind: a type, and how a value is written.
LABEL_TYPES: dict[str, Any] = {
    "O": ("char *const", text.string),
    "i": ("long long", lambda v: f"{v}LL" if v > -(2**63) else "-9223372036854775807LL - 1"),
    "b": ("int", lambda v: f"{int(v)}"),
    "f": ("double", repr),
}


class Source:
    """Both texts of one network.

    Parameters
    ----------
    model : Exported
    name : str
        What the names of its functions begin with.
    dtype : numpy.dtype
        Of inputs, arithmetic and outputs.
    each : list of lists of layers
        Those of each network of the model, or quantized ones.
    """

    def __init__(
        self, model: Exported, name: str, dtype: np.dtype[Any], each: list[list[Any]]
    ) -> None:
        self.model, self.dtype = model, dtype
        self.constants: list[str] = []
        self.functions: dict[str, str] = {}  # each once
        self.calls: list[str] = []
        self.constant_bytes = 0
        self.buffers: dict[str, int] = {}  # two used in turn, and one for each that is kept
        self.kept: dict[str, str]  # where what a Keep has named is
        self.fields = {
            "name": name,
            "macro": name.upper(),
            "inputs": model.spec.layer_sizes[0],
            "outputs": model.n_columns,
        }
        self._k, self._n_networks = -1, len(each)
        for number, layers in enumerate(each):
            self.at, self.width, self.kept = "x", model.spec.layer_sizes[0], {}
            self._last = self._k + sum(hasattr(layer, "biases") for layer in layers)
            for layer in layers:
                self._k += hasattr(layer, "biases")
                WRITERS[type(layer)](self, layer)
            if len(each) > 1:
                self.mix(number + 1)
        if model.is_pair:
            self.calls.append("y[0] = 1.0 - y[1];")

    @property
    def stack_bytes(self) -> int:
        """Of the buffers."""
        return sum(self.buffers.values()) * self.dtype.itemsize

    # ------------------------------------------------------------ what layers add

    def constant(self, name: str, values: Array) -> str:
        """Add an array of constants, and return its name."""
        name = f"{name}_{max(self._k, 0)}"
        kind = "signed char" if values.dtype == np.int8 else "real"
        self.constants.append(text.constants(kind, name, values))
        self.constant_bytes += values.nbytes
        return name

    def move(self, width: int, *, last: bool = False) -> tuple[str, str]:
        """Return where the next layer reads and writes; the last one writes the output."""
        source, self.width = self.at, width
        if last and self._n_networks == 1:
            self.at = self._output
        elif last:  # one of several
            self.at, self.buffers["p"] = "p", width
        else:
            self.at = next(each for each in "abcd" if each not in (source, *self.kept.values()))
            self.buffers[self.at] = max(self.buffers.get(self.at, 0), width)
        return source, self.at

    def affine(self, name: str, piece: str, layer: Any, *more: str) -> None:
        """Add an affine layer, or a linear path: its biases are what there is."""
        n, m = layer.weights.shape
        blocks = [layer.weights[:, j : j + text.BLOCK].ravel() for j in range(0, m, text.BLOCK)]
        is_path = not hasattr(layer, "biases")
        weights = self.constant("linear" if is_path else "weights", np.concatenate(blocks))
        self.functions[name] = piece
        if is_path:
            biases, source, target = self.at, self.kept["inputs"], self.at
        else:
            biases = self.constant("biases", layer.biases)
            source, target = self.move(m, last=self._k == self._last)
        arguments = ", ".join([source, weights, *more, biases, target, str(n), str(m)])
        self.calls.append(f"affine({arguments});")

    def apply(self, name: str, body: str, frame: str = text.FUNCTION, *more: str) -> None:
        """Add a function that changes what there is in place."""
        if "sigmoid(" in body:
            self.functions["sigmoid()"] = text.SIGMOID
        self.functions[name] = frame.format(name=f"apply_{name}", body=body)
        arguments = ", ".join([self.at, *more, str(self.width)])
        self.calls.append(f"apply_{name}({arguments});")

    def mix(self, number: int) -> None:
        """Take a network's prediction into that of all so far."""
        self.functions["mix"] = text.MIX
        means = self.width // self.model.spec.loss.heads
        self.calls.append(f"mix(p, {self._output}, {number}, {means}, {self.width});")

    @property
    def _output(self) -> str:
        return "y + 1" if self.model.is_pair else "y"

    # ------------------------------------------------------------ texts

    def header(self) -> str:
        """Return the header."""
        declared = [] if self._labels is None else [self._labels[0].format(**self.fields)]
        declared += [f"extern {array};" for array in self._names()[:1]]
        return text.typed(text.HEADER, self.dtype).format(
            title=self._title(),
            meaning=MEANINGS[self.model.spec.loss.link_name],
            labels=text.typed("".join(f"{each}\n" for each in declared), self.dtype),
            **self.fields,
        )

    def source(self, main: str) -> str:
        """Return the source; ``main`` is its end."""
        parts = [*self.constants, *self.functions.values(), self._predict()]
        if self._labels is not None:
            parts.append(self._labels[1].format(**self.fields))
        code = [text.typed(part, self.dtype) for part in parts]
        if names := self._names():
            code.append(f"{names[0]} = {{{', '.join(names[1:])}}};\n")
        name = self.fields["name"]
        head = f'/* {self._title()} */\n#include "{name}.h"\n\n#include <math.h>\n'
        return "\n".join([head, *code, main])

    def main(self, rows: Array, expected: Array) -> str:
        """Return the self-check."""
        finite = np.isfinite(expected).all(axis=1)
        rows, expected = rows[finite].astype(self.dtype), expected[finite]
        allowed = ALLOWED * np.finfo(self.dtype).eps * float(np.abs(expected).max(initial=0.0))
        arrays = text.constants("real", "rows", rows)
        arrays += text.constants("real", "expected", expected.astype(self.dtype))
        return text.typed(
            text.MAIN.format(
                rows=arrays,
                allowed=text.number(allowed, self.dtype),
                n=len(rows),
                **self.fields,
            ),
            self.dtype,
        )

    def _title(self) -> str:
        sizes = "-".join(map(str, self.model.spec.layer_sizes))
        many = f"{self._n_networks} multi-layer perceptrons, each"
        what = "A multi-layer perceptron" if self._n_networks == 1 else many
        return f"{what} of {sizes} units, written by fastmlp."

    def _predict(self) -> str:
        buffers = [f"real {name}[{size}];" for name, size in self.buffers.items()]
        lines = "".join(f"    {line}\n" for line in [*buffers, *self.calls])
        return f"void {self.fields['name']}_predict(const real *x, real *y)\n{{\n{lines}}}\n"

    @property
    def _labels(self) -> tuple[str, str] | None:
        """Return declaration and definition of the function for labels."""
        labels = self.model.labels
        return None if labels is None else text.LABELS[labels.kind]

    def _names(self) -> list[str]:
        """Return the declaration of the classes' names, and these; nothing if there are none."""
        labels = self.model.labels
        if labels is None or labels.kind == "each" or labels.are_numbered:
            return []
        kind, written = LABEL_TYPES[labels.values.dtype.kind]
        names = list(map(written, labels.values.tolist()))
        return [f"const {kind} {self.fields['name']}_labels[{len(names)}]", *names]


def _shift(source: Source, layer: Shift) -> None:
    n = len(layer.mean)
    mean, factor = source.constant("mean", layer.mean), source.constant("factor", layer.factor)
    source.functions["shift"] = text.SHIFT
    before, after = source.move(n)
    source.calls.append(f"shift({before}, {mean}, {factor}, {after}, {n});")


def _affine(source: Source, layer: Affine | Linear) -> None:
    source.affine("affine", text.AFFINE, layer)


def _quantized(source: Source, layer: Quantized) -> None:
    source.affine("affine", text.QUANTIZED_AFFINE, layer, source.constant("unit", layer.unit))


def _quantized_linear(source: Source, layer: QuantizedLinear) -> None:
    unit = source.constant("linear_unit", layer.unit)
    source.affine("affine", text.QUANTIZED_AFFINE, layer, unit)


def _keep(source: Source, layer: Keep) -> None:
    source.kept[layer.name] = source.at


def _add(source: Source, layer: Add) -> None:
    source.functions["add"] = text.ADD
    source.calls.append(f"add({source.at}, {source.kept.pop(layer.name)}, {source.width});")


def _normalization(source: Source, layer: Normalization) -> None:
    source.functions["normalize"] = text.NORMALIZE
    names = source.constant("gains", layer.gains), source.constant("shifts", layer.shifts)
    source.calls.append(f"normalize({source.at}, {', '.join(names)}, {source.width});")


def _activation(source: Source, layer: Activation) -> None:
    source.apply(layer.name, text.EACH.format(text.ACTIVATIONS[layer.name]))


def _parametric(source: Source, layer: Parametric) -> None:
    alphas = source.constant("alphas", layer.alphas)
    body = text.ACTIVATIONS[layer.name]
    source.apply(f"parametric_{layer.name}", body, text.PARAMETRIC, alphas)


def _link(source: Source, layer: Link) -> None:
    if text.LINKS[layer.name]:
        source.apply(layer.name, text.LINKS[layer.name])


WRITERS: dict[type, Any] = {
    Shift: _shift,
    Affine: _affine,
    Quantized: _quantized,
    Normalization: _normalization,
    Keep: _keep,
    Add: _add,
    Linear: _affine,
    QuantizedLinear: _quantized_linear,
    Activation: _activation,
    Parametric: _parametric,
    Link: _link,
}
