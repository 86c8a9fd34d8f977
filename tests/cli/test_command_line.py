"""The command `fastmlp`, run as users run it: what it prints, writes, refuses and returns."""

import csv
import datetime
import decimal
import importlib.util
import io
import itertools
import json
import os
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import children
import numpy as np
import pandas
import polars
import pytest
from commands import INTERRUPTED, MODELS, here, prepared, run, table

import fastmlp
from fastmlp import MLPRegressor, TabMLPRegressor, _cli
from fastmlp._cli import bench, models, tables
from fastmlp.sklearn.fitted import fitted_of

AREAS = [f"{area},x,true,here,1" for area in range(10, 150)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("command"))


def test_entry_point_is_the_module():
    with (ROOT / "pyproject.toml").open("rb") as file:
        module, _, name = tomllib.load(file)["project"]["scripts"]["fastmlp"].partition(":")
    assert getattr(importlib.import_module(module), name) is _cli.main


def test_help_needs_numpy_alone():
    program = (
        "import sys\nfrom fastmlp._cli import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print(sorted({'sklearn', 'polars', 'pandas', 'onnx'} & set(sys.modules)))"
    )
    said = children.printed(children.python("-c", program))
    assert said.endswith("[]\n")
    for word in (*(f"\n    {command} " for command in _cli.COMMANDS), "--plot", "CC BY 4.0"):
        assert word in said


def test_training_says_what_it_has_done(folder):
    rent = json.loads((folder / "rent.json").read_text())
    dear = json.loads((folder / "dear.json").read_text())
    assert (rent["task"], dear["task"]) == ("regression", "classification")
    assert rent["valid"]["r2"] > 0.8
    assert 0.6 < rent["valid"]["coverage_90%"] <= 1
    assert dear["out_of_fold"]["roc_auc"] > 0.8
    assert fastmlp.load(folder / "rent.safetensors").feature_names_in_.tolist() == [
        *("area", "code", "balcony", "country")
    ]
    words = ("old.csv", "--target", "rent", "--preset", "fast", "--drop", "dear")
    said = here("train", *words, "--seed", "3", "-o", "m.safetensors", folder=folder)
    for line in ("task         regression of rent", "left out", "out of fold", "m.safetensors"):
        assert line in children.printed(said)
    assert re.match(
        r"It predicts rent to within [\d.]+ on rows that it has not seen; al", said.stdout
    )
    assert "networks" not in said.stdout
    words = ("old.csv", "--target", "dear", "--preset", "fast", "--drop", "rent", "-v", "-o", "n")
    verbose = children.printed(here("train", *words, folder=folder))
    assert re.match(
        r"It predicts dear right for \d+% of rows that it has not seen; always", verbose
    )
    assert re.search(r"\nnetworks +100%: .* networks of \d+ inputs\), epoch", verbose)
    assert said.stderr == ""  # progress is for terminals


@pytest.mark.slow
def test_training_needs_no_standard_error(folder):
    words = ("old.csv", "--target", "dear", "--preset", "fast", "--drop", "rent", "-v")
    silent = run("train", *words, "-o", "silent.safetensors", shell='"$@" 2>&-', folder=folder)
    assert "silent.safetensors" in children.printed(silent)


def test_training_takes_rules(folder):
    words = ("old.csv", "--target", "rent", "--preset", "fast", "--drop", "dear")
    rules = "--falling", "area", "--rising", "weight"
    here("train", *words, *rules, "-o", "ruled.safetensors", folder=folder)
    model = fastmlp.load(folder / "ruled.safetensors")
    assert model.monotone == {"area": -1, "weight": 1}
    rows = folder / "areas.csv"
    rows.write_text("\n".join(["area,code,balcony,country,weight", *AREAS]))
    here("predict", "ruled.safetensors", rows, "-o", "falling.csv", folder=folder)
    predictions = np.loadtxt(folder / "falling.csv", skiprows=1)
    assert len(predictions) == len(AREAS)
    assert np.all(np.diff(predictions) <= 0)


def test_training_in_time_is_compared_with_what_earlier_rows_show(tmp_path):
    """The mean of rows to come would be better than these predictions, but nobody knows it."""
    rng, places = np.random.default_rng(0), np.arange(400)
    y = np.where(places < 200, 0.0, 10.0) + rng.normal(size=400)
    before = np.append(0, np.cumsum(y)[:-1] / np.arange(1, 400))
    rows = [f"{a},{b},{c}" for a, b, c in zip(places, before, y, strict=True)]
    (tmp_path / "moved.csv").write_text("\n".join(["t,before,y", *rows]))
    words = ("--target", "y", "--time", "t", "--preset", "fast", "--report", "page.html")
    result = here("train", "moved.csv", *words, folder=tmp_path)
    assert "always predicting the mean of earlier rows" in children.printed(result)
    assert "no better" not in result.stdout + result.stderr
    assert "do not use it" not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(("target", "constant"), [("y", "the mean"), ("c", "the class shares")])
