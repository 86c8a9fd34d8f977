"""The elementary functions behind activations, losses and links: how far from the truth, anywhere.

float32 is measured against NumPy's float64 on every 1031st bit pattern, float64 against mpmath.
Results below the smallest normal number are flushed to 0 by design, and so is exp a factor of two
above it: errors of that size are allowed beside the units in the last place.
"""

import functools

import cases
import formulas
import mpmath
import numpy as np
import pytest
from formulas import ULPS
from probing import probe
from tolerances import assert_close

import fastmlp
from fastmlp._engine import native_engine
from fastmlp._engine.native import Engine
from fastmlp._network.activations import ACTIVATIONS

LEVELS = native_engine.available_levels()
HAS_FMA = {"avx512", "avx2", "neon"}
# Which network shows a function: the link of a loss, or an activation between two weights of 1.
LINKS = {"exp": "poisson_nll", "sigmoid": "binary_cross_entropy"}
FUNCTIONS = ("exp", *ACTIVATIONS)
ROOT = float(2 * np.sqrt(2 / np.pi))


def native(name, level, x):
    """The function as predictions go through it."""
    loss = LINKS.get(name, "squared_error")
    sizes, activation = ([1, 1], "relu") if name in LINKS else ([1, 1, 1], name)
    spec = cases.build(sizes, activation, loss, x.dtype)
    engine = Engine(spec, level)
    ones = [np.ones(shape, x.dtype) for shape in spec.shapes]
    engine.set_parameters(ones, [np.zeros(1, x.dtype) for _ in ones])
    return engine.predict(x[:, np.newaxis])[:, 0]


def wide(name, x):
    """The function in float64."""
    if name == "exp":
        return np.exp(x)
    return ACTIVATIONS[name].value(x)


@functools.cache
def every_4099th_float32():
    x = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.sort(x[np.isfinite(x) & (np.abs(x) >= np.finfo(np.float32).tiny)])


@functools.cache
def sample(name, dtype):
    """Inputs, and the truth in two parts: rounded to float64 and what is missing."""
    with np.errstate(all="ignore"):
        if dtype == "float32":
            x = every_4099th_float32()
            # The error function of the C library is called one number at a time.
            x = x[::4] if name == "gelu" else x
            return x, wide(name, x.astype(np.float64)), 0.0
        x = np.concatenate([np.linspace(-45, 45, 1501), np.linspace(-1, 1, 801)])
        tiny = np.geomspace(1e-300, 1e-2, 201)
        x = np.concatenate([x, tiny, -tiny, np.linspace(-720, 709, 601)])
        formula = mpmath.exp if name == "exp" else functools.partial(formulas.value, name)
        with mpmath.workdps(40):
            truth = [formula(mpmath.mpf(float(value))) for value in x]
            nearest = np.array([float(value) for value in truth])
            rest = [float(t - mpmath.mpf(n)) for t, n in zip(truth, nearest.tolist(), strict=True)]
        return x, nearest, np.array(rest)


