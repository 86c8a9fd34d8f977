"""TabMLPClassifier and TabMLPRegressor: raw tables, folds, calibration, machinery."""

import copy
import pickle
import re
from dataclasses import replace
from functools import partial

import matplotlib
import numpy as np
import pandas
import polars
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_tables import classifier, regressor

import fastmlp
from fastmlp import TabMLPClassifier, TabMLPRegressor
from fastmlp._core import charts
from fastmlp._validation.arrays import is_missing
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.estimator import BaseTabMLP
from fastmlp.tabular.outcome.loss_rows import LOSSES
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.presets import Preset, Recipe
from fastmlp.tabular.recipe.epoch_selection import OutOfFold
from fastmlp.tabular.report import page

SMALL = Recipe(bins=4, width=16, depth=2)
TINY = Preset(3, 2, 24, (SMALL, replace(SMALL, bins=0, dropout=0.1, decay=0.01)))


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "fast", TINY)


def expected_failures(estimator):
    name = "check_sample_weight_equivalence_on_dense_data"
    return {name: "a row that is there twice is in other folds than one of weight 2"}


CASES = parametrize_with_checks(
    [TabMLPClassifier(preset="fast"), TabMLPRegressor(preset="fast")],
    expected_failed_checks=expected_failures,
)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore:with class_weight, probabilities and scores")
@pytest.mark.parametrize(CASES.args[0], list(CASES.args[1]), **CASES.kwargs)
def test_common_checks(estimator, check, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "fast", Preset(2, 1, 24, (SMALL,)))
    for kind in (type(estimator), BaseTabMLP):  # checks would begin with partial_fit, not with fit
        monkeypatch.delattr(kind, "partial_fit")
    check(estimator)


RNG = np.random.default_rng(0)
N = 240
X = RNG.normal(size=(N, 4)) * [1, 1e3, 1e-3, 1] + [0, 5e4, 0, 0]
Y = X[:, 0] + np.sin(X[:, 1] / 1e3 - 50) + 0.1 * RNG.normal(size=N)
LABELS = np.where(Y > 0.7, "high", np.where(Y > -0.5, "middle", "low"))


@pytest.mark.parametrize("loss", sorted({*LOSSES} - {"quantile", "quantiles"}))
@pytest.mark.parametrize("several", [False, True])
def test_losses(loss, several):
    y = np.exp(Y) if LOSSES[loss].lowest == 0 else Y
    y = np.c_[y, 2 * y + 1] if several else y
    model = regressor(loss=loss).fit(X, y)
    mean, deviation = model.predict(X, return_std=True)
    assert mean.shape == deviation.shape == y.shape == model.oof_prediction_.shape
    assert np.all(deviation > 0)
    assert model.score(X, y) > 0.5
    interval = model.predict_interval(X, coverage=0.8)
    assert interval.shape == (*y.shape, 2)
    assert np.all(interval[..., 0] < interval[..., 1])
    assert model.log_density(X, y).shape == (N,)


def test_all_members_err_less_than_those_that_hold_a_row_out():
    model = regressor().fit(X, Y)
    _, deviation = model.predict(X, return_std=True)
    assert np.mean(deviation**2) < np.mean((Y - model.oof_prediction_) ** 2)


def test_a_large_common_part_of_y_does_not_drown_deviations():
    """Times are such targets: squares of 2**30 differ by less than rounding."""
    model, part = regressor(loss="gaussian").fit(X, Y), 2.0**30
    far = copy.deepcopy(model)
    groups = []
    for group in fitted_of(far).blend.groups:
        moved = {key: getattr(group.scale, key) + part for key in ("centre", "low", "high")}
        groups.append(replace(group, scale=group.scale._replace(**moved)))
    far._fitted = replace(fitted_of(far), blend=replace(fitted_of(far).blend, groups=groups))
    np.testing.assert_allclose(far.predict(X, True)[1], model.predict(X, True)[1], rtol=1e-5)
    predictions = np.random.default_rng(1).normal(size=(3, N, 2))
    together = []
    for away in (0.0, part):
        target = fitted_of(model).target.with_rows(Y[:, np.newaxis] + away)
        together.append(OutOfFold(predictions + np.array([away, 9])).joint(target) - [away, 0])
    spread = predictions[:, :, 0].var(axis=0)
    np.testing.assert_allclose(together[0][:, 1], predictions[:, :, 1].mean(axis=0) + 9 + spread)
    np.testing.assert_allclose(*together, rtol=1e-5, atol=1e-5)


