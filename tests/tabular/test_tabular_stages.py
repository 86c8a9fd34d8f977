"""Presets with two stages: which recipes are trained, for how long, and why it ends."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold
from tiny_tables import regressor

from fastmlp import TabMLPClassifier, TabMLPRegressor
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome.targets import Baseline, ClassTarget
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.folds import Splits
from fastmlp.tabular.plan.presets import Preset, Recipe
from fastmlp.tabular.recipe import blend, budget, epoch_selection, members

LONG = Recipe(bins=4, width=16, depth=1)
STAGED = Preset(6, 2, 64, (LONG, replace(LONG, bins=0)), trial_folds=3)
BEST = Preset(4, 2, 256, (replace(LONG, width=8),), begin=STAGED)
ROWS = np.random.default_rng(2).normal(size=(300, 2))
NOISE = np.random.default_rng(3).normal(size=300)
SMOOTH = np.sin(2 * ROWS[:, 0]) + ROWS[:, 1]


def in_stages(monkeypatch, y, default=STAGED, at=None, **options):
    """Fit the default preset; return the model, and the networks and epochs of each training.

    ``at`` counts the trainings before an interrupt.
    """
    trained, train = [], members.train

    def noting(recipe, *args):
        if len(trained) == at:
            raise KeyboardInterrupt
        found = train(recipe, *args)
        trained.append((recipe.bins, len(args[1].learn), found.run, found.planned))
        return found

    monkeypatch.setitem(presets.PRESETS, "default", default)
    monkeypatch.setattr(members, "train", noting)
    model = TabMLPRegressor(random_state=0, **options).fit(ROWS, y)
    monkeypatch.setattr(members, "train", train)
    return model, trained


@pytest.mark.parametrize(
    ("gain", "noise", "is_real"),
    [
        (0.1, 0.1, True),
        (0.1, 2.0, False),
        (0.01, 0.0, False),
        (0.03, 0.0, True),
        (-0.1, 0.0, False),
    ],
)
@pytest.mark.parametrize("weights", [None, np.repeat([3.0, 0.0], [300, 100])])
def test_a_gain_is_real_if_it_exceeds_its_noise_and_two_percent(gain, noise, is_real, weights):
    after = np.ones(400)
    before = after + gain + noise * np.tile([1.0, -1.0], 200)  # standard error: noise / 20
    assert epoch_selection.is_gain(before, after, weights) == is_real
    assert not epoch_selection.is_gain(before, before, weights)


@pytest.mark.parametrize(
    ("weights", "is_real"),
    [
        (None, True),
        (np.repeat([50.0, 1.0], [20, 380]), False),  # as certain as about 30 rows
        (np.repeat([1e4, 1.0], [1, 399]), False),  # as one row
        (np.full(400, 50.0), True),
    ],
)
def test_a_gain_of_few_heavy_rows_is_as_uncertain_as_that_of_few_rows(weights, is_real):
    after = np.ones(400)
    gains = 0.3 + 2 * np.tile([1.0, -1.0], 200)  # of 400 rows three standard errors
    assert epoch_selection.is_gain(after + gains, after, weights) == is_real


def selector(before, after, level, preset, cycle, kind="numbers", has_labels=False, weights=None):
    """Return the decision at the end of a cycle, from the costs of rows at its begin and end."""
    target = SimpleNamespace(
        kind=kind,
        sums_to_one=not has_labels,
        least_costs=np.zeros(400),
        costs=lambda predictions: np.ones(400),
    )
    baseline = Baseline("", np.ones(1))
    scored = SimpleNamespace(target=target, cost_weights=weights, baseline=baseline)
    cycles = epoch_selection.CycleEnds(scored, preset, hopeless=np.inf, has_scorer=False)
    ends, best = [0.0, *cycles.shares], SimpleNamespace(cost=level, costs=lambda scored: after)
    cycles.before = np.inf, before
    assert cycles.has_passed(ends[cycle - 1])
    return lambda: cycles.reason([(9, 0.0, level, level)], best)


@pytest.mark.parametrize(("level", "ends"), [(0.02, False), (0.1, True)])
def test_gains_of_nearly_exact_relations_may_be_nearer_to_their_noise(level, ends):
    """They hang on few rows: of costs of 2 % of the baseline's one standard error has to do."""
    after = np.full(400, level)
    before = after + level * (0.15 + 2 * np.tile([1.0, -1.0], 200))  # a standard error is 0.1
    assert bool(selector(before, after, level, STAGED, cycle=3)()) == ends


