"""The losses of tables of numbers: each row's costs, units and targets are what it says."""

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics
from sklearn.model_selection import KFold, cross_val_predict
from tiny_tables import N, X, Y, regressor

from fastmlp._network.target_kinds import KINDS
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome.loss_rows import LOSSES
from fastmlp.tabular.outcome.targets import NumericTarget, baseline

pytestmark = pytest.mark.usefixtures("tiny")

PARAMETERS = {"quantile": 0.8, "power": 1.3}


def target_of(name, y, weights=None):
    """Return a target with parameters that are not the defaults."""
    parameters = PARAMETERS | ({"quantile": (0.2, 0.6)} if name == "quantiles" else {})
    return NumericTarget.of(y, name, LOSSES[name].made(parameters), weights)


def targets(name, n=300):
    """Return targets, and predictions of them that are not bad."""
    rng, kind = np.random.default_rng(3), KINDS[LOSSES[name].loss.target_kind]
    real = rng.normal(size=(n, 1))
    y = kind.examples(real)
    guess = np.abs(y + rng.normal(size=y.shape) * 0.3) + 0.1 if LOSSES[name].lowest == 0 else real
    return y, guess + 0.1 * rng.normal(size=guess.shape) * (LOSSES[name].lowest < 0)


def pinball(level):
    return lambda y, p, unit: metrics.mean_pinball_loss(y, p[:, 0], alpha=level) / unit


