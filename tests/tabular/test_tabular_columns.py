"""Columns of tables: what they are, what is noted and refused; rows that are copies of others."""

import datetime
import re
from collections import Counter

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from sklearn.metrics import log_loss
from tiny_tables import COLOURS, LABELS, N, X, Y, classifier, frame_of, regressor

from fastmlp import ArrowBlocks, load_predictor
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.plan import presets
from fastmlp.tabular.table.columns import MOST_FREQUENT, of_counts

RNG = np.random.default_rng(1)
FAST = presets.PRESETS["fast"]  # which other tests replace by a tiny one


pytestmark = pytest.mark.usefixtures("tiny")


def test_intervals_of_pandas_are_ordered_categories_by_their_text(tmp_path):
    cut, x = pandas.cut(X[:, 0], 4), pandas.Series(X[:, 1])
    text = pandas.Categorical(cut.astype(str), map(str, cut.categories), ordered=True)
    right = regressor().fit(frame := pandas.DataFrame({"a": text, "x": x}), Y)
    model = regressor().fit(intervals := frame.assign(a=cut), Y)
    np.testing.assert_array_equal(model.predict(intervals), right.predict(frame))
    np.testing.assert_array_equal(model.predict(intervals[:9]), right.predict(frame[:9]))
    model.save(tmp_path / "model")
    row = load_predictor(tmp_path / "model")
    assert row(intervals[:1]) == row([str(cut[0]), x[0]]) == right.predict(frame)[0]


@pytest.mark.parametrize("frames", [pandas, polars])
def test_later_frames_have_the_columns_of_the_fit_in_any_order_and_others(frames):
    frame = frames.DataFrame({"a": X[:, 0], "colour": COLOURS, "y": Y})
    model, plain = regressor().fit(frame, "y"), frame[["a", "colour"]]
    for rows in (plain, plain[:1]):  # one row is read by a path of its own
        predictions, n = model.predict(rows), len(rows)
        for names in (["colour", "a"], ["y", "colour", "a"]):
            assert np.array_equal(model.predict(frame[names][:n]), predictions)
    for names in (["a"], ["a", "y"]):
        with pytest.raises(ValueError, match="yet now missing:\n- colour"):
            model.predict(frame[names])


def test_tables_of_arrow_keep_their_names():
    frame = pandas.DataFrame({"a": X[:, 0], "colour": COLOURS, "y": Y})
    table = pyarrow.Table.from_pandas(frame)
    model, expected = regressor().fit(table, "y"), regressor().fit(frame, "y")
    assert model.importance().names == expected.importance().names
    rows = table.drop(["y"]).to_batches()[0]
    np.testing.assert_array_equal(model.predict(rows), expected.predict(frame))


@pytest.mark.parametrize("names", [[5, 2, 9], [2, 0, 1]])
def test_an_integer_may_name_the_column_of_the_targets(names):
    frame = pandas.DataFrame(X, columns=names)
    rows, y = frame.drop(columns=2), frame[2]
    model, expected = regressor().fit(frame, 2), regressor().fit(rows, y)
    np.testing.assert_array_equal(model.predict(rows), expected.predict(rows))
    assert model.score(frame, 2) == expected.score(rows, y)
    for table, name in ((frame, 7), (X, 2)):
        with pytest.raises(TypeError, match=f"y is {name} but one target for each row"):
            regressor().fit(table, name)


def test_integers_are_places_and_never_names():
    whole = X.round()
    for names in (["a", "b", "c"], [0, 1, 2], ["2", "0", "1"]):
        model = regressor(categorical_features=[1]).fit(pandas.DataFrame(whole, columns=names), Y)
        assert [place for place, _ in fitted_of(model).columns.categories] == [1]
    for names, wanted in (([10, 11, 12], 10), ([2, 0, 1], 0), ([1, 2, 3], 1)):
        frame = pandas.DataFrame(whole, columns=names)
        with pytest.raises(ValueError, match=rf"has {wanted} but .* pass the name .* '{wanted}'"):
            regressor(categorical_features=[wanted]).fit(frame, Y)
        place = names.index(wanted)
        for given in ([str(wanted)], [k == place for k in range(3)]):
            model = regressor(categorical_features=given).fit(frame, Y)
            assert [k for k, _ in fitted_of(model).columns.categories] == [place]