def test_a_model_that_is_no_better_than_a_constant_says_so(target, constant, tmp_path):
    rng = np.random.default_rng(2)
    rows = [f"{a},{a},{y},{y > 0}" for a, y in rng.normal(size=(60, 2)).tolist()]
    (tmp_path / "noise.csv").write_text("\n".join(["a,b,y,c", *rows]))
    drop = {"y": "c", "c": "y"}[target]
    words = ("train", "noise.csv", "--target", target, "--drop", drop, "--preset", "fast")
    result = here(*words, "--json", "-o", "model", "--valid", "noise.csv", folder=tmp_path)
    assert result.returncode == 0
    found = json.loads(result.stdout)["out_of_fold"]
    assert found.get("r2", -1) < 0.5
    assert "warning: the model is no better than its baseline: " in result.stderr
    assert f", of always predicting {constant}" in result.stderr
    for name, sign in (("clear.csv", 1), ("reversed.csv", -1)):
        rows = [f"{a},{a},{sign * a},{sign * a > 0}" for a in rng.normal(size=60).tolist()]
        (tmp_path / name).write_text("\n".join(["a,b,y,c", *rows]))
    result = here("train", "clear.csv", *words[2:], "-o", "model", folder=tmp_path)
    assert "no better" not in result.stderr
    for name, is_worthless in (("clear.csv", False), ("reversed.csv", True)):
        result = here("evaluate", "model", name, "--target", target, folder=tmp_path)
        said = f"no better than always predicting {constant} ({name}): "
        assert (said in result.stderr) == is_worthless
    (tmp_path / "same.csv").write_text("a,b,y,c\n1,1,-1,False\n2,2,-1,False\n")
    result = here("evaluate", "model", "same.csv", "--target", target, folder=tmp_path)
    assert "no better" not in result.stderr


@pytest.mark.parametrize(
    ("estimator", "loss", "words"),
    [
        (TabMLPRegressor, "absolute_error", "the median .here.: half the mean absolute error"),
        (TabMLPRegressor, "quantile", "the 0.75 quantile .here.: pinball loss"),
        (TabMLPRegressor, "gaussian", "the mean .here.: root mean squared error"),
        (MLPRegressor, "huber", "the mean .here.: root mean squared error"),
    ],
)
def test_evaluation_asks_the_loss_for_its_constant(estimator, loss, words):
    y = np.sort(np.random.default_rng(2).exponential(size=60))
    X, more = y[:, np.newaxis], {"preset": "fast"} if estimator is TabMLPRegressor else {}
    model = estimator(loss=loss, quantile=0.75, random_state=0, **more).fit(X, y)
    models.scores_of_model(model, "here", X, y, None)
    with pytest.warns(UserWarning, match=f"no better than always predicting {words}"):
        models.scores_of_model(model, "here", X, y[::-1], None)


def test_evaluation_of_a_fit_of_few_rows_warns_of_no_coverage():
    X = np.linspace(0, 1, 9)[:, np.newaxis]
    model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0])
    values = models.scores_of_model(model, "here", X, X[:, 0], None)  # a warning would be an error
    assert "coverage_90%" in values


@pytest.mark.parametrize("command", _cli.COMMANDS)
def test_help_says_the_defaults(command):
    text = " ".join(children.printed(here(command, "--help")).split())
    for names, options in _cli.COMMANDS[command].arguments:
        if options.get("default") not in (None, []):
            assert f"(default: {options['default']})" in text, names


@pytest.mark.parametrize("command", ["", *_cli.COMMANDS])
def test_help_ends_with_two_examples_that_are_valid(command):
    text = children.printed(here(*command.split(), "--help"))
    assert text == children.printed(here("help", *command.split()))
    heading, *examples = text.splitlines()[-3:]
    assert heading == "examples:"
    for example in examples:
        program, *words = shlex.split(example)
        assert program == "fastmlp"
        if words != ["-V"]:  # which ends the program
            _cli.parser().parse_args(words)


def test_version_is_known_by_three_names():
    for words in (["version"], ["--version"], ["-V"]):
        assert children.printed(here(*words)) == f"fastmlp {fastmlp.__version__}\n"


PREDICTED = [
    ("rent", [], ["prediction"]),
    ("rent", ["--interval", "0.8"], ["prediction", "lower", "upper"]),
    ("rent", ["--quantiles", "0.1,0.9"], ["prediction", "q0.1", "q0.9"]),
    (
        *("rent", ["--quantiles", "0.5,0.5000001,0.9999999,1e-9"]),
        ["prediction", "q0.5", "q0.5000001", "q0.9999999", "q1e-09"],
    ),
    ("dear", ["--proba"], ["prediction", "p_no", "p_yes"]),
]


