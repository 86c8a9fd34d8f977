"""Columns that say nothing are left out, if rows that did not choose them gain."""

import numpy as np
import pandas as pd
import pytest

import fastmlp
from fastmlp import TabMLPClassifier, TabMLPRegressor
from fastmlp.tabular.outcome.targets import ClassTarget, NumericTarget
from fastmlp.tabular.selection import selection
from fastmlp.tabular.table.columns import Columns

SMALL = {"folds": 2, "members": 2, "width": 8, "random_state": 0, "n_jobs": 1}
RNG = np.random.default_rng(0)
N = 600
A, B = RNG.normal(size=(2, N))
NOISE = RNG.normal(size=(N, 8))
X = np.c_[NOISE[:, :3], A, NOISE[:, 3:6], B, NOISE[:, 6:]]
Y = np.sin(2 * A) + A * B
GROUPS = np.arange(N) // 4


@pytest.fixture(scope="module")
def model():
    return TabMLPRegressor(**SMALL).fit(X, Y)


def test_columns_that_say_nothing_are_named_and_have_no_influence(model, tmp_path):
    left_out = {f"column {k}": selection.NOTHING for k in (0, 1, 2, 4, 5, 6, 8, 9)}
    assert model.left_out_ == model.report().left_out == left_out
    others = np.where(np.isin(np.arange(10), [3, 7]), X, RNG.normal(size=X.shape))
    np.testing.assert_array_equal(model.predict(others), model.predict(X))
    importances = model.feature_importances_
    assert set(np.flatnonzero(importances)) == {3, 7}
    assert model.n_features_in_ == 10
    (line,) = [text for name, text in model.report().lines() if name == "left out"]
    assert line == f"{', '.join(left_out)}: {selection.NOTHING}"
    (note,) = [note for note in model.report().notes if "columns are used" in note]
    assert note.startswith("2 of 10 columns are used: without the others, rows that did not choose")
    assert "selection" in model.report().seconds
    model.save(tmp_path / "m.safetensors")
    loaded = fastmlp.load(tmp_path / "m.safetensors")
    assert loaded.left_out_ == left_out
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_predictions_are_those_without_them_and_better(model):
    used = TabMLPRegressor(**SMALL).fit(X[:, [3, 7]], Y)
    np.testing.assert_array_equal(model.predict(X), used.predict(X[:, [3, 7]]))
    new = np.random.default_rng(1).normal(size=(2000, 10))
    y = np.sin(2 * new[:, 3]) + new[:, 3] * new[:, 7]
    plain = TabMLPRegressor(**SMALL, select=False).fit(X, Y)
    assert plain.left_out_ == {}
    errors = [np.mean((one.predict(new) - y) ** 2) for one in (model, plain)]
    assert errors[0] < 0.85 * errors[1]


def test_a_table_without_such_columns_has_the_same_bits():
    used = X[:, [3, 7]]
    models = [TabMLPRegressor(**SMALL, select=select).fit(used, Y) for select in (True, False)]
    assert models[0].left_out_ == {}
    np.testing.assert_array_equal(*(one.predict(used) for one in models))


@pytest.mark.parametrize("seed", range(3))
def test_chance_leaves_no_column_out(seed):
    """Of columns that all say nothing, some sets seem better on the rows that choose."""
    y = np.random.default_rng(seed).normal(size=N)
    assert TabMLPRegressor(**SMALL | {"random_state": seed}).fit(NOISE, y).left_out_ == {}


