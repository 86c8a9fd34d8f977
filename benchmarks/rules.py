"""What `monotone` costs where the truth follows the rule: errors with it and without it.

Functions of five inputs with noise of a fifth of their deviation, 1,700 rows to learn from and
another 4,000 for the error, the root mean squared one; or two classes, whose log-odds are three
times the standardised function, and the log loss. `ratio` is the geometric mean
of the errors with the rule over those without it, seed by seed, and `+-` its standard error;
`smaller` is a function whose diagonal kink such networks can only approach.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from harness import FAULT, CannotRunError, Names, Rows
from numpy.typing import NDArray

Array = NDArray[Any]

ROWS, NEW, NOISE, SLOPE = 1_700, 4_000, 0.2, 3.0
# A function of five inputs between -1 and 1, and its rule.
FUNCTIONS: dict[str, tuple[Callable[..., Array], dict[int, int]]] = {
    "products": (lambda a, b, c, d, e: np.exp(1.5 * a) * (1 + b * b) + c * d, {0: 1}),
    "jumps": (
        lambda a, b, c, d, e: (
            2 * np.sqrt(a + 1) + (b > 0.2) * a * 1.5 - np.log(d + 1.05) + np.sin(3 * c)
        ),
        {0: 1, 3: -1},
    ),
    "sums": (lambda *x: np.arctan(5 * np.array(x)).sum(axis=0), dict.fromkeys(range(5), 1)),
    "gates": (
        lambda a, b, c, d, e: np.where(c > 0, np.tanh(4 * a), 0.2 * a) * 2 + d * e,
        {0: 1},
    ),
    "smaller": (
        lambda a, b, c, d, e: np.minimum(a, b) * 3 + 2 * c * c + np.abs(d),
        {0: 1, 1: 1},
    ),
}
PRESETS = Names.of(("fast", "default"))
CASES = Names.of(FUNCTIONS)


def errors(case: str, classes: bool, preset: str, seed: int) -> list[float]:
    """Return the errors without the rule and with it."""
    from fastmlp import TabMLPClassifier, TabMLPRegressor

    rng = np.random.default_rng(seed)
    function, rule = FUNCTIONS[case]
    x = rng.uniform(-1, 1, (ROWS + NEW, 5))
    y = function(*x.T)
    y = (y - y.mean()) / y.std()
    y += NOISE * rng.normal(size=len(y))
    if classes:
        y = (rng.random(len(y)) < 1 / (1 + np.exp(-SLOPE * y))).astype(int)
    new, truth, found = x[ROWS:], y[ROWS:], []
    for monotone in (None, rule):
        options: dict[str, Any] = {"preset": preset, "monotone": monotone, "random_state": seed}
        make: Any = TabMLPClassifier if classes else TabMLPRegressor
        model = make(n_jobs=1, **options).fit(x[:ROWS], y[:ROWS])
        if classes:
            likely = model.predict_proba(new)[np.arange(NEW), truth]
            found.append(float(-np.mean(np.log(likely))))
        else:
            found.append(float(np.sqrt(np.mean((model.predict(new) - truth) ** 2))))
    return found


def measure(
    cases: Names = CASES, models: Names = PRESETS, rounds: int = 4
) -> Iterator[tuple[str, Rows]]:
    """Fit with and without the rule, function by function and seed by seed."""
    if importlib.util.find_spec("sklearn") is None:
        raise CannotRunError("needs scikit-learn: pip install scikit-learn")
    warnings.simplefilter("ignore")
    for preset in models:
        for kind in ("numbers", "two classes"):
            rows = {}
            for case in cases:
                seeds = range(rounds)
                pairs = [errors(case, kind != "numbers", preset, seed) for seed in seeds]
                logs = np.diff(np.log(pairs), axis=1)[:, 0]
                rows[case] = {
                    "error": math.exp(np.log(pairs)[:, 0].mean()),
                    "ratio": math.exp(logs.mean()),
                    "+-": float(logs.std() / math.sqrt(len(logs))),
                    **({} if np.isfinite(logs).all() else {FAULT: "WRONG"}),
                }
            yield f"{preset}, {kind}: errors with the rule over those without it", rows