@pytest.mark.parametrize(("model", "options", "names"), PREDICTED)
def test_predictions_are_those_of_the_model(model, options, names, folder):
    words = ("predict", f"{model}.safetensors", "new.csv", *options)
    rows = list(csv.DictReader(io.StringIO(children.printed(here(*words, folder=folder)))))
    loaded = fastmlp.load(folder / f"{model}.safetensors")
    code = {"code": "str"}  # text at fit, so that it is not read as a number
    X = pandas.read_csv(folder / "new.csv", dtype=code)[loaded.feature_names_in_]
    right = [str(value) for value in loaded.predict(X).tolist()]
    assert list(rows[0]) == names
    assert [row["prediction"] for row in rows] == right
    as_json = json.loads(children.printed(here(*words, "--json", folder=folder)))
    assert [{k: str(v) for k, v in row.items()} for row in as_json] == rows
    if "--interval" in options:
        ends = loaded.predict_interval(X, 0.8)
        assert [[float(row["lower"]), float(row["upper"])] for row in rows] == ends.tolist()


@pytest.mark.parametrize("engine", ["polars", "pandas"])
def test_kept_columns_are_those_of_the_file(engine, folder, tmp_path, monkeypatch):
    lines = (folder / "new.csv").read_text().splitlines()[:4]
    ids = ["007", "NA", '"a, b"']
    rows = [f"{name},{line}" for name, line in zip(ids, lines[1:], strict=True)]
    (tmp_path / "x.csv").write_text("\n".join([f"id,{lines[0]}", *rows]))
    words = ("predict", folder / "rent.safetensors", "x.csv", "--keep", "id", "--keep", "rent")
    found = list(csv.reader(io.StringIO(children.printed(here(*words, folder=tmp_path)))))
    assert found[0] == ["id", "rent", "prediction"]
    assert [row[0] for row in found[1:]] == ["007", "NA", "a, b"]
    assert [row[1] for row in found[1:]] == [line.split(",")[5] for line in lines[1:]]
    as_json = json.loads(children.printed(here(*words, "--json", folder=tmp_path)))
    assert [[str(value) for value in row.values()] for row in as_json] == found[1:]
    frame = pandas.DataFrame(found[1:], columns=found[0]).drop(columns="prediction")
    days = [datetime.datetime(2026, 12, 1), None, datetime.datetime(2026, 12, 3)]
    table = pandas.read_csv(tmp_path / "x.csv", dtype={"code": "str"})
    table.assign(id=days).to_parquet(tmp_path / "x.parquet")
    monkeypatch.setattr(tables, "find_spec", lambda name: name == engine)
    words = (*words[:2], "x.parquet", *words[3:])
    found = list(csv.reader(io.StringIO(children.printed(here(*words, folder=tmp_path)))))
    assert [row[0] for row in found[1:]] == ["2026-12-01 00:00:00", "", "2026-12-03 00:00:00"]
    assert [float(row[1]) for row in found[1:]] == frame["rent"].astype(float).tolist()
    children.printed(here(*words, "-o", "out.parquet", folder=tmp_path))
    assert polars.read_parquet(tmp_path / "out.parquet")["id"].to_list() == days


def test_kept_columns_are_no_inputs_of_a_model_of_arrays(tmp_path):
    of_arrays("network").save(tmp_path / "model")
    (tmp_path / "x.csv").write_text("a,id,b\n1,one,2\n")
    text = children.printed(here("predict", "model", "x.csv", "--keep", "id", folder=tmp_path))
    prediction = float(of_arrays("network").predict([[1.0, 2.0]])[0, 0])
    assert [*csv.reader(io.StringIO(text))] == [["id", "prediction"], ["one", str(prediction)]]


def test_encodings_of_the_last_century(folder, tmp_path):
    text = (folder / "new.csv").read_text().replace("here", "h\u00e9r\u00e9 \u20ac")
    (tmp_path / "x.csv").write_text(text, encoding="cp1252")
    model = folder / "rent.safetensors"
    refused = here("predict", model, "x.csv", folder=tmp_path)
    assert "line 2 is no text in UTF-8" in refused.stderr
    words = ("predict", model, "x.csv", "--encoding", "cp1252", "--keep", "country")
    found = children.printed(here(*words, folder=tmp_path)).splitlines()
    assert found[1].startswith("h\u00e9r\u00e9 \u20ac,")


@pytest.mark.parametrize("engine", ["polars", "pandas", None])
@pytest.mark.parametrize("task", MODELS)
def test_a_fit_of_a_sample_of_the_rows(task, engine, folder, tmp_path, monkeypatch):
    budget = pytest.importorskip("fastmlp.tabular.recipe.budget")
    monkeypatch.setattr(budget.Budget, "_rows_in_time", lambda *_: 60)
    monkeypatch.setattr(tables, "find_spec", lambda name: name == engine)
    model, page = tmp_path / "model", tmp_path / "page.html"
    words = ["--target", task, "--drop", MODELS[task], "--weight", "weight", "--time-limit", "9"]
    words += ["--preset", "fast", "-o", model, "--report", page, "--json"]
    found = json.loads(children.printed(here("train", "old.csv", *words, folder=folder)))
    assert found["out_of_fold"].keys() & {"rmse", "accuracy"}
    assert len(fastmlp.load(model).rows_) == 60
    assert "60 rows were learned from" in page.read_text()


