"""Own functions that do what rows of the tables do: of NumPy, and of C."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

import fastmlp
from fastmlp._network.activations import ACTIVATIONS

CC = shutil.which("cc")
needs_cc = pytest.mark.skipif(CC is None, reason="needs a C compiler")

# tanh and squared error; a context is a factor on both. The loss of labels is their number.
SOURCE = """
#include <math.h>
#include <stdint.h>
#define FUNCTIONS(real, suffix) \\
void tanh_##suffix(const real *context, int64_t n, const real *z, real *value, real *slope) { \\
    const real factor = context ? *context : 1; \\
    for (int64_t i = 0; i < n; i++) { \\
        const real y = (real)tanh(z[i]); \\
        value[i] = factor * y; \\
        if (slope) slope[i] = factor * (1 - y * y); \\
    } \\
} \\
void square_##suffix(const real *context, int64_t n, int64_t columns, int64_t width, \\
                     const real *z, const real *targets, const int32_t *labels, real *value, \\
                     real *gradient) { \\
    const real factor = context ? *context : 1; \\
    for (int64_t i = 0; i < n; i++) { \\
        value[i] = 0; \\
        for (int64_t c = 0; c < columns; c++) { \\
            const real t = labels ? (real)(labels[i] == c) : targets[i * width + c]; \\
            const real e = z[i * columns + c] - t; \\
            value[i] += factor * e * e / 2; \\
            gradient[i * columns + c] = factor * e; \\
        } \\
    } \\
} \\
void nothing_##suffix(void *context) { (void)context; }
FUNCTIONS(float, float32)
FUNCTIONS(double, float64)
"""


@functools.cache
def library():
    """Return the functions of the source, compiled."""
    folder = tempfile.TemporaryDirectory()
    source, path = Path(folder.name, "own.c"), Path(folder.name, "own.so")
    source.write_text(SOURCE)
    subprocess.run([CC, "-O2", "-shared", "-fPIC", source, "-o", path, "-lm"], check=True)
    found = ctypes.CDLL(str(path))
    found.folder = folder  # the folder lives as long as the library
    return found


def c_function(stem, context=None):
    """Return one of them for both dtypes."""
    both = {dtype: getattr(library(), f"{stem}_{dtype}") for dtype in ("float32", "float64")}
    return fastmlp.CFunction(**both, context=context)


def c_tanh(context=None):
    return fastmlp.CustomActivation(c_function("tanh", context), name="own_tanh")


def c_square(targets="real", context=None):
    return fastmlp.CustomLoss(c_function("square", context), targets=targets, name="own_square")


class Row:
    """An activation of the table as one function; by name, so that it can be pickled."""

    def __init__(self, name):
        self.name = name

    def __call__(self, z):
        row = ACTIVATIONS[self.name]
        return row.value(z), row.slope(z)

    def __eq__(self, other):
        return isinstance(other, Row) and other.name == self.name

    __hash__ = None


def activation(name):
    """Return the twin of an activation of the table."""
    row = ACTIVATIONS[name]
    return fastmlp.CustomActivation(Row(name), name=name, initializer=row.initializer)


def loss(row):
    """Return the twin of a loss."""
    kinds = {"link": row.link_name, "targets": row.target_kind}
    return fastmlp.CustomLoss(row.value_and_gradient, name=row.name, **kinds)


def softsign(z):
    d = 1 + np.abs(z)
    return z / d, 1 / d**2


def square(z, t):
    e = z - t
    return 0.5 * np.sum(e * e, axis=1), e