@pytest.mark.parametrize(
    ("kind", "level", "ends"),
    [("classes", 0.99, True), ("classes", 1.01, False), ("numbers", 0.99, False)],
)
def test_classes_without_a_surprise_among_all_rows_are_not_trained_further(kind, level, ends):
    """Of 400 rows a log loss below 1 / 400 is less than one surprise of the next 400 would add."""
    after = np.full(400, level / 400)
    assert bool(selector(10 * after, after, level / 400, STAGED, cycle=3, kind=kind)()) == ends


@pytest.mark.parametrize("given", [{"has_labels": True}, {"weights": np.repeat([1e6, 1], 200)}])
def test_a_hard_label_or_rows_of_small_weight_are_trained_further(given):
    """In the mean over many labels, or by weight, nearly nothing was left of them."""
    after = np.repeat([0.0, 1e-3], 200) if "weights" in given else np.full(400, 1e-3)
    after = after * (10 if "weights" in given else 1)
    fit = selector(10 * after, after, 1e-3, STAGED, cycle=3, kind="classes", **given)
    assert fit() == ""


def test_a_target_that_a_column_gives_away_is_learned_in_one_stage():
    """Later stages took thirty times the time there, and only made predictions more confident."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = X[:, 0] > 0
    X[:, 0] += np.where(y, 1, -1)
    model = TabMLPClassifier(random_state=0).fit(X, y)
    assert (
        "no further stage, because more training no longer helped" in model.report().more["stages"]
    )
    assert log_loss(y, model.predict_proba(X)) < 1 / 400


@pytest.mark.parametrize(("cycle", "least"), [(3, 0.02), (4, 0.05), (5, 0.12)])
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_longer_cycles_have_to_gain_more(cycle, least, factor):
    """The next cycle takes twice the time of this one, and gains less."""
    before, after = np.full(400, 1 + factor * least), np.ones(400)
    preset = STAGED.longer(STAGED.recipes)
    fit = selector(before, after, level=1.0, preset=preset, cycle=cycle)
    assert fit() == ("" if factor > 1 else epoch_selection.LITTLE_GAIN)


CHANGES = {  # how the costs of 100 rows change between the stages
    "all better": (np.full(100, -1e-6), "then"),
    "none": (np.zeros(100), "first"),
    "all worse": (np.full(100, 1e-6), "first"),
    "below its noise": (0.001 + np.tile([1.0, -1.0], 50), "first"),
    "one row much worse": (np.r_[50.0, np.full(99, -0.01)], "then"),
    "one row much better": (np.r_[-50.0, np.full(99, 0.01)], "first"),
    "rows of little weight worse": (np.r_[np.full(20, 1.0), np.full(80, -0.1)], "then"),
}


def stage(predictions, log):
    """Return the result of a stage with these predictions, and without networks."""
    nothing = blend.Blend([], np.ones(0))
    return blend.BlendResult(nothing, predictions, 0.0, 0.0, 0.0, [], Splits(), [], log)


@pytest.mark.parametrize("name", CHANGES)
def test_the_better_stage_is_kept_and_of_equal_ones_the_cheaper(name):
    """Means of the rows without 2 % at each end are compared: no single row decides."""
    change, kept = CHANGES[name]
    stages = {
        which: stage(costs, [which])
        for which, costs in (("first", np.ones(100)), ("then", 1 + change))
    }
    target = SimpleNamespace(costs=lambda p: p, calibrated=lambda p, weights: p)
    weights = np.r_[np.full(20, 0.1), np.full(80, 1.0)] if "weight" in name else None
    result = blend._better(target, weights, **stages)
    assert result.out_of_fold is stages[kept].out_of_fold
    assert result.stage_log[:2] == ["first", "then"]
    assert (result.stage_log[2:] == ["the stage before is kept"]) == (kept == "first")


@pytest.mark.parametrize("is_better", [False, True])
def test_stages_of_classes_are_compared_after_calibration(is_better):
    """A second stage that is too sure of itself is as good as its calibrated probabilities."""
    y = np.arange(400) % 2
    right = np.where(np.arange(400) % 10 < 8, 0.9, 0.3)
    sure = right**4 / (right**4 + (1 - right) ** 4)
    decided = np.arange(400) % 10 == (9 if is_better else 0)
    stages = [
        stage(np.where(y[:, np.newaxis] == [0, 1], p[:, np.newaxis], 1 - p[:, np.newaxis]), [])
        for p in (right, np.where(decided, 0.5, sure))
    ]
    better = blend._better(ClassTarget.of(y, np.arange(2)), None, *stages)
    assert better.out_of_fold is stages[is_better].out_of_fold


MORE = replace(STAGED, recipes=(*STAGED.recipes, replace(LONG, bins=2)))


@pytest.mark.parametrize("default", [STAGED, MORE])
@pytest.mark.parametrize("scoring", [None, "r2"])
def test_noise_is_not_trained_for_long(monkeypatch, default, scoring):
    """Recipes end with the third cycle, the first to be compared; two show that there is noise."""
    model, trained = in_stages(monkeypatch, NOISE, default, scoring=scoring)
    planned = presets.quick_epochs(300)
    third = round(presets.cycle_end(3, 4) * planned)
    assert trained == [(bins, 6, third, planned) for bins in (4, 0)]
    assert "because more training no longer helped" in model.report().more["stages"]


def test_a_relation_is_trained_on_more_folds_for_as_long_as_that_pays(monkeypatch):
    model, trained = in_stages(monkeypatch, SMOOTH)
    base = presets.quick_epochs(300)
    trial, longer = trained[:2], trained[2:]
    assert {(size, planned) for _, size, _, planned in trial} == {(6, base)}
    assert {(size, planned) for _, size, _, planned in longer} == {(12, round(base * 63 / 15))}
    assert max(run for _, _, run, _ in longer) > base
    assert {group.spec.layer_sizes[0] for group in fitted_of(model).blend.groups} <= {2, 10}
    assert len(fitted_of(model).blend) % 12 == 0
    course = model.report().more["stages"].split("; then ")
    assert [text.split(" in ")[0] for text in course] == [
        "2 x 6 networks",
        f"{len(longer)} x 12 networks",
    ]
    fast = regressor(recipes=[{"bins": 4, "width": 16, "depth": 1}])
    fast.fit(ROWS, SMOOTH)
    error = [np.mean((m.oof_prediction_ - SMOOTH) ** 2) for m in (model, fast)]
    assert error[0] < 0.8 * error[1]


@pytest.mark.parametrize(
    ("noise", "recipes", "cycles"), [(0.0, 1, {1: 63}), (0.0, 2, {1: 127}), (0.3, 2, {6: 63})]
)
def test_a_nearly_exact_relation_is_trained_by_one_recipe_in_one_cycle(
    monkeypatch, noise, recipes, cycles
):
    """Where the last cycle leaves a fraction of the cost, its length decides, and not a blend."""
    stages, schedules, made, train = [], [], presets.Cycles, members.train

    def scheduled(*args, **options):
        schedules.append(made(*args, **options))
        return schedules[-1]

    def noting(recipe, data, division, *args):
        result = train(recipe, data, division, *args)
        rates = replace(schedules[-1], n_steps=10_000)(np.arange(10_001))
        restarts = np.sum((rates[1:-1] < rates[:-2]) & (rates[1:-1] <= rates[2:]))
        stages.append((len(division.learn), int(restarts) + 1, result.planned))
        return result

    plain = replace(LONG, bins=0)
    default = replace(STAGED, recipes=(plain, replace(plain, rate=1.01))[:recipes])
    monkeypatch.setitem(presets.PRESETS, "default", default)
    monkeypatch.setattr(members, "train", noting)
    monkeypatch.setattr(presets, "Cycles", scheduled)
    TabMLPRegressor(random_state=0).fit(ROWS, ROWS[:, 0] * ROWS[:, 1] + noise * NOISE)
    base = presets.quick_epochs(300)
    assert stages[:recipes] == [(6, 4, base)] * recipes
    longer = stages[recipes:]
    assert noise or len(longer) == 1
    assert {size for size, *_ in longer} == {12}
    assert {n: round(15 * epochs / base) for _, n, epochs in longer} == cycles


PRECISE = replace(LONG, bins=0, width=12, is_precise=True)


@pytest.mark.parametrize(
    ("noise", "is_steep", "shares", "longer"),
    [
        (0.3, True, [1.0], [16]),
        (0.0, True, [0.4, 0.6], [12]),
        (0.0, False, [0.1, 0.9], [16]),
        (0.0, False, [0.0, 1.0], [12]),
    ],
)
def test_a_precise_recipe_is_tried_for_nearly_exact_relations_and_kept_if_it_is_steep(
    monkeypatch, noise, is_steep, shares, longer
):
    trained, train = [], members.train

    def noting(recipe, *args):
        result = train(recipe, *args)
        trained.append(recipe.width)
        return replace(result, is_steep=recipe.is_precise and is_steep)

    def greedy(predictions, cost):
        return np.array(shares if len(predictions) == len(shares) else [1.0])

    recipes = replace(LONG, bins=0), PRECISE
    monkeypatch.setattr(blend, "greedy", greedy)
    monkeypatch.setitem(presets.PRESETS, "default", replace(STAGED, recipes=recipes))
    monkeypatch.setattr(members, "train", noting)
    model = TabMLPRegressor(random_state=0).fit(ROWS, ROWS[:, 0] * ROWS[:, 1] + noise * NOISE)
    assert trained == [16, 12][: len(shares)] + longer
    assert not any("of 2 recipes" in note for note in model.report().notes)


def test_all_recipes_of_the_user_are_trained(monkeypatch):
    recipes = [{"bins": bins, "width": 8, "depth": 1} for bins in (4, 2, 0)]
    _, trained = in_stages(monkeypatch, NOISE, MORE, recipes=recipes)
    assert [bins for bins, *_ in trained] == [4, 2, 0]


def test_where_there_is_a_relation_all_recipes_are_tried(monkeypatch):
    _, trained = in_stages(monkeypatch, SMOOTH, MORE)
    assert [(bins, size) for bins, size, _, _ in trained[:3]] == [(4, 6), (0, 6), (2, 6)]


@pytest.mark.parametrize(
    ("shares", "longer"),
    [
        ([1 / 3] * 3, 2),
        ([0.6, 0.2, 0.2], 1),
        pytest.param([0.5, 0.3, 0.2], 2, marks=pytest.mark.slow),
    ],
)
def test_the_two_recipes_with_the_largest_weights_are_trained_longer(monkeypatch, shares, longer):
    """A third one takes as long as each of them, for less."""
    monkeypatch.setattr(
        blend,
        "greedy",
        lambda predictions, cost: np.array(shares[: len(predictions)]) / len(predictions),
    )
    _, trained = in_stages(monkeypatch, SMOOTH, MORE)
    assert [size for _, size, _, _ in trained] == [6] * 3 + [12] * longer


@pytest.mark.parametrize(("nearly_exact", "longer"), [(0.999, 1), (0.2, 2)])
def test_a_second_recipe_needs_less_weight_where_a_relation_is_nearly_exact(
    monkeypatch, nearly_exact, longer
):
    """On the orbits of a decision's tables it had two fifths of the largest, and took 8 % off."""
    shares = np.array([0.6, 0.24, 0.16])
    monkeypatch.setattr(
        blend, "greedy", lambda predictions, cost: shares[: len(predictions)] / len(predictions)
    )
    monkeypatch.setattr(epoch_selection, "NEARLY_EXACT", nearly_exact)
    _, trained = in_stages(monkeypatch, SMOOTH, MORE)
    assert [size for _, size, _, _ in trained] == [6] * 3 + [12] * longer