def test_categories_and_dates_are_left_out_too():
    table = pd.DataFrame(
        {
            "day": pd.to_datetime("2024-01-01") + pd.to_timedelta(RNG.integers(0, 900, N), "D"),
            "word": pd.Categorical(RNG.choice(list("abcdefgh"), N)),
            "a": A,
            "kind": pd.Categorical(RNG.choice(["big", "mid", "small"], N)),
            **{f"noise {k}": NOISE[:, k] for k in range(4)},
        }
    )
    effects = table["kind"].map({"big": 3.0, "mid": 0.0, "small": -3.0}).astype(float)
    y = np.where(4 * np.sin(2 * A) + effects + RNG.logistic(size=N) > 0, "y", "n")
    model = TabMLPClassifier(**SMALL).fit(table, y)
    assert {"day", "word"} <= model.left_out_.keys()
    assert not {"a", "kind"} & model.left_out_.keys()
    np.testing.assert_array_equal(
        model.predict_proba(table.assign(day=pd.Timestamp("2020-02-29"), word="h")),
        model.predict_proba(table),
    )


@pytest.mark.parametrize(
    "of_rows",
    [
        pytest.param({"groups": GROUPS}, marks=pytest.mark.slow),  # the third has both
        pytest.param({"time": np.arange(N)}, marks=pytest.mark.slow),
        {"groups": GROUPS, "time": np.arange(N)},
        {"folds": np.arange(N) % 3},
        {"sample_weight": 1.0 + (A > 0)},
    ],
    ids=" and ".join,
)
def test_rows_that_belong_together_choose_together(of_rows, monkeypatch):
    divided = []
    take = selection.FitRows.take
    monkeypatch.setattr(
        selection.FitRows, "take", lambda self, rows: divided.append(rows) or take(self, rows)
    )
    options = {**SMALL, "folds": None if "folds" in of_rows else 2}
    model = TabMLPRegressor(**options).fit(X, Y, **of_rows)
    assert {"column 0", "column 9"} <= model.left_out_.keys()
    assert not {"column 3", "column 7"} & model.left_out_.keys()
    choose, judge = divided
    assert not np.intersect1d(choose, judge).size
    if "groups" in of_rows:
        assert not np.intersect1d(GROUPS[choose], GROUPS[judge]).size
    if "time" in of_rows:
        assert choose.max() < judge.min()


@pytest.mark.parametrize(("nearly_exact", "epochs"), [(0.5, {24, 96}), (0.999, {24})])
def test_longer_fits_judge_where_a_relation_is_nearly_exact(nearly_exact, epochs, monkeypatch):
    """Quick fits are too coarse for columns of small effects, which longer ones learn."""
    trained, train = set(), selection.train

    def noting(recipe, data, division, options):
        trained.add(options.preset.epochs)
        return train(recipe, data, division, options)

    monkeypatch.setattr(selection, "train", noting)
    monkeypatch.setattr(selection, "NEARLY_EXACT", nearly_exact)
    model = TabMLPRegressor(**SMALL).fit(X, Y)
    assert trained == epochs
    assert {"column 0", "column 9"} <= model.left_out_.keys()


def test_copies_of_rows_choose_together():
    twice = np.random.default_rng(5).permutation(np.r_[np.arange(N), np.arange(0, N, 2)])
    model = TabMLPRegressor(**SMALL).fit(X[twice], Y[twice])
    assert any("share their folds" in note for note in model.report().notes)
    assert {"column 0", "column 4"} <= model.left_out_.keys()
    assert not {"column 3", "column 7"} & model.left_out_.keys()


def test_validation_rows_judge():
    new = np.random.default_rng(2).normal(size=(200, 10))
    y = np.sin(2 * new[:, 3]) + new[:, 3] * new[:, 7]
    for validation in ("choose", None):
        options = {**SMALL, "folds": None if validation else 2, "validation": validation}
        model = TabMLPRegressor(**options).fit(X, Y, X_val=new, y_val=y)
        assert {"column 0", "column 9"} <= model.left_out_.keys()
        assert "validation" in model.report().more or validation


