"""What a fit that has not converged says about its inputs."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor

# Factor on the second column, shift of both; a small one beside others may be a rare category.
CASES = [(1, 0, ""), (1e3, 0, "deviations of the inputs"), (1e-3, 0, ""), (1, 50, "means")]


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(("factor", "shift", "words"), CASES)
def test_a_fit_that_has_not_converged(estimator, factor, shift, words):
    x = np.random.default_rng(0).normal(size=(200, 2)) * [1, factor] + shift
    for options in ({}, {"standardize": True}):
        with pytest.warns(ConvergenceWarning) as caught:
            estimator(max_iter=2, random_state=0, **options).fit(x, x[:, 0] > shift)
        said = str(caught[0].message)
        assert "hasn't converged yet." in said
        assert ("standardize=True would scale" in said) == bool(words and not options)
        assert options or words in said