def test_quantiles_are_those_of_the_target_and_never_cross():
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (600, 1))
    y = x[:, 0] + (0.1 + 0.4 * (x[:, 0] > 0)) * rng.standard_t(4, 600)
    model = regressor().fit(x[:400], y[:400])
    levels = np.linspace(0.001, 0.999, 41)
    found = model.predict_quantiles(x[400:], levels)
    assert np.all(np.diff(found, axis=1) >= 0)
    below = np.mean(y[400:, np.newaxis] <= found, axis=0)
    assert np.abs(below - levels).max() < 0.12
    low, high = model.predict_interval(x[400:]).T
    wide = high - low
    assert wide[x[400:, 0] > 0.3].mean() > 1.5 * wide[x[400:, 0] < -0.3].mean()
    lower = regressor(loss="quantile", quantile=0.2).fit(x[:400], y[:400]).predict(x[400:])
    assert 0.08 < np.mean(y[400:] < lower) < 0.35


def test_probabilities_are_calibrated_and_sum_to_1():
    model = classifier().fit(X, LABELS)
    p = model.predict_proba(X)
    assert p.shape == (N, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert set(model.predict(X)) <= set(model.classes_)
    held_out = model.oof_prediction_
    raw = fitted_of(model).held_out.predictions
    assert log_loss(LABELS, held_out) <= log_loss(LABELS, raw) + 1e-3
    assert np.mean(model.classes_[held_out.argmax(axis=1)] == LABELS) > 0.7
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), p)


def test_multilabel():
    y = np.c_[Y > 0, Y > 1, X[:, 0] > 0].astype(int)
    model = classifier().fit(X, y)
    assert model.predict_proba(X).shape == model.predict(X).shape == (N, 3)
    assert np.mean(model.predict(X) == y) > 0.85


def mixed(n=N):
    """Return a frame of columns of all kinds."""
    rng = np.random.default_rng(2)
    frame = pandas.DataFrame(
        {
            "number": rng.normal(size=n),
            "integer": rng.integers(0, 50, n),
            "missing": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "boolean": rng.random(n) < 0.5,
            "text": rng.choice(["red", "green", "blue"], n),
            "category": pandas.Categorical(rng.choice(["a", "b"], n), categories=["b", "a", "c"]),
            "nullable": pandas.array(rng.integers(0, 3, n), dtype="Int64"),
            "constant": 1.0,
            "twice": 0.0,
        }
    )
    frame["twice"] = frame["number"]
    frame.loc[3, "text"] = None
    frame.loc[4, "nullable"] = pandas.NA
    return frame


