"""MLPClassifier and MLPRegressor against scikit-learn's own: ``fit`` and ``predict``, in turns.

Both get the same data, parameters and ``random_state``, train for the same number of epochs, and
so end at the same weights: that is checked before anything is timed. They live in one process,
limited to as many CPUs as threads; the order of turns rotates.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import harness
import numpy as np
from harness import FAULT, CannotRunError, Names, Rows

# Largest difference of the losses of a run, relative, and of its predictions, to the largest one.
# float32 with shuffled batches drifts, as any two summation orders do.
TOLERANCES = {"float64": 1e-6, "float32": 0.05}


@dataclass(frozen=True)
class Fit:
    """What is fitted: estimator, data, parameters; ``floor`` is the ratio that is promised."""

    estimator: str
    data: str
    dtype: str
    floor: float
    epochs: int
    options: dict[str, Any] = field(default_factory=dict)

    def arrays(self) -> tuple[Any, Any]:
        """Return X and y."""
        return DATA[self.data](self.dtype)

    def build(self, module: Any) -> Any:
        """Return the unfitted estimator of a library; nothing ends it before the last epoch."""
        endless = {"tol": 0.0, "n_iter_no_change": np.inf}
        options = {"max_iter": self.epochs, "random_state": 0, **endless, **self.options}
        return getattr(module, self.estimator)(**options)

    def nets(self) -> dict[str, Any]:
        """Return the unfitted estimators of both."""
        import sklearn.neural_network

        import fastmlp

        return {"fastmlp": self.build(fastmlp), "sklearn": self.build(sklearn.neural_network)}


def digits(dtype: str) -> tuple[Any, Any]:
    """Return the 1,797 digits of 8 by 8 pixels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(dtype), y


def regression(dtype: str, n: int = 10_000) -> tuple[Any, Any]:
    """Return n samples of 20 numbers and a smooth target."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 20))
    return x.astype(dtype), np.sin(x @ rng.normal(size=20)) + 0.1 * rng.normal(size=n)


DATA: dict[str, Callable[[str], tuple[Any, Any]]] = {
    "digits": digits,
    "regression": regression,
    "few": functools.partial(regression, n=100),
}
SMALL = {"batch_size": 32, "hidden_layer_sizes": (32, 32)}
WIDE = {"hidden_layer_sizes": (512, 512)}
FITS: dict[str, Fit] = {
    "digits": Fit("MLPClassifier", "digits", "float64", 3.5, 50),
    "digits, float32": Fit("MLPClassifier", "digits", "float32", 5.5, 50),
    "10,000 x 20": Fit("MLPRegressor", "regression", "float64", 7, 10),
    "10,000 x 20, float32": Fit("MLPRegressor", "regression", "float32", 12, 10),
    "batch 32": Fit("MLPRegressor", "regression", "float64", 20, 4, SMALL),
    "batch 32, float32": Fit("MLPRegressor", "regression", "float32", 20, 4, SMALL),
    "sgd": Fit("MLPClassifier", "digits", "float64", 1, 10, {"solver": "sgd"}),
    "early stopping": Fit("MLPClassifier", "digits", "float64", 1, 10, {"early_stopping": True}),
    "lbfgs": Fit("MLPClassifier", "digits", "float64", 1, 10, {"solver": "lbfgs", "tol": 1e-4}),
    "100 samples": Fit("MLPRegressor", "few", "float64", 1, 50),
    "1 epoch of 100 samples": Fit("MLPRegressor", "few", "float64", 1, 1),
    "512-512": Fit("MLPClassifier", "digits", "float64", 1, 2, WIDE),
    "512-512, float32": Fit("MLPClassifier", "digits", "float32", 1, 2, WIDE),
}
# What predicts; rows of a prediction, and the ratio that is promised.
PREDICTING = ("digits", "10,000 x 20", "batch 32")
PREDICTIONS = {1: 10.0, 100: 1.0, 10_000: 1.5}


def fitted(case: Fit) -> dict[str, Any]:
    """Fit both and return them, or complain that they are not the same."""
    x, y = case.arrays()
    nets = case.nets()
    for net in nets.values():
        net.fit(x, y)
    ours, theirs = nets.values()
    tolerance = TOLERANCES[case.dtype]
    if ours.n_iter_ != theirs.n_iter_:
        raise AssertionError(f"{ours.n_iter_} epochs instead of {theirs.n_iter_}")
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=tolerance)
    same_predictions(nets, case, x)
    return nets


def same_predictions(nets: dict[str, Any], case: Fit, x: Any) -> None:
    """Complain if the predictions differ."""
    method = "predict_proba" if case.estimator == "MLPClassifier" else "predict"
    mine, right = (getattr(net, method)(x) for net in nets.values())
    scale = np.abs(right).max()
    np.testing.assert_allclose(mine, right, rtol=0, atol=TOLERANCES[case.dtype] * scale)


def row(
    column: str,
    calls: dict[str, Callable[[], object]],
    check: Callable[[], Any],
    floor: float,
    **turns: Any,
) -> dict[str, Any]:
    """Return the times of both, how many times as fast ours is, and what is promised."""
    ours, theirs = harness.interleave(calls, check=check, **turns).values()
    ratio = theirs.median / ours.median
    return {
        **ours.row(column),
        **{f"sklearn, {key}": value for key, value in theirs.row(column).items()},
        "ratio": ratio,
        **({"at least": floor} if floor > 1 else {}),
        **({FAULT: "slower than promised"} if ratio < floor else {}),
    }


def fits(cases: Sequence[str], **turns: Any) -> Rows:
    rows = {}
    for name, case in ((name, FITS[name]) for name in cases):
        data = case.arrays()
        calls = {who: functools.partial(net.fit, *data) for who, net in case.nets().items()}
        label = f"{name}, {harness.counted(case.epochs, 'epoch')}"
        rows[label] = row("ms", calls, functools.partial(fitted, case), case.floor, **turns)
    return rows


def predictions(cases: Sequence[str], **turns: Any) -> Rows:
    rows = {}
    for name, case in ((name, FITS[name]) for name in PREDICTING if name in cases):
        nets, (x, _) = fitted(case), case.arrays()
        for n, floor in PREDICTIONS.items():
            part = np.resize(x, (n, x.shape[1]))
            calls = {who: functools.partial(net.predict, part) for who, net in nets.items()}
            check = functools.partial(same_predictions, nets, case, part)
            rows[f"{name}, {harness.counted(n, 'row')}"] = row("us", calls, check, floor, **turns)
    return rows


ALL = Names.of(FITS)


def measure(
    cases: Names = ALL, threads: int = 1, rounds: int = 9, turn: float = 0.2
) -> Iterator[tuple[str, Rows]]:
    """Compare fits, then predictions, both limited to the same threads."""
    warnings.simplefilter("ignore")  # ConvergenceWarning: the epochs are counted on purpose
    with harness.limited(threads):  # the limit must stand when NumPy's BLAS is first used
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            message = "needs scikit-learn: pip install scikit-learn"
            raise CannotRunError(message) from None
        with threadpool_limits(threads):
            yield "fits", fits(cases, rounds=rounds, turn=turn)
            yield "predictions", predictions(cases, rounds=rounds, turn=turn)
