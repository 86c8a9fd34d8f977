"""What ``to_c`` writes, compiled: nanoseconds a row and bytes, beside emlearn's if that is here.

The same network of scikit-learn, exported three ways. Each program times itself, predicting 64 rows
in turn; the fastest of its turns counts. Its predictions are compared with the network's first.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import timeit
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import FAULT, CannotRunError, Names, Rows

import fastmlp

# Inputs, hidden layers, classes (1: a number), activation.
NETWORKS = {
    "8-32-32-3": (8, (32, 32), 3, "relu"),
    "64-128-128-10": (64, (128, 128), 10, "relu"),
    "8-32-32-1, tanh": (8, (32, 32), 1, "tanh"),
}
OPTIONS = ("-Os", "-O2", "-O3", "-O3 -march=native")
TOLERANCE = {"fastmlp": 1e-5, "fastmlp int8": 0.05, "emlearn": 1e-5}
ROWS = 64

PROGRAM = """\
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "{header}"
static const float rows[{n_rows}][{n_in}] = {{ {rows} }};
static double now(void)
{{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}}
int main(void)
{{
    static float y[{n_rows}][{n_out}];
    double best = 1e30;
    for (int turn = 0; turn < {rounds}; turn++) {{
        const double began = now();
        double seconds = 0.0;
        long calls = 0;
        while (seconds < {turn}) {{
            for (int i = 0; i < {n_rows}; i++) {call};
            calls += {n_rows};
            seconds = (now() - began) * 1e-9;
        }}
        if (seconds / (double)calls < best) best = seconds / (double)calls;
    }}
    printf("%.17g\\n", best);
    for (int i = 0; i < {n_rows}; i++) for (int j = 0; j < {n_out}; j++) printf("%.9g ", y[i][j]);
    return 0;
}}
"""


def network(
    n_in: int, hidden: tuple[int, ...], n_out: int, activation: str
) -> tuple[Any, Any, Any]:
    """Return an estimator of scikit-learn, rows for it, and its predictions."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, n_in)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"activation": activation, "max_iter": 3, "random_state": 0}
        if n_out == 1:
            regressor = MLPRegressor(hidden_layer_sizes=hidden, **options).fit(x, x[:, 0])
            return regressor, x[:ROWS], regressor.predict(x[:ROWS])[:, np.newaxis]
        classifier = MLPClassifier(hidden_layer_sizes=hidden, **options).fit(
            x, rng.integers(0, n_out, 600)
        )
        return classifier, x[:ROWS], classifier.predict_proba(x[:ROWS])


def sources(theirs: Any, x: Any, folder: Path) -> dict[str, tuple[str, str, list[str]]]:
    """Write the code; return by name its header, a call, and what to compile with it."""
    n_in, n_out = x.shape[1], theirs.n_outputs_
    ours = fastmlp.from_sklearn(theirs)
    ours.to_c(folder / "plain.c")
    ours.to_c(folder / "small.c", weights="int8", X=x)
    found = {
        "fastmlp": ("plain.h", "plain_predict(rows[i], y[i])", ["plain.c"]),
        "fastmlp int8": ("small.h", "small_predict(rows[i], y[i])", ["small.c"]),
    }
    try:
        import emlearn
    except ImportError:
        return found
    if n_out == 1:  # it has another function for them
        return found
    with contextlib.chdir(folder):  # it leaves files where it works
        code = emlearn.convert(theirs, method="inline", dtype="float")
        code.save(file="other.h", name="other")
    call = f"eml_net_predict_proba(&other, rows[i], {n_in}, y[i], {n_out})"
    return found | {"emlearn": ("other.h", call, [f"-I{emlearn.includedir}"])}


def row(
    folder: Path, program: str, option: str, more: list[str], wanted: Any, tolerance: float
) -> dict[str, Any]:
    """Compile and run; the bytes are those of code and constants, the program's own included."""
    (folder / "main.c").write_text(program)
    command = ["gcc", "-std=gnu11", "-w", *option.split(), "main.c", *more, "-o", "main", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    text = subprocess.run([folder / "main"], capture_output=True, text=True, check=True).stdout
    seconds, *predictions = map(float, text.split())
    if not np.allclose(np.reshape(predictions, wanted.shape), wanted, rtol=0, atol=tolerance):
        return {FAULT: "NOT TIMED"}
    size = subprocess.run(["size", folder / "main"], capture_output=True, text=True, check=True)
    return {"ns": seconds * 1e9, "bytes": int(size.stdout.splitlines()[1].split()[0])}


def nanoseconds(theirs: Any, row: Any, rounds: int, turn: float) -> float:
    """Return the time of a call of a predictor, as users of Python have it."""
    predict = fastmlp.from_sklearn(theirs).predictor()
    calls = max(1, int(turn / timeit.timeit(lambda: predict(row), number=100) * 100))
    statement = {"predict": predict, "row": row}
    timer = timeit.Timer("predict(row)", globals=statement)
    return min(timer.repeat(rounds, calls)) / calls * 1e9


def measure(
    cases: Sequence[str] = Names.of(NETWORKS),
    options: Sequence[str] = OPTIONS,
    rounds: int = 40,
    turn: float = 0.02,
) -> Iterator[tuple[str, Rows]]:
    if not (shutil.which("gcc") and shutil.which("size")):
        raise CannotRunError("gcc and size are needed")
    for case in cases:
        n_in, _, n_out, _ = NETWORKS[case]
        theirs, x, wanted = network(*NETWORKS[case])
        table: Rows = {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found = sources(theirs, x, folder)
            for option in options:
                for writer, (header, call, more) in found.items():
                    program = PROGRAM.format(
                        header=header,
                        call=call,
                        n_rows=ROWS,
                        n_in=n_in,
                        n_out=n_out,
                        rows=", ".join(f"{v:.9e}f" for v in x.ravel()),
                        rounds=rounds,
                        turn=turn,
                    )
                    result = row(folder, program, option, more, wanted, TOLERANCE[writer])
                    table[f"{writer}, {option}"] = result
        table["predictor(), in Python"] = {"ns": nanoseconds(theirs, x[0], rounds, turn)}
        yield f"{case} as C", table
