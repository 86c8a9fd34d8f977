"""Explanations of tables: the user's columns, exactly or with errors, and their sum."""

import dataclasses
import gc
import pickle
import re
import weakref

import children
import numpy as np
import pandas
import pytest
from models import saved
from sklearn.exceptions import NotFittedError
from tiny_tables import COLOURS, LABELS, N, X, Y, classifier, frame_of, regressor

import fastmlp
from fastmlp._engine.coalitions import Coalitions
from fastmlp._explain import explain, shapley
from fastmlp._explain.explain import explanation
from fastmlp.tabular.fitted import explained as of_fitted

pytestmark = pytest.mark.usefixtures("tiny")

DATES = pandas.Timestamp("2024-01-01") + pandas.to_timedelta(np.arange(N) * 11, "D")
LATER = DATES + pandas.to_timedelta(np.arange(N) % 7, "D")
SIZES = np.array(["L", "S", "M", "S"] * N)[:N]
WORDS = np.array([f"word {k % 9}" for k in range(N)])


def mixed():
    return frame_of(colour=COLOURS, begin=DATES, end=LATER, word=WORDS)


@pytest.mark.parametrize("make", [regressor, classifier])
def test_values_of_the_users_columns_add_up_to_the_prediction(make):
    frame = mixed()
    model = make().fit(frame, Y if make is regressor else LABELS)
    found = model.explain(frame[:9], frame[40:50])
    predictions = (model.predict if make is regressor else model.predict_proba)(frame[:9])
    np.testing.assert_allclose(found.predictions, predictions, atol=1e-12)
    assert found.names == tuple(frame.columns)
    assert found.data.shape == (9, 7)
    assert found.data[0, 3] == "red"
    assert found.unit == ("prediction" if make is regressor else "probability")
    assert not found.standard_errors.any()


def test_values_are_those_of_coalitions_of_frames():
    frame = mixed()[["a", "colour", "begin", "end"]]
    model = regressor().fit(frame, Y)
    row, background = frame[3:4], frame[20:24]
    value = {}
    for code in range(16):
        rows = background.copy()
        for k, name in enumerate(frame.columns):
            if code >> k & 1:
                rows[name] = row[name].iloc[0]
        value[code] = model.predict(rows).mean()
    sizes = {0: 1 / 4, 1: 1 / 12, 2: 1 / 12, 3: 1 / 4}
    expected = [
        sum(
            sizes[code.bit_count()] * (value[code | 1 << k] - value[code])
            for code in range(16)
            if not code >> k & 1
        )
        for k in range(4)
    ]
    np.testing.assert_allclose(model.explain(row, background).values[0], expected, atol=1e-10)


@pytest.mark.parametrize("output", [None, "score"])
@pytest.mark.parametrize("columns", [6, 16])
def test_shares_of_columns_have_the_values_of_the_plain_formula(columns, output):
    """Of all coalitions and of samples; with cycles of a date, ranks and missing values."""
    rng = np.random.default_rng(2)
    frame = (
        mixed()
        .drop(columns="end")
        .assign(
            size=pandas.Categorical(SIZES, ["S", "M", "L"], ordered=True),
            **{f"x{k}": rng.normal(size=N) for k in range(columns - 6)},
        )
    )
    frame = frame[frame.columns[-columns:]] if columns == 16 else frame.drop(columns="b")
    frame.iloc[::7, 0] = np.nan
    model = classifier().fit(frame, LABELS) if output else regressor().fit(frame, Y)
    explained = model._explained()
    assert len(explained.used) == columns
    by_shares = explained.beside(explained.read(frame[20:50]))
    assert by_shares is not None
    plain = dataclasses.replace(explained, beside=lambda background: None)
    found, expected = (
        explanation(
            which,
            *(frame[:4], frame[20:50]),
            output=output,
            tolerance=0.5,
            time_limit=None,
            random_state=0,
        )
        for which in (explained, plain)
    )
    scale = np.abs(expected.values).max()
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=2e-5 * scale)
    np.testing.assert_allclose(
        found.standard_errors, expected.standard_errors, rtol=0, atol=2e-5 * scale
    )
    np.testing.assert_allclose(found.predictions, expected.predictions, rtol=1e-12)


def test_shares_serve_where_each_number_has_one_column_and_the_background_is_small(monkeypatch):
    frame = mixed()
    explained = regressor().fit(frame, Y)._explained()
    assert explained.beside(explained.read(frame)) is None  # a difference of two dates
    frame = frame.drop(columns="end")
    explained = regressor().fit(frame, Y)._explained()
    rows = explained.read(frame)
    assert explained.beside(rows) is not None
    monkeypatch.setattr(of_fitted, "MOST_SHARES", 1_000)
    assert explained.beside(rows) is None


