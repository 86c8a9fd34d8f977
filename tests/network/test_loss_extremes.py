"""Losses where floating point ends: never NaN, infinite only where the truth is beyond the dtype.

The truth is computed in 60 digits. A loss is also infinite where the error z - t or the rate exp(z)
is. Rows of weight 0 count for nothing, whatever overflows in them.
"""

import functools
import itertools

import cases
import mpmath
import numpy as np
import pytest
from probing import probe
from tolerances import assert_close

import fastmlp
from fastmlp import reference
from fastmlp._engine import native_engine
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_pool import borrowed_team
from fastmlp._network.data import Data

SMOOTHED = cases.LossCase(fastmlp.CrossEntropy(label_smoothing=0.9), True)
# Where the network's other outputs are: no part of what is tried.
WIDTHS = (1, 3, 33)


def numbers(dtype):
    """0, small, ordinary and large numbers, and those whose exp, square or sum overflow."""
    info = np.finfo(dtype)
    root, log = float(info.max) ** 0.5, float(np.log(info.max))
    sizes = [float(info.tiny), 1e-30, 0.25, 1.0, 3.0, 30.0, 0.999 * log, 1.001 * log, 3.99 * log]
    sizes += [1e4, 0.9 * root, 1.2 * root, 1.6 * root, 0.45 * float(info.max), float(info.max)]
    return [0.0, *sizes, *(-size for size in sizes)]


def rows(case, dtype):
    """Return the extreme rows (z, t) of a loss: z as wide as its heads, or some classes wide."""
    reals = numbers(dtype)
    kind = case.loss.target_kind
    if kind == "class":
        info = np.finfo(dtype)
        logits = (0.0, 1.0, -100.0, 0.9 * float(info.max), float(info.max), -float(info.max))
        z = list(itertools.product(logits, repeat=3))
        soft = ((1.0, 0.0, 0.0), (0.0, 0.25, 0.75), (0.25, 0.5, 0.25))
        targets = range(3) if case.labels else soft
        return [(row, t) for row, t in itertools.product(z, targets)]
    if case.loss.levels:  # targets that no rounded quantile equals
        largest = float(np.finfo(dtype).max)
        rises = (0.0, 1.0, -30.0, -0.45 * largest, 1e4, 0.45 * largest, largest)
        grid = itertools.product(reals, rises, rises, (-0.3, -3e4, 0.31 * largest))
        return [(tuple(z), (t,)) for *z, t in grid]
    if case.loss.heads == 2:
        return [((mean, s), (0.0,)) for mean, s in itertools.product(reals, reals)]
    targets = {
        "real": (0.0, 1.0, *reals[-2:], reals[-3]),
        "count": (0.0, 3.0, 1e4, reals[15]),
        "positive": (reals[1], 1e-30, 3.0, 1e4, reals[15]),
        "unit_interval": (0.0, 0.25, 1.0),
    }
    return [((z,), (t,)) for z, t in itertools.product(reals, targets[kind])]


def truth(loss, z, t):
    """Return (loss, gradient, whether a part of it is beyond the dtype) of one row."""
    mp, z_dtype = mpmath.mpf, z.dtype
    limit = mp(float(np.finfo(z.dtype).max))

    def exp(x):  # farther out nothing comes back into the range of the dtypes
        return mpmath.exp(max(mp(-20_000), min(mp(20_000), x)))

    if loss.target_kind == "class":
        return (*_cross_entropy(loss, z, t, exp), False)
    t = mp(float(t[0]))
    if loss.levels:
        z = [mp(float(number)) for number in z]
        rises = [z[0], *(max(x, mp(0)) + mpmath.log1p(exp(-abs(x))) for x in z[1:])]
        errors = [sum(rises[: k + 1]) - t for k in range(len(z))]
        levels = [mp(float(np.dtype(z_dtype).type(level))) for level in loss.levels]
        slopes = [(e > 0) - level for e, level in zip(errors, levels, strict=True)]
        value = sum(e * slope for e, slope in zip(errors, slopes, strict=True))
        own = [mp(1), *(1 / (1 + exp(-x)) for x in z[1:])]
        gradient = [sum(slopes[k:]) * own[k] for k in range(len(z))]
        return value, gradient, any(max(abs(e), abs(e + t)) > limit for e in errors)
    if loss.heads == 2:
        e, s = mp(float(z[0])) - t, mp(float(z[1]))
        scaled = e * exp(-s)
        value = (s + e * scaled + mpmath.log(2 * mpmath.pi)) / 2
        return value, [scaled, (1 - e * scaled) / 2], abs(e) > limit
    z = mp(float(z[0]))
    e = z - t
    beyond = abs(e) > limit
    sign = (e > 0) - (e < 0)
    parameter = mp(float(np.float64(loss.parameter)))
    if isinstance(loss, fastmlp.Huber) and abs(e) > parameter:
        return parameter * (abs(e) - parameter / 2), [parameter * sign], beyond
    if isinstance(loss, fastmlp.AbsoluteError):
        return abs(e), [sign], beyond
    if isinstance(loss, fastmlp.Quantile):
        slope = 1 - parameter if e > 0 else -parameter * (e < 0)
        return slope * e, [slope], beyond
    if isinstance(loss, fastmlp.PoissonNLL):
        return exp(z) - t * z, [exp(z) - t], exp(z) > limit
    if isinstance(loss, fastmlp.GammaNLL):
        return z + t * exp(-z), [1 - t * exp(-z)], False
    if isinstance(loss, fastmlp.Tweedie):
        rise, fall = 2 - parameter, parameter - 1
        value = exp(rise * z) / rise + t * exp(-fall * z) / fall
        return value, [exp(rise * z) - t * exp(-fall * z)], exp(z) > limit
    if isinstance(loss, fastmlp.BinaryCrossEntropy):
        softplus = max(z, mp(0)) + mpmath.log1p(exp(-abs(z)))
        return softplus - z * t, [1 / (1 + exp(-z)) - t], False
    constant = mpmath.log(2 * mpmath.pi) / 2 if isinstance(loss, fastmlp.GaussianNLL) else 0
    return e * e / 2 + constant, [e], beyond