def test_frames_of_all_kinds_of_columns(tmp_path):
    frame = mixed()
    y = frame["number"] + (frame["text"] == "red") * 2.0 + frame["boolean"]
    model = regressor().fit(frame, y)
    report = model.report()
    assert report.left_out == {"constant": "constant", "twice": "the same as number"}
    assert report.kinds["numbers"] == 4
    assert report.kinds["categories"] == 3
    assert "constant: constant" in str(report)
    report.save(tmp_path / "report.html")
    assert "<td" in (tmp_path / "report.html").read_text(encoding="utf-8")
    days = np.datetime64("2020-01-01") + np.arange(len(y))
    for table, target in (
        (frame.assign(day=days, rent=y, empty=np.nan), "rent"),
        (frame, y.rename("rent")),
    ):
        regressor().fit(table, target).report().save(tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert "<h1>A model of rent</h1>" in page
        assert ("<th>day</th><td>dates" in page) == ("day" in table)
        assert ("no values" in page) == ("empty" in table)
    frame_of = model.importance(frame, y).to_frame()
    assert list(frame_of.columns) == ["mean", "deviation"]
    assert frame_of.index.tolist() == model.importance(frame, y).names
    with pytest.raises(AttributeError, match=r"'to_html': use save\(path\)"):
        report.to_html("report.html")
    with pytest.warns(UserWarning, match="'rent.pdf' is written as an HTML page: .*'rent.html'"):
        report.save(tmp_path / "rent.pdf")
    assert (tmp_path / "rent.pdf").read_bytes().startswith(b"<!doctype html>")
    with pytest.raises(AttributeError, match=r"'plot': model.plot_importance\(X, y\) draws it"):
        model.importance(frame, y).plot()
    assert list(model.feature_names_in_) == list(frame.columns)
    right = model.predict(frame)
    assert model.score(frame, y) > 0.6
    other = polars.DataFrame(
        {name: [None if is_missing(v) else v for v in frame[name].tolist()] for name in frame}
    )
    np.testing.assert_array_equal(model.predict(other), right)
    np.testing.assert_array_equal(regressor().fit(other, y.to_numpy()).predict(other), right)
    strange = frame.copy()
    strange["text"] = "never seen"
    strange["missing"] = np.nan
    strange["number"] = 1e300
    with pytest.warns(UserWarning, match="text holds 'never seen'"):
        assert np.isfinite(model.predict(strange)).all()
    np.testing.assert_array_equal(model.predict(frame[frame.columns[::-1]]), right)


ABOVE = (X.mean(axis=0) < X) * 1
P = ABOVE.mean(axis=0)
GAPS = np.c_[Y, np.where(np.arange(len(Y)) % 3, -Y, np.nan)]
SEVERAL = {
    "numbers": (regressor, np.c_[Y, -Y], 1.0),
    "gaps": (regressor, GAPS, 1.0),
    "rows without targets": (regressor, np.r_[np.full((9, 2), np.nan), GAPS[9:]], 1.0),
    "variances": (lambda: regressor(loss="gaussian"), np.c_[Y, -Y] / Y.std(), 1.4189),
    "labels": (classifier, ABOVE, np.mean(-P * np.log(P) - (1 - P) * np.log(1 - P))),
}


def page_of(model, folder):
    model.report().save(folder / "page.html")
    return (folder / "page.html").read_text()


@pytest.mark.parametrize("kind", SEVERAL)
def test_a_page_of_several_targets_names_the_error_of_their_means(kind, tmp_path):
    make, y, expected = SEVERAL[kind]
    model, has_labels = make().fit(X, pandas.DataFrame(y).add_prefix("y")), kind == "labels"
    page = page_of(model, tmp_path)
    name = "the shares of the labels" if has_labels else "the mean"
    start = f"has not seen is [-\\d.]+; that of always predicting {name} would be"
    assert re.search(f"{start} {re.escape(f'{expected:.4g}')} ", page)
    assert "<h1>A model of y0, y1" in page
    there = ~np.isnan(y[:, 0])
    p, truth = model.oof_prediction_[there, 0], y[there, 0]
    right = ((p > 0.5) == truth).mean() if has_labels else ((p - truth) ** 2).mean() ** 0.5
    assert f"<th>y0</th><td>{right:.4g}</td>" in page


def test_a_page_writes_prices_as_people_do(tmp_path):
    page = page_of(regressor().fit(X, 5e5 * Y + 3e6), tmp_path)
    assert re.search(r"<th>rmse</th><td>\d{2},\d{3}</td>", page)
    assert not re.search(r"\d\.\d+e\+0[456]\b", page.partition("<main>")[0])


LONG = {"epochs": 30}
LEADS = {
    "number": (regressor(**LONG), Y, "to within .* Half of the errors .* relies most on [ab]"),
    "classes": (classifier(**LONG), LABELS, "right for .* It finds the rows of (low|high|middle)"),
    "quantile": (
        regressor(loss="quantile", quantile=0.9, **LONG),
        Y,
        "It predicts the 0.9 quantile of grade by the columns .* pinball loss is",
    ),
    "quantiles": (regressor(loss="quantiles", quantile=[0.1, 0.9]), Y, "predicting the quantiles"),
    "absolute": (
        regressor(loss="absolute_error", **LONG),
        np.where(np.arange(len(Y)) % 40, Y, 400.0),
        "always predicting the median would be off by",
    ),
    "poisson": (
        regressor(loss="poisson", **LONG),
        np.round(np.exp(Y)),
        "Its poisson loss .* always predicting the mean would be",
    ),
    "gaussian": (
        regressor(loss="gaussian", **LONG),
        Y,
        "Its negative log-likelihood .* always predicting the mean would be",
    ),
    "noise": (regressor(), np.roll(Y, 7), "no better than always predicting the mean: do not"),
}


@pytest.mark.parametrize("name", LEADS)
def test_a_page_opens_with_what_the_model_is_good_for(name, tmp_path):
    estimator, y, words = LEADS[name]
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = clone(estimator).fit(frame.assign(grade=y), "grade")
    lead = re.search('<p class="lead">(.*?)</p>', page_of(model, tmp_path))[1]
    assert re.search(words, lead)
    assert ("do not use it" in lead) == (name == "noise")
    model.save(tmp_path / "model")
    page = page_of(fastmlp.load(tmp_path / "model"), tmp_path)
    assert "<h1>A model of grade</h1>" in page
    assert "the baseline is " in page


def test_the_dependence_on_dates_keeps_the_time_of_day(tmp_path):
    """The target depends on the hour alone, so its mean is the same at any date."""
    hours = np.arange(400) * 55
    times = np.datetime64("2020-01-01T00", "h") + hours
    y = np.cos(2 * np.pi * hours / 24)
    model = regressor(epochs=60).fit(pandas.DataFrame({"time": times.astype("M8[s]")}), y)
    fitted = fitted_of(model)
    evidence = page.evidence_of(model, fitted, "y")
    ((_, chart),) = page._dependences(evidence, evidence.features).items()
    (low, high) = chart.range
    assert high - low < 0.5 < y.max()


@pytest.mark.parametrize(("seconds", "form"), [(86_400, "2020-..-.."), (300, "01-.. ..:..")])
def test_ticks_of_dates_differ(seconds, form, tmp_path):
    times = np.datetime64("2020-01-01T00:00:00") + np.arange(N) * np.timedelta64(seconds, "s")
    page = page_of(regressor().fit(pandas.DataFrame({"time": times}), Y), tmp_path)
    ticks = re.findall(rf">({form})</text>", page)
    assert len(set(ticks)) == len(ticks) > 2


def test_a_table_that_says_nothing():
    model = regressor().fit(np.ones((20, 2)), Y[:20])
    assert len(model.report().left_out) == 2
    np.testing.assert_allclose(model.predict(np.ones((3, 2))), Y[:20].mean(), atol=0.3)


def test_groups_are_held_out_together():
    groups = np.repeat(np.arange(12), 20)
    model = regressor().fit(X, Y, groups=groups)
    for rows in fitted_of(model).held_out.rows:
        assert not set(groups[rows]) & set(np.delete(groups, rows))


@pytest.mark.parametrize("names", [["a", "b", "who"], [0, 1, 2]])
def test_groups_may_be_named_by_their_column(names):
    groups = np.repeat(np.arange(12), 20)
    frame = pandas.DataFrame(np.c_[X[:, :2], groups], columns=names)
    model, other = (regressor().fit(frame, Y, groups=each) for each in (names[2], groups))
    assert np.array_equal(model.oof_prediction_, other.oof_prediction_)
    for rows in fitted_of(model).held_out.rows:
        assert not set(groups[rows]) & set(np.delete(groups, rows))


@pytest.mark.parametrize("n", [2, 5, 20])
def test_few_rows(n):
    model = regressor().fit(X[:n], Y[:n])
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.predict_interval(X, 1 - 2.5 / (n + 1))).all()
    with pytest.warns(
        UserWarning, match=rf"{n} effective rows support at most {1 - 2 / (n + 1):.5g}"
    ):
        assert np.isfinite(model.predict_interval(X, 0.95)).all()
    if n < 3:
        assert any("folds instead of" in note for note in model.report().notes)
    labels = np.array(["common"] * (n - 1) + ["rare"])
    assert np.isfinite(classifier().fit(X[:n], labels).predict_proba(X)).all()


