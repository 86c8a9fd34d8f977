"""The playground of the site: its kernels compute what the library computes, and its page trains.

Needs node, Cython, and ziglang in this Python or in the one that ``ZIG`` names.
"""

import hashlib
import importlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import children
import numpy as np
import pytest

import fastmlp
from fastmlp import reference
from fastmlp._engine.cpu_levels import built_levels
from fastmlp._models.fit import next_seed

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "playground"
HAS_COMPILER = importlib.util.find_spec("Cython") and (
    "ZIG" in os.environ or importlib.util.find_spec("ziglang")
)
pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and HAS_COMPILER and PAGE.is_dir()),
    reason="needs node, Cython, ziglang and the sources of the site",
)
ADAM = [0.9, 0.999, 1e-8, 0.0]
EPOCHS, ROWS = 20, 70
BOTH = {"l1": 0.002, "l2": 0.01}
# sizes, activation, loss, optimizer, its numbers, batch, penalties, dropout
CASES = {
    "adam": ([2, 8, 8, 1], "tanh", "binary_cross_entropy", "adam", ADAM, 16, {}, 0),
    "sgd": ([1, 33, 1], "relu", "squared_error", "sgd", [0.0] * 4, 70, {}, 0),
    "wide": ([2, 70, 1, 2], "silu", "squared_error", "adam", ADAM, 32, {}, 0),
    "perceptron": ([2, 1], "relu", "binary_cross_entropy", "sgd", [0.0] * 4, 1, {}, 0),
    "labels": ([3, 5, 4, 3, 2, 9, 1], "sigmoid", "binary_cross_entropy", "adam", ADAM, 23, {}, 0),
    "variance": ([1, 20, 2], "tanh", "gaussian_nll", "adam", ADAM, 16, {}, 0),
    "penalty": ([2, 17, 9, 1], "relu", "huber", "adam", ADAM, 16, BOTH, 0),
    "dropout": ([2, 17, 9, 1], "tanh", "squared_error", "sgd", [0.0] * 4, 16, {"l2": 0.01}, 0.25),
}


def task(name):
    """Return data and first weights of a case, as plain lists of numbers that float32 holds."""
    sizes, activation, loss, optimizer, hyper, batch, penalties, dropout = CASES[name]
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    x = draw(ROWS, sizes[0])
    width = 1 if loss == "gaussian_nll" else sizes[-1]
    t = np.sin(3 * x[:, :1]) + np.arange(width, dtype=np.float32)
    if loss == "binary_cross_entropy":
        t = (t > 0).astype(np.float32)
    weights = [draw(*shape) / 2 for shape in itertools.pairwise(sizes)]
    biases = [draw(size) / 2 for size in sizes[1:]]
    plain = {"x": x.tolist(), "t": t.tolist()}
    plain |= {"weights": [W.tolist() for W in weights], "biases": [b.tolist() for b in biases]}
    hidden = len(sizes) - 2
    plain |= {"activations": [activation] * hidden, "dropout": [dropout] * hidden}
    options = {"sizes": sizes, "loss": loss, "optimizer": optimizer, "hyper": hyper}
    options |= {"batch": batch, "epochs": EPOCHS, "rate": 0.02, "penalties": penalties}
    generator = np.random.default_rng(0)
    network(fastmlp.MLP, plain | options, generator)
    return plain | options | {"seed": str(next_seed(generator))}


def network(kind, task, rng):
    """Return a model of the library with the weights of a task."""
    sizes = [*task["sizes"][:-1], len(task["t"][0])]
    options = {"loss": task["loss"], "dropout": task["dropout"], "dtype": "float32"}
    net = kind(sizes, activation=task["activations"] or "relu", rng=rng, **options)
    net.weights = [np.float32(W) for W in task["weights"]]
    net.biases = [np.float32(b) for b in task["biases"]]
    return net


def flat(predictions):
    """Return predictions as the kernels write them: means and variances beside each other."""
    return np.column_stack(predictions if isinstance(predictions, tuple) else [predictions]).ravel()


def trained(kind, task, orders):
    """Train a model of the library on the same rows in the same orders; return all its numbers."""
    net = network(kind, task, 0)
    optimizer = {"adam": fastmlp.Adam, "sgd": fastmlp.SGD}[task["optimizer"]](task["rate"])
    x, t = np.float32(task["x"]), np.float32(task["t"])
    options = {"batch_size": task["batch"], "optimizer": optimizer, **task["penalties"]}
    losses = [net.partial_fit(x[order], t[order], **options) for order in orders]
    tensors = [*net.weights, *net.biases]
    return [np.float64(losses), flat(net.predict(x)), *(each.ravel() for each in tensors)]


def signed(data):
    """Return a changed file with a digest that is right for it."""
    blank = re.sub(rb'(?<="digest":")\w{64}', b"0" * 64, data)
    return blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode(), 1)


