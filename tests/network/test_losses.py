"""Losses: gradients by central differences, hand-worked numbers, extremes, validation, names."""

import itertools
import math
import pickle

import cases
import numpy as np
import pytest
from scipy import special, stats
from tolerances import assert_close, central_difference_step

import fastmlp
from fastmlp._network import losses
from fastmlp._network.target_kinds import KINDS

CASES = pytest.mark.parametrize("case", cases.LOSSES, ids=str)


@CASES
@pytest.mark.parametrize("m", [2, 3, 7])
def test_gradient_is_that_of_the_value(case, m):
    rng = np.random.default_rng(m)
    n, h = 5, central_difference_step()
    z = rng.normal(scale=2.0, size=(n, case.loss.heads * m))
    t = cases.targets(case.loss, n, m, rng, labels=case.labels)
    every = [(t,)]
    if case.loss.is_separable:
        weights = rng.uniform(0, 2, (n, m)) * (rng.uniform(size=(n, m)) < 0.7)
        every.append((np.where(weights > 0, t, np.nan), weights))
    for given, column in itertools.product(every, range(z.shape[1])):
        values, dz = case.loss.value_and_gradient(z, *given)
        assert values.shape == (n,)
        assert dz.shape == z.shape
        step = h * (np.arange(z.shape[1]) == column)
        up, _ = case.loss.value_and_gradient(z + step, *given)
        down, _ = case.loss.value_and_gradient(z - step, *given)
        slopes = (up - down) / (2 * h)  # rounded as the sum over outputs is
        assert_close(dz[:, column], slopes, "central_difference", "float64", scale=16)


def bernoulli(z, t):
    return t * special.log_expit(z) + (1 - t) * special.log_expit(-z)


def compound(power):
    """The logarithm of the density of a Tweedie distribution: sums of many amounts, or 0."""

    def log_density(z, t):
        mean, rise, fall = np.exp(z), 2 - power, power - 1
        count, n = mean**rise / rise, np.arange(1, 400)[:, np.newaxis, np.newaxis]
        amounts = stats.gamma.logpdf(t, n * rise / fall, scale=fall * mean**fall)
        some = special.logsumexp(stats.poisson.logpmf(n, count) + amounts, axis=0)
        return np.where(t == 0, -count, some)

    return log_density


# Logarithms of densities or probabilities of t, up to terms without z. Those of other rows are no
# function of z and t alone, or no density.
LIKELIHOODS = {
    "squared_error": lambda z, t: stats.norm.logpdf(t, z),
    "absolute_error": lambda z, t: stats.laplace.logpdf(t, z),
    "poisson_nll": lambda z, t: stats.poisson.logpmf(t, np.exp(z)),
    "gamma_nll": lambda z, t: stats.gamma.logpdf(t, 3.0, scale=np.exp(z) / 3) / 3,
    "tweedie-1.5": compound(1.5),
    "tweedie-1.2": compound(1.2),
    "gaussian_nll_unit": lambda z, t: stats.norm.logpdf(t, z),
    "binary_cross_entropy": bernoulli,
    "cross_entropy_soft": lambda z, t: t * special.log_softmax(z, axis=1),
    "huber-1": lambda z, t: -special.huber(1.0, z - t),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_losses_are_likelihoods(name):
    (case,) = (case for case in cases.LOSSES if str(case) == name)
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 60, 3))
    t = cases.targets(case.loss, 60, 3, rng, labels=False)
    (a, _), (b, _) = (case.loss.value_and_gradient(z, t) for z in (one, other))
    more = np.sum(LIKELIHOODS[name](other, t) - LIKELIHOODS[name](one, t), axis=1)
    np.testing.assert_allclose(a - b, more, rtol=0, atol=1e-9)


