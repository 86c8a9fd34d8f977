"""The playground of the site: its kernels compute what the library computes, and its page trains.

Needs node, Cython, and ziglang in this Python or in the one that ``ZIG`` names.
"""

import importlib
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import children
import numpy as np
import pytest

import fastmlp
from fastmlp import reference
from fastmlp._engine.cpu_levels import built_levels

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
# sizes, activation, loss, optimizer, its numbers, batch
CASES = {
    "adam": ([2, 8, 8, 1], "tanh", "binary_cross_entropy", "adam", ADAM, 16),
    "sgd": ([1, 33, 1], "relu", "squared_error", "sgd", [0.0] * 4, 70),
    "wide": ([2, 70, 1, 2], "silu", "squared_error", "adam", ADAM, 32),
    "perceptron": ([2, 1], "relu", "binary_cross_entropy", "sgd", [0.0] * 4, 1),
    "labels": ([3, 5, 4, 3, 2, 9, 1], "sigmoid", "binary_cross_entropy", "adam", ADAM, 23),
}
PROGRAM = """
import fs from "node:fs";
const [engineFile, wasmFile] = process.argv.slice(2);
const { load } = await import(engineFile);
const engine = await load(fs.readFileSync(wasmFile));
const answers = {};
for (const [name, task] of Object.entries(JSON.parse(fs.readFileSync(0)))) {
  const x = Float32Array.from(task.x.flat()), t = Float32Array.from(task.t.flat());
  let order;
  const orders = [], losses = [];
  const start = () => {
    engine.make(task.sizes, task);
    task.weights.forEach((W, layer) => engine.set(layer, 0, W.flat()));
    task.biases.forEach((b, layer) => engine.set(layer, 1, b));
    order = BigInt64Array.from(task.x, (_, k) => BigInt(k));
  };
  const train = (rate, seed) => losses.push(String(engine.train(x, t, order, rate, seed)));
  start();
  const tensors = of => task.weights.map((_, layer) => [...engine.get(layer, of)]);
  for (let epoch = 0; epoch < task.epochs; epoch++) {
    train(task.rate, epoch);
    orders.push([...order].map(Number));
  }
  const answer = { orders, weights: tensors(0), biases: tensors(1), losses };
  answer.predictions = [...engine.predict(x)];
  for (let k = 0; k < 9; k++) train(1e38, k);
  answer.kept = tensors(0).flat().every(Number.isFinite);
  start();
  train(task.rate, 0);
  answers[name] = answer;
}
const refusals = [[[2], 1], [[2, 129, 1], 1], [[2, 1], 0], [[2, 1], 5000], [[2, 1], 1, "softmax"]];
answers.refused = refusals.filter(([sizes, batch, activation]) => {
  const task = { activation: activation ?? "tanh", loss: "squared_error", optimizer: "sgd" };
  try { engine.make(sizes, { ...task, batch, hyper: [0, 0, 0, 0] }); return false; }
  catch (error) { return error instanceof RangeError; }
}).length;
console.log(JSON.stringify(answers));
"""

# Works with the page as a visitor does, and writes down what is wrong.
HARNESS = """<!doctype html><meta charset="utf-8"><pre id="found"></pre>
<iframe style="border: 0; width: 390px; height: 1800px"></iframe><script type="module">
const found = [], frame = document.querySelector("iframe");
const check = (truth, text) => truth || found.push(text + ": " + state());
const $ = selector => frame.contentDocument.querySelector(selector);
const text = id => $("#" + id).textContent;
const state = () => ["epoch", "loss", "accuracy", "message"].map(text).join(" | ");
const tick = () => new Promise(done => setTimeout(done, 20));
const until = async truth => { for (let k = 0; k < 3000 && !truth(); k++) await tick(); };
const open = async scene => {
  const before = text("task");
  frame.contentWindow.location.hash = "#scene=" + scene;
  await until(() => text("task") !== before);
};
const set = (name, value) => {
  $(`[name=${name}]`).value = value;
  $(`[name=${name}]`).dispatchEvent(new Event("change", { bubbles: true }));
};
try {
  frame.src = "/playground.html#scene=xor";
  await new Promise(done => frame.onload = done);
  await until(() => $("body").dataset.ready);
  const root = frame.contentDocument.documentElement;
  check(root.scrollWidth <= 390, "scrolls sideways at 390 px");
  for (const link of [...frame.contentDocument.querySelectorAll("nav a")].reverse()) {
    await open(link.hash.slice(7));
    $("#step").click();
    check(text("epoch") === "1" && Number(text("loss")) > 0, link.hash + " does not train");
  }
  await open("spirals");
  $("#run").click();
  await until(() => text("accuracy") === "100.0 %");
  check(text("accuracy") === "100.0 %", "spirals are not learned");
  check(text("run") === "Pause", "the button does not say Pause");
  const { data } = $("#map").getContext("2d").getImageData(0, 0, 360, 360);
  const colors = [0, 0]; // pixels that are more red than blue, and the others
  for (let k = 0; k < data.length; k += 4)
    if (Math.abs(data[k] - data[k + 2]) > 50) colors[+(data[k] < data[k + 2])]++;
  check(Math.min(...colors) > 9000, `the map is not orange and blue: ${colors} pixels`);
  $("#reset").click();
  check(text("epoch") === "0" && text("accuracy") !== "100.0 %", "Reset does not reset");
  await open("divergence");
  $("#run").click();
  await until(() => text("message"));
  check(text("message").includes("diverged"), "no word about divergence");
  check(text("run") === "Run", "goes on after divergence");
  $("#smaller").click();
  check($("[name=rate]").value === "0.25" && text("epoch") === "0", "offers no smaller step");
  $("#run").click();
  await until(() => Number(text("loss")) < 1e-4);
  check(Number(text("loss")) < 1e-4 && !text("message"), "does not recover");
  $("#run").click();
  const bad = [["layers", "8, x", "8"], ["rate", "-1", "0.1"], ["batch", "0", "9"]];
  for (const [name, wrong, right] of bad) {
    set(name, wrong);
    $("#reset").click();
    check(text("message"), `says nothing about ${name} ${wrong}`);
    set(name, right);
    check(!text("message"), `complains about ${name} ${right}`);
  }
  set("data", "own");
  const press = key =>
    $("#map").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  ["ArrowLeft", "Enter"].forEach(press);
  $("#class select").value = "0";
  ["ArrowRight", "ArrowRight", "Enter"].forEach(press);
  set("rate", "0.5");
  for (let k = 0; k < 200; k++) $("#step").click();
  check(text("accuracy") === "100.0 %", "own points are not learned");
} catch (error) {
  found.push(String(error));
}
document.getElementById("found").textContent = JSON.stringify(found);
</script>"""


