"""Rows of a table that are copies of others: in one fold, so that none is judged by its copy."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from tiny_tables import LABELS, X, Y, classifier, regressor

pytestmark = pytest.mark.usefixtures("tiny")


COPIED = np.repeat(np.arange(20), 3)
GRID = np.stack(np.meshgrid(np.arange(3), np.arange(5)), axis=-1).reshape(15, 2)[np.arange(60) % 15]
DRAWN = np.random.default_rng(3).integers(0, 60, 60)
NOISE = np.random.default_rng(4).normal(size=60)
# X, y, whether rows that are equal are in several folds, and what the report says of them.
EQUAL = {
    "copies": (X[COPIED], Y[COPIED], False, "40 rows are copies of other rows"),
    "one copy": (X[np.r_[0, :59]], Y[np.r_[0, :59]], False, "1 rows are copies of other rows"),
    "a bootstrap sample": (X[DRAWN], Y[DRAWN], False, "copies of other rows"),
    "other targets": (X[COPIED], NOISE, False, ""),
    "few categories": (GRID, GRID @ [1.0, 2.0], True, "45 rows are equal to other rows, target"),
    "text": (np.char.mod("v%d", COPIED)[:, np.newaxis], Y[COPIED], False, "40 rows are copies"),
    "few values": (X[np.arange(60) % 4], Y[np.arange(60) % 4], True, "56 rows are equal to other"),
    "none": (X, Y, False, ""),
}


@pytest.mark.parametrize("case", EQUAL)
def test_copies_of_a_row_are_in_one_fold(case):
    x, y, split, said = EQUAL[case]
    model = regressor().fit(x, y)
    kinds = np.unique(np.c_[x, y], axis=0, return_inverse=True)[1].reshape(-1)
    apart = [np.isin(kinds[out], np.delete(kinds, out)).any() for out in model._out]
    assert any(apart) == split
    notes = "; ".join(model.report().notes)
    assert said in notes
    assert ("other rows" in notes) == bool(said)
    given = regressor().fit(x, y, groups=np.arange(60))
    assert "other rows" not in "; ".join(given.report().notes)


def test_copies_of_classes_are_divided_evenly():
    labels, rows = LABELS[COPIED], np.arange(60)
    model = classifier().fit(X[COPIED], labels)
    assert not any(np.isin(COPIED[out], np.delete(COPIED, out)).any() for out in model._out)
    shares = [np.mean(labels[out] == "high") for out in model._out]
    assert np.ptp(shares) < 0.2
    assert sorted(np.concatenate(model._out[:3])) == rows.tolist()


def test_intervals_of_copies_are_those_of_single_rows():
    noise = np.random.default_rng(5).normal(size=(2, 40))
    x, new = np.random.default_rng(6).normal(size=(2, 40, 5))
    once = regressor().fit(x, noise[0])
    copied = regressor().fit(np.repeat(x, 4, axis=0), np.repeat(noise[0], 4))
    assert copied._residuals[0].w.sum() == pytest.approx(40, rel=0.05)
    widths = [np.ptp(model.predict_interval(new, 0.9), axis=1).mean() for model in (once, copied)]
    assert widths[1] > 0.8 * widths[0]
