"""Estimators of tables: what they say of a fit, and of new rows, is true to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from tiny_tables import TINY, N, X, Y, regressor

from fastmlp.tabular import presets
from fastmlp.tabular.conformal import Residuals

RNG = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "fast", TINY)


# ------------------------------------------------------------ intervals


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.98])
def test_ends_of_intervals_have_the_ranks_of_their_levels(coverage):
    """Where (n + 1) times a level is whole, whatever the rounding of the level is."""
    tail = (1 - coverage) / 2
    for n in [19, 39, 59, 99, 199, 399, 999]:
        found = Residuals(RNG.normal(size=n), np.zeros(n), deviation=np.ones(n))
        rank = round(tail * (n + 1))
        if abs(rank - tail * (n + 1)) < 1e-9:
            ends = found.quantile(tail), found.quantile(1 - tail)
            assert ends == (found.z[rank - 1], found.z[-rank])


def test_an_interval_is_between_the_quantiles_of_its_ends():
    rows = slice(39)
    model = regressor().fit(X[rows], Y[rows])
    np.testing.assert_array_equal(
        model.predict_interval(X, 0.9), model.predict_quantiles(X, [0.05, 0.95])
    )
    assert np.isfinite(model.predict_interval(X, 1 - 2.0**-52)).all()
    with pytest.raises(ValueError, match=r"coverage is .* which is 1 in float64: pass at most"):
        model.predict_interval(X, 1 - 2.0**-53)


def test_quantiles_of_weighted_residuals_never_cross():
    levels = np.linspace(0.001, 0.999, 999)
    for power in (0.5, 1, 4):
        for _ in range(10):
            n = int(RNG.integers(2, 90))
            w = RNG.random(n) ** power + 0.01
            found = Residuals(RNG.normal(size=n), np.zeros(n), w, deviation=np.ones(n))
            quantiles = [found.quantile(level) for level in levels]
            assert np.all(np.diff(quantiles) >= 0)