@pytest.mark.parametrize("dtype", native_engine.DTYPES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_units_of_the_last_place(name, level, dtype):
    x, nearest, rest = sample(name, dtype)
    found = native(name, level, x).astype(np.float64)
    info = np.finfo(dtype)
    floor = 4 * float(info.tiny) * np.maximum(1, np.abs(x.astype(np.float64)))
    ulps = np.full(x.shape, ULPS[name])
    with np.errstate(all="ignore"):
        if name == "gelu_tanh":  # exp(u) turns a rounding of u into |u| roundings
            roundings = 2 if level in HAS_FMA else 4
            ulps += np.minimum(roundings * ROOT * np.abs(x) * (1 + 0.044715 * x * x), 4096)
        if name == "gelu" and level not in HAS_FMA:  # the same with a * a / 2, without its rest
            ulps += np.minimum(x.astype(np.float64) ** 2, 4096)
        in_range = np.abs(nearest) < info.max
        spacing = np.spacing(np.maximum(np.abs(nearest), info.tiny).astype(dtype), dtype=dtype)
        error = np.abs((found - nearest) - rest)
        bad = in_range & ~(error <= ulps * spacing + floor)
        beyond = np.isinf(nearest.astype(dtype)) | np.isinf(nearest)
    assert not bad.any(), f"{np.sum(bad)} values, first x={x[bad][0]!r}: {found[bad][0]!r}"
    assert np.array_equal(np.isinf(found[~in_range]), beyond[~in_range])


@pytest.mark.parametrize("dtype", native_engine.DTYPES)
@pytest.mark.parametrize("level", LEVELS)
def test_special_values(level, dtype):
    info = np.finfo(dtype)
    huge, tiny, denormal = info.max, info.tiny, info.smallest_subnormal
    x = np.array([0, -0.0, np.inf, -np.inf, huge, -huge, tiny, -tiny, denormal, -denormal], dtype)
    exact = {
        "exp": [1, 1, np.inf, 0, np.inf, 0, 1, 1, 1, 1],
        "sigmoid": [0.5, 0.5, 1, 0, 1, 0, 0.5, 0.5, 0.5, 0.5],
        "tanh": [0, 0, 1, -1, 1, -1, tiny, -tiny, 0, 0],
        "elu": [0, 0, np.inf, -1, huge, -1, tiny, -tiny, 0, 0],
    }
    for name, wanted in exact.items():
        found = native(name, level, x)
        np.testing.assert_array_equal(found, np.array(wanted, dtype), err_msg=name)
    nan = np.full(67, np.nan, dtype)
    finite = np.array([0, -0.0, huge, -huge, tiny, -tiny, denormal], dtype)
    for name in (*LINKS, *ACTIVATIONS):
        assert np.isnan(native(name, level, nan)).all(), name
        assert not np.isnan(native(name, level, finite)).any(), name


@pytest.mark.parametrize("dtype", native_engine.DTYPES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_at_large_arguments(name, level, dtype):
    kernels = probe.Kernels(level, dtype)
    big = np.geomspace(50, float(np.finfo(dtype).max) / 1e3, 500)
    z = np.concatenate([big, -big]).astype(dtype)
    value, slope = kernels.activation(name, z)
    row = ACTIVATIONS[name]
    assert_close(slope, row.slope(z), "elementwise", dtype)
    # Where the slope is 1 or 0, so is the value z or 0.
    with np.errstate(under="ignore"):
        assert_close(value, row.value(z), "elementwise", dtype)


@functools.cache
def windows(dtype):
    """Runs of neighbouring numbers where something changes inside the functions."""
    kind = np.dtype(f"i{np.dtype(dtype).itemsize}")
    centres = np.array([-700, -88, -86.6, -50, -1, -0.3466, 0.3466, 1, 5, 20, 50, 88.7, 700], dtype)
    steps = np.arange(-20_000, 20_000).astype(kind)
    bits = centres.view(kind)[:, np.newaxis] + steps
    return [np.sort(row.view(dtype)) for row in bits]


@pytest.mark.parametrize("dtype", native_engine.DTYPES)
@pytest.mark.parametrize("level", LEVELS)
def test_exp_is_monotone_and_the_bounded_stay_in_bounds(level, dtype):
    sweep = np.linspace(-800, 800, 1_000_001).astype(dtype)
    for x in (*windows(dtype), sweep, *((every_4099th_float32(),) if dtype == "float32" else ())):
        rising = native("exp", level, x)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            assert not np.any(np.diff(rising) < 0)
        assert rising.min() >= 0
        sigmoid, tanh = native("sigmoid", level, x), native("tanh", level, x)
        assert sigmoid.min() >= 0
        assert sigmoid.max() <= 1
        assert np.abs(tanh).max() <= 1
        np.testing.assert_array_equal(native("tanh", level, -x), -tanh)


@pytest.mark.parametrize("dtype", native_engine.DTYPES)
@pytest.mark.parametrize("level", LEVELS)
def test_log_of_whole_numbers(level, dtype):
    kernels = probe.Kernels(level, dtype)
    for classes in (*range(2, 130), *range(130, 5000, 97)):
        # Equal logits of 0: the loss is the logarithm of exactly the number of classes.
        z, labels = np.zeros((1, classes), dtype), np.zeros(1, np.int32)
        value, _ = kernels.loss(fastmlp.CrossEntropy(), z, labels)
        wanted = np.longdouble(np.log(np.longdouble(classes)))
        assert abs(value[0] - wanted) <= ULPS["log"] * np.spacing(np.array(wanted, dtype))


# ---- softmax -------------------------------------------------------------------------------------


def logits(rng, n, classes, dtype):
    """Rows of every kind: ordinary, wide, huge, equal, one far above the rest."""
    scales = np.array([1, 30, 1e4, 3e38])[np.arange(n) % 4]
    z = rng.uniform(-1, 1, (n, classes)) * scales[:, np.newaxis]
    z[4::11] = z[4::11, :1]
    z[5::11, 0] = 3e38
    z[6::11] = -3e38
    z[7::11] = 1e4
    z[8::11, ::2] = -1e4
    return z.astype(dtype)


@pytest.mark.parametrize("dtype", native_engine.DTYPES)
@pytest.mark.parametrize("level", LEVELS)
def test_softmax_of_any_finite_logits(level, dtype):
    rng = np.random.default_rng(11)
    rows = 0
    for classes in (2, 3, 7, 8, 9, 10, 16, 17, 25, 33, 100, 1000):
        n = 9000 if classes < 1000 else 2000
        rows += n
        z = logits(rng, n, classes, dtype)
        engine = Engine(cases.build([classes] * 2, "relu", "cross_entropy", dtype), level)
        engine.set_parameters([np.eye(classes, dtype=dtype)], [np.zeros(classes, dtype)])
        p = engine.predict(z)
        assert p.min() >= 0
        np.testing.assert_allclose(p.sum(axis=1, dtype=np.float64), 1, rtol=0, atol=1e-6)
        wanted = fastmlp.CrossEntropy().link(z[:500].astype(np.float64))
        # z - max is rounded: exp has a relative error of |z - max| halves of epsilon.
        np.testing.assert_allclose(p[:500], wanted, rtol=1e-4, atol=1e-37)
        labels = rng.integers(0, classes, n).astype(np.int32)
        values, dz = probe.Kernels(level, dtype).loss(fastmlp.CrossEntropy(), z, labels)
        assert not np.isnan(values).any()
        assert np.isfinite(dz).all()
        wanted, _ = fastmlp.CrossEntropy().value_and_gradient(z.astype(np.float64), labels)
        scale = np.maximum(1, np.abs(z).max(axis=1).astype(np.float64))
        good = np.abs(values - wanted) <= 64 * np.finfo(dtype).eps * scale
        assert np.all(good | (wanted > np.finfo(dtype).max))
    assert rows >= 100_000
