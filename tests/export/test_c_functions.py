"""The functions of exported C against 50 digits, with every option that may change their bits."""

import ctypes
import json
import re
import subprocess
from pathlib import Path

import mpmath
import numpy as np
import pytest
from exports import needs_gcc

import fastmlp
from fastmlp._export import c_functions, c_text

ROOT = Path(fastmlp.__file__).parent
HEADER = ROOT.parent / "src_cython" / "c" / "simd" / "coefficients.h"
REAL = {"float32": ctypes.c_float, "float64": ctypes.c_double}
# The function in many digits, and the largest errors: in units of the last place, for float64 too.
FUNCTIONS = {
    "exp_minus": (lambda z: mpmath.exp(-abs(z)), 2),
    "expm1_minus": (lambda z: mpmath.expm1(-abs(z)), 3),
    "sigmoid": (lambda z: 1 / (1 + mpmath.exp(-z)), 4),
    "softplus": (lambda z: mpmath.log1p(mpmath.exp(z)), 4),
    "tanh_of": (mpmath.tanh, 5),
    "tanh_of_softplus": (lambda z: mpmath.tanh(mpmath.log1p(mpmath.exp(z))), 6),
    "normal": (mpmath.ncdf, 40),
}
TAIL = -8.0  # where the distribution function is read: farther out libm's erfc has fewer digits
LIMITS = {  # the values at minus infinity and at infinity
    "exp_minus": (0, 0),
    "expm1_minus": (-1, -1),
    "sigmoid": (0, 1),
    "softplus": (0, np.inf),
    "tanh_of": (-1, 1),
    "tanh_of_softplus": (0, 1),
    "normal": (0, 1),
}


@pytest.fixture(scope="module", params=["-O1", "-O3 -march=native", "-O2 -ffast-math"])
def library(request, tmp_path_factory):
    """Return functions that apply one of the C functions to an array, by dtype."""
    folder, loaded = tmp_path_factory.mktemp("functions"), {}
    for dtype in REAL:
        loops = "".join(
            f"void all_{name}(const real *x, real *y, int n)\n"
            f"{{\n    for (int j = 0; j < n; j++) y[j] = {name}(x[j]);\n}}\n"
            for name in FUNCTIONS
        )
        code = "".join([*c_functions.used(loops, np.dtype(dtype)), loops])
        path = folder / f"{dtype}.c"
        path.write_text("#include <math.h>\n" + c_text.typed(code, np.dtype(dtype)))
        command = ["gcc", "-std=c99", "-Wall", "-Werror", *request.param.split(), "-fPIC", "-c"]
        subprocess.run([*command, path, "-o", path.with_suffix(".o")], check=True)
        # Linked without -ffast-math, which would set the process to treat tiny numbers as 0.
        target = path.with_suffix(".so")
        subprocess.run(["gcc", "-shared", path.with_suffix(".o"), "-o", target, "-lm"], check=True)
        loaded[dtype] = ctypes.CDLL(str(target))

    def apply(name, x):
        y = np.empty_like(x)
        function = getattr(loaded[x.dtype.name], f"all_{name}")
        function(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), len(x))
        return y

    apply.is_fast = "fast" in request.param
    return apply


@needs_gcc
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_are_a_few_units_of_the_last_place(library, name, dtype):
    """Below the normal numbers results may be 0; -ffast-math loses digits of small ones."""
    true, units = FUNCTIONS[name]
    rng, facts = np.random.default_rng(0), np.finfo(dtype)
    most = {"float32": 80, "float64": 600}[dtype]
    parts = [rng.uniform(-most, most, 300), rng.normal(size=500), 1e-4 * rng.normal(size=200)]
    x = np.concatenate([*parts, [0.0, -0.0, 1e-30, -1e-30]]).astype(dtype)
    x = np.clip(x, TAIL if name == "normal" else -most, most)
    with mpmath.workdps(50):
        expected = np.array([float(true(mpmath.mpf(float(z)))) for z in x])
    error = np.abs(library(name, x) - expected) / facts.eps
    smallest = 1.0 if library.is_fast else 8 * facts.tiny
    error /= np.maximum(np.abs(expected), smallest)
    assert error.max() < units, x[error.argmax()]


@needs_gcc
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_infinity_has_its_limit_and_nan_stays(library, name, dtype):
    low, high = LIMITS[name]
    largest = np.finfo(dtype).max
    far = library(name, np.array([-largest, largest], dtype))
    np.testing.assert_allclose(far, [low, min(high, largest)], rtol=1e-6)
    if not library.is_fast:  # whose compilers know neither infinity nor NaN
        y = library(name, np.array([-np.inf, np.inf, np.nan, -np.nan], dtype))
        np.testing.assert_allclose(y[:2], [low, high], rtol=1e-6)
        assert np.isnan(y[2:]).all()


@pytest.mark.skipif(not HEADER.exists(), reason="needs the sources")
def test_the_polynomials_are_those_of_the_kernels():
    """Both files are written by coefficients.py."""
    exported = json.loads((ROOT / "data" / "polynomials.json").read_text())
    single, double = HEADER.read_text().split("#if FM_DOUBLE")
    for dtype, text in (("float32", single), ("float64", double)):
        found = {
            name: [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", numbers)]
            for name, numbers in re.findall(r"#define (\w+) \{([^}]*)\}", text)
        }
        assert found == exported[dtype]


@pytest.mark.skipif(not HEADER.exists(), reason="needs the sources")
@pytest.mark.parametrize("dtype", REAL)
def test_the_parts_of_the_logarithm_of_2_are_those_of_the_kernels(dtype):
    text = HEADER.with_name("mathfun.h").read_text()
    double, single = text.partition("#if FM_DOUBLE")[2].split("#else")[:2]
    of_dtype = double if dtype == "float64" else single
    parts = re.findall(r"#define LN2_(?:HIGH|LOW) (-?[\d.e-]+)", of_dtype)
    assert tuple(map(float, parts)) == c_functions.LN2[dtype]
