"""The command `fastmlp`, run as users run it: what it prints, writes, refuses and returns."""

from __future__ import annotations

import csv
import importlib
import io
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest

import fastmlp
from fastmlp import _cli

pytest.importorskip("sklearn", reason="tables need scikit-learn")

ROOT = Path(__file__).resolve().parents[1]
SHELL = ("sh", "-c")


def run(
    *arguments: str | Path, shell: str = "", folder: Path = ROOT, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, perhaps by a line of the shell in which it is "$@"."""
    starter: Sequence[str] = (*SHELL, shell, "sh") if shell else ()
    return children.python("-m", "fastmlp", *arguments, starter=starter, cwd=folder, **options)


def table(n: int, seed: int) -> str:
    """Return a table as CSV: numbers, text, truth values, missing ones, two targets."""
    rng = np.random.default_rng(seed)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["area", "code", "balcony", "country", "weight", "rent", "dear"])
    for _ in range(n):
        area, code = round(rng.gamma(6, 12), 1), rng.choice(["1", "2", "x"])
        rent = round(area * (3 + 2 * (code == "x")) + rng.normal(0, 5), 2)
        first = "" if rng.random() < 0.1 else area
        balcony = rng.choice(["true", "false"])
        writer.writerow([first, code, balcony, "here", 1, rent, "yes" if rent > 250 else "no"])
    return text.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables, and a trained model of each task."""
    place = tmp_path_factory.mktemp("command")
    (place / "old.csv").write_text(table(150, 0))
    (place / "new.csv").write_text(table(40, 1))
    for target, other in (("rent", "dear"), ("dear", "rent")):
        words = ("train", "old.csv", "--target", target, "--drop", other, "--weight", "weight")
        more = ("--preset", "fast", "-o", f"{target}.safetensors", "--valid", "new.csv", "--json")
        trained = json.loads(children.printed(run(*words, *more, folder=place)))
        (place / f"{target}.json").write_text(json.dumps(trained))
    return place


def test_entry_point_is_the_module() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        module, _, name = tomllib.load(file)["project"]["scripts"]["fastmlp"].partition(":")
    assert getattr(importlib.import_module(module), name) is _cli.main


def test_help_needs_numpy_alone() -> None:
    program = (
        "import sys\nfrom fastmlp._cli import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print(sorted({'sklearn', 'polars', 'pandas', 'onnx'} & set(sys.modules)))"
    )
    said = children.printed(children.python("-c", program))
    assert said.endswith("[]\n")
    for command in _cli.COMMANDS:
        assert f"\n    {command} " in said


def test_training_says_what_it_has_done(folder: Path) -> None:
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
    said = run("train", *words, "--seed", "3", "-o", "m.safetensors", folder=folder)
    for line in ("task         regression of rent", "left out", "out of fold", "m.safetensors"):
        assert line in children.printed(said)
    assert said.stderr == ""  # progress is for terminals


PREDICTED = [
    ("rent", [], ["prediction"]),
    ("rent", ["--interval", "0.8"], ["prediction", "lower", "upper"]),
    ("rent", ["--quantiles", "0.1,0.9"], ["prediction", "q0.1", "q0.9"]),
    ("dear", ["--proba"], ["prediction", "p_no", "p_yes"]),
]


@pytest.mark.parametrize(("model", "options", "names"), PREDICTED)
def test_predictions_are_those_of_the_model(
    model: str, options: list[str], names: list[str], folder: Path
) -> None:
    words = ("predict", f"{model}.safetensors", "new.csv", *options)
    rows = list(csv.DictReader(io.StringIO(children.printed(run(*words, folder=folder)))))
    loaded = fastmlp.load(folder / f"{model}.safetensors")
    pandas = pytest.importorskip("pandas")
    code = {"code": "str"}  # text at fit, so that it is not read as a number
    X = pandas.read_csv(folder / "new.csv", dtype=code)[loaded.feature_names_in_]
    right = [str(value) for value in loaded.predict(X).tolist()]
    assert list(rows[0]) == names
    assert [row["prediction"] for row in rows] == right
    as_json = json.loads(children.printed(run(*words, "--json", folder=folder)))
    assert [{k: str(v) for k, v in row.items()} for row in as_json] == rows
    if "--interval" in options:
        ends = loaded.predict_interval(X, 0.8)
        assert [[float(row["lower"]), float(row["upper"])] for row in rows] == ends.tolist()


def test_pipes_and_files_are_alike(folder: Path) -> None:
    words = ("predict", "rent.safetensors")
    printed = children.printed(run(*words, "new.csv", folder=folder))
    piped = children.printed(run(*words, "-", shell='cat new.csv | "$@"', folder=folder))
    children.printed(run(*words, "new.csv", "-o", "said.csv", folder=folder))
    assert printed == piped == (folder / "said.csv").read_text()


def test_every_reader_reads_the_same(folder: Path, tmp_path: Path) -> None:
    """With polars, pandas, or neither; with semicolons, gzip, and a byte order mark."""
    words = ("predict", folder / "dear.safetensors")
    right = children.printed(run(*words, "new.csv", folder=folder))
    text = (folder / "new.csv").read_text()
    (tmp_path / "semicolons.csv").write_text("\ufeff" + text.replace(",", ";"), encoding="utf-8")
    gzip = importlib.import_module("gzip")
    (tmp_path / "new.csv.gz").write_bytes(gzip.compress(text.encode()))
    for hidden in ((), ("polars",), ("polars", "pandas")):
        program = (
            "import sys, importlib.util as u\n"
            f"find, hidden = u.find_spec, {hidden!r}\n"
            "u.find_spec = lambda name, *a: None if name in hidden else find(name, *a)\n"
            "from fastmlp._cli import main\nsys.exit(main(sys.argv[1:]))"
        )
        for name in ("semicolons.csv", "new.csv.gz"):
            said = children.python("-c", program, *words, tmp_path / name)
            assert children.printed(said) == right


def test_parquet(folder: Path) -> None:
    polars = pytest.importorskip("polars")
    polars.read_csv(folder / "new.csv", schema_overrides={"code": polars.String}).write_parquet(
        folder / "new.parquet"
    )
    for data in ("new.csv", "new.parquet"):
        words = ("predict", "rent.safetensors", data, "-o", f"{data}.out.parquet")
        children.printed(run(*words, folder=folder))
    one, two = (polars.read_parquet(folder / f"new.{k}.out.parquet") for k in ("csv", "parquet"))
    assert one.equals(two)


@pytest.mark.parametrize("model", ["rent", "dear"])
def test_evaluation_gives_the_scores_of_training(model: str, folder: Path) -> None:
    right = json.loads((folder / f"{model}.json").read_text())["valid"]
    words = ("evaluate", f"{model}.safetensors", "new.csv", "--target", model)
    found = run(*words, "--weight", "weight", "--json", folder=folder)
    assert json.loads(children.printed(found)) == right


def test_a_network_of_arrays_is_evaluated_too(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(9, 2))
    net = fastmlp.MLP([2, 4, 1], rng=0)
    net.save(tmp_path / "net")
    rows = "\n".join(f"{a!r},{b!r},1.0" for a, b in X.tolist())
    (tmp_path / "data.csv").write_text(f"a,b,y\n{rows}\n")
    said = run("evaluate", "net", "data.csv", "--target", "y", "--json", folder=tmp_path)
    right = net.evaluate(X, np.ones(9))
    assert json.loads(children.printed(said))["loss"] == pytest.approx(right, rel=1e-6)


def test_several_targets_are_predicted_but_not_scored(folder: Path) -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b"])
    model = fastmlp.TabMLPRegressor(preset="fast", random_state=0).fit(frame, X)
    model.save(folder / "two")
    frame.assign(y=0.0).to_csv(folder / "two.csv", index=False)
    rows = children.printed(run("predict", "two", "two.csv", "--interval", "0.5", folder=folder))
    names = "prediction_0,prediction_1,lower_0,lower_1,upper_0,upper_1"
    assert rows.splitlines()[0] == names
    result = run("evaluate", "two", "two.csv", folder=folder)
    assert (result.returncode, result.stdout) == (1, "")
    assert "the model predicts several targets" in result.stderr


@pytest.mark.parametrize(
    ("options", "files"),
    [
        (["--to", "onnx"], ["rent.onnx"]),
        (["-o", "other.c", "--quantiles", "0.1,0.9"], ["other.c", "other.h"]),
    ],
)
def test_exports(options: list[str], files: list[str], folder: Path) -> None:
    if "onnx" in options:
        pytest.importorskip("onnx")
    said = children.printed(run("export", "rent.safetensors", *options, "--json", folder=folder))
    assert [Path(path).name for path in json.loads(said)["files"]] == files
    assert all((folder / name).stat().st_size for name in files)


def test_info_is_what_show_config_prints(capsys: pytest.CaptureFixture[str]) -> None:
    fastmlp.show_config()
    lines = set(capsys.readouterr().out.splitlines())
    assert lines <= set(children.printed(run("info")).splitlines())
    assert json.loads(children.printed(run("info", "--json")))["fastmlp"] == fastmlp.__version__


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["info"], 0, "CPU level         none"),
        (["demo"], 1, "wrong version of the C library"),
        (["predict", "rent.safetensors", "new.csv"], 1, "wrong version of the C library"),
    ],
)
def test_without_compiled_modules(words: list[str], code: int, said: str, folder: Path) -> None:
    program = (
        "import sys, without_native\nwithout_native.block()\n"
        "from fastmlp._cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    result = children.python("-c", program, *words, folders=[children.TESTS], cwd=folder)
    assert result.returncode == code
    assert said in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_commands_of_the_documentation_run(tmp_path: Path) -> None:
    for seed, name in enumerate(("flats.csv", "new.csv")):
        (tmp_path / name).write_text(table(30, seed))
    for page in (ROOT / "README.md", ROOT / "docs" / "command-line.md"):
        lines = re.findall(
            r"^    fastmlp ([a-z].*)$", page.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert len(lines) >= 2
        for line in lines:
            more = ["--preset", "fast"] if line.startswith("train") else []
            children.printed(run(*shlex.split(line), *more, folder=tmp_path))
    written = {path.name for path in tmp_path.iterdir()} - {"flats.csv", "new.csv"}
    names = ("rents.safetensors", "rents.html", "predictions.csv", "rents.onnx")
    assert written == set(names)


@pytest.mark.skipif(shutil.which("script") is None, reason="needs script, which has a terminal")
def test_progress_is_shown_on_a_terminal(folder: Path) -> None:
    words = ("train", "old.csv", "--target", "rent", "--preset", "fast", "-o", "shown")
    result = run(*words, shell='script -qec "stty cols 80 rows 24; $*" /dev/null', folder=folder)
    assert re.search(r"\d+/\d+ \[\d\d:\d\d<|to see its progress: pip", children.printed(result))


# Of a folder with old.csv, new.csv, rent.safetensors and dear.safetensors: the content of the file
# "bad", the words, the exit code, and what is said.
MODEL, OTHER = "rent.safetensors", "dear.safetensors"
TRAIN = ["train", "old.csv", "--target"]
REFUSED = [
    (None, ["trian"], 2, "invalid choice: 'trian'"),
    (None, ["train", "old.csv"], 2, "--target"),
    (None, [*TRAIN, "rent", "--time-limit", "0"], 2, "'0' is no number of seconds above 0"),
    (None, ["predict", MODEL, "new.csv", "--interval", "90"], 2, "no number between 0 and 1"),
    (None, ["predict", MODEL, "new.csv", "--quantiles", "0.1,x"], 2, "'x' is no number between"),
    (None, ["evaluate", MODEL, "new.csv"], 2, "--target is needed: weight, rent, dear"),
    (None, ["export", MODEL], 2, "--to onnx or --to c is needed"),
    (
        b"x,x y\n1,a\n",
        ["train", "bad", "--target", "y"],
        1,
        "no column 'y': the columns are x, x y",
    ),
    (None, [*TRAIN, "price"], 1, "--target: there is no column 'price': the columns are area,"),
    (None, [*TRAIN, "rent", "--drop", "a"], 1, "--drop: there is no column 'a'"),
    (None, [*TRAIN, "rent", "--weight", "code"], 1, "'code' of --weight needs finite numbers"),
    (None, [*TRAIN, "area"], 1, "the column 'area' has"),
    (None, [*TRAIN, "country"], 1, "at least two are expected"),
    (None, [*TRAIN, "dear", "--task", "regression"], 1, "y holds text"),
    (None, [*TRAIN, "rent", "-o", "no/model"], 1, "there is no folder"),
    (None, [*TRAIN, "rent", "--report", "no/page"], 1, "there is no folder"),
    (None, [*TRAIN, "rent", "--valid", "none.csv"], 1, "none.csv: No such file or directory"),
    (None, ["train", ".", "--target", "y"], 1, ".: Is a directory"),
    (None, ["predict", "none", "new.csv"], 1, "none: No such file or directory"),
    (None, ["predict", "new.csv", "new.csv"], 1, "'new.csv' cannot be loaded"),
    (None, ["predict", MODEL, "new.csv", "--proba"], 1, "--proba is not for the TabMLPRegressor"),
    (None, ["predict", OTHER, "new.csv", "--interval", "0.9"], 1, "is not for the TabMLPClass"),
    (None, ["export", OTHER, "--to", "c", "--quantiles", "0.1"], 1, "--quantiles is not for a Tab"),
    (b"", ["train", "bad", "--target", "y"], 1, "bad has no rows"),
    (b"x,y\n", ["train", "bad", "--target", "y"], 1, "bad has no rows"),
    (b"x,y\n1,2\n", ["train", "bad", "--target", "y"], 1, "at least two are expected"),
    (b"y\n1\n2\n", ["train", "bad", "--target", "y"], 1, "no columns are left to learn from"),
    (b"x,x\n1,2\n", ["train", "bad", "--target", "y"], 1, "two columns have the name 'x'"),
    (b"x,y\n1,2\n3,4,5\n", ["train", "bad", "--target", "y"], 1, "bad cannot be read as a table"),
    (b"\xff\xfex,y", ["train", "bad", "--target", "y"], 1, "bad is neither Parquet nor text"),
    (b"PAR1 and more", ["train", "bad", "--target", "y"], 1, "bad cannot be read as a table"),
    (b"\x1f\x8b and more", ["train", "bad", "--target", "y"], 1, "bad cannot be read as a table"),
    (b"area\n1\n", ["predict", MODEL, "bad"], 1, "there is no column 'code', 'balcony', 'country'"),
    (
        b"area,code,balcony,country\nwide,x,true,here\n",
        ["predict", MODEL, "bad"],
        1,
        "area was numbers at fit but cannot be read as such now",
    ),
    (
        b"area,code,balcony,country,dear\n1,x,true,here,perhaps\n",
        ["evaluate", OTHER, "bad"],
        1,
        "the target holds 'perhaps' but the model knows 2 classes ('no', 'yes')",
    ),
]


@pytest.mark.parametrize(("content", "words", "code", "said"), REFUSED)
def test_what_is_wrong_is_said_in_a_sentence(
    content: bytes | None, words: list[str], code: int, said: str, folder: Path
) -> None:
    if content is not None:
        (folder / "bad").write_bytes(content)
    before = sorted(folder.rglob("*"))
    result = run(*words, folder=folder)
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert sorted(folder.rglob("*")) == before


def test_a_model_of_a_later_version_is_refused(folder: Path) -> None:
    content = (folder / MODEL).read_bytes()
    (folder / "later").write_bytes(content.replace(b'"version":"1"', b'"version":"2"', 1))
    for command in (["predict", "later", "new.csv"], ["inspect", "later"]):
        result = run(*command, folder=folder)
        assert result.returncode == 1
        assert "it is of version 2 of the format" in result.stderr
        assert "Traceback" not in result.stderr


PREDICT = ["predict", MODEL, "new.csv"]
DISTURBED = [
    (PREDICT, '"$@" > /dev/full', "the standard output: No space left on device"),
    (PREDICT, '"$@" >&-', "the standard output is closed"),
    (PREDICT, 'mkfifo p; (: < p) & { sleep 1; exec "$@"; } > p', "has closed it before its end"),
    ([*PREDICT, "-o", "full.csv"], 'ulimit -f 0; "$@"', "File too large"),
    ([*TRAIN, "rent", "--preset", "fast", "-o", "full"], 'ulimit -f 8; "$@"', "File too large"),
]


@pytest.mark.parametrize(("words", "shell", "said"), DISTURBED)
def test_full_disks_and_closed_pipes(
    words: list[str], shell: str, said: str, folder: Path, tmp_path: Path
) -> None:
    for name in ("old.csv", "new.csv", MODEL):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    result = run(*words, shell=shell, folder=tmp_path)
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"old.csv", "new.csv", MODEL, "p"}


def test_an_interrupt_leaves_the_files_as_they_were(folder: Path) -> None:
    before = (folder / MODEL).read_bytes()
    words = ("train", "old.csv", "--target", "rent", "--preset", "best", "-o", MODEL)
    shell = '"$@" & sleep 4; kill -INT $!; wait $!'
    program = "import signal, sys; signal.signal(2, signal.default_int_handler)\n"
    program += "from fastmlp._cli import main; sys.exit(main(sys.argv[1:]))"
    result = children.python("-c", program, *words, starter=(*SHELL, shell, "sh"), cwd=folder)
    assert result.returncode == 130
    assert "fastmlp train: interrupted" in result.stderr
    assert "Traceback" not in result.stderr
    assert (folder / MODEL).read_bytes() == before
