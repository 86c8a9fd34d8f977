"""Columns of dates, durations, quantities in text, and ordered categories, through all doors."""

import datetime
import logging
import pickle
from functools import cache

import children
import numpy as np
import pandas
import polars
import pyarrow
import pytest
from commands import here
from models import saved
from tiny_tables import TINY, regressor

import fastmlp
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.plan import presets
from fastmlp.tabular.table.columns import Columns

pytestmark = pytest.mark.usefixtures("tiny")

N = 200
RNG = np.random.default_rng(0)
HOURS = RNG.permutation(26_300)[:N] - 9_000  # three years, some of them before 1970
SECONDS = HOURS * 3600.0
DATES = HOURS.astype("M8[h]").astype("M8[s]")
X = RNG.normal(size=N)
Y = np.sin(2 * np.pi * (HOURS % 24) / 24) + 0.1 * X
BERLIN = "Europe/Berlin"


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "fast", TINY)
        yield


def column(values):
    return pandas.DataFrame({"x": X, "at": values})


def text(form):
    return [f"{day:{form}}" for day in DATES.tolist()]


def read(frame):
    return Columns.of(frame).read(frame).numbers


SAME = {  # the same dates
    **{f"M8[{unit}]": DATES.astype(f"M8[{unit}]") for unit in ("h", "s", "ms", "us", "ns")},
    "datetimes": pandas.Series(DATES.tolist(), dtype=object),
    "NumPy's": pandas.Series([*DATES], dtype=object),
    "pandas'": pandas.Series([*map(pandas.Timestamp, DATES)], dtype=object),
    "text": text("%Y-%m-%d %H:%M:%S"),
    "short text": [f"{d.year}/{d.month}/{d.day} {d.hour}:00" for d in DATES.tolist()],
    "day first": text("%d.%m.%Y %H:%M"),
    "month first": text("%m/%d/%YT%H:%M:%S.0"),
}
INSTANTS = {  # the same, with a time zone
    "a zone": pandas.DatetimeIndex(DATES).tz_localize("UTC").tz_convert(BERLIN),
    "an offset in text": text("%Y-%m-%dT%H:%M:00Z"),
    "datetimes with a zone": pandas.Series(
        [day.replace(tzinfo=datetime.UTC).astimezone() for day in DATES.tolist()], dtype=object
    ),
}


@pytest.mark.parametrize("way", [*SAME, *INSTANTS])
def test_dates_are_seconds_and_cycles_however_they_are_written(way):
    numbers = read(column((SAME | INSTANTS)[way]))
    periods = np.repeat(np.outer([24, 168, 24 * 365.2425], [1, 1 / 2, 1 / 3]), 2)
    waves = np.sin(2 * np.pi * HOURS[:, np.newaxis] / periods + [0, np.pi / 2] * 9)
    expected = np.column_stack([X, SECONDS, waves])
    np.testing.assert_allclose(numbers, expected, rtol=0, atol=1e-9)
    frame = column((SAME | INSTANTS)[way])
    columns = Columns.of(frame)
    rows = np.vstack([columns.read(frame[k : k + 1]).numbers for k in range(3)])
    assert np.array_equal(rows, numbers[:3])


def test_cycles_are_those_that_the_dates_span_and_show():
    def cycles(dates):
        return Columns.of(column(dates)).numbers[1][1].form.cycles

    at = np.arange(N)
    assert cycles(at.astype("M8[s]")) == ()
    assert cycles(at.astype("M8[h]")) == ("day", "week")
    assert cycles((at * 2).astype("M8[D]")) == ("week", "year")
    assert cycles((at * 7).astype("M8[D]")) == ("year",)
    assert cycles([f"{1990 + k // 12}-{k % 12 + 1:02}" for k in at]) == ("week", "year")


def test_overtones_of_a_cycle_have_no_bins():
    """So that a date has fewer inputs; they are smooth functions of the first waves."""
    frame = column(DATES).assign(end=DATES + np.arange(N).astype("m8[D]"))
    columns = Columns.of(frame)
    of_cycle = [5, 5, 0, 0, 0, 0]
    assert columns.binned(5).tolist() == [5, 5, 5, *of_cycle * 6, 5]  # and the difference
    assert Columns.of(column(X * 2)).binned(5).tolist() == [5, 5]
    model = regressor(recipes=[{"bins": 5}, {"bins": 0}]).fit(frame, Y)
    bins = {tuple(group.encoding.bins) for group in fitted_of(model).blend.groups}
    assert bins <= {(*columns.binned(5),), (0,) * 40}