def test_a_second_stage_is_timed_by_the_first_and_not_by_a_trial(monkeypatch):
    """Where other programs run, a trial of milliseconds takes up to twice its time."""
    epochs, train = [], members.train

    def timed(recipe, data, division, request, epoch):
        found = train(recipe, data, division, request, epoch)
        learned = sum(map(len, division.learn))
        epochs.append((recipe.bins, epoch / learned, np.median(found.history.seconds) / learned))
        return found

    monkeypatch.setattr(members, "train", timed)
    monkeypatch.setitem(presets.PRESETS, "default", STAGED)
    TabMLPRegressor(random_state=0, time_limit=1e6, n_jobs=1).fit(ROWS, SMOOTH)
    measured = {bins: seconds for bins, _, seconds in epochs[:2]}
    for bins, thought, _ in epochs[2:]:
        assert thought == pytest.approx(measured[bins], rel=0.02)  # folds differ by a row


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"epochs": 20}, [12, 12]),
        ({"recipes": [{"width": 8, "depth": 1}]}, [12]),
        ({"folds": 4}, [8, 8, 8]),
        ({"members": 4}, [6, 6, 6]),
        ({"width": 20}, [6, 6, 12]),
    ],
)
def test_stages_follow_the_choices_of_the_user(monkeypatch, options, sizes):
    model, trained = in_stages(monkeypatch, SMOOTH, **options)
    assert [size for _, size, _, _ in trained][: len(sizes)] == sizes
    if {"epochs", "recipes"} & options.keys():  # one stage, as of any other preset
        plain, _ = in_stages(monkeypatch, SMOOTH, replace(STAGED, trial_folds=0), **options)
        np.testing.assert_array_equal(model.predict(ROWS), plain.predict(ROWS))
        assert "stages" not in model.report().more