def test_two_of_a_class_are_in_different_folds():
    labels = np.array(["common"] * (N - 2) + ["rare"] * 2)
    model = classifier().fit(X, labels)
    for rows in fitted_of(model).held_out.rows:
        assert np.sum(labels[rows] == "rare") <= 1


def test_same_bits_for_any_threads_and_copies():
    first = regressor(n_jobs=1).fit(X, Y)
    right = first.predict(X)
    np.testing.assert_array_equal(regressor(n_jobs=2).fit(X, Y).predict(X), right)
    copy.deepcopy(first).fit(X, -Y)
    np.testing.assert_array_equal(first.predict(X), right)
    assert not hasattr(clone(first), "oof_prediction_")
    assert b"_fitting" not in pickle.dumps(first)


def test_machinery_of_scikit_learn():
    pipeline = make_pipeline(FunctionTransformer(np.abs), regressor())
    assert np.isfinite(pipeline.fit(X, Y).score(X, Y))
    search = GridSearchCV(regressor(), {"loss": ["squared_error", "absolute_error"]}, cv=2)
    assert search.fit(X, Y).best_score_ > 0.3
    assert cross_val_score(classifier(), X, LABELS, cv=2).min() > 0.5


def test_weights():
    weights = np.where(np.arange(N) % 3 == 0, 0.0, 2.5)
    used = weights > 0
    weighted = regressor().fit(X, Y, sample_weight=weights)
    plain = regressor().fit(X[used], Y[used])
    np.testing.assert_array_equal(weighted.predict(X), plain.predict(X))
    assert weighted.oof_prediction_.shape == (N,)
    balanced = classifier(class_weight="balanced", prior="weighted").fit(X, LABELS)
    assert not np.array_equal(
        balanced.predict_proba(X), classifier().fit(X, LABELS).predict_proba(X)
    )


