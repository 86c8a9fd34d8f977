"""Assembles a C source file and its header from constants, functions and the calls of layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import indent
from typing import Any

import numpy as np

import fastmlp._export.c_text as text
from fastmlp._export import c_functions
from fastmlp._export.activations import ACTIVATIONS
from fastmlp._export.layers import stacked
from fastmlp._network.activations import Array
from fastmlp._network.exported import Exported, Labels, Layer

# Tolerance of the self-check: in multiples of epsilon times the size of predictions, and of the
# rounding that NumPy finds, since compilers and libm round otherwise.
ALLOWED, ROUNDINGS = 1000, 16
PROTOTYPE = re.compile(r"^(?:void|int|const char \*)[^;]*;", re.MULTILINE)
MAX_CHECKED = 2**18  # numbers of derivatives in a self-check
MEANINGS = {
    "identity": "Predict.",
    "exp": "Predict rates.",
    "mean_and_variance": "Predict means, and behind them variances.",
    "sigmoid": "Predict probabilities.",
    "softmax": "Predict probabilities.",
    "ascending": "Predict quantiles: of the lowest level first, of all outputs.",
}
# Class labels by NumPy dtype kind: the C type, and a function that writes a value.
LABEL_TYPES: dict[str, Any] = {
    "O": ("char *const", text.string),
    "i": ("long long", lambda v: f"{v}LL" if v > -(2**63) else "-9223372036854775807LL - 1"),
    "b": ("int", lambda v: f"{int(v)}"),
    "f": ("double", repr),
}
# C types of arrays by dtype; float32, which is not listed, becomes the type of the arithmetic.
TYPES = {
    "float64": "double",
    "int8": "signed char",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "int32": "int",
}


class Source:
    """Base of a model's source and header; ``fields`` fill the templates."""

    defined, predict = text.INPUTS, text.C["predict"]  # the header has these two
    stack_bytes = 0
    rounding = 0.0  # largest error of a prediction by rounding, apart from the weights'

    def __init__(
        self, model: Any, name: str, dtype: np.dtype[Any], public: np.dtype[Any], **fields: Any
    ) -> None:
        self.model, self.dtype, self.public = model, dtype, public  # dtypes: networks, interface
        self.constants: dict[str, str] = {}  # definitions by name
        self.functions: dict[str, str] = {}  # helpers by name, so that each is written once
        self.code: list[str] = []  # the functions behind them
        self.constant_bytes = 0
        self.declared = [self.predict]
        self.fields = {"name": name, "macro": name.upper(), **fields}
        # The declaration of an array that programs can read, and its values.
        self.values = label_names(model.labels, name)
        if model.labels is not None:
            declared, defined = text.LABELS[model.labels.kind]
            self.declared.append(declared + "\n")
            self.write(defined.format(**self.fields), public)

    def array(self, name: str, values: Array) -> None:
        """Add a constant array, once."""
        if name in self.constants:
            return
        kind = TYPES.get(values.dtype.name, "real")
        array = text.constants(kind, name, values)
        self.constants[name] = text.typed(array, self.dtype) if kind == "real" else array
        self.constant_bytes += values.nbytes

    def write(self, code: str, dtype: np.dtype[Any]) -> None:
        """Add functions, which compute in a dtype."""
        self.code.append(text.typed(code, dtype))

    def header(self) -> str:
        """Return the text of the header."""
        declared = text.typed("".join(self.declared).format(**self.fields), self.public)
        return text.C["header"].format(
            defined=self.defined.format(**self.fields),
            declared=declared
            + "".join(f"extern {declaration};\n" for declaration in self.values[:1]),
            **self.fields,
        )

    def description(self) -> dict[str, Any]:
        """Return what programs in other languages have to know, as values of JSON."""
        labels = self.model.labels
        return {
            "name": self.fields["name"],
            "real": text.with_real("real", self.public),
            **self.described(),
            "outputs": self.fields["outputs"],
            "labels": None if labels is None else np.asarray(labels.values).tolist(),
            "functions": [
                " ".join(one.split()).replace("( ", "(") for one in PROTOTYPE.findall(self.header())
            ],
        }

    def described(self) -> dict[str, Any]:
        """Return the part of the description that says what a row is."""
        raise NotImplementedError

    def source(self, main: str) -> str:
        """Return the text of the source file; ``main`` is the self-check at its end."""
        own = c_functions.used("".join([*self.functions.values(), *self.code]), self.dtype)
        helpers = [text.typed(one, self.dtype) for one in [*own, *self.functions.values()]]
        labels = [f"{self.values[0]} = {{{', '.join(self.values[1:])}}};\n"] if self.values else []
        head = '/* {title} */\n#include "{name}.h"\n\n#include <math.h>\n'.format(**self.fields)
        return "\n".join([head, *self.constants.values(), *helpers, *self.code, *labels, main])

    def self_check(self, rows: str, predict: str, expected: Array, unit: float) -> str:
        """Return the program that compares predictions of row i with expected ones."""
        errors = (self.dtype, unit), (self.public, largest(expected))
        allowed = ALLOWED * max(float(np.finfo(kind).eps) * size for kind, size in errors)
        allowed = max(allowed, ROUNDINGS * self.rounding)
        rows += text.constants("real", "expected", expected.astype(self.public))
        main = text.C["main"].format(
            rows=rows,
            allowed=text.number(allowed, self.public),
            n=len(expected),
            checked=expected.shape[1],
            predict=predict.format(**self.fields),
            **self.fields,
        )
        return text.typed(main, self.public)


