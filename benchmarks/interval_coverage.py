"""How many new rows the intervals of tables hold, by the weights and groups of the rows of the fit.

60 rows with weights that have nothing to do with the noise: all equal, one of two values (1 or 10),
or lognormal with sigma 1, 1.5 or 2; or 20 groups of 3 rows that share half of the variance of the
noise, and new rows of new groups. `residuals` draws the residuals themselves (as of a model that is
right), so that the share is exact for each draw; `fits` fits TabMLPRegressor(preset="fast") and
predicts 500 new rows. `effective rows` is what all weigh in units of a new row. `+-` is the
standard error of the share of 90 %, which is missed if it lies three such below.

The last table has intervals of 90 % by the loss, where they should not be equally wide: 600 rows
whose noise grows with a column, in its lower and upper half, and sin 2x with noise of 0.1 from 400
rows at -3 to -1 and 1 to 3, among these rows and in the gap, from -0.8 to 0.8.
"""

from __future__ import annotations

import importlib.util
import math
import statistics
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from harness import FAULT, CannotRunError, Names, Rows
from numpy.typing import NDArray

Array = NDArray[Any]
Draw = tuple[Array, "Array | None", "Array | None"]

ROWS, NEW = 60, 500
LEVELS = (0.5, 0.8, 0.9, 0.95)
PROMISED = 0.9
WEIGHTS: dict[str, Callable[[np.random.Generator], Array | None]] = {
    "equal": lambda rng: None,
    "1 or 10": lambda rng: rng.choice([1.0, 10.0], ROWS),
    "lognormal 1": lambda rng: rng.lognormal(0, 1, ROWS),
    "lognormal 1.5": lambda rng: rng.lognormal(0, 1.5, ROWS),
    "lognormal 2": lambda rng: rng.lognormal(0, 2, ROWS),
    "new groups": lambda rng: None,
}
CASES = Names.of(WEIGHTS)
HALVES = ("quieter", "noisier")
LOSSES: dict[str, dict[str, Any]] = {
    "squared_error": {},
    "gaussian": {},
    "quantiles": {"quantile": [0.05, 0.5, 0.95]},
}


def draw(case: str, rng: np.random.Generator) -> Draw:
    """Return noise of variance 1, weights and groups of the rows of a fit."""
    groups = np.arange(ROWS) // 3 if case == "new groups" else None
    noise = rng.normal(size=ROWS)
    if groups is not None:
        noise = (noise + rng.normal(size=ROWS)[groups]) / math.sqrt(2)
    return noise, WEIGHTS[case](rng), groups


def of_residuals(case: str, rng: np.random.Generator) -> tuple[float, list[float]]:
    """Return effective rows, and which share of new residuals each interval holds."""
    from fastmlp.tabular.outcome.conformal import residuals_of

    noise, weights, groups = draw(case, rng)
    made = residuals_of(noise, np.zeros(ROWS), weights, np.ones(ROWS), groups=groups)
    ends = [[made.quantile((1 + side * level) / 2) for side in (-1, 1)] for level in LEVELS]
    below = statistics.NormalDist().cdf
    return float(made.w.sum()), [below(high) - below(low) for low, high in ends]


def of_fit(case: str, rng: np.random.Generator) -> tuple[float, list[float]]:
    """Return the same of a fit, measured on new rows."""
    from fastmlp import TabMLPRegressor

    noise, weights, groups = draw(case, rng)
    x, new = rng.normal(size=(ROWS, 3)), rng.normal(size=(NEW, 3))
    y, right = x[:, 0] + noise, new[:, 0] + rng.normal(size=NEW)
    model = TabMLPRegressor(preset="fast", random_state=int(rng.integers(2**31)), n_jobs=1)
    model.fit(x, y, weights, groups=groups)
    ends = [model.predict_interval(new, level).T for level in LEVELS]
    held = [float(np.mean((low <= right) & (right <= high))) for low, high in ends]
    return float(model._fitted.calibration.residuals[0].w.sum()), held


def summary(found: list[tuple[float, list[float]]]) -> dict[str, Any]:
    """Return a row of the table, from what each draw has come to."""
    shares = np.array([held for _, held in found])
    means = dict(zip(LEVELS, shares.mean(axis=0).tolist(), strict=True))
    error = shares[:, LEVELS.index(PROMISED)].std().item() / math.sqrt(len(shares))
    missed = means[PROMISED] + 3 * error < PROMISED
    return {
        "effective rows": statistics.fmean(rows for rows, _ in found),
        **{f"{level:.0%}": share for level, share in means.items()},
        "+-": error,
        **({FAULT: "MISSED"} if missed else {}),
    }


def scattered(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Return rows whose noise grows with the second column."""
    x = rng.uniform(size=(n, 3))
    return x, x[:, 0] + (0.1 + 0.4 * x[:, 1]) * rng.normal(size=n)


def waves(rng: np.random.Generator, x: Array) -> tuple[Array, Array]:
    """Return rows of sin 2x with noise of 0.1."""
    return x[:, np.newaxis], np.sin(2 * x) + 0.1 * rng.normal(size=len(x))


def of_loss(loss: str, seed: int) -> dict[str, float]:
    """Return which share of some new rows the intervals of a loss hold, and how wide they are."""
    from fastmlp import TabMLPRegressor

    def beside(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        return waves(rng, rng.choice([-1, 1], n) * rng.uniform(1, 3, n))

    rng = np.random.default_rng(seed)
    old, new = scattered(rng, ROWS * 10), scattered(rng, 4 * NEW)
    is_noisy = new[0][:, 1] > 0.5
    tables = [
        (
            old,
            {
                half: [a[mask] for a in new]
                for half, mask in zip(HALVES, (~is_noisy, is_noisy), strict=True)
            },
        ),
        (
            beside(rng, 400),
            {"rows": beside(rng, NEW), "gap": waves(rng, rng.uniform(-0.8, 0.8, NEW))},
        ),
    ]
    found = {}
    for (x, y), parts in tables:
        options = {"loss": loss, **LOSSES[loss], "random_state": seed, "n_jobs": 1}
        model = TabMLPRegressor(preset="fast", **options).fit(x, y)
        for part, (rows, right) in parts.items():
            low, high = model.predict_interval(rows, PROMISED).T
            found[part] = float(np.mean((low <= right) & (right <= high)))
            found[f"{part}, width"] = float(np.mean(high - low))
    return found


def measure(
    cases: Names = CASES, rounds: int = 1000, fits: int = 200, seeds: int = 5
) -> Iterator[tuple[str, Rows]]:
    """Draw and fit, case by case, from one seed; fits by the loss from several."""
    if importlib.util.find_spec("sklearn") is None:
        raise CannotRunError("needs scikit-learn: pip install scikit-learn")
    warnings.simplefilter("ignore")
    for name, once, times in (("residuals", of_residuals, rounds), ("fits", of_fit, fits)):
        rows = {}
        for case in cases:
            rng = np.random.default_rng(0)
            rows[case] = summary([once(case, rng) for _ in range(times)])
        yield f"{times:,} {name}: share of new rows in intervals", rows
    by_loss = {}
    for loss in LOSSES:
        each = [of_loss(loss, seed) for seed in range(seeds)]
        by_loss[loss] = {part: statistics.fmean(one[part] for one in each) for part in each[0]}
    yield f"intervals of 90 % by the loss, means of {seeds} fits", by_loss