# What the mean cost of each row is, of targets, predictions and the deviation of the targets.
TRUTH = {
    "squared_error": lambda y, p, unit: metrics.mean_squared_error(y, p) / unit**2,
    "absolute_error": lambda y, p, unit: metrics.mean_absolute_error(y, p) / unit / 2,
    "quantile": pinball(0.8),
    "quantiles": lambda y, p, unit: (
        (pinball(0.2)(y, p, unit) + pinball(0.6)(y, p[:, 1:], unit)) / 2
    ),
    "poisson": lambda y, p, unit: (
        metrics.mean_poisson_deviance(y, p) / 2 + np.mean(y - special.xlogy(y, y))
    ),
    "gaussian": lambda y, p, unit: (
        -np.mean(
            stats.norm.logpdf(y[:, 0], p[:, 0], np.sqrt(p[:, 1]))
            + np.log(unit * np.sqrt(2 * np.pi))
        )
    ),
    "gamma": lambda y, p, unit: metrics.mean_gamma_deviance(y, p),
    "tweedie": lambda y, p, unit: metrics.mean_tweedie_deviance(y, p, power=1.3),
    "huber": lambda y, p, unit: np.mean(special.huber(1.0, (y - p) / unit)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_costs_are_those_of_other_libraries(name):
    y, p = targets(name)
    target = target_of(name, y)
    if name == "quantiles":
        p = np.c_[p, p + 0.2]
    if name == "gaussian":
        p = np.c_[p, 0.1 + p**2]
    unit = stats.iqr(y) * 0.7413 if name == "huber" else y.std()
    found = target.costs(p)
    assert found.shape == (len(y),)
    assert found.mean() == pytest.approx(TRUTH[name](y, p, unit), rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", sorted({*LOSSES} - {"huber"}))  # has no constant by a formula
def test_the_baseline_is_the_best_constant(name, weighted):
    y, _ = targets(name)
    weights = np.random.default_rng(0).integers(1, 4, len(y)) * 1.0 if weighted else None
    target = target_of(name, y, weights)
    best = baseline(target, weights).predictions

    def cost(predictions):
        return np.average(target.costs(predictions), weights=weights)

    for column in range(best.shape[1]):
        for factor in (0.97, 1.03):
            other = best.copy()
            other[:, column] *= factor
            assert cost(other) >= cost(best)  # a quantile costs the same between two targets
        assert cost(3 * best + 1) > cost(best)


@pytest.mark.parametrize("name", sorted({*LOSSES} - {"gaussian"}))
def test_targets_cost_least(name):
    y, p = targets(name)
    target = target_of(name, y)
    p = np.tile(p, target.levels)
    least = target.least_costs
    np.testing.assert_array_less(least, target.costs(p))


# The share of the baseline's costs that is saved, as others have it.
D2 = {
    "squared_error": metrics.r2_score,
    "absolute_error": metrics.d2_absolute_error_score,
    "poisson": lambda y, p: metrics.d2_tweedie_score(y, p, power=1),
    "gamma": lambda y, p: metrics.d2_tweedie_score(y, p, power=2),
    "tweedie": lambda y, p: metrics.d2_tweedie_score(y, p, power=1.5),
}


@pytest.mark.parametrize("name", D2)
def test_a_report_has_the_d2_score(name):
    y = np.exp(Y)
    model = regressor(loss=name).fit(X, y)
    (line,) = (text for key, text in model.report().lines() if key == "d2 score")
    assert float(line.split(",")[0]) == pytest.approx(D2[name](y, model.oof_prediction_), abs=1e-3)


def test_what_has_no_least_cost_has_no_d2_score():
    assert "d2 score" not in str(regressor(loss="gaussian").fit(X, Y).report())
    assert "d2 score" not in str(regressor().fit(X, np.ones(N)).report())


def test_the_power_is_that_of_the_loss():
    y = np.exp(Y) * (Y > 0)
    model = regressor(loss="tweedie", power=1.2).fit(X, y)
    assert fitted_of(model).target.loss.power == 1.2
    assert fitted_of(model).blend.groups[0].spec.loss.power == 1.2
    for power in (1, 2, 1.0099, np.nan, "1.5", True):
        with pytest.raises(ValueError, match="power"):
            regressor(loss="tweedie", power=power).fit(X, y)


# By loss: targets that it refuses.
REFUSED = {
    ("gamma", 0.0): r"y holds 0.0 but loss='gamma' expects targets in \(0, inf\): leave out",
    ("gamma", -1.0): r"y holds -1.0 but loss='gamma' expects targets in \(0, inf\)",
    ("tweedie", -5e-324): r"y holds -5e-324 but loss='tweedie' expects targets in \[0, inf\)",
    ("poisson", -1.0): r"y holds -1.0 but loss='poisson' expects targets in \[0, inf\)",
}


@pytest.mark.parametrize(("name", "number"), REFUSED)
def test_each_loss_demands_its_targets(name, number):
    y = np.exp(Y)
    model = regressor(loss=name).fit(X, y)
    y[7] = number
    for call in (model.fit, model.partial_fit, model.importance):
        with pytest.raises(ValueError, match=REFUSED[name, number]):
            call(X, y)


@pytest.mark.parametrize("name", ["gamma", "tweedie"])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e12])
def test_amounts_of_any_scale(name, scale):
    y = np.exp(Y) * scale
    plain = regressor(loss=name).fit(X, np.exp(Y))
    model = regressor(loss=name).fit(X, y)
    np.testing.assert_allclose(model.predict(X), scale * plain.predict(X), rtol=1e-3)
    assert (model.predict(X) > 0).all()
    low, _ = model.predict_interval(X).T
    assert (low >= 0).all()
    assert (model.predict_interval(X) % 1 != 0).any()


def test_amounts_that_are_whole_numbers_have_no_whole_intervals():
    y = np.ceil(5 * np.exp(Y))
    for name in ("gamma", "tweedie"):
        model = regressor(loss=name).fit(X, y)
        assert (model.predict_interval(X) % 1 != 0).any()
        assert np.isfinite(model.log_density(X, y)).all()


def test_outliers_move_huber_less_than_the_mean():
    y = Y.copy()
    y[::20] += 1000
    wrong = {
        name: np.median(np.abs(cross_val_predict(regressor(loss=name), X, y, cv=KFold(3)) - Y))
        for name in ("squared_error", "huber")
    }
    assert wrong["huber"] < wrong["squared_error"] / 10
