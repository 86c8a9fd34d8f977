"""Estimators of tables as functions of one row."""

import collections
import itertools
import pickle
import types

import numpy as np
import pandas as pd
import polars
import pytest
import stored
from sklearn.exceptions import NotFittedError

import fastmlp
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.table import columns, rows

TABLES = {name: make for name, make in stored.tables().items() if name != "unfitted table"}
ODD = [1e300, np.nan, "unknown", None, True, 1.0, 0.0]  # each column of stored.frame has one


def batch(model):
    """Return what predicts a table as its predictor does a row."""
    names = ("predict_proba", "predict_hazards", "predict")
    return next(getattr(model, name) for name in names if hasattr(model, name))


def rows_of(model):
    """Return rows as lists, and as tables of one row."""
    if not hasattr(model, "feature_names_in_"):
        return [(row.tolist(), row[np.newaxis]) for row in np.round(stored.X)]
    frame = stored.frame()
    pairs = [(frame.iloc[k].tolist(), frame[k : k + 1]) for k in range(len(frame))]
    odd = pd.DataFrame([ODD], columns=frame.columns)
    return [*pairs, (ODD, odd)]


@pytest.mark.parametrize("name", TABLES)
def test_a_row_has_the_bits_of_a_table_of_this_row(name):
    model = TABLES[name]()
    p, again = model.predictor(), pickle.loads(pickle.dumps(model.predictor()))
    whole = stored.frame() if hasattr(model, "feature_names_in_") else np.round(stored.X)
    assert np.array_equal(batch(model)(whole), [p(row) for row, _ in rows_of(model)[: len(whole)]])
    assert np.array_equal(batch(model)(whole[:4]), batch(model)(whole)[:4])
    for row, table in rows_of(model):
        found, expected = p(row), batch(model)(table)[0]
        assert np.shape(found) == np.shape(expected)
        assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()
        assert np.array_equal(again(tuple(row)), found)


def test_categories_that_share_inputs_agree():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 200, 600), rng.normal(size=600)])
    options = {"preset": "fast", "epochs": 5, "random_state": 0}
    model = fastmlp.TabMLPRegressor(**options, categorical_features=[0])
    model.fit(X, X[:, 1] + X[:, 0] % 3)
    p = model.predictor()
    for row in [*X[:50], np.array([1e6, np.nan]), np.array([np.nan, 0.0])]:
        assert p(row) == model.predict(row[np.newaxis])[0]


def test_another_fit_does_not_change_it():
    model = TABLES["TabMLPClassifier array"]()
    p, row = model.predictor(), stored.X[0]
    before = p(row)
    with stored.short():
        model.fit(stored.X, stored.LABELS > 0)
    assert np.array_equal(p(row), before)
    assert model.predictor()(row).shape == (2,)


def test_what_is_no_row_is_refused():
    model = TABLES["TabMLPRegressor two outputs"]()
    p, (row, _) = model.predictor(), rows_of(model)[0]
    with pytest.raises(ValueError, match="the row has 6 values but 7 are expected"):
        p(row[:-1])
    with pytest.raises(ValueError, match="a was numbers at fit but cannot be read"):
        p(["much", *row[1:]])
    with pytest.raises(ValueError, match="a has such values; use NaN"):
        p([np.inf, *row[1:]])
    with pytest.raises(NotFittedError):
        fastmlp.TabMLPRegressor().predictor()


def test_rows_of_floats_and_of_others_are_the_same():
    model = TABLES["TabMLPClassifier array"]()
    p = model.predictor()
    row = np.round(stored.X[0]).tolist()
    right = p(row)
    for same in (list(map(int, row)), tuple(row), np.array(row), np.array(row, np.float32), [*row]):
        assert np.array_equal(p(same), right)
    row[1] = None
    assert np.array_equal(p(row), batch(model)([row])[0])


@pytest.mark.parametrize("name", TABLES)
def test_one_network_says_nearly_what_all_members_say(name, monkeypatch, tmp_path):
    """Few epochs: nearer to all members than what knows nothing of the row, but for 0.05."""
    from fastmlp.tabular.fitted import distilled

    monkeypatch.setattr(distilled, "EPOCHS", 15)
    model = TABLES[name]()
    X = stored.frame() if hasattr(model, "feature_names_in_") else np.round(stored.X)
    student = model.distill(X)
    assert type(student) is type(model)
    student.save(tmp_path / "student")
    p, loaded = student.predictor(), fastmlp.load(tmp_path / "student").predictor()
    said, right = [], batch(model)(X)
    for row, _ in rows_of(model)[: len(X)]:
        said.append(p(row))
        assert np.array_equal(loaded(row), said[-1])
    assert np.shape(said) == np.shape(right)
    assert np.std(said - right) < 0.5 * np.std(right - right.mean(axis=0)) + 0.05
    if hasattr(model, "predict_proba") and not fitted_of(model).calibration.has_labels:
        np.testing.assert_allclose(np.sum(said, axis=1), 1, rtol=1e-12)
    assert np.array_equal(batch(student)(X), said)


