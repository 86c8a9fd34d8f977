"""Groups in time: folds that go forward and hold out groups that they have not learned from."""

import numpy as np
import pandas
import pyarrow
import pytest
from models import saved
from tiny_tables import LABELS, N, X, Y, classifier, regressor

import fastmlp
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome import periods
from fastmlp.tabular.plan import folds
from fastmlp.tabular.recipe import blend, linear

pytestmark = pytest.mark.usefixtures("tiny")

RNG = np.random.default_rng(2)
PLACE = RNG.permutation(N)
PANELS = {  # times and groups
    "all groups at all times": (PLACE, RNG.integers(0, 6, N)),
    "one group after the other": (PLACE, PLACE // 6),
    "two groups": (PLACE, PLACE % 2),
    "a group begins late": (PLACE, (PLACE > 57).astype(int)),
    "few times": (PLACE % 3, PLACE % 7),
    "a group for each row": (PLACE, PLACE),
    "sizes that differ": (PLACE, np.floor(np.sqrt(PLACE)).astype(int)),
}
GROUPS = PANELS["all groups at all times"][1]


def folds_in_time(times, groups, count, repeats):
    """Return the folds of a fit of ``count`` folds and so many repeats."""
    parts = folds.parts_for(count * repeats)
    rows = folds.FitRows(None, times, None, times=times, groups=groups, group_parts=parts)
    return rows.folds_in(count, repeats)


LAST_EPOCH = {"epochs": 4, "scoring": lambda *_, **__: 0.0}  # of equal epochs the last


@pytest.mark.parametrize("name", PANELS)
def test_folds_learn_earlier_rows_of_other_groups(name):
    times, groups = PANELS[name]
    first = None
    for count, repeats in ((2, 1), (4, 2), (8, 2), (3, 1)):
        pairs = folds_in_time(times, groups, count, repeats)
        for learn, out, number, part in pairs:
            assert len(learn)
            assert len(out)
            assert times[learn].max() < times[out].min()
            assert not np.intersect1d(groups[learn], groups[out]).size
            assert 0 <= number < max(2, count)
            assert 0 <= part < 4
        held = np.sort(np.concatenate([out for _, out, *_ in pairs]))
        first = held if first is None else first
        np.testing.assert_array_equal(held, first)  # each once, whatever the number of folds
        assert len({part for *_, part in pairs}) <= len(np.unique(groups))
    second = np.sort([times[groups == group].min() for group in np.unique(groups)])[1]
    later = (times > second) & (times >= np.sort(times)[N // 2])
    np.testing.assert_array_equal(first, np.flatnonzero(later))


def test_there_are_about_as_many_networks_as_without_groups():
    for count in (4, 8, 16, 3):
        found = folds_in_time(PLACE, GROUPS, count, 2)
        assert count * 1.2 <= len(found) <= count * 2


@pytest.mark.parametrize("make", [regressor, classifier])
def test_no_row_of_an_own_group_or_of_the_future_changes_a_prediction(make, monkeypatch):
    """Epoch, weights and penalty, which all predictions share, are fixed."""
    monkeypatch.setattr(linear, "DECAYS", (0.1,))
    y = Y if make is regressor else LABELS
    whole = make(**LAST_EPOCH).fit(X, y, groups=GROUPS, time=PLACE).oof_prediction_
    part = folds.parts_of_groups(PLACE, GROUPS, 2)[0]  # of a preset of six networks
    changed = np.where((part == 0) | (PLACE >= 50), np.roll(y, 7), y)
    other = make(**LAST_EPOCH).fit(X, changed, groups=GROUPS, time=PLACE).oof_prediction_
    own, earlier = part == 0, (PLACE >= N // 2) & (PLACE < 45)
    assert np.isnan(whole[PLACE < N // 2]).all()
    if make is classifier:  # one temperature calibrates all of them
        whole, other = (np.diff(np.log(each))[:, 0] for each in (whole, other))
        other = other * np.nanmedian((whole / other)[own & earlier])
        np.testing.assert_allclose(other[own & earlier], whole[own & earlier], rtol=1e-6)
    else:
        np.testing.assert_array_equal(other[own & earlier], whole[own & earlier])
    assert (np.abs(other - whole) > 1e-6)[~own & earlier].all()


def test_a_report_says_of_what_its_scores_are(tmp_path):
    model = regressor(epochs=30).fit(X, Y, groups=GROUPS, time=PLACE)
    later = PLACE >= N // 2
    away = (model.oof_prediction_ - Y)[later]
    report = model.report()
    assert report.together == pytest.approx(np.sqrt(np.mean(away**2)))
    assert "scores are those of later rows of groups that were not learned" in str(report)
    assert "from 30 " in report.more["by time"]
    assert report.more["baseline"].endswith("the mean of earlier rows")
    again = saved(model, tmp_path / "model")
    assert str(again.report()) == str(report)
    np.testing.assert_array_equal(again.predict_interval(X), model.predict_interval(X))
    assert len(model.importance().names) == 3


def test_the_baseline_comes_from_earlier_rows_of_other_parts_of_groups():
    model = regressor(epochs=8).fit(X, Y, groups=GROUPS, time=PLACE)
    later = np.flatnonzero(PLACE >= N // 2)
    part = folds.parts_of_groups(PLACE, GROUPS, 2)[0]  # of a preset of six networks
    period = periods.periods_of(PLACE[later], 8)
    starts = np.array([PLACE[later[period == k]].min() for k in range(8)])[period]
    expected = [
        Y[(start > PLACE) & (part != part[row])].mean()
        for row, start in zip(later, starts, strict=True)
    ]
    found = fitted_of(model).out_of_fold.earlier[later].reshape(-1)
    np.testing.assert_allclose(found, expected)


def test_each_fold_predicts_all_later_rows_of_its_part_of_groups(monkeypatch):
    found, predict = [], blend.predicted_ahead
    monkeypatch.setattr(
        blend, "predicted_ahead", lambda *args: found.append(predict(*args)) or found[0]
    )
    regressor(epochs=8).fit(X, Y, groups=GROUPS, time=PLACE)
    (result,), later = found, np.flatnonzero(PLACE >= 30)
    pairs = folds_in_time(PLACE, GROUPS, 3, 2)
    expected = sorted(
        (np.searchsorted(later, row), after.number - fold.number)
        for fold in pairs
        for after in pairs
        if after.part == fold.part and after.number >= fold.number
        for row in after.out
    )
    assert sorted(zip(result.places, result.distances, strict=True)) == expected


def simulated(seed, machines=30, days=40):
    """Return rows of machines: columns that tell which it is, a level of its own, and a drift."""
    rng = np.random.default_rng(seed)
    machine, day = np.repeat(np.arange(machines), days), np.tile(np.arange(days), machines)
    plates = rng.normal(size=(machines, 2))[machine]
    x, level = rng.normal(size=len(day)), rng.normal(size=machines)[machine]
    y = x + level + 0.02 * day + 0.3 * rng.normal(size=len(day))
    return np.c_[x, plates, day], y, machine, day


@pytest.mark.filterwarnings("ignore:coverage is")
def test_scores_and_intervals_hold_for_new_groups_later_on():
    """With times alone a score of known machines promises half of the error of new ones."""
    ratios, inside = {True: [], False: []}, {True: [], False: []}
    for seed in range(3):
        x, y, machine, day = simulated(seed)
        old, new = (machine < 20) & (day < 28), (machine >= 20) & (day >= 28)
        for both in (True, False):
            groups = machine[old] if both else None
            model = regressor(epochs=40).fit(x[old], y[old], groups=groups, time=day[old])
            error = np.sqrt(np.mean((model.predict(x[new]) - y[new]) ** 2))
            low, high = model.predict_interval(x[new]).T
            ratios[both].append(error / model.report().together)
            inside[both].append(np.mean((low <= y[new]) & (y[new] <= high)))
    assert 0.7 < np.exp(np.mean(np.log(ratios[True]))) < 1.3
    assert np.exp(np.mean(np.log(ratios[False]))) > 1.5
    assert np.mean(inside[True]) > 0.85 > np.mean(inside[False])


def test_columns_are_selected_for_new_groups_later_on():
    """A plate tells which machine it is: known machines are predicted better by it."""
    x, y, machine, day = simulated(3)
    x = np.c_[x[:, 0], x[:, 3], x[:, 1:3]]
    model = regressor(preset="default").fit(x, y, groups=machine, time=day)
    assert set(model.left_out_) <= {"column 1", "column 2", "column 3"}
    assert np.isfinite(model.predict(x)).all()


@pytest.mark.parametrize("kind", ["a frame", "a source"])
def test_columns_have_the_groups_and_times(kind):
    frame = pandas.DataFrame(X, columns=list("abc")).assign(place=PLACE.astype(float), who=GROUPS)
    expected = regressor(**LAST_EPOCH).fit(frame, Y, groups=GROUPS, time=PLACE)
    model, rows, y = regressor(**LAST_EPOCH), frame, Y
    if kind == "a source":
        rows, y = fastmlp.ArrowBlocks(pyarrow.Table.from_pandas(frame.assign(y=Y)), "y"), None
    model.fit(rows, y, groups="who", time="place")
    np.testing.assert_allclose(model.oof_prediction_, expected.oof_prediction_, rtol=1e-5)


REFUSED = {
    "one group": ({"groups": np.zeros(N)}, "groups has one group but at least two"),
    "a second group at the end": (
        {"groups": (PLACE == N - 1).astype(int)},
        "time is the last one when a second group begins but later rows are expected",
    ),
    "folds": ({"groups": GROUPS, "folds": GROUPS}, "time and folds are passed but one of them"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_groups_that_nobody_can_learn_before_are_refused(name):
    given, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        regressor().fit(X, Y, time=PLACE, **given)


def test_validation_rows_decide_alone():
    with pytest.raises(ValueError, match="time and validation='choose' and groups are passed"):
        regressor(validation="choose").fit(
            X, Y, time=PLACE, groups=GROUPS, X_val=X[:9], y_val=Y[:9]
        )