def test_scoring_chooses_the_epoch():
    by_loss = classifier().fit(X, LABELS)
    by_accuracy = classifier(scoring="accuracy").fit(X, LABELS)
    accuracies = [-cost for *_, cost in fitted_of(by_accuracy).facts.curve]
    best = max(accuracies)
    last = max(
        row[0]
        for row, a in zip(fitted_of(by_accuracy).facts.curve, accuracies, strict=True)
        if a == best
    )
    assert by_accuracy.best_epoch_ == last  # the last of ties
    assert (
        by_loss.best_epoch_
        == min(fitted_of(by_loss).facts.curve, key=lambda row: (row[3], -row[0]))[0]
    )
    assert np.isfinite(regressor(scoring="r2").fit(X, Y).predict(X)).all()


def test_importance_and_plots():
    matplotlib.use("Agg")
    from matplotlib import pyplot

    model, other = regressor().fit(X, Y), classifier().fit(X, LABELS)
    found = model.importance(X, Y)
    assert set(found.names[:2]) == {"column 0", "column 1"}
    assert np.all(np.diff(found.means) <= 0)
    assert found.means[1] > 5 * abs(found.means[2])
    for ax in (
        model.plot_importance(X, Y, rounds=1),
        model.plot_history(),
        model.plot_calibration(Y),
        other.plot_importance(X, LABELS, rounds=1),
        other.plot_history(),
        other.plot_calibration(LABELS, "high"),
        other.plot_partial_dependence(1),
    ):
        assert ax.get_xlabel()
        pyplot.close(ax.figure)
    line = model.plot_calibration(Y).lines[1]
    assert np.abs(line.get_xdata() - line.get_ydata()).max() < 0.1
    pyplot.close("all")
    with pytest.raises(ValueError, match="label is 'none'"):
        other.plot_calibration(LABELS, "none")


