"""Cells of dates, which are read without arrays, and numbers derived of rows: the same bits."""

import datetime
import itertools
import zoneinfo

import numpy as np
import pandas
import pytest

from fastmlp.tabular.table.columns import Columns, Derived, Table
from fastmlp.tabular.table.forms import Form
from fastmlp.tabular.table.rows import DERIVED, Derivation, read_row

RNG = np.random.default_rng(0)
UTC = datetime.UTC
MOMENTS = [
    datetime.datetime.min,
    datetime.datetime.max,
    *itertools.starmap(
        datetime.datetime,
        [(1970, 1, 1), (1969, 12, 31, 23, 59, 59, 999_999), (1900, 2, 28), (2000, 2, 29, 12)],
    ),
    *(datetime.datetime(2024, month, 28, 7) + datetime.timedelta(4) for month in range(1, 13)),
    *(
        datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=int(n))
        for n in RNG.integers(-6e16, 2e17, 200)
    ),
]
WHOLE = [moment.replace(microsecond=0) for moment in MOMENTS]
ZONES = [
    UTC,
    zoneinfo.ZoneInfo("Europe/Berlin"),
    datetime.timezone(datetime.timedelta(hours=-9, minutes=-30, microseconds=1)),
]
IN_PANDAS = [moment for moment in MOMENTS if 1700 < moment.year < 2200]
DATES = {
    "datetimes": MOMENTS,
    "days": [moment.date() for moment in MOMENTS],
    "of pandas": [pandas.Timestamp(moment) for moment in IN_PANDAS],
    "with nanoseconds": [
        pandas.Timestamp(moment) + pandas.Timedelta(sign * 7, "ns")
        for moment in IN_PANDAS
        for sign in (-1, 1)
    ],
    **{
        f"NumPy's {unit}": [np.datetime64(moment, unit) for moment in IN_PANDAS]
        for unit in ("D", "h", "s", "ms", "us", "ns")
    },
    "several units": [np.datetime64(moment, "us").astype("M8[7s]") for moment in IN_PANDAS],
    **{
        f"text {form}": [f"{moment:{form}}".zfill(10) for moment in IN_PANDAS]
        for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S")
    },
    "missing": [None, np.nan, pandas.NaT],
}
ZONED = [
    moment.replace(tzinfo=zone) for moment in MOMENTS[2:] for zone in ZONES if moment.year < 9999
]
INSTANTS = {
    "datetimes": ZONED,
    "of pandas": [
        pandas.Timestamp(moment).tz_localize("UTC").tz_convert(zone)
        for moment in IN_PANDAS
        for zone in ("UTC", "Asia/Kolkata", "America/New_York")
    ],
    "twice in autumn": [
        datetime.datetime(2024, 10, 27, 2, 30, tzinfo=ZONES[1], fold=fold) for fold in (0, 1)
    ],
    "text Z": [f"{moment:%Y-%m-%dT%H:%M:%S}Z" for moment in IN_PANDAS],
    "text ahead": [f"{moment:%Y-%m-%d %H:%M}+05:30" for moment in IN_PANDAS],
    "text behind": [f"{moment:%Y-%m-%d %H:%M:%S}-23:59" for moment in IN_PANDAS],
    "missing": [None, np.nan, pandas.NaT],
}
CASES = [("date", name) for name in DATES] + [("instant", name) for name in INSTANTS]


def cell(value):
    found = np.empty(1, object)
    found[0] = value
    return found


def seconds(kind, value, left, missing=frozenset()):
    """Return the number of a cell; what is not plain is put into a list."""
    column = 0, frozenset(), lambda other: left.append(other) or -1.0, (kind == "instant", missing)
    return read_row([value], (column,), (), 1)[0][0]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_plain_dates_are_read_at_once_with_the_bits_of_columns(kind, name):
    form, left = Form(kind), []
    for value in (DATES if kind == "date" else INSTANTS)[name]:
        found = seconds(kind, value, left)
        assert np.float64(found).tobytes() == form.read(cell(value), "at").tobytes(), value
    assert not left


OTHERS = {
    "date": [
        *("2024-02-30", "2023-02-29", "1900-02-29", "2024-04-31", "2024-13-01", "2024-00-10"),
        *("0000-01-01", "2024-1-2", "2024/01/02", "2024-01-02 24:00", "2024-01-02 10:60", ""),
        *("2024-01-02 10:00:60", "2024-01-02 10:00.5", "2024-01-02 10", "2024-01-02 1:00"),
        *("2024-01-02  10:00", "2024-01-02x10:00", "2024-01-02T10:00Z", "2024-01-02T10:00+01:00"),
        *(
            "20240102",
            "2024-01-0\u0663",
            "2024-01-\ud800",
            "-024-01-01",
            "2024-+1-01",
            " 2024-01-02",
        ),
        *(
            1,
            2.5,
            np.inf,
            True,
            b"2024-01-02",
            "n/a",
            datetime.timedelta(1),
            np.timedelta64(1, "s"),
        ),
        *(np.datetime64("NaT"), np.datetime64("10000-01-01"), np.datetime64("0000-12-31", "ms")),
        *(ZONED[0], pandas.Timestamp(np.datetime64("10000-01-01", "s")), [1], np.float64(1)),
    ],
    "instant": [
        *(
            "2024-01-02",
            "2024-01-02Z",
            "2024-01-02T10:00",
            "2024-01-02T10:00+24:00",
            "2024-01-02+01:00",
        ),
        *(
            "2024-01-02T10:00+01:60",
            "2024-01-02T10:00+0100",
            "2024-01-02T10:00z",
            "2024-01-02T10:00+",
        ),
        *(
            "0001-01-01T00:00+00:01",
            "9999-12-31T23:59-00:01",
            datetime.date(2024, 1, 2),
            MOMENTS[0],
        ),
        *(np.datetime64("2024-01-02"), 5.0, pandas.Timestamp("2024-01-02")),
        datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        datetime.datetime.max.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=-1))),
    ],
}