def test_two_columns_of_dates_give_their_difference():
    frame = column(DATES).assign(end=DATES + np.arange(N).astype("m8[D]"), zone=INSTANTS["a zone"])
    frame.loc[3, "end"] = None
    table = Columns.of(frame).read(frame)
    difference = table.numbers[:, -1]
    assert np.isnan(difference[3])
    assert np.array_equal(np.delete(difference, 3), np.delete(np.arange(N), 3) * 86_400.0)


def test_durations_are_seconds():
    days = pandas.Series(np.arange(N) * np.timedelta64(36, "h"))
    days[5] = None
    for values in (days, days.astype("m8[s]"), pandas.Series([*days], dtype=object)):
        numbers = read(column(values))
        assert numbers.shape == (N, 2)
        np.testing.assert_array_equal(
            numbers[:, 1], np.where(np.arange(N) == 5, np.nan, np.arange(N) * 129_600.0)
        )


# ---- text -----------------------------------------------------------------------------------

AMOUNTS = np.round(10 ** RNG.uniform(1, 6, N), 2)
WHOLE = np.floor(AMOUNTS)
QUANTITIES = {  # text, and how it is read
    "dollars": [f"${x:,.2f}" for x in AMOUNTS],
    "euros": [f"{x:,.2f} EUR".translate(str.maketrans(",.", ".,")) for x in AMOUNTS],
    "commas": [f"{x:,.2f}" for x in AMOUNTS],
    "per cent": [f"{x:.2f} %" for x in AMOUNTS],
    "thousands": [f"{x:,.0f} EUR" for x in WHOLE],
    "thousands with points": [f"{x:,.0f} EUR".replace(",", ".") for x in WHOLE],
    "debts": [f"-${x:,.2f}" for x in AMOUNTS],
    "one gap": ["?", *(f"{x:.2f}%" for x in AMOUNTS[1:])],
}


@pytest.mark.parametrize("case", QUANTITIES)
def test_quantities_in_text_are_numbers_with_a_log_line(case, caplog):
    frame = column(QUANTITIES[case])
    with caplog.at_level(logging.INFO, "fastmlp"):
        model = regressor().fit(frame, Y)
    (note,) = model.report().notes
    assert "at is text that was read as numbers such as" in note
    assert note in caplog.messages
    assert ("'?' count as missing" in note) == (case == "one gap")
    numbers = fitted_of(model).columns.read(frame).numbers[:, 1]
    expected = -AMOUNTS if case == "debts" else WHOLE if "thousands" in case else AMOUNTS
    assert np.array_equal(numbers[1:], expected[1:])
    assert np.isnan(numbers[0]) == (case == "one gap")
    with pytest.raises(ValueError, match=r"at holds '12 kg' \(str\) but values such as"):
        model.predict(column(["12 kg", *QUANTITIES[case][1:]]))


CATEGORIES = {  # text that is neither, so that it stays what it was
    "codes": [f"u{k % 50}" for k in range(N)],
    "rooms": [f"Room {k % 50}" for k in range(N)],
    "digits": [f"{k % 50}" for k in range(N)],
    "few shares": [f"{k % 5} %" for k in range(N)],
    "units": [f"{k % 50} {'kg' if k % 2 else 'g'}" for k in range(N)],
    "dates and words": [*["?"] * 3, *text("%Y-%m-%d")[3:]],
    "versions": [f"{k % 50}.2.3" for k in range(N)],
}


@pytest.mark.parametrize("case", CATEGORIES)
def test_other_text_is_categories(case):
    columns = Columns.of(column(CATEGORIES[case]))
    assert columns.kinds == {"numbers": 1, "dates": 0, "categories": 1}


def test_titles_whose_values_are_mostly_rare_are_named():
    titles = [f"{'abcdefgh'[k % 8]}n essay on {k // 2}" for k in range(N)]
    with pytest.warns(UserWarning, match="at is a category of 200 values of which most are rare"):
        regressor().fit(pandas.concat([column(titles)] * 3), np.tile(Y, 3), groups=[*range(N)] * 3)


