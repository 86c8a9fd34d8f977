"""Rows with times: folds that go forward, no leakage, intervals for later rows, and every door."""

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from models import saved
from tiny_tables import LABELS, N, X, Y, classifier, regressor

import fastmlp
from fastmlp.tabular import members, periods, presets

pytestmark = pytest.mark.usefixtures("tiny")

RNG = np.random.default_rng(1)
NOW = 44  # in the second of three folds
PLACE = RNG.permutation(N)  # row k is the PLACE[k]-th in time
DAYS = np.datetime64("2026-11-01") + PLACE
LAST_EPOCH = {"epochs": 4, "scoring": lambda *_, **__: 0.0}  # of equal epochs the last
FRAME = pandas.DataFrame(X, columns=list("abc"))
COLUMNS = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "place": PLACE.astype(float)}


def test_folds_go_forward_and_rows_of_one_time_stay_together():
    times = RNG.integers(0, 30, 500)
    for count in (2, 4, 9):
        pairs = periods.forward(times, count)
        assert 1 < len(pairs) <= count
        for learn, out in pairs:
            assert times[learn].max() < times[out].min()
            assert len(learn) == np.sum(times < times[out].min())
        held = np.concatenate([out for _, out in pairs])
        later = np.flatnonzero(times >= np.sort(times)[250])
        np.testing.assert_array_equal(np.sort(held), later)


@pytest.mark.parametrize(
    ("times", "held"),
    [
        ([0, 0, 0, 1], [3]),
        ([0, 1], [1]),
        ([3, 3, 1, 2, 2], [0, 1, 3, 4]),
        ([5] * 9 + [4], range(9)),
    ],
)
def test_folds_of_few_times(times, held):
    pairs = periods.forward(np.array(times), 4)
    np.testing.assert_array_equal(np.sort(np.concatenate([out for _, out in pairs])), held)
    assert all(len(learn) and len(out) for learn, out in pairs)


