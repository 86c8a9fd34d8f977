"""Assembles a network's C source and header from layers."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastmlp._export.c_text as text
from fastmlp._export.c_emitter import SEVERAL, Emitter
from fastmlp._export.layers import Array, Exported, Labels

# Tolerance of the self-check, in multiples of epsilon times the size of predictions.
ALLOWED = 1000
MEANINGS = {
    "identity": "Predict.",
    "exp": "Predict rates.",
    "mean_and_variance": "Predict means, and behind them variances.",
    "sigmoid": "Predict probabilities.",
    "softmax": "Predict probabilities.",
}
# Class labels by NumPy dtype kind: the C type, and a function that writes a value.
LABEL_TYPES: dict[str, Any] = {
    "O": ("char *const", text.string),
    "i": ("long long", lambda v: f"{v}LL" if v > -(2**63) else "-9223372036854775807LL - 1"),
    "b": ("int", lambda v: f"{int(v)}"),
    "f": ("double", repr),
}


class Source(Emitter):
    """Source and header of one model; ``each`` lists the layers of every network."""

    def __init__(
        self, model: Exported, name: str, dtype: np.dtype[Any], each: list[list[Any]]
    ) -> None:
        self._y = "y + 1" if model.is_pair else "y"
        super().__init__(dtype, self._y if len(each) == 1 else SEVERAL)
        self.model = model
        self.fields: dict[str, Any] = {
            "name": name,
            "macro": name.upper(),
            "inputs": model.spec.layer_sizes[0],
            "outputs": model.n_columns,
            "parameters": "const real *x",
            "arguments": "x",
        }
        self._n_networks = len(each)
        for number, layers in enumerate(each, 1):
            self.network(layers, model.spec.layer_sizes[0])
            if len(each) > 1:
                self.mix(number)
        if model.is_pair:
            self.calls.append("y[0] = 1.0 - y[1];")

    def mix(self, number: int) -> None:
        """Add the update of the running mean over networks by one more prediction."""
        self.functions["mix"] = text.MIX
        means = self.width // self.model.spec.loss.heads
        self.calls.append(f"mix(p, {self._y}, {number}, {means}, {self.width});")

    # ------------------------------------------------------------ texts

    def header(self) -> str:
        """Return the text of the header."""
        declared = [text.PREDICT]
        declared += [] if self._labels is None else [f"{self._labels[0]}\n"]
        names = label_names(self.model.labels, self.fields["name"])[:1]
        fields = {**self.fields, "meaning": MEANINGS[self.model.spec.loss.link_name]}
        return text.HEADER.format(
            title=self._title(),
            defined="#define {macro}_INPUTS {inputs}".format(**fields),
            declared=text.typed("".join(declared).format(**fields), self.dtype)
            + "".join(f"extern {array};\n" for array in names),
            **fields,
        )

    def source(self, main: str) -> str:
        """Return the text of the source file; ``main`` is the self-check at its end."""
        parts = [*self.functions.values(), self._predict()]
        if self._labels is not None:
            parts.append(self._labels[1].format(**self.fields))
        code = [*self.constants, *(text.typed(part, self.dtype) for part in parts)]
        if names := label_names(self.model.labels, self.fields["name"]):
            code.append(f"{names[0]} = {{{', '.join(names[1:])}}};\n")
        name = self.fields["name"]
        head = f'/* {self._title()} */\n#include "{name}.h"\n\n#include <math.h>\n'
        return "\n".join([head, *code, main])

    def main(self, rows: Array, expected: Array) -> str:
        """Return the self-check for some rows and their expected predictions."""
        finite = np.isfinite(expected).all(axis=1)
        arrays = text.constants("real", "rows", rows[finite].astype(self.dtype))
        predict = "{name}_predict(rows + i * {inputs}, y);".format(**self.fields)
        expected = expected[finite]
        unit = largest(expected)
        return self_check(arrays, expected, predict, self.fields, self.dtype, self.dtype, unit)

    def _title(self) -> str:
        sizes = "-".join(map(str, self.model.spec.layer_sizes))
        many = f"{self._n_networks} multi-layer perceptrons, each"
        what = "A multi-layer perceptron" if self._n_networks == 1 else many
        return f"{what} of {sizes} units, written by fastmlp."

    def _predict(self) -> str:
        return f"void {self.fields['name']}_predict(const real *x, real *y)\n{{\n{self.body()}}}\n"

    @property
    def _labels(self) -> tuple[str, str] | None:
        """Declaration and definition of the function that returns labels; None without labels."""
        labels = self.model.labels
        return None if labels is None else text.LABELS[labels.kind]


def label_names(labels: Labels | None, name: str) -> list[str]:
    """Return the declaration of the array of class names, then the names; empty if numbered."""
    if labels is None or labels.kind == "each" or labels.are_numbered:
        return []
    kind, written = LABEL_TYPES[labels.values.dtype.kind]
    names = list(map(written, labels.values.tolist()))
    return [f"const {kind} {name}_labels[{len(names)}]", *names]


def largest(values: Array) -> float:
    """Return the largest magnitude; 0 for an empty array."""
    return float(np.abs(values).max(initial=0.0))


def self_check(
    rows: str,
    expected: Array,
    predict: str,
    fields: dict[str, Any],
    dtype: np.dtype[Any],
    arithmetic: np.dtype[Any],
    unit: float,
) -> str:
    """Return the program that compares predictions with expected ones.

    ``rows`` defines the arrays of inputs, ``predict`` is the statement for row i, ``dtype`` that of
    the predictions, and ``unit`` the size of the networks' outputs, in the dtype ``arithmetic``.
    """
    errors = (arithmetic, unit), (dtype, largest(expected))
    allowed = ALLOWED * max(float(np.finfo(kind).eps) * size for kind, size in errors)
    rows += text.constants("real", "expected", expected.astype(dtype))
    main = text.MAIN.format(
        rows=rows,
        allowed=text.number(allowed, dtype),
        n=len(expected),
        checked=expected.shape[1],
        predict=predict,
        **fields,
    )
    return text.typed(main, dtype)
