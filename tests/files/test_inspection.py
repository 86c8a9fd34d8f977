"""What `python -m fastmlp inspect` says of files: enough, and nothing of what a terminal obeys."""

import re

import hostile
import hostile_files
import models
import numpy as np
import pytest
import stored

import fastmlp
from fastmlp import _cli
from fastmlp._files import files, inspection


def report(path):
    return inspection.as_text(inspection.facts(path), with_arrays=True)


def test_inspect_says_what_is_in_a_file_and_reads_no_weights(tmp_path, capsys):
    path = tmp_path / "net"
    fastmlp.MLP([3, 500, 2], loss=fastmlp.Huber(0.5), rng=0).save(path)
    assert _cli.main(["inspect", str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) < 20
    assert _cli.main(["inspect", "--arrays", str(path)]) == 0
    text = capsys.readouterr().out
    for words in ("MLP", "3, 500, 2", "Huber(delta=0.5)", "float32", "layers.0.weight", "3 x 500"):
        assert words in text
    content = files.read(path, only=())
    assert content.payload.size == 0
    model = stored.estimators()["MLPClassifier words"]()
    model.save(tmp_path / "model")
    text = report(tmp_path / "model")
    for words in ("standardize=True", "hidden_layer_sizes=(4,),", r"3: bee, \xe4, \U0001f600"):
        assert words in text
    stored.estimators()["names of features"]().save(tmp_path / "model")
    text = report(tmp_path / "model")
    assert re.search(r"\ncolumns  .* 3: a, b, \\xfc\nclasses .* 3: 0, 1, 2\n", text)
    stored.estimators()["MLPClassifier dates"]().save(tmp_path / "model")
    assert "classes           3: 1970-01-01, 1970-01-02, 1970-01-03\n" in report(tmp_path / "model")
    stored.table(fastmlp.TabMLPRegressor, stored.Y, stored.forms()).save(tmp_path / "model")
    text = report(tmp_path / "model")
    assert "(date)" in text
    assert re.search(r"group 0 .*network=\(layer_sizes=\[\d", text)
    assert _cli.main(["inspect", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_inspect_shows_nothing_that_a_terminal_obeys(tmp_path):
    net = models.network(fastmlp.MLP)
    header, payload = hostile.apart(stored.text_of(net))
    header["__metadata__"]["fastmlp"] = header["__metadata__"]["model"]["class"] = "\x1b[2J"
    (tmp_path / "net").write_bytes(hostile.together(header, payload))
    assert "\x1b" not in report(tmp_path / "net")


def strange_names(width, kind, point):
    """Return a file whose names of columns are so many numbers of a dtype each."""
    header, payload = hostile.apart(hostile.valid("names of features"))
    at = len(payload)
    names = np.full((70_000 // width + 1, width), point, kind)
    entry = header.pop("fit.attributes.feature_names_in_")
    entry.update(dtype={"<u4": "U32", "<f8": "F64"}[kind], shape=list(names.shape))
    entry.update(data_offsets=[at, at + names.nbytes])
    for name in list(header):  # what was behind it is of no use here
        if name != "__metadata__":
            del header[name]
    entry.update(data_offsets=[0, names.nbytes])
    return hostile.together({**header, "fit.attributes.feature_names_in_": entry}, names.tobytes())


@pytest.mark.parametrize(
    ("width", "kind", "point"),
    [
        *((1, "<u4", 27), (1000, "<u4", 0xD800), (1000, "<u4", 2**32 - 1), (1, "<f8", 7)),
        *((2000, "<u4", 65), (30_000, "<f8", 7)),
    ],
)
def test_inspect_is_brief_whatever_the_names_are(width, kind, point, tmp_path):
    (tmp_path / "model").write_bytes(strange_names(width, kind, point))
    text = report(tmp_path / "model")
    assert text.replace("\n", "").isprintable()
    assert text.isascii()
    assert re.search(r"\ncolumns +(70,001|71|36|3): (.*, )?and \d[\d,]* more\n", text)
    assert max(map(len, text.splitlines())) < 5000


@pytest.mark.parametrize("end", [-1, 2**62, 5000])
@pytest.mark.parametrize("point", [27, 0xFF, 65])
def test_inspect_is_brief_whatever_the_names_of_a_table_are(end, point, tmp_path):
    name = "TabMLPClassifier words"
    for tensor, values in (("ends", [0, 1, end, 2]), ("bytes", np.full(20, point, np.uint8))):
        changed = hostile_files.filled(name, f"fit.columns.names.{tensor}", values)
        (tmp_path / "model").write_bytes(changed())
        text = report(tmp_path / "model")
        assert text.replace("\n", "").isprintable()
        assert text.isascii()
        assert re.search(r"\ncolumns +7: ", text)