def test_pipes_and_files_are_alike(folder):
    words = ("predict", "rent.safetensors")
    printed = children.printed(here(*words, "new.csv", folder=folder))
    piped = children.printed(run(*words, "-", shell='cat new.csv | "$@"', folder=folder))
    children.printed(here(*words, "new.csv", "-o", "said.csv", folder=folder))
    assert printed == piped == (folder / "said.csv").read_text()


def test_dates_are_a_target_only_as_classes_and_each_warning_is_printed_once(folder):
    frame = polars.read_csv(folder / "old.csv", columns=["area", "rent"])
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(k // 2) for k in range(len(frame))]
    frame.with_columns(day=polars.Series(days)).write_parquet(folder / "days.parquet")
    words = ("train", "days.parquet", "--target", "day", "--preset", "fast", "-o", "days")
    refused = here(*words, folder=folder)
    assert refused.returncode == 1
    assert "the target holds dates but numbers, text or booleans are expected" in refused.stderr
    assert refused.stderr.endswith("or pass --task classification if each is a class\n")
    trained = here(*words, "--task", "classification", folder=folder)
    assert trained.returncode == 0
    lines = trained.stderr.splitlines()
    assert len(lines) == len({*lines})


def test_parquet(folder):
    polars.read_csv(folder / "new.csv", schema_overrides={"code": polars.String}).write_parquet(
        folder / "new.parquet"
    )
    for data in ("new.csv", "new.parquet"):
        words = ("predict", "rent.safetensors", data, "-o", f"{data}.out.parquet")
        children.printed(here(*words, folder=folder))
    one, two = (polars.read_parquet(folder / f"new.{k}.out.parquet") for k in ("csv", "parquet"))
    assert one.equals(two)


def test_wide_numbers_of_parquet_are_numbers_as_targets_and_weights(tmp_path):
    numbers = [decimal.Decimal(k) + 1 for k in range(60)]
    frame = polars.DataFrame({"a": np.arange(60.0), "y": numbers, "w": numbers})
    kinds = {"decimal": polars.Decimal(9, 2), "integer": polars.Int128}
    for name, kind in kinds.items():
        frame.with_columns(polars.col("y", "w").cast(kind)).write_parquet(tmp_path / name)
        column = ("--target", "y", "--weight", "w")
        words = ("train", name, *column, "--preset", "fast", "-o", "model", "--time-limit", "0.01")
        children.printed(here(*words, folder=tmp_path))
        scores = children.printed(here("evaluate", "model", name, *column, folder=tmp_path))
        assert scores.startswith("rmse")


def test_groups_with_long_numbers_differ(tmp_path):
    rows = [f"{k},{k % 7},{10**20 + k // 4}" for k in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a,y,g", *rows]))
    words = ("train", "t.csv", "--target", "y", "--task", "regression", "--groups", "g")
    more = ("--preset", "fast", "--time-limit", "0.01", "-o", "model")
    children.printed(here(*words, *more, folder=tmp_path))


def test_groups_in_time_are_later_rows_of_other_groups(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{k // 8},{'abcdefgh'[k % 8]},{a},{a + k / 80}" for k, a in enumerate(rng.random(160))]
    (tmp_path / "t.csv").write_text("\n".join(["day,who,a,y", *rows]))
    words = ("train", "t.csv", "--target", "y", "--groups", "who", "--time", "day")
    result = here(*words, "--preset", "fast", "--time-limit", "2", "-o", "model", folder=tmp_path)
    assert result.returncode == 0
    assert "later rows of groups that were not learned" in children.printed(result)


def test_counts_are_classes_with_a_note_or_by_poisson_have_whole_intervals(tmp_path):
    rows = [f"{k % 7},{k % 7 * k % 3}" for k in range(80)]
    (tmp_path / "t.csv").write_text("\n".join(["a,n", *rows]))
    words = ("train", "t.csv", "--target", "n", "--preset", "fast", "--time-limit", "0.01")
    text = children.printed(here(*words, "-o", "classes", folder=tmp_path))
    assert "classification of n: 3 whole numbers are classes; for counts pass --loss poi" in text
    text = children.printed(here(*words, "--loss", "poisson", "-o", "counts", folder=tmp_path))
    assert "task         regression of n\n" in text
    text = children.printed(
        here("predict", "counts", "t.csv", "--interval", "0.9", "--json", folder=tmp_path)
    )
    assert all(row["upper"] % 1 == 0 for row in json.loads(text))
    both = ("--task", "classification", "--loss", "poisson", "-o", "both")
    refused = here(*words, *both, folder=tmp_path)
    assert "--loss is that of a regression" in refused.stderr


def test_times_until_an_event_have_a_model_of_survival(tmp_path):
    rows = [f"{k % 9},{1 + (k * 7) % 5 + k % 9},{k % 3 > 0}" for k in range(120)]
    (tmp_path / "t.csv").write_text("\n".join(["a,years,failed", *rows]))
    words = ("train", "t.csv", "--time-to", "years", "--event", "failed", "--preset", "fast")
    text = children.printed(here(*words, "-o", "model", "--report", "p.html", folder=tmp_path))
    assert "task         survival of years\n" in text
    assert "\nout of fold\nconcordance " in text
    page = (tmp_path / "p.html").read_text()
    assert "fastmlp evaluate model new.csv --time-to years --event failed" in page
    assert "brier_score_kaplan_meier" in page
    model = fastmlp.load(tmp_path / "model")
    assert isinstance(model, fastmlp.TabMLPSurvival)
    assert fitted_of(model).columns.names == ("a",)
    risks = json.loads(
        children.printed(here("predict", "model", "t.csv", "--json", folder=tmp_path))
    )
    assert len(risks) == 120
    for words in (("--target", "years"), ("--time-to", "years"), ()):
        refused = here("evaluate", "model", "t.csv", *words, folder=tmp_path)
        assert "predicts times until an event: pass --time-to and --event" in refused.stderr


def test_new_rows_score_a_model_of_survival(tmp_path):
    for name, seed in (("t", 0), ("new", 1)):
        rng = np.random.default_rng(seed)
        a = rng.normal(size=300)
        times, ends = rng.exponential(np.exp(-a)), rng.uniform(0, 3, 300)
        rows = zip(a, np.minimum(times, ends), times <= ends, strict=True)
        lines = ["a,years,failed", *(f"{x},{t},{str(e).lower()}" for x, t, e in rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    columns = ("--time-to", "years", "--event", "failed")
    words = ("train", "t.csv", *columns, "--preset", "fast", "--valid", "new.csv", "-o", "model")
    found = json.loads(children.printed(here(*words, "--json", "--report", "p", folder=tmp_path)))
    table = pandas.read_csv(tmp_path / "new.csv")
    model = fastmlp.load(tmp_path / "model")
    y = table[["failed", "years"]].to_records(index=False)
    assert found["valid"]["concordance"] == pytest.approx(model.score(table[["a"]], y))
    assert found["valid"]["brier_score"] < found["valid"]["brier_score_kaplan_meier"]
    shown = dict(model.report().lines())
    assert f"{found['out_of_fold']['concordance']:.4g}" == shown["concordance"]
    assert f"{found['out_of_fold']['brier_score']:.4g}, integ" in shown["Brier score"]
    page = (tmp_path / "p").read_text()
    assert "validation file" in page
    again = here("evaluate", "model", "new.csv", *columns, "--json", folder=tmp_path)
    assert json.loads(children.printed(again)) == found["valid"]
    table["a"] = table["a"].to_numpy()[::-1]
    table.to_csv(tmp_path / "new.csv", index=False)
    worse = here("evaluate", "model", "new.csv", *columns, folder=tmp_path)
    assert "no better than always predicting the curve of the other rows" in worse.stderr


def test_rows_without_a_time_or_an_event_are_left_out(tmp_path):
    rows = [f"{k % 9},{1 + (k * 7) % 5 + k % 9},{k % 3 > 0}" for k in range(60)]
    gaps = ["1,,True", "2,3,"]
    (tmp_path / "t.csv").write_text("\n".join(["a,years,failed", *rows, *gaps]))
    (tmp_path / "new.csv").write_text("\n".join(["a,years,failed", *rows, *gaps]))
    (tmp_path / "wrong.csv").write_text("a,years,failed\n1,2,maybe\n")
    columns = ("--time-to", "years", "--event", "failed")
    words = ("train", "t.csv", *columns, "--preset", "fast", "-o", "model", "--json")
    refused = here(*words, "--valid", "wrong.csv", folder=tmp_path)
    assert "event holds 'maybe'" in refused.stderr
    assert not (tmp_path / "model").exists()  # it is known before the fit
    trained = here(*words, "--valid", "new.csv", folder=tmp_path)
    scores = json.loads(children.printed(trained))["valid"]
    for option in ("--time-to", "--event", "--valid"):
        assert f"{option}: " in trained.stderr
    assert "failed is missing in 1 of 61 rows, which are left out" in trained.stderr
    evaluated = here("evaluate", "model", "new.csv", *columns, "--json", folder=tmp_path)
    assert json.loads(children.printed(evaluated)) == scores


# Further words, and what the command says.
NO_SURVIVAL = {
    (): "pass --target, or --time-to and --event",
    ("--time-to", "years"): "pass --target, or --time-to and --event",
    ("--target", "a", "--event", "failed"): "pass --target, or --time-to and --event",
    ("--target", "a", "--time-to", "years", "--event", "failed"): "pass --target, or --time-to",
    ("--time-to", "years", "--event", "failed", "--loss", "poisson"): "--loss is not for --time-to",
    ("--time-to", "years", "--event", "failed", "--time", "a"): "--time is not for --time-to",
    ("--time-to", "years", "--event", "years"): "two options name the column years",
    ("--time-to", "years", "--event", "a"): "event holds 2",
    ("--time-to", "years", "--event", "word"): "pass for example event == 'died'",
    ("--time-to", "word", "--event", "failed"): "numbers are expected",
}


@pytest.mark.parametrize("words", NO_SURVIVAL, ids=" ".join)
def test_wrong_words_for_survival(words, tmp_path):
    rows = [f"{k % 9},{k},{k % 3 > 0},dead" for k in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["a,years,failed,word", *rows]))
    refused = here("train", "t.csv", *words, folder=tmp_path)
    assert refused.returncode
    assert NO_SURVIVAL[words] in refused.stderr


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_rows_in_time_are_scored_by_the_later_ones(task, tmp_path):
    rows = [f"{k % 7},{k % 7 % 2 + k % 2},2026-{1 + k // 28:02}-{1 + k % 28:02}" for k in range(80)]
    (tmp_path / "t.csv").write_text("\n".join(["a,y,day", *rows]))
    words = ("train", "t.csv", "--target", "y", "--task", task, "--time", "day", "--preset", "fast")
    more = ("--time-limit", "30", "-o", "model", "--report", "page.html", "--json")
    found = json.loads(children.printed(here(*words, *more, folder=tmp_path)))
    model = fastmlp.load(tmp_path / "model")
    held_out = np.isfinite(model.oof_prediction_).reshape(80, -1).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(held_out), np.arange(40, 80))
    assert "from 2026-02-13 " in model.report().more["by time"]
    assert all(np.isfinite(score) for score in found["out_of_fold"].values())
    page = (tmp_path / "page.html").read_text()
    assert "later rows" in page
    assert "nan" not in page


@pytest.mark.parametrize("model", ["rent", "dear"])
def test_evaluation_gives_the_scores_of_training(model, folder):
    right = json.loads((folder / f"{model}.json").read_text())["valid"]
    words = ("evaluate", f"{model}.safetensors", "new.csv", "--target", model)
    for known in (words, words[:3]):  # the model knows its target
        found = here(*known, "--weight", "weight", "--json", folder=folder)
        assert json.loads(children.printed(found)) == right
    lines = (folder / "new.csv").read_text().splitlines()
    (folder / "one.csv").write_text("\n".join(lines[:2]))
    found = here("evaluate", f"{model}.safetensors", "one.csv", "--target", model, folder=folder)
    assert "nan" not in children.printed(found)


def of_arrays(name):
    """Return a model that was fitted on arrays, or has just been made."""
    X = np.random.default_rng(0).normal(size=(30, 2))
    if name == "classifier":  # its labels look like numbers
        model = fastmlp.MLPClassifier(hidden_layer_sizes=(8,), max_iter=50, standardize=True)
        return model.set_params(random_state=0, tol=10).fit(X, np.where(X[:, 0] > 0, "1", "0"))
    return fastmlp.MLP([2, 4, 1], loss="gaussian_nll" if name == "two heads" else "huber", rng=0)


@pytest.mark.parametrize(
    ("name", "names", "scores"),
    [
        ("network", ["prediction"], ["loss"]),
        ("two heads", ["prediction", "variance"], ["loss"]),
        ("classifier", ["prediction"], ["accuracy", "log_loss", "roc_auc"]),
    ],
)
def test_models_of_arrays_are_used_too(name, names, scores, tmp_path):
    X = np.random.default_rng(1).normal(size=(9, 2))
    model = of_arrays(name)
    model.save(tmp_path / "model")
    y = [1] * 8 + [0]
    rows = [f"{a!r},{b!r}" for a, b in X.tolist()]
    (tmp_path / "x.csv").write_text("\n".join(["a,b", *rows]))
    rows = [f"{row},{target}" for row, target in zip(rows, y, strict=True)]
    (tmp_path / "xy.csv").write_text("\n".join(["a,b,y", *rows]))
    said = children.printed(here("predict", "model", "x.csv", folder=tmp_path))
    found = list(csv.reader(io.StringIO(said)))
    right = model.predict(X)
    right = np.column_stack(right if isinstance(right, tuple) else (right,)).tolist()
    assert found == [names, *([str(value) for value in row] for row in right)]
    result = here("evaluate", "model", "xy.csv", "--target", "y", "--json", folder=tmp_path)
    assert list(json.loads(children.printed(result))) == scores
    if name == "network":
        loss = model.evaluate(X, y)
        assert json.loads(result.stdout)["loss"] == pytest.approx(loss, rel=1e-6)


def test_models_of_arrays_take_columns_by_position(tmp_path):
    of_arrays("network").save(tmp_path / "model")
    (tmp_path / "x.csv").write_text("b,a\n1,2\n")
    (tmp_path / "y.csv").write_text("a,b\n1,2\n")
    said = [children.printed(here("predict", "model", f"{k}.csv", folder=tmp_path)) for k in "xy"]
    assert said[0] == said[1]
    (tmp_path / "z.csv").write_text("a,b,c\n1,2,3\n")
    result = here("predict", "model", "z.csv", folder=tmp_path)
    assert result.returncode == 1
    assert "3" in result.stderr


def test_inspect_prints_what_programs_read(folder):
    said = children.printed(here("inspect", "rent.safetensors", "--json", folder=folder))
    (found,) = json.loads(said)
    model = fastmlp.load(folder / "rent.safetensors")
    assert (found["file"], found["class"]) == ("rent.safetensors", "TabMLPRegressor")
    assert found["names"]["columns"]["first"] == model.feature_names_in_.tolist()
    assert found["names"]["columns"]["kinds"][1] == "category"
    assert found["names"]["targets"] == {"count": 1, "first": ["rent"]}
    said = children.printed(here("inspect", "rent.safetensors", folder=folder))
    assert "\ntarget kind       squared_error\n" in said
    assert "\ntargets           1: rent\n" in said
    assert found["bytes"] == (folder / "rent.safetensors").stat().st_size
    assert found["arrays"]["fit.columns.numbers"]["shape"] == [1]


def test_rows_without_a_target_are_left_out_with_a_warning(tmp_path):
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60)})
    frame["y"] = frame["a"].where(frame.index >= 5)
    known = frame[5:]
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    known.to_csv(tmp_path / "known.csv", index=False)
    frame.assign(y=np.nan).to_csv(tmp_path / "none.csv", index=False)
    words = "y is missing in 5 of 60 rows, which are left out"
    scores = []
    for name in ("gaps", "known"):
        options = ["--target", "y", "--preset", "fast", "--valid", f"{name}.csv", "--json"]
        result = here("train", f"{name}.csv", *options, "-o", name, folder=tmp_path)
        assert result.returncode == 0
        assert result.stderr.count(words) == 2 * (name == "gaps")
        said = json.loads(result.stdout)
        scores.append([said["out_of_fold"], said["valid"]])
        result = here("evaluate", "gaps", f"{name}.csv", "--json", folder=tmp_path)
        scores[-1].append(json.loads(result.stdout))
        assert (words in result.stderr) == (name == "gaps")
    assert scores[0] == scores[1]
    result = here("train", "none.csv", "--target", "y", folder=tmp_path)
    assert result.returncode == 1
    assert "all values of the column 'y' are missing: name another column" in result.stderr


def test_several_targets_are_predicted_but_not_scored(folder):
    X = np.random.default_rng(0).normal(size=(40, 2))
    frame = pandas.DataFrame(X, columns=["a", "b"])
    model = fastmlp.TabMLPRegressor(preset="fast", random_state=0).fit(frame, X)
    model.save(folder / "two")
    frame.assign(y=0.0).to_csv(folder / "two.csv", index=False)
    rows = children.printed(here("predict", "two", "two.csv", "--interval", "0.5", folder=folder))
    names = "prediction_0,prediction_1,lower_0,lower_1,upper_0,upper_1"
    assert rows.splitlines()[0] == names
    result = here("evaluate", "two", "two.csv", folder=folder)
    assert (result.returncode, result.stdout) == (1, "")
    assert "the model predicts several targets" in result.stderr


@pytest.mark.parametrize(
    ("options", "files"),
    [
        (["--to", "onnx"], ["rent.onnx"]),
        (["-o", "other.c", "--quantiles", "0.1,0.9"], ["other.c", "other.h"]),
    ],
)
def test_exports(options, files, folder):
    said = children.printed(here("export", "rent.safetensors", *options, "--json", folder=folder))
    assert [Path(path).name for path in json.loads(said)["files"]] == files
    assert all((folder / name).stat().st_size for name in files)


def test_an_export_of_a_network_has_derivatives(tmp_path):
    fastmlp.MLP([3, 4, 1], rng=0).save(tmp_path / "net.safetensors")
    words = ("export", "net.safetensors", "--to", "c", "--derivatives", "2")
    children.printed(here(*words, folder=tmp_path))
    assert "net_hessian(" in (tmp_path / "net.h").read_text()


def test_info_is_what_show_config_prints(capsys):
    fastmlp.show_config()
    lines = set(capsys.readouterr().out.splitlines())
    assert lines <= set(children.printed(here("info")).splitlines())
    found = json.loads(children.printed(here("info", "--json")))
    assert (found["fastmlp"], found["polars"]) == (fastmlp.__version__, polars.__version__)


def test_without_compiled_modules(folder):
    commands = ["info"], ["demo"], ["predict", "rent.safetensors", "new.csv"]
    program = (
        "import without_native\nwithout_native.block()\n"
        f"from fastmlp._cli import main\nprint([main(words) for words in {commands}])"
    )
    result = children.python("-c", program, folders=[children.TESTS], cwd=folder)
    said = children.printed(result)
    assert "CPU level         none" in said
    assert said.endswith("[0, 1, 1]\n")
    assert result.stderr.count("wrong version of the C library") == 2
    assert "Traceback" not in result.stderr


def test_commands_of_the_documentation_run(tmp_path):
    for seed, name in enumerate(("flats.csv", "new.csv")):
        (tmp_path / name).write_text(table(30, seed))
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    fastmlp ([a-z].*)$", page, re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        more = ["--preset", "fast"] if line.startswith("train") else []
        children.printed(here(*shlex.split(line), *more, folder=tmp_path))
    written = {path.name for path in tmp_path.iterdir()} - {"flats.csv", "new.csv"}
    names = ("rents.safetensors", "rents.html", "predictions.csv", "rents.onnx")
    assert written == set(names)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("script") is None, reason="needs script, which has a terminal")
