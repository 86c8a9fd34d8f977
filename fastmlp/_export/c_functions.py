"""C functions of one number by the polynomials of the kernels, which compilers turn into vectors.

They replace those of libm, which takes each number by itself. There are no branches and no
comparisons whose results are stored: only then do compilers compute several numbers at once. NaN
stays NaN. `src_cython/c/simd/mathfun.h` has the same functions for the kernels, with their sources.
"""

from __future__ import annotations

import functools
import json
import pkgutil
import re
from collections.abc import Sequence

import numpy as np

from fastmlp._export.c_text import C, number

# Pieces of the templates, each behind those that it calls; "bits" has three functions.
PIECES = (
    *("bits", "pick", "magnitude", "at_most", "of_nan", "exp_parts", "exp_minus", "expm1_minus"),
    *("log1p_unit", "sigmoid", "softplus", "tanh_of", "tanh_of_softplus", "normal"),
)
CALLS = {"bits": "bits_of|value_of|all_if_first"}
# The 22 terms of float64 are slower than libm unless four numbers are computed at once.
BY_LIBM = {("normal", "float64"): "normal_by_libm"}
# Two parts of ln 2: the first one has few bits, so that products with exponents are exact.
LN2 = {
    "float32": (0.693359375, -2.12194440e-4),
    "float64": (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}
# Where exp(-x) is 0: below it the exponent of the result is one of the dtype.
FAR = {"float32": 88.0, "float64": 709.0}
WHOLE = {"float32": ("unsigned int", np.int32), "float64": ("unsigned long long", np.int64)}


def used(code: str, dtype: np.dtype[np.floating]) -> list[str]:
    """Return the functions that C code calls, with those that they need, in their order."""
    needed: list[str] = []
    for name in reversed(PIECES):
        if re.search(rf"\b({CALLS.get(name, name)})\(", code):
            text = C[BY_LIBM.get((name, dtype.name), name)]
            piece = text.format(**_fields(dtype)) if "{{" in text else text
            needed.insert(0, piece)
            code += piece
    return needed


@functools.cache
def _fields(dtype: np.dtype[np.floating]) -> dict[str, str]:
    """Return what the pieces have in place of their $names."""
    facts = np.finfo(dtype)
    whole, kind = WHOLE[dtype.name]
    last = 8 * dtype.itemsize - 1

    def bits(value: float) -> str:
        return hex(dtype.type(value).view(kind))

    # Of `src_cython/c/simd/coefficients.py`.
    polynomials = json.loads(pkgutil.get_data("fastmlp", "data/polynomials.json") or b"")
    named = polynomials[dtype.name]
    high, low = LN2[dtype.name]
    return {
        "whole": whole,
        "last": str(last),
        "all_but_sign": hex(2**last - 1),
        "sign": hex(2**last),
        "infinity": bits(np.inf),
        "nan": hex(2**last - 2 ** (facts.nmant - 1)),
        "mantissa": str(facts.nmant),
        "bias": str(1 - int(facts.minexp)),
        "lowest": f"{-FAR[dtype.name]:.0f}",
        "far": bits(FAR[dtype.name]),
        "forty": bits(40.0),
        "half": hex(2 ** (last + 1) - 2 ** ((facts.nmant + 2) // 2)),
        "ln2_high": number(high, np.dtype(np.float64)),
        "ln2_low": number(low, np.dtype(np.float64)),
        "root": bits(2**0.5 - 1),
        "one": bits(1.0),
        "expm1_tail": _polynomial(named["EXPM1_TAIL"], "r"),
        "atanh_tail": _polynomial(named["ATANH_TAIL"], "w"),
        # Even and odd powers, two sums that do not wait for each other.
        "even_tail": _polynomial(named["NORMAL_TAIL"][::2], "t2"),
        "odd_tail": _polynomial(named["NORMAL_TAIL"][1::2], "t2"),
    }


def _polynomial(coefficients: Sequence[float], variable: str) -> str:
    """Return a polynomial; its coefficients have the lowest power first."""
    first, *others = (number(c, np.dtype(np.float64)) for c in coefficients)
    return (
        f"{first} + {variable} * ({_polynomial(coefficients[1:], variable)})" if others else first
    )