@pytest.mark.parametrize("name", ["TabMLPRegressor two outputs", "TabMLPClassifier words"])
def test_a_seed_stands_for_one_distilled_network(name, monkeypatch):
    from fastmlp.tabular.fitted import distilled

    monkeypatch.setattr(distilled, "EPOCHS", 15)
    model = TABLES[name]()
    X = stored.frame() if hasattr(model, "feature_names_in_") else np.round(stored.X)
    of_seed = [batch(model.distill(X, random_state=seed))(X) for seed in (0, 0, 1)]
    assert np.array_equal(of_seed[0], of_seed[1])
    assert not np.array_equal(of_seed[0], of_seed[2])


def test_what_cannot_be_distilled():
    model = TABLES["TabMLPRegressor two outputs"]()
    with pytest.raises(ValueError, match="random_state is -1 but must be an integer of at least 0"):
        model.distill(stored.frame(), random_state=-1)
    with pytest.raises(ValueError, match="feature names should match"):
        model.distill(stored.frame().iloc[:, 1:])
    with pytest.raises(NotFittedError):
        fastmlp.TabMLPRegressor().distill(stored.X)


def test_many_rows_are_distilled_by_some(monkeypatch):
    from fastmlp.tabular.fitted import distilled

    monkeypatch.setattr(distilled, "EPOCHS", 1)
    model, looked = TABLES["TabMLPRegressor two outputs"](), []
    taught = distilled.taught
    monkeypatch.setattr(
        distilled,
        "taught",
        lambda *parts, **more: looked.append(len(parts[4].table)) or taught(*parts, **more),
    )
    for most in (10**6, 250, 60, 59, 7):
        monkeypatch.setattr(distilled, "MAX_TRAINING_ROWS", most)
        model.distill(stored.frame())
    assert looked == [600, 250, 60, 59, 7]


def test_batches_of_the_lesson_are_even(monkeypatch):
    from fastmlp.tabular.fitted import distilled

    model, given = TABLES["TabMLPRegressor two outputs"](), []

    fit = fastmlp.MLP.fit

    def fit_and_note(net, X, y, **options):
        given.append((len(X), options["batch_size"], options["optimizer"].learning_rate))
        return fit(net, X, y, **options)

    monkeypatch.setattr(fastmlp.MLP, "fit", fit_and_note)
    monkeypatch.setattr(distilled, "EPOCHS", 2)
    monkeypatch.setattr(distilled, "BATCH", 256)
    for most, batches in ((600, [200, 200, 200]), (257, [129, 128]), (256, [256]), (59, [59])):
        monkeypatch.setattr(distilled, "MAX_TRAINING_ROWS", most)
        model.distill(stored.frame())
        n, size, rate = given.pop()
        assert [len(range(first, min(first + size, n))) for first in range(0, n, size)] == batches
        assert rate.n_steps == 2 * len(batches)


def test_rows_by_name():
    model = TABLES["TabMLPRegressor two outputs"]()
    p, frame = model.predictor(), stored.frame()
    right = p(frame.iloc[3].tolist())
    turned = frame.iloc[3][::-1]
    more = {"before": 1.0, **dict(turned), 5: "b"}  # other names are ignored
    one = frame.iloc[3:4].assign(more="b")
    rows = frame.iloc[3], turned, dict(turned), frame.iloc[3].to_numpy()
    for row in (*rows, more, pd.Series(more), one):
        assert np.array_equal(p(row), right)
    with pytest.raises(ValueError, match=r"the row has values of \w+, .* but of \w+, .* are"):
        p(turned[1:])
    with pytest.raises(ValueError, match="the row has values of 0, 1"):
        p(frame.iloc[3].reset_index(drop=True))
    nameless = TABLES["TabMLPClassifier array"]().predictor()
    series = pd.Series(stored.X[0], index=range(stored.X.shape[1])[::-1])
    assert np.array_equal(nameless(series), nameless(stored.X[0]))
    with pytest.raises(ValueError, match="but of columns without names are expected"):
        nameless({"a": 1.0})


def test_frames_of_one_row_of_other_libraries_and_of_more_rows():
    model = TABLES["TabMLPRegressor two outputs"]()
    p, frame = model.predictor(), stored.frame()
    with pytest.raises(ValueError, match=r"is a frame of 2 rows but one .* pass .* frame.iloc"):
        p(frame.iloc[:2])
    with pytest.raises(TypeError, match="a holds dates"):
        p(frame.iloc[:1].assign(a=np.zeros(1, "M8[ns]")))
    array = TABLES["TabMLPClassifier array"]()
    other = polars.DataFrame(np.round(stored.X), schema=["a", "b", "c"])
    one = array.predictor()
    assert np.array_equal(one(other[:1]), one(np.round(stored.X[0])))
    with pytest.raises(TypeError, match=r"pass X.collect\(\)"):
        one(other[:1].lazy())
    with pytest.raises(ValueError, match=r"has 1 values but 3 are expected: pass one row, X\[0\]"):
        one(stored.X[:1])


