"""Parquet files by all their doors: folders, patterns, datasets, stores; and what fails there."""

import io
import itertools
import re
import traceback

import fsspec
import numpy as np
import pyarrow
import pytest
import store
from pyarrow import csv, dataset, fs, parquet
from pyarrow.dataset import field
from states import refused

import fastmlp

N = 300
pytestmark = [
    pytest.mark.usefixtures("no_waiting"),
    pytest.mark.filterwarnings("ignore:the blocks of the source differ"),
]


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr("fastmlp._training.stores.retried.__defaults__", ((0.0, 0.0, 0.0),))


@pytest.fixture
def folder(tmp_path):
    """A folder of numbered rows in folders of years and regions."""
    x = np.arange(float(N))
    table = pyarrow.table({"x": x, "y": x**2})
    places = itertools.product((2024, 2025, 2026), "ab")
    for k, (year, region) in enumerate(places):
        part = tmp_path / "bucket" / f"year={year}" / f"region={region}"
        part.mkdir(parents=True)
        parquet.write_table(table.slice(50 * k, 50), part / "0.parquet", row_group_size=20)
    (tmp_path / "bucket" / "_SUCCESS").touch()
    return tmp_path / "bucket"


@pytest.fixture
def served(folder):
    with store.running(folder.parent) as running:
        yield running


def s3(served):
    return fs.S3FileSystem(
        endpoint_override=served.address, scheme="http", anonymous=True, region="us-east-1"
    )


def address(served, key="secret"):
    options = f"endpoint_override={served.address}&scheme=http&region=us-east-1"
    return f"s3://AKID:{key}@bucket?{options}"


DOORS = {
    "folder": lambda folder, _: {"data": folder},
    "path": lambda folder, _: {"data": f"{folder}/"},
    "pattern": lambda folder, _: {"data": f"{folder}/year=*/region=[ab]/*.parquet"},
    "folders": lambda folder, _: {"data": sorted(folder.glob("year=*/"))},
    "files": lambda folder, _: {"data": sorted(folder.rglob("*.parquet"))},
    "dataset": lambda folder, _: {"data": dataset.dataset(folder, partitioning="hive")},
    "fsspec": lambda folder, _: {"data": [str(folder)], "filesystem": fsspec.filesystem("file")},
    "address of fsspec": lambda folder, _: {"data": f"local://{folder}"},
    "S3": lambda _, served: {"data": "bucket", "filesystem": s3(served)},
    "pattern of S3": lambda _, served: {
        "data": "bucket/year=*/*/0.parquet",
        "filesystem": s3(served),
    },
    "address of S3": lambda _, served: {"data": address(served)},
    "HTTP": lambda folder, served: {
        "data": [
            f"http://{served.address}/bucket/{file.relative_to(folder).as_posix()}"
            for file in sorted(folder.rglob("*.parquet"))
        ]
    },
}


SLOW = {"pattern of S3", "address of S3"}
MARKED = {door: pytest.param(door, marks=[pytest.mark.slow] * (door in SLOW)) for door in DOORS}


@pytest.mark.parametrize("door", MARKED.values())
def test_every_door_gives_the_rows(door, folder, served):
    if door == "HTTP":
        pytest.importorskip("aiohttp", reason="needs aiohttp")
    source = fastmlp.ArrowBlocks(**DOORS[door](folder, served), target="y", features="x", rows=30)
    assert source.n == N
    rows = np.concatenate([x for x, _ in source]).ravel()
    np.testing.assert_array_equal(rows, np.arange(N))
    net = fastmlp.MLP([1, 4, 1], rng=0)
    net.fit(source, epochs=1, shuffle_buffer=100)
    np.testing.assert_allclose(net.predict(source), net.predict(np.arange(float(N))[:, None]))