def test_progress_is_shown_on_a_terminal(folder):
    words = ("train", "old.csv", "--target", "rent", "--preset", "fast", "-o", "shown")
    shell = 'script -qec "stty cols 50 rows 24; $*" /dev/null'
    text = children.printed(run(*words, shell=shell, folder=folder))
    assert re.search(r"recipe 1 of 1, \d+% done", text)
    progress, result, report = re.split(r"(done: .* out of fold)", text, maxsplit=1)
    assert max(map(len, re.split(r"[\r\n]+", progress))) < 50
    score = re.fullmatch(r"done: root mean squared error (\S+) out of fold", result)[1]
    assert f"rmse         {score}" in report


@pytest.mark.slow
def test_bench_compares_what_is_installed(tmp_path):
    words = ("bench", "--seconds", "12", "--only", "scikit-learn", "-o", "b.json")
    said = children.printed(run(*words, folder=tmp_path, timeout=600))
    result = json.loads((tmp_path / "b.json").read_text())
    assert result["libraries"] == ["fastmlp", "scikit-learn"]
    assert {"CPU", "CPU level", "cores", "fastmlp"} <= set(result["machine"])
    for row in result["results"]:  # what is not timed has been found wrong
        assert row["faults"] == {}
        able = {"fastmlp", "scikit-learn"} if row["kind"] == "table" else {"fastmlp"}
        assert row["seconds"].keys() == able
        assert row["task"] in said