def _cross_entropy(loss, z, t, exp):
    """-sum t log softmax(z) by the definition; t is smoothed, and its own sum is taken."""
    one_hot = [float(c == t) for c in range(len(z))] if np.ndim(t) == 0 else [float(x) for x in t]
    s = mpmath.mpf(loss.parameter)
    targets = [(1 - s) * x + s / len(z) for x in one_hot]
    z = [mpmath.mpf(float(x)) for x in z]
    powers = [exp(x - max(z)) for x in z]
    total = mpmath.log(sum(powers))
    value = sum(x * (max(z) - y + total) for x, y in zip(targets, z, strict=True))
    return value, [p / sum(powers) - x for p, x in zip(powers, targets, strict=True)]


@functools.cache
def table(case, dtype):
    """Return z, t and the truth of the extreme rows: losses, gradients, parts beyond the dtype."""
    pairs = rows(case, dtype)
    z = np.array([z for z, _ in pairs], dtype)
    t = np.array([t for _, t in pairs], np.int32 if case.labels else dtype)
    with mpmath.workdps(60):
        known = [truth(case.loss, *pair) for pair in zip(z, t, strict=True)]
        limit = mpmath.mpf(10) ** 400  # float64 infinity says no more
        values, slopes, beyond = zip(*known, strict=True)
        values = [float(min(limit, max(-limit, value))) for value in values]
        slopes = [[float(min(limit, max(-limit, d))) for d in row] for row in slopes]
    return z, t, np.array(values), np.array(slopes), np.array(beyond)


def check(found, wanted, beyond, dtype, size, text):
    """Assert that results are the truth; infinite only where that or a part of it overflows."""
    info = np.finfo(dtype)
    found = np.asarray(found, np.float64)
    assert not np.isnan(found).any(), f"{text}: NaN in {np.argwhere(np.isnan(found))[:3].tolist()}"
    largest = float(info.max)
    with np.errstate(over="ignore", invalid="ignore"):
        outside = np.abs(wanted) > largest * (1 - 512 * float(info.eps))
        near = np.abs(found - wanted) <= 512 * float(info.eps) * (size + np.abs(wanted))
    must = np.abs(wanted) / 2 > largest / 2 * (1 + 512 * float(info.eps))
    right = np.where(np.isinf(found), outside | beyond, (near & ~must) | beyond)
    bad = np.argwhere(~right)
    assert not len(bad), f"{text}: {len(bad)} wrong, first {bad[0]}: {found[tuple(bad[0])]!r}"


CASES = pytest.mark.parametrize("case", [*cases.LOSSES, SMOOTHED], ids=str)
DTYPES = pytest.mark.parametrize("dtype", native_engine.DTYPES)


def losses_of(kind, dtype):
    """Return what computes losses: the reference, or the kernels of a level."""
    if kind == "reference":
        return lambda loss, z, t: loss.value_and_gradient(z, t)
    return probe.Kernels(kind, dtype).loss


