"""Fits of tables on Arrow's blocks: the same as in memory, and errors with their place."""

import datetime
import decimal
import itertools
import re
import time
import warnings

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from pyarrow import parquet
from tiny_tables import classifier, regressor

from fastmlp import ArrowBlocks, MLPRegressor
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.fit import reading
from fastmlp.tabular.recipe import budget
from fastmlp.tabular.sources import sampling

N = 300
AMPLE = 1e6  # seconds
rng = np.random.default_rng(0)
FRAME = pandas.DataFrame(
    {
        "number": rng.normal(size=N),
        "text": rng.choice(["x", "y", None], N),
        "gaps": np.where(rng.random(N) > 0.1, rng.normal(size=N), np.nan),
        "constant": np.ones(N),
        "whole": rng.integers(0, 9, N),
        "flag": rng.random(N) > 0.5,
        "category": pandas.Categorical(rng.choice(["u", "v", None], N)),
        "grade": pandas.Categorical(rng.choice([3, 5, 7], N)),
        "many": [f"n{k}" for k in rng.integers(0, 150, N)],
    }
)
FRAME["again"] = FRAME["number"]
Y = FRAME["number"].to_numpy() + FRAME["whole"].to_numpy()
W = rng.uniform(1, 2, N) * (rng.random(N) > 0.1)
TABLE = pyarrow.Table.from_pandas(
    FRAME.assign(y=Y, z=-Y, w=W, label=np.where(Y > 4, "high", "low"), high=Y > 4),
    preserve_index=False,
)
FEATURES = list(FRAME)
pytestmark = pytest.mark.usefixtures("tiny")
TARGETS = {
    "number": (regressor, "y", Y),
    "numbers": (regressor, ["y", "z"], np.c_[Y, -Y]),
    "text": (classifier, "label", np.where(Y > 4, "high", "low")),
    "flag": (classifier, "high", Y > 4),
}
DATA = {
    "table": lambda folder: TABLE,
    "file": lambda folder: written(folder, TABLE),
    "polars": lambda folder: polars.from_arrow(TABLE),
}


