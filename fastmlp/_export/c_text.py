"""C99 source templates: activations, links, labels and the common parts of every file.

Templates use double precision, ``exp(z)`` and ``0.5``; `typed` converts them to float.
"""

from __future__ import annotations

import math
import re
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._network.activations import GELU_CUBIC, LEAK, SELU_ALPHA, SELU_SCALE, SQRT_2_OVER_PI
from fastmlp._network.layer_norm import EPSILON

# Sums that are accumulated in registers together: 8 registers of SSE or NEON, 4 of AVX.
BLOCK = 32

# The value at z. Comparisons are written as z < 0, so that NaN propagates.
ACTIVATIONS = {
    "identity": "z",
    "relu": "z < 0.0 ? 0.0 : z",
    "leaky_relu": f"z < 0.0 ? {LEAK!r} * z : z",
    "elu": "z < 0.0 ? expm1(z) : z",
    "selu": f"{SELU_SCALE!r} * (z < 0.0 ? {SELU_ALPHA!r} * expm1(z) : z)",
    "softplus": "(z < 0.0 ? 0.0 : z) + log1p(exp(-fabs(z)))",
    "sigmoid": "sigmoid(z)",
    "tanh": "tanh(z)",
    "gelu": f"0.5 * z * erfc({-math.sqrt(0.5)!r} * z)",
    "gelu_tanh": f"z * sigmoid({2 * SQRT_2_OVER_PI!r} * z * (1.0 + {GELU_CUBIC!r} * z * z))",
    "silu": "z * sigmoid(z)",
    "mish": "z * tanh(log1p(exp(z)))",
}

EACH = """\
for (j = 0; j < n; j++) {{
        const real z = y[j];
        y[j] = {};
    }}"""
FIRST = "j < n / HEADS ? "  # of the outputs that a link leaves as they are
# The value of an output at z; `softmax` needs all, and with `ascending` each adds to one before it.
LINK_VALUES = {
    "exp": "exp(z)",
    "sigmoid": "sigmoid(z)",
    "mean_and_variance": f"{FIRST}z : exp(z)",
    "ascending": f"{FIRST}z : {ACTIVATIONS['softplus']}",
}
# Operations on the n outputs of the last layer.
LINKS = {
    "identity": "",
    **{name: EACH.format(value) for name, value in LINK_VALUES.items()},
    "softmax": """\
real largest = y[0], sum = 0.0;
    for (j = 1; j < n; j++) if (largest < y[j]) largest = y[j];
    for (j = 0; j < n; j++) sum += y[j] = exp(y[j] - largest);
    for (j = 0; j < n; j++) y[j] /= sum;""",
}
LINKS["ascending"] += "\n    for (j = n / HEADS; j < n; j++) y[j] += y[j - n / HEADS];"

NORMALIZE = f"""\
/* Rows of mean 0 and variance 1, into v, and behind them the factor that made them; y has them
 * times gains, plus shifts. */
static void normalize(real *y, const real *gains, const real *shifts, real *v, int n)
{{
    real mean = 0.0, square = 0.0;
    int j;
    for (j = 0; j < n; j++) mean += y[j];
    mean /= (real)n;
    for (j = 0; j < n; j++) {{
        v[j] = y[j] - mean;
        square += v[j] * v[j];
    }}
    v[n] = 1.0 / sqrt(square / (real)n + {EPSILON:.7f});
    for (j = 0; j < n; j++) {{
        v[j] *= v[n];
        y[j] = v[j] * gains[j] + shifts[j];
    }}
}}
"""

SIGMOID = """\
static real sigmoid(real z)
{
    const real e = exp(-fabs(z));
    return (z < 0.0 ? e : 1.0) / (1.0 + e);
}
"""

FUNCTION = """\
static void {name}(real *y, int n)
{{
    int j;
    {body}
}}
"""

PARAMETRIC = """\
static void {name}(real *y, const real *alphas, int n)
{{
    int j;
    for (j = 0; j < n; j++) {{
        const real z = y[j], f = {body};
        y[j] = (1.0 - alphas[j]) * z + alphas[j] * f;
    }}
}}
"""

SHIFT = """\
static void shift(const real *x, const real *mean, const real *factor, real *y, int n)
{
    int i;
    for (i = 0; i < n; i++) y[i] = (x[i] - mean[i]) * factor[i];
}
"""

ADD = """\
static void add(real *y, const real *x, int n)
{
    int j;
    for (j = 0; j < n; j++) y[j] += x[j];
}
"""

MIX = """\
/* The k-th of several predictions, into the mean of those before; of n - m variances behind m means
 * it makes those of the mixture (Welford 1962). */
static void mix(const real *p, real *y, int k, int m, int n)
{
    int j;
    if (k == 1) {
        for (j = 0; j < n; j++) y[j] = 0.0;
    }
    for (j = 0; j < m; j++) {
        const real away = p[j] - y[j];
        y[j] += away / (real)k;
        if (n > m) y[m + j] += (p[m + j] + away * (p[j] - y[j]) - y[m + j]) / (real)k;
    }
}
"""

