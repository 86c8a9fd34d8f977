"""What `fastmlp` refuses, and what it leaves behind: a sentence, an exit code, no traceback."""

import io
import json
import os
import re
import sys
from unittest import mock

import children
import pytest
from commands import INTERRUPTED, here, prepared, run

import fastmlp


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = prepared(tmp_path_factory.mktemp("command"))
    (place / "hard-link.csv").hardlink_to(place / "old.csv")
    (place / "soft-link.csv").symlink_to("new.csv")
    return place


# Of a folder with old.csv, new.csv, rent.safetensors and dear.safetensors: the content of the file
# "bad", the words, the exit code, and what is said.
MODEL, OTHER = "rent.safetensors", "dear.safetensors"
TRAIN = ["train", "old.csv", "--target"]
LONG = [b"%d,%s" % (k, b"x" * (1024 + k % 2)) for k in range(12)]
DAYS = [b"2020-01-%02d,n%d,1.5" % (k % 30 + 1, k % 30) for k in range(40)]
DAYS = b"\n".join([b"day,name,x", *DAYS])
NO_TARGET = b"area,code,balcony,country\n1,x,true,here\n"
REFUSED = [
    (None, ["trian"], 2, ": did you mean train?"),
    (None, [*TRAIN, "rent", "--pre-set", "fast"], 2, "--pre-set fast: did you mean --preset?"),
    (None, ["--epochs", "0"], 2, "'0' is no integer of at least 1"),
    (None, ["--threads", "many"], 2, "'many' is no integer of at least 1"),
    (None, ["--seed", "-1"], 2, "'-1' is no integer from 0 to"),
    (None, ["--nonsense"], 2, "unrecognized arguments: --nonsense"),
    (None, ["bench", "--only", "abacus"], 2, "--only abacus: known are fastmlp, "),
    (None, ["train", "old.csv"], 2, "--target"),
    (None, [*TRAIN, "rent", "--time-limit", "0"], 2, "'0' is no number of seconds above 0"),
    (None, ["predict", MODEL, "new.csv", "--interval", "90"], 2, "no number between 0 and 1"),
    (None, ["predict", MODEL, "new.csv", "--quantiles", "0.1,x"], 2, "'x' is no number between"),
    *(
        (None, [*words, "--quantiles", "0.1,0.9,0.10"], 2, "the level 0.1 is there twice")
        for words in (["predict", MODEL, "new.csv"], ["export", MODEL, "--to", "c"])
    ),
    (None, ["predict", MODEL, "new.csv", "--separator", "::"], 2, "'::' is no single character"),
    (
        *(None, ["evaluate", MODEL, "new.csv", "--decimal", ",", "--separator", ","], 2),
        "--separator and --decimal are both ','",
    ),
    (NO_TARGET, ["evaluate", MODEL, "bad"], 2, "--target is needed: no columns are there beside"),
    (None, ["help", "trian"], 2, ": did you mean train?"),
    *(
        (None, [*words, *words[-2:]], 2, "it is there twice: leave one out")
        for words in (
            [*TRAIN, "rent", "--groups", "area"],
            ["predict", MODEL, "new.csv", "-o", "x"],
        )
    ),
    (None, ["export", MODEL, "--weights", "int8"], 2, "--weights int8 (see fastmlp export --help)"),
    (None, ["predict", MODEL, "new.csv", "--encoding", "utf-9"], 2, "'utf-9' is no encoding that"),
    (None, ["predict", MODEL, "new.csv", "--encoding", "rot13"], 2, "'rot13' is no encoding that"),
    (None, ["predict", MODEL, "new.csv", "--keep", "id"], 1, "--keep: there is no column 'id'"),
    (
        *(b"prediction," + NO_TARGET.replace(b"\n", b"\n3,", 1),),
        *(["predict", MODEL, "bad", "--keep", "prediction"], 1),
        "--keep prediction: the results have a column of this name: rename it in bad",
    ),
    (
        b"area\ncaf\xe9\n",
        ["predict", MODEL, "bad"],
        1,
        "pass its encoding, for example --encoding cp",
    ),
    (None, ["export", MODEL], 2, "--to onnx or --to c, or -o with a name that ends in .onnx"),
    (None, [*TRAIN, "price"], 1, "--target: there is no column 'price': the columns are area,"),
    (None, [*TRAIN, "Rent"], 1, "there is no column 'Rent' (perhaps 'rent'): the columns are"),
    (None, [*TRAIN, "rent", "--drop", "a"], 1, "--drop: there is no column 'a': the columns are"),
    (None, [*TRAIN, "rent", "--falling", "a"], 1, "--falling: there is no column 'a'"),
    *(
        (None, [*TRAIN, "rent", option, "rent"], 2, "two options name the column rent")
        for option in ("--drop", "--weight", "--groups", "--time", "--rising", "--falling")
    ),
    *(
        (None, [*TRAIN, "rent", option, "area", "--time", "area"], 2, "name the column area: leave")
        for option in ("--weight", "--groups")
    ),
    (None, ["train", "none.csv", "--target", "y", "-o", "no/m"], 1, "none.csv: No such file"),
    (None, ["predict", MODEL, "none.csv", "-o", "no/file"], 1, "none.csv: No such file"),
    (None, ["export", "none", "--to", "c", "-o", "no/file.c"], 1, "none: No such file"),
    (
        *(None, [*TRAIN, "rent", "--weight", "weight", "--drop", "weight"], 2),
        "two options name the column weight: leave one of them out",
    ),
    (None, [*TRAIN, "rent", "--weight", "code"], 1, "'code' of --weight needs finite numbers"),
    (None, [*TRAIN, "country"], 1, "at least two are expected"),
    (None, [*TRAIN, "dear", "--task", "regression"], 1, "y holds text"),
    (DAYS, ["train", "bad", "--target", "day"], 1, "day is a category of 30 texts that are dates"),
    (DAYS, ["train", "bad", "--target", "name"], 1, "has 30 different texts in 40 rows: name an"),
    (None, [*TRAIN, "rent", "-o", "no/model"], 1, "there is no folder"),
    (None, [*TRAIN, "rent", "--report", "no/page"], 1, "there is no folder"),
    (None, [*TRAIN, "rent", "--valid", "none.csv"], 1, "none.csv: No such file or directory"),
    (None, ["train", ".", "--target", "y"], 1, ".: Is a directory"),
    (None, ["predict", "none", "new.csv"], 1, "none: No such file or directory"),
    (None, ["predict", "new.csv", "new.csv"], 1, "'new.csv' cannot be loaded: it is text, such"),
    *(
        (None, [command, "new.csv", MODEL], 2, f"new.csv is no model but {MODEL} is: the model")
        for command in ("predict", "evaluate")
    ),
    (None, ["predict", MODEL, MODEL], 1, "cannot be read as a table: it is a model of fastmlp"),
    (None, ["predict", MODEL, "new.csv", "--proba"], 1, "--proba is not for a TabMLPRegressor"),
    (None, ["predict", OTHER, "new.csv", "--interval", "0.9"], 1, "--interval is not for a TabML"),
    (None, ["export", OTHER, "--to", "c", "--quantiles", "0.1"], 1, "--quantiles is not for a Tab"),
    (None, ["export", OTHER, "--to", "c", "--derivatives", "2"], 1, "--derivatives is for net"),
    (None, ["evaluate", MODEL, "new.csv", "--target", "dear"], 1, "but the model predicts numbers"),
    (None, ["predict", MODEL, "new.csv", "-o", "."], 1, "it is a folder, a pipe or a device"),
    (None, [*TRAIN, "rent", "-o", os.devnull], 1, "it is a folder, a pipe or a device: name a"),
    (None, [*TRAIN, "rent", "-o", "-"], 1, "- cannot be written: this is the standard output"),
    (None, [*TRAIN, "rent", "--seed", f"{2**32}"], 2, "--seed: '4294967296' is no integer from 0"),
    *(
        (None, [*words, "-o", output], 1, f"{output} cannot be written: the command uses this")
        for words, output in (
            ([*TRAIN, "rent"], "old.csv"),
            ([*TRAIN, "rent", "--valid", "new.csv"], "./new.csv"),
            ([*TRAIN, "rent", "--report", "page"], "page"),
            (["predict", MODEL, "new.csv"], "new.csv"),
            (["predict", MODEL, "new.csv"], MODEL),
            (["export", MODEL, "--to", "c"], MODEL),
            (["export", MODEL, "--to", "c"], "page.h"),
            ([*TRAIN, "rent"], "hard-link.csv"),
            (["predict", MODEL, "new.csv", "--json"], "soft-link.csv"),
        )
    ),
    *(
        (content, ["train", "bad", "--target", "y"], 1, said)
        for content, said in (
            (b"x,y\n", "bad has no rows"),
            (b"x,y\n1,2\n", "at least two are expected"),
            (b"y\n1\n2\n", "no columns are left to learn from"),
            (b"\n".join([b"x,y", *LONG]), "classes has 2 strings of up to 1,025 characters but"),
            (b"x,y\n1,2\n3,4,5\n", "bad cannot be read as a table: line 3 has 3 values but there"),
            (b"PAR1 and more", "bad cannot be read as a table"),
            (b'[{"x": 1, "y": 2}]', "it is JSON: save the table as CSV or Parquet"),
            (b'{"x": 1,\n "y": 2}', "it is JSON: save the table"),
            (b"PK\3\4" + bytes(30), "it is an Excel workbook, or another zip archive: save"),
            (b"\xd0\xcf\x11\xe0" + bytes(30), "it is an Excel workbook: save"),
            (b"<!DOCTYPE html>\n<html>", "it is HTML or XML: save"),
            (b"\x1f\x8b and more", "bad cannot be read as a table"),
            (b"x,x y\n1,a\n", "no column 'y': the columns are x, x"),
        )
    ),
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
def test_what_is_wrong_is_said_in_a_sentence(content, words, code, said, folder):
    if content is not None:
        (folder / "bad").write_bytes(content)
    before = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
    result = here(*words, folder=folder)
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    if code == 2:  # one line, which names the help
        (line,) = result.stderr.splitlines()
        assert re.fullmatch(r"(fastmlp.*): error: .* \(see \1 --help\)", line)
    assert result.stdout == ""
    assert {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")} == before


OBEYED = "k\x1b]0;owned\x07\x1b[31m\u202e"  # the name of a column that a terminal would obey


def test_terminals_are_given_no_orders_by_names_in_data(tmp_path):
    rows = [f"{k % 11},{k % 3},{k * 7 % 13 + 0.5}" for k in range(40)]
    (tmp_path / "d.csv").write_text("\n".join([f'a,"{OBEYED}\nline",{OBEYED}', *rows]))
    (tmp_path / "same.csv").write_text("\n".join([f"{OBEYED},t", *(f"1,{k}" for k in range(60))]))
    options = ["--preset", "fast", "--time-limit", "0.01", "--task", "regression", "-o"]
    results = [
        here("train", "d.csv", "--target", OBEYED, *options, "m", folder=tmp_path),
        here("train", "d.csv", "--target", "none", folder=tmp_path),  # names all columns
        here("train", "same.csv", "--target", "t", *options, "n", folder=tmp_path),
        here("predict", "m", "same.csv", folder=tmp_path),
        here("evaluate", "n", "d.csv", folder=tmp_path),
        here("inspect", "m", folder=tmp_path),
    ]
    for result in results:
        text = result.stdout + result.stderr
        assert ascii(OBEYED)[1:-1] in text
        assert text.replace("\n", "").isprintable()
    report = fastmlp.load(tmp_path / "n").report()
    assert OBEYED in report.left_out
    assert str(report).replace("\n", "").isprintable()


@pytest.mark.parametrize("output", ["new.csv", "hard-link.csv", "soft-link.csv"])
def test_an_output_does_not_replace_the_standard_input(output, own_folder):
    before = (own_folder / "new.csv").read_bytes()
    (own_folder / "hard-link.csv").hardlink_to(own_folder / "new.csv")
    (own_folder / "soft-link.csv").symlink_to("new.csv")
    result = run(*PIPED, "-o", output, shell='"$@" < new.csv', folder=own_folder)
    assert result.returncode == 1
    assert f"{output} cannot be written: the command uses this file already" in result.stderr
    assert (own_folder / "new.csv").read_bytes() == before


def test_a_header_does_not_replace_the_model(own_folder):
    (own_folder / MODEL).rename(own_folder / "rent.h")
    before = (own_folder / "rent.h").read_bytes()
    result = here("export", "rent.h", "-o", "rent.c", folder=own_folder)
    assert result.returncode == 1
    assert "rent.h cannot be written: the command uses this file already" in result.stderr
    assert (own_folder / "rent.h").read_bytes() == before
    assert not (own_folder / "rent.c").exists()


def test_a_model_is_replaced_only_by_its_name(own_folder):
    words = [*TRAIN, "rent", "--drop", "dear", "--preset", "fast"]
    for count in range(2):
        result = here(*words, folder=own_folder)
        assert result.returncode == count
        first = (own_folder / "model.safetensors").read_bytes()
    words_of_refusal = "model.safetensors is there already: -o model.safetensors replaces it"
    assert words_of_refusal in result.stderr
    more = ("--seed", "5", "-o", "model.safetensors")
    assert here(*words, *more, folder=own_folder).returncode == 0
    assert (own_folder / "model.safetensors").read_bytes() != first


@pytest.mark.parametrize("name", ["rent.c", "rent.h"])
def test_an_export_replaces_a_file_only_by_its_name(name, own_folder):
    (own_folder / name).write_text("mine")
    refused = here("export", MODEL, "--to", "c", folder=own_folder)
    assert refused.returncode == 1
    assert f"{name} is there already: -o rent.c replaces it" in refused.stderr
    assert (own_folder / name).read_text() == "mine"
    children.printed(here("export", MODEL, "-o", "rent.c", folder=own_folder))
    assert (own_folder / name).read_text() != "mine"


def test_a_target_of_decimal_commas_is_warned_of(tmp_path):
    lines = [f"{k};{k},5" for k in range(30)]
    (tmp_path / "excel.csv").write_text("\n".join(["x;y", *lines]))
    words = ["train", "excel.csv", "--target", "y", "--preset", "fast", "--time-limit", "0.01"]
    said = "y is a category of 30 texts that are numbers with commas"
    assert said in here(*words, folder=tmp_path).stderr


def test_a_model_of_a_later_version_is_refused(folder):
    content = (folder / MODEL).read_bytes()
    (folder / "later").write_bytes(content.replace(b'"version":"1"', b'"version":"2"', 1))
    both = ["inspect", "--json", "later", MODEL, "none", "later"]
    for command in (["predict", "later", "new.csv"], ["inspect", "later"], both):
        result = here(*command, folder=folder)
        assert result.returncode == 1
        if command is both:
            assert [each["file"] for each in json.loads(result.stdout)] == [MODEL]
            assert "warning: [Errno 2] No such file or directory: 'none'" in result.stderr
        assert "it is of version 2 of the format" in result.stderr
        assert "Traceback" not in result.stderr


PREDICT = ["predict", MODEL, "new.csv"]
DISTURBED = [
    ('"$@" > /dev/full', "the standard output: No space left on device"),
    ('"$@" >&-', "the standard output is closed"),
    pytest.param(
        'mkfifo p; (: < p) & { sleep 1; exec "$@"; } > p',
        "has closed it before its end",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("shell", "said"), DISTURBED)
def test_full_disks_and_closed_pipes(shell, said, own_folder):
    check_refused(run(*PREDICT, shell=shell, folder=own_folder), said, own_folder)


def given(text):
    """Let the standard input be some bytes, or closed."""
    return mock.patch.object(sys, "stdin", text and io.TextIOWrapper(io.BytesIO(text)))


PIPED = ["predict", MODEL, "-"]
DISTURBED_HERE = [
    (PIPED, lambda: given(None), "the standard input is closed"),
    (PIPED, lambda: given(b"area\n"), "the standard input has no rows"),
    (PIPED, lambda: given(b"area\n1\n"), "the standard input lacks inputs"),
    ([*PREDICT, "-o", "full.csv"], lambda: children.room_for(0), "File too large"),
    (
        [*TRAIN, "rent", "--preset", "fast", "-o", "full"],
        lambda: children.room_for(8192),
        "File too large",
    ),
]


@pytest.mark.parametrize(("words", "disturbance", "said"), DISTURBED_HERE)
def test_standard_inputs_that_are_no_tables_and_large_files(words, disturbance, said, own_folder):
    with disturbance():
        result = here(*words, folder=own_folder)
    check_refused(result, said, own_folder)


@pytest.fixture
def own_folder(folder, tmp_path):
    """Return a copy of a folder, for one test alone."""
    for name in ("old.csv", "new.csv", MODEL):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path


def check_refused(result, said, folder):
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert {path.name for path in folder.iterdir()} <= {"old.csv", "new.csv", MODEL, "p"}


@pytest.mark.slow
def test_an_interrupt_of_train_leaves_what_there_is(own_folder):
    """A model of what was trained so far; or, if there is nothing yet, the old file."""
    old = (own_folder / MODEL).read_bytes()
    words = ("train", "old.csv", "--target", "rent", "--preset", "best", "-o", MODEL)
    result = children.python("-c", INTERRUPTED, *words, cwd=own_folder)
    assert "Traceback" not in result.stderr
    if result.returncode == 130:
        assert "fastmlp train: interrupted" in result.stderr
        assert (own_folder / MODEL).read_bytes() == old
    else:
        assert result.returncode == 0
        assert "ended early because the user interrupted it" in result.stderr
        assert (own_folder / MODEL).read_bytes() != old
        assert here(*PREDICT, folder=own_folder).returncode == 0