def test_chosen_categories_are_never_read_as_dates():
    frame = column(text("%Y-%m-%d"))
    assert Columns.of(frame, ["at"]).kinds["categories"] == 1
    assert Columns.of(frame.astype({"at": "category"})).kinds["categories"] == 1


# ---- ordered categories ---------------------------------------------------------------------

SIZES = ["small", "medium", "large", "huge"]  # `huge` does not occur at fit


@pytest.mark.parametrize("kind", ["pandas", "polars", "Arrow"])
def test_ordered_categories_are_ranks_beside_their_values(kind):
    values = [SIZES[k % 3] if k % 7 else None for k in range(N)]
    ranks = np.array([np.nan if value is None else SIZES.index(value) for value in values])
    ordered = pandas.Categorical(values, SIZES, ordered=True)
    later = column(pandas.Categorical(["huge", *values[1:]], SIZES, ordered=True))
    frame = column(ordered)
    if kind == "polars":
        cast = polars.col("at").cast(polars.String).cast(polars.Enum(SIZES))
        frame, later = (polars.from_pandas(each).with_columns(cast) for each in (frame, later))
    if kind == "Arrow":
        arrow = pyarrow.Table.from_pandas(frame.assign(y=Y))
        model = regressor().fit(fastmlp.ArrowBlocks(arrow, "y", rows=50))
    else:
        model = regressor().fit(frame, Y)
    columns = fitted_of(model).columns
    ((_, of_sizes),) = columns.categories
    assert of_sizes.values == (*SIZES, None)
    np.testing.assert_array_equal(columns.read(frame).numbers[:, 1], ranks)
    assert columns.read(later).numbers[0, 1] == 3
    assert len(np.unique(model.predict(later)[:2])) == 2


# ---- doors ----------------------------------------------------------------------------------


def doors(n=N):
    """Return columns of all forms."""
    ends = DATES + np.arange(N).astype("m8[h]")
    ends[4] = None
    return pandas.DataFrame(
        {
            "start": pandas.DatetimeIndex(DATES).tz_localize("UTC").tz_convert(BERLIN),
            "end": pandas.DatetimeIndex(ends).tz_localize("UTC"),
            "wait": pandas.Series(AMOUNTS).astype("m8[s]"),
            "day": ["unknown", *text("%d.%m.%Y")[1:]],
            "price": QUANTITIES["euros"],
            "size": pandas.Categorical([SIZES[k % 3] for k in range(N)], SIZES, ordered=True),
            "x": X,
        }
    )[:n]


@cache
def fitted():
    return regressor().fit(doors(), Y)


def test_importance_has_one_name_a_column():
    frame = column(DATES)
    importance = regressor().fit(frame, Y).importance(frame, Y)
    assert sorted(importance.names) == ["at", "x"]
    assert importance.names[0] == "at"
    assert len(fitted().feature_importances_) == len(doors().columns)


def test_every_door_predicts_the_same(tmp_path):
    model, frame = fitted(), doors()
    expected = model.predict(frame)
    assert np.std(expected) > 0
    predictor = model.predictor()
    assert np.array_equal([predictor(frame.iloc[k]) for k in range(20)], expected[:20])
    assert np.array_equal(saved(model, tmp_path / "model").predict(frame), expected)
    served = fastmlp.load_predictor(tmp_path / "model")
    assert np.array_equal([served(frame.iloc[k]) for k in range(20)], expected[:20])
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(frame), expected)
    assert np.array_equal(
        np.concatenate([model.predict(frame[k : k + 7]) for k in range(0, N, 7)]), expected
    )
    cast = polars.col("size").cast(polars.String).cast(polars.Enum(SIZES))
    other = polars.from_pandas(frame).with_columns(cast)
    assert np.array_equal(model.predict(other), expected)
    arrow = pyarrow.Table.from_pandas(frame.assign(y=Y))
    assert np.array_equal(model.predict(fastmlp.ArrowBlocks(arrow, rows=64)), expected)
    of_source = regressor().fit(fastmlp.ArrowBlocks(arrow, "y", rows=64))
    assert np.array_equal(of_source.predict(frame), expected)
    assert np.array_equal(regressor().fit(other, Y).predict(frame), expected)
    objects = regressor().fit(frame.to_numpy(object), Y)
    assert objects.report().kinds == {"numbers": 3, "dates": 3, "categories": 1}


