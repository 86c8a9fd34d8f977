"""Tables in Arrow's format as sources: the blocks of one array, and errors with their place."""

import numpy as np
import pytest

import fastmlp

pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
from pyarrow import parquet  # noqa: E402

N = 157


def columns(seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, N))
    return {"a": a, "n": rng.integers(5, size=N), "y": a * b, "b": b, "w": rng.uniform(1, 2, N)}


TABLE = pyarrow.table(columns())


def files(folder):
    paths = []
    for k, (first, end) in enumerate([(0, 60), (60, 61), (61, N)]):
        paths.append(folder / f"{k}.parquet")
        parquet.write_table(TABLE.slice(first, end - first), paths[-1], row_group_size=25)
    return paths


def one_file(folder):
    parquet.write_table(TABLE, folder / "all.parquet")
    return str(folder / "all.parquet")


def polars_frame(folder):
    return pytest.importorskip("polars").from_arrow(TABLE)


def query(folder):
    duckdb = pytest.importorskip("duckdb")
    return lambda: duckdb.from_arrow(TABLE)


KINDS = {
    "table": lambda folder: TABLE,
    "callable": lambda folder: (
        lambda: pyarrow.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches(40))
    ),
    "file": one_file,
    "files": files,
    "polars": polars_frame,
    "duckdb": query,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 50, 1000])
@pytest.mark.parametrize("target", ["y", ["y", "b"]], ids=["one", "two"])
def test_blocks_are_those_of_the_arrays(kind, rows, target, tmp_path):
    given = columns()
    names = ["a", "n"] if target != "y" else ["a", "n", "b"]
    x = np.column_stack([given[name] for name in names])
    y = given["y"] if target == "y" else np.column_stack([given["y"], given["b"]])
    source = fastmlp.ArrowBlocks(KINDS[kind](tmp_path), target, weight="w", rows=rows)
    for _ in range(2):  # in each epoch anew
        found = list(source)
        assert max(len(block[0]) for block in found) <= rows
        for expected, part in zip((x, y, given["w"]), zip(*found, strict=True), strict=True):
            assert np.array_equal(np.concatenate(part), expected)
    net, other = (fastmlp.MLP([x.shape[1], 4, y[0].size], rng=0, dtype="float64") for _ in "ab")
    one = net.fit(source, epochs=3, shuffle=False)
    two = other.fit(x, y, sample_weight=given["w"], epochs=3, shuffle=False)
    assert one.loss == two.loss


def test_features_are_chosen_by_name():
    ((x, y),) = fastmlp.ArrowBlocks(TABLE, "y", features=np.array(["b", "a"]))
    assert np.array_equal(x, np.column_stack([columns()["b"], columns()["a"]]))
    assert y.shape == (N,)


def files(folder, *tables):
    """Write the tables as Parquet files, and return their paths."""
    for k, table in enumerate(tables):
        parquet.write_table(table, folder / f"{k}.parquet")
    return [folder / f"{k}.parquet" for k in range(len(tables))]


def test_later_tables_are_read_by_the_names_of_the_first(tmp_path):
    turned = TABLE.select(TABLE.column_names[::-1])
    blocks = [*fastmlp.ArrowBlocks(files(tmp_path, TABLE, turned), "y")]
    assert len(blocks) == 2
    assert np.array_equal(*(x for x, _ in blocks))
    epochs = iter([TABLE, turned])
    source = fastmlp.ArrowBlocks(lambda: next(epochs), "y")
    assert np.array_equal(next(iter(source))[0], next(iter(source))[0])


def test_float32_stays_float32():
    table = pyarrow.table({"x": np.ones(3, "float32"), "y": np.arange(3)})
    ((x, y),) = fastmlp.ArrowBlocks(table, "y")
    assert (x.dtype, y.dtype) == (np.float32, np.int64)


def missing(folder):
    parts = [TABLE.set_column(0, "a", pyarrow.array([*range(N - 1), None], "float64"))]
    parquet.write_table(parts[0], folder / "gap.parquet", row_group_size=50)
    return fastmlp.ArrowBlocks(folder / "gap.parquet", "y", rows=20)


WRONG = {
    "a value is missing": (missing, ValueError, r"gap\.parquet, row group 3, row 156, column 'a'"),
    "text": (
        lambda folder: fastmlp.ArrowBlocks(pyarrow.table({"t": ["x"], "y": [1.0]}), "y"),
        TypeError,
        "row 0, column 't': string but numbers are expected",
    ),
    "no such column": (
        lambda folder: fastmlp.ArrowBlocks(TABLE, "z"),
        ValueError,
        "no column 'z': its columns are a, n, y, b, w",
    ),
    "one feature that is no column": (
        lambda folder: fastmlp.ArrowBlocks(TABLE, "y", features="ab"),
        ValueError,
        "no column 'ab'",
    ),
    "no features": (
        lambda folder: fastmlp.ArrowBlocks(TABLE.select(["y"]), "y"),
        ValueError,
        "name features",
    ),
    "a name twice": (
        lambda folder: fastmlp.ArrowBlocks(TABLE.rename_columns(list("aaybw")), "y"),
        ValueError,
        "the table has 2 columns 'a': its columns are a, a, y, b, w",
    ),
    "a later file lacks a column": (
        lambda folder: fastmlp.ArrowBlocks(files(folder, TABLE, TABLE.drop(["b"])), "y"),
        ValueError,
        r"1\.parquet has no column 'b'",
    ),
    "no file": (
        lambda folder: fastmlp.ArrowBlocks(folder / "none", "y"),
        FileNotFoundError,
        "none",
    ),
}


@pytest.mark.parametrize(("make", "error", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_its_place(make, error, message, tmp_path):
    net = fastmlp.MLP([4, 1], rng=0)
    before = net.weights[0].copy()
    with pytest.raises(error, match=message):
        net.fit(make(tmp_path), epochs=1)
    assert np.array_equal(net.weights[0], before)


@pytest.mark.parametrize("data", [3, [], [3], {"a": 1}], ids=str)
def test_other_data_are_refused(data):
    with pytest.raises((TypeError, ValueError), match="expected"):
        fastmlp.ArrowBlocks(data, "y")


@pytest.mark.parametrize(
    "names", [{"target": 3}, {"target": []}, {"target": ["y", 3]}, {"features": [1]}], ids=str
)
def test_names_of_columns_are_strings(names):
    with pytest.raises((TypeError, ValueError), match=f"{next(iter(names))} is .*expected"):
        fastmlp.ArrowBlocks(TABLE, **{"target": "y"} | names)


def test_a_file_needs_no_more_memory_than_its_blocks(tmp_path):
    rng = np.random.default_rng(0)
    table = pyarrow.table({name: rng.normal(size=800_000) for name in "abcdefgy"})
    parquet.write_table(table, tmp_path / "large.parquet", row_group_size=50_000)
    size = table.nbytes
    del table
    before = pyarrow.total_allocated_bytes()
    most = 0
    for _ in fastmlp.ArrowBlocks(tmp_path / "large.parquet", "y", rows=10_000):
        most = max(most, pyarrow.total_allocated_bytes() - before)
    assert most < size / 3
