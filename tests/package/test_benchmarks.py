"""Every benchmark runs, at a small size; and the benchmarks' own small parts."""

import dataclasses
import json
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import children
import cortex
import pytest

from fastmlp._engine import native_engine

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
harness = pytest.importorskip("harness", reason="needs the folder benchmarks")
run = pytest.importorskip("run")
rows_to_come = pytest.importorskip("rows_to_come")

SHORT = ("--rounds", "2", "--turn", "0.001")
TINY = (*SHORT, "--cases", "tiny")
# Arguments that make it short; the tables and rows that come out.
SMALL = {
    "train": ((*TINY, "--threads", "1", "--rivals", "NumPy"), (1, 2)),
    "predict": ((*TINY, "--rivals", "NumPy"), (2, 8)),
    "estimators": ((*SHORT, "--cases", "batch 32", "100 samples"), (2, 5)),
    "tabular": (("--cases", "wine", "--models", "fast", "HistGB", "--splits", "1"), (4, 5)),
    "distilled": (("--cases", "wine", "--models", "fast", "--rounds", "2"), (1, 1)),
    "explanations": (("--cases", "fast", "distilled, 50 rows", "--rows", "20"), (1, 2)),
    "tables": ((*SHORT, "--rows", "50", "--models", "fast", "--sizes", "60"), (3, 9)),
    "table_rows": ((*SHORT, "--options=-O1"), (1, 6)),
    "large": (("--rows", "2000", "--models", "fast", "HistGB", "--limit", "9"), (1, 2)),
    "growth": (("--cases", "columns", "--models", "fast", "--largest", "100"), (1, 2)),
    "sparse": (("--cases", "tiny", "--rounds", "2"), (1, 1)),
    "coverage": (
        ("--cases", "lognormal 2", "--rounds", "9", "--fits", "1", "--seeds", "1"),
        (3, 5),
    ),
    "later": (("--cases", "nile, years", "--presets", "fast"), (2, 10)),
    "groups": (("--cases", "rents, cities", "--presets", "fast"), (2, 10)),
    "panels": (("--cases", "sites, drift 2", "--presets", "fast"), (2, 6)),
    "survival": (("--cases", "veteran", "--presets", "fast"), (2, 10)),
    "rules": (("--cases", "gates", "--models", "fast", "--rounds", "2"), (2, 1)),
    "bfloat16": (("--cases", "tiny", "--rounds", "1", "--threads", "1", "--fits", "2"), (2, 4)),
    "narrow": ((*SHORT, "--members", "2"), (1, 3)),
    "latency": (("--cases", "tiny", "--calls", "1000"), (1, 4)),
    "derivatives": ((*SHORT, "--cases", "one row", "c", "--rivals", "torch"), (2, 2)),
    "options": ((*TINY, "--options", "AdamW", "validation", "tanh"), (1, 4)),
    "scaling": ((*SHORT, "--largest", "4000"), (2, 4)),
    "levels": (TINY, (1, 2)),
    "busy": (TINY, (1, 4)),
    "ensemble": ((*TINY, "--members", "2", "3"), (1, 2)),
    "processes": (("--cases", "tiny", "--rows", "8", "--rounds", "2"), (1, 6)),
    "overhead": ((*SHORT, "--rows", "1000"), (1, 1)),
    "calls": ((*SHORT, "--cases", "MLP.predict, one row"), (2, 8)),
    "callbacks": (("--cases", "tiny", "--rows", "640", "--rounds", "2"), (1, 3)),
    "c": ((*SHORT, "--cases", "8-32-32-3", "--options=-O2"), (1, 2)),
    "cortex_m": (("--cases", "8-32-32-3", "--options=-O2"), (1, 2)),
    "inner_loops": (("--levels", "baseline"), (1, 2)),
}
QUICK = ("train",)  # what is not slow
NEEDS = {
    "derivatives": shutil.which("gcc"),
    "table_rows": shutil.which("gcc"),
    "bfloat16": native_engine.bfloat16_unit() in {"AMX", "AVX512-BF16"},
    "large": sys.platform == "linux",
    "growth": sys.platform == "linux",
    "sparse": sys.platform == "linux",
    "later": all(map(find_spec, rows_to_come.PACKAGES)),
    "groups": all(map(find_spec, rows_to_come.PACKAGES)),
    "survival": find_spec("sksurv") and find_spec("xgboost"),
    "c": shutil.which("gcc") and shutil.which("size"),
    "cortex_m": cortex.is_here(),
    "inner_loops": shutil.which("objdump"),
    "processes": shutil.which("mpiexec") and find_spec("mpi4py") and harness.available_cpus() > 1,
}


