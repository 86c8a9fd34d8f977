"""Reading of columns: every form of a table gives the numbers or codes of its single cells."""

import pickle
from decimal import Decimal

import numpy as np
import pandas
import polars
import pytest
from tiny_tables import classifier

from fastmlp import MLPClassifier
from fastmlp.tabular.table.columns import MISSING, Columns

N = 48  # more rows than are read as one array of objects
TEXT = ["red", "blue", "", "äöü", "a\0b", "red "]
BIG = 2**60
# Cells of a column, repeated; whether they are categories; values of a later table.
CELLS = {
    "text": (TEXT, True, ["green", "blu"]),
    "missing text": ([*TEXT, None], True, ["green", None]),
    "bytes": ([b"red", b"", b"blue"], True, [b"green"]),
    "booleans": ([True, False, False], True, [True]),
    "missing booleans": ([True, None, False], True, [None]),
    "codes": ([3, 1, 4, 1, 5], True, [9, 2]),
    "large codes": ([BIG, BIG + 1, -BIG, 0], True, [BIG + 2]),
    "missing codes": ([3, None, 1], True, [2, None]),
    "fractions": ([0.5, 2.0, -0.0, 1e300, float("nan")], True, [0.25, 2.5]),
    "mixed": (["a", 1, 2.0, True, None, b"a", float("nan")], True, ["1", 3, "b", b"b"]),
    "numbers": ([0.1, -2.0, 3e5, float("nan")], False, [4.0, float("nan")]),
    "missing numbers": ([0.1, None, 7.0], False, [None, 8.5]),
    "whole numbers": ([2**53 + 1, -7, 0], False, [2**61]),
    "missing whole numbers": ([5, None, -7], False, [1]),
    "decimals": ([Decimal("0.10"), Decimal("12.30"), None], False, [Decimal("7.25")]),
}


def pandas_of(beside="text", **options):
    """Return a function that makes a frame of a column beside a constant, which is not used."""
    return lambda cells: pandas.DataFrame({"a": pandas.Series(cells, **options), "z": beside})


def chunked(frame):
    return pandas.concat([frame[:1], frame[1:20], frame[20:]], ignore_index=True)


def of_type(dtype):
    return lambda cells: np.array(cells, dtype)[:, np.newaxis]


def object_array(cells):
    return np.fromiter(cells, object)[:, np.newaxis]


WHOLE, NUMERIC = {"codes", "large codes", "whole numbers"}, {"codes", "fractions", "numbers"}
STRINGS = {"text", "missing text"}
ONE_TYPE = CELLS.keys() - {"mixed"}
# A form of a table, and the columns that have it.
FORMS = {
    "objects": (pandas_of(dtype=object), CELLS.keys()),
    "inferred": (pandas_of(), ONE_TYPE - {"missing booleans"}),
    "inferred, beside numbers": (pandas_of(0.5), ONE_TYPE - {"missing booleans"}),
    "str": (pandas_of(dtype="str"), STRINGS),
    "string": (pandas_of(dtype="string"), STRINGS),
    "category": (pandas_of(dtype="category"), ONE_TYPE - {"decimals"}),
    "nullable": (lambda x: pandas_of(dtype=object)(x).convert_dtypes(), ONE_TYPE - {"bytes"}),
    "Arrow": (
        lambda x: chunked(pandas_of()(x).convert_dtypes(dtype_backend="pyarrow")),
        ONE_TYPE - {"missing booleans"},
    ),
    "polars": (lambda x: polars.DataFrame({"a": x}, strict=False), ONE_TYPE),
    "polars, chunks": (
        lambda x: polars.concat(
            [polars.DataFrame({"a": x}, strict=False)[k : k + 9] for k in range(0, len(x), 9)],
            rechunk=False,
        ),
        ONE_TYPE,
    ),
    "Categorical": (
        lambda x: polars.DataFrame({"a": polars.Series(x, dtype=polars.Categorical)}),
        STRINGS,
    ),
    "array of objects": (object_array, CELLS.keys()),
    "every second column": (lambda x: np.repeat(object_array(x), 2, axis=1)[:, ::2], CELLS.keys()),
    "array of text": (of_type("U"), {"text"}),
    "array of strings": (of_type(np.dtypes.StringDType()), {"text"}),
    "array of booleans": (of_type(bool), {"booleans"}),
    "big-endian": (of_type(">f8"), NUMERIC),
    "int64": (of_type("i8"), WHOLE),
    "big-endian integers": (of_type(">i8"), WHOLE),
    "columns of Fortran": (lambda x: np.asfortranarray(of_type("f8")(x)), NUMERIC),
}