def test_the_command_line_reads_dates_and_quantities_of_a_file(tmp_path):
    frame = doors().drop(columns=["wait", "size"]).assign(y=Y)
    frame.to_csv(tmp_path / "old.csv", index=False)
    frame[:9].drop(columns="y").to_csv(tmp_path / "new.csv", index=False)
    words = ("--target", "y", "--preset", "fast", "-o", "model")
    report = children.printed(here("train", "old.csv", *words, folder=tmp_path))
    assert "day is text that was read as dates such as 31.12.2026 18:30; 'unknown' coun" in report
    predicted = children.printed(here("predict", "model", "new.csv", folder=tmp_path))
    model = fastmlp.load(tmp_path / "model")
    expected = model.predict(frame[:9].drop(columns="y"))
    assert [*map(float, predicted.split()[1:])] == pytest.approx(expected, rel=1e-12)
    for form in ("c", "onnx"):
        children.printed(here("export", "model", "--to", form, folder=tmp_path))


def test_a_column_of_dates_is_also_the_time_of_rows():
    frame = doors()
    arrow = pyarrow.Table.from_pandas(frame.assign(y=Y))
    expected = regressor().fit(frame, Y, time=SECONDS).predict(frame)
    assert np.array_equal(regressor().fit(frame, Y, time="start").predict(frame), expected)
    of_source = regressor().fit(fastmlp.ArrowBlocks(arrow, "y", rows=64), time="start")
    assert np.array_equal(of_source.predict(frame), expected)


REFUSED = {  # values of a new row, and what is said of them
    "another kind": ("wait", DATES, "wait holds dates without .* time differences are expected"),
    "no zone": ("start", DATES, "start holds dates without a time zone but dates with a"),
    "numbers": ("start", SECONDS, "start holds numbers but dates with a time zone"),
    "words": ("start", ["soon"] * N, r"start holds 'soon' \(str\) but values such as 2026-12-31"),
    "the month first": ("day", text("%m/%d/%Y"), "day holds .* but values such as 31.12.2026"),
    "plain numbers": ("price", AMOUNTS, r"price holds .* but values such as 1.234,5 EUR"),
    "lists": ("day", [[1]] * N, "day holds a list but dates"),
    "dates": ("x", DATES, "x holds dates without a time zone but numbers"),
    "sizes": ("size", DATES, "size holds dates without a time zone but categories"),
    "far": ("start", np.full(N, "20000-01-01", "M8[s]"), "start holds"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_of_another_form_are_refused(case):
    name, values, words = REFUSED[case]
    frame = doors()
    frame[name] = pandas.Series(values)
    for call in (fitted().predict, lambda X: fitted().predictor()(X.iloc[1])):
        with pytest.raises((TypeError, ValueError), match=words):
            call(frame)


def test_dates_before_year_1_and_infinite_quantities_are_missing():
    early = np.array(["0001-01-01T00:30:00+05:00", *text("%Y-%m-%dT%H:%M:00Z")[1:]], object)
    huge = np.array(["1" + "0" * 400 + " EUR", *[f"{k}.5 EUR" for k in range(1, N)]], object)
    for values in (early, huge):
        model = regressor().fit(column(values), Y)
        rows = column(np.array([None, *values[1:]], object))
        expected = regressor().fit(rows, Y).predict(rows)
        assert np.array_equal(model.predict(column(values)), expected)


def test_dates_with_and_without_a_time_zone_are_refused():
    for values in (
        [*text("%Y-%m-%dT%H:%M:00Z")[:100], *text("%Y-%m-%dT%H:%M:00")[100:]],
        pandas.Series(
            [*INSTANTS["datetimes with a zone"][:100], *DATES.tolist()[100:]], dtype=object
        ),
    ):
        with pytest.raises(TypeError, match="at holds dates without a time zone but dates with a"):
            regressor().fit(column(values), Y)
    far = DATES.astype("M8[s]").copy()
    far[0] = np.datetime64("20000-01-01")
    with pytest.raises(ValueError, match="a year is not from 1 to 9999"):
        regressor().fit(pandas.DataFrame({"x": X, "at": far}), Y)