def test_without_a_second_stage_the_first_counts(monkeypatch):
    """An interrupt before its first score, or a time that is too short, leaves the first stage."""
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        ended, _ = in_stages(monkeypatch, SMOOTH, at=2)
    monkeypatch.setattr(blend, "seconds_of_epoch", lambda recipe, *_: 1.0)
    late, trained = in_stages(monkeypatch, SMOOTH, time_limit=100)
    assert len(trained) == 2
    for model, why in ((ended, "the user interrupted it"), (late, "time_limit was reached")):
        assert f"; then no further stage, because {why}" in model.report().more["stages"]
        assert len(fitted_of(model).blend) == 12
        assert np.isfinite(model.predict(ROWS)).all()


@pytest.mark.parametrize("y", [NOISE, SMOOTH])
@pytest.mark.parametrize("seconds", [1e-9, 1.0])
def test_best_adds_networks_to_those_of_the_default_within_a_time_limit(monkeypatch, y, seconds):
    """Its own recipes come last, if there is time for them, on the folds of the stage before."""
    default, before = in_stages(monkeypatch, y)
    monkeypatch.setitem(presets.PRESETS, "best", BEST)
    has_time = seconds < 1
    monkeypatch.setattr(
        blend, "seconds_of_epoch", lambda recipe, *_: seconds if recipe.width == 8 else 1e-9
    )
    model, trained = in_stages(monkeypatch, y, preset="best", time_limit=100)
    kept = len(fitted_of(default).blend.groups[0])
    sizes = [size for _, size, _, _ in before] + [kept] * has_time
    assert [size for _, size, _, _ in trained] == sizes
    assert {len(group) for group in fitted_of(model).blend.groups} == {kept}
    report, course = model.report(), default.report().more["stages"]
    assert len(report.more["stages"].split("; then ")) == len(course.split("; then ")) + 1
    assert report.more["stages"].endswith("because time_limit was reached") == (not has_time)
    assert report.together <= default.report().together
    # The k-th members of all groups share their rows, so that rows of the fit are recognised.
    found, own = model.importance(ROWS, y), model.importance()
    np.testing.assert_array_equal(found.means, own.means)


