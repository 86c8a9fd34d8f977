"""Write coefficients.h: near-minimax polynomials for the elementwise functions of mathfun.h.

Needs mpmath. Run `python coefficients.py` after a change here; the build does not run it. It also
writes fastmlp/data/polynomials.json, for exported C. Each polynomial is a Chebyshev fit in 60
digits, its largest absolute error of the fitted function is printed beside it. Notation: lowest
power first.
"""

from __future__ import annotations

import json
from pathlib import Path

from mpmath import chebyfit, erfc, exp, log, mp, mpf, nstr, pi, sqrt

mp.dps = 60

HALF_LN2 = log(2) / 2 * mpf("1.0005")
ATANH_RANGE = (((sqrt(2) - 1) / (sqrt(2) + 1)) * mpf("1.001")) ** 2
TAIL_SCALE = mpf("0.2")


def expm1_tail(r):
    """Evaluate (exp(r) - 1 - r) / r**2."""
    return (exp(r) - 1 - r) / r**2 if abs(r) > mpf("1e-12") else mpf(1) / 2 + r / 6


def atanh_tail(w):
    """Evaluate (2 atanh(s) - 2 s) / s**3 with w = s**2."""
    if w < mpf("1e-14"):
        return mpf(2) / 3 + 2 * w / 5
    s = sqrt(w)
    return (log((1 + s) / (1 - s)) - 2 * s) / s**3


def normal_tail(t):
    """Evaluate Q(a) exp(a**2 / 2) / t for t = 1 / (1 + TAIL_SCALE a), Q the normal upper tail."""
    if t < mpf("1e-9"):
        return TAIL_SCALE / sqrt(2 * pi)
    a = (1 / t - 1) / TAIL_SCALE
    return exp(a * a / 2) * erfc(a / sqrt(2)) / 2 / t


ROWS = (
    # macro, function, interval, terms in float32, terms in float64
    ("EXPM1_TAIL", expm1_tail, (-HALF_LN2, HALF_LN2), 5, 10),
    ("ATANH_TAIL", atanh_tail, (mpf(0), ATANH_RANGE), 4, 7),
    ("NORMAL_TAIL", normal_tail, (mpf(0), mpf(1)), 10, 22),
)


HEADER = Path(__file__).with_suffix(".h")
EXPORTED = Path(__file__).parents[3] / "fastmlp" / "data" / "polynomials.json"


def main() -> None:
    """Write the header, and the file for exported C."""
    text = [
        "/* Made by coefficients.py; do not edit. Lowest power first. */",
        "#ifndef FM_COEFFICIENTS_H\n#define FM_COEFFICIENTS_H\n",
    ]
    exported = {}
    for double, column in ((0, 3), (1, 4)):
        text.append("#if FM_DOUBLE" if double else "#if !FM_DOUBLE")
        named = exported["float64" if double else "float32"] = {}
        for row in ROWS:
            coefficients, error = chebyfit(row[1], row[2], row[column], error=True)
            literals = [nstr(c, 18) if double else nstr(c, 10) for c in coefficients[::-1]]
            named[row[0]] = [float(literal) for literal in literals]
            lines = [", ".join(literals[i : i + 3]) for i in range(0, len(literals), 3)]
            text.append(f"/* largest error {nstr(error, 2)} */")
            text.append(f"#define {row[0]} {{ \\\n    " + ", \\\n    ".join(lines) + " }")
        text.append("#endif\n")
    HEADER.write_text("\n".join([*text, "#endif\n"]))
    EXPORTED.write_text(json.dumps(exported, indent=1) + "\n")


if __name__ == "__main__":
    main()