def is_missing(cell):
    return cell is None or cell != cell


def expected(cells, values):
    """Return what a column is read as, cell by cell."""
    if values is None:
        return [np.nan if is_missing(cell) else float(cell) for cell in cells]
    known = [None if is_missing(cell) else cell for cell in cells]
    return [values.index(cell) if cell in values else MISSING for cell in known]


@pytest.mark.crossed
@pytest.mark.parametrize(
    ("form", "kind"), [(form, kind) for form, (_, kinds) in FORMS.items() for kind in sorted(kinds)]
)
@pytest.mark.filterwarnings("ignore:.* and no value of the fit")
def test_a_form_of_a_table_is_read_as_its_cells(form, kind):
    make, (cells, are_categories, later) = FORMS[form][0], CELLS[kind]
    cells = (cells * N)[:N]
    later = (cells[:N] + later * N)[: 2 * N]
    columns = Columns.of(make(cells), [0] if are_categories else None)
    assert pickle.loads(pickle.dumps(columns)) == columns
    ((_, column),) = columns.categories or columns.numbers
    assert bool(columns.categories) == are_categories
    assert MISSING not in expected(cells, column.values)
    for rows in (cells, later):
        table, wanted = make(rows), expected(rows, column.values)
        whole = columns.read(table)
        values = whole.codes if are_categories else whole.numbers
        np.testing.assert_array_equal(values[:, 0], wanted)
        for n in (1, 20):
            parts = [columns.read(table[k : k + n]) for k in range(0, len(rows), n)]
            for name in ("numbers", "codes"):
                read = np.concatenate([getattr(part, name) for part in parts])
                np.testing.assert_array_equal(read, getattr(whole, name))


def test_a_row_whose_common_type_lacks_a_number_of_it_is_read():
    """Pandas converts 2**62 + 1 and 1e300 to the type of the third column, which has neither."""
    columns = {"large": [2**62 + 1] * 30, "wide": [1e300] * 30}
    frame = pandas.DataFrame(columns | {"arrow": pandas.array(range(30), dtype="int64[pyarrow]")})
    whole = Columns.of(frame, None).read(frame).numbers
    np.testing.assert_array_equal(Columns.of(frame, None).read(frame.iloc[[7]]).numbers, whole[[7]])


LABELS = {
    "Int64": [2**60 + 1, 2**60, 5],  # float64 has one number for the first two
    "int64[pyarrow]": [2**60 + 1, 2**60, 5],
    "UInt8": [0, 1, 2],
    "boolean": [True, False, True],
    "bool[pyarrow]": [True, False, True],
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", LABELS)
@pytest.mark.parametrize("make", [classifier, lambda: MLPClassifier(max_iter=1)])
def test_labels_of_pandas_types_are_those_of_numpy(dtype, make, tiny):
    y, X = pandas.Series(LABELS[dtype] * 16, dtype=dtype), np.arange(N * 2.0).reshape(N, 2)
    expected = np.unique(LABELS[dtype])
    for labels in (y, y.array, pandas.Index(y)):
        classes = make().fit(X, labels).classes_
        assert classes.dtype.kind in "iub"
        np.testing.assert_array_equal(classes, expected)
    if expected.dtype.kind == "b":
        matrix = pandas.DataFrame({"u": y, "v": ~y})
        assert make().fit(X, matrix).predict(X).shape == (N, 2)