def test_rows_in_blocks_have_the_same_values(monkeypatch):
    wide = np.random.default_rng(1).normal(size=(N, 12))
    model = regressor().fit(wide, wide[:, 0] * wide[:, 1])
    found = model.explain(wide[:7], wide[10:40], tolerance=1.0)
    monkeypatch.setattr(of_fitted, "CELLS", 2_000)
    in_blocks = model.explain(wide[:7], wide[10:40], tolerance=1.0)
    np.testing.assert_array_equal(in_blocks.values, found.values)
    alone = model.explain(wide[3:4], wide[10:40], tolerance=1.0)
    np.testing.assert_array_equal(alone.values[0], found.values[3])


def test_copies_and_constants_have_0_and_are_named():
    frame = frame_of(again=X[:, 0], same=1.0)
    found = regressor().fit(frame, Y).explain(frame)
    assert found.left_out == {"again": "the same as a", "same": "constant"}
    assert not found.values[:, 3:].any()
    assert found.values[:, 0].any()
    assert "(the same as a)" in repr(found)
    assert "(constant)" in repr(found)


def test_missing_values_and_unknown_categories_may_be_in_rows_and_background():
    frame = mixed()
    model = regressor().fit(frame, Y)
    odd = frame.copy()
    odd.loc[::2, "a"] = np.nan
    odd.loc[::3, "colour"] = "never seen"
    odd.loc[1::3, "colour"] = None
    odd.loc[::5, "begin"] = pandas.NaT
    for X_, background in ((odd, frame), (frame, odd), (odd, odd)):
        found = model.explain(X_[:6], background[6:12])
        np.testing.assert_allclose(found.predictions, model.predict(X_[:6]), atol=1e-12)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_cells_are_shown_as_people_write_them(unit):
    """Whatever the unit of dates, and the dtype that marks missing values."""
    whole = pandas.array([1, None, 3] * (N // 3), dtype="Int64")
    frame = frame_of(day=DATES.astype(f"datetime64[{unit}]"), whole=whole)
    found = regressor().fit(frame, Y).explain(frame[:40])
    text = found.in_words(1, most=5)
    assert "day = 2024-01-12" in text
    assert "whole = missing" in text
    picture = pytest.importorskip("matplotlib.figure").Figure().subplots()
    found.plot_scatter("whole", ax=picture)
    assert picture.get_xlim()[1] < 4


@pytest.mark.filterwarnings("ignore:y is NaN in 1 of")
def test_rows_without_weight_are_not_typical():
    """Neither of weight 0 nor without a target; a column that no other row has is missing."""
    first, last = np.arange(N) < 20, np.arange(N) == N - 1
    frame = frame_of(colour=COLOURS, rare=np.where(first, 1.0, np.nan))
    y, weights = np.where(last, np.nan, Y), np.where(first, 0.0, 1.0)
    model = regressor().fit(frame, y, sample_weight=weights)
    rows = frame[~first & ~last]
    medians = {name: [rows[name].sort_values().iloc[(len(rows) - 1) // 2]] for name in "abc"}
    row = pandas.DataFrame(medians).assign(colour=rows["colour"].mode()[0], rare=np.nan)
    found, expected = model.explain(frame[:3], "typical"), model.explain(frame[:3], row)
    np.testing.assert_array_equal(found.base, expected.base)
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize("make", [regressor, classifier])
def test_a_typical_row_is_a_background_that_files_hold(make, tmp_path):
    """It has medians, dates too, and most frequent values, of which missing is one."""
    words = np.where(np.arange(N) % 3 == 0, "rare", None)
    frame = frame_of(colour=COLOURS, begin=DATES, word=words, same=1.0)
    frame.iloc[:6, 0], frame.loc[0, "colour"] = np.nan, "blue"
    model = make().fit(frame, Y if make is regressor else LABELS)
    row = pandas.DataFrame({name: [frame[name].sort_values().iloc[(N - 1) // 2]] for name in "bc"})
    row.insert(0, "a", frame["a"].dropna().sort_values().iloc[(N - 7) // 2])
    row = row.assign(colour="blue", begin=DATES[(N - 1) // 2], word=None, same=1.0)
    found, expected = model.explain(frame[:3], "typical"), model.explain(frame[:3], row)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.base, expected.base)
    assert found.background == 1
    model.save(tmp_path / "model")
    others = (
        fastmlp.load(tmp_path / "model"),
        fastmlp.load_predictor(tmp_path / "model"),
        model.predictor(),
    )
    for other in others:
        again = fastmlp.explain(other, frame[:3], "typical")
        np.testing.assert_array_equal(again.values, found.values)
    assert model.distill(frame).explain(frame[:1], "typical").background == 1
    with pytest.raises(TypeError, match="background is 'usual' but rows like those of X, or 'typi"):
        model.explain(frame, "usual")


def test_a_background_of_one_row_needs_little_memory(monkeypatch):
    wide = np.random.default_rng(1).normal(size=(N, 12))
    model = regressor().fit(wide, wide[:, 0] * wide[:, 1])
    expected = model.explain(wide, wide[:1], tolerance=1.0)
    largest, plain = [], Coalitions.shares

    def measured(self, inputs):
        found = plain(self, inputs)
        largest.append(found.size)
        return found

    monkeypatch.setattr(Coalitions, "shares", measured)
    monkeypatch.setattr(of_fitted, "CELLS", 2_000)
    found = model.explain(wide, wide[:1], tolerance=1.0)
    assert max(largest) <= 2_000
    np.testing.assert_array_equal(found.values, expected.values)


def test_the_background_of_the_last_call_is_kept_while_nothing_differs(monkeypatch):
    wide = np.random.default_rng(1).normal(size=(N, 12))
    wide[5, 3] = np.nan
    model = regressor().fit(wide, wide[:, 0] * wide[:, 1])
    made, plain = [], Coalitions.__init__

    def counted(self, *args):
        made.append(self)
        plain(self, *args)

    def values(background):
        return model.explain(wide[:1], background).values

    first, others = values(wide[:40]), values(wide[20:60])
    monkeypatch.setattr(Coalitions, "__init__", counted)
    np.testing.assert_array_equal(values(wide[20:60].copy()), others)
    assert not made
    np.testing.assert_array_equal(values(wide[:40]), first)
    networks = len(made)
    assert networks
    np.testing.assert_array_equal(values(wide[:40]), first)
    assert len(made) == networks
    monkeypatch.setattr(of_fitted, "MOST_KEPT", 100)
    values(wide[30:60])
    values(wide[30:60])
    assert len(made) == 3 * networks
    monkeypatch.undo()
    model.partial_fit(wide, wide[:, 0])
    changed = values(wide[:40])
    assert (changed != first).any()
    again = pickle.loads(pickle.dumps(model)).explain(wide[:1], wide[:40]).values
    np.testing.assert_array_equal(changed, again)


def test_a_kept_background_does_not_keep_the_members():
    wide = np.random.default_rng(1).normal(size=(N, 12))
    model = regressor().fit(wide, wide[:, 0])
    model.explain(wide[:1], wide[:40])
    members = [weakref.ref(group) for group in model._state().blend.groups]
    del model
    gc.collect()
    assert [each() for each in members] == [None] * len(members)


def test_a_report_explains_all_its_rows_at_once(monkeypatch, tmp_path):
    counts = []

    def counted(model, X, *args, **kwargs):
        counts.append(len(X))
        return explanation(model, X, *args, **kwargs)

    monkeypatch.setattr(explain, "explanation", counted)
    model = regressor().fit(mixed(), Y)
    model.report().save(tmp_path / "page.html")
    assert len(counts) == 1
    assert 50 < counts[0] <= 56
    assert (tmp_path / "page.html").read_text("utf-8").count("among the worst") == 3


def test_masks_of_many_columns_are_bounded(monkeypatch):
    wide = np.random.default_rng(1).normal(size=(N, 40))
    model = regressor().fit(wide, wide[:, 0])
    largest, plain = [], Coalitions.predict

    def measured(self, x, background, chosen, masks):
        largest.append(masks.size)
        return plain(self, x, background, chosen, masks)

    monkeypatch.setattr(Coalitions, "predict", measured)
    monkeypatch.setattr(shapley, "CELLS", 20_000)
    model.explain(wide[:1], wide[10:50], tolerance=1.0)
    assert 0 < max(largest) <= 20_000
    explained = model._explained()
    monkeypatch.setattr(of_fitted, "MOST_COLUMNS", 39)
    assert explained.beside(explained.read(wide[:1])) is None


def test_columns_are_found_by_their_names():
    frame = mixed()
    model = regressor().fit(frame, Y)
    rows = frame[:9]
    found, other = model.explain(rows, frame), model.explain(rows[rows.columns[::-1]], frame)
    np.testing.assert_array_equal(found.values, other.values)
    np.testing.assert_array_equal(found.data, other.data)
    with pytest.raises(ValueError, match="begin"):
        model.explain(frame, frame.drop(columns="begin"))


def test_many_columns_are_sampled_within_their_errors():
    rng = np.random.default_rng(1)
    wide = rng.normal(size=(N, 12))
    model = regressor().fit(wide, wide[:, 0] * wide[:, 1])
    found, fine = (model.explain(wide[:5], wide[10:], tolerance=t) for t in (0.05, 0.005))
    np.testing.assert_allclose(found.predictions, model.predict(wide[:5]), atol=1e-12)
    error = np.hypot(found.standard_errors, fine.standard_errors)
    assert np.mean(np.abs(found.values - fine.values) <= 3 * error) > 0.97
    assert fine.standard_errors.max() <= 0.005 * model.predict(wide).std() * 1.5


def test_one_column_and_no_used_column():
    model = regressor().fit(X[:, :1], Y)
    found = model.explain(X[:, :1])
    np.testing.assert_allclose(found.values[:, 0], model.predict(X[:, :1]) - found.base)
    model = regressor().fit(np.ones((N, 2)), Y)
    found = model.explain(np.ones((N, 2)))
    assert not found.values.any()
    assert len(found.left_out) == 2


def test_several_targets_have_their_names():
    model = regressor().fit(X, pandas.DataFrame({"low": Y, "high": Y + X[:, 1]}))
    found = model.explain(X)
    assert found.values.shape == (N, 3, 2)
    assert found.outputs == ("low", "high")
    assert list(found.to_frame().columns.levels[0]) in (["high", "low"], ["low", "high"])


def test_loaded_and_distilled_models_are_explained(tmp_path):
    frame = mixed()
    model = classifier().fit(frame, LABELS)
    found = model.explain(frame[:5], frame[5:20])
    loaded = saved(model, tmp_path / "model").explain(frame[:5], frame[5:20])
    np.testing.assert_array_equal(loaded.values, found.values)
    distilled = model.distill(frame)
    found = fastmlp.explain(distilled, frame[:5], frame[5:20], output="score")
    p = distilled.predict_proba(frame[:5])
    np.testing.assert_allclose(found.predictions, np.log(p / (1 - p)), atol=1e-6)


@pytest.mark.parametrize("make", [regressor, classifier])
def test_predictors_have_the_explanations_of_their_models(make, tmp_path):
    frame = mixed()
    model = make().fit(frame, Y if make is regressor else LABELS)
    model.save(tmp_path / "model")
    found = model.explain(frame[:5], frame[5:20])
    loaded = fastmlp.load_predictor(tmp_path / "model")
    turned = frame[frame.columns[::-1]]
    for other in (
        model.predictor().explain(frame[:5], frame[5:20]),
        fastmlp.explain(loaded, turned[:5], turned[5:20]),
    ):
        np.testing.assert_array_equal(other.values, found.values)
        np.testing.assert_array_equal(other.data, found.data)
        assert (other.names, other.unit) == (found.names, found.unit)
    with pytest.raises(ValueError, match="X has the columns a, b but"):
        loaded.explain(frame[["a", "b"]], frame)


@pytest.mark.parametrize("shape", [(3,), (), (0,), (1, 2), (1, 4), (1, 2, 3)], ids=str)
def test_a_predictor_explains_tables_of_the_columns_of_the_fit(shape):
    predictor = regressor().fit(X, Y).predictor()
    words = re.escape(f"X has the shape {shape} but (n, 3) is expected")
    with pytest.raises(ValueError, match=words):
        predictor.explain(np.zeros(shape), X[:30])
    with pytest.raises(ValueError, match=f"background: {words}"):
        predictor.explain(X[:3], np.zeros(shape))


def test_quantiles_of_a_predictor_are_explained():
    predictor = regressor().fit(X, Y).predictor(levels=[0.1, 0.9])
    found = predictor.explain(X)
    expected = [predictor(row) for row in X]
    np.testing.assert_allclose(found.predictions, expected, atol=1e-12)


def test_a_predictor_is_explained_without_scikit_learn(tmp_path):
    regressor().fit(X, Y).save(tmp_path / "model")
    program = (
        "import sys\nsys.modules['sklearn'] = None\nimport fastmlp, numpy as np\n"
        f"predictor = fastmlp.load_predictor({str(tmp_path / 'model')!r})\n"
        "X = np.random.default_rng(0).normal(size=(40, 3))\n"
        "found = predictor.explain(X)\n"
        "print(abs(found.predictions - [predictor(row) for row in X]).max() < 1e-12)"
    )
    assert children.printed(children.python("-c", program)).strip() == "True"


def test_a_monotone_model_shows_it():
    model = regressor(monotone={0: 1}).fit(X, Y)
    background = X[:20]
    low, high = (np.column_stack([np.full(5, a), X[20:25, 1:]]) for a in (-1.0, 1.0))
    of_low, of_high = (model.explain(rows, background).values[:, 0] for rows in (low, high))
    found = of_high - of_low
    assert (found >= -1e-6).all()
    assert found.max() > 0


def test_a_model_without_a_fit_says_so():
    with pytest.raises(NotFittedError):
        regressor().explain(X)