@pytest.mark.parametrize("row", ["text", 5, np.float64(5), None, {1.0, 2.0}, iter([1.0])])
def test_what_has_no_values_in_order_is_no_row(row):
    p = TABLES["TabMLPClassifier array"]().predictor()
    with pytest.raises(TypeError, match=r"the row is .* but \d values are expected: pass a list"):
        p(row)


@pytest.mark.parametrize("name", TABLES)
def test_derivatives_are_those_of_differences(name):
    model = TABLES[name]()
    p, fit = model.predictor(), fitted_of(model).columns
    numbers = [k for k, column in fit.numbers if column.form is None]
    for row, _ in rows_of(model)[:3]:
        for k in numbers:  # away from the rows of the fit, where slopes jump
            row = [*row[:k], row[k] if row[k] is None else row[k] + 0.0137, *row[k + 1 :]]
        jacobian = p.jacobian(row)
        assert jacobian.shape == (*np.shape(p(row)), len(row))
        assert np.isnan(jacobian[..., [k for k, _ in fit.categories]]).all()
        for k in numbers:
            if row[k] is None or np.isnan(row[k]):
                assert np.isnan(jacobian[..., k]).all()
                continue
            ends = [[*row[:k], row[k] + h, *row[k + 1 :]] for h in (1e-3, -1e-3)]
            difference = (p(ends[0]) - p(ends[1])) / 2e-3
            size = max(1e-2, np.abs(difference).max())
            assert np.abs(jacobian[..., k] - difference).max() < 0.02 * size, (k, row)
    again = pickle.loads(pickle.dumps(p))
    np.testing.assert_array_equal(again.jacobian(row), jacobian)


@pytest.mark.parametrize("kind", ["TabMLPRegressor", "TabMLPClassifier"])
def test_derivatives_at_edges_and_frequent_values_are_those_of_larger_numbers(kind, monkeypatch):
    from fastmlp.tabular.fitted import distilled

    monkeypatch.setattr(distilled, "EPOCHS", 15)  # derivatives of any network are to be right
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.uniform(-3, 3, 600), rng.integers(0, 6, 600)])
    X[rng.random(600) < 0.4, 0] = 0.5
    y = np.abs(X[:, 0] - 0.5) + X[:, 1] ** 2
    y = y if kind == "TabMLPRegressor" else y > 9
    model = getattr(fastmlp, kind)(preset="fast", epochs=20, random_state=0).fit(X, y)
    # The columns of the distilled network have different numbers of bins.
    predictors = model.predictor(), model.distill(X).predictor()
    rows = [0.5, 2.0], [0.5, 5.0], [1.0, 0.0]
    for p, row in itertools.product(predictors, rows):
        for k in range(2):
            ends = [p(np.add(row, h * np.eye(2)[k])) for h in (1e-4, 1e-3)]
            difference = (ends[1] - ends[0]) / 9e-4
            np.testing.assert_allclose(p.jacobian(row)[..., k], difference, rtol=0.03, atol=0.01)


@pytest.mark.parametrize("columns", [1, 3])
def test_rows_by_names_of_any_type_are_those_of_lists(columns):
    X = np.random.default_rng(0).normal(size=(60, columns))
    model = fastmlp.TabMLPRegressor(preset="fast", epochs=3, random_state=0)
    p = model.fit(pd.DataFrame(X, columns=[*map(str, range(columns))]), X[:, 0]).predictor()
    right = p(X[0].tolist())
    by_text = {str(k): value for k, value in enumerate(X[0].tolist())}
    Row = collections.namedtuple("Row", [f"x{k}" for k in range(columns)])
    ways = [
        *(by_text, {**by_text, "more": "x"}, dict(reversed(by_text.items()))),
        *({int(k): value for k, value in by_text.items()}, collections.OrderedDict(by_text)),
        *(types.MappingProxyType(by_text), Row(*X[0]), np.ma.array(X[0])),
    ]
    assert [p(row) for row in ways] == [right] * len(ways)
    with pytest.raises(ValueError, match=r"the row has values of more but of 0.* are expected"):
        p({"more": 1.0})


def test_derivatives_by_dates_are_per_second():
    assert columns.DERIVED_SLOPES.keys() == {*rows.DERIVED}
    rng = np.random.default_rng(0)
    start, seconds = pd.Timestamp("2025-01-01"), rng.integers(0, 3e7, (2, 500))
    frame = pd.DataFrame({"a": start + pd.to_timedelta(seconds[0], "s")})
    frame["b"] = start + pd.to_timedelta(seconds[1], "s")
    y = np.sin(2 * np.pi * frame.a.dt.day_of_week / 7) + (frame.a - frame.b).dt.days / 100
    model = fastmlp.TabMLPRegressor(preset="fast", epochs=5, random_state=0)
    p = model.fit(frame, y).predictor()
    for k in range(5):
        row, step = frame.iloc[k] + pd.Timedelta("2h"), pd.Timedelta("1min")
        for j, name in enumerate("ab"):
            ends = [p({**row, name: row[name] + step}), p({**row, name: row[name] - step})]
            difference = (ends[0] - ends[1]) / 120
            assert p.jacobian(row)[j] == pytest.approx(difference, abs=1.5e-6, rel=0.05)