class NetworkSource(Source):
    """Source and header of one network, or of several whose predictions are mixed."""

    def __init__(
        self,
        model: Exported,
        name: str,
        dtype: np.dtype[Any],
        nets: Sequence[list[Layer]],
        rounding: float,
    ) -> None:
        self.rounding = rounding
        self.derivatives: dict[str, int] = {}  # functions for them: entries of an output
        inputs, self.columns = model.spec.layer_sizes[0], model.spec.shapes[-1][1]
        self.n_nets, is_many = len(nets), len(nets) > 1
        perceptron = "multi-layer perceptron"
        several = f"{self.n_nets} {perceptron}s, each" if is_many else f"A {perceptron}"
        sizes = "-".join(map(str, model.spec.layer_sizes))
        super().__init__(
            model,
            name,
            dtype,
            dtype,
            title=f"{several} of {sizes} units, written by fastmlp.",
            meaning=MEANINGS[model.spec.loss.link_name],
            inputs=inputs,
            outputs=2 if model.is_pair else self.columns,
            parameters="const real *x",
            arguments="x",
        )
        self.y = "y + 1" if model.is_pair else "y"
        body = Body(self, "y" if is_many else self.y, is_many)
        body.network(stacked(nets), inputs)
        self.function("predict", body, self.mixture(body) if is_many else body.text())

    def described(self) -> dict[str, Any]:
        """Return the number of inputs."""
        return {"inputs": self.fields["inputs"]}

    def mixture(
        self, body: Body, suffix: str = "", parameters: str = "", arguments: str = ""
    ) -> str:
        """Write the function of the k-th network, and return the code that mixes their values."""
        self.functions["mix"] = text.C["mix"]
        of = f"{self.n_nets} networks"
        member = {"of": of, "suffix": suffix, "real": "real", "more": parameters}
        self.write(text.C["member"].format(**member, **self.fields, body=body.text()), self.dtype)
        body.buffers["p"] = self.columns
        means = self.columns // 2 if self.model.spec.loss.predicts_variance else self.columns
        sizes = {"n": self.n_nets, "means": means, "columns": self.columns}
        return text.C["mixture"].format(y=self.y, suffix=suffix, more=arguments, **sizes)

    def function(
        self, name: str, body: Body, code: str, parameters: str = "", last: str = ""
    ) -> None:
        """Write a public function; the first of two classes has the rest of the probability."""
        if self.model.is_pair:
            last = "    y[0] = 1.0 - y[1];\n" + last
        head = f"void {self.fields['name']}_{name}(const real *x, real *y{parameters})"
        self.write(f"{head}\n{{\n{code}{last}}}\n", self.dtype)
        self.stack_bytes = max(self.stack_bytes, body.stack_bytes)

    @property
    def epsilon(self) -> float:
        """The coarser epsilon of the dtypes of model and file."""
        return max(float(np.finfo(kind).eps) for kind in (self.model.spec.dtype, self.dtype))

    def sensitivity(self, points: Array, derivatives: list[Array]) -> float:
        """Return how much derivatives change if each input changes by the coarser epsilon."""
        signs = np.random.default_rng(0).choice([-1, 1], points.shape)
        nearby = (points * (1 + self.epsilon * signs)).astype(points.dtype)
        pairs = zip(self.model.differentiated(nearby, len(derivatives)), derivatives, strict=True)
        with np.errstate(invalid="ignore"):
            return max(largest(a - b) for a, b in pairs)

    def main(self, rows: Array, few: Array, expected: Array) -> str:
        """Return the self-check for a few of the rows, with their expected predictions."""
        predict, unit = "{name}_predict(rows + i * {inputs}, y);", largest(expected)
        numbers = {name: n * expected.shape[1] for name, n in self.derivatives.items()}
        if checked := [name for name, n in numbers.items() if n <= MAX_CHECKED]:
            name = checked[-1]
            few = few[: MAX_CHECKED // numbers[name]]
            points = rows[few].astype(self.model.spec.dtype)
            derivatives = self.model.differentiated(points, len(checked))
            self.rounding = max(self.rounding, self.sensitivity(points, derivatives))
            arrays = [expected[: len(few)], *derivatives]
            places = np.cumsum([array.shape[1] for array in arrays])[:-1]
            arguments = "".join(f", y + {place}" for place in places)
            predict = f"{{name}}_{name}(rows + i * {{inputs}}, y{arguments});\n        {predict}"
            expected = np.concatenate(arrays, axis=1)
            is_finite = finite_rows(expected, self.public)
            few, expected = few[is_finite], expected[is_finite]
            unit = largest(expected) * max(1.0, self.epsilon / float(np.finfo(self.dtype).eps))
        written = text.constants("real", "rows", rows[few].astype(self.dtype))
        return self.self_check(written, predict, expected, unit)


class Body:
    """The calls that compute one network, or the k-th of several, and their buffers."""

    def __init__(self, source: Source, output: str, is_many: bool, suffix: str = "") -> None:
        self.source, self.output, self.is_many, self.suffix = source, output, is_many, suffix
        self.calls: list[str] = []
        self.buffers: dict[str, int] = {}  # name -> size; two alternate, one more per stored value
        self.stored: dict[str, str] = {}  # name of a stored value -> its buffer
        self.at, self.width = "x", 0  # the buffer of the current values, and their number
        self.last = 0  # number of the last layer
        self.places = 0  # room for the places of inputs that are not 0

    @property
    def stack_bytes(self) -> int:
        """Bytes of all buffers."""
        reals = sum(self.buffers.values()) * self.source.dtype.itemsize
        return reals + self.places * np.dtype(np.int32).itemsize

    def text(self) -> str:
        """Return declarations of buffers and all calls, as the lines of a function body."""
        buffers = [f"real {name}[{size}];" for name, size in self.buffers.items()]
        buffers += [f"int at[{self.places}];"] if self.places else []
        return indent("".join(f"{line}\n" for line in [*buffers, *self.calls]), "    ")

    def network(self, layers: list[Layer], inputs: int) -> None:
        """Add all layers, quantized or not, from the buffer x on; arrays are `stacked`."""
        self.width = inputs
        self.last = max(layer.number for layer in layers)
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer) -> None:
        """Add a layer."""
        WRITERS[layer.kind](self, layer)

    def constant(self, name: str, values: Array, number: int = 0) -> str:
        """Add a constant, an array for each network, and return the k-th one's address."""
        name = f"{name}_{number}{self.suffix}"
        self.source.array(name, values.ravel())
        return f"{name} + k * {values[0].size}" if self.is_many else name

    def constants(self, layer: Layer) -> dict[str, str]:
        """Add all arrays of a layer, and return their addresses."""
        arrays = layer.arrays.items()
        return {name: self.constant(name, array, layer.number) for name, array in arrays}

    def move(self, width: int, *, last: bool = False) -> tuple[str, str]:
        """Return the next layer's source and target buffers; the last one writes to the output."""
        source, self.width = self.at, width
        if last:
            self.at = self.output
        else:
            self.at = next(
                buffer for buffer in "abcd" if buffer not in (source, *self.stored.values())
            )
            self.room(self.at, width)
        return source, self.at

    def room(self, name: str, size: int) -> str:
        """Return the name of a buffer, which has at least this size."""
        self.buffers[name] = max(self.buffers.get(name, 0), size)
        return name

    def product(self, layer: Layer) -> tuple[str, int, int]:
        """Add an affine layer, or a linear path, which adds to current values instead of biases.

        Return the address of the weights, and their shape.
        """
        (name, weights), *others = layer.arrays.items()
        n, m = weights.shape[1:]
        # The weights are stored in blocks of columns (units); a block has a row for each input.
        blocks = [weights[..., j : j + text.BLOCK] for j in range(0, m, text.BLOCK)]
        whole = np.concatenate([block.reshape(len(block), -1) for block in blocks], axis=1)
        addresses = self.constants(layer._replace(arrays={name: whole, **dict(others)}))
        units = [address for key, address in addresses.items() if key.endswith("unit")]
        if layer.kind == "linear":
            biases, source, target = self.at, self.stored["inputs"], self.at
        else:
            source, target = self.move(m, last=layer.number == self.last)
            biases = addresses["biases"]
        arguments = ", ".join([source, addresses[name], *units, biases, target, str(n), str(m)])
        self.source.functions["blocks"] = text.BLOCKS
        if layer.kind == "entries":
            self.source.functions["entries"], self.places = text.ENTRIES, n
            self.calls.append(f"entries({arguments}, at, listed);")
        else:
            plain = text.HALVES_AFFINE if weights.dtype == np.uint16 else text.AFFINE
            self.source.functions["affine"] = text.QUANTIZED_AFFINE if units else plain
            self.calls.append(f"affine({arguments});")
        return addresses[name], n, m

    def scale(self, layer: Layer) -> None:
        """Add the scaling of inputs."""
        self.source.functions["shift"] = text.C["shift"]
        source, target = self.move(self.width)
        arguments = ", ".join([source, *self.constants(layer).values(), target, str(self.width)])
        self.calls.append(f"shift({arguments});")

    def call(self, name: str, piece: str, *arguments: str) -> None:
        """Add a call of a helper function that changes the current values in place."""
        self.source.functions[name] = piece
        self.calls.append(f"{name}({', '.join([self.at, *arguments, str(self.width)])});")

    def normalize(self, layer: Layer) -> tuple[str, str]:
        """Add a normalisation; return the addresses of gains and of the normalised values."""
        arrays, v = self.constants(layer), self.room(f"v_{len(self.buffers)}", self.width + 1)
        self.call("normalize", text.NORMALIZE, *arrays.values(), v)
        return arrays["gains"], v

    def apply(self, layer: Layer, name: str, frame: str, body: str) -> None:
        """Add a function, named in its frame, that changes the current values in place."""
        if body:
            self.call(name, frame.format(name=name, body=body), *self.constants(layer).values())


