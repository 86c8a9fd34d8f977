"""Estimators of tables: what they say of a fit, and of new rows, is true to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot
from scipy.stats import norm
from sklearn.utils.class_weight import compute_sample_weight
from tiny_tables import LABELS, TINY, N, X, Y, classifier, regressor

from fastmlp import load
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome.conformal import effective_rows, residuals_of
from fastmlp.tabular.plan import presets

RNG = np.random.default_rng(2)


pytestmark = pytest.mark.usefixtures("tiny")


# ------------------------------------------------------------ intervals


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.98])
def test_ends_of_intervals_have_the_ranks_of_their_levels(coverage):
    """Where (n + 1) times a level is whole, whatever the rounding of the level is."""
    tail = (1 - coverage) / 2
    for n in [19, 39, 59, 99, 199, 399, 999]:
        found = residuals_of(RNG.normal(size=n), np.zeros(n), deviation=np.ones(n))
        rank = round(tail * (n + 1))
        if abs(rank - tail * (n + 1)) < 1e-9:
            ends = found.quantile(tail), found.quantile(1 - tail)
            assert ends == (found.z[rank - 1], found.z[-rank])


def test_intervals_of_counts_have_whole_ends_and_contain_the_likeliest_count(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 1))
    y = rng.poisson(np.exp(-1.6 + 0.6 * x[:, 0]))
    model = regressor(loss="poisson").fit(x[:1000], y[:1000])
    model.save(tmp_path / "counts")
    for counts in (model, load(tmp_path / "counts")):
        ends = counts.predict_interval(x[1000:])
        assert (ends == np.floor(ends)).all()
        rows = counts.predict(x[1000:]) < 1
        assert (ends[rows, 0] == 0).all()
        assert np.mean((ends[:, 0] <= y[1000:]) & (y[1000:] <= ends[:, 1])) > 0.9
        quantiles = counts.predict_quantiles(x, [0.1, 0.9])
        assert (quantiles == np.floor(quantiles)).all()
    with pytest.raises(ValueError, match=r"counts, which have .* scipy.stats.poisson.logpmf"):
        model.log_density(x, y)
    rates = regressor(loss="poisson").fit(x[:1000], y[:1000] / 2)
    assert (rates.predict_interval(x) % 1 != 0).any()


def test_an_interval_is_between_the_quantiles_of_its_ends():
    rows = slice(39)
    model = regressor().fit(X[rows], Y[rows])
    np.testing.assert_array_equal(
        model.predict_interval(X, 0.9), model.predict_quantiles(X, [0.05, 0.95])
    )
    with pytest.warns(UserWarning, match="39 effective rows support at most 0.95"):
        assert np.isfinite(model.predict_interval(X, 1 - 2.0**-52)).all()
    with pytest.raises(ValueError, match=r"coverage is .* which is 1 in float64: pass at most"):
        model.predict_interval(X, 1 - 2.0**-53)


def test_quantiles_of_weighted_residuals_never_cross():
    levels = np.linspace(0.001, 0.999, 250)
    for power in (0.5, 1, 4):
        for _ in range(10):
            n = int(RNG.integers(2, 90))
            w = RNG.random(n) ** power + 0.01
            found = residuals_of(RNG.normal(size=n), np.zeros(n), w, deviation=np.ones(n))
            quantiles = [found.quantile(level) for level in levels]
            assert np.all(np.diff(quantiles) >= 0)


def test_quantiles_may_keep_the_order_of_predictions():
    """Sizes that fall faster than predictions rise are made larger, and no residual is lost."""
    prediction = np.linspace(0, 10, 900)
    y = prediction + RNG.normal(size=900) * np.where(prediction < 5, 4.0, 0.1)
    places, below = np.linspace(-1, 11, 500), {}
    for keeps_order in (False, True):
        found = residuals_of(y, prediction, keeps_order=keeps_order)
        ends = [
            [places + found.deviation(places) * found.quantile(level) for level in tails]
            for tails in ((0.005, 0.995), (0.05, 0.95))
        ]
        rises = np.diff(ends, axis=-1)
        assert np.all(rises >= -1e-12) == keeps_order
        sizes = found.deviation(prediction)
        low, high = (prediction + sizes * found.quantile(level) for level in (0.05, 0.95))
        below[keeps_order] = np.mean((low <= y) & (y <= high))
    assert below == {False: pytest.approx(0.9, abs=0.01), True: pytest.approx(0.9, abs=0.01)}


# Of 60 rows: weights that have nothing to do with the noise, groups, and the share that intervals
# of 90 % may hold at most. benchmarks/coverage.py has more.
WEIGHTINGS = {
    "two values": (lambda: RNG.choice([1.0, 10.0], 60), None, 0.94),
    "uneven": (lambda: RNG.lognormal(0, 1, 60), None, 0.96),
    "very uneven": (lambda: RNG.lognormal(0, 2, 60), None, 0.995),
    "groups": (lambda: None, np.arange(60) // 3, 0.95),
    "few groups": (lambda: None, np.arange(60) // 10, 0.98),
}


@pytest.mark.parametrize("case", WEIGHTINGS)
def test_intervals_hold_what_they_promise_whatever_the_weights_are(case):
    draw, groups, most = WEIGHTINGS[case]
    held = []
    for _ in range(120):
        noise = RNG.normal(size=60)
        if groups is not None:
            noise = (noise + RNG.normal(size=60)[groups]) / np.sqrt(2)
        found = residuals_of(noise, np.zeros(60), draw(), np.ones(60), groups=groups)
        ends = [found.quantile(level) for level in (0.05, 0.25, 0.75, 0.95)]
        held.append(norm.cdf(ends[::-1]) - norm.cdf(ends))
    many, half, *_ = np.mean(held, axis=0)
    assert 0.9 <= many <= most
    assert half >= 0.5


def test_quantiles_are_those_of_weighted_conformal_prediction():
    """The new row, which may lie beyond all, has the weight of one effective row."""
    for _ in range(50):
        w = RNG.lognormal(size=30)
        y = RNG.normal(size=30)
        found = residuals_of(y, np.zeros(30), w, np.ones(30))
        np.testing.assert_array_equal(found.z, np.sort(y))
        effective = w.sum() ** 2 / np.sum(w**2)
        assert found.w.sum() == pytest.approx(effective)
        shares = found.w / (effective + 1)
        for level in (0.6, 0.75, 0.8):
            enough = [z for k, z in enumerate(found.z) if shares[: k + 1].sum() >= level]
            assert found.quantile(level) == enough[0]
            mirrored = [z for k, z in enumerate(found.z) if shares[k:].sum() >= level]
            assert found.quantile(1 - level) == mirrored[-1]


def test_rows_of_a_group_count_by_how_alike_they_are():
    z, groups = RNG.normal(size=500), np.repeat(np.arange(500), 4)

    def effective(noise, weights=None):
        return residuals_of(noise, np.zeros(2000), weights, np.ones(2000), groups=groups).w.sum()

    assert effective(np.repeat(z, 4)) == pytest.approx(500)
    assert effective(RNG.normal(size=2000)) > 1700
    assert effective(np.repeat(z, 4), np.tile([1.0, 2, 3, 4], 500)) == pytest.approx(500)
    assert effective(np.zeros(2000)) == 2000
    pairs = np.arange(N) // 2
    model = regressor().fit(X, Y + 3 * RNG.normal(size=N)[pairs], groups=pairs)
    assert fitted_of(model).calibration.residuals[0].w.sum() < N


@pytest.mark.parametrize(("alike", "most"), [(0.1, 0.915), (0.5, 0.935), (0.9, 0.955)])
def test_intervals_for_new_groups_hold_what_they_promise_and_little_more(alike, most):
    """Of 12 groups of 20 rows, which share a part of the noise."""
    rng, groups, held = np.random.default_rng(0), np.repeat(np.arange(12), 20), []
    for _ in range(300):
        noise = np.sqrt(1 - alike) * rng.normal(size=240)
        noise += np.sqrt(alike) * rng.normal(size=12)[groups]
        found = residuals_of(noise, np.zeros(240), deviation=np.ones(240), groups=groups)
        held.append(norm.cdf(found.quantile(0.95)) - norm.cdf(found.quantile(0.05)))
    assert 0.9 <= np.mean(held) <= most


def test_residuals_of_both_signs_are_symmetric_and_as_few_as_before():
    skewed = RNG.exponential(size=300)
    found = residuals_of(skewed, np.zeros(300), RNG.uniform(1, 2, 300), np.ones(300), most=200)
    assert len(found.z) == 200
    np.testing.assert_allclose(found.z, -found.z[::-1], atol=1e-12)
    assert found.quantile(0.9) == pytest.approx(-found.quantile(0.1))
    assert found.w.sum() == pytest.approx(200)
    inside = np.abs(skewed) <= found.quantile(0.95)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_means_of_equal_residuals_stay_in_order(seed):
    """A mean of equal numbers is rounded: a fit of few different targets ended in an error."""
    rng = np.random.default_rng(seed)
    y, weights = rng.choice([0.1, 0.7, 1.3], 400), rng.uniform(0.1, 1, 400)
    z = residuals_of(y, np.zeros(400), weights, np.ones(400), most=60).z
    assert (np.diff(z) >= 0).all()
    assert {0.1, 0.7, 1.3} <= set(z)


# ------------------------------------------------------------ epochs, and what is said of them


def test_of_a_likelihood_the_epoch_is_kept_in_which_members_together_are_best(monkeypatch):
    """One that is too sure of itself is no bound for all: that chose ever later epochs."""
    monkeypatch.setitem(presets.PRESETS, "fast", replace(TINY, epochs=64))
    noise = RNG.normal(size=N)
    model = regressor(loss="gaussian").fit(X, noise)
    epoch, _, together, _ = min(fitted_of(model).facts.curve, key=lambda look: look[2])
    assert model.best_epoch_ == epoch
    assert model.report().together == pytest.approx(
        np.log(noise.std()) + np.log(2 * np.pi) / 2 + together
    )


STEPS = np.floor(4 * X[:, 0]).clip(-6, 5).astype(int)  # a step function of many classes
DECIDING = {
    "numbers": (regressor, {}, Y),
    "variances": (regressor, {"loss": "gaussian"}, Y),
    "classes": (classifier, {}, STEPS),
    "labels": (classifier, {}, np.c_[Y > 0, Y > 0.5].astype(int)),
    "score": (classifier, {"scoring": "accuracy"}, STEPS),
    "score of numbers": (regressor, {"scoring": "r2"}, Y),
}


@pytest.mark.parametrize("name", DECIDING)
def test_the_epoch_is_kept_in_which_the_last_line_of_the_plot_is_best(name):
    """Of classes that is the log loss of calibrated probabilities, as they are predicted."""
    make, options, y = DECIDING[name]
    model = make(epochs=48, **options).fit(X, y)
    axes = model.plot_history(pyplot.figure().add_subplot())
    *curves, kept = axes.lines
    epochs, deciding = curves[-1].get_data()
    best = np.max if "score" in name else np.min
    assert kept.get_xdata()[0] == model.best_epoch_
    assert model.best_epoch_ == epochs[deciding == best(deciding)][-1]
    p = model.oof_prediction_
    if name == "classes":
        right = p[np.arange(N), np.searchsorted(model.classes_, y)]
        assert best(deciding) == pytest.approx(-np.log(right).mean(), rel=1e-6)
    if name == "score":
        assert best(deciding) == np.mean(model.classes_[p.argmax(axis=1)] == y)
        assert axes.get_ylabel() == "accuracy, out of fold"
    pyplot.close("all")


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
    assert report.together == pytest.approx(measured(y, fitted_of(model).held_out.predictions))
    axes = model.plot_history(pyplot.figure().add_subplot())
    kept = [row[0] for row in fitted_of(model).facts.curve].index(model.best_epoch_)
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
    model, *targets = weighted(task, light)
    one, other = (model.importance(X, y) for y in targets)
    np.testing.assert_allclose(one.means, other.means, rtol=1e-6)
    one, other = (
        model.plot_calibration(y, ax=pyplot.figure().add_subplot()).lines[1].get_xydata()
        for y in targets
    )
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    pyplot.close("all")


@pytest.mark.parametrize("task", TASKS)
def test_rows_of_very_different_weights_are_learned_from(task):
    make, options, y = TASKS[task]
    model = make(**options).fit(X, y, sample_weight=np.r_[1e15, np.ones(N - 1)])
    assert np.isfinite(getattr(model, "predict_proba", model.predict)(X)).all()


def test_balanced_labels_have_the_product_of_their_weights():
    _, _, y = TASKS["labels"]
    right = classifier().fit(X, y, compute_sample_weight("balanced", y))
    found = classifier(class_weight="balanced", prior="weighted").fit(X, y)
    np.testing.assert_array_equal(found.predict_proba(X), right.predict_proba(X))
    with pytest.raises(ValueError, match=r"class_weight is \{0: 1, 1: 2\} .* pass class_weight='b"):
        classifier(class_weight={0: 1, 1: 2}).fit(X, y)


# ------------------------------------------------------------ targets of odd scales


def test_no_density_of_constant_targets_is_narrower_than_their_rounding():
    for constant in (3.7, 0.0, 0.1, 1e-20, -1e60):
        model = regressor().fit(X, np.full(N, constant))
        away = np.array([0, 1, 1e5]) * max(abs(constant), 1)
        density = model.log_density(X[:3], constant + away)
        assert np.isfinite(density).all()
        assert density[0] > -np.log(max(abs(constant), 1)) > density[1] > density[2]


FAR = {
    "one far from normal ones": ("squared_error", np.r_[1e60, Y[1:]]),
    "one far from equal ones": ("gaussian", np.r_[1e60, np.zeros(N - 1)]),
    "seldom and small": ("poisson", np.r_[3.5, np.zeros(N - 1)]),
    "two": ("gaussian", np.r_[0.0, 1.0]),
}


@pytest.mark.filterwarnings("ignore:coverage is 0.9 but 2 effective rows")
@pytest.mark.parametrize("case", FAR)
def test_members_of_rows_that_are_all_alike_know_the_scale_of_y(case):
    """They are the same but for that scale, and nothing they say is infinite."""
    loss, y = FAR[case]
    said = []
    for scale in (1.0, 2.0**-66, 2.0**-33):
        model = regressor(loss=loss).fit(X[: len(y)], y * scale)
        found = [model.predict_interval(X), np.stack(model.predict(X, return_std=True), axis=1)]
        said.append(np.hstack(found) / scale)
        assert np.isfinite(said[-1]).all()
    largest = np.abs(said[0]).max()
    for other in said[1:]:
        np.testing.assert_allclose(other, said[0], rtol=1e-5, atol=1e-9 * largest)


# ------------------------------------------------------------ scoring


def test_a_report_says_what_chose_the_epoch_too():
    model = classifier(scoring="roc_auc").fit(X, LABELS)
    found = model.report()
    best = -min(cost for *_, cost in fitted_of(model).facts.curve)
    assert found.metric == "log loss"
    assert found.more["scoring"] == f"roc_auc {best:.4g}, out of fold"
    assert found.more["scoring"] in str(found)

    def furthest(estimator, X, y):
        return -np.abs(estimator.predict(X) - y).max()

    model = regressor(scoring=furthest).fit(X, Y)
    assert model.report().more["scoring"].startswith("furthest -")
    assert "scoring" not in regressor().fit(X, Y).report().more


def metric(y, said):
    """Return a score, but not as a scorer does."""
    return float(np.mean(y == said))


SCORINGS_REFUSED = {
    "a metric": (classifier, LABELS, metric, TypeError, "cannot be called .*make_scorer"),
    "one of classes": (
        *(regressor, Y, "neg_log_loss", ValueError),
        "scoring='neg_log_loss' needs values that .*this has none of .*use a scorer of regressions",
    ),
    "a class of weight 0": (
        *(lambda **o: classifier(class_weight={2: 0}, prior="weighted", **o), np.arange(N) % 3),
        *("roc_auc_ovr", ValueError, r"classes without a row of weight above 0, \[2\] "),
    ),
    "two classes": (classifier, np.arange(N) % 3, "roc_auc", ValueError, "y has 3: pass 'roc_"),
}


@pytest.mark.parametrize("case", SCORINGS_REFUSED)
def test_scorings_that_are_refused(case):
    make, y, scoring, error, words = SCORINGS_REFUSED[case]
    with pytest.raises(error, match=words) as caught:
        make(scoring=scoring).fit(X, y)
    assert "Said" not in str(caught.value)


def test_importance_is_in_variances_of_the_rows_that_count():
    y, weights = Y.copy(), np.ones(N)
    y[LIGHT], weights[LIGHT] = 1e3, 1e-12
    found = regressor().fit(X, y, sample_weight=weights).importance(X, y)
    assert found.names[0] == "column 0"
    assert 0.5 < found.means[0] < 5


@pytest.mark.parametrize("options", [{}, {"loss": "quantile", "quantile": 0.9}])
def test_one_huge_number_does_not_spoil_a_robust_loss(options):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = x[:, 0] + 0.1 * rng.normal(size=400)
    costs = []
    for outlier in (y[5], 1e9):
        y[5] = outlier
        model = regressor(**{"loss": "absolute_error", **options}).fit(x, y)
        away = x[:, 0] - model.predict(x)
        costs.append(np.median(np.abs(away)))
    assert costs[1] < 2 * costs[0]


# ------------------------------------------------------------ calibration


def at_temperature(p, temperature):
    """Return probabilities with their logits divided by a temperature."""
    powers = p ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("weighted", ["sample_weight", "class_weight", "labels"])
def test_the_temperature_is_that_of_the_weighted_rows(weighted):
    """Rows of almost no weight have labels without any pattern, which call for a high temperature.

    No other temperature has a lower weighted log loss.
    """
    rng = np.random.default_rng(0)
    n = 600
    X = rng.normal(size=(n, 2))
    light = np.arange(n) % 2 == 1
    y = (X[:, 0] > 0).astype(int)
    y[:60] = 1 - y[:60]
    y[light] = rng.integers(2, size=light.sum())
    weights = np.where(light, 1e-6, 1.0)
    options = {}
    if weighted == "class_weight":  # a third class, of rows that cannot be told from the others
        y = np.where(light, 2, y)
        options = {"class_weight": {2: 1e-6}, "prior": "weighted"}
        weights = np.where(y == 2, 1e-6, 1.0)
    classes = y
    if weighted == "labels":  # the second column is the opposite of the first
        y = np.stack([y, 1 - y], axis=1)
    given = None if options else weights
    model = classifier(epochs=30, **options).fit(X, y, sample_weight=given)

    def loss(temperature):
        p = np.clip(model.oof_prediction_, 1e-9, 1 - 1e-9)
        if weighted == "labels":
            p = np.stack([1 - p[:, 0], p[:, 0]], axis=1)
        right = at_temperature(p, temperature)[np.arange(n), classes]
        return np.average(-np.log(right), weights=weights)

    assert loss(1.0) < min(loss(0.8), loss(1.25))


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_effective_rows_of_groups_are_those_of_correlated_errors(alike, weighted):
    """The variance of a weighted mean of errors that correlate within groups, pair by pair."""
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 20, 90)
    errors = np.sqrt(alike) * rng.normal(size=20)[groups]
    errors = errors + np.sqrt(1 - alike) * rng.normal(size=90)
    w = rng.uniform(0.2, 3, 90) if weighted else np.ones(90)
    share = groups[:, np.newaxis] == groups
    np.fill_diagonal(share, False)
    pairs = np.outer(w, w)[share].sum()
    products = np.outer(w * errors, w * errors)[share].sum()
    correlation = np.clip(products / pairs / np.average(errors**2, weights=w), 0, 1)
    of_mean = w.sum() ** 2 / (np.sum(w**2) + correlation * pairs)
    alone = w.sum() ** 2 / np.sum(w**2)
    found = effective_rows(errors, w, groups)
    assert found == pytest.approx(min((2 - correlation) * of_mean, alone))
    assert effective_rows(errors, w, None) == pytest.approx(alone)
    assert alike == 0 or found < 60


def test_intervals_of_whole_targets_are_no_whole_numbers_unless_they_are_counts():
    whole = np.round(10 * np.abs(Y))
    for loss, are_counts in (
        ("squared_error", False),
        ("absolute_error", False),
        ("poisson", True),
    ):
        model = regressor(loss=loss).fit(X, whole)
        for ends in (model.predict_interval(X), model.predict_quantiles(X, [0.2, 0.8])):
            assert np.array_equal(ends, np.floor(ends)) == are_counts, loss
        assert fitted_of(model).calibration.are_counts == are_counts
