"""Tables in Arrow's format as sources: the blocks of one array, and errors with their place."""

import importlib
import pickle
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars
import pyarrow
import pytest
import scipy.sparse
from pyarrow import parquet
from states import refused

import fastmlp
from fastmlp._training import parquet as parquet_files

N = 157


def columns(seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, N))
    return {"a": a, "n": rng.integers(5, size=N), "y": a * b, "b": b, "w": np.full(N, 1.5)}


TABLE = pyarrow.table(columns())


def written(folder, *tables, **options):
    """Write the tables as Parquet files, and return their paths."""
    paths = [folder / f"{k}.parquet" for k in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        parquet.write_table(table, path, **options)
    return paths


def files(folder):
    ends = (0, 60), (60, 61), (61, N)
    return written(folder, *(TABLE.slice(a, b - a) for a, b in ends), row_group_size=25)


def one_file(folder):
    parquet.write_table(TABLE, folder / "all.parquet")
    return str(folder / "all.parquet")


def polars_frame(folder):
    return polars.from_arrow(TABLE)


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
    for _ in range(2):  # each epoch reads anew
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


@pytest.mark.parametrize("target", ["y", ["y", "z"]], ids=["one", "two"])
@pytest.mark.parametrize("weight", [None, "w"])
def test_derivatives_are_columns(target, weight, tmp_path):
    rng, m = np.random.default_rng(0), len(target)
    x, y, w = rng.normal(size=(N, 2)), rng.normal(size=(N, m)), rng.choice([0, 0.5], N)
    dy = rng.normal(size=(N, m, 2))
    y[::5, 0] = dy[::3, 0, 1] = np.nan
    names = ["a", "b", *target, *(f"{t}{f}" for t in target for f in "ab"), "w"]
    arrays = [*x.T, *y.T, *dy.reshape(N, -1).T, w]
    table = pyarrow.table(dict(zip(names, map(pyarrow.array, arrays), strict=True)))
    parquet.write_table(table.select(names[::-1]), tmp_path / "t.parquet", row_group_size=50)
    options = {"features": ["a", "b"], "dy": names[2 + m : -1], "weight": weight}
    source = fastmlp.ArrowBlocks(tmp_path / "t.parquet", target, **options, rows=20)
    net, other = (fastmlp.MLP([2, 4, m], activation="tanh", rng=0, dtype="float64") for _ in "ab")
    one = net.fit(source, epochs=3, shuffle=False, dy_weight=2.0)
    weights = w if weight else None
    two = other.fit(x, y, sample_weight=weights, dy=dy, dy_weight=2.0, epochs=3, shuffle=False)
    assert one.loss == two.loss
    assert net.evaluate(source) == pytest.approx(other.evaluate(x, y, sample_weight=weights, dy=dy))
    assert net.predict(fastmlp.ArrowBlocks(table, features=["a", "b"])).shape[0] == N


def test_later_tables_are_read_by_the_names_of_the_first(tmp_path):
    turned = TABLE.select(TABLE.column_names[::-1])
    blocks = [*fastmlp.ArrowBlocks(written(tmp_path, TABLE, turned), "y")]
    assert len(blocks) == 2
    assert np.array_equal(*(x for x, _ in blocks))
    epochs = iter([TABLE, turned])
    source = fastmlp.ArrowBlocks(lambda: next(epochs), "y")
    assert np.array_equal(next(iter(source))[0], next(iter(source))[0])


@pytest.mark.parametrize("kind", ["table", "files"])
def test_copies_yield_the_same(kind, tmp_path):
    source = fastmlp.ArrowBlocks(KINDS[kind](tmp_path), "y")
    for (x, y), (other, z) in zip(source, pickle.loads(pickle.dumps(source)), strict=True):
        assert np.array_equal(x, other)
        assert np.array_equal(y, z)


# ---- random order --------------------------------------------------------------------------------

NUMBERED = pyarrow.table({"x": np.arange(1200.0), "y": np.arange(1200.0)})


def numbered(folder, group=100, rows=100, **options):
    """Return a source of numbered rows in three files of row groups."""
    parts = [NUMBERED.slice(400 * k, 400) for k in range(3)]
    return fastmlp.ArrowBlocks(written(folder, *parts, row_group_size=group), "y", rows=rows)


def order(source, draw, at_once=None):
    parts = [batch["y"].to_numpy() for batch, *_ in source.batches(draw, at_once=at_once)]
    return np.concatenate(parts).astype(int)


def test_row_groups_of_all_files_come_in_the_order_that_is_drawn(tmp_path):
    source = numbered(tmp_path)
    draws = np.random.default_rng(0).permutation
    one, two = order(source, draws, 1), order(source, draws, 1)
    assert not np.array_equal(one, two)
    for rows in (one, two):
        groups = rows.reshape(12, 100)
        assert sorted(groups[:, 0]) == list(range(0, 1200, 100))
        assert (np.diff(groups) == 1).all()
    assert np.array_equal(order(source, None), np.arange(1200))


def test_row_groups_are_read_in_turn(tmp_path):
    source = numbered(tmp_path, group=400, rows=100)

    def reverse(n):
        return np.arange(n)[::-1]

    firsts = [batch["y"][0].as_py() // 400 for batch, *_ in source.batches(reverse, at_once=2)]
    assert firsts == [2, 1] * 8 + [0] * 8
    firsts = [y[0] // 400 for _, y in source.ordered(reverse)]
    assert firsts == [2, 1, 0] * 12  # 34 rows each
    assert sorted(order(source, np.random.default_rng(0).permutation)) == list(range(1200))


@pytest.mark.parametrize(("size", "count"), [(1, 8), (2**25, 4), (2**29, 1)])
def test_row_groups_that_are_read_in_turn_fit_into_memory(size, count, tmp_path, monkeypatch):
    groups = numbered(tmp_path).row_groups()
    monkeypatch.setattr(parquet_files.RowGroup, "size", size)
    assert parquet_files.groups_at_once(groups) == count
    assert parquet_files.groups_at_once(groups[:2]) == min(2, count)


class EndedError(Exception):
    pass


@pytest.mark.parametrize(("buffer", "has_folder"), [(None, False), (300, False), (300, True)])
@pytest.mark.filterwarnings("ignore:the blocks of the source differ")
def test_a_fit_that_ends_within_an_epoch_resumes_at_its_beginning(buffer, has_folder, tmp_path):
    class End:
        def on_batch(self, state, batch):
            if batch.epoch == 2 and batch.index == 7:
                raise EndedError

        def __call__(self, state):
            pass

    def fit(*callbacks):
        net = fastmlp.MLP([1, 4, 1], rng=0, dtype="float64")
        path = tmp_path / "net.safetensors"
        sgd = fastmlp.SGD(1e-9)
        checkpoint = fastmlp.Checkpoint(path)
        options = {"epochs": 4, "optimizer": sgd, "shuffle_buffer": buffer, "resume": path}
        options["shuffle_folder"] = tmp_path if has_folder else None
        net.fit(numbered(tmp_path), callbacks=[*callbacks, checkpoint], **options)
        path.unlink()
        return net

    whole = fit()
    with pytest.raises(EndedError):
        fit(End())
    again = fit()
    assert again.history.loss == whole.history.loss
    assert np.array_equal(again.weights[0], whole.weights[0])


# ---- types of columns ----------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize(
    ("first", "second", "wider"),
    [("int32", "float32", "float64"), ("float32", "float64", "float64"), ("int8", "int64", None)],
)
def test_numbers_of_one_name_are_read_as_the_wider_type(first, second, wider, turn, tmp_path):
    tables = [
        pyarrow.table({"x": np.ones(3, kind), "y": np.ones(3, kind)}) for kind in (first, second)
    ]
    source = fastmlp.ArrowBlocks(written(tmp_path, *tables[::turn]), "y")
    for x, y in source:
        assert (x.dtype, y.dtype) == ("float64", wider or "int64")
    assert fastmlp.MLP([1, 1], rng=0).fit(source, epochs=1)


def test_decimals_are_numbers():
    given = pyarrow.array([Decimal("0.1"), Decimal(2)])
    for block in fastmlp.ArrowBlocks(pyarrow.table({"x": given, "y": given}), "y"):
        assert [each.ravel().tolist() for each in block] == [[0.1, 2.0]] * 2


def test_float32_stays_float32():
    table = pyarrow.table({"x": np.ones(3, "float32"), "y": np.arange(3)})
    ((x, y),) = fastmlp.ArrowBlocks(table, "y")
    assert (x.dtype, y.dtype) == (np.float32, np.int64)


def missing(folder):
    parts = [TABLE.set_column(0, "a", pyarrow.array([*range(N - 1), None], "float64"))]
    parquet.write_table(parts[0], folder / "gap.parquet", row_group_size=50)
    return fastmlp.ArrowBlocks(folder / "gap.parquet", "y", rows=20)


def spoiled(value, column="a", row=97):
    """Return the table with another value in one row of a column, in chunks of 40 rows."""
    numbers = TABLE[column].to_pylist()
    numbers[row] = value
    at = TABLE.column_names.index(column)
    table = TABLE.set_column(at, column, pyarrow.array(numbers, "float64"))
    return pyarrow.Table.from_batches(table.to_batches(40))


BAD_VALUES = {
    "none": (None, "a value is missing but a number is expected"),
    "nan": (float("nan"), "nan but a finite number is expected"),
    "inf": (float("inf"), "inf but a finite number is expected"),
    "-inf": (float("-inf"), "-inf but a finite number is expected"),
}


@pytest.mark.parametrize("rows", [7, 1000])
@pytest.mark.parametrize("column", ["a", "y", "w"])
@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_stream_names_the_row_of_a_bad_value(value, column, rows):
    number, words = BAD_VALUES[value]
    source = fastmlp.ArrowBlocks(spoiled(number, column), "y", weight="w", rows=rows)
    with pytest.raises(ValueError, match=f"^row 97, column '{column}': {words}"):
        list(source)


@pytest.mark.parametrize("column", ["a", "y", "w"])
@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_file_names_the_row_of_a_bad_value(value, column, tmp_path):
    number, words = BAD_VALUES[value]
    paths = written(tmp_path, TABLE, spoiled(number, column), row_group_size=30)
    source = fastmlp.ArrowBlocks(paths, "y", weight="w", rows=7)
    place = rf"1\.parquet, row group 3, row 97, column '{column}': {words}"
    with pytest.raises(ValueError, match=place):
        list(source)
    if column != "a":  # a table takes missing numbers
        with pytest.raises(ValueError, match=place):
            fastmlp.TabMLPRegressor(preset="fast", epochs=1, members=2).fit(source)


def test_where_targets_may_be_missing_they_may_be_nan_but_not_infinite():
    for value in (None, float("nan")):
        source = fastmlp.ArrowBlocks(spoiled(value, "b"), ["y", "b"])
        assert np.isnan(np.concatenate([y for _, y in source])[97, 1])
    with pytest.raises(ValueError, match="row 97, column 'b': inf but"):
        list(fastmlp.ArrowBlocks(spoiled(float("inf"), "b"), ["y", "b"]))


def of(data=TABLE, target="y", **options):
    return lambda folder: fastmlp.ArrowBlocks(data, target, **options)


WRONG = [
    (missing, ValueError, r"gap\.parquet, row group 3, row 156, column 'a'"),
    (
        of(pyarrow.table({"t": ["x"], "y": [1.0]})),
        TypeError,
        "row 0, column 't': string but numbers are expected",
    ),
    (of(target="z"), ValueError, "no column 'z': its columns are a, n, y, b, w"),
    (of(features="ab"), ValueError, "no column 'ab'"),
    (of(TABLE.select(["y"])), ValueError, "name features"),
    (
        of(TABLE.rename_columns(list("aaybw"))),
        ValueError,
        "the table has 2 columns 'a': its columns are a, a, y, b, w",
    ),
    (
        lambda folder: fastmlp.ArrowBlocks(written(folder, TABLE, TABLE.drop(["b"])), "y"),
        ValueError,
        r"1\.parquet has no column 'b'",
    ),
    (of(features=["a", "y"]), ValueError, "'y' is target and feature but"),
    (of(features=["a", "b"], dy=["b", "n"]), ValueError, "'b' is dy and feature but"),
    (of(features="a", dy=["y", "n"]), ValueError, "'y' is dy and target but"),
    (of(target=None, features="a", dy="b"), ValueError, "but target or features are not passed"),
    (of(dy="b"), ValueError, "features in the order of dy"),
    (of(features=["a", "n"], dy=["b", "b"]), ValueError, "names that differ are expected"),
    (
        of(features=["a", "n"], dy="b"),
        ValueError,
        "dy has 1 names but the derivatives of 1 targets by 2 features are 2",
    ),
    (of(weight="y"), ValueError, "'y' is target and weight but"),
    (of(lambda: None), TypeError, "data returned None .* but an Arrow table is exp"),
    (lambda path: fastmlp.ArrowBlocks(path / "none", "y"), FileNotFoundError, "none"),
]


@pytest.mark.parametrize(("make", "error", "message"), WRONG)
def test_what_is_wrong_is_said_with_its_place(make, error, message, tmp_path):
    net = fastmlp.MLP([4, 1], rng=0)
    with refused(error, message, net):
        net.fit(make(tmp_path), epochs=1)


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


def test_predictions_of_a_table_without_targets():
    net = fastmlp.MLP([2, 4, 1], rng=0)
    x = np.column_stack([columns()["b"], columns()["a"]])
    out = np.empty((N, 1), np.float32)
    net.predict(fastmlp.ArrowBlocks(TABLE, features=["b", "a"], rows=50), out=out)
    assert np.allclose(out, net.predict(x), atol=1e-6)
    with pytest.raises(TypeError, match="a tuple of length 1 but"):
        net.fit(fastmlp.ArrowBlocks(TABLE, features=["b", "a"]))


@pytest.mark.parametrize("rows", [N - 1, N + 1])
@pytest.mark.parametrize("kind", sorted({*KINDS} - {"callable", "duckdb"}))
def test_a_wrong_number_of_rows_is_found_before_anything_is_written(kind, rows, tmp_path):
    source = fastmlp.ArrowBlocks(KINDS[kind](tmp_path), features=["b", "a"], rows=50)
    out = np.full((rows, 1), 7.0)
    with pytest.raises(ValueError, match=f"out has {rows} rows but X has {N}: pass"):
        fastmlp.MLP([2, 1], rng=0).predict(source, out=out)
    assert (out == 7).all()


# ---- the recipes of docs/sources.md --------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
RECIPES = re.findall(r"`([^`]+)`", PAGE.partition("| data | source |")[2].partition("\n\n")[0])
RECIPES = [recipe for recipe in RECIPES if "(" in recipe]
NEEDED = {
    "duckdb": "duckdb",
    "frame": "polars",
    "lazy": "polars",
    "group": "zarr",
    "loader": "torch",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipes_of_the_page_give_the_rows(recipe, tmp_path, monkeypatch):
    needed = [NEEDED[word] for word in re.findall(r"\w+", recipe) if word in NEEDED]
    names = {name: pytest.importorskip(name) for name in needed}  # skipped with the reason
    names |= {"fastmlp": fastmlp, "np": np, "glob": importlib.import_module("glob")}
    names["pyarrow"] = pyarrow
    importlib.import_module("pyarrow.dataset")
    importlib.import_module("pyarrow.csv").write_csv(TABLE, tmp_path / "data.csv")
    (tmp_path / "data").mkdir()
    files(tmp_path / "data")
    given = columns()
    x = np.column_stack([given[name] for name in "anbw"])
    np.save(tmp_path / "X.npy", x)
    np.save(tmp_path / "y.npy", given["y"])
    names["matrix"], names["y"] = scipy.sparse.csr_array(x), given["y"]
    if "polars" in names:
        names["frame"] = names["polars"].from_arrow(TABLE)
        names["lazy"] = names["frame"].lazy()
    if "zarr" in names:
        names["group"] = names["zarr"].group()
        for name, array in (("X", x), ("y", given["y"])):
            names["group"].create_array(name, data=array)
    if "torch" in names:
        tensors = map(names["torch"].from_numpy, (x, given["y"]))
        set_of_rows = names["torch"].utils.data.TensorDataset(*tensors)
        names["loader"] = names["torch"].utils.data.DataLoader(set_of_rows, batch_size=50)
    monkeypatch.chdir(tmp_path)
    source = eval(recipe, names)
    net = fastmlp.MLP([4, 4, 1], rng=0, dtype="float64")
    net.fit(source, epochs=2, validation_data=source, shuffle_buffer=500)
    assert net.evaluate(source) == pytest.approx(net.evaluate(x, given["y"]), rel=1e-9)
    assert np.allclose(net.predict(source), net.predict(x))


def test_all_recipes_of_the_page_are_run():
    assert len(RECIPES) == 14


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1?")
    with pytest.raises(ValueError, match="Parquet") as caught:
        next(fastmlp.ArrowBlocks([tmp_path / "bad.parquet"], "y").batches())
    assert caught.value.__notes__[0] == f"in {tmp_path / 'bad.parquet'}"
