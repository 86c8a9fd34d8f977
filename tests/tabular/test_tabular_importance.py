"""What a fit tells: importance of columns, for selectors too, and reports."""

import copy
import dataclasses
import pickle
import re
from functools import partial

import numpy as np
import pandas
import pytest
from models import saved
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.pipeline import make_pipeline
from tiny_tables import LABELS, SMALL, X, Y, classifier, regressor

import fastmlp
from fastmlp.tabular import estimator
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.presets import Preset
from fastmlp.tabular.recipe.blend import Blend

TABLE = np.c_[X, np.ones(len(X))]  # the first column is nearly y, the last one is left out


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "fast", Preset(3, 2, 32, (SMALL,)))


@pytest.mark.parametrize(("make", "y"), [(regressor, Y), (classifier, LABELS)])
def test_feature_importances_are_shares_of_the_importance_out_of_fold(make, y):
    model = make().fit(TABLE, y)
    found, shares = model.importance(TABLE, y), model.feature_importances_
    assert shares.shape == (4,)
    assert shares[3] == 0
    assert shares.sum() == pytest.approx(1)
    assert shares.argmax() == 0
    means = dict(zip(found.names, found.means, strict=True))
    assert shares[0] / shares.max() == 1
    for k in range(3):
        assert (shares[k] > 0) == (means[f"column {k}"] > 0)
    np.testing.assert_array_equal(model.importance().means, found.means)
    repeated = f"{found!r}"
    assert repeated.splitlines()[1].startswith("column 0")
    assert repeated.count("\n") == 3


def test_they_are_computed_once_and_not_after_the_rows_are_gone(monkeypatch, tmp_path):
    model = regressor().fit(TABLE, Y)
    model.save(tmp_path / "model")
    others = (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        fastmlp.load(tmp_path / "model"),
    )
    for other in others:
        with pytest.raises(AttributeError, match="needs the rows of the fit"):
            other.feature_importances_
        with pytest.raises(ValueError, match="needs the rows of the fit"):
            other.importance()
    shares = model.feature_importances_
    monkeypatch.setattr(type(model), "importance", None)
    np.testing.assert_array_equal(model.feature_importances_, shares)
    model.save(tmp_path / "model")
    assert copy.deepcopy(model).report()._repr_html_().count("<svg") == 2  # no calibration
    for other in (copy.deepcopy(model), fastmlp.load(tmp_path / "model")):
        np.testing.assert_array_equal(other.feature_importances_, shares)
    monkeypatch.undo()
    monkeypatch.setitem(presets.PRESETS, "fast", Preset(3, 2, 32, (SMALL,)))
    assert model.fit(TABLE[:, ::-1], Y).feature_importances_.argmax() == 3
    with pytest.raises(NotFittedError):
        regressor().feature_importances_


def test_importance_of_new_rows_is_that_of_all_members():
    model = regressor().fit(X[:40], Y[:40])
    found = model.importance(X[40:], Y[40:], rounds=5)
    assert found.names[0] == "column 0"
    rng, target = np.random.default_rng(0), Y[40:]
    rises = []
    for _ in range(5):
        shuffled = X[40:].copy()
        shuffled[:, 0] = rng.permutation(shuffled[:, 0])
        rise = (model.predict(shuffled) - target) ** 2 - (model.predict(X[40:]) - target) ** 2
        rises.append(rise.mean() / Y[:40].var())
    np.testing.assert_allclose(found.means[0], np.mean(rises))
    one_class = LABELS[40:] == "high"
    rows = np.flatnonzero(one_class) + 40
    assert np.isfinite(classifier().fit(X, LABELS).importance(X[rows], LABELS[rows]).means).all()
    with pytest.raises(ValueError, match="X and y belong together"):
        model.importance(X)