@pytest.mark.parametrize(
    "door", [MARKED[door] for door in DOORS if door not in ("files", "folders", "HTTP", "S3")]
)
def test_folders_are_columns(door, folder, served):
    source = fastmlp.ArrowBlocks(
        **DOORS[door](folder, served), target="y", features=["year", "x"], filter=field("x") > 120
    )
    x = np.concatenate([x for x, _ in source])
    np.testing.assert_array_equal(x[:, 1], np.arange(121, N))
    np.testing.assert_array_equal(x[:, 0], 2024 + x[:, 1] // 100)


def test_folders_of_text_are_categories_of_tables(folder):
    source = fastmlp.ArrowBlocks(folder, "y")
    options = {"preset": "fast", "epochs": 2, "width": 8, "folds": 2, "random_state": 0}
    model = fastmlp.TabMLPRegressor(**options).fit(source)
    assert model.feature_names_in_.tolist() == ["x", "year", "region"]
    assert model.report().kinds == {"numbers": 2, "dates": 0, "categories": 1}
    frame = dataset.dataset(folder, partitioning="hive").to_table().to_pandas()
    np.testing.assert_array_equal(
        model.predict(source), model.predict(frame[["x", "year", "region"]])
    )
    with pytest.raises(TypeError, match="region=[ab]/0.parquet, row group ., row .*'region'"):
        fastmlp.MLP([3, 1]).fit(source)


CHOSEN = {
    "rows": (field("x") >= 130, 170),
    "folders": (field("year") == 2025, 100),
    "both": ((field("region") == "b") & (field("x") < 60), 10),
    "no rows": (field("x") < 0, 0),
}


@pytest.mark.parametrize("chosen", CHOSEN)
@pytest.mark.parametrize("kind", ["path", "dataset", "filtered dataset"])
def test_a_filter_chooses_rows(chosen, kind, folder):
    expression, count = CHOSEN[chosen]
    options = {"target": "y", "features": "x", "filter": expression}
    data = folder if kind == "path" else dataset.dataset(folder, partitioning="hive")
    if kind == "filtered dataset":
        data, options["filter"] = data.filter(expression), None
    source = fastmlp.ArrowBlocks(data, **options)
    assert source.n is None
    rows = [y for _, y in source]
    expected = dataset.dataset(folder, partitioning="hive").to_table(filter=expression)["y"]
    assert len(expected) == count
    np.testing.assert_array_equal(np.concatenate([*rows, []]), expected)


@pytest.mark.parametrize("first", ["int32", "float64"])
def test_a_filter_compares_numbers_of_all_files(first, tmp_path):
    for k in range(2):
        kind = first if k == 0 else "float64"
        x = np.array([1, 2, 3] if kind == "int32" else [0.2, 1.7, 2.5]).astype(kind)
        parquet.write_table(pyarrow.table({"x": x, "y": 10.0 * k + x}), tmp_path / f"{k}.parquet")
    rows = [y for _, y in fastmlp.ArrowBlocks(tmp_path, "y", filter=field("x") > 1.8)]
    first_rows = [2, 3] if first == "int32" else [2.5]
    assert np.concatenate(rows).tolist() == [*first_rows, 12.5]


def test_places_and_numbers_of_rows_hold_with_a_filter(folder):
    path = folder / "year=2025" / "region=a" / "0.parquet"
    table = parquet.read_table(path, partitioning=None)
    values = table["x"].to_pylist()
    values[33] = None
    table = table.set_column(0, "x", pyarrow.array(values))
    parquet.write_table(table, path, row_group_size=20)
    source = fastmlp.ArrowBlocks(folder, "y", features="x", filter=field("y") > 120.0**2)
    with pytest.raises(ValueError, match="region=a/0.parquet, row group 1, row 33, column 'x'"):
        list(source)
    options = {"preset": "fast", "epochs": 1, "width": 8, "folds": 2, "time_limit": 1e6}
    model = fastmlp.TabMLPRegressor(**options).fit(source)
    assert model.rows_ is None
    assert model.report().rows == N - 121


def test_other_files_are_read_as_a_stream(tmp_path):
    for k in range(2):
        csv.write_csv(
            pyarrow.table({"x": np.arange(9.0), "y": np.arange(9)}), tmp_path / f"{k}.csv"
        )
    source = fastmlp.ArrowBlocks(dataset.dataset(tmp_path, format="csv"), "y", rows=5)
    assert source.n is None
    assert np.concatenate([x for x, _ in source]).ravel().tolist() == [*range(9)] * 2


REFUSED = {
    "filter of a table": ({"data": pyarrow.table({"x": [1]}), "filter": field("x") > 0}, "filter"),
    "filter as text": ({"data": "nowhere/*.parquet", "filter": "x > 0"}, "a pyarrow expression"),
    "file system of a table": (
        {"data": pyarrow.table({"x": [1]}), "filesystem": fs.LocalFileSystem()},
        "filesystem is passed beside a Table but it is for paths",
    ),
    "no file matches": ({"data": "nowhere/*.parquet"}, "nowhere"),
    "deep": ({"data": "nowhere/**/*.parquet"}, r"\*\* but \* alone .* pass the folder nowhere"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").mkdir()
    options, words = REFUSED[case]
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=words):
        list(fastmlp.ArrowBlocks(**options))


# ---- faults --------------------------------------------------------------------------------------


class FailingFile(io.FileIO):
    """A local file, some of whose reads fail."""

    def __init__(self, path, errors):
        super().__init__(path)
        self.errors = errors

    def read(self, *size):
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return super().read(*size)

    def __del__(self):
        self.close()  # Arrow leaves that to the end of the object


class FailingStore(fsspec.get_filesystem_class("file")):
    """The local files as a store, whose reads fail with the errors that are left."""

    protocol = "failing"
    cachable = False
    errors = ()

    def _open(self, path, *_, **options):
        return FailingFile(path, self.errors)


def failing(folder, errors):
    files = FailingStore()
    files.errors = errors
    return fastmlp.ArrowBlocks(str(folder), "y", features="x", rows=30, filesystem=files)


PASSING = [OSError("503 Slow Down"), ConnectionResetError("reset"), FileNotFoundError("503")]


@pytest.mark.parametrize("first", [0, 1, 5, 20, 40])
def test_errors_of_a_store_are_tried_again(first, folder):
    source = failing(folder, [*[None] * first, *PASSING])
    one, other = (fastmlp.MLP([1, 4, 1], rng=0) for _ in "ab")
    history = one.fit(source, epochs=2)
    assert history.loss == other.fit(failing(folder, []), epochs=2).loss
    assert np.array_equal(one.weights[0], other.weights[0])


SECRET = "https://me:pa/ss@host/data/0.parquet?X-Amz-Signature=abc&sig=def"
LASTING = {
    "again and again": ([OSError("503")] * 99, OSError, "OSError: 503"),
    "not there": ([FileNotFoundError("no bucket")] * 4, FileNotFoundError, "no bucket"),
    "not allowed": ([PermissionError("403")], PermissionError, "403"),
    "no package": ([ImportError("install aiohttp")], ImportError, "install aiohttp"),
    "secrets": ([OSError(f"no {SECRET}")] * 99, OSError, "https://host/data/0.parquet"),
}


@pytest.mark.parametrize("case", LASTING)
def test_errors_that_last_name_the_file_without_secrets(case, folder):
    errors, kind, words = LASTING[case]
    net, source = fastmlp.MLP([1, 1], rng=0), failing(folder, list(errors))
    with refused(kind, words, net) as caught:
        net.fit(source)
    shown = "".join(traceback.format_exception(caught.value))
    assert "in the source of X, block 0" in shown
    assert "/bucket" in shown
    assert not any(word in shown for word in ("pa/ss", "abc", "def="))


def test_a_missing_package_of_a_store_is_said_at_once(monkeypatch):
    calls = []

    def protocol(name):
        calls.append(name)
        raise ImportError('HTTPFileSystem requires "requests" and "aiohttp" to be installed')

    monkeypatch.setattr("fsspec.core.get_filesystem_class", protocol)
    with pytest.raises(ImportError, match="aiohttp") as caught:
        list(fastmlp.ArrowBlocks(SECRET, "y"))
    assert len(calls) == 1
    assert "abc" not in "".join([str(caught.value), *caught.value.__notes__])


def test_passwords_of_addresses_are_not_shown(served):
    source = fastmlp.ArrowBlocks(f"{address(served)}".replace("bucket?", "nothing?"), "y")
    with pytest.raises(FileNotFoundError) as caught:
        list(source)
    assert "secret" not in "".join([str(caught.value), *caught.value.__notes__])


@pytest.mark.parametrize("faults", [["busy"] * 2, ["cut"] * 2, ["slow"] * 2], ids=lambda f: f[0])
def test_a_store_that_stumbles_gives_the_rows(faults, served):
    source = fastmlp.ArrowBlocks(address(served), "y", features="x")
    served.faults[:] = faults
    assert sum(len(x) for x, _ in source) == N
    assert not served.faults


def vanish(path):
    path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def damage(path):
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)


def rename(path):
    parquet.write_table(pyarrow.table({"z": np.ones(50), "y": np.ones(50)}), path)


def shorten(path):
    parquet.write_table(pyarrow.table({"x": np.ones(40), "y": np.ones(40)}), path)


FAULTS = {
    "file vanishes": (vanish, FileNotFoundError, "0.parquet"),
    "truncated": (truncate, ValueError, "(?s)Parquet.*year=2026/region=b/0.parquet"),
    "damaged": (damage, OSError, "(?s)year=2026/region=b/0.parquet"),
    "schema changes": (rename, ValueError, "0.parquet has no column 'x': its columns are z, y"),
    "fewer rows": (shorten, ValueError, "ended after 290 rows but had 300"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_between_epochs_leaves_the_last_whole_epoch(case, folder):
    change, kind, words = FAULTS[case]
    files = sorted(folder.rglob("*.parquet"))
    net, weights = fastmlp.MLP([1, 1], rng=0), []

    def then(state):
        weights.append(state.model.weights[0])
        if len(weights) == 1:
            change(files[-1])

    source = fastmlp.ArrowBlocks(files, "y", features="x")
    with pytest.raises(kind) as caught:
        net.fit(source, epochs=3, callbacks=[then])
    assert np.array_equal(net.weights[0], weights[0])
    assert len(net.history.loss) == 1
    assert re.search(words, "".join(traceback.format_exception_only(caught.value)))


REPLACED = {
    "path": lambda folder, _: {"data": folder / "1.parquet"},
    "folder": lambda folder, _: {"data": folder},
    "dataset": lambda folder, _: {"data": dataset.dataset(folder)},
    "filter": lambda folder, _: {"data": folder, "filter": field("x") > 0},
    "fsspec": lambda folder, _: {"data": str(folder), "filesystem": fsspec.filesystem("file")},
    "S3": lambda _, served: {"data": "bucket", "filesystem": s3(served)},
}


def swapped(path, names):
    """Write a file of equal numbers in each column: 1 in x, 2 in z, 3 in y."""
    columns = {name: np.full(200, 1.0 + "xzy".index(name)) for name in names}
    options = {"row_group_size": 50, "compression": "none", "use_dictionary": False}
    parquet.write_table(pyarrow.table(columns), path, **options)


def replaced(path):
    swapped(path.with_name("new"), "yxz")
    path.with_name("new").replace(path)


def truncated(path):
    path.write_bytes(path.read_bytes()[:999])


CHANGES = {
    "replaced": replaced,
    "overwritten": lambda path: swapped(path, "yxz"),
    "truncated": truncated,
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("door", REPLACED)
def test_a_file_that_changes_while_it_is_read_is_refused(door, how, tmp_path):
    folder = tmp_path / "bucket"
    folder.mkdir()
    swapped(folder / "1.parquet", "xzy")
    with store.running(tmp_path) as served:
        source = fastmlp.ArrowBlocks(**REPLACED[door](folder, served), target="y", rows=25)
        blocks = iter(source)
        for _ in range(3):  # three blocks end in the middle of a row group
            x, y = next(blocks)
        CHANGES[how](folder / "1.parquet")
        seen = [(x, y)]
        with pytest.raises((ValueError, OSError)) as refusal:
            seen.extend(blocks)
    said = "".join([str(refusal.value), *getattr(refusal.value, "__notes__", ())])
    assert "1.parquet" in said
    if how == "replaced" or (how == "overwritten" and door in ("path", "folder", "filter")):
        assert "1.parquet was replaced or changed after its footer was read" in said
    # What was read of a local file after the change is of the same open file.
    for x, y in seen:
        assert (x == (1, 2)).all()
        assert (y == 3).all()


def test_a_fit_keeps_its_weights_when_a_file_is_replaced(tmp_path):
    swapped(tmp_path / "1.parquet", "xzy")
    source = fastmlp.ArrowBlocks(tmp_path, "y", rows=25)
    net = fastmlp.MLP([2, 4, 1], rng=0)
    net.fit(source, epochs=1)
    before, groups = [array.copy() for array in net.weights], source.row_groups()
    replaced(tmp_path / "1.parquet")
    source.row_groups = lambda: groups  # the footers of the epoch that began before
    with pytest.raises(ValueError, match=r"1\.parquet was replaced"):
        net.fit(source, epochs=1)
    for array, kept in zip(net.weights, before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("door", ["path", "folder", "fsspec"])
def test_an_epoch_reads_files_that_were_replaced_before_it(door, tmp_path):
    swapped(tmp_path / "1.parquet", "xzy")
    source = fastmlp.ArrowBlocks(**REPLACED[door](tmp_path, None), target="y")
    for change in (lambda path: None, replaced):
        change(tmp_path / "1.parquet")
        for x, y in source:
            assert (x == (1, 2)).all()
            assert (y == 3).all()


def test_a_dataset_that_has_read_an_old_footer_is_refused(tmp_path):
    swapped(tmp_path / "1.parquet", "xzy")
    source = fastmlp.ArrowBlocks(dataset.dataset(tmp_path), "y")
    assert source.n == 200
    replaced(tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet was replaced or changed"):
        list(source)


def numbered(path, number):
    parquet.write_table(pyarrow.table({"x": [float(number)], "y": [0.0]}), path)


@pytest.fixture
def linked(tmp_path):
    """Three files, with links to files and folders, a loop, and hidden files and folders."""
    data, outside = tmp_path / "data", tmp_path / "outside"
    for place in (data / "deep", data / ".cache", outside):
        place.mkdir(parents=True)
    for number, path in enumerate(("1", "deep/2", "../outside/3")):
        numbered(data / f"{path}.parquet", number + 1)
    for hidden in (".9.parquet", "_9.parquet", ".cache/9.parquet"):
        numbered(data / hidden, 9)
    links = {
        "0.parquet": "1.parquet",
        "2.parquet": "deep/2.parquet",
        "again": ".",
        "deep/up": "..",
        "other": "../outside",
        "broken.parquet": "nothing",
    }
    for link, to in links.items():
        (data / link).symlink_to(to)
    return data


LINKED = {
    "folder": ("", [1, 2, 3]),
    "pattern": ("/*", [1, 2]),
    "pattern of endings": ("/*.parquet", [1, 2]),
    "deep pattern": ("/*/*.parquet", [1, 2, 3]),
    "pattern of hidden files": ("/.*.parquet", [9]),
    "pattern of a hidden folder": ("/.cache/*", [9]),
}


@pytest.mark.parametrize("name", LINKED)
def test_each_file_is_read_once_whatever_links_lead_to_it(name, linked):
    path, wanted = LINKED[name]
    source = fastmlp.ArrowBlocks(f"{linked}{path}", "y")
    assert sorted(x for block, _ in source for x in block[:, 0]) == wanted


def test_each_file_of_several_paths_is_read_once(linked, monkeypatch):
    monkeypatch.chdir(linked)
    for paths in (["1.parquet", "0.parquet", linked / "1.parquet"], ["*.parquet", ".", "deep"]):
        x = [x for block, _ in fastmlp.ArrowBlocks(paths, "y") for x in block[:, 0]]
        assert sorted(x) == [1, 2, 3][: len({*x})]


def test_folders_of_keys_are_columns_beside_links_to_them(tmp_path):
    (tmp_path / "k=1").mkdir()
    numbered(tmp_path / "k=1" / "1.parquet", 7)
    (tmp_path / "a").symlink_to("k=1")
    source = fastmlp.ArrowBlocks(tmp_path, "y", features=["k", "x"])
    np.testing.assert_array_equal(np.concatenate([x for x, _ in source]), [[1, 7]])


@pytest.mark.parametrize("door", ["disk", "fsspec"])
@pytest.mark.parametrize("hidden", [False, True])
def test_an_empty_folder_is_named(door, hidden, tmp_path):
    if hidden:
        numbered(tmp_path / "_9.parquet", 9)
    filesystem = None if door == "disk" else fsspec.filesystem("file")
    source = fastmlp.ArrowBlocks(str(tmp_path), "y", filesystem=filesystem)
    with pytest.raises(FileNotFoundError, match="folder .* has no files but Parquet files are"):
        list(source)