def task(name):
    """Return data and first weights of a case, as plain lists of numbers that float32 holds."""
    sizes, activation, loss, optimizer, hyper, batch = CASES[name]
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    x = draw(ROWS, sizes[0])
    t = np.sin(3 * x[:, :1]) + np.arange(sizes[-1], dtype=np.float32)
    if loss == "binary_cross_entropy":
        t = (t > 0).astype(np.float32)
    weights = [draw(*shape) / 2 for shape in itertools.pairwise(sizes)]
    biases = [draw(size) / 2 for size in sizes[1:]]
    plain = {"x": x.tolist(), "t": t.tolist()}
    plain |= {"weights": [W.tolist() for W in weights], "biases": [b.tolist() for b in biases]}
    options = {"sizes": sizes, "activation": activation, "loss": loss, "optimizer": optimizer}
    return plain | options | {"hyper": hyper, "batch": batch, "epochs": EPOCHS, "rate": 0.02}


def trained(kind, task, orders):
    """Train a model of the library on the same rows in the same orders; return all its numbers."""
    options = {name: task[name] for name in ("activation", "loss")}
    net = kind(task["sizes"], dtype="float32", rng=0, **options)
    net.weights = [np.float32(W) for W in task["weights"]]
    net.biases = [np.float32(b) for b in task["biases"]]
    optimizer = {"adam": fastmlp.Adam, "sgd": fastmlp.SGD}[task["optimizer"]](task["rate"])
    x, t = np.float32(task["x"]), np.float32(task["t"])
    losses = [
        net.partial_fit(x[order], t[order], batch_size=task["batch"], optimizer=optimizer)
        for order in orders
    ]
    tensors = [*net.weights, *net.biases]
    return [np.float64(losses), net.predict(x).ravel(), *(each.ravel() for each in tensors)]


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
def answers(built, tmp_path_factory):
    """Return all that the program above computes for the cases."""
    program = tmp_path_factory.mktemp("program") / "program.mjs"
    program.write_text(PROGRAM)
    command = ["node", program, PAGE / "engine.js", built]
    tasks = json.dumps({name: task(name) for name in CASES})
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
    orders = answers[name]["orders"]
    assert all(sorted(order) == list(range(ROWS)) for order in orders)
    assert len(set(map(tuple, orders))) == EPOCHS
    wanted = trained(reference.MLP, task(name), orders)
    assert wanted[0][-1] < wanted[0][0]
    for found, right in zip(numbers_of(answers[name]), wanted, strict=True):
        np.testing.assert_allclose(found, right, rtol=2e-4, atol=2e-5)


@pytest.mark.skipif("baseline" not in built_levels(), reason="it is of x86")
def test_has_the_bits_of_the_baseline(answers):
    code = (
        "import json, sys, fastmlp, test_playground as t\n"
        "orders = json.loads(sys.argv[1])\n"
        "all = [t.trained(fastmlp.MLP, t.task(name), orders[name]) for name in t.CASES]\n"
        "print(json.dumps([[each.tolist() for each in one] for one in all]))"
    )
    orders = json.dumps({name: answers[name]["orders"] for name in CASES})
    child = children.python("-c", code, orders, folders=children.FOLDERS, FASTMLP_CPU="baseline")
    for name, wanted in zip(CASES, json.loads(children.printed(child)), strict=True):
        for found, right in zip(numbers_of(answers[name]), wanted, strict=True):
            np.testing.assert_array_equal(found, right, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_recovers_from_divergence(name, answers):
    losses = np.float64(answers[name]["losses"])
    assert not np.isfinite(losses[EPOCHS:-1]).all()
    assert answers[name]["kept"]
    assert losses[-1] == losses[0]


def test_refuses_what_it_cannot_hold(answers):
    assert answers["refused"] == 5


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_the_page_can_be_used(built, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    check_site = importlib.import_module("check_site")
    site = shutil.copytree(PAGE, tmp_path / "site")
    shutil.copy(built, site / "play.wasm")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    assert check_site.told_by_browser(site, "chromium", HARNESS, profile) == []