@pytest.mark.parametrize(
    ("make", "y"),
    [
        (regressor, Y),
        (partial(regressor, loss="gaussian"), Y),
        (classifier, LABELS),
        (classifier, np.c_[X > 0].astype(int)),
    ],
)
def test_new_rows_are_told_from_those_of_the_fit_even_if_there_are_as_many(make, y, monkeypatch):
    model, new = make().fit(X, y), X[::-1] + 0.1
    copied = pickle.loads(pickle.dumps(model))
    for one in (model, copied):
        np.testing.assert_array_equal(one.importance(X.copy(), y).means, model.importance().means)
    calls = []
    predict = Blend.predict
    monkeypatch.setattr(
        Blend, "predict", lambda blend, table: calls.append(len(table)) or predict(blend, table)
    )
    model.importance(X, y)
    assert not calls
    model.importance(new, y)
    assert set(calls) == {len(X)}


W = np.linspace(0.1, 2, len(Y))
SHARES = np.bincount(LABELS == "low", W) / W.sum()
# Estimators, and the cost that importance counts; targets; and the score of the best constant.
CONSTANTS = {
    "squared": (regressor(), "mean squared error over the variance of y", Y, Y.std()),
    "absolute": (
        regressor(loss="absolute_error"),
        "half the mean absolute error, in deviations of y",
        Y,
        np.abs(Y - np.median(Y)).mean() / 2 / Y.std(),
    ),
    "classes": (classifier(), "log loss", LABELS, -SHARES @ np.log(SHARES)),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_errors_stand_beside_their_unit_and_those_of_the_best_constant(name):
    make, unit, y, expected = CONSTANTS[name]
    weights = {"sample_weight": W} if name == "classes" else {}
    model = clone(make).fit(X, y, **weights)
    assert repr(model.importance(rounds=1)).startswith(f"increase of {unit} when")
    metric = model.report().metric
    (score,) = re.findall(rf"{re.escape(metric)} (\S+), of always", model.report().more["baseline"])
    assert float(score) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_selectors_of_scikit_learn_find_the_column():
    table = np.c_[X[:, 1:], X[:, 0]]
    assert RFE(regressor(), n_features_to_select=1).fit(table, Y).get_support().tolist() == [
        0,
        0,
        1,
    ]
    chosen = SelectFromModel(classifier(), threshold=0.5).fit(table, LABELS)
    assert chosen.get_support().tolist() == [False, False, True]
    pipeline = make_pipeline(SelectFromModel(regressor()), regressor()).fit(table, Y)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict(table), pipeline.predict(table))


def test_importance_within_a_limit_has_every_column_and_counts_them(capsys):
    model = regressor(verbose=1).fit(TABLE, Y)
    capsys.readouterr()
    short, whole = (model.importance(time_limit=seconds) for seconds in (1e-9, 1e9))
    assert sorted(short.names) == sorted(whole.names) == ["column 0", "column 1", "column 2"]
    assert not short.deviations.any()
    np.testing.assert_array_equal(whole.means, model.importance().means)
    assert "importance: column 3 of 3\n" in capsys.readouterr().err
    with pytest.raises(ValueError, match="time_limit is 0 but"):
        model.importance(time_limit=0)


# ------------------------------------------------------------ reports


def test_a_report_is_plain_text_with_a_named_recipe_and_no_note_twice():
    model = regressor(time_limit=1e-9).fit(TABLE, Y)
    report = model.report()
    lines = repr(report).splitlines()
    assert lines[0] == "table        60 rows, 4 columns: 3 of numbers"
    assert lines[1] == "left out     column 3: constant"
    assert lines[2] == "networks     100%: 4 bins, 8-8 (6 networks of 15 inputs), epoch 1 of 1"
    note, late = (line for line in lines if line.startswith("note"))
    assert note.endswith("because time_limit was reached: 4 bins, 8-8 after 1 of 185 epochs")
    assert "longer than time_limit" in late
    twice = dataclasses.replace(report, notes=[*report.notes, *report.notes])
    assert str(twice) == str(report)


NOISE = np.random.default_rng(4).permutation(Y)