def test_pictures_of_the_fit_need_no_targets():
    matplotlib.use("Agg")
    from matplotlib import pyplot

    days = np.datetime64("2020-01-01", "s") + np.arange(N) * np.timedelta64(1, "D")
    frame = pandas.DataFrame(X, columns=list("abcd")).assign(time=days, word=LABELS)
    model, other = regressor().fit(frame, Y), classifier().fit(frame, LABELS)
    for each, y in ((model, Y), (other, LABELS)):
        drawn = each.plot_calibration(), each.plot_calibration(y)
        np.testing.assert_array_equal(*(ax.lines[1].get_xydata() for ax in drawn))
    ax = model.plot_partial_dependence("a")
    ends = ax.lines[0].get_xdata()
    assert X[:, 0].min() <= ends[0] < ends[-1] <= X[:, 0].max()
    assert ax.get_xlabel() == "a"
    dates = model.plot_partial_dependence("time")
    assert re.fullmatch("20..-..-..", dates.xaxis.get_major_formatter()(days[0].astype(float), 0))
    bars = model.plot_partial_dependence("word")
    assert {text.get_text() for text in bars.get_yticklabels()} == set(LABELS)
    confusion = other.plot_confusion_matrix()
    counts = [int(text.get_text().replace(",", "")) for text in confusion.texts]
    assert sum(counts) == N
    assert [text.get_text() for text in confusion.get_yticklabels()] == list(other.classes_)
    pyplot.close("all")
    with pytest.raises(ValueError, match=r"'none' .* but one that the fit used .*: 'a', 'b'"):
        model.plot_partial_dependence("none")
    with pytest.raises(ValueError, match=r"(?s)DataFrame.*but one that the fit used"):
        model.plot_partial_dependence(frame)
    bare = pickle.loads(pickle.dumps(other))
    draw_column = partial(bare.plot_partial_dependence, "a")
    for draw in (bare.plot_calibration, bare.plot_confusion_matrix, draw_column):
        with pytest.raises(ValueError, match="needs the rows of the fit"):
            draw()
    several = regressor().fit(X, np.column_stack([Y, Y]))
    with pytest.raises(ValueError, match="is for one target"):
        several.plot_partial_dependence(0)


def test_legends_of_reports_are_whole():
    chart = charts.Axes()
    for label in ("single members", "members together, calibrated"):
        chart.plot([0, 1], [0, 1], label=label)
    for text in ("single members", "members together, calibrated"):
        assert f">{text}</text>" in chart.svg("title")


def test_a_page_of_a_quantile_has_pinball_losses_alone(tmp_path):
    frame = pandas.DataFrame({"a": np.tile([0.0, 1.0], 60)})
    y = np.where(np.arange(120) < 6, 50.0, np.arange(120) % 7) * (1 + frame["a"])
    model = regressor(loss="quantile", quantile=0.9).fit(frame, y)
    page, error = page_of(model, tmp_path), y - model.oof_prediction_
    loss = np.maximum(0.9 * error, -0.1 * error)
    assert "mean pinball loss" in page
    assert "mean absolute error" not in page
    assert f"<th>a</th><td>0</td><td>60</td><td>{loss[frame['a'] == 0].mean():.3g}</td>" in page
    rows = re.findall(r"<th>(\d+)</th>", page.split("Largest errors")[1].split("The data")[0])
    np.testing.assert_allclose(loss[[*map(int, rows)]], np.sort(loss)[: -len(rows) - 1 : -1])


def test_a_page_counts_missing_text_apart_from_the_text_none(tmp_path):
    flag = pandas.array([True, pandas.NA, False, True, False] * 24, dtype="boolean")
    frame = pandas.DataFrame({"cabin": ["None", None, "A1", None, "B2"] * 24, "flag": flag})
    page = page_of(regressor().fit(frame, np.arange(120) % 5), tmp_path)
    assert "<th>cabin</th><td>categories</td><td>48</td><td>3</td><td>A1, B2, None</td>" in page
    assert "<th>flag</th><td>categories</td><td>24</td><td>2</td><td>False, True</td>" in page
    parts = page.split("Errors by column")[1]
    assert re.search("<td>missing</td><td>48</td>.*<td>None</td><td>24</td>", parts)


def test_a_page_has_no_errors_of_parts_of_few_rows(tmp_path):
    frame = pandas.DataFrame({"name": [f"C{k}" for k in range(len(Y))], "x": X[:, 0]})
    with pytest.warns(UserWarning, match="another value in nearly every row"):
        page = page_of(regressor().fit(frame, Y), tmp_path)
    parts = page.split("Errors by column")[1].split("</table>")[0]
    assert "<th>x</th>" in parts
    assert "C0" not in parts