LOG_2, LOG_3, LOG_4 = (math.log(number) for number in (2, 3, 4))
LOG_2_PI, THIRD = math.log(2 * math.pi), math.log(4 / 3)
UNIT = losses.GaussianNLL(predict_variance=False)
HAND_WORKED = [
    (losses.SquaredError(), [[3.0, 1.0]], [[1.0, 4.0]], 6.5, [2.0, -3.0]),
    (losses.AbsoluteError(), [[3.0, 1.0, 2.0]], [[1.0, 4.0, 2.0]], 5.0, [1.0, -1.0, 0.0]),
    (losses.Huber(2.0), [[1.0, 5.0, -5.0]], [[0.0, 0.0, 0.0]], 16.5, [1.0, 2.0, -2.0]),
    (losses.Huber(2.0), [[2.0, -2.0]], [[0.0, 0.0]], 4.0, [2.0, -2.0]),
    (losses.Quantile(0.8), [[1.0, 3.0, 2.0]], [[3.0, 1.0, 2.0]], 2.0, [-0.8, 0.2, 0.0]),
    (losses.Quantiles([0.2, 0.6]), [[0.0, 0.0]], [[LOG_2 / 2]], 0.3 * LOG_2, [0.2, 0.2]),
    (losses.Quantiles([0.2, 0.6]), [[1.0, 0.0]], [[3.0]], 1.6 - 0.6 * LOG_2, [-0.8, -0.3]),
    (losses.PoissonNLL(), [[LOG_2]], [[3.0]], 2 - 3 * LOG_2, [-1.0]),
    (losses.GammaNLL(), [[LOG_2]], [[3.0]], 1.5 + LOG_2, [-0.5]),
    (losses.Tweedie(1.5), [[LOG_4]], [[3.0]], 7.0, [0.5]),
    (losses.GaussianNLL(), [[1.0, LOG_4]], [[3.0]], 0.5 * (LOG_4 + 1 + LOG_2_PI), [-0.5, 0.0]),
    (UNIT, [[1.0, 0.0]], [[3.0, 0.0]], 2 + LOG_2_PI, [-2.0, 0.0]),
    (losses.CrossEntropy(), [[LOG_3, 0.0]], [0], THIRD, [-0.25, 0.25]),
    (losses.CrossEntropy(), [[0.0, LOG_3]], [[0.5, 0.5]], THIRD + LOG_3 / 2, [-0.25, 0.25]),
    # The targets become (0.1, 0.9).
    (losses.CrossEntropy(0.2), [[0.0, 0.0]], [1], LOG_2, [0.4, -0.4]),
    (losses.BinaryCrossEntropy(), [[LOG_3, 0.0]], [[1.0, 0.5]], THIRD + LOG_2, [-0.25, 0.0]),
]


@pytest.mark.parametrize(("loss", "z", "t", "value", "dz"), HAND_WORKED)
def test_hand_worked(loss, z, t, value, dz):
    got_value, got_dz = loss.value_and_gradient(np.array(z), np.array(t))
    assert_close(got_value, [value], "elementwise", "float64")
    assert_close(got_dz, [dz], "elementwise", "float64")


def test_a_loss_is_refused_where_a_function_is_expected():
    """Losses that could be called would pass these checks, and end the fit later."""
    net, x = fastmlp.MLP([2, 1], rng=0), np.ones((4, 2))
    for name in ("metrics", "callbacks"):
        with pytest.raises((TypeError, ValueError), match=rf"^{name}.* Huber\(delta=1.0\)"):
            net.fit(x, x[:, :1], epochs=1, **{name: [losses.Huber()]})
    for make in (fastmlp.Adam, fastmlp.SGD):
        with pytest.raises(TypeError, match=r"^learning_rate is Huber\(delta=1.0\)"):
            make(losses.Huber())


def test_links():
    z = np.array([[0.0, math.log(3)]])
    assert_close(losses.CrossEntropy().link(z), [[0.25, 0.75]], "elementwise", "float64")
    assert_close(losses.BinaryCrossEntropy().link(z), [[0.5, 0.75]], "elementwise", "float64")
    assert_close(losses.PoissonNLL().link(z), [[1.0, 3.0]], "elementwise", "float64")
    assert_close(losses.GaussianNLL().link(z), [[0.0, 3.0]], "elementwise", "float64")
    assert np.array_equal(losses.Huber().link(z), z)
    z = np.log(np.expm1([[1.0, 2.0, 3.0, 4.0]]))  # these are two quantiles of two outputs
    quantiles = [[z[0, 0], z[0, 1], z[0, 0] + 3, z[0, 1] + 4]]
    assert_close(losses.Quantiles([0.2, 0.8]).link(z), quantiles, "elementwise", "float64")


