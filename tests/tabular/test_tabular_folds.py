"""Folds of the user: splitters, pairs of rows, numbers; rows that no fold holds out; X_val."""

import numpy as np
import pytest
from models import saved
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)
from tiny_tables import LABELS, N, X, Y, classifier, regressor

from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.presets import Preset
from fastmlp.tabular.recipe.epoch_selection import OutOfFold

GROUPS = np.arange(N) // 6
NUMBERS = np.arange(N) % 4 - 1
PAIRS = [(np.arange(20), np.arange(20, 40)), (np.arange(40), np.arange(45, 60))]
LAST_EPOCH = {"epochs": 4, "scoring": lambda *_: 0.0}  # the last of equal epochs is kept


def ended(model):
    """Return the root mean squared error of the rows with an out-of-fold prediction."""
    away = (model.oof_prediction_ - Y)[np.isfinite(model.oof_prediction_)]
    return np.sqrt(np.mean(away**2))


# Parameters of the estimator, arguments of a fit, and the splitter that has these folds.
FORMS = {
    "TimeSeriesSplit": ({"folds": TimeSeriesSplit(3)}, {}, TimeSeriesSplit(3)),
    "GroupKFold": ({"folds": GroupKFold(3)}, {"groups": GROUPS}, GroupKFold(3)),
    "LeaveOneGroupOut": ({"folds": LeaveOneGroupOut()}, {"groups": GROUPS}, LeaveOneGroupOut()),
    "PredefinedSplit": ({"folds": PredefinedSplit(NUMBERS)}, {}, PredefinedSplit(NUMBERS)),
    "some rows twice": (
        {"folds": ShuffleSplit(4, test_size=0.3, random_state=0)},
        {},
        ShuffleSplit(4, test_size=0.3, random_state=0),
    ),
    "all rows twice": (
        {"folds": RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)},
        {},
        RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
    ),
    "numbers": ({"folds": 7}, {"folds": NUMBERS}, PredefinedSplit(NUMBERS)),
    "a list of numbers": ({}, {"folds": NUMBERS.tolist()}, PredefinedSplit(NUMBERS)),
    "pairs": ({}, {"folds": PAIRS}, None),
    "an iterator of pairs": ({}, {"folds": lambda: iter(PAIRS)}, None),  # a new one for each test
    "a splitter of fit": ({}, {"folds": KFold(3)}, KFold(3)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("staged", [False, True])
def test_networks_hold_out_the_rows_of_the_users_folds(form, staged, monkeypatch, tmp_path):
    small = ({"width": 8, "depth": 1},)
    preset = Preset(4, 2, 16, tuple(presets.Recipe(**r) for r in small), trial_folds=4 * staged)
    monkeypatch.setitem(presets.PRESETS, "fast", preset)
    options, given, splitter = FORMS[form]
    given = {name: value() if callable(value) else value for name, value in given.items()}
    pairs = PAIRS if splitter is None else [*splitter.split(X, Y, given.get("groups"))]
    model = regressor(**options).fit(X, Y, **given)
    held_out = [sorted(rows) for rows in fitted_of(model).held_out.rows]
    assert held_out == [sorted(out) for _, out in pairs] * 2
    others = np.setdiff1d(np.arange(N), np.concatenate([out for _, out in pairs]))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(model.oof_prediction_)), others)
    assert model.report().together == pytest.approx(ended(model))
    assert model.importance(X, Y).means[0] > 0
    assert np.isfinite(model.predict_interval(X)).all()
    again = saved(model, tmp_path / "model")
    np.testing.assert_array_equal(again.oof_prediction_, model.oof_prediction_)
    assert again.get_params()["folds"] is None or "folds" in given


@pytest.mark.usefixtures("tiny")
def test_classes_of_held_out_rows_alone_are_calibrated_and_drawn():
    model = classifier().fit(X, LABELS, folds=NUMBERS)
    p = model.oof_prediction_
    assert np.isnan(p[NUMBERS < 0]).all()
    np.testing.assert_allclose(p[NUMBERS >= 0].sum(axis=1), 1)
    right = p[np.arange(N), (model.classes_[1] == LABELS).astype(int)][NUMBERS >= 0]
    assert f"{-np.log(right).mean():.4g}" in model.report().more["temperature"]
    model.plot_calibration(LABELS)


@pytest.mark.usefixtures("tiny")
def test_a_row_is_predicted_by_networks_that_have_not_seen_it_or_later_ones():
    later = np.arange(N) >= 30
    first = regressor(folds=TimeSeriesSplit(3), **LAST_EPOCH)
    before = first.fit(X, Y).oof_prediction_
    after = first.fit(np.where(later[:, None], X[::-1], X), np.where(later, Y[::-1], Y))
    np.testing.assert_array_equal(before[:30], after.oof_prediction_[:30])
    assert (before[30:] != after.oof_prediction_[30:]).all()