WRITERS: dict[str, Any] = {
    "scaling": Body.scale,
    "affine": Body.product,
    "entries": Body.product,
    "linear": Body.product,
    "layer_norm": lambda body, layer: body.normalize(layer),
    "keep": lambda body, layer: body.stored.update({layer.name: body.at}),
    "skip": lambda body, layer: body.call("add", text.C["add"], body.stored.pop("block")),
    "activation": lambda body, layer: body.apply(
        *(layer, f"apply_{layer.name}", text.C["function"]),
        text.EACH.format(value=ACTIVATIONS[layer.name].c.value),
    ),
    "parametric": lambda body, layer: body.apply(
        *(layer, f"parametric_{layer.name}", text.C["parametric"]), ACTIVATIONS[layer.name].c.value
    ),
    "link": lambda body, layer: body.apply(
        *(layer, f"apply_{layer.name}", text.C["function"]),
        text.LINKS[layer.name].replace("HEADS", str(layer.heads)),
    ),
}


def label_names(labels: Labels | None, name: str) -> list[str]:
    """Return the declaration of the array of class names, then the names; empty if numbered."""
    if labels is None or labels.kind == "each" or labels.are_numbered:
        return []
    kind, written = LABEL_TYPES[labels.values.dtype.kind]
    names = list(map(written, labels.values.tolist()))
    return [f"const {kind} {name}_labels[{len(names)}]", *names]


def finite_rows(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return which rows have only numbers that are finite in a dtype."""
    with np.errstate(over="ignore"):
        return np.isfinite(values.astype(dtype)).all(axis=1)  # type: ignore[no-any-return]


def largest(values: Array) -> float:
    """Return the largest finite magnitude; 0 without any."""
    return float(np.abs(values).max(initial=0.0, where=np.isfinite(values)))