@pytest.mark.parametrize(
    "levels", [[0.5], 0.5, "ab", None, [0.5, 0.5], [0.9, 0.1], [0.1, 0.5, 0.4]]
)
def test_levels_are_ascending(levels):
    with pytest.raises(ValueError, match="at least two ascending levels are expected"):
        losses.Quantiles(levels)


def test_levels_are_fractions():
    for levels in ([0.0, 0.5], [0.5, 1.0], [-0.1, 0.5], [0.5, np.nan]):
        with pytest.raises(ValueError, match="levels is"):
            losses.Quantiles(levels)
    with pytest.raises(TypeError, match="levels is"):
        losses.Quantiles([0.5, "0.9"])
    assert losses.Quantiles(np.float32([0.25, 0.5])) == losses.Quantiles((0.25, 0.5))


def test_labels_are_one_hot_soft_targets():
    rng = np.random.default_rng(2)
    z, labels = rng.normal(size=(8, 5)), rng.integers(0, 5, 8).astype(np.int32)
    for loss in (losses.CrossEntropy(), losses.CrossEntropy(0.3)):
        hard = loss.value_and_gradient(z, labels)
        soft = loss.value_and_gradient(z, np.eye(5)[labels])
        assert np.array_equal(hard[0], soft[0])
        assert np.array_equal(hard[1], soft[1])


@CASES
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_dtype_kept_inputs_untouched_and_float32_accurate(case, dtype):
    rng = np.random.default_rng(3)
    z = rng.normal(scale=3, size=(7, case.loss.heads * 3)).astype(dtype)
    t = cases.targets(case.loss, 7, 3, rng, dtype, case.labels)
    z_before, t_before = z.copy(), t.copy()
    values, dz = case.loss.value_and_gradient(z, t)
    prediction = case.loss.link(z)
    assert values.dtype == dz.dtype == prediction.dtype == np.dtype(dtype)
    assert prediction.shape == z.shape
    assert not np.shares_memory(prediction, z)
    assert np.array_equal(z, z_before)
    assert np.array_equal(t, t_before)
    wide = t if case.labels else t.astype(np.float64)
    exact_values, exact_dz = case.loss.value_and_gradient(z.astype(np.float64), wide)
    scale = 1 + np.max(np.abs(exact_values))
    assert_close(values, exact_values, "loss", dtype, scale)
    assert_close(dz, exact_dz, "loss", dtype, scale)


@pytest.mark.parametrize("loss", [losses.PoissonNLL(), losses.GaussianNLL()])
def test_overflow_is_infinity_without_warning(loss):
    z = np.array([[1e3, -1e3], [1e3, 1e3]])
    t = np.zeros((2, 2 // loss.heads))
    loss.link(z)
    values, _ = loss.value_and_gradient(z, t)
    assert values[0] == np.inf


@CASES
def test_rows_and_values(case):
    loss = case.loss
    assert loss.native_row(case.labels) in losses.NATIVE_LOSSES
    assert isinstance(losses.resolve(loss.name), losses.LOSSES[loss.name])
    assert losses.resolve(loss) is loss
    assert loss.target_kind in KINDS
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert hash(loss) == hash(type(loss)(**vars(loss)))


def test_every_native_row_has_a_case():
    rows = {c.loss.native_row(c.labels) for c in cases.LOSSES}
    # The linear one is that of partial_fit(output_gradient=...).
    assert rows | {"linear"} == set(losses.NATIVE_LOSSES)


def test_numpy_scalars_are_numbers():
    assert losses.Huber(np.float32(0.5)).parameter == 0.5
    assert losses.Huber(np.int64(2)).parameter == 2.0
