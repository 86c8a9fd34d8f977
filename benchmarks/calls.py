"""Short calls: how long they take, beside other versions of fastmlp, and how much Python they run.

Calls with so little arithmetic that they are mostly Python. With ``--trees``, each of these folders
has the built sources of another version (a git worktree after ``setup.py build_ext --inplace``);
the versions take turns, each in a process of its own, and the ratio is this version's time over
the other's, below 1 where this one is faster. The second table follows each call as a reader would:
fastmlp's own functions that it calls, the files they are in, how often the path leads back into a
file that was seen before, and to how many functions there. A fit is followed until its first epoch.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import workers
from harness import Names, Rows

ROWS, EPOCH = 64, ("epoch", "train_many")  # rows of a short call; native calls of an epoch
THIS = "this"


def network() -> tuple[Any, Any, Any]:
    """Return a small network, rows and targets."""
    import numpy as np

    import fastmlp

    x = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
    return fastmlp.MLP([8, 16, 1], rng=0), x, x.sum(axis=1)


def estimator() -> tuple[Any, Any, Any]:
    import fastmlp

    _, x, y = network()
    model = fastmlp.MLPRegressor(hidden_layer_sizes=(16,), random_state=0)
    model.partial_fit(x, y)
    return model, x, y


def partial_fit() -> Callable[[], Any]:
    net, x, y = network()
    return lambda: net.partial_fit(x, y)


def fit() -> Callable[[], Any]:
    net, x, y = network()
    return lambda: net.fit(x, y, epochs=1).loss


def predict() -> Callable[[], Any]:
    net, x, _ = network()
    row = x[:1].copy()
    return lambda: net.predict(row)


def evaluate() -> Callable[[], Any]:
    net, x, y = network()
    return lambda: net.evaluate(x, y)


def predictor() -> Callable[[], Any]:
    net, x, _ = network()
    call, row = net.predictor(), x[0].copy()
    return lambda: call(row)


def estimator_partial_fit() -> Callable[[], Any]:
    model, x, y = estimator()
    return lambda: model.partial_fit(x, y).loss_


def estimator_predict() -> Callable[[], Any]:
    model, x, _ = estimator()
    row = x[:1].copy()
    return lambda: model.predict(row)


# What is timed, by name.
CALLS = {
    "MLP.partial_fit, 64 rows": partial_fit,
    "MLP.fit, one epoch of 64 rows": fit,
    "MLP.evaluate, 64 rows": evaluate,
    "MLP.predict, one row": predict,
    "predictor, one row": predictor,
    "MLPRegressor.partial_fit, 64 rows": estimator_partial_fit,
    "MLPRegressor.predict, one row": estimator_predict,
}


def enter(tree: str) -> str:
    """Let this process import fastmlp from a folder; return where it comes from."""
    sys.path.insert(0, tree)
    import fastmlp

    return str(Path(fastmlp.__file__).parents[1])


def make(name: str) -> tuple[float, Callable[[int], float]]:
    """Return a number that all versions must agree on, and the function that times the call."""
    import numpy as np

    call = CALLS[name]()
    return float(np.sum(call())), functools.partial(harness.repeat, call)


def timed(names: tuple[str, ...], trees: dict[str, str], rounds: int, turn: float) -> Rows:
    """Return the microseconds of each call, and the ratios to the other versions."""
    processes = {version: workers.Worker(1) for version in trees}
    for version, tree in trees.items():
        found = processes[version].ask(enter, tree)
        if Path(found) != Path(tree).resolve():
            raise harness.CannotRunError(f"{tree} has no built fastmlp: it came from {found}")
    rows: Rows = {}
    for name in names:
        results = {
            version: each.ask(workers.load, make, name) for version, each in processes.items()
        }
        for version, result in results.items():
            if abs(result - results[THIS]) > 1e-3 * abs(results[THIS]):
                raise AssertionError(f"{name} gives {result} in {version}, not {results[THIS]}")
        for process in processes.values():
            process.ask(workers.calibrate, turn)
        seconds: dict[str, list[float]] = {version: [] for version in processes}
        for order in harness.rotations(processes, rounds):
            for version in order:
                seconds[version].append(processes[version].ask(workers.work))
        ours = harness.Timing.of(seconds[THIS])
        rows[name] = ours.row("us")
        for version in seconds.keys() - {THIS}:
            theirs = harness.Timing.of(seconds[version])
            rows[name] |= {f"over {version}": ours.median / theirs.median, version: theirs}
    return rows


def walked(call: Callable[[], Any], until: tuple[str, ...] = ()) -> dict[str, int]:
    """Return how far a reader follows a call, up to the first of some native functions."""
    import fastmlp

    home = os.path.dirname(fastmlp.__file__) + os.sep  # noqa: PTH120 co_filename is text, too
    open_calls: list[str] = []
    seen: set[str] = set()
    functions: set[Any] = set()  # those that the returns lead to; one of a loop counts once
    counts = {"own calls": 0, "files": 0, "returns": 0, "deepest": 0}
    ended = False

    def follow(frame: Any, event: str, argument: Any) -> None:
        nonlocal ended
        path = frame.f_code.co_filename
        if event == "c_call" and getattr(argument, "__name__", "") in until:
            ended = True
        if ended or not path.startswith(home):
            return
        if event == "call":
            counts["own calls"] += 1
            if open_calls and open_calls[-1] != path and path in seen:
                counts["returns"] += 1
                functions.add(frame.f_code)
            seen.add(path)
            open_calls.append(path)
            counts["deepest"] = max(counts["deepest"], len(open_calls))
        elif event == "return" and open_calls:
            open_calls.pop()

    sys.setprofile(follow)
    try:
        call()
    finally:
        sys.setprofile(None)
    return counts | {"files": len(seen), "functions returned to": len(functions)}


def walks() -> Rows:
    """Return how far each call leads a reader, each done once before, so that nothing is new."""
    import numpy as np

    import fastmlp

    rng = np.random.default_rng(0)
    x = rng.normal(size=(512, 8))
    y = x[:, 0] + 0.1 * rng.normal(size=512)

    def table() -> Any:
        model = fastmlp.TabMLPRegressor(preset="fast", epochs=4, random_state=0, n_jobs=1)
        return model.fit(x, y)

    def fitted_estimator() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # three epochs do not suffice
            return fastmlp.MLPRegressor(max_iter=3, random_state=0).fit(x, y)

    model = table()
    net = fastmlp.MLP([8, 32, 1], rng=0)
    row = x[:1].astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "table.safetensors")
        model.save(path)
        calls: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
            "MLP(...).fit": (
                lambda: fastmlp.MLP([8, 32, 1], rng=0).fit(x, y, epochs=20, optimizer="adam"),
                EPOCH,
            ),
            "MLPRegressor.fit": (fitted_estimator, EPOCH),
            "TabMLPRegressor.fit": (table, EPOCH),
            "MLP.predict, one row": (lambda: net.predict(row), ()),
            "TabMLPRegressor.predict, one row": (lambda: model.predict(x[:1]), ()),
            "save of a table": (lambda: model.save(path), ()),
            "load of a table": (lambda: fastmlp.load(path), ()),
        }
        rows: Rows = {}
        for name, (call, until) in calls.items():
            call()
            rows[name] = dict(walked(call, until))
    return rows


CASES = Names.of(CALLS)


def measure(
    cases: Names = CASES,
    trees: tuple[str, ...] = (),
    rounds: int = 9,
    turn: float = 0.05,
) -> Iterator[tuple[str, Rows]]:
    others = {Path(tree).resolve().name: tree for tree in trees}
    root = str(Path(__file__).resolve().parents[1])
    yield "short calls", timed(cases, {THIS: root, **others}, rounds, turn)
    yield "how far a call leads a reader", walks()
