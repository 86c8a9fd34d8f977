"""Options that do not go together: every row of the table refuses, and a page prints it."""

import re
from pathlib import Path

import numpy as np
import own
import pytest
import ranks
from models import Watch

import fastmlp
from fastmlp._validation.compatibility import refusals

X = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
Y = X.sum(axis=1)
ROWS = fastmlp.SparseRows(np.arange(0, 25, 2), [0, 1] * 12, X.ravel(), n_columns=2)


SOURCE, SPARSE = fastmlp.Blocks(X, Y), fastmlp.Blocks(ROWS, Y)


def net(**options):
    return fastmlp.MLP([2, 4, 1], rng=0, **options)


def fit(x=X, y=Y, **options):
    net().fit(x, y, epochs=1, **options)


def fit_slopes(**options):
    net(**options).fit(X, abs(Y), dy=X)


def fit_ensemble(x=X, **options):
    fastmlp.Ensemble([net()]).fit(x, Y, epochs=1, **options)


def regressor(**options):
    return fastmlp.MLPRegressor(max_iter=1, **options)


def fit_regressor(**options):
    regressor(**options).fit(X, Y)


LOOKS = {"callbacks": [Watch()]}
LBFGS = fastmlp.LBFGS()
HERE = Path(__file__).parent
CUSTOM = fastmlp.CustomActivation(own.softsign)
CALLS = {
    ("metrics", "source"): lambda: fit(validation_data=SOURCE, metrics=["r2"]),
    ("metrics", "communicator"): lambda: fit(metrics=["r2"], communicator=ranks.alone()),
    ("on_batch", "Ensemble"): lambda: fit_ensemble(**LOOKS),
    ("on_batch", "L-BFGS"): lambda: fit_regressor(solver="lbfgs", **LOOKS),
    ("LBFGS", "options of steps"): lambda: fit(optimizer=LBFGS, clip_norm=1.0),
    ("LBFGS", "other calls"): lambda: net().partial_fit(X, Y, optimizer=LBFGS),
    ("Checkpoint", "estimator"): lambda: fit_regressor(callbacks=[fastmlp.Checkpoint("never")]),
    ("source", "y"): lambda: fit(SOURCE),
    ("source", "sample_weight, dy"): lambda: fit(SOURCE, None, sample_weight=Y),
    ("source", "Ensemble or estimator"): lambda: fit_ensemble(SOURCE),
    ("shuffle_buffer", "arrays"): lambda: fit(shuffle_buffer=10),
    ("shuffle_buffer", "shuffle=False"): lambda: fit(SOURCE, None, shuffle=False, shuffle_buffer=9),
    ("shuffle_folder", "sparse rows"): lambda: fit(SPARSE, None, shuffle_folder=HERE),
    ("dy", "loss with a link"): lambda: fit_slopes(loss="poisson_nll"),
    ("dy", "custom functions"): lambda: fit_slopes(activation=CUSTOM),
    ("dy", "compute"): lambda: fit_slopes(compute="bfloat16"),
    ("dy", "sparse rows"): lambda: fit(ROWS, dy=X),
    ("compute", "sparse rows"): lambda: net(compute="bfloat16").fit(ROWS, Y),
    ("validation_data", "validation_rows"): lambda: fit_ensemble(
        validation_data=(X, Y), validation_rows=[[0]]
    ),
    ("output_gradient", "y, sample_weight, dy"): lambda: net().partial_fit(X, Y, output_gradient=Y),
    ("per_sample", "sample_weight, l1, l2, dy"): lambda: net().gradients(
        X, Y, l2=0.1, per_sample=True
    ),
    ("early_stopping", "partial_fit"): lambda: regressor(early_stopping=True).partial_fit(X, Y),
}


@pytest.mark.parametrize("pair", refusals(), ids=" and ".join)
def test_what_does_not_go_together_is_refused(pair):
    error, message = TypeError if pair[0] == "source" else ValueError, refusals()[pair]
    words = ".*".join(map(re.escape, re.split(r"{\w+}", message)))
    with pytest.raises(error, match=f"^{words}$"):
        CALLS[pair]()


def test_the_page_is_the_table():
    page = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()
    rows = [
        f"| `{option}` | `{other}` | {re.sub('{[a-z]+}', '...', message)} |"
        for (option, other), message in refusals().items()
    ]
    assert page.partition("|---|---|---|\n")[2].splitlines() == rows