def test_rules_stay_with_their_columns():
    y = A + 2 * np.sin(2 * B)
    rule = {3: 1, 0: -1}  # column 0 is left out
    model = TabMLPRegressor(**SMALL, monotone=rule).fit(X, y)
    assert "column 0" in model.left_out_
    assert "column 3" not in model.left_out_
    rows = np.repeat(X[:40], 50, axis=0)
    rows[:, 3] = np.tile(np.linspace(-3, 3, 50), 40)
    assert np.all(np.diff(model.predict(rows).reshape(40, 50), axis=1) >= 0)


def test_many_columns_are_halved_before_they_are_permuted(monkeypatch):
    permuted = []
    needed = selection.are_needed
    monkeypatch.setattr(
        selection,
        "are_needed",
        lambda data, *args: permuted.append(len(data.columns.used)) or needed(data, *args),
    )
    wide = np.random.default_rng(3).normal(size=(N, 160))
    y = wide[:, 7] + wide[:, 70] - wide[:, 150]
    model = TabMLPRegressor(**SMALL).fit(wide, y)
    assert max(permuted) <= selection.MOST_PERMUTED
    assert len(permuted) <= selection.MOST_SETS
    assert len(model.left_out_) > 140
    assert not {"column 7", "column 70", "column 150"} & model.left_out_.keys()
    (line,) = [text for name, text in model.report().lines() if name == "left out"]
    assert f" and {len(model.left_out_) - 20} others: " in line