def among(case, z, t, width):
    """Return the same rows with ordinary outputs around them, and where the extreme columns are."""
    if case.loss.target_kind == "class" or width == 1:
        return z, t, list(range(z.shape[1]))
    heads = case.loss.heads
    at = [h * width + width // 2 for h in range(heads)]
    wide_z, wide_t = np.zeros((len(z), heads * width), z.dtype), np.zeros((len(t), width), t.dtype)
    wide_z[:, at], wide_t[:, [width // 2]] = z, t
    return wide_z, wide_t, at


@DTYPES
@CASES
def test_extreme_rows_have_the_right_loss_and_gradient(case, dtype):
    z, t, values, slopes, beyond = table(case, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        size = 1 + np.where(z.shape[1] == 1, np.abs(t.reshape(len(t), -1)[:, 0] * z[:, 0]), 0)
    finite = {}
    for name in cases.KINDS:
        for width in WIDTHS:
            wide_z, wide_t, at = among(case, z, t, width)
            found, gradient = losses_of(name, dtype)(case.loss, wide_z, wide_t)
            rest, _ = case.loss.value_and_gradient(np.zeros_like(wide_z[:1]), wide_t[:1] * 0)
            one, _ = case.loss.value_and_gradient(np.zeros_like(z[:1]), t[:1] * 0)
            others = float(rest[0] - one[0])
            text = f"{name}, width {width}"
            check(found, values + others, beyond, dtype, size + others, text)
            check(gradient[:, at], slopes, beyond[:, np.newaxis], dtype, 1.0, f"{text}, gradient")
            finite[text] = np.isfinite(found), np.isfinite(gradient).all(axis=1)
    for width in WIDTHS:
        kinds = [found for text, found in finite.items() if text.endswith(f" {width}")]
        for native in kinds[1:]:
            np.testing.assert_array_equal(native[0], kinds[0][0])
            np.testing.assert_array_equal(native[1], kinds[0][1])


# ---- rows of weight 0 ----------------------------------------------------------------------------


def overflowing(case, dtype, activation):
    """Return a network and data whose rows 1, 6, 11, ... have weight 0 and overflow on the way."""
    rng = np.random.default_rng(7)
    spec = cases.build([3, 9, 17, 4], [activation, "gelu"], case.loss, dtype, [0.0, 0.3])
    data = cases.data(spec, 70, rng, case.labels, weighted=True)
    data.x[1::5] = float(np.finfo(dtype).max)
    weights, biases = cases.parameters(spec, rng)
    weights[0][:, ::2] *= 5  # sums of the first layer exceed the dtype
    return spec, data, weights, biases


@DTYPES
@pytest.mark.parametrize("activation", ["relu", "mish"])
@pytest.mark.parametrize("case", cases.LOSSES, ids=str)
def test_rows_of_weight_0_count_for_nothing(case, activation, dtype):
    spec, data, weights, biases = overflowing(case, dtype, activation)
    used = data.weights > 0
    rest = Data(data.x[used], data.targets[used], data.weights[used])
    for name in cases.KINDS:
        engine = cases.engine(name, spec)
        engine.set_parameters(weights, biases)
        with np.errstate(over="ignore", invalid="ignore"):
            found, wanted = (
                (e.evaluate(d), *e.gradients(d)) for e, d in ((engine, data), (engine, rest))
            )
        assert np.isfinite(found[0])
        assert_close(found[0], wanted[0], "loss", dtype)
        assert_close(found[1], wanted[1], "loss", dtype)
        for a, b in zip([*found[2], *found[3]], [*wanted[2], *wanted[3]], strict=True):
            assert np.isfinite(a).all(), name
            assert_close(a, b, "gradient", dtype, scale=1 + float(np.abs(b).max()))


@DTYPES
@pytest.mark.parametrize("case", cases.LOSSES, ids=str)
def test_fits_with_rows_of_weight_0_go_on(case, dtype):
    spec, data, weights, biases = overflowing(case, dtype, "relu")
    for n_threads, name in itertools.product((1, 2), cases.KINDS):
        engine = cases.engine(name, spec)
        engine.set_parameters(weights, biases)
        engine.start(fastmlp.SGD(1e-4))
        plan = Plan(fastmlp.SGD(1e-4), 32, np.full(3, 1e-4), l2=0.01)
        with borrowed_team(n_threads) as plan.team:
            assert np.isfinite(engine.epoch(data, plan)), name
        assert all(np.isfinite(w).all() for w in engine.parameters()[0])


@pytest.mark.parametrize("model", [fastmlp.MLP, reference.MLP])
def test_a_rate_beyond_the_dtype_in_a_row_of_weight_0(model):
    """The whole way: the loss of the second row is infinite, and no part of anything."""
    net = model([1, 1], loss="poisson_nll", rng=0)
    net.weights = [np.ones((1, 1))]
    x, y, weight = [[0.0], [1000.0]], [1.0, 1.0], [1.0, 0.0]
    assert net.evaluate(x, y, weight) == 1
    objective, (dw,), (db,) = net.gradients(x, y, weight)
    assert (objective, float(dw[0, 0]), float(db[0])) == (1, 0, 0)
    assert net.fit(x, y, sample_weight=weight, epochs=2).loss[0] == 1
