"""Rows with times: folds that go forward, no leakage, intervals for later rows, and every door."""

import re
from functools import partial

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from models import saved
from tiny_tables import LABELS, N, X, Y, classifier, regressor

import fastmlp
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular import parts
from fastmlp.tabular.fit.reading import TableChunk
from fastmlp.tabular.outcome import periods
from fastmlp.tabular.plan import presets
from fastmlp.tabular.recipe import blend, linear, members

pytestmark = pytest.mark.usefixtures("tiny")

RNG = np.random.default_rng(1)
NOW = 44  # the second of three folds has this time
PLACE = RNG.permutation(N)  # row k is the PLACE[k]-th in time
DAYS = np.datetime64("2026-11-01") + PLACE
LAST_EPOCH = {"epochs": 4, "scoring": lambda *_, **__: 0.0}  # the last of equal epochs is kept
FRAME = pandas.DataFrame(X, columns=list("abc"))
COLUMNS = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "place": PLACE.astype(float)}


def test_folds_go_forward_and_rows_of_one_time_stay_together():
    times = RNG.integers(0, 30, 500)
    for count in (2, 4, 9):
        pairs = periods.forward(times, count)
        assert 1 < len(pairs) <= count
        for learn, out, *_ in pairs:
            assert times[learn].max() < times[out].min()
            assert len(learn) == np.sum(times < times[out].min())
        held = np.concatenate([out for _, out, *_ in pairs])
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
    np.testing.assert_array_equal(np.sort(np.concatenate([out for _, out, *_ in pairs])), held)
    assert all(len(learn) and len(out) for learn, out, *_ in pairs)


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
def test_future_rows_permuted_change_no_earlier_prediction(monkeypatch, make, y, weighted):
    """Epoch, weights and penalty, which all predictions share, are fixed."""
    monkeypatch.setattr(linear, "DECAYS", (0.1,))
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
    late = PLACE >= 56
    last, known = (
        np.sqrt(np.mean((each - Y)[late] ** 2)) for each in (model.oof_prediction_, Y[~late].mean())
    )
    of_period = f" {last:.4g} (baseline {known:.4g})"
    assert text.partition("by time")[2].split("\n")[0].endswith(of_period)
    assert np.isfinite(model.predict_interval(X)).all()
    assert model.importance().names[0] == "column 0"
    again = saved(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict_interval(X), model.predict_interval(X))
    assert str(again.report()) == text


@pytest.mark.parametrize("loss", ["squared_error", "quantiles"])
def test_each_fold_predicts_all_rows_after_its_own_for_intervals(loss, monkeypatch):
    found, predict = [], blend.predicted_ahead
    monkeypatch.setattr(
        blend, "predicted_ahead", lambda *args: found.append(predict(*args)) or found[0]
    )
    levels = {"quantile": [0.1, 0.5, 0.9]} if loss == "quantiles" else {}
    model = regressor(epochs=30, loss=loss, **levels).fit(X, Y, time=PLACE)
    (result,), later = found, np.flatnonzero(PLACE >= 30)
    order = np.argsort(PLACE[later])
    expected = [(order[k], k // 10 - part) for part in range(3) for k in range(10 * part, 30)]
    assert sorted(zip(result.places, result.distances, strict=True)) == sorted(expected)
    nearest = result.distances == 0
    held_out = fitted_of(model).out_of_fold.predictions[later[result.places[nearest]]]
    shifts = held_out - result.predictions[nearest]
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[0], shifts.shape), atol=1e-6)
    assert np.any(np.abs(shifts) > 1e-6) == (loss == "quantiles")
    weights = result.even(np.arange(1.0, 31))
    np.testing.assert_allclose(np.bincount(result.distances, weights), 1)
    assert np.all(np.diff(weights[nearest][np.argsort(result.places[nearest])]) > 0)