def test_every_benchmark_is_run_here_and_on_the_page():
    assert SMALL.keys() == run.BENCHMARKS.keys()
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    for name, (_, shows) in run.BENCHMARKS.items():
        assert f"| `{name}` | {shows} |" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in SMALL]
)
def test_every_benchmark_runs(name, tmp_path):
    if not NEEDS.get(name, True):
        pytest.skip("not all that it needs is installed")
    arguments, (tables, rows) = SMALL[name]
    command = (BENCHMARKS / "run.py", name, *arguments, "--json", tmp_path / "results.json")
    found = children.python(*command, folders=[BENCHMARKS])
    assert found.stderr == ""
    assert found.returncode in {0, 1}  # 1: targets are for quiet machines
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["environment"].keys() >= {"processor", "versions", "fastmlp"}
    results = content["results"]
    assert len(results) == tables
    assert sum(map(len, results.values())) >= rows
    for title, table in results.items():
        assert title in found.stdout
        for label, row in table.items():
            assert f"  {label}  " in found.stdout
            assert "NOT TIMED" not in row.get("fault", "")


def test_a_benchmark_that_lacks_a_module_says_what_to_install():
    program = "import runpy, sys; sys.modules['pytest'] = None; sys.argv = sys.argv[1:]"
    command = ("-c", f"{program}; runpy.run_path(sys.argv[0], run_name='__main__')")
    found = children.python(*command, BENCHMARKS / "run.py", "options", *TINY, folders=[BENCHMARKS])
    assert found.returncode == 2
    assert "pip install '.[test]', and a C compiler" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("name", ["absent/results.json", "."])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(name, tmp_path):
    command = (BENCHMARKS / "run.py", "overhead", "--json", tmp_path / name)
    found = children.python(*command, folders=[BENCHMARKS])
    assert found.returncode == 2
    assert "is not a file in a folder that is there" in found.stderr
    assert not found.stdout


def test_wrong_results_get_no_time():
    rivals = pytest.importorskip("rivals")
    workloads = pytest.importorskip("workloads")
    case = workloads.Case("few", (3, 4, 2), "relu", "cross_entropy", 8, 32)
    found, _ = rivals.load_training(rivals.numpy_train, case, 1)
    assert rivals.wrong_losses(case, found) == ""
    right = rivals.expected(case, case.data()[0])
    still = dict.fromkeys(found, right)
    assert "in row order instead of" in rivals.wrong_losses(case, still)
    assert rivals.wrong_predictions(case, right) == ""
    assert rivals.wrong_predictions(case, right * 1.01).endswith("of 64 predictions are wrong")


def test_rivals_that_are_not_installed_are_named(monkeypatch):
    tabular = pytest.importorskip("tabular")
    missing = tabular.Model(tabular.scikit_mlp, needs="no_such_module")
    monkeypatch.setitem(tabular.MODELS, "rival", missing)
    tables = tabular.measure(cases=("wine",), models=("fast", "rival"), splits=1, threads=1)
    assert next(tables) == ("rival is left out: pip install no_such_module", {})
    assert [*next(tables)[1]["wine"]] == ["fast"]


def test_pictures_show_the_stored_results(tmp_path):
    pictures = pytest.importorskip("readme_pictures")
    numbers = pictures.tables()
    assert numbers["default"][1] == 1
    assert len(numbers) == 6
    pictures.main(tmp_path)
    for name in pictures.PICTURES:
        drawn, kept = (
            re.findall("<dc:description>(.*?)</dc:description>", (folder / name).read_text())
            for folder in (tmp_path, ROOT / "docs" / "figures")
        )
        assert drawn == kept != [], f"{name}: draw it by python benchmarks/readme_pictures.py"
    # What the program prints, on the pages; and titles that the benchmark gives today.
    assert pictures.sentence() in (ROOT / "README.md").read_text(encoding="utf-8")
    tables = {
        "performance": [*pictures.training(), *pictures.predictions(), *pictures.latencies()],
        "comparison": pictures.comparison(),
    }
    for page, lines in tables.items():
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        assert set(lines) <= set(text.splitlines()), "python benchmarks/readme_pictures.py"
    rivals = pytest.importorskip("rivals")
    cases = [dataclasses.replace(rivals.PREDICTED[name], n_rows=1) for name in pictures.CASES]
    stored = pictures.results(pictures.PANELS["prediction of one row"][0])
    assert stored.keys() >= {rivals.title(case, 1) for case in cases}
