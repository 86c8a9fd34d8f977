"""Contributions of columns: CPU time of a row and error, beside SHAP's on the same function.

A table of 9 numbers, 5 categories and a date, and a background of 100 rows. The error is that of
the sampling: the root mean square over rows, in the worst column, of the difference of two
explanations with other orders of the columns, divided by the root of 2 and by the deviation of the
predictions. ``claimed`` is what the explanation says of it, in the same way. Trees answer another
question, whose background is their own rows, and have no error.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from harness import FAULT, CannotRunError, Names, Rows

NUMBERS, LEVELS, BACKGROUND = 9, (2, 3, 5, 20, 200), 100
OURS = ("fast", "distilled, 50 rows", "distilled, one row")
NEEDED = {"shap": "shap", "LightGBM": "lightgbm"}
CASES = Names.of((*OURS, *NEEDED))
ORDERS = 20  # SHAP walks each permutation there and back


def table(n: int) -> tuple[Any, Any]:
    """Return rows and targets that depend on nearly all columns."""
    import pandas as pd

    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(n, NUMBERS))
    codes = np.column_stack([rng.integers(0, levels, n) for levels in LEVELS])
    days = rng.integers(0, 2_000, n)
    y = numbers[:, 0] * numbers[:, 1] + np.abs(numbers[:, 2]) + numbers[:, 3:].sum(axis=1) / 4
    y += (codes / LEVELS).sum(axis=1) + np.sin(days / 365 * 2 * np.pi) + rng.normal(0, 0.3, n)
    frame = pd.DataFrame(numbers, columns=[f"x{k}" for k in range(NUMBERS)])
    for k, column in enumerate(codes.T):
        frame[f"c{k}"] = [f"v{code}" for code in column.tolist()]
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(days, unit="D")
    return frame, y


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of a call, and what it returned."""
    began = time.process_time()
    result = call()
    return time.process_time() - began, result


def worst(differences: Any, predictions: Any) -> float:
    """Return the root mean square of the worst column, in per cent of the deviation."""
    return float(100 * np.sqrt(np.mean(differences**2, axis=0)).max() / predictions.std())


def ours(model: Any, X: Any, background: Any, at_once: int) -> dict[str, Any]:
    """Return a row of the table for a model of ours, which explains some rows at once."""
    parts = [X.iloc[first : first + at_once] for first in range(0, len(X), at_once)]
    model.explain(parts[0], background)

    def values(seed: int) -> tuple[Any, Any, Any]:
        found = [model.explain(part, background, random_state=seed) for part in parts]
        joined = np.concatenate([each.values for each in found])
        return joined, np.concatenate([each.standard_errors for each in found]), found[0].base

    seconds, (first, errors, base) = timed(lambda: values(0))
    second, predictions = values(1)[0], model.predict(X)
    sums = base + first.sum(axis=1)
    is_whole = np.allclose(sums, predictions, rtol=0, atol=1e-5 * predictions.std())
    return {
        "CPU ms/row": 1e3 * seconds / len(X),
        "error, %": worst((first - second) / np.sqrt(2), predictions),
        "claimed, %": worst(errors, predictions),
        **({} if is_whole else {FAULT: "WRONG"}),
    }


def shap_values(model: Any, X: Any, background: Any, n: int) -> dict[str, Any]:
    """Return the same for SHAP's permutations, of the first n rows."""
    import pandas as pd
    import shap

    categories = {
        name: sorted({*X[name], *background[name]}) for name in X.columns if name[0] == "c"
    }

    def coded(frame: Any) -> Any:
        columns = [
            pd.Categorical(frame[name], categories[name]).codes
            if name in categories
            else frame[name].to_numpy("datetime64[D]").astype(float)
            if name == "day"
            else frame[name].to_numpy()
            for name in frame.columns
        ]
        return np.column_stack(columns).astype(float)

    def predict(matrix: Any) -> Any:
        frame = pd.DataFrame(matrix, columns=X.columns)
        for name, names in categories.items():
            frame[name] = np.array(names, object)[frame[name].astype(int)]
        frame["day"] = frame["day"].to_numpy().astype("datetime64[D]").astype("datetime64[s]")
        return model.predict(frame)

    rows = coded(X.iloc[:n])
    masker = shap.maskers.Independent(coded(background), max_samples=len(background))

    def values(seed: int) -> Any:
        explainer = shap.PermutationExplainer(predict, masker, seed=seed)
        return explainer(rows, max_evals=ORDERS * 2 * rows.shape[1] + 1, silent=True).values

    seconds, first = timed(lambda: values(0))
    error = worst((first - values(1)) / np.sqrt(2), model.predict(X))
    return {"CPU ms/row": 1e3 * seconds / n, "error, %": error}


def trees(X: Any, y: Any, X_new: Any) -> dict[str, Any]:
    """Return the time of TreeSHAP, of 100 trees."""
    import lightgbm

    as_categories = {name: "category" for name in X.columns if name[0] == "c"}
    X, X_new = (frame.astype(as_categories).drop(columns="day") for frame in (X, X_new))
    model = lightgbm.LGBMRegressor(n_estimators=100, n_jobs=1, verbose=-1).fit(X, y)
    seconds, values = timed(lambda: model.predict(X_new, pred_contrib=True))
    is_whole = np.allclose(values.sum(axis=1), model.predict(X_new))
    return {"CPU ms/row": 1e3 * seconds / len(X_new), **({} if is_whole else {FAULT: "WRONG"})}


def measure(cases: Names = CASES, rows: int = 1_000) -> Iterator[tuple[str, Rows]]:
    """Explain the rows of a table by each of the cases."""
    if importlib.util.find_spec("sklearn") is None or importlib.util.find_spec("pandas") is None:
        raise CannotRunError("needs scikit-learn and pandas: pip install scikit-learn pandas")
    import fastmlp

    warnings.simplefilter("ignore")
    frame, y = table(2_000 + BACKGROUND + rows)
    X, background, X_new = frame[:2_000], frame[2_000 : 2_000 + BACKGROUND], frame[-rows:]
    model = fastmlp.TabMLPRegressor(preset="fast", random_state=0, n_jobs=1).fit(X, y[:2_000])
    small = model.distill(X, random_state=0) if {*OURS[1:]} & {*cases} else model
    calls = {
        "fast": lambda: ours(model, X_new, background, rows),
        "distilled, 50 rows": lambda: ours(small, X_new, background, min(rows, 50)),
        "distilled, one row": lambda: ours(small, X_new[: max(1, rows // 20)], background, 1),
        "shap": lambda: shap_values(model, X_new, background, max(1, rows // 100)),
        "LightGBM": lambda: trees(X, y[:2_000], X_new),
    }
    there = [name for name in cases if importlib.util.find_spec(NEEDED.get(name, "fastmlp"))]
    yield (
        f"contributions of {X.shape[1]} columns, {rows:,} rows",
        {name: calls[name]() for name in there},
    )
