"""The lecture's statements: each script of examples/ runs, and what it prints is true.

Also: the programs of pages print what the pages say, run one after the other, as a reader would
paste them. Those with `>>>` are run by test_house.py.
"""

import ast
import contextlib
import importlib.util
import io
import json
import math
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fastmlp

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
BLOCK = re.compile(
    r"^```python\n(?!>>>)(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL
)
README_COMMANDS = "pip install . && fastmlp", "pip install '.[test]' && pytest"
RUN_ELSEWHERE = {  # pages whose programs need more than Python, and the tests that run them
    "docs/deploying.md": "test_examples.py",
    "docs/functions.md": "test_own_functions.py",
    "docs/guides/other-languages.md": "test_languages.py",
    "docs/guides/pytorch-to-c.md": "test_read_torch.py",
    "docs/guides/spark.md": "test_spark.py",
    "docs/processes.md": "test_mpi.py",
}
LONG = (  # most of the time of all pages
    *("docs/guides/distill.md", "docs/guides/other-tools.md"),
    *("docs/guides/rows-in-time.md", "docs/guides/tables.md"),
)
OTHERS = (
    *("torch", "pandas", "optuna", "skops", "shap", "mapie", "imblearn", "dask", "duckdb"),
    *("distributed", "dask_ml", "ray", "mlflow", "casadi"),
)