_AFFINE = Template("""\
enum { BLOCK = $block };

/* Without vector instructions: four sums at a time, in registers; the bits are the same. */
#if defined __OPTIMIZE_SIZE__ || (defined __ARM_ARCH && !defined __ARM_NEON)
#define FEW_SUMS
#endif

/* y = b + x w: m <= BLOCK sums over n inputs; w has a row of m weights for each input$note. */
static inline void block(const real *x, const $kind *w,$parameter const real *b, real *y,
                         int n, int m)
{
    int i, j = 0;
#ifdef FEW_SUMS
#if $four
    for (; j + 4 <= m; j += 4) {
        real s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
        for (i = 0; i < n; i++) {
            const $kind *wi = w + i * m + j;
            const real xi = x[i];
            s0 += xi * ${value}(wi[0]);
            s1 += xi * ${value}(wi[1]);
            s2 += xi * ${value}(wi[2]);
            s3 += xi * ${value}(wi[3]);
        }
        y[j] = b[j] + ${unit}s0;
        y[j + 1] = b[j + 1] + ${unit1}s1;
        y[j + 2] = b[j + 2] + ${unit2}s2;
        y[j + 3] = b[j + 3] + ${unit3}s3;
    }
#endif
    for (; j < m; j++) {
        real sum = 0.0;
        for (i = 0; i < n; i++) sum += x[i] * ${value}(w[i * m + j]);
        y[j] = b[j] + ${unit}sum;
    }
#else
    real sum[BLOCK];
    for (j = 0; j < m; j++) sum[j] = 0.0;
    for (i = 0; i < n; i++, w += m) {
        const real xi = x[i];
        for (j = 0; j < m; j++) sum[j] += xi * ${value}(w[j]);
    }
    for (j = 0; j < m; j++) y[j] = b[j] + ${unit}sum[j];
#endif
}

/* The same block after block; x and y do not overlap. */
static inline void affine(const real *x, const $kind *w,$parameter const real *b, real *y,
                          int n, int m)
{
    int j = 0;
    for (; j + BLOCK <= m; j += BLOCK, w += n * BLOCK)
        block(x, w,$argument b + j, y + j, n, BLOCK);
    if (j < m) block(x, w,$argument b + j, y + j, n, m - j);
}
""")
PLAIN = dict.fromkeys(("note", "parameter", "argument", "unit", "unit1", "unit2", "unit3"), "")
AFFINE = _AFFINE.substitute(PLAIN, block=BLOCK, kind="real", value="(real)", four=1)
HALVES_AFFINE = """\
#include <string.h>

/* The float with these upper 16 bits (bfloat16). */
static inline float from_upper(unsigned short upper)
{
    const unsigned int bits = (unsigned int)upper << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

""" + _AFFINE.substitute(PLAIN, block=BLOCK, kind="unsigned short", value="from_upper", four=1)
# x86 has slow conversions of single bytes: it takes one sum at a time.
QUANTIZED_AFFINE = _AFFINE.substitute(
    {f"unit{k or ''}": f"unit[j{f' + {k}' if k else ''}] * " for k in range(4)},
    block=BLOCK,
    kind="signed char",
    value="(real)",
    four="defined __ARM_ARCH",
    note=", in units of\n * their column",
    parameter=" const real *unit,",
    argument=" unit + j,",
)

_CLASS = """\
int {{name}}_class({{parameters}})
{{{{
    real y[{{outputs}}];
    int best = 0;
    {{name}}_predict({{arguments}}, y);
    {}
    return best;
}}}}
"""
# For each kind of labels: the declaration for the header, and the definition.
LABELS = {
    "largest": (
        "/* The class of the largest probability, from 0. */\nint {name}_class({parameters});",
        _CLASS.format("for (int j = 1; j < {outputs}; j++) if (y[best] < y[j]) best = j;"),
    ),
    "pair": (
        "/* 1 if the second class is the more probable one, else 0. */\n"
        "int {name}_class({parameters});",
        _CLASS.format("best = y[1] > 0.5;"),
    ),
    "each": (
        "/* For each label whether it is there, 1 or 0. */\n"
        "void {name}_classes({parameters}, int *classes);",
        """\
void {name}_classes({parameters}, int *classes)
{{
    real y[{outputs}];
    {name}_predict({arguments}, y);
    for (int j = 0; j < {outputs}; j++) classes[j] = y[j] > 0.5;
}}
""",
    ),
}

HEADER = """\
/* {title} */
#ifndef {macro}_H
#define {macro}_H

{defined}
#define {macro}_OUTPUTS {outputs}

#ifdef __cplusplus
extern "C" {{
#endif

{declared}
#ifdef __cplusplus
}}
#endif
#endif
"""

INPUTS = "#define {macro}_INPUTS {inputs}"

MEMBER = """\
/* The k-th of {of}. */
static void member{suffix}(int k, {parameters}, {real} *y{more})
{{
{body}}}
"""

MIXTURE = """\
    real p[{columns}];
    int k;
    for (k = 0; k < {n}; k++) {{
        member{suffix}(k, x, p{more});
        mix(p, {y}, k + 1, {means}, {columns});
    }}
"""

PREDICT = """\
/* {meaning}
   x has {inputs} numbers, y gets {outputs}; they do not overlap. Any number of threads may call. */
void {name}_predict(const real *x, real *y);
"""

MAIN = """\
#ifdef FASTMLP_MAIN
#include <stdio.h>

/* Rows, and the model's predictions for them: cc -DFASTMLP_MAIN {name}.c -lm. */
{rows}
int main(void)
{{
    const real allowed = {allowed};
    static real y[{checked}];
    real largest = 0.0;
    int i, j, wrong = 0;
    for (i = 0; i < {n}; i++) {{
        int good = 1;
        {predict}
        for (j = 0; j < {checked}; j++) {{
            const real error = fabs(y[j] - expected[i * {checked} + j]);
            if (largest < error) largest = error;
            good = good && error <= allowed;
        }}
        wrong += !good;
    }}
    printf("%d of {n} rows wrong, largest error %g\\n", wrong, (double)largest);
    return wrong != 0;
}}
#endif
"""

DIGITS = {"float32": 9, "float64": 17}
_FUNCTIONS = re.compile(r"\b(exp|expm1|log1p|tanh|erfc|fabs|sqrt)\(")
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
