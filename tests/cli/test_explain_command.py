"""The command that writes contributions of columns."""

import csv
import io
import json

import children
import numpy as np
import pandas
import pytest
from commands import here, prepared

import fastmlp
from fastmlp._cli import tables
from fastmlp._cli.models import EXPLAINED_ROWS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("explain"))


def rows_of(text):
    return [
        {name: float(value) for name, value in row.items() if name != "country"}
        for row in csv.DictReader(io.StringIO(text))
    ]


def test_few_rows_are_explained_beside_a_typical_one(folder):
    model = folder / "rent.safetensors"
    text = children.printed(
        here("explain", model, "new.csv", "--background", "typical", folder=folder)
    )
    found, loaded = rows_of(text), fastmlp.load(model)
    expected = loaded.explain(pandas.read_csv(folder / "new.csv"), "typical")
    assert [row["base"] for row in found] == pytest.approx([float(expected.base)] * len(found))


def test_contributions_add_up_to_the_predictions(folder):
    model = folder / "rent.safetensors"
    words = ("explain", model, "new.csv", "--background", "old.csv", "--keep", "country")
    text = children.printed(here(*words, folder=folder))
    found = rows_of(text)
    predicted = children.printed(here("predict", model, "new.csv", folder=folder))
    expected = [row["prediction"] for row in rows_of(predicted)]
    for row, prediction in zip(found, expected, strict=True):
        parts = [value for name, value in row.items() if name.startswith("by_")]
        assert len(parts) == len(fastmlp.load(model).feature_names_in_)
        assert row["base"] + sum(parts) == pytest.approx(prediction, rel=1e-9)
        assert row["largest_standard_error"] == 0
    assert text.startswith("country,prediction,base,by_area,")


def test_classes_have_columns_of_their_own_and_log_odds(folder, tmp_path):
    model, out = folder / "dear.safetensors", tmp_path / "out.csv"
    here("explain", model, "new.csv", "--score", "-o", out, "--time-limit", "60", folder=folder)
    words = ("explain", model, "new.csv", "--json")
    found, scores = (
        json.loads(children.printed(here(*words, folder=folder))),
        rows_of(out.read_text()),
    )
    for row, score in zip(found, scores, strict=True):
        assert row["prediction_no"] + row["prediction_yes"] == pytest.approx(1)
        p = row["prediction_yes"]
        assert score["prediction_yes"] == pytest.approx(np.log(p / (1 - p)), abs=1e-6)


def test_networks_have_the_names_of_the_file(tmp_path):
    net = fastmlp.MLP([2, 3, 1], rng=0)
    net.save(tmp_path / "net.safetensors")
    (tmp_path / "x.csv").write_text("id,a,b\n7,1,2\n8,3,4\n")
    (tmp_path / "old.csv").write_text("id,a,b\n1,0,0\n")
    words = ("explain", "net.safetensors", "x.csv", "--keep", "id", "--background", "old.csv")
    text = children.printed(here(*words, folder=tmp_path))
    assert text.startswith("id,prediction,base,by_a,by_b,largest_standard_error\n7,")
    expected = net.explain([[1, 2], [3, 4]], background=[[0, 0]]).values
    found = [[row["by_a"], row["by_b"]] for row in rows_of(text)]
    np.testing.assert_array_equal(found, expected)


def test_few_rows_need_a_background_and_numbers_have_no_log_odds(folder):
    (folder / "few.csv").write_text("".join((folder / "new.csv").read_text().splitlines(True)[:5]))
    model = folder / "rent.safetensors"
    result = here("explain", model, "few.csv", folder=folder)
    assert result.returncode == 2
    assert "--background is needed: few.csv has 4 rows" in result.stderr
    result = here("explain", model, "new.csv", "--score", folder=folder)
    assert result.returncode == 2
    assert "--score is for probabilities, but the model predicts none" in result.stderr


def test_contributions_of_equal_names_are_refused(tmp_path):
    """Of column a and class b_c, and of column a_b and class c."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    frame = pandas.DataFrame(X, columns=["a", "a_b"])
    y = np.where(X[:, 0] > 0, "c", "b_c")
    model = fastmlp.TabMLPClassifier(preset="fast", epochs=2, members=2, random_state=0)
    model.fit(frame, y).save(tmp_path / "both.safetensors")
    frame.to_csv(tmp_path / "new.csv", index=False)
    result = here("explain", "both.safetensors", "new.csv", folder=tmp_path)
    assert result.returncode == 2
    assert "two contributions would have the same name" in result.stderr


@pytest.mark.slow
def test_files_of_any_size_are_explained_in_blocks(tmp_path):
    """Beside rows that are drawn once, from the whole table."""
    net = fastmlp.MLP([2, 3, 1], rng=0, dtype="float64")
    net.save(tmp_path / "net.safetensors")
    n = EXPLAINED_ROWS + 7
    x = np.random.default_rng(0).normal(size=(n, 2))
    frame = pandas.DataFrame({"id": np.arange(n), "a": x[:, 0], "b": x[:, 1]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    words = ("explain", "net.safetensors", "x.csv", "--keep", "id", "--time-limit", "100")
    text = children.printed(here(*words, folder=tmp_path))
    found = pandas.read_csv(io.StringIO(text))
    assert found.id.tolist() == list(range(n))
    expected = net.explain(x)
    np.testing.assert_allclose(found[["by_a", "by_b"]], expected.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.base, expected.base)
    here(*words, "--json", "-o", "out.json", folder=tmp_path)
    records = json.loads((tmp_path / "out.json").read_text())
    assert [record["id"] for record in records] == [str(k) for k in range(n)]
    assert records[-1]["by_a"] == found.by_a.iloc[-1]


def test_blocks_are_one_table_in_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "out.parquet"
    tables.save(({"a": [k, k + 1], "b": ["x", None]} for k in (1, 3)), str(path))
    assert pandas.read_parquet(path).a.tolist() == [1, 2, 3, 4]