FORMS = {
    "numbers": PLACE,
    "float32": PLACE.astype(np.float32),
    "days": DAYS,
    "nanoseconds": DAYS.astype("M8[ns]"),
    "time differences": DAYS - DAYS[0],
    "a list of dates": DAYS.tolist(),
    "datetimes": DAYS.astype("M8[s]").tolist(),
    "text": DAYS.astype(str).tolist(),
    "text of another form": [f"{day:%d.%m.%Y}" for day in DAYS.tolist()],
    "objects": np.array(PLACE.tolist(), object),
    "pandas": pandas.Series(DAYS),
    "pandas with a zone": pandas.Series(DAYS).dt.tz_localize("Asia/Tokyo"),
    "polars": polars.Series(DAYS),
    "polars with a zone": polars.Series(DAYS).cast(polars.Datetime("us", "Asia/Tokyo")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_times_gives_the_same_fit(form):
    model = regressor(**LAST_EPOCH).fit(X, Y, time=FORMS[form])
    expected = regressor(**LAST_EPOCH).fit(X, Y, time=PLACE)
    np.testing.assert_array_equal(model.oof_prediction_, expected.oof_prediction_)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


@pytest.mark.parametrize("kind", ["pandas", "polars", "source"])
def test_a_column_has_the_times(kind):
    expected = regressor(**LAST_EPOCH).fit(np.c_[X, PLACE], Y, time=PLACE)
    model = regressor(**LAST_EPOCH)
    if kind == "source":
        table = pyarrow.table({**COLUMNS, "y": Y})
        model.fit(fastmlp.ArrowBlocks(table, "y"), time="place")
    else:
        model.fit({"pandas": pandas, "polars": polars}[kind].DataFrame(COLUMNS), Y, time="place")
    np.testing.assert_allclose(model.oof_prediction_, expected.oof_prediction_, rtol=1e-5)


@pytest.mark.parametrize(("make", "y"), [(regressor, Y), (classifier, LABELS)])
@pytest.mark.parametrize("weighted", [False, True])
def test_future_rows_permuted_change_no_earlier_prediction(make, y, weighted):
    future = np.flatnonzero(PLACE >= NOW)
    order = np.arange(N)
    order[future] = RNG.permutation(future)
    weights = 1.0 + np.arange(N) % 3 if weighted else None
    model = make(**LAST_EPOCH).fit(X, y, weights, time=PLACE)
    again = make(**LAST_EPOCH).fit(X[order], y[order], weights, time=PLACE)
    earlier, later = (PLACE >= N // 2) & (PLACE < NOW), PLACE >= 50
    before, after = model.oof_prediction_, again.oof_prediction_
    assert np.isnan(before[PLACE < N // 2]).all()
    if make is classifier:  # one temperature calibrates all of them
        before, after = np.log(before), np.log(after)
        ratio = (before[:, 1] - before[:, 0]) / (after[:, 1] - after[:, 0])
        np.testing.assert_allclose(ratio[earlier], np.nanmedian(ratio[earlier]), rtol=1e-6)
        assert (abs(ratio[later] / np.nanmedian(ratio[earlier]) - 1) > 1e-6).all()
        return
    np.testing.assert_array_equal(before[earlier], after[earlier])
    assert (before[later] != after[later]).any(axis=-1).all()


@pytest.mark.parametrize("shown", [["2026-12-01", "2026-12-16"]])
def test_networks_are_trained_again_on_all_rows(shown, monkeypatch, tmp_path):
    learned, fit = [], members.Learners.fit

    def spied(learners, epochs, *callbacks, **schedule):
        learned.append((epochs, [len(rows) for rows in learners.learn]))
        fit(learners, epochs, *callbacks, **schedule)

    monkeypatch.setattr(members.Learners, "fit", spied)
    model = regressor(epochs=30).fit(X, Y, time=DAYS)
    assert learned == [(30, [30, 40, 50] * 2), (model.best_epoch_, [N] * 6)]
    away = (model.oof_prediction_ - Y)[PLACE >= 30]
    assert model.report().together == pytest.approx(np.sqrt(np.mean(away**2)))
    text = str(model.report())
    assert "scores are those of later rows" in text
    assert all(f"from {day} " in text for day in shown)
    last = np.sqrt(np.mean((model.oof_prediction_ - Y)[PLACE >= 56] ** 2))
    assert text.partition("by time")[2].split("\n")[0].endswith(f" {last:.4g}")
    assert np.isfinite(model.predict_interval(X)).all()
    assert model.importance().names[0] == "column 0"
    again = saved(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict_interval(X), model.predict_interval(X))
    assert str(again.report()) == text


@pytest.mark.parametrize("rows", [2, 5, 9])
def test_few_rows_in_time_have_files_and_importance(rows, tmp_path):
    model = regressor().fit(X[:rows], Y[:rows], time=np.arange(rows))
    assert len(model.importance().names) == 3
    with pytest.warns(UserWarning, match="effective rows support at most"):
        assert np.isfinite(model.predict_interval(X)).all()
    again = saved(model, tmp_path / "model")
    np.testing.assert_array_equal(again.oof_prediction_, model.oof_prediction_)


def test_an_array_of_times_beside_a_source_is_refused():
    arrow = pyarrow.Table.from_pandas(FRAME.assign(y=Y))
    with pytest.raises(ValueError, match="but the name of a column of numbers or dates"):
        regressor().fit(fastmlp.ArrowBlocks(arrow, "y"), time=PLACE)


@pytest.mark.parametrize("end", ["a callback", "an interrupt", "no time"])
def test_a_fit_that_ends_before_that_keeps_the_networks_of_earlier_rows(end, monkeypatch):
    expected = regressor(**LAST_EPOCH).fit(X, Y, time=PLACE)
    epochs = []

    def ending(state):
        epochs.append(state.epoch)
        if len(epochs) > 4 and end == "an interrupt":
            raise KeyboardInterrupt
        return len(epochs) > 4 and end == "a callback"

    if end == "no time":
        monkeypatch.setattr(members, "pace_of", lambda *_: 1e300)
        model = regressor(**LAST_EPOCH, time_limit=1e4).fit(X, Y, time=PLACE)
    else:
        model = regressor(**LAST_EPOCH, callbacks=[ending])
        with pytest.warns(UserWarning, match="ended early"):
            model.fit(X, Y, time=PLACE)
    np.testing.assert_array_equal(model.oof_prediction_, expected.oof_prediction_)
    assert "have not learned from all rows, because" in str(model.report())
    assert {len(rows) for rows in model._fitted.held_out.rows} == {10}


def test_the_length_of_a_schedule_is_that_of_a_members_rows(monkeypatch):
    """The rates of members with more rows do not end before those of the others."""
    monkeypatch.setattr(presets, "BATCHES", ((np.inf, 8),))
    rates = []
    model = regressor(epochs=8, callbacks=[lambda state: rates.append(state.model)])
    model.fit(X, Y, time=PLACE)
    for member in rates[7]:
        *_, late, _, last = member.history.learning_rate
        assert last < 0.05 * late