def run(name):
    """Run an example's main, and return its numbers."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.main()


def test_gradient_descent_finds_the_line_and_a_large_step_size_is_reported():
    found = run("line_by_gradient_descent")
    lines = found["lines"]
    np.testing.assert_allclose(lines["fastmlp"], lines["truth"], rtol=1e-9)
    np.testing.assert_allclose(lines["fastmlp"], lines["by hand"], rtol=1e-12)
    for share, loss in found["losses"].items():
        assert (loss < found["start_loss"]) == (share < 1), share
    error = found["diverged"]
    assert isinstance(error, FloatingPointError)
    assert error.learning_rate == pytest.approx(1.5 * found["limit"])
    assert 0 < error.epoch < 2000
    assert len(error.history.loss) == error.epoch
    for words in ("diverged in epoch", f"learning rate {error.learning_rate:g}", "smaller"):
        assert words in str(error)
    assert np.all(np.isfinite(found["kept"]))


def test_linear_map_is_recovered():
    found = run("linear_map")
    assert found["recovered"] < 1e-12
    assert found["least_squares"] < 1e-12
    assert found["truth"] > 1e-3  # noise is not removed by magic


def test_deep_identity_stack_is_one_affine_map():
    found = run("deep_identity")
    assert max(found["before"], found["after"]) < 1e-12
    assert found["best_affine"] - 1e-12 < found["identity"] < 1.01 * found["best_affine"]
    assert found["tanh"] < 0.1 * found["best_affine"]


def test_mlp_fits_what_no_linear_network_can():
    found = run("nonlinear")
    for name in ("linear", "deep linear"):
        assert found["losses"][name] == pytest.approx(1 / 8, abs=1e-9)
        np.testing.assert_allclose(found["predictions"][name], 0.5, atol=1e-6)
    assert found["linear_slope"] < 1e-9
    assert found["losses"]["MLP"] < 1e-9
    np.testing.assert_allclose(found["predictions"]["MLP"], [0, 1, 1, 0], atol=1e-4)


def test_wider_networks_approximate_better():
    found = run("universal_approximation")
    built, trained = (np.array(found[name]) for name in ("built", "trained"))
    for errors in (built[:, 0], built[:, 1], trained[:, 1]):
        assert np.all(np.diff(errors) < 0)
        assert errors[-1] < 0.05 * errors[0]


def test_the_three_tasks():
    found = run("three_tasks")
    regression = found["regression"]
    assert regression["floor"] * 0.9 < regression["loss"] < regression["floor"] * 1.25
    assert found["classification"]["accuracy"] >= 0.95
    assert found["classification"]["off"] < 1e-6
    unit = found["unit_variance"]
    assert unit["constant"] == pytest.approx(math.log(2 * math.pi))
    assert unit["gap"] == pytest.approx(unit["constant"], abs=1e-12)
    assert unit["same"]
    predicted = found["predicted_variance"]
    assert predicted["mean_error"] < 0.1
    np.testing.assert_allclose(predicted["deviation_ratio"], 1, atol=0.2)


def test_online_learning_follows_the_stream():
    found = run("online_learning")
    assert found["before"] < 0.2 * found["first"]
    assert found["after"] > 5 * found["before"]
    assert found["last"] < 0.2 * found["after"]


def test_the_regulator_holds_the_pendulum():
    found = run("steer_a_pendulum")
    without, held = (found["angles"][name] for name in ("without torque", "with the regulator"))
    assert abs(held[-1]) < 0.1
    assert max(map(abs, held)) < 18
    assert max(map(abs, without)) > 180


def test_the_surrogate_and_its_derivatives_are_those_of_the_simulation():
    found = run("surrogate_of_a_simulation")
    assert found["error"] < 0.02
    np.testing.assert_allclose(found["slopes"], found["differences"], atol=0.03)


def test_derivatives_teach():
    for alone, both in run("values_and_gradients").values():
        assert both < alone / 4


def test_the_amplifier_is_heard_alike():
    assert run("model_an_amplifier")["error"] < 1e-3


def test_the_sensor_is_linear_with_weights_of_a_byte():
    found = run("sensor_on_a_microcontroller")
    assert abs(found["errors"]["float32"]).max() < 1
    assert abs(found["errors"]["int8"]).max() < 2
    assert found["bytes"] < 200


def test_the_database_calls_the_network():
    found = run("predict_in_sql")
    assert found["left"] == 0
    assert len(found["dearest"]) == 3
    for *_, price, predicted in found["dearest"]:
        assert predicted == pytest.approx(price, rel=0.1)


def test_intervals_of_prices_hold():
    assert 0.85 < run("prices_with_intervals")["inside"] < 0.95


def test_a_rejected_loan_is_explained():
    found = run("rejected_loan")
    assert abs(found["base"] + found["values"].sum() - found["risk"]) < 1e-6
    assert min(found["sizes"], key=found["sizes"].get) == "age"


def test_cells_of_the_notebook_run(tmp_path, monkeypatch):
    """Each cell runs as in Jupyter, which shows the value of its last line as HTML if it can.

    The rows that decide when to stop are not those of the test.
    """
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "examples" / "first_steps.ipynb").read_text())
    assert notebook["nbformat"] == 4
    names, shown, validated = {}, [], []

    def fit(net, *data, fit=fastmlp.MLP.fit, **options):
        validated.extend([options["validation_data"][0]] if "validation_data" in options else [])
        return fit(net, *data, **options)

    monkeypatch.setattr(fastmlp.MLP, "fit", fit)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            *lines, last = ast.parse("".join(cell["source"])).body
            exec(compile(ast.Module(lines, []), "cell", "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
                shown.append(getattr(value, "_repr_html_", lambda: "")())
    assert [text[:4] for text in shown if text] == ["<tab", "<svg", "<p>H"]
    assert names["accuracy"] > 0.95
    tested = {row.tobytes() for row in names["X_test"]}
    assert validated
    assert not any(row.tobytes() in tested for rows in validated for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.safetensors"]


def test_every_example_is_tested_and_listed():
    tests = Path(__file__).read_text()
    readme = (ROOT / "examples" / "README.md").read_text()
    gallery = (ROOT / "docs" / "gallery.py").read_text()
    for name in EXAMPLES:
        assert f'"{name}"' in gallery
        assert f'run("{name}")' in tests
        assert f"{name}.py" in readme
    assert "first_steps.ipynb" in readme


def test_the_readme_has_its_two_commands_and_ci_runs_them_in_fresh_environments():
    readme = (ROOT / "README.md").read_text("utf-8")
    for command in README_COMMANDS:
        assert readme.count(f"\n\n    {command}\n\n") == 1, command
    shell = ["bash", "-c", ". .ci/common && readme_commands"]
    found = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert tuple(found.splitlines()) == README_COMMANDS
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "readarray -t commands < <(readme_commands)" in script
    assert '    fresh "command-$i"\n    bash -c "${commands[i]}"\n' in script


def test_extras_that_pages_install_are_those_of_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {}
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for names in re.findall(r"pip install '\.\[(.*?)\]'", page.read_text("utf-8")):
            wanted.setdefault(page.name, set()).update(names.split(","))
    assert {"sklearn", "pandas", "test"} <= wanted["README.md"]
    assert set().union(*wanted.values()) <= set(extras["optional-dependencies"])


def pages():
    """Return the programs of each page, each with the output that the page shows, or ""."""
    written = ROOT / "docs" / "gallery"  # building the site writes the examples there
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    paths = [path for path in paths if written not in path.parents]
    programs = {
        str(path.relative_to(ROOT)): BLOCK.findall(path.read_text("utf-8")) for path in paths
    }
    return {page: blocks for page, blocks in programs.items() if blocks}


def test_programs_of_pages_that_need_more_than_python_are_run():
    for page, test in RUN_ELSEWHERE.items():
        assert page in pages()
        (path,) = (ROOT / "tests").rglob(test)
        assert f'"{Path(page).name}"' in path.read_text("utf-8")


def test_a_chapter_becomes_a_notebook_with_its_outputs_and_pictures(monkeypatch):
    pytest.importorskip("nbformat", reason="needs nbformat")
    monkeypatch.syspath_prepend(ROOT / "docs")
    monkeypatch.syspath_prepend(ROOT / "docs" / "course")
    importlib.import_module("pictures").draw()
    notebooks = importlib.import_module("notebooks")
    cells = notebooks.notebook("step").cells
    outputs = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    assert [output[0]["text"] for output in outputs] == ["-5.998\n", *["2.052 0.976\n"] * 2]
    text = "".join(cell["source"] for cell in cells)
    assert "](attachment:descent.svg)" in text
    assert sum("descent.svg" in cell.get("attachments", ()) for cell in cells) == 1
    assert not re.search(r"\]\((?!https:|attachment:)|href=", text)


def test_index_pages_name_each_page_by_its_title():
    indexes = [p for p in (ROOT / "docs").glob("*/index.md") if p.parent.name != "gallery"]
    assert len(indexes) == 5
    for index in indexes:
        text = index.read_text("utf-8")
        (entries,) = re.findall(r"\n\n((?:[\w./-]+\n)+)```", text)
        for page in entries.split():
            title = (index.parent / f"{page}.md").read_text("utf-8").partition("\n")[0]
            assert f"[{title[2:]}]({page}.md): " in text


@pytest.mark.filterwarnings("ignore")  # PyTorch warns, and fits that end by max_iter
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] * (page in LONG))
        for page in pages()
        if page not in RUN_ELSEWHERE
    ],
)
def test_programs_of_a_page_print_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    assert any(output or "assert " in code for code, output in pages()[page])
    for code, output in pages()[page]:
        needed = re.findall(rf"^(?:import|from) ({'|'.join(OTHERS)})\b", code, re.M)
        if any(importlib.util.find_spec(name) is None for name in needed):
            continue
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, page, "exec"), names)
        assert printed.getvalue() == output


@pytest.mark.filterwarnings("ignore")
def test_the_service_of_the_page_answers():
    pytest.importorskip("fastapi", reason="needs fastapi")
    pytest.importorskip("httpx", reason="needs httpx")
    from fastapi.testclient import TestClient

    page = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    service = {"__name__": "service"}
    quick = code.replace("epochs=20", "epochs=2")
    exec(compile(quick, "service", "exec", dont_inherit=True), service)
    client, row = TestClient(service["app"]), service["X_test"][0]
    answer = client.post("/predict", json=row.tolist())
    assert answer.status_code == 200
    assert answer.json() == pytest.approx(service["net"].predict(row[None])[0].tolist())
    assert client.post("/predict", json=row[:3].tolist()).status_code == 422
