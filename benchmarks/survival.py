"""Curves of survival on tables of scikit-survival, beside its models and XGBoost's.

Five folds with the same share of events. *over best* is the integrated Brier score (Graf et al.
1999) over that of the best rival, *less best* the concordance less that of the best, *over forest*
the CPU time of the fits over that of the random survival forest. *calibration* is how far shares
without the event are from those of Kaplan and Meier, at the median time of events in ten bins of
held-out rows, *by chance* how far true shares would be. *whole* is the share of curves that begin
with 1 and never rise. It is checked first: a model with others gets no scores. Limits are those of
means of all tables.
"""

from __future__ import annotations

import functools
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from harness import FAULT, CannotRunError, Names, Rows
from numpy.typing import NDArray

Array = NDArray[Any]

FOLDS, MOMENTS, BINS, MOST_ROWS = 5, 50, 10, 3000
SMALLEST = 1e-9
RIDGE = 0.01  # of Cox's model, which has no solution for some of these tables without one
# XGBoost ends early by a part of the rows that are learned, which choose the scale, too.
TREES, PATIENCE, RATE, STOPPING, SCALES = 3000, 100, 0.05, 0.2, (0.5, 1.0, 2.0)
FOREST, PRESETS = "forest", Names.of(("fast", "default"))


class Mean(NamedTuple):
    """How a column is averaged over tables, and the limits of the means of some presets."""

    of: Callable[[Sequence[float]], float]
    least: float = -np.inf
    most: float = np.inf
    presets: Sequence[str] = PRESETS


MEANS = {
    "over best": Mean(statistics.geometric_mean, most=0.98),
    "less best": Mean(statistics.fmean, least=-0.005),
    "over forest": Mean(statistics.geometric_mean, most=0.5, presets=("fast",)),
    "calibration": Mean(statistics.fmean, most=0.04),
}


class Known(NamedTuple):
    """Columns as they are, the same as numbers for rivals, and events and times of rows."""

    X: Any
    numbers: Array
    y: Array


class Prediction(NamedTuple):
    """Curves at some moments, (rows, moments), and risks of rows; CPU seconds of the fit."""

    curves: Callable[[Array], Array]
    risks: Array
    seconds: float


# The loader of a table, and columns that tell the target.
TABLES = {
    "veteran": ("load_veterans_lung_cancer", ()),
    "whas500": ("load_whas500", ()),
    "GBSG2": ("load_gbsg2", ()),
    "aids": ("load_aids", ()),
    "flchain": ("load_flchain", ("chapter",)),
}
CASES = Names.of(TABLES)


def read(case: str) -> Known:
    """Return the first rows of a table; rivals get categories one-hot and medians for gaps."""
    import pandas as pd
    from sksurv import datasets
    from sksurv.util import Surv

    loader, dropped = TABLES[case]
    X, y = getattr(datasets, loader)()
    X, y = X.drop(columns=[*dropped]).reset_index(drop=True)[:MOST_ROWS], y[:MOST_ROWS]
    event, when = y.dtype.names
    numbers = pd.get_dummies(X, drop_first=True, dtype=float).astype(float)
    return Known(
        X, numbers.fillna(numbers.median()).to_numpy(), Surv.from_arrays(y[event], y[when])
    )


def of_package(make: Callable[[], Any], rows: Known, learn: Array, new: Array) -> Prediction:
    """Return the prediction by a model of scikit-survival."""
    began = time.process_time()
    model = make().fit(rows.numbers[learn], rows.y[learn])
    seconds = time.process_time() - began
    steps = model.predict_survival_function(rows.numbers[new])

    def curves(moments: Array) -> Array:
        known = np.stack([step(np.clip(moments, step.x[0], step.x[-1])) for step in steps])
        return np.where((moments == 0) | (moments < steps[0].x[0]), 1.0, known)

    return Prediction(curves, model.predict(rows.numbers[new]), seconds)