def written(folder, *tables):
    paths = [folder / f"{k}.parquet" for k in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        parquet.write_table(table, path, row_group_size=100)
    return paths


def assert_same(one, other):
    assert fitted_of(one).columns == fitted_of(other).columns
    assert one.report().notes == other.report().notes
    np.testing.assert_array_equal(one.oof_prediction_, other.oof_prediction_)
    np.testing.assert_array_equal(one.predict(FRAME), other.predict(FRAME))
    np.testing.assert_array_equal(one.feature_names_in_, other.feature_names_in_)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("time_limit", [None, AMPLE])
def test_a_fit_has_the_bits_of_that_from_memory(data, target, weight, time_limit, tmp_path):
    make, name, y = TARGETS[target]
    source = ArrowBlocks(DATA[data](tmp_path), name, features=FEATURES, weight=weight, rows=64)
    # Parquet and polars keep categories that are numbers as plain numbers.
    one, other = (make(categorical_features=["grade"], time_limit=s) for s in (time_limit, None))
    assert_same(one.fit(source), other.fit(FRAME, y, None if weight is None else W))
    assert one.rows_ is None
    assert fitted_of(one).columns.left_out == {
        "constant": "constant",
        "again": "the same as number",
    }
    np.testing.assert_array_equal(one.predict(source), one.predict(FRAME))


@pytest.mark.parametrize("chosen", [None, ["whole"], [4], np.array([*[False] * 4, True])])
def test_columns_may_be_declared_categories(chosen):
    names = ["number", "text", "gaps", "grade", "whole"]
    source = ArrowBlocks(TABLE, "y", features=names, rows=64)
    one = regressor(categorical_features=chosen).fit(source)
    other = regressor(categorical_features=chosen).fit(FRAME[names], Y)
    assert fitted_of(one).columns == fitted_of(other).columns
    np.testing.assert_array_equal(one.oof_prediction_, other.oof_prediction_)


def test_a_part_of_the_rows_is_that_of_the_table(monkeypatch, tmp_path):
    monkeypatch.setattr(budget, "FEWEST_ROWS", 50)
    monkeypatch.setattr(budget.Budget, "_rows_in_time", lambda *_: 120)
    source = ArrowBlocks(written(tmp_path, TABLE), "y", features=FEATURES, rows=64)
    model = regressor().fit(source)
    rows = model.rows_
    assert len(rows) == 120
    monkeypatch.undo()
    part = ArrowBlocks(TABLE.take(rows), "y", features=FEATURES)
    again = regressor(epochs=model.n_iter_).fit(part)
    assert model.report().rows == again.report().rows
    every = [
        column
        for _, column in (
            *fitted_of(model).columns.categories,
            *fitted_of(again).columns.categories,
        )
    ]
    assert {c.name for c in every} == {"text", "flag", "category", "grade", "many"}
    for column in every[: len(every) // 2]:  # categories of all rows
        values = FRAME[column.name].astype(object)
        assert {v for v in column.values if v is not None} == set(values.dropna())


def test_a_part_of_the_rows_has_no_rows_without_weight(monkeypatch):
    monkeypatch.setattr(budget.Budget, "_rows_in_time", lambda *_: 60)
    wanted = regressor().fit(FRAME, Y, sample_weight=W).rows_
    source = ArrowBlocks(TABLE, "y", features=FEATURES, weight="w", rows=70)
    model = regressor().fit(source)
    found = model.rows_
    assert np.array_equal(found, wanted)
    with pytest.raises(ValueError, match=r"300 rows but the 60 .* pass y\[model.rows_\]"):
        model.plot_calibration(Y)
    assert W[found].all()
    assert len(found) == 60


# ------------------------------------------------------------ within a time limit


def stream(count, opened, seconds=0.0):
    """Return a callable that opens a stream of blocks: two numbers, their sum, and its sign."""

    def blocks():
        opened.append(0)
        rng = np.random.default_rng(0)
        for _ in count:
            time.sleep(seconds)
            opened[-1] += 1
            a, b = rng.normal(size=(2, 50))
            yield pyarrow.record_batch({"a": a, "b": b, "y": a + b, "is_high": a + b > 0})

    schema = pyarrow.schema({**dict.fromkeys("aby", pyarrow.float64()), "is_high": pyarrow.bool_()})
    return lambda: pyarrow.RecordBatchReader.from_batches(schema, blocks())


def test_a_time_limit_reads_a_source_once():
    opened = []
    model = regressor(time_limit=AMPLE).fit(
        ArrowBlocks(stream(range(9), opened), "y", features=["a"])
    )
    assert opened == [9]
    assert model.report().rows == 450


@pytest.mark.timeout(120)
@pytest.mark.parametrize("make", [regressor, classifier])
def test_a_stream_without_end_is_read_for_a_share_of_the_time(make):
    opened = []
    target = "y" if make is regressor else "is_high"
    endless = stream(itertools.count(), opened, 0.001)
    source = ArrowBlocks(endless, target, features=["a", "b"])
    with pytest.warns(UserWarning, match="not to its end: the fit uses rows of the first .* alone"):
        model = make(time_limit=0.5).fit(source)
    assert len(opened) == 1
    assert 0 < len(model.rows_) <= 50 * opened[0]
    assert "not to its end" in str(model.report())
    assert model.report().rows == len(model.rows_) == len(model.oof_prediction_)


@pytest.mark.parametrize("has_end", [False, True])
def test_a_limit_that_is_too_short_uses_the_first_block(has_end):
    """Files and tables tell how many rows they have, so that all of one block is known as all."""
    table = TABLE.select(["number", "whole", "y"])
    source = ArrowBlocks(table if has_end else (lambda: table), "y")
    with warnings.catch_warnings(record=True, action="always") as caught:
        model = regressor(time_limit=1e-9).fit(source)
    assert any("not to its end" in str(each.message) for each in caught) != has_end
    assert (model.rows_ is None) == has_end
    assert model.report().rows == N


def test_a_fit_that_takes_longer_than_its_limit_says_so():
    """A block cannot be interrupted."""
    source = ArrowBlocks(stream(range(1), [], 0.3), "y", features=["a", "b"])
    with pytest.warns(UserWarning, match="not to its end"):
        late = regressor(time_limit=0.1).fit(source)
    note = re.search(
        r"the fit took (.*) s, (.*) s longer than time_limit: (.*) s for the (\w+)",
        str(late.report()),
    )
    took, over, longest = map(float, note.groups()[:3])
    assert took == pytest.approx(0.1 + over, rel=0.2)  # steps between phases are not counted
    assert longest == pytest.approx(max(late.report().seconds.values()), rel=0.02)
    in_time = regressor(time_limit=AMPLE).fit(source)
    assert "time_limit" not in str(in_time.report())


@pytest.mark.parametrize("weight", [None, "w"])
def test_fewer_rows_than_were_read_are_a_sample_of_them(monkeypatch, weight):
    monkeypatch.setattr(budget.Budget, "_rows_in_time", lambda *_: 60)
    source = ArrowBlocks(TABLE, "y", features=FEATURES, weight=weight, rows=70)
    model = regressor(time_limit=AMPLE).fit(source)
    rows = model.rows_
    assert len(rows) == 60
    assert np.all(np.diff(rows) > 0)
    assert weight is None or W[rows].all()
    assert np.ptp(np.bincount(rows // 100)) < 30  # all parts of the source have as many
    part = ArrowBlocks(TABLE.take(rows), "y", features=FEATURES, weight=weight)
    again = regressor().fit(part)
    assert fitted_of(again).columns == fitted_of(model).columns
    np.testing.assert_allclose(again.oof_prediction_, model.oof_prediction_, rtol=1e-6)


def test_what_does_not_fit_into_memory_is_sampled_while_it_is_read(monkeypatch):
    monkeypatch.setattr(sampling, "FEWEST_ROWS", 1_000)
    n = 20_000
    number = np.arange(n)
    weights = np.where(number % 4 == 0, 0.0, 1.0)
    table = pyarrow.table({"x": number, "y": -number, "w": weights})
    source = ArrowBlocks(table, "y", weight="w", rows=500)
    rng = np.random.default_rng(0)
    found = sampling.sampled(source, np.inf, 60_000, rng)
    assert (found.seen, found.total) == (n, n)
    assert 24 * len(found) <= 60_000
    numbers = np.concatenate([batch["x"].to_numpy() for batch, *_ in found.batches()])
    np.testing.assert_array_equal(numbers, found.numbers)
    assert np.all(np.diff(numbers) > 0)
    assert weights[numbers].all()
    assert found.with_weight == len(found)
    tenths = np.bincount(numbers * 10 // n, minlength=10)
    assert np.all(np.abs(tenths - len(numbers) / 10) < 4 * np.sqrt(len(numbers) / 10))
    fewer = found.taken(500)
    assert len(fewer) == 500
    assert np.isin(fewer.numbers, numbers).all()
    batch, _, place, _ = next(fewer.batches())
    assert place(3) == f"row {batch['x'][3]}"
    whole = sampling.sampled(source, np.inf, np.inf, rng)
    np.testing.assert_array_equal(whole.numbers, number)
    np.testing.assert_array_equal(whole.taken(n).numbers, number[weights > 0])


def numbered(folder, n=2000):
    """Return a source of numbered rows in two files of ten row groups."""
    table = pyarrow.table({"x": np.arange(n), "y": np.arange(n) % 7})
    return ArrowBlocks(written(folder, table.slice(0, n // 2), table.slice(n // 2)), "y", rows=400)


def test_a_time_limit_reads_random_row_groups(tmp_path):
    source = numbered(tmp_path)
    firsts = set()
    for seed in range(6):
        found = sampling.sampled(source, 0.0, np.inf, np.random.default_rng(seed))
        assert (found.seen, found.total) == (50, 2000)
        batch, *_, place, _ = next(found.batches())
        np.testing.assert_array_equal(found.numbers, batch["x"].to_numpy())
        group, row = divmod(found.numbers[0] % 1000, 100)
        assert f"row group {group}, row {100 * group + row}" in place(0)
        firsts.add(found.numbers[0])
    assert len(firsts) > 2
    model = regressor(time_limit=1e-9).fit(source)
    note = r"the source was read for .* s, which time_limit allows: 50 of 2,000 rows, in random"
    assert re.search(note, str(model.report()))
    assert len(model.rows_) == 50


def test_a_memory_limit_reads_a_source_once(monkeypatch):
    opened = []
    source = ArrowBlocks(stream(range(9), opened), "y", features=["a"])
    model = regressor(max_memory="1 GB").fit(source)
    assert opened == [9]
    assert model.rows_ is None
    monkeypatch.setattr(sampling, "FEWEST_ROWS", 10)
    monkeypatch.setattr(reading, "KEPT_SHARE", 2e-6)
    model = regressor(max_memory="1 GB").fit(source)
    assert opened == [9, 9]
    kept = len(model.rows_)
    assert kept < 450
    assert f"{kept} of 450 rows were kept while reading, a random sample" in str(model.report())


def test_labels_may_be_sorted():
    table = TABLE.sort_by("label")
    model = classifier().fit(ArrowBlocks(table, "label", features=["number", "whole"], rows=20))
    assert model.classes_.tolist() == ["high", "low"]


def test_labels_may_be_whole_numbers_in_a_dictionary():
    model = classifier().fit(ArrowBlocks(TABLE, "grade", features=["number", "whole"], rows=64))
    other = classifier().fit(FRAME[["number", "whole"]], FRAME["grade"].to_numpy())
    assert model.classes_.tolist() == other.classes_.tolist() == [3, 5, 7]
    assert np.array_equal(model.oof_prediction_, other.oof_prediction_)


def test_decimals_are_numbers():
    values = [decimal.Decimal(k) / 4 for k in range(N)]
    table = pyarrow.table({"d": pyarrow.array(values, pyarrow.decimal128(9, 2)), "y": Y})
    model = regressor().fit(ArrowBlocks(table, "y"))
    assert model.report().kinds == {"numbers": 1, "dates": 0, "categories": 0}


def with_column(name, values):
    """Return two tables, of which the second has other values in a column."""
    place = TABLE.column_names.index(name)
    return TABLE.slice(0, 150), TABLE.set_column(place, name, pyarrow.array(values))


def changed(name, row, value):
    values = TABLE.column(name).to_pylist()
    values[row] = value
    return with_column(name, values)


GROUP = r"1.parquet, row group 2, row 217, column "
FAULTS = [
    (regressor, "y", changed("number", 217, np.inf), GROUP + "'number': .*infinity"),
    (regressor, "y", changed("y", 217, None), GROUP + "'y': .* missing.*: drop the rows"),
    (classifier, "label", changed("label", 217, None), GROUP + "'label': a label"),
    (regressor, "y", changed("w", 217, None), GROUP + "'w': .*: drop the rows"),
    (classifier, "label", with_column("label", [1] * N), "'label' holds text"),
    (classifier, "whole", with_column("whole", ["a"] * N), "'whole' holds text"),
    (regressor, "y", with_column("number", ["a"] * N), "'number': .*was numbers"),
]


@pytest.mark.parametrize(("make", "target", "tables", "words"), FAULTS)
@pytest.mark.parametrize("reading", ["all rows", "some rows", "in time"])
def test_errors_name_file_row_group_row_and_column(
    make, target, tables, words, reading, tmp_path, monkeypatch
):
    if reading == "some rows":
        monkeypatch.setattr(budget.Budget, "_rows_in_time", lambda *_: 60)
    options = {"features": ["number", "text"], "weight": "w", "rows": 64}
    source = ArrowBlocks(written(tmp_path, *tables), target, **options)
    with pytest.raises((TypeError, ValueError), match=words):
        make(time_limit=AMPLE if reading == "in time" else None).fit(source)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (datetime.time(9), "row 0, column 'number': number holds times of day .* midnight"),
        ([1.0], "neither"),
    ],
)
def test_other_types_are_refused_with_their_place(value, words):
    _, table = with_column("number", [value] * N)
    with pytest.raises((TypeError, ValueError), match=words):
        regressor().fit(ArrowBlocks(table, "y", features=FEATURES))


@pytest.mark.parametrize("later", [100, 200, 300])
def test_a_source_that_changes_is_refused(later):
    tables = iter([TABLE.slice(0, 200), TABLE.slice(0, later)])
    source = ArrowBlocks(lambda: next(tables), "y", features=FEATURES, rows=100)
    if later == 200:
        assert regressor().fit(source).rows_ is None
        return
    with pytest.raises(ValueError, match="had 200 rows when it was read first"):
        regressor().fit(source)


def test_other_categories_in_the_second_reading_are_refused():
    old = TABLE.select(["text", "number", "y"])
    tables = iter([old, with_column("text", ["new"] * N)[1].select(old.column_names)])
    model = regressor().fit(ArrowBlocks(old, "y"))
    before = model.predict(FRAME[["text", "number"]])
    with pytest.raises(ValueError, match="row 0, column 'text': 'new' was not there"):
        model.fit(ArrowBlocks(lambda: next(tables), "y"))
    assert np.array_equal(model.predict(FRAME[["text", "number"]]), before)


DAYS = (
    pandas.date_range("2024-01-01", periods=N, freq="6h").to_series().sample(frac=1, random_state=0)
)
LATE = FRAME.assign(day=DAYS.to_numpy(), price=[f"{k} EUR" for k in rng.integers(1, 500, N)])


@pytest.mark.parametrize("empty", ["null", "double", "rows"])
@pytest.mark.parametrize("name", ["text", "number", "flag", "category", "day", "price"])
def test_a_column_may_have_no_values_at_first(name, empty, tmp_path):
    """The next file decides on it, whether the first one has a type of no or other values."""
    features = [each for each in LATE if each != "grade"]  # numbers in files
    second = pyarrow.Table.from_pandas(LATE[features].assign(y=Y), preserve_index=False)
    at = second.column_names.index(name)
    kind = second.schema.field(at).type if empty == "rows" else pyarrow.type_for_alias(empty)
    first = second.set_column(at, name, pyarrow.nulls(N, kind))
    source = ArrowBlocks(written(tmp_path, first, second), "y", features=features, rows=77)
    twice = pandas.concat([LATE, LATE], ignore_index=True)[features]
    if name != "day":
        twice[name] = twice[name].astype(float if name == "number" else object)
    twice.loc[: N - 1, name] = None
    model, other = regressor().fit(source), regressor().fit(twice, np.r_[Y, Y])
    assert model.report().kinds == other.report().kinds
    assert np.array_equal(model.predict(twice), other.predict(twice))


@pytest.mark.parametrize("name", ["whole", "many"])
@pytest.mark.parametrize("has_dates", [False, True])  # from which numbers are derived
def test_groups_are_a_column_of_a_source(name, has_dates):
    frame = FRAME.drop(columns="again").assign(day=pandas.Timestamp("2026-01-01"))
    if has_dates:
        frame["day"] += pandas.to_timedelta(np.arange(N), "D")
    source = ArrowBlocks(pyarrow.Table.from_pandas(frame.assign(y=Y)), "y", rows=64)
    model, other = regressor().fit(source, groups=name), regressor().fit(frame, Y, groups=name)
    np.testing.assert_array_equal(model.oof_prediction_, other.oof_prediction_)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("groups is 'who' .* name of a column, whose values are", {"groups": "who"}),
        ("groups has missing ones", {"groups": "text"}),
        ("groups is 'constant' .* is left out: constant", {"groups": "constant"}),
        ("groups is 'again' .* left out: the same as number", {"groups": "again"}),
        ("time is 'constant' .* is left out: constant", {"time": "constant"}),
        ("time is 'text' .* a column of numbers or dates", {"time": "text"}),
    ],
)
def test_a_column_that_cannot_be_groups_or_times_is_refused(words, given):
    source = ArrowBlocks(TABLE, "y", features=FEATURES, rows=64)
    with pytest.raises(ValueError, match=words):
        regressor().fit(source, **given)


BESIDE = {
    "name of y": ({"y": "y"}, "y is given beside a source, .* leave y out"),
    "y": ({"y": Y}, "y is given beside a source, which has its own targets"),
    "weights": ({"sample_weight": W}, "leave sample_weight out"),
    "groups": ({"groups": np.arange(N)}, "groups is given beside a source"),
    "folds": ({"folds": np.arange(N) % 2}, "folds is given beside a source"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_arguments_beside_a_source_are_refused(name):
    given, words = BESIDE[name]
    with pytest.raises(TypeError, match=words):
        regressor().fit(ArrowBlocks(TABLE, "y", features=FEATURES), **given)


def test_sources_without_a_target_or_rows_and_other_estimators_are_refused():
    with pytest.raises(ValueError, match="the source has no target"):
        regressor().fit(ArrowBlocks(TABLE))
    with pytest.raises(ValueError, match="has dy, which a table does not learn"):
        regressor().fit(ArrowBlocks(TABLE, "y", features="a", dy="w"))
    with pytest.raises(ValueError, match="no rows"):
        regressor().fit(ArrowBlocks(TABLE.slice(0, 0), "y"))
    with pytest.raises(ValueError, match="at least 2"):
        regressor().fit(ArrowBlocks(TABLE.slice(0, 1), "y"))
    with pytest.raises(TypeError, match="ArrowBlocks"):
        MLPRegressor().fit(ArrowBlocks(TABLE, "y"), None)


SCORED = {
    "numbers": (regressor, Y, "predict", ()),
    "deviations": (regressor, np.c_[Y, -Y], "predict", (True,)),
    "intervals": (regressor, Y, "predict_interval", (0.8,)),
    "one quantile": (regressor, Y, "predict_quantiles", (0.3,)),
    "labels": (classifier, TARGETS["text"][2], "predict", ()),
    "probabilities": (classifier, TARGETS["text"][2], "predict_proba", ()),
}


@pytest.mark.parametrize("name", SCORED)
def test_new_rows_are_predicted_block_by_block_with_the_bits_from_memory(name, tmp_path):
    make, y, method, given = SCORED[name]
    model = make(categorical_features=["grade"]).fit(FRAME, y)
    predict = getattr(model, method)
    new = TABLE.set_column(1, "text", pyarrow.array(["x", None, "unknown"] * (N // 3)))
    files = written(tmp_path, new.slice(0, 130).select(new.column_names[::-1]), new.slice(130))
    frame = FRAME.assign(text=["x", None, "unknown"] * (N // 3))
    expected = predict(frame, *given)
    source = ArrowBlocks(files, rows=64)  # has further columns, such as the target
    found = predict(source, *given)
    heads = expected if isinstance(expected, tuple) else (expected,)
    into = tuple(np.zeros_like(each) for each in heads)
    out = into if isinstance(expected, tuple) else into[0]
    assert predict(source, *given, out=out) is out
    for one in (found, out, predict(frame, *given, out=out)):
        np.testing.assert_array_equal(one, expected)


UNREADABLE = {
    "no column": (TABLE.drop_columns("gaps"), {}, "0.parquet has no column 'gaps': its columns"),
    "other text": (with_column("number", ["a"] * N)[1], {}, "row 0, column 'number': .*numbers at"),
    "numbers": (
        with_column("text", [1] * N)[1],
        {},
        "row 0, column 'text': text holds 1 .*but text",
    ),
    "infinity": (changed("number", 217, np.inf)[1], {}, "group 2, row 217, column 'number': .*inf"),
    "dates": (
        with_column("number", [datetime.date(2026, 1, 1)] * N)[1],
        {},
        "row 0, column 'number': .*dates",
    ),
    "no rows": (TABLE.slice(0, 0), {}, "the source has no rows but at least 1"),
    "features": (TABLE, {"features": FEATURES[1:]}, "pass features=.*, the columns of the fit"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_new_rows_that_cannot_be_read_are_refused_with_their_place(name, tmp_path):
    table, options, words = UNREADABLE[name]
    model, out = regressor().fit(FRAME, Y), np.full(N, 7.0)
    with pytest.raises((TypeError, ValueError), match=words):
        model.predict(ArrowBlocks(written(tmp_path, table), rows=64, **options), out=out)
    assert np.count_nonzero(out != 7) == (200 if name == "infinity" else 0)  # blocks before it


REFUSED_OUTS = {
    "short": (regressor, Y, np.full(N - 1, 7.0), "299 rows but X has 300"),
    "long": (regressor, Y, np.full(N + 1, 7.0), r"301 rows but X has 300: pass out\[:300\]"),
    "integers": (regressor, Y, np.empty(N, int), "dtype int64 but floats"),
    "short text": (classifier, TARGETS["text"][2], np.empty(N, "U2"), "dtype <U2 but <U4 labels"),
}


@pytest.mark.parametrize("name", REFUSED_OUTS)
def test_an_out_that_does_not_fit_is_refused(name):
    make, y, out, words = REFUSED_OUTS[name]
    model = make().fit(FRAME, y)
    for X in (FRAME, ArrowBlocks(TABLE, rows=64)):
        with pytest.raises(ValueError, match=words):
            model.predict(X, out=out)
    assert "rows" not in words or (out == 7).all()


def test_columns_of_a_fit_without_names_are_read_by_place():
    model = regressor().fit(FRAME[["number", "gaps"]].to_numpy(), Y)
    found = model.predict(ArrowBlocks(TABLE, features=["number", "gaps"]))
    np.testing.assert_array_equal(found, model.predict(FRAME[["number", "gaps"]].to_numpy()))
    with pytest.raises(ValueError, match=r"\(not named\) but column 0, column 1 are expected"):
        model.predict(ArrowBlocks(TABLE))
