"""The command `fastmlp bench`, run as users run it."""

import json

import children
import pytest
from commands import INTERRUPTED

pytest.importorskip("sklearn", reason="compares with scikit-learn")

FASTMLP = ("-m", "fastmlp")


def test_bench_compares_what_is_installed(tmp_path):
    more = ("-o", "b.json", "--report", "b.html")
    words = ("bench", "--seconds", "1", "--only", "scikit-learn", *more)
    said = children.printed(children.python(*FASTMLP, *words, cwd=tmp_path, timeout=600))
    result = json.loads((tmp_path / "b.json").read_text())
    assert result["libraries"] == ["fastmlp", "scikit-learn"]
    assert {"CPU", "CPU level", "cores", "fastmlp"} <= set(result["machine"])
    assert result["peak_gflops"] > 0
    for row in result["results"]:  # what is not timed has been found wrong
        assert row["faults"] == {}
        assert row["seconds"].keys() == {"fastmlp", "scikit-learn"}
        assert row["task"] in said
    assert (tmp_path / "b.html").read_text().count("<svg") == len(result["results"])
    assert children.python(*FASTMLP, "bench", "--only", "abacus").returncode == 2


def test_an_interrupted_bench_prints_what_it_has(tmp_path):
    words = ("bench", "--seconds", "100", "--only", "fastmlp", "--json", "-o", "b.json")
    result = children.python("-c", INTERRUPTED, *words, cwd=tmp_path)
    assert result.returncode == 130
    assert json.loads(result.stdout) == json.loads((tmp_path / "b.json").read_text())
    assert "Traceback" not in result.stderr
