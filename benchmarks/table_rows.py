"""One row of a table: eight numbers, a date and a text of 50 values, in Python and in exported C.

The predictor is that of `load_predictor`, of a fit with the preset `fast`; a row is a list or a
dict. Each prediction must have the bits of `predict`, and C those of its own first turn, near them.
The networks alone, of inputs that are there, are the part of a row that no reading can save. Times
are medians of turns on one CPU; a row has a limit in microseconds, of a quiet machine.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import FAULT, CannotRunError, Rows

import fastmlp
from fastmlp._engine.native import predict_each

VALUES = 50  # the text has so many
ROWS = 64  # that are predicted in turn
# Microseconds of a row; a dict may take some more than a list.
LIMITS = {"list": 12.0, "dict": 15.0, "C, -O3 -march=native": 6.0}
OPTIONS = ("-O2", "-O3 -march=native")
LIBRARY = """\
#include "row.h"
static const double numbers[{rows}][9] = {{ {numbers} }};
static const char *const texts[{rows}] = {{ {texts} }};
void predict_all(double *y)
{{
    for (int i = 0; i < {rows}; i++) {{
        const int codes[1] = {{ row_code(0, texts[i]) }};
        row_predict(numbers[i], codes, y + i);
    }}
}}
"""


def table(n: int, seed: int) -> tuple[Any, Any]:
    """Return a pandas frame of eight numbers, a date and a text, and a target that needs all."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 8)), columns=[f"x{k}" for k in range(8)])
    days, words = rng.integers(0, 1_500, n), rng.integers(0, VALUES, n)
    frame["date"] = pd.Timestamp("2022-01-01") + pd.to_timedelta(days, "D")
    frame["text"] = np.array([f"word {k}" for k in range(VALUES)], object)[words]
    noise = 0.1 * rng.normal(size=n)
    y = frame.x0 * frame.x1 + np.sin(2 * np.pi * days / 365) + 0.05 * words + noise
    return frame, y.to_numpy()


def rows_of(frame: Any) -> dict[str, list[Any]]:
    """Return the rows in the forms in which programs have them."""
    plain = [[*row[:8], row[8].to_pydatetime(), row[9]] for row in frame.itertuples(index=False)]
    texts = [[*row[:8], f"{row[8]:%Y-%m-%d}", row[9]] for row in plain]
    return {
        "list": plain,
        "dict": [dict(zip(frame.columns, row, strict=True)) for row in plain],
        "list, date as text": texts,
        "list, Timestamp": [list(row) for row in frame.itertuples(index=False)],
    }


def each(predict: Callable[[Any], Any], rows: Sequence[Any]) -> list[Any]:
    """Predict rows one by one."""
    return [predict(row) for row in rows]


def networks(predictor: fastmlp.predictor.RowPredictor, n: int) -> Callable[[], list[Any]]:
    """Return what runs the networks of a predictor, n times for inputs of zeros."""
    (group,) = predictor._groups
    engines, width = group.engines(), group.spec.layer_sizes[0]
    inputs = np.zeros((len(engines), width), np.float32)
    return lambda: [predict_each(engines, inputs) for _ in range(n)]


def compiled(folder: Path, frame: Any, option: str) -> Callable[[], Any]:
    """Return what predicts all rows by the C of a model, compiled with some options."""
    seconds = (frame.date.to_numpy().astype("M8[s]").astype(np.int64)).astype(float)
    numbers = np.column_stack([frame.iloc[:, :8].to_numpy(), seconds])
    text = LIBRARY.format(
        rows=len(frame),
        numbers=", ".join(f"{value:.17g}" for value in numbers.ravel()),
        texts=", ".join(f'"{word}"' for word in frame.text),
    )
    (folder / "all.c").write_text(text)
    library = folder / f"{option.replace(' ', '')}.so"
    command = ["gcc", "-std=c99", "-w", *option.split(), "-shared", "-fPIC", "-o", library]
    subprocess.run([*command, "all.c", "row.c", "-lm"], cwd=folder, check=True)
    predict, y = ctypes.CDLL(str(library)).predict_all, np.empty(len(frame))

    def run() -> Any:
        predict(y.ctypes.data_as(ctypes.c_void_p))
        return y

    return run


def measure(
    rounds: int = 15, turn: float = 0.05, options: Sequence[str] = OPTIONS
) -> Iterator[tuple[str, Rows]]:
    """Fit, save and export a model, and time its rows in turns."""
    try:
        import pandas  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise CannotRunError(f"{error.name} is missing") from error
    with harness.limited(1), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = fastmlp.TabMLPRegressor(preset="fast", random_state=0).fit(*table(4_000, 0))
        frame, y = table(ROWS, 1)
        wanted = model.predict(frame)
        assert np.mean((wanted - y) ** 2) < 0.5 * y.var(), "the fit learned nothing"
        model.save(folder / "row")
        predictor = fastmlp.load_predictor(folder / "row")
        calls = {form: partial(each, predictor, rows) for form, rows in rows_of(frame).items()}
        in_c: dict[str, Callable[[], Any]] = {}
        if shutil.which("gcc"):
            model.to_c(folder / "row.c")
            in_c = {f"C, {option}": compiled(folder, frame, option) for option in options}

        def check() -> None:
            for form, call in calls.items():
                np.testing.assert_array_equal(call(), wanted, form)
            for option, call in in_c.items():
                np.testing.assert_allclose(call(), wanted, rtol=0, atol=1e-5, err_msg=option)

        alone = {"the networks alone": networks(predictor, ROWS)}
        found = harness.interleave(calls | in_c | alone, check=check, rounds=rounds, turn=turn)
        results = {name: timing.row("us", ROWS) for name, timing in found.items()}
        for name, limit in LIMITS.items():
            if name not in results:  # without a compiler
                continue
            missed = {FAULT: "MISSED"} if results[name]["us"] > limit else {}
            results[name] |= {"limit": limit, **missed}
        yield "a row of 8 numbers, a date and a text of 50 values, fast, one CPU", results
