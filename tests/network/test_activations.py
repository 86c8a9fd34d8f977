"""Activations: slope against value, value against textbook formulas, tails, dtypes."""

import math
import warnings

import cases
import numpy as np
import pytest
from tolerances import assert_close, central_difference_step

from fastmlp._network.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from fastmlp._network.initializers import INITIALIZERS

ROWS = pytest.mark.parametrize("name", ACTIVATIONS)
# Never exactly 0, where some slopes jump.
GRID = np.linspace(-9.0, 9.0, 721) + 0.0103


def normal_cdf(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


# Straight from the papers, in scalar float64, good for moderate z only.
FORMULAS = {
    "identity": lambda z: z,
    "relu": lambda z: max(z, 0.0),
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "elu": lambda z: z if z > 0 else math.exp(z) - 1,
    "selu": lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * (math.exp(z) - 1)),
    "softplus": lambda z: math.log(1 + math.exp(z)),
    "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
    "tanh": math.tanh,
    "gelu": lambda z: z * normal_cdf(z),
    "gelu_tanh": lambda z: (
        0.5 * z * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    ),
    "silu": lambda z: z / (1 + math.exp(-z)),
    "mish": lambda z: z * math.tanh(math.log(1 + math.exp(z))),
}


@ROWS
def test_slope_is_the_derivative_of_value(name):
    row, h = ACTIVATIONS[name], central_difference_step()
    numeric = (row.value(GRID + h) - row.value(GRID - h)) / (2 * h)
    assert_close(row.slope(GRID), numeric, "central_difference", "float64")


@pytest.mark.parametrize("name", FORMULAS)
def test_value_is_the_published_formula(name):
    assert_close(
        ACTIVATIONS[name].value(GRID), [FORMULAS[name](z) for z in GRID], "elementwise", "float64"
    )


@pytest.mark.parametrize(
    ("name", "slope"),
    [("relu", 0.0), ("leaky_relu", 0.01), ("elu", 1.0), ("selu", SELU_SCALE * SELU_ALPHA)],
)
def test_the_slope_in_a_corner(name, slope):
    row = ACTIVATIONS[name]
    assert_close(row.value(np.zeros(1)), [0.0], "elementwise", "float64")
    assert_close(row.slope(np.zeros(1)), [slope], "elementwise", "float64")


@ROWS
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_dtype_and_shape_kept_and_input_untouched(name, dtype):
    z = np.linspace(-3, 3, 24).astype(dtype).reshape(2, 3, 4)[:, ::-1]
    before = z.copy()
    for function in (ACTIVATIONS[name].value, ACTIVATIONS[name].slope):
        y = function(z)
        assert y.dtype == z.dtype
        assert y.shape == z.shape
        assert not np.shares_memory(y, z)
    assert np.array_equal(z, before)


@ROWS
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_whole_range_is_finite_without_warning(name, dtype):
    huge = 0.5 * np.finfo(dtype).max
    z = np.array([-huge, -1e30, -1e4, -800, -90, -20, 0, 20, 90, 800, 1e4, 1e30, huge], dtype)
    row = ACTIVATIONS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, slope = row.value(z), row.slope(z)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
    assert np.all(np.abs(slope) < 2)


@ROWS
def test_nan_is_not_hidden(name):
    assert np.isnan(ACTIVATIONS[name].value(np.array([np.nan]))).all()


@ROWS
def test_names_and_initializers(name):
    assert ACTIVATIONS[name].name == name
    assert ACTIVATIONS[name].initializer in INITIALIZERS


def test_tails_keep_their_relative_accuracy():
    mpmath = pytest.importorskip("mpmath")
    exact = {
        "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
        "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
        "tanh": mpmath.tanh,
        "gelu": lambda z: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2,
        "silu": lambda z: z / (1 + mpmath.exp(-z)),
        "mish": lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z))),
    }
    z = np.linspace(-12.3, 12.4, 61)
    with mpmath.workdps(60):
        for name, function in exact.items():
            desired = [function(mpmath.mpf(float(v))) for v in z]
            slopes = [mpmath.diff(function, mpmath.mpf(float(v))) for v in z]
            value = ACTIVATIONS[name].value(z)
            # z / sqrt(2) has two roundings, each worth z**2 / 2 epsilons in the Gaussian tail: 154.
            limit = 200 * np.finfo(np.float64).eps
            assert np.all(np.abs(value / np.array(desired, float) - 1) < limit), name
            # Slopes with a zero crossing have no relative accuracy there.
            slope, wanted = ACTIVATIONS[name].slope(z), np.array(slopes, float)
            assert_close(slope, wanted, "elementwise", "float64")
            if name in ("softplus", "sigmoid", "tanh"):
                assert np.all(np.abs(slope / wanted - 1) < limit), name
