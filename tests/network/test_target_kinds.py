"""The kinds of targets: what a row allows, and its examples."""

import cases
import numpy as np
import pytest

from fastmlp._network.functions.loss import CustomLoss
from fastmlp._network.target_kinds import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_allowed_and_differ(kind):
    row, real = KINDS[kind], np.random.default_rng(0).normal(size=(500, 3))
    for dtype in cases.DTYPES:
        found = row.examples(real.astype(dtype))
        assert found.dtype == dtype
        row.check(found, "y")
        assert len(np.unique(found)) > 3
        assert row.allowed.has(found).all()


# By kind: numbers that are allowed although they are near its ends, and numbers beyond.
ENDS = {
    "real": ([-1.7e308, 1.7e308], [np.inf, -np.inf]),
    "count": ([0.0, -0.0, 5e-324, 1.7e308], [-5e-324, -1.0, np.inf]),
    "positive": ([5e-324, 1.7e308], [0.0, -0.0, -5e-324, np.inf]),
    "unit_interval": ([0.0, 1.0], [-5e-324, np.nextafter(1.0, 2)]),
    "class": ([0.0, 1.0], [-5e-324, np.nextafter(1.0, 2)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_ends_of_ranges(kind):
    inside, outside = ENDS[kind]
    row = KINDS[kind]
    row.check(np.array([*inside, np.nan]), "y")  # NaN is a missing target
    row.check(np.array([]), "y")
    row.check(np.full((3, 2), np.nan), "y")
    for number in outside:
        with pytest.raises(ValueError, match="y holds .* but the loss expects targets in") as error:
            row.check(np.array([*inside, number]), "y", "the loss")
        assert row.remedy in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_custom_loss_takes_every_kind(kind):
    seen = []

    def loss(z, t):
        seen.append(t)
        return np.sum(z**2, axis=1), 2 * z

    link = "softmax" if kind == "class" else "identity"
    custom = CustomLoss(loss, link=link, targets=kind)
    custom.verify(np.dtype("float64"), 3)
    if kind != "class":  # whose targets are labels
        for t in seen:
            KINDS[kind].check(t, "y")
