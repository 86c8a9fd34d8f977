"""Activations: slope against value, value against textbook formulas, tails, dtypes."""

import functools

import cases
import formulas
import mpmath
import numpy as np
import pytest
from tolerances import assert_close, central_difference_step

from fastmlp._network.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from fastmlp._network.initializers import INITIALIZERS

ROWS = pytest.mark.parametrize("name", ACTIVATIONS)
# Never exactly 0, where some slopes jump.
GRID = np.linspace(-9.0, 9.0, 721) + 0.0103


@ROWS
def test_slope_is_the_derivative_of_value(name):
    row, h = ACTIVATIONS[name], central_difference_step()
    numeric = (row.value(GRID + h) - row.value(GRID - h)) / (2 * h)
    assert_close(row.slope(GRID), numeric, "central_difference", "float64")


@ROWS
def test_value_is_the_published_formula(name):
    pairs = [formulas.ACTIVATIONS[name](formulas.FLOAT, z) for z in GRID.tolist()]
    values, slopes = np.array(pairs, float).T
    assert_close(ACTIVATIONS[name].value(GRID), values, "elementwise", "float64")
    assert_close(ACTIVATIONS[name].slope(GRID), slopes, "elementwise", "float64")


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
    z = np.linspace(-12.3, 12.4, 61)
    with mpmath.workdps(60):
        for name in ("softplus", "sigmoid", "tanh", "gelu", "silu", "mish"):
            function = functools.partial(formulas.value, name)
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