@pytest.mark.filterwarnings("ignore:coverage is")
def test_intervals_hold_targets_whose_level_walks_away():
    """Of six random walks the last third; residuals of the next fold alone hold 59 %."""
    inside = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, level = rng.normal(size=(600, 2)), 0.3 * np.cumsum(rng.normal(size=600))
        y = level + x[:, 0] + 0.3 * rng.normal(size=600)
        model = regressor(epochs=40)
        model.fit(x[:400], y[:400], time=np.arange(400))
        low, high = model.predict_interval(x[400:]).T
        inside.append(np.mean((low <= y[400:]) & (y[400:] <= high)))
    assert 0.8 <= np.mean(inside) <= 0.95


@pytest.mark.parametrize("rows", [2, 5, 9])
def test_few_rows_in_time_have_files_and_importance(rows, tmp_path):
    model = regressor().fit(X[:rows], Y[:rows], time=np.arange(rows))
    assert len(model.importance().names) == 3
    assert "effective rows support at most" in model.report().more["intervals"]
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
    assert {len(rows) for rows in fitted_of(model).held_out.rows} == {10}


def test_the_length_of_a_schedule_is_that_of_a_members_rows(monkeypatch):
    """The rates of members with more rows do not end before those of the others."""
    monkeypatch.setattr(presets, "BATCHES", ((np.inf, 8),))
    rates = []
    model = regressor(epochs=8, callbacks=[lambda state: rates.append(state.model)])
    model.fit(X, Y, time=PLACE)
    for member in rates[7]:
        *_, late, _, last = member.history.learning_rate
        assert last < 0.05 * late


# ------------------------------------------------------------ a target that moves away

