"""Short calls that may use more threads than can pay, and lbfgs against an epoch of small batches.

Threads sleep between calls and are borrowed: where a call is too short to share, one that may use
more must take at most 1.1 times as long as one that may not. An evaluation of lbfgs is one batch
of all rows, in blocks on all threads: it must take at most 1.1 times as long as an epoch. Results
have to be the same to the bit whatever the threads, those of `MLP` as in NumPy, those of lbfgs and
Adam as in scikit-learn.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import harness
import numpy as np
from busy import limited
from estimators import FITS, Fit, fitted
from harness import CannotRunError, Names, Rows
from workloads import Case

import fastmlp
from fastmlp import reference

LIMIT = 1.1
FITS_IN_A_ROW = 50
CASE = Case("short", (20, 64, 64, 1), "relu", "squared_error", 64, 256)


def mlp(kind: type) -> Any:
    return kind(list(CASE.layer_sizes), activation=CASE.activation, loss=CASE.loss, rng=0)


def partial_fit(kind: type = fastmlp.MLP) -> Callable[[], float]:
    """Return a step by all rows at once."""
    return functools.partial(mlp(kind).partial_fit, *CASE.data())


def fits(kind: type = fastmlp.MLP) -> Callable[[], list[float]]:
    """Return fits of one epoch, one after the other."""
    fit = functools.partial(mlp(kind).fit, *CASE.data(), epochs=1, batch_size=CASE.batch_size)
    return lambda: [fit().loss[0] for _ in range(FITS_IN_A_ROW)]


def prediction(rows: int) -> Callable[[], Any]:
    """Return an estimator's prediction."""
    x, y = CASE.data()
    hidden = CASE.layer_sizes[1:-1]
    estimator = fastmlp.MLPRegressor(hidden_layer_sizes=hidden, max_iter=1, random_state=0)
    return functools.partial(estimator.fit(x, y.ravel()).predict, np.resize(x, (rows, x.shape[1])))


TRAINING: dict[str, Callable[..., Callable[[], Any]]] = {
    f"partial_fit of {CASE.n_rows} rows": partial_fit,
    f"{FITS_IN_A_ROW} fits of one epoch": fits,
}
CALLS: dict[str, Callable[[], Callable[[], Any]]] = TRAINING | {
    f"estimator, {harness.counted(n, 'row')}": functools.partial(prediction, n)
    for n in (1, 64, 256, 1_024)
}


def check(name: str, threads: int) -> None:
    """Raise if the number of threads makes a difference, or the result is not NumPy's."""
    one, more = (limited(n, CALLS[name]())() for n in (1, threads))
    np.testing.assert_array_equal(one, more, err_msg=name)
    if name in TRAINING:
        right = TRAINING[name](reference.MLP)()
        first = slice(1)  # later ones drift, in float32
        np.testing.assert_allclose(np.ravel(one)[first], np.ravel(right)[first], 1e-3, err_msg=name)


def evaluations(fit: Callable[[], Any]) -> int:
    """Return how often a fit by lbfgs evaluates the objective and its gradient."""
    import scipy.optimize

    minimize, found = scipy.optimize.minimize, []

    def counting(*arguments: Any, **options: Any) -> Any:
        result = minimize(*arguments, **options)
        found.append(result.nfev)
        return result

    with mock.patch("scipy.optimize.minimize", counting):
        fit()
    return int(found[-1])


def solvers(adam: Fit, threads: int, **turns: Any) -> Rows:
    """Return rows of an epoch by Adam and of an evaluation by lbfgs."""
    x, y = adam.arrays()
    options = {"solver": "lbfgs", "tol": 1e-12}
    chosen = {"an epoch": adam, "an evaluation": dataclasses.replace(adam, options=options)}

    def build(name: str, n: int) -> Callable[[], Any]:
        return limited(n, functools.partial(chosen[name].build(fastmlp).fit, x, y))

    def right() -> None:
        for name, case in chosen.items():
            fitted(case)
            one, more = (build(name, n)().coefs_ for n in (1, threads))
            for a, b in zip(one, more, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=name)

    rows: Rows = {}
    calls = {(name, n): build(name, n) for n in (1, threads) for name in chosen}
    labels = {f"{name}, {harness.counted(n, 'thread')}": call for (name, n), call in calls.items()}
    timings = harness.interleave(labels, check=right, **turns)
    counts = {"an epoch": adam.epochs, "an evaluation": evaluations(calls["an evaluation", 1])}
    for (name, _), (label, timing) in zip(calls, timings.items(), strict=True):
        rows[label] = timing.row("ms", counts[name])
    for n in (1, threads):
        epoch, evaluation = (rows[f"{name}, {harness.counted(n, 'thread')}"] for name in chosen)
        evaluation |= harness.judged(evaluation["ms"] / epoch["ms"], most=LIMIT)
    return rows


ALL = Names.of(CALLS)
BIG = Names.of(FITS, "digits", "10,000 x 20", "10,000 x 20, float32")


def measure(
    calls: Names = ALL, cases: Names = BIG, threads: int = 2, rounds: int = 15, turn: float = 0.1
) -> Iterator[tuple[str, Rows]]:
    warnings.simplefilter("ignore")  # ConvergenceWarning: the epochs are counted on purpose
    if threads < 2:
        raise CannotRunError("--threads must be at least 2")
    rows: Rows = {}
    for name in calls:
        candidates = {
            f"{name}, {harness.counted(n, 'thread')}": limited(n, CALLS[name]())
            for n in (1, threads)
        }
        right = functools.partial(check, name, threads)
        timings = harness.interleave(candidates, check=right, rounds=rounds, turn=turn)
        rows |= {label: timing.row("us") for label, timing in timings.items()}
        one, more = timings.values()
        rows[list(rows)[-1]] |= harness.judged(more.median / one.median, most=LIMIT)
    yield f"{CASE.title}, {harness.counted(harness.available_cpus(), 'CPU')}", rows
    for name in cases:
        yield f"lbfgs: {name}", solvers(FITS[name], threads, rounds=rounds, turn=turn)