@pytest.mark.usefixtures("tiny")
def test_rows_without_a_weight_leave_the_folds():
    weights = (np.arange(N) < 50).astype(float)
    part = regressor(**LAST_EPOCH).fit(X[:50], Y[:50], folds=NUMBERS[:50])
    model = regressor(**LAST_EPOCH).fit(X, Y, weights, folds=NUMBERS)
    np.testing.assert_allclose(model.predict(X), part.predict(X), rtol=1e-5)
    np.testing.assert_allclose(model.oof_prediction_[:50], part.oof_prediction_, rtol=1e-5)
    assert np.isfinite(model.oof_prediction_[50:]).all()  # nobody has learned from them


def test_the_joint_prediction_is_that_of_the_members_that_hold_a_row_out():
    rng = np.random.default_rng(0)
    predictions, held = rng.random((3, 5, 2)), np.arange(3)[:, None] < [3, 1, 2, 2, 3]

    class Gaussian:
        outputs = 1

        @staticmethod
        def mixed(mean, spread):
            return mean + np.c_[np.zeros(len(mean)), spread]

        @staticmethod
        def costs(prediction):
            return prediction[..., 0]

    found = OutOfFold(predictions, held)
    for k, joint in enumerate(found.joint(Gaussian)):
        of_row = predictions[held[:, k], k]
        expected = of_row.mean(axis=0) + np.array([0, of_row[:, 0].var()])
        np.testing.assert_allclose(joint, expected)
    means = [predictions[held[:, k], k, 0].mean() for k in range(5)]
    assert found.alone(Gaussian, None) == pytest.approx(np.mean(means))


# ------------------------------------------------------------------ rows that choose


@pytest.mark.parametrize(("make", "y"), [(regressor, Y), (classifier, LABELS)])
@pytest.mark.parametrize("members", [None, 1])
@pytest.mark.usefixtures("tiny")
def test_validation_rows_choose_epochs_and_calibrate(make, y, members, tmp_path):
    weights = np.r_[np.zeros(5), np.ones(35)]
    model = make(validation="choose", members=members, epochs=40)
    model.fit(X[:40], y[:40], weights, X_val=X[40:], y_val=y[40:])
    (group,) = fitted_of(model).blend.groups
    assert len(group) == members or 6
    held_out = model.oof_prediction_
    assert len(held_out) == N
    assert np.isnan(held_out[5:40]).all()
    predict = model.predict if make is regressor else model.predict_proba
    np.testing.assert_allclose(held_out[40:], predict(X[40:]), rtol=1e-5)
    assert model.best_epoch_ == 1 + np.argmin([cost for *_, cost in fitted_of(model).facts.curve])
    assert "the 20 rows of X_val have chosen" in str(model.report())
    model.plot_calibration(y)
    assert model.importance(X, y).means[0] > 0
    np.testing.assert_array_equal(saved(model, tmp_path / "model").oof_prediction_, held_out)


@pytest.mark.usefixtures("tiny")
def test_the_rows_that_choose_are_not_learned():
    """Their targets are of another relation, which no network can follow."""
    plain = regressor(validation="choose", **LAST_EPOCH)
    learned = plain.fit(X[:40], Y[:40], X_val=X[40:], y_val=Y[40:]).predict(X)
    model = regressor(validation="choose", **LAST_EPOCH)
    model.fit(X[:40], Y[:40], X_val=X[40:], y_val=100 - 9 * Y[40:])
    np.testing.assert_array_equal(model.predict(X), learned)


@pytest.mark.usefixtures("tiny")
def test_a_callback_stops_on_the_score_of_the_rows_that_choose():
    scores = []

    def stop(state):
        scores.append(state.val_loss)
        return len(scores) == 2

    model = regressor(validation="choose", callbacks=[stop])
    with pytest.warns(UserWarning, match="ended early"):
        model.fit(X[:40], Y[:40], X_val=X[40:], y_val=Y[40:])
    assert model.n_iter_ == 2
    away = model.predict(X[40:]) - Y[40:]
    assert min(scores) == pytest.approx(np.sqrt(np.mean(away**2)))


def test_folds_may_be_truth_values():
    half = np.arange(len(Y)) < len(Y) // 2
    masks, places = [(half, ~half)], [(np.flatnonzero(half), np.flatnonzero(~half))]
    one, other = (regressor().fit(X, Y, folds=pairs) for pairs in (masks, places))
    assert np.array_equal(one.oof_prediction_, other.oof_prediction_, equal_nan=True)