def test_a_page_says_which_rows_its_data_are(tmp_path):
    words = "that this page measures. There were others."
    assert words not in page_of(regressor().fit(X, Y), tmp_path)
    page = page_of(regressor().fit(X, Y, time=np.arange(len(Y))), tmp_path)
    assert f"These are the {len(Y) // 2} rows {words}" in page


FOLDS = {"folds": np.arange(len(Y)) % 3 - 1}
PARTLY_PREDICTED = {
    "folds": (regressor(), Y, FOLDS, (len(Y), len(Y) - len(Y[::3]))),
    "folds of gaps": (regressor(), GAPS, FOLDS, (len(Y), len(Y) - len(Y[::3]))),
    "weights": (
        regressor(),
        Y,
        FOLDS | {"sample_weight": 1 + Y**2},
        (len(Y), len(Y) - len(Y[::3])),
    ),
    "choose": (
        regressor(validation="choose"),
        Y,
        {"X_val": X[:20], "y_val": Y[:20]},
        (len(Y) + 20, 20),
    ),
}


@pytest.mark.parametrize("name", PARTLY_PREDICTED)
def test_a_page_claims_no_weights_and_no_learned_rows_that_there_are_not(name, tmp_path):
    estimator, y, more, (rows, predicted) = PARTLY_PREDICTED[name]
    page = page_of(clone(estimator).fit(X, y, **more), tmp_path)
    assert ("count rows by their weights" in page) == (name == "weights")
    words = f"Of the {rows} rows of the fit, {predicted} were predicted by networks that had not"
    assert words in page


@pytest.mark.parametrize(("unit", "time"), [("ns", ""), ("us", " 12:30:00"), ("D", "")])
def test_a_page_writes_dates_that_are_classes_in_one_way(unit, time, tmp_path):
    days = np.array([f"2021-01-0{day}{time}" for day in (1, 2)], f"M8[{unit}]")
    page = page_of(classifier(epochs=30).fit(X, days[ABOVE[:, 0]]), tmp_path)
    assert re.search(rf"It finds the rows of 2021-01-0[12]{time} best", page)
    assert f"<th>2021-01-01{time}</th>" in page
    assert not re.search("2021-01-0[12]T|16094", page)


def test_a_page_of_a_constant_target_does_not_condemn_its_model(tmp_path):
    model = regressor().fit(X[:, :1], np.full(len(X), 3.0))
    page = page_of(model, tmp_path)
    assert " rows, 1 column: 1 of numbers\n" in str(model.report())
    assert "the target is the same in all rows here: there is nothing to predict." in page
    assert "do not use it" not in page


@pytest.mark.parametrize("dtype", [float, "M8[s]"])
def test_a_page_of_later_rows_without_the_values_of_a_column_is_written(dtype, tmp_path):
    frame = pandas.DataFrame(X, columns=list("abcd"))
    frame["d"] = np.arange(len(Y)).astype(dtype)
    later = frame.assign(d=np.full(len(Y), "NaT" if dtype == "M8[s]" else np.nan, dtype))
    page = page_of(regressor().fit(frame, Y).partial_fit(later, Y), tmp_path)
    assert re.search(rf"<th>d</th><td>(numbers|dates)</td><td>{len(Y)}</td><td>0</td>", page)


def test_a_page_counts_errors_by_the_weights_of_rows(tmp_path):
    rng = np.random.default_rng(0)
    place = np.repeat(["near", "far"], 120)
    x, noise = rng.normal(size=(2, 240))
    y = x + np.where(place == "far", 5.0, 0.1) * noise
    weights = np.where(place == "far", 0.1, 1.0) * rng.uniform(0.5, 1.5, 240)
    model = regressor(epochs=30).fit(pandas.DataFrame({"x": x, "place": place}), y, weights)
    errors = np.abs(model.oof_prediction_ - y)
    usual = np.average(errors, weights=weights)
    far = place == "far"
    times = np.average(errors[far], weights=weights[far]) / usual
    lead = re.search('<p class="lead">(.*?)</p>', page_of(model, tmp_path))[1]
    assert f"where place is far: errors there are {times:.1f} times the usual" in lead
    order = np.argsort(errors)
    half = errors[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)]
    assert f"Half of the errors are below {half:.4g}" in lead
    assert abs(times - errors[far].mean() / errors.mean()) > 1