@pytest.mark.parametrize("is_class", [False, True])
def test_of_many_columns_remain_those_that_say_most_alone(is_class):
    """A line, a parabola and categories say something; a column of one value says nothing."""
    codes = np.random.default_rng(4).integers(0, 3, N)
    numbers = np.c_[NOISE[:, 0], A, NOISE[:, 1], B, np.zeros(N), np.where(A > 1, np.nan, A)]
    numbers = np.exp(numbers)  # ranks count
    table = pd.DataFrame(numbers).add_prefix("n")
    table = table.assign(c=codes.astype(str), d=[*"xyzy"] * (N // 4))
    y = A + B**2 + (codes == 1) + 0.1 * NOISE[:, 2]
    target = ClassTarget.of(np.digitize(y, [1, 2]), np.arange(3)) if is_class else numeric(y)
    columns = Columns.of(table)
    found = selection.explained_alone(
        columns, columns.read(table), selection.ranked_responses(target)
    )
    shares = dict(zip(columns.used, found, strict=True))
    useful = {"n1", "n3", "n5", "c"}
    assert min(shares[name] for name in useful) > 0.03
    assert max(shares[name] for name in shares.keys() - useful) < 0.03
    assert shares["n1"] > shares["n5"]


def numeric(y):
    return NumericTarget.of(y[:, np.newaxis], "squared_error")


@pytest.mark.parametrize(
    "options",
    [{"preset": "fast"}, {"epochs": 3}, {"recipes": [{"width": 8}]}, {"select": False}],
    ids=lambda options: next(iter(options)),
)
def test_fits_that_use_all_columns(options):
    model = TabMLPRegressor(**SMALL | options).fit(X, Y)
    assert model.left_out_ == {}
    assert "selection" not in model.report().seconds


def test_a_short_time_limit_leaves_no_time_to_select():
    model = TabMLPRegressor(**SMALL, time_limit=0.02).fit(X, Y)
    assert model.left_out_ == {}
    said = "no column was tried for leaving it out, because of time_limit"
    assert said in model.report().notes


@pytest.mark.parametrize("n", [20, 90])
def test_few_rows_leave_no_column_out(n):
    assert TabMLPRegressor(**SMALL).fit(X[:n], Y[:n]).left_out_ == {}


def test_targets_with_missing_values_have_all_columns():
    targets = np.c_[Y, np.where(A > 0, np.nan, Y)]
    assert TabMLPRegressor(**SMALL).fit(X, targets).left_out_ == {}


def test_select_is_true_or_false():
    with pytest.raises(ValueError, match="select"):
        TabMLPRegressor(select="yes").fit(X, Y)


def test_a_part_of_a_table_has_what_is_derived_from_its_columns():
    days = pd.to_datetime("2024-01-01") + pd.to_timedelta(np.arange(400), "D")
    frame = pd.DataFrame(
        {
            "a": np.arange(400.0),
            "day": days,
            "size": pd.Categorical(["s", "m"] * 200, ["s", "m"], ordered=True),
            "word": ["x", "y", "z", "x"] * 100,
        }
    )
    columns = Columns.of(frame)
    table = columns.read(frame)
    part = columns.only([1, 2], {0: "why", 3: "why"})
    assert part.used == ["day", "size"]
    assert part.left_out == {"a": "why", "word": "why"}
    of_part = part.part(table, columns)
    again = part.read(frame)
    np.testing.assert_array_equal(of_part.numbers, again.numbers)
    np.testing.assert_array_equal(of_part.codes, again.codes)
    n = part.n_numbers
    permuted = part.permuted(of_part, 1, np.random.default_rng(0))
    np.testing.assert_array_equal(permuted.numbers[:, : n - 1], of_part.numbers[:, : n - 1])
    assert np.any(permuted.numbers[:, -1] != of_part.numbers[:, -1])


def with_a_hard_target(is_class, seed):
    """Return columns and sixty targets of the first two, then one that needs the third alone."""
    rng = np.random.default_rng(seed)
    a, b, h, other = rng.normal(size=(4, N))
    table = np.c_[a, b, h, other, rng.normal(size=(N, 10))]
    slopes = np.random.default_rng(99).normal(size=(2, 60))
    easy = np.outer(np.sin(2 * a), slopes[0]) + np.outer(a * b, slopes[1])
    hard = 2 * np.sin(3 * h) if is_class else 2 * np.abs(h) - 1.6
    y = np.c_[easy + 0.5 * rng.normal(size=(N, 60)), hard + 0.3 * rng.normal(size=N)]
    return table, (y > 0).astype(int) if is_class else y


@pytest.mark.parametrize(
    ("is_class", "seed"), [(False, 0), (True, 0), pytest.param(True, 1, marks=pytest.mark.slow)]
)
def test_a_column_that_one_of_many_targets_needs_is_kept(is_class, seed):
    """In the mean over all it was one sixtieth of the cost, less than the noise of the others."""
    kind = TabMLPClassifier if is_class else TabMLPRegressor
    model = kind(**SMALL).fit(*with_a_hard_target(is_class, seed))
    assert not {"column 0", "column 1", "column 2"} & model.left_out_.keys()
    assert len(model.left_out_) > 5


def test_of_many_columns_remains_what_one_of_many_targets_needs():
    table, y = with_a_hard_target(is_class=False, seed=0)
    target, columns = NumericTarget.of(y, "squared_error"), Columns.of(table)
    responses = selection.ranked_responses(target)
    alone, in_all = (
        selection.explained_alone(columns, columns.read(table), responses, are_several)
        for are_several in (True, False)
    )
    assert np.argmax(alone) == 2
    assert np.argmax(in_all) != 2


def test_a_target_that_is_predicted_worse_refuses_a_set(monkeypatch):
    """By chance one of many is, as seldom as a single one."""
    chooser = object.__new__(selection.Chooser)
    monkeypatch.setattr(selection.Chooser, "weights", None)
    rng = np.random.default_rng(0)
    before = 1 + 0.1 * rng.normal(size=(400, 60))
    after = before - 0.1 + 0.01 * rng.normal(size=before.shape)
    assert chooser.is_better(before, after)
    assert not chooser.is_better(after, before)
    after[:, 7] = before[:, 7] + 0.1 + 0.01 * rng.normal(size=400)
    assert not chooser.is_better(before, after)
    assert chooser.is_better(before[:, :1], after[:, :1])
    assert selection.needed_errors(1) == pytest.approx(selection.NEEDED)
    assert selection.needed_errors(2) == pytest.approx(1.4096, abs=1e-4)
