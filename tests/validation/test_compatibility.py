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


def fit_twice(**options):
    model = net()
    for more in ({}, options):
        model.fit(X, Y, epochs=1, **more)


def with_slopes():
    return {"epochs": 1, "validation_data": (X, abs(Y), None, X)}


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
CHECKPOINT = fastmlp.Checkpoint("never")
PAIR = {"validation_data": (X, Y)}
# For each row the values of {name} in its message ("" for a message without it), each with a call.
CALLS = {
    ("metrics", "source"): {
        "X": lambda: fit(SOURCE, None, metrics=["r2"]),
        "validation_data": lambda: fit(validation_data=SOURCE, metrics=["r2"]),
    },
    ("metrics", "communicator"): {"": lambda: fit(metrics=["r2"], communicator=ranks.alone())},
    ("on_batch", "Ensemble"): {"": lambda: fit_ensemble(**LOOKS)},
    ("on_batch", "L-BFGS"): {"": lambda: fit_regressor(solver="lbfgs", **LOOKS)},
    ("LBFGS", "options of steps"): {
        "l1": lambda: fit(optimizer=LBFGS, l1=0.1),
        "clip_norm": lambda: fit(optimizer=LBFGS, clip_norm=1.0),
        "groups": lambda: fit(optimizer=LBFGS, groups=fastmlp.Groups(weight_rate=2.0)),
        "dropout": lambda: fit(optimizer=LBFGS, dropout=0.1),
        "averaging": lambda: fit(optimizer=LBFGS, averaging=fastmlp.EMA()),
        "compute": lambda: net(compute="bfloat16").fit(X, Y, optimizer=LBFGS),
        "resume": lambda: fit_twice(optimizer=LBFGS, resume=True),
        "communicator": lambda: fit(optimizer=LBFGS, communicator=ranks.alone()),
        "a source": lambda: fit(SOURCE, None, optimizer=LBFGS),
        "a Checkpoint": lambda: fit(optimizer=LBFGS, callbacks=[CHECKPOINT]),
    },
    ("LBFGS", "other calls"): {"": lambda: net().partial_fit(X, Y, optimizer=LBFGS)},
    ("Checkpoint", "estimator"): {"": lambda: fit_regressor(callbacks=[CHECKPOINT])},
    ("source", "y"): {"": lambda: fit(SOURCE)},
    ("source", "sample_weight, dy"): {
        "sample_weight": lambda: fit(SOURCE, None, sample_weight=Y),
        "dy": lambda: fit(SOURCE, None, dy=X),
    },
    ("source", "Ensemble or estimator"): {
        "X": lambda: fit_ensemble(SOURCE),
        "y": lambda: net().evaluate(X, SOURCE),
    },
    ("shuffle_buffer", "arrays"): {
        "shuffle_buffer": lambda: fit(shuffle_buffer=10),
        "shuffle_folder": lambda: fit(shuffle_folder=HERE),
    },
    ("shuffle_buffer", "shuffle=False"): {
        "shuffle_buffer": lambda: fit(SOURCE, None, shuffle=False, shuffle_buffer=9),
        "shuffle_folder": lambda: fit(SOURCE, None, shuffle=False, shuffle_folder=HERE),
    },
    ("shuffle_folder", "sparse rows"): {"": lambda: fit(SPARSE, None, shuffle_folder=HERE)},
    ("dy", "loss with a link"): {
        "dy": lambda: fit_slopes(loss="poisson_nll"),
        "validation dy": lambda: net(loss="poisson_nll").fit(X, abs(Y), **with_slopes()),
    },
    ("dy", "custom functions"): {"dy": lambda: fit_slopes(activation=CUSTOM)},
    ("dy", "compute"): {"dy": lambda: fit_slopes(compute="bfloat16")},
    ("dy", "sparse rows"): {"dy": lambda: fit(ROWS, dy=X)},
    ("compute", "sparse rows"): {
        "X": lambda: net(compute="bfloat16").fit(ROWS, Y),
        "validation X": lambda: net(compute="bfloat16").fit(
            X, Y, epochs=1, validation_data=(ROWS, Y)
        ),
    },
    ("validation_data", "validation_rows"): {
        "": lambda: fit_ensemble(**PAIR, validation_rows=[[0]]),
    },
    ("output_gradient", "y, sample_weight, dy"): {
        "y": lambda: net().partial_fit(X, Y, output_gradient=Y),
        "sample_weight": lambda: net().partial_fit(X, sample_weight=Y, output_gradient=Y),
        "dy": lambda: net().partial_fit(X, dy=X, output_gradient=Y),
    },
    ("per_sample", "sample_weight, l1, l2, dy"): {
        "sample_weight": lambda: net().gradients(X, Y, per_sample=True, sample_weight=abs(Y)),
        "l1": lambda: net().gradients(X, Y, per_sample=True, l1=0.1),
        "l2": lambda: net().gradients(X, Y, per_sample=True, l2=0.1),
        "dy": lambda: net().gradients(X, Y, per_sample=True, dy=X),
    },
    ("early_stopping", "partial_fit"): {
        "": lambda: regressor(early_stopping=True).partial_fit(X, Y),
    },
}


@pytest.mark.parametrize(
    ("pair", "name"),
    [(pair, name) for pair in refusals() for name in CALLS[pair]],
    ids=lambda value: value if isinstance(value, str) else " and ".join(value),
)
def test_what_does_not_go_together_is_refused(pair, name):
    error, message = TypeError if pair[0] == "source" else ValueError, refusals()[pair]
    named = message.replace("{name}", name)
    words = ".*".join(map(re.escape, re.split(r"{\w+}", named)))
    with pytest.raises(error, match=f"^{words}$"):
        CALLS[pair][name]()


def test_the_page_is_the_table():
    page = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()
    rows = [
        f"| `{option}` | `{other}` | {re.sub('{[a-z]+}', '...', message)} |"
        for (option, other), message in refusals().items()
    ]
    assert page.partition("|---|---|---|\n")[2].splitlines() == rows
