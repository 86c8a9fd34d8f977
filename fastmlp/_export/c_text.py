"""The parts of C99 sources: activations, links, labels and what is common to every file.

They use double precision, ``exp(z)`` and ``0.5``; `typed` converts them to float.
"""

from __future__ import annotations

import math
import pkgutil
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._export.activations import ACTIVATIONS, Formula
from fastmlp._network.layer_norm import EPSILON

# Sums that are accumulated in registers together: 8 registers of SSE or NEON, 4 of AVX.
BLOCK = 32


def templates(file: str) -> dict[str, str]:
    """Return the pieces of C in a file by name; those with $names are for ``str.format``."""
    content = (pkgutil.get_data("fastmlp", f"data/{file}") or b"").decode()
    _, *pieces = re.split(r"^=== (\w+)\n", content, flags=re.MULTILINE)
    named = {}
    for name, piece in zip(pieces[::2], pieces[1::2], strict=True):
        if "$" in piece:
            piece = piece.replace("{", "{{").replace("}", "}}")
            piece = re.sub(r"\$(?:(\w+)|\{\{(\w+)\}\})", r"{\1\2}", piece)
        named[name] = piece.rstrip("\n") + "\n"
    return named


C = templates("c_templates.txt")

EACH = C["each"].rstrip()
FIRST = "j < n / HEADS ? "  # a link leaves the other outputs as they are
# Links of single outputs; `softmax` needs all, and with `ascending` each adds to one before it.
LINK_FORMULAS = {
    "exp": Formula("exp(z)", "f", "f"),
    "sigmoid": ACTIVATIONS["sigmoid"].c,
    "mean_and_variance": Formula(f"{FIRST}z : exp(z)", f"{FIRST}1.0 : f", f"{FIRST}0.0 : f"),
    "ascending": Formula(
        f"{FIRST}z : {ACTIVATIONS['softplus'].c.value}",
        f"{FIRST}1.0 : sigmoid(z)",
        f"{FIRST}0.0 : slope * sigmoid(-z)",
    ),
}
# Operations on the n outputs of the last layer.
LINKS = {
    "identity": "",
    **{name: EACH.format(value=row.value) for name, row in LINK_FORMULAS.items()},
    "softmax": C["softmax"].rstrip(),
}
LINKS["ascending"] += "\n    for (j = n / HEADS; j < n; j++) y[j] += y[j - n / HEADS];"

NORMALIZE = C["normalize"].format(epsilon=f"{EPSILON:.7f}")

PLAIN = dict.fromkeys(("note", "parameter", "argument", "unit", "unit1", "unit2", "unit3"), "")
BLOCKS = C["blocks"].format(block=BLOCK)
AFFINE = C["affine"].format(**PLAIN, kind="real", value="(real)", four=1)
HALVES = {"kind": "unsigned short", "value": "from_upper", "four": 1}
HALVES_AFFINE = f"{C['from_upper']}\n{C['affine'].format(**PLAIN, **HALVES)}"
ENTRIES = C["entries"].format(kind="real", value="(real)")
# x86 has slow conversions of single bytes: it takes one sum at a time.
QUANTIZED_AFFINE = C["affine"].format(
    **{f"unit{k or ''}": f"unit[j{f' + {k}' if k else ''}] * " for k in range(4)},
    kind="signed char",
    value="(real)",
    four="defined __ARM_ARCH",
    note=", in units of\n * their column",
    parameter=" const real *unit,",
    argument=" unit + j,",
)

# For each kind of labels: the declaration for the header, and the definition.
LABELS = {
    "largest": (
        "/* The class of the largest probability, from 0. */\nint {name}_class({parameters});",
        C["class"].replace(
            "{choice}", "for (int j = 1; j < {outputs}; j++) if (y[best] < y[j]) best = j;"
        ),
    ),
    "pair": (
        "/* 1 if the second class is the more probable one, else 0. */\n"
        "int {name}_class({parameters});",
        C["class"].replace("{choice}", "best = y[1] > 0.5;"),
    ),
    "each": (
        "/* For each label whether it is there, 1 or 0. */\n"
        "void {name}_classes({parameters}, int *classes);",
        C["classes"],
    ),
    "hazards": (
        "/* The probabilities of no event until the times in {name}_labels. */\n"
        "void {name}_survival({parameters}, double *survival);",
        C["survival"],
    ),
}

INPUTS = "#define {macro}_INPUTS {inputs}"

DIGITS = {"float32": 9, "float64": 17}
_FUNCTIONS = re.compile(r"\b(exp|fabs|sqrt)\(")
_NUMBERS = re.compile(r"(?<![\w.])\d+\.\d+(?:e[+-]?\d+)?\b")


def typed(text: str, dtype: np.dtype[Any]) -> str:
    """Return C code written in double precision, converted to the dtype."""
    if dtype == np.float32:
        text = _NUMBERS.sub(r"\g<0>f", _FUNCTIONS.sub(r"\1f(", text))
    return with_real(text, dtype)


def with_real(text: str, dtype: np.dtype[Any]) -> str:
    """Return C code with the type ``real`` replaced; everything else stays in double precision."""
    return re.sub(r"\breal\b", "float" if dtype == np.float32 else "double", text)


def number(value: float, dtype: np.dtype[Any]) -> str:
    """Return a C literal that round-trips to the same bits, in the form that `typed` recognises."""
    if value != value:
        return "NAN"
    if math.isinf(value):
        return "HUGE_VAL" if value > 0 else "-HUGE_VAL"
    text = f"{value:.{DIGITS[dtype.name]}g}"
    if "." in text:
        return text
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}.0{e}{exponent}"


def constants(kind: str, name: str, values: NDArray[Any]) -> str:
    """Return the definition of a constant array, eight numbers per line."""
    whole = values.dtype.kind in "iu"
    values = values if values.size else np.zeros(1, values.dtype)  # C has no empty arrays
    texts = [str(v) if whole else number(v, values.dtype) for v in values.ravel().tolist()]
    lines = [", ".join(texts[at : at + 8]) for at in range(0, len(texts), 8)]
    body = ",\n    ".join(lines)
    return f"static const {kind} {name}[{len(texts)}] = {{\n    {body}\n}};\n"


def string(text: str | bytes) -> str:
    """Return a C string literal of UTF-8 bytes; all but letters and digits are escaped."""
    data = text.encode() if isinstance(text, str) else text
    plain = [chr(b) if chr(b).isalnum() and b < 128 else f"\\{b:03o}" for b in data]
    return f'"{"".join(plain)}"'