MOVED = 100 * (PLACE >= 45) + 0.3 * PLACE
JUMP = MOVED + X[:, 0]
# Of each target, as an array of 60 rows: the name of its baseline, and its best constant.
MOVING = {
    "numbers": (regressor, JUMP, "the mean", lambda y: y.mean(axis=0)),
    "two targets": (regressor, np.c_[JUMP, -JUMP], "the mean", lambda y: y.mean(axis=0)),
    "medians": (
        *(partial(regressor, loss="absolute_error"), JUMP, "the median"),
        lambda y: np.sort(y)[(len(y) - 1) // 2],
    ),
    "classes": (
        classifier,
        JUMP > 20,
        "the class shares",
        lambda y: (y.sum() + 0.5) / (len(y) + 1),
    ),
    "labels": (
        *(classifier, np.c_[JUMP > 20, JUMP < 50].astype(int), "the shares of the labels"),
        lambda y: (y.sum(axis=0) + 0.5) / (len(y) + 1),
    ),
}


@pytest.mark.parametrize("name", MOVING)
def test_the_baseline_of_a_period_comes_from_the_rows_before_it(name, tmp_path):
    make, y, words, constant = MOVING[name]
    model = make(epochs=30).fit(np.c_[X, PLACE], y, time=PLACE)
    fitted = fitted_of(model)
    y, later = y.astype(float), np.flatnonzero(PLACE >= 30)
    period = periods.periods_of(PLACE[later], 8)
    starts = np.array([PLACE[later[period == k]].min() for k in range(8)])
    expected = np.stack([constant(y[start > PLACE]) for start in starts])[period]
    found = fitted.out_of_fold.earlier[later]
    found = found[:, 1] if name == "classes" else found.reshape(expected.shape)
    np.testing.assert_allclose(found, expected)
    report = model.report()
    assert report.more["baseline"].endswith(f"of always predicting {words} of earlier rows")
    if name == "labels":  # a page judges one target alone
        return
    report.save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    lead, table = re.search('<p class="lead">(.*?)</p>', text)[1], f"always {words} of earlier rows"
    if name == "classes":
        assert "the most frequent class of earlier rows would be right for" in lead
        assert table in text
        right = np.average((expected > 0.5) == y[later])
        assert f"{right:.0%}." in lead
        return
    away = expected - y[later]
    error = np.abs(away).mean() if name == "medians" else np.sqrt(np.mean(away**2))
    if name == "two targets":
        error = np.sqrt(np.mean(away**2 / y.var(axis=0)))
    assert report.more["baseline"].split(", of")[0].endswith(f" {error:.4g}") or name == "medians"
    assert f"{error:.4g}" in lead
    assert table in text


def test_a_model_that_is_better_than_all_that_was_known_is_not_called_useless(tmp_path):
    """It is worse than the mean of rows to come, which nobody knew."""
    rng, places = np.random.default_rng(0), np.arange(400)
    y = np.where(places < 200, 0.0, 10.0) + rng.normal(size=400)
    X = np.c_[rng.normal(size=400), np.r_[0, np.cumsum(y)[:-1] / np.arange(1, 400)]]
    model = regressor(epochs=8).fit(X, y, time=places)
    error = np.sqrt(np.nanmean((model.oof_prediction_ - y) ** 2))
    assert error > 1.5 * y[200:].std()
    report = model.report()
    assert not report.is_worthless
    assert "warning" not in str(report)
    report.save(tmp_path / "page.html")
    assert "do not use it" not in (tmp_path / "page.html").read_text()


def test_classes_that_no_earlier_row_has_cost_the_baseline_no_infinity():
    labels = np.where(PLACE < 40, "old", "new")
    model = classifier().fit(np.c_[X, PLACE], labels, time=PLACE)
    (score,) = re.findall(r"log loss (\S+), of", model.report().more["baseline"])
    assert 1 < float(score) < 5


def test_targets_that_no_earlier_row_has_are_compared_with_the_mean_of_all():
    y = np.c_[Y, np.where(PLACE < 40, np.nan, Y)]
    model = regressor().fit(X, y, time=PLACE)
    earlier = fitted_of(model).out_of_fold.earlier[PLACE >= 30]
    assert np.isfinite(earlier).all()
    assert earlier[:, 1].min() < earlier[:, 1].max()


def test_parts_of_a_drifting_target_are_predicted_by_networks_of_earlier_rows_alone():
    """Networks of other parts have learned later rows, whose level no earlier row has."""
    rng, n = np.random.default_rng(0), 400
    place = rng.permutation(n)
    frame = pandas.DataFrame({"a": rng.normal(size=n), "place": place.astype(float)})
    y = np.exp(place / 80) + 0.2 * frame["a"].to_numpy()
    model, whole = regressor(epochs=30), TableChunk(frame, y, time=place)
    summary = parts.summary(model, whole, 0, n)
    plan = parts.Plan.of(model, [summary], pandas.concat)
    pieces = parts.divided(whole, [at for _, at in plan.shared], 0, 2, {})
    fits = [
        parts.trained(model, plan, [piece], k, n, pandas.concat) for k, piece in enumerate(pieces)
    ]
    merged = parts.merged(model, plan, fits)
    expected = np.concatenate([part.out_of_fold for part in fits])
    np.testing.assert_array_equal(fitted_of(merged).out_of_fold.predictions, expected)
    target = fitted_of(merged).rows[1].y
    of_others = np.concatenate([fits[1 - k].result.blend.predict(fits[k].table) for k in range(2)])
    errors = [np.sqrt(np.mean((each - target) ** 2)) for each in (expected, of_others)]
    assert merged.report().together == pytest.approx(errors[0])
    assert errors[0] > 2 * errors[1]  # what a leak of later rows would show
    assert fitted_of(merged).out_of_fold.earlier.shape == expected.shape
    assert "of always predicting the mean of earlier rows" in merged.report().more["baseline"]


def test_weights_of_later_rows_rise_with_time_from_a_tenth_to_one():
    times = np.array([5, 1, 3, 3, 2, 4, 0, 6, 7, 8])
    weights = periods.recency(times, None)
    order = np.argsort(times, kind="stable")
    rising = np.diff(weights[order])
    assert ((rising > 0) == (np.diff(times[order]) > 0)).all()
    assert weights[times.argmax()] == 1
    assert weights.min() == pytest.approx(periods.OLDEST ** (1 - 1 / len(times)))
    given = np.linspace(1, 2, len(times))
    np.testing.assert_allclose(periods.recency(times, given), given * weights)
