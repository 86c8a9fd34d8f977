"""Columns that give the target away are named by the report, and others are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fastmlp import TabMLPClassifier, TabMLPRegressor

N = 600
RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(N, 3)), columns=list("abc"))
AMOUNT = X.a + X.b**2
LEFT = X.a + X.b > 0
NOISE = RNG.normal(size=N)
CODE = RNG.integers(0, 4, N)
RARE = np.arange(N) % 50 == 0
FEW = np.where(RARE, 5.0, 0.0)

MANY = {f"k{i}": AMOUNT * (i + 1) + 5 * i for i in range(23)}

CASES = {  # the target, further columns, and those that give it away
    "classes, none": (LEFT, {}, ""),
    "a number with a gap": (LEFT, {"score": np.where(LEFT, 1, -1) + 0.1 * NOISE}, "score"),
    "a fee of rare events": (RARE, {"fee": np.where(RARE, 50, 0)}, "fee"),
    "fees of rare events": (RARE, {"fee": np.where(RARE, 10 + abs(NOISE), 0)}, "fee"),
    "a date of rare events": (RARE, {"day": np.where(RARE, abs(NOISE), np.nan)}, "day"),
    "the target, mostly 0": (FEW, {"same": FEW * 2}, "same"),
    "a category": (LEFT, {"status": np.where(LEFT, "left", "here")}, "status"),
    "missing values": (LEFT, {"fee": np.where(LEFT, abs(NOISE), np.nan)}, "fee"),
    "names that say nothing": (LEFT, {"id": [f"k{i}" for i in RNG.permutation(N) % 20]}, ""),
    "some classes are told": (CODE, {"is_3": CODE == 3}, ""),
    "names of classes": (CODE, {"code": [f"c{i}" for i in CODE]}, "code"),
    "numbers, none": (AMOUNT, {}, ""),
    "a function that rises": (AMOUNT, {"log": np.log(AMOUNT - AMOUNT.min() + 1)}, "log"),
    "a function that falls, and a copy": (AMOUNT, {"k": -AMOUNT, "copy": AMOUNT**3}, "k or copy"),
    "copies that the fit leaves out": (
        AMOUNT,
        {"k": AMOUNT, "d": X.c, "k2": AMOUNT, "c2": X.c, "k3": -AMOUNT, "k4": AMOUNT},
        "k or k2 or k3 or k4",
    ),
    "one-to-one categories": (
        CODE,
        {"p": [f"c{i}" for i in CODE], "q": [f"d{9 - i}" for i in CODE], "number": 3 - CODE},
        "p or q or number",
    ),
    "a copy of a category": (
        LEFT,
        {"p": np.where(LEFT, "l", "h"), "q": np.where(LEFT, "x", "a"), "r": ~LEFT},
        "p or q or r",
    ),
    "more than can be read": (AMOUNT, MANY, " or ".join([*MANY][:20]) + " or 3 others"),
    "close, but not exactly": (AMOUNT, {"offer": AMOUNT + 0.4 * NOISE}, ""),
    "two targets, one of them told": (np.column_stack([AMOUNT, X.c - X.a]), {"k": AMOUNT}, ""),
}


def told(y, X, **options):
    """Return the columns that the notes of a fit name."""
    kind = TabMLPRegressor if np.asarray(y).dtype.kind == "f" else TabMLPClassifier
    model = kind(preset="fast", members=2, random_state=0).fit(X, y, **options)
    ending = (
        " alone tells the target nearly exactly: leave it out if it is not known before the "
        "target is"
    )
    notes = [note for note in model.report().notes if note.endswith(ending)]
    assert len(notes) <= 1
    return notes[0].removesuffix(ending) if notes else ""


LIKE_OTHERS = (
    *("fees of rare events", "the target, mostly 0", "names of classes", "a copy of a category"),
    *("a function that rises", "some classes are told"),
)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case in LIKE_OTHERS)) for case in CASES]
)
def test_the_report_names_columns_that_give_the_target_away(case):
    y, more, names = CASES[case]
    assert told(y, X.assign(**more)) == names


def test_a_series_may_follow_its_time_closely():
    """That is no mistake; and one column alone is what the user has chosen."""
    X = pd.DataFrame({"t": np.arange(1.0 * N), "noise": NOISE})
    assert told(X.t, X) == "t"
    assert told(X.t, X, time="t") == ""
    assert told(X.t, X[["t"]]) == ""


@pytest.mark.parametrize("n", [100, 150, 200, 400])
def test_few_rows_have_fewer_parts(n):
    """Parts of a row or two told little, so that no column of fractions was named."""
    assert told(2 * X.a[:n] + 1, X[:n]) == "a"


def test_targets_with_gaps_and_few_rows_are_not_looked_at():
    y = AMOUNT.to_numpy()
    gaps = np.column_stack([y, y])
    gaps[::3, 0] = np.nan
    assert told(gaps, X.assign(k=y)) == ""
    assert told(y[:60], X.assign(k=y)[:60]) == ""