def cox() -> Any:
    """Return the model of Cox."""
    from sksurv.linear_model import CoxPHSurvivalAnalysis

    return CoxPHSurvivalAnalysis(alpha=RIDGE)


def forest() -> Any:
    """Return a random survival forest."""
    from sksurv.ensemble import RandomSurvivalForest

    return RandomSurvivalForest(random_state=0, n_jobs=1)


def boosted() -> Any:
    """Return gradient boosting of the partial likelihood."""
    from sksurv.ensemble import GradientBoostingSurvivalAnalysis

    return GradientBoostingSurvivalAnalysis(random_state=0)


def xgboost(known: Known, learn: Array, new: Array) -> Prediction:
    """Return the prediction by XGBoost: logarithms of times are normal, of the best scale."""
    import xgboost as package
    from scipy.stats import norm

    began = time.process_time()
    order = np.random.default_rng(0).permutation(learn)
    stop, first = np.split(order, [int(STOPPING * len(order))])

    def matrix(rows: Array) -> Any:
        times = np.maximum(known.y["time"][rows], 1e-3)  # a time of 0 has no logarithm
        latest = np.where(known.y["event"][rows], times, np.inf)
        bounds = {"label_lower_bound": times, "label_upper_bound": latest}
        return package.DMatrix(known.numbers[rows], **bounds)

    def fitted(scale: float) -> tuple[float, float, Any]:
        options = {"objective": "survival:aft", "aft_loss_distribution_scale": scale, "nthread": 1}
        model = package.train(
            {**options, "learning_rate": RATE},
            matrix(first),
            TREES,
            [(matrix(stop), "stop")],
            early_stopping_rounds=PATIENCE,
            verbose_eval=False,
        )
        return model.best_score, scale, model

    _, scale, model = min(map(fitted, SCALES), key=lambda found: found[0])
    seconds = time.process_time() - began
    of_rows = np.log(model.predict(matrix(new), iteration_range=(0, model.best_iteration + 1)))

    def curves(moments: Array) -> Array:
        return np.asarray(norm.sf((np.log(moments) - of_rows[:, np.newaxis]) / scale))

    return Prediction(curves, -of_rows, seconds)


def ours(preset: str, known: Known, learn: Array, new: Array) -> Prediction:
    """Return the prediction by fastmlp."""
    from fastmlp import TabMLPSurvival

    began = time.process_time()
    model = TabMLPSurvival(preset=preset, random_state=0, n_jobs=1)
    model.fit(known.X.iloc[learn], known.y[learn])
    seconds = time.process_time() - began
    X, last = known.X.iloc[new], model.event_times_[-1]
    return Prediction(
        lambda moments: model.predict_survival(X, np.minimum(moments, last)),
        model.predict(X),
        seconds,
    )


RIVALS: Mapping[str, Callable[[Known, Array, Array], Prediction]] = {
    "Cox": functools.partial(of_package, cox),
    FOREST: functools.partial(of_package, forest),
    "boosting": functools.partial(of_package, boosted),
    "xgboost": xgboost,
}


def measure(cases: Names = CASES, presets: Names = PRESETS) -> Iterator[tuple[str, Rows]]:
    """Fit and predict, table by table and fold by fold."""
    if importlib.util.find_spec("sksurv") is None:
        raise CannotRunError("needs scikit-survival: pip install scikit-survival")
    warnings.simplefilter("ignore")
    models = {**RIVALS, **{preset: functools.partial(ours, preset) for preset in presets}}
    if importlib.util.find_spec("xgboost") is None:
        del models["xgboost"]
        yield "xgboost is left out: pip install xgboost", {}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in models}
    for case in cases:
        rows = compared(read(case), models)
        for name, row in rows.items():
            found[name].append(row)
        yield case, rows
    yield "all", {name: _mean(rows, name) for name, rows in found.items()}