@pytest.mark.parametrize(
    ("make", "useless", "useful"),
    [
        (regressor, NOISE, Y),
        (partial(regressor, loss="absolute_error"), NOISE, Y),
        (regressor, np.c_[NOISE, -NOISE], np.c_[Y, -Y]),
        (classifier, NOISE > 0, Y > 0),
        (classifier, np.arange(len(X)) % 30 == 7, Y > 0),
        (classifier, np.c_[NOISE > 0, NOISE > 1].astype(int), np.c_[Y > 0, Y > 1].astype(int)),
    ],
)
def test_a_report_warns_of_a_model_that_is_no_better_than_its_baseline(
    make, useless, useful, tmp_path
):
    for y, is_worthless in ((useless, True), (useful, False), (useless * 0 + 1, False)):
        if len(np.unique(y)) < 2 and make is classifier:
            continue
        model = make().fit(X, y)
        report, loaded = model.report(), saved(model, tmp_path / "model").report()
        report.save(tmp_path / "fitted.html")
        loaded.save(tmp_path / "loaded.html")
        assert report.is_worthless == is_worthless
        for each in (report, loaded):
            warned = "warning      this model is no better than the baseline: do not use it" in str(
                each
            )
            assert warned == is_worthless
        for page in ("fitted.html", "loaded.html"):
            lead = re.search('<p class="lead">(.*?)</p>', (tmp_path / page).read_text())[1]
            assert ("his model is no better than" in lead) == is_worthless


def test_the_warning_after_partial_fit_is_that_of_the_latest_rows():
    model = regressor().fit(X, NOISE)
    rows = np.tile(X, (4, 1))
    assert model.report().is_worthless
    model.partial_fit(rows[:50], rows[:50, 0])
    assert model.report().is_worthless  # too few rows to tell
    for _ in range(10):
        model.partial_fit(rows, 5 * rows[:, 0])
    assert not model.report().is_worthless
    model.partial_fit(np.tile(X, (40, 1)), np.tile(NOISE, 40) * 5)
    assert model.report().is_worthless


@pytest.mark.parametrize(
    ("make", "y"),
    [
        (regressor, Y),
        (regressor, np.c_[Y, Y]),
        (classifier, LABELS),
        (classifier, np.c_[X > 0].astype(int)),
    ],
)
def test_a_notebook_shows_a_report_with_three_pictures(make, y):
    table = np.c_[X, np.full(len(X), "<b>", object)].astype(object)
    model = make().fit(table, y)
    report = model.report()
    text = report._repr_html_()
    assert "<td" in text
    pictures = re.findall("<svg .*?</svg>", text)
    assert len(pictures) == len(set(pictures)) == 3
    loaded = pickle.loads(pickle.dumps(model)).report()
    assert loaded == report
    assert loaded._repr_html_().count("<svg") == 1  # the curve alone: it has no rows
    sent = pickle.loads(pickle.dumps(report))
    assert sent == report
    assert "<svg" not in sent._repr_html_()
    model.fit(table[::-1], y)
    assert report._repr_html_() == text


def test_what_a_report_says_is_escaped():
    frame = pandas.DataFrame({"<b>": np.ones(len(X)), "x": X[:, 0]})
    text = regressor().fit(frame, Y).report()._repr_html_()
    assert "&lt;b&gt;: constant" in text
    assert "<b>" not in text


def test_pictures_of_importance_are_left_out_for_large_tables(monkeypatch):
    model = regressor().fit(X, Y)
    monkeypatch.setattr(estimator, "MAX_CELLS", 10)
    assert model.report()._repr_html_().count("<svg") == 2


def test_a_predictor_says_what_it_takes():
    predict = regressor().fit(TABLE, Y).predictor()
    assert repr(predict) == "<RowPredictor: call it with a row of 4 values; 6 networks>"
    assert predict.predict(TABLE[0]) == predict(TABLE[0])


@pytest.mark.parametrize("loss", ["squared_error", "quantile", "absolute_error"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_importance_of_a_distilled_network_is_in_units_of_y(loss, outputs, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = (x[:, :1] + rng.normal(size=(300, 1))) * [1, 5][:outputs]  # half is noise
    teacher = regressor(loss=loss, quantile=0.7, epochs=20).fit(
        x, y, sample_weight=rng.uniform(size=300)
    )
    model = teacher.distill(x)
    of_y = teacher.importance(x, y)
    for importance in (
        model.importance(),
        model.importance(x, y),
        saved(model, tmp_path / "model").importance(x, y),
    ):
        assert importance.unit == of_y.unit
        np.testing.assert_allclose(importance.means[0], of_y.means[0], rtol=0.3)
