"""How many new rows the intervals of tables hold, by the weights and groups of the rows of the fit.

60 rows with weights that have nothing to do with the noise: all equal, one of two values (1 or 10),
or lognormal with sigma 1, 1.5 or 2; or 20 groups of 3 rows that share half of the variance of the
noise, and new rows of new groups. `residuals` draws the residuals themselves (as of a model that is
right), so that the share is exact for each draw; `fits` fits TabMLPRegressor(preset="fast") and
predicts 500 new rows. `effective rows` is what all weigh in units of a new row. `+-` is the
standard error of the share of 90 %, which is missed if it lies three such below.
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


def measure(
    cases: Names = CASES, rounds: int = 1000, fits: int = 200
) -> Iterator[tuple[str, Rows]]:
    """Draw and fit, case by case, from one seed."""
    if importlib.util.find_spec("sklearn") is None:
        raise CannotRunError("needs scikit-learn: pip install scikit-learn")
    warnings.simplefilter("ignore")
    for name, once, times in (("residuals", of_residuals, rounds), ("fits", of_fit, fits)):
        rows = {}
        for case in cases:
            rng = np.random.default_rng(0)
            rows[case] = summary([once(case, rng) for _ in range(times)])
        yield f"{times:,} {name}: share of new rows in intervals", rows