def compared(known: Known, models: Mapping[str, Callable[..., Prediction]]) -> Rows:
    """Return the row of each model, with means of the folds."""
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    pairs = [*folds.split(known.y, known.y["event"])]
    rows = {name: _row(known, pairs, predict) for name, predict in models.items()}
    scored = [row for row in rows.values() if FAULT not in row]
    rivals = [row for name, row in rows.items() if name in RIVALS and FAULT not in row]
    best = min(row["Brier"] for row in rivals)
    most = max(row["concordance"] for row in rivals)
    for row in scored:
        row["over best"], row["less best"] = row["Brier"] / best, row["concordance"] - most
        row["over forest"] = row["CPU s"] / rows[FOREST]["CPU s"]
    return rows


def _row(
    known: Known,
    pairs: Sequence[tuple[Array, Array]],
    predict: Callable[[Known, Array, Array], Prediction],
) -> dict[str, Any]:
    """Return the share of whole curves and, if these are all, scores and CPU seconds."""
    from sksurv.metrics import concordance_index_censored, integrated_brier_score

    y, scores, are_whole = known.y, [], []
    middle, shares = np.median(y["time"][y["event"]]), np.empty(len(y))
    for learn, new in pairs:
        prediction, (moments, is_scored) = predict(known, learn, new), _moments(y[learn], y[new])
        all_curves = prediction.curves(np.concatenate([[0.0], moments, [middle]]))
        shares[new], curves = all_curves[:, -1], all_curves[:, :-1]
        are_whole += [*np.isclose(curves[:, 0], 1) & np.all(np.diff(curves) <= SMALLEST, axis=1)]
        judged, curves = y[new][is_scored], curves[is_scored, 1:]
        brier = integrated_brier_score(y[learn], judged, curves, moments)
        of_order = concordance_index_censored(y["event"][new], y["time"][new], prediction.risks)
        scores.append((brier, of_order[0], prediction.seconds))
    whole = float(np.mean(are_whole))
    if whole < 1:
        return {"whole": whole, FAULT: "WRONG"}
    means = dict(zip(("Brier", "concordance", "CPU s"), np.mean(scores, axis=0), strict=True))
    return {"whole": whole, **means, **_calibration(y, shares, middle)}


def _moments(y: Array, y_new: Array) -> tuple[Array, Array]:
    """Return moments between most of the new times, and the new rows within the known times."""
    is_scored = y_new["time"] < y["time"].max()
    last = y_new["time"][is_scored].max() * 0.999
    first, most = np.quantile(y_new["time"], [0.1, 0.9])
    return np.linspace(first, min(most, last), MOMENTS), is_scored


def _calibration(y: Array, shares: Array, moment: float) -> dict[str, float]:
    """Return the mean distance of predicted shares from observed ones, and that of true shares."""
    from sksurv.nonparametric import kaplan_meier_estimator

    distances, by_chance = [], []
    for rows in np.array_split(np.argsort(shares, kind="stable"), BINS):
        times, curve = kaplan_meier_estimator(y["event"][rows], y["time"][rows])
        observed = np.append(1.0, curve)[np.searchsorted(times, moment, side="right")]
        mean = shares[rows].mean()
        distances.append(abs(mean - observed))
        by_chance.append(np.sqrt(2 / np.pi * mean * (1 - mean) / len(rows)))  # none is censored
    return {"calibration": statistics.fmean(distances), "by chance": statistics.fmean(by_chance)}


def _mean(rows: Sequence[Mapping[str, Any]], model: str) -> dict[str, Any]:
    """Return the means of the columns of a model, and what misses its limits."""
    means, missed = {}, []
    for column, mean in MEANS.items():
        if values := [row[column] for row in rows if column in row]:
            means[column] = value = mean.of(values)
            if model in mean.presets and not mean.least <= value <= mean.most:
                missed.append(column)
    return {**means, **({FAULT: f"MISSED: {', '.join(missed)}"} if missed else {})}