@pytest.mark.parametrize(("kind", "value"), [(k, v) for k in OTHERS for v in OTHERS[k]])
def test_other_cells_are_left_to_others(kind, value):
    left = []
    assert seconds(kind, value, left) == -1
    assert left == [value] or left[0] is value


def test_texts_that_count_as_missing_are_left_to_others():
    left = []
    assert seconds("date", "9999-12-31", left, frozenset({"9999-12-31"})) == -1
    assert left == ["9999-12-31"]


def test_a_zone_without_an_offset_is_left_to_others():
    class Nowhere(datetime.tzinfo):
        def utcoffset(self, _):
            return None

    left = []
    assert seconds("instant", datetime.datetime(2024, 1, 2, tzinfo=Nowhere()), left) == -1
    assert left


# ---------------------------------------------------------------- derived numbers


def dated(n=500):
    start = pandas.Timestamp("2019-01-01")
    days = pandas.to_timedelta(RNG.integers(0, 10**8, (2, n)).ravel(), "s").to_numpy().reshape(2, n)
    sizes = pandas.Categorical(
        np.array(["s", "m", "l", None], object)[RNG.integers(0, 4, n)],
        ["s", "m", "l"],
        ordered=True,
    )
    frame = pandas.DataFrame({"x": RNG.normal(size=n), "a": start + days[0], "b": start + days[1]})
    frame.loc[::7, "a"] = pandas.NaT
    return frame.assign(size=sizes)


def expected(columns, table):
    """Return what NumPy derives, kind by kind."""
    n, parts = len(columns.numbers), []
    numbers, codes = table.numbers[:, :n], table.codes
    for kind, of, by, phase in columns.derived:
        if kind == "wave":
            angle = np.fmod(numbers[:, of], by) * (2 * np.pi / by)
            parts.append(np.sin(angle + phase))
        elif kind == "difference":
            parts.append(numbers[:, of] - numbers[:, by])
        else:
            parts.append(np.where((codes[:, of] >= 0) & (codes[:, of] < by), codes[:, of], np.nan))
    return np.concatenate(parts, axis=1)


def test_derived_numbers_have_the_bits_of_numpy():
    frame = dated()
    columns = Columns.of(frame)
    assert [at.kind for at in columns.derived] == [*DERIVED]
    table = columns.read(frame)
    n = len(columns.numbers)
    assert table.numbers[:, n:].tobytes() == expected(columns, table).tobytes()
    for row, codes in zip(table.numbers, table.codes, strict=True):
        again = np.append(row[:n], np.zeros(len(row) - n))
        columns.derivation(again, codes)
        assert again.tobytes() == row.tobytes()


def test_a_derivation_looks_at_what_it_is_given():
    wave = Derived("wave", np.array([0]), np.array([7.0]), np.array([0.0]))
    difference = Derived("difference", np.array([1]), np.array([0]), np.array([0]))
    rank = Derived("rank", np.array([0]), np.array([3]), np.array([0]))
    numbers, codes = np.zeros((4, 5)), np.zeros((4, 1), np.int32)
    derive = Derivation(2, 1, [wave, difference, rank])
    derive(numbers, codes)
    derive(numbers[0], codes[0])
    for wrong in (
        (numbers[:, 1:], codes),
        (numbers, codes[1:]),
        (numbers.astype(np.float32), codes),
        (numbers, codes.astype(np.int64)),
        (numbers[:, ::-1], codes),
        (np.zeros((2, 2, 5)), codes),
    ):
        with pytest.raises(ValueError, match="numbers of 5 columns and codes of 1 are expected"):
            derive(*wrong)
    frozen = numbers.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="numbers of 5 columns"):
        derive(frozen, codes)
    for wrong in (
        [wave._replace(of=np.array([2]))],
        [wave._replace(of=np.array([-1]))],
        [difference._replace(by=np.array([2]))],
        [difference._replace(by=np.array([-1]))],
        [rank._replace(of=np.array([1]))],
        [wave._replace(by=np.array([7.0, 8.0]))],
        [wave._replace(phase=np.zeros(0))],
        [difference, wave],
    ):
        with pytest.raises(ValueError, match="derived numbers are not of|1 places but"):
            Derivation(2, 1, wrong)


def test_tables_of_any_strides_are_derived():
    frame = dated()
    columns = Columns.of(frame)
    table = columns.read(frame)
    numbers, codes = table.numbers.copy(order="F"), table.codes[::-1].copy()[::-1]
    numbers[:, len(columns.numbers) :] = 0
    columns.derive(Table(numbers, codes))
    assert numbers.flags.f_contiguous
    assert numbers.tobytes() == table.numbers.tobytes()


def test_no_rows_have_no_derived_numbers():
    columns = Columns.of(dated())
    table = Table(np.zeros((0, columns.n_numbers)), np.zeros((0, 1), np.int32))
    assert columns.derive(table) is table