@pytest.mark.parametrize(
    "options",
    [
        {"folds": 4},
        {"members": 4},
        {"width": 20},
        {"monotone": {0: 1}},
        {"folds": KFold(5)},
        {"max_memory": "little"},
    ],
)
def test_best_begins_like_the_default_with_the_choices_of_the_user(monkeypatch, options):
    """A limit of the memory leaves one network for each row; the stages remain."""
    if "max_memory" in options:
        options = {"max_memory": 1000}
        monkeypatch.setattr(budget, "memory_of", lambda preset, *_: (999.0 * preset.repeats, 1e-9))
    monkeypatch.setitem(presets.PRESETS, "best", BEST)
    monkeypatch.setattr(blend, "seconds_of_epoch", lambda *_: 1e-9)
    limited, trained = in_stages(monkeypatch, SMOOTH, preset="best", time_limit=100, **options)
    _, before = in_stages(monkeypatch, SMOOTH, time_limit=100, **options)
    assert trained[: len(before)] == before
    assert len(trained) == len(before) + 1
    note = "one network, not 2, holds out each row"
    assert any(note in each for each in limited.report().notes) == ("max_memory" in options)
    assert np.isfinite(limited.predict(ROWS)).all()


def test_one_choice_of_recipes_is_all_that_best_trains(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "best", BEST)
    options = {"recipes": [{"width": 8, "depth": 1, "bins": 3}], "time_limit": 100}
    _, trained = in_stages(monkeypatch, SMOOTH, preset="best", **options)
    assert [bins for bins, *_ in trained] == [3]


def test_a_callback_that_ends_a_fit_before_its_first_score_is_told_when_to_end_it():
    rows = np.random.default_rng(0).normal(size=(120, 3))
    model = regressor(callbacks=[lambda state: state.epoch >= 1])
    with pytest.raises(ValueError, match="ended before its first score .*is a number"):
        model.fit(rows, rows[:, 0])
    assert not hasattr(model, "oof_prediction_")
