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


def fit(x=X, y=Y, **options):
    fastmlp.MLP([2, 4, 1], rng=0).fit(x, y, epochs=1, **options)


def fit_slopes(**options):
    fastmlp.MLP([2, 4, 1], **options).fit(X, abs(Y), dy=X)


def fit_ensemble(x=X, **options):
    fastmlp.Ensemble([fastmlp.MLP([2, 4, 1], rng=0)]).fit(x, Y, epochs=1, **options)


def regressor(**options):
    return fastmlp.MLPRegressor(max_iter=1, **options)


LOOKS = {"callbacks": [Watch()]}
CALLS = {
    ("metrics", "source"): lambda: fit(validation_data=fastmlp.Blocks(X, Y), metrics=["r2"]),
    ("metrics", "communicator"): lambda: fit(metrics=["r2"], communicator=ranks.alone()),
    ("on_batch", "Ensemble"): lambda: fit_ensemble(**LOOKS),
    ("on_batch", "L-BFGS"): lambda: regressor(solver="lbfgs", **LOOKS).fit(X, Y),
    ("LBFGS", "options of steps"): lambda: fit(optimizer=fastmlp.LBFGS(), clip_norm=1.0),
    ("LBFGS", "other calls"): lambda: fastmlp.MLP([2, 4, 1]).partial_fit(
        X, Y, optimizer=fastmlp.LBFGS()
    ),
    ("Checkpoint", "estimator"): lambda: regressor(callbacks=[fastmlp.Checkpoint("never")]).fit(
        X, Y
    ),
    ("source", "y"): lambda: fit(fastmlp.Blocks(X, Y)),
    ("source", "sample_weight, dy"): lambda: fit(fastmlp.Blocks(X, Y), None, sample_weight=Y),
    ("source", "Ensemble or estimator"): lambda: fit_ensemble(fastmlp.Blocks(X, Y)),
    ("shuffle_buffer", "arrays"): lambda: fit(shuffle_buffer=10),
    ("shuffle_buffer", "shuffle=False"): lambda: fit(
        fastmlp.Blocks(X, Y), None, shuffle=False, shuffle_buffer=10
    ),
    ("shuffle_folder", "sparse rows"): lambda: fit(
        fastmlp.Blocks(ROWS, Y), None, shuffle_folder=Path(__file__).parent
    ),
    ("dy", "loss with a link"): lambda: fit_slopes(loss="poisson_nll"),
    ("dy", "custom functions"): lambda: fit_slopes(
        activation=fastmlp.CustomActivation(own.softsign)
    ),
    ("dy", "compute"): lambda: fit_slopes(compute="bfloat16"),
    ("dy", "sparse rows"): lambda: fit(ROWS, dy=X),
    ("compute", "sparse rows"): lambda: fastmlp.MLP([2, 4, 1], compute="bfloat16").fit(ROWS, Y),
    ("validation_data", "validation_rows"): lambda: fit_ensemble(
        validation_data=(X, Y), validation_rows=[[0]]
    ),
    ("output_gradient", "y, sample_weight, dy"): lambda: fastmlp.MLP([2, 4, 1]).partial_fit(
        X, Y, output_gradient=Y
    ),
    ("per_sample", "sample_weight, l1, l2, dy"): lambda: fastmlp.MLP([2, 4, 1]).gradients(
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
