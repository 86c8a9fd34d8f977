"""Estimators of tables that train in milliseconds, and 60 rows for them."""

from __future__ import annotations

import numpy as np
import pandas

from fastmlp import TabMLPClassifier, TabMLPRegressor
from fastmlp.tabular.plan.presets import Preset, Recipe

SMALL = Recipe(bins=4, width=8, depth=2)
TINY = Preset(3, 2, 4, (SMALL,))

N = 60
_rng = np.random.default_rng(0)
X = _rng.normal(size=(N, 3))
Y = X[:, 0] + 0.1 * _rng.normal(size=N)
LABELS = np.where(Y > 0, "high", "low")
COLOURS = np.array(["red", "blue", "green"] * (N // 3))


def frame_of(**more):
    return pandas.DataFrame(X, columns=list("abc")).assign(**more)


def regressor(**options):
    return TabMLPRegressor(**{"preset": "fast", "random_state": 0, **options})


def classifier(**options):
    return TabMLPClassifier(**{"preset": "fast", "random_state": 0, **options})