def saved_models(folder):
    """Save models that the page can draw, and others; return rows and predictions, or an error."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (40, 2))
    label = (x[:, 0] > x[:, 1]).astype(int)
    curve = fastmlp.MLP([1, 8, 4, 1], activation=["relu", "tanh"], loss="gaussian_nll", rng=0)
    curve.fit(x[:, :1], x[:, 0], epochs=2)
    scaled = fastmlp.MLPClassifier((8,), standardize=True, tol=1, random_state=0)
    options = {"loss": "gaussian", "standardize": True, "tol": 1, "random_state": 0}
    far = fastmlp.MLPRegressor(**options).fit(x[:, :1] + 5, 50 * x[:, 0])
    mean, deviation = far.predict(x[:, :1] + 5, return_std=True)
    three = fastmlp.MLP([2, 3], loss="cross_entropy", rng=0)
    drawn = {
        "curve": (curve, x[:, :1], curve.predict(x[:, :1])),
        "map": (scaled.fit(x, label), x, scaled.predict_proba(x)[:, 1:]),
        "three": (three, x, three.predict(x)),
        "response": ((net := fastmlp.MLP([2, 8, 1], dtype="float64", rng=0)), x, net.predict(x)),
        "far": (far, x[:, :1] + 5, (mean, deviation**2)),
    }
    norm = fastmlp.MLP([2, 8, 1], layer_norm="before")
    refused = {
        "norm": (norm, "its network has layer_norm"),
        "many": (fastmlp.MLP([3, 8, 1]), "it has 3 inputs"),
        "large": (fastmlp.MLP([2, 200, 1]), "it has the layers 2-200-1"),
        "several": (
            fastmlp.Ensemble([fastmlp.MLP([2, 1]), fastmlp.MLP([2, 1])]),
            "of the class Ensemble",
        ),
    }
    for name, (model, *_) in (drawn | refused).items():
        model.save(folder / f"{name}.safetensors")
    whole = (folder / "map.safetensors").read_bytes()
    quantile = fastmlp.MLP([2, 8, 1], loss="quantile", rng=0)
    quantile.save(folder / "quantile.safetensors")
    inherited = (folder / "quantile.safetensors").read_bytes().replace(b"Quantile", b"toString")
    damaged = {
        "inherited": (signed(inherited), "its loss is not one of the library"),
        "cut": (whole[:-1], "it has changed since it was saved"),
        "shape": (signed(whole.replace(b"[2,8]", b"[8,2]")), "weight is not an array of 2,8"),
        "empty": (b"", "it is no safetensors file"),
        "text": (b"layers: 2, 8, 1", "it is no safetensors file"),
        "flipped": (whole[:-1] + bytes([whole[-1] ^ 1]), "it has changed since it was saved"),
        "other": (b"\2\0\0\0\0\0\0\0{}", "another program wrote it"),
        "json": (whole.replace(b'"__metadata__"', b'"__metadata__:'), "its header is damaged"),
        "future": (whole.replace(b'"version":"1"', b'"version":"2"'), "it has version 2"),
    }
    for name, (data, _) in damaged.items():
        (folder / f"{name}.safetensors").write_bytes(data)
    return drawn, {name: words for name, (_, words) in (refused | damaged).items()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the compiled kernels."""
    wasm = tmp_path_factory.mktemp("playground") / "play.wasm"
    code = (
        "import os, subprocess, sys\n"
        "os.environ['PYTHON'] = sys.executable\n"
        "sys.exit(subprocess.call(sys.argv[1:]))"
    )
    run = children.python("-c", code, ROOT / ".ci" / "playground", wasm, timeout=600)
    assert run.returncode == 0, run.stderr
    return wasm


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a folder with saved models, and `saved_models` of it."""
    folder = tmp_path_factory.mktemp("models")
    return folder, *saved_models(folder)


@pytest.fixture(scope="module")
def answers(built, models):
    """Return all that tests/support/playground.mjs computes for the cases and files."""
    folder, drawn, _ = models
    command = ["node", children.TESTS / "playground.mjs", PAGE, built]
    files = {
        str(path): drawn[path.stem][1].tolist() if path.stem in drawn else []
        for path in folder.iterdir()
    }
    tasks = json.dumps({"cases": {name: task(name) for name in CASES}, "files": files})
    run = subprocess.run(command, input=tasks, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def numbers_of(answer):
    """Return the numbers of an answer in the order of `trained`."""
    losses = np.float64(answer["losses"][:EPOCHS])
    tensors = [*answer["weights"], *answer["biases"]]
    return [losses, np.float32(answer["predictions"]), *map(np.float32, tensors)]


@pytest.mark.parametrize("name", CASES)
def test_trains_like_the_numpy_engine(name, answers):
    answer = answers["cases"][name]
    orders = answer["orders"]
    assert all(sorted(order) == list(range(ROWS)) for order in orders)
    assert len(set(map(tuple, orders))) == EPOCHS
    wanted = trained(reference.MLP, task(name), orders)
    assert wanted[0][-1] < wanted[0][0]
    for found, right in zip(numbers_of(answer), wanted, strict=True):
        np.testing.assert_allclose(found, right, rtol=2e-4, atol=2e-5)
    assert answer["inBatches"]


@pytest.mark.skipif("baseline" not in built_levels(), reason="it is of x86")
def test_has_the_bits_of_the_baseline(answers):
    code = (
        "import json, sys, fastmlp, test_playground as t\n"
        "orders = json.loads(sys.argv[1])\n"
        "all = [t.trained(fastmlp.MLP, t.task(name), orders[name]) for name in t.CASES]\n"
        "print(json.dumps([[each.tolist() for each in one] for one in all]))"
    )
    cases = answers["cases"]
    orders = json.dumps({name: cases[name]["orders"] for name in CASES})
    child = children.python("-c", code, orders, folders=children.FOLDERS, FASTMLP_CPU="baseline")
    for name, wanted in zip(CASES, json.loads(children.printed(child)), strict=True):
        for found, right in zip(numbers_of(cases[name]), wanted, strict=True):
            np.testing.assert_array_equal(found, right, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_shows_the_numbers_of_backpropagation(name, answers):
    answer, case = answers["cases"][name], task(name)
    net = network(reference.MLP, case, 0)
    x, t = np.float32(case["x"]), np.float32(case["t"])
    rows = answer["sloped"]
    _, *slopes = net.gradients(x[rows], t[rows], **case["penalties"])
    close = {"rtol": 2e-4, "atol": 2e-6}
    for found, right in zip(answer["slopes"], itertools.chain(*slopes), strict=True):
        np.testing.assert_allclose(found, right.ravel(), **close)
    # Of one row, dW is the product of its input and its dz.
    y = [x[5], *map(np.float32, answer["neurons"])]
    for k, (found, dz) in enumerate(zip(answer["one"], answer["dz"], strict=True)):
        W, shares = np.float32(case["weights"][k]), case["penalties"]
        penalty = shares.get("l1", 0) * np.sign(W) + shares.get("l2", 0) * W
        np.testing.assert_allclose(found, (np.outer(y[k], dz) + penalty).ravel(), **close)
    if len(y) > 1:
        np.testing.assert_array_equal(answer["hidden"], answer["neurons"][0])
    np.testing.assert_allclose(answer["evaluated"], net.evaluate(x, t), rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_recovers_from_divergence(name, answers):
    answer = answers["cases"][name]
    losses = np.float64(answer["losses"])
    assert not np.isfinite(losses[EPOCHS:-1]).all()
    assert answer["kept"]
    assert losses[-1] == losses[0]


def test_refuses_what_it_cannot_hold(answers):
    assert answers["accepted"] == []


def test_reads_saved_models(models, answers):
    folder, drawn, refused = models
    for name, (_, _, wanted) in drawn.items():
        answer = answers["files"][str(folder / f"{name}.safetensors")]
        np.testing.assert_allclose(
            answer["values"], flat(wanted), rtol=1e-5, atol=1e-5, err_msg=name
        )
    (low, high), _ = answers["files"][str(folder / "map.safetensors")]["ranges"]
    assert low < -1 < 1 < high
    for name, words in refused.items():
        answer = answers["files"][str(folder / f"{name}.safetensors")]
        assert words in answer.get("error", "no error"), name
        assert "Remedy: " in answer["error"]


def test_exclusive_or_is_true_of_different_signs(answers):
    x, t = np.array(answers["xor"]["x"]).reshape(-1, 2), np.array(answers["xor"]["t"])
    np.testing.assert_array_equal(t, (x[:, 0] > 0) != (x[:, 1] > 0))
    assert 0.3 < t.mean() < 0.7


def test_no_scene_has_a_name_that_objects_inherit(answers):
    assert answers["inherited"] == []


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_the_page_says_that_it_cannot_run_from_a_file(tmp_path):
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}")
    command = ["chromium", *options, "--dump-dom", (PAGE / "playground.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    assert "python -m http.server" in re.sub("<script>.*?</script>", "", shown, flags=re.S)
    assert "<button" not in shown


def test_chapters_link_to_their_scenes():
    text = (PAGE / "scenes.js").read_text()
    scenes = re.findall(r'^  (\w+): \{ \.\.\.\w+, chapter: "([\w-]+)"', text, re.M)
    names = {scene for scene, _ in scenes}
    page = (PAGE / "playground.html").read_text()
    assert names == set(re.findall(r'href="#scene=(\w+)"', page))
    for chapter in sorted((ROOT / "docs" / "course").glob("*.md")):
        found = re.findall(r"playground\.html#scene=(\w+)", chapter.read_text("utf-8"))
        assert set(found) == {scene for scene, own in scenes if own == chapter.stem}
        names -= set(found)
    assert not names


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_the_page_can_be_used(built, models, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    check_site = importlib.import_module("check_site")
    site = shutil.copytree(PAGE, tmp_path / "site")
    shutil.copy(built, site / "play.wasm")
    shutil.copytree(models[0], site, dirs_exist_ok=True)
    harness = (children.TESTS / "playground.html").read_text()
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    assert check_site.told_by_browser(site, "chromium", harness, profile) == []
