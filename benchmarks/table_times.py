"""Tables: predictions of rows of mixed columns beside boosted trees; the share of Python in fits.

Predictions are of 9 numbers and 6 columns of text, with missing ones, by one CPU: of a batch and of
one row, in the forms in which frames come. Each model must predict better than half of the
variance, and ours the same bits in all forms. CatBoost and LightGBM are timed where they are
installed, the former without missing text, the latter with categories.

The share of a fit is of CPU seconds, of all threads, that are not spent within the methods of the
engine that train, predict or evaluate; a first fit, which imports modules, does not count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any
from unittest import mock

import harness
import numpy as np
from harness import FAULT, CannotRunError, Names, Rows, judged

import fastmlp
from fastmlp._engine import native_engine

VALUES = (2, 4, 8, 12, 40, 100)  # distinct ones of the columns of text
NATIVE = ("epoch", "train_many", "predict", "predict_into", "predict_row", "evaluate", "shuffle")
# By rows of a fit, the most of its CPU seconds outside native calls, in percent.
SHARES = {500: 10.0, 5_000: 5.0, 50_000: 5.0}
FITS = 5  # whose median counts


def table(n: int) -> tuple[Any, Any]:
    """Return a pandas frame of mixed columns, and a target that depends on both kinds."""
    import pandas as pd

    rng = np.random.default_rng(0)
    numbers = {f"x{k}": rng.normal(size=n) for k in range(9)}
    texts = {
        f"c{k}": np.array([f"value {k} {i}" for i in range(size)], object)[rng.integers(0, size, n)]
        for k, size in enumerate(VALUES)
    }
    y = 2 * numbers["x0"] + numbers["x1"] * numbers["x2"] + (texts["c0"] == "value 0 1")
    numbers["x3"][rng.random(n) < 0.05] = np.nan
    texts["c2"][rng.random(n) < 0.05] = None
    return pd.DataFrame({**numbers, **{k: pd.Series(v, dtype=object) for k, v in texts.items()}}), y


def rivals(frame: Any, y: Any, rows: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield names of fitted boosted trees, and what predicts some rows with them."""
    texts = [name for name in frame if name.startswith("c")]
    try:
        from catboost import CatBoostRegressor

        whole, part = (x.assign(**x[texts].fillna("missing")) for x in (frame, rows))
        options = {"verbose": 0, "thread_count": 1, "allow_writing_files": False}
        trees = CatBoostRegressor(cat_features=texts, **options).fit(whole, y)
        yield "CatBoost", partial(trees.predict, part, thread_count=1)
    except ImportError:
        pass
    try:
        from lightgbm import LGBMRegressor

        whole = frame.astype(dict.fromkeys(texts, "category"))
        trees = LGBMRegressor(verbose=-1, n_jobs=1).fit(whole, y)
        yield "LightGBM", partial(trees.predict, whole.loc[rows.index])
    except ImportError:
        pass


def forms(rows: Any) -> Iterator[tuple[str, Any]]:
    """Yield the forms of a frame."""
    from importlib.util import find_spec

    texts = [name for name in rows if name.startswith("c")]
    yield "objects", rows
    yield "str", rows.astype(dict.fromkeys(texts, "str"))
    yield "category", rows.astype(dict.fromkeys(texts, "category"))
    if find_spec("polars"):
        import polars

        yield "polars", polars.DataFrame({name: rows[name].to_list() for name in rows})


def predictions(models: dict[str, Any], frame: Any, y: Any, n: int, **turns: Any) -> Rows:
    """Time the prediction of the first n rows."""
    part = frame[:n]
    calls = dict(rivals(frame, y, part))
    ours: dict[str, list[str]] = {}
    for preset, model in models.items():
        for form, rows in forms(part):
            calls[f"{preset}, {form}"] = partial(model.predict, rows)
        ours[preset] = [name for name in calls if name.startswith(preset)]
        if n == 1:
            calls[f"{preset}, predictor()"] = partial(model.predictor(), part.iloc[0].tolist())

    def check() -> None:
        for name, call in calls.items():
            error = np.mean(np.square(np.ravel(call()) - y[:n]))
            assert error < 0.5 * y.var(), f"{name} has the squared error {error:.3g}"
        for names in ours.values():
            for name in names[1:]:
                np.testing.assert_array_equal(calls[name](), calls[names[0]](), name)

    timings = harness.interleave(calls, check=check, **turns)
    table = {name: timing.row("us") for name, timing in timings.items()}
    if "CatBoost" in timings:
        for name, timing in timings.items():
            of_trees = timing.median / timings["CatBoost"].median
            must = n > 1 and name == "fast, objects"
            table[name] |= judged(of_trees, 1.0) if must else {"ratio": of_trees}
    return table


def outside(n: int) -> dict[str, Any]:
    """Return the share of CPU seconds outside native calls of fits of n rows of 10 numbers."""
    rng, inside, depth = np.random.default_rng(0), 0.0, 0
    x = rng.normal(size=(n, 10))
    y = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + 0.1 * rng.normal(size=n)

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal inside, depth
            depth, began = depth + 1, time.process_time()
            try:
                return method(*arguments, **options)
            finally:
                depth -= 1
                inside += 0 if depth else time.process_time() - began

        return call

    engine = native_engine.Engine
    methods = {name: timed(getattr(engine, name)) for name in NATIVE}
    methods["train_many"] = staticmethod(methods["train_many"])
    shares, seconds = [], []
    with mock.patch.multiple(engine, **methods):
        for k in range(FITS + 1):
            inside, began = 0.0, time.process_time()
            model = fastmlp.TabMLPRegressor(preset="fast", random_state=k).fit(x, y)
            seconds.append(time.process_time() - began)
            shares.append(100 * (1 - inside / seconds[-1]))
        assert np.mean((model.predict(x) - y) ** 2) < 0.5 * y.var(), "the fit learned nothing"
    share, limit = statistics.median(shares[1:]), SHARES.get(n, 100.0)
    row = {"CPU s": statistics.median(seconds[1:]), "outside, %": share, "limit, %": limit}
    return row | ({FAULT: "MISSED"} if share > limit else {})


def measure(
    rounds: int = 9,
    turn: float = 0.05,
    rows: int = 1_000,
    models: Names = Names.of(("fast", "default")),  # noqa: B008
    sizes: tuple[int, ...] = tuple(SHARES),
) -> Iterator[tuple[str, Rows]]:
    """Time predictions of a batch and of a row, then measure the share of Python in fits."""
    try:
        import pandas  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise CannotRunError(f"{error.name} is missing") from error
    with harness.limited(1):
        frame, y = table(5 * max(rows, 100))
        fitted = {
            preset: fastmlp.TabMLPRegressor(preset=preset, random_state=0).fit(frame, y)
            for preset in models
        }
        for n in (rows, 1):
            title = f"{harness.counted(n, 'row')} of 9 numbers and 6 texts, one CPU"
            yield title, predictions(fitted, frame, y, n, rounds=rounds, turn=turn)
        counts = {f"{n:,} rows": outside(n) for n in sizes}
        yield "fits of 10 numbers, fast, one CPU: seconds outside native calls", counts
