"""Tables from files: the same ones whatever is installed, and what is wrong with others."""

import gzip
import io

import children
import numpy as np
import polars
import pytest
from commands import here

import fastmlp
from fastmlp._cli import tables
from fastmlp._cli.tables import Dialect

GERMAN = Dialect(";", ",")
ONE, TWO = "eins", "zw\u00f6i \u0416"  # names that need another number of bytes in each encoding


@pytest.fixture(params=["polars", "pandas", None])
def engine(request, monkeypatch):
    """Hide the libraries of tables but for one, or all."""
    monkeypatch.setattr(tables, "find_spec", lambda name: name == request.param)
    return request.param


def columns_of(content, folder, dialect=Dialect()):  # noqa: B008
    """Return the columns of a file with some bytes, as lists."""
    path = folder / "table.csv"
    path.write_bytes(content)
    frame = tables.read(str(path), dialect)
    return {name: tables.column(frame, name, "the data").tolist() for name in frame.columns}


FORMS = [
    (lambda text, encoding=encoding: text.encode(encoding))
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
]
FORMS += [
    lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    lambda text: gzip.compress(text.encode("utf-16")),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("form", FORMS)
def test_encodings_and_line_ends(form, end, engine, tmp_path):
    lines = [f'{ONE},"{TWO}","a ""b"", c"', '1,"\u00e9, \u00e8",true', "2.5,,False"]
    expected = {ONE: [1.0, 2.5], TWO: ["\u00e9, \u00e8", None], 'a "b", c': [True, False]}
    for last in ("", end):
        assert columns_of(form(end.join(lines) + last), tmp_path) == expected


CELLS = [
    (["1", "9" * 25], [1.0, 1e25]),
    (["1", "-9223372036854775809"], [1.0, -(2.0**63)]),
    (["9007199254740993", "0"], [9007199254740993, 0]),
    (["0.1000000000000000055511151231257827", "4.9e-324"], [0.1, 5e-324]),
    (["007", "+5"], [7, 5]),
    ([" 1", "2 "], [1, 2]),
    (["1_000", "2"], ["1_000", "2"]),
    (["\u0661", "\u0662"], ["\u0661", "\u0662"]),
    (["0x1F", "1"], ["0x1F", "1"]),
    (["1e5", "-inf"], [1e5, -np.inf]),
    (["true", "FALSE"], [True, False]),
    (["true", "NA"], [True, None]),
    (["true", "1"], ["true", "1"]),
    (["None", "2"], [np.nan, 2.0]),
    (["NULL", "N/A"], [np.nan, np.nan]),
    (["2020-01-01", "NaN"], ["2020-01-01", None]),
    (["1,5", "2"], ["1,5", "2"]),
    (["1,5", "2"], [1.5, 2.0], GERMAN),
    (["-0,5e3", ""], [-500.0, np.nan], GERMAN),
    (["1.5", "2"], ["1.5", "2"], GERMAN),  # a thousand's point would be another number
    (["1.234,5", "2"], ["1.234,5", "2"], GERMAN),
    (["x" * 200_000, "a\r\nb"], ["x" * 200_000, "a\r\nb"]),
    (["\u2028", "\x0b\x1c"], ["\u2028", "\x0b\x1c"]),
]


@pytest.mark.parametrize(
    ("cells", "expected", "dialect"),
    [(*case, Dialect(","))[:3] for case in CELLS],
    ids=[ascii(case[0])[:40] for case in CELLS],
)
def test_values(cells, expected, dialect, engine, tmp_path):
    rows = ["x", "y"], *([f'"{cell}"', "0"] for cell in cells)
    content = "\n".join(map(dialect.separator.join, rows)).encode()
    values = columns_of(content, tmp_path, dialect)["x"]
    np.testing.assert_equal(values, expected)
    assert list(map(type, values)) == list(map(type, expected))


@pytest.mark.parametrize(
    ("line", "options", "separator"),
    [
        ("a,b", (), ","),
        ("a;b", (), ";"),
        ("a\tb", (), "\t"),
        ("a|b", (), "|"),
        ('"a;b;c",d', (), ","),
        ("a,5;b", (None, ","), ";"),
        ("a,b;c", (";",), ";"),
        ("a:b", (":",), ":"),
        ("", (), ","),
    ],
)
def test_separators(line, options, separator):
    assert Dialect(*options).separator_of(line) == separator


REFUSED = [
    (b"x,y\n1,2\n\n3,4,5\n", "line 4 has 3 values but there are 2 names: correct it"),
    (b"x,y\r1,2\r3\r", "line 3 has 1 values but there are 2 names"),
    (b'x,y\n1,"a\nb"\n3\n', "line 4 has 1 values"),
    (b"x,y\n1,2\n3,\0\n", "line 3 has a NUL character: remove it"),
    ("x,y\n1,\0\n".encode("utf-16"), "line 2 has a NUL character"),
    (b'x,y\n1,2\n"3,4\n5,6\n', "line 3 has quotes that do not match"),
    (b'x,y\n"1"2,3\n', "line 2 has quotes that do not match"),
    (b"x,y\n1,2\ncaf\xe9,2\n", "line 3 is no text in UTF-8 (invalid continuation byte): pass its"),
    (b"\xff\xfex\0,\0y\0\n\0a\0,", "line 2 is no text in UTF-16 (truncated data)"),
    (b"\xef\xbb\xbfx,y\n\xef\xbb,2\n", "line 2 is no text in UTF-8"),
    (b"x,x\n1,2\n", "two columns have the name 'x': rename one, or write names above the rows"),
    (b"1.24,-0.5,0\n0.3,1.4,1\n", "the first line has numbers such as 1.24 but names"),
    (b"\n\n", "has no rows"),
    (b"", "has no rows"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_tables_that_are_refused(content, message, engine, tmp_path):
    with pytest.raises(tables.CommandError) as caught:
        columns_of(content, tmp_path)
    assert message in str(caught.value)


def test_names_that_are_numbers_are_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="numbers such as 2019 but .*, unless these numbers are"):
        assert columns_of(b"2019,2020\n1,2\n", tmp_path) == {"2019": [1], "2020": [2]}


def test_a_long_table_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 3)
    lines = [f"{k},{k if k < 7 else 'x'}" for k in range(9)]
    found = columns_of("\n".join(["a,b", *lines]).encode(), tmp_path)
    assert found == {"a": [*range(9)], "b": [*map(str, range(7)), "x", "x"]}


def test_commands_read_files_of_all_dialects_alike(engine, tmp_path):
    """A model of one dialect, with an integer beyond 64 bits, predicts and scores another."""
    lines = [f"{10**25 if k == 3 else k},{k / 8},w{k % 3},{k / 4}" for k in range(40)]
    points = ["n,x,word,y", *lines]
    commas = [line.replace(",", ";").replace(".", ",") for line in points]
    (tmp_path / "points.csv").write_text("\n".join(points))
    (tmp_path / "commas.csv").write_bytes("\r\n".join(commas).encode("utf-16"))
    words = ("--target", "y", "--task", "regression", "--preset", "fast", "--seed", "1")
    options = ("--decimal", ",", "--separator", ";")
    for name, more in (("points", ()), ("commas", options)):
        trained = here("train", f"{name}.csv", *words, *more, "-o", name, folder=tmp_path)
        children.printed(trained)
        assert trained.stderr == ""
    assert fastmlp.load(tmp_path / "points").feature_names_in_.tolist() == ["n", "x", "word"]
    for command in ("predict", "evaluate"):
        printed = [
            here(command, model, f"{data}.csv", *more, folder=tmp_path)
            for model in ("points", "commas")
            for data, more in (("points", ()), ("commas", options))
        ]
        assert len({children.printed(result) for result in printed}) == 1
        assert {result.stderr for result in printed} == {""}


def test_a_frame_of_integers_of_128_bits():
    numbers = [10**25 if k == 3 else None if k == 4 else k for k in range(40)]
    made = polars.DataFrame({"n": polars.Series(numbers, dtype=polars.Int128), "x": range(40)})
    content = io.BytesIO(made.write_csv().encode())
    frame = polars.read_csv(content, infer_schema_length=None)
    assert frame["n"].dtype == polars.Int128
    options = {"preset": "fast", "epochs": 2, "random_state": 0}
    model = fastmlp.TabMLPRegressor(**options).fit(frame, np.arange(40.0))
    floats = frame.with_columns(n=frame["n"].cast(polars.Float64))
    other = fastmlp.TabMLPRegressor(**options).fit(floats, np.arange(40.0))
    assert model.predict(frame).tolist() == other.predict(floats).tolist()