def test_without_categorical_features_categories_of_numbers_are_numbers():
    frame = frame_of(a=pandas.Categorical(np.arange(N) % 4), d=COLOURS)
    model = regressor(categorical_features=None).fit(frame, Y)
    assert model.report().kinds == {"numbers": 3, "dates": 0, "categories": 1}


SIZES = "convert the column if their sizes matter"
SOME = "convert the column, with NaN for the other values, if their sizes matter"
NUMBERS = X[:, 0].astype(str)
DAYS = [datetime.date(2020 + k // 12, k % 12 + 1, 13) for k in range(N)]

# A column of text, and the note about it.
DOUBTED = {
    "numbers": (NUMBERS, f"60 texts that are numbers: {SIZES}"),
    "missing": (np.where(X[:, 1] > 1, None, NUMBERS), rf"\d\d texts that are numbers: {SIZES}"),
    "one ?": (["?", *NUMBERS[1:]], rf"for '\?', but its other 59 values are numbers: {SOME}"),
    "numbers and ?": (["?", *X[1:, 0]], rf"for '\?', but its other 59 values are numbers: {SOME}"),
    "four others": (
        ["?", "\n", "\x7f", "-", *NUMBERS[4:]],
        r"for '\\n', '-', '\?', \.\.\., but its other 56 values are numbers",
    ),
    "percents": (
        ["", *(f"{x:.3f}%" for x in X[1:, 0])],
        "numbers with %: take .* convert the column, with NaN for the other values, if",
    ),
    "days or months": (
        [f"{day.day % 12 + 1}/{day.month}/{day.year}" for day in DAYS],
        "60 texts that are dates: write all of them",
    ),
    "times": ([f"1.2.2020 {k}:00" for k in range(N)], "60 texts that are dates: write all of them"),
    **{
        form: ([f"{day:{form}}" for day in DAYS], "60 texts that are dates: write all of them")
        for form in ("%d-%b-%y", "%B %d, %Y", "%d. %B %Y", "%m/%d/%y", "%d%b%Y", "%b %Y")
    },
    "names": ([f"{k}a" for k in range(N)], "with another value in nearly every row, from .*: le"),
    "names and missing": (
        np.where(X[:, 1] > 1, None, [f"{k % 57}a" for k in range(N)]),
        "with another value in nearly every row",
    ),
}


@pytest.mark.parametrize("case", DOUBTED)
def test_text_that_is_numbers_or_dates_is_a_category_and_named(case):
    values, words = DOUBTED[case]
    frame = pandas.DataFrame(
        {"size": pandas.Series(values, dtype=object), "colour": ["r", "g", "b"] * 20}
    )
    with pytest.warns(UserWarning, match="size is a category") as caught:
        model = regressor().fit(frame, Y)
    (note,) = model.report().notes
    assert [str(each.message) for each in caught] == [note]
    assert caught[0].filename == __file__
    assert note.startswith("size is a category ")
    assert re.search(words, note), note


WHOLE = np.array([int(f"{day:%Y%m%d}") for day in DAYS])
NOT_DATES = {
    "a thirteenth month": np.append(WHOLE[1:], 20141301),
    "the 30th of February": np.append(WHOLE[1:], 20140230),
    "a leap day of no leap year": np.append(WHOLE[1:], 20150229),
    "day 0": np.append(WHOLE[1:], 20140100),
    "fractions": WHOLE + 0.5,
    "two centuries": np.append(WHOLE[1:], 18500101),
    "few": WHOLE[np.arange(N) % 19],
    "months": WHOLE // 100,
}


@pytest.mark.parametrize("kind", ["integers", "gaps", "an array", "leap days"])
def test_numbers_that_are_dates_are_named(kind):
    days = WHOLE.astype(float)
    days[:20] = np.nan if kind == "gaps" else days[:20]
    days[0] = 20240229 if kind == "leap days" else days[0]
    frame = pandas.DataFrame({"day": days if kind == "gaps" else days.astype(int), "x": X[:, 0]})
    name, table = ("column 0", frame.to_numpy()) if kind == "an array" else ("day", frame)
    words = f"{name} is read as numbers but all of them are dates, such as {days[-1]:.0f}: pass pd"
    with pytest.warns(UserWarning, match=words) as caught:
        model = regressor(epochs=1).fit(table, Y)
    assert [str(each.message) for each in caught] == model.report().notes
    remedy = re.search(r"pd\.(to_datetime\(.*\)) in", str(caught[0].message))[1]
    if kind == "an array":
        remedy = remedy.replace("column 0", "day")
    dates = eval(f"pandas.{remedy}", {"pandas": pandas, "X": frame})
    model.fit(frame.assign(day=dates), Y)
    assert model.report().kinds["dates"] == 1


@pytest.mark.parametrize("kind", NOT_DATES)
def test_other_numbers_are_no_dates(kind):
    regressor(epochs=1).fit(np.c_[NOT_DATES[kind], X], Y)  # a warning would be an error


def test_other_categories_are_not_doubted():
    codes = np.arange(N) % 20
    columns = {
        "few": codes.astype(str),
        "number": X[:, 0],
        "category": pandas.Categorical(np.arange(N) % 50),
        "names": [f"{k % 50}a" for k in range(N)],
        "an eighth are names": [f"{k % 50}" if k % 8 else f"name {k}" for k in range(N)],
        "versions": [f"1.{k % 50}.3" for k in range(N)],
        "missing": [f"{k}b" if k < 20 else None for k in range(N)],
    }
    model = regressor().fit(pandas.DataFrame(columns), Y)
    assert model.report().notes == []
    assert model.report().kinds == {"numbers": 1, "dates": 0, "categories": 6}


def test_one_warning_names_all_columns_whatever_the_table_is():
    days = [f"{day:%d %b %Y}" for day in DAYS]
    X = np.column_stack([days, [f"n{k}" for k in range(N)], np.arange(N) % 3]).astype(object)
    frame = pandas.DataFrame(X, columns=list("abc"))
    arrow = pyarrow.Table.from_pandas(frame.astype(str).assign(y=Y))
    for data, names in (
        ((X, Y), ["column 0", "column 1"]),
        ((frame, Y), ["a", "b"]),
        ((polars.from_pandas(frame.astype(str)), Y), ["a", "b"]),
        ((ArrowBlocks(arrow, "y"),), ["a", "b"]),
    ):
        with pytest.warns(UserWarning, match="is a category") as caught:
            regressor(epochs=1).fit(*data)
        (warning,) = caught
        assert re.fullmatch(
            "{} is a .*dates: .*; {} is a .* row, .*".format(*names), str(warning.message)
        )
    many = pandas.DataFrame({f"d{k}": np.roll(days, k) for k in range(5)})
    with pytest.warns(UserWarning, match=r"; 2 more, of which report\(\).notes tells$"):
        model = regressor(epochs=1).fit(many.assign(x=Y), Y)
    assert len(model.report().notes) == 5


def test_values_in_many_rows_are_frequent():
    """Of 100 values, those in 8 rows, and 64 in any case; `frequent` is a matter of all rows."""
    for rows, frequent in ((7, 64), (8, 100)):
        count = Counter({f"{k:02}": rows for k in range(100)})
        column = of_counts("words", count)
        assert (len(column.values), column.frequent) == (100, frequent)
    count = Counter({k: 9 if k < MOST_FREQUENT + 5 else 1 for k in range(MOST_FREQUENT + 9)})
    column = of_counts("numbers", count)
    assert column.frequent == MOST_FREQUENT
    assert column.values == tuple(range(MOST_FREQUENT + 9))
    few = of_counts("few", Counter(["a", None, "b"]))
    assert (few.values, few.frequent) == ((None, "a", "b"), 3)


@pytest.mark.parametrize("often", ["a", "z"])
def test_the_most_frequent_of_many_categories_have_inputs_of_their_own(often):
    """However they are spelled: 60 frequent ones, then 4 of 90 rare ones in order of the values."""
    frequent = [f"{often}{k:02}" for k in range(60)]
    rare = [f"m{k:02}" for k in range(90)]
    words = np.array([*frequent, *rare, *frequent], object)[RNG.permutation(210)]
    model = regressor().fit(pandas.DataFrame({"word": words}), RNG.normal(size=210))
    ((_, column),) = fitted_of(model).columns.categories
    assert column.values == (*sorted([*frequent, *rare[:4]]), *rare[4:])
    table = fitted_of(model).columns.read(pandas.DataFrame({"word": column.values}))
    inputs = np.asarray(fitted_of(model).blend.groups[0].encoding.rows(table))
    np.testing.assert_array_equal(inputs[:64, 64:], 0)
    np.testing.assert_array_equal(inputs[64:, :64], 0)
    assert set(inputs[:64].sum(axis=1)) <= {0, 1}


NEITHER = "a holds a {}, which is neither"
STRUCTURED = np.array((1, 2.0), dtype=[("a", int), ("b", float)])[()]
# A cell of a column of objects, and the complaint about it.
ODD = {
    "a tuple of lists": ((1, [2]), TypeError, NEITHER.format("tuple")),
    "a record": (STRUCTURED, TypeError, NEITHER.format("void")),
    "a set": ({1}, TypeError, NEITHER.format("set")),
    "a date": (np.datetime64("2020-01-01"), TypeError, "a holds dates"),
    "a difference of dates": (np.timedelta64(1, "D"), TypeError, "a holds time differen"),
    "a complex number": (np.complex128(1j), ValueError, "a holds complex numbers"),
    "a complex number of Python": (1j, ValueError, "a holds complex numbers"),
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("others", [["red", "blue"], [1.5, 2.5]], ids=["text", "numbers"])
def test_an_odd_cell_is_refused_in_any_row_by_any_call(others, case):
    cell, error, words = ODD[case]
    n = 200
    right, odd, y = np.empty(n, object), np.empty(n, object), RNG.normal(size=n)
    right[:] = odd[:] = others * (n // 2)
    odd[n - 1] = cell
    frame = pandas.DataFrame({"a": right, "b": y})
    model = regressor().fit(frame, y)
    late = frame.assign(a=odd)
    if others[0] == 1.5 and "neither" in words:
        error, words = ValueError, "a was numbers at fit but cannot be read as such now"
    for call in (model.predict, lambda X: model.predictor()(X.iloc[-1])):
        with pytest.raises(error, match=words):
            call(late)
    _, error, words = ODD[case]
    with pytest.raises(error, match=words):
        regressor().fit(late, y)


def test_times_that_are_missing_are_missing_values():
    words = np.array([None, "red", "blue"] * (N // 3), object)
    models = [
        regressor().fit(frame_of(d=np.where(words == None, none, words)), Y)  # noqa: E711
        for none in (None, pandas.NaT, pandas.NA)
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(
            model.predict(frame_of(d=words)), models[0].predict(frame_of(d=words))
        )


# ---- copies of rows are in one fold, so that none is judged by its copy --------------------------

COPIED = np.repeat(np.arange(20), 3)
GRID = np.stack(np.meshgrid(np.arange(3), np.arange(5)), axis=-1).reshape(15, 2)[np.arange(60) % 15]
DRAWN = np.random.default_rng(3).integers(0, 60, 60)
NOISE = np.random.default_rng(4).normal(size=60)
# X, y, whether rows that are equal are in several folds, and what the report says of them.
EQUAL = {
    "copies": (X[COPIED], Y[COPIED], False, "40 rows are copies of other rows"),
    "one copy": (X[np.r_[0, :59]], Y[np.r_[0, :59]], False, "1 rows are copies of other rows"),
    "a bootstrap sample": (X[DRAWN], Y[DRAWN], False, "copies of other rows"),
    "other targets": (X[COPIED], NOISE, False, ""),
    "few categories": (GRID, GRID @ [1.0, 2.0], True, "45 rows are equal to other rows, target"),
    "text": (np.char.mod("v%d", COPIED)[:, np.newaxis], Y[COPIED], False, "40 rows are copies"),
    "few values": (X[np.arange(60) % 4], Y[np.arange(60) % 4], True, "56 rows are equal to other"),
    "none": (X, Y, False, ""),
}


@pytest.mark.parametrize("case", EQUAL)
def test_copies_of_a_row_are_in_one_fold(case):
    x, y, split, said = EQUAL[case]
    model = regressor().fit(x, y)
    kinds = np.unique(np.c_[x, y], axis=0, return_inverse=True)[1].reshape(-1)
    apart = [
        np.isin(kinds[out], np.delete(kinds, out)).any() for out in fitted_of(model).held_out.rows
    ]
    assert any(apart) == split
    notes = "; ".join(model.report().notes)
    assert said in notes
    assert ("other rows" in notes) == bool(said)
    given = regressor().fit(x, y, groups=np.arange(60))
    assert "other rows" not in "; ".join(given.report().notes)


def test_copies_of_classes_are_divided_evenly():
    labels, rows = LABELS[COPIED], np.arange(60)
    model = classifier().fit(X[COPIED], labels)
    assert not any(
        np.isin(COPIED[out], np.delete(COPIED, out)).any() for out in fitted_of(model).held_out.rows
    )
    shares = [np.mean(labels[out] == "high") for out in fitted_of(model).held_out.rows]
    assert np.ptp(shares) < 0.2
    assert sorted(np.concatenate(fitted_of(model).held_out.rows[:3])) == rows.tolist()


def test_intervals_of_copies_are_those_of_single_rows():
    noise = np.random.default_rng(5).normal(size=(2, 40))
    x, new = np.random.default_rng(6).normal(size=(2, 40, 5))
    once = regressor().fit(x, noise[0])
    copied = regressor().fit(np.repeat(x, 4, axis=0), np.repeat(noise[0], 4))
    assert fitted_of(copied).calibration.residuals[0].w.sum() == pytest.approx(40, rel=0.05)
    widths = [np.ptp(model.predict_interval(new, 0.9), axis=1).mean() for model in (once, copied)]
    assert widths[1] > 0.8 * widths[0]


# ---- visits: rows of one person, with equal columns and targets that agree ----------------------


def visits(kind, n=1500, seed=0, effect=3.0):
    """Return columns that say little, the number of a person, and its leaning, for each row."""
    rng = np.random.default_rng(seed)
    persons = 2 * n // 5
    person = np.repeat(np.arange(persons), rng.integers(2, 4, persons))
    columns = {
        "continuous": rng.normal(size=(persons, 4)),
        "skewed": np.exp(rng.normal(size=(persons, 4))),
        "whole": rng.integers([60, 0, 1, 17], [140, 2, 5, 40], (persons, 4)).astype(float),
        "one name": np.c_[rng.integers(0, 8, (persons, 3)), rng.permutation(persons) * 7919],
        "rare": np.c_[rng.normal(size=(persons, 3)), rng.integers(0, 2, persons)],
    }[kind]
    away = (columns[:, 0] - columns[:, 0].mean()) / columns[:, 0].std()
    leaning = 0.25 * away + effect * rng.normal(size=persons) - 3 * (kind == "rare")
    return columns[person], person, leaning[person], rng


@pytest.mark.parametrize(
    "kind",
    [
        *("skewed", "one name", "rare"),
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("continuous", "whole")),
    ],
)
def test_fast_is_no_worse_than_the_class_shares_on_visits_of_new_persons(kind, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "fast", FAST)
    X, person, leaning, rng = visits(kind)
    y = rng.random(len(X)) < 1 / (1 + np.exp(-leaning))
    known = person < 0.7 * person.max()
    model = classifier().fit(X[known], y[known])
    p = model.predict_proba(X[~known])[:, 1]
    share = y[known].mean()
    losses = [log_loss(y[~known], each) for each in (p, np.full(len(p), share))]
    assert losses[0] <= 1.02 * losses[1]
    for rows in fitted_of(model).held_out.rows:
        assert not np.isin(person[known][rows], np.delete(person[known], rows)).any()
    assert "like visits of one person: they share their folds" in str(model.report())


def test_numbers_of_visits_are_judged_by_other_persons():
    X, person, leaning, rng = visits("continuous", 600)
    y = np.c_[leaning, rng.normal(size=len(X))] + rng.normal(size=(len(X), 2))
    model = regressor().fit(X, y)
    for rows in fitted_of(model).held_out.rows:
        assert not np.isin(person[rows], np.delete(person, rows)).any()


def test_equal_rows_that_are_no_visits_are_divided_at_random():
    X, person, _, rng = visits("continuous", 600)
    coarse = np.floor(rng.random((len(X), 3)) * 3)  # equal by chance, with targets that agree
    cases = {
        "targets that do not agree": (X, rng.normal(size=len(X))),
        "classes that do not agree": (X, rng.random(len(X)) < 0.3),
        "few equal rows": (X[person < 40].tolist() + rng.normal(size=(900, 4)).tolist(), None),
        "few values": (coarse, coarse.sum(axis=1) + rng.normal(size=len(X))),
    }
    for name, (x, y) in cases.items():
        y = rng.normal(size=len(x)) + np.array(x)[:, 0] if y is None else y
        model = (classifier if y.dtype == bool else regressor)().fit(np.array(x), y)
        assert "visits" not in str(model.report()), name
