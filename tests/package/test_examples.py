"""The lecture's statements: each script of examples/ runs, and what it prints is true.

Also: the Python blocks of pages run, one after the other, as a reader would paste them.
"""

import ast
import contextlib
import importlib.util
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import fastmlp

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
PAIR = re.compile(r"^```python\n(.*?)^```\n+^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Pages about the estimators, and how many blocks they have.
PAGES = {"coming-from.md": 5, "tabular.md": 9, "guides/other-tools.md": 13}
OTHERS = (
    *("torch", "pandas", "optuna", "skops", "shap", "mapie", "imblearn", "dask", "duckdb"),
    *("distributed", "dask_ml", "ray"),
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


def test_cells_of_the_notebook_run(tmp_path, monkeypatch):
    """Each cell runs as in Jupyter, which shows the value of its last line as HTML if it can."""
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "examples" / "first_steps.ipynb").read_text())
    assert notebook["nbformat"] == 4
    names, shown = {}, []
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
    assert [path.name for path in tmp_path.iterdir()] == ["digits.safetensors"]


def test_every_example_is_tested_and_listed():
    tests = Path(__file__).read_text()
    readme = (ROOT / "examples" / "README.md").read_text()
    for name in EXAMPLES:
        assert f'run("{name}")' in tests
        assert f"{name}.py" in readme
    assert "first_steps.ipynb" in readme


@pytest.mark.parametrize("page", ["README.md", "docs/saving.md"])
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    assert blocks
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert names["fastmlp"] is fastmlp


@pytest.mark.filterwarnings("ignore")  # of PyTorch; and a page's fits may end by max_iter
@pytest.mark.parametrize("name", PAGES)
def test_the_page_prints_what_it_says(name):
    pytest.importorskip("sklearn")
    page = (ROOT / "docs" / name).read_text()
    pairs = PAIR.findall(page)
    assert len(pairs) == page.count("```python") == PAGES[name]
    names = {}
    for code, expected in pairs:
        needed = re.findall(rf"^(?:import|from) ({'|'.join(OTHERS)})\b", code, re.M)
        if any(importlib.util.find_spec(each) is None for each in needed):
            if "pandas" in needed and name == "tabular.md":  # the rest of the page needs its frame
                pytest.skip("pandas is not installed")
            continue
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, name, "exec"), names)
        assert out.getvalue() == expected


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