def test_bench_ends_with_its_time_and_says_why_a_row_is_below_1(monkeypatch):
    """Tasks for which there was no time are named; the clock and the libraries are ours."""
    clock = itertools.count()
    calls = []

    class Pool:
        def __init__(self, *_):
            pass

        def submit(self, function, *arguments):
            calls.append(arguments)
            is_ours = arguments[:1] == ("fastmlp",)
            return mock.Mock(result=lambda: 2.0 if is_ours else 1.0)

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(bench, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(bench, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(bench, "os", SimpleNamespace(environ={}, getpid=os.getpid))
    rows = []
    bench.compare(["fastmlp", "ONNX Runtime", "CatBoost"], 10.0, rows)
    assert len(calls) < 30
    timed = [name for row in rows for name in row["seconds"]]
    late = [name for row in rows for name in row["faults"]]
    assert len(timed) == 9  # a look at the clock before each
    assert len(timed) + len(late) == 2 * len(rows)
    assert {text for row in rows for text in row["faults"].values()} == {bench.NO_TIME}
    rows[0]["seconds"] = {"fastmlp": 2.0, "ONNX Runtime": 1.0}
    rows[1]["seconds"] = {"fastmlp": 1.0, "ONNX Runtime": 1.0}
    machine = {"CPU": "one", "cores": 1, "CPU level": "avx2"}
    known = {"libraries": ["fastmlp", "ONNX Runtime"], "not_installed": ["CatBoost"]}
    lines = bench.as_table({"machine": machine, "results": rows, **known}).splitlines()
    assert lines[1].endswith(f"0.50   {bench.REASONS['predict']}")
    assert lines[2].endswith("1.00")
    assert bench.REASONS.keys() == {kind for _, kinds in bench.LIBRARIES.values() for kind in kinds}


@pytest.mark.slow
def test_an_interrupted_bench_prints_what_it_has(tmp_path):
    words = ("bench", "--seconds", "100", "--only", "fastmlp", "--json", "-o", "b.json")
    result = children.python("-c", INTERRUPTED, *words, cwd=tmp_path)
    assert result.returncode == 130
    assert json.loads(result.stdout) == json.loads((tmp_path / "b.json").read_text())
    assert "Traceback" not in result.stderr
