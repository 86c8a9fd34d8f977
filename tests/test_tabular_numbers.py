"""Estimators of tables: what they say of a fit, and of new rows, is true to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn")

from tiny_tables import LABELS, TINY, N, X, Y, classifier, regressor

from fastmlp.tabular import presets
from fastmlp.tabular.conformal import Residuals

RNG = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "fast", TINY)


# ------------------------------------------------------------ intervals


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.98])
def test_ends_of_intervals_have_the_ranks_of_their_levels(coverage):
    """Where (n + 1) times a level is whole, whatever the rounding of the level is."""
    tail = (1 - coverage) / 2
    for n in [19, 39, 59, 99, 199, 399, 999]:
        found = Residuals(RNG.normal(size=n), np.zeros(n), deviation=np.ones(n))
        rank = round(tail * (n + 1))
        if abs(rank - tail * (n + 1)) < 1e-9:
            ends = found.quantile(tail), found.quantile(1 - tail)
            assert ends == (found.z[rank - 1], found.z[-rank])


def test_an_interval_is_between_the_quantiles_of_its_ends():
    rows = slice(39)
    model = regressor().fit(X[rows], Y[rows])
    np.testing.assert_array_equal(
        model.predict_interval(X, 0.9), model.predict_quantiles(X, [0.05, 0.95])
    )
    assert np.isfinite(model.predict_interval(X, 1 - 2.0**-52)).all()
    with pytest.raises(ValueError, match=r"coverage is .* which is 1 in float64: pass at most"):
        model.predict_interval(X, 1 - 2.0**-53)


def test_quantiles_of_weighted_residuals_never_cross():
    levels = np.linspace(0.001, 0.999, 999)
    for power in (0.5, 1, 4):
        for _ in range(10):
            n = int(RNG.integers(2, 90))
            w = RNG.random(n) ** power + 0.01
            found = Residuals(RNG.normal(size=n), np.zeros(n), w, deviation=np.ones(n))
            quantiles = [found.quantile(level) for level in levels]
            assert np.all(np.diff(quantiles) >= 0)


# ------------------------------------------------------------ epochs, and what is said of them


def test_of_a_likelihood_the_epoch_is_kept_in_which_members_together_are_best(monkeypatch):
    """One that is too sure of itself is no bound for all: that chose ever later epochs."""
    monkeypatch.setitem(presets.PRESETS, "fast", replace(TINY, epochs=64))
    noise = RNG.normal(size=N)
    model = regressor(loss="gaussian").fit(X, noise)
    epoch, _, together, _ = min(model._curve, key=lambda look: look[2])
    assert model.best_epoch_ == epoch
    assert model.report().together == pytest.approx(
        np.log(noise.std()) + np.log(2 * np.pi) / 2 + together
    )


def negative_log_likelihood(y, said):
    mean, variance = np.split(said, 2, axis=1)
    return np.mean((np.log(2 * np.pi * variance) + (y - mean) ** 2 / variance) / 2)


# What is said of one output and of several, and what is true.
SAID = {
    ("squared_error", 1): (
        "root mean squared error",
        lambda y, said: np.sqrt(np.mean((y - said) ** 2)),
    ),
    ("squared_error", 2): (
        "root mean squared error, in deviations of y",
        lambda y, said: np.sqrt(np.mean(((y - said) / y.std(axis=0)) ** 2)),
    ),
    ("gaussian", 1): ("negative log-likelihood", negative_log_likelihood),
    ("gaussian", 2): ("negative log-likelihood, mean over outputs", negative_log_likelihood),
}


@pytest.mark.parametrize(("loss", "outputs"), SAID)
def test_what_a_report_says_is_true_of_predictions_out_of_fold(loss, outputs):
    metric, measured = SAID[loss, outputs]
    y = np.c_[Y, 1000 * X[:, 1] + RNG.normal(size=N)][:, :outputs]
    model = regressor(loss=loss).fit(X, y)
    report = model.report()
    assert report.metric == metric
    assert report.together == pytest.approx(measured(y, model._out_of_fold))
    pyplot = pytest.importorskip("matplotlib.pyplot")
    axes = model.plot_history(pyplot.figure().add_subplot())
    kept = [row[0] for row in model._curve].index(model.best_epoch_)
    assert axes.lines[1].get_ydata()[kept] == pytest.approx(report.together)
    assert axes.get_ylabel() == f"{metric}, out of fold"
    pyplot.close("all")


# ------------------------------------------------------------ bits

TASKS = {
    "a mean": (regressor, {}, Y),
    "several means": (regressor, {}, np.c_[Y, -Y, X[:, 1]]),
    "mean and variance": (regressor, {"loss": "gaussian"}, Y),
    "means and variances": (regressor, {"loss": "gaussian"}, np.c_[Y, X[:, 1]]),
    "two classes": (classifier, {}, LABELS),
    "many classes": (classifier, {}, np.arange(N) % 20),
    "labels": (classifier, {}, np.c_[Y > 0, X[:, 1] > 0, X[:, 2] > 0].astype(int)),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_row_has_the_same_bits_among_any_number_of_rows(task, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "fast", replace(TINY, folds=5))  # ten members
    make, options, y = TASKS[task]
    model = make(**options).fit(X, y)
    p = model.predictor()
    said = [getattr(model, "predict_proba", model.predict)]
    if make is regressor:
        said += [model.predict_interval, lambda rows: model.predict(rows, return_std=True)[1]]
    for method in said:
        whole = method(X)
        for size in (1, 7):
            parts = [method(X[at : at + size]) for at in range(0, N, size)]
            np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal([p(row) for row in X], said[0](X))


@pytest.mark.parametrize("task", TASKS)
def test_predictions_out_of_fold_are_the_users_own(task):
    make, options, y = TASKS[task]
    model = make(**options).fit(X, y)
    right = model.oof_prediction_.copy()
    taken = model.oof_prediction_
    taken -= 1
    np.testing.assert_array_equal(model.oof_prediction_, right)


# ------------------------------------------------------------ weights

LIGHT = np.flatnonzero(np.arange(N) % 3 == 0)  # rows that count for next to nothing


def weighted(task, light):
    """Return a fit, its targets, and the same with those of light rows in another order."""
    make, options, y = TASKS[task]
    weights, other = np.ones(N), y.copy()
    weights[LIGHT], other[LIGHT] = light, y[LIGHT[::-1]]
    return make(**options).fit(X, y, sample_weight=weights), y, other


@pytest.mark.parametrize("light", [0.0, 1e-12])
@pytest.mark.parametrize("task", ["a mean", "two classes", "labels"])
def test_what_is_shown_of_a_fit_is_of_rows_that_count(task, light):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    model, *targets = weighted(task, light)
    one, other = (model.importance(X, y) for y in targets)
    np.testing.assert_allclose(one.means, other.means, rtol=1e-6)
    one, other = (
        model.plot_calibration(y, ax=pyplot.figure().add_subplot()).lines[1].get_xydata()
        for y in targets
    )
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    pyplot.close("all")
